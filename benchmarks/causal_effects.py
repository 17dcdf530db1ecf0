"""How right causal answers are: on generators whose effects are known in closed form; part by part.

Every part is measured and written alone.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import causal_dissection
import causal_shapes
import causal_style
import causal_time
from pentimento.causal import PairedEffect, benjamini_hochberg, paired, sample_size, stein
from pentimento.causal.effects import LEVEL, student_p, student_quantile
from reporting import Figure, Spread, command_line, mean_interval, parser, wilson, write

__all__ = ["PARTS"]

# part -> what it is called; in the order of the page
PARTS = {
    "calibration": "how often intervals cover, and how many discoveries are false",
    "shapes": "effects of known factors on rendered shapes",
    "dissection": "units of generators, what refuters let pass, and a set that changes strokes",
    "time": "how long 512 interventions take",
    "strength": "the largest strength of a style that keeps the content",
}
NOTES = {
    "shapes": causal_shapes.NOTES,
    "dissection": causal_dissection.NOTES,
    "time": causal_time.NOTES,
    "strength": causal_style.NOTES,
    "calibration": [
        "Outcomes y of a latent z and noise e, both standard normal, under do(z := ...), paired on the same z and e; "
        "the effects are closed forms or Gauss-Hermite quadratures. Every experiment is drawn anew. Shares come with "
        "Wilson's 95 % interval, means with a normal one.",
        "With --half-width: a pilot of 100 samples says how many are drawn for intervals of 0.1 standard deviations of "
        "the differences to either side.",
        "Discoveries: 512 units, 1,000 samples, y = sum of z_u, do(z_u := 0). The differences are -z_u, without an "
        "average effect where the mean of z_u is 0; where there is one, it is 0.12 standard deviations. A discovery is "
        "a q-value (Benjamini-Hochberg) of at most 0.05. Dependent units share a factor with half of their variance, "
        "with signs at random. The kinds of units are made of the same draws.",
        "The peer is the usual way: Student's t alone, which with --half-width counts all samples as if their number "
        "had been chosen blindly.",
    ],
}


def main() -> None:
    """Measure the parts, and write a report of each."""
    options = make_options()
    chosen = options.parse_args()
    measure = {
        "calibration": calibration,
        "shapes": causal_shapes.measure,
        "dissection": causal_dissection.measure,
        "time": causal_time.measure,
        "strength": causal_style.strength,
    }
    for part in PARTS if chosen.part == "all" else [chosen.part]:
        print(f"--- {PARTS[part]}", file=sys.stderr)
        measured = argparse.Namespace(**{**vars(chosen), "part": part})
        command = command_line(__file__, measured, options)
        figures = measure[part](measured)
        write(
            f"causal_effects-{part}", f"Causal effects: {PARTS[part]}", command, figures, NOTES[part], folder=chosen.out
        )


def make_options() -> argparse.ArgumentParser:
    """Of the command."""
    options = parser(__doc__ or "")
    options.add_argument("--part", choices=(*PARTS, "all"), default="all", help="what to measure (default: all)")
    options.add_argument("--runs", type=int, default=1000, help="experiments of each kind, of the calibration")
    options.add_argument("--repeats", type=int, default=20, help="experiments on shapes")
    options.add_argument("--truth", type=int, default=20_000, help="pictures of shapes that the truth is taken from")
    options.add_argument("--vae", metavar="MODEL", help="a VAE trained on shapes, see its notes; left out without")
    options.add_argument("--samples", type=int, default=1000, help="of dissections and of the time")
    options.add_argument("--stages", nargs="*", default=[], help="of dissections, for a quick look (default: all)")
    options.add_argument("--rounds", type=int, default=3, help="of the time")
    options.add_argument("--seed", type=int, default=0, help="of all draws")
    options.add_argument("--stylizer", default="stylize", help="of the part strength: a model (default: stylize)")
    options.add_argument("--sheet", type=Path, help="of the part strength: write its pictures there")
    return options


# --------------------------------------------------------------------------------------------- calibration
@dataclass(frozen=True)
class Known:
    """A generator under an intervention.

    Args:
        name: of both.
        change: z, e -> y(1) - y(0), elementwise.
        effect: mean of `change`.
        deviation: standard deviation of it.
    """

    name: str
    change: Callable[[Tensor, Tensor], Tensor]
    effect: float
    deviation: float

    def draw(self, generator: torch.Generator, *shape: int) -> Tensor:
        """Differences."""
        z, e = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
        return self.change(z, e)


def generators() -> list[Known]:
    """Linear, nonlinear and skewed ones."""
    rare = 0.1
    edge = float(torch.special.ndtri(torch.tensor(1 - rare, dtype=torch.float64)))
    lift, moments = math.exp(0.25) - 1, (math.exp(0.125), math.exp(0.5))  # E of exp(z / 2) and of its square
    return [
        Known("linear, y = 2 z + e, do(z := 1)", lambda z, e: 2 * (1 - z) + 0 * e, 2.0, 2.0),
        by_quadrature("y = sigmoid(2 z + e), do(z := 1)", lambda z, e: torch.sigmoid(2 + e) - torch.sigmoid(2 * z + e)),
        by_quadrature(
            "y = softplus(3 z + e), do(z := 0)",
            lambda z, e: torch.nn.functional.softplus(e) - torch.nn.functional.softplus(3 * z + e),
        ),
        Known(
            "skewed, y = exp(z / 2), do(z := z + 0.5)",
            lambda z, e: lift * (z / 2).exp() + 0 * e,
            lift * moments[0],
            lift * math.sqrt(moments[1] - moments[0] ** 2),
        ),
        Known(
            "rare, y = 1 in 10 % of pictures, do(y := 0)",
            lambda z, e: -(z > edge).double() + 0 * e,
            -rare,
            math.sqrt(rare * (1 - rare)),
        ),
    ]


def by_quadrature(name: str, change: Callable[[Tensor, Tensor], Tensor], points: int = 80) -> Known:
    """Its moments by Gauss-Hermite quadrature."""
    nodes, weights = (torch.from_numpy(x) for x in np.polynomial.hermite_e.hermegauss(points))
    weight = weights[:, None] * weights / (2 * math.pi)
    values = change(nodes[:, None], nodes[None, :])
    mean, square = float((weight * values).sum()), float((weight * values.square()).sum())
    return Known(name, change, mean, math.sqrt(square - mean**2))


def calibration(chosen: argparse.Namespace) -> list[Figure]:
    """All figures of the part."""
    generator = torch.Generator().manual_seed(chosen.seed)
    figures = []
    for known in generators():
        figures += [fixed(known, count, chosen.runs, generator) for count in (100, 1000)]
        figures += by_half_width(known, chosen.runs, generator)
        print(f"{known.name}: done", file=sys.stderr)
    return figures + discoveries(chosen.runs, generator)


def student(effect: PairedEffect, deviation: Tensor) -> tuple[Tensor, Tensor]:
    """The ends of Student's interval alone."""
    half = student_quantile(effect.count - 1) * deviation / math.sqrt(effect.count)
    return effect.mean - half, effect.mean + half


