"""Effects of factors on `shapes`, whose renderer is a generator of known causes; and those of a VAE that learnt it."""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pentimento.causal import Study
from pentimento.data.packed import pack
from pentimento.data.shapes import CANVAS_PX, ShapeFactors, render
from pentimento.data.sources import open_source
from pentimento.interventions import Do
from pentimento.model import Condition, DataSpec
from pentimento.models import load
from pentimento.runtime import Draws
from pentimento.studies.effects import Asked, Plan, measure_effects
from pentimento.studies.experiment import Experiment
from pentimento.studies.outcomes import Outcome, find_outcomes, measure_all
from reporting import Figure, mean_interval, wilson

__all__ = ["NOTES", "World", "covered_share", "measure"]

DATA, SIDE_PX = "shapes:6000", 32
# factor -> the two values that are held against each other
CONTRASTS: Mapping[str, tuple[float | str, float | str]] = {
    "label": ("circle", "star"),
    "hue": (0.0, 1 / 3),
    "size_px": (8.0, 16.0),
    "x": (0.4, 0.55),
    "y": (0.4, 0.55),
    "background": ("plain", "checks"),
    "background_hue": (1 / 3, 2 / 3),
}
NAMES = ("brightness", "contrast", "colourfulness", "hue-red", "hue-blue", "edge-density", "symmetry", "foreground")
# Area of a shape in squares of the radius of the circle around it; of the pentagram by its five spikes and middle.
AREAS = {
    "circle": math.pi,
    "square": 2.0,
    "triangle": 3 * math.sqrt(3) / 4,
    "star": 5 * math.sin(math.pi / 5) * math.cos(2 * math.pi / 5) / math.cos(math.pi / 5),
}
NOTES = [
    "The renderer of `shapes` at 32x32 is asked as any generator, label and factors drawn each by itself, evenly over "
    "what the data holds; do(factor) against another value, on the same other factors. Truth: the same contrast from "
    "pictures drawn with numpy apart from the experiment; of the share that the shape covers also from its area.",
    "Shares of intervals come with Wilson's interval as if intervals were independent; those of an experiment are not.",
    "The VAE: `pentimento train vae --data shapes:6000 --set 'data.size_px=[32, 32]' --set model.conditional=true "
    '--set \'model.attributes=["hue", "size_px", "x", "y", "background", "background_hue"]\' --set model.width=16 '
    "--set model.latent_dim=2 --set augment.mirror=false --set training.total_kimg=90 --set "
    "training.early_stopping_patience=0`. Its data are confounded (shape decides hue and size), the question is not.",
]


def covered_share(images: Tensor) -> Tensor:
    """Share of pixels nearer to the shape, whose highest channel is 1, than to the darkest background, with 0.3."""
    return (images.amax(1) > 0.65).double().mean((1, 2))


COVERED = Outcome("covered", "share", "share of pixels whose highest channel is above 0.65", covered_share)


class World:
    """The renderer as a model that intervenes: it is told the factors, and has no noise."""

    family, device, training, origin = "shapes", torch.device("cpu"), False, None
    stages = ("image",)

    def __init__(self, spec: DataSpec) -> None:
        self.spec = spec
        told = [a.name for a in spec.attributes if a.name != "shape"]  # the label says it
        self.config = {"conditional": True, "attributes": told}

    def draw_noise(self, draws: Draws, truncation: float | None = None) -> dict[str, Tensor]:
        """None: all that decides a picture is told."""
        return {}

    def run_stage(self, stage: str, x: Tensor | None, noise: Mapping[str, Tensor], condition: Condition) -> Tensor:
        """The pictures."""
        assert condition.labels is not None and condition.attributes is not None
        rows = zip(condition.labels.tolist(), condition.attributes.tolist(), strict=True)
        return pictures([self._factors(label, row) for label, row in rows], self.spec.width_px)

    def _factors(self, label: int, row: Sequence[float]) -> ShapeFactors:
        told = {
            a.name: a.values[int(value)] if a.kind == "categorical" else value
            for a, value in zip(self.spec.attributes, row, strict=True)
        }
        return ShapeFactors(**{**told, "shape": self.spec.classes[label]})


def pictures(factors: Sequence[ShapeFactors], side_px: int) -> Tensor:
    """(N, 3, side, side) in [0, 1]."""
    drawn = torch.from_numpy(np.stack([render(each, side_px) for each in factors]))
    return drawn.permute(0, 3, 1, 2).float() / 255


