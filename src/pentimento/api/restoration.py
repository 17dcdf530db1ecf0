"""The verb `restore`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from pentimento.api.options import Callback, Flag
from pentimento.api.pictures import check_range, load_able, say_beforehand
from pentimento.errors import InputError
from pentimento.runtime import ProgressCallback, no_progress

if TYPE_CHECKING:
    from pentimento.model import Model
    from pentimento.tasks.files import Job
    from pentimento.tasks.restore import Wishes

__all__ = ["RestoreResult", "restore"]

FINDER = "find-scratches"  # of the zoo


@dataclass(frozen=True)
class RestoreResult:
    """What was restored.

    Args:
        files: all pictures written.
        model: name of the model.
        weights_sha256: of the model.
        guessed: file -> the strength of its damage, where the model had to guess: sigma of 255, or JPEG quality.
        repaired: file -> the share of its pixels inside the mask, given or found.
        skipped: results that were there already.
        failed: file -> why it could not be restored.
    """

    files: list[Path]
    model: str
    weights_sha256: str
    guessed: dict[str, float] = field(default_factory=dict)
    repaired: dict[str, float] = field(default_factory=dict)
    skipped: list[Path] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def restore(
    images: Annotated[list[str], Parameter(negative="")],
    /,
    *,
    out: Path | None = None,
    model: str | None = None,
    noise: float | None = None,
    quality: int | None = None,
    scale: int | None = None,
    mask: Path | None = None,
    find_scratches: Flag = False,
    detector: str | None = None,
    strength: float = 1.0,
    passes: int | None = None,
    tolerance: float | None = None,
    ensemble: Flag = False,
    compare: Flag = False,
    memory: str | None = None,
    in_place: Flag = False,
    skip_existing: Flag = False,
    overwrite: Flag = False,
    device: str = "auto",
    progress: Callback = no_progress,
) -> RestoreResult:
    """Repair pictures: noise, JPEG artefacts, scratches, missing parts, or enlarge them.

    Size, alpha, colour profile, EXIF and bit depth stay as they are. With a mask, pixels outside of it are kept exactly
    in what is written without loss.

    Args:
        images: Picture files, folders, and patterns such as "scans/*.tif".
        out: A picture for one, a folder for many; pictures of a folder keep their places in it.
        model: A model of the zoo, a run folder, a model folder or a hub id; chosen by what is asked where left out.
        noise: The standard deviation of the noise, 0 to 255; guessed where left out.
        quality: The quality of a JPEG picture, 1 to 100, for a model that removes its artefacts; guessed likewise.
        scale: Enlarge so many times, 2 or 4.
        mask: A picture of the same size, white where to repair, or transparent; or a folder of them, by name.
        find_scratches: Find scratches, creases and dust, and repair those only.
        detector: The model that finds them; find-scratches where left out.
        strength: How much of the change is made, 0 to 1.
        passes: Of a recurrent model; each takes as long, and adds less than the one before.
        tolerance: Of a recurrent model: stop when a pass changes pixels by less than so much of 255, on average.
        ensemble: Repair the picture in eight positions, turned and mirrored, and take the mean: a little better, for
            eight times the work.
        compare: Also write before and after side by side, a map of what changed, and the mask of scratches found.
        memory: At most so much beside the picture itself, e.g. 2GB; half of what is free where left out.
        in_place: Write onto the pictures themselves.
        skip_existing: Leave out what has been written before, so that a stopped run goes on.
        overwrite: Replace other files.
        device: auto, cpu, cuda, cuda:N or mps.
    """
    from pentimento.tasks import compare as shown
    from pentimento.tasks.files import check_beside, check_spared, plan_jobs
    from pentimento.tasks.masks import plan_masks

    wishes = replace(_wishes(noise, quality, strength, passes, tolerance, memory), ensemble=ensemble, compare=compare)
    if mask is not None and find_scratches:
        raise InputError("--mask, --find-scratches: one or the other")
    if detector is not None and not find_scratches:
        raise InputError("--detector: finds damage for --find-scratches; add that, or leave it out")
    given = None if mask is None else Path(mask).expanduser()
    existing = {"in_place": in_place, "overwrite": overwrite, "skip_existing": skip_existing}
    jobs, there = plan_jobs(images, out, **existing, apart=given)
    masks = plan_masks([job.source for job in jobs], given)
    check_spared(jobs, masks.values(), "a mask")
    if compare:
        kept = [*masks.values(), *there]
        check_beside(jobs, lambda t: shown.names(t, find_scratches), kept, "is shown", may_replace=overwrite)
    in_passes = passes is not None or tolerance is not None
    name = model or _default_model(scale, quality, in_passes, mask is not None, find_scratches)
    restorer = load_able(name, "Restores", "restore", device)
    wishes.check(restorer, scale, masked=mask is not None or find_scratches)
    finder = load_able(detector or FINDER, "Detects", "restore --find-scratches", device) if find_scratches else None
    say_beforehand(jobs, "restore", [restorer, *([finder] if finder else [])], progress)
    return _restore_all(restorer, jobs, wishes, masks, finder, there, progress)


def _restore_all(
    restorer: Model,
    jobs: Sequence[Job],
    wishes: Wishes,
    masks: Mapping[Path, Path],
    finder: Model | None,
    there: list[Path],
    progress: ProgressCallback,
) -> RestoreResult:
    """One by one; of several pictures, those that cannot be used are left out and named."""
    from pentimento.tasks.pictures import one_by_one
    from pentimento.tasks.restore import restore_file

    assert restorer.origin is not None
    result = RestoreResult([], restorer.origin.name, restorer.origin.weights_sha256, skipped=there)

    def work(job: Job) -> None:
        done = restore_file(restorer, job, wishes, mask_file=masks.get(job.source), detector=finder, progress=progress)
        result.files.extend(done.files)
        if done.guessed is not None:
            result.guessed[str(job.target)] = done.guessed
        if done.repaired is not None:
            result.repaired[str(job.target)] = done.repaired

    result.failed.update(one_by_one(jobs, work, progress))
    return result


def _wishes(
    noise: float | None,
    quality: int | None,
    strength: float,
    passes: int | None,
    tolerance: float | None,
    memory: str | None,
) -> Wishes:
    """Checked one by one.

    Raises:
        InputError: out of range.
    """
    from pentimento.tasks.memory import working_memory
    from pentimento.tasks.restore import Wishes

    for name, value, low, high in (
        ("noise", noise, 0, 255),
        ("quality", quality, 1, 100),
        ("strength", strength, 0, 1),
        ("passes", passes, 1, 1000),
        ("tolerance", tolerance, 0, 255),
    ):
        check_range(name, value, low, high)
    return Wishes(noise, quality, strength, passes, tolerance, working_memory(memory))


def _default_model(scale: int | None, quality: int | None, in_passes: bool, masked: bool, find_scratches: bool) -> str:
    """The model of the zoo for what is asked."""
    if scale is not None and scale != 1:
        if scale not in (2, 4):
            raise InputError(f"--scale: 2 or 4 expected, got {scale}; for another, train a model and name it: --model")
        return f"upscale-x{scale}"
    if find_scratches:
        return "old-photo"
    if masked:
        return "inpaint"
    if quality is not None:
        return "dejpeg"
    return "denoise-recurrent" if in_passes else "denoise"
