"""Does a classifier look at the shape, or at what goes with it? Trained with and without counterfactual pictures.

A model of independent mechanisms (`Composes`) draws pictures whose shape is of one class, and whose foreground and
background are of others: in them no factor but the shape tells the label (Sauer and Geiger 2021, section 4.3). The same
classifier is trained on the original pictures, on as many counterfactual ones, and on both, and asked about pictures
in which one factor is randomized while the others agree with the label.

    reliance on a factor -> how often a classifier answers with the class of that factor, where it is not the label
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from pentimento import __version__, images
from pentimento.data.dataset import PackedDataset
from pentimento.errors import DataError, ModelError, suggest
from pentimento.evaluate.intervals import Estimate, wilson
from pentimento.evaluate.pictures import Pictures, read_pictures, some_rows
from pentimento.model import Condition, DataSpec
from pentimento.models import load
from pentimento.provenance import Provenance
from pentimento.runtime import Draws, Progress, ProgressCallback, no_progress
from pentimento.sampling import SAMPLE_CHUNK, sample_chunks
from pentimento.training.recipe import Recipe, parse_recipe
from pentimento.training.session import start

__all__ = [
    "MOST_HELD_OUT",
    "ORIGINAL",
    "Labelled",
    "Score",
    "TestSet",
    "balanced",
    "check_classes",
    "compare",
    "draw",
    "drawn_tests",
    "given_tests",
    "make_recipe",
    "read_labelled",
    "split",
    "train_on",
    "write_counterfactuals",
]

ORIGINAL = "nothing randomized"
HELD_OUT = 0.1  # of the original pictures, to ask about
MOST_HELD_OUT = 2000


@dataclass(frozen=True)
class Labelled:
    """Pictures, their labels, and the class that each factor of them is of.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,) int64 indices of the model's classes.
        factors: name -> (N,) int64, likewise; of those that are known.
    """

    images: Tensor
    labels: Tensor
    factors: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Any) -> Labelled:
        return Labelled(self.images[rows], self.labels[rows], {k: v[rows] for k, v in self.factors.items()})


@dataclass(frozen=True)
class TestSet:
    """Pictures to ask about.

    Args:
        name: what is randomized in them.
        pictures: labelled.
        factor: the one that is randomized, where it is one.
    """

    __test__ = False  # no test of pytest's

    name: str
    pictures: Labelled
    factor: str | None = None


@dataclass(frozen=True)
class Score:
    """What one classifier answered about one test set.

    Args:
        trained_on: the name of its training set.
        test: of `TestSet`.
        count: pictures.
        accuracy: share of right answers.
        reliance: share of answers that are the class of the randomized factor, where that is not the label.
    """

    trained_on: str
    test: str
    count: int
    accuracy: Estimate
    reliance: Estimate | None


# ---------------------------------------------------------------------------------------------------- pictures
def check_classes(model: Any, dataset: PackedDataset, option: str) -> None:
    """Refuse data without labels, of one class alone, or of other classes than the model's.

    Raises:
        DataError: any of these.
    """
    if not dataset.classes:
        raise DataError(f"{option}: {dataset.name} has no labels; put the pictures into one folder for each class")
    if len(dataset.classes) == 1:
        raise DataError(f"{option}: {dataset.name} has one class, {dataset.classes[0]}; two or more expected")
    known = model.spec.classes
    for name in dataset.classes:
        if name not in known:
            raise DataError(f"{option}: the model knows no class {name!r}; {suggest(name, known)}")
    if missing := [name for name in known if name not in dataset.classes]:
        raise DataError(f"{option}: {dataset.name} has no pictures of {', '.join(missing)}, which the model knows")


def read_labelled(model: Any, dataset: PackedDataset, option: str, count: int | None = None) -> Labelled:
    """At most `count` pictures, chosen at random, at the model's size, with those factors that their metadata tell.

    Raises:
        DataError: see `check_classes`; a factor's value that is no class of the model.
    """
    check_classes(model, dataset, option)
    total, spec = len(dataset), model.spec
    rows = some_rows(total, total if count is None else min(count, total)).tolist()
    found = read_pictures(dataset, rows, spec)
    assert found.condition.labels is not None
    places = torch.tensor([spec.classes.index(name) for name in dataset.classes])
    return Labelled(found.images, places[found.condition.labels], _factors(model, found, option))


def _factors(model: Any, found: Pictures, option: str) -> dict[str, Tensor]:
    factors = {}
    for column, attribute in enumerate(found.spec.attributes):
        if attribute.name not in model.mechanisms[1:] or found.condition.attributes is None:
            continue
        numbers = found.condition.attributes[:, column].tolist()
        told = [attribute.values[int(n)] if attribute.kind == "categorical" else f"{n:g}" for n in numbers]
        for name in dict.fromkeys(told):
            if name not in model.spec.classes:
                raise DataError(
                    f"{option}: {attribute.name} is {name!r} in the metadata, which is no class of the model; "
                    f"{suggest(name, model.spec.classes)}"
                )
        factors[attribute.name] = torch.tensor([model.spec.classes.index(name) for name in told])
    return factors


def balanced(model: Any, count: int, seed: int, free: Sequence[str]) -> Labelled:
    """Labels without pictures: shapes in turn, factors in `free` drawn each by itself, others of the shape's class."""
    draws, classes = Draws(seed, range(count)), len(model.spec.classes)
    labels = torch.arange(count) % classes
    factors = {
        name: draws.integers(f"{name}-label", classes) if name in free else labels for name in model.mechanisms[1:]
    }
    return Labelled(torch.empty(count, 0, dtype=torch.uint8), labels, factors)


