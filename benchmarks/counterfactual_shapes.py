"""Part `shapes` of `counterfactuals.py`: the distance to the true counterfactual, for every factor of `shapes`."""

from __future__ import annotations

import argparse
import dataclasses

import torch
from torch import Tensor

from counterfactual_cards import card_figures
from pentimento.data.shapes import ShapeFactors, draw_noise, factors_from_noise, render
from pentimento.images import Picture
from pentimento.model import DataSpec
from pentimento.studies.scm import open_world
from pentimento.studies.scorecard import score
from pentimento.tasks.edit import fitted
from reporting import Figure

__all__ = ["NOTES", "shapes"]

SEED = 1_000_003  # of the test pictures; recipes train on seed 0
NOTES = [
    "Pictures of another seed than the model was trained on; each factor is set to the values of other pictures. The "
    "true counterfactual is drawn by the equations of `shapes` under the noise of the picture. Distances are mean "
    "absolute differences of 255, with 95 % intervals over pictures.",
    "Graph ignored: the same model, with all that follows from what is set held as it was. Nothing done: the picture.",
]


def shapes(chosen: argparse.Namespace) -> list[Figure]:
    """All figures of the part."""
    world = open_world(chosen.shapes)
    noises = [draw_noise(index, SEED) for index in range(chosen.count)]
    factors = [factors_from_noise(noise) for noise in noises]
    images = drawn(factors, world.model.spec)
    rows = [dataclasses.asdict(each) for each in factors]
    values = {node: column([row[node] for row in rows]) for node in world.attributes.graph.nodes}

    def truth(name: str, aims: Tensor | list[str]) -> Tensor:
        wanted = aims.tolist() if isinstance(aims, Tensor) else aims
        acted = [factors_from_noise(noise, {name: value}) for noise, value in zip(noises, wanted, strict=True)]
        return drawn(acted, world.model.spec)

    made = []
    for residual in (True, False):
        card = score(world, images, values, {}, truth=truth, residual=residual, seed=chosen.seed)
        made += card_figures(card, {})
    return made


def drawn(factors: list[ShapeFactors], spec: DataSpec) -> Tensor:
    """(N, 3, H, W) of the model's size."""
    return torch.cat([fitted(Picture(render(each)), spec) for each in factors])


def column(values: list[float | str]) -> Tensor | list[str]:
    return values if isinstance(values[0], str) else torch.tensor(values, dtype=torch.float64)
