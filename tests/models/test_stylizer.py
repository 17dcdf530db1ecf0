"""The stylizer: strength, blends of styles, parts of pictures, and that it learns."""

from __future__ import annotations

import math

import pytest
import torch

from pentimento.capabilities import Stylizes
from pentimento.errors import ModelError, RecipeError
from pentimento.features import open_network
from pentimento.losses import mean_and_deviation
from pentimento.model import Batch, DataSpec
from pentimento.models import build
from pentimento.models.stylizer import Stylizer, softened, without_ripples
from pentimento.runtime import Draws

SPEC = DataSpec(channels=3, height_px=32, width_px=32)


def make(**config):
    torch.manual_seed(0)
    config = {"widths": (8, 12), "blocks": (1, 1), "style_widths": (4, 8), "style_dim": 6, **config}
    model = build("stylizer", {"spec": SPEC, **config})
    for module in model.modules():
        if hasattr(module, "second"):
            module.second.reset_parameters()  # a block begins as the identity
    for module in model.decoder.modules():
        if hasattr(module, "affine"):
            module.affine.weight.data.mul_(20)  # so that styles differ before anything is learned
    return model


def pictures(count, height=32, width=32, seed=0):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (1, 1), (5, 70), (33, 31)])
def test_any_size_of_content_and_style(height, width):
    model = make().eval()
    assert isinstance(model, Stylizes)
    styles = model.encode_style(pictures(2, 17, 40, seed=1))
    assert styles.shape == (2, 6)
    assert model.stylize(pictures(2, height, width), styles).shape == (2, 3, height, width)


def test_a_gray_picture_is_painted_in_colour():
    model = make().eval()
    gray = pictures(1)[:, :1]
    style = model.encode_style(pictures(1, seed=1))
    assert torch.equal(model.stylize(gray, style), model.stylize(gray.expand(-1, 3, -1, -1), style))


def test_at_strength_0_the_style_does_not_matter():
    model = make().eval()
    one, other = model.encode_style(pictures(2, seed=1)).split(1)
    x = pictures(1)
    assert torch.equal(model.stylize(x, one, 0.0), model.stylize(x, other, 0.0))
    assert not torch.allclose(model.stylize(x, one, 0.5), model.stylize(x, other, 0.5), atol=1e-5)


def test_the_maps_take_on_the_moments_that_the_style_asks_for():
    model = make(widths=(8,), blocks=(0,)).eval()
    (maps,) = model.content_maps(pictures(1))
    style = model.encode_style(pictures(1, seed=1))
    gamma, beta = model.decoder.statistics[0].affine(style).chunk(2, 1)
    seen = []
    model.decoder.tail.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model.decoder([maps], style, torch.ones(1, 1, 1, 1))
    mean, deviation = mean_and_deviation(seen[0])
    assert torch.allclose(mean.flatten(), beta.flatten(), atol=1e-4)
    assert torch.allclose(deviation.flatten(), gamma.abs().flatten(), atol=1e-3)


def test_a_part_of_a_picture_with_the_moments_of_the_whole():
    model = make().eval()
    whole, style = pictures(1, 320, 320), model.encode_style(pictures(1, seed=1))
    moments = [mean_and_deviation(f) for f in model.content_maps(whole)]
    inner = (..., slice(96, 128), slice(96, 128))  # of the part, beyond the reach of its border
    wanted = model.stylize(whole, style)[..., 64:, 64:][inner]
    part = whole[..., 64:288, 64:288]
    assert torch.allclose(model.stylize(part, style, 1.0, moments)[inner], wanted, atol=1e-5)
    assert not torch.allclose(model.stylize(part, style)[inner], wanted, atol=1e-3)


def test_softening_keeps_what_is_even_and_takes_some_of_the_finest_ripple():
    torch.testing.assert_close(softened(torch.full((1, 3, 5, 7), 0.3)), torch.full((1, 3, 5, 7), 0.3))
    stripes = torch.tensor([1.0, -1.0]).tile(5).expand(2, 3, 8, 10)
    board = stripes * torch.tensor([1.0, -1.0]).tile(4)[:, None]
    for ripple, left in ((stripes, 0.75), (stripes.mT, 0.75), (board, 0.75**2)):
        torch.testing.assert_close(softened(ripple)[..., 1:-1, 1:-1], left * ripple[..., 1:-1, 1:-1])
    point = torch.zeros(1, 1, 5, 5).index_fill_(3, torch.tensor(2), 1.0)
    torch.testing.assert_close(softened(point)[0, 0, 2], torch.tensor([0, 1 / 16, 14 / 16, 1 / 16, 0]))
    assert softened(torch.ones(1, 3, 1, 1)).tolist() == [[[[1.0]]] * 3]


