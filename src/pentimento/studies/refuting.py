"""Every effect that was found is put to all refuters that apply to it: see `pentimento.causal.refute`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pentimento.causal import (
    Effect,
    Refutation,
    dose_response,
    dummy_outcome,
    match,
    on_manifold,
    paired,
    permuted_pairing,
    placebo,
    stable,
)
from pentimento.features import FeatureNetwork
from pentimento.interventions import Do, class_targets, usual_values
from pentimento.runtime import ProgressCallback, no_progress
from pentimento.studies.effects import Effects, Measured, dosed_name
from pentimento.studies.experiment import Arm, Experiment

__all__ = ["PLACEBOS", "activity", "refute"]

PLACEBOS = 19  # as few as allow to say no at 5 %
PLACEBO_SAMPLES = 400
REFERENCES = 400  # pictures of the model that others are held against, and as many that are held against them
NEIGHBOURS = 5
OTHER_SAMPLES = 10**6  # index of the first of them: none of the experiment's own


def refute(
    experiment: Experiment,
    effects: Effects,
    judge: FeatureNetwork,
    progress: ProgressCallback = no_progress,
    others: Callable[[int], Tensor | None] | None = None,
) -> Effects:
    """The same, its found effects with their refutations.

    Effects by label and interactions are put to those that look at differences alone.

    Args:
        experiment: that the effects are of.
        effects: of `measure_effects`.
        judge: of what is realistic, on the model's device: the nearer a picture's vector lies to those of the model's
            own pictures, the more.
        progress: told as pictures are drawn.
        others: what placebos of an arm do, (K placebos, outcomes), where that is known; else they are measured.
    """
    measured = effects.measured
    names = [arm.name for arm in measured.arms]
    found = [e for e in effects.study.effects if e.found and not e.subgroup and e.intervention in names]
    arms = sorted({names.index(e.intervention) for e in found})
    others = others or (lambda a: _placebo_effects(experiment, measured, a, progress))
    placebos = {a: others(a) for a in arms}
    manifold = _manifold(experiment, measured, arms, judge)
    outcomes = [outcome.name for outcome in measured.outcomes]
    dummies = {
        k: dummy_outcome(lambda a, b: paired(a - b), measured.values[:, 0, k], experiment.seed)
        for k in sorted({outcomes.index(e.outcome) for e in found})
    }

    def tried(effect: Effect) -> Effect:
        if effect not in found:
            return effect
        a, k = names.index(effect.intervention), outcomes.index(effect.outcome)
        owner = measured.asked[a - 1]
        differences = measured.differences[:, a - 1, k]
        results: list[Refutation] = []
        done_to_others = placebos[a]
        if done_to_others is not None:
            results.append(placebo(effect.value, done_to_others[:, k]))
        results += [
            dummies[k],
            permuted_pairing(differences, seed=experiment.seed),
            stable(differences, seed=experiment.seed),
        ]
        if owner is not None and owner.doses:
            results.append(dose_response(effects.responses[dosed_name(owner), effect.outcome]))
        results.append(manifold[a])
        return replace(effect, refutations=tuple(results))

    study = replace(effects.study, effects=tuple(map(tried, effects.study.effects)), notes=_notes(measured, placebos))
    return replace(effects, study=study)


# ------------------------------------------------------------------------------------------------ placebos
def _placebo_effects(experiment: Experiment, measured: Measured, arm: int, progress: ProgressCallback) -> Tensor | None:
    """What the same does to other units, nearest in activation, that nobody asked of: (PLACEBOS, K); None without."""
    dos = [do for do in measured.arms[arm].dos if do.units]
    if len(dos) != 1 or len(measured.arms[arm].dos) != 1:
        return None
    (do,) = dos
    active = activity(experiment, do.target)
    named = {unit for each in measured.arms for other in each.dos if other.target == do.target for unit in other.units}
    if len(active) - len(named) < PLACEBOS + len(do.units) - 1:
        return None
    drawn = [match(active, unit, PLACEBOS, experiment.seed, exclude=named).tolist() for unit in do.units]
    sets = list(zip(*drawn, strict=True))  # PLACEBOS of as many units each
    # What was a unit's usual value becomes that of another unit.
    usual = usual_values(experiment.model, do.target, experiment.seed) if isinstance(do.value, tuple) else None
    arms = [measured.arms[0]]
    for units in sets:
        others = _distinct(units, len(active), named)
        value = do.value if usual is None else tuple(usual[list(others)].tolist())
        arms.append(Arm("placebo", (replace(do, units=others, value=value),)))
    rows = range(min(PLACEBO_SAMPLES, len(measured.values)))
    values = experiment.measure(arms, measured.outcomes, rows, progress, "placebos")
    return (values[:, 1:] - values[:, :1]).mean(0)


def _distinct(units: Sequence[int], count: int, named: set[int]) -> tuple[int, ...]:
    """Two units of a set may be matched with the same one; the next one that is free takes the second's place."""
    chosen: list[int] = []
    for unit in units:
        place = unit
        while place in chosen or place in named:
            place = (place + 1) % count
        chosen.append(place)
    return tuple(chosen)


