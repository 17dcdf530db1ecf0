"""Shared by all tests: a cache of their own, small thread pools, and the real data where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

# Two test processes on two cores: one thread each, or they wait for one another.
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Packed data goes to a temporary folder, one for the whole session so that digits are packed once."""
    before = os.environ.get("PENTIMENTO_CACHE")
    os.environ["PENTIMENTO_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield Path(os.environ["PENTIMENTO_CACHE"])
    if before is None:
        del os.environ["PENTIMENTO_CACHE"]
    else:
        os.environ["PENTIMENTO_CACHE"] = before


@pytest.fixture
def shared_data():
    """A function from a path inside the shared data to that path; skips the test where it is not there."""

    def locate(inside: str) -> Path:
        root = os.environ.get("PENTIMENTO_DATA")
        if not root or not (Path(root) / inside).exists():
            pytest.skip(f"needs {inside} in the folder PENTIMENTO_DATA names")
        return Path(root) / inside

    return locate