@pytest.mark.parametrize("period", [2, 2.2, 3, 4.5, 8])
@pytest.mark.parametrize("phase", [0.0, 1.1])
def test_ripples_of_two_pixels_go_and_wider_waves_stay(period, phase):
    wave = torch.cos(2 * math.pi * torch.arange(120).double() / period + phase).float().expand(2, 3, 40, 120)
    left = 1 - math.sin(math.pi / period) ** 30
    for x, made in ((wave, without_ripples(wave)), (wave.mT, without_ripples(wave.mT))):
        inner = (..., slice(16, -16), slice(16, -16))
        torch.testing.assert_close(made[inner], left * x[inner], atol=2e-6, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        in_bf16 = without_ripples(wave)
    assert torch.equal(in_bf16, without_ripples(wave))


def test_nothing_is_left_of_a_grid_up_to_the_border():
    torch.testing.assert_close(without_ripples(torch.full((1, 3, 5, 17), 0.3)), torch.full((1, 3, 5, 17), 0.3))
    stripes = torch.tensor([1.0, -1.0]).tile(10).expand(2, 3, 18, 20)
    board = stripes * torch.tensor([1.0, -1.0]).tile(9)[:, None]
    for ripple in (stripes, stripes.mT, board):
        torch.testing.assert_close(without_ripples(ripple), torch.zeros_like(ripple), atol=1e-6, rtol=0)


def test_every_parameter_learns_and_the_loss_falls():
    model = make(identity_weight=10.0, grain_weight=1.0)
    model.attach("perceptual", open_network("perceptual"))
    batch = Batch(pictures(4), targets=pictures(4, seed=1).square())
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    found = []
    for step in range(30):
        figures = model.loss("stylizer", batch, Draws(0, range(4), step))
        optimizer.zero_grad()
        figures["loss"].backward()
        if step == 0:
            assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        found.append({k: float(v.detach()) for k, v in figures.items()})
    assert found[-1]["loss"] < 0.5 * found[0]["loss"]
    assert found[-1]["style"] < found[0]["style"]
    assert found[-1]["grain"] < found[0]["grain"]


def test_more_blocks_leave_a_network_as_it_was():
    torch.manual_seed(0)
    model = make()
    larger = build("stylizer", {**model.config, "blocks": (3, 2)})
    missing, unexpected = larger.load_state_dict(model.state_dict(), strict=False)
    assert missing and not unexpected and all(name.startswith("decoder.blocks.") for name in missing)
    x, style = pictures(1), model.encode_style(pictures(1, seed=1))
    torch.testing.assert_close(larger.stylize(x, style), model.stylize(x, style))


def test_it_starts_with_the_stages_of_the_perceptual_network():
    wanted = open_network("perceptual")
    ours = dict(make(style_widths=(16, 32, 64, 128)).stages.named_parameters())
    theirs = {name: p for name, p in wanted.named_parameters() if name.split("stages.")[-1] in ours}
    assert len(theirs) == len(ours)
    assert all(p.shape == ours[name.split("stages.")[-1]].shape for name, p in theirs.items())


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_small_batch_learns_to_give_the_picture_back_too(count):
    model, batch = make(), Batch(pictures(count), targets=pictures(count, seed=1))
    model.attached["perceptual"] = open_network("perceptual")
    without, with_it = (
        make_like(model, weight).loss("stylizer", batch, Draws(0, range(count), 0)) for weight in (0.0, 100.0)
    )
    styles, strength = model.encode_style(batch.targets[:1]), torch.zeros(1, 1, 1, 1)
    back = model.decoder(model.content_maps(batch.images[:1]), styles, strength)
    wanted = 100 * (back - batch.images[:1]).square().mean()
    assert torch.isfinite(with_it["style"])
    torch.testing.assert_close(with_it["loss"] - without["loss"], wanted, rtol=1e-4, atol=1e-5)


def make_like(model, identity_weight):
    model.identity_weight = identity_weight
    return model


@pytest.mark.parametrize(
    "config", [{"widths": (), "blocks": ()}, {"style_widths": ()}, {"style_widths": (4,) * 6}, {"style_layers": ()}]
)
def test_no_levels_or_too_many_are_refused(config):
    with pytest.raises(RecipeError, match=rf"model.{next(iter(config))}: .*should have at"):
        make(**config)


def test_what_it_refuses():
    with pytest.raises(ModelError, match="paints in colour; set data.channels to 3"):
        build("stylizer", {"spec": DataSpec(channels=1, height_px=8, width_px=8)})
    with pytest.raises(ModelError, match="one number for each of the 2 widths expected, got 1"):
        make(blocks=(1,))
    with pytest.raises(ModelError, match="one of them must be above 0; 1, 10, 100, 0 and 0 are usual"):
        make(content_weight=0.0, style_weight=0.0, identity_weight=0.0)
    for asked in (Stylizer.check, lambda model, batch: model.loss("stylizer", batch, Draws(0, range(2), 0))):
        with pytest.raises(ModelError, match="name the paintings: --second"):
            asked(make(), Batch(pictures(2)))
    model = make(style_layers=("relu9_1",))
    model.attach("perceptual", open_network("perceptual"))
    with pytest.raises(ModelError, match="has no 'relu9_1'"):
        model.check(Batch(pictures(1), targets=pictures(1)))
