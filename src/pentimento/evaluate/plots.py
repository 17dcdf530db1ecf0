"""Plots as inline SVG for a page: intervals, pairs of numbers, shares of classes, differences.

A subject has an index, and so a shape and a colour: class ``s0`` to ``s5``, which the page's style gives a colour. Text
and lines have classes, too. A plot is `WIDTH` wide, so that it reads on a phone, and says in its title what it shows.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from pentimento.evaluate.intervals import Estimate

__all__ = [
    "WIDTH",
    "Point",
    "Share",
    "curve_plot",
    "difference_plot",
    "icon",
    "interval_plot",
    "scatter_plot",
    "share_plot",
]

WIDTH = 300
COLOURS = 6
RIGHT = WIDTH - 14  # of the area beside the names
ROW = 22
# About (0, 0), of like area. Five, for with six colours that makes thirty marks.
SHAPES = (
    "M-4.4 0a4.4 4.4 0 1 0 8.8 0a4.4 4.4 0 1 0-8.8 0z",
    "M-3.9-3.9H3.9V3.9H-3.9z",
    "M0-5.4L5.4 0L0 5.4L-5.4 0z",
    "M0-5.2L5 3.8H-5z",
    "M0 5.2L5-3.8H-5z",
)


@dataclass(frozen=True)
class Point:
    """A subject in a plot: its index and name, its number (or two of them), and these in characters."""

    index: int
    name: str
    x: Estimate
    text: str
    y: Estimate | None = None


@dataclass(frozen=True)
class Share:
    """A class: its name, its share among samples, that in characters, and the share in the data where it is known."""

    name: str
    share: Estimate
    text: str
    data: float | None


# -------------------------------------------------------------------------------------------------- parts
def _marker(index: int, x: float = 0, y: float = 0, hollow: bool = False) -> str:
    """The mark of a subject."""
    name = f"s{index % COLOURS}" + (" hollow" if hollow else "")
    return f"<path class='{name}' transform='translate({x:.1f} {y:.1f})' d='{SHAPES[index % len(SHAPES)]}'/>"


def icon(index: int) -> str:
    """The mark of a subject, to stand in a line of text."""
    return f"<svg class='icon' viewBox='-7 -7 14 14' aria-hidden='true'>{_marker(index)}</svg>"


def _text(x: float, y: float, text: str, anchor: str = "start", style: str = "label") -> str:
    return f"<text class='{style}' x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}'>{html.escape(text)}</text>"


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f"<line class='{style}' x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}'/>"


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    said = html.escape(title)
    return (
        f"<svg viewBox='0 0 {WIDTH} {height:.0f}' role='img' aria-label='{said}'><title>{said}</title>"
        f"{''.join(parts)}</svg>"
    )


def _short(text: str, length: int = 13) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _left(names: Sequence[str]) -> float:
    """Where the area beside the names begins; 6.8 is about the width of a letter."""
    return 12 + 6.8 * max(len(_short(name)) for name in names)


class _Scale:
    """From numbers in [low, high] to places in [begin, end]; what lies outside goes to the nearer end."""

    def __init__(self, low: float, high: float, begin: float, end: float) -> None:
        self.low, self.high, self.begin, self.end = low, high, begin, end

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.begin + min(max(share, 0.0), 1.0) * (self.end - self.begin)

    def ticks(self, most: int) -> list[float]:
        """Round numbers in the range, at most `most`: 1, 2 or 5 times a power of ten apart."""
        power = 10.0 ** math.floor(math.log10((self.high - self.low) / most))
        for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            if last - first < most:
                break
        return [i * step for i in range(first, last + 1)]


def _labels(ticks: Sequence[float]) -> list[str]:
    step = ticks[1] - ticks[0] if len(ticks) > 1 else abs(ticks[0]) or 1.0
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if step >= 1e6:
        return [f"{t / 1e6:,g} M" if t else "0" for t in ticks]
    if decimals > 5:
        return [f"{t:.0e}".replace("-", "−") if t else "0" for t in ticks]
    return [f"{t:,.{decimals}f}".replace("-", "−") for t in ticks]


def _range(estimates: Sequence[Estimate]) -> tuple[float, float] | None:
    """A little more than all finite numbers, and zero where it is near; None where all are equal."""
    every = [(e.value, e.low, e.high, e.corrected) for e in estimates]
    finite = [x for numbers in every for x in numbers if x is not None and math.isfinite(x)]
    if not finite or max(finite) == min(finite):
        return None
    low, high = min(finite), max(finite)
    if 0 < low < 0.4 * high:
        low = 0.0
    if 0 > high > 0.4 * low:
        high = 0.0
    pad = 0.04 * (high - low)
    return low - (pad if low else 0.0), high + (pad if high else 0.0)


def _whisker(scale: _Scale, estimate: Estimate, y: float) -> str:
    """A horizontal one; an end that lies at infinity is an arrow."""
    low, high = scale(estimate.low), scale(estimate.high)
    ends = []
    for at, end, sign in ((low, estimate.low, 1), (high, estimate.high, -1)):
        if math.isinf(end):
            ends.append(f"<path class='whisker' d='M{at + 5 * sign:.1f} {y - 4:.1f}L{at:.1f} {y:.1f}l{5 * sign} 4'/>")
        else:
            ends.append(_line(at, y - 3.5, at, y + 3.5, "whisker"))
    return _line(low, y, high, y, "whisker") + "".join(ends)


# -------------------------------------------------------------------------------------------------- plots
def interval_plot(title: str, points: Sequence[Point]) -> str:
    """A row for each subject: its interval, a mark at the value, and a hollow one at a value that has a bias.

    Empty where all numbers are equal.
    """
    limits = _range([p.x for p in points])
    if limits is None:
        return ""
    scale, bottom = _Scale(*limits, _left([p.name for p in points]), RIGHT), 4 + ROW * len(points)
    parts = _x_axis(scale, 4, bottom)
    for row, point in enumerate(points):
        y = 4 + ROW * (row + 0.5)
        parts += [_text(0, y + 4, _short(point.name)), _whisker(scale, point.x, y)]
        if point.x.corrected is not None:
            parts.append(_marker(point.index, scale(point.x.value), y, hollow=True))
        middle = point.x.value if point.x.corrected is None else point.x.corrected
        if math.isfinite(middle):
            parts.append(_marker(point.index, scale(middle), y))
        elif middle > 0:
            parts.append(_text(RIGHT + 3, y + 4, "∞"))
    said = "; ".join(f"{p.name} {p.text}" for p in points)
    return _svg(bottom + 20, f"{title}: {said}", parts)


def _x_axis(scale: _Scale, top: float, bottom: float) -> list[str]:
    ticks = scale.ticks(4)
    parts = [_line(scale.begin, bottom, scale.end, bottom, "axis")]
    for tick, label in zip(ticks, _labels(ticks), strict=True):
        x = scale(tick)
        parts.append(_line(x, bottom, x, bottom + 4, "axis"))
        parts.append(_text(min(x, WIDTH - 3.2 * len(label)), bottom + 16, label, "middle", "tick"))
    if scale.low <= 0 <= scale.high:
        parts.append(_line(scale(0), top, scale(0), bottom, "zero"))
    return parts


def scatter_plot(x_name: str, y_name: str, points: Sequence[Point]) -> str:
    """Subjects by two shares (or what may exceed 1), with whiskers both ways and, where there is room, a name."""
    both = [(p, p.y) for p in points if p.y is not None]
    x_high, y_high = (
        max([1.0, *(1.04 * max(e.high, e.value) for e in estimates if math.isfinite(e.high))])
        for estimates in ([p.x for p, _ in both], [y for _, y in both])
    )
    top, bottom, left = 8.0, 244.0, 44.0
    across, up = _Scale(0, x_high, left, RIGHT), _Scale(0, y_high, bottom, top)
    parts = []
    for tick, label in zip(across.ticks(6), _labels(across.ticks(6)), strict=True):
        parts += [_line(across(tick), top, across(tick), bottom, "grid")]
        parts += [_text(across(tick), bottom + 16, label, "middle", "tick")]
    for tick, label in zip(up.ticks(6), _labels(up.ticks(6)), strict=True):
        parts += [_line(left, up(tick), RIGHT, up(tick), "grid"), _text(left - 6, up(tick) + 4, label, "end", "tick")]
    parts.append(_text((left + RIGHT) / 2, bottom + 34, x_name, "middle"))
    parts.append(
        f"<g transform='translate(10 {(top + bottom) / 2:.0f}) rotate(-90)'>{_text(0, 0, y_name, 'middle')}</g>"
    )
    free = bottom
    for point, y in sorted(both, key=lambda pair: pair[1].value):
        at, height = across(point.x.value), up(y.value)
        parts.append(_line(across(point.x.low), height, across(point.x.high), height, "whisker"))
        parts.append(_line(at, up(y.low), at, up(y.high), "whisker"))
        parts.append(_marker(point.index, at, height))
        if min(height + 4, free) < max(height - 10, top):
            continue  # no room beside its point, above the name below: the mark has to do
        free, name = min(height + 4, free), _short(point.name, 20)
        if at > WIDTH / 2:
            parts.append(_text(min(at - 9, across(point.x.low) - 4), free, name, "end"))
        else:
            parts.append(_text(max(at + 9, across(point.x.high) + 4), free, name))
        free -= 14
    said = "; ".join(f"{p.name} {p.text}" for p in points)
    return _svg(bottom + 40, f"{y_name} over {x_name}: {said}", parts)


def share_plot(index: int, name: str, shares: Sequence[Share]) -> str:
    """A bar for each class with its interval, and an upright line at its share in the data."""
    high = max([x for s in shares for x in (s.share.high, s.data or 0.0)])
    left = _left([s.name for s in shares])
    scale = _Scale(0, high or 1.0, left, WIDTH - 44)
    parts = []
    for row, share in enumerate(shares):
        y = ROW * (row + 0.5)
        width = scale(share.share.value) - left
        parts.append(_text(left - 8, y + 4, _short(share.name), "end"))
        parts.append(
            f"<rect class='s{index % COLOURS} bar' x='{left:.1f}' y='{y - 6:.1f}' width='{width:.1f}' height='12'/>"
        )
        parts.append(_whisker(scale, share.share, y))
        if share.data is not None:
            parts.append(_line(scale(share.data), y - 10, scale(share.data), y + 10, "data"))
        parts.append(_text(WIDTH, y + 4, share.text, "end", "tick"))
    parts.append(_line(left, 0, left, ROW * len(shares), "axis"))
    said = "; ".join(f"{s.name} {s.text}" + ("" if s.data is None else f" (data {s.data:.3f})") for s in shares)
    return _svg(ROW * len(shares), f"{name}: {said}", parts)


def difference_plot(estimate: Estimate, clear: bool) -> str:
    """A small interval beside an upright zero, its dot solid where it is `clear` of it; the number stands beside it."""
    middle = estimate.value if estimate.corrected is None else estimate.corrected
    most = max(abs(estimate.low), abs(estimate.high), abs(middle)) or 1.0
    scale = _Scale(-most, most, 6, 114)
    dot = f"<circle class='{'dot' if clear else 'dot hollow'}' cx='{scale(middle):.1f}' cy='9' r='3.6'/>"
    parts = _line(60, 0, 60, 18, "zero") + _whisker(scale, estimate, 9) + dot
    return f"<svg class='small' viewBox='0 0 120 18' aria-hidden='true'>{parts}</svg>"


def curve_plot(x_name: str, y_name: str, places: Sequence[float], points: Sequence[Estimate]) -> str:
    """Numbers with their intervals over `places` along an axis, joined by a line; empty where all are equal."""
    limits = _range(points)
    if limits is None or len(places) < 2:
        return ""
    top, bottom, left = 8.0, 180.0, 62.0
    across, up = _Scale(places[0], places[-1], left + 8, RIGHT), _Scale(*limits, bottom, top)
    parts = []
    for tick, label in zip(up.ticks(5), _labels(up.ticks(5)), strict=True):
        parts += [_line(left, up(tick), RIGHT, up(tick), "grid"), _text(left - 6, up(tick) + 4, label, "end", "tick")]
    for tick, label in zip(across.ticks(5), _labels(across.ticks(5)), strict=True):
        parts.append(_text(across(tick), bottom + 16, label, "middle", "tick"))
    if limits[0] <= 0 <= limits[1]:
        parts.append(_line(left, up(0), RIGHT, up(0), "zero"))
    spots = [(across(x), up(e.value)) for x, e in zip(places, points, strict=True)]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
    parts.append(f"<path class='whisker' fill='none' d='{path}'/>")
    for (x, y), e in zip(spots, points, strict=True):
        parts += [_line(x, up(e.low), x, up(e.high), "whisker"), _marker(0, x, y)]
    parts.append(_text((left + RIGHT) / 2, bottom + 34, x_name, "middle"))
    said = "; ".join(f"{x:g}: {e.value:.3g} ({e.low:.3g} to {e.high:.3g})" for x, e in zip(places, points, strict=True))
    return _svg(bottom + 40, f"{y_name} over {x_name}: {said}", parts)
