"""The verb `stylize`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from pentimento.api.options import Callback, Flag
from pentimento.api.pictures import check_range, load_able, say_what_jpeg_loses
from pentimento.errors import ExistsError, InputError, NotFoundError
from pentimento.runtime import ProgressCallback, no_progress

if TYPE_CHECKING:
    from pentimento.model import Model
    from pentimento.tasks.files import Job
    from pentimento.tasks.stylize import Look, Search

__all__ = ["Optimization", "StylizeResult", "stylize"]


@dataclass(frozen=True)
class StylizeResult:
    """What was rendered.

    Args:
        files: all pictures written.
        model: name of the model, or of the network by which it was optimised.
        weights_sha256: of that.
        styles: name of each style -> the share that it counted; where two have one name, all are as they were given.
        losses: file -> the losses of its last step, where it was optimised.
        skipped: results that were there already.
        failed: file -> why it could not be rendered.
    """

    files: list[Path]
    model: str
    weights_sha256: str
    styles: dict[str, float]
    losses: dict[str, dict[str, float]] = field(default_factory=dict)
    skipped: list[Path] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


@Parameter(name="*")
@dataclass(frozen=True)
class Optimization:
    """What `--method optimize` minimises, and how.

    Args:
        network: That tells content and style: vgg19 (fetched once, 575 MB), perceptual (small, embedded), or a file.
        steps: Over all sizes, from small to large.
        optimizer: L-BFGS, which needs fewer steps, or Adam.
        lr: Of Adam.
        start: The content, or noise.
        scales: How many sizes, each half the next; left out: down to 128 to 256 px.
        content_weight: More keeps more of the content.
        style_weight: More reaches more of the style.
        smooth_weight: Of differences between neighbouring pixels.
        content_layers: Of the network; left out: relu4_2, or relu4_1 where there is no such layer.
        style_layers: Of the network.
        statistics: What of a style is to be reached: Gram matrices, or means and covariances.
        pooling: average replaces the network's maximum pools.
        style_scale: The style's longer side in units of the content's: smaller makes smaller strokes.
        seed: Of the noise.
        preview_every: Write the picture so far, beside OUT as NAME-so-far, after so many steps.
    """

    network: str = "vgg19"
    steps: int = 300
    optimizer: Literal["lbfgs", "adam"] = "lbfgs"
    lr: float = 0.02
    start: Literal["content", "noise"] = "content"
    scales: int | None = None
    content_weight: float = 1.0
    style_weight: float = 30.0
    smooth_weight: float = 0.5
    content_layers: Annotated[tuple[str, ...] | None, Parameter(negative="")] = None
    style_layers: Annotated[tuple[str, ...], Parameter(negative="")] = (
        *("relu1_1", "relu2_1", "relu3_1"),
        *("relu4_1", "relu5_1"),
    )
    statistics: Literal["gram", "moments"] = "gram"
    pooling: Literal["max", "average"] = "max"
    style_scale: float = 1.0
    seed: int = 0
    preview_every: int | None = None


DEFAULT = "stylize"  # of the zoo
INSTEAD = {  # option of a model -> what does alike in optimisation
    "model": "--network",
    "strength": "--style-weight and --content-weight",
    "style-size": "--style-scale",
}


def stylize(
    content: str,
    styles: Annotated[list[str], Parameter(negative="")],
    /,
    *,
    out: Path | None = None,
    model: str | None = None,
    method: Literal["model", "optimize"] = "model",
    strength: float = 1.0,
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
    optimization: Optimization = Optimization(),
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
        strength: Of the model's style, from 0, the picture itself, to 1.
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
    from pentimento.tasks.files import plan_jobs
    from pentimento.tasks.memory import working_memory
    from pentimento.tasks.styles import shares
    from pentimento.tasks.stylize import check_unfinished

    _refuse_unheard(method, model, strength, save_style, style_size, size, optimization)
    check_range("strength", strength, 0, 1)
    check_range("size", size, 1, 65536)
    counts = shares(len(styles), weights)
    _check_masks(mask, len(styles), weights)
    keep = None if save_style is None else _where_to_keep(save_style, bool(mask), colours)
    jobs, there = plan_jobs([content], out, in_place=in_place, overwrite=overwrite, skip_existing=skip_existing)
    _check_jobs(jobs, (*styles, *map(str, mask)), progress)
    budget = working_memory(memory)
    asked: dict[str, float | str] = {"styles": ", ".join(styles), "colours": colours}
    if len(styles) > 1 and not mask:
        asked["weights"] = ", ".join(f"{share:g}" for share in counts)
    if method == "optimize":
        check_unfinished(jobs, [*map(Path, styles), *map(Path, mask), *there], may_replace=overwrite or skip_existing)
        search = _search(optimization, colours, size, budget, device, progress)
        asked["steps"] = optimization.steps
        return _optimize_all(search, jobs, styles, counts, mask, asked, there, progress)
    stylizer = load_able(model or DEFAULT, "Stylizes", "stylize", device, progress)
    look = _look(stylizer, model or DEFAULT, styles, counts, strength, colours, style_size, budget)
    keep = None if keep is None else _not_kept_yet(keep, stylizer, overwrite, skip_existing)
    asked["strength"] = strength
    result = _render_all(stylizer, jobs, look, styles, mask, asked, there, progress)
    if keep is not None:
        _keep(keep, look, stylizer)
    return result


def _refuse_unheard(
    method: str,
    model: str | None,
    strength: float,
    save_style: str | None,
    style_size: int,
    size: int | None,
    optimization: Optimization,
) -> None:
    """Refuse options that would be without effect.

    Raises:
        InputError: one of the other method, optimizer or start.
    """
    of_model = {
        "model": model is not None,
        "strength": strength != 1,
        "save-style": save_style is not None,
        "style-size": style_size != 512,
    }
    given = {f.name.replace("_", "-") for f in fields(optimization) if getattr(optimization, f.name) != f.default}
    given |= {"size"} if size is not None else set()
    unheard = dict.fromkeys(sorted(given), "--method optimize")
    if method == "optimize":
        unheard = {option: "--method model" for option, is_given in of_model.items() if is_given}
        if "lr" in given and optimization.optimizer != "adam":
            unheard["lr"] = "--optimizer adam"
        if "seed" in given and optimization.start != "noise":
            unheard["seed"] = "--start noise"
    for option, whose in unheard.items():
        hint = f"with --method optimize use {INSTEAD[option]}" if option in INSTEAD else "leave it out"
        raise InputError(f"--{option}: is for {whose}; {hint}")


def _check_masks(mask: Sequence[Path], count: int, weights: Sequence[float] | None) -> None:
    if mask and (len(mask) != count or weights is not None):
        raise InputError(f"--mask: one for each of {count} styles expected, without --weights, got {len(mask)}")


def _check_jobs(jobs: Sequence[Job], looked_at: Sequence[str], progress: ProgressCallback) -> None:
    """Refuse to write onto a style or a mask, which is still to be looked at; say what JPEG loses.

    Raises:
        InputError: that.
    """
    files = {Path(text).expanduser().resolve() for text in looked_at}
    for job in jobs:
        if job.target.resolve() in files:
            raise InputError(f"{job.target}: is a style or a mask, and would be written onto; choose another --out")
    say_what_jpeg_loses(jobs, "stylize", progress)


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
    found = [find_style(model, find(where), text, style_size) for text in styles]
    return Look(found, counts, strength, colours, style_size, budget)


def _where_to_keep(where: str, masked: bool, colours: str) -> tuple[Path, str]:
    """The file of styles, and the name in it.

    Raises:
        InputError: not that form; or there is not one style that did it all.
    """
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
    styles: Sequence[str],
    masks: Sequence[Path],
    options: dict[str, float | str],
    there: list[Path],
    progress: ProgressCallback,
) -> StylizeResult:
    from pentimento.tasks.pictures import one_by_one
    from pentimento.tasks.styles import by_name
    from pentimento.tasks.stylize import stylize_file

    assert model.origin is not None
    counted = by_name(styles, [style.name for style in look.styles], look.shares)
    result = StylizeResult([], model.origin.name, model.origin.weights_sha256, counted, skipped=there)

    def work(job: Job) -> None:
        stylize_file(model, job, look, masks, options=options, progress=progress)
        result.files.append(job.target)

    result.failed.update(one_by_one(jobs, work, progress))
    return result


# ------------------------------------------------------------------------------------------- by optimisation
def _search(
    asked: Optimization,
    colours: Literal["style", "luminance", "matched"],
    size: int | None,
    budget: int,
    device: str,
    progress: ProgressCallback,
) -> Search:
    """Checked, with its network.

    Raises:
        InputError: out of range.
        NotFoundError: the network cannot be had; it says what else there is.
    """
    from pentimento.features import open_network
    from pentimento.runtime import choose_device
    from pentimento.tasks.optimize import Objective, Schedule
    from pentimento.tasks.stylize import Search

    check_range("preview-every", asked.preview_every, 1, 10**9)
    objective = Objective(
        content_layers=asked.content_layers,
        style_layers=asked.style_layers,
        content_weight=asked.content_weight,
        style_weight=asked.style_weight,
        tv_weight=asked.smooth_weight,
        statistics=asked.statistics,
        pooling=asked.pooling,
        style_scale=asked.style_scale,
    )
    schedule = Schedule(asked.optimizer, asked.steps, asked.start, asked.scales, asked.lr, asked.seed)
    try:
        network = open_network(asked.network, choose_device(device), progress)
    except NotFoundError as error:
        raise NotFoundError(f"--network: {error}; --network perceptual is embedded and needs no file") from error
    return Search(network, objective, schedule, colours, size, budget, asked.preview_every)


def _optimize_all(
    search: Search,
    jobs: Sequence[Job],
    styles: Sequence[str],
    counts: Sequence[float],
    masks: Sequence[Path],
    options: dict[str, float | str],
    there: list[Path],
    progress: ProgressCallback,
) -> StylizeResult:
    from pentimento.tasks.pictures import one_by_one
    from pentimento.tasks.styles import by_name, is_named
    from pentimento.tasks.stylize import optimize_file

    files = [Path(text).expanduser() for text in styles]
    for text, file in zip(styles, files, strict=True):
        if is_named(text) or not file.is_file():
            raise NotFoundError(f"style: {text!r} is no picture file, and --method optimize looks at pictures only")
    counted = by_name(styles, [file.stem for file in files], counts)
    result = StylizeResult([], search.network.name, search.network.sha256, counted, skipped=there)

    def work(job: Job) -> None:
        last = optimize_file(search, job, files, counts, masks, options=options, progress=progress)
        result.files.append(job.target)
        result.losses[str(job.target)] = dict(last.losses)

    result.failed.update(one_by_one(jobs, work, progress))
    return result
