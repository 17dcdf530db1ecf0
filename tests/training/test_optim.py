from __future__ import annotations

import math

import pytest
import torch

from pentimento.model import DataSpec, Player
from pentimento.models import build
from pentimento.training.optim import EMA, learning_rate, make_optimizer
from pentimento.training.recipe import PlayerOptions

PLAYER = Player("p", ("m",), lr=2.0)


@pytest.mark.parametrize(
    ("options", "seen", "expected"),
    [
        ({}, 37, 2.0),
        ({"warmup_kimg": 10}, 0, 0.0),
        ({"warmup_kimg": 10}, 5, 1.0),
        ({"warmup_kimg": 10}, 90, 2.0),
        ({"schedule": "cosine"}, 0, 2.0),
        ({"schedule": "cosine"}, 50, 1.0),
        ({"schedule": "cosine"}, 100, 0.0),
        ({"schedule": "cosine", "warmup_kimg": 100}, 50, 0.5),
    ],
)
def test_learning_rate(options, seen, expected):
    assert learning_rate(PLAYER, PlayerOptions(**options), seen, 100) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sgd", lambda w, g: w - 0.1 * (g + 0.5 * w)),
        ("adam", lambda w, g: w - 0.1 * torch.sign(g + 0.5 * w)),  # the first step of Adam has the length of the rate
        ("adamw", lambda w, g: w * (1 - 0.1 * 0.5) - 0.1 * torch.sign(g)),
    ],
)
def test_optimizers(name, expected):
    w = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    before, gradient = w.detach().clone(), torch.tensor([0.3, -0.4, 1.0])
    optimizer = make_optimizer(Player("p", (), optimizer=name, lr=0.1, weight_decay=0.5), [w])
    w.grad = gradient
    optimizer.step()
    assert torch.allclose(w.detach(), expected(before, gradient), atol=1e-5)


class TestEMA:
    def make(self):
        return build("vae", {"spec": DataSpec(channels=1, height_px=4, width_px=4), "width": 2, "norm": "batch"})

    def test_halflife(self):
        model = self.make()
        ema = EMA(model, halflife_kimg=1.0, rampup=0.0)
        name = "posterior.bias"
        start = dict(ema.model.named_parameters())[name].clone()
        with torch.no_grad():
            dict(model.named_parameters())[name].add_(1.0)
        for _ in range(10):
            ema.update(model, seen_kimg=100, step_kimg=0.1)
        moved = dict(ema.model.named_parameters())[name] - start
        assert torch.allclose(moved, torch.full_like(moved, 0.5), atol=1e-5)

    def test_rampup_forgets_early_noise(self):
        model = self.make()
        slow, fast = EMA(model, 1000.0, 0.0), EMA(model, 1000.0, 0.05)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1.0)
        for ema in (slow, fast):
            ema.update(model, seen_kimg=1.0, step_kimg=1.0)
        far, near = (
            sum(
                float((a - b).detach().abs().sum())
                for a, b in zip(e.model.parameters(), model.parameters(), strict=True)
            )
            for e in (slow, fast)
        )
        assert near < 0.01 * far

    def test_zero_is_the_raw_weights_and_buffers_are_copied(self):
        model = self.make()
        ema = EMA(model, 0.0, 0.05)
        with torch.no_grad():
            for tensor in [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]:
                tensor.add_(math.pi)
        ema.update(model, 1.0, 0.1)
        assert all(torch.equal(v, model.state_dict()[k]) for k, v in ema.model.state_dict().items())

    def test_only_what_ships_is_averaged(self):
        gan = build("gan", {"spec": DataSpec(channels=1, height_px=4, width_px=4), "width": 2})
        assert not hasattr(EMA(gan, 1.0, 0.0).model, "discriminator")
        assert hasattr(gan, "discriminator")
