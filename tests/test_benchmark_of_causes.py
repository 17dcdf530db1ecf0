"""The benchmark of causal answers measures what it says."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch

from pentimento import load
from pentimento.data.shapes import render
from pentimento.interventions import Do
from pentimento.model import Attribute, Condition, DataSpec
from pentimento.studies.dissection import dissect
from pentimento.studies.experiment import Arm, Experiment
from pentimento.studies.outcomes import find_outcomes

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SHAPES, BACKGROUNDS = ("circle", "square", "star", "triangle"), ("checks", "gradient", "plain", "stripes")


def choice(name, values):
    return Attribute(name=name, kind="categorical", low=0, high=3, values=values)


def number(name, low, high):
    return Attribute(name=name, kind="numeric", low=low, high=high)


SPEC = DataSpec(
    channels=3,
    height_px=32,
    width_px=32,
    classes=SHAPES,
    attributes=(
        choice("shape", SHAPES),
        number("hue", 0, 1),
        number("size_px", 6, 18),
        number("x", 0.34, 0.66),
        number("y", 0.34, 0.66),
        choice("background", BACKGROUNDS),
        number("background_hue", 0, 1),
    ),
)


@pytest.fixture
def part(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return lambda name: importlib.import_module(f"causal_{name}")


@pytest.fixture(scope="module")
def digits():
    return Experiment(load("mnist-gan").eval(), seed=0)


# -------------------------------------------------------------------------------------------------- shapes
def test_the_world_renders_what_it_is_told(part):
    shapes = part("shapes")
    told = [1.0, 0.3, 11.0, 0.4, 0.6, 3.0, 0.8]  # the label decides the shape, not the attribute
    picture = shapes.World(SPEC).run_stage("image", None, {}, Condition(torch.tensor([2]), torch.tensor([told])))
    factors = shapes.ShapeFactors("star", *(float(torch.tensor(v)) for v in told[1:5]), "stripes", 0.8)
    wanted = torch.from_numpy(render(factors, 32)).permute(2, 0, 1) / 255
    torch.testing.assert_close(picture[0], wanted, atol=1.01 / 255, rtol=0)


def test_effects_of_the_world_hold_truths_that_are_computed_apart(part):
    shapes = part("shapes")
    effects, spread = shapes.truth(SPEC, [shapes.COVERED], 250, seed=1)
    closed = shapes.covered_by_size(SPEC)
    assert float(effects["size_px"]) == pytest.approx(closed, rel=0.05)
    assert abs(float(effects["hue"])) < 0.05 * closed
    answers = shapes.asked(shapes.World(SPEC), [shapes.COVERED], effects, spread, 40, seed=0)
    size = next(a for a in answers if a.factor == "size_px")
    assert size.value * float(spread) == pytest.approx(closed, rel=0.1)
    assert sum(a.holds for a in answers) >= 5


# ---------------------------------------------------------------------------------------------- dissection
def test_by_lot_differences_keep_their_size_and_lose_their_effect(part, digits):
    outcomes = find_outcomes(["brightness", "contrast"], spec=digits.model.spec)
    found = dissect(digits, outcomes, stages=["up1"], count=96)
    lots = part("dissection").by_lot(digits, found, draw=0)
    ours, theirs = found.effects.measured.differences, lots.measured.differences
    torch.testing.assert_close(theirs.abs(), ours.abs())
    same = (theirs[..., 0] * ours[..., 0] > 0) == (theirs[..., 1] * ours[..., 1] > 0)
    assert same[(ours != 0).all(-1)].all()  # one lot for a pair, whatever is measured
    assert sum(e.found for e in found.study.effects) > 40 > sum(e.found for e in lots.study.effects) * 20
    share, _, passed = part("dissection").survivors("gan", found.study.effects)
    assert share.note == f"{round(share.value * 0.64)} of 64"
    assert passed.value == 100  # nothing was tried


# ---------------------------------------------------------------------------------------------------- time
def test_the_naive_way_gives_the_same_numbers_and_leaves_the_model(part, digits):
    timing = part("time")
    arms = timing.arms_of(digits)
    assert len({arm.name for arm in arms}) == len(arms) == 512
    few = [arms[3], arms[200], Arm("base", (Do("base", 0.7, (9,)),))]
    cached = digits.measure([Arm("as it is"), *few], [timing.MEAN], range(40))[:, 1:, 0]
    torch.testing.assert_close(timing.naive(digits, few, 40), cached, atol=1e-7, rtol=0)
    assert "run_stage" not in vars(digits.model)
