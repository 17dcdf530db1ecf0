from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pentimento.errors import InputError, StorageError
from pentimento.runtime import (
    SPINS,
    Draws,
    atomic_folder,
    atomic_write,
    choose_device,
    choose_precision,
    derive_seed,
    seed_modules,
    tune_process,
)


class TestDraws:
    @given(st.integers(0, 2**31), st.integers(0, 10**6), st.lists(st.integers(0, 10**9), min_size=2, max_size=9))
    @settings(max_examples=30, deadline=None)
    def test_a_sample_draws_the_same_however_the_batch_is_split(self, seed, step, indices):
        whole = Draws(seed, indices, step).normal("latent", (3,))
        parts = [Draws(seed, [i], step).normal("latent", (3,)) for i in indices]
        assert torch.equal(whole, torch.cat(parts))

    def test_seed_step_purpose_and_index_all_matter(self):
        draws = [
            Draws(0, [5], 0).uniform("a"),
            Draws(1, [5], 0).uniform("a"),
            Draws(0, [5], 1).uniform("a"),
            Draws(0, [6], 0).uniform("a"),
            Draws(0, [5], 0).uniform("b"),
        ]
        assert len({float(d) for d in draws}) == 5

    def test_they_come_where_they_are_wanted(self):
        draws = Draws(0, [1, 2], device="meta")
        for drawn in (draws.normal("n"), draws.uniform("u"), draws.integers("i", 3)):
            assert drawn.device.type == "meta"

    def test_distributions(self):
        draws = Draws(3, range(4000))
        normal, uniform = draws.normal("n"), draws.uniform("u", (), 2.0, 5.0)
        # 4000 draws: the mean's standard error is 0.016, the bound is five of them.
        assert abs(float(normal.mean())) < 0.08
        assert abs(float(normal.std()) - 1) < 0.08
        assert 2 <= float(uniform.min()) < 2.01
        assert 4.99 < float(uniform.max()) < 5
        counts = torch.bincount(draws.integers("i", 4), minlength=4)
        assert counts.min() > 850

    def test_neighbouring_samples_are_not_correlated(self):
        x = Draws(0, range(3000)).normal("latent").numpy()
        assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 0.09  # five standard errors


def test_derived_seeds_depend_on_the_order():
    assert derive_seed(1, 2) != derive_seed(2, 1)
    assert derive_seed(12) != derive_seed(1, 2)
    assert 0 <= derive_seed("x") < 2**63


def test_module_seeds_are_repeatable():
    seed_modules(0, "a")
    first = torch.rand(3)
    seed_modules(0, "a")
    assert torch.equal(first, torch.rand(3))


def test_precision_asks_the_processor():
    cpu = torch.device("cpu")
    able = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    assert choose_precision("auto", cpu) == ("bf16" if able else "fp32")
    assert choose_precision("bf16", cpu) == "bf16"


@pytest.mark.parametrize("name", ["gpu", "cuda:x", ""])
def test_unknown_device(name):
    with pytest.raises(InputError, match="device: 'auto', 'cpu'"):
        choose_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there():
    with pytest.raises(InputError, match="this machine has no 'cuda'"):
        choose_device("cuda")


