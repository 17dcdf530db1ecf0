"""Hugging Face datasets, saved and by id; no test reaches the network."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pentimento.data.sources import open_source
from pentimento.errors import DataError, MissingExtraError, NotFoundError

datasets = pytest.importorskip("datasets", reason="needs the extra pentimento[hub]")
Png = Callable[..., bytes]


def table(png: Png, **columns: Any) -> Any:
    features = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=["cat", "dog"]),
        "age": datasets.Value("int32"),
        "indoors": datasets.Value("bool"),
        "place": datasets.Value("string"),
        "boxes": datasets.List(datasets.Value("int32")),
    }
    rows = {
        "image": [{"bytes": png(i), "path": None} for i in range(3)],
        "label": [1, 0, 1],
        "age": [1, 2, 3],
        "indoors": [True, False, True],
        "place": ["Rome", "Bonn", "Rome"],
        "boxes": [[1], [], [2, 3]],
    }
    return datasets.Dataset.from_dict({**rows, **columns}, features=datasets.Features(features))


def test_saved_dataset(tmp_path: Path, png: Png) -> None:
    table(png).save_to_disk(str(tmp_path / "set"))
    source = open_source(str(tmp_path / "set"))
    items = list(source.items())
    assert [item.payload for item in items] == [png(i) for i in range(3)]
    assert [item.label for item in items] == ["dog", "cat", "dog"]
    assert dict(items[1].attributes) == {"age": 2.0, "indoors": 0.0, "place": "Bonn"}
    table(png).save_to_disk(str(tmp_path / "copy"))
    assert source.content_hash() == open_source(str(tmp_path / "copy")).content_hash()
    with pytest.raises(DataError, match="split"):
        open_source(str(tmp_path / "set"), "test")


def test_saved_splits(tmp_path: Path, png: Png) -> None:
    whole = datasets.DatasetDict({"train": table(png), "validation": table(png).select([0])})
    whole.save_to_disk(str(tmp_path / "set"))
    assert open_source(str(tmp_path / "set"), "val").count == 1
    with pytest.raises(DataError, match="no split 'test'; known: train, validation"):
        open_source(str(tmp_path / "set"), "test")


def test_pictures_by_path(tmp_path: Path, png: Png) -> None:
    (tmp_path / "1.png").write_bytes(png(1))
    plain = datasets.Dataset.from_dict({"img": [str(tmp_path / "1.png")]}).cast_column("img", datasets.Image())
    plain.save_to_disk(str(tmp_path / "set"))
    (item,) = open_source(str(tmp_path / "set")).items()
    assert (item.payload, item.label) == (png(1), None)


def test_labels_kept_secret(tmp_path: Path, png: Png) -> None:
    table(png, label=[-1, -1, -1]).save_to_disk(str(tmp_path / "set"))
    assert {item.label for item in open_source(str(tmp_path / "set")).items()} == {None}


@pytest.mark.parametrize("column", ["age", "place", "label", "image"])
def test_missing_value(tmp_path: Path, png: Png, column: str) -> None:
    rows = table(png).to_dict()[column]
    table(png, **{column: [rows[0], None, rows[2]]}).save_to_disk(str(tmp_path / "set"))
    with pytest.raises(DataError, match=f"column '{column}': row 1 has no"):
        list(open_source(str(tmp_path / "set")).items())


def test_no_images(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": ["x"]}).save_to_disk(str(tmp_path / "set"))
    with pytest.raises(DataError, match="no column of images; columns: text"):
        open_source(str(tmp_path / "set"))


def test_damaged_folder(tmp_path: Path, png: Png) -> None:
    table(png).save_to_disk(str(tmp_path / "set"))
    next((tmp_path / "set").glob("*.arrow")).write_bytes(b"oops")
    with pytest.raises(DataError, match="cannot read the saved dataset"):
        open_source(str(tmp_path / "set"))


def test_hub_id(monkeypatch: pytest.MonkeyPatch, png: Png) -> None:
    asked: list[object] = []

    def load(*arguments: object, **keywords: object) -> Any:
        asked.append((arguments, keywords))
        return table(png)

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert open_source("someone/cats").count == 3
    assert open_source("hf:mnist:config", "test").name == "mnist:config"
    assert asked == [(("someone/cats", None), {"split": "train"}), (("mnist", "config"), {"split": "test"})]


@pytest.mark.parametrize(
    ("raised", "expected"),
    [(ConnectionError("no\nnetwork"), NotFoundError), (ValueError('Unknown split "train".'), DataError)],
)
def test_hub_failure_in_one_line(monkeypatch: pytest.MonkeyPatch, raised: Exception, expected: type[Exception]) -> None:
    def load(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(expected, match="someone/cats: ") as caught:
        open_source("someone/cats")
    assert "\n" not in str(caught.value)


def test_extra_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r'pip install "pentimento\[hub\]"'):
        open_source("hf:mnist")
