"""Shares of variance and main effects: closed forms, a reference, how often intervals cover, bad input."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pentimento.causal import main_effects, over_doses, over_levels, paired, variance_shares
from pentimento.errors import CausalError

NAMES = ("content", "style", "strength")
STRENGTH = torch.tensor([-1.5, -0.5, 0.5, 1.5], dtype=torch.float64) / math.sqrt(1.25)  # mean 0, variance 1


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def design(contents, styles, seed, shares=(0.3, 0.25, 0.2, 0.1, 0.05, 0.05, 0.05)):
    """Outcomes with these shares of variance among all contents and styles, in the order of `variance_shares`."""
    a, b, c, ab, ac, bc, abc = (math.sqrt(share) for share in shares)
    content, style = normal(contents, 1, 1, seed=seed), normal(1, styles, 1, seed=seed + 1)
    return (
        a * content
        + b * style
        + c * STRENGTH
        + ab * normal(contents, styles, 1, seed=seed + 2)
        + ac * normal(contents, 1, 1, seed=seed + 3) * STRENGTH
        + bc * normal(1, styles, 1, seed=seed + 4) * STRENGTH
        + abc * normal(contents, styles, 1, seed=seed + 5) * STRENGTH
    )


def by_name(shares):
    return {"x".join(share.factors): share for share in shares}


def test_parts_that_are_known():
    a = torch.tensor([-1.0, 1.0, -1.0, 1.0]).view(4, 1, 1)
    b, c = torch.tensor([-1.0, 1.0]).view(1, 2, 1), torch.tensor([-1.0, 0.0, 1.0])
    y = 7.0 + 3 * a + 2 * b + a * b + c * b  # variances 9, 4, 1, 2/3
    found = {name: share.value for name, share in by_name(variance_shares(y, "abc", ())).items()}
    total = 9 + 4 + 1 + 2 / 3
    expected = {"a": 9 / total, "b": 4 / total, "axb": 1 / total, "bxc": 2 / 3 / total, "c": 0, "axc": 0, "axbxc": 0}
    assert found == {name: pytest.approx(value, abs=1e-12) for name, value in expected.items()}
    assert list(found) == ["a", "b", "c", "axb", "axc", "bxc", "axbxc"]


def test_sums_of_squares_of_one_factor_are_those_of_the_analysis_of_variance():
    y = normal(6, 9) + torch.arange(6)[:, None]
    share = by_name(variance_shares(y, ("a", "b"), ()))["a"].value
    f = stats.f_oneway(*y.numpy()).statistic  # F = (SS_a / 5) / (SS_rest / 48)
    assert share == pytest.approx(5 * f / (5 * f + 48))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(2, 6), min_size=1, max_size=4), st.integers(0, 99), st.floats(-1e4, 1e4))
def test_shares_sum_to_one_and_do_not_depend_on_unit_or_zero(shape, seed, zero):
    y, names = normal(*shape, seed=seed), "abcd"[: len(shape)]
    found = variance_shares(y, names, ())
    assert len(found) == 2 ** len(shape) - 1
    assert sum(share.value for share in found) == pytest.approx(1)
    assert all(share.low == share.value == share.high >= 0 for share in found)
    again = variance_shares(y * 3 + zero, names, ())
    assert [s.value for s in again] == [pytest.approx(s.value, abs=1e-6) for s in found]


@pytest.mark.parametrize("levels", [(8, 6), (20, 10)])
def test_intervals_cover_the_shares_among_all_contents_and_styles(levels):
    truth, runs = (0.3, 0.25, 0.2, 0.1, 0.05, 0.05, 0.05), 60
    covered = torch.zeros(7)
    for r in range(runs):
        found = variance_shares(design(*levels, seed=10 * r), NAMES, NAMES[:2], draws=100, seed=r)
        covered += torch.tensor([share.low <= t <= share.high for share, t in zip(found, truth, strict=True)])
        assert all(0 <= share.low <= share.value <= share.high <= 1 for share in found)
    assert float(covered.min()) / runs >= 0.85  # 0.92 was measured; 2 sigma are 0.07
    assert float(covered.mean()) / runs >= 0.93


def test_a_factor_that_does_nothing_has_a_small_share_and_the_same_seed_the_same_interval():
    y = design(12, 12, seed=3, shares=(0.9, 0, 0, 0, 0, 0, 0.1))
    found = by_name(variance_shares(y, NAMES, NAMES[:2], draws=200))
    assert found["content"].low > 0.6
    assert found["style"].low < 0.02
    assert variance_shares(y, NAMES, NAMES[:2], draws=200) == tuple(found.values())
    assert variance_shares(y, NAMES, NAMES[:2], draws=200, seed=1) != tuple(found.values())


# ------------------------------------------------------------------------------------------- main effects
def test_over_one_drawn_factor_it_is_the_paired_test():
    y = normal(30, 4) + torch.tensor([0.0, 0.0, 1.0, 3.0])
    found = main_effects(y, ("content", "strength"), "strength", ("content",))
    expected = stats.ttest_1samp((y - y.mean(1, keepdim=True)).numpy(), 0.0)
    assert found.p_value.tolist() == pytest.approx(expected.pvalue.tolist())
    assert found.low.tolist() == pytest.approx(expected.confidence_interval(0.95).low.tolist())
    assert found.mean.tolist() == pytest.approx((y.mean(0) - y.mean()).tolist())
    assert found.count == 30


def test_over_fixed_factors_means_are_taken():
    y = normal(8, 6, 4)
    found = main_effects(y, NAMES, "style", ("content",))
    expected = main_effects(y.mean(2), NAMES[:2], "style", ("content",))
    assert found.p_value.tolist() == pytest.approx(expected.p_value.tolist())


def test_intervals_of_levels_cover():
    covered, runs = torch.zeros(4), 300
    for r in range(runs):
        found = main_effects(design(8, 6, seed=10 * r), NAMES, "strength", NAMES[:2])
        truth = math.sqrt(0.2) * STRENGTH
        covered += (found.low <= truth) & (truth <= found.high)
    assert float(covered.min()) / runs >= 0.92
    assert float(covered.max()) / runs <= 0.995


def test_a_factor_without_effect_and_one_that_is_exact():
    y = normal(6, 5, 1).expand(6, 5, 3)
    assert main_effects(y, NAMES, "strength", NAMES[:2]).p_value.tolist() == [1.0, 1.0, 1.0]
    found = main_effects(torch.arange(3.0).expand(6, 5, 3), NAMES, "strength", NAMES[:2])
    assert (found.low.tolist(), found.high.tolist()) == ([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0])
    assert found.p_value.tolist() == [0.0, 1.0, 0.0]
    assert not bool(paired(y[:, 0, 1:] - y[:, 0, :1]).mean.any())


# ---------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("y", "names", "drawn", "message"),
    [
        (torch.zeros(6, 6), ("a", "b"), (), "y: the outcome is 0 in every cell"),
        (normal(6, 1), ("a", "b"), (), r"at least 2 levels.*got shape \(6, 1\) and \['a', 'b'\]"),
        (normal(6, 6), ("a",), (), "a name for each axis"),
        (normal(6, 6), ("a", "a"), (), "a name for each axis"),
        (normal(2, 2, 2, 2, 2), tuple("abcde"), (), "1 to 4 axes"),
        (normal(6, 6), ("content", "style"), ("contents",), "drawn: no factor is called 'contents'; did you mean"),
        (normal(6, 3), ("content", "style"), ("style",), "style: at least 5 levels .* are needed, got 3; draw 2 more"),
    ],
)
def test_designs_that_are_none(y, names, drawn, message):
    with pytest.raises(CausalError, match=message):
        variance_shares(y, names, drawn)


def test_cells_that_are_not_finite_are_named():
    y = normal(6, 6)
    y[2, 4] = float("nan")
    with pytest.raises(CausalError, match=r"got nan at content 2, style 4 \(1 of 36 cells are not finite\)"):
        variance_shares(y, ("content", "style"), ())


def test_main_effects_need_a_drawn_factor_besides():
    with pytest.raises(CausalError, match="drawn: a factor besides 'content' expected"):
        main_effects(normal(6, 6), ("content", "style"), "content", ("content",))
    with pytest.raises(CausalError, match="factor: no factor is called 'stile'; did you mean 'style'"):
        main_effects(normal(6, 6), ("content", "style"), "stile", ("content",))


# --------------------------------------------------------------------------------------------------- over levels
def test_over_levels_of_one_drawn_factor_are_over_doses():
    y, doses = normal(9, 4) + torch.arange(4), torch.tensor([0.0, 0.5, 2.0, 3.0])
    found = over_levels(y, ("content", "strength"), "strength", doses, ("content",), reference=1)
    other = over_doses(doses, y, reference=1)
    for name in ("doses", "mean"):
        assert torch.allclose(getattr(found, name), getattr(other, name))
    for name in ("change", "steps", "slope"):
        ours, theirs = getattr(found, name), getattr(other, name)
        assert torch.allclose(ours.mean, theirs.mean) and torch.allclose(ours.standard_error, theirs.standard_error)
    assert found.change.p_value[1] == 1.0 and found.reference == 1
    assert bool((found.band_low <= found.change.low).all() and (found.band_high >= found.change.high).all())


def test_over_levels_covers_other_draws_of_both_factors():
    """The slope among all contents and styles is 0.2 / 1.25^.5 a level, of the strength's share alone."""
    doses, hits = torch.arange(4.0), 0
    truth = math.sqrt(0.2) * float(STRENGTH[1] - STRENGTH[0])
    for r in range(200):
        slope = over_levels(design(8, 6, seed=10 * r), NAMES, "strength", doses, NAMES[:2]).slope
        hits += bool(slope.low <= truth <= slope.high)
    assert hits >= 184  # 95 % but for 2 standard errors; too wide, never too narrow


@pytest.mark.parametrize(
    ("doses", "reference", "message"),
    [
        ([0.0, 1.0, 2.0], 0, "doses: increasing ones, one for each of 4 levels of 'strength', expected"),
        ([0.0, 1.0, 1.0, 2.0], 0, "doses: increasing ones, one for each of 4 levels"),
        ([0.0, 1.0, 2.0, 3.0], 4, "reference: the index of a dose, 0 to 3, expected, got 4"),
    ],
)
def test_over_levels_refuses(doses, reference, message):
    with pytest.raises(CausalError, match=message):
        over_levels(design(8, 6, 0), NAMES, "strength", torch.tensor(doses), NAMES[:2], reference)
