"""How much memory there is to work in."""

from __future__ import annotations

from pathlib import Path

import pytest

from pentimento.errors import InputError
from pentimento.tasks import memory


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GB", 2 * 10**9),
        ("512MB", 512 * 10**6),
        ("1.5GiB", 3 * 2**29),
        ("800M", 8 * 10**8),
        (" 64 kib ", 2**16),
        ("1Ti", 2**40),
    ],
)
def test_sizes_in_words(text: str, size: int) -> None:
    assert memory.memory_budget(text) == size


@pytest.mark.parametrize("text", ["", "much", "2", "GB", "0GB", "0.0001K", "-1GB", "2GBB", "1,5GB", "nanGB", "1e9MB"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match=r"memory: a size above zero such as 2GB, 512MB or 1\.5GiB expected, got "):
        memory.memory_budget(text)


def _system(root: Path, groups: str, files: dict[str, str]) -> Path:
    meminfo = "MemTotal: 9 kB\nMemAvailable:   8000 kB\n"
    for name, text in {"proc/meminfo": meminfo, "proc/self/cgroup": groups, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_memory_that_is_there(tmp_path: Path) -> None:
    assert 0 < memory.memory_budget() < 2**50
    half = memory._available_bytes() / 2
    assert 0.5 < memory.memory_budget() / half < 2

    group = {"memory.current": "3000000\n", "memory.stat": "anon 5\ninactive_file 1000000\n"}
    free = {f"sys/fs/cgroup/a/b/{k}": v for k, v in {**group, "memory.max": "max\n"}.items()}
    assert memory._available_bytes(_system(tmp_path / "none", "0::/a/b\n", free)) == 8000 * 1024
    above = {f"sys/fs/cgroup/a/{k}": v for k, v in {**group, "memory.max": "5000000\n"}.items()}
    assert memory._available_bytes(_system(tmp_path / "two", "0::/a/b\n", {**free, **above})) == 3_000_000
    old = {"limit_in_bytes": "4000000", "usage_in_bytes": "3900000", "stat": "total_inactive_file 200000\n"}
    files = {f"sys/fs/cgroup/memory/memory.{k}": v for k, v in old.items()}
    system = _system(tmp_path / "one", "5:cpu:/x\n4:memory,hugetlb:/docker/1\n0::/\n", files)
    assert memory._available_bytes(system) == 300_000
    assert memory._available_bytes(tmp_path / "another system") > 0


def test_what_the_program_holds_is_counted(monkeypatch):
    monkeypatch.setattr(memory, "_held_bytes", lambda: 3 * 10**8)
    assert memory.working_memory("2GB") == 17 * 10**8
    assert memory.working_memory("320MB") == 8 * 10**7
    assert memory.working_memory() == pytest.approx(memory.memory_budget(), rel=0.5)


def test_this_program_holds_torch():
    assert memory._held_bytes() == 0 or 10**8 < memory._held_bytes() < 10**11
