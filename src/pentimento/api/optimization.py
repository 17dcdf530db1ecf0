"""The options of `stylize --method optimize`, and what it does with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from pentimento.api.pictures import StylizeResult, check_range, say_beforehand
from pentimento.errors import InputError, NotFoundError
from pentimento.runtime import ProgressCallback

if TYPE_CHECKING:
    from pentimento.tasks.files import Job
    from pentimento.tasks.stylize import Search

__all__ = ["Optimization", "find_search", "optimize_all", "refuse_unheard"]

INSTEAD = {  # option of a model -> what does alike in optimisation
    "model": "--network",
    "strength": "--style-weight and --content-weight",
    "style-size": "--style-scale",
}


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


def refuse_unheard(
    method: str,
    model: str | None,
    strength: float | Literal["auto"],
    keep: float | None,
    save_style: str | None,
    style_size: int,
    size: int | None,
    optimization: Optimization,
) -> None:
    """Refuse options that would be without effect.

    Raises:
        InputError: one of the other method, optimizer, start or strength.
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
    if keep is not None and strength != "auto":
        unheard["keep"] = "--strength auto"
    for option, whose in unheard.items():
        hint = f"with --method optimize use {INSTEAD[option]}" if option in INSTEAD else "leave it out"
        raise InputError(f"--{option}: is for {whose}; {hint}")


def find_search(
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
    check_range("steps", asked.steps, 1, 10**9)
    weights = {"content": asked.content_weight, "style": asked.style_weight, "smooth": asked.smooth_weight}
    for name, weight in weights.items():
        if not weight >= 0:
            raise InputError(f"--{name}-weight: 0 or more expected, got {weight:g}")
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


def optimize_all(
    search: Search,
    jobs: Sequence[Job],
    styles: Sequence[str],
    counts: Sequence[float],
    masks: Sequence[Path],
    options: dict[str, float | str],
    there: list[Path],
    progress: ProgressCallback,
    *,
    replacing: bool,
) -> StylizeResult:
    """Every picture, one after another; `replacing` pictures that earlier searches have left, which were stopped.

    Raises:
        NotFoundError: a style that is no picture file.
        InputError, ExistsError: where a picture lies until it is done, there is another.
    """
    from pentimento.tasks.files import check_beside
    from pentimento.tasks.pictures import one_by_one
    from pentimento.tasks.styles import by_name, is_named
    from pentimento.tasks.stylize import optimize_file, so_far

    files = [Path(text).expanduser() for text in styles]
    for text, file in zip(styles, files, strict=True):
        if is_named(text) or not file.is_file():
            raise NotFoundError(f"style: {text!r} is no picture file, and --method optimize looks at pictures only")
    kept = [*files, *masks, *there]
    check_beside(jobs, lambda target: [so_far(target)], kept, "lies until it is done", may_replace=replacing)
    say_beforehand(jobs, "stylize", [], progress)
    options = {**options, "steps": search.schedule.steps}
    counted = by_name(styles, [file.stem for file in files], (1.0,) * len(files) if masks else counts)
    result = StylizeResult([], search.network.name, search.network.sha256, counted, skipped=there)

    def work(job: Job) -> None:
        last = optimize_file(search, job, files, counts, masks, options=options, progress=progress)
        result.files.append(job.target)
        result.losses[str(job.target)] = dict(last.losses)

    result.failed.update(one_by_one(jobs, work, progress))
    return result
