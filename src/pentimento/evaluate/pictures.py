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
from pentimento.data.fit import Fit
from pentimento.errors import EvaluationError, suggest
from pentimento.features import FeatureNetwork, Features
from pentimento.model import Condition, DataSpec, Model
from pentimento.runtime import Progress, ProgressCallback, derive_seed, no_progress
from pentimento.sampling import default_condition, sample_chunks

__all__ = [
    "Pictures",
    "Reference",
    "Subject",
    "condition_for",
    "draw_samples",
    "fitting_spec",
    "open_folder",
    "open_model",
    "read_pictures",
]

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
        spec: what the condition speaks of: names of classes and attributes.
    """

    name: str
    images: Tensor
    condition: Condition
    content_hash: str
    spec: DataSpec
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

    def some(self, count: int) -> Pictures:
        """At most `count` of them, chosen at random: data lie class by class, so the first would be of one class."""
        return self if count >= len(self) else self.taken(some_rows(len(self), count))

    def taken(self, rows: Any) -> Pictures:
        """Some of them; features that both need are computed once."""
        condition = self.condition[rows]
        return Pictures(self.name, self.images[rows], condition, self.content_hash, self.spec, _part_of=(self, rows))


def _rows_of(features: Features, rows: Any) -> Features:
    return Features(features.vectors[rows], None if features.probabilities is None else features.probabilities[rows])


def some_rows(total: int, count: int) -> Tensor:
    """`count` of ``range(total)`` at random, in order; the same every time."""
    generator = torch.Generator().manual_seed(derive_seed(0, "some"))
    return torch.randperm(total, generator=generator)[:count].sort().values


class Subject:
    """What is measured: a model, or a folder of pictures.

    Args:
        name: of it.
        kind: family of the model, or ``"pictures"``.
        digest: of the weights or of the pictures.
        count: how many pictures of it are looked at.
        draw: gives the first so many of its pictures.
        model: None for a folder.
        dataset: the pictures of a folder as they are, of any sizes; None for a model.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        digest: str,
        count: int,
        draw: Callable[[int], Pictures],
        model: Model | None = None,
        dataset: PackedDataset | None = None,
    ) -> None:
        self.name, self.kind, self.digest, self.count = name, kind, digest, count
        self.model, self.dataset, self._draw = model, dataset, draw

    @cached_property
    def pictures(self) -> Pictures:
        """Its samples, or those of the folder; drawn when they are first needed."""
        return self._draw(self.count)

    def shown(self, count: int) -> Pictures:
        """A few, to be looked at: without drawing all, where nothing needed them."""
        drawn = "pictures" in self.__dict__
        return self.pictures.some(count) if drawn else self._draw(min(count, self.count))


class Reference:
    """Real pictures, at the size of what is held against them; each part is read when it is first needed.

    Args:
        chosen: the split to hold samples against.
        train: the split that training takes.
        test: a split that no training saw, where the data has one.
        spec: size and channels of what is held against them; None takes the data's own.
        validation: share of `train` that training holds out, see `DataOptions.validation`.
        fit: how pictures come to the size, as in training.
        most: pictures of `chosen` at most, chosen at random.

    Raises:
        EvaluationError: pictures of other channels, or too small for the size.
    """

    def __init__(
        self,
        chosen: PackedDataset,
        train: PackedDataset,
        test: PackedDataset | None,
        spec: DataSpec | None,
        validation: float,
        fit: Fit = "crop",
        most: int | None = None,
    ) -> None:
        self.dataset, self.train, self.test, self.most, self.fit = chosen, train, test, most, fit
        self._asked = spec
        if spec is not None:
            _check_fit(chosen, spec)
        self._seen, self._unseen = train.split(0.0, validation)

    @cached_property
    def spec(self) -> DataSpec:
        """Size and channels of the pictures."""
        return fitting_spec(self.dataset, self._asked)

    @property
    def count(self) -> int:
        """How many samples are held against."""
        return len(self.dataset) if self.most is None else min(len(self.dataset), self.most)

    @cached_property
    def pictures(self) -> Pictures:
        """All that samples are held against."""
        return self._read(self.dataset, some_rows(len(self.dataset), self.count).tolist())

    @cached_property
    def training(self) -> Pictures:
        """The part that training draws from."""
        if self.train is self.dataset and self.count == len(self.dataset):
            return self.pictures.taken(torch.from_numpy(self._seen))
        return self._read(self.train, self._seen.tolist())

    @property
    def held_out_count(self) -> int:
        """How many pictures no training saw."""
        return len(self._unseen) if self.test is None else len(self.test)

    @cached_property
    def held_out(self) -> Pictures:
        """The data's test split, where it has one; else the part that training holds out."""
        if self.test is not None:
            return self._read(self.test, range(len(self.test)))
        return self._read(self.train, self._unseen.tolist())

    def _read(self, dataset: PackedDataset, rows: Sequence[int]) -> Pictures:
        return read_pictures(dataset, rows, self.spec, self.fit)


def read_pictures(dataset: PackedDataset, indices: Sequence[int], spec: DataSpec, fit: Fit = "crop") -> Pictures:
    """Pictures of a packed data set, brought to the size and the channels of `spec` as for training, without chance.

    Raises:
        EvaluationError: no pictures.
    """
    if not len(indices):
        raise EvaluationError(f"{dataset.name}: no pictures to measure with")
    batches = Batches(dataset, indices, spec, batch_size=CHUNK, seed=0, fit=fit, training=False)
    images, labels, attributes = [], [], []
    for batch in batches.in_order():
        images.append((batch.images * 255).round().to(torch.uint8))
        labels.append(batch.labels)
        attributes.append(batch.attributes)
    condition, own = Condition(_joined(labels), _joined(attributes)), dataset.spec((spec.height_px, spec.width_px))
    return Pictures(dataset.name, torch.cat(images), condition, dataset.content_hash, own)


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    given = [part for part in parts if part is not None]
    return torch.cat(given) if given else None


