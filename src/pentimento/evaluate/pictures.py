"""Pictures under measurement: drawn from a model, read from a folder, or the data they are held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pentimento.data.batches import Batches
from pentimento.data.dataset import PackedDataset
from pentimento.errors import EvaluationError
from pentimento.features import FeatureNetwork, Features
from pentimento.model import Condition, DataSpec, Model
from pentimento.runtime import Progress, ProgressCallback, derive_seed, no_progress
from pentimento.sampling import default_condition, sample_chunks

__all__ = ["Pictures", "Reference", "Subject", "draw_samples", "open_folder", "open_model", "read_pictures"]

CHUNK = 128  # pictures a feature network sees at a time
SMALL = 0.1  # share of pictures that may be smaller than what they are held against


@dataclass
class Pictures:
    """Pictures of one size, kept in 8 bits, with what was told or is known of each.

    Args:
        name: of the model or of the data set.
        images: (N, C, H, W) uint8.
        condition: labels and attributes of each.
        content_hash: of the data they are from, or of the model's weights.
    """

    name: str
    images: Tensor
    condition: Condition
    content_hash: str
    _features: dict[str, Features] = field(default_factory=dict, repr=False)
    _part_of: tuple[Pictures, Any] | None = field(default=None, repr=False)  # larger set, rows: whose features serve

    def __len__(self) -> int:
        return len(self.images)

    def floats(self, rows: Any = slice(None)) -> Tensor:
        """(n, C, H, W) float32 in [0, 1]."""
        return self.images[rows].float() / 255

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """``function(images)`` chunk by chunk, joined, on the CPU."""
        with torch.no_grad():
            parts = [function(self.floats(slice(i, i + CHUNK))).cpu() for i in range(0, len(self), CHUNK)]
        return torch.cat(parts)

    def features(self, network: FeatureNetwork, progress: ProgressCallback = no_progress) -> Features:
        """What `network` says of them, computed once."""
        known = self._features.get(network.sha256)
        if known is None and self._part_of is not None:
            whole, rows = self._part_of
            known = self._features[network.sha256] = _rows_of(whole.features(network, progress), rows)
        if known is None:
            device = next((p.device for p in network.parameters()), torch.device("cpu"))
            parts = []
            with torch.no_grad():
                for begin in range(0, len(self), CHUNK):
                    parts.append(network(self.floats(slice(begin, begin + CHUNK)).to(device)))
                    progress(Progress("features", begin + len(parts[-1].vectors), len(self)))
            probabilities = [p.probabilities.cpu() for p in parts if p.probabilities is not None]
            vectors = torch.cat([p.vectors.cpu() for p in parts])
            known = Features(vectors, torch.cat(probabilities) if probabilities else None)
            self._features[network.sha256] = known
        return known

    def first(self, count: int) -> Pictures:
        """The first `count` of them."""
        return self.taken(slice(count)) if count < len(self) else self

    def taken(self, rows: Any) -> Pictures:
        """Some of them; features that both need are computed once."""
        return Pictures(self.name, self.images[rows], self.condition[rows], self.content_hash, _part_of=(self, rows))


def _rows_of(features: Features, rows: Any) -> Features:
    return Features(features.vectors[rows], None if features.probabilities is None else features.probabilities[rows])


class Subject:
    """What is measured: a model, or a folder of pictures.

    Args:
        name: of it.
        kind: family of the model, or ``"pictures"``.
        digest: of the weights or of the pictures.
        draw: gives its pictures, called when they are first needed.
        model: None for a folder.
        dataset: the pictures of a folder as they are, of any sizes; None for a model.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        digest: str,
        draw: Callable[[], Pictures],
        model: Model | None = None,
        dataset: PackedDataset | None = None,
    ) -> None:
        self.name, self.kind, self.digest = name, kind, digest
        self.model, self.dataset, self._draw = model, dataset, draw

    @cached_property
    def pictures(self) -> Pictures:
        """Its samples, or those of the folder."""
        return self._draw()


class Reference:
    """Real pictures, at the size of what is held against them; each part is read when it is first needed.

    Args:
        dataset: the split to hold samples against.
        test: another split that no training saw, where the data has one.
        spec: of the model; None takes the data's own.
        validation: share that training holds out, see `DataOptions.validation`.
        most: pictures of `dataset` at most, chosen at random.

    Raises:
        EvaluationError: pictures of other channels than the model's, or too small for its size.
    """

    def __init__(
        self,
        dataset: PackedDataset,
        test: PackedDataset | None,
        spec: DataSpec | None,
        validation: float,
        most: int | None = None,
    ) -> None:
        self.dataset, self.test, self.most = dataset, test, most
        self._asked = spec
        if spec is not None:
            _check_fit(dataset, spec)
        self._seen, self._unseen = dataset.split(0.0, validation)

    @cached_property
    def spec(self) -> DataSpec:
        """Size and channels of the pictures."""
        return _fitting_spec(self.dataset, self._asked)

    @cached_property
    def pictures(self) -> Pictures:
        """All that samples are held against."""
        count = len(self.dataset)
        rows = list(range(count))
        if self.most is not None and self.most < count:
            generator = torch.Generator().manual_seed(derive_seed(0, "reference"))
            rows = torch.randperm(count, generator=generator)[: self.most].sort().values.tolist()
        return read_pictures(self.dataset, rows, self.spec)

    @cached_property
    def training(self) -> Pictures:
        """The part that training draws from."""
        if self.most is None or len(self.dataset) <= self.most:
            return self.pictures.taken(torch.from_numpy(self._seen))
        return read_pictures(self.dataset, self._seen.tolist(), self.spec)

    @property
    def held_out_count(self) -> int:
        """How many pictures no training saw."""
        return len(self._unseen) if self.test is None else len(self.test)

    @cached_property
    def held_out(self) -> Pictures:
        """The data's test split, where it has one; else the part that training holds out."""
        if self.test is not None:
            return read_pictures(self.test, range(len(self.test)), self.spec)
        return read_pictures(self.dataset, self._unseen.tolist(), self.spec)


