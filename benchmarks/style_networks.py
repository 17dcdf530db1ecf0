"""Networks of others that the style benchmark holds ours against, and the one that judges, written as published.

The judge and the weights of the peers are read from the shared folder; none is ever trained here. Pictures are
(N, 3, H, W) in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pentimento.features import FeatureNetwork, open_network
from pentimento.losses import mean_and_deviation
from reporting import shared

__all__ = [
    "WCT_STRENGTH",
    "Inverse",
    "Level",
    "SqueezeNet",
    "TransformerNet",
    "load_levels",
    "load_squeezenet",
    "transfer_moments",
    "wct",
    "whiten_and_colour",
]

SQUEEZENET = "weights/squeezenet-v1.0-deepcompression/squeezenet_v1_0_fp32_decoded.npz"
COMPRESSED = "weights/vgg19-16x-collaborative-distillation"
WCT_STRENGTH = 0.6  # Li et al. 2017, section 4.2
LEAST_EIGENVALUE = 1e-5  # below, a direction counts as empty; that of the authors' code


# ------------------------------------------------------------------------------------------------ the judge
class SqueezeNet(nn.Module):
    """SqueezeNet 1.0 (Iandola et al. 2016) as Caffe runs it: BGR in 0 .. 255 without the mean colour of ImageNet.

    The maps are called ``conv1`` and ``fire2`` to ``fire9``, each after its ReLU.
    """

    mean: Tensor
    layers = ("conv1", *(f"fire{number}" for number in range(2, 10)))
    pooled = ("conv1", "fire4", "fire8")  # a pool comes after

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([104.0, 117.0, 123.0]).view(3, 1, 1), persistent=False)
        self.conv1 = nn.Conv2d(3, 96, 7, stride=2)
        channels = 96
        for number in range(2, 10):
            squeezed = 16 * (number // 2)
            self.add_module(f"fire{number}", Fire(channels, squeezed))
            channels = 8 * squeezed
        self.conv_final = nn.Conv2d(channels, 1000, 1, padding=1)

    def maps(self, images: Tensor, layers: Sequence[str] = layers) -> dict[str, Tensor]:
        """(N, channels, height, width) by name, in the order of the network."""
        x, found = images.flip(1) * 255 - self.mean, {}
        for layer in self.layers:
            x = F.relu(self.get_submodule(layer)(x))
            if layer in layers:
                found[layer] = x
            if layer in self.pooled:
                x = F.max_pool2d(x, 3, stride=2, ceil_mode=True)
        return found

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1000) probabilities of ImageNet's classes."""
        last = self.maps(images, self.layers[-1:])[self.layers[-1]]
        scores = F.relu(self.conv_final(last)).mean((2, 3))
        return scores.softmax(1)


class Fire(nn.Module):
    """Channels are squeezed, then widened by 1x1 and by 3x3, half each; to be followed by a ReLU."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.conv1x1_1 = nn.Conv2d(channels, squeezed, 1)
        self.conv1x1_2 = nn.Conv2d(squeezed, 4 * squeezed, 1)
        self.conv3x3_2 = nn.Conv2d(squeezed, 4 * squeezed, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1x1_1(x))
        return torch.cat([self.conv1x1_2(x), self.conv3x3_2(x)], 1)


def load_squeezenet() -> SqueezeNet:
    """With the weights of Deep Compression (Han et al. 2016), as accurate as the original, its authors say."""
    network = SqueezeNet()
    with np.load(shared(SQUEEZENET)) as file:
        network.load_state_dict({name: torch.from_numpy(file[name]) for name in file.files})
    return network.eval().requires_grad_(False)


# --------------------------------------------------------------------------- from features back to pictures
class Inverse(nn.Module):
    """Makes a picture of maps of VGG-19 compressed: a decoder ``kSD.pth`` of Wang et al. 2020.

    A convolution ``convBN`` undoes the encoder's of that name; before block B - 1 the map is enlarged, each pixel to
    2x2. Borders are reflected, and a ReLU comes after every convolution, the last one too.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.names = sorted({name.partition(".")[0] for name in state}, reverse=True)
        for name in self.names:
            out_channels, channels = state[f"{name}.weight"].shape[:2]
            self.add_module(name, nn.Conv2d(channels, out_channels, 3, padding=1, padding_mode="reflect"))
        self.load_state_dict(state)

    def forward(self, x: Tensor) -> Tensor:
        for name in self.names:
            x = F.relu(self.get_submodule(name)(x))
            if name.endswith("1") and name != "conv11":
                x = F.interpolate(x, scale_factor=2, mode="nearest")
        return x


