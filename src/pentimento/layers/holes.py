"""A first guess of what missing pixels show: what surrounds them, ever coarser (pull-push, Gortler et al. 1996).

Each halving averages the known pixels of 2 x 2 blocks, until only the coarsest grid is left with holes, which grow
shut from their edges; on the way back, each hole takes the coarser grid's colours, smoothed. No step looks farther
than `HOLE_REACH_PX`, so a picture may go in tiles that begin at multiples of `HOLE_GRID_PX`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pentimento.layers.convolutional import pad_to_multiple

__all__ = ["HOLE_GRID_PX", "HOLE_REACH_PX", "fill_holes"]

LEVELS = 4
GROWTH = 3  # cells of the coarsest grid by which holes grow shut
SMOOTHINGS = 2  # on each level
UNKNOWN = 0.5  # farther from all that is known
HOLE_GRID_PX = 2**LEVELS
HOLE_REACH_PX = (GROWTH + 2 + SMOOTHINGS) * HOLE_GRID_PX


def fill_holes(images: Tensor, masks: Tensor) -> Tensor:
    """Images whose missing pixels continue what surrounds them smoothly; the others as they are.

    Args:
        images: (N, C, H, W).
        masks: (N, 1, H, W), 1 where pixels are missing, 0 where they are known; between the two, a known pixel that
            is mixed with its guess.
    """
    height, width = images.shape[2:]
    known = 1 - masks
    guess = _filled(pad_to_multiple(images, HOLE_GRID_PX), pad_to_multiple(known, HOLE_GRID_PX), LEVELS)
    return images * known + guess[:, :, :height, :width] * masks


def _filled(images: Tensor, known: Tensor, levels: int) -> Tensor:
    if not levels:
        for _ in range(GROWTH):
            share = _around(known)
            grown = _around(images * known) / share.clamp(min=1e-6)
            images, known = torch.where(known > 0, images, grown), (share > 0).to(images.dtype)
        return torch.where(known > 0, images, UNKNOWN)
    share = F.avg_pool2d(known, 2)
    coarse = F.avg_pool2d(images * known, 2) / share.clamp(min=1e-6)
    guess = F.interpolate(_filled(coarse, (share > 0).to(images.dtype), levels - 1), scale_factor=2, mode="bilinear")
    made = torch.where(known > 0, images, guess)
    for _ in range(SMOOTHINGS):
        made = torch.where(known > 0, images, _around(made))
    return made


def _around(images: Tensor) -> Tensor:
    """The mean over each pixel and its 8 neighbours, as many as there are."""
    return F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
