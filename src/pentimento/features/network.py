"""The contract of a frozen network: pictures in, vectors for metrics and feature maps for perceptual losses out.

An image batch is float32, (N, C, H, W), values in [0, 1], 1 or 3 channels, any size. Each network brings pictures to
its own channels and size, and says how in `resizer`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pentimento.data.fit import recolour
from pentimento.errors import ModelError, suggest

__all__ = ["FeatureNetwork", "Features", "Normalise", "PublishedNetwork", "bilinear"]


@dataclass(frozen=True)
class Features:
    """What a network says of N pictures.

    Args:
        vectors: (N, dim) float32.
        probabilities: (N, K) float32, rows that sum to 1; None where the network does not classify.
    """

    vectors: Tensor
    probabilities: Tensor | None = None


class FeatureNetwork(nn.Module):
    """Base of all feature networks: frozen, always in evaluation mode; gradients flow to the images.

    A network declares what follows and `forward`; one with `layers` also `_maps`.

    Attributes:
        kind: what it is, in words.
        name: ``"inception"``, the name of a model, or of the file.
        sha256: of the weights file.
        dim: length of the vector.
        resizer: how pictures are brought to its size, for the protocol of a metric.
        layers: names of its feature maps, from the image on; empty where there are none.
        classes: names of what it tells apart; empty where it does not classify or the file does not name them.
        channels: that it looks at: gray pictures are repeated, colour becomes its luma.
    """

    kind: str
    name: str = ""
    sha256: str = ""
    dim: int
    resizer: str = "none"
    layers: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    channels: Literal[1, 3] = 3

    def forward(self, images: Tensor) -> Features:
        """The vectors and, where the network classifies, the probabilities of (N, C, H, W) images."""
        raise NotImplementedError

    def maps(self, images: Tensor, layers: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Feature maps of (N, C, H, W) images, differentiable with respect to them; for perceptual losses.

        Args:
            images: at their own size: maps of larger pictures are larger.
            layers: which of `layers`; None takes all of them. The network runs no deeper than the last.

        Returns:
            (N, channels, height, width) by name, in the order of the network.

        Raises:
            EvaluationError: pictures too small for a layer.
            ModelError: an unknown layer, or a network without maps.
        """
        if not self.layers:
            raise ModelError(f"{self.name}: {self.kind} has no feature maps to compare; VGG-19 has")
        wanted = self.layers if layers is None else tuple(layers)
        for layer in wanted:
            if layer not in self.layers:
                raise ModelError(f"layers: {self.name} has no {layer!r}; {suggest(layer, self.layers)}")
        chosen = [layer for layer in self.layers if layer in wanted]
        return self._maps(recolour(images, self.channels), chosen) if chosen else {}

    def _maps(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """The maps of known `layers`, at least one, in the order of the network; images of its channels."""
        raise NotImplementedError

    def averaging(self) -> Self:
        """A copy that takes the mean wherever this one takes the maximum of a pool (Gatys et al. 2016, section 2).

        Raises:
            ModelError: it has no maximum pools.
        """
        twin = copy.deepcopy(self)
        pools = [(m, name, p) for m in twin.modules() for name, p in m.named_children() if isinstance(p, nn.MaxPool2d)]
        if not pools:
            raise ModelError(f"pooling: {self.name} has no maximum pools to replace by means; use pooling 'max'")
        for parent, name, pool in pools:
            mean = nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode, count_include_pad=False)
            setattr(parent, name, mean)
        return twin

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode, also as part of a module that is trained."""
        return super().train(False)


class PublishedNetwork(FeatureNetwork):
    """One whose architecture is written down here, for files of weights that others published.

    Attributes:
        unused: pattern of tensor names that its files hold and it does not need.
    """

    unused: ClassVar[str] = ""

    @classmethod
    def like(cls, state: Mapping[str, Tensor]) -> Self:  # noqa: ARG003
        """A fresh network of the depth and the widths that `state` shows, where there is more than one."""
        return cls()


class Normalise(nn.Module):
    """``(x - mean) / std`` per channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        return (images - self.mean) / self.std


def bilinear(images: Tensor, height: int, width: int) -> Tensor:
    """(N, C, H, W) -> (N, C, height, width), antialiased; the same size stays as it is."""
    if images.shape[2:] == (height, width):
        return images
    return F.interpolate(images, (height, width), mode="bilinear", antialias=True)
