"""Records: when an effect counts, what JSON says of it, and which studies compare."""

from __future__ import annotations

import dataclasses
import json

import pytest

from pentimento.causal import Effect, Refutation, Study, compare
from pentimento.errors import ProtocolError

PASSED = Refutation("placebo", True, {"p_value": 0.01}, "0 of 99 placebos do at least as much")
FAILED = Refutation("stable", False, {"drift_p_value": float("nan"), "t": float("inf")}, "it drifts")


def effect(**changes):
    fields = {
        "intervention": "do(unit 3 := 0)",
        "outcome": "thickness",
        "unit": "px",
        "value": -1.0,
        "low": -1.4,
        "high": -0.8,
        "standard_error": 0.15,
        "standardized": -0.6,
        "baseline": 4.0,
        "p_value": 0.001,
        "count": 100,
        "held_fixed": ("latent",),
    }
    return Effect(**{**fields, **changes})


def study(**changes):
    fields = {
        "question": "Which units make strokes thick?",
        "model": "mnist-gan",
        "model_hash": "ab12",
        "seed": 0,
        "sample_count": 100,
        "outcomes": {"thickness": "2 x mean distance on the skeleton"},
        "effects": (effect(),),
        "assumptions": ("Units act through the stages after them alone.",),
    }
    return Study(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "found", "survives"),
    [
        ({}, True, True),
        ({"p_value": 0.05}, True, True),
        ({"p_value": 0.051}, False, False),
        ({"q_value": 0.06}, False, False),
        ({"q_value": 0.06, "level": 0.1}, True, True),
        ({"refutations": (PASSED,)}, True, True),
        ({"refutations": (PASSED, FAILED)}, True, False),
        ({"q_value": 0.5, "refutations": (PASSED,)}, False, False),
    ],
)
def test_found_and_survives(changes, found, survives):
    made = effect(**changes)
    assert (made.found, made.survives) == (found, survives)


def test_json_is_json():
    made = study(effects=(effect(refutations=(PASSED, FAILED), q_value=0.01),), notes=("a note",))
    text = json.dumps(made.to_json(), allow_nan=False)
    document = json.loads(text)
    assert (document["format"], document["version"]) == ("pentimento study", 1)
    assert document["assumptions"] == ["Units act through the stages after them alone."]
    row = document["effects"][0]
    assert (row["found"], row["survives"], row["held_fixed"]) == (True, False, ["latent"])
    assert row["refutations"][1]["figures"] == {"drift_p_value": "nan", "t": "inf"}
    assert set(row) == {f.name for f in dataclasses.fields(Effect)} | {"found", "survives"}
    assert set(document) == {f.name for f in dataclasses.fields(Study)} | {"format", "version"}


def test_two_models_compare():
    other = study(model="mnist-vae", effects=(effect(value=0.5, low=0.2, high=0.9),))
    change = compare(study(), other)[0]
    assert (change.intervention, change.outcome, change.subgroup) == ("do(unit 3 := 0)", "thickness", "")
    assert change.value == -1.5
    assert change.low == pytest.approx(-1.5 - (0.4**2 + 0.4**2) ** 0.5)
    assert change.high == pytest.approx(-1.5 + (0.2**2 + 0.3**2) ** 0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1, "sample_count": 50}, "different protocols: seed 0 and 1; sample count 100 and 50"),
        ({"outcomes": {"thickness": "another"}}, "outcomes .* and .*another"),
        ({"effects": ()}, r"1 effects are in one of them alone: do\(unit 3 := 0\) thickness"),
        ({"effects": (effect(subgroup="threes"),)}, r"2 effects .* do\(unit 3 := 0\) thickness threes"),
        ({"effects": (effect(held_fixed=()),)}, "2 effects"),
    ],
)
def test_studies_made_differently_do_not_compare(changes, message):
    with pytest.raises(ProtocolError, match=message):
        compare(study(), study(**changes))
