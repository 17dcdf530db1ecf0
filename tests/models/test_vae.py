from __future__ import annotations

import math

import torch
from torch.optim import Adam

from pentimento.model import Attribute, Batch, Condition, DataSpec
from pentimento.models import build
from pentimento.runtime import Draws

SPEC = DataSpec(channels=1, height_px=6, width_px=6)


def make(likelihood, **config):
    torch.manual_seed(0)
    return build("vae", {"spec": SPEC, "width": 4, "latent_dim": 2, "likelihood": likelihood} | config).eval()


def test_more_importance_samples_tighten_the_bound():
    model = make("bernoulli")
    with torch.no_grad():
        model.posterior.weight.zero_()  # a poor posterior, far from the truth
        model.posterior.bias.copy_(torch.tensor([1.5, 1.5, 0.0, 0.0]))
    batch = Batch(torch.rand(16, 1, 6, 6).round().repeat(64, 1, 1, 1))  # many draws, for a steady mean
    with torch.no_grad():
        bounds = [float(model.score(batch, Draws(0, range(1024)), k)["iwae"].mean()) for k in (1, 10, 100)]
        score = model.score(batch, Draws(0, range(1024)), 50)
    assert bounds[0] < bounds[1] < bounds[2]
    assert (score["iwae"] >= score["elbo"] - 1e-4).all()


def test_the_bound_meets_the_integral():
    """With a two-dimensional latent p(x) can be integrated on a grid; the bound with many samples comes close."""
    model = make("bernoulli")
    x = torch.rand(1, 1, 6, 6).round()
    axis = torch.linspace(-6, 6, 241)
    z = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        log_prior = -0.5 * z.square().sum(1) - math.log(2 * math.pi)
        log_px = model._log_px(z, x.expand(len(z), -1, -1, -1), Batch(x).condition)
        exact = float((log_prior + log_px).logsumexp(0)) + 2 * math.log(float(axis[1] - axis[0]))
        found = float(model.score(Batch(x), Draws(0, [0]), 3000)["iwae"])
    assert abs(found - exact) < 0.05


def test_the_loss_is_minus_the_bound_at_beta_one_and_warms_up():
    model = make("gaussian", kl_warmup_kimg=10.0)
    batch = Batch(torch.rand(8, 1, 6, 6))
    with torch.no_grad():
        losses = {kimg: model.loss("vae", batch, Draws(0, range(8), seen_kimg=kimg)) for kimg in (0, 5, 10, 50)}
    nll, kl = float(losses[0]["nll_z"]), float(losses[0]["kl"])
    for kimg, warm in ((0, 0.0), (5, 0.5), (10, 1.0), (50, 1.0)):
        assert math.isclose(float(losses[kimg]["loss"]), nll + warm * kl, rel_tol=1e-5)
    validated = model.validate(batch, Draws(0, range(8), seen_kimg=0))
    assert math.isclose(float(validated["loss"].detach()), nll + kl, rel_tol=1e-5)


def test_latents_that_repeat_what_is_told_cost_what_independence_says():
    spec = SPEC.model_copy(update={"classes": ("dark", "light")})
    images = torch.rand(64, 1, 6, 6) * 0.2
    labels = torch.arange(64) % 2
    images[labels == 1] += 0.8
    batch, found = Batch(images, labels=labels), {}
    for weight in (0.0, 100.0):
        model = make("gaussian", spec=spec, conditional=True, independence=weight)
        found[weight] = {k: float(v.detach()) for k, v in model.loss("vae", batch, Draws(0, range(64))).items()}
    extra = found[100.0]["loss"] - found[0.0]["loss"]
    assert math.isclose(extra, 100 * found[100.0]["dependence"], rel_tol=1e-3)
    assert found[100.0]["dependence"] > 0.05
    assert "dependence" not in found[0.0]


def test_effectiveness_makes_pictures_show_what_is_told():
    """A decoder that hardly hears what it is told learns from latents, which cost nothing here: it goes on so."""
    spec = SPEC.model_copy(update={"attributes": (Attribute(name="light"),)})
    light = torch.rand(256, 1, generator=torch.Generator().manual_seed(0))
    batch = Batch(light[..., None, None].expand(-1, 1, 6, 6), attributes=light)
    effect = {}
    for weight in (0.0, 100.0):
        model = make("gaussian", spec=spec, backbone="mlp", attributes=("light",), beta=0.0, effectiveness=weight)
        names = [player.name for player in model.players()]
        with torch.no_grad():
            model.embed.attribute.weight.mul_(0.01)
        movers = {
            player.name: Adam([w for name in player.modules for w in getattr(model, name).parameters()], 3e-3)
            for player in model.players()
        }
        for step in range(100):
            for name in names:
                model.zero_grad()
                model.loss(name, batch, Draws(0, range(256), step))["loss"].backward()
                movers[name].step()
        told = [Condition(attributes=torch.full((256, 1), value)) for value in (0.2, 0.8)]
        latents = model.encode(batch.images, batch.condition)
        dark, bright = (model.decode(latents, condition).mean((1, 2, 3)) for condition in told)
        effect[weight] = float((bright - dark).mean().detach())
        assert names == ["vae", "judge"][: 1 + bool(weight)]
        assert not any("judge" in name for name in model.shipped_state())
    assert effect[0.0] < 0.3
    assert 0.5 < effect[100.0] < 0.7  # 0.6 is true


def test_binarisation_is_drawn_anew_and_reproducible():
    model = make("bernoulli")
    gray = torch.full((4, 1, 6, 6), 0.5)
    first, again, other = (model._observed(gray, Draws(0, range(4), step)) for step in (0, 0, 1))
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
