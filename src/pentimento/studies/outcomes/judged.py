"""Outcomes that a network tells: probabilities of classes and values of attributes, from a model or an ONNX file.

A judge sees pictures at the one size that it was made for: a resized picture is another picture, so that pictures of
another size are refused. Gray pictures are repeated for a judge of colour, and colour becomes luma for a judge of gray.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from pentimento.capabilities import Predicts, require
from pentimento.data.fit import recolour
from pentimento.errors import CausalError, ModelError, suggest
from pentimento.features import Features, open_network
from pentimento.features.onnx import OnnxNetwork
from pentimento.model import Attribute, Model
from pentimento.models import MODELS
from pentimento.studies.outcomes.outcome import Once, Outcome

__all__ = ["CONFIDENCE", "Judge", "model_judge", "onnx_judge"]

CONFIDENCE = "confidence"
CHUNK = 64  # pictures a forward pass
PROBE_PX = 224  # where an ONNX file leaves the size open

Table = Callable[[Tensor], Tensor]  # (N, C, H, W) images -> (N, columns)


@dataclass(frozen=True)
class Judge:
    """What a network says of pictures. It looks once for outcomes that are measured together.

    Args:
        name: that its outcomes begin with.
        outcomes: by class, numeric attribute (in its own unit), ``attribute=value`` of a categorical one (1 where that
            value is predicted, else 0), or number of a column (ONNX).
        confidence: the probability of the label that is predicted, whichever it is; None where there are no labels.
    """

    name: str
    outcomes: Mapping[str, Outcome]
    confidence: Outcome | None = None

    def outcome(self, title: str) -> Outcome:
        """One of `outcomes`, or ``"confidence"``.

        Raises:
            CausalError: there is none called so.
        """
        extra = {CONFIDENCE: self.confidence} if self.confidence else {}
        known = {**extra, **self.outcomes}
        if title not in known:
            raise CausalError(f"{self.name}: tells nothing called {title!r}; {suggest(title, known)}")
        return known[title]


@dataclass(frozen=True)
class _Column:
    title: str
    unit: str
    formula: str


# ------------------------------------------------------------------------------------------ trained models
def model_judge(model: Model, name: str = "") -> Judge:
    """A trained model as a judge.

    Args:
        model: that `Predicts`; it is put into evaluation mode.
        name: that outcomes begin with; default ``judge:`` and the name of the model.

    Raises:
        ModelError: a model that predicts nothing, or something else than its config says.
    """
    require(model, Predicts, "judge", MODELS)
    name = name or f"judge:{model.origin.name if model.origin else model.family}"
    spec = model.eval().spec
    told = {key: values.shape[1] for key, values in _predict(model, torch.zeros(1, *spec.image_shape)).items()}
    classes = spec.classes if "probabilities" in told else ()
    # A family that chooses among the attributes of the data names its choice in its config.
    chosen = tuple(spec.attribute(attribute) for attribute in model.config.get("attributes", ())) or spec.attributes
    attributes = chosen if "attributes" in told else ()
    if (told.get("probabilities", 0), told.get("attributes", 0)) != (len(classes), len(attributes)) or not told:
        raise ModelError(
            f"{name}: its config names {len(classes)} classes and {len(chosen)} attributes, but it predicts {told}"
        )
    sides = spec.height_px, spec.width_px

    def table(images: Tensor) -> Tensor:
        _check_size(name, sides, images, "train a judge on pictures of their size")
        return _in_chunks(images, lambda chunk: _row(_predict(model, chunk), attributes))

    once, columns = Once(table), [*_class_columns(classes), *_attribute_columns(attributes)]
    confidence = None
    if classes:
        formula = "probability of the predicted label"
        measure = functools.partial(_largest, once, len(classes))
        confidence = Outcome(f"{name}:{CONFIDENCE}", "probability", formula, measure)
    return Judge(name, _outcomes(f"{name}:", columns, once), confidence)


@torch.no_grad()
def _predict(model: Model, images: Tensor) -> dict[str, Tensor]:
    seen = recolour(images, model.spec.channels).float().to(model.device)
    return {key: values.cpu().double() for key, values in cast(Predicts, model).predict(seen).items()}


def _row(found: Mapping[str, Tensor], attributes: Sequence[Attribute]) -> Tensor:
    """(n, columns) of what a model predicts."""
    columns = [found["probabilities"]] if "probabilities" in found else []
    for k, attribute in enumerate(attributes):
        value = found["attributes"][:, k : k + 1]
        columns.append(value == torch.arange(attribute.width) if attribute.kind == "categorical" else value)
    return torch.cat([column.double() for column in columns], 1)


def _class_columns(classes: Sequence[str]) -> Iterator[_Column]:
    for label in classes:
        yield _Column(label, "probability", f"probability of the label {label}")


def _attribute_columns(attributes: Sequence[Attribute]) -> Iterator[_Column]:
    for attribute in attributes:
        if attribute.kind == "numeric":
            yield _Column(attribute.name, "", f"predicted {attribute.name}, in the unit of the data")
        for value in attribute.values:
            formula = f"1 where {value} is the predicted {attribute.name}, else 0"
            yield _Column(f"{attribute.name}={value}", "0 or 1", formula)


# ---------------------------------------------------------------------------------------------------- ONNX
def onnx_judge(path: str | Path, name: str = "") -> Judge:
    """A network in an ONNX file as a judge; see `pentimento.features.onnx.OnnxNetwork` for what it may be.

    An output called ``probabilities`` or ``logits``, whose softmax it is, goes before others. Any other output (N, K)
    is taken as it is: K regressors.

    Args:
        path: of the ``.onnx`` file.
        name: that outcomes begin with; default ``onnx:`` and the path.

    Raises:
        CausalError: the file is called otherwise, or its logits are a single one.
        MissingExtraError: onnxruntime is not installed.
        ModelError: the file is broken, takes other inputs than (N, 1 or 3, H, W), or has no output (N, K).
        NotFoundError: there is no such file.
    """
    name = name or f"onnx:{path}"
    if Path(path).suffix.lower() != ".onnx":
        raise CausalError(f"{name}: a file that ends in .onnx expected; export the network to ONNX")
    network = cast(OnnxNetwork, open_network(path))
    sides = network.height, network.width

    def row(images: Tensor) -> Tensor:
        found: Features = network(images)
        return (found.vectors if found.probabilities is None else found.probabilities).cpu().double()

    def table(images: Tensor) -> Tensor:
        _check_size(name, sides, images, "export the network for their size, or with height and width left open")
        return _in_chunks(images, row)

    width = row(torch.zeros(1, network.channels, *(side or PROBE_PX for side in sides))).shape[1]
    if network.classifier == "logits" and width == 1:
        raise CausalError(
            f"{name}: one logit has no softmax; export it as an output called 'probability', after a sigmoid"
        )
    unit, what = ("probability", "probability") if network.classifier else ("", "column")
    columns = [_Column(str(k), unit, f"{what} {k} of what {network.name} gives") for k in range(width)]
    return Judge(name, _outcomes(f"{name}#", columns, Once(table)))


# ------------------------------------------------------------------------------------------------- for both
def _outcomes(prefix: str, columns: Sequence[_Column], table: Table) -> dict[str, Outcome]:
    return {
        column.title: Outcome(prefix + column.title, column.unit, column.formula, functools.partial(_column, table, k))
        for k, column in enumerate(columns)
    }


def _column(table: Table, k: int, images: Tensor) -> Tensor:
    return table(images)[:, k]


def _largest(table: Table, count: int, images: Tensor) -> Tensor:
    return table(images)[:, :count].amax(1)


def _in_chunks(images: Tensor, row: Table) -> Tensor:
    return torch.cat([row(images[begin : begin + CHUNK].detach()) for begin in range(0, len(images), CHUNK)])


def _check_size(name: str, sides: tuple[int | None, int | None], images: Tensor, remedy: str) -> None:
    height, width = images.shape[2:]
    if (sides[0] or height, sides[1] or width) != (height, width):
        wanted = f"{sides[1] or 'any'}x{sides[0] or 'any'}"
        raise CausalError(f"{name}: looks at pictures of {wanted} px, and these are {width}x{height}; {remedy}")
