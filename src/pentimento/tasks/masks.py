"""Masks of pictures: white, or transparent, where something is to be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pentimento import images, large
from pentimento.data.fit import recolour
from pentimento.errors import ImageError, NotFoundError
from pentimento.images import BoolArray
from pentimento.tasks.tiles import memory_budget

__all__ = ["plan_masks", "read_mask"]

_ROWS_PX = 256


def plan_masks(sources: Sequence[Path], given: Path | None) -> Mapping[Path, Path]:
    """The mask of each picture: `given` for all, or the file of the same name in the folder `given`.

    Raises:
        NotFoundError: no such file or folder, or a picture without a mask in it.
    """
    if given is None:
        return {}
    if given.is_file():
        return dict.fromkeys(sources, given)
    if not given.is_dir():
        raise NotFoundError(f"--mask: {given} does not exist")
    by_stem = {p.stem: p for p in sorted(given.iterdir()) if p.suffix.lower() in images.READABLE_SUFFIXES}
    missing = [p for p in sources if p.stem not in by_stem]
    if missing:
        raise NotFoundError(f"--mask: {given} has no picture called {missing[0].stem}")
    return {p: by_stem[p.stem] for p in sources}


def read_mask(path: Path, height: int, width: int) -> BoolArray:
    """White or transparent where to repair.

    Raises:
        ImageError: no still picture, another size, nothing white, or nothing else.
    """
    given = large.open_still(path, memory_budget())
    if (given.height_px, given.width_px) != (height, width):
        raise ImageError(
            f"--mask: the size of the picture, {width}x{height}, expected, but {path.name} is "
            f"{given.width_px}x{given.height_px}"
        )
    mask = np.empty((height, width), bool)
    for top in range(0, height, _ROWS_PX):  # as floats, all of a large one would take much memory
        rows = given.crop(top, 0, min(_ROWS_PX, height - top), width).to_tensor()
        mask[top : top + _ROWS_PX] = recolour(rows[None], 1)[0, 0].numpy() > 0.5
    if not mask.any():
        raise ImageError(f"--mask: {path.name} has no white, so there is nothing to repair")
    if mask.all():
        raise ImageError(f"--mask: {path.name} is all white, so there is nothing left to repair from")
    return mask
