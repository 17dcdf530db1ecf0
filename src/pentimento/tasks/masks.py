"""Masks of pictures: white, or transparent, where something is to be done; regions, where gray is a part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F  # noqa: N812

from pentimento import images, large
from pentimento.data.fit import recolour
from pentimento.errors import ImageError, InputError, NotFoundError
from pentimento.images import BoolArray
from pentimento.tasks.memory import memory_budget

__all__ = ["Shares", "brought_to", "plan_masks", "read_mask", "read_regions"]

Shares = npt.NDArray[np.uint8]  # of 255
Place = tuple[str, ...]  # folders and name

WHITE = 224  # of 255, or above: what is painted white; as near to black is what is painted black
MOST_GRAY = 0.5  # of a mask, between the two: edges are soft
_ROWS_PX = 256
_ROUNDING = 2  # of 255: masks that fade into each other may pass it by so much


def plan_masks(sources: Sequence[Path], given: Path | None) -> Mapping[Path, Path]:
    """The mask of each picture: `given` for all, or the file of the same name in the folder `given`.

    Pictures of one name are told apart by their folders: of ``left/a.tif`` and ``right/a.tif`` the masks are
    ``left/a.png`` and ``right/a.png`` in `given`.

    Raises:
        InputError: a picture that two masks are for, or a mask that is for pictures of two folders.
        NotFoundError: no such file or folder, or a picture without a mask in it.
    """
    if given is None:
        return {}
    if given.is_file():
        return dict.fromkeys(sources, given)
    if not given.is_dir():
        raise NotFoundError(f"--mask: {given} does not exist")
    there = _by_place(given, {source.resolve() for source in sources})
    found = {source: _mask_of(source, given, there) for source in sources}
    folders: dict[Path, Path] = {}
    for source, mask in found.items():
        if folders.setdefault(mask, source.parent) != source.parent:
            raise InputError(
                f"--mask: {mask} would be the mask of {folders[mask] / source.stem} and {source.parent / source.stem}; "
                "put masks into folders as the pictures are"
            )
    return found


def _by_place(folder: Path, but: Set[Path]) -> Mapping[Place, list[Path]]:
    """The pictures in a folder, by where they are in it, without suffix."""
    there = defaultdict[Place, list[Path]](list)
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in images.READABLE_SUFFIXES):
        if path.resolve() not in but:
            there[path.relative_to(folder).with_suffix("").parts].append(path)
    return there


def _mask_of(source: Path, folder: Path, there: Mapping[Place, Sequence[Path]]) -> Path:
    """That whose place agrees with most of the folders that the picture lies in."""
    parts = source.absolute().with_suffix("").parts
    masks = next((there[parts[i:]] for i in range(len(parts)) if parts[i:] in there), [])
    if not masks:
        raise NotFoundError(f"--mask: {folder} has no picture called {source.stem}")
    if len(masks) > 1:
        raise InputError(f"--mask: {masks[0]} and {masks[1].name} are for the same picture; leave one")
    return masks[0]


def read_mask(path: Path, height: int, width: int) -> BoolArray:
    """White where to repair; of a mask with transparency, what is transparent, whatever colours it has.

    Raises:
        ImageError: no still picture, another size, nothing to repair, nothing else, or no mask but a photograph.
    """
    shares, alpha = _read(path, height, width)
    mask: BoolArray = shares > 127
    if (alpha <= 127).any():
        mask = alpha <= 127
        if not mask.all() and (shares[~mask] >= WHITE).all():
            raise ImageError(
                f"--mask: {path.name} is white and transparent, and either could be what to repair; fill what is to "
                "stay with black"
            )
    elif ((shares > 255 - WHITE) & (shares < WHITE)).mean() > MOST_GRAY:
        raise ImageError(
            f"--mask: {path.name} is gray for the most part, as a photograph is; paint white where to repair, and "
            "black elsewhere"
        )
    if not mask.any():
        raise ImageError(f"--mask: {path.name} has no white, so there is nothing to repair")
    if mask.all():
        raise ImageError(f"--mask: {path.name} is all white, or transparent, so there is nothing left to repair from")
    return mask


def read_regions(paths: Sequence[Path], height: int, width: int) -> list[Shares]:
    """How much each mask says of each pixel: white all, black nothing. No pixel may be given away twice.

    Raises:
        ImageError: no still picture, another size, all black, or two that overlap.
    """
    regions: list[Shares] = []
    total = np.zeros((height, width), np.uint16)
    for path in paths:
        region, _ = _read(path, height, width)
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


def brought_to(region: Shares, height: int, width: int) -> Shares:
    """At another size; bilinear, so that regions that are apart stay so."""
    if region.shape == (height, width):
        return region
    values = torch.from_numpy(region).float()[None, None]
    scaled: Shares = (
        F.interpolate(values, (height, width), mode="bilinear", antialias=True)[0, 0].round().byte().numpy()
    )
    return scaled


def _read(path: Path, height: int, width: int) -> tuple[Shares, Shares]:
    """The luma of a picture of that size over white, and its alpha, (H, W) each."""
    given = large.open_still(path, memory_budget())
    if (given.height_px, given.width_px) != (height, width):
        raise ImageError(
            f"--mask: the size of the picture, {width}x{height}, expected, but {path.name} is "
            f"{given.width_px}x{given.height_px}"
        )
    shares, alpha = np.empty((height, width), np.uint8), np.full((height, width), 255, np.uint8)
    for top in range(0, height, _ROWS_PX):  # as floats, all of a large one would take much memory
        rows = given.crop(top, 0, min(_ROWS_PX, height - top), width)
        shares[top : top + _ROWS_PX] = (255 * recolour(rows.to_tensor()[None], 1)[0, 0]).round().byte().numpy()
        if rows.alpha is not None:
            alpha[top : top + _ROWS_PX] = rows.alpha >> (rows.bits - 8)
    return shares, alpha