def activity(experiment: Experiment, target: str) -> Tensor:
    """Mean absolute value of each unit of a stage, or of the noise, over the model's own samples, (U,)."""
    return experiment.pooled(target, _others(REFERENCES)).abs().mean(0)


def _others(count: int, skip: int = 0) -> range:
    return range(OTHER_SAMPLES + skip, OTHER_SAMPLES + skip + count)


# ------------------------------------------------------------------------------------------------ manifold
def _manifold(
    experiment: Experiment, measured: Measured, arms: Sequence[int], judge: FeatureNetwork
) -> dict[int, Refutation]:
    """Of each arm, whether it leaves the model where it ever is."""
    if not arms:
        return {}
    natural = Arm("as it is")
    reference = _vectors(judge, experiment, natural, _others(REFERENCES))
    held = _others(REFERENCES, REFERENCES)
    usual = -_distance(_vectors(judge, experiment, natural, held), reference)
    pooled = functools.cache(experiment.pooled)  # of a stage, the same for all of its units
    found = {}
    for a in arms:
        rows = range(min(REFERENCES, len(measured.values)))
        score = -_distance(_vectors(judge, experiment, measured.arms[a], rows), reference)
        before, after = _set_values(experiment, measured.arms[a].dos, held, rows, pooled)
        found[a] = on_manifold(before, after, usual, score)
    return found


def _vectors(judge: FeatureNetwork, experiment: Experiment, arm: Arm, rows: range) -> Tensor:
    pictures = experiment.pictures(arm, rows).to(experiment.model.device)
    return torch.cat([judge(pictures[i : i + 64]).vectors.double().cpu() for i in range(0, len(pictures), 64)])


def _distance(vectors: Tensor, reference: Tensor) -> Tensor:
    """(N,) mean distance to the nearest of the reference."""
    return torch.cdist(vectors, reference).topk(NEIGHBOURS, largest=False).values.mean(1)


def _set_values(
    experiment: Experiment, dos: Sequence[Do], natural_rows: range, rows: range, pooled: Callable[[str, range], Tensor]
) -> tuple[Tensor, Tensor]:
    """What is set, per sample: as it is by nature (M, F), and as it was set (N, F). Labels have no range to leave."""
    before, after = [torch.zeros(len(natural_rows), 1)], [torch.zeros(len(rows), 1)]
    spec, classes = experiment.model.spec, class_targets(experiment.model)
    for do in dos:
        if do.units:
            units = list(do.units)
            value = torch.as_tensor(do.value, dtype=torch.float64).expand(len(units))
            before.append(pooled(do.target, natural_rows)[:, units])
            own = pooled(do.target, rows)[:, units]
            after.append(own + value if do.shift else value.expand_as(own))
        elif do.target not in classes and spec.attribute(do.target).kind == "numeric":
            place = spec.attributes.index(spec.attribute(do.target))
            told = experiment.condition(natural_rows).attributes
            assert told is not None
            before.append(told[:, [place]])
            after.append(torch.full((len(rows), 1), float(do.value)))  # type: ignore[arg-type]  # checked
    return torch.cat([v.double() for v in before], 1), torch.cat([v.double() for v in after], 1)


def _notes(measured: Measured, placebos: dict[int, Tensor | None]) -> tuple[str, ...]:
    without = [measured.arms[a].name for a, found in placebos.items() if found is None]
    if not without:
        return ()
    return (f"No placebos for {', '.join(without)}: only units have them, set alone, where there are enough others.",)
