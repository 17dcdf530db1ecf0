"""Smaller pictures, as the literature of super-resolution makes them: MATLAB's `imresize`."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pentimento.data.degrade.borders import mirrored
from pentimento.errors import DataError

__all__ = ["downscale"]


def downscale(images: Tensor, factor: int) -> Tensor:
    """Antialiased bicubic interpolation to 1 / factor of the size, clipped to [0, 1] as MATLAB clips 8-bit pictures.

    The kernel of Keys 1981 with a = -1/2, stretched by the factor; the border is mirrored with its last pixel twice.
    torch's ``interpolate(mode="bicubic", antialias=True)`` has the same kernel, but cuts it off at the border, so that
    its outermost two pixels differ.

    Args:
        images: (N, C, H, W).
        factor: whole, at least 1.

    Returns:
        (N, C, H / factor, W / factor), not rounded.

    Raises:
        DataError: a side is no multiple of the factor.
    """
    height, width = images.shape[2:]
    if factor < 1 or height % factor or width % factor:
        raise DataError(
            f"factor: must be at least 1 and divide both sides, got {factor} for {height} x {width} (height x width); "
            "crop first"
        )
    taps, before = _taps(factor)
    kernel = torch.tensor(taps, device=images.device, dtype=images.dtype)
    planes = images.flatten(0, 1)[:, None]  # (N C, 1, H, W)
    rows = F.conv2d(mirrored(planes, before, 0, edge_twice=True), kernel[None, None, :, None], stride=(factor, 1))
    both = F.conv2d(mirrored(rows, 0, before, edge_twice=True), kernel[None, None, None, :], stride=(1, factor))
    return both.view(len(images), -1, height // factor, width // factor).clamp_(0, 1)


@functools.lru_cache
def _taps(factor: int) -> tuple[list[float], int]:
    """The weights of the pixels around an output pixel, and how many of them lie before its own first one."""
    centre = (factor - 1) / 2  # of the first output pixel, in input pixels
    first = math.floor(centre - 2 * factor) + 1
    last = math.ceil(centre + 2 * factor) - 1
    weights = [_cubic((place - centre) / factor) for place in range(first, last + 1)]
    return [weight / sum(weights) for weight in weights], -first


def _cubic(x: float) -> float:
    """Keys 1981, equation 4, a = -1/2."""
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0
