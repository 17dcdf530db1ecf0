"""Average effects: against scipy, in closed form, at the edges, and how often they are wrong."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp
from scipy import stats

from pentimento.causal import benjamini_hochberg, interaction, paired, sign_flip, standardized
from pentimento.errors import CausalError


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mirrored(count, columns, seed=0):
    """Normal columns without any skewness: each number and its mirror image about the column's mean."""
    half = normal(count // 2, columns, seed=seed)
    return torch.cat([half, -half]) + torch.linspace(0, 1, columns, dtype=torch.float64)


def exact_p(t, freedom):
    """Two-sided, to 30 digits."""
    with mp.workdps(50):
        x = mp.mpf(freedom) / (freedom + mp.mpf(t) ** 2)
        return float(mp.betainc(mp.mpf(freedom) / 2, mp.mpf(1) / 2, 0, x, regularized=True))


# ------------------------------------------------------------------------------------------------- paired
def test_without_skewness_it_is_students_test():
    d = mirrored(50, 7)
    found, expected = paired(d), stats.ttest_1samp(d.numpy(), 0.0)
    assert found.p_value.tolist() == pytest.approx(expected.pvalue.tolist())
    interval = expected.confidence_interval(0.95)
    assert found.low.tolist() == pytest.approx(interval.low.tolist())
    assert found.high.tolist() == pytest.approx(interval.high.tolist())
    assert found.standard_error.tolist() == pytest.approx((d.std(0) / math.sqrt(50)).tolist())
    assert found.count == 50


def test_with_skewness_it_also_holds_against_halls():
    d = normal(40).exp() - 1.2
    mean, error = float(d.mean()), float(d.std()) / math.sqrt(40)
    a, t = float(stats.skew(d.numpy())) / (3 * math.sqrt(40)), mean / error
    hall = t + a * t**2 + a**2 * t**3 / 3 + a / 2
    found, quantile = paired(d), stats.t.ppf(0.975, 39)
    assert float(found.p_value) == pytest.approx(2 * stats.t.sf(min(abs(t), abs(hall)), 39))
    # A long tail upwards: the interval reaches further up than Student's, and as far down.
    assert float(found.low) == pytest.approx(mean - quantile * error)
    t_at_high = (mean - float(found.high)) / error
    assert t_at_high + a * t_at_high**2 + a**2 * t_at_high**3 / 3 + a / 2 == pytest.approx(-quantile)
    assert float(found.high) > mean + 1.2 * quantile * error


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30), st.floats(0.001, 0.5))
def test_the_interval_excludes_zero_exactly_where_p_is_small(values, level):
    found = paired(torch.tensor(values, dtype=torch.float64), level)
    low, mean, high, p = (float(x) for x in (found.low, found.mean, found.high, found.p_value))
    assert low <= mean <= high
    assert 0 <= p <= 1
    if abs(p - level) > 1e-6:
        assert (p < level) == (low > 0 or high < 0)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.01, 1000), st.sampled_from([-1.0, 1.0]), st.integers(0, 99))
def test_units_and_the_side_do_not_matter(scale, side, seed):
    d = normal(25, 2, seed=seed).exp() - 1
    one, other = paired(d), paired(d * scale * side)
    assert other.p_value.tolist() == pytest.approx(one.p_value.tolist())
    ends = (one.low, one.high) if side > 0 else (-one.high, -one.low)
    assert (other.low / scale).tolist() == pytest.approx(ends[0].tolist())
    assert (other.high / scale).tolist() == pytest.approx(ends[1].tolist())


@pytest.mark.parametrize(("freedom", "t"), [(9, 1e20), (99, 900.0), (999, 36.0), (99_999, 36.0), (999, 0.01)])
def test_tiny_p_values_are_right(freedom, t):
    d = mirrored(freedom + 1, 1)
    d = d - d.mean() + t * d.std() / math.sqrt(freedom + 1)
    actual = float(d.mean() / d.std() * math.sqrt(freedom + 1))
    # Rounding of 1e-16 in t is one of 1e-13 in a p-value of 1e-280.
    assert float(paired(d).p_value) == pytest.approx(exact_p(actual, freedom), rel=1e-9)
    assert freedom != 999 or t < 1 or 0 < float(paired(d).p_value) < 1e-180


def test_differences_that_are_all_the_same():
    found = paired(torch.tensor([[0.0, 0.1, -2.0]] * 7))
    assert found.p_value.tolist() == [1.0, 0.0, 0.0]
    assert found.mean.tolist() == found.low.tolist() == found.high.tolist() == [0.0, pytest.approx(0.1), -2.0]
    assert found.standard_error.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_very_small_and_very_large_outcomes(scale):
    d = normal(20, 3) + 1
    assert paired(d * scale).p_value.tolist() == pytest.approx(paired(d).p_value.tolist())


@pytest.mark.parametrize(
    ("shift", "draw"), [(0.0, lambda z: z), (math.exp(0.5), torch.exp), (0.1, lambda z: (z > 1.2815516).double())]
)
def test_intervals_of_100_samples_cover(shift, draw):
    found = paired(draw(normal(100, 2000, seed=4)))
    covered = float(((found.low <= shift) & (shift <= found.high)).double().mean())
    assert 0.93 <= covered <= 0.995  # normal, lognormal of sigma 1, and 10 % of rare changes; 3 sigma are 0.015


