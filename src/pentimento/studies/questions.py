"""A question to a table, checked against the graph and made ready for estimators.

A treatment has levels, each of which is held against one of them, or is a number, of which the slope is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pentimento.causal.attributes import Attribute, read_table
from pentimento.causal.effects import LEVEL
from pentimento.causal.graphs import CausalGraph
from pentimento.causal.identification import Estimand
from pentimento.causal.observational import Variable
from pentimento.errors import CausalError, suggest
from pentimento.studies.outcomes import ALL

__all__ = ["Asked", "Contrast", "Prepared"]

LEAST_OF_A_LEVEL = 10  # rows


@dataclass(frozen=True)
class Asked:
    """A question.

    Args:
        treatment: a column and a node.
        outcome: another one.
        against: the level that others are held against; the most frequent one, of two numbers the lower, if None.
        level: at which effects count as found; intervals are of 1 - level.
        seed: of folds and refuters.
        refute: put what is found to refuters.
    """

    treatment: str
    outcome: str
    against: str | None = None
    level: float = LEVEL
    seed: int = 0
    refute: bool = True


@dataclass(frozen=True)
class Contrast:
    """What is told: a level against another, or one more of a number.

    Args:
        intervention: e.g. ``"do(style=bold)"``.
        words: e.g. ``"style: bold against plain"``.
        level: code; None of a number.
        against: code.
    """

    intervention: str
    words: str
    level: int | None = None
    against: int | None = None


@dataclass(frozen=True)
class Prepared:
    """The table as estimators take it; `columns` are numbers and codes."""

    asked: Asked
    estimand: Estimand
    columns: dict[str, Tensor]
    levels: dict[str, tuple[str, ...]]
    contrasts: tuple[Contrast, ...]
    about: str  # of the outcome

    @classmethod
    def of(cls, graph: CausalGraph, table: Mapping[str, Sequence[Any]], asked: Asked, estimand: Estimand) -> Prepared:
        """Check and encode the table.

        Raises:
            CausalError: a column that is not there or cannot be used, too few rows; see `read_table`.
        """
        _check_columns(graph, table, asked)
        attributes, read = read_table(graph, table)
        columns = {name: values.double() for name, values in read.items()}
        levels = {name: attribute.levels for name, attribute in attributes.items()}
        about = f"column {asked.outcome!r}"
        if levels[asked.outcome]:
            about = _binary_outcome(asked.outcome, levels)
        t = columns[asked.treatment]
        numbers: Tensor = torch.unique(t)
        if not levels[asked.treatment] and len(numbers) == 2:  # a number with two values has levels
            levels[asked.treatment] = tuple(f"{float(number):.15g}" for number in numbers)
            columns[asked.treatment] = (t == numbers[1]).double()
        contrasts = _contrasts(asked, columns[asked.treatment], levels[asked.treatment], attributes[asked.treatment])
        prepared = cls(asked, estimand, columns, levels, contrasts, about)
        prepared.check()
        return prepared

    @property
    def count(self) -> int:
        """Rows."""
        return len(self.columns[self.asked.outcome])

    @property
    def least(self) -> int:
        """Rows of the rarest level, or all."""
        if not self.levels[self.asked.treatment]:
            return self.count
        return int(torch.bincount(self.columns[self.asked.treatment].long()).min())

    def variables(self, names: Sequence[str], columns: Mapping[str, Tensor]) -> list[Variable]:
        """Columns for `pentimento.causal.observational.basis`; one that is not of the table is of numbers."""
        return [Variable(name, columns[name], self.levels.get(name, ())) for name in names]

    def mediators(self, columns: Mapping[str, Tensor]) -> Tensor:
        """(N, K), or the instruments: numbers, and 0 and 1 for each level but the first."""
        variables = self.variables(self.estimand.variables, columns)
        parts = [
            v.values[:, None] if not v.levels else torch.nn.functional.one_hot(v.values.long(), len(v.levels))[:, 1:]
            for v in variables
        ]
        return torch.cat([part.double() for part in parts], 1)

    def check(self) -> None:
        """Refuse a table that is too small for the formula."""
        adjusted = self.estimand.variables if self.estimand.strategy == "adjustment" else ()
        wide = 1 + sum(max(1, len(self.levels[name]) - 1) for name in adjusted)
        if 3 * wide > self.least:
            rows = "rows of its rarest level" if self.levels[self.asked.treatment] else "rows"
            raise CausalError(
                f"--data: {self.least} {rows} are too few to adjust for {', '.join(adjusted)}, which make {wide - 1} "
                f"columns; at least {3 * wide} are needed: gather more, or join rare levels"
            )
        if self.estimand.strategy == "instrument" and len(self.levels[self.asked.treatment]) > 2:
            raise CausalError(
                f"--treatment: with an instrument, a number or two levels expected, {self.asked.treatment!r} has "
                f"{len(self.levels[self.asked.treatment])}; leave the rows of the others out"
            )


def _check_columns(graph: CausalGraph, table: Mapping[str, Sequence[Any]], asked: Asked) -> None:
    for option, name in (("--treatment", asked.treatment), ("--outcome", asked.outcome)):
        if name not in table:
            hint = f"add --measure {name}" if name in ALL else suggest(name, table)
            raise CausalError(f"{option}: no column {name!r} in the table; {hint}")
    measured = [name for name in graph.nodes if name not in table and name in ALL]
    if measured:
        raise CausalError(f"--graph: no column for the node {measured[0]!r}; add --measure {measured[0]}")
    there = {value for value in table[asked.treatment] if value is not None}
    if len(there) == 1:
        raise CausalError(
            f"--treatment: {asked.treatment!r} has one level, {next(iter(there))!r}; what never varies shows no effect"
        )


def _binary_outcome(name: str, levels: dict[str, tuple[str, ...]]) -> str:
    """Its two names as 0 and 1; says which is which."""
    if len(levels[name]) != 2:
        raise CausalError(
            f"--outcome: numbers or two categories expected, {name!r} has {len(levels[name])}; make a column of 0 and "
            "1 for the one that you ask about"
        )
    about = f"share of {levels[name][1]!r} in column {name!r}"
    levels[name] = ()
    return about


def _contrasts(asked: Asked, t: Tensor, levels: tuple[str, ...], attribute: Attribute) -> tuple[Contrast, ...]:
    name = asked.treatment
    if not levels:
        if asked.against is not None:
            raise CausalError(f"--against: {name!r} is a number, whose slope is told; leave --against out")
        return (Contrast(f"do({name} + 1)", f"{name} + 1"),)
    counts = torch.bincount(t.long(), minlength=len(levels))
    rare = [k for k in range(len(levels)) if counts[k] < LEAST_OF_A_LEVEL]
    if rare:
        raise CausalError(
            f"--treatment: {name}={levels[rare[0]]} has {int(counts[rare[0]])} rows, at least {LEAST_OF_A_LEVEL} are "
            "needed; gather more, or leave these rows out"
        )
    against = 0 if not attribute.levels else int(counts.argmax())
    if asked.against is not None:
        if asked.against not in levels:
            raise CausalError(f"--against: {name} has no level {asked.against!r}; {suggest(asked.against, levels)}")
        against = levels.index(asked.against)
    return tuple(
        Contrast(f"do({name}={level})", f"{name}: {level} against {levels[against]}", k, against)
        for k, level in enumerate(levels)
        if k != against
    )
