"""From a recipe and pictures to a trained model in a run folder: start, resume, cross-validate."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pentimento.data.dataset import PackedDataset
from pentimento.errors import DataError, NotFoundError, RecipeError, suggest
from pentimento.model import Model
from pentimento.models import family, find, read_weights
from pentimento.runtime import Progress, ProgressCallback, no_progress
from pentimento.training import optim
from pentimento.training.loop import Outcome, Trainer, Watch
from pentimento.training.recipe import Recipe, SecondOptions
from pentimento.training.run_folder import RunFolder
from pentimento.training.sets import make_batches, open_data, open_sets, tell_what_is_lost
from pentimento.training.setup import make_fabric, make_model, make_networks

__all__ = ["Folds", "Prepare", "cross_validate", "open_data", "resume", "start"]

# The recipe, its pictures, those of them to train on, whether this process leads -> the recipe to go on with, and what
# the lead adds to the model folder in the end. Called before anything is written.
Prepare = Callable[[Recipe, PackedDataset, npt.NDArray[np.int64], bool], tuple[Recipe, Callable[[Path], None]]]

# What may change when a run goes on: how long, where, how often it is watched. Anything else would be another run.
RESUMABLE = {
    "total_kimg",
    "device",
    "compile",
    "log_every_kimg",
    "sample_every_kimg",
    "sample_count",
    "checkpoint_every_seconds",
}


def start(
    recipe: Recipe,
    where: str,
    out: Path,
    *,
    second: str | None = None,
    init: str | None = None,
    overwrite: bool = False,
    skip_broken: bool = False,
    held_out: tuple[float, float] | None = None,
    watch: Watch | None = None,
    prepare: Prepare | None = None,
    progress: ProgressCallback = no_progress,
) -> Outcome:
    """Train from the beginning.

    Args:
        recipe: what to do.
        where: the pictures, see `pentimento.data.sources.open_source`.
        out: the run folder.
        second: the second set of them, for a family that learns from two, see `open_two_sources` there.
        init: a model to start from, see `pentimento.models.find`.
        overwrite: replace a run that stands at `out`.
        skip_broken: go on without pictures that cannot be read.
        held_out: the share of hashes held out for validation; default ``(0, data.validation)``.
        watch: measures the model as ``[evaluate]`` says.
        prepare: see `Prepare`.
        progress: called while packing and training.
    """
    run = RunFolder(out)
    fabric = make_fabric(recipe)
    if fabric.is_global_zero:
        run.check_free(overwrite)
    held_out = held_out or (0.0, recipe.data.validation)
    _check_recipe(recipe, held_out)
    say = progress if fabric.is_global_zero else no_progress
    sets = open_sets(fabric, recipe, where, second, skip_broken, progress)
    recipe, finish = _prepared(recipe, sets.first, held_out, fabric.is_global_zero, prepare)
    spec = sets.first.spec(recipe.data.size_px, recipe.data.channels)
    tell_what_is_lost(recipe, sets, spec, say)
    if sets.first.paired:
        _check_pairs(recipe, say)
    model = make_model(recipe, spec)
    if init:
        _initialize(model, init, say)
    elif recipe.training.freeze:
        message = "training.freeze without --init: what does not train keeps the random weights it began with"
        say(Progress("init", 0, message=message))
    data, validation = make_batches(recipe, sets, model.spec, held_out)
    about = {
        "data": _absolute(where),
        **({} if second is None else {"second": _absolute(second)}),
        **sets.record(),
        "skip_broken": skip_broken,
        "held_out": held_out,
        "init": init,
    }
    with run if fabric.is_global_zero else nullcontext():
        networks = make_networks(recipe, progress)
        trainer = Trainer(  # refuses before anything is written
            recipe, model, data, validation, run, progress, networks=networks, watch=watch, fabric=fabric
        )
        if fabric.is_global_zero:
            run.begin(recipe, about, overwrite)
        return _trained(trainer, finish)


def resume(
    out: Path,
    overrides: Sequence[str] = (),
    *,
    where: str | None = None,
    second: str | None = None,
    make_watch: Callable[[Recipe], Watch | None] = lambda _: None,
    make_prepare: Callable[[Recipe], Prepare | None] = lambda _: None,
    progress: ProgressCallback = no_progress,
) -> Outcome:
    """Go on with the run in `out`, bit for bit as if it had never stopped.

    Args:
        out: the run folder.
        overrides: ``training.KEY=value`` for the keys in `RESUMABLE`.
        where: the same pictures, where they were moved.
        second: the same second set of them, where it was moved.
        make_watch: gives the `watch` of the run's recipe, see `start`.
        make_prepare: gives its `prepare`.
        progress: called while training.

    Raises:
        NotFoundError: no run there.
        RecipeError: an override that would make it another run.
        DataError: the pictures changed since.
        BusyError: another process is at it.
    """
    if not out.is_dir():
        raise NotFoundError(f"{out}: no run folder to resume")
    run = RunFolder(out)
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key.removeprefix("training.") not in RESUMABLE or not key.startswith("training."):
            allowed = ", ".join(f"training.{k}" for k in sorted(RESUMABLE))
            raise RecipeError(f"--set {key}: cannot change when a run goes on; what can: {allowed}")
    recipe, about = run.recipe(tuple(overrides)), run.about()
    fabric = make_fabric(recipe)
    where, second = where or str(about["data"]), second or about.get("second")
    sets = open_sets(fabric, recipe, where, second, about["skip_broken"], progress)
    if changed := sets.changed_since(about):
        place = second if changed == "second" and second else where
        raise DataError(f"{place}: the pictures changed since {out} began; start a new run, with --init {out}")
    low, high = about["held_out"]
    held_out = (low, high)
    recipe, finish = _prepared(recipe, sets.first, held_out, fabric.is_global_zero, make_prepare(recipe))
    model = make_model(recipe, sets.first.spec(recipe.data.size_px, recipe.data.channels))
    data, validation = make_batches(recipe, sets, model.spec, held_out)
    if about["init"] and not run.has_state():
        _initialize(model, about["init"], no_progress)
    with run if fabric.is_global_zero else nullcontext():
        networks, watch = make_networks(recipe, progress), make_watch(recipe)
        trainer = Trainer(recipe, model, data, validation, run, progress, networks=networks, watch=watch, fabric=fabric)
        if run.has_state():
            trainer.restore()
        if fabric.is_global_zero:
            run.rewrite_recipe(recipe)
        return _trained(trainer, finish)


@dataclass(frozen=True)
class Folds:
    """A cross-validation: each fold's last validation figures, their mean and standard deviation over the folds."""

    figures: list[dict[str, float]]
    mean: dict[str, float]
    deviation: dict[str, float]


