"""Skeletons of many pictures at once, and how far a point lies inside.

mask -> (N, H, W) bool, True inside; n, y, x -> picture, row, column
p2 ... p9 -> the eight neighbours of a pixel, from the one above clockwise
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["depths", "skeletonize"]

Mask = npt.NDArray[np.bool_]

_BITS = (np.arange(256)[:, None] >> np.arange(8) & 1).astype(np.bool_)  # (256, 8): p2 ... p9 by their code


def _thinning() -> tuple[Mask, Mask]:
    """Whether a pixel goes, by the code of its neighbours, in each of the two passes of Zhang and Suen.

    It goes if 2 to 6 of the neighbours are inside, if going round them once leads into the figure exactly once, and if
    one of p2, p4, p6 and one of p4, p6, p8 are outside (first pass), or one of p2, p4, p8 and one of p2, p6, p8
    (second). Of a square of two by two pixels, which would vanish, each pass spares one: the upper left, or the lower
    right.
    """
    p2, _, p4, p5, p6, _, p8, p9 = _BITS.T
    count = _BITS.sum(1)
    entries = (~_BITS & np.roll(_BITS, -1, 1)).sum(1)
    goes = (count >= 2) & (count <= 6) & (entries == 1)
    first = goes & ~(p2 & p4 & p6) & ~(p4 & p6 & p8) & ~((count == 3) & p4 & p5 & p6)
    return first, goes & ~(p2 & p4 & p8) & ~(p2 & p6 & p8) & ~((count == 3) & p8 & p9 & p2)


def _stairs() -> tuple[Mask, Mask]:
    """Whether a pixel is a needless corner of a line, seen from above and from below (Holt et al. 1987)."""
    north, northeast, east, southeast, south, southwest, west, northwest = _BITS.T
    upper = (east & ~northeast & ~southwest & ~(west & south)) | (west & ~northwest & ~southeast & ~(east & south))
    lower = (east & ~southeast & ~northwest & ~(west & north)) | (west & ~southwest & ~northeast & ~(east & north))
    return north & upper, south & lower


_THINNING, _STAIRS = _thinning(), _stairs()


def skeletonize(mask: Mask) -> Mask:
    """The lines, one pixel wide, that remain of figures when they are thinned from all sides.

    Zhang and Suen 1984, "A fast parallel algorithm for thinning digital patterns"; the stairs that it leaves are made
    diagonals as by Holt, Stewart, Clint and Perrott 1987, "An improved parallel thinning algorithm". Outside of a
    picture there is no figure. A picture's skeleton does not depend on the others.

    Args:
        mask: (N, H, W).

    Returns:
        (N, H, W), a subset of `mask`, with as many figures and holes.
    """
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1))).astype(np.uint8)
    pixels, inside = padded.reshape(-1), np.flatnonzero(padded)
    row, before = padded.shape[2], -1
    clockwise = (-row, 1 - row, 1, 1 + row, row, row - 1, -1, -1 - row)
    while len(inside) != before:
        before = len(inside)
        for goes in _THINNING:
            inside = _without(goes, pixels, inside, clockwise)
    for goes in _STAIRS:
        inside = _without(goes, pixels, inside, clockwise)
    return padded[:, 1:-1, 1:-1].astype(np.bool_)


def _without(
    goes: Mask, pixels: npt.NDArray[np.uint8], inside: npt.NDArray[np.intp], clockwise: Sequence[int]
) -> npt.NDArray[np.intp]:
    """What stays of `inside` when `goes` is asked of all of them at once; the others become 0 in `pixels`."""
    code = np.zeros(len(inside), np.uint8)
    for bit, step in enumerate(clockwise):
        code |= pixels[inside + step] << bit
    removed = goes[code]
    pixels[inside[removed]] = 0
    return inside[~removed]


def depths(mask: Mask, points: tuple[npt.NDArray[Any], ...]) -> npt.NDArray[np.float64]:
    """Distance to the nearest pixel outside, in pixels, (P,), of points inside: the exact Euclidean one.

    ``min over columns x' of  (x - x')^2 + g(y, x')^2``, g being the distance within a column (Saito and Toriwaki 1994).

    Args:
        mask: (N, H, W); a picture with points has a pixel outside. What lies beyond the picture does not count.
        points: n, y, x of each, (P,) integers, as of ``np.nonzero``.
    """
    height, width = mask.shape[1:]
    never = height + width  # farther than any pixel
    rows = np.arange(height, dtype=np.int32)[:, None]
    above = np.maximum.accumulate(np.where(mask, np.int32(-never), rows), 1)
    below = np.minimum.accumulate(np.where(mask, np.int32(height + never), rows)[:, ::-1], 1)[:, ::-1]
    within = np.minimum(rows - above, below - rows)  # (N, H, W): g, at least `never` in a column with nothing outside
    n, y, x = points
    across = np.square(np.arange(width, dtype=np.int32) - x[:, None].astype(np.int32))  # (P, W)
    nearest: npt.NDArray[np.float64] = (np.square(within[n, y]) + across).min(1).astype(np.float64)
    return np.sqrt(nearest)
