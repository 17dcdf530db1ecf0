"""The autoregressive CNN: nothing looks ahead, drawing with memory equals drawing without, probabilities sum to one."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from pentimento.errors import ModelError
from pentimento.losses import logistic_log_mass
from pentimento.model import Batch, Condition, DataSpec
from pentimento.models.cnn import CNN
from pentimento.runtime import Draws

N = 8
KINDS = {
    "gray bits": (1, {"likelihood": "bernoulli"}),
    "colour bits, reversed": (3, {"likelihood": "bernoulli", "order": "reversed", "kernel_px": 5}),
    "gray": (1, {"mixtures": 2, "regions": 100}),
    "colour, reversed": (3, {"mixtures": 3, "order": "reversed", "regions": 1}),
}


def make_model(kind="gray bits", size=(6, 5), **changes):
    channels, config = KINDS[kind]
    spec = DataSpec(channels=channels, height_px=size[0], width_px=size[1], classes=("a", "b"))
    torch.manual_seed(0)
    config = {"width": 6, "layers": 3, "conditional": True, **config, **changes}
    model = CNN(spec=spec, **config).double().eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.mul_(3)  # so that pixels depend strongly on each other
    return model


def make_noise(model):
    return {"pixels": model.draw_noise(Draws(0, range(N)))["pixels"].double()}


CONDITION = Condition(labels=torch.arange(N) % 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pixel_sees_all_pixels_before_it_and_none_other(kind):
    """The gradient of each pixel's distribution: zero from itself on, not zero from any pixel before it."""
    model = make_model(kind, layers=5)  # deep enough for the filters to reach across the picture
    x = torch.rand(1, model.image_shape[0], 6, 5, dtype=torch.float64, requires_grad=True)
    parameters = model._distribution(x, CONDITION[:1])
    for i, j in itertools.product(range(6), range(5)):
        (gradient,) = torch.autograd.grad(parameters[0, :, i, j].sum(), x, retain_graph=True)
        seen = gradient[0].abs().amax(0).flatten() > 0
        assert seen.tolist() == [k < 5 * i + j for k in range(30)]


@pytest.mark.parametrize("kind", KINDS)
def test_drawing_with_memory_equals_evaluating_everything_for_each_pixel(kind):
    model, condition = make_model(kind), CONDITION
    noise = make_noise(model)
    slow = torch.zeros(N, *model.image_shape, dtype=torch.float64)
    u = model._turned(noise["pixels"])
    for i, j in itertools.product(range(6), range(5)):
        slow[:, :, i, j] = model.pixels.draw(model._distribution(slow, condition)[:, :, i, j], u[:, :, i, j])
    fast = model.sample(noise, condition)
    assert torch.equal(fast, model._turned(slow))
    assert 0 <= fast.min() < fast.max() <= 1


@pytest.mark.parametrize("kind", ["gray bits", "colour bits, reversed"])
def test_the_probabilities_of_all_pictures_sum_to_one(kind):
    model = make_model(kind, (2, 2))
    count = math.prod(model.image_shape)
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=count)), dtype=torch.float64)
    every = every.view(-1, *model.image_shape)
    batch = Batch(every, torch.zeros(len(every), dtype=torch.int64))
    found = model.score(batch, Draws(0, range(len(every))))["log_likelihood"]
    assert float(found.exp().sum()) == pytest.approx(1, abs=1e-9)


def test_the_probabilities_of_all_gray_levels_sum_to_one():
    model = make_model("gray", (1, 1))
    levels = torch.arange(256, dtype=torch.float64)[:, None, None, None] / 255
    found = model.score(Batch(levels, torch.zeros(256, dtype=torch.int64)), Draws(0, range(256)))
    assert float(found["log_likelihood"].double().exp().sum()) == pytest.approx(1, abs=1e-6)  # computed in fp32


