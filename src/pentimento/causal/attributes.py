"""Columns of a table as a structural causal model takes them: numbers, or names of categories.

A column of numbers is a tensor, an array or a list; a column of categories is a list of texts. Inside they are float64
and int64 codes, (N,). As parents they are encoded: numbers less their mean and over their standard deviation,
categories as one column of 0 and 1 for each level.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pentimento.causal.graphs import CausalGraph
from pentimento.errors import CausalError, suggest

__all__ = ["LEAST_ROWS", "Attribute", "Column", "encode", "few_numbers", "read_table"]

Column = Tensor | Sequence[str] | Sequence[float]
LEAST_ROWS = 50  # a fifth of them judges what the others taught
MOST_LEVELS = 64
FEW = 10  # different numbers: then they may be names


@dataclass(frozen=True)
class Attribute:
    """What a column is.

    Args:
        name: of the column.
        levels: names of the categories, sorted; empty for numbers.
        low: the lowest number seen.
        high: the highest.
        mean: of the numbers.
        spread: their standard deviation.
    """

    name: str
    levels: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    spread: float = 1.0

    @property
    def width(self) -> int:
        """Columns that it takes as a parent."""
        return len(self.levels) or 1

    def read(self, values: Column | float | str) -> Tensor:
        """`values`, or one value, as numbers or codes, (N,).

        Raises:
            CausalError: an unknown category, with its neighbours; text for a number or the other way round; a value
                that is missing.
        """
        if getattr(values, "ndim", None) == 0:  # a number that a tensor or an array holds
            values = values.item()  # type: ignore[union-attr]
        single = isinstance(values, str | float | int)
        found = _plain(self.name, [values] if single else values)
        if self.levels and not isinstance(found, Tensor):
            for name in dict.fromkeys(found):
                if name not in self.levels:
                    raise CausalError(f"{self.name}: no category {name!r}; {suggest(name, self.levels)}")
            return torch.tensor([self.levels.index(name) for name in found])
        if not self.levels and isinstance(found, Tensor):
            return found
        wanted = f"one of {', '.join(self.levels[:8])}" if self.levels else f"a number, {self.low:g} to {self.high:g},"
        given = values if single else found[0] if isinstance(found, list) else float(found[0]) if len(found) else "none"
        raise CausalError(f"{self.name}: {wanted} expected, got {given!r}")

    def write(self, values: Tensor) -> Tensor | list[str]:
        """Numbers as they are, codes as names."""
        return [self.levels[code] for code in values.tolist()] if self.levels else values

    def encode(self, values: Tensor) -> Tensor:
        """Numbers or codes (N,) as parents, (N, width) float64."""
        if self.levels:
            return torch.nn.functional.one_hot(values, len(self.levels)).double()
        return ((values - self.mean) / self.spread)[:, None]

    def beyond(self, values: Tensor) -> list[str]:
        """A line where numbers lie outside of what was seen, with the largest distance; else none."""
        if self.levels or not len(values):
            return []
        distance = torch.maximum(self.low - values, values - self.high)
        worst = int(distance.argmax())
        if distance[worst] <= 0:
            return []
        share = float(distance[worst]) / (self.high - self.low)
        return [
            f"{self.name}={float(values[worst]):g}: {float(distance[worst]):.3g} outside what was seen, "
            f"{self.low:g} to {self.high:g} ({share:.0%} of its width)"
        ]


def encode(
    attributes: Mapping[str, Attribute], names: Sequence[str], values: Mapping[str, Tensor], count: int
) -> Tensor:
    """The columns called `names` side by side as parents of `count` rows, (N, P); P is 0 where there are none."""
    return torch.cat([torch.zeros(count, 0).double(), *(attributes[n].encode(values[n]) for n in names)], dim=1)


def read_table(graph: CausalGraph, table: Mapping[str, Any]) -> tuple[dict[str, Attribute], dict[str, Tensor]]:
    """What the columns of the graph's nodes are, and their values; other columns are left alone.

    Raises:
        CausalError: a node without a column, with its neighbours; columns of different lengths, or fewer than
            `LEAST_ROWS` rows; a column that is constant, has values missing, is neither of numbers nor of names, or has
            more than 64 categories.
    """
    for node in graph.nodes:
        if node not in table:
            raise CausalError(
                f"table: no column for the node {node!r}; {suggest(node, map(str, table))} (a cause that nobody "
                "measured is drawn as 'a <-> b' between what it acts on)"
            )
    plain = {node: _plain(f"table: column {node!r}", table[node]) for node in graph.nodes}
    lengths = {node: len(values) for node, values in plain.items()}
    first = graph.nodes[0]
    for node, length in lengths.items():
        if length != lengths[first]:
            raise CausalError(f"table: column {node!r} has {length} rows, column {first!r} has {lengths[first]}")
    if lengths[first] < LEAST_ROWS:
        raise CausalError(f"table: at least {LEAST_ROWS} rows are needed, got {lengths[first]}; gather more")
    attributes = {node: _attribute(node, values) for node, values in plain.items()}
    return attributes, {node: attributes[node].read(values) for node, values in plain.items()}


def _attribute(name: str, values: Tensor | list[str]) -> Attribute:
    if isinstance(values, Tensor):
        if values.min() == values.max():
            raise _constant(name, len(values), f"{float(values[0]):g}")
        low, high = float(values.min()), float(values.max())
        return Attribute(name, (), low, high, float(values.mean()), float(values.std()))
    levels = tuple(sorted(set(values)))
    if len(levels) == 1:
        raise _constant(name, len(values), repr(levels[0]))
    if len(levels) > MOST_LEVELS:
        raise CausalError(
            f"table: column {name!r} has {len(levels)} different names, at most {MOST_LEVELS} categories are taken; "
            "group them, or give numbers"
        )
    return Attribute(name, levels)


def few_numbers(name: str, values: Tensor) -> str:
    """What to say of numbers of which there are so few that they may be names; else nothing."""
    distinct = len(set(values.tolist()))
    return f"{name} has only {distinct} different numbers; if they stand for categories, give names" * (distinct <= FEW)


def _constant(name: str, count: int, value: str) -> CausalError:
    return CausalError(
        f"table: column {name!r}: all {count} values are {value}; what never varies shows no cause and no effect, take "
        "it out of the graph"
    )


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _plain(where: str, values: Any) -> Tensor | list[str]:
    """A column as float64 or as texts; `where` starts messages."""
    neither = CausalError(f"{where} is neither of numbers nor of names; give one or the other")
    if isinstance(values, np.ndarray | Tensor):
        if values.ndim != 1:
            raise CausalError(f"{where}: one value a row expected, got shape {tuple(values.shape)}")
        values = values.tolist()
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise neither
    gone = [row for row, value in enumerate(values) if value in (None, "") or _is_nan(value)]
    if gone:
        raise CausalError(
            f"{where}: {len(gone)} of {len(values)} values are missing, the first in row {gone[0]} (the "
            "first row is 0); fill them in or leave these rows out"
        )
    if all(isinstance(value, str) for value in values) and values:
        return list(values)
    if not all(isinstance(value, int | float) for value in values):
        raise neither
    found = torch.tensor(values, dtype=torch.float64)
    if not bool(torch.isfinite(found).all()):
        row = int((~torch.isfinite(found)).nonzero()[0])
        raise CausalError(f"{where}: finite numbers expected, got {float(found[row])} in row {row}")
    return found
