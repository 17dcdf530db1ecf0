"""Lines and spots drawn on tensors, at a cost that grows with what is drawn and not with the picture.

A stroke is a polyline: points (y, x) in pixels, (0, 0) the centre of the first one. Each of its pieces is drawn within
a window of its own, and the windows of all samples at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Window", "cover_in_order", "paint", "windows"]

# Pixels of windows worked on at once: what a processor's cache holds, and enough to keep a GPU busy.
_CHUNK_PX = {"cpu": 2**16, "cuda": 2**24}


@dataclass(frozen=True)
class Window:
    """Windows of one size around M places.

    Args:
        rows: which of the places they are around.
        y: (m, h, 1) row of each pixel, as float.
        x: (m, 1, w) column.
        index: (m, h, w) int64, of each pixel within (planes, H, W) laid flat.
    """

    rows: slice
    y: Tensor
    x: Tensor
    index: Tensor


def windows(centres: Tensor, planes: Tensor, side_px: int, height: int, width: int) -> Iterator[Window]:
    """Windows of `side_px`, moved inwards at the border so that they lie within the picture, a chunk at a time.

    Args:
        centres: (M, 2) y, x.
        planes: (M,) int64, in which plane each is.
        side_px: a window is no larger than the picture all the same.
        height: H.
        width: W.
    """
    h, w = min(side_px, height), min(side_px, width)
    chunk = max(1, _CHUNK_PX.get(centres.device.type, 2**20) // (h * w))
    within_y = torch.arange(h, device=centres.device)[:, None]
    within_x = torch.arange(w, device=centres.device)
    most = centres.new_tensor([height - h, width - w])
    corners = torch.minimum((centres - centres.new_tensor([h // 2, w // 2])).round().clamp(min=0), most).long()
    for begin in range(0, len(centres), chunk):
        rows = slice(begin, begin + chunk)
        y = corners[rows, :1, None] + within_y  # (m, h, 1)
        x = corners[rows, 1:, None] + within_x  # (m, 1, w)
        index = (planes[rows, None, None] * height + y) * width + x
        yield Window(rows, y.to(centres.dtype), x.to(centres.dtype), index)


def paint(points: Tensor, radii_px: Tensor, opacities: Tensor, pieces: Tensor, height: int, width: int) -> Tensor:
    """Strokes with soft edges of half a pixel, whose width and opacity vary along them; (P, 1, H, W) in [0, 1].

    Where strokes meet, the more opaque one counts.

    Args:
        points: (P, S, K, 2) of S strokes on each of P planes.
        radii_px: (P, S, K) half the width at each point; below half a pixel a stroke pales instead of thinning.
        opacities: (P, S, K) at each point.
        pieces: (P, S) int64, how many of the K - 1 pieces of each stroke are drawn.
        height: H.
        width: W.
    """
    canvas = points.new_zeros(len(points) * height * width)
    drawn = torch.arange(points.shape[2] - 1, device=points.device) < pieces[:, :, None]  # (P, S, K - 1)
    drawn &= _near(points, radii_px.amax(), height, width)
    planes = drawn.nonzero()[:, 0]  # (M,)
    if len(planes):
        ends = [values[:, :, side][drawn] for values in (points, radii_px, opacities) for side in _ENDS]
        start, end, first_radius, last_radius, first, last = ends
        span = end - start  # (M, 2)
        side = math.ceil(float(span.abs().max()) + 2 * float(radii_px.max())) + 4
        for window in windows((start + end) / 2, planes, side, height, width):
            rows = window.rows
            share, distance = _along(window, start[rows], span[rows])
            radius = _between(first_radius[rows], last_radius[rows], share)
            alpha = (radius + 0.5).sub_(distance.sqrt_()).clamp_(0, 1).mul_(radius.mul_(2).clamp_(max=1))
            alpha *= _between(first[rows], last[rows], share)
            canvas.scatter_reduce_(0, window.index.flatten(), alpha.flatten(), "amax")
    return canvas.view(-1, 1, height, width)


def cover_in_order(points: Tensor, widths_px: Tensor, coverage: Tensor, height: int, width: int) -> Tensor:
    """A brush goes along strokes, one after another, until it has covered a share of the picture.

    Each pixel gets the length of the brush's way so far when it is painted, and those painted first are taken: so
    what is covered ends in the middle of a stroke, and its area is as asked to about the width of the brush.

    Args:
        points: (N, S, K, 2) of each sample's strokes.
        widths_px: (N, S) of the brush.
        coverage: (N,) share of the picture. It stays below that where the strokes do not suffice.
        height: H.
        width: W.

    Returns:
        (N, 1, H, W) of 0 and 1.
    """
    wanted = (coverage * height * width).round().long()  # (N,)
    radii = widths_px[:, :, None] / 2  # (N, S, 1)
    lengths = (points[:, :, 1:] - points[:, :, :-1]).norm(dim=3)  # (N, S, K - 1)
    ways = lengths.clone()
    ways[:, :, 0] += widths_px  # before it starts the next stroke
    before = ways.flatten(1).cumsum(1).view_as(ways) - lengths  # (N, S, K - 1) of the way
    painted = (lengths * widths_px[:, :, None]).flatten(1).cumsum(1).view_as(ways) - lengths * widths_px[:, :, None]
    # Thrown at random, pieces of -log(1 - c) times the area cover the share c of it. The rest is for what is outside
    # and for strokes that cross themselves: one in 2,700 trials of 60 % fell short.
    needed = -3 * torch.log1p(-coverage.clamp(max=0.99)) * height * width  # (N,)
    drawn = (painted < needed[:, None, None]) & _near(points, radii.amax(), height, width)
    planes = drawn.nonzero()[:, 0]
    time = points.new_full((len(points) * height * width,), math.inf)
    if len(planes):
        start, end = (points[:, :, side][drawn] for side in _ENDS)
        offset, length, radius = (v.expand_as(drawn)[drawn][:, None, None] for v in (before, lengths, radii))
        span = end - start
        side = math.ceil(float(span.abs().max()) + 2 * float(radius.max())) + 3
        for window in windows((start + end) / 2, planes, side, height, width):
            rows = window.rows
            share, distance = _along(window, start[rows], span[rows], clamped=False)
            when = (share * length[rows]).add_(offset[rows]).masked_fill_(distance > radius[rows].square(), math.inf)
            time.scatter_reduce_(0, window.index.flatten(), when.flatten(), "amin")
    time = time.view(-1, height * width)
    # The time at which as many pixels as wanted are painted; a pixel never painted has none.
    last = [t.kthvalue(k).values if k else t.new_tensor(-math.inf) for t, k in zip(time, wanted.tolist(), strict=True)]
    covered = time <= torch.stack(last).clamp(max=torch.finfo(time.dtype).max)[:, None]
    return covered.to(points.dtype).view(-1, 1, height, width)


_ENDS = (slice(None, -1), slice(1, None))


def _between(first: Tensor, last: Tensor, share: Tensor) -> Tensor:
    """From `first` to `last`, both (m,), by `share` (m, h, w)."""
    return torch.lerp(first[:, None, None], last[:, None, None], share)


def _near(points: Tensor, margin_px: Tensor, height: int, width: int) -> Tensor:
    """(P, S, K - 1) bool: pieces that may touch the picture."""
    lower, upper = (f(points[:, :, :-1], points[:, :, 1:]) for f in (torch.minimum, torch.maximum))
    size = points.new_tensor([height, width])
    return ((upper > -1 - margin_px) & (lower < size + margin_px)).all(3)


def _along(window: Window, start: Tensor, span: Tensor, *, clamped: bool = True) -> tuple[Tensor, Tensor]:
    """How far along a piece the nearest point to each pixel is, 0 to 1, and the square of its distance, (m, h, w)."""
    y, x = window.y - start[:, :1, None], window.x - start[:, 1:, None]
    dy, dx = span[:, :1, None], span[:, 1:, None]
    share = (y * dy + x * dx) / (dy.square() + dx.square()).clamp(min=1e-12)
    nearest = share.clamp(0, 1)
    distance = (y - nearest * dy).square_().add_((x - nearest * dx).square_())
    return nearest if clamped else share, distance
