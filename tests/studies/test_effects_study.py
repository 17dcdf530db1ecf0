"""Effects of interventions on a model whose answers are known."""

from __future__ import annotations

import pytest
import torch

from pentimento.errors import CausalError
from pentimento.features import FeatureNetwork, Features
from pentimento.interventions import Do
from pentimento.model import DataSpec
from pentimento.runtime import Draws
from pentimento.sampling import default_condition
from pentimento.studies.effects import Asked, Plan, measure_effects
from pentimento.studies.experiment import Arm, Experiment
from pentimento.studies.outcomes import Outcome
from pentimento.studies.refuting import refute

UNITS = 24
WEIGHTS = torch.zeros(UNITS)
WEIGHTS[0], WEIGHTS[1] = 0.08, -0.04


class Known:
    """Every pixel is 0.5 + sum of weights times units + 0.1 for the second class; units are half the latents."""

    family, config, device, training = "known", {"conditional": True}, torch.device("cpu"), False
    spec = DataSpec(channels=1, height_px=4, width_px=4, classes=("a", "b"))
    stages = ("units", "image")
    origin = None

    def draw_noise(self, draws, truncation=None):
        return {"latent": draws.normal("latent", (UNITS,))}

    def run_stage(self, stage, x, noise, condition):
        if stage == "units":
            return 0.5 * noise["latent"][:, :, None, None].expand(-1, -1, 2, 2)
        told = 0.1 * condition.labels.float()
        value = 0.4 + (x.mean((2, 3)) * WEIGHTS).sum(1) + told
        return value[:, None, None, None].expand(-1, 1, 4, 4)


class Pixels(FeatureNetwork):
    """The vector of a picture is itself."""

    kind, dim = "pixels", 16

    def forward(self, images):
        return Features(images.flatten(1))


MEAN = Outcome("mean", "", "the mean", lambda x: x.double().mean((1, 2, 3)))
SQUARE = Outcome("square", "", "the mean square", lambda x: x.double().square().mean((1, 2, 3)))


@pytest.fixture
def experiment():
    return Experiment(Known(), seed=3)


def test_the_same_samples_in_every_arm_and_in_any_company(experiment):
    arm = Arm("up", (Do("units", 1.0, (0,)),))
    whole = experiment.measure([Arm("as it is"), arm], [MEAN, SQUARE], range(70))
    few = experiment.measure([arm], [SQUARE], range(40, 47))
    assert torch.equal(whole[40:47, 1:, 1:], few)
    noise = Known().draw_noise(Draws(3, range(70)))["latent"]
    wanted = WEIGHTS[0] * (1.0 - 0.5 * noise[:, 0])
    torch.testing.assert_close((whole[:, 1, 0] - whole[:, 0, 0]).float(), wanted, atol=1e-5, rtol=0)


def test_effects_are_the_true_ones(experiment):
    asked = [Asked((Do("units", 1.0, (0,)),)), Asked((Do("units", 1.0, (5,)),)), Asked((Do("label", "b"),))]
    found = measure_effects(experiment, asked, [MEAN], Plan(count=400))
    first, none, label = found.study.effects
    assert first.low <= WEIGHTS[0] <= first.high
    assert first.found and not none.found and label.found
    assert label.value == pytest.approx(0.05, abs=1e-6)  # half of the samples are of class b as it is
    assert label.held_fixed == ("noise",)
    assert first.held_fixed == ("noise", "label")
    assert none.value == 0 and none.p_value == 1
    assert found.study.correction == "Benjamini-Hochberg over 3 effects"


def test_of_a_constant_difference_the_interval_has_no_width(experiment):
    found = measure_effects(experiment, [Asked((Do("units", 0.5, (0,), shift=True),))], [MEAN], Plan(count=50))
    (effect,) = found.study.effects
    assert effect.value == pytest.approx(0.04, abs=1e-6)
    assert effect.high - effect.low < 1e-6
    assert effect.q_value is None


def test_doses(experiment):
    asked = Asked((Do("units", -1.0, (1,)),), doses=(-1.0, 0.0, 2.0))
    found = measure_effects(experiment, [asked], [MEAN, SQUARE], Plan(count=200))
    assert [e.intervention for e in found.study.effects[::2]] == ["do(units[1]=-1)", "do(units[1]=0)", "do(units[1]=2)"]
    response = found.responses["units[1]", "mean"]
    assert float(response.slope.mean) == pytest.approx(-0.04, abs=1e-6)
    (caption,) = found.strips
    assert caption.startswith("units[1]: as it is | do(units[1]=-1)")


