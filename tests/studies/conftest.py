"""A structural causal model whose every counterfactual can be written down."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from pentimento.causal.attributes import Attribute
from pentimento.causal.choice import Choice
from pentimento.causal.graphs import CausalGraph
from pentimento.causal.mechanisms import Additive, Empirical
from pentimento.causal.scm import StructuralModel
from pentimento.model import Attribute as Told
from pentimento.model import DataSpec, Model
from pentimento.studies.scm import World


class Linear(Model):
    """Pixels 0.4 + 0.05 a, 0.4 + 0.05 b, 0.4 + 0.05 z, and 0.4: of the last the model knows nothing."""

    family = "linear"

    def __init__(self, *, spec, attributes, conditional=False):
        super().__init__()
        self.step = torch.nn.Parameter(torch.tensor(0.05))

    def encode(self, images, condition):
        return ((images - 0.4) / self.step)[:, 0, 0, 2:3]

    def decode(self, latents, condition):
        told = torch.cat([condition.attributes, latents, torch.zeros(len(latents), 1)], 1)
        return (0.4 + self.step * told)[:, None, None, :]


def structural_model():
    """a is uniform on [-1, 1]; b = 2 a + noise uniform on [-1, 1]."""
    spread, noise = (Empirical(torch.tensor([0.0, 1.0]).double(), torch.tensor([-1.0, 1.0]).double()) for _ in "ab")
    line = Additive(torch.tensor([[1]]), torch.tensor([2.0]).double(), 0.0, noise)
    choice = Choice("a", "linear", {}, {}, 100, 20)
    choices = {"a": choice, "b": dataclasses.replace(choice, name="b")}
    known = {"a": Attribute("a", low=-1, high=1), "b": Attribute("b", low=-3, high=3)}
    graph = CausalGraph(("a", "b"), (("a", "b"),))
    return StructuralModel(graph, known, {"a": spread, "b": line}, choices, 100, 0)


@pytest.fixture
def world():
    told = (Told(name="a", low=-1, high=1), Told(name="b", low=-3, high=3))
    spec = DataSpec(channels=1, height_px=1, width_px=4, attributes=told)
    return World(Linear(spec=spec, attributes=("a", "b")).eval(), structural_model())


@pytest.fixture
def rows():
    """40 pictures of it with their attributes; the last pixel is anything."""
    g = torch.Generator().manual_seed(0)
    a, n, z, r = torch.rand(4, 40, generator=g, dtype=torch.float64) * 2 - 1
    b = 2 * a + n
    pixels = 0.4 + 0.05 * torch.stack([a, b, z, r], 1)
    return pixels.float()[:, None, None, :], {"a": a, "b": b}