def draw(model: Any, told: Labelled, seed: int, progress: ProgressCallback = no_progress) -> Labelled:
    """`told` with the pictures that the model draws of it."""
    condition = Condition(told.labels, mechanisms=torch.stack([told.labels, *told.factors.values()], 1))
    parts = []
    for begin in range(0, len(told), SAMPLE_CHUNK):
        rows = list(range(begin, min(begin + SAMPLE_CHUNK, len(told))))
        made = sample_chunks(model, condition[rows], rows, seed)
        parts.append((made * 255).round().to(torch.uint8))
        progress(Progress("draw", rows[-1] + 1, len(told)))
    return Labelled(torch.cat(parts), told.labels, told.factors)


def write_counterfactuals(folder: Path, model: Any, drawn: Labelled, seed: int) -> None:
    """PNG files that say what made them, and a ``metadata.csv`` with the label and every factor of each.

    Raises:
        StorageError: the disk is full or refuses.
    """
    classes, origin = model.spec.classes, model.origin
    names = ["shape", *drawn.factors]
    columns = [[classes[i] for i in column.tolist()] for column in (drawn.labels, *drawn.factors.values())]
    rows = []
    for number, (picture, *told) in enumerate(zip(drawn.images, *columns, strict=True)):
        record = Provenance(
            verb="explain debias",
            source_type="trainedAlgorithmicMedia",
            model=origin.name if origin else model.family,
            weights_sha256=origin.weights_sha256 if origin else None,
            seed=seed,
            options={**dict(zip(names, told, strict=True)), "index": number},
            package_version=__version__,
        )
        rows.append([f"{number:06d}.png", *told])
        images.write(folder / rows[-1][0], picture.float() / 255, provenance=record)
    _write_table(folder, ["file_name", "label", *names[1:]], rows)


def _write_table(folder: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])


# ----------------------------------------------------------------------------------------------------- testing
def given_tests(test: Labelled, factors: Sequence[str]) -> list[TestSet]:
    """Of pictures whose factors are known: each factor randomized where the others agree, and all of them."""
    known = [name for name in factors if name in test.factors]
    found = []
    for name in known:
        others = [test.factors[other] == test.labels for other in known if other != name]
        rows = torch.stack(others).all(0) if others else torch.ones(len(test), dtype=torch.bool)
        if rows.any():
            found.append(TestSet(f"{name} randomized", test[rows], name))
    return [*found, TestSet("all randomized", test)] if len(known) > 1 else found