def covers(low: Tensor, high: Tensor, truth: float) -> Tensor:
    return (low <= truth) & (truth <= high)


def percent(name: str, hits: int, peer: int, runs: int, aim: str, *, met: bool, note: str = "") -> Figure:
    """A share of runs."""
    return Figure(
        name,
        100 * hits / runs,
        "%",
        wilson(hits, runs),
        aim=aim,
        met=met,
        peer="Student's t",
        peer_value=100 * peer / runs,
        peer_spread=wilson(peer, runs),
        note=note,
    )


def coverage(name: str, hits: int, peer: int, runs: int, note: str = "") -> Figure:
    met = 0.93 <= hits / runs <= 0.97
    return percent(f"covered: {name}", hits, peer, runs, "93 to 97 %", met=met, note=note)


def fixed(known: Known, count: int, runs: int, generator: torch.Generator) -> Figure:
    """Coverage with `count` samples."""
    hits = peer = 0
    for start in range(0, runs, 500):  # a column for each experiment
        d = known.draw(generator, count, min(500, runs - start))
        effect = paired(d)
        hits += int(covers(effect.low, effect.high, known.effect).sum())
        peer += int(covers(*student(effect, d.std(0)), known.effect).sum())
    return coverage(f"{known.name}; {count:,} samples", hits, peer, runs)


def by_half_width(known: Known, runs: int, generator: torch.Generator) -> list[Figure]:
    """Coverage with as many samples as a pilot of 100 asks for, and how wide the intervals became."""
    wanted = 0.1 * known.deviation
    hits = peer = 0
    widths, counts = [], []
    for _ in range(runs):
        pilot = known.draw(generator, 100)
        counts.append(sample_size(pilot, wanted))
        more = known.draw(generator, counts[-1] - 100)
        effect = stein(pilot, more)
        hits += int(covers(effect.low, effect.high, known.effect))
        peer += int(covers(*student(effect, torch.cat([pilot, more]).std()), known.effect))
        widths.append(float(effect.high - effect.low) / 2 / wanted)
    narrowest, widest = np.quantile(widths, (0.05, 0.95)).tolist()
    note = f"samples drawn: {statistics.median(counts):.0f} (median), {min(counts)} to {max(counts)}"
    return [
        coverage(f"{known.name}; with --half-width", hits, peer, runs, note),
        Figure(
            f"half-width over the wanted one: {known.name}",
            statistics.median(widths),
            spread=(narrowest, widest),
            note="median, and the middle 90 % of the experiments",
        ),
    ]


