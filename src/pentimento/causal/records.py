"""Causal answers that carry their assumptions: an effect, what tried to refute it, and the study it is part of."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pentimento.causal.effects import LEVEL
from pentimento.errors import ProtocolError
from pentimento.validation import json_safe

__all__ = ["Change", "Effect", "Refutation", "Study", "compare"]


@dataclass(frozen=True)
class Refutation:
    """What one refuter found.

    Args:
        name: of the refuter.
        passed: the effect withstood.
        figures: what was measured, by name.
        note: what that means, one sentence.
    """

    name: str
    passed: bool
    figures: Mapping[str, float]
    note: str


@dataclass(frozen=True)
class Effect:
    """The average effect of one intervention on one outcome.

    Args:
        intervention: e.g. ``"do(layer3 unit 17 := 0)"``.
        outcome: its name.
        unit: of the outcome; empty for a pure number.
        value: the estimate.
        low: lower end of its 95 % interval.
        high: upper end.
        standard_error: of `value`.
        standardized: `value` in standard deviations of the outcome without the intervention.
        baseline: the outcome's mean without the intervention.
        p_value: two-sided, of no average effect.
        count: samples.
        q_value: `p_value` corrected for all effects that were looked for; None where it was the only one.
        subgroup: of the samples; empty for all.
        held_fixed: what was the same with and without the intervention, e.g. ``"latent"``.
        refutations: that were tried.
        level: at which it counts as found.
    """

    intervention: str
    outcome: str
    unit: str
    value: float
    low: float
    high: float
    standard_error: float
    standardized: float
    baseline: float
    p_value: float
    count: int
    q_value: float | None = None
    subgroup: str = ""
    held_fixed: tuple[str, ...] = ()
    refutations: tuple[Refutation, ...] = ()
    level: float = LEVEL

    @property
    def found(self) -> bool:
        """The q-value, or the p-value where there is none, is at most `level`."""
        return (self.p_value if self.q_value is None else self.q_value) <= self.level

    @property
    def survives(self) -> bool:
        """Found, and every refuter passed it. Without refutations this is `found`: the record says which there were."""
        return self.found and all(refutation.passed for refutation in self.refutations)

    def to_json(self) -> dict[str, Any]:
        """For a report, in values that JSON can hold: numbers that are not finite are words."""
        made: dict[str, Any] = json_safe({**dataclasses.asdict(self), "found": self.found, "survives": self.survives})
        return made


@dataclass(frozen=True)
class Study:
    """A causal question, and all that its answer depends on besides the model.

    Args:
        question: in words.
        model: its name.
        model_hash: of its weights.
        seed: of all draws.
        sample_count: that was planned: samples, or the pilot where it decides.
        outcomes: formula of each outcome by name.
        effects: all that were looked for, found or not.
        level: at which effects count as found.
        correction: for looking at many, e.g. ``"Benjamini-Hochberg over 512 units"``; empty for none.
        assumptions: sentences; where one is false, so may be the answer.
        notes: sentences for the reader.
    """

    question: str
    model: str
    model_hash: str
    seed: int
    sample_count: int
    outcomes: Mapping[str, str]
    effects: tuple[Effect, ...]
    level: float = LEVEL
    correction: str = ""
    assumptions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For a report, in values that JSON can hold: numbers that are not finite are words."""
        rest = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "effects"}
        document = {"format": "pentimento study", "version": 1, **rest}
        made: dict[str, Any] = json_safe({**document, "effects": [effect.to_json() for effect in self.effects]})
        return made


# ------------------------------------------------------------------------------------------- two studies
@dataclass(frozen=True)
class Change:
    """How much larger an effect is in one study than in another.

    Args:
        intervention: of both.
        outcome: of both.
        subgroup: of both.
        value: the difference, in the outcome's unit.
        low: lower end of its 95 % interval; the two differ where the interval excludes zero.
        high: upper end.
    """

    intervention: str
    outcome: str
    subgroup: str
    value: float
    low: float
    high: float


def compare(a: Study, b: Study) -> tuple[Change, ...]:
    """Each effect in `a` less the same effect in `b`, in the order of `a`: what two models do differently.

    The interval is put together from those of the two, which need not be symmetric (Zou and Donner 2008), as of
    independent estimates; models that answer alike to the same noise, such as two states of one training, have it too
    wide.

    Raises:
        ProtocolError: the two were asked or measured differently, or did not look for the same effects; names every
            difference.
    """
    unlike = [
        f"{name.replace('_', ' ')} {getattr(a, name)!r} and {getattr(b, name)!r}"
        for name in ("question", "seed", "sample_count", "outcomes", "level", "correction")
        if getattr(a, name) != getattr(b, name)
    ]
    if unlike:
        raise ProtocolError(f"studies: not comparable, made with different protocols: {'; '.join(unlike)}")
    ours, theirs = _by_question(a.effects), _by_question(b.effects)
    alone = [" ".join(filter(None, key[:3])) for key in ours.keys() ^ theirs.keys()]
    if alone:
        shown = ", ".join(sorted(alone)[:8]) + (", ..." if len(alone) > 8 else "")
        raise ProtocolError(f"studies: not comparable, {len(alone)} effects are in one of them alone: {shown}")
    return tuple(_change(effect, theirs[key]) for key, effect in ours.items())


def _by_question(effects: Sequence[Effect]) -> dict[tuple[str, ...], Effect]:
    return {(e.intervention, e.outcome, e.subgroup, e.unit, *e.held_fixed): e for e in effects}


def _change(a: Effect, b: Effect) -> Change:
    value = a.value - b.value
    down, up = math.hypot(a.value - a.low, b.high - b.value), math.hypot(a.high - a.value, b.value - b.low)
    return Change(a.intervention, a.outcome, a.subgroup, value, value - down, value + up)
