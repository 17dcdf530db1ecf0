"""Where and how things run: device, precision, memory format, random draws, progress, files that appear whole.

Importing this module does not import torch: command-line help and option models stay fast.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from pentimento.errors import InputError, StorageError

if TYPE_CHECKING:
    import torch

__all__ = [
    "Draws",
    "Precision",
    "Progress",
    "ProgressCallback",
    "atomic_folder",
    "atomic_write",
    "autocast",
    "choose_device",
    "choose_precision",
    "derive_seed",
    "leave_processes",
    "no_progress",
    "of_all_processes",
    "return_freed_memory",
    "seed_modules",
    "tune_process",
]

Precision = Literal["auto", "fp32", "bf16"]

SPINS = "1000"  # turns of a loop
KEPT_BLOCK_BYTES = 32 << 20  # the largest that glibc allows
KEPT_BYTES = 1 << 30


# ----------------------------------------------------------------------------------------------- process
def tune_process() -> None:
    """Set up a process that is all ours: for the command line, not for a library that others import.

    OpenMP's threads spin for some microseconds before they sleep: those that sleep at once were measured to take up to
    thrice as long over small pictures, those that spin for long, as they do by themselves, to slow a neighbour tenfold.
    And glibc's malloc keeps up to 1 GiB of what is freed, in blocks of up to 32 MiB: torch frees and asks for the same
    maps in every step, and to have them zeroed by the kernel each time was measured to take 8 to 38 % of one on a CPU.
    Maps of 2 MiB and more lie in huge pages where Linux has them on request: 7 % off a step of training, 12 to 14 %
    off the processor's time for a picture in tiles.
    What the environment says already stays; other C libraries are left as they are.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read when torch is imported
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # read when torch first asks for memory
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return
    with contextlib.suppress(AttributeError, OSError, TypeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, KEPT_BLOCK_BYTES)  # M_MMAP_THRESHOLD
        mallopt(-1, KEPT_BYTES)  # M_TRIM_THRESHOLD


def return_freed_memory() -> None:
    """Give the system what this process has freed and glibc still holds; other C libraries do as they see fit.

    For between two parts of a long work that must stay within a budget: what is freed in blocks of one part's sizes
    fits the next part's badly, and what glibc holds grows from part to part.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


# ---------------------------------------------------------------------------------------------- progress
@dataclass(frozen=True)
class Progress:
    """What an engine reports while it works. The command line draws it, the server streams it.

    Args:
        stage: what is being done, e.g. ``"pack"`` or ``"train"``.
        done: how much is done, in `unit`.
        total: how much there is in all, or None where nobody knows.
        unit: of `done` and `total`, e.g. ``"images"``.
        rate: `unit` per second, or None.
        figures: named numbers worth showing (losses).
        message: one line for a person, shown once.
    """

    stage: str
    done: float
    total: float | None = None
    unit: str = "images"
    rate: float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    message: str = ""


ProgressCallback = Callable[[Progress], None]


def no_progress(_: Progress) -> None:
    """A callback for callers who do not want to know."""


# ------------------------------------------------------------------------------------- device, precision
def choose_device(name: str = "auto") -> torch.device:
    """The device called `name`; ``"auto"`` takes CUDA, then MPS, then the CPU.

    Raises:
        InputError: the name is unknown, or this machine has no such device.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device: 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps' expected, got {name!r}") from error
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(device.type, False):
        raise InputError(f"device: this machine has no {device.type!r}; use device = 'auto'")
    return device


