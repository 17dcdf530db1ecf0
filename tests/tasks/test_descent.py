"""The searches, on losses whose smallest place is known."""

from __future__ import annotations

import pytest
import torch

from pentimento.tasks.descent import adam, lbfgs

CURVATURE = torch.logspace(-1, 2, 48).view(1, 3, 4, 4)
AIM = torch.linspace(-0.5, 1.5, 48).view(1, 3, 4, 4).flip(1)  # a third of it outside of the range


def quadratic(x):
    return {"loss": (CURVATURE * (x - AIM).square()).sum()}


def valley(x):
    """Rosenbrock's, of the first two numbers; smallest at (0.5, 0.25)."""
    a, b = 2 * x.flatten()[0], 4 * x.flatten()[1]
    return {"loss": (1 - a).square() + 100 * (b - a.square()).square(), "first": a}


def last(steps):
    *_, found = steps
    return found


def test_the_smallest_place_within_the_range_is_found():
    x, values = last(lbfgs(quadratic, torch.full_like(AIM, 0.5), 150))
    wanted = AIM.clamp(0, 1)
    assert values["loss"] == pytest.approx(float(quadratic(wanted)["loss"]), rel=1e-3)
    assert torch.allclose(x, wanted, atol=0.05)


def test_along_a_bent_valley_and_never_up():
    found = list(lbfgs(valley, torch.zeros(1, 1, 1, 2), 120))
    assert torch.allclose(found[-1][0].flatten(), torch.tensor([0.5, 0.25]), atol=1e-2)
    losses = [values["loss"] for _, values in found]
    assert losses == sorted(losses, reverse=True)
    assert found[-1][1]["first"] == pytest.approx(1, abs=2e-2)


def test_a_step_into_the_infinite_is_taken_back():
    def walled(x):
        return {"loss": (x - 0.6).square().sum() + 0 * (0.61 - x).log().sum()}  # nan from 0.61 on

    found = list(lbfgs(walled, torch.full((1, 1, 2, 2), 0.597), 30))
    assert all(torch.isfinite(x).all() and x.max() < 0.61 for x, _ in found)
    assert torch.allclose(found[-1][0], torch.tensor(0.6), atol=1e-4)


@pytest.mark.parametrize("search", [lbfgs, lambda losses, x, steps: adam(losses, x, steps, 0.05)])
def test_each_step_is_one_evaluation_and_shows_its_own_losses(search):
    calls, start = [], torch.full_like(AIM, 0.5)

    def counted(x):
        calls.append(x)
        return quadratic(x)

    found = list(search(counted, start, 7))
    assert len(calls) == 7
    assert torch.equal(found[0][0], start)
    assert torch.equal(start, torch.full_like(AIM, 0.5))
    assert all(values["loss"] == pytest.approx(float(quadratic(x)["loss"])) for x, values in found)
    assert 0 <= min(x.min() for x, _ in found) <= max(x.max() for x, _ in found) <= 1


def test_a_place_without_slope_stays():
    flat = last(lbfgs(lambda x: {"loss": 0 * x.sum()}, torch.full((1, 1, 2, 2), 0.3), 5))
    assert torch.equal(flat[0], torch.full((1, 1, 2, 2), 0.3))


def test_adam_goes_to_the_smallest_place():
    x, _ = last(adam(quadratic, torch.full_like(AIM, 0.5), 200, 0.05))
    assert torch.allclose(x, AIM.clamp(0, 1), atol=0.05)
