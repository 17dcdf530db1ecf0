"""Scorecards of models whose counterfactuals are right, and of ones that are wrong in a known way."""

from __future__ import annotations

import pytest
import torch

from pentimento.errors import EvaluationError
from pentimento.studies.outcomes import Judge, Outcome
from pentimento.studies.scorecard import judge_meters, pixel_meters, score

METERS = {
    "a": lambda x: (x[:, 0, 0, 0].double() - 0.4) / 0.05,
    "b": lambda x: (x[:, 0, 0, 1].double() - 0.4) / 0.05,
    "last": lambda x: x[:, 0, 0, 3].double(),
}


def truth(images, values):
    """The pictures of a world in which b = 2 a + noise."""

    def render(name, aims):
        made = images.clone()
        made[:, 0, 0, "ab".index(name)] = (0.4 + 0.05 * aims).float()
        if name == "a":
            made[:, 0, 0, 1] = (0.4 + 0.05 * (values["b"] + 2 * (aims - values["a"]))).float()
        return made

    return render


def by_name(card):
    return {(s.kind, s.intervention, s.measure): s for s in card.scores}


def test_a_right_model_has_a_clean_card(world, rows):
    images, values = rows
    card = score(world, images, values, METERS, truth=truth(images, values))
    found = by_name(card)
    for (kind, _, measure), s in found.items():
        if measure != "latent" and "no residual" not in s.intervention:
            assert s.estimate.value == pytest.approx(0, abs=1e-4), (kind, s.intervention, measure)
    assert {m for k, i, m in found if (k, i) == ("effectiveness", "a")} == {"a", "b"}
    assert {m for k, i, m in found if (k, i) == ("minimality", "b")} == {"a", "last", "latent"}
    assert found["composition", "nothing, 10 times", "picture"].estimate.high == 0
    bare = found["composition", "nothing, 1 times, no residual", "picture"].estimate
    lost = (images[..., 3] - 0.4).abs().mean() / 4 * 255
    assert bare.value == pytest.approx(float(lost), rel=1e-5) and bare.low < bare.value < bare.high
    wrong = found["truth", "a", "picture"].beside
    assert wrong["nothing done"].value > wrong["graph ignored"].value > 1
    assert found["truth", "b", "picture"].beside["graph ignored"].value == pytest.approx(0, abs=1e-4)
    assert card.to_json()["count"] == 40 and len(card.table()) == len(card.scores) + 1


def test_a_model_that_does_not_listen_is_not_effective(world, rows):
    images, values = rows
    world.model.decode = lambda latents, condition: torch.full((len(latents), 1, 1, 4), 0.4)
    found = by_name(score(world, images, values, METERS))
    s = found["effectiveness", "a", "a"]
    assert s.estimate.low > 0.3 and s.beside["as it is"].value == pytest.approx(0, abs=1e-4)


def test_a_judge_of_categories_tells_shares(world, rows):
    images, values = rows
    outcomes = {
        f"side={side}": Outcome(side, "", "", lambda x, s=sign: (s * (x[:, 0, 0, 3] - 0.4) > 0).double())
        for side, sign in (("left", -1), ("right", 1))
    }
    meters = judge_meters(Judge("judge", outcomes), ["side"], ())
    assert set(meters["side"](images)) == {"left", "right"}
    s = by_name(score(world, images, values, meters))["minimality", "a", "side"]
    assert s.estimate.value == 1 and s.unit == "share that agrees"
    with pytest.raises(EvaluationError, match="judge: tells none of hue"):
        judge_meters(Judge("judge", outcomes), ["hue"], ())
    assert pixel_meters(world, images) == {}


def test_too_few_pictures_make_no_card(world, rows):
    images, values = rows
    with pytest.raises(EvaluationError, match="20 pictures or more expected, got 4"):
        score(world, images[:4], {name: column[:4] for name, column in values.items()}, METERS)
