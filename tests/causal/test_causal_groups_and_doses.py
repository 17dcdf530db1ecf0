"""Effects by subgroup and over doses."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from statsmodels.stats.oneway import anova_oneway

from pentimento.causal import by_group, over_doses, paired, welch
from pentimento.causal.effects import LEVEL
from pentimento.errors import CausalError


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ------------------------------------------------------------------------------------------------- groups
def test_of_two_groups_it_is_welchs_t_test():
    a, b = normal(30), 2 * normal(12, seed=1) + 1
    expected = stats.ttest_ind(a.numpy(), b.numpy(), equal_var=False)
    found = welch([a, b])
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.statistic == pytest.approx(expected.statistic**2)
    assert found.freedom == (1.0, pytest.approx(expected.df))


def test_of_more_groups_it_is_welchs_analysis_of_variance():
    groups = [normal(n, seed=n) * s + m for n, s, m in ((10, 1, 0), (15, 2, 1), (40, 0.5, 0.3))]
    expected = anova_oneway([g.numpy() for g in groups], use_var="unequal")  # of statsmodels, which DoWhy brings along
    found = welch(groups)
    assert (found.statistic, found.p_value) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))


def test_small_groups_of_unlike_spread_do_not_differ_too_often():
    sizes, spreads = (4, 6, 8, 10), (4.0, 1.0, 2.0, 0.5)
    p = [
        welch([normal(n, seed=9 * r + n) * s for n, s in zip(sizes, spreads, strict=True)]).p_value for r in range(800)
    ]
    assert sum(x <= 0.05 for x in p) / 800 <= 0.075  # 3 sigma above 5 %; Cochran's Q has 13 %


@pytest.mark.parametrize(("second", "p"), [(1.0, 1.0), (2.0, 0.0)])
def test_groups_without_variance(second, p):
    assert welch([torch.ones(4), torch.full((3,), second)]).p_value == p


def test_a_group_without_variance_counts_as_known():
    others = [normal(30), normal(20, seed=1)]
    near = welch([torch.full((5,), 0.2).double() + 1e-4 * normal(5, seed=2), *others])
    assert welch([torch.full((5,), 0.2).double(), *others]).p_value == pytest.approx(near.p_value, rel=1e-2)


def test_effects_by_group():
    groups = torch.arange(120) % 3
    d = normal(120) * 0.1 + torch.tensor([0.0, 0.0, 1.0])[groups]
    found = by_group(d, groups, ["red", "green", "blue"])
    assert list(found.effects) == ["red", "green", "blue"]
    assert torch.equal(found.effects["blue"].low, paired(d[groups == 2]).low)
    assert found.test.p_value < 1e-20
    assert by_group(normal(120), groups, "abc").test.p_value > 0.01


@pytest.mark.parametrize(
    ("groups", "names", "message"),
    [
        (torch.tensor([0, 0, 1]), "ab", r"groups: 4 integers expected, got torch.int64, shape \(3,\)"),
        (torch.zeros(4), "ab", "groups: 4 integers expected, got torch.float32"),
        (torch.tensor([0, 0, 1, 2]), "ab", "groups: 0 to 1 expected, got 0 to 2"),
        (torch.tensor([0, 0, 0, 1]), "ab", "at least 2 samples of 'b' are needed, got 1"),
        (torch.tensor([0, 0, 0, 0]), "a", "names: at least two groups expected, got 1"),
    ],
)
def test_groups_that_are_none(groups, names, message):
    with pytest.raises(CausalError, match=message):
        by_group(normal(4), groups, names)


# -------------------------------------------------------------------------------------------------- doses
def test_a_straight_answer_has_its_slope():
    doses = torch.tensor([-1.0, 0.0, 0.5, 3.0])
    y = normal(50)[:, None] + 2.5 * doses.double()
    found = over_doses(doses, y, reference=1)
    assert float(found.slope.mean) == pytest.approx(2.5)
    assert found.change.mean.tolist() == pytest.approx([-2.5, 0.0, 1.25, 7.5])
    assert (found.change.mean[1], found.change.p_value[1], found.band_high[1]) == (0.0, 1.0, 0.0)
    assert found.mean.tolist() == pytest.approx(y.mean(0).tolist())
    assert (found.monotone, found.direction) == (1.0, 1.0)


def test_slopes_steps_and_bands_of_noisy_doses():
    doses = torch.linspace(0, 4, 5)
    y = normal(60, 5) - 0.5 * doses
    found = over_doses(doses, y)
    slopes = torch.tensor([stats.linregress(doses.numpy(), row.numpy()).slope for row in y])
    assert float(found.slope.mean) == pytest.approx(float(slopes.mean()))
    assert torch.equal(found.slope.p_value > 0, paired(slopes).p_value > 0)
    assert found.steps.mean.tolist() == pytest.approx((y[:, 1:] - y[:, :-1]).mean(0).tolist())
    wide = paired(y - y[:, [0]], LEVEL / 4)
    assert torch.equal(found.band_low, wide.low)
    assert bool((found.band_low[1:] < found.change.low[1:]).all() & (found.band_high[1:] > found.change.high[1:]).all())
    assert found.monotone == float((found.steps.mean < 0).double().mean())
    assert found.direction == -1.0


def test_the_band_holds_at_all_doses_at_once():
    doses, truth = torch.linspace(0, 3, 4), torch.tensor([0.0, 0.5, 1.0, 1.5], dtype=torch.float64)
    held = 0
    for r in range(200):
        found = over_doses(doses, normal(40, 4, seed=r) + truth)
        held += bool(((found.band_low <= truth) & (truth <= found.band_high)).all())
    assert held / 200 >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 200)


@pytest.mark.parametrize(
    ("doses", "shape", "reference", "message"),
    [
        ([0.0, 2.0, 1.0], (5, 3), 0, r"doses: increasing ones expected, got \[0.0, 2.0, 1.0\]"),
        ([0.0, 0.0], (5, 2), 0, "doses: increasing ones expected"),
        ([1.0], (5, 1), 0, "doses: at least 2"),
        ([0.0, 1.0], (5, 3), 0, r"a column for each of 2 doses expected, got shape \(5, 3\)"),
        ([0.0, 1.0], (5, 2), 2, "reference: the index of a dose, 0 to 1, expected, got 2"),
        ([0.0, 1.0], (1, 2), 0, "outcomes: at least 2 samples are needed, got 1"),
    ],
)
def test_doses_that_are_none(doses, shape, reference, message):
    with pytest.raises(CausalError, match=message):
        over_doses(torch.tensor(doses), torch.zeros(shape), reference)
