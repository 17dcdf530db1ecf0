"""Estimates with a 95 % interval, by the delete-group jackknife or by half-samples, and the difference of two of them.

A sample of n is dealt at random into G groups; the statistic is taken anew with each group left out:

    t -> statistic of all        t_g -> statistic without group g        m -> mean of t_g
    bias   (G - 1) (m - t)       variance   (G - 1) / G  sum_g (t_g - m)^2

(Quenouille 1956; Tukey 1958; groups: Kott 2001.) The interval is ``t - bias -+ q s`` with Student's q of G - 1
degrees of freedom.

Where a few points decide together whether another one counts (nearest neighbours), what is left out changes the scores
of what stays, and the jackknife overstates the variance (Efron and Stein 1981). There the groups are halved in G - 1
balanced ways instead (McCarthy 1969), and the two halves of each, which know nothing of each other, are compared:

    d_h -> half the difference of the statistic of the two halves        variance   mean of d_h^2

This is right as far as the variance falls as 1/n, and for a mean it is the jackknife's.

Two estimates whose groups were dealt alike, over the same reference, are compared replicate by replicate, which takes
out what they share.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pentimento.runtime import derive_seed

__all__ = [
    "GROUPS",
    "Estimate",
    "deal",
    "difference",
    "half_sample_estimate",
    "halves",
    "jackknife",
    "jackknife_estimate",
    "mean_estimate",
    "wilson",
]

GROUPS = 20
QUANTILE = 2.093024054408263  # 97.5 % of Student's t with GROUPS - 1 degrees of freedom
NORMAL_QUANTILE = 1.959963984540054  # 97.5 %


@dataclass(frozen=True)
class Estimate:
    """A number and where its true value lies with 95 % confidence.

    Args:
        value: the statistic as the field defines and reports it.
        low: lower end of the interval.
        high: upper end.
        corrected: `value` without its bias, where it was estimated: the middle of the interval, which need not hold
            `value` itself.
        replicates: the statistic without each group, in the order of the groups, or what scatters as these would;
            empty where there are none.
    """

    value: float
    low: float
    high: float
    corrected: float | None = None
    replicates: tuple[float, ...] = ()


def deal(count: int, seed: int, groups: int = GROUPS) -> Tensor:
    """The group of each of `count` samples, (count,) int64 in [0, groups): as even as can be, a function of the seed.

    Sets of the same size and seed are dealt alike.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "groups"))
    return torch.randperm(count, generator=generator) % groups


def jackknife_estimate(value: float, replicates: Sequence[float], *, correct_bias: bool) -> Estimate:
    """The estimate of a statistic from its `replicates`, see the module.

    Args:
        value: of all samples.
        replicates: without each group.
        correct_bias: whether the statistic estimates a quantity that does not depend on the sample size, so that
            the part of its error that falls as 1/n is bias. False for one that is defined at its sample size.
    """
    count, mean = len(replicates), statistics.fmean(replicates)
    bias = (count - 1) * (mean - value) if correct_bias else 0.0
    spread = math.sqrt((count - 1) / count * math.fsum((t - mean) ** 2 for t in replicates))
    middle, half = value - bias, _quantile(count) * spread
    return Estimate(value, middle - half, middle + half, middle if correct_bias else None, tuple(replicates))


def _quantile(replicates: int) -> float:
    """97.5 % of Student's t: with GROUPS - 1 degrees of freedom, or as many as the replicates allow."""
    if replicates >= GROUPS:
        return QUANTILE
    from scipy.stats import t

    return float(t.ppf(0.975, replicates - 1))


def jackknife(statistic: Callable[[Tensor], float], count: int, seed: int, *, correct_bias: bool) -> Estimate:
    """The estimate of ``statistic(kept)``, where `kept` is a (count,) bool mask of the samples to take.

    Calls `statistic` ``GROUPS + 1`` times.
    """
    group = deal(count, seed)
    value = statistic(torch.ones(count, dtype=torch.bool))
    return jackknife_estimate(value, [statistic(group != g) for g in range(GROUPS)], correct_bias=correct_bias)


def halves() -> Tensor:
    """The half, 1 or -1, in which each way to halve puts each group: (GROUPS - 1, GROUPS) int64.

    Every way has as many groups in one half as in the other, and agrees with every other way on half of the groups: the
    design of Plackett and Burman (1946), from the squares modulo GROUPS - 1 = 19 (Paley 1933).
    """
    prime = GROUPS - 1
    squares = {i * i % prime for i in range(1, prime)}
    rows = [[1 if (g - way) % prime in squares else -1 for g in range(prime)] for way in range(prime)]
    return torch.tensor([[*row, 1] for row in rows])


def half_sample_estimate(value: float, first: Sequence[float], second: Sequence[float]) -> Estimate:
    """The estimate of a statistic that is defined at its sample size, see the module.

    Args:
        value: of all samples.
        first: of the half that is 1, in each of the ways of `halves`.
        second: of the other.
    """
    # The jackknife's variance of value -+ d / sqrt(2 G - 3), 2 G - 2 numbers, is the mean of d^2 over G - 1 ways.
    scale = 0.5 / math.sqrt(2 * GROUPS - 3)
    steps = [scale * (a - b) for a, b in zip(first, second, strict=True)]
    return jackknife_estimate(value, [value + s for s in steps] + [value - s for s in steps], correct_bias=False)


def mean_estimate(values: Tensor, seed: int) -> Estimate:
    """The mean of (N,) values, N >= 2, with the interval of its replicates.

    Fewer than `GROUPS` values are a group each, and Student's q has N - 1 degrees of freedom: the usual interval.
    """
    values, count = values.double(), len(values)
    groups = min(GROUPS, count)
    group = deal(count, seed, groups)
    sums = torch.zeros(groups, dtype=torch.float64).index_add(0, group, values)
    sizes = torch.bincount(group, minlength=groups)
    replicates = ((values.sum() - sums) / (count - sizes)).tolist()
    return jackknife_estimate(float(values.mean()), replicates, correct_bias=False)


def wilson(share: float, count: float, quantile: float = NORMAL_QUANTILE) -> Estimate:
    """A share among `count` independent draws, with its interval (Wilson 1927), which stays within [0, 1].

    >>> estimate = wilson(0.0, 100)
    >>> round(estimate.low, 4), round(estimate.high, 4)
    (0.0, 0.037)
    """
    z2 = quantile**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = quantile * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    # At shares of 0 and 1 an end is that share itself, which rounding would miss.
    return Estimate(share, max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share)))


def difference(a: Estimate, b: Estimate) -> Estimate:
    """``a - b``, with the interval of the difference of their replicates.

    Raises:
        ValueError: they were not dealt into the same number of groups.
    """
    replicates = [s - t for s, t in zip(a.replicates, b.replicates, strict=True)]
    both_corrected = a.corrected is not None and b.corrected is not None
    return jackknife_estimate(a.value - b.value, replicates, correct_bias=both_corrected)
