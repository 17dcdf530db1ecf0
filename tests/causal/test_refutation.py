"""Every refuter says yes where there is an effect, and no where it must."""

from __future__ import annotations

import math

import pytest
import torch

from pentimento.causal import (
    dose_response,
    dummy_outcome,
    match,
    on_manifold,
    over_doses,
    paired,
    permuted_pairing,
    placebo,
    stable,
)
from pentimento.errors import CausalError


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ------------------------------------------------------------------------------------------------ placebo
def test_an_effect_larger_than_any_placebos_passes():
    others = 0.1 * normal(19)
    found = placebo(-0.5, others)
    assert found.passed
    assert found.figures == {"p_value": 0.05, "placebos": 19.0, "largest_placebo": float(others.abs().max())}
    assert found.note == "0 of 19 placebos do at least as much"


def test_an_effect_that_a_placebo_has_too_fails():
    others = torch.cat([0.1 * normal(18), torch.tensor([-0.5])])
    found = placebo(0.5, others)
    assert not found.passed
    assert found.figures["p_value"] == 0.1


def test_a_placebo_among_placebos_passes_as_often_as_the_level_allows():
    passed = sum(placebo(float(row[0]), row[1:]).passed for row in normal(1000, 40).abs())
    assert passed / 1000 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)


def test_too_few_placebos():
    with pytest.raises(CausalError, match="at least 19 placebos are needed for p <= 0.05, got 18"):
        placebo(1.0, torch.zeros(18))
    with pytest.raises(CausalError, match="at least 33 placebos are needed for p <= 0.03"):
        placebo(1.0, torch.zeros(32), level=0.03)
    assert placebo(1.0, torch.zeros(33), level=0.03).passed
    with pytest.raises(CausalError, match="effect: a finite number expected, got nan"):
        placebo(float("nan"), torch.zeros(19))


def test_placebos_are_as_active_as_the_unit():
    activations = torch.tensor([1.0, 100.0, 1.1, 0.0, 0.4, 2.0, 0.9, 0.0])
    assert match(activations, 0, 3, seed=0).tolist() == [2, 6, 5]
    assert match(activations, 0, 3, seed=0, exclude=[6]).tolist() == [2, 5, 4]  # 0.4 is nearer than 100 in ratio
    assert match(activations, 3, 1, seed=0).tolist() == [7]  # both are silent
    alike = torch.ones(50)
    drawn = {tuple(match(alike, 7, 5, seed).tolist()) for seed in range(5)}
    assert len(drawn) == 5
    assert all(7 not in each and len(set(each)) == 5 for each in drawn)


@pytest.mark.parametrize(
    ("activations", "unit", "message"),
    [
        (torch.tensor([1.0, -2.0, 1.0]), 0, "activations: numbers of at least 0 expected, got -2"),
        (torch.ones(3), 3, "unit: 0 to 2 expected, got 3"),
        (torch.ones(3), 0, "count: 3 placebos are wanted, 2 of 3 units are left to be any"),
    ],
)
def test_units_without_placebos(activations, unit, message):
    with pytest.raises(CausalError, match=message):
        match(activations, unit, 3, seed=0)


# --------------------------------------------------------------------------------------------- estimators
def biased(with_it, without):
    return paired(with_it - without + 0.5)


def flattering(with_it, without):
    """Drops the lowest fifth of one arm, and thereby treats the arms differently."""
    with_it = with_it.sort().values[len(with_it) // 5 :]
    return paired(with_it - without[: len(with_it)])


def overconfident(with_it, without):
    """Counts every sample four times."""
    return paired((with_it - without).repeat(4))


@pytest.mark.parametrize("outcomes", [normal(80), normal(80).exp(), (normal(80) > 1).double()])
def test_a_right_estimator_passes(outcomes):
    found = dummy_outcome(lambda a, b: paired(a - b), outcomes, seed=1)
    assert found.passed
    assert (found.figures["tolerated"], found.figures["repeats"]) == (13.0, 100.0)


@pytest.mark.parametrize("estimate", [biased, flattering, overconfident])
def test_a_wrong_estimator_fails(estimate):
    found = dummy_outcome(estimate, normal(80), seed=1)
    assert not found.passed
    assert found.figures["found"] > 13


def test_outcomes_that_cannot_be_dealt():
    with pytest.raises(CausalError, match="baseline: the outcome is 2 in all 9 samples"):
        dummy_outcome(biased, torch.full((9,), 2.0), seed=0)
    with pytest.raises(CausalError, match=r"estimate: one intervention expected, got p-values of shape \(2,\)"):
        dummy_outcome(lambda a, b: paired(torch.stack([a, b], 1)), normal(9), seed=0)


def test_lots_do_not_do_as_much_as_an_effect():
    found = permuted_pairing(normal(100) + 0.5, flips=999)
    assert found.passed
    assert found.figures == {"p_value": 0.001, "flips": 999.0}


def test_lots_do_as_much_as_no_effect():
    assert not permuted_pairing(normal(100), flips=999).passed
    # Three samples of 200 carry this one.
    assert not permuted_pairing(torch.cat([torch.zeros(197), torch.full((3,), 5.0)]), flips=999).passed


def test_a_change_without_a_side_passes_as_often_as_the_level_allows():
    passed = sum(permuted_pairing(normal(11, seed=s).exp() * normal(11, seed=99 + s).sign()).passed for s in range(500))
    assert passed / 500 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 500)


