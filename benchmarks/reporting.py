"""What a benchmark writes down: figures with their aims and peers, the command, the machine."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import hashlib
import importlib.util
import json
import math
import os
import platform
import shlex
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pentimento.runtime import tune_process

__all__ = [
    "RESULTS",
    "Figure",
    "Report",
    "command_line",
    "describe_machine",
    "mean_interval",
    "median_and_spread",
    "parser",
    "read",
    "shared",
    "wilson",
    "write",
]

RESULTS = Path(__file__).parent / "results"
FORMAT = 1  # of the JSON files
OURSELVES = {"out", "pictures", "sheet", "work"}  # options that say where to write, not what to measure

Value = float | int | str
Spread = tuple[float, float]


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Args:
        name: what was measured.
        value: ours.
        unit: of `value` and of `peer_value`.
        spread: lowest and highest of the rounds, or a 95 % interval; the benchmark's notes say which.
        aim: what was hoped for, in words; goes with `met`.
        met: whether `value` is what was hoped for.
        peer: what stands beside it; goes with `peer_value`.
        peer_value: the peer's number.
        peer_spread: as `spread`.
        note: what a reader must know to read the number right.
    """

    name: str
    value: Value
    unit: str = ""
    spread: Spread | None = None
    aim: str | None = None
    met: bool | None = None
    peer: str | None = None
    peer_value: Value | None = None
    peer_spread: Spread | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if (self.aim is None) != (self.met is None):
            raise ValueError(f"{self.name}: an aim and whether it was met go together")
        if (self.peer is None) != (self.peer_value is None):
            raise ValueError(f"{self.name}: a peer and its value go together")
        for value in (self.value, self.peer_value):
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{self.name}: {value} is no measurement")


@dataclass(frozen=True)
class Report:
    """All that one run of a benchmark found."""

    name: str
    title: str
    command: str
    machine: dict[str, str]
    figures: list[Figure]
    notes: list[str] = field(default_factory=list)


# ------------------------------------------------------------------------------------------ write and read
def write(
    name: str,
    title: str,
    command: str,
    figures: Sequence[Figure],
    notes: Sequence[str] = (),
    *,
    folder: Path = RESULTS,
) -> Path:
    """Write ``folder/<name>.json``, with this machine's description; returns its path.

    Ends the program where the package was edited since the benchmark began.
    """
    if code_hash() != CODE:
        sys.exit("nothing written: the source of pentimento changed meanwhile, so the figures are of no one version")
    report = Report(name, title, command, describe_machine(), list(figures), list(notes))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    document = {"format": FORMAT, **dataclasses.asdict(report)}
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    for figure in figures:
        verdict = {None: "", True: "met", False: "MISSED"}[figure.met]
        print(f"{figure.name}: {figure.value} {figure.unit} {verdict}".rstrip())
    print(f"written: {path}")
    return path


def read(path: Path) -> Report:
    """What `write` wrote.

    Raises:
        ValueError: not such a file.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    if document.pop("format", None) != FORMAT:
        raise ValueError(f"{path}: not a result of format {FORMAT}")
    figures = [Figure(**{key: _untupled(value) for key, value in row.items()}) for row in document.pop("figures")]
    return Report(figures=figures, **document)


def _untupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


# ------------------------------------------------------------------------------------------------ numbers
def median_and_spread(values: Iterable[float]) -> tuple[float, Spread]:
    """The median, and the lowest and the highest."""
    found = sorted(values)
    return statistics.median(found), (found[0], found[-1])


def mean_interval(values: Sequence[float], z: float = 1.959964) -> tuple[float, Spread]:
    """The mean, and its 95 % interval (normal)."""
    mean, half = statistics.fmean(values), z * statistics.stdev(values) / math.sqrt(len(values))
    return mean, (mean - half, mean + half)


def wilson(successes: int, count: int, z: float = 1.959964) -> Spread:
    """The 95 % interval of a share (Wilson 1927), in per cent."""
    p = successes / count
    centre = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


# ------------------------------------------------------------------------------------------- surroundings
def describe_machine() -> dict[str, str]:
    """What the numbers depend on besides the code."""
    import torch

    import pentimento
    from pentimento.runtime import choose_precision

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory_gib:.0f} GiB",
        "accelerator": torch.cuda.get_device_name() if device.type == "cuda" else "none",
        "bf16": "yes" if choose_precision("auto", device) == "bf16" else "no",
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "pentimento": f"{pentimento.__version__} (source {CODE})",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def code_hash() -> str:
    """Of the package's source files, without importing them."""
    found = importlib.util.find_spec("pentimento")
    roots = found.submodule_search_locations if found else None
    digest = hashlib.sha256()
    for root in roots or ():
        for path in sorted(Path(root).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


CODE = code_hash()  # when the benchmark began


def _processor() -> str:
    table = Path("/proc/cpuinfo")
    lines = table.read_text().splitlines() if table.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def parser(description: str) -> argparse.ArgumentParser:
    """Options that every benchmark has; it also sets the process up as the command line does its own."""
    tune_process()
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON file (default: benchmarks/results)")
    return made


def command_line(script: str, options: argparse.Namespace, defaults: argparse.ArgumentParser) -> str:
    """The command that repeats a benchmark: options that differ from their defaults, without paths of this machine."""
    words = ["python", f"benchmarks/{Path(script).name}"]
    for name, value in vars(options).items():
        if name in OURSELVES or value == defaults.get_default(name):
            continue
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:
            words += [_portable(each) for each in (value if isinstance(value, list) else [value])]
    return " ".join(words)


def _portable(value: object) -> str:
    """A path inside the shared data by its variable, any other absolute path by its last name; also of NAME=PATH."""
    name, equals, text = str(value).rpartition("=")
    path, root = Path(text), os.environ.get("PENTIMENTO_DATA")
    if root and path.is_absolute() and path.is_relative_to(root):
        return f'{name}{equals}"$PENTIMENTO_DATA/{path.relative_to(root)}"'
    return shlex.quote(f"{name}{equals}{path.name}" if path.is_absolute() else str(value))


def shared(inside: str) -> Path:
    """A path in the folder that ``PENTIMENTO_DATA`` names; ends the program where it is not there."""
    root = os.environ.get("PENTIMENTO_DATA")
    if not root or not (Path(root) / inside).exists():
        sys.exit(f"needs {inside} in the folder that the variable PENTIMENTO_DATA names")
    return Path(root) / inside
