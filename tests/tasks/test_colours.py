"""Keeping colours: closed forms in Lab."""

from __future__ import annotations

import pytest
import torch
from kornia.color import lab_to_rgb, rgb_to_lab

from pentimento.errors import ImageError
from pentimento.tasks.colours import luminance_only, match_colours


def muted(seed, shift=0.0, height=20, width=30):
    """Colours well inside the gamut, so that nothing is clipped."""
    drawn = torch.randn(1, 3, height * width, generator=torch.Generator().manual_seed(seed)).clamp(-2, 2)
    mixed = torch.tensor([[6.0, 0.0, 0.0], [2.0, 4.0, 0.0], [-1.0, 1.0, 3.0]]) @ drawn
    return lab_to_rgb(mixed.view(1, 3, height, width) + torch.tensor([55.0 + shift, shift, -shift]).view(3, 1, 1))


def moments(image):
    colours = rgb_to_lab(image).flatten(2)[0]
    return colours.mean(1), torch.cov(colours, correction=0)


def test_lightness_of_one_and_hue_of_the_other():
    content, stylized = muted(0), muted(1, shift=5.0)
    lab = rgb_to_lab(luminance_only(content, stylized))
    assert torch.allclose(lab[:, :1], rgb_to_lab(stylized)[:, :1], atol=0.02)  # kornia's Lab and back: 0.01
    assert torch.allclose(lab[:, 1:], rgb_to_lab(content)[:, 1:], atol=0.02)
    gray = torch.full((1, 3, 20, 30), 0.5)
    assert luminance_only(gray, stylized).std(1).max() < 1e-3
    assert torch.allclose(luminance_only(content, content), content, atol=1e-3)


def test_pictures_of_different_size():
    with pytest.raises(ImageError, match=r"stylized: the size of the content, \(20, 30\), expected, got \(9, 30\)"):
        luminance_only(muted(0), muted(0)[:, :, :9])


def test_the_style_gets_the_mean_and_the_covariance_of_the_content():
    content, style = muted(0, height=11), muted(1, shift=8.0).flip(1)
    matched = match_colours(style, content)
    assert matched.shape == style.shape
    for found, wanted in zip(moments(matched), moments(content), strict=True):
        assert torch.allclose(found, wanted, atol=0.1)
    assert not torch.allclose(moments(style)[1], moments(content)[1], atol=1)


def test_its_own_colours_stay_and_a_gray_style_stays_calm():
    assert torch.allclose(match_colours(muted(3), muted(3)), muted(3), atol=1e-3)
    gray = muted(0).mean(1, keepdim=True).repeat(1, 3, 1, 1)
    assert rgb_to_lab(match_colours(muted(1), gray))[:, 1:].abs().max() < 0.5  # of about 40
    mean, covariance = moments(match_colours(gray, muted(1)))
    assert torch.allclose(mean, moments(muted(1))[0], atol=0.1)
    assert covariance.diagonal().max() < 60


def test_one_colour_is_moved_to_the_mean():
    flat = torch.full((1, 3, 16, 16), 0.3)
    matched = match_colours(flat, muted(2))
    assert matched.flatten(2).std(2).max() < 1e-4
    assert torch.allclose(moments(matched)[0], moments(muted(2))[0], atol=0.1)
