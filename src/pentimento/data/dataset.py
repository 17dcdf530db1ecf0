"""A data set decoded once, in arrays that are mapped into memory: no picture is decoded twice, none fills the memory.

A packed data set is a folder ``packed/<key>`` in the cache, the key being a hash of the source's content, of the
options and of the format's version:

=============== =================================================================================================
pixels.bin      the pictures one after another, each (H, W, C) in rows, uint8 or uint16; of a pair the input, then the
                target, of one size and one C
offsets.npy     (N + 1,) int64, where each picture begins in pixels.bin, in values; the last is where all end
heights.npy     (N,) int64; also widths.npy and channels.npy, where a pair counts the channels of both
labels.npy      (N,) int64 index into the classes, -1 without classes
attributes.npy  (N, A) float64 in the order of the attributes, categorical ones as index into their values
hashes.npy      (N,) uint64 of each picture's encoded file, or of its pixels where it came without one; of a pair's
                target, unless the two share a file
meta.json       source, content_hash, options, paired, classes, attributes, left_out, notices (at the packing), broken,
                names
=============== =================================================================================================
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from pentimento.errors import DataError
from pentimento.model import Attribute, DataSpec

__all__ = ["ARRAYS", "FORMAT", "PackedDataset"]

FORMAT = 1
ARRAYS = {
    "offsets": np.int64,
    "heights": np.int64,
    "widths": np.int64,
    "channels": np.int64,
    "labels": np.int64,
    "attributes": np.float64,
    "hashes": np.uint64,
}


class PackedDataset:
    """Pictures, labels and attributes of a finished packing.

    Args:
        folder: that `pack` made.

    Attributes:
        meta: what meta.json says.
        key: name of the folder.
        name: of the source.
        content_hash: of the source.
        paired: whether every picture has a target.
        classes: class names in their natural order; a label is an index into them.
        attributes: `Attribute` records in the order of the columns of `attribute_values`.
        attribute_values: (N, A) float64.
        labels: (N,) int64, or None without classes.
        hashes: (N,) uint64, of each picture's own content, or of its target's.
        names: N names.

    Raises:
        DataError: the folder is incomplete or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder.name
        try:
            self.meta: dict[str, Any] = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
            arrays = {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in ARRAYS}
            bytes_there = (folder / "pixels.bin").stat().st_size
            self.name: str = self.meta["source"]
            self.content_hash: str = self.meta["content_hash"]
            self.paired: bool = self.meta.get("paired", False)  # older packings say nothing
            self.names: tuple[str, ...] = tuple(self.meta["names"])
            self.classes: tuple[str, ...] = tuple(self.meta["classes"])
            self.attributes = tuple(Attribute.model_validate(a) for a in self.meta["attributes"])
            self._dtype = np.dtype(np.uint8 if self.meta["options"]["bits"] == 8 else np.uint16)
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise DataError(f"{folder}: not a finished packed data set ({error})") from error
        self._check(arrays, bytes_there)
        self._offsets, self._channels = arrays["offsets"], arrays["channels"]
        self._heights, self._widths = arrays["heights"], arrays["widths"]
        self.labels: npt.NDArray[np.int64] | None = arrays["labels"] if self.classes else None
        self.attribute_values: npt.NDArray[np.float64] = arrays["attributes"]
        self.hashes: npt.NDArray[np.uint64] = arrays["hashes"]

    def _check(self, arrays: dict[str, npt.NDArray[Any]], bytes_there: int) -> None:
        n = len(self.names)
        shapes = dict.fromkeys(ARRAYS, (n,)) | {"offsets": (n + 1,), "attributes": (n, len(self.attributes))}
        wrong = [a for a, dtype in ARRAYS.items() if arrays[a].shape != shapes[a] or arrays[a].dtype != dtype]
        if wrong or self.meta.get("format") != FORMAT or not n:
            raise DataError(f"{self.folder}: not a finished packed data set ({', '.join(wrong) or 'another format'})")
        sizes = arrays["heights"] * arrays["widths"] * arrays["channels"]
        if (np.diff(arrays["offsets"]) != sizes).any() or bytes_there != arrays["offsets"][-1] * self._dtype.itemsize:
            raise DataError(f"{self.folder}: pixels.bin has {bytes_there:,} bytes, which is not what the sizes ask for")

    def __len__(self) -> int:
        return len(self.names)

    @functools.cached_property
    def _values(self) -> npt.NDArray[Any]:
        """All pixels as one flat array, mapped when first asked for and until nobody holds a view of it."""
        return np.asarray(np.memmap(self.folder / "pixels.bin", dtype=self._dtype, mode="r"))

    @functools.cached_property
    def common_size(self) -> tuple[int, int] | None:
        """(height, width) in pixels if all pictures have the same, else None."""
        same = (self._heights == self._heights[0]).all() and (self._widths == self._widths[0]).all()
        return (int(self._heights[0]), int(self._widths[0])) if same else None

    @property
    def _sides(self) -> Literal[1, 2]:
        """Pictures an index stands for."""
        return 2 if self.paired else 1

    @functools.cached_property
    def _table(self) -> npt.NDArray[Any] | None:
        """(N, sides, H, W, C) view of all pictures, if they are all alike in size and channels."""
        if self.common_size is None or (self._channels != self._channels[0]).any():
            return None
        return self._values.reshape(len(self), self._sides, *self.common_size, -1)

    @property
    def full_scale(self) -> int:
        """The value of white: 255 or 65535."""
        return 255 if self._dtype == np.uint8 else 65535

    def share_smaller(self, size_px: tuple[int, int]) -> float:
        """Share of the pictures that are lower or narrower than `size_px` (height, width), in [0, 1]."""
        return float(((self._heights < size_px[0]) | (self._widths < size_px[1])).mean())

    def sides(self, i: int) -> npt.NDArray[Any]:
        """Picture `i`, or both of pair `i`, the input first: (1 or 2, H, W, C), a read-only view of the file."""
        height, width, channels = self._heights[i], self._widths[i], self._channels[i]
        begin = self._offsets[:-1][i]
        return self._values[begin : begin + height * width * channels].reshape(self._sides, height, width, -1)

    def pixels(self, i: int) -> npt.NDArray[Any]:
        """Picture `i`, the input of a pair: (H, W, C) uint8 or uint16, a read-only view of the file."""
        pixels: npt.NDArray[Any] = self.sides(i)[0]
        return pixels

    def stacked(self, indices: Sequence[int]) -> npt.NDArray[Any] | None:
        """Pictures `indices` as a copy, if all pictures of the data set are alike, else None.

        Returns:
            (n, H, W, C), or (2n, H, W, C) of pairs, each input before its target.
        """
        if self._table is None:
            return None
        chosen = self._table[np.asarray(indices, dtype=np.int64)]  # (n, sides, H, W, C)
        return chosen.reshape(-1, *chosen.shape[2:])

    def spec(self, size_px: tuple[int, int] | None = None, channels: Literal[1, 3, "auto"] = "auto") -> DataSpec:
        """What the data set offers to a model that works at `size_px`.

        Args:
            size_px: (height, width); None takes the common size of the pictures.
            channels: "auto" is 3 if any picture is in colour, else 1; of a pair, those of one side.

        Raises:
            DataError: the pictures have different sizes and `size_px` is None, or an option is out of range.
        """
        if channels not in (1, 3, "auto"):
            raise DataError(f"channels: 1, 3 or 'auto' expected, got {channels!r}")
        size = size_px or self.common_size
        if size is None:
            low = f"{self._heights.min()}x{self._widths.min()}"
            high = f"{self._heights.max()}x{self._widths.max()}"
            raise DataError(
                f"data.size_px: the pictures have sizes from {low} to {high} (height x width); set data.size_px"
            )
        if len(size) != 2 or min(size) < 1:
            raise DataError(f"data.size_px: height and width of at least 1 expected, got {size}")
        found = int(self._channels.max()) // self._sides if channels == "auto" else channels
        return DataSpec(
            channels=cast(Literal[1, 3], found),
            height_px=size[0],
            width_px=size[1],
            classes=self.classes,
            attributes=self.attributes,
        )

    def split(self, low: float, high: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Indices for training and for validation: validation is where hash / 2^64 lies in [low, high).

        A picture's side depends on its own content only, so it stays where it is when others are added or removed,
        and copies of one picture are never on both sides; nor are pairs with the same target.

        Raises:
            DataError: not 0 <= low <= high <= 1.
        """
        if not 0 <= low <= high <= 1:
            raise DataError(f"split: 0 <= low <= high <= 1 expected, got {low}, {high}")
        # Whole numbers: as a float64 the largest hashes round up to 2^64 and would lie outside of [0, 1).
        above = self.hashes >= np.uint64(int(low * 2**64)) if low < 1 else np.zeros(len(self), dtype=bool)
        below = self.hashes < np.uint64(int(high * 2**64)) if high < 1 else np.ones(len(self), dtype=bool)
        chosen = above & below
        return np.flatnonzero(~chosen).astype(np.int64), np.flatnonzero(chosen).astype(np.int64)
