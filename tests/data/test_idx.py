"""MNIST's file format."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from pentimento.data.sources import open_source
from pentimento.errors import DataError


def write(path: Path, array: np.ndarray, magic: int | None = None) -> Path:
    payload = struct.pack(">I", magic or 0x0800 + array.ndim)
    payload += struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(payload) if path.suffix == ".gz" else payload)
    return path


IMAGES = np.arange(3 * 4 * 5).reshape(3, 4, 5)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_images_and_labels(tmp_path: Path, suffix: str) -> None:
    for stem, shift in (("train", 0), ("t10k", 100)):
        write(tmp_path / f"{stem}-images-idx3-ubyte{suffix}", IMAGES + shift)
        write(tmp_path / f"{stem}-labels-idx1-ubyte{suffix}", np.array([7, 8, 9]))
    for split, shift in (("train", 0), ("test", 100)):
        items = list(open_source(str(tmp_path), split).items())
        assert [item.label for item in items] == ["7", "8", "9"]
        assert np.array_equal(np.stack([np.asarray(i.payload) for i in items])[..., 0], IMAGES + shift)
    one = open_source(str(tmp_path / f"t10k-images-idx3-ubyte{suffix}"))
    assert one.content_hash() == open_source(str(tmp_path), "test").content_hash()
    assert one.content_hash() != open_source(str(tmp_path)).content_hash()


def test_images_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "t10k-images-idx3-ubyte", IMAGES)
    assert [item.label for item in open_source(str(path)).items()] == [None] * 3
    with pytest.raises(DataError, match="no split 'train'; known: test"):
        open_source(str(tmp_path))


def test_wrong_magic(tmp_path: Path) -> None:
    write(tmp_path / "train-images-idx3-ubyte", IMAGES, magic=0x0D03)
    with pytest.raises(DataError, match="magic number 0x00000803 expected, got 0x00000d03"):
        open_source(str(tmp_path))


def test_wrong_length(tmp_path: Path) -> None:
    path = write(tmp_path / "train-images-idx3-ubyte", IMAGES)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="60 bytes expected for 3 x 4 x 5, got 59"):
        open_source(str(tmp_path))


def test_wrong_number_of_labels(tmp_path: Path) -> None:
    write(tmp_path / "train-images-idx3-ubyte", IMAGES)
    write(tmp_path / "train-labels-idx1-ubyte", np.array([1, 2]))
    with pytest.raises(DataError, match="2 labels for 3 images"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("payload", [b"", b"\x1f\x8b\x08broken"])
def test_damaged(tmp_path: Path, payload: bytes) -> None:
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(payload)
    with pytest.raises(DataError, match="train-images"):
        open_source(str(tmp_path))


def test_mnist() -> None:
    folder = Path(os.environ.get("PENTIMENTO_DATA", "nowhere")) / "generation" / "mnist"
    if not folder.is_dir():
        pytest.skip("needs generation/mnist under PENTIMENTO_DATA")
    source = open_source(str(folder), "test")
    items = list(source.items())
    assert source.count == len(items) == 10_000
    assert [item.label for item in items[:5]] == ["7", "2", "1", "0", "4"]
    assert np.mean([np.asarray(i.payload).mean() for i in items]) == pytest.approx(33.79, abs=0.01)
