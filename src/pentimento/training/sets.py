"""The pictures that a training draws from: one set, or two that are drawn apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightning_fabric import Fabric

from pentimento.data.batches import Batches
from pentimento.data.items import Source
from pentimento.data.packed import PackedDataset, pack
from pentimento.data.sources import open_source, open_two_sources
from pentimento.errors import DataError
from pentimento.model import DataSpec
from pentimento.models import family
from pentimento.runtime import Progress, ProgressCallback, derive_seed, no_progress
from pentimento.training.recipe import Recipe

__all__ = ["Sets", "make_batches", "open_data", "open_sets", "tell_what_is_lost"]


@dataclass(frozen=True)
class Sets:
    """The packed pictures of a training.

    Args:
        first: whose size, channels, labels and attributes the model is built for.
        second: the other set of a family that learns from two, see `Model.unpaired`.
    """

    first: PackedDataset
    second: PackedDataset | None = None

    def by_name(self) -> dict[str, PackedDataset]:
        """``"data"`` and, where there is one, ``"second"``: as the options that say where they are."""
        return {"data": self.first} | ({} if self.second is None else {"second": self.second})

    def record(self) -> dict[str, Any]:
        """What a run remembers of them."""
        said: dict[str, Any] = {}
        for name, dataset in self.by_name().items():
            said |= {f"{name}_name": dataset.name, f"{name}_count": len(dataset), f"{name}_hash": dataset.content_hash}
        return said

    def changed_since(self, about: Mapping[str, Any]) -> str | None:
        """Name of the set that is not the one with which the run began that remembers `about`."""
        return next((n for n, d in self.by_name().items() if d.content_hash != about.get(f"{n}_hash")), None)


def open_data(
    recipe: Recipe, where: str, *, skip_broken: bool = False, progress: ProgressCallback = no_progress
) -> PackedDataset:
    """The pictures at `where`, packed as the recipe says; raises what `open_source` and `pack` raise."""
    return _pack(recipe, open_source(where, recipe.data.split), skip_broken, progress)


def open_sets(
    fabric: Fabric, recipe: Recipe, where: str, second: str | None, skip_broken: bool, progress: ProgressCallback
) -> Sets:
    """What the recipe's family learns from. The lead process packs, the others then find it packed.

    Args:
        fabric: of the training.
        recipe: what is trained.
        where: the pictures, or the first set of them, see `open_source`.
        second: the second set, see `open_two_sources`.
        skip_broken: go on without pictures that cannot be read.
        progress: called by the lead while packing.

    Raises:
        DataError: a second set for a family that learns from one, none for one that learns from two, or what
            `open_source`, `open_two_sources` and `pack` raise.
    """
    unpaired = family(recipe.family).unpaired
    if second is not None and not unpaired:
        raise DataError(f"second: a {recipe.family!r} learns from one set of pictures; leave --second out")
    if not fabric.is_global_zero:
        fabric.barrier()
        progress = no_progress
    split = recipe.data.split
    sources = open_two_sources(where, second, split) if unpaired else (open_source(where, split),)
    sets = Sets(*(_pack(recipe, source, skip_broken, progress) for source in sources))
    if fabric.is_global_zero:
        fabric.barrier()
    return sets


def tell_what_is_lost(recipe: Recipe, sets: Sets, spec: DataSpec, progress: ProgressCallback) -> None:
    """Say what the size and the channels of `spec` do to the pictures that nobody may have meant."""
    for name, dataset in sets.by_name().items():
        small = dataset.share_smaller((spec.height_px, spec.width_px))
        fit = recipe.second.fit if name == "second" else None
        what = "pictures of the second set" if name == "second" else "pictures"
        if small > 0.1 and (fit or recipe.data.fit) != "pad":
            message = (
                f"{small:.0%} of the {what} are packed smaller than {spec.height_px}x{spec.width_px} and will be "
                f"enlarged; lower data.size_px, or raise data.max_side_px above {recipe.data.max_side_px} if they "
                "have more"
            )
            progress(Progress("data", 0, message=message))
    if sets.second is not None and sets.second.spec((1, 1)).channels > spec.channels:
        message = "the second set is made gray, as the first is; to keep its colours, set data.channels to 3"
        progress(Progress("data", 0, message=message))


def make_batches(
    recipe: Recipe, sets: Sets, spec: DataSpec, held_out: tuple[float, float]
) -> tuple[Batches, Batches | None]:
    """Batches to train on, and held-out ones, where some pictures of every set are held out.

    Raises:
        DataError: of a set, nothing is left to train on.
    """
    datasets = list(sets.by_name().values())
    splits = [dataset.split(*held_out) for dataset in datasets]
    for dataset, (training, _) in zip(datasets, splits, strict=True):
        if not len(training):
            raise DataError(f"{dataset.name}: no picture is left to train on; make data.validation smaller")
    seed = recipe.training.seed
    looks: list[dict[str, Any]] = [{"seed": seed, "fit": recipe.data.fit, "augment": recipe.augment}]
    told = {name: value for name, value in recipe.second if value is not None}
    looks.append(looks[0] | {"seed": derive_seed(seed, "second")} | told)

    def make(number: int, train: bool, second: Batches | None = None) -> Batches:
        return Batches(
            datasets[number],
            splits[number][0 if train else 1],
            spec,
            batch_size=recipe.training.batch_size,
            background=recipe.data.background,
            training=train,
            second=second,
            **looks[number],
        )

    def make_all(train: bool) -> Batches:
        return make(0, train, None if sets.second is None else make(1, train))

    return make_all(True), make_all(False) if all(len(validation) for _, validation in splits) else None


def _pack(recipe: Recipe, source: Source, skip_broken: bool, progress: ProgressCallback) -> PackedDataset:
    options = recipe.data
    return pack(
        source,
        max_side_px=options.max_side_px,
        bits=options.bits,
        background=options.background,
        skip_broken=skip_broken,
        progress=progress,
    )
