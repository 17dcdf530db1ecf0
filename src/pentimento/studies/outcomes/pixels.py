"""Outcomes of any picture, gray or colour, of any size, measured from its pixels.

    R, G, B -> sRGB-encoded values in [0, 1]; a gray picture has three alike
    Y -> luma, 0.2126 R + 0.7152 G + 0.0722 B (ITU-R BT.709, on encoded values: it is not linear light)
    S, V -> saturation and value of HSV: 1 - min / max (0 for black), max
    E -> mean over pixels

Where a filter looks over the edge of a picture, the outermost pixels are repeated.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pentimento.data.fit import recolour
from pentimento.studies.outcomes.outcome import Once, Outcome, pieces

__all__ = [
    "HUES",
    "PIXEL_OUTCOMES",
    "brightness",
    "colourfulness",
    "contrast",
    "edge_density",
    "foreground",
    "hue_shares",
    "saturation",
    "sharpness",
    "symmetry",
]

HUES = ("red", "yellow", "green", "cyan", "blue", "magenta")  # 60 degrees each, centred on 0, 60, ... 300
COLOURED = 0.2  # least saturation and value of a pixel that counts for a hue
EDGE = 0.1  # least luma that an edge changes by from pixel to pixel; from black to white it is 0.5 on both sides
APART = 0.1  # from the background, in the channel that differs most
FAINT = 1e-4  # variations of luma below this are rounding: a level of 8 bits is 4e-3

_LUMA = (0.2126, 0.7152, 0.0722)


def _by_pieces(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """`function` on a few pictures at a time, in float64 on the CPU."""

    @functools.wraps(function)
    def run(images: Tensor) -> Tensor:
        return torch.cat([function(piece) for piece in pieces(images)])

    return run


def _luma(images: Tensor) -> Tensor:
    """(N, H, W)"""
    return images[:, 0] if images.shape[1] == 1 else torch.einsum("nchw,c->nhw", images, images.new_tensor(_LUMA))


def _hsv(images: Tensor) -> Tensor:
    """(N, 3, H, W): hue in radians, saturation, value."""
    from kornia.color import rgb_to_hsv

    return rgb_to_hsv(recolour(images, 3))


# ---------------------------------------------------------------------------------------- light and colour
@_by_pieces
def brightness(images: Tensor) -> Tensor:
    """``E Y``, (N,) in [0, 1], of (N, C, H, W)."""
    return _luma(images).mean((1, 2))


@_by_pieces
def contrast(images: Tensor) -> Tensor:
    """``sqrt(E (Y - E Y)^2)``, (N,) in [0, 0.5], of (N, C, H, W): RMS contrast (Peli 1990)."""
    return _luma(images).flatten(1).std(1, correction=0)


@_by_pieces
def saturation(images: Tensor) -> Tensor:
    """``E S``, (N,) in [0, 1], of (N, C, H, W); 0 for gray pictures."""
    return _hsv(images)[:, 1].mean((1, 2))


@_by_pieces
def colourfulness(images: Tensor) -> Tensor:
    """Hasler and Suesstrunk 2003, "Measuring colourfulness in natural images", of (N, C, H, W) the M^(3), (N,).

    ``sqrt(sd(rg)^2 + sd(yb)^2) + 0.3 sqrt(E(rg)^2 + E(yb)^2)`` with ``rg = R - G``, ``yb = (R + G) / 2 - B`` of values
    from 0 to 255. 0 for gray pictures. In their survey 15 was called slightly, 45 averagely, 109 extremely colourful.
    """
    red, green, blue = recolour(images * 255, 3).unbind(1)
    opponents = torch.stack([red - green, (red + green) / 2 - blue], 1).flatten(2)  # (N, 2, H W)
    variance, mean = torch.var_mean(opponents, 2, correction=0)
    return variance.sum(1).sqrt() + 0.3 * mean.square().sum(1).sqrt()


@_by_pieces
def hue_shares(images: Tensor) -> Tensor:
    """Share of the pixels that have each of `HUES`, (N, 6) in [0, 1], of (N, C, H, W).

    A pixel has a hue where S and V are above `COLOURED`: the one whose centre is within 30 degrees. The rest up to 1
    are pixels without one.
    """
    hue, s, v = _hsv(images).unbind(1)
    sector = (hue * (3 / math.pi) + 0.5).floor() % len(HUES)
    sector[(s <= COLOURED) | (v <= COLOURED)] = -1
    return torch.stack([(sector == k).double().mean((1, 2)) for k in range(len(HUES))], 1)


# --------------------------------------------------------------------------------------------------- form
@_by_pieces
def sharpness(images: Tensor) -> Tensor:
    """Variance over pixels of the Laplacian of Y, (N,), of (N, C, H, W) (Pech-Pacheco et al. 2000).

    The Laplacian is the sum of the four neighbours less four times the pixel, as that of OpenCV. From 0 to 16.
    """
    luma = _luma(images)
    around = F.pad(luma[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    neighbours = around[:, :-2, 1:-1] + around[:, 2:, 1:-1] + around[:, 1:-1, :-2] + around[:, 1:-1, 2:]
    return (neighbours - 4 * luma).flatten(1).var(1, correction=0)


@_by_pieces
def edge_density(images: Tensor) -> Tensor:
    """Share of the pixels whose gradient of Y is longer than `EDGE`, (N,) in [0, 1], of (N, C, H, W).

    By Sobel's operator / 8, so that the gradient is in luma per pixel.
    """
    from kornia.filters import spatial_gradient

    gradient = spatial_gradient(_luma(images)[:, None], "sobel")[:, 0]  # (N, 2, H, W)
    return (gradient.square().sum(1).sqrt() > EDGE).double().mean((1, 2))


@_by_pieces
def symmetry(images: Tensor) -> Tensor:
    """How much a picture looks like its mirror image Y' (left to right), (N,) in [-1, 1], of (N, C, H, W).

    ``1 - E (Y - Y')^2 / 2 E (Y - E Y)^2``, the correlation of Y and Y': brightness and contrast do not matter to it.
    1 where nothing varies.
    """
    luma = _luma(images)
    difference = (luma - luma.flip(2)).square().mean((1, 2))
    variance = luma.flatten(1).var(1, correction=0)
    return 1 - difference / (2 * variance.clamp(min=FAINT**2))


@_by_pieces
def foreground(images: Tensor) -> Tensor:
    """Share of the pixels that differ from the background by more than `APART`, (N,) in [0, 1], of (N, C, H, W).

    The background is the median of the outermost pixels, channel by channel (the lower one of two); the difference is
    that in the channel where it is largest.
    """
    outermost = torch.ones(images.shape[2:], dtype=torch.bool)
    outermost[1:-1, 1:-1] = False
    background = images[:, :, outermost].median(2).values[..., None, None]  # (N, C, 1, 1)
    return ((images - background).abs().amax(1) > APART).double().mean((1, 2))


_hues = Once(hue_shares)


def _hue_outcome(k: int) -> Outcome:
    formula = f"share of pixels within 30 degrees of hue {60 * k}, with saturation and value above {COLOURED}"
    return Outcome(f"hue-{HUES[k]}", "share", formula, lambda images: _hues(images)[:, k])


PIXEL_OUTCOMES = (
    Outcome("brightness", "", "mean luma (Rec. 709) of the sRGB-encoded values", brightness),
    Outcome("contrast", "", "standard deviation of luma over pixels (RMS contrast)", contrast),
    Outcome("saturation", "", "mean saturation (HSV)", saturation),
    Outcome("colourfulness", "", "Hasler and Suesstrunk 2003: spread and mean of opponent colours", colourfulness),
    *(_hue_outcome(k) for k in range(len(HUES))),
    Outcome("sharpness", "", "variance of the Laplacian of luma", sharpness),
    Outcome(
        "edge-density", "share", f"share of pixels with a luma gradient above {EDGE} a pixel (Sobel)", edge_density
    ),
    Outcome("symmetry", "", "correlation of luma with its left-right mirror image", symmetry),
    Outcome("foreground", "share", f"share of pixels more than {APART} from the border's median colour", foreground),
)
