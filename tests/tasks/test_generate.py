from __future__ import annotations

import math

import pytest
import torch

from pentimento.errors import ModelError
from pentimento.model import Attribute, DataSpec
from pentimento.models import build
from pentimento.runtime import Draws
from pentimento.sampling import default_condition, sample_chunks
from pentimento.tasks.generate import interpolate, make_condition, slerp

SPEC = DataSpec(
    channels=1,
    height_px=8,
    width_px=8,
    classes=("cat", "dog"),
    attributes=(
        Attribute(name="age", low=2.0, high=12.0),
        Attribute(name="coat", kind="categorical", values=("long", "short")),
    ),
)


def make(**config):
    torch.manual_seed(0)
    return build("gan", {"spec": SPEC, "width": 2, "latent_dim": 6, **config}).eval()


class TestSlerp:
    def test_a_quarter_circle(self):
        a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        half = slerp(a, b, torch.tensor([0.5]))
        assert torch.allclose(half, torch.full((1, 2), math.sqrt(0.5)))
        third = slerp(a, b, torch.tensor([1 / 3]))
        assert torch.allclose(third, torch.tensor([[math.cos(math.pi / 6), math.sin(math.pi / 6)]]), atol=1e-6)

    @pytest.mark.parametrize("scale", [1.0, -1.0, 1.00001])
    def test_ends_and_degenerate_pairs(self, scale):
        a = torch.randn(4, 5)
        b = a * scale
        assert torch.isfinite(slerp(a, b, torch.full((4,), 0.5))).all()
        assert torch.allclose(slerp(a, b, torch.zeros(4)), a, atol=1e-3)
        assert torch.allclose(slerp(a, b, torch.ones(4)), b, atol=1e-3)


class TestConditions:
    def test_defaults_turn_labels_and_spread_attributes(self):
        condition = default_condition(make(conditional=True, attributes=("age", "coat")), range(400), 3)
        assert condition.labels.tolist()[:4] == [0, 1, 0, 1]
        age, coat = condition.attributes.T
        assert 2 <= age.min() < 2.5
        assert 11.5 < age.max() <= 12
        assert set(coat.tolist()) == {0.0, 1.0}

    def test_a_sample_keeps_its_condition_at_any_count(self):
        model = make(conditional=True, attributes=("age", "coat"))
        few, many = (default_condition(model, range(n), 3) for n in (2, 50))
        assert torch.equal(few.attributes, many.attributes[:2])

    def test_wishes(self):
        model = make(conditional=True, attributes=("age", "coat"))
        condition = make_condition(model, 3, 0, "dog", {"age": "7.5", "coat": "short"})
        assert condition.labels.tolist() == [1, 1, 1]
        assert condition.attributes.tolist() == [[7.5, 1.0]] * 3

    @pytest.mark.parametrize(
        ("config", "label", "attributes", "message"),
        [
            ({}, "dog", {}, "trained without labels"),
            ({"conditional": True}, "dgo", {}, "unknown class 'dgo'; did you mean 'dog'"),
            ({"conditional": True}, None, {"age": 3}, "trained without 'age'"),
            ({"attributes": ("age",)}, None, {"agee": 3}, "unknown name 'agee'; did you mean 'age'"),
            ({"attributes": ("age",)}, None, {"age": "old"}, "a number from 2 to 12 expected, got 'old'"),
            ({"attributes": ("age",)}, None, {"age": "nan"}, "a number from 2 to 12"),
            ({"attributes": ("coat",)}, None, {"coat": "wet"}, "one of long, short expected, got 'wet'"),
        ],
    )
    def test_wishes_that_cannot_be_met(self, config, label, attributes, message):
        with pytest.raises(ModelError, match=message):
            make_condition(make(**config), 2, 0, label, attributes)


def test_interpolation_begins_and_ends_at_the_samples():
    model = make(conditional=True)
    condition = make_condition(model, 4, 9, "cat")
    sheet = interpolate(model, condition[:2], rows=2, steps=5, seed=9)
    single = sample_chunks(model, condition, range(4), 9)
    assert sheet.shape == (1, 2 * 10 + 2, 5 * 10 + 2)
    for row in range(2):
        for column, index in ((0, 2 * row), (4, 2 * row + 1)):
            y, x = 2 + 10 * row, 2 + 10 * column
            # The arc's ends are the latents to rounding.
            assert torch.allclose(sheet[:, y : y + 8, x : x + 8], single[index], atol=1e-3)


def test_truncation_pulls_samples_together():
    model = make()
    condition = make_condition(model, 64, 0)
    wide, narrow = (sample_chunks(model, condition, range(64), 0, t) for t in (None, 0.1))
    assert narrow.std(0).mean() < 0.3 * wide.std(0).mean()
    assert not torch.equal(model.draw_noise(Draws(0, [0]))["latent"], model.draw_noise(Draws(1, [0]))["latent"])