def test_the_probabilities_of_all_greens_and_blues_sum_to_that_of_their_red():
    model, red = make_model("colour, reversed", (1, 1)), 100 / 255
    levels = torch.arange(256, dtype=torch.float64) / 255
    every = torch.cartesian_prod(torch.tensor([red], dtype=torch.float64), levels, levels)[:, :, None, None]
    count = len(every)
    found = model.score(Batch(every, torch.zeros(count, dtype=torch.int64)), Draws(0, range(count)))
    log_weights, means, scales, _ = model.pixels._parts(model._distribution(every[:1], CONDITION[:1]))
    mass = logistic_log_mass((means[:, 0] + 1) / 2, scales[:, 0] - math.log(2), every[:1, :1])
    of_red = float((log_weights + mass).exp().sum())
    assert float(found["log_likelihood"].double().exp().sum()) == pytest.approx(of_red, rel=1e-4)  # 65,536 in fp32


def test_drawn_pictures_are_as_frequent_as_they_are_likely():
    """A chi-square over all 16 pictures of 2x2 bits; its 99.9 % quantile at 15 degrees of freedom is 37.7."""
    model, count = make_model(size=(2, 2), conditional=False), 4000
    u = {"pixels": torch.rand(count, 2, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))}
    drawn = model.sample(u, Condition()).flatten(1) @ torch.tensor([8.0, 4.0, 2.0, 1.0], dtype=torch.float64)
    seen = torch.bincount(drawn.long(), minlength=16)
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)), dtype=torch.float64).view(16, 1, 2, 2)
    expected = count * model.score(Batch(every), Draws(0, range(16)))["log_likelihood"].exp()
    assert float(((seen - expected).square() / expected).sum()) < 37.7


@pytest.mark.parametrize("kind", KINDS)
class TestRegenerate:
    def test_what_lies_outside_the_mask_stays_to_the_last_bit(self, kind):
        model = make_model(kind)
        given = torch.rand(N, *model.image_shape, dtype=torch.float64)
        masks = torch.zeros(N, 1, 6, 5, dtype=torch.float64)
        masks[:2, :, 2:4, 1:3] = 1
        made = model.regenerate(given, masks, make_noise(model), CONDITION)
        kept = (masks < 0.5).expand_as(given)
        assert torch.equal(made[kept], given[kept])
        assert not torch.equal(made[0], given[0])
        assert torch.equal(made[2:], given[2:])

    def test_everything_under_the_mask_is_a_fresh_sample(self, kind):
        model = make_model(kind)
        noise, given = make_noise(model), torch.rand(N, *model.image_shape, dtype=torch.float64)
        made = model.regenerate(given, torch.ones(N, 1, 6, 5, dtype=torch.float64), noise, CONDITION)
        assert torch.equal(made, model.sample(noise, CONDITION))

    def test_it_depends_on_what_precedes_the_mask_alone(self, kind):
        """In a reversed model, what lies below precedes."""
        model = make_model(kind)
        noise = make_noise(model)
        given = model.sample(noise, CONDITION)
        masks = torch.zeros(N, 1, 6, 5, dtype=torch.float64)
        masks[:, :, 3] = 1
        after = given.clone()
        lower, upper = (slice(4, 6), slice(0, 3)) if not model.reversed else (slice(0, 3), slice(4, 6))
        after[:, :, lower] = 1 - after[:, :, lower]
        redrawn = model.regenerate(after, masks, noise, CONDITION)
        assert torch.equal(redrawn[:, :, 3], given[:, :, 3])
        before = given.clone()
        before[:, :, upper] = 1 - before[:, :, upper]
        if "bits" not in kind:  # which need not turn
            assert not torch.equal(model.regenerate(before, masks, noise, CONDITION)[:, :, 3], given[:, :, 3])


def test_regions_are_drawn_in_the_order_of_the_pixels():
    model = make_model("colour bits, reversed", regions=3)
    noise, x = make_noise(model), None
    assert model.stages == ("region1", "region2", "region3")
    for top in (4, 2, 0):  # reversed: from the bottom up
        x = model.run_stage(f"region{3 - top // 2}", x, noise, CONDITION)
        assert not x[:, :, :top].any()
        assert x[:, :, top : top + 2].any()


def test_what_cannot_be():
    with pytest.raises(ModelError, match="kernel_px: an odd number is expected"):
        make_model(kernel_px=4)
    with pytest.raises(ModelError, match="truncation: an autoregressive model has no latent"):
        make_model().draw_noise(Draws(0, range(2)), truncation=1.0)