def test_too_few_samples_or_lots():
    with pytest.raises(CausalError, match="5 samples give no p as low as 0.05; draw more"):
        permuted_pairing(torch.ones(5))
    assert permuted_pairing(torch.ones(6)).figures["p_value"] == 1 / 32
    with pytest.raises(CausalError, match="flips: 10 give no p as low as 0.05"):
        permuted_pairing(normal(50), flips=10)


# ------------------------------------------------------------------------------------------------ samples
def test_an_effect_in_all_samples_is_stable():
    found = stable(normal(200) + 0.8)
    assert found.passed
    assert found.figures["same_sign"] == found.figures["subsets"] == 5.0


def test_an_effect_that_few_samples_carry_is_not():
    few = torch.cat([torch.full((4,), 50.0), torch.full((196,), -0.5)])
    found = stable(few[torch.randperm(200, generator=torch.Generator().manual_seed(2))], seed=3)
    assert not found.passed
    assert found.figures["same_sign"] < 5


def test_an_effect_that_drifts_is_not():
    found = stable(normal(500) + torch.linspace(1.0, 3.0, 500))
    assert found.figures["same_sign"] == 5
    assert found.figures["drift_p_value"] < 1e-6
    assert not found.passed


def test_true_effects_are_called_unstable_seldom():
    failed = sum(not stable(normal(60, seed=s) + 1.2, seed=s).passed for s in range(600))
    assert failed / 600 <= 0.01 + 3 * math.sqrt(0.01 * 0.99 / 600)  # t = 9: the signs always agree


def test_too_few_samples_to_part():
    with pytest.raises(CausalError, match="differences: at least 10 samples are needed, got 9; draw 1 more"):
        stable(normal(9))
    with pytest.raises(CausalError, match="subsets: at least 2 expected, got 1"):
        stable(normal(9), subsets=1)
    assert not stable(torch.zeros(20)).passed


# -------------------------------------------------------------------------------------------------- doses
DOSES = torch.linspace(-2, 2, 5)


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize("answer", [torch.tanh, lambda x: x, lambda x: x.clamp(min=0)])
def test_more_does_more(answer, side):
    found = dose_response(over_doses(DOSES, side * answer(DOSES) + 0.3 * normal(100, 5)))
    assert found.passed
    assert found.figures["slope"] * side > 0
    assert found.note == "the slope is on the side of the effect"


def test_up_and_down_again_fails():
    found = dose_response(over_doses(DOSES, 1.0 - DOSES.square() + DOSES + 0.3 * normal(100, 5)))
    assert not found.passed
    assert found.figures["steps_against"] >= 1
    assert "go the other way" in found.note


def test_no_answer_fails():
    assert "no slope to be seen" in dose_response(over_doses(DOSES, normal(100, 5, seed=1))).note
    assert not dose_response(over_doses(DOSES, torch.zeros(10, 5))).passed
    passed = sum(dose_response(over_doses(DOSES, normal(30, 5, seed=s))).passed for s in range(200))
    assert passed / 200 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


# ----------------------------------------------------------------------------------------------- manifold
def test_what_stays_within_the_natural_passes():
    natural, realism = normal(400, 8), normal(400, seed=1)
    found = on_manifold(natural, normal(300, 8, seed=2), realism, normal(300, seed=3))
    assert found.passed
    assert 0 < found.figures["outside"] < 0.05
    fixed = torch.zeros(300, 8)
    assert on_manifold(natural, fixed, realism, normal(300, seed=3)).figures["outside"] == 0


def test_one_feature_outside_is_an_alarm():
    intervened = normal(300, 8, seed=2)
    intervened[:, 5] -= 2.5
    found = on_manifold(normal(400, 8), intervened, normal(400), normal(300, seed=1))
    assert not found.passed
    assert 0.3 < found.figures["outside"] < 0.7
    assert found.figures["less_realistic"] < 0.05


def test_pictures_that_are_less_realistic_are_an_alarm():
    found = on_manifold(normal(400), normal(300, seed=1), normal(400), normal(300, seed=1) - 2)
    assert not found.passed
    assert found.figures["less_realistic"] > 0.2
    assert on_manifold(normal(400), normal(300, seed=1), normal(400), normal(300, seed=1) + 9).passed


def test_no_false_alarm_over_many_features():
    assert on_manifold(normal(500, 512), normal(500, 512, seed=1), normal(500), normal(500, seed=2)).passed


def test_too_little_is_known_of_the_natural():
    with pytest.raises(CausalError, match="natural: at least 200 samples are needed, got 150; draw 50 more"):
        on_manifold(normal(150), normal(9), normal(150), normal(9))
    with pytest.raises(CausalError, match="natural_realism: at least 200"):
        on_manifold(normal(200), normal(9), normal(150), normal(9))
    with pytest.raises(CausalError, match="intervened: 3 features expected, as in natural, got 1"):
        on_manifold(normal(200, 3), normal(9), normal(200), normal(9))
    with pytest.raises(CausalError, match="intervened: finite outcomes expected, got nan at sample 0"):
        on_manifold(normal(200), torch.tensor([float("nan")]), normal(200), normal(9))
