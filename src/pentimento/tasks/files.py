"""Which picture files go in, and where each one's result goes: for all verbs that change pictures."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pentimento.errors import ExistsError, ImageError, InputError, NotFoundError, suggest
from pentimento.images import READABLE_SUFFIXES, WRITABLE_SUFFIXES

__all__ = [
    "SHOWN",
    "Job",
    "check_beside",
    "check_folder",
    "check_spared",
    "check_writable",
    "find_pictures",
    "plan_jobs",
    "texts",
]

SHOWN = ("before-after", "changes", "mask")  # of a change; lies beside the result, as NAME-before-after.png


@dataclass(frozen=True)
class Job:
    """One picture to read, and where what becomes of it is written."""

    source: Path
    target: Path


def plan_jobs(
    inputs: str | Path | Sequence[str | Path],
    out: str | Path | None,
    *,
    in_place: bool = False,
    overwrite: bool = False,
    skip_existing: bool = False,
    apart: Path | None = None,
) -> tuple[list[Job], list[Path]]:
    """All that is to be done, checked before anything is.

    A single file goes to `out` if that has the name of a picture, else into the folder `out`; the pictures of a folder
    or a pattern, those in its folders too, keep their places in `out`. What is hidden is left out, and so is what was
    made before: what lies in `out`, and `SHOWN`. What cannot be written in its own format becomes PNG; in place, it is
    refused where it is the only one, and is left to `check_writable` among others.

    Args:
        inputs: picture files, folders, and patterns with ``*``, ``?``, ``[...]`` or ``**``.
        out: a picture or a folder; None with `in_place`.
        in_place: each result replaces its source; what a link points to, where the source is one.
        overwrite: results may replace other files.
        skip_existing: pictures whose result is there already are left out.
        apart: a picture, or a folder of some, that is for something else, and is left out of a folder that holds it.

    Returns:
        The jobs, and the results that are there already.

    Raises:
        NotFoundError: a path that does not exist, a pattern or folder without pictures.
        InputError: options that contradict each other, two inputs with one result, or nowhere to write to.
        ExistsError: a result is there already, or is one of the inputs.
    """
    if in_place and out is not None:
        raise InputError("--in-place: writes onto the pictures themselves; leave --out away")
    if out is None and not in_place:
        raise InputError("--out: where to write is missing: a picture, a folder, or --in-place")
    if overwrite and skip_existing:
        raise InputError("--overwrite, --skip-existing: one or the other")
    if in_place and skip_existing:
        raise InputError("--in-place, --skip-existing: what was done in place cannot be told apart; name what is left")
    given, out = texts(inputs), None if out is None else Path(out)
    if not all(given) or not given:
        raise InputError("no picture given: files, folders or patterns expected")
    found = [pair for text in given for pair in _expand(text, out, apart)]
    if out is None:
        jobs = [Job(source, _own_place(source)) for source, _ in _each_once((p, Path()) for p, _ in found)]
        if len(jobs) == 1:
            check_writable(jobs[0])
        _check_folders(jobs)
        return jobs, []
    jobs = _into(_each_once(found), out)
    _check_folders(jobs)
    _check_targets(jobs)
    there = [job.target for job in jobs if job.target.exists()]
    if skip_existing:
        return [job for job in jobs if not job.target.exists()], there
    if there and not overwrite:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise ExistsError(f"{there[0]}{more}: exists; choose another --out, or --overwrite or --skip-existing")
    return jobs, []


def find_pictures(inputs: str | Path | Sequence[str | Path]) -> list[Path]:
    """The picture files that are meant by files, folders and patterns, each once; see `plan_jobs`.

    Raises:
        NotFoundError: a path that does not exist, a pattern or folder without pictures.
    """
    return list(dict.fromkeys(path for text in texts(inputs) for path, _ in _expand(text)))


def texts(inputs: str | Path | Sequence[str | Path]) -> list[str]:
    """One or several, as Python has them, as the command line has them."""
    return list(map(str, [inputs] if isinstance(inputs, str | Path) else inputs))


def _expand(text: str, *apart: Path | None) -> list[tuple[Path, Path]]:
    """(file, its place below an output folder) of an input; of a folder, without what `apart` names in it."""
    path = Path(text)
    with contextlib.suppress(RuntimeError):  # nobody of that name: a file that begins so
        path = path.expanduser()
    if path.is_dir():
        others = [a.resolve() for a in apart if a is not None and path.resolve() in a.resolve().parents]
        files = sorted(p for p in path.rglob("*") if _is_picture(p, path) and not any(_lies_in(p, a) for a in others))
        if not files:
            raise NotFoundError(f"{text}: no pictures in this folder ({', '.join(sorted(READABLE_SUFFIXES))})")
        return [(p, p.relative_to(path)) for p in files]
    if path.exists():
        return [(path, Path(path.name))]
    if glob.has_magic(text):
        matches = map(Path, sorted(glob.glob(str(path), recursive=True)))  # noqa: PTH207 - the pattern may be absolute
        files = [p for p in matches if _is_picture(p, p.parent)]
        if not files:
            raise NotFoundError(f"{text}: no picture matches")
        fixed = next(i for i, part in enumerate(path.parts) if glob.has_magic(part))  # parts before it are in all
        return [(p, Path(*p.parts[fixed:])) for p in files]
    near = [str(p) for p in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = suggest(str(path), near)
    raise NotFoundError(f"{text}: no such file" + (f"; {hint}" if hint.startswith("did") else ""))


def _each_once(found: Iterable[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """What was named twice, by a folder and by a pattern perhaps, is done once."""
    first: dict[tuple[Path, Path], tuple[Path, Path]] = {}
    for source, place in found:
        first.setdefault((source.resolve(), place), (source, place))
    return list(first.values())


def _is_picture(path: Path, base: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(base).parts)
    return path.suffix.lower() in READABLE_SUFFIXES and path.is_file() and not hidden and not _shows(path)


def _shows(path: Path) -> bool:
    """Whether it is one of `SHOWN`, of a picture beside it."""
    if path.suffix != ".png":
        return False
    stems = [path.stem.removesuffix(f"-{what}") for what in SHOWN if path.stem.endswith(f"-{what}")]
    beside = (p for stem in stems for p in path.parent.glob(f"{glob.escape(stem)}.*"))
    return any(p.suffix.lower() in READABLE_SUFFIXES for p in beside)


def _lies_in(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder)


def _into(found: Sequence[tuple[Path, Path]], out: Path) -> list[Job]:
    if out.suffix and not out.is_dir():
        if len(found) > 1:
            raise InputError(f"--out: {len(found)} pictures do not fit into {out.name}; give a folder")
        check_writable(job := Job(found[0][0], out))
        return [job]
    return [Job(source, out / (place if _can_write(place) else place.with_suffix(".png"))) for source, place in found]


def _can_write(path: Path) -> bool:
    return path.suffix.lower() in WRITABLE_SUFFIXES


def _own_place(source: Path) -> Path:
    """Where a source is written in place."""
    return source.resolve() if source.is_symlink() else source


def check_writable(job: Job) -> None:
    """Refuse a result of another kind than pictures are written as.

    Raises:
        ImageError: that.
    """
    if not _can_write(job.target):
        kinds = ", ".join(sorted(WRITABLE_SUFFIXES))
        if job.target == _own_place(job.source):
            raise ImageError(f"--in-place: {job.target} cannot be written, only {kinds}; with --out it becomes PNG")
        raise ImageError(f"--out: cannot write {job.target.name}; its name must end in one of {kinds}")


def check_spared(jobs: Sequence[Job], files: Iterable[Path], what: str) -> None:
    """Refuse to write onto files that are still to be looked at; `what` says what they are, e.g. "a mask".

    Raises:
        ExistsError: that.
    """
    spared = {path.expanduser().resolve() for path in files}
    for job in jobs:
        if job.target.resolve() in spared:
            raise ExistsError(f"{job.target}: is {what}, and would be written onto; choose another --out")


def check_beside(
    jobs: Sequence[Job],
    beside: Callable[[Path], Sequence[Path]],
    kept: Iterable[Path],
    what: str,
    *,
    may_replace: bool,
) -> None:
    """Refuse to write what is made beside results onto anything else.

    Args:
        jobs: to be done.
        beside: a result -> what is written beside it.
        kept: files that are to stay, beside the sources and targets.
        what: for messages, what the result does there, e.g. "is shown".
        may_replace: what is there already.

    Raises:
        InputError, ExistsError: that.
    """
    taken = {path.expanduser().resolve() for path in kept}
    taken |= {path.resolve() for job in jobs for path in (job.source, job.target)}
    made: dict[Path, Path] = {}
    for place, target in ((place, job.target) for job in jobs for place in beside(job.target)):
        if place.resolve() in taken:
            raise InputError(f"{place}: is where {target.name} {what}; call that file otherwise")
        other = made.setdefault(place.resolve(), target)
        if other != target:
            raise InputError(f"{place}: is where {other.name} {what} and {target.name} too; run them apart")
        if place.exists() and not may_replace:
            raise ExistsError(f"{place}: exists, and is where {target.name} {what}; --overwrite, or move it away")


def check_folder(folder: Path, option: str = "--out") -> None:
    """Refuse a folder that cannot be written into, there already or not: before hours of work, not after.

    Raises:
        InputError: that.
    """
    there = next((p for p in (folder, *folder.parents) if os.path.lexists(p)), folder)
    if not there.is_dir():
        raise InputError(f"{option}: {there} is a file, so nothing can be written into it; choose another")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{there}: you may not write into this folder; choose another {option}")


def _check_folders(jobs: Sequence[Job]) -> None:
    for folder in {job.target.parent for job in jobs}:
        check_folder(folder)


def _check_targets(jobs: Sequence[Job]) -> None:
    sources = {job.source.resolve() for job in jobs}
    made: dict[Path, Path] = {}
    for job in jobs:
        target = job.target.resolve()
        if target in sources:
            raise ExistsError(f"{job.target}: is an input; choose another --out, or --in-place to write onto inputs")
        if target in made:
            raise InputError(f"--out: {made[target]} and {job.source} would both become {job.target}; run them apart")
        made[target] = job.source