def cross_validate(
    recipe: Recipe, where: str, out: Path, folds: int, *, progress: ProgressCallback = no_progress, **options: Any
) -> Folds:
    """Train `folds` times, each time holding out another part of the pictures, into ``out/fold-1`` and so on.

    Parts are by hash of the file, so that a picture stays in its fold when others are added.
    """
    if folds < 2:
        raise RecipeError(f"folds: 2 or more expected, got {folds}")
    if family(recipe.family).monitor is None:
        raise RecipeError(f"folds: a {recipe.family!r} has no validation loss to compare")
    if not recipe.training.validate_every_kimg:  # once, at the end
        every = recipe.training.model_copy(update={"validate_every_kimg": recipe.training.total_kimg})
        recipe = recipe.model_copy(update={"training": every})
    found = []
    for k in range(folds):
        progress(Progress("fold", k, folds, "folds", message=f"fold {k + 1} of {folds}"))
        part = (k / folds, (k + 1) / folds)
        outcome = start(recipe, where, out / f"fold-{k + 1}", held_out=part, progress=progress, **options)
        found.append({n: v for n, v in outcome.figures.items() if n.startswith("validation/")})
        if not found[-1]:
            raise DataError(f"folds: no picture falls into fold {k + 1} of {folds}; choose fewer folds")
    mean = {n: statistics.fmean(f[n] for f in found) for n in found[0]}
    deviation = {n: statistics.stdev(f[n] for f in found) for n in found[0]}
    return Folds(found, mean, deviation)


# --------------------------------------------------------------------------------------------------- parts
def _prepared(
    recipe: Recipe, dataset: PackedDataset, held_out: tuple[float, float], lead: bool, prepare: Prepare | None
) -> tuple[Recipe, Callable[[Path], None] | None]:
    return (recipe, None) if prepare is None else prepare(recipe, dataset, dataset.split(*held_out)[0], lead)


