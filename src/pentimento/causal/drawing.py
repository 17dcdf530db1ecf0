"""A causal graph as inline SVG: causes to the left of their effects, confounded pairs joined by dashed lines.

    column of a node -> 1 + the highest column among its parents; 0 without any
    slot             -> its place in the column: near the mean slot of what it is joined to, a few sweeps over

An edge across several columns takes a slot in each between, so that it passes no node. Lines have the colour of the
text around, and classes ``node``, ``edge``, ``confounded`` and ``label`` for a page's style.
"""

from __future__ import annotations

import html
import itertools

from pentimento.causal.graphs import CausalGraph

__all__ = ["to_svg"]

CHARACTER = 7.5  # px, of a label
BOX = 26  # height of a node
ROW = 44  # from slot to slot
GAP = 56  # between columns
EDGE = 24  # around it all
SWEEPS = 4
Passage = tuple[str, str, int]  # an edge in a column between its ends


def to_svg(graph: CausalGraph) -> str:
    """The drawing; its title says in words what it shows."""
    columns, chains = _columns(graph)
    widths = [max(CHARACTER * len(n) + 18 for n in column if isinstance(n, str)) for column in columns]
    lefts = [EDGE + sum(widths[:k]) + GAP * k for k in range(len(columns))]
    tallest = max(len(column) for column in columns)
    places: dict[str | Passage, tuple[float, float, float]] = {}  # left, right, middle
    for k, column in enumerate(columns):
        top = EDGE + BOX / 2 + ROW * (tallest - len(column)) / 2
        for slot, item in enumerate(column):
            width = CHARACTER * len(item) + 18 if isinstance(item, str) else widths[k]
            left = lefts[k] + (widths[k] - width) / 2
            places[item] = (left, left + width, top + ROW * slot)
    lines = [_edge([places[item] for item in chain]) for chain in chains]
    lines += [_confounded(places[a], places[b]) for a, b in graph.confounded]
    lines += [_node(node, *places[node]) for node in graph.nodes]
    width, height = lefts[-1] + widths[-1] + EDGE, 2 * EDGE + BOX + ROW * (tallest - 1)
    words = [f"{a} acts on {b}" for a, b in graph.edges]
    words += [f"{a} and {b} share a cause nobody measured" for a, b in graph.confounded]
    head = (
        f"<svg class='graph' viewBox='0 0 {width:.0f} {height:.0f}' width='{width:.0f}' style='max-width:100%' "
        f"role='img'><title>Causal graph: {html.escape('; '.join(words) or 'no edges')}</title>"
    )
    return "".join([head, _ARROW, *lines, "</svg>"])


_ARROW = (
    "<defs><marker id='arrow' viewBox='0 0 8 8' refX='8' refY='4' markerWidth='8' markerHeight='8' "
    "orient='auto-start-reverse'><path d='M0 0L8 4L0 8z' fill='currentColor'/></marker></defs>"
)


def _columns(graph: CausalGraph) -> tuple[list[list[str | Passage]], list[list[str | Passage]]]:
    """What stands in each column from top to bottom, and of each edge what it goes through."""
    depth: dict[str, int] = {}
    for node in graph.order:
        depth[node] = max((depth[p] + 1 for p in graph.parents(node)), default=0)
    columns: list[list[str | Passage]] = [[] for _ in range(max(depth.values()) + 1)]
    for node in graph.nodes:
        columns[depth[node]].append(node)
    chains: list[list[str | Passage]] = []
    for cause, effect in graph.edges:
        between: list[str | Passage] = [(cause, effect, k) for k in range(depth[cause] + 1, depth[effect])]
        chains.append([cause, *between, effect])
        for k, passage in enumerate(between, depth[cause] + 1):
            columns[k].append(passage)
    joined: dict[str | Passage, list[str | Passage]] = {item: [] for column in columns for item in column}
    for chain in chains:
        for a, b in itertools.pairwise(chain):
            joined[a].append(b)
            joined[b].append(a)
    for _ in range(SWEEPS):
        slots = {item: s - (len(column) - 1) / 2 for column in columns for s, item in enumerate(column)}
        for column in columns:
            column.sort(key=lambda i: sum(slots[j] for j in joined[i]) / len(joined[i]) if joined[i] else slots[i])
            slots.update({item: s - (len(column) - 1) / 2 for s, item in enumerate(column)})
    return columns, chains


def _edge(stops: list[tuple[float, float, float]]) -> str:
    """A smooth line from the right of the first, through those between, to the left of the last."""
    x, y = stops[0][1], stops[0][2]
    path = f"M{x:.1f} {y:.1f}"
    for left, right, middle in stops[1:]:
        bend = (left - x) / 2
        path += f"C{x + bend:.1f} {y:.1f} {left - bend:.1f} {middle:.1f} {left:.1f} {middle:.1f}"
        if (left, right, middle) != stops[-1]:
            path += f"H{right:.1f}"
        x, y = right, middle
    return f"<path class='edge' d='{path}' fill='none' stroke='currentColor' marker-end='url(#arrow)'/>"


def _confounded(a: tuple[float, float, float], b: tuple[float, float, float]) -> str:
    """A dashed line with two heads: around to the left within a column, else over the top."""
    if a[0] < b[1] and b[0] < a[1]:
        bulge = min(a[0], b[0]) - EDGE
        path = f"M{a[0]:.1f} {a[2]:.1f}C{bulge:.1f} {a[2]:.1f} {bulge:.1f} {b[2]:.1f} {b[0]:.1f} {b[2]:.1f}"
    else:
        (x1, y1), (x2, y2) = (((item[0] + item[1]) / 2, item[2] - BOX / 2) for item in (a, b))
        top = min(y1, y2) * -1 / 3 + EDGE / 3  # a cubic goes three quarters of the way to its handles
        path = f"M{x1:.1f} {y1:.1f}C{x1:.1f} {top:.1f} {x2:.1f} {top:.1f} {x2:.1f} {y2:.1f}"
    return (
        f"<path class='confounded' d='{path}' fill='none' stroke='currentColor' stroke-dasharray='5 4' "
        "marker-start='url(#arrow)' marker-end='url(#arrow)'/>"
    )


def _node(name: str, left: float, right: float, middle: float) -> str:
    return (
        f"<rect class='node' x='{left:.1f}' y='{middle - BOX / 2:.1f}' width='{right - left:.1f}' height='{BOX}' "
        "rx='6' fill='none' stroke='currentColor'/>"
        f"<text class='label' x='{(left + right) / 2:.1f}' y='{middle + 4:.1f}' text-anchor='middle' font-size='13' "
        f"font-family='sans-serif' fill='currentColor'>{html.escape(name)}</text>"
    )
