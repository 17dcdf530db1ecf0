"""MNIST's files: ``train-images-idx3-ubyte.gz`` and ``train-labels-idx1-ubyte.gz``, ``t10k-...`` for the test split.

The format (http://yann.lecun.com/exdb/mnist): a big-endian magic number 0x0000080d with d the number of dimensions,
d lengths of 32 bits, then unsigned bytes, the last dimension fastest.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pentimento.data.items import Item, hash_items, pick_split
from pentimento.errors import DataError

__all__ = ["IdxSource", "find_idx", "is_idx"]

_IMAGES = re.compile(r"(?P<stem>.+)-images(?P<dot>[-.])idx3-ubyte(?P<gz>\.gz)?")


class IdxSource:
    """The pictures of one images file, with the labels of the file beside it where there is one.

    Raises:
        DataError: a wrong magic number, a wrong length, or as many labels as there are no images.
    """

    def __init__(self, path: Path) -> None:
        match = _IMAGES.fullmatch(path.name)
        if match is None:
            raise DataError(f"{path}: a name like train-images-idx3-ubyte.gz expected")
        self.name = f"{path.resolve().parent.name}/{match['stem']}"
        self._images = _read_idx(path, 3)  # (N, H, W)
        self._labels: npt.NDArray[np.uint8] | None = None
        self.count = len(self._images)
        if not self._images.size:
            raise DataError(f"{path}: no images in it")
        beside = path.name[: match.end("stem")] + f"-labels{match['dot']}idx1-ubyte"
        for labels in (path.with_name(beside + ".gz"), path.with_name(beside)):
            if labels.is_file():
                self._labels = _read_idx(labels, 1)
                if len(self._labels) != self.count:
                    raise DataError(f"{labels}: {len(self._labels)} labels for {self.count} images")
                break

    def content_hash(self) -> str:
        """Of all pixels and labels."""
        return hash_items("idx", self.items())

    def items(self) -> Iterator[Item]:
        """The pictures as (H, W, 1) uint8, in the order of the file."""
        for i, image in enumerate(self._images):
            yield Item(f"{i:06d}", image[..., None], None if self._labels is None else str(self._labels[i]))


def is_idx(path: Path) -> bool:
    """Whether the name of the file is that of MNIST's images."""
    return _IMAGES.fullmatch(path.name) is not None


def find_idx(folder: Path, split: str) -> Path | None:
    """The images file of `split` in `folder`; None if the folder holds no such files at all.

    Raises:
        DataError: there are such files, but none for the split, or several.
    """
    stems: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        match = _IMAGES.fullmatch(path.name)
        if match is not None and path.is_file():
            last = match["stem"].rsplit("-", 1)[-1]
            stems.setdefault("test" if last == "t10k" else last, []).append(path)
    if not stems:
        return None
    found = stems[pick_split(split, stems, str(folder))]
    if len({path.name.removesuffix(".gz") for path in found}) > 1:
        raise DataError(f"{folder}: {', '.join(p.name for p in found)} are all {split}; give the path of one of them")
    return found[0]


def _read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """An array of `dimensions` dimensions, uint8.

    Raises:
        DataError: the file cannot be read, or its magic number or its length is wrong.
    """
    try:
        payload = path.read_bytes()
        if payload[:2] == b"\x1f\x8b":
            payload = gzip.decompress(payload)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    header = 4 + 4 * dimensions
    magic = 0x0800 + dimensions
    if len(payload) < header or struct.unpack(">I", payload[:4])[0] != magic:
        raise DataError(f"{path}: magic number 0x{magic:08x} expected, got 0x{payload[:4].hex()}")
    shape = struct.unpack(f">{dimensions}I", payload[4:header])
    if len(payload) - header != math.prod(shape):
        sizes = " x ".join(map(str, shape))
        raise DataError(f"{path}: {math.prod(shape):,} bytes expected for {sizes}, got {len(payload) - header:,}")
    return np.frombuffer(payload, dtype=np.uint8, offset=header).reshape(shape)
