"""The verb `stylize`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from pentimento.api.optimization import Optimization, find_search, optimize_all, refuse_unheard
from pentimento.api.options import Callback, Flag
from pentimento.api.pictures import StylizeResult, check_range, load_able, say_beforehand
from pentimento.errors import ExistsError, InputError
from pentimento.runtime import ProgressCallback, no_progress

if TYPE_CHECKING:
    from pentimento.model import Model
    from pentimento.tasks.files import Job
    from pentimento.tasks.stylize import Look

__all__ = ["stylize"]


DEFAULT = "stylize"  # of the zoo
KEPT = 0.08  # bound of --strength auto: about where, on photographs, shapes begin to dissolve


def stylize(
    content: str,
    styles: Annotated[list[str], Parameter(negative="")],
    /,
    *,
    out: Path | None = None,
    model: str | None = None,
    method: Literal["model", "optimize"] = "model",
    strength: float | Literal["auto"] = 1.0,
    keep: float | None = None,
    weights: Annotated[Sequence[float] | None, Parameter(negative="")] = None,
    mask: Annotated[Sequence[Path], Parameter(negative="")] = (),
    colours: Literal["style", "luminance", "matched"] = "style",
    style_size: int = 512,
    save_style: str | None = None,
    size: int | None = None,
    memory: str | None = None,
    in_place: Flag = False,
    skip_existing: Flag = False,
    overwrite: Flag = False,
    device: str = "auto",
    optimization: Optimization = Optimization(),  # noqa: B008 - it is frozen
    progress: Callback = no_progress,
) -> StylizeResult:
    """Render a picture in the look of others: in one pass by a model, or by optimisation, slower and truer.

    Size, alpha, colour profile, EXIF and bit depth stay as they are.

    Args:
        content: A picture file, a folder, or a pattern such as "photos/*.jpg".
        styles: One or more: pictures; names of styles that come with the model; or FILE.safetensors[:NAME].
        out: A picture for one, a folder for many.
        model: A model of the zoo, a run folder, a model folder or a hub id; stylize where left out.
        method: By the model, or by optimisation.
        strength: Of the model's style, from 0, the picture itself, to 1; auto takes, for each picture, the largest at
            which it keeps its content, as KEEP says.
        keep: With --strength auto, the part of the content that may be lost: the squared distance in layer relu4_1 of
            the embedded network perceptual, in shares of the picture's own, on a copy of at most 512 px; 0.08 where
            left out.
        weights: What each style counts, one after another; all alike where left out.
        mask: For each style a picture of the content's size, white where it goes, one after another; where they leave
            a hole, the content stays as it is.
        colours: Those of the style; luminance keeps the content's and takes over the lightness only; matched brings
            the style to the content's colours first.
        style_size: The longer side that styles are brought to before the model looks at them: smaller, finer strokes.
        save_style: Keep the style, or the blend, as FILE.safetensors:NAME, to use it without the pictures.
        size: Bring the content down to this longer side first; for --method optimize.
        memory: At most so much beside the picture itself, e.g. 2GB; half of what is free where left out.
        in_place: Write onto the pictures themselves.
        skip_existing: Leave out what has been written before, so that a stopped run goes on.
        overwrite: Replace other files.
        device: auto, cpu, cuda, cuda:N or mps.
        optimization: See there.
    """
    from pentimento.tasks.files import check_spared, plan_jobs, texts
    from pentimento.tasks.memory import working_memory
    from pentimento.tasks.styles import shares

    styles, mask = texts(styles), list(map(Path, texts(mask)))
    refuse_unheard(method, model, strength, keep, save_style, style_size, size, optimization)
    full, bound = _strength(strength, keep)
    check_range("size", size, 1, 65536)
    counts = shares(len(styles), weights)
    _check_masks(mask, len(styles), weights)
    place = None if save_style is None else _where_to_keep(save_style, bool(mask), colours)
    jobs, there = plan_jobs([content], out, in_place=in_place, overwrite=overwrite, skip_existing=skip_existing)
    check_spared(jobs, [*map(Path, styles), *mask], "a style or a mask")
    budget = working_memory(memory)
    asked: dict[str, float | str] = {"styles": ", ".join(styles), "colours": colours}
    if len(styles) > 1 and not mask:
        asked["weights"] = ", ".join(f"{share:g}" for share in counts)
    if method == "optimize":
        search = find_search(optimization, colours, size, budget, device, progress)
        replacing = overwrite or skip_existing
        return optimize_all(search, jobs, styles, counts, mask, asked, there, progress, replacing=replacing)
    stylizer = load_able(model or DEFAULT, "Stylizes", "stylize", device)
    look = _look(stylizer, model or DEFAULT, styles, counts, full, colours, style_size, budget)
    place = None if place is None else _not_kept_yet(place, stylizer, overwrite, skip_existing)
    asked["strength"] = strength
    say_beforehand(jobs, "stylize", [stylizer], progress)
    result = _render_all(stylizer, jobs, look, bound, styles, mask, asked, there, progress)
    if place is not None:
        _keep(place, look, stylizer)
    return result


def _strength(given: float | Literal["auto"], keep: float | None) -> tuple[float, float | None]:
    """The strength, and the bound of the content distance where the strength is to be chosen by it.

    Raises:
        InputError: out of range.
    """
    check_range("keep", keep, 0, 1)
    if given == "auto":
        return 1.0, KEPT if keep is None else keep
    check_range("strength", given, 0, 1)
    return given, None


def _check_masks(mask: Sequence[Path], count: int, weights: Sequence[float] | None) -> None:
    if mask and weights is not None:
        raise InputError("--mask, --weights: one or the other; a mask says how much of its style goes where")
    if mask and len(mask) != count:
        raise InputError(f"--mask: one for each of {count} styles expected, got {len(mask)}")


# ----------------------------------------------------------------------------------------------- by a model
def _look(
    model: Model,
    where: str,
    styles: Sequence[str],
    counts: Sequence[float],
    strength: float,
    colours: Literal["style", "luminance", "matched"],
    style_size: int,
    budget: int,
) -> Look:
    from pentimento.models import find
    from pentimento.tasks.style_objective import LEAST_STYLE_PX
    from pentimento.tasks.styles import find_style, is_named
    from pentimento.tasks.stylize import Look

    check_range("style-size", style_size, LEAST_STYLE_PX, 8192)
    named = [text for text in styles if is_named(text)]
    if colours == "matched" and named:
        raise InputError(f"--colours matched: needs the picture of a style, and {named[0]} is a vector; use luminance")
    if len(named) == len(styles) and style_size != 512:
        raise InputError(f"--style-size: is for pictures, and {named[0]} is a vector; leave it out")
    found = [find_style(model, find(where), text, style_size) for text in styles]
    return Look(found, counts, strength, colours, style_size, budget)


def _where_to_keep(where: str, masked: bool, colours: str) -> tuple[Path, str]:
    """The file of styles, and the name in it.

    Raises:
        InputError: not that form, no place for a file; or there is not one style that did it all.
    """
    from pentimento.tasks.files import check_folder

    file, _, name = where.rpartition(":")
    if not file.endswith(".safetensors") or not name:
        raise InputError(f"--save-style: FILE.safetensors:NAME expected, got {where!r}")
    if masked:
        raise InputError("--save-style: keeps one style, or one blend, and --mask keeps styles apart; leave one out")
    if colours == "matched":
        raise InputError(
            "--save-style: keeps a style in its own colours, and --colours matched changes them for each picture; "
            "leave one out"
        )
    check_folder(Path(file).absolute().parent, "--save-style")
    return Path(file), name


def _not_kept_yet(
    place: tuple[Path, str], model: Model, overwrite: bool, skip_existing: bool
) -> tuple[Path, str] | None:
    """`place`, or None if it is to be left as it is.

    Raises:
        ExistsError: the file has a style of that name, and nothing was said of what exists.
        ModelError: the file has styles of another model.
    """
    from pentimento.tasks.styles import read_styles

    file, name = place
    if not file.exists() or name not in read_styles(file, model) or overwrite:
        return place
    if not skip_existing:
        raise ExistsError(
            f"--save-style: {file} has a style {name!r} already; choose another name, or --overwrite or --skip-existing"
        )
    return None


def _keep(place: tuple[Path, str], look: Look, model: Model) -> None:
    """Keep the style, or the blend, under its name."""
    from pentimento.tasks.styles import write_styles

    file, name = place
    write_styles(file, {name: look.vectors(in_regions=False)}, model)


def _render_all(
    model: Model,
    jobs: Sequence[Job],
    look: Look,
    bound: float | None,
    styles: Sequence[str],
    masks: Sequence[Path],
    options: dict[str, float | str],
    there: list[Path],
    progress: ProgressCallback,
) -> StylizeResult:
    from pentimento.tasks.pictures import one_by_one
    from pentimento.tasks.strength import stylize_keeping
    from pentimento.tasks.styles import by_name
    from pentimento.tasks.stylize import stylize_file

    assert model.origin is not None
    counted = by_name(styles, [style.name for style in look.styles], (1.0,) * len(styles) if masks else look.shares)
    result = StylizeResult([], model.origin.name, model.origin.weights_sha256, counted, skipped=there)

    def work(job: Job) -> None:
        if bound is None:
            stylize_file(model, job, look, masks, options=options, progress=progress)
        else:
            chosen = stylize_keeping(model, job, look, masks, bound=bound, options=options, progress=progress)
            result.strengths[str(job.target)] = {"strength": chosen.strength, "content": chosen.content}
        result.files.append(job.target)

    result.failed.update(one_by_one(jobs, work, progress))
    return result