def read_pictures(dataset: PackedDataset, indices: Sequence[int], spec: DataSpec) -> Pictures:
    """Pictures of a packed data set, scaled to cover the size of `spec` and cut centrally, as for training.

    Raises:
        EvaluationError: no pictures, or gray ones for colour, or the other way round.
    """
    if not len(indices):
        raise EvaluationError(f"{dataset.name}: no pictures to measure with")
    batches = Batches(dataset, indices, spec, batch_size=CHUNK, seed=0, training=False)
    images, labels, attributes = [], [], []
    for batch in batches.in_order():
        images.append((batch.images * 255).round().to(torch.uint8))
        labels.append(batch.labels)
        attributes.append(batch.attributes)
    condition = Condition(_joined(labels), _joined(attributes))
    return Pictures(dataset.name, torch.cat(images), condition, dataset.content_hash)


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    given = [part for part in parts if part is not None]
    return torch.cat(given) if given else None


def _check_fit(dataset: PackedDataset, spec: DataSpec) -> None:
    own = dataset.spec((spec.height_px, spec.width_px))
    if own.channels != spec.channels:
        kinds = {1: "gray", 3: "in colour"}
        raise EvaluationError(
            f"--data: the pictures of {dataset.name} are {kinds[own.channels]} and those of the model "
            f"{kinds[spec.channels]}; give pictures of the kind that it was trained on"
        )
    small = dataset.share_smaller((spec.height_px, spec.width_px))
    if small > SMALL:
        raise EvaluationError(
            f"--data: {small:.0%} of the pictures of {dataset.name} are smaller than the {spec.height_px}x"
            f"{spec.width_px} that the model makes, and enlarged ones would be no reference; give larger ones"
        )


def _fitting_spec(dataset: PackedDataset, spec: DataSpec | None) -> DataSpec:
    """That of the data at the size of `spec`, or at their own."""
    if spec is not None:
        return dataset.spec((spec.height_px, spec.width_px))
    if dataset.common_size is None:
        raise EvaluationError(
            f"{dataset.name}: its pictures have different sizes; bring them to one, or use --metrics fidelity"
        )
    return dataset.spec()


def open_folder(dataset: PackedDataset, count: int | None) -> Subject:
    """A folder of pictures as a subject; the first `count` of them, where not all are wanted."""

    def read() -> Pictures:
        rows = range(len(dataset) if count is None else min(count, len(dataset)))
        return read_pictures(dataset, rows, _fitting_spec(dataset, None))

    return Subject(dataset.name, "pictures", dataset.content_hash, read, dataset=dataset)


def open_model(
    model: Model, reference: Reference | None, count: int, seed: int, progress: ProgressCallback = no_progress
) -> Subject:
    """A model as a subject; see `draw_samples`."""
    assert model.origin is not None

    def draw() -> Pictures:
        return draw_samples(model, reference.pictures if reference else None, count, seed, progress)

    return Subject(model.origin.name, model.family, model.origin.weights_sha256, draw, model)


def draw_samples(
    model: Model, reference: Pictures | None, count: int, seed: int, progress: ProgressCallback = no_progress
) -> Pictures:
    """`count` samples of `model`, told what the pictures of `reference` are labelled with, in random order.

    So a conditional model is asked for each class as often as the data has it. Without a reference, classes in turn.

    Raises:
        EvaluationError: the labels of the reference are not those of the model.
    """
    condition = default_condition(model, range(count), seed)
    if reference is not None and len(reference):
        rows = torch.randperm(len(reference), generator=torch.Generator().manual_seed(derive_seed(seed, "told")))
        told = reference.condition[rows.repeat(-(-count // len(rows)))[:count]]
        labels = told.labels if model.spec.classes else None
        attributes = told.attributes if model.spec.attributes else None
        condition = Condition(
            condition.labels if labels is None else labels, condition.attributes if attributes is None else attributes
        )
    _check_labels(model, condition)
    images = []
    for begin in range(0, count, CHUNK):
        chunk = range(begin, min(begin + CHUNK, count))
        drawn = sample_chunks(model, condition[list(chunk)], chunk, seed)
        images.append((drawn * 255).round().to(torch.uint8))
        progress(Progress("samples", chunk.stop, count))
    name, digest = (model.origin.name, model.origin.weights_sha256) if model.origin else (model.family, "in training")
    return Pictures(name, torch.cat(images), condition, digest)


def _check_labels(model: Model, condition: Condition) -> None:
    known = len(model.spec.classes)
    if condition.labels is not None and known and int(condition.labels.max()) >= known:
        raise EvaluationError(f"--data: it has more classes than the {known} of the model")