def test_together_tells_the_interaction(experiment):
    asked = [Asked((Do("units", 1.0, (0,)),)), Asked((Do("label", "b"),))]
    found = measure_effects(experiment, asked, [MEAN, SQUARE], Plan(count=100, together=True))
    last = found.study.effects[-2:]
    assert all(e.intervention.startswith("interaction of do(units[0]=1) and do(label=b)") for e in last)
    assert last[0].value == pytest.approx(0, abs=1e-6)
    assert last[1].value > 0  # squares have one


def test_by_label(experiment):
    asked = [Asked((Do("units", 1.0, (0,)),))]
    found = measure_effects(experiment, asked, [SQUARE], Plan(count=200, by_label=True))
    by_name = {e.subgroup: e for e in found.study.effects}
    assert by_name["b"].value > by_name["a"].value
    assert by_name["a"].count == 100
    assert ("do(units[0]=1)", "square") in found.differing


def test_as_many_samples_as_the_interval_needs(experiment):
    asked = [Asked((Do("units", 1.0, (0,)),))]
    found = measure_effects(experiment, asked, [MEAN], Plan(half_width=0.0025))
    (effect,) = found.study.effects
    assert 500 < effect.count < 2500  # (1.96 * 0.04 / 0.0025)^2 = 983
    assert (effect.high - effect.low) / 2 < 0.0028
    assert found.study.sample_count == 100


def test_the_interaction_too_is_as_sure_as_was_asked(experiment):
    # Either shift turns the wave over and both together leave it, so that the interaction varies twice as much.
    wave = Outcome("wave", "", "a wave", lambda x: (x.double().mean((1, 2, 3)) * 2 * torch.pi / 0.16).cos())
    asked = [Asked((Do("units", 1.0, (0,), shift=True),)), Asked((Do("units", -2.0, (1,), shift=True),))]
    *_, both, last = measure_effects(experiment, asked, [wave], Plan(half_width=0.2, together=True)).study.effects
    assert last.intervention.startswith("interaction of")
    assert both.high - both.low < 1e-5
    assert 0.3 < last.high - last.low < 0.44


@pytest.mark.parametrize(
    ("asked", "outcomes", "plan", "message"),
    [
        ([], [MEAN], Plan(), "--do: nothing to set"),
        ([Asked((Do("units", 1.0, (0,)),))], [MEAN], Plan(count=10), "30 samples or more, got 10"),
        ([Asked((Do("units", 1.0, (0,)),))], [MEAN, SQUARE], Plan(half_width=0.1), "unit of one outcome"),
        ([Asked((Do("units", 1.0, (0,)),))], [MEAN], Plan(half_width=1e-7), "half_width: 1e-07 takes"),
        ([Asked((Do("units", 1.0, (0,)),))], [MEAN], Plan(together=True), "--together: needs two"),
        ([Asked((Do("label", "b"),))], [MEAN], Plan(by_label=True), "changes the label itself"),
        (
            [Asked((Do("units", 1.0, (0,)),))],
            [Outcome("one", "", "1", lambda x: torch.ones(len(x), dtype=torch.float64))],
            Plan(),
            "one: is 1 for every picture",
        ),
    ],
)
def test_bad_questions(experiment, asked, outcomes, plan, message):
    with pytest.raises(CausalError, match=message):
        measure_effects(experiment, asked, outcomes, plan)


def test_refuters_pass_a_unit_that_does_more_than_others_and_is_used_as_usual(experiment):
    asked = [Asked((Do("units", 0.6, (0,)),)), Asked((Do("units", 9.0, (0,)),))]
    found = measure_effects(experiment, asked, [MEAN], Plan(count=400))
    usual, far = refute(experiment, found, Pixels()).study.effects
    assert [r.name for r in usual.refutations] == [
        "placebo",
        "dummy outcome",
        "permuted pairing",
        "stable",
        "on manifold",
    ]
    assert usual.survives, [r.note for r in usual.refutations if not r.passed]
    assert [r.name for r in far.refutations if not r.passed] == ["on manifold"]


def test_placebo_fails_a_unit_that_does_what_any_does(monkeypatch):
    monkeypatch.setitem(globals(), "WEIGHTS", torch.full((UNITS,), 0.02))
    experiment = Experiment(Known(), seed=3)
    found = measure_effects(experiment, [Asked((Do("units", 0.6, (0,)),))], [MEAN], Plan(count=300))
    (effect,) = refute(experiment, found, Pixels()).study.effects
    assert effect.found
    assert "placebo" in [r.name for r in effect.refutations if not r.passed]


def test_default_condition_is_what_samples_are_told(experiment):
    assert torch.equal(experiment.condition(range(9)).labels, default_condition(Known(), range(9), 3).labels)
    assert Experiment(Known(), 3, label="b").condition(range(4)).labels.tolist() == [1, 1, 1, 1]
