"""How good a model's counterfactual pictures are (after Monteiro et al. 2023), with intervals over pictures.

    composition     the picture, after nothing was set m times: how far is it from itself?
    effectiveness   a is set to another picture's value: how far is what is then measured from what should be there?
    reversibility   set to another value and back: how far is the picture from itself?
    minimality      what a does not act on: how far do its measurements, and the latent, move?
    truth           where the true counterfactual picture is known: how far is ours, beside the same without what
                    follows (the graph ignored) and beside the picture itself (nothing done)?

Distances of pictures are mean absolute differences, of 255. With the residual, composition is 0 by construction (see
`pentimento.studies.counterfactual`), so that it tells something only without it; both are told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pentimento.errors import EvaluationError, suggest
from pentimento.evaluate.intervals import Estimate, mean_estimate, wilson
from pentimento.runtime import Progress, ProgressCallback, derive_seed, no_progress
from pentimento.studies.counterfactual import Abducted, Columns, abduct, predict
from pentimento.studies.outcomes import ALL, DIGITS, Judge, find_outcomes
from pentimento.studies.scm import World

__all__ = ["LEAST", "NULLS", "Meter", "Score", "Scorecard", "Truth", "judge_meters", "pixel_meters", "score"]

LEAST = 20  # pictures: fewer make no interval
NULLS = (1, 10)  # times that nothing is set
PIXELS = "picture"
Meter = Callable[[Tensor], Tensor | list[str]]  # (N, C, H, W) -> numbers (N,), or N names of categories
# What is set, and its values, one a picture -> the true counterfactual pictures (N, C, H, W).
Truth = Callable[[str, Tensor | list[str]], Tensor]


@dataclass(frozen=True)
class Score:
    """One number of the card.

    Args:
        kind: ``"composition"``, ``"effectiveness"``, ``"reversibility"``, ``"minimality"`` or ``"truth"``.
        intervention: what was set.
        measure: what was measured of the pictures.
        estimate: its mean over pictures, with a 95 % interval.
        unit: of it.
        count: pictures.
        beside: the same of what it is to be held against, by name.
    """

    kind: str
    intervention: str
    measure: str
    estimate: Estimate
    unit: str
    count: int
    beside: Mapping[str, Estimate]


@dataclass(frozen=True)
class Scorecard:
    """All scores.

    Args:
        scores: in order.
        residual: whether the residual was carried over.
        seed: of the values that were set.
        count: pictures.
    """

    scores: tuple[Score, ...]
    residual: bool
    seed: int
    count: int

    def table(self) -> list[list[str]]:
        """A header, and a row for each score, as text."""
        rows = [["score", "set", "of", "mean", "95 % interval", "unit", "beside"]]
        for s in self.scores:
            beside = ", ".join(f"{name} {e.value:.3g}" for name, e in s.beside.items())
            mean, interval = f"{s.estimate.value:.3g}", f"{s.estimate.low:.3g} to {s.estimate.high:.3g}"
            rows.append([s.kind, s.intervention, s.measure, mean, interval, s.unit, beside])
        return rows

    def to_json(self) -> dict[str, Any]:
        """For a report."""
        return {
            "count": self.count,
            "seed": self.seed,
            "residual": self.residual,
            "scores": list(map(asdict, self.scores)),
        }


def score(
    world: World,
    images: Tensor,
    values: Columns,
    meters: Mapping[str, Meter],
    *,
    truth: Truth | None = None,
    residual: bool = True,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> Scorecard:
    """The card of a model on pictures that it did not see.

    Args:
        world: the model.
        images: (N, C, H, W) in [0, 1], of its size.
        values: of every attribute, columns of N.
        meters: by name; ``"thickness"`` and ``"thickness by X"`` measure the attribute thickness. What is called
            otherwise measures what no attribute acts on, and so must not change.
        truth: renders true counterfactuals, where it is known how.
        residual: carry over what the model does not know.
        seed: of the values that are set: those of other pictures, by lot.
        progress: told of each intervention.

    Raises:
        EvaluationError: too few pictures.
        CausalError: see `abduct`; a meter that cannot measure these.
    """
    if len(images) < LEAST:
        raise EvaluationError(f"--count: {LEAST} pictures or more expected, got {len(images)}")
    card = _Card(world, abduct(world, images, values, seed), dict(meters), residual, seed)
    scores = card.composition()
    nodes = world.attributes.graph.nodes
    for done, name in enumerate(nodes, 1):
        scores += card.intervention(name, truth)
        progress(Progress("scorecard", done, len(nodes), "attributes"))
    order = ("composition", "effectiveness", "reversibility", "minimality", "truth")
    return Scorecard(tuple(sorted(scores, key=lambda s: order.index(s.kind))), residual, seed, len(images))


class _Card:
    """What the scores of one model share."""

    def __init__(self, world: World, kept: Abducted, meters: dict[str, Meter], residual: bool, seed: int) -> None:
        self.world, self.kept, self.meters, self.residual, self.seed = world, kept, meters, residual, seed
        self.seen = {name: meter(kept.images) for name, meter in meters.items()}

    def composition(self) -> list[Score]:
        found = []
        for residual in (True, False):
            kept = self.kept
            for times in range(1, max(NULLS) + 1):
                made = predict(self.world, kept, {}, residual=residual)
                if times in NULLS:
                    how = f"nothing, {times} times" + ("" if residual else ", no residual")
                    found.append(self._pixels("composition", how, made.images, {}))
                kept = abduct(self.world, made.images, made.values, self.seed)
        return found

    def intervention(self, name: str, truth: Truth | None) -> list[Score]:
        """All scores of setting one attribute to the values of other pictures."""
        world, kept, graph = self.world, self.kept, self.world.attributes.graph
        aims = self._aims(name)
        there = predict(world, kept, {name: aims}, residual=self.residual)
        moved = {name, *graph.descendants(name)}
        found = []
        for meter, seen in self.seen.items():
            measured, node = self.meters[meter](there.images), meter.partition(" by ")[0]
            if node in moved:
                beside = {"as it is": self._apart(seen, kept.values[node])}
                wanted = self._apart(measured, there.values[node])
                found.append(self._score("effectiveness", name, meter, wanted, beside))
            else:
                found.append(self._score("minimality", name, meter, self._apart(measured, seen), {}))
        again = abduct(world, there.images, there.values, self.seed)
        back = predict(world, again, {name: kept.values[name]}, residual=self.residual)
        found.append(self._pixels("reversibility", name, back.images, {}))
        steps = (again.latent - kept.latent).square().mean(1).sqrt()
        others = (kept.latent - kept.latent.roll(1, 0)).square().mean(1).sqrt()
        another = {"of another picture": mean_estimate(others, self.seed)}
        found.append(self._score("minimality", name, "latent", mean_estimate(steps, self.seed), another))
        if truth is not None:
            found.append(self._truth(name, aims, there.images, truth))
        return found

    def _truth(self, name: str, aims: Tensor | list[str], made: Tensor, truth: Truth) -> Score:
        true, below = truth(name, aims), self.world.attributes.graph.descendants(name)
        blind = predict(self.world, self.kept, {name: aims}, hold=below, residual=self.residual).images
        beside = {
            "graph ignored": self._distance(blind, true),
            "nothing done": self._distance(self.kept.images, true),
        }
        return Score("truth", name, PIXELS, self._distance(made, true), "of 255", len(made), beside)

    def _aims(self, name: str) -> Tensor | list[str]:
        """Values of other pictures, by lot."""
        count = len(self.kept.images)
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "aims", name))
        lot = torch.randperm(count, generator=generator)
        values = self.kept.values[name]
        return values[lot] if isinstance(values, Tensor) else [values[row] for row in lot.tolist()]

    def _apart(self, a: Tensor | list[str], b: Tensor | list[str]) -> Estimate:
        """Mean absolute difference of numbers; of categories the share that agrees."""
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            return mean_estimate((a.cpu().double() - b.cpu().double()).abs(), self.seed)
        return wilson(sum(x == y for x, y in zip(a, b, strict=True)) / len(a), len(a))

    def _score(self, kind: str, name: str, meter: str, estimate: Estimate, beside: Mapping[str, Estimate]) -> Score:
        named = isinstance(self.seen.get(meter), list)
        unit = "share that agrees" if named else "standard deviations" if meter == "latent" else "mean distance"
        return Score(kind, name, meter, estimate, unit, len(self.kept.images), beside)

    def _pixels(self, kind: str, name: str, made: Tensor, beside: Mapping[str, Estimate]) -> Score:
        distance = self._distance(made, self.kept.images)
        return Score(kind, name, PIXELS, distance, "of 255", len(made), beside)

    def _distance(self, a: Tensor, b: Tensor) -> Estimate:
        return mean_estimate(255 * (a - b).abs().flatten(1).mean(1), self.seed)


# -------------------------------------------------------------------------------------------------- meters
def pixel_meters(world: World, images: Tensor) -> dict[str, Meter]:
    """A meter for each attribute that is one of the outcomes by its name and can be measured in such pictures.

    Args:
        world: the model.
        images: one of them at least, (N, C, H, W).
    """
    gray = images.shape[1] == 1 and max(images.shape[2:]) <= 128
    known = [
        node
        for node in world.attributes.graph.nodes
        if node in ALL
        and ":" not in node
        and (gray or node not in DIGITS)
        and not world.attributes.attributes[node].levels
    ]
    return {o.name: o.measure for o in (find_outcomes(known, spec=None) if known else ())}


def judge_meters(judge: Judge, names: Sequence[str], classes: Sequence[str]) -> dict[str, Meter]:
    """Meters of what a judge tells: every attribute called so, and ``label``, the class of the highest probability.

    Args:
        judge: see `pentimento.studies.outcomes`.
        names: of the attributes.
        classes: that it knows.

    Raises:
        EvaluationError: it tells none of them.
    """
    meters: dict[str, Meter] = {name: judge.outcomes[name].measure for name in names if name in judge.outcomes}
    for name in names:
        levels = {
            title.partition("=")[2]: o.measure for title, o in judge.outcomes.items() if title.startswith(f"{name}=")
        }
        if levels:
            meters[name] = _likeliest(levels)
    if classes:
        meters["label"] = _likeliest({label: judge.outcomes[label].measure for label in classes})
    if not meters:
        raise EvaluationError(f"{judge.name}: tells none of {', '.join(names)}; {suggest(names[0], judge.outcomes)}")
    return meters


def _likeliest(levels: Mapping[str, Callable[[Tensor], Tensor]]) -> Meter:
    names = list(levels)

    def measure(images: Tensor) -> list[str]:
        table = torch.stack([told(images) for told in levels.values()], 1)
        return [names[k] for k in table.argmax(1).tolist()]

    return measure
