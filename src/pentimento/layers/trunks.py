"""The trunks from image to vector and from vector to image.

A trunk works on a *pyramid*: the image is padded to ``base * 2**levels`` in each direction, so that every size
works, and what comes out is cropped back. 28x28 has two levels over a base of 7x7; 96x160 has four over 6x10.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.parametrizations import spectral_norm

from pentimento.errors import ModelError
from pentimento.model import DataSpec

__all__ = [
    "Backbone",
    "Decoder",
    "Encoder",
    "Norm",
    "Pyramid",
    "add_spectral_norm",
    "centre_fit",
    "truncate_normal",
]

Backbone = Literal["mlp", "conv", "resnet"]
Norm = Literal["none", "batch"]

MAX_CHANNELS = 8  # times `width`: as in DCGAN, whose 64 channels grow to 512


@dataclass(frozen=True)
class Pyramid:
    """How an image of any size is halved down to a small base, at least 4 pixels a side where the image has them."""

    levels: int
    base: tuple[int, int]

    @classmethod
    def of(cls, spec: DataSpec) -> Pyramid:
        """The pyramid of images of `spec`: as many levels as leave the shorter side 4 pixels or more."""
        levels = int(math.log2(max(1.0, min(spec.height_px, spec.width_px) / 4)))
        return cls(levels, (math.ceil(spec.height_px / 2**levels), math.ceil(spec.width_px / 2**levels)))

    @property
    def padded(self) -> tuple[int, int]:
        """(H, W) of the finest level."""
        return (self.base[0] << self.levels, self.base[1] << self.levels)

    def channels(self, width: int, level: int) -> int:
        """Channels after `level` halvings: doubling from `width` at level 1."""
        return width * min(MAX_CHANNELS, 1 << max(0, level - 1))


def centre_fit(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Crop or edge-pad (N, C, H, W) to `size` about its centre."""
    for axis, wanted in ((-2, size[0]), (-1, size[1])):
        extra = wanted - x.shape[axis]
        if extra < 0:
            x = x.narrow(axis, -extra // 2, wanted)
        elif extra > 0:
            before = (extra // 2, extra - extra // 2)
            x = F.pad(x, (*before, 0, 0) if axis == -1 else (0, 0, *before), mode="replicate")
    return x


def truncate_normal(z: Tensor, limit: float) -> Tensor:
    """Map a standard normal monotonically onto a standard normal truncated to [-limit, limit].

    ``Phi^-1(Phi(-t) + Phi(z) (Phi(t) - Phi(-t)))``: the truncation trick (Brock et al. 2019, section 3.1), but by
    the inverse distribution function where they redraw, so that a sample keeps its noise at every `limit`.
    """
    if not limit > 0:
        raise ModelError(f"truncation: must be above 0 (0.5 to 2 is usual), got {limit}")
    edge = 0.5 * (1 + math.erf(limit / math.sqrt(2)))  # Phi(t); Phi(-t) = 1 - Phi(t)
    share = torch.special.ndtr(z.double()) * (2 * edge - 1) + (1 - edge)
    truncated: Tensor = torch.special.ndtri(share).clamp(-limit, limit)
    return truncated.to(z.dtype)


# ------------------------------------------------------------------------------------------------ blocks
class ResidualBlock(nn.Module):
    """``x + conv(act(conv(act(x))))``, (N, C, H, W) -> (N, C', H, W).

    Without normalisation the last convolution starts at zero, so that the block starts as the identity (Fixup,
    Zhang et al. 2019; R3GAN uses the same).
    """

    def __init__(self, channels: int, out_channels: int, norm: Norm) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_norm(norm, channels),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, out_channels, 3, padding=1),
            *_norm(norm, out_channels),
            nn.LeakyReLU(0.2),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        self.skip = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1, bias=False)
        if norm == "none":
            nn.init.zeros_(self.body[-1].weight)  # type: ignore[arg-type]
            nn.init.zeros_(self.body[-1].bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.skip(x) + self.body(x)
        return out


def _norm(norm: Norm, channels: int, flat: bool = False) -> list[nn.Module]:
    if norm == "none":
        return []
    return [nn.BatchNorm1d(channels) if flat else nn.BatchNorm2d(channels)]


def add_spectral_norm(module: nn.Module) -> None:
    """Divide every convolution's and linear layer's weight by its largest singular value (Miyato et al. 2018).

    A weight that starts at zero has none, so residual blocks give up their start as the identity.
    """
    for child in module.modules():
        if isinstance(child, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            if not child.weight.any():
                child.reset_parameters()
            spectral_norm(child)


# ------------------------------------------------------------------------------------------------ trunks
class Decoder(nn.Module):
    """From a vector (N, D) to an image (N, C, H, W) without a final nonlinearity, in named stages.

    ``conv`` is the generator of DCGAN (Radford et al. 2016): transposed 4x4 convolutions. ``resnet`` upsamples by
    nearest neighbour before each residual block. ``mlp`` has two hidden layers.

    Args:
        spec: of the images.
        in_dim: D.
        backbone: see above.
        width: channels at the finest level; coarser levels double up to 8 times that. Hidden units are 8 times it
            for ``mlp``.
        norm: ``"batch"`` normalises after every layer but the last.
    """

    def __init__(self, spec: DataSpec, in_dim: int, backbone: Backbone, width: int, norm: Norm) -> None:
        super().__init__()
        self.size = (spec.height_px, spec.width_px)
        self.pyramid = Pyramid.of(spec)
        build = {"mlp": self._mlp, "conv": self._conv, "resnet": self._resnet}[backbone]
        self.stages = nn.ModuleDict(build(spec, in_dim, width, norm))

    def _mlp(self, spec: DataSpec, in_dim: int, width: int, norm: Norm) -> dict[str, nn.Module]:
        hidden = MAX_CHANNELS * width
        layers = {
            name: nn.Sequential(nn.Linear(n, hidden), *_norm(norm, hidden, flat=True), nn.LeakyReLU(0.2))
            for name, n in (("hidden1", in_dim), ("hidden2", hidden))
        }
        head = nn.Sequential(nn.Linear(hidden, math.prod(spec.image_shape)), nn.Unflatten(1, spec.image_shape))
        return {**layers, "image": head}

    def _base(self, in_dim: int, channels: int, *tail: nn.Module) -> nn.Module:
        shape = (channels, *self.pyramid.base)
        return nn.Sequential(nn.Linear(in_dim, math.prod(shape)), nn.Unflatten(1, shape), *tail)

    def _conv(self, spec: DataSpec, in_dim: int, width: int, norm: Norm) -> dict[str, nn.Module]:
        p, top = self.pyramid, self.pyramid.levels
        c = p.channels(width, top)
        stages = {"base": self._base(in_dim, c, *_norm(norm, c), nn.ReLU())}
        for level in range(top - 1, 0, -1):
            n = p.channels(width, level)
            up = nn.ConvTranspose2d(c, n, 4, 2, 1, bias=norm == "none")
            stages[f"up{top - level}"] = nn.Sequential(up, *_norm(norm, n), nn.ReLU())
            c = n
        last = nn.ConvTranspose2d(c, spec.channels, 4, 2, 1) if top else nn.Conv2d(c, spec.channels, 3, padding=1)
        return {**stages, "image": last}

    def _resnet(self, spec: DataSpec, in_dim: int, width: int, norm: Norm) -> dict[str, nn.Module]:
        p, top = self.pyramid, self.pyramid.levels
        c = p.channels(width, top + 1)
        stages = {"base": self._base(in_dim, c, ResidualBlock(c, c, norm))}
        for level in range(top, 0, -1):
            n = p.channels(width, level)
            stages[f"up{top - level + 1}"] = nn.Sequential(nn.Upsample(scale_factor=2), ResidualBlock(c, n, norm))
            c = n
        head = nn.Sequential(*_norm(norm, c), nn.LeakyReLU(0.2), nn.Conv2d(c, spec.channels, 3, padding=1))
        return {**stages, "image": head}

    def run_stage(self, stage: str, x: Tensor) -> Tensor:
        """The output of one stage; that of ``"image"`` is cropped to the size of the images."""
        x = self.stages[stage](x)
        return centre_fit(x, self.size) if stage == "image" else x


class Encoder(nn.Module):
    """From an image (N, C, H, W) to features (N, F), `out_dim` of them: the mirror of `Decoder`.

    ``conv`` is the discriminator of DCGAN: 4x4 convolutions of stride 2, no normalisation after the first.
    ``resnet`` halves by mean pooling after each residual block.
    """

    def __init__(self, spec: DataSpec, backbone: Backbone, width: int, norm: Norm) -> None:
        super().__init__()
        self.pyramid = Pyramid.of(spec)
        p, channels = self.pyramid, spec.channels
        self.flat = backbone == "mlp"
        if backbone == "mlp":
            self.out_dim = MAX_CHANNELS * width
            sizes = [math.prod(spec.image_shape), self.out_dim, self.out_dim]
            layers: list[nn.Module] = [nn.Flatten()]
            for n, m in itertools.pairwise(sizes):
                layers += [nn.Linear(n, m), *_norm(norm, m, flat=True), nn.LeakyReLU(0.2)]
        else:
            layers = self._conv(channels, width, norm) if backbone == "conv" else self._resnet(channels, width, norm)
            top = p.levels + (backbone == "resnet")
            self.out_dim = p.channels(width, top) * math.prod(p.base)
            layers.append(nn.Flatten())
        self.body = nn.Sequential(*layers)

    def _conv(self, channels: int, width: int, norm: Norm) -> list[nn.Module]:
        if not self.pyramid.levels:
            return [nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(0.2)]
        layers: list[nn.Module] = []
        for level in range(1, self.pyramid.levels + 1):
            n = self.pyramid.channels(width, level)
            normed = norm if level > 1 else "none"
            layers += [nn.Conv2d(channels, n, 4, 2, 1, bias=normed == "none"), *_norm(normed, n), nn.LeakyReLU(0.2)]
            channels = n
        return layers

    def _resnet(self, channels: int, width: int, norm: Norm) -> list[nn.Module]:
        c = width
        layers: list[nn.Module] = [nn.Conv2d(channels, c, 3, padding=1)]
        for level in range(1, self.pyramid.levels + 1):
            n = self.pyramid.channels(width, level + 1)
            layers += [ResidualBlock(c, n, norm), nn.AvgPool2d(2)]
            c = n
        return [*layers, ResidualBlock(c, c, norm), *_norm(norm, c), nn.LeakyReLU(0.2)]

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in about [-1, 1] -> (N, F)."""
        features: Tensor = self.body(x if self.flat else centre_fit(x, self.pyramid.padded))
        return features
