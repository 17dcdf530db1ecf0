"""Closed forms, and the formulas computed another way."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from scipy import ndimage

from pentimento.data import shapes
from pentimento.studies.outcomes import PIXEL_OUTCOMES, measure_all, pixels

NAMES = [outcome.name for outcome in PIXEL_OUTCOMES]
COLOUR = torch.rand(4, 3, 11, 8, generator=torch.Generator().manual_seed(0))
GRAY = COLOUR[:, :1]


def measured(images):
    return dict(zip(NAMES, measure_all(PIXEL_OUTCOMES, images).T.numpy(), strict=True))


def painted(*colours, height=4, width=6):
    """(1, 3, H, W): upright stripes of equal width."""
    stripes = torch.tensor(colours).T.repeat_interleave(width // len(colours), 1)  # (3, W)
    return stripes[None, :, None].expand(-1, -1, height, -1).contiguous()


def luma(images):
    return np.einsum("nchw,c->nhw", images.double().numpy(), [0.2126, 0.7152, 0.0722])


def test_formulas():
    found, y = measured(COLOUR), luma(COLOUR)
    rgb = COLOUR.double().numpy()
    assert found["brightness"] == pytest.approx(y.mean((1, 2)))
    assert found["contrast"] == pytest.approx(y.std((1, 2)))
    hsv = np.array([[colorsys.rgb_to_hsv(*p) for p in picture.reshape(3, -1).T] for picture in rgb])
    assert found["saturation"] == pytest.approx(hsv[..., 1].mean(1), abs=1e-6)
    laplacian = [ndimage.laplace(picture, mode="nearest").var() for picture in y]
    assert found["sharpness"] == pytest.approx(laplacian)
    gradient = np.array([np.hypot(*(ndimage.sobel(p, axis, mode="nearest") / 8 for axis in (0, 1))) for p in y])
    assert found["edge-density"] == pytest.approx((gradient > pixels.EDGE).mean((1, 2)))
    correlation = [np.corrcoef(picture.ravel(), picture[:, ::-1].ravel())[0, 1] for picture in y]
    assert found["symmetry"] == pytest.approx(correlation)
    coloured = (hsv[..., 1] > pixels.COLOURED) & (hsv[..., 2] > pixels.COLOURED)
    sector = np.round(hsv[..., 0] * 6) % 6
    for k, hue in enumerate(pixels.HUES):
        assert found[f"hue-{hue}"] == pytest.approx((coloured & (sector == k)).mean(1))


def test_colourfulness_of_two_colours():
    """Half red, half blue: rg is 255 or 0, yb 127.5 or -255."""
    spread = (127.5**2 + 191.25**2) ** 0.5
    mean = (127.5**2 + 63.75**2) ** 0.5
    assert measured(painted((1.0, 0, 0), (0, 0, 1.0)))["colourfulness"] == pytest.approx(spread + 0.3 * mean)


def test_shares_of_hues():
    found = measured(
        painted((1.0, 0, 0), (0.9, 0, 0.2), (0, 0.5, 0.5), (0.1, 0.1, 0.1), (0.5, 0.5, 0.45), (0.3, 0.3, 0))
    )
    assert [round(found[f"hue-{hue}"].item() * 6) for hue in pixels.HUES] == [2, 1, 0, 1, 0, 0]


def test_extremes():
    black, white = measured(torch.zeros(1, 3, 5, 5)), measured(torch.ones(1, 3, 5, 5))
    assert black["brightness"] == 0
    assert white["brightness"] == pytest.approx(1)
    for constant in (black, white, measured(painted((0.3, 0.6, 0.9)))):
        for name in ("contrast", "sharpness", "edge-density", "foreground"):
            assert constant[name] == pytest.approx(0, abs=1e-9)
        assert constant["symmetry"] == 1
    board = (torch.arange(8)[:, None] + torch.arange(8)).remainder(2).float()[None, None]
    assert measured(board)["contrast"] == pytest.approx(0.5)
    assert measured(board)["symmetry"] == pytest.approx(-1)


def test_gray_pictures_are_colour_pictures_of_gray():
    gray, colour = measured(GRAY), measured(GRAY.expand(-1, 3, -1, -1))
    for name in NAMES:
        assert gray[name] == pytest.approx(colour[name]), name
    for name in ("saturation", "colourfulness", *(f"hue-{hue}" for hue in pixels.HUES)):
        assert not gray[name].any()


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1), (2, 2)])
@pytest.mark.parametrize("channels", [1, 3])
def test_smallest_pictures(size, channels):
    assert measure_all(PIXEL_OUTCOMES, torch.rand(2, channels, *size)).isfinite().all()


@pytest.mark.parametrize(("hue", "name"), [(0.0, "hue-red"), (1 / 3, "hue-green"), (2 / 3, "hue-blue")])
def test_rendered_shapes(hue, name):
    """The shape alone is saturated and bright enough for its hue, and alone differs from a plain background."""
    factors = shapes.ShapeFactors("circle", hue, 12.0, 0.5, 0.5, "plain", (hue + 0.5) % 1)
    share = shapes.shape_mask(factors).mean()
    image = torch.from_numpy(shapes.render(factors)).permute(2, 0, 1)[None].float() / 255
    found = measured(image)
    assert found[name] == pytest.approx(share, abs=0.02)
    assert found["foreground"] == pytest.approx(share, abs=0.02)
    assert found["symmetry"] == pytest.approx(1, abs=1e-3)
