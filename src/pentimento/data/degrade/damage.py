"""What time does to photographs, on tensors: loss of emulsion, folds, stains, fading, yellowing; and printing.

All take and give (N, C, H, W) in [0, 1]; maps are (N, 1, H, W), numbers (N,).
"""

from __future__ import annotations

import functools
import itertools
import math

import torch
from torch import Tensor

from pentimento.colour import LUMA
from pentimento.data.degrade.gray import is_gray, to_gray

__all__ = ["blot", "cover", "crease_maps", "fade", "halftone", "tint", "visible"]

# An opacity from which damage is seen, and belongs into the mask.
_VISIBLE = 0.1

# Of the screens of red, green and blue, against the first: 30 degrees are least prone to moire.
_SCREENS_DEGREES = (0.0, 30.0, 60.0)
PLACES = 3  # along a side of a pixel, at which it is asked whether a dot covers it


def visible(opacity: Tensor) -> Tensor:
    """(N, 1, H, W) of 0 and 1: where damage can be seen."""
    return (opacity.abs() >= _VISIBLE).to(opacity.dtype)


def cover(images: Tensor, opacity: Tensor, value: Tensor) -> Tensor:
    """``(1 - opacity) x + opacity value``, `value` (N, 1 or C, 1 or H, 1 or W)."""
    return images + opacity * (value - images)


def tint(images: Tensor, strength: Tensor, colour: Tensor) -> Tensor:
    """What is behind a layer that lets `colour` through, which is all there is at strength 1.

    Args:
        images: x.
        strength: (N, 1, 1, 1) or a map, in [0, 1].
        colour: (N, 3); a picture of one channel takes its luma.
    """
    if images.shape[1] == 1:
        colour = colour @ colour.new_tensor(LUMA)[:, None]
    return images * (1 - strength * (1 - colour[:, :, None, None]))


def fade(images: Tensor, contrast: Tensor, colour: Tensor, level: Tensor) -> Tensor:
    """Tones fade towards one level, and colours towards gray.

    Args:
        images: x.
        contrast: (N, 1, 1, 1) or a map, share that is lost.
        colour: (N,) share that is lost.
        level: (N,) tone that stays.
    """
    pale = torch.lerp(images, to_gray(images), colour[:, None, None, None])
    return cover(pale, contrast, level[:, None, None, None])


def crease_maps(distance_px: Tensor, half_px: Tensor, shade_px: Tensor) -> tuple[Tensor, Tensor]:
    """Of K folds: where the emulsion has come off, in [0, 1], and the light on the slopes, about -1 to 1.

    Args:
        distance_px: (N, K, H, W) from each fold, negative on one side.
        half_px: (N, K, H, W) half the width that came off; below 0 nothing did.
        shade_px: (N,) from the fold to the brightest and to the darkest place of its slopes.
    """
    loss = (half_px + 0.5 - distance_px.abs()).clamp_(0, 1) * (half_px > 0)
    away = distance_px / shade_px[:, None, None, None]
    light = away * torch.exp(0.5 - away.square() / 2)
    return loss.amax(1, keepdim=True), light.sum(1, keepdim=True)


def blot(distance: Tensor, rim: Tensor) -> Tensor:
    """Opacity of a stain by the distance from its centre in radii: flat, soft at the outline, perhaps with a rim.

    Args:
        distance: any shape.
        rim: broadcasts; 0: none, 1: twice as dark as the inside, where water dried.
    """
    inside = torch.sigmoid((1 - distance) * 18)
    edge = torch.exp(-((distance - 0.93) / 0.055).square() / 2)
    return (0.5 * inside * (1 + rim * edge) + 0.5 * inside * (1 - rim)).clamp_(0, 1)


def halftone(images: Tensor, period_px: Tensor, angle_degrees: Tensor, strength: Tensor) -> Tensor:
    """Printed in dots on a square screen; tones keep their mean.

    A place is white where its tone is above the threshold of the screen, whose thresholds are spread evenly over
    [0, 1]; a pixel is the mean of `PLACES` x `PLACES` of them. So black and white have no dots. Gray stays gray.

    Args:
        images: x.
        period_px: (N,) between dots.
        angle_degrees: (N,) of the first screen; those of further channels are turned by 30 and 60 degrees.
        strength: (N,) 1: dots of pure ink.
    """
    channels, height, width = images.shape[1:]
    turn = images.new_tensor(_SCREENS_DEGREES[:channels]) * (~is_gray(images))[:, None]  # (N, C)
    angle = torch.deg2rad(angle_degrees[:, None] + turn)[:, :, None, None]
    wave = (2 * math.pi / period_px)[:, None, None, None]
    x, y = (torch.arange(n, device=images.device, dtype=images.dtype) for n in (width, height))
    ranks = torch.tensor(_spot_ranks(), device=images.device, dtype=images.dtype)
    dots = torch.zeros_like(images)
    for down, right in itertools.product([(k + 0.5) / PLACES - 0.5 for k in range(PLACES)], repeat=2):
        v, u = y[:, None] + down, x + right
        along = wave * (u * angle.cos() + v * angle.sin())  # (N, C, H, W)
        across = wave * (v * angle.cos() - u * angle.sin())
        spot = (along.cos_() + across.cos_()) / 2  # in [-1, 1]
        dots += images > ranks[((spot + 1) * ((len(ranks) - 1) / 2)).round_().long()]
    dots /= PLACES**2
    return cover(images, strength[:, None, None, None], dots)


@functools.lru_cache
def _spot_ranks() -> list[float]:
    """Share of a screen whose spot function is below -1 + 2 i / 512, i = 0 .. 512."""
    phase = (torch.arange(1024, dtype=torch.float64) + 0.5) * (2 * math.pi / 1024)
    spots = ((phase.cos()[:, None] + phase.cos()) / 2).flatten().sort().values
    shares = torch.searchsorted(spots, torch.linspace(-1, 1, 513).double()) / len(spots)
    below_white: list[float] = shares.clamp(max=1 - 1e-6).tolist()
    return below_white
