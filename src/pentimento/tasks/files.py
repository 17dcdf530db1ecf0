"""Which picture files go in, and where each one's result goes: for all verbs that change pictures."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pentimento.errors import ExistsError, ImageError, InputError, NotFoundError, suggest
from pentimento.images import READABLE_SUFFIXES, WRITABLE_SUFFIXES

__all__ = ["Job", "find_pictures", "plan_jobs"]


@dataclass(frozen=True)
class Job:
    """One picture to read, and where what becomes of it is written."""

    source: Path
    target: Path


def plan_jobs(
    inputs: Sequence[str],
    out: Path | None,
    *,
    in_place: bool = False,
    overwrite: bool = False,
    skip_existing: bool = False,
) -> tuple[list[Job], list[Path]]:
    """All that is to be done, checked before anything is.

    A single file goes to `out` if that has the name of a picture, else into the folder `out`; a folder's pictures,
    those in its folders too, keep their places in `out`. What is hidden is left out, and so is what lies in `out`: it
    was made before. What cannot be written in its own format becomes PNG.

    Args:
        inputs: picture files, folders, and patterns with ``*``, ``?``, ``[...]`` or ``**``.
        out: a picture or a folder; None with `in_place`.
        in_place: each result replaces its source; what a link points to, where the source is one.
        overwrite: results may replace other files.
        skip_existing: pictures whose result is there already are left out.

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
    if not all(inputs) or not inputs:
        raise InputError("no picture given: files, folders or patterns expected")
    found = [pair for text in inputs for pair in _expand(text, out)]
    if in_place:
        jobs = [Job(source, _own_place(source)) for source, _ in _each_once((p, Path()) for p, _ in found)]
        _check_folders(jobs)
        return jobs, []
    assert out is not None
    jobs = _into(_each_once(found), Path(out))
    _check_folders(jobs)
    _check_targets(jobs)
    there = [job.target for job in jobs if job.target.exists()]
    if skip_existing:
        return [job for job in jobs if not job.target.exists()], there
    if there and not overwrite:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise ExistsError(f"{there[0]}{more}: exists; choose another --out, or --overwrite or --skip-existing")
    return jobs, []


def find_pictures(inputs: Sequence[str]) -> list[Path]:
    """The picture files that are meant by files, folders and patterns, each once; see `plan_jobs`.

    Raises:
        NotFoundError: a path that does not exist, a pattern or folder without pictures.
    """
    return list(dict.fromkeys(path for text in inputs for path, _ in _expand(text, None)))


def _expand(text: str, out: Path | None) -> list[tuple[Path, Path]]:
    """(file, its place below an output folder) of an input."""
    path = Path(text)
    with contextlib.suppress(RuntimeError):  # nobody of that name: a file that begins so
        path = path.expanduser()
    if path.is_dir():
        made = out.resolve() if out is not None and path.resolve() in out.resolve().parents else None
        files = sorted(p for p in path.rglob("*") if _is_picture(p, path) and not _lies_in(p, made))
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
        return [(p, Path(p.name)) for p in files]
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
    return path.suffix.lower() in READABLE_SUFFIXES and path.is_file() and not hidden


def _lies_in(path: Path, folder: Path | None) -> bool:
    return folder is not None and path.resolve().is_relative_to(folder)


def _into(found: Sequence[tuple[Path, Path]], out: Path) -> list[Job]:
    if out.suffix and not out.is_dir():
        if len(found) > 1:
            raise InputError(f"--out: {len(found)} pictures do not fit into {out.name}; give a folder")
        return [Job(found[0][0], _writable(out, "--out"))]
    return [Job(source, out / (place if _can_write(place) else place.with_suffix(".png"))) for source, place in found]


def _can_write(path: Path) -> bool:
    return path.suffix.lower() in WRITABLE_SUFFIXES


def _own_place(source: Path) -> Path:
    """Where a source is written in place."""
    return _writable(source.resolve() if source.is_symlink() else source, "--in-place")


def _writable(target: Path, option: str) -> Path:
    if not _can_write(target):
        kinds = ", ".join(sorted(WRITABLE_SUFFIXES))
        raise ImageError(f"{option}: cannot write {target.name}; its name must end in one of {kinds}")
    return target


def _check_folders(jobs: Sequence[Job]) -> None:
    """Before hours of work, not after."""
    for folder in {job.target.parent for job in jobs}:
        there = next((p for p in (folder, *folder.parents) if os.path.lexists(p)), folder)
        if not there.is_dir():
            raise InputError(f"--out: {there} is a file, so nothing can be written into it; choose another")
        if not os.access(there, os.W_OK | os.X_OK):
            raise InputError(f"{there}: you may not write into this folder; choose another --out")


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
