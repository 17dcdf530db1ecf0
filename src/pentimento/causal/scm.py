"""Structural causal models of the attributes of a table: abduction, action, prediction (Pearl 2009, chapter 7).

    x_v = f_v(x_parents(v), n_v)   for each node v, with noises that are independent of one another
    abduction    the noise of a row: what about it its causes do not explain
    action       do(v = value): the equation of v is replaced, its causes are cut off
    prediction   all equations solved in causal order, for that noise

A counterfactual is all three. Where no parent of a node has changed, the node keeps the value that was seen, so that a
row with nothing set is returned as it was, to the last bit. The noise of a category is drawn from what the row leaves
open, by `seed`; that of a number is determined.

What this rests on besides the graph: no unmeasured common causes, and, for the counterfactual of a single row, that a
number rises with its noise (a row keeps its place among rows of equal causes). No table can show the second.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from pentimento.causal.attributes import Attribute, Column, encode, few_numbers, read_table
from pentimento.causal.choice import Choice, choose
from pentimento.causal.effects import PairedEffect, paired
from pentimento.causal.graphs import CausalGraph
from pentimento.causal.mechanisms import Mechanism, from_state
from pentimento.errors import CausalError, ModelError, NotFoundError, suggest
from pentimento.runtime import Draws, Progress, ProgressCallback, atomic_write, derive_seed, no_progress

__all__ = ["NaturalEffects", "Row", "StructuralModel"]

CONFIG, TENSORS = "scm.json", "scm.safetensors"
FORMAT = "pentimento scm 1"
Row = Mapping[str, Column | float | str]
Written = dict[str, Tensor | list[str]]


@dataclass(frozen=True)
class NaturalEffects:
    """What a treatment does to an outcome, in all and by which way (Pearl 2001); each over simulated units.

    The intervals are over these units alone: they say nothing of how well the mechanisms were learned.

    Args:
        total: outcome after less outcome before.
        direct: with every mediator as it was before.
        indirect: with the treatment as before, and every mediator as it would be after. Total is not direct plus
            indirect where the two ways interact.
        mediators: nodes on the way from the treatment to the outcome.
    """

    total: PairedEffect
    direct: PairedEffect
    indirect: PairedEffect
    mediators: tuple[str, ...]


@dataclass(frozen=True)
class StructuralModel:
    """A causal graph with a mechanism for each node, see the module.

    Args:
        graph: without confounded pairs.
        attributes: what each column is, by name.
        mechanisms: by name of the effect.
        choices: why these, by name.
        count: rows that it was learned from.
        seed: of the fits.
        notes: sentences for the reader.
    """

    graph: CausalGraph
    attributes: Mapping[str, Attribute]
    mechanisms: Mapping[str, Mechanism]
    choices: Mapping[str, Choice]
    count: int
    seed: int
    notes: tuple[str, ...] = ()

    @classmethod
    def fit(
        cls,
        graph: CausalGraph,
        table: Mapping[str, Any],
        seed: int = 0,
        on_progress: ProgressCallback = no_progress,
    ) -> StructuralModel:
        """Learn the mechanism of every node; which kind it has is chosen by held-out fit, see `choose`.

        Args:
            graph: over columns of the table.
            table: columns by name: a tensor, an array or a list of numbers, or a list of names; other columns are
                left alone.
            seed: of all draws.
            on_progress: told after every node, with what was chosen.

        Raises:
            CausalError: a confounded pair, whose equations no table shows; and as `read_table`.
            MissingExtraError: DoWhy is not installed.
        """
        if graph.confounded:
            a, b = graph.confounded[0]
            raise CausalError(
                f"graph: {a} <-> {b} have a cause that nobody measured, so that no table shows their equations; "
                "measure it and draw it in, or draw the graph without it if it does little"
            )
        attributes, columns = read_table(graph, table)
        count = len(columns[graph.nodes[0]])
        mechanisms, choices, notes = {}, {}, []
        for done, node in enumerate(graph.order, 1):
            parents = encode(attributes, graph.parents(node), columns, count)
            mechanisms[node], choices[node] = choose(
                attributes[node], parents, columns[node], derive_seed(seed, "scm", node)
            )
            if not attributes[node].levels and (note := few_numbers(node, columns[node])):
                notes.append(note)
            on_progress(Progress("fit mechanisms", done, len(graph.nodes), "attributes", message=str(choices[node])))
        return cls(graph, attributes, mechanisms, choices, count, seed, tuple(notes))

    # --------------------------------------------------------------------------------- what is given
    def check(self, values: Row) -> list[str]:
        """A line for each number that lies outside of what was seen, with the distance; for a row or a ``do``.

        Raises:
            CausalError: an unknown name, with its neighbours, and as `Attribute.read`.
        """
        read = {name: self._attribute(name).read(value) for name, value in values.items()}
        return [line for name, found in read.items() for line in self.attributes[name].beyond(found)]

    def _attribute(self, name: str) -> Attribute:
        if name not in self.attributes:
            raise CausalError(f"no attribute {name!r} in the model; {suggest(name, self.attributes)}")
        return self.attributes[name]

    def _read_rows(self, values: Row) -> dict[str, Tensor]:
        missing = [node for node in self.graph.nodes if node not in values]
        if missing:
            raise CausalError(f"a row needs a value for every attribute; missing: {', '.join(missing)}")
        read = {node: self.attributes[node].read(values[node]) for node in self.graph.nodes}
        lengths = {node: len(column) for node, column in read.items()}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            shown = ", ".join(f"{node} {length}" for node, length in lengths.items())
            raise CausalError(f"rows: one value of each attribute a row expected, got {shown}")
        return read

    def _read_do(self, do: Row, count: int) -> dict[str, Tensor]:
        read = {name: self._attribute(name).read(value) for name, value in do.items()}
        for name, value in read.items():
            if len(value) not in (1, count):
                raise CausalError(f"do: {name}: one value, or {count}, one a row, expected, got {len(value)}")
        return {name: value.expand(count) for name, value in read.items()}

    def _write(self, solved: Mapping[str, Tensor]) -> Written:
        return {node: self.attributes[node].write(solved[node]) for node in self.graph.nodes}

    # --------------------------------------------------------------------- abduct, act, predict
    @torch.no_grad()
    def abduct(self, values: Row, seed: int = 0) -> dict[str, Tensor]:
        """The noise of rows: standard normal (N,) of a number, Gumbel (N, K) of a category.

        Args:
            values: a value of every attribute, or columns of N.
            seed: of what the rows leave open, which is the noise of categories.

        Raises:
            CausalError: an attribute without a value, columns of different lengths, and as `Attribute.read`.
        """
        return self._abduct(self._read_rows(values), seed)

    def _abduct(self, seen: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
        count = len(seen[self.graph.nodes[0]])
        return {
            node: mechanism.abduct(
                self._parents(node, seen, count),
                seen[node],
                _standard(seed, "abduct", node, count, mechanism.noise_shape),
            )
            for node, mechanism in self.mechanisms.items()
        }

    def _parents(self, node: str, values: Mapping[str, Tensor], count: int) -> Tensor:
        return encode(self.attributes, self.graph.parents(node), values, count)

    @torch.no_grad()
    def predict(self, noise: Mapping[str, Tensor], do: Row | None = None) -> Written:
        """The equations solved for `noise`, from `abduct`, with what `do` sets.

        Raises:
            CausalError: an unknown name in `do`, and as `Attribute.read`; noise of other attributes than the model's.
        """
        if set(noise) != set(self.graph.nodes):
            raise CausalError(
                f"noise: that of {', '.join(self.graph.nodes)} expected, got {', '.join(noise) or 'none'}"
            )
        return self._write(self._solve(noise, self._read_do(do or {}, len(noise[self.graph.nodes[0]]))))

    def _solve(
        self, noise: Mapping[str, Tensor], forced: Mapping[str, Tensor], seen: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """All equations in causal order; rows whose parents are as in `seen` keep what was seen."""
        solved: dict[str, Tensor] = {}
        for node in self.graph.order:
            if node in forced:
                solved[node] = forced[node]
                continue
            count = len(noise[node])
            solved[node] = self.mechanisms[node].predict(self._parents(node, solved, count), noise[node])
            if seen is not None:
                same = torch.ones(count, dtype=torch.bool)
                for parent in self.graph.parents(node):
                    same &= solved[parent] == seen[parent]
                solved[node] = torch.where(same, seen[node], solved[node])
        return solved

    @torch.no_grad()
    def counterfactual(self, values: Row, do: Row, seed: int = 0) -> Written:
        """What the rows would be, had `do` been so and all else about them as it was.

        Args:
            values: a value of every attribute, or columns of N.
            do: values to set, one or N of each.
            seed: of what the rows leave open, which is the noise of categories.

        Returns:
            Columns of N: numbers as float64, categories as names.

        Raises:
            CausalError: as `abduct` and `predict`.
        """
        seen = self._read_rows(values)
        forced = self._read_do(do, len(seen[self.graph.nodes[0]]))
        return self._write(self._solve(self._abduct(seen, seed), forced, seen))

    @torch.no_grad()
    def sample(self, count: int, seed: int = 0, do: Row | None = None) -> Written:
        """`count` rows of nothing in particular, under `do`; row i is the same at any count.

        Raises:
            CausalError: no rows, and as `predict`.
        """
        if count < 1:
            raise CausalError(f"count: at least 1 expected, got {count}")
        return self._write(self._solve(self._draw(count, seed), self._read_do(do or {}, count)))

    def _draw(self, count: int, seed: int) -> dict[str, Tensor]:
        return {
            node: mechanism.draw(_standard(seed, "noise", node, count, mechanism.noise_shape))
            for node, mechanism in self.mechanisms.items()
        }

    @torch.no_grad()
    def effects(
        self,
        treatment: str,
        before: float | str,
        after: float | str,
        outcome: str,
        level: str | None = None,
        count: int = 10_000,
        seed: int = 0,
    ) -> NaturalEffects:
        """Total, natural direct and natural indirect effect of setting `treatment` to `after` instead of `before`.

        Args:
            treatment: name of an attribute.
            before: a value of it.
            after: another.
            outcome: name of an attribute; of categories the share of one `level` is taken.
            level: of a categorical outcome.
            count: units to simulate.
            seed: of their noise.

        Raises:
            CausalError: an unknown name, a treatment that is the outcome, a categorical outcome without level or a
                numeric one with it, and as `Attribute.read`.
        """
        found = self._attribute(outcome)
        if self._attribute(treatment).name == found.name:
            raise CausalError(f"outcome: another attribute than the treatment {treatment!r} expected")
        if bool(found.levels) != (level is not None):
            wanted = (
                f"one of {', '.join(found.levels)} expected" if found.levels else "none, for its outcome is a number"
            )
            raise CausalError(f"level: {wanted}, got {level!r}")
        code = found.read(level) if level is not None else None
        noise = self._draw(count, seed)
        arms = [self._read_do({treatment: value}, count) for value in (before, after)]
        worlds = [self._solve(noise, arm) for arm in arms]
        mediators = tuple(
            n for n in self.graph.descendants(treatment) if n in self.graph.ancestors(outcome) and n != outcome
        )
        mixed = [
            self._solve(noise, {**arms[1 - a], **{m: worlds[a][m] for m in mediators}}) for a in (0, 1)
        ]  # mediators of world a, treatment of the other
        y0, y1, direct, indirect = (
            world[outcome] if code is None else (world[outcome] == code).double() for world in (*worlds, *mixed)
        )
        return NaturalEffects(paired(y1 - y0), paired(direct - y0), paired(indirect - y0), mediators)

    # ------------------------------------------------------------------------------------- on the disk
    def save(self, folder: Path) -> None:
        """Write ``scm.json`` and ``scm.safetensors`` into `folder`, which is made where missing.

        Raises:
            StorageError: the disk is full or refuses.
        """
        mechanisms, tensors = {}, {}
        for number, node in enumerate(self.graph.nodes):
            config, found = self.mechanisms[node].to_state()
            mechanisms[node] = {"kind": self.mechanisms[node].kind, "config": config}
            tensors.update({f"{number}.{name}": value.contiguous() for name, value in found.items()})
        payload = safetensors.torch.save(tensors)
        document = {
            "format": FORMAT,
            "graph": {"nodes": self.graph.nodes, "edges": self.graph.edges},
            "attributes": [dataclasses.asdict(self.attributes[node]) for node in self.graph.nodes],
            "mechanisms": mechanisms,
            "choices": [dataclasses.asdict(self.choices[node]) for node in self.graph.nodes],
            "count": self.count,
            "seed": self.seed,
            "notes": self.notes,
            "tensors_sha256": hashlib.sha256(payload).hexdigest(),
        }
        with atomic_write(folder / TENSORS) as temporary:
            temporary.write_bytes(payload)
        with atomic_write(folder / CONFIG) as temporary:
            temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> StructuralModel:
        """The model that `save` wrote.

        Raises:
            NotFoundError: there is none in `folder`.
            ModelError: a file that is broken, of another version, or not of the other file.
        """
        if not (folder / CONFIG).is_file():
            raise NotFoundError(f"{folder}: no {CONFIG} here, so no structural causal model")
        try:
            document = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            payload = (folder / TENSORS).read_bytes()
            if document.pop("format") != FORMAT:
                raise ValueError(f"another format than {FORMAT!r}")
            if document.pop("tensors_sha256") != hashlib.sha256(payload).hexdigest():
                raise ValueError(f"{TENSORS} is not the file that was written with it")
            return cls(**_parts(document, safetensors.torch.load(payload)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, CausalError) as error:
            reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            raise ModelError(f"{folder / CONFIG}: not a model that can be read ({reason}); fit it again") from error


def _standard(seed: int, purpose: str, node: str, count: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers of each row's own, (N, *shape) float64."""
    return Draws(derive_seed(seed, "scm", purpose), range(count)).normal(node, shape).double()


def _parts(document: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments of a `StructuralModel`; every tensor must belong to a mechanism."""
    graph = CausalGraph(tuple(document["graph"]["nodes"]), tuple(map(tuple, document["graph"]["edges"])))
    mechanisms = {}
    for number, node in enumerate(graph.nodes):
        start = f"{number}."
        mine = {name.removeprefix(start): tensors.pop(name) for name in list(tensors) if name.startswith(start)}
        mechanisms[node] = from_state(**document["mechanisms"][node], tensors=mine)
    if tensors:
        raise ValueError(f"tensor {next(iter(tensors))!r} belongs to no attribute")
    attributes = [Attribute(**{**found, "levels": tuple(found["levels"])}) for found in document["attributes"]]
    return {
        **document,
        "graph": graph,
        "attributes": dict(zip(graph.nodes, attributes, strict=True)),
        "mechanisms": mechanisms,
        "choices": dict(zip(graph.nodes, (Choice(**found) for found in document["choices"]), strict=True)),
        "notes": tuple(document["notes"]),
    }
