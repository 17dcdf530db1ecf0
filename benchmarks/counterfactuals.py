"""How right answers about what was not seen are: on tables and pictures whose truth is known; part by part.

Every part is measured and written alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

import counterfactual_debias
import counterfactual_morpho
import counterfactual_shapes
from pentimento.causal.graphs import CausalGraph
from pentimento.studies.observing import observe
from pentimento.studies.questions import Asked
from reporting import Figure, command_line, mean_interval, parser, wilson, write

__all__ = ["PARTS"]

# part -> what it is called; in the order of the page
PARTS = {
    "observe": "effects told from tables of what was observed",
    "morpho": "digits of Morpho-MNIST as they would have been",
    "shapes": "coloured shapes as they would have been",
    "debias": "classifiers freed of colours and textures that tell the digit",
}
NOTES = {
    "observe": [
        "Tables with two measured confounders a and b, standard normal, and noise e: a treatment with two levels has "
        "t = 1 with probability sigmoid(f(a, b)) and y = t (1 + a / 2) + m(a, b) + e, so that the average effect is 1; "
        "a treatment that is a number has t = f(a, b) + e' and y = t + m(a, b) + e. Linear: f = 0.8 a - 0.5 b, "
        "m = 1.5 a + b. Curved: f = 0.8 sin(1.5 a) + 0.5 b^2 - 0.5, m = 0.7 exp(a) + b^2 + a b.",
        "Every table is drawn anew and answered as by `pentimento explain observe --no-refute`. Shares come with "
        "Wilson's 95 % interval, means with a normal one; an aim is missed where the whole interval is outside of it.",
        "The peer is the same without adjustment: the difference of the means, or the slope.",
        "The confounder missing: a and b are left out of the table. Drawn as t <-> y, the graph says that there is no "
        "answer; left out of the graph as well, the answer is wrong, and nothing in the table tells.",
    ],
    "morpho": counterfactual_morpho.NOTES,
    "shapes": counterfactual_shapes.NOTES,
    "debias": counterfactual_debias.NOTES,
}
TRUTH = 1.0
SIZES = (500, 2000)


def main() -> None:
    """Measure the parts, and write a report of each."""
    options = make_options()
    chosen = options.parse_args()
    measures = {
        "observe": observing,
        "morpho": counterfactual_morpho.morpho,
        "shapes": counterfactual_shapes.shapes,
        "debias": counterfactual_debias.debias,
    }
    for part in PARTS if chosen.part == "all" else [chosen.part]:
        print(f"--- {PARTS[part]}", file=sys.stderr)
        measured = argparse.Namespace(**{**vars(chosen), "part": part})
        command = command_line(__file__, measured, options)
        if part in ("morpho", "shapes", "debias") and not getattr(chosen, part):
            options.error(f"--part {part} needs a trained model: --{part} RUN")
        figures = measures[part](measured)
        title = f"Counterfactuals: {PARTS[part]}"
        write(f"counterfactuals-{part}", title, command, figures, NOTES[part], folder=chosen.out)


def make_options() -> argparse.ArgumentParser:
    """Of the command."""
    options = parser(__doc__ or "")
    options.add_argument("--part", choices=(*PARTS, "all"), default="all", help="what to measure (default: all)")
    options.add_argument("--runs", type=int, default=300, help="tables of each kind")
    options.add_argument("--morpho", help="for morpho: a model trained by scm-morpho on morphomnist.py's pictures")
    options.add_argument("--shapes", help="for shapes: a model trained by scm-shapes")
    options.add_argument(
        "--debias",
        nargs="*",
        default=[],
        metavar="VARIANT=RUN",
        help="for debias: coloured, double, wildlife=a model trained by cgn-mnist on coloured_mnist.py's pictures",
    )
    options.add_argument("--pictures", type=Path, help="for debias: a folder for the pages of the studies")
    options.add_argument("--count", type=int, default=2000, help="pictures, for morpho and shapes")
    options.add_argument("--seed", type=int, default=0, help="of all draws")
    return options


# ------------------------------------------------------------------------------------------------- observe
Surface = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class World:
    """What makes a table.

    Args:
        name: of it.
        pull: f.
        push: m.
        levels: the treatment has two, else it is a number.
    """

    name: str
    pull: Surface
    push: Surface
    levels: bool

    def draw(self, count: int, generator: torch.Generator) -> dict[str, list[float]]:
        """A table."""
        a, b, e, other = torch.randn(4, count, generator=generator, dtype=torch.float64)
        pulled = self.pull(a, b)
        if self.levels:
            t = (torch.rand(count, generator=generator, dtype=torch.float64) < torch.sigmoid(pulled)).double()
            y = t * (TRUTH + a / 2) + self.push(a, b) + e
        else:
            t = pulled + other
            y = TRUTH * t + self.push(a, b) + e
        return {name: column.tolist() for name, column in {"a": a, "b": b, "t": t, "y": y}.items()}


def worlds() -> list[World]:
    def straight(a: Tensor, b: Tensor) -> Tensor:
        return 0.8 * a - 0.5 * b

    def curved(a: Tensor, b: Tensor) -> Tensor:
        return 0.8 * torch.sin(1.5 * a) + 0.5 * b.square() - 0.5

    def plane(a: Tensor, b: Tensor) -> Tensor:
        return 1.5 * a + b

    def hill(a: Tensor, b: Tensor) -> Tensor:
        return 0.7 * a.exp() + b.square() + a * b

    return [
        World("two levels, linear confounding", straight, plane, levels=True),
        World("two levels, curved confounding", curved, hill, levels=True),
        World("a number, linear confounding", straight, plane, levels=False),
        World("a number, curved confounding", curved, hill, levels=False),
    ]


@dataclass
class Tally:
    """Of one estimator over the tables."""

    hits: int = 0
    errors: list[float] = field(default_factory=list)

    def add(self, value: float, low: float, high: float) -> None:
        self.hits += low <= TRUTH <= high
        self.errors.append(value - TRUTH)


# All causes act on one another, so that the graph implies nothing that would be tested against each table.
WHOLE = CausalGraph(("a", "b", "t", "y"), (("a", "b"), ("a", "t"), ("a", "y"), ("b", "t"), ("b", "y"), ("t", "y")))
SILENT = CausalGraph(("t", "y"), (("t", "y"),))
HONEST = CausalGraph(("t", "y"), (("t", "y"),), (("t", "y"),))


def observing(chosen: argparse.Namespace) -> list[Figure]:
    """All figures of the part."""
    generator = torch.Generator().manual_seed(chosen.seed)
    figures = []
    for world in worlds():
        for count in SIZES:
            figures += answered(world, count, chosen.runs, generator)
            print(f"{world.name}, {count:,} rows: done", file=sys.stderr)
        figures += unanswered(world, SIZES[-1], chosen.runs, generator)
    return figures


def answered(world: World, count: int, runs: int, generator: torch.Generator) -> list[Figure]:
    """Coverage and bias of each estimator, beside no adjustment."""
    tallies: dict[str, Tally] = {}
    for run in range(runs):
        found = observe(WHOLE, world.draw(count, generator), asked(world, run))
        for answer in found.answers:
            effect = answer.effect
            tallies.setdefault(answer.estimator, Tally()).add(effect.value, effect.low, effect.high)
        (seen,) = found.associations.values()
        tallies.setdefault("", Tally()).add(float(seen.mean), float(seen.low), float(seen.high))
    naive = tallies.pop("")
    made = []
    for name, tally in tallies.items():
        where = f"{world.name}, {count:,} rows; {name}"
        spread, (bias, biases) = wilson(tally.hits, runs), mean_interval(tally.errors)
        naive_bias, naive_biases = mean_interval(naive.errors)
        unadjusted = {"peer": "unadjusted", "peer_value": 100 * naive.hits / runs}
        made += [
            Figure(
                f"covered: {where}",
                100 * tally.hits / runs,
                "%",
                spread,
                aim="93 to 97 % within its interval",
                met=spread[1] >= 93 and spread[0] <= 97,
                peer_spread=wilson(naive.hits, runs),
                **unadjusted,
            ),
            Figure(
                f"bias: {where}",
                bias,
                spread=biases,
                peer="unadjusted",
                peer_value=naive_bias,
                peer_spread=naive_biases,
                note=f"the true effect is {TRUTH:g}",
            ),
        ]
    return made


def asked(world: World, seed: int) -> Asked:
    return Asked("t", "y", against="0" if world.levels else None, seed=seed, refute=False)


def unanswered(world: World, count: int, runs: int, generator: torch.Generator) -> list[Figure]:
    """Without the confounders: how often it says that it cannot tell, and what happens to who does not draw them."""
    refused, tally = 0, Tally()
    for run in range(runs):
        table = world.draw(count, generator)
        hidden = {name: table[name] for name in ("t", "y")}
        honest = observe(HONEST, hidden, asked(world, run))
        refused += honest.estimand.strategy is None and not honest.answers and bool(honest.estimand.wanted)
        effect = observe(SILENT, hidden, asked(world, run)).answers[-1].effect
        tally.add(effect.value, effect.low, effect.high)
    return [
        Figure(
            f"the confounders missing and drawn as t <-> y: told that it is not identified; {world.name}",
            100 * refused / runs,
            "%",
            wilson(refused, runs),
            aim="100 %",
            met=refused == runs,
        ),
        Figure(
            f"the confounders missing, and from the graph too: covered; {world.name}, {count:,} rows",
            100 * tally.hits / runs,
            "%",
            wilson(tally.hits, runs),
            note="an answer that is wrong, and that no table could tell to be",
        ),
    ]


if __name__ == "__main__":
    main()
