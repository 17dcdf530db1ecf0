"""Shows what a verb has changed: before and after side by side, a map of the changes, the damage that was found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch.nn import functional as F  # noqa: N812

from pentimento import images
from pentimento.images import BoolArray, Picture
from pentimento.provenance import Provenance
from pentimento.tasks.files import SHOWN

__all__ = ["names", "show"]

VISIBLE = 4  # times as strong as it is, a change is shown in the map of changes
_PAD_PX = 2  # around and between before and after, white
_ROWS_PX = 256  # worked on at once: as floats, all of a large picture would take much memory


def names(target: Path, found: bool) -> list[Path]:
    """Where before and after, the map of changes and, where damage was `found`, its mask go, beside `target`."""
    return [target.with_name(f"{target.stem}-{what}.png") for what in SHOWN[: 2 + found]]


def show(before: Picture, after: Picture, record: Provenance, files: Sequence[Path], found: BoolArray | None) -> None:
    """Before (left) and after (right), and how much each pixel changed: white is 1 / `VISIBLE` of the range or more.

    In 8 bits, over white where there is transparency; a smaller picture is enlarged before.

    Args:
        before: the source.
        after: the result.
        record: goes into all files.
        files: of `names`.
        found: (H, W), where damage was found: white, to be corrected by hand and given as a mask.
    """
    both, changes, *mask = files
    if found is not None:
        images.write(mask[0], Picture((255 * found[..., None]).astype(np.uint8)), provenance=record)
    height, width, channels = after.pixels.shape
    if before.height_px != height:
        larger = F.interpolate(before.to_tensor()[None], (height, width), mode="bicubic")
        before = Picture(images.to_samples(larger, 8))
    sheet = np.full((height + 2 * _PAD_PX, 2 * width + 3 * _PAD_PX, channels), 255, np.uint8)
    change = np.empty((height, width, 1), np.uint8)
    for top in range(0, height, _ROWS_PX):
        old, new = (p.crop(top, 0, min(_ROWS_PX, height - top), width).to_tensor() for p in (before, after))
        change[top : top + _ROWS_PX] = images.to_samples(VISIBLE * (new - old).abs().amax(0, keepdim=True), 8)
        for place, part in enumerate((old, new)):
            left = _PAD_PX + place * (width + _PAD_PX)
            inside = slice(_PAD_PX + top, _PAD_PX + top + part.shape[1])
            sheet[inside, left : left + width] = images.to_samples(part, 8)
    images.write(both, Picture(sheet), provenance=record)
    images.write(changes, Picture(change), provenance=record)