# --------------------------------------------------------------------------------------------------- truth
def truth(spec: DataSpec, outcomes: Sequence[Outcome], count: int, seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """The effect of each contrast on every outcome, (K,), and the outcomes' standard deviations in the world."""
    stream, effects, spreads = np.random.default_rng(seed), {}, []
    for factor, values in CONTRASTS.items():
        drawn = [random_factors(spec, stream) for _ in range(count)]
        name = "shape" if factor == "label" else factor
        sums = torch.zeros(2, len(outcomes), dtype=torch.float64)
        for begin in range(0, count, 500):
            for arm, value in enumerate(values):
                seen = [ShapeFactors(**{**each, name: value}) for each in drawn[begin : begin + 500]]
                sums[arm] += measure_all(outcomes, pictures(seen, spec.width_px)).sum(0)
        effects[factor] = (sums[1] - sums[0]) / count
        world = [ShapeFactors(**each) for each in drawn[:500]]
        spreads.append(measure_all(outcomes, pictures(world, spec.width_px)))
        print(f"truth of {factor}: done", file=sys.stderr)
    return effects, torch.cat(spreads).std(0)


def random_factors(spec: DataSpec, stream: np.random.Generator) -> dict[str, float | str]:
    """Every factor by itself."""
    drawn: dict[str, float | str] = {"shape": str(stream.choice(spec.classes))}
    for a in spec.attributes:
        if a.name != "shape":
            drawn[a.name] = str(stream.choice(a.values)) if a.kind == "categorical" else stream.uniform(a.low, a.high)
    return drawn


def covered_by_size(spec: DataSpec) -> float:
    """The effect of the size on the share that is covered, from the areas."""
    small, large = (float(value) for value in CONTRASTS["size_px"])
    return statistics.fmean(AREAS[shape] for shape in spec.classes) * (large**2 - small**2) / CANVAS_PX**2


# ------------------------------------------------------------------------------------------------- figures
@dataclass(frozen=True)
class Answer:
    """One effect beside its truth, in standard deviations of the outcome in the world."""

    factor: str
    outcome: str
    value: float
    true: float
    holds: bool


def measure(chosen: argparse.Namespace) -> list[Figure]:
    """All figures of the part."""
    spec = pack(open_source(DATA)).spec((SIDE_PX, SIDE_PX))
    outcomes = [COVERED, *find_outcomes(NAMES, spec=spec)]
    effects, spread = truth(spec, outcomes, chosen.truth, chosen.seed + 1)
    world = World(spec)
    answers = [a for run in range(chosen.repeats) for a in asked(world, outcomes, effects, spread, 300, run)]
    figures = of_the_world(answers, spec, effects)
    if chosen.vae:
        model = load(chosen.vae).eval()
        figures += of_a_model(asked(model, outcomes, effects, spread, 1000, chosen.seed))
    return figures


def asked(
    model: object, outcomes: Sequence[Outcome], effects: Mapping[str, Tensor], spread: Tensor, count: int, seed: int
) -> list[Answer]:
    """Every contrast by `measure_effects`, on samples of their own."""
    answers = []
    for factor, (against, value) in CONTRASTS.items():
        plan = Plan(count=count, against=(Do(factor, against),))
        study: Study = measure_effects(Experiment(model, seed), [Asked((Do(factor, value),))], outcomes, plan).study
        for k, effect in enumerate(study.effects):
            true = float(effects[factor][k])
            holds = effect.low - 1e-9 <= true <= effect.high + 1e-9  # an effect of 0 in every sample has no width
            scale = float(spread[k])
            answers.append(Answer(factor, effect.outcome, effect.value / scale, true / scale, holds))
    return answers


def of_the_world(answers: Sequence[Answer], spec: DataSpec, effects: Mapping[str, Tensor]) -> list[Figure]:
    """Coverage of the intervals and errors, all together and by factor."""
    hits = sum(a.holds for a in answers)
    whole = wilson(hits, len(answers))
    error, errors = mean_interval([abs(a.value - a.true) for a in answers])
    closed = covered_by_size(spec)
    figures = [
        Figure(
            "intervals of the renderer's effects that hold the truth",
            100 * hits / len(answers),
            "%",
            whole,
            aim="95 % within its interval, or above",
            met=whole[1] >= 95,
            note=f"{len(CONTRASTS)} contrasts x {len(NAMES) + 1} outcomes, experiments of 300 samples",
        ),
        Figure("mean error of an effect, in standard deviations of the outcome", error, "", errors),
        Figure(
            "truth by rendering beside the closed form: size 8 to 16 px on the share covered",
            float(effects["size_px"][0]),
            "",
            aim="within 2 % of it",
            met=abs(float(effects["size_px"][0]) / closed - 1) <= 0.02,
            peer="areas",
            peer_value=closed,
        ),
    ]
    for factor in CONTRASTS:
        own = [a for a in answers if a.factor == factor]
        held = sum(a.holds for a in own)
        figures.append(Figure(f"of these, of {factor}", 100 * held / len(own), "%", wilson(held, len(own))))
    return figures


def of_a_model(answers: Sequence[Answer]) -> list[Figure]:
    """How far a model's effects are from the world's."""
    error, errors = mean_interval([abs(a.value - a.true) for a in answers])
    nothing = statistics.fmean(abs(a.true) for a in answers)
    clear = [a for a in answers if abs(a.true) >= 0.1]
    same = sum(a.value * a.true > 0 for a in clear)
    figures = [
        Figure(
            "VAE: mean distance of its effects from the world's, in standard deviations of the outcome",
            error,
            "",
            errors,
            peer="a model in which nothing has an effect",
            peer_value=nothing,
        ),
        Figure(
            "VAE: clear effects (0.1 or more) of the same sign", 100 * same / len(clear), "%", wilson(same, len(clear))
        ),
    ]
    for factor in CONTRASTS:
        largest = max((a for a in answers if a.factor == factor), key=lambda a: abs(a.true))
        name = f"VAE: {factor} on {largest.outcome}, in standard deviations"
        figures.append(Figure(name, largest.value, "", peer="the world", peer_value=largest.true))
    return figures
