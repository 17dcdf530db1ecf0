"""Convolutional networks of the literature whose weights are published: VGG-19, VGG-19 compressed, CIFAR's ResNets.

Each class reads the tensor names of its published files; ``like(state)`` is the network of the depth and the widths
that a file shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pentimento.data.fit import recolour
from pentimento.errors import EvaluationError
from pentimento.features.network import Features, Normalise, PublishedNetwork, bilinear

__all__ = ["VGG19", "CifarResNet", "CompressedVGG"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_VGG_BLOCKS = (2, 2, 4, 4, 4)  # convolutions
_VGG_LAYERS = tuple(f"relu{b}_{n}" for b, count in enumerate(_VGG_BLOCKS, 1) for n in range(1, count + 1))


# --------------------------------------------------------------------------------------------------- VGG
class _VGG(PublishedNetwork):
    """3x3 convolutions with ReLU in blocks, and a maximum pool between two blocks.

    The maps are called ``relu{block}_{number}``. The vector joins the spatial means of the first map of each block.
    """

    least_map_px = 1  # side of the smallest map that a convolution takes

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.layers = tuple(widths)
        self.firsts = [layer for layer in self.layers if layer.endswith("_1")]
        self.dim = sum(widths[layer] for layer in self.firsts)
        self.pool = nn.MaxPool2d(2)

    def forward(self, images: Tensor) -> Features:
        """See `FeatureNetwork.forward`.

        Raises:
            EvaluationError: pictures too small for the deepest layer.
        """
        maps = self._maps(recolour(images, 3), self.firsts)
        return Features(torch.cat([m.mean((2, 3)) for m in maps.values()], 1).float())

    def _enter(self, images: Tensor) -> Tensor:
        """Colours as the first convolution expects them."""
        raise NotImplementedError

    def _convolution(self, layer: str) -> nn.Module:
        raise NotImplementedError

    def _maps(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        deepest, (height, width) = layers[-1], images.shape[2:]
        least = self.least_map_px * 2 ** (int(deepest[4]) - 1)  # a pool before each block but the first
        if min(height, width) < least:
            raise EvaluationError(
                f"{self.name}: {deepest} needs pictures of at least {least}x{least} px, got {height}x{width}"
            )
        x, found = self._enter(images), {}
        for layer in self.layers[: self.layers.index(deepest) + 1]:
            if layer.endswith("_1") and layer != "relu1_1":
                x = self.pool(x)
            x = F.relu(self._convolution(layer)(x))
            if layer in layers:
                found[layer] = x
        return found


class VGG19(_VGG):
    """Simonyan and Zisserman 2015, configuration E, in the tensor names of torchvision (``features.N``).

    Its classifier is not needed and not kept.
    """

    kind = "VGG-19"
    unused = r"classifier\..*"

    def __init__(self) -> None:
        widths = {layer: (64, 128, 256, 512, 512)[int(layer[4]) - 1] for layer in _VGG_LAYERS}
        super().__init__(widths)
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)
        self.features, self.places = nn.ModuleDict(), {}
        place, channels = 0, 3
        for layer, width in widths.items():
            place += layer.endswith("_1") and layer != "relu1_1"  # torchvision counts the pools and the ReLUs
            self.places[layer] = str(place)
            self.features[str(place)] = nn.Conv2d(channels, width, 3, padding=1)
            place, channels = place + 2, width

    def _enter(self, images: Tensor) -> Tensor:
        entered: Tensor = self.normalise(images)
        return entered

    def _convolution(self, layer: str) -> nn.Module:
        return self.features[self.places[layer]]


class CompressedVGG(_VGG):
    """VGG-19 with a sixteenth of its filters, up to the first layer of a block, by collaborative distillation.

    Wang et al. 2020, section 3; the encoders ``1SE.pth`` to ``5SE.pth`` of their code. The first map of each block
    was trained to tell what VGG-19's tells. A 1x1 convolution at the entrance, part of the file, turns RGB in [0, 1]
    into BGR in 0 .. 255 about its mean; borders are reflected. The ``_aux`` convolutions served the training alone.
    """

    kind = "compressed VGG-19"
    unused = r"conv\d\d_aux\..*"
    least_map_px = 2  # a border of one pixel is reflected

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__(widths)
        self.conv0 = nn.Conv2d(3, 3, 1)
        channels = 3
        for layer, width in widths.items():
            self.add_module(_compressed_name(layer), nn.Conv2d(channels, width, 3, padding=1, padding_mode="reflect"))
            channels = width

    @classmethod
    def like(cls, state: Mapping[str, Tensor]) -> Self:
        """As deep and as wide as the file."""
        widths: dict[str, int] = {}
        for layer in _VGG_LAYERS:
            weight = state.get(f"{_compressed_name(layer)}.weight")
            if weight is None or weight.ndim != 4:
                break
            widths[layer] = len(weight)
        return cls(widths or {"relu1_1": 16})

    def _enter(self, images: Tensor) -> Tensor:
        entered: Tensor = self.conv0(images)
        return entered

    def _convolution(self, layer: str) -> nn.Module:
        return self.get_submodule(_compressed_name(layer))


def _compressed_name(layer: str) -> str:
    """``relu3_1`` comes out of ``conv31``."""
    return f"conv{layer[4]}{layer[6]}"


# -------------------------------------------------------------------------------------------- CIFAR ResNet
class CifarResNet(PublishedNetwork):
    """ResNet of 6n + 2 layers for 32x32 pixels (He et al. 2016, section 4.2), shortcuts without parameters (option A).

    Reads the files of Idelbayev's pytorch_resnet_cifar10. The vector is the mean of the last map.

    Args:
        depth: n, the residual blocks of a stage.
        class_count: classes it tells apart.
    """

    kind = "CIFAR ResNet"
    dim = 64
    resizer = "antialiased bilinear 32x32"
    layers = ("layer1", "layer2", "layer3")

    def __init__(self, depth: int, class_count: int) -> None:
        super().__init__()
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, depth)
        self.layer2 = _stage(16, 32, depth)
        self.layer3 = _stage(32, 64, depth)
        self.linear = nn.Linear(64, class_count)

    @classmethod
    def like(cls, state: Mapping[str, Tensor]) -> Self:
        """As deep as the file, with as many classes."""
        depth = sum(name.startswith("layer1.") and name.endswith(".conv1.weight") for name in state)
        head = state.get("linear.weight")
        return cls(max(depth, 1), len(head) if head is not None and head.ndim == 2 else 10)

    def forward(self, images: Tensor) -> Features:
        """See `FeatureNetwork.forward`."""
        maps = self._maps(bilinear(recolour(images, 3), 32, 32), ["layer3"])
        vectors = maps["layer3"].mean((2, 3)).float()
        return Features(vectors, self.linear(vectors).softmax(1))

    def _maps(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        x, found = F.relu(self.bn1(self.conv1(self.normalise(images)))), {}
        for layer in self.layers[: self.layers.index(layers[-1]) + 1]:
            x = self.get_submodule(layer)(x)
            if layer in layers:
                found[layer] = x
        return found


def _stage(channels: int, out_channels: int, depth: int) -> nn.Sequential:
    """Residual blocks, the first of which halves the size where the channels change."""
    return nn.Sequential(*(_Residual(out_channels if i else channels, out_channels) for i in range(depth)))


class _Residual(nn.Module):
    """Two convolutions and a shortcut; where the channels double, the shortcut skips pixels and adds empty channels."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.stride, self.missing = out_channels // channels, out_channels - channels
        self.conv1 = nn.Conv2d(channels, out_channels, 3, self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        half = self.missing // 2
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + shortcut)