def drawn_tests(model: Any, count: int, seed: int) -> list[TestSet]:
    """The same of pictures that the model draws, of other noise than those to learn from."""
    found = []
    for place, name in enumerate(model.mechanisms[1:]):
        told = balanced(model, count, seed + place, [name])
        found.append(TestSet(f"{name} randomized", draw(model, told, seed + place), name))
    told = balanced(model, count, seed + len(found), model.mechanisms[1:])
    return [*found, TestSet("all randomized", draw(model, told, seed + len(found)))]


def split(originals: Labelled, seed: int) -> tuple[Labelled, TestSet]:
    """To learn from, and a tenth to ask about."""
    order = torch.randperm(len(originals), generator=torch.Generator().manual_seed(seed))
    held = max(1, min(MOST_HELD_OUT, int(HELD_OUT * len(originals))))
    return originals[order[held:]], TestSet(ORIGINAL, originals[order[:held]])


# ---------------------------------------------------------------------------------------------------- training
def make_recipe(spec: DataSpec, kimg: float, seed: int) -> Recipe:
    """Of the classifiers: small, without augmentation, which would hide what they look at."""
    return parse_recipe(
        {
            "family": "classifier",
            "title": "A classifier of a study of shortcuts",
            "model": {"backbone": "conv", "width": 16},
            "data": {"size_px": [spec.height_px, spec.width_px], "channels": spec.channels, "validation": 0.0},
            "training": {
                "total_kimg": kimg,
                "batch_size": 64,
                "seed": seed,
                "ema_halflife_kimg": min(2.0, kimg / 10),
                "log_every_kimg": max(1.0, kimg / 20),
            },
            "players": {"classifier": {"schedule": "cosine"}},
        }
    )


def train_on(
    parts: Sequence[Labelled], spec: DataSpec, recipe: Recipe, work: Path, progress: ProgressCallback = no_progress
) -> Any:
    """A classifier trained on all of `parts`; its run stays in ``work/run``."""
    folder = work / "pictures"
    folder.mkdir(parents=True)
    rows = []
    for number, part in enumerate(parts):
        for place, (picture, label) in enumerate(zip(part.images, part.labels.tolist(), strict=True)):
            rows.append([f"{number}-{place:06d}.png", spec.classes[label]])
            pixels = picture.permute(1, 2, 0).numpy()
            Image.fromarray(pixels[..., 0] if spec.channels == 1 else pixels).save(folder / rows[-1][0])
    _write_table(folder, ["file_name", "label"], rows)
    start(recipe, str(folder), work / "run", progress=progress)
    return load(work / "run")


@torch.no_grad()
def answers(classifier: Any, pictures: Labelled, classes: Sequence[str]) -> Tensor:
    """(N,) int64 indices into `classes`."""
    if missing := [name for name in classifier.spec.classes if name not in classes]:
        raise ModelError(f"classifier: knows {', '.join(missing)}, which the model does not")
    places = torch.tensor([classes.index(name) for name in classifier.spec.classes])
    chunks = torch.split(pictures.images, 256)
    found = [classifier.predict(chunk.float() / 255)["probabilities"].argmax(1) for chunk in chunks]
    return places[torch.cat(found).cpu()]


def compare(classifiers: Mapping[str, Any], tests: Sequence[TestSet], classes: Sequence[str]) -> list[Score]:
    """Every classifier on every test set."""
    scores = []
    for test in tests:
        labels = test.pictures.labels
        for name, classifier in classifiers.items():
            found = answers(classifier, test.pictures, classes)
            right = wilson(float((found == labels).double().mean()), len(labels))
            reliance = None
            if test.factor is not None:
                other = test.pictures.factors[test.factor]
                apart = other != labels
                if apart.any():
                    share = float((found == other)[apart].double().mean())
                    reliance = wilson(share, int(apart.sum()))
            scores.append(Score(name, test.name, len(labels), right, reliance))
    return scores