@pytest.mark.parametrize("draw", [lambda z: (z > 2.0537489).double() - 0.02, lambda z: z**3])
def test_hundreds_of_interventions_without_effect_are_not_found(draw):
    # Student's t alone finds some in 68 % of runs of the first, Hall's alone in 24 % of the second.
    runs = [benjamini_hochberg(paired(draw(normal(1000, 512, seed=s))).p_value) for s in range(12)]
    assert sum(bool((q <= 0.05).any()) for q in runs) <= 3  # of 12 at 5 % with probability 0.998


@pytest.mark.parametrize(
    ("differences", "message"),
    [
        (torch.zeros(1), "differences: at least 2 samples are needed, got 1; draw 1 more"),
        (torch.zeros(0, 3), "at least 2 samples are needed, got 0; draw 2 more"),
        (torch.zeros(2, 3, 4), r"samples by interventions, expected, got shape \(2, 3, 4\)"),
        (torch.tensor([1.0, float("nan"), 2.0]), r"got nan at sample 1 \(1 of 3 are not finite\)"),
        (torch.tensor([[1.0, 2.0], [3.0, float("-inf")]]), "got -inf at sample 1 of intervention 1"),
    ],
)
def test_what_cannot_be_counted_is_refused(differences, message):
    with pytest.raises(CausalError, match=message):
        paired(differences)


# ------------------------------------------------------------------------------------------- of an effect
def test_standardized_is_in_deviations_of_the_untouched():
    y0 = normal(30) * 4
    effect = paired(torch.stack([y0.new_full((30,), 2.0), normal(30, seed=1)], 1))
    found = standardized(effect, y0)
    assert found.tolist() == pytest.approx((effect.mean / y0.std()).tolist())
    with pytest.raises(CausalError, match="the outcome is 3 in all 30 samples"):
        standardized(effect, torch.full((30,), 3.0))


def test_interaction_of_two_interventions():
    y00, a, b = normal(200), 1.5, -0.5
    both = 0.25 + 0.1 * normal(200, seed=2)
    found = interaction(y00 + a + b + both, y00 + a, y00 + b, y00)
    assert float(found.mean) == pytest.approx(float(both.mean()))
    assert float(found.p_value) < 1e-20
    additive = interaction(y00 + 2.0, y00 + 1.5, y00 + 0.5, y00)
    assert abs(float(additive.mean)) < 1e-12
    with pytest.raises(CausalError, match="the same samples expected in all four arms"):
        interaction(y00, y00, y00, y00[:5])


# ---------------------------------------------------------------------------------------------- sign flips
@pytest.mark.parametrize("count", [2, 7, 12])
def test_all_signs_are_tried_of_few_samples(count):
    d = normal(count, 3) + 0.5
    expected = stats.permutation_test(
        (d.numpy(),), lambda x, axis: x.mean(axis), permutation_type="samples", vectorized=True, n_resamples=2**count
    )
    # scipy's two-sided p is twice the smaller one-sided one, which by symmetry is that of |mean|.
    assert sign_flip(d).tolist() == pytest.approx(expected.pvalue.tolist())


def test_ties_count():
    assert sign_flip(torch.tensor([0.1, 0.2, 0.3])).tolist() == [0.25]  # + + + and - - -
    assert sign_flip(torch.tensor([0.1, 0.2, -0.3])).tolist() == [1.0]
    assert sign_flip(torch.zeros(20, 2), flips=50).tolist() == [1.0, 1.0]
    assert sign_flip(torch.tensor([0.1] * 10 + [0.2] * 10), flips=99).tolist() == [0.01]


def test_many_samples_agree_with_students(monkeypatch):
    d = normal(400, 4) + torch.tensor([0.0, 0.05, 0.1, 0.4])
    found = sign_flip(d, flips=4999, seed=3)
    expected = stats.ttest_1samp(d.numpy(), 0.0).pvalue
    assert found.tolist() == pytest.approx(expected.tolist(), abs=0.03)  # 4 standard deviations of a share near 1/2
    assert float(found[3]) == 1 / 5000
    assert torch.equal(found, sign_flip(d, flips=4999, seed=3))
    assert not torch.equal(found, sign_flip(d, flips=4999, seed=4))
    with pytest.raises(CausalError, match="flips: at least 1 expected, got 0"):
        sign_flip(d, flips=0)


# --------------------------------------------------------------------------------------------- correction
@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_q_values_are_the_step_up_procedures(values):
    p = torch.tensor(values, dtype=torch.float64)
    q = benjamini_hochberg(p)
    assert bool((q >= p).all() & (q <= 1).all())
    assert bool((q[p.argsort()].diff() >= 0).all())
    for level in (0.01, 0.05, 0.3):
        ranked = sorted(values)
        passing = [r for r, each in enumerate(ranked, start=1) if each <= level * r / len(values) * (1 - 1e-12)]
        assert int((q <= level).sum()) >= max(passing, default=0)
    by_hand = [
        min(1.0, *(len(values) * x / sum(y <= x for y in values) for x in values if x >= each)) for each in values
    ]
    assert q.tolist() == pytest.approx(by_hand)


def test_p_values_that_are_none():
    assert benjamini_hochberg(torch.zeros(0)).shape == (0,)
    for wrong in (torch.tensor([0.5, float("nan")]), torch.tensor([1.5]), torch.zeros(2, 2)):
        with pytest.raises(CausalError, match=r"p_values: one number in \[0, 1\]"):
            benjamini_hochberg(wrong)
