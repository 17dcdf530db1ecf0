from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import truncnorm

from pentimento.errors import ModelError
from pentimento.layers import (
    ConditionEmbedding,
    PatchDiscriminator,
    Pyramid,
    add_spectral_norm,
    centre_fit,
    pad_to_multiple,
    truncate_normal,
)
from pentimento.model import Attribute, Condition, DataSpec
from pentimento.models import load


@given(st.integers(1, 300), st.integers(1, 300))
@settings(max_examples=100, deadline=None)
def test_a_pyramid_covers_the_image_and_no_more_than_it_must(height, width):
    pyramid = Pyramid.of(DataSpec(channels=1, height_px=height, width_px=width))
    padded = pyramid.padded
    assert padded[0] >= height
    assert padded[1] >= width
    assert padded[0] - height < 2**pyramid.levels
    assert padded[1] - width < 2**pyramid.levels
    assert min(pyramid.base) >= min(4, height, width)


@pytest.mark.parametrize(
    ("size", "levels", "base"), [((28, 28), 2, (7, 7)), ((64, 64), 4, (4, 4)), ((96, 160), 4, (6, 10))]
)
def test_pyramids_by_hand(size, levels, base):
    assert Pyramid.of(DataSpec(channels=1, height_px=size[0], width_px=size[1])) == Pyramid(levels, base)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_padding_and_cropping_back_is_nothing(h, w, more_h, more_w):
    x = torch.rand(2, 3, h, w)
    larger = centre_fit(x, (h + more_h, w + more_w))
    assert larger.shape == (2, 3, h + more_h, w + more_w)
    assert torch.equal(centre_fit(larger, (h, w)), x)


@pytest.mark.parametrize("limit", [0.3, 1.0, 2.5])
def test_truncation_against_scipy(limit):
    z = torch.linspace(-4, 4, 101)
    normal_cdf = torch.distributions.Normal(0.0, 1.0).cdf(z.double())
    expected = truncnorm(-limit, limit).ppf(normal_cdf.numpy())
    assert torch.allclose(truncate_normal(z, limit).double(), torch.from_numpy(expected), atol=1e-5)


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan])
def test_truncation_limits(limit):
    with pytest.raises(ModelError, match="truncation: must be above 0"):
        truncate_normal(torch.zeros(1), limit)


SPEC = DataSpec(
    channels=1,
    height_px=4,
    width_px=4,
    classes=("a", "b"),
    attributes=(
        Attribute(name="t", low=10.0, high=30.0),
        Attribute(name="flat", low=2.0, high=2.0),
        Attribute(name="kind", kind="categorical", values=("x", "y", "z")),
    ),
)


def test_attributes_are_standardised_by_their_range():
    embed = ConditionEmbedding(SPEC, False, ("kind", "t"), 8)
    found = embed.standardize(torch.tensor([[10.0, 2, 0], [20.0, 2, 2], [30.0, 2, 1]]))
    assert found.tolist() == [[1, 0, 0, -1], [0, 0, 1, 0], [0, 1, 0, 1]]


def test_a_constant_attribute_does_no_harm():
    found = ConditionEmbedding(SPEC, False, ("flat",), 8).standardize(torch.tensor([[10.0, 2, 0]]))
    assert torch.isfinite(found).all()


def test_conditions_that_the_data_does_not_have():
    with pytest.raises(ModelError, match="the data has no labels"):
        ConditionEmbedding(SPEC.model_copy(update={"classes": ()}), True, (), 8)
    with pytest.raises(ModelError, match="unknown name 'tt'"):
        ConditionEmbedding(SPEC, False, ("tt",), 8)


def test_nothing_to_tell_adds_nothing():
    x = torch.rand(5, 3)
    assert ConditionEmbedding(SPEC, False, (), 8).join(x, Condition()) is x


def test_spectral_norm_bounds_the_largest_singular_value():
    layer = torch.nn.Sequential(torch.nn.Linear(20, 30))
    torch.nn.init.normal_(layer[0].weight, std=3)
    add_spectral_norm(layer)
    layer.train()
    for _ in range(50):  # the power iteration converges over forward passes
        layer(torch.rand(1, 20))
    assert torch.linalg.svdvals(layer[0].weight)[0].item() == pytest.approx(1, abs=0.01)


def test_a_patch_is_judged_by_26_pixels_a_side():
    torch.manual_seed(0)
    judge, images = PatchDiscriminator(3, 4).double(), torch.rand(1, 3, 64, 64, dtype=torch.double, requires_grad=True)
    logits = judge(images)
    logits[0, logits.shape[1] // 2, logits.shape[2] // 2].backward()
    seen = images.grad.abs().sum((0, 1)) > 0
    assert (seen.any(0).sum(), seen.any(1).sum()) == (26, 26)
    assert judge(images[:, :, :1, :3]).shape == (1, 1, 1)


def test_what_is_padded_is_mirrored_where_there_is_enough():
    x = torch.arange(20.0).view(1, 1, 4, 5)
    padded = pad_to_multiple(x, 3)
    assert padded.shape == (1, 1, 6, 6)
    torch.testing.assert_close(padded[..., :4, :5], x)
    torch.testing.assert_close(padded[..., 4:, :], padded[..., [2, 1], :])
    torch.testing.assert_close(padded[..., 5], padded[..., 3])
    assert pad_to_multiple(x, 1) is x
    torch.testing.assert_close(pad_to_multiple(x[..., :1, :1], 8), x[..., :1, :1].expand(1, 1, 8, 8))


def test_noise_is_taken_away_at_the_border_of_a_picture_of_any_size():
    """Where the last rows were repeated, their noise made streaks, and stayed."""
    clean = torch.linspace(0.3, 0.7, 256).expand(1, 3, 256, 256)
    noisy = clean + 25 / 255 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    model, told = load("denoise"), torch.full((1, 1, 1, 1), 25 / 255)
    with torch.no_grad():
        within, at_the_border = (model.restore(noisy[..., :side, :side], None, told) for side in (256, 244))
    errors = [
        (made[..., 240:244, :244] - clean[..., 240:244, :244]).square().mean() for made in (within, at_the_border)
    ]
    assert errors[1] < 3 * errors[0]
