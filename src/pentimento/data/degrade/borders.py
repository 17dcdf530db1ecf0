"""What lies beyond the border of a picture: its mirror image, over and over for pictures smaller than the border."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["mirrored"]


def mirrored(images: Tensor, rows_px: int, columns_px: int, *, edge_twice: bool) -> Tensor:
    """Mirror a picture outwards on all four sides; any size, also where the border is wider than the picture.

    >>> mirrored(torch.arange(3.0)[None, None, None], 0, 2, edge_twice=True).int().tolist()
    [[[[1, 0, 0, 1, 2, 2, 1]]]]
    >>> mirrored(torch.arange(3.0)[None, None, None], 0, 2, edge_twice=False).int().tolist()
    [[[[2, 1, 0, 1, 2, 1, 0]]]]

    Args:
        images: (N, C, H, W).
        rows_px: above and below.
        columns_px: to the left and to the right.
        edge_twice: the pixel at the border is repeated (MATLAB's *symmetric*); without, it is not (*reflect*).

    Returns:
        (N, C, H + 2 rows_px, W + 2 columns_px).
    """
    for dim, margin in ((2, rows_px), (3, columns_px)):
        if margin:
            places = _places(images.shape[dim], margin, edge_twice=edge_twice)
            images = images.index_select(dim, places.to(images.device))
    return images


def _places(length: int, margin: int, *, edge_twice: bool) -> Tensor:
    """(length + 2 margin,) int64: which pixel stands where."""
    along = torch.arange(-margin, length + margin)
    if edge_twice:
        along = along.remainder(2 * length)
        return torch.minimum(along, 2 * length - 1 - along)
    period = max(2 * length - 2, 1)
    along = along.remainder(period)
    return torch.minimum(along, period - along)
