"""Causal questions to a table of what was observed: identify, estimate, refute.

    t, y -> treatment and outcome, columns of the table        phi -> `pentimento.causal.observational.basis`

Every effect is estimated in two ways, one of them doubly robust or orthogonal where the formula adjusts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pentimento.causal import observational as estimators
from pentimento.causal.attributes import few_numbers
from pentimento.causal.effects import PairedEffect, benjamini_hochberg
from pentimento.causal.graphs import CausalGraph
from pentimento.causal.identification import Estimand, identify
from pentimento.causal.independence import check_independences
from pentimento.causal.observational import Scores, Variable, averaged
from pentimento.causal.records import Effect, Refutation, Study
from pentimento.causal.resampled import Again, placebo_treatment, random_cause, subsets
from pentimento.causal.sensitivity import unmeasured_cause
from pentimento.errors import CausalError
from pentimento.runtime import Progress, ProgressCallback, no_progress
from pentimento.studies.questions import Asked, Contrast, Prepared

__all__ = ["Answer", "Observed", "Overlap", "observe"]

SELDOM = 0.02  # a level has next to no chance where its propensity is below this, and below a fifth of its share
REFUSED, THIN = 0.25, 0.05  # share of the rows where a level has next to no chance
UNMOVED, BARELY = 0.01, 0.1  # share of a number's variance that the covariates leave
CHECKED_ROWS = 500  # of the graph's independences
WEAK = 10.0  # F of instruments (Staiger and Stock 1997)
ADJUSTING = ("standardisation", "doubly robust"), ("regression", "orthogonal")  # of levels, of numbers
THROUGH = ("linear", "orthogonal")
BY_INSTRUMENT = ("two-stage", "Anderson-Rubin")


@dataclass(frozen=True)
class Answer:
    """An effect, as one estimator has it."""

    contrast: str
    estimator: str
    effect: Effect


@dataclass(frozen=True)
class Overlap:
    """Whether a level has a chance in all rows.

    Args:
        contrast: e.g. ``"style: bold against plain"``.
        treated: propensities of the level, among it and the one that it is held against, of the rows that have it.
        others: the same of the rows that have the other.
        seldom: share of the rows where either has next to no chance.
    """

    contrast: str
    treated: Tensor
    others: Tensor
    seldom: float


@dataclass(frozen=True)
class Observed:
    """What was found.

    Args:
        study: the record.
        graph: that was assumed.
        estimand: what was computed.
        answers: the effects; none where there is no formula.
        associations: contrast -> what is seen without adjustment, which is no effect.
        overlaps: of treatments with levels, where the formula adjusts.
        checks: what the graph says is independent, held against the table, a sentence each.
        warnings: sentences.
    """

    study: Study
    graph: CausalGraph
    estimand: Estimand
    answers: tuple[Answer, ...] = ()
    associations: Mapping[str, PairedEffect] = dataclasses.field(default_factory=dict)
    overlaps: tuple[Overlap, ...] = ()
    checks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def observe(
    graph: CausalGraph,
    table: Mapping[str, Sequence[Any]],
    asked: Asked,
    source: tuple[str, str] = ("table", ""),
    progress: ProgressCallback = no_progress,
) -> Observed:
    """Answer a question from a table.

    Args:
        graph: of the table's columns; columns that are not in it are left alone.
        table: column -> numbers or names of categories, one a row.
        asked: the question.
        source: name of the table and hash of it.
        progress: told of the steps.

    Raises:
        CausalError: a question that the graph or the table do not allow; see `identify` and `read_table`; a level of
            which there are too few rows, or without overlap.
        MissingExtraError: without DoWhy.
    """
    estimand = identify(graph, asked.treatment, asked.outcome)
    prepared = Prepared.of(graph, table, asked, estimand)
    study = Study(
        question=f"What is the average effect of {asked.treatment} on {asked.outcome}?",
        model=source[0],
        model_hash=source[1],
        seed=asked.seed,
        sample_count=prepared.count,
        outcomes={asked.outcome: prepared.about},
        effects=(),
        level=asked.level,
        assumptions=estimand.assumptions,
    )
    checks = tuple(test.note for test in check_independences(graph, table, CHECKED_ROWS, asked.seed))
    if estimand.strategy is None:
        return Observed(study, graph, estimand, checks=checks)
    found, overlaps, warnings = _estimate(prepared, progress)
    warnings += _maybe_names(prepared)
    made = [(prepared.contrasts[c], name, each) for name, of in found.items() for c, each in enumerate(of)]
    effects = [_record(prepared, *each) for each in made]
    several = len(prepared.contrasts) > 1
    if several:
        effects = _corrected(effects, len(prepared.contrasts))
    if asked.refute:
        effects = [
            dataclasses.replace(effect, refutations=_refuted(prepared, *each, progress)) if effect.found else effect
            for each, effect in zip(made, effects, strict=True)
        ]
    correction = f"Benjamini-Hochberg over {len(prepared.contrasts)} levels" if several else ""
    study = dataclasses.replace(study, effects=tuple(effects), correction=correction, notes=tuple(warnings))
    answers = [Answer(contrast.words, name, effect) for (contrast, name, _), effect in zip(made, effects, strict=True)]
    return Observed(study, graph, estimand, tuple(answers), _associations(prepared), overlaps, checks, tuple(warnings))


# ----------------------------------------------------------------------------------------------- estimating
Estimated = tuple[PairedEffect, float]  # and the outcome's mean where it is held against


def _estimate(
    prepared: Prepared, progress: ProgressCallback
) -> tuple[dict[str, list[Estimated]], tuple[Overlap, ...], list[str]]:
    """Estimator -> of each contrast; overlaps; warnings."""
    if prepared.estimand.strategy == "instrument":
        return _by_instrument(prepared)
    names = THROUGH if prepared.estimand.strategy == "front door" else ADJUSTING[prepared.contrasts[0].level is None]
    found: dict[str, list[Estimated]] = {}
    overlaps: tuple[Overlap, ...] = ()
    warnings: list[str] = []
    for number, name in enumerate(names):
        progress(Progress("estimate", number, len(names)))
        adjusted = prepared.estimand.variables
        scores = _scores(prepared, name, prepared.columns, prepared.asked.treatment, adjusted)
        if scores.propensities is not None and prepared.estimand.strategy == "adjustment":
            overlaps = _overlaps(prepared, scores.propensities)
            warnings += _check_overlap(prepared, scores.propensities, overlaps)
        found[name] = [
            (
                averaged(_contrasted(scores, contrast), prepared.asked.level),
                _baseline(prepared, scores, contrast),
            )
            for contrast in prepared.contrasts
        ]
    progress(Progress("estimate", len(names), len(names)))
    return found, overlaps, warnings


def _scores(
    prepared: Prepared, name: str, columns: Mapping[str, Tensor], treatment: str, adjusted: Sequence[str]
) -> Scores:
    """Of an estimator, of columns that may be changed ones."""
    y, t, seed = columns[prepared.asked.outcome], columns[treatment], prepared.asked.seed
    numeric = prepared.contrasts[0].level is None
    if prepared.estimand.strategy == "front door":
        return _through(prepared, name, columns, t)
    phi = estimators.basis(prepared.variables(adjusted, columns), len(y), prepared.least)
    if numeric:
        if name == "regression":
            return estimators.regression(y, t[:, None], phi)
        return estimators.orthogonal(y, t[:, None], phi, seed)
    if name == "standardisation":
        return estimators.standardisation(y, t, phi)
    return estimators.doubly_robust(y, t, phi, seed)


def _through(prepared: Prepared, name: str, columns: Mapping[str, Tensor], t: Tensor) -> Scores:
    """By the front door: of each level against the first, or of the number."""
    y, mediators = columns[prepared.asked.outcome], prepared.mediators(columns)
    ones = torch.ones(len(y), 1, dtype=torch.float64)
    levels = prepared.levels[prepared.asked.treatment]
    phi = estimators.basis([Variable("treatment", t, levels)], len(y), prepared.least)
    seed = prepared.asked.seed
    second = (
        estimators.regression(y, mediators, phi) if name == "linear" else estimators.orthogonal(y, mediators, phi, seed)
    ).values
    if not levels:
        first = torch.cat([estimators.regression(m, t[:, None], ones).values for m in mediators.unbind(1)], 1)
        return Scores(estimators.front_door(first, second)[:, None])
    means = torch.stack([estimators.standardisation(m, t, ones).values for m in mediators.unbind(1)], 1)  # (N, K, L)
    parts = [estimators.front_door(means[:, :, a] - means[:, :, 0], second) for a in range(len(levels))]
    return Scores(torch.stack(parts, 1))


def _contrasted(scores: Scores, contrast: Contrast) -> Tensor:
    if contrast.level is None or contrast.against is None:
        return scores.values[:, 0]
    return scores.values[:, contrast.level] - scores.values[:, contrast.against]


def _baseline(prepared: Prepared, scores: Scores, contrast: Contrast) -> float:
    """The outcome's mean at the level that is held against; of a number, as it is."""
    y = prepared.columns[prepared.asked.outcome]
    if contrast.against is None:
        return float(y.mean())
    if prepared.estimand.strategy == "adjustment":
        return float(scores.values[:, contrast.against].mean())
    return float(y[prepared.columns[prepared.asked.treatment] == contrast.against].mean())


