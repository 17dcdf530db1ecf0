"""Outcomes of digits and other strokes, light on dark, as Morpho-MNIST defines them.

Castro, Tan, Kainz, Konukoglu and Glocker 2019, "Morpho-MNIST: quantitative assessment and diagnostics for
representation learning", JMLR 20. Pictures are enlarged four times, smoothly. There,

    ink -> pixels from half of a picture's range of values on
    m, u -> raw and central moments of the values, over the mass; x to the right, y down
    skeleton -> of the ink, see `pentimento.studies.outcomes.skeleton`

Morpho-MNIST takes the medial axis for the skeleton, which has more twigs and breaks ties by chance; ours is Zhang and
Suen's. On 300 of DeepSCM's test digits the thicknesses of the two correlate with 0.995 and differ by 0.02 px in the
mean (ours agrees better with the thickness that was asked for); the lengths correlate with 0.988, and ours are 8 %
shorter, for thinning takes something away at the ends of strokes.

A picture without ink, one that is the same all over, has 0 of everything but intensity.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from pentimento.errors import CausalError
from pentimento.studies.outcomes.outcome import Once, Outcome, pieces
from pentimento.studies.outcomes.skeleton import depths, skeletonize

__all__ = ["DIGIT_OUTCOMES", "ink_share", "intensity", "moments", "strokes"]

SCALE = 4
MOST_PX = 128  # a side: what is made of strokes beyond that is no digit, and takes 16 times the memory
CUT = 0.02  # of the mass, that the bounding parallelogram leaves out
BLANK = 0.5 / 255  # a range of values below half a level of 8 bits is none

Array = npt.NDArray[np.float64]


# ----------------------------------------------------------------------------------------------- the values
def intensity(images: Tensor) -> Tensor:
    """Median of the ink of the picture as it is, (N,) in [0, 255], of (N, 1, H, W): DeepSCM's (Pawlowski et al. 2020).

    Raises:
        CausalError: pictures that are not gray, or larger than 128 px.
    """
    _check(images)
    return torch.cat([_median_of_ink(piece.flatten(1)) for piece in pieces(images)])


def _median_of_ink(values: Tensor) -> Tensor:
    """(N,) of (N, H W); the mean of the two in the middle where their number is even."""
    low, high = values.aminmax(dim=1, keepdim=True)
    ink = values.where(values >= (low + high) / 2, torch.nan)
    return 255 * ink.nanquantile(0.5, dim=1)


def ink_share(images: Tensor) -> Tensor:
    """Share of the pixels above half of a picture's maximum, (N,) in [0, 1], of (N, 1, H, W).

    Raises:
        CausalError: see `intensity`.
    """
    _check(images)
    return torch.cat([(p > p.amax((2, 3), keepdim=True) / 2).double().mean((1, 2, 3)) for p in pieces(images)])


def strokes(images: Tensor) -> Tensor:
    """Thickness, length and area of the strokes, (N, 3) in px, px and px^2, of (N, 1, H, W).

    - thickness: ``2 E d`` over the skeleton, d being a pixel's distance to the nearest one that is not ink.
    - length: of the skeleton: 1 for two pixels of it side by side, and sqrt 2 for two at a corner.
    - area: number of pixels of ink.

    Raises:
        CausalError: see `intensity`.
    """
    _check(images)
    return torch.cat([torch.from_numpy(_strokes(_enlarged(piece))) for piece in pieces(images, SCALE**2)])


def moments(images: Tensor) -> Tensor:
    """Slant, width and height, (N, 3) in rad, px and px, of (N, 1, H, W).

    - slant: ``arctan(-u11 / u02)``; positive where a stroke leans to the right, as in ``/``.
    - width, height: of the parallelogram, sheared by the slant, with upright sides beyond which 1 % of the mass lies on
      either side, and level ones beyond which 1 % lies.

    Raises:
        CausalError: see `intensity`.
    """
    _check(images)
    return torch.cat([torch.from_numpy(_moments(_enlarged(piece))) for piece in pieces(images, SCALE**2)])


def _check(images: Tensor) -> None:
    channels, height, width = images.shape[1:]
    if channels != 1 or max(height, width) > MOST_PX:
        raise CausalError(
            f"digits: gray pictures of up to {MOST_PX}x{MOST_PX} px expected, got {width}x{height} px with {channels} "
            "channels; for others take brightness, edge-density or foreground"
        )


# ---------------------------------------------------------------------------------------------- enlarging
def _enlarged(images: Tensor) -> Array:
    """(N, SCALE H, SCALE W) of (N, 1, H, W) float64: cubic splines, then a Gaussian, as scikit-image's pyramid_expand.

    Splines along an axis are a matrix; what they overshoot is cut off.
    """
    values = images[:, 0].numpy()
    down, across = (_spread(side) for side in values.shape[1:])
    low, high = values.min((1, 2), keepdims=True), values.max((1, 2), keepdims=True)
    sharp = np.clip(down @ values @ across.T, low, high)
    enlarged: Array = ndimage.gaussian_filter(sharp, 2 * SCALE / 6, mode="reflect", axes=(1, 2))
    return enlarged


@functools.lru_cache(maxsize=16)
def _spread(side: int) -> Array:
    """(SCALE side, side): a line of pixels -> a longer one."""
    matrix: Array = ndimage.zoom(np.eye(side), (SCALE, 1), order=3, mode="mirror", grid_mode=True)
    return matrix


def _blank(values: Array) -> npt.NDArray[np.bool_]:
    """(N,) of (N, H, W)"""
    blank: npt.NDArray[np.bool_] = np.ptp(values, axis=(1, 2)) < BLANK
    return blank


# -------------------------------------------------------------------------------------------- the formulas
def _strokes(values: Array) -> Array:
    """See `strokes`; of enlarged pictures."""
    low, high = values.min((1, 2), keepdims=True), values.max((1, 2), keepdims=True)
    ink = (values >= (low + high) / 2) & ~_blank(values)[:, None, None]
    skeleton = skeletonize(ink)
    points = np.nonzero(skeleton)
    count = np.bincount(points[0], minlength=len(values))
    thickness = 2 * np.bincount(points[0], depths(ink, points), len(values)) / np.maximum(count, 1)
    beside = [(skeleton[:, :, 1:], skeleton[:, :, :-1]), (skeleton[:, 1:], skeleton[:, :-1])]
    cornered = [(skeleton[:, 1:, 1:], skeleton[:, :-1, :-1]), (skeleton[:, 1:, :-1], skeleton[:, :-1, 1:])]
    straight, diagonal = (sum((a & b).sum((1, 2)) for a, b in pairs) for pairs in (beside, cornered))
    length = straight + math.sqrt(2) * diagonal
    return np.stack([thickness / SCALE, length / SCALE, ink.sum((1, 2)) / SCALE**2], 1)


def _moments(values: Array) -> Array:
    """See `moments`; of enlarged pictures."""
    count, height, width = values.shape
    x, y = np.arange(width), np.arange(height)
    blank = _blank(values)
    mass = np.where(blank[:, None, None], 1.0, values)
    mass = mass / mass.sum((1, 2), keepdims=True)
    rows, columns = mass.sum(2), mass.sum(1)  # (N, H), (N, W)
    m10, m01 = columns @ x, rows @ y
    u02 = rows @ y**2 - m01**2
    u11 = (mass @ x * y).sum(1) - m10 * m01
    shear = u11 / u02
    # A pixel lies left of t, along lines sheared about the centroid, where x + 1/2 - shear (y - m01) < t.
    along = x + 0.5 - shear[:, None, None] * (y[:, None] - m01[:, None, None])  # (N, H, W)
    place = np.clip(np.floor(along).astype(np.int64) + 1, 0, width)
    place += np.arange(count)[:, None, None] * (width + 1)
    binned = np.bincount(place.ravel(), mass.ravel(), count * (width + 1)).reshape(count, width + 1)
    across = _span(np.cumsum(binned, 1)[:, :width])
    upright = _span(np.cumsum(rows, 1) - rows)
    found = np.stack([np.arctan(-shear), across / SCALE, upright / SCALE], 1)
    found[blank] = 0
    return found


def _span(below: npt.NDArray[Any]) -> Array:
    """(N,) how far the middle ``1 - CUT`` of a mass reaches; `below` (N, L) is the share of it below 0 ... L - 1."""
    low, high = (np.array([np.interp(share, line, np.arange(len(line))) for line in below]) for share in _ENDS)
    span: Array = high - low
    return span


_ENDS = (CUT / 2, 1 - CUT / 2)

_strokes_of, _moments_of = Once(strokes), Once(moments)

DIGIT_OUTCOMES = (
    Outcome(
        "thickness", "px", "mean stroke thickness: twice the mean depth of the skeleton", lambda x: _strokes_of(x)[:, 0]
    ),
    Outcome("length", "px", "length of the skeleton of the strokes", lambda x: _strokes_of(x)[:, 1]),
    Outcome("area", "px^2", "area of the strokes, from half of the range of values on", lambda x: _strokes_of(x)[:, 2]),
    Outcome(
        "slant",
        "rad",
        "arctan of the horizontal shear of the mass; positive leans right",
        lambda x: _moments_of(x)[:, 0],
    ),
    Outcome(
        "width", "px", "width of the slanted parallelogram that holds 98 % of the mass", lambda x: _moments_of(x)[:, 1]
    ),
    Outcome("height", "px", "height of the parallelogram that holds 98 % of the mass", lambda x: _moments_of(x)[:, 2]),
    Outcome("intensity", "levels", "median of the ink, from 0 to 255", intensity),
    Outcome("ink", "share", "share of pixels above half of the maximum", ink_share),
)
