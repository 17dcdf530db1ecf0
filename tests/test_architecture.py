"""Imports point downwards only, files stay readable, and help stays fast."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pentimento

ROOT = Path(pentimento.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

FLOOR = {"errors", "runtime", "validation", "provenance", "colour", "formats", "images", "large"}
BUILDING = {
    "layers",
    "losses",
    "data",
    "model",
    "capabilities",
    "sampling",
    "interventions",
    "restoring",
    "translating",
}
ENGINES = {"training", "tasks", "evaluate"}
# room -> the rooms it may import from (besides itself)
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "runtime": {"errors"},
    "validation": {"errors"},
    "provenance": {"errors"},
    "colour": {"errors", "runtime"},
    "formats": {"errors", "colour"},
    "images": FLOOR - {"large"},
    "large": FLOOR,
    **dict.fromkeys(BUILDING, FLOOR | BUILDING),
    "models": FLOOR | BUILDING,
    "features": FLOOR | BUILDING | {"models"},
    **{room: FLOOR | BUILDING | {"models", "features"} for room in ENGINES},
    "causal": FLOOR,
    "studies": FLOOR | BUILDING | ENGINES | {"models", "features", "causal"},
    "api": FLOOR | BUILDING | ENGINES | {"models", "features", "causal", "studies"},
    "app": FLOOR | {"api"},
    "__main__": {"app"},
    "__init__": {"api", "models"},
}


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """Rooms that `path` imports from anywhere in it, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "pentimento":
            parts = node.module.split(".")[1:]
            found |= {parts[0]} if parts else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("pentimento.")}
    return found - {"__version__"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downwards(path):
    here = room(path)
    assert here in ALLOWED, f"{here}: give it a place in the layers of DESIGN first"
    assert imported_rooms(path) <= ALLOWED[here] | {here}


def test_no_cycle_between_the_building_rooms():
    edges = {r: set() for r in BUILDING}
    for path in FILES:
        if room(path) in BUILDING:
            edges[room(path)] |= imported_rooms(path) & BUILDING - {room(path)}
    while edges:
        leaves = {r for r, to in edges.items() if not to & edges.keys()}
        assert leaves, f"a cycle among {sorted(edges)}"
        edges = {r: to for r, to in edges.items() if r not in leaves}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_stay_readable(path):
    source = path.read_text()
    assert len(source.splitlines()) <= 400
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            length = node.end_lineno - node.lineno + 1
            body = length - len((ast.get_docstring(node, clean=False) or "").splitlines())
            assert body <= 55, f"{node.name} has {body} lines"


def test_no_room_for_odds_and_ends():
    assert not [p for p in FILES if p.stem in {"utils", "helpers", "misc", "common"}]


@pytest.mark.parametrize("module", ["pentimento", "pentimento.api", "pentimento.app.cli", "pentimento.training.recipe"])
def test_heavy_packages_are_imported_only_when_needed(module):
    code = (
        f"import sys, {module}; heavy = {{'torch', 'lightning_fabric', 'tensorboard', 'datasets', 'pyvips'}}; "
        "print(sorted(heavy & sys.modules.keys()))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_public_names_exist():
    import importlib

    for path in FILES:
        name = ".".join(["pentimento", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")
        if name.endswith("__main__"):
            continue
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", []):
            assert hasattr(module, public), f"{name}.{public}"