def _by_instrument(prepared: Prepared) -> tuple[dict[str, list[Estimated]], tuple[Overlap, ...], list[str]]:
    asked = prepared.asked
    y, t = prepared.columns[asked.outcome], prepared.columns[asked.treatment]
    t = t if prepared.contrasts[0].against in (None, 0) else 1 - t
    found = estimators.instrument(y, t, prepared.mediators(prepared.columns), asked.level)
    usual = averaged(found.scores, asked.level)
    robust = dataclasses.replace(
        usual, low=torch.tensor([found.low]), high=torch.tensor([found.high]), p_value=torch.tensor([found.p_value])
    )
    names = ", ".join(prepared.estimand.variables)
    weak = [
        f"{names} hardly move {asked.treatment} (F = {found.strength:.2g}, 10 is usual): trust Anderson-Rubin alone"
    ]
    made = {name: [(each, float(y.mean()))] for name, each in zip(BY_INSTRUMENT, (usual, robust), strict=True)}
    apart = f"{names} contradict one another: no effect of {asked.treatment} agrees with all, so one is no instrument"
    return made, (), weak * (found.strength < WEAK) + [apart] * (found.low == found.high)


# --------------------------------------------------------------------------------------------------- overlap
def _overlaps(prepared: Prepared, propensities: Tensor) -> tuple[Overlap, ...]:
    """Of each contrast; none of a number."""
    t = prepared.columns[prepared.asked.treatment]
    found = []
    for contrast in prepared.contrasts:
        if contrast.level is None or contrast.against is None:
            continue
        pair = propensities[:, [contrast.against, contrast.level]]
        share = torch.stack([(t == k).double().mean() for k in (contrast.against, contrast.level)])
        seldom = float((pair < torch.clamp(share / 5, max=SELDOM)).any(1).double().mean())
        among = pair[:, 1] / pair.sum(1)
        found.append(Overlap(contrast.words, among[t == contrast.level], among[t == contrast.against], seldom))
    return tuple(found)


