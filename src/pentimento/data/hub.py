"""Hugging Face datasets, saved in a folder or by their id on the hub; needs ``pip install "pentimento[hub]"``."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pentimento.data.items import Item, hash_items, pick_split
from pentimento.errors import DataError, MissingExtraError, NotFoundError, PentimentoError

__all__ = ["HubSource", "is_saved_dataset", "open_hub", "open_saved"]


@dataclass(frozen=True)
class _Columns:
    """Which column means what."""

    image: str
    label: str | None
    attributes: tuple[str, ...]


class HubSource:
    """One split of a Hugging Face dataset.

    The image column is the one of that type; among several, the one called image or img. The label is the first
    ClassLabel column, else a column called label. Other ClassLabels, numbers, booleans and strings are attributes,
    any other type is ignored.

    Raises:
        DataError: no image column, several of unknown names, or an empty split.
    """

    def __init__(self, dataset: Any, name: str) -> None:
        self.name = name
        self.count: int = len(dataset)
        self._columns = _choose(dataset.features, name)
        if not self.count:
            raise DataError(f"{name}: the split is empty")
        wanted = [self._columns.image, *self._columns.attributes]
        dataset = dataset.select_columns([*wanted, *([self._columns.label] if self._columns.label else [])])
        self._dataset = dataset.cast_column(
            self._columns.image, type(dataset.features[self._columns.image])(decode=False)
        )

    def content_hash(self) -> str:
        """Of all encoded files, labels and attributes."""
        return hash_items("hub", self.items())

    def items(self) -> Iterator[Item]:
        """The pictures as encoded files, in the order of the dataset.

        Raises:
            DataError: a value is missing.
        """
        names = {c: getattr(f, "names", None) for c, f in self._dataset.features.items()}
        unlabelled = self._columns.label is None or self._is_unlabelled(self._columns.label, names)
        for i, row in enumerate(self._dataset):
            label = None if unlabelled else str(self._value(i, row, str(self._columns.label), names))
            attributes = {column: self._value(i, row, column, names) for column in self._columns.attributes}
            yield Item(f"{i:07d}", self._encoded(i, row[self._columns.image]), label, attributes)

    def _is_unlabelled(self, column: str, names: dict[str, Any]) -> bool:
        """Whether every label is -1: the hub's way of keeping a test set's labels to itself."""
        return bool(names[column]) and set(self._dataset.unique(column)) == {-1}

    def _value(self, i: int, row: dict[str, Any], column: str, names: dict[str, Any]) -> float | str:
        value = row[column]
        if value is None or value == "" or (isinstance(value, float) and not math.isfinite(value)):
            raise DataError(f"{self.name}: column {column!r}: row {i} has no value; fill it in or drop the column")
        if names[column]:
            if not 0 <= value < len(names[column]):
                raise DataError(f"{self.name}: column {column!r}: row {i} has the class {value}, which has no name")
            return str(names[column][value])
        if isinstance(value, str) or column == self._columns.label:
            return str(value)
        return float(value)

    def _encoded(self, i: int, image: dict[str, Any] | None) -> bytes:
        if image is None or not (image.get("bytes") or image.get("path")):
            raise DataError(f"{self.name}: column {self._columns.image!r}: row {i} has no picture")
        if image.get("bytes"):
            return bytes(image["bytes"])
        try:
            return Path(image["path"]).read_bytes()
        except OSError as error:
            raise DataError(f"{self.name}: row {i}: cannot read {image['path']}: {error.strerror}") from error


def is_saved_dataset(folder: Path) -> bool:
    """Whether ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk`` wrote the folder."""
    if (folder / "dataset_dict.json").is_file():
        return True
    return (folder / "dataset_info.json").is_file() and (folder / "state.json").is_file()


def open_saved(folder: Path, split: str) -> HubSource:
    """A dataset that was saved to disk.

    Raises:
        DataError: it cannot be read, or has no such split.
        MissingExtraError: `datasets` is not installed.
    """
    datasets = _datasets()
    with _quiet(datasets):
        try:
            loaded = datasets.load_from_disk(str(folder))
        except Exception as error:  # a damaged folder raises whatever Arrow and JSON raise
            raise DataError(f"cannot read the saved dataset {folder}: {_one_line(error)}") from error
        if isinstance(loaded, datasets.DatasetDict):
            loaded = loaded[pick_split(split, loaded, str(folder))]
        elif split not in {"train", str(loaded.split)}:
            pick_split(split, [], str(folder))
        return HubSource(loaded, folder.resolve().name)


def open_hub(name: str, split: str) -> HubSource:
    """A dataset by its id on the hub, ``owner/name`` or ``owner/name:configuration``.

    Raises:
        DataError: it needs a configuration, or has no such split.
        MissingExtraError: `datasets` is not installed.
        NotFoundError: there is no such dataset, or the hub cannot be reached.
    """
    datasets = _datasets()
    identifier, _, configuration = name.partition(":")
    with _quiet(datasets):
        try:
            loaded = datasets.load_dataset(identifier, configuration or None, split=split)
        except ValueError as error:  # an unknown split or configuration, an id that is none
            raise DataError(f"{name}: {_one_line(error)}") from error
        except Exception as error:  # offline, no such id, a gate: each library below raises its own
            raise NotFoundError(
                f"{name}: no such path here, and the hub does not give a dataset of that name: {_one_line(error)}"
            ) from error
        return HubSource(loaded, name)


def _choose(features: Any, name: str) -> _Columns:
    datasets = _datasets()
    pictures = [column for column, feature in features.items() if isinstance(feature, datasets.Image)]
    if not pictures:
        raise DataError(f"{name}: no column of images; columns: {', '.join(features)}")
    image = pictures[0] if len(pictures) == 1 else next((c for c in ("image", "img") if c in pictures), None)
    if image is None:
        raise DataError(f"{name}: several columns of images ({', '.join(pictures)}); rename the wanted one to 'image'")
    classes = [column for column, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    plain = [column for column, feature in features.items() if _is_plain(datasets, feature)]
    label = classes[0] if classes else ("label" if "label" in plain else None)
    return _Columns(image, label, tuple(column for column in (*classes, *plain) if column != label))


def _is_plain(datasets: Any, feature: Any) -> bool:
    """A number, a boolean or a string."""
    kinds: Sequence[str] = ("int", "uint", "float", "bool", "string", "large_string")
    return isinstance(feature, datasets.Value) and str(feature.dtype).rstrip("0123456789") in kinds


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError('Hugging Face datasets are read by an extra: pip install "pentimento[hub]"') from error
    return datasets


@contextlib.contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """No progress bars of its own: engines print nothing."""
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _one_line(error: Exception) -> str:
    if isinstance(error, PentimentoError):
        return str(error)
    return " ".join(str(error).split())[:300] or type(error).__name__
