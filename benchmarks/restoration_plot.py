"""A plot of lines as an SVG file of its own, which reads on a light page and on a dark one."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Line", "line_plot"]

WIDTH, HEIGHT = 560, 330
LEFT, RIGHT, TOP, BOTTOM = 52, 150, 14, 44  # margins; the names of lines stand in the right one
NAME_HEIGHT = 15
COLOURS = ("#c0392b", "#e08a1e", "#1f6fb2", "#2c8c5a", "#7d4fa3", "#777777")
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #333 } .tick { fill: #666; font-size: 11px }
.grid { stroke: #999; stroke-opacity: 0.3 } .line { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #ddd } .tick { fill: #aaa } }
"""


@dataclass(frozen=True)
class Line:
    """A name and its points, from left to right."""

    name: str
    points: Sequence[tuple[float, float]]


def line_plot(title: str, x_name: str, y_name: str, lines: Sequence[Line]) -> str:
    """The text of an SVG file, of at least two points in all that differ in x and in y."""
    xs, ys = zip(*(point for line in lines for point in line.points), strict=True)
    x_ticks, y_ticks = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - TOP)

    parts = [f"<style>{STYLE}</style>", f"<title>{html.escape(title)}</title>"]
    for tick in x_ticks:
        x, y = place(tick, y_ticks[0])
        parts += [f"<path class='grid' d='M{x:.1f} {y:.1f}V{TOP}'/>", _text(x, y + 16, f"{tick:g}", "middle", "tick")]
    for tick in y_ticks:
        x, y = place(x_ticks[0], tick)
        parts += [
            f"<path class='grid' d='M{x:.1f} {y:.1f}H{WIDTH - RIGHT}'/>",
            _text(x - 6, y + 4, f"{tick:g}", "end", "tick"),
        ]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_name, "middle"))
    parts.append(f"<g transform='translate(14 {HEIGHT / 2:.0f}) rotate(-90)'>{_text(0, 0, y_name, 'middle')}</g>")
    above = float(TOP)
    for index, line in sorted(enumerate(lines), key=lambda pair: -pair[1].points[-1][1]):
        places = [place(*point) for point in line.points]
        colour = COLOURS[index % len(COLOURS)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f"<path class='line' stroke='{colour}' d='M{path}'/>")
        parts += [f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3' fill='{colour}'/>" for x, y in places]
        above = max(above + NAME_HEIGHT, places[-1][1] + 4)
        name = html.escape(line.name)
        parts.append(f"<text x='{WIDTH - RIGHT + 9}' y='{above:.1f}' style='fill:{colour}'>{name}</text>")
    return f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' role='img'>{''.join(parts)}</svg>\n"


def ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Round numbers, at most `most` of them, of which the first and the last enclose ``[low, high]``."""
    step = 1e-6
    for factor in (2, 2.5, 2) * 12:
        first, last = int(low // step), -int(-high // step)
        if last - first < most:
            break
        step *= factor
    return [i * step for i in range(first, last + 1)]


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> str:
    return f"<text class='{style}' x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}'>{html.escape(text)}</text>"