# --------------------------------------------------------------------------------------------- discoveries
UNITS, TRUE, SAMPLES = 512, 50, 1000
SIZE = 0.12  # of a true effect, in standard deviations of its differences
HALF_WIDTH = "skewed, 400 samples after a pilot of 100"


@dataclass
class Tally:
    """Of the discoveries in each run."""

    any: list[bool] = field(default_factory=list)
    false_share: list[float] = field(default_factory=list)
    power: list[float] = field(default_factory=list)

    def add(self, discovered: Tensor, true: Tensor) -> None:
        count = int(discovered.sum())
        self.any.append(count > 0)
        self.false_share.append(float((discovered & ~true).sum()) / max(1, count))
        self.power.append(float((discovered & true).sum()) / TRUE)


def discoveries(runs: int, generator: torch.Generator) -> list[Figure]:
    """Of units without effect, and of 50 with one among them."""
    tallies: dict[str, tuple[Tally, Tally]] = {}
    none, some = torch.zeros(UNITS, dtype=torch.bool), torch.arange(UNITS) < TRUE
    for run in range(runs):
        z = torch.randn(SAMPLES, UNITS, generator=generator).double()
        alike = dependent(z, torch.randn(SAMPLES, 1, generator=generator).double())
        skewed = (z / 2).exp() - math.exp(0.125)
        tables = {
            "independent": z,
            "dependent": alike,
            "skewed (lognormal)": skewed,
            "rare changes (2 %)": (z > 2.0537489106318225).double() - 0.02,
            "heavy tails (z^3)": z * z * z,
            "independent, 50 true": z + SIZE * some,
            "dependent, 50 true": alike + SIZE * some,
        }
        effects = {kind: paired(differences) for kind, differences in tables.items()}
        effects[HALF_WIDTH] = stein(skewed[:100], skewed[100:400])
        for kind, effect in effects.items():
            usual = paired(skewed[:400]) if kind == HALF_WIDTH else effect
            ours, peer = tallies.setdefault(kind, (Tally(), Tally()))
            true = some if kind.endswith("true") else none
            ours.add(discovered(effect.p_value), true)
            peer.add(discovered(student_p(usual.mean / usual.standard_error, usual.count - 1)), true)
        if (run + 1) % 100 == 0:
            print(f"discoveries: {run + 1} of {runs} runs", file=sys.stderr)
    figures = [false_alarms(kind, *both, runs) for kind, both in tallies.items() if not kind.endswith("true")]
    return figures + [f for kind, both in tallies.items() if kind.endswith("true") for f in true_effects(kind, *both)]


def dependent(z: Tensor, factor: Tensor) -> Tensor:
    """Units that share a factor with half of their variance, each with a sign of its own."""
    signs = 2 * torch.randint(0, 2, (UNITS,), generator=torch.Generator().manual_seed(1)) - 1
    return (z + signs * factor) * math.sqrt(0.5)


def discovered(p_values: Tensor) -> Tensor:
    """(U,) bool; where nothing changes in any sample, p is 1."""
    return benjamini_hochberg(p_values.nan_to_num(1.0)) <= LEVEL


def false_alarms(kind: str, ours: Tally, peer: Tally, runs: int) -> Figure:
    """Share of runs with any discovery. The aim is missed where the whole interval is above it."""
    hits = sum(ours.any)
    return percent(
        f"runs with any discovery among {UNITS} units without effect: {kind}",
        hits,
        sum(peer.any),
        runs,
        "<= 5 % within its interval",
        met=wilson(hits, runs)[0] <= 100 * LEVEL,
    )


def true_effects(kind: str, ours: Tally, peer: Tally) -> list[Figure]:
    """The false discovery rate and the power."""
    (rate, spread), (peer_rate, peer_spread) = mean_interval(ours.false_share), mean_interval(peer.false_share)
    (power, powers), (peer_power, peer_powers) = mean_interval(ours.power), mean_interval(peer.power)
    return [
        Figure(
            f"false discovery rate: {UNITS} units, {kind}",
            100 * rate,
            "%",
            scaled(spread),
            aim="<= 5 % within its interval",
            met=spread[0] <= LEVEL,
            peer="Student's t",
            peer_value=100 * peer_rate,
            peer_spread=scaled(peer_spread),
        ),
        Figure(
            f"true effects that are found: {UNITS} units, {kind}",
            100 * power,
            "%",
            scaled(powers),
            peer="Student's t",
            peer_value=100 * peer_power,
            peer_spread=scaled(peer_powers),
        ),
    ]


def scaled(spread: Spread) -> Spread:
    """In per cent."""
    return 100 * spread[0], 100 * spread[1]


if __name__ == "__main__":
    main()
