"""Which picture files go in, and where each one's result goes: for all verbs that change pictures."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pentimento.errors import ExistsError, ImageError, InputError, NotFoundError, suggest
from pentimento.images import READABLE_SUFFIXES, WRITABLE_SUFFIXES

__all__ = ["Job", "plan_jobs"]


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
    those in its folders too, keep their places in `out`. What cannot be written in its own format becomes PNG.

    Args:
        inputs: picture files, folders, and patterns with ``*``, ``?``, ``[...]`` or ``**``.
        out: a picture or a folder; None with `in_place`.
        in_place: each result replaces its source.
        overwrite: results may replace other files.
        skip_existing: pictures whose result is there already are left out.

    Returns:
        The jobs, and the results that are there already.

    Raises:
        NotFoundError: a path that does not exist, a pattern or folder without pictures.
        InputError: options that contradict each other, or two inputs with one result.
        ExistsError: a result is there already, or is one of the inputs.
    """
    if in_place and out is not None:
        raise InputError("--in-place: writes onto the pictures themselves; leave --out away")
    if out is None and not in_place:
        raise InputError("--out: where to write is missing: a picture, a folder, or --in-place")
    if overwrite and skip_existing:
        raise InputError("--overwrite, --skip-existing: one or the other")
    found = [pair for text in inputs for pair in _expand(text)]
    if not found:
        raise InputError("no picture given: files, folders or patterns expected")
    if in_place:
        return [Job(source, _writable(source, source)) for source, _ in found], []
    assert out is not None
    jobs = _into(found, Path(out))
    _check_targets(jobs)
    there = [job.target for job in jobs if job.target.exists()]
    if skip_existing:
        return [job for job in jobs if job.target not in there], there
    if there and not overwrite:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise ExistsError(f"{there[0]}{more}: exists; choose another --out, or --overwrite or --skip-existing")
    return jobs, []


def _expand(text: str) -> list[tuple[Path, Path]]:
    """(file, its place below an output folder) of an input."""
    path = Path(text).expanduser()
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if _is_picture(p))
        if not files:
            raise NotFoundError(f"{text}: no pictures in this folder ({', '.join(sorted(READABLE_SUFFIXES))})")
        return [(p, p.relative_to(path)) for p in files]
    if path.exists():
        return [(path, Path(path.name))]
    if glob.has_magic(text):
        matches = map(Path, sorted(glob.glob(str(path), recursive=True)))  # noqa: PTH207 - the pattern may be absolute
        files = [p for p in matches if _is_picture(p)]
        if not files:
            raise NotFoundError(f"{text}: no picture matches")
        return [(p, Path(p.name)) for p in files]
    near = [str(p) for p in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = suggest(str(path), near)
    raise NotFoundError(f"{text}: no such file" + (f"; {hint}" if hint.startswith("did") else ""))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in READABLE_SUFFIXES and path.is_file() and not path.name.startswith(".")


def _into(found: Sequence[tuple[Path, Path]], out: Path) -> list[Job]:
    if out.suffix and not out.is_dir():
        if len(found) > 1:
            raise InputError(f"--out: {len(found)} pictures do not fit into {out.name}; give a folder")
        return [Job(found[0][0], _writable(out, found[0][0]))]
    return [Job(source, out / (place if _can_write(place) else place.with_suffix(".png"))) for source, place in found]


def _can_write(path: Path) -> bool:
    return path.suffix.lower() in WRITABLE_SUFFIXES


def _writable(target: Path, source: Path) -> Path:
    if not _can_write(target):
        kinds = ", ".join(sorted(WRITABLE_SUFFIXES))
        which = "--in-place" if target == source else "--out"
        raise ImageError(f"{which}: cannot write {target.name}; its name must end in one of {kinds}")
    return target


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
