"""Examples in docstrings are run."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import pentimento

ROOT = Path(pentimento.__file__).parent
MODULES = [
    ".".join(["pentimento", *p.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")
    for p in sorted(ROOT.rglob("*.py"))
    if ">>>" in p.read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
