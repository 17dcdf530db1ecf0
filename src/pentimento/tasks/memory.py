"""How much memory there is to work in."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from pentimento.errors import InputError

__all__ = ["LEAST_SHARE", "least_budget", "memory_budget", "working_memory"]

LEAST_SHARE = 4  # of a budget at least one part in so many is left to work in, however much is held already
_UNKNOWN_BYTES = 4 * 2**30  # where the system does not say


def memory_budget(text: str | None = None) -> int:
    """Bytes to work in.

    Args:
        text: e.g. ``"2GB"``, ``"512MB"``, ``"800M"`` (powers of 1000) or ``"1.5GiB"`` (powers of 1024); None is half of
            what can be had now.

    Raises:
        InputError: anything else, zero included.
    """
    if text is None:
        return _available_bytes() // 2
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT])(i?)B?", text.strip(), re.ASCII | re.IGNORECASE)
    size = 0
    if match is not None:
        number, unit, binary = match.groups()
        size = int(Decimal(number) * (1024 if binary else 1000) ** (" KMGT".index(unit.upper())))
    if size <= 0:
        raise InputError(f"memory: a size above zero such as 2GB, 512MB or 1.5GiB expected, got {text!r}")
    return size


def working_memory(text: str | None = None) -> int:
    """What of the budget is left to work in, beside what the program holds already: Python, libraries, models.

    Args:
        text: see `memory_budget`. A budget that is hardly more than the program itself leaves a quarter of it.
    """
    budget = memory_budget(text)
    return budget if text is None else max(budget - _held_bytes(), budget // LEAST_SHARE)


def least_budget(working_bytes: int) -> str:
    """The least budget of which `working_memory` leaves so much, as `memory_budget` reads it: ``"36MB"``."""
    return f"{math.ceil(min(working_bytes + _held_bytes(), LEAST_SHARE * working_bytes) / 1e6)}MB"


def _held_bytes() -> int:
    """By this process, in memory; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return 0


def _available_bytes(root: Path = Path("/")) -> int:
    """What the system says is free or can be freed, or less: what the control groups of this process leave it."""
    try:
        match = re.search(r"^MemAvailable:\s+(\d+) kB$", (root / "proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    if match is not None:
        return min([int(match[1]) * 1024, *_left_by_groups(root)])
    try:  # not Linux; macOS says how much there is and not how much of it is free
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return _UNKNOWN_BYTES


def _left_by_groups(root: Path) -> Iterator[int]:
    """What each control group leaves (Linux, versions 2 and 1); cached files do not count, the kernel drops them."""
    kinds = {
        "": ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        "memory": ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    }
    groups: list[list[str]] = []
    with contextlib.suppress(OSError):
        groups = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
    for _, controllers, path in groups:
        for name in kinds.keys() & controllers.split(","):
            base, limit, use, cached = kinds[name]
            folder = root / base / path.strip("/")
            for place in [folder, *folder.parents][: len(Path(path).parts)]:  # no more than those above it leave
                with contextlib.suppress(OSError, ValueError):  # ValueError: "max", no limit
                    stat = dict(line.split() for line in (place / "memory.stat").read_text().splitlines())
                    left = int((place / limit).read_text()) - int((place / use).read_text())
                    yield max(0, left + int(stat.get(cached, 0)))
