"""The verb `translate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from pentimento.api.options import Callback, Flag, read_attributes
from pentimento.api.pictures import check_range, load_able, say_beforehand
from pentimento.runtime import no_progress

if TYPE_CHECKING:
    from pentimento.tasks.files import Job

__all__ = ["TranslateResult", "translate"]


@dataclass(frozen=True)
class TranslateResult:
    """What was translated.

    Args:
        files: all pictures written.
        model: name of the model.
        weights_sha256: of the model.
        skipped: results that were there already.
        failed: file -> why it could not be translated.
    """

    files: list[Path]
    model: str
    weights_sha256: str
    skipped: list[Path] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def translate(
    images: Annotated[list[str], Parameter(negative="")],
    /,
    *,
    model: str,
    out: Path | None = None,
    reverse: Flag = False,
    label: str | None = None,
    attributes: Annotated[Sequence[str], Parameter(name="--attribute", negative="")] = (),
    strength: float = 1.0,
    memory: str | None = None,
    in_place: Flag = False,
    skip_existing: Flag = False,
    overwrite: Flag = False,
    device: str = "auto",
    progress: Callback = no_progress,
) -> TranslateResult:
    """Bring pictures into another look, one that a model has learned from pictures before and after.

    Size, alpha, colour profile, EXIF and bit depth stay as they are.

    Args:
        images: Picture files, folders, and patterns such as "scans/*.tif".
        model: A run folder, a model folder, a model of the zoo or a hub id.
        out: A picture for one, a folder for many; pictures of a folder keep their places in it.
        reverse: The other way, from the second set of pictures to the first (cyclegan).
        label: The look, where the model knows several.
        attributes: NAME=VALUE for an attribute that says the look; repeatable.
        strength: How much of the change is made, 0 to 1.
        memory: At most so much beside the picture itself, e.g. 2GB; half of what is free where left out.
        in_place: Write onto the pictures themselves.
        skip_existing: Leave out what has been written before, so that a stopped run goes on.
        overwrite: Replace other files.
        device: auto, cpu, cuda, cuda:N or mps.
    """
    from pentimento.tasks.files import plan_jobs
    from pentimento.tasks.memory import working_memory
    from pentimento.tasks.pictures import one_by_one
    from pentimento.tasks.translate import Wishes, translate_file

    check_range("strength", strength, 0, 1)
    wishes = Wishes(reverse, label, read_attributes(attributes), strength, working_memory(memory))
    jobs, there = plan_jobs(images, out, in_place=in_place, overwrite=overwrite, skip_existing=skip_existing)
    translator = load_able(model, "Translates", "translate", device)
    wishes.condition(translator)  # refuses before the first picture what it would refuse for each
    say_beforehand(jobs, "translate", [translator], progress)
    assert translator.origin is not None
    result = TranslateResult([], translator.origin.name, translator.origin.weights_sha256, skipped=there)

    def work(job: Job) -> None:
        translate_file(translator, job, wishes, progress)
        result.files.append(job.target)

    result.failed.update(one_by_one(jobs, work, progress))
    return result
