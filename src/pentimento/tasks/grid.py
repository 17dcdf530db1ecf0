"""Where the blocks of JPEG begin in a picture that was cropped, turned or saved as something else since.

A network that takes their edges away has learned them where they are in a fresh JPEG: at every 8th row and column from
the first. Elsewhere it takes away a fifth less, and guesses the quality wrongly.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from pentimento.data.fit import recolour

__all__ = ["BLOCK_PX", "find_grid"]

BLOCK_PX = 8
CLEARLY = 4.0  # standard errors by which another place must stand out against the first row or column
FEWEST = 8  # lines of each place: in pictures of less than about 64 px there are always some that stand out
MOST = 16 / 255  # of a step that counts: an edge of the picture is no edge of a block


def find_grid(squares: Iterable[Tensor]) -> tuple[int, int]:
    """(top, left): row and column, below `BLOCK_PX`, of the first block that is whole; (0, 0) where none stands out.

    At an edge between blocks, neighbours differ by more than on either side of it (Wang et al. 2000, "Blind measurement
    of blocking artifacts in images"). By how much is seen line by line, so that chance can be told from a grid.

    Args:
        squares: (1, C, H, W) in [0, 1], parts of the picture that begin at multiples of `BLOCK_PX`.
    """
    seen: tuple[list[Tensor], list[Tensor]] = ([], [])  # by axis, (2, L) each: places in a block, strength of the edge
    for square in squares:
        luma = recolour(square, 1)[0, 0]
        for edges, lines in zip(seen, (luma, luma.T), strict=True):
            steps = lines.diff(dim=0).abs().clamp(max=MOST).double().mean(1)  # steps[i] leads from line i to i + 1
            edge = steps[1:-1] - (steps[:-2] + steps[2:]) / 2
            places = (torch.arange(len(edge)) + 2) % BLOCK_PX
            edges.append(torch.stack([places.double(), edge]))
    top, left = (_standing_out(*torch.cat(edges, 1)) for edges in seen)
    return top, left


def _standing_out(places: Tensor, edges: Tensor) -> int:
    """The place whose edges are clearly stronger than those at 0, where blocks begin until something else is seen."""
    by_place = [edges[places == place] for place in range(BLOCK_PX)]
    if min(map(len, by_place)) < FEWEST:
        return 0
    means, errors = ([float(f(e)) for e in by_place] for f in (torch.mean, lambda e: e.var() / len(e)))
    found = max(range(BLOCK_PX), key=means.__getitem__)
    return found if means[found] - means[0] > CLEARLY * (errors[found] + errors[0]) ** 0.5 else 0