def choose_precision(wanted: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """bf16 autocast where the processor computes in it, fp32 elsewhere.

    A CPU without AVX512-BF16 or AMX emulates bf16 and was measured 25 times slower at it, so ``"auto"`` asks the
    processor. An explicit ``"bf16"`` or ``"fp32"`` is obeyed.
    """
    import torch

    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    if device.type == "cpu":
        able = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return "bf16" if able else "fp32"
    return "fp32"


def autocast(device: torch.device, wanted: Precision = "auto") -> torch.autocast:
    """The context that computes in what `choose_precision` says."""
    import torch

    bf16 = choose_precision(wanted, device) == "bf16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16)


def of_all_processes(values: torch.Tensor) -> torch.Tensor:
    """(N, ...) of each process of a training -> (processes * N, ...), in their order; of one, what it has."""
    import torch
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return values
    parts = [torch.empty_like(values) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, values.contiguous())
    return torch.cat(parts)


def leave_processes() -> None:
    """End what this process shares with the others of a training; before it exits, or a thread may abort it."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


# ------------------------------------------------------------------------------------------ random draws
def derive_seed(*parts: object) -> int:
    """A 63-bit seed that depends on every one of `parts` and on their order (BLAKE2b of their text)."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_modules(*parts: object) -> None:
    """Reseed torch's global generators from `parts`: for what draws inside modules, such as dropout."""
    import torch

    torch.manual_seed(derive_seed(*parts))


@dataclass(frozen=True)
class Draws:
    """Random numbers for a batch, each sample's own: a function of (seed, step, purpose, global sample index).

    So a draw does not depend on how a batch is split over processes or micro-batches, and a resumed run draws what
    an unbroken one would have drawn. A purpose is a Philox stream (Salmon et al. 2011) under a key of its own, and a
    sample owns the same number of its 256-bit blocks as any other, so that neighbours are drawn in one go.

    Args:
        seed: of the run.
        step: of the training; 0 elsewhere.
        indices: global index of each sample of the batch, N of them.
        seen_kimg: thousands of images drawn so far, for schedules inside a loss.
        update: how many updates the player made before, for what is not done at every one.
        device: where the draws are wanted.
    """

    seed: int
    indices: Sequence[int]
    step: int = 0
    _: KW_ONLY
    seen_kimg: float = 0.0
    update: int = 0
    device: Any = "cpu"

    def normal(self, purpose: str, shape: Sequence[int] = ()) -> torch.Tensor:
        """Standard normal, (N, *shape), float32: the inverse distribution function of 32-bit uniform numbers."""
        import torch

        words = self._words(purpose, shape)
        uniform = torch.from_numpy((words + 0.5) * 2.0**-32)  # float64, never 0 or 1
        normal: torch.Tensor = torch.special.ndtri(uniform)
        return normal.float().to(self.device)

    def uniform(self, purpose: str, shape: Sequence[int] = (), low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        """Uniform in [low, high), (N, *shape), float32."""
        import torch

        words = self._words(purpose, shape) >> 8  # 24 bits: what a float32 below 1 can tell apart
        return torch.from_numpy(words.astype(np.float32) * np.float32(2.0**-24)).to(self.device) * (high - low) + low

    def integers(self, purpose: str, high: int, shape: Sequence[int] = ()) -> torch.Tensor:
        """Uniform over 0 .. high - 1, (N, *shape), int64; `high` up to a million, where the bias is under 2^-12."""
        import torch

        words = self._words(purpose, shape).astype(np.uint64)
        return torch.from_numpy(((words * np.uint64(high)) >> np.uint64(32)).astype(np.int64)).to(self.device)

    def normal_field(self, purpose: str, shape: Sequence[int]) -> torch.Tensor:
        """As `normal`, for whole pictures: drawn on the device, each sample from a generator of its own.

        Above about a thousand numbers a sample this is faster than `normal`, on a GPU by far. The numbers are those of
        torch's generator on that kind of device: the CPU's differ from CUDA's.
        """
        import torch

        field = torch.empty((len(self.indices), *shape), device=self.device)
        generator = torch.Generator(self.device)
        for row, index in zip(field, self.indices, strict=True):
            row.normal_(generator=generator.manual_seed(derive_seed(self.seed, self.step, purpose, int(index))))
        return field

    def _words(self, purpose: str, shape: Sequence[int]) -> npt.NDArray[np.uint32]:
        """(N, *shape) uniform 32-bit words."""
        count = math.prod(shape)
        blocks = -(-count // 8)  # a sample's share of the stream; 8 words a block
        key = derive_seed(self.seed, self.step, purpose)
        indices = np.asarray(self.indices, dtype=np.int64)
        runs = np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1)  # of neighbours
        drawn = [np.random.Philox(key=key, counter=int(r[0]) * blocks).random_raw(len(r) * blocks * 4) for r in runs]
        words = np.concatenate(drawn).view(np.uint32).reshape(len(indices), blocks * 8)
        return words[:, :count].reshape(len(indices), *shape)


# ------------------------------------------------------------------------------- files that appear whole
@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; on success it is flushed and renamed to `path`, on failure removed.

    Raises:
        StorageError: the disk is full or refuses. What stood at `path` before is untouched.
    """
    handle = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        # mkstemp's 0600 is for secrets; these are the user's files, and one that was a secret stays one.
        temporary.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}; what was there is unchanged") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it becomes `path`, on failure it is removed.

    A folder that stands at `path` by then (another process was faster) stays, and ours is dropped; with `replace` it
    is the other way round.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
        doomed = temporary.with_suffix(".old")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp's 0700 is for secrets
        if replace and path.exists():
            path.replace(doomed)
        if not path.exists():
            temporary.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if doomed.exists() and not path.exists():  # interrupted between the two renames
            doomed.replace(path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(doomed, ignore_errors=True)
