"""Intervals: what they are for a mean, the bias they take out, how often they cover, how they compare."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from pentimento.evaluate.intervals import (
    GROUPS,
    QUANTILE,
    deal,
    difference,
    half_sample_estimate,
    halves,
    jackknife,
    jackknife_estimate,
    mean_estimate,
)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def half_width(estimate):
    return (estimate.high - estimate.low) / 2


def test_the_quantile_is_students():
    assert pytest.approx(stats.t.ppf(0.975, GROUPS - 1), rel=1e-12) == QUANTILE


@pytest.mark.parametrize("count", [20, 99, 1000])
def test_groups_are_even_random_and_of_the_seed(count):
    group = deal(count, 3)
    sizes = torch.bincount(group, minlength=GROUPS)
    assert int(sizes.max()) - int(sizes.min()) <= 1
    assert torch.equal(group, deal(count, 3))
    assert not torch.equal(group, deal(count, 4))
    assert not torch.equal(group, torch.arange(count) % GROUPS)


def test_of_a_mean_it_is_students_interval_of_the_groups_means():
    x = normal(400)
    groups = torch.stack([x[deal(400, 5) == g].mean() for g in range(GROUPS)])
    expected = QUANTILE * float(groups.std()) / math.sqrt(GROUPS)
    found = mean_estimate(x, 5)
    assert (found.value, found.corrected) == (pytest.approx(float(x.mean())), None)
    assert half_width(found) == pytest.approx(expected)
    by_calls = jackknife(lambda kept: float(x[kept].mean()), 400, 5, correct_bias=False)
    assert by_calls.replicates == pytest.approx(found.replicates)
    # Half-samples of a linear statistic tell the same: the ways to halve are orthogonal.
    side = halves()[:, deal(400, 5)]
    first, second = ([float(x[row == s].mean()) for row in side] for s in (1, -1))
    by_halves = half_sample_estimate(float(x.mean()), first, second)
    assert (by_halves.low, by_halves.high) == pytest.approx((found.low, found.high))


def test_ways_to_halve_are_balanced_and_orthogonal():
    ways = halves()
    assert ways.sum(1).tolist() == [0] * (GROUPS - 1)
    assert torch.equal(ways @ ways.T, GROUPS * torch.eye(GROUPS - 1, dtype=torch.int64))


def test_a_bias_that_falls_as_one_over_n_goes():
    x = normal(200)
    found = jackknife(lambda kept: float(x[kept].var(correction=0)), 200, 1, correct_bias=True)
    assert found.value == pytest.approx(float(x.var(correction=0)))
    assert found.corrected == pytest.approx(float(x.var()), rel=1e-3)  # exact for groups of one
    assert found.corrected == pytest.approx((found.low + found.high) / 2)
    kept_as_it_is = jackknife_estimate(found.value, found.replicates, correct_bias=False)
    assert kept_as_it_is.corrected is None
    assert (kept_as_it_is.low + kept_as_it_is.high) / 2 == pytest.approx(found.value)


def test_an_interval_of_a_mean_covers_as_often_as_it_says():
    found = [mean_estimate(normal(100, seed=r).exp(), r) for r in range(400)]
    covered = sum(each.low <= math.exp(0.5) <= each.high for each in found)
    # 95 % of 400 is 380; the log-normal's skew costs about 3 %, three standard deviations of the count another 3 %.
    assert 0.89 <= covered / 400 <= 0.98


def test_what_two_estimates_share_does_not_widen_their_difference():
    shared, a, b = normal(300), normal(300, seed=1), normal(300, seed=2)
    gap = difference(mean_estimate(10 * shared + a, 4), mean_estimate(10 * shared + b, 4))
    expected = mean_estimate(a - b, 4)
    assert (gap.value, gap.low, gap.high) == pytest.approx((expected.value, expected.low, expected.high))
    side = halves()[:, deal(300, 4)]

    def by_halves(x):
        return half_sample_estimate(float(x.mean()), *([float(x[row == s].mean()) for row in side] for s in (1, -1)))

    gap = difference(by_halves(10 * shared + a), by_halves(10 * shared + b))
    assert (gap.value, gap.low, gap.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_a_difference_is_corrected_where_both_are():
    a = jackknife_estimate(1.0, [1.0, 1.2], correct_bias=True)
    b = jackknife_estimate(0.5, [0.5, 0.6], correct_bias=True)
    assert difference(a, b).corrected == pytest.approx(a.corrected - b.corrected)
    assert difference(a, jackknife_estimate(0.5, [0.5, 0.6], correct_bias=False)).corrected is None
    with pytest.raises(ValueError, match="longer"):
        difference(a, mean_estimate(normal(100), 0))


@pytest.mark.parametrize("count", [2, 5, 19])
def test_the_mean_of_few_values_has_students_interval(count):
    values = torch.randn(count, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = mean_estimate(values, 0)
    wanted = stats.t.interval(0.95, count - 1, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(wanted)