def _check_fit(dataset: PackedDataset, spec: DataSpec) -> None:
    own = dataset.spec((spec.height_px, spec.width_px))
    if own.channels != spec.channels:
        kinds = {1: "gray", 3: "in colour"}
        raise EvaluationError(
            f"--data: the pictures of {dataset.name} are {kinds[own.channels]} and those to be measured "
            f"{kinds[spec.channels]}; give pictures of their kind"
        )
    small = dataset.share_smaller((spec.height_px, spec.width_px))
    if small > SMALL:
        raise EvaluationError(
            f"--data: {small:.0%} of the pictures of {dataset.name} are smaller than the {spec.height_px}x"
            f"{spec.width_px} of those to be measured, and enlarged ones would be no reference; give larger ones"
        )


def fitting_spec(dataset: PackedDataset, spec: DataSpec | None) -> DataSpec:
    """That of the data at the size of `spec`, or at their own."""
    if spec is not None:
        return dataset.spec((spec.height_px, spec.width_px))
    if dataset.common_size is None:
        raise EvaluationError(
            f"{dataset.name}: its pictures have different sizes; bring them to one, or use --metrics fidelity"
        )
    return dataset.spec()


def open_folder(dataset: PackedDataset, count: int | None) -> Subject:
    """A folder of pictures as a subject; `count` of them at random, where not all are wanted."""
    wanted = len(dataset) if count is None else min(count, len(dataset))

    def read(some: int) -> Pictures:
        return read_pictures(dataset, some_rows(len(dataset), some).tolist(), fitting_spec(dataset, None))

    return Subject(dataset.name, "pictures", dataset.content_hash, wanted, read, dataset=dataset)


def open_model(
    model: Model, reference: Reference | None, count: int, seed: int, progress: ProgressCallback = no_progress
) -> Subject:
    """A model as a subject; see `draw_samples`."""
    assert model.origin is not None

    def draw(some: int) -> Pictures:
        return draw_samples(model, reference.pictures if reference else None, some, seed, progress)

    return Subject(model.origin.name, model.family, model.origin.weights_sha256, count, draw, model)


# ----------------------------------------------------------------------------------------- what models are told
def condition_for(model: Model, pictures: Pictures) -> Condition:
    """What `model` is told of each of `pictures`: their labels and attributes, matched to its own by name.

    Raises:
        EvaluationError: it is told something that they do not have, or a class or value that it does not know.
    """
    own, labels, columns = model.spec, None, []
    if model.config.get("conditional"):
        if pictures.condition.labels is None:
            raise EvaluationError(
                f"--data: the pictures of {pictures.name} have no labels, and the model is told one; put them into "
                "class subfolders"
            )
        index = torch.tensor([_place(name, own.classes, "class") for name in pictures.spec.classes])
        labels = index[pictures.condition.labels]
    names = tuple(model.config.get("attributes", ()))
    for attribute in own.attributes if names else ():
        wanted = [a for a in pictures.spec.attributes if a.name == attribute.name]
        if not wanted or pictures.condition.attributes is None:
            if attribute.name in names:
                raise EvaluationError(f"--data: the pictures of {pictures.name} have no attribute {attribute.name!r}")
            columns.append(torch.full((len(pictures),), attribute.low))
            continue
        column = pictures.condition.attributes[:, pictures.spec.attributes.index(wanted[0])]
        if attribute.kind == "categorical":
            values = [_place(value, attribute.values, attribute.name) for value in wanted[0].values]
            column = torch.tensor(values)[column.long()].float()
        columns.append(column)
    return Condition(labels, torch.stack(columns, 1) if columns else None)


def _place(name: str, known: Sequence[str], what: str) -> int:
    if name not in known:
        raise EvaluationError(f"--data: {what} {name!r} is unknown to the model; {suggest(name, known)}")
    return known.index(name)


def draw_samples(
    model: Model, reference: Pictures | None, count: int, seed: int, progress: ProgressCallback = no_progress
) -> Pictures:
    """`count` samples of `model`, told what the pictures of `reference` are labelled with, in random order.

    So a conditional model is asked for each class as often as the data has it. Without a reference, classes in turn.

    Raises:
        EvaluationError: see `condition_for`.
    """
    condition = default_condition(model, range(count), seed)
    if reference is not None and (model.config.get("conditional") or model.config.get("attributes")):
        rows = torch.randperm(len(reference), generator=torch.Generator().manual_seed(derive_seed(seed, "told")))
        told = condition_for(model, reference)[rows.repeat(-(-count // len(rows)))[:count]]
        condition = Condition(
            condition.labels if told.labels is None else told.labels,
            condition.attributes if told.attributes is None else told.attributes,
        )
    images = []
    for begin in range(0, count, CHUNK):
        chunk = range(begin, min(begin + CHUNK, count))
        drawn = sample_chunks(model, condition[list(chunk)], chunk, seed)
        images.append((drawn * 255).round().to(torch.uint8))
        progress(Progress("samples", chunk.stop, count))
    name, digest = (model.origin.name, model.origin.weights_sha256) if model.origin else (model.family, "in training")
    return Pictures(name, torch.cat(images), condition, digest, model.spec)
