"""A packed picture of any size -> the size and the channels that a model takes."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from pentimento.colour import LUMA
from pentimento.model import DataSpec

__all__ = ["Fit", "corner", "fit_picture", "recolour", "resize", "to_planes"]

Fit = Literal["crop", "pad", "resize", "patch"]


def to_planes(pixels: npt.NDArray[Any], white: int) -> Tensor:
    """(N, H, W, C) uint8 or uint16, where `white` is 1 -> (N, C, H, W) float32 in [0, 1].

    In numpy, which uses one thread: torch's threads would compete with those of the training beside it.
    """
    planes = np.divide(pixels.transpose(0, 3, 1, 2), np.float32(white), dtype=np.float32, order="C")
    return torch.from_numpy(planes)


def recolour(images: Tensor, channels: int) -> Tensor:
    """(N, 1 or 3, H, W) -> (N, channels, H, W): gray is repeated, colour becomes its BT.601 luma."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.repeat(1, 3, 1, 1)
    weights = images.new_tensor(LUMA).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def resize(pixels: npt.NDArray[Any], height: int, width: int, white: int) -> Tensor:
    """(S, H, W, C) uint8 or uint16 -> (S, C, height, width) float32 in [0, 1], antialiased bicubic.

    8-bit pictures are scaled down in 8 bits, rounded and cut to the range after each axis as Pillow does it. That was
    measured 7 times faster on one thread than floats; it differs from them by at most a level, but for the overshoot
    at hard edges, which was seen to make 13 levels on white noise. The same size stays as it is.
    """
    if pixels.shape[1:3] == (height, width):
        return to_planes(pixels, white)
    if pixels.dtype == np.uint8 and height <= pixels.shape[1] and width <= pixels.shape[2]:
        # A copy, because torch warns of arrays that cannot be written. (S, C, H, W), the channels last in memory.
        images = torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2)
        resized = functional.interpolate(images, (height, width), mode="bicubic", antialias=True)
        return to_planes(resized.permute(0, 2, 3, 1).numpy(), white)
    images = to_planes(pixels, white)
    return functional.interpolate(images, (height, width), mode="bicubic", antialias=True).clamp(0, 1)


def fit_picture(
    pixels: npt.NDArray[Any],
    white: int,
    spec: DataSpec,
    *,
    fit: Fit,
    place: npt.NDArray[np.float32],
    background: tuple[float, float, float],
) -> Tensor:
    """Bring one picture, or both of a pair alike, to the size and the channels of `spec`.

    Args:
        pixels: (S, H, W, C) uint8 or uint16, S = 1, or 2 for a pair.
        white: the value that becomes 1.
        spec: the target.
        fit: see `Batches`.
        place: (2,) in [0, 1], where a cut lies between top and bottom, and between left and right; 0.5 is central.
        background: sRGB in [0, 1], around what ``pad`` makes fit.

    Returns:
        (S, C, H, W) float32 in [0, 1].
    """
    height, width = spec.height_px, spec.width_px
    if fit == "patch":
        patch = _cut(pixels, height, width, place)
        missing = (0, height - patch.shape[1], width - patch.shape[2], 0)
        if any(missing):
            before = [m // 2 for m in missing]
            patch = np.pad(patch, [(b, m - b) for b, m in zip(before, missing, strict=True)], mode="edge")
        return recolour(to_planes(patch, white), spec.channels)
    if fit == "resize":
        return recolour(resize(pixels, height, width, white), spec.channels)
    ratios = (height / pixels.shape[1], width / pixels.shape[2])
    scale = max(ratios) if fit == "crop" else min(ratios)
    bound = max if fit == "crop" else min
    new = [max(1, bound(t, round(scale * s))) for t, s in zip((height, width), pixels.shape[1:3], strict=True)]
    images = recolour(resize(pixels, new[0], new[1], white), spec.channels)
    if fit == "crop":
        top, left = corner((new[0] - height, new[1] - width), place)
        return images[:, :, top : top + height, left : left + width]
    colour = recolour(torch.tensor(background).view(1, 3, 1, 1), spec.channels)
    canvas = colour.expand(len(images), -1, height, width).clone()
    top, left = (height - new[0]) // 2, (width - new[1]) // 2
    canvas[:, :, top : top + new[0], left : left + new[1]] = images
    return canvas


def corner(room: tuple[int, int], place: npt.NDArray[np.float32]) -> tuple[int, int]:
    """Where a cut begins, with `room` pixels to spare; each of the room + 1 places is equally likely."""
    top, left = (min(int(p * (r + 1)), r) if r > 0 else 0 for p, r in zip(place, room, strict=True))
    return top, left


def _cut(pixels: npt.NDArray[Any], height: int, width: int, place: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """At most (S, height, width, C) of (S, H, W, C)."""
    top, left = corner((pixels.shape[1] - height, pixels.shape[2] - width), place)
    return pixels[:, top : top + height, left : left + width]
