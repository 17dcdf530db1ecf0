"""Structural causal models of pictures: a graph over attributes and the picture, with a mechanism for each node.

    image  -> the picture, a node that is caused and causes nothing; its mechanism is a model that encodes (vae), told
              exactly its parents
    others -> attributes of the data, or ``label``; their mechanisms are a `StructuralModel`, beside the model's weights
              as scm.json and scm.safetensors

`Causes` makes the second while a recipe with ``edges`` is trained; `World` is both together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pentimento.capabilities import Encodes
from pentimento.causal.graphs import CausalGraph, parse_graph
from pentimento.causal.independence import IndependenceTest, check_independences
from pentimento.causal.scm import StructuralModel
from pentimento.data.dataset import PackedDataset
from pentimento.errors import ModelError, NotFoundError, RecipeError
from pentimento.model import Condition, Model
from pentimento.models import ATTRIBUTES, CARD, MODELS, config_schema, family, find, load
from pentimento.runtime import Progress, ProgressCallback, atomic_write, no_progress
from pentimento.tasks.pictures import model_name
from pentimento.training.recipe import Recipe

__all__ = ["IMAGE", "LABEL", "Causes", "World", "attribute_graph", "columns_of", "image_graph", "open_world"]

IMAGE, LABEL = "image", "label"
Values = Mapping[str, Any]  # column by name: numbers (N,), or N names


# --------------------------------------------------------------------------------------------------- graphs
def image_graph(edges: Sequence[str]) -> CausalGraph:
    """The graph that a recipe's ``edges`` draw.

    Raises:
        CausalError: no causal graph, see `pentimento.causal.graphs`.
        RecipeError: no node ``image``, one without parents or with children, or a confounded pair.

    >>> image_graph(["thickness -> intensity", "thickness -> image"]).parents("image")
    ('thickness',)
    """
    lines = ", ".join('"' + edge.replace("\\", "\\\\").replace('"', '\\"') + '"' for edge in edges)
    graph = parse_graph(f"edges = [{lines}]", "toml")
    if IMAGE not in graph.nodes or not graph.parents(IMAGE):
        raise RecipeError(
            f"edges: nothing acts on {IMAGE!r}, which stands for the picture; e.g. 'thickness -> {IMAGE}'"
        )
    if graph.children(IMAGE):
        raise RecipeError(
            f"edges: {IMAGE} -> {graph.children(IMAGE)[0]}: the picture is what attributes cause, and causes none of "
            "them; turn the arrow, or leave it out"
        )
    if graph.confounded:
        a, b = graph.confounded[0]
        raise RecipeError(f"edges: {a} <-> {b}: mechanisms cannot be learned past a cause nobody measured; measure it")
    return graph


def attribute_graph(graph: CausalGraph) -> CausalGraph:
    """`graph` without the picture."""
    edges = tuple(edge for edge in graph.edges if IMAGE not in edge)
    return CausalGraph(tuple(node for node in graph.nodes if node != IMAGE), edges)


def columns_of(dataset: PackedDataset, rows: npt.NDArray[np.int64] | None = None) -> dict[str, Tensor | list[str]]:
    """Attributes of a data set, and ``label`` where it has classes: numbers (N,) float64, categories as names."""
    chosen = slice(None) if rows is None else rows
    columns: dict[str, Tensor | list[str]] = {}
    for attribute, values in zip(dataset.attributes, dataset.attribute_values[chosen].T, strict=True):
        named = attribute.kind == "categorical"
        columns[attribute.name] = [attribute.values[int(v)] for v in values] if named else torch.tensor(values)
    if dataset.labels is not None:
        columns[LABEL] = [dataset.classes[k] for k in dataset.labels[chosen]]
    return columns


# ------------------------------------------------------------------------------------------------- training
class Causes:
    """Of a recipe with ``edges``: tells the image model its parents, and fits the mechanisms of the attributes.

    It is a `pentimento.training.session.Prepare`. The mechanisms are fitted before the long training, by maximum
    likelihood on the pictures to train on, so that what cannot be is refused at once; they are written behind it.

    Args:
        recipe: with edges.
        findings: is added to: a line for each mechanism, and for each independence that the graph implies.
        progress: told of each.

    Raises:
        CausalError, RecipeError: see `image_graph`; a family that finds no latent of a picture, or is told nothing.
    """

    def __init__(self, recipe: Recipe, findings: list[str], progress: ProgressCallback = no_progress) -> None:
        self.graph, self.findings, self.progress = image_graph(recipe.edges), findings, progress
        if not _able(recipe.family):
            able = ", ".join(name for name in MODELS if _able(name))
            raise RecipeError(
                f"edges: a {recipe.family!r} finds no latent of a picture, or is told no attributes; families: {able}"
            )
        _told(recipe, self.graph)

    def __call__(
        self, recipe: Recipe, dataset: PackedDataset, rows: npt.NDArray[np.int64], lead: bool
    ) -> tuple[Recipe, Callable[[Path], None]]:
        """The recipe with what the model is told, and what adds the mechanisms to a model folder.

        Raises:
            CausalError: a node without a column, a constant column, too few rows: see `read_table`.
            MissingExtraError: DoWhy is not installed.
        """
        recipe = recipe.model_copy(update={"model": {**recipe.model, **_told(recipe, self.graph)}})
        if not lead:
            return recipe, lambda _: None
        graph, table, seed = attribute_graph(self.graph), columns_of(dataset, rows), recipe.training.seed
        fitted = StructuralModel.fit(graph, table, seed, self.progress)
        tests = check_independences(graph, table, seed=seed)
        for test in tests:
            self.progress(Progress("graph", 0, message=_finding(test)))
        lines = [*map(str, fitted.choices.values()), *map(_finding, tests), *fitted.notes]
        self.findings[:] = lines

        def finish(folder: Path) -> None:
            fitted.save(folder)
            card = folder / CARD
            text = card.read_text(encoding="utf-8") + _card(self.graph, fitted, tests)
            with atomic_write(card) as temporary:
                temporary.write_text(text, encoding="utf-8")

        return recipe, finish


def _able(name: str) -> bool:
    return hasattr(family(name), "encode") and "attributes" in config_schema(name).model_fields


def _told(recipe: Recipe, graph: CausalGraph) -> dict[str, Any]:
    """The settings of the image model that follow from the graph; refuses others."""
    parents = graph.parents(IMAGE)
    told: dict[str, Any] = {"attributes": [n for n in parents if n != LABEL], "conditional": LABEL in parents}
    for key, value in told.items():
        given = recipe.model.get(key, value)
        if (sorted(map(str, given)) != sorted(value)) if isinstance(given, list | tuple) else given is not value:
            raise RecipeError(
                f"model.{key}: follows from edges, by which {', '.join(parents)} act on the picture; {value} expected, "
                f"got {given}; leave it out"
            )
    return told


def _finding(test: IndependenceTest) -> str:
    return f"{test.claim}: {'holds' if test.holds else 'does not hold'} (q = {test.q_value:.2g}): {test.note}"


def _card(graph: CausalGraph, fitted: StructuralModel, tests: Sequence[IndependenceTest]) -> str:
    """What the model card says of causes."""
    lines = ["", "## Causes", "", f"Assumed: {', '.join(f'`{a} -> {b}`' for a, b in graph.edges)}."]
    lines += [f"The mechanisms of attributes, learned from {fitted.count:,} rows, by held-out fit:", ""]
    lines += [f"- {choice}" for choice in fitted.choices.values()]
    lines += ["", "The graph against the data:", ""]
    lines += [f"- {_finding(test)}" for test in tests] or ["- it implies no independence that could be tested"]
    return "\n".join([*lines, *(f"- {note}" for note in fitted.notes)]) + "\n"


# ----------------------------------------------------------------------------------------------- a trained one
@dataclass(frozen=True)
class World:
    """A structural causal model of pictures.

    Args:
        model: of the picture, given its parents; `Encodes`.
        attributes: of all other nodes.
    """

    model: Model
    attributes: StructuralModel

    @property
    def parents(self) -> tuple[str, ...]:
        """Of the picture."""
        labels = (LABEL,) if self.model.config.get("conditional") else ()
        told = (*labels, *self.model.config.get("attributes", ()))
        return tuple(node for node in self.attributes.graph.nodes if node in told)

    @property
    def graph(self) -> CausalGraph:
        """Of all nodes, the picture among them."""
        graph = self.attributes.graph
        return CausalGraph((*graph.nodes, IMAGE), (*graph.edges, *((parent, IMAGE) for parent in self.parents)))

    def condition(self, values: Values) -> Condition:
        """What the image model is told of rows, on its device.

        Args:
            values: columns of N by name, as `StructuralModel.counterfactual` gives them.
        """
        spec, count = self.model.spec, len(next(iter(values.values())))
        labels, told = None, torch.zeros(count, len(spec.attributes))
        if LABEL in self.parents:
            labels = torch.tensor([spec.class_index(name) for name in values[LABEL]])
        for place, attribute in enumerate(spec.attributes):
            if attribute.name in self.parents:
                column = values[attribute.name]
                named = attribute.kind == "categorical"
                told[:, place] = torch.as_tensor([attribute.values.index(v) for v in column] if named else column)
        return Condition(labels, told if spec.attributes else None).to(self.model.device)


def open_world(where: str, device: str | torch.device = "cpu") -> World:
    """The model and its attributes' mechanisms at `where`, see `pentimento.models.find`.

    Raises:
        NotFoundError, ModelError: see `load` and `StructuralModel.load`; a model without mechanisms, or with others
            than its own.
    """
    folder, model = find(where), load(where, device)
    name = model_name(model)
    if not isinstance(model, Encodes) or not (folder / ATTRIBUTES[0]).is_file():
        raise NotFoundError(
            f"{where}: no {ATTRIBUTES[0]} beside the weights, so nothing says what its attributes cause; train with a "
            "recipe that has edges, e.g. scm-shapes"
        )
    world = World(model, StructuralModel.load(folder))
    told = {*model.config.get("attributes", ())} | ({LABEL} if model.config.get("conditional") else set())
    if foreign := sorted(told - set(world.attributes.graph.nodes)) or ([IMAGE] if not told else []):
        raise ModelError(
            f"{folder / ATTRIBUTES[0]}: has no mechanism of {foreign[0]}, which {name} is told; train again"
        )
    return world
