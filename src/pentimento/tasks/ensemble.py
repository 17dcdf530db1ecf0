"""A picture repaired in eight positions, and the mean of what comes out (Timofte et al. 2016, section 3.5).

A network errs otherwise on a picture that is turned or mirrored. The mean errs less, for eight times the work.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from pentimento.capabilities import Reach
from pentimento.layers import pad_to_multiple

__all__ = ["in_all_positions", "with_all_positions"]

Repair = Callable[[Tensor, Tensor | None], Tensor]
PICTURES_HELD = 5  # beside what the network needs: padded, turned, repaired, their sum and the next sum


def in_all_positions(repair: Repair, images: Tensor, masks: Tensor | None, multiple_px: int) -> Tensor:
    """The mean over four turns of the pictures and of their mirror images, each turned back.

    Args:
        repair: (N, C, H, W) and its masks (N, 1, H, W) or None -> (N, C, scale * H, scale * W).
        images: (N, C, H, W).
        masks: (N, 1, H, W), or None.
        multiple_px: the network's. Pictures are padded to it before they are turned, so that in every position a pixel
            of a tile has the place in the network's grid that it has in the whole.
    """
    height, width = images.shape[2:]
    images = pad_to_multiple(images, multiple_px)
    masks = None if masks is None else pad_to_multiple(masks, multiple_px)
    total: Tensor | None = None
    positions = list(itertools.product(range(4), (False, True)))
    for turns, mirrored in positions:
        made = repair(_turned(images, turns, mirrored), None if masks is None else _turned(masks, turns, mirrored))
        made = torch.rot90(made, -turns, (2, 3))
        made = made.flip(3) if mirrored else made
        total = made if total is None else total + made
    assert total is not None
    scale = total.shape[2] // images.shape[2]
    return total[..., : scale * height, : scale * width] / len(positions)


def _turned(images: Tensor, turns: int, mirrored: bool) -> Tensor:
    """Mirrored, then turned; channels last, as the networks compute."""
    images = images.flip(3) if mirrored else images
    return torch.rot90(images, turns, (2, 3)).contiguous(memory_format=torch.channels_last)


def with_all_positions(reach: Reach) -> Reach:
    """What `in_all_positions` needs of a network of that `reach`, for pictures in colour."""
    return replace(reach, bytes_per_px=reach.bytes_per_px + PICTURES_HELD * 3 * 4 * reach.scale**2)
