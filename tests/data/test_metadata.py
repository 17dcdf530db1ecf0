"""metadata.csv and metadata.jsonl."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pentimento.data.metadata import read_metadata
from pentimento.data.sources import open_source
from pentimento.errors import DataError

Make = Callable[..., Path]


def read(where: Path, split: str = "train") -> dict[str, tuple[str | None, Mapping[str, float | str]]]:
    return {i.name: (i.label, dict(i.attributes)) for i in open_source(str(where), split).items()}


def test_csv(folder: Make) -> None:
    table = "file_name,label,age,place\na.png,x,1,Rome\nb.png,y,2.5,Bonn\n"
    assert read(folder("a.png", "b.png", metadata__csv=table)) == {
        "a.png": ("x", {"age": 1.0, "place": "Rome"}),
        "b.png": ("y", {"age": 2.5, "place": "Bonn"}),
    }


def test_jsonl(folder: Make) -> None:
    first = '{"file_name": "a.png", "on": true, "n": 3, "boxes": [1]}'
    lines = first + '\n\n{"file_name": "./b.png", "on": false, "n": 4, "boxes": []}'
    assert read(folder("a.png", "b.png", metadata__jsonl=lines)) == {
        "a.png": (None, {"on": 1.0, "n": 3.0}),
        "b.png": (None, {"on": 0.0, "n": 4.0}),
    }


def test_a_column_with_one_word_is_categorical(folder: Make) -> None:
    table = "file_name,year\na.png,1889\nb.png,unknown\n"
    assert read(folder("a.png", "b.png", metadata__csv=table))["a.png"] == (None, {"year": "1889"})


def test_class_folders_stay_labels_without_a_label_column(folder: Make) -> None:
    table = "file_name,age\nx/a.png,1\ny/b.png,2\n"
    assert read(folder("x/a.png", "y/b.png", metadata__csv=table))["x/a.png"] == ("x", {"age": 1.0})


def test_metadata_of_splits(folder: Make) -> None:
    beside = folder("train/a.png", "test/b.png", root="beside")
    (beside / "train/metadata.csv").write_text("file_name,label\na.png,x\n")
    (beside / "test/metadata.csv").write_text("file_name,label\nb.png,y\n")
    top = folder(
        "train/a.png", "test/b.png", root="top", metadata__csv="file_name,label\ntrain/a.png,x\ntest/b.png,y\n"
    )
    for where in (beside, top):
        assert read(where) == {"a.png": ("x", {})}
        assert read(where, "test") == {"b.png": ("y", {})}


HEAD = "file_name,label,age\n"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,age\na.png,1\n", "no column 'file_name'"),
        (HEAD, "no rows"),
        (HEAD + "a.png,x,1\nb.png,y,\n", r"column 'age': 1 of 2 values are missing, the first for b.png"),
        (HEAD + "a.png,x,1\nb.png,y,nan\n", r"column 'age': 1 of 2 values are missing"),
        (HEAD + "a.png,,1\nb.png,y,2\n", r"column 'label': 1 of 2 values are missing, the first for a.png"),
        (HEAD + "a.png,x,1\nb.png,y\n", r"column 'age': 1 of 2 values are missing"),
        (HEAD + "a.png,x,1\nb.png,y,2\nc.png,z,3\n", "1 picture is listed but not there: c.png"),
        (HEAD + "a.png,x,1\n", "1 picture is there but not listed: b.png"),
        (HEAD + "a.png,x,1\nb.png,y,2\nb.png,y,2\n", "1 picture is listed more than once: b.png"),
        (HEAD + "a.png,x,1,9\nb.png,y,2\n", "row 1 has more values"),
    ],
)
def test_bad_tables(folder: Make, table: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        open_source(str(folder("a.png", "b.png", metadata__csv=table)))
    assert "metadata.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_many_are_counted_and_few_named() -> None:
    with pytest.raises(DataError, match=r"7 pictures are there but not listed: 1.png, 2.png, 3.png, \.\.\.$"):
        read_metadata("metadata.csv", b"file_name\n0.png\n", [f"{i}.png" for i in range(8)])


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b'{"file_name": "a.png"}\n{oops', "line 2 is not JSON"),
        (b"[1]", "line 1: an object expected"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"file_name": "a.png", "x": null}', "column 'x': 1 of 1 values are missing"),
        (b'{"file_name": "a.png", "x": NaN}', "column 'x': 1 of 1 values are missing"),
    ],
)
def test_bad_lines(payload: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_metadata("metadata.jsonl", payload, ["a.png"])


def test_two_metadata_files(folder: Make) -> None:
    where = folder("a.png", metadata__csv="file_name\na.png\n", metadata__jsonl='{"file_name": "a.png"}')
    with pytest.raises(DataError, match="keep one of them"):
        open_source(str(where))


def test_metadata_too_deep(folder: Make) -> None:
    where = folder("x/a.png", "y/b.png")
    (where / "x/metadata.csv").write_text("file_name\na.png\n")
    with pytest.raises(DataError, match=r"x/metadata.csv lies too deep"):
        open_source(str(where))
