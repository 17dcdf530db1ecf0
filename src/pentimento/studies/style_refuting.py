"""Every effect of a style or a strength that was found is put to the refuters that apply, see `causal.refute`.

The samples are the drawn levels, not the cells: an effect of a style is looked at content by content, one of a strength
content by content and style by style, and fails where either fails. Placebos and the manifold of a generator's units
have no counterpart here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from pentimento.causal import (
    LEVEL,
    Effect,
    PairedEffect,
    Refutation,
    dose_response,
    dummy_outcome,
    over_levels,
    paired,
    permuted_pairing,
    stable,
)
from pentimento.studies.style import DRAWN, FACTORS, Factorial, StyleStudy

__all__ = ["refute_styles"]

SUBSETS = 5  # at most, of two levels or more each
ASKED = "Refuters asked: dummy outcome, permuted pairing (of 6 contents or styles or more), stable; of strengths also "
ASKED += "dose response. Placebos and the manifold are about units of a generator."


def refute_styles(found: StyleStudy, crossed: Factorial) -> StyleStudy:
    """The same, its found effects with their refutations.

    Args:
        found: of `pentimento.studies.style.study_styles`.
        crossed: that it is of.
    """
    seed, outcomes = found.study.seed, list(found.study.outcomes)
    styles = {f"do(style={style.name})": b for b, style in enumerate(crossed.styles)}
    strengths = {f"do(strength={dose:g})": c for c, dose in enumerate(crossed.strengths)}

    dummies = functools.cache(lambda k, of_style: _dummy(found.values[..., k], seed, of_style=of_style))

    def tried(effect: Effect) -> Effect:
        if not effect.found:
            return effect
        k = outcomes.index(effect.outcome)
        y, of_style = found.values[..., k], effect.intervention in styles
        if of_style:
            results = _of_style(y, styles[effect.intervention], seed)
        else:
            results = _of_strength(y, strengths[effect.intervention], seed)
            results.append(dose_response(found.responses["strength", effect.outcome]))
        return replace(effect, refutations=(*dummies(k, of_style), *results))

    study = found.study
    effects = tuple(map(tried, study.effects))
    return replace(found, study=replace(study, effects=effects, notes=(*study.notes, ASKED)))


def _dummy(y: Tensor, seed: int, *, of_style: bool) -> list[Refutation]:
    """Of the estimator that is used for styles, or for strengths; none where nothing varies beforehand."""
    contents, styles = y.shape[:2]

    def estimate(a: Tensor, b: Tensor) -> PairedEffect:
        arms = torch.stack([b, a], 1).view(contents, styles, 2)
        return over_levels(arms, FACTORS, "strength", torch.tensor([0.0, 1.0]), DRAWN).slope

    bare = y[:, :, 1:].mean((1, 2)) if of_style else y[:, :, 0].flatten()
    if bool((bare == bare[0]).all()):
        return []
    return [dummy_outcome((lambda a, b: paired(a - b)) if of_style else estimate, bare, seed)]


def _of_style(y: Tensor, style: int, seed: int) -> list[Refutation]:
    painted = y[:, :, 1:].mean(2)  # (A, B)
    return _over_levels_drawn({"contents": painted[:, style] - painted.mean(1)}, seed)


def _of_strength(y: Tensor, strength: int, seed: int) -> list[Refutation]:
    change = y[:, :, strength] - y[:, :, 0]
    return _over_levels_drawn({"contents": change.mean(1), "styles": change.mean(0)}, seed)


def _over_levels_drawn(differences: Mapping[str, Tensor], seed: int) -> list[Refutation]:
    """Of the means of each drawn factor's levels; of several factors, the verdict that is against the effect."""

    def worst(ask: Callable[[Tensor], Refutation], asked: Mapping[str, Tensor]) -> list[Refutation]:
        said = [(name, ask(d)) for name, d in asked.items()]
        told = [replace(each, note=f"over {name}: {each.note}") for name, each in said]
        return [min(told, key=lambda each: each.passed)] if told else []

    enough = {name: d for name, d in differences.items() if 2.0 ** (1 - len(d)) <= LEVEL}
    return [
        *worst(lambda d: permuted_pairing(d, seed=seed), enough),
        *worst(lambda d: stable(d, min(SUBSETS, len(d) // 2), seed), differences),
    ]
