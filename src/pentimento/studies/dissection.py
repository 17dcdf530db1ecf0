"""Which units cause what, and the smallest set of them that controls an outcome (after Bau et al. 2019).

Every unit of every stage is set by itself, on the same samples, with all else held fixed. Units that do much are then
joined one by one on some samples, and what the set does is told on others: who looks for the largest among hundreds
finds what chance made large, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pentimento import images
from pentimento.causal import Study, match, paired
from pentimento.errors import CausalError, suggest
from pentimento.features import FeatureNetwork
from pentimento.interventions import MEAN, Do, resolve
from pentimento.runtime import Progress, ProgressCallback, no_progress
from pentimento.studies.effects import LEAST, Asked, Effects, Measured, Plan, Row, conclude, measure_effects
from pentimento.studies.experiment import Arm, Experiment
from pentimento.studies.outcomes import Outcome
from pentimento.studies.refuting import PLACEBOS, activity, refute

__all__ = ["Aim", "Dissection", "Found", "control", "dissect", "exciting", "fresh_samples", "placebos"]

CANDIDATES = 24  # units of the largest effects that a set is made of
SELECTION_SAMPLES = 200
MOST_UNITS = 16  # in a set
OTHER_SEED = 1  # added to the seed for the samples on which a set is reported


@dataclass(frozen=True)
class Dissection:
    """Effects of all units.

    Args:
        effects: as of a study of each unit; the found ones with their refutations where a judge was given.
        activity: by stage, how active each unit is, (U,).
    """

    effects: Effects
    activity: dict[str, Tensor]

    @property
    def study(self) -> Study:
        """The record."""
        return self.effects.study


@dataclass(frozen=True)
class Aim:
    """What a set is to do.

    Args:
        outcome: that is to change.
        change: by how much, in its unit; its sign is the direction.
        keep: an outcome that is to stay.
        within: by how much its mean may change, either way.
    """

    outcome: str
    change: float
    keep: str | None = None
    within: float = 0.05


@dataclass(frozen=True)
class Found:
    """A set of units.

    Args:
        dos: what is set.
        path: the outcome's mean change with the first unit, the first two, ..., on the samples of the selection.
        reached: whether that came to what was aimed at.
        effects: of the set on samples that it was not chosen on.
    """

    dos: tuple[Do, ...]
    path: tuple[float, ...]
    reached: bool
    effects: Effects


def dissect(
    experiment: Experiment,
    outcomes: Sequence[Outcome],
    *,
    stages: Sequence[str] = (),
    value: float | str = 0.0,
    count: int = 1000,
    level: float = 0.05,
    judge: FeatureNetwork | None = None,
    progress: ProgressCallback = no_progress,
) -> Dissection:
    """The effect of setting each unit, on every outcome.

    Args:
        experiment: the model and its samples.
        outcomes: to measure.
        stages: whose units; all that have units where left out.
        value: to set them to: 0, another number, or ``"mean"``, their usual value.
        count: samples.
        level: at which an effect counts as found, after correction for all units and outcomes.
        judge: of what is realistic, see `refute`; without one nothing is put to refuters.
        progress: told as it goes.

    Raises:
        CausalError: an unknown stage, too few samples, or an outcome that is the same for every picture.
        EvaluationError: an outcome that is not one finite number for each picture.
    """
    if count < LEAST:
        raise CausalError(f"--count: an interval needs {LEAST} samples or more, got {count}")
    active = {stage: activity(experiment, stage) for stage in _stages(experiment, stages)}
    arms = [Arm("as it is")]
    for stage, units in active.items():
        dos = (Do(stage, value, tuple(range(len(units)))),)
        usual = resolve(experiment.model, dos, experiment.seed)[0].value if value == MEAN else None
        for unit in range(len(units)):
            number = usual[unit] if isinstance(usual, tuple) else value
            arms.append(Arm(f"do({Do(stage, value, (unit,))})", (Do(stage, number, (unit,)),)))
    values = experiment.measure(arms, outcomes, range(count), progress, "units")
    for k, outcome in enumerate(outcomes):
        if bool((values[..., k] == values[0, 0, k]).all()):
            raise CausalError(f"{outcome.name}: is {float(values[0, 0, k]):g} whatever is set; choose another outcome")
    measured = Measured(tuple(arms), tuple(outcomes), values, 0, (None,) * (len(arms) - 1))
    rows: list[Row] = [
        (arm.name, paired(difference), count, "")
        for arm, difference in zip(arms[1:], measured.differences.unbind(1), strict=True)
    ]
    names = ", ".join(outcome.name for outcome in outcomes)
    set_to = value if isinstance(value, str) else f"{value:g}"
    question = f"Which of {len(rows)} units cause {names}, when each is set to {set_to}?"
    effects = Effects(conclude(experiment, measured, rows, question, level), measured)
    if judge is not None:
        effects = refute(experiment, effects, judge, progress, placebos(measured, active, experiment.seed))
    return Dissection(effects, active)


def control(
    experiment: Experiment,
    dissection: Dissection,
    aim: Aim,
    judge: FeatureNetwork | None = None,
    progress: ProgressCallback = no_progress,
) -> Found:
    """The smallest set of units, found greedily, that changes an outcome by what is wanted and keeps another.

    Units whose effect goes the right way are tried, those of the largest effects; the one that adds most joins the set,
    until that is where it is to be, or none helps.

    Raises:
        CausalError: an outcome that was not measured, no change to aim at, or no unit that helps.
    """
    measured = dissection.effects.measured
    names = [outcome.name for outcome in measured.outcomes]
    for name in filter(None, (aim.outcome, aim.keep)):
        if name not in names:
            raise CausalError(f"--control: {name!r} was not measured; {suggest(name, names)}")
    if not aim.change:
        raise CausalError("--change: above or below 0 expected, in the unit of the outcome")
    k, kept = names.index(aim.outcome), names.index(aim.keep) if aim.keep else None
    side = 1.0 if aim.change > 0 else -1.0
    found = {e.intervention for e in dissection.study.effects if e.found and e.outcome == aim.outcome}
    means = measured.differences[..., k].mean(0) * side  # (A - 1,)
    order = [a for a in means.argsort(descending=True).tolist() if means[a] > 0 and measured.arms[a + 1].name in found]
    candidates = [measured.arms[a + 1].dos[0] for a in order[:CANDIDATES]]
    chosen: list[Do] = []
    path: list[float] = []
    while candidates and len(chosen) < MOST_UNITS and (not path or path[-1] * side < abs(aim.change)):
        arms = [Arm("as it is"), *(Arm(str(do), (*chosen, do)) for do in candidates)]
        y = experiment.measure(arms, measured.outcomes, range(SELECTION_SAMPLES))
        change = (y[:, 1:] - y[:, :1]).mean(0)  # (candidates, K)
        allowed = (
            change[:, kept].abs() <= aim.within if kept is not None else torch.ones(len(candidates), dtype=torch.bool)
        )
        best = int(torch.where(allowed, change[:, k] * side, -torch.inf).argmax())
        progress(Progress("control", len(chosen) + 1, MOST_UNITS))
        if not bool(allowed[best]) or (path and change[best, k] * side <= path[-1] * side):
            break
        chosen.append(candidates.pop(best))
        path.append(float(change[best, k]))
    if not chosen:
        held = f" and keeps {aim.keep} within {aim.within:g}" if aim.keep else ""
        raise CausalError(f"--control: no unit moves {aim.outcome} that way{held}; set units to another --value")
    fresh = fresh_samples(experiment)
    plan = Plan(count=len(measured.values), level=dissection.study.level)
    effects = measure_effects(fresh, [Asked(tuple(chosen))], measured.outcomes, plan, progress)
    if judge is not None:
        effects = refute(fresh, effects, judge, progress)
    return Found(tuple(chosen), tuple(path), path[-1] * side >= abs(aim.change), effects)


def fresh_samples(experiment: Experiment) -> Experiment:
    """The samples that a set is reported on, none of which it was chosen on."""
    return replace(experiment, seed=experiment.seed + OTHER_SEED)


@torch.no_grad()
def exciting(experiment: Experiment, stage: str, unit: int, count: int = 512, shown: int = 8) -> Tensor:
    """The pictures that excite a unit most, above what it sees in them: a sheet (C, H, W), the strongest first.

    Args:
        experiment: the model and its samples.
        stage: of the unit.
        unit: its index.
        count: samples to look among.
        shown: pictures.
    """
    pooled = experiment.pooled(stage, range(count))[:, unit]
    best = pooled.topk(min(shown, count)).indices.tolist()
    pictures = experiment.pictures(Arm("as it is"), best)
    maps = experiment.stage(stage, best)[:, unit]
    if maps.ndim == 1:  # no positions to show
        return images.grid(pictures, columns=len(best))
    maps = maps[:, None] / maps.abs().max().clamp(min=1e-12)
    drawn = torch.nn.functional.interpolate(maps, pictures.shape[2:], mode="nearest").clamp(0, 1)
    return images.grid(torch.cat([pictures, drawn.expand(-1, pictures.shape[1], -1, -1)]), columns=len(best))


# --------------------------------------------------------------------------------------------------- parts
def _stages(experiment: Experiment, wanted: Sequence[str]) -> list[str]:
    able = [s for s in experiment.model.stages[:-1] if experiment.has_units(s)]
    for stage in wanted:
        if stage not in able:
            raise CausalError(f"--stage: no stage {stage!r} with units; {suggest(stage, able)}")
    if not able:
        raise CausalError(
            f"dissect: the stages of a {experiment.model.family!r} have no units to set; gan and vae have"
        )
    return list(wanted) or able


def placebos(measured: Measured, active: dict[str, Tensor], seed: int) -> Callable[[int], Tensor | None]:
    """What the placebos of an arm did: those units of its stage that are nearest in activation."""
    place = {(arm.dos[0].target, arm.dos[0].units[0]): a for a, arm in enumerate(measured.arms[1:])}
    means = measured.differences.mean(0)  # (A - 1, K)

    def others(arm: int) -> Tensor | None:
        do = measured.arms[arm].dos[0]
        units = active[do.target]
        if len(units) <= PLACEBOS:
            return None
        near = match(units, do.units[0], PLACEBOS, seed).tolist()
        return means[[place[do.target, unit] for unit in near]]

    return others
