"""Attempts to refute an effect. Each says what fails it, and how often it is wrong.

    d_i -> y_i(1) - y_i(0), the change of the outcome of sample i by the intervention
    N, K -> samples, placebos

Two errors are told of each refuter: the *false alarm*, a true effect that fails, and the *miss*, what it must say no to
and lets pass. A refuter that is passed proves nothing; one that is failed names a reason for doubt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
from scipy import special
from torch import Tensor

from pentimento.causal.doses import DoseResponse
from pentimento.causal.effects import LEVEL, PairedEffect, sign_flip
from pentimento.causal.groups import welch
from pentimento.causal.records import Refutation
from pentimento.causal.tables import column, table
from pentimento.errors import CausalError
from pentimento.runtime import derive_seed

__all__ = [
    "dose_response",
    "dummy_outcome",
    "match",
    "on_manifold",
    "permuted_pairing",
    "placebo",
    "stable",
]

BOUND = 1e-3  # probability at which a right estimator fails `dummy_outcome`
DRIFT_LEVEL = 0.01  # of the test that consecutive samples differ


# ------------------------------------------------------------------------------------------------ placebo
def placebo(effect: float, placebo_effects: Tensor, level: float = LEVEL) -> Refutation:
    """Does the intervention do more than the same intervention on others, drawn at random, that ought to do nothing?

    Fails: an effect that is not outside the central 1 - level of what the placebos do; p is its rank by size,
    ``(1 + count of placebos at least as large) / (K + 1)``.

    Misses an intervention that is no more than another placebo with probability `level` at most, exactly. False alarm:
    where more than about `level` of the placebos truly do as much. So draw them among those that are not claimed to do
    anything.

    Args:
        effect: the average effect.
        placebo_effects: of the placebos, (K,), by the same doing at the same strength: see `match`.
        level: of the test; K is at least ``1 / level - 1``: 19.

    Raises:
        CausalError: too few placebos, or an effect that is not finite.
    """
    fewest = math.ceil(1 / level - 1e-9) - 1  # 1 / 0.05 is a little more than 20
    if len(placebo_effects) < fewest:
        raise CausalError(
            f"placebo_effects: at least {fewest} placebos are needed for p <= {level:g}, got {len(placebo_effects)}"
        )
    if not math.isfinite(effect):
        raise CausalError(f"effect: a finite number expected, got {effect}")
    effects = column(placebo_effects, "placebo_effects")
    count = int((effects.abs() >= abs(effect)).sum())
    p_value = (1 + count) / (len(effects) + 1)
    return Refutation(
        "placebo",
        p_value <= level,
        {"p_value": p_value, "placebos": float(len(effects)), "largest_placebo": float(effects.abs().max())},
        f"{count} of {len(effects)} placebos do at least as much",
    )


def match(activations: Tensor, unit: int, count: int, seed: int, exclude: Iterable[int] = ()) -> Tensor:
    """The units to serve as placebos: `count` indices, (count,) int64, those nearest in activation first.

    Near is meant on a logarithmic scale, so that a placebo changes what flows on about as much as the unit does. Units
    that are never active are nearest to one another.

    Args:
        activations: how active each unit is, (U,), no less than 0, e.g. its mean absolute value.
        unit: the one that is claimed to have an effect.
        count: of placebos.
        seed: of the order among units that are equally near.
        exclude: others that are claimed to have effects, or were found to.

    Raises:
        CausalError: activations that are negative or not finite, a unit that is not there, or too few others.
    """
    active = column(activations, "activations", least=1)
    if bool((active < 0).any()):
        raise CausalError(f"activations: numbers of at least 0 expected, got {float(active.min()):g}")
    if not 0 <= unit < len(active):
        raise CausalError(f"unit: 0 to {len(active) - 1} expected, got {unit}")
    left_out = {unit, *map(int, exclude)}
    allowed = [u for u in range(len(active)) if u not in left_out]
    if count > len(allowed):
        raise CausalError(
            f"count: {count} placebos are wanted, {len(allowed)} of {len(active)} units are left to be any; take more "
            "units, or claim fewer effects"
        )
    order = torch.randperm(len(allowed), generator=torch.Generator().manual_seed(derive_seed(seed, "placebos")))
    candidates = torch.tensor(allowed, dtype=torch.int64)[order]
    scale = active.clamp(min=torch.finfo(torch.float64).tiny).log()
    return candidates[(scale[candidates] - scale[unit]).abs().argsort(stable=True)[:count]]


# ------------------------------------------------------------------------------------- the way of estimating
def dummy_outcome(
    estimate: Callable[[Tensor, Tensor], PairedEffect],
    baseline: Tensor,
    seed: int,
    repeats: int = 100,
    level: float = LEVEL,
) -> Refutation:
    """Does the estimator find effects where there are none?

    Both arms are drawn anew, independently, with replacement from the outcomes that no intervention touched.

    Fails: an estimator with p <= level in more repeats than a right one has but once in a thousand times (binomial):
    one that is biased, that treats the arms differently, or whose errors are too small. At 100 repeats and a level of
    0.05 these are more than 13.

    False alarm: at most 0.001. Misses, at 100 repeats: an estimator that finds effects of nothing in 14 % of cases
    passes every other time, and one that does in 28 %, less than once in a thousand times.

    Args:
        estimate: (N,) outcomes with, and (N,) without the intervention -> the effect of one intervention.
        baseline: y_i(0), (N,).
        seed: of the draws.
        repeats: how often.
        level: at which `estimate` claims an effect.

    Raises:
        CausalError: fewer than two samples, an outcome that is not finite, a constant one, or an estimator that tells
            of more than one intervention.
    """
    y = column(baseline, "baseline")
    if bool((y == y[0]).all()):
        raise CausalError(f"baseline: the outcome is {float(y[0]):g} in all {len(y)} samples; choose another outcome")
    generator = torch.Generator().manual_seed(derive_seed(seed, "dummy outcome"))
    count = 0
    for _ in range(repeats):
        arms = y[torch.randint(0, len(y), (2, len(y)), generator=generator)]
        p_value = estimate(arms[0], arms[1]).p_value
        if p_value.numel() != 1:
            raise CausalError(f"estimate: one intervention expected, got p-values of shape {tuple(p_value.shape)}")
        count += float(p_value) <= level
    tolerated = next(k for k in range(repeats + 1) if special.bdtrc(k, repeats, level) <= BOUND)
    return Refutation(
        "dummy outcome",
        count <= tolerated,
        {"found": float(count), "tolerated": float(tolerated), "repeats": float(repeats)},
        f"the estimator finds an effect in {count} of {repeats} pairs of arms without one",
    )


def permuted_pairing(differences: Tensor, level: float = LEVEL, flips: int = 9_999, seed: int = 0) -> Refutation:
    """Is the effect larger than when lots decide which picture of each pair counts as the one with the intervention?

    Fails: an effect whose p by `pentimento.causal.sign_flip` is above `level`. This asks nothing of the shape of the
    differences, and so doubts effects that stand on a few samples.

    Misses: an intervention that changes outcomes up as it changes them down passes with probability `level` at most.
    False alarm: an effect at the edge of what can be seen: one of t = 2, 3, 4 fails in 48, 15 and 2 % of cases.

    Args:
        differences: d_i, (N,).
        level: of the test.
        flips: how often lots are drawn; more than ``1 / level``.
        seed: of the lots.

    Raises:
        CausalError: as `pentimento.causal.sign_flip`, or too few samples or flips for any p as low as `level`.
    """
    d = column(differences, "differences")
    if 2.0 ** (1 - len(d)) > level:
        raise CausalError(f"differences: {len(d)} samples give no p as low as {level:g}; draw more")
    if 1 / (1 + flips) > level:
        raise CausalError(f"flips: {flips} give no p as low as {level:g}; draw more")
    p_value = float(sign_flip(d, flips, seed))
    return Refutation(
        "permuted pairing",
        p_value <= level,
        {"p_value": p_value, "flips": float(flips)},
        f"lots do as much with probability {p_value:.2g}",
    )


# ------------------------------------------------------------------------------------------- the samples
def stable(differences: Tensor, subsets: int = 5, seed: int = 0) -> Refutation:
    """Is the effect there in every part of the samples?

    Fails: an effect whose sign is another in a subset dealt at random, so one that a few samples carry; or one that
    differs between as many runs of consecutive samples, p < 0.01 by `pentimento.causal.welch`: Cochran's Q with the
    correction for spreads that are estimated. Runs tell of a drift: a model or an outcome that changed on the way, or
    samples that were not drawn alike. (Subsets dealt at random cannot differ so, whatever the effect is.)

    False alarm: 1 % by the runs; by the signs 38, 17, 6 and 2 % of true effects of t = 3, 4, 5 and 6 at 5 subsets.
    Misses: no effect at all passes the signs in 1 of 2^(subsets - 1) cases. Samples that are sorted on purpose, by
    label for instance, fail the runs if the labels differ: that is what `pentimento.causal.by_group` is for.

    Args:
        differences: d_i, (N,), in the order in which they were drawn; N >= 2 subsets.
        subsets: how many.
        seed: of the deal.

    Raises:
        CausalError: fewer samples, or an outcome that is not finite.
    """
    if subsets < 2:
        raise CausalError(f"subsets: at least 2 expected, got {subsets}")
    d = column(differences, "differences", least=2 * subsets)
    deal = torch.randperm(len(d), generator=torch.Generator().manual_seed(derive_seed(seed, "subsets"))) % subsets
    sign = d.mean().sign()
    agree = sum(bool(d[deal == s].mean().sign() == sign) for s in range(subsets)) if sign else 0
    test = welch(torch.tensor_split(d, subsets))
    return Refutation(
        "stable",
        agree == subsets and test.p_value >= DRIFT_LEVEL,
        {"subsets": float(subsets), "same_sign": float(agree), "drift_p_value": test.p_value},
        f"the sign is the same in {agree} of {subsets} subsets; runs of samples differ with p = {test.p_value:.2g}",
    )


def dose_response(response: DoseResponse) -> Refutation:
    """Does more of the intervention do more?

    Fails: a curve whose slope has an interval that does not exclude zero on the side on which its last dose lies from
    its first, or that has a step which significantly goes the other way (Bonferroni over the steps). A curve that rises
    and falls is no dose-response.

    False alarm: a curve that truly never turns has such a step in 2.5 % of cases at most; a slope of t = 3, 4 is not
    seen in 15 and 2 % of cases. Misses: no effect at all passes in 5 % of cases at most, and turns that are too small
    to be seen pass.

    Args:
        response: of `pentimento.causal.over_doses`.
    """
    slope, steps, side = response.slope, response.steps, response.direction
    rises = side != 0 and float(slope.low if side > 0 else -slope.high) > 0
    against = (steps.mean.sign() == -side) & (steps.p_value <= LEVEL / len(steps.mean)) & (side != 0)
    turns = int(against.sum())
    return Refutation(
        "dose response",
        rises and not turns,
        {
            "slope": float(slope.mean),
            "slope_low": float(slope.low),
            "slope_high": float(slope.high),
            "steps_against": float(turns),
            "monotone": response.monotone,
        },
        ("the slope is on the side of the effect" if rises else "no slope to be seen")
        + (f"; {turns} of {len(steps.mean)} steps go the other way" if turns else ""),
    )


def on_manifold(
    natural: Tensor,
    intervened: Tensor,
    natural_realism: Tensor,
    intervened_realism: Tensor,
    quantile: float = 0.99,
    allowed: float = 0.1,
) -> Refutation:
    """Does the intervention leave the model where it ever is, and the pictures as realistic as its own?

    Fails: more than `allowed` of the activations outside the central `quantile` of the natural ones, for any feature;
    or more than `allowed` of the pictures less realistic than all but the lowest ``1 - quantile`` of the natural ones.
    Without any intervention either share is about 1 %. A shift of a normal feature by 1.3 standard deviations brings
    10 % outside.

    False alarm, of an intervention that changes nothing, with 200 samples natural and 200 intervened: below 0.0001 for
    one feature, and 4 % for the largest share of 512, which chance alone lifts; below 1 % for 512 with 500 of each.
    Misses what leaves the natural only jointly, for each feature is looked at alone.

    Args:
        natural: activations without the intervention, (M,) or (M, F); M is at least ``2 / (1 - quantile)``: 200.
        intervened: with it, (N,) or (N, F).
        natural_realism: a score of each picture, (M,), higher is more realistic.
        intervened_realism: (N,).
        quantile: of the natural ones that count as natural.
        allowed: share.

    Raises:
        CausalError: too few natural samples for the quantile, other features in the two, or a value that is not finite.
    """
    least = round(2 / (1 - quantile))
    a, b = table(natural, "natural", least), table(intervened, "intervened", 1)
    if a.shape[1] != b.shape[1]:
        raise CausalError(f"intervened: {a.shape[1]} features expected, as in natural, got {b.shape[1]}")
    real = column(natural_realism, "natural_realism", least)
    other = column(intervened_realism, "intervened_realism", 1)
    tail = (1 - quantile) / 2
    low, high = torch.from_numpy(np.quantile(a.numpy(), (tail, 1 - tail), axis=0))
    outside = float(((b < low) | (b > high)).double().mean(0).max())
    unreal = float((other < float(np.quantile(real.numpy(), 1 - quantile))).double().mean())
    return Refutation(
        "on manifold",
        max(outside, unreal) <= allowed,
        {"outside": outside, "less_realistic": unreal, "allowed": allowed},
        f"{outside:.1%} of the activations are outside of what the model does by itself, {unreal:.1%} of the pictures "
        "less realistic",
    )
