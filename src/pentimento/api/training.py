"""The verb `train`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pentimento.api.options import Callback, Flag
from pentimento.errors import InputError
from pentimento.runtime import ProgressCallback, no_progress

if TYPE_CHECKING:
    from pentimento.studies.scm import Causes
    from pentimento.training.loop import Watch
    from pentimento.training.recipe import Recipe

__all__ = ["TrainResult", "train"]


@dataclass(frozen=True)
class TrainResult:
    """A finished training.

    Args:
        run: the run folder; its ``model`` folder is what other verbs take.
        steps: done.
        kimg: thousands of images seen.
        stopped_early: whether validation ended it.
        figures: the last ones logged; over folds, their means.
        deviations: standard deviations over folds, where there were folds.
        findings: of a recipe with edges: the mechanism of each attribute, and whether the graph fits the data.
    """

    run: Path
    steps: int
    kimg: float
    stopped_early: bool
    figures: dict[str, float]
    deviations: dict[str, float] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)


def train(
    recipe: str,
    *,
    data: str | None = None,
    second: str | None = None,
    out: Path | None = None,
    overrides: Annotated[Sequence[str], Parameter(name="--set", negative="")] = (),
    resume: Flag = False,
    init: str | None = None,
    folds: int | None = None,
    overwrite: Flag = False,
    skip_broken: Flag = False,
    progress: Callback = no_progress,
) -> TrainResult:
    """Train a model on your own pictures.

    Ctrl-C finishes the step, saves, and says how to go on. The model in the run folder is whole at any moment.

    Args:
        recipe: A shipped recipe (see `pentimento models`), a TOML file, or, with --resume, a run folder.
        data: An image folder (subfolders become labels), a zip or tar of one, MNIST-style idx files, a saved
            Hugging Face data set or a hub id, or the built-in digits and shapes.
        second: Another set of pictures, for families that learn from two sets drawn apart; without it, DATA is a
            folder that holds both, in A/ and B/.
        out: The run folder; runs/RECIPE-DATA where left out.
        overrides: KEY=VALUE over the recipe, e.g. training.total_kimg=500; repeatable.
        resume: Go on with the run folder, bit for bit as if it had never stopped.
        init: A model or run to start from; its tensors are taken where names and shapes fit.
        folds: Cross-validate: train so many times, each time holding out another part.
        overwrite: Replace a run that stands at OUT.
        skip_broken: Go on without pictures that cannot be read, however many.
    """
    from pentimento.training import recipe as recipes
    from pentimento.training import session

    if resume:
        if init or folds or overwrite:
            raise InputError("--resume: goes on with what the run folder says; leave out --init, --folds, --overwrite")
        run = Path(out or recipe)
        findings: list[str] = []
        outcome = session.resume(
            run,
            overrides,
            where=data,
            second=second,
            make_watch=_make_watch,
            make_prepare=lambda found: _make_causes(found, findings, progress),
            progress=progress,
        )
        return TrainResult(run, outcome.step, outcome.kimg, outcome.stopped_early, outcome.figures, findings=findings)
    if data is None:
        raise InputError("--data: missing; give a folder of pictures, or a built-in set: digits, shapes")
    if (Path(recipe) / "run.json").is_file():
        raise InputError(f"{recipe}: is a run folder; go on with it by --resume, or name a recipe to begin another")
    data = str(data)
    path = recipes.find_recipe(recipe)
    chosen = recipes.load_recipe(path, overrides)
    named = Path(data).resolve() if Path(data).exists() else Path(data)
    run = Path(out or Path("runs") / f"{path.stem}-{named.stem.replace(':', '-')}")
    options: dict[str, Any] = {"second": second, "init": init, "overwrite": overwrite, "skip_broken": skip_broken}
    findings = []
    options |= {"progress": progress, "prepare": _make_causes(chosen, findings, progress)}
    if folds is not None:
        crossed = session.cross_validate(chosen, data, run, folds, **options)
        return TrainResult(run, 0, chosen.training.total_kimg * folds, False, crossed.mean, crossed.deviation, findings)
    outcome = session.start(chosen, data, run, watch=_make_watch(chosen), **options)
    return TrainResult(run, outcome.step, outcome.kimg, outcome.stopped_early, outcome.figures, findings=findings)


def _make_causes(recipe: Recipe, findings: list[str], progress: ProgressCallback) -> Causes | None:
    """What ``edges`` ask for; it adds what it finds to `findings`."""
    if not recipe.edges:
        return None
    from pentimento.studies.scm import Causes

    return Causes(recipe, findings, progress)


def _make_watch(recipe: Recipe) -> Watch | None:
    """What ``[evaluate]`` asks for."""
    if not recipe.evaluate.every_kimg:
        return None
    from pentimento.evaluate.alarm import CollapseAlarm
    from pentimento.features import open_network
    from pentimento.runtime import choose_device

    network = open_network(recipe.evaluate.features, choose_device(recipe.training.device))
    return CollapseAlarm(network, recipe.evaluate.count, recipe.training.seed)
