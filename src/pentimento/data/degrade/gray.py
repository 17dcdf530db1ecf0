"""Pictures without colour."""

from __future__ import annotations

from torch import Tensor

from pentimento.colour import LUMA

__all__ = ["is_gray", "to_gray"]


def to_gray(images: Tensor) -> Tensor:
    """The luma of ITU-R BT.601 in every channel: (N, C, H, W) -> the same; `images` itself where C = 1."""
    if images.shape[1] == 1:
        return images
    luma = (images * images.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)  # (N, 1, H, W)
    return luma.expand_as(images).contiguous()


def is_gray(images: Tensor) -> Tensor:
    """(N,) bool: whether all channels of a picture are the same."""
    same = (images[:, 1:, 0] == images[:, :1, 0]).flatten(1).all(1)  # in colour, most differ in the first row already
    return (images[:, 1:] == images[:, :1]).flatten(1).all(1) if bool(same.any()) else same
