"""Closed forms: what the formulas say, computed another way."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from pentimento import losses

REAL, FAKE = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([-3.0, 0.2, 1.0])


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


EXPECTED_D = {
    "nonsaturating": [softplus(-r) + softplus(f) for r, f in zip(REAL.tolist(), FAKE.tolist(), strict=True)],
    "hinge": [max(0, 1 - r) + max(0, 1 + f) for r, f in zip(REAL.tolist(), FAKE.tolist(), strict=True)],
    "least_squares": [(r - 1) ** 2 + f**2 for r, f in zip(REAL.tolist(), FAKE.tolist(), strict=True)],
    "wasserstein": [f - r for r, f in zip(REAL.tolist(), FAKE.tolist(), strict=True)],
    "relativistic": [softplus(f - r) for r, f in zip(REAL.tolist(), FAKE.tolist(), strict=True)],
}
EXPECTED_G = {
    "nonsaturating": [softplus(-f) for f in FAKE.tolist()],
    "hinge": [-f for f in FAKE.tolist()],
    "least_squares": [(f - 1) ** 2 for f in FAKE.tolist()],
    "wasserstein": [-f for f in FAKE.tolist()],
    "relativistic": [softplus(r - f) for r, f in zip(REAL.tolist(), FAKE.tolist(), strict=True)],
}


@pytest.mark.parametrize("kind", EXPECTED_D)
def test_adversarial_losses(kind):
    assert math.isclose(float(losses.discriminator_loss(kind, REAL, FAKE)), sum(EXPECTED_D[kind]) / 3, rel_tol=1e-5)
    assert math.isclose(float(losses.generator_loss(kind, FAKE, REAL)), sum(EXPECTED_G[kind]) / 3, rel_tol=1e-5)


def test_penalties_of_a_linear_critic():
    """For ``D(x) = <w, x>`` the gradient is w wherever one looks."""
    w = torch.randn(3, 4, 4)
    real, fake = torch.rand(5, 3, 4, 4), torch.rand(5, 3, 4, 4)

    def critic(x):
        return (x * w).flatten(1).sum(1)

    points = real.clone().requires_grad_(True)
    norm = float(w.norm())
    assert math.isclose(float(losses.zero_centred_penalty(critic(points), points)), 0.5 * norm**2, rel_tol=1e-4)
    penalty = losses.gradient_penalty(critic, real, fake, torch.rand(5))
    assert math.isclose(float(penalty), (norm - 1) ** 2, rel_tol=1e-4)


def test_penalty_is_per_sample():
    """``D(x) = ||x||^2 / 2`` has the gradient x, so the penalty is half the mean squared norm of the samples."""
    points = torch.randn(6, 1, 3, 3, requires_grad=True)
    penalty = losses.zero_centred_penalty(points.square().flatten(1).sum(1) / 2, points)
    expected = 0.5 * points.detach().square().flatten(1).sum(1).mean()
    assert torch.allclose(penalty, expected)


def test_bernoulli_and_gaussian_against_torch():
    x, logits = torch.rand(3, 1, 4, 4).round(), torch.randn(3, 1, 4, 4)
    expected = Bernoulli(logits=logits).log_prob(x).flatten(1).sum(1)
    assert torch.allclose(losses.bernoulli_log_prob(logits, x), expected, atol=1e-5)
    mean, log_scale = torch.randn(3, 2, 4, 4), torch.randn(1, 2, 1, 1)
    value = torch.randn(3, 2, 4, 4)
    expected = Normal(mean, log_scale.exp().expand_as(mean)).log_prob(value).flatten(1).sum(1)
    assert torch.allclose(losses.gaussian_log_prob(mean, log_scale, value), expected, rtol=1e-4)


@pytest.mark.parametrize("log_scale", [-5.0, -2.0, 0.5])
@pytest.mark.parametrize("mean", [-0.2, 0.0, 0.31, 1.0])
def test_the_discretised_logistic_is_a_distribution(mean, log_scale):
    x = (torch.arange(256) / 255).reshape(256, 1, 1, 1)
    log_prob = losses.logistic_log_prob(torch.tensor(mean), torch.tensor(log_scale), x)
    assert math.isclose(float(log_prob.double().exp().sum()), 1.0, abs_tol=1e-4)


def test_the_discretised_logistic_keeps_a_gradient_far_from_its_mean():
    mean = torch.tensor(0.0, requires_grad=True)
    losses.logistic_log_prob(mean, torch.tensor(-6.0), torch.full((1, 1, 1, 1), 200 / 255)).sum().backward()
    assert torch.isfinite(mean.grad)
    assert mean.grad > 0


def test_kl_against_torch():
    mean, logvar = torch.randn(4, 5), torch.randn(4, 5)
    expected = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum(1)
    assert torch.allclose(losses.kl_standard_normal(mean, logvar), expected, rtol=1e-4)


def test_a_decibel_counts_alike_in_good_and_bad_pictures():
    bad = torch.rand(1, 3, 8, 8).square()
    good, best = 1e-2 * bad, 1e-7 * bad  # that is above 50 dB, where it counts less
    gained = [losses.log_squared_distance(m) - losses.log_squared_distance(0.5 * m) for m in (bad, good, best)]
    torch.testing.assert_close(gained[0], torch.tensor([math.log(2.0)]), rtol=1e-3, atol=0)
    torch.testing.assert_close(gained[1], gained[0], rtol=0.02, atol=0)
    assert gained[2] < 0.01 * gained[0]
    by_hand = losses.log_squared_distance(torch.full((2, 3, 4, 4), 9e-5))
    torch.testing.assert_close(by_hand, torch.full((2,), math.log(10.0)))


def test_perceptual_distance_by_hand():
    """One layer with vectors at 90 degrees (distance 2) and equal ones up to length (0); another all equal."""
    a = {"x": torch.tensor([[1.0, 5.0], [0.0, 0.0]])[None, :, None], "y": torch.ones(1, 3, 2, 2)}
    b = {"x": torch.tensor([[0.0, 1.0], [3.0, 0.0]])[None, :, None], "y": torch.ones(1, 3, 2, 2)}
    assert losses.perceptual_distance(a, b).tolist() == pytest.approx([0.5 * (2 + 0) / 2])
    assert losses.perceptual_distance(a, a).tolist() == [0]


def test_relative_distance_by_hand():
    wanted = torch.tensor([[[3.0, 4.0]], [[1.0, 0.0]], [[0.0, 0.0]]])
    made = torch.tensor([[[0.0, 0.0]], [[1.0, 2.0]], [[1e-4, 0.0]]])
    torch.testing.assert_close(losses.relative_distance(made, wanted), torch.tensor([1.0, 4.0, 1.0]))


def test_grain_distance_by_hand():
    """Even pictures differ in one band of four; a chessboard is in another band alone, and has no palette."""
    even = torch.ones(1, 1, 6, 6)
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).tile(3, 3)[None, None]
    cases = torch.cat([even, even, even, board]), torch.cat([even, 2 * even, even + board, 3 * board])
    wanted = [0.0, (1 - 4) ** 2 / (1 + 4**2) / 4, 1 / 4, (1 - 9) ** 2 / (1 + 9**2) / 4]
    torch.testing.assert_close(losses.grain_distance(*cases), torch.tensor(wanted))
    torch.testing.assert_close(losses.grain_distance(*cases[::-1]), torch.tensor(wanted))


def test_grain_distance_tells_which_colours_go_together_and_down_from_across():
    ramp = torch.arange(8.0).expand(8, 8)
    red_with_green, red_against_green = (torch.stack([ramp, f, 0 * ramp])[None] for f in (ramp, ramp.flip(1)))
    assert losses.grain_distance(red_with_green, red_against_green) > 0.2
    assert losses.grain_distance(red_with_green, red_with_green.mT) >= 0.5


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("weighted", [False, True])
def test_gram_by_hand_and_its_gradient(layout, weighted):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64).contiguous(memory_format=layout)
    share = torch.rand(2, 1, 4, 5, generator=generator, dtype=torch.float64) if weighted else torch.ones(2, 1, 4, 5)
    total = share.sum((2, 3), keepdim=True)[:, 0]
    found = losses.gram(maps, share if weighted else None)
    torch.testing.assert_close(found, torch.einsum("nihw,njhw,nhw->nij", maps, maps, share[:, 0].double()) / total)
    x = maps.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: losses.gram(x, share if weighted else None), x)
    tilt = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)  # a slope need not be symmetric
    (slope,) = torch.autograd.grad((losses.gram(x) * tilt).sum(), x)
    torch.testing.assert_close(slope, torch.einsum("nij,njhw->nihw", tilt + tilt.mT, x.detach()) / 20)
    assert slope.is_contiguous(memory_format=layout)


def test_gram_is_as_exact_as_its_maps_under_autocast():
    maps = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = losses.gram(maps), losses.gram(maps, torch.ones(1, 1, 8, 8))
        assert losses.gram(maps.bfloat16(), torch.ones(1, 1, 8, 8)).dtype == torch.bfloat16
    for each in found:
        torch.testing.assert_close(each, losses.gram(maps))


def test_mean_and_deviation_are_those_of_torch():
    maps = 5 + torch.randn(2, 3, 7, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean, deviation = losses.mean_and_deviation(maps, eps=0.0)
    torch.testing.assert_close(mean[..., 0, 0], maps.mean((2, 3)))
    torch.testing.assert_close(deviation[..., 0, 0], maps.std((2, 3), correction=0))


def test_alignment_is_that_of_what_depends():
    generator = torch.Generator().manual_seed(0)
    x, other = torch.randn(2, 256, 3, generator=generator)
    assert float(losses.alignment(x, x)) == pytest.approx(1, abs=1e-5)
    assert float(losses.alignment(x, 5 - 1000 * x)) == pytest.approx(1, abs=1e-4)  # units do not matter
    nothing, curved = (float(losses.alignment(x, y)) for y in (other, x.square()))
    assert nothing < 0.1
    assert curved > 0.2  # a correlation would see nothing in squares
    assert float(losses.alignment(x, torch.ones(256, 1))) == 0