class Level:
    """An encoder up to the first layer of a block, and the decoder from there.

    Args:
        block: 1 to 5.
        encoder: with the layer ``relu{block}_1``.
        decoder: from its maps back to pictures.
    """

    def __init__(self, block: int, encoder: FeatureNetwork, decoder: nn.Module) -> None:
        self.layer, self.encoder, self.decoder = f"relu{block}_1", encoder, decoder

    def encode(self, images: Tensor) -> Tensor:
        """(N, C, h, w)"""
        return self.encoder.maps(images, [self.layer])[self.layer]

    def decode(self, maps: Tensor, size: Sequence[int]) -> Tensor:
        """(N, 3, H, W) of that size: the pools dropped odd rows and columns at the end, here the last are repeated."""
        made: Tensor = self.decoder(maps)
        missing = (0, size[1] - made.shape[3], 0, size[0] - made.shape[2])
        return F.pad(made, missing, mode="replicate")

    def transfer(self, photo: Tensor, painting: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """The photo, its maps changed by the painting's."""
        return self.decode(change(self.encode(photo), self.encode(painting)), photo.shape[2:])


def load_levels(blocks: Sequence[int]) -> list[Level]:
    """Those of `blocks`, in that order."""
    found = []
    for block in blocks:
        file = torch.load(shared(f"{COMPRESSED}/{block}SD.pth"), map_location="cpu", weights_only=True)
        decoder = Inverse(file["model"]).eval().requires_grad_(False)
        found.append(Level(block, open_network(shared(f"{COMPRESSED}/{block}SE.pth")), decoder))
    return found


# ------------------------------------------------------------------------------------- statistics transferred
def wct(levels: Sequence[Level], photo: Tensor, painting: Tensor, strength: float = WCT_STRENGTH) -> Tensor:
    """Universal style transfer (Li et al. 2017): whitening and colouring, level by level, the deepest first."""
    made = photo
    for level in levels:
        made = level.transfer(made, painting, lambda f, s: f.lerp(whiten_and_colour(f, s), strength))
    return made.clamp(0, 1)


def whiten_and_colour(content: Tensor, style: Tensor) -> Tensor:
    """(1, C, h, w) maps of the content with mean and covariance of those of the style (Li et al. 2017, eq. 2 and 3).

    The covariance is that of the style where the content varies; directions in which it does not stay empty.
    """
    f, _, whiten = _whole(content, -0.5)
    _, mean, colour = _whole(style, 0.5)
    return (colour @ (whiten @ f) + mean).view_as(content).to(content.dtype)


def _whole(maps: Tensor, exponent: float) -> tuple[Tensor, Tensor, Tensor]:
    """The maps about their mean (C, n), the mean (C, 1), and a power of their covariance, in float64."""
    rows = maps[0].flatten(1).double()
    mean = rows.mean(1, keepdim=True)
    rows = rows - mean
    values, vectors = torch.linalg.eigh(rows @ rows.mT / (rows.shape[1] - 1))
    kept = values > LEAST_EIGENVALUE
    values, vectors = values[kept], vectors[:, kept]
    return rows, mean, (vectors * values**exponent) @ vectors.mT


def transfer_moments(content: Tensor, style: Tensor) -> Tensor:
    """Maps of the content with the mean and the deviation of each channel of the style (Huang and Belongie 2017)."""
    (mean, deviation), (wanted_mean, wanted) = mean_and_deviation(content), mean_and_deviation(style)
    return (content - mean) / deviation * wanted + wanted_mean


# -------------------------------------------------------------------------------------------------- the rival
class TransformerNet(nn.Module):
    """The network of fast neural style (Johnson et al. 2016) in the form of PyTorch's examples; one a style."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_convolved(3, 32, 9),
            *_convolved(32, 64, 3, stride=2),
            *_convolved(64, 128, 3, stride=2),
            *(Residual(128) for _ in range(5)),
            nn.Upsample(scale_factor=2),
            *_convolved(128, 64, 3),
            nn.Upsample(scale_factor=2),
            *_convolved(64, 32, 3),
            _reflected(32, 3, 9),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Pictures with both sides a multiple of 4, here without the scaling by 255 of its training."""
        made: Tensor = self.layers(images)
        return made


class Residual(nn.Module):
    """Two convolutions, normalized, beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        last = [_reflected(channels, channels, 3), nn.InstanceNorm2d(channels, affine=True)]
        self.layers = nn.Sequential(*_convolved(channels, channels, 3), *last)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.layers(x)
        return out


def _reflected(channels: int, out_channels: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out_channels, size, stride, padding=size // 2, padding_mode="reflect")


def _convolved(channels: int, out_channels: int, size: int, stride: int = 1) -> list[nn.Module]:
    norm = nn.InstanceNorm2d(out_channels, affine=True)
    return [_reflected(channels, out_channels, size, stride), norm, nn.ReLU()]