def _check_overlap(prepared: Prepared, propensities: Tensor, overlaps: Sequence[Overlap]) -> list[str]:
    """Warnings.

    Raises:
        CausalError: a level has next to no chance in too many rows, or a number hardly differs beside the covariates.
    """
    name, given = prepared.asked.treatment, ", ".join(prepared.estimand.variables)
    if not overlaps:
        left = float(propensities)
        if left < UNMOVED:
            raise CausalError(
                f"--treatment: {given} tell {name} but for {left:.2%} of its variance (positivity): the table has no "
                "rows that differ in it alone; gather such rows"
            )
        return [f"{given} leave {left:.1%} of the variance of {name}: the answer rests on it"] if left < BARELY else []
    worst = max(overlaps, key=lambda overlap: overlap.seldom)
    said = f"{worst.seldom:.0%} of the rows have, by {given}, next to no chance of one of {worst.contrast}"
    if worst.seldom > REFUSED:
        raise CausalError(
            f"--treatment: {said} (positivity): nothing in the table tells what would happen there; leave such rows "
            "out, or ask about levels that both occur"
        )
    return [f"{said}: there the answer extrapolates"] if worst.seldom > THIN else []


# --------------------------------------------------------------------------------------------------- records
def _associations(prepared: Prepared) -> dict[str, PairedEffect]:
    """What is seen without adjustment."""
    y, t = prepared.columns[prepared.asked.outcome], prepared.columns[prepared.asked.treatment]
    ones = torch.ones(len(y), 1, dtype=torch.float64)
    numeric = prepared.contrasts[0].level is None
    scores = estimators.regression(y, t[:, None], ones) if numeric else estimators.standardisation(y, t, ones)
    return {c.words: averaged(_contrasted(scores, c), prepared.asked.level) for c in prepared.contrasts}


