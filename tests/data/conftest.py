"""Small pictures on disk, and a cache that is thrown away."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENTIMENTO_CACHE", str(tmp_path_factory.mktemp("cache")))


def encode(seed: int, height: int = 8, width: int = 8, mode: str = "RGB") -> bytes:
    """A PNG of random pixels."""
    shape = (height, width) if mode == "L" else (height, width, len(mode))
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def png() -> Callable[..., bytes]:
    """`encode`."""
    return encode


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of files by name: PNGs of their own noise, or the given bytes or text."""

    def make(*names: str, root: str = "pictures", **contents: str) -> Path:
        base = tmp_path / root
        base.mkdir(exist_ok=True)
        for i, name in enumerate(names):
            path = base / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(i))
        for key, text in contents.items():
            (base / key.replace("__", ".")).write_text(text, encoding="utf-8")
        return base

    return make
