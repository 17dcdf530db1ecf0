"""Each mechanism against a closed form; noise that is found again; and the choice among them."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pentimento.causal import flows
from pentimento.causal.attributes import Attribute
from pentimento.causal.choice import choose, score
from pentimento.causal.flows import Spline, bounds, from_unit, to_unit
from pentimento.causal.mechanisms import Categorical, Empirical, PostNonlinear, fit_additive, from_state
from pentimento.errors import MissingExtraError

NONE = torch.zeros(0, 0).double()


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def number(x, name="x"):
    return Attribute(name, (), float(x.min()), float(x.max()), float(x.mean()), float(x.std()))


def intensity(t, e):
    """The equation of Morpho-MNIST."""
    return 64 + 191 * torch.sigmoid(2 * t - 5 + 0.5 * e)


def thickness(count, seed):
    gamma = torch.distributions.Gamma(torch.tensor(10.0).double(), torch.tensor(5.0).double())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return 0.5 + gamma.sample((count,))


# ---------------------------------------------------------------------------------------------- the parts
@given(st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_the_spline_rises_and_is_inverted(seed):
    spline = Spline.of(2 * normal(3 * flows.BINS - 1, seed=seed))
    e = torch.linspace(-7, 7, 201, dtype=torch.float64).requires_grad_()
    n, log_slope = spline(e)
    assert bool((n.diff() > 0).all())
    torch.testing.assert_close(spline.inverse(n.detach()), e.detach(), atol=1e-8, rtol=0)
    (slope,) = torch.autograd.grad(n.sum(), e)
    torch.testing.assert_close(slope.log(), log_slope)


def test_the_bounded_link_is_inverted_and_keeps_the_range():
    x = torch.linspace(64, 255, 50, dtype=torch.float64)
    low, high = bounds(x)
    assert (low, high) == pytest.approx((64 - 1.91, 255 + 1.91))  # 1 % for so few rows
    assert bounds(x.repeat(400)) == pytest.approx((64 - 0.191, 255 + 0.191))
    torch.testing.assert_close(from_unit(to_unit(x, "logit", low, high), "logit", low, high), x)
    assert from_unit(torch.tensor([-1e9, 1e9]).double(), "logit", low, high).tolist() == pytest.approx([low, high])


def test_quantiles_give_back_the_sample_and_its_noise():
    x = normal(3000).exp()
    mechanism, standard = Empirical.fit(x), normal(3000, seed=1)
    noise = mechanism.abduct(NONE, x, standard)
    torch.testing.assert_close(mechanism.predict(NONE, noise), x, atol=1e-9, rtol=1e-9)
    assert abs(float(noise.mean())) < 0.01 and abs(float(noise.std()) - 1) < 0.01
    inner = x.log().abs() < 2.5  # the sample's ends are rough
    torch.testing.assert_close(noise[inner], x.log()[inner], atol=0.15, rtol=0)  # the true noise
    assert mechanism.predict(NONE, torch.tensor([9.0, -9.0]).double()).tolist() == [x.max(), x.min()]


def test_few_different_numbers_stay_as_they_are():
    x = torch.tensor([1.0, 1.0, 2.0, 5.0, 5.0, 5.0, 5.0, 5.0] * 50).double()
    mechanism, standard = Empirical.fit(x), normal(400, seed=1)
    noise = mechanism.abduct(NONE, x, standard)
    assert mechanism.predict(NONE, noise).equal(x)
    assert abs(float(noise.mean())) < 0.1 and abs(float(noise.std()) - 1) < 0.1
    drawn = mechanism.predict(NONE, normal(8000, seed=2))
    assert set(drawn.tolist()) == {1.0, 2.0, 5.0}
    assert abs(float((drawn == 5).double().mean()) - 5 / 8) < 0.02


# -------------------------------------------------------------------------------------------- mechanisms
def test_linear_is_least_squares_and_shifts_by_its_slope():
    p, e = normal(500, 2), normal(500, seed=1)
    x = 1 + p @ torch.tensor([2.0, -3.0]).double() + 0.5 * e
    mechanism = fit_additive(p, x, degree=1)
    solved = torch.linalg.lstsq(torch.cat([torch.ones(500, 1).double(), p], 1), x).solution
    torch.testing.assert_close(torch.cat([torch.tensor([mechanism.intercept]).double(), mechanism.weights]), solved)
    noise = mechanism.abduct(p, x, e)
    torch.testing.assert_close(mechanism.predict(p, noise), x)
    torch.testing.assert_close(mechanism.predict(p + 1, noise), x + solved[1:].sum())


def test_a_quadratic_is_found():
    p = normal(200, 1)
    x = 3 * p[:, 0].square() - p[:, 0]
    torch.testing.assert_close(fit_additive(p, x, degree=2).mean(p), x)


def test_without_dowhy(monkeypatch):
    monkeypatch.setitem(sys.modules, "dowhy.gcm", None)
    with pytest.raises(MissingExtraError, match=r'causal mechanisms need DoWhy: pip install "pentimento\[causal\]"'):
        fit_additive(normal(50, 1), normal(50), degree=1)


def test_the_noise_of_a_category_gives_it_back_and_is_gumbel():
    p = normal(6000, 1)
    odds = torch.stack([p[:, 0], -p[:, 0], torch.zeros(6000).double()], 1).log_softmax(1)
    gumbel = -(-torch.special.log_ndtr(normal(6000, 3, seed=5))).log()
    x = (odds + gumbel).argmax(1)
    mechanism = Categorical.fit(p, x, 3, bends=False, seed=0)
    noise = mechanism.abduct(p, x, normal(6000, 3, seed=7))
    assert mechanism.predict(p, noise).equal(x)
    # Over rows that follow the model, what is abducted has the distribution of what is drawn.
    torch.testing.assert_close(noise.mean(0), torch.full((3,), 0.5772).double(), atol=0.06, rtol=0)
    torch.testing.assert_close(noise.std(0), torch.full((3,), math.pi / math.sqrt(6)).double(), atol=0.06, rtol=0)
    torch.testing.assert_close(mechanism.log_odds(p).exp(), odds.exp(), atol=0.06, rtol=0)


def test_frequencies():
    x = torch.tensor([0, 0, 0, 1] * 100)
    mechanism = Categorical.fit(torch.zeros(400, 0).double(), x, 2, bends=False, seed=0)
    torch.testing.assert_close(
        mechanism.log_odds(torch.zeros(1, 0).double()).exp(), torch.tensor([[300.5 / 401, 100.5 / 401]]).double()
    )


# ------------------------------------------------------------------------------------------------- choice
def test_crps_of_the_true_distribution_has_its_closed_form():
    x = normal(20_000)
    assert float(score(Empirical.fit(x), torch.zeros(20_000, 0).double(), x).mean()) == pytest.approx(
        1 / math.sqrt(math.pi), rel=0.02
    )
    coin = Categorical.fit(torch.zeros(100, 0).double(), torch.tensor([0, 1] * 50), 2, bends=False, seed=0)
    assert score(coin, torch.zeros(2, 0).double(), torch.tensor([0, 1])).tolist() == pytest.approx([0.25, 0.25])


def test_what_is_linear_gets_a_line(monkeypatch):
    monkeypatch.setattr(flows, "STEPS", 150)
    p = normal(600, 1)
    x = 2 * p[:, 0] + normal(600, seed=1)
    mechanism, choice = choose(number(x), p, x, seed=0)
    assert choice.mechanism == "linear" and mechanism.kind == "additive"
    assert list(choice.scores) == ["linear", "quadratic", "cubic", "bounded flow", "flow"]
    assert (choice.fitted_on, choice.held_out) == (480, 120)
    assert choice.scores["linear"] - min(choice.scores.values()) <= choice.allowed["linear"]
    assert str(choice).startswith("x: linear (CRPS linear 0.")


def test_an_exclusive_or_gets_a_network(monkeypatch):
    monkeypatch.setattr(flows, "STEPS", 400)
    p = normal(1500, 2)
    x = (p[:, 0] * p[:, 1] > 0).long()
    _, choice = choose(Attribute("x", ("no", "yes")), p, x, seed=0)
    assert choice.mechanism == "network"


def test_morpho_mnist_gets_a_flow_that_keeps_the_range(monkeypatch):
    monkeypatch.setattr(flows, "STEPS", 300)
    t, e = thickness(3000, 0), normal(3000, seed=1)
    x, attribute = intensity(t, e), number(t)
    mechanism, choice = choose(number(x), attribute.encode(t), x, seed=0)
    assert choice.mechanism == "bounded flow"
    other = t[torch.randperm(3000, generator=torch.Generator().manual_seed(2))]
    noise = mechanism.abduct(attribute.encode(t), x, e)
    found = mechanism.predict(attribute.encode(other), noise)
    assert float((found - intensity(other, e)).abs().mean()) < 1.5  # of 255; doing nothing errs by 40
    anywhere = mechanism.predict(attribute.encode(torch.linspace(0, 20, 3000).double()), noise)
    assert bool(((anywhere > 60) & (anywhere < 258)).all())


def test_the_same_seed_gives_the_same_flow_whatever_torch_drew_before(monkeypatch):
    monkeypatch.setattr(flows, "STEPS", 60)
    p, x = normal(300, 1), normal(300, seed=1)
    first = PostNonlinear.fit(p, x, "identity", seed=3).to_state()[1]
    torch.rand(7)
    again = PostNonlinear.fit(p, x, "identity", seed=3).to_state()[1]
    assert all(first[name].equal(again[name]) for name in first)
    assert not first["raw"].equal(PostNonlinear.fit(p, x, "identity", seed=4).to_state()[1]["raw"])


def test_states_give_the_same_mechanism(monkeypatch):
    monkeypatch.setattr(flows, "STEPS", 60)
    p, x, codes = normal(300, 2), normal(300, seed=1), (normal(300, seed=2) > 0).long()
    made = [
        (fit_additive(p, x, 2), normal(300)),
        (PostNonlinear.fit(p, x, "logit", 0), normal(300)),
        (Categorical.fit(p, codes, 2, bends=True, seed=0), normal(300, 2)),
    ]
    for mechanism, noise in made:
        config, tensors = mechanism.to_state()
        assert from_state(mechanism.kind, config, tensors).predict(p, noise).equal(mechanism.predict(p, noise))