def _record(prepared: Prepared, contrast: Contrast, estimator: str, estimated: Estimated) -> Effect:
    effect, baseline = estimated
    y = prepared.columns[prepared.asked.outcome]
    return Effect(
        intervention=f"{contrast.intervention}, {estimator}",
        outcome=prepared.asked.outcome,
        unit="",
        value=float(effect.mean),
        low=float(effect.low),
        high=float(effect.high),
        standard_error=float(effect.standard_error),
        standardized=float(effect.mean / y.std()),
        baseline=baseline,
        p_value=float(effect.p_value),
        count=prepared.count,
        held_fixed=prepared.estimand.variables if prepared.estimand.strategy == "adjustment" else (),
        level=prepared.asked.level,
    )


def _maybe_names(prepared: Prepared) -> list[str]:
    """Of the treatment and what is adjusted for; two numbers need no names, for a line through two points is right."""
    used = {name: prepared.columns[name] for name in (prepared.asked.treatment, *prepared.estimand.variables)}
    several = {n: v for n, v in used.items() if not prepared.levels[n] and len(set(v.tolist())) > 2}
    return [note for name, values in several.items() if (note := few_numbers(name, values))]


def _corrected(effects: Sequence[Effect], contrasts: int) -> list[Effect]:
    """With q-values, over the contrasts of each estimator."""
    made = []
    for start in range(0, len(effects), contrasts):
        some = effects[start : start + contrasts]
        q = benjamini_hochberg(torch.tensor([effect.p_value for effect in some], dtype=torch.float64))
        made += [dataclasses.replace(e, q_value=float(value)) for e, value in zip(some, q, strict=True)]
    return made


# -------------------------------------------------------------------------------------------------- refuting
def _refuted(
    prepared: Prepared, contrast: Contrast, name: str, estimated: Estimated, progress: ProgressCallback
) -> tuple[Refutation, ...]:
    """All refuters that the formula has."""
    asked, strategy = prepared.asked, prepared.estimand.strategy
    adjusted = prepared.estimand.variables if strategy == "adjustment" else ()

    def estimate(columns: Mapping[str, Tensor], treatment: str, names: Sequence[str]) -> float:
        if strategy == "instrument":
            z = prepared.mediators(columns)
            scores = estimators.instrument(columns[asked.outcome], columns[treatment], z).scores
            return float(scores.mean()) * (-1 if contrast.against == 1 else 1)
        return float(_contrasted(_scores(prepared, name, columns, treatment, names), contrast).mean())

    again = Again(
        prepared.columns,
        asked.treatment,
        asked.outcome,
        adjusted,
        estimate,
        float(estimated[0].mean),
        float(estimated[0].standard_error),
    )
    refuters: list[Callable[[], Refutation]] = [lambda: subsets(again, asked.seed)]
    if strategy != "instrument":
        refuters.append(lambda: placebo_treatment(again, asked.seed))
    if strategy == "adjustment":
        refuters.append(lambda: random_cause(again, asked.seed))
        refuters.append(lambda: _unmeasured(prepared, contrast))
    made = []
    for number, refuter in enumerate(refuters):
        progress(Progress("refute", number, len(refuters)))
        made.append(refuter())
    progress(Progress("refute", len(refuters), len(refuters)))
    return tuple(made)


def _unmeasured(prepared: Prepared, contrast: Contrast) -> Refutation:
    """Among the rows of the two levels."""
    y, t = prepared.columns[prepared.asked.outcome], prepared.columns[prepared.asked.treatment]
    here = torch.ones(len(t), dtype=torch.bool)
    if contrast.level is not None:
        here = (t == contrast.level) | (t == contrast.against)
        t = (t == contrast.level).double()
    names = prepared.estimand.variables
    columns = {name: values[here] for name, values in prepared.columns.items()}

    def phi(kept: Sequence[str]) -> Tensor:
        return estimators.basis(prepared.variables(kept, columns), int(here.sum()), prepared.least)

    without = {name: phi([other for other in names if other != name]) for name in names}
    return unmeasured_cause(y[here], t[here], phi(names), without, prepared.asked.level)
