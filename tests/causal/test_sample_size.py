"""Choosing the number of samples by looking, and covering nevertheless."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pentimento.causal import paired, sample_size, stein
from pentimento.errors import CausalError


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 50), st.floats(0.02, 3), st.integers(0, 99))
def test_it_is_the_smallest_that_is_enough(pilot_count, half_width, seed):
    pilot = normal(pilot_count, seed=seed)
    found = sample_size(pilot, half_width, at_most=10**9)
    reach = stats.t.ppf(0.975, pilot_count - 1) * float(pilot.std())
    assert reach / math.sqrt(found) <= half_width * (1 + 1e-9)
    assert found == pilot_count or reach / math.sqrt(found - 1) > half_width * (1 - 1e-9)


def test_it_is_enough_for_every_intervention():
    pilot = normal(20, 5) * torch.tensor([0.0, 1.0, 4.0, 2.0, 0.5])
    assert sample_size(pilot, 0.3) == sample_size(pilot[:, 2], 0.3)


def test_too_many_are_refused_with_what_can_be_had():
    pilot = normal(30) * 7
    with pytest.raises(CausalError, match="half_width: 0.01 takes .* samples, at most 1,000 are allowed") as caught:
        sample_size(pilot, 0.01, at_most=1000)
    possible = float(re.search(r"ask for ([\d.e+-]+),", str(caught.value)).group(1))
    assert sample_size(pilot, possible, at_most=1000) <= 1000
    with pytest.raises(CausalError):
        sample_size(pilot, possible * 0.98, at_most=1000)


@pytest.mark.parametrize(
    ("pilot", "half_width", "at_most", "message"),
    [
        (torch.ones(9), 0.1, 100, "pilot_differences: all 9 are the same"),
        (normal(9), 0.0, 100, "half_width: a number above 0 expected, got 0"),
        (normal(9), float("nan"), 100, "half_width: a number above 0 expected, got nan"),
        (normal(9), 0.1, 5, "at_most: at least the 9 samples of the pilot expected, got 5"),
        (normal(1), 0.1, 5, "pilot_differences: at least 2 samples are needed, got 1"),
    ],
)
def test_pilots_that_say_nothing(pilot, half_width, at_most, message):
    with pytest.raises(CausalError, match=message):
        sample_size(pilot, half_width, at_most)


def test_the_interval_reaches_as_far_as_steins_and_that_of_all_samples():
    pilot, more = 2 * normal(10, 2), normal(40, 2, seed=1) + 0.3
    found, usual = stein(pilot, more), paired(torch.cat([pilot, more]))
    error = pilot.std(0) / math.sqrt(50)
    half = stats.t.ppf(0.975, 9) * error
    assert torch.equal(found.mean, usual.mean)
    assert found.low.tolist() == pytest.approx(torch.minimum(usual.low, usual.mean - half).tolist())
    assert found.high.tolist() == pytest.approx(torch.maximum(usual.high, usual.mean + half).tolist())
    p = torch.from_numpy(2 * stats.t.sf((usual.mean / error).abs().numpy(), 9))
    assert found.p_value.tolist() == pytest.approx(torch.maximum(p, usual.p_value).tolist())
    assert found.standard_error.tolist() == pytest.approx(torch.maximum(error, usual.standard_error).tolist())
    assert found.count == 50


def test_a_pilot_may_be_all_there_is_or_know_nothing_of_the_spread():
    pilot = normal(10)
    assert stein(pilot, pilot[:0]).low.tolist() == paired(pilot).low.tolist()
    rare = torch.cat([torch.zeros(30), torch.ones(3)])
    assert stein(torch.zeros(10), rare).p_value.tolist() == paired(torch.cat([torch.zeros(10), rare])).p_value.tolist()
    assert stein(torch.zeros(10), torch.zeros(5)).p_value.tolist() == [1.0]
    with pytest.raises(CausalError, match="more: 2 interventions expected, as in the pilot, got 3"):
        stein(normal(4, 2), normal(4, 3))


@pytest.mark.parametrize("draw", [lambda z: z, lambda z: (0.5 * z).exp() - math.exp(0.125)])
def test_it_covers_as_often_as_it_says(draw):
    """Also lognormal differences, of which Stein's own interval covers 92 %."""
    covered, spread = 0, float(draw(normal(100_000, seed=5)).std())
    for r in range(500):
        pilot = draw(normal(100, seed=10_000 + r))
        count = sample_size(pilot, 0.1 * spread)
        found = stein(pilot, draw(normal(count - 100, seed=20_000 + r)))
        covered += bool(found.low <= 0 <= found.high)
    assert 0.92 <= covered / 500 <= 0.985  # 3 sigma are 0.03
