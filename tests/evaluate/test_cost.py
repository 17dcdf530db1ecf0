"""Counts have closed forms; times and memory are checked for what must be so on any machine."""

from __future__ import annotations

import sys
import time

import pytest
import torch
from torch import nn

from pentimento.errors import EvaluationError
from pentimento.evaluate.cost import _median, measure_cost, model_cost, model_run, shipped_parameters
from pentimento.model import DataSpec, Model
from pentimento.models import build

CPU = torch.device("cpu")
SPEC = DataSpec(channels=1, height_px=5, width_px=4, classes=("a", "b"))


def test_multiply_adds_have_a_closed_form():
    """3x3 from 2 to 4 channels on 10x6 places, then a linear layer of 240 to 7."""
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(240, 7))
    cost = measure_cost(lambda n: net(torch.zeros(n, 2, 10, 6)), 1234, CPU, batch=2, rounds=6)
    assert cost.multiply_adds == 10 * 6 * 4 * 2 * 9 + 240 * 7
    assert (cost.parameters, cost.batch, cost.rounds, cost.device) == (1234, 2, (6, 6), "cpu")


def test_latency_and_throughput_agree():
    cost = measure_cost(lambda n: time.sleep(0.001 * n), 0, CPU, batch=4, rounds=6)
    assert cost.multiply_adds == 0
    assert 0.001 <= cost.latency_seconds.low <= cost.latency_seconds.value <= cost.latency_seconds.high
    assert cost.batch_seconds.value >= 0.004
    assert cost.pictures_per_second.value == pytest.approx(4 / cost.batch_seconds.value)
    assert cost.pictures_per_second.low <= cost.pictures_per_second.value <= cost.pictures_per_second.high


def test_slow_models_are_timed_for_fewer_rounds(monkeypatch):
    monkeypatch.setattr("pentimento.evaluate.cost.BUDGET_SECONDS", 0.0)
    assert measure_cost(lambda n: None, 0, CPU, rounds=50).rounds == (6, 6)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")
def test_peak_memory_is_that_of_the_large_batch():
    """What is made and dropped again on the way counts, what was held before does not."""
    held = torch.ones(20 * 2**20)  # 80 MB

    def run(count):
        return float(torch.ones(count * 2**20).sum())  # 4 MB a picture

    peak = measure_cost(run, 0, CPU, batch=8, rounds=6).peak_memory_bytes
    if peak is None:
        pytest.skip("the system does not tell")
    assert 30 * 2**20 < peak < 50 * 2**20
    del held


def test_the_interval_of_the_median_is_of_order_statistics():
    """Tables of the sign test: n = 6: 1st and 6th; 10: 2nd and 9th; 20: 6th and 15th; 30: 10th and 21st."""
    for count, first in [(6, 1), (10, 2), (20, 6), (30, 10)]:
        found = _median([float(i) for i in range(count, 0, -1)])
        assert (found.value, found.low, found.high) == ((count + 1) / 2, first, count + 1 - first)


@pytest.mark.parametrize("family", ["gan", "vae", "cnn", "classifier"])
def test_every_family_can_be_measured(family):
    config = {"layers": 1, "width": 4} if family == "cnn" else {"width": 4}
    model = build(family, {"spec": SPEC, **config}).train()
    made = model_run(model)(3)
    assert len(made["probabilities"] if isinstance(made, dict) else made) == 3
    cost = model_cost(model, batch=2, rounds=6)
    assert cost.multiply_adds > 0
    assert cost.parameters == shipped_parameters(model) > 0
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_parameters_are_those_that_ship():
    model = build("gan", {"spec": SPEC, "width": 4})
    assert shipped_parameters(model) == sum(p.numel() for p in model.generator.parameters())


def test_what_cannot_be_measured_is_refused():
    class Mute(Model):
        family = "mute"

    with pytest.raises(EvaluationError, match="samples or predicts expected, got a 'mute'"):
        model_cost(Mute())
    with pytest.raises(EvaluationError, match="rounds >= 6 and batch >= 1 expected, got rounds=5, batch=64"):
        measure_cost(lambda n: None, 0, CPU, rounds=5)
