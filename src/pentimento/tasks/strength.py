"""The largest strength of a style at which a picture keeps its content: `stylize --strength auto`.

    a -> strength     d(a) -> content distance of the picture at strength a from the picture itself
    b -> the bound: d(a) <= b is wanted

d is that of `pentimento.features.likeness`, on a copy of at most `LOOKED_AT_PX`. It need not rise with a, so strengths
are tried from 0 upwards in steps of a tenth, up to the first that passes the bound, and the last step is then halved a
few times. What is chosen is the largest of all strengths tried such that it, and every smaller one tried, keeps the
bound. A turn that is narrower than the steps is not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pentimento.errors import EvaluationError
from pentimento.features.likeness import content_distances
from pentimento.model import Model
from pentimento.runtime import Progress, ProgressCallback, no_progress
from pentimento.tasks import pictures
from pentimento.tasks.files import Job
from pentimento.tasks.masks import Shares, brought_to, read_regions
from pentimento.tasks.pictures import AnyPicture
from pentimento.tasks.stylize import Look, matched, stylized, write_stylized

__all__ = ["LOOKED_AT_PX", "Chosen", "choose_strength", "largest_kept", "stylize_keeping"]

LOOKED_AT_PX = 512  # longer side of the copy
STEPS = tuple(step / 10 for step in range(1, 11))
HALVINGS = 3  # of the last step: to an eightieth
TRIALS = 1 + len(STEPS) + HALVINGS  # at most, for progress


@dataclass(frozen=True)
class Chosen:
    """A strength and why.

    Args:
        strength: from 0 to 1.
        content: d at it.
        tried: all that was tried, strength -> d, in the order of trial.
    """

    strength: float
    content: float
    tried: Mapping[float, float]


def largest_kept(response: Callable[[float], float], bound: float) -> Chosen:
    """The largest strength tried at which, and below which, the response stays at the bound or under it.

    Args:
        response: a -> d(a).
        bound: b.

    Raises:
        EvaluationError: strength 0 does not keep it.

    >>> largest_kept(lambda a: a * a, 0.25).strength
    0.5
    """
    tried = {0.0: response(0.0)}
    if not tried[0.0] <= bound:
        raise EvaluationError(
            f"--keep: of the content, {tried[0.0]:.3g} is lost at strength 0 already, and {bound:g} is allowed; allow "
            "more, or leave this picture as it is"
        )
    low, high = 0.0, None
    for step in STEPS:
        tried[step] = response(step)
        if not tried[step] <= bound:
            high = step
            break
        low = step
    for _ in range(HALVINGS if high is not None else 0):
        assert high is not None
        middle = round((low + high) / 2, 4)
        tried[middle] = response(middle)
        low, high = (middle, high) if tried[middle] <= bound else (low, middle)
    return Chosen(low, tried[low], tried)


def choose_strength(
    model: Model,
    picture: AnyPicture,
    look: Look,
    bound: float,
    regions: Sequence[Shares] = (),
    progress: ProgressCallback = no_progress,
) -> Chosen:
    """The strength for a picture in a look, whose own strength does not matter.

    Args:
        model: that stylizes.
        picture: of any size.
        look: wished for, with regions or without.
        bound: of the content distance.
        regions: see `pentimento.tasks.masks.read_regions`.
        progress: told of every trial.

    Raises:
        EvaluationError: strength 0 does not keep the bound.
    """
    copy = pictures.scaled_down(picture, LOOKED_AT_PX)
    small = [brought_to(region, copy.height_px, copy.width_px) for region in regions]
    look = matched(model, look, copy) if look.colours == "matched" else look
    original, trials = copy.to_tensor(None)[None].to(model.device), iter(range(1, TRIALS + 1))

    def lost(strength: float) -> float:
        made = stylized(model, copy, replace(look, strength=strength), small).to_tensor(None)[None]
        progress(Progress("strength", next(trials), TRIALS, "trials"))
        return float(content_distances(made.to(model.device), original))

    return largest_kept(lost, bound)


def stylize_keeping(
    model: Model,
    job: Job,
    look: Look,
    mask_files: Sequence[Path] = (),
    *,
    bound: float,
    options: Mapping[str, float | str],
    progress: ProgressCallback = no_progress,
) -> Chosen:
    """Read, choose the strength, render, write; see `stylize_file`. What was chosen is told and written along.

    Raises:
        EvaluationError: as `choose_strength`.
        ImageError: the picture or a mask cannot be used.
        InputError: a memory budget that is too small.
    """
    picture = pictures.open_picture(job, progress=progress)
    regions = read_regions(mask_files, picture.height_px, picture.width_px)
    chosen = choose_strength(model, picture, look, bound, regions, progress)
    told = (
        f"{job.source.name}: strength {chosen.strength:g}, content distance {chosen.content:.3f} of {bound:g} allowed"
    )
    progress(Progress("strength", TRIALS, TRIALS, "trials", message=told))
    record = {
        **options,
        "strength": chosen.strength,
        "content_distance": round(chosen.content, 6),
        "content_bound": bound,
    }
    look = replace(look, strength=chosen.strength)
    write_stylized(model, job, picture, look, regions, mask_files, options=record, progress=progress)
    return chosen