def _trained(trainer: Trainer, finish: Callable[[Path], None] | None) -> Outcome:
    """Train; then, also where the user stops it, let `finish` add to the model folder that was saved."""
    try:
        return trainer.train()
    finally:
        if finish is not None and trainer.lead and trainer.saved_step == trainer.step:
            finish(trainer.run.model)


def _check_recipe(recipe: Recipe, held_out: tuple[float, float]) -> None:
    """Refuse to validate what has no validation loss, or on nothing; to measure samples of what makes none; and to
    begin without the networks that a loss borrows, or with others.

    Raises:
        RecipeError: any of these, or what `_check_pictures` refuses.
    """
    _check_pictures(recipe)
    borrows = family(recipe.family).borrows(recipe.model)
    for name in borrows:
        if name not in recipe.networks:
            raise RecipeError(
                f"networks.{name}: a {recipe.family!r} learns with one; name it: --set networks.{name}=FILE"
            )
    for name in recipe.networks:
        if name not in borrows:
            raise RecipeError(
                f"networks.{name}: a {recipe.family!r} asks for none of that name; {suggest(name, borrows)}"
            )
    if recipe.evaluate.every_kimg and not hasattr(family(recipe.family), "sample"):
        raise RecipeError(f"evaluate.every_kimg: a {recipe.family!r} makes no samples to measure; set it to 0")
    if recipe.training.validate_every_kimg and family(recipe.family).monitor is None:
        raise RecipeError(f"training.validate_every_kimg: a {recipe.family!r} has no validation loss; set it to 0")
    if recipe.training.validate_every_kimg and held_out[0] == held_out[1]:
        raise RecipeError("training.validate_every_kimg: nothing is held out; set data.validation above 0")


def _check_pictures(recipe: Recipe) -> None:
    """Refuse to do to pictures what the family does not learn from.

    Raises:
        RecipeError: options of a second set, damage, or other damage than the model is told of.
    """
    cls = family(recipe.family)
    if recipe.second != SecondOptions() and not cls.unpaired:
        raise RecipeError(f"second: a {recipe.family!r} learns from one set of pictures; leave [second] out")
    if recipe.degrade and (cls.unpaired or not (hasattr(cls, "restore") or hasattr(cls, "detect"))):
        raise RecipeError(f"degrade: a {recipe.family!r} learns from pictures as they are; leave [[degrade]] out")
    told, units = recipe.told, list(dict.fromkeys(step.tells for step in recipe.degrade if step.tells))
    if told and recipe.degrade and told not in units:
        raise RecipeError(
            f"model.told: {told!r} expected of [[degrade]], whose steps tell {', '.join(units) or 'nothing'}; "
            "change one or the other"
        )


def _check_pairs(recipe: Recipe, progress: ProgressCallback) -> None:
    """Refuse to learn from pairs what they do not show, and say what is not done to them.

    Raises:
        RecipeError: how strong their damage is, or enlargement.
    """
    if recipe.told:
        raise RecipeError("model.told: pairs do not say how strong their damage is; set it to 'nothing'")
    if recipe.model.get("scale", 1) != 1:
        raise RecipeError("model.scale: both pictures of a pair are brought to one size; set it to 1")
    if recipe.degrade:
        progress(Progress("data", 0, message="pairs are damaged already: [[degrade]] is left out"))


def _initialize(model: Model, where: str, progress: ProgressCallback) -> None:
    """Take the weights of another model, with those that did not ship where it is a run folder that has them."""
    run = RunFolder(Path(where))
    if run.has_state():
        state: Mapping[str, Tensor] = {**run.load_state()["model"], **read_weights(run.model / "model.safetensors")}
    else:
        state = read_weights(find(where) / "model.safetensors")
    taken, fresh = optim.take_weights(model, state)
    note = f"{taken} tensors from {where}" + (f"; fresh: {', '.join(fresh[:4])}" if fresh else "")
    note += f" and {len(fresh) - 4} more" if len(fresh) > 4 else ""
    progress(Progress("init", taken, math.nan, "tensors", message=note))


def _absolute(where: str) -> str:
    path = Path(where)
    return str(path.resolve()) if path.exists() else where
