"""Masks of pictures: white, or transparent, where something is to be done; regions, where gray is a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pentimento import images, large
from pentimento.data.fit import recolour
from pentimento.errors import ImageError, NotFoundError
from pentimento.images import BoolArray
from pentimento.tasks.memory import memory_budget

__all__ = ["Shares", "plan_masks", "read_mask", "read_regions"]

Shares = npt.NDArray[np.uint8]  # of 255

_ROWS_PX = 256
_ROUNDING = 2  # of 255: masks that fade into each other may pass it by so much


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
    mask: BoolArray = _read(path, height, width) > 127
    if not mask.any():
        raise ImageError(f"--mask: {path.name} has no white, so there is nothing to repair")
    if mask.all():
        raise ImageError(f"--mask: {path.name} is all white, so there is nothing left to repair from")
    return mask


def read_regions(paths: Sequence[Path], height: int, width: int) -> list[Shares]:
    """How much each mask says of each pixel: white all, black nothing. No pixel may be given away twice.

    Raises:
        ImageError: no still picture, another size, all black, or two that overlap.
    """
    regions: list[Shares] = []
    total = np.zeros((height, width), np.uint16)
    for path in paths:
        region = _read(path, height, width)
        if not region.any():
            raise ImageError(f"--mask: {path.name} is black all over, so its style would go nowhere; leave it away")
        total += region
        over = int((total > 255 + _ROUNDING).sum())
        if over:
            raise ImageError(
                f"--mask: {path.name} overlaps those before it at {over} of {height * width} pixels; paint the regions "
                "apart (where they leave a hole the picture stays as it is)"
            )
        regions.append(region)
    return regions


def _read(path: Path, height: int, width: int) -> Shares:
    """The luma of a picture of that size, or its transparency, (H, W)."""
    given = large.open_still(path, memory_budget())
    if (given.height_px, given.width_px) != (height, width):
        raise ImageError(
            f"--mask: the size of the picture, {width}x{height}, expected, but {path.name} is "
            f"{given.width_px}x{given.height_px}"
        )
    shares = np.empty((height, width), np.uint8)
    for top in range(0, height, _ROWS_PX):  # as floats, all of a large one would take much memory
        rows = given.crop(top, 0, min(_ROWS_PX, height - top), width).to_tensor()
        shares[top : top + _ROWS_PX] = (255 * recolour(rows[None], 1)[0, 0]).round().byte().numpy()
    return shares