class TestAtomicWrite:
    def test_appears_whole(self, tmp_path):
        with atomic_write(tmp_path / "new" / "a.txt") as temporary:
            temporary.write_text("x")
            assert not (tmp_path / "new" / "a.txt").exists()
        assert (tmp_path / "new" / "a.txt").read_text() == "x"
        assert os.listdir(tmp_path / "new") == ["a.txt"]

    def test_what_nobody_else_may_read_stays_so(self, tmp_path):
        for name, mode in (("secret.txt", 0o600), ("shared.txt", 0o664)):
            (tmp_path / name).write_text("old")
            (tmp_path / name).chmod(mode)
            with atomic_write(tmp_path / name) as temporary:
                temporary.write_text("new")
            assert (tmp_path / name).stat().st_mode & 0o777 == mode

    def test_failure_leaves_what_was_there(self, tmp_path):
        (tmp_path / "a.txt").write_text("old")
        with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError
        assert (tmp_path / "a.txt").read_text() == "old"
        assert os.listdir(tmp_path) == ["a.txt"]

    def test_full_disk(self, tmp_path):
        (tmp_path / "a.bin").write_bytes(b"old")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            with pytest.raises(StorageError, match="what was there is unchanged"):
                with atomic_write(tmp_path / "a.bin") as temporary:
                    temporary.write_bytes(b"x" * 100_000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (tmp_path / "a.bin").read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["a.bin"]


class TestAtomicFolder:
    def test_failure_leaves_nothing(self, tmp_path):
        with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "f") as temporary:
            (temporary / "a").write_text("x")
            raise KeyboardInterrupt
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("replace", [False, True])
    def test_who_comes_second(self, tmp_path, replace):
        (tmp_path / "f").mkdir()
        (tmp_path / "f" / "first").touch()
        with atomic_folder(tmp_path / "f", replace=replace) as temporary:
            (temporary / "second").touch()
        assert os.listdir(tmp_path / "f") == ["second" if replace else "first"]
        assert os.listdir(tmp_path) == ["f"]

    def test_an_interruption_between_the_renames_loses_nothing(self, tmp_path, monkeypatch):
        (tmp_path / "f").mkdir()
        (tmp_path / "f" / "first").touch()
        honest = Path.replace

        def interrupted(self, target):
            if self.suffix == ".tmp":
                raise KeyboardInterrupt
            return honest(self, target)

        monkeypatch.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "f", replace=True) as temporary:
            (temporary / "second").touch()
        assert os.listdir(tmp_path) == ["f"]
        assert os.listdir(tmp_path / "f") == ["first"]


class TestTuneProcess:
    FAULTS = """
import resource, sys
import numpy as np
from pentimento.runtime import tune_process
if sys.argv[1] == "tuned":
    tune_process()
def maps():
    held = [np.ones(16 << 17) for _ in range(8)]  # 16 MiB each
maps()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    maps()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

    HELD = """
import re
import numpy as np
from pentimento.runtime import return_freed_memory, tune_process
def held_mib():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024
tune_process()
maps = [np.ones(1 << 17) for _ in range(256)]  # 1 MiB each
del maps[:-1]  # the last lies above the others
before = held_mib()
return_freed_memory()
print(before - held_mib())
"""

    HUGE = """
import re
from pentimento.runtime import tune_process
tune_process()
import torch
map_ = torch.ones(1 << 24)  # 64 MiB
areas = open("/proc/self/smaps").read().split("VmFlags:")
sizes = [int(re.findall(r"^Size:\\s+(\\d+) kB", area, re.MULTILINE)[-1]) for area in areas[:-1]]
asked = [" hg" in area.partition("\\n")[0] for area in areas[1:]]
print(max((size for size, huge in zip(sizes, asked) if huge), default=0) // 1024)
"""

    def alone(self, code, *arguments, **environment):
        """What another process prints, whose malloc nobody has set up."""
        plain = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_") and k != "GLIBC_TUNABLES"}
        command = [sys.executable, "-c", code, *arguments]
        return int(subprocess.run(command, env={**plain, **environment}, check=True, capture_output=True).stdout)

    @pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc")
    def test_memory_freed_and_asked_for_again_costs_no_page_faults_unless_the_environment_says_otherwise(self):
        kept = self.alone(self.FAULTS, "tuned")
        assert kept < self.alone(self.FAULTS, "plain") / 10
        assert kept < self.alone(self.FAULTS, "tuned", MALLOC_TRIM_THRESHOLD_="1000000") / 10

    @pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc")
    def test_what_is_freed_is_kept_until_it_is_given_back(self):
        assert 250 <= self.alone(self.HELD) <= 256

    @pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").is_dir(), reason="no huge pages on request")
    def test_maps_lie_in_huge_pages_unless_the_environment_says_otherwise(self):
        assert self.alone(self.HUGE) >= 62  # of 64, whole pages of 2
        assert self.alone(self.HUGE, THP_MEM_ALLOC_ENABLE="0") < 62

    @pytest.mark.parametrize(
        ("name", "ours"), [("GOMP_SPINCOUNT", SPINS), ("THP_MEM_ALLOC_ENABLE", "1")], ids=["threads", "pages"]
    )
    def test_what_the_environment_says_stays(self, monkeypatch, name, ours):
        monkeypatch.setenv("MALLOC_ARENA_MAX", "8")  # so that this process keeps its malloc
        monkeypatch.setenv(name, "7")
        tune_process()
        assert os.environ[name] == "7"
        monkeypatch.delenv(name)
        tune_process()
        assert os.environ[name] == ours
