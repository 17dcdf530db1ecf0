"""What do interventions on a generator cause? Average effects with intervals, corrected and put to refuters.

    y_i(1), y_i(0) -> outcome of sample i with and without the intervention; its noise, and all it is told, are the same

The experiment is randomized by construction: who is treated is not drawn, for every sample is seen both ways. Samples
are the model's own, so an answer is about the model, not about the world that its training pictures show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pentimento import images
from pentimento.causal import (
    DoseResponse,
    Effect,
    PairedEffect,
    Study,
    benjamini_hochberg,
    by_group,
    over_doses,
    paired,
    sample_size,
    standardized,
    stein,
)
from pentimento.errors import CausalError
from pentimento.interventions import Do, check, class_targets
from pentimento.runtime import ProgressCallback, no_progress
from pentimento.studies.experiment import Arm, Experiment
from pentimento.studies.outcomes import Outcome

__all__ = ["LEAST", "Asked", "Effects", "Measured", "Plan", "Row", "conclude", "dosed_name", "measure_effects"]

LEAST = 30  # samples: with fewer, an interval rests on the shape of what it does not show
PILOT = 100
SHOWN = 8  # samples in a strip


Row = tuple[str, PairedEffect, int, str]  # an intervention, its effects on all outcomes, samples, subgroup


@dataclass(frozen=True)
class Asked:
    """One intervention to measure.

    Args:
        dos: what is set, checked and resolved.
        doses: of the one thing that is set, increasing, where there are several; the value in `dos` does not matter.
    """

    dos: tuple[Do, ...]
    doses: tuple[float, ...] = ()

    def arms(self) -> list[Arm]:
        """One, or one for each dose."""
        if not self.doses:
            return [Arm("do(" + ", ".join(map(str, self.dos)) + ")", self.dos)]
        (do,) = self.dos
        dosed = [replace(do, value=dose) for dose in self.doses]
        return [Arm(f"do({each})", (each,)) for each in dosed]


@dataclass(frozen=True)
class Plan:
    """How to measure.

    Args:
        count: samples.
        half_width: instead of `count`: of the widest interval, that of the interaction included, in the unit of the
            one outcome; see `causal.design`.
        at_most: samples that may be drawn for it.
        against: what is set in the arm that the others are held against; nothing: the model as it is.
        together: whether all that is asked is also set at once, and the interaction of the two where there are two.
        by_label: whether effects are also told label by label.
        level: at which effects count as found.
    """

    count: int = 1000
    half_width: float | None = None
    at_most: int = 100_000
    against: tuple[Do, ...] = ()
    together: bool = False
    by_label: bool = False
    level: float = 0.05


@dataclass(frozen=True)
class Measured:
    """The outcomes that effects were taken from, for refuters.

    Args:
        arms: the first is the one that the others are held against.
        outcomes: in the order of the last axis.
        values: y, (N, A, K).
        pilot: samples that were drawn first to decide on N; 0 where N was given.
        asked: what each arm belongs to, for all but the first; None for all set at once.
    """

    arms: tuple[Arm, ...]
    outcomes: tuple[Outcome, ...]
    values: Tensor
    pilot: int
    asked: tuple[Asked | None, ...]

    @property
    def differences(self) -> Tensor:
        """From the first arm, (N, A - 1, K)."""
        return self.values[:, 1:] - self.values[:, :1]


@dataclass(frozen=True)
class Effects:
    """The answers.

    Args:
        study: the record.
        measured: what it was made from.
        responses: over doses, by the name of what was dosed and the outcome.
        strips: caption -> a sheet (C, H, W): a row for each of a few samples, a column for each arm.
        differing: by arm and outcome, the p-value of equal effects for all labels.
    """

    study: Study
    measured: Measured
    responses: Mapping[tuple[str, str], DoseResponse] = field(default_factory=dict)
    strips: Mapping[str, Tensor] = field(default_factory=dict)
    differing: Mapping[tuple[str, str], float] = field(default_factory=dict)


def measure_effects(
    experiment: Experiment,
    asked: Sequence[Asked],
    outcomes: Sequence[Outcome],
    plan: Plan,
    progress: ProgressCallback = no_progress,
) -> Effects:
    """Every effect of everything asked on every outcome; refutations are for `pentimento.studies.refuting`.

    Raises:
        CausalError: nothing asked; too few samples; a half-width for several outcomes, or one that takes more samples
            than may be drawn; an outcome that is the same for every picture.
        EvaluationError: an outcome that is not one finite number for each picture.
    """
    measured = _measure(experiment, asked, outcomes, plan, progress)
    names, contrasts = _contrasts(measured.arms, measured.values, asked, plan)
    rows: list[Row] = [
        (name, _estimate(contrast, measured.pilot), len(contrast), "")
        for name, contrast in zip(names, contrasts.unbind(1), strict=True)
    ]
    differing: dict[tuple[str, str], float] = {}
    if plan.by_label:
        rows += _by_label(experiment, measured, differing)
    study = conclude(experiment, measured, rows, _question(measured), plan.level)
    responses = _responses(measured, asked)
    return Effects(study, measured, responses, _strips(experiment, measured, asked), differing)


def conclude(experiment: Experiment, measured: Measured, rows: Sequence[Row], question: str, level: float) -> Study:
    """The record of a study, its effects corrected for all that were looked for."""
    effects = _records(experiment, measured, rows, level)
    origin = experiment.model.origin
    return Study(
        question=question,
        model=origin.name if origin else experiment.model.family,
        model_hash=origin.weights_sha256 if origin else "",
        seed=experiment.seed,
        sample_count=measured.pilot or len(measured.values),
        outcomes={outcome.name: outcome.formula for outcome in measured.outcomes},
        effects=effects,
        level=level,
        correction=f"Benjamini-Hochberg over {len(effects)} effects" if len(effects) > 1 else "",
        assumptions=_assumptions(experiment),
    )


def _assumptions(experiment: Experiment) -> tuple[str, ...]:
    drawn = "its noise"
    if experiment.truncation is not None:
        drawn += f" within {experiment.truncation:g} standard deviations"
    told = f"all of class {experiment.label}" if experiment.label is not None else "labels in turn"
    return (
        "An effect is that on the pictures of this model. It says nothing about the world.",
        f"Samples are drawn as the model is used: {drawn}, {told}, attributes evenly over what was seen.",
        "An outcome is the number that its formula says, whatever its name promises.",
    )


# --------------------------------------------------------------------------------------------------- parts
def _check(experiment: Experiment, asked: Sequence[Asked], outcomes: Sequence[Outcome], plan: Plan) -> None:
    """Refuse what cannot be measured, before anything is drawn."""
    if not asked:
        raise CausalError("--do: nothing to set; name an intervention, e.g. label=7 or up2[17]=0")
    if plan.half_width is not None and len(outcomes) > 1:
        raise CausalError(
            f"--half-width: is in the unit of one outcome, and there are {len(outcomes)}; ask for them one by one"
        )
    if plan.half_width is not None and plan.by_label:
        raise CausalError("--half-width: decides on all samples, not on those of a label; leave --by-label out")
    if plan.half_width is None and plan.count < LEAST:
        raise CausalError(f"--count: an interval needs {LEAST} samples or more, got {plan.count}")
    check(experiment.model, plan.against)
    dosed = [dosed_name(each) for each in asked if each.doses]
    if len(set(dosed)) < len(dosed):
        raise CausalError(f"--do: doses of {dosed[0]} are asked for twice; put them into one, with commas")
    if plan.together:
        _check_together(experiment, asked, plan)


def _check_together(experiment: Experiment, asked: Sequence[Asked], plan: Plan) -> None:
    if any(each.doses for each in asked) or len(asked) < 2:
        raise CausalError("--together: needs two interventions or more, each with one value")
    if plan.against:
        raise CausalError("--together: tells what two do beside neither; leave --against out")
    check(experiment.model, tuple(do for each in asked for do in each.dos))


def _measure(
    experiment: Experiment, asked: Sequence[Asked], outcomes: Sequence[Outcome], plan: Plan, progress: ProgressCallback
) -> Measured:
    _check(experiment, asked, outcomes, plan)
    arms = [Arm("do(" + ", ".join(map(str, plan.against)) + ")" if plan.against else "as it is", plan.against)]
    owners: list[Asked | None] = []
    for each in asked:
        arms += each.arms()
        owners += [each] * len(each.arms())
    if plan.together:
        dos = tuple(do for each in asked for do in each.dos)
        arms.append(Arm("do(" + ", ".join(map(str, dos)) + ")", dos))
        owners.append(None)
    if plan.half_width is None:
        values, pilot = experiment.measure(arms, outcomes, range(plan.count), progress), 0
    else:
        pilot = PILOT
        first = experiment.measure(arms, outcomes, range(pilot), progress, "pilot")
        _, contrasts = _contrasts(arms, first, asked, plan)
        count = sample_size(contrasts.flatten(1), plan.half_width, plan.at_most)
        values = torch.cat([first, experiment.measure(arms, outcomes, range(pilot, count), progress)])
    for k, outcome in enumerate(outcomes):
        if bool((values[..., k] == values[0, 0, k]).all()):
            raise CausalError(
                f"{outcome.name}: is {float(values[0, 0, k]):g} for every picture, with and without the intervention; "
                "choose another outcome"
            )
    return Measured(tuple(arms), tuple(outcomes), values, pilot, tuple(owners))


def _contrasts(arms: Sequence[Arm], values: Tensor, asked: Sequence[Asked], plan: Plan) -> tuple[list[str], Tensor]:
    """Names of all rows that are told of all samples, and what each is the mean of, (N, R, K)."""
    names, contrasts = [arm.name for arm in arms[1:]], values[:, 1:] - values[:, :1]
    if plan.together and len(asked) == 2:
        y00, y10, y01, y11 = values.unbind(1)
        names.append(f"interaction of {arms[1].name} and {arms[2].name}")
        contrasts = torch.cat([contrasts, ((y11 - y01) - (y10 - y00))[:, None]], 1)
    return names, contrasts


def _estimate(differences: Tensor, pilot: int) -> PairedEffect:
    """Of (N, U) differences, as N was come by."""
    return stein(differences[:pilot], differences[pilot:]) if pilot else paired(differences)


def _by_label(experiment: Experiment, measured: Measured, differing: dict[tuple[str, str], float]) -> list[Row]:
    labels = experiment.condition(range(len(measured.values))).labels
    names = experiment.model.spec.classes
    if labels is None or experiment.label is not None or not experiment.model.config.get("conditional"):
        raise CausalError("--by-label: needs a model that is told labels, and samples of all of them")
    rows = []
    for arm in measured.arms:
        if any(do.target == "label" for do in arm.dos):
            raise CausalError(f"--by-label: {arm.name} changes the label itself; leave one of the two out")
    for a, arm in enumerate(measured.arms[1:]):
        found = [by_group(d, labels, names) for d in measured.differences[:, a].unbind(1)]
        for group in found[0].effects:
            effects = [each.effects[group] for each in found]
            joined = {
                name: torch.cat([getattr(e, name) for e in effects])
                for name in ("mean", "standard_error", "low", "high", "p_value")
            }
            rows.append((arm.name, PairedEffect(**joined, count=effects[0].count), effects[0].count, group))
        for outcome, each in zip(measured.outcomes, found, strict=True):
            differing[arm.name, outcome.name] = each.test.p_value
    return rows


def _records(experiment: Experiment, measured: Measured, rows: Sequence[Row], level: float) -> tuple[Effect, ...]:
    p_values = torch.stack([effect.p_value for _, effect, _, _ in rows])  # (rows, K)
    q_values = benjamini_hochberg(p_values.flatten()).view_as(p_values) if p_values.numel() > 1 else None
    records = []
    for r, (name, effect, count, subgroup) in enumerate(rows):
        untouched = _untouched(experiment, measured, subgroup)
        for k, outcome in enumerate(measured.outcomes):
            one = PairedEffect(
                effect.mean[[k]],
                effect.standard_error[[k]],
                effect.low[[k]],
                effect.high[[k]],
                effect.p_value[[k]],
                count,
            )
            records.append(
                Effect(
                    intervention=name,
                    outcome=outcome.name,
                    unit=outcome.unit,
                    value=float(effect.mean[k]),
                    low=float(effect.low[k]),
                    high=float(effect.high[k]),
                    standard_error=float(effect.standard_error[k]),
                    standardized=float(standardized(one, untouched[:, k])),
                    baseline=float(untouched[:, k].mean()),
                    p_value=float(effect.p_value[k]),
                    count=count,
                    q_value=None if q_values is None else float(q_values[r, k]),
                    subgroup=subgroup,
                    held_fixed=_held(experiment, measured, name),
                    level=level,
                )
            )
    return tuple(records)


def _untouched(experiment: Experiment, measured: Measured, subgroup: str) -> Tensor:
    """The outcomes without the intervention, of one label or of all samples, (n, K)."""
    untouched = measured.values[:, 0]
    if not subgroup:
        return untouched
    labels = experiment.condition(range(len(untouched))).labels
    assert labels is not None
    return untouched[labels == experiment.model.spec.class_index(subgroup)]


def _held(experiment: Experiment, measured: Measured, name: str) -> tuple[str, ...]:
    """What was the same in both arms, besides what the intervention itself brings about."""
    model = experiment.model
    classes = class_targets(model) if model.config.get("conditional") else ()
    told = [*classes, *model.config.get("attributes", ())]
    arms = [measured.arms[0], *(arm for arm in measured.arms[1:] if arm.name in name)]  # of an interaction, both
    moved = {do.target for arm in arms for do in arm.dos if not do.units}
    return ("noise", *(each for each in told if each not in moved))


def _question(measured: Measured) -> str:
    arms = [arm.name for arm in measured.arms[1:]]
    shown = ", ".join(arms) if len(arms) <= 8 else f"{len(arms)} interventions"
    outcomes = ", ".join(outcome.name for outcome in measured.outcomes)
    return f"What is the average effect of {shown} on {outcomes}, against {measured.arms[0].name}?"


def _responses(measured: Measured, asked: Sequence[Asked]) -> dict[tuple[str, str], DoseResponse]:
    responses = {}
    for each in asked:
        if not each.doses:
            continue
        columns = [a + 1 for a, owner in enumerate(measured.asked) if owner is each]
        for k, outcome in enumerate(measured.outcomes):
            doses = torch.tensor(each.doses, dtype=torch.float64)
            responses[dosed_name(each), outcome.name] = over_doses(doses, measured.values[:, columns, k])
    return responses


def dosed_name(asked: Asked) -> str:
    """Of what is given in doses, e.g. ``latent[3]``, or ``latent[3]+`` where it is moved."""
    return str(asked.dos[0]).partition("=")[0]


def _strips(experiment: Experiment, measured: Measured, asked: Sequence[Asked]) -> dict[str, Tensor]:
    """The first samples, as they are and with each intervention; over doses where there are some."""
    rows = range(min(SHOWN, len(measured.values)))
    made = [experiment.pictures(arm, rows) for arm in measured.arms]
    strips = {}
    for each in [*asked, None]:
        columns = [0, *(a + 1 for a, owner in enumerate(measured.asked) if owner is each)]
        if len(columns) > 1:
            shown = torch.stack([made[c] for c in columns], 1).flatten(0, 1)  # (rows * columns, C, H, W)
            title = dosed_name(each) if each and each.doses else measured.arms[columns[-1]].name
            captions = " | ".join(measured.arms[c].name for c in columns)
            strips[f"{title}: {captions}"] = images.grid(shown, columns=len(columns))
    return strips
