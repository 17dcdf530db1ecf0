"""``metadata.csv`` and ``metadata.jsonl``: labels and attributes of pictures by file name."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pentimento.errors import DataError, suggest

__all__ = ["METADATA_NAMES", "Columns", "read_metadata", "read_rows"]

METADATA_NAMES = ("metadata.csv", "metadata.jsonl")


@dataclass(frozen=True)
class Columns:
    """What metadata say, by file name: ``labels`` is empty where there is no such column."""

    labels: dict[str, str]
    attributes: dict[str, dict[str, float | str]]


def read_metadata(file: str, payload: bytes, names: Sequence[str], cut: str = "") -> Columns:
    """Labels and attributes of the pictures called `names`.

    A column is numeric if every value of it is a finite number (true and false are 1 and 0), else categorical.
    Columns of JSON lists and objects are ignored.

    Args:
        file: name of the metadata file, for messages; its suffix says how to read it.
        payload: its bytes, UTF-8.
        names: of the pictures, relative to the split.
        cut: start of every ``file_name`` that belongs to these pictures, e.g. ``"train/"``; rows without it are
            about other splits.

    Raises:
        DataError: no ``file_name`` column, a row twice, a row without a picture, a picture without a row, a value that
            is missing.
    """
    rows = read_rows(file, payload)
    if not rows:
        raise DataError(f"{file}: no rows")
    if any("file_name" not in row for row in rows):
        raise DataError(f"{file}: no column 'file_name'; {suggest('file_name', {k for row in rows for k in row})}")
    by_name: dict[str, Mapping[str, Any]] = {}
    keys = [str(PurePosixPath(str(row["file_name"]))) for row in rows]
    kept = [(key.removeprefix(cut), row) for key, row in zip(keys, rows, strict=True) if key.startswith(cut)]
    twice = [name for name, count in Counter(name for name, _ in kept).items() if count > 1]
    _refuse(file, twice, "listed more than once")
    by_name = dict(kept)
    present = set(names)
    _refuse(file, [name for name in by_name if name not in present], "listed but not there")
    _refuse(file, [name for name in names if name not in by_name], "there but not listed")
    return _columns(file, {name: by_name[name] for name in names})


def _refuse(file: str, wrong: Sequence[str], what: str) -> None:
    if wrong:
        more = ", ..." if len(wrong) > 3 else ""
        noun = "picture is" if len(wrong) == 1 else "pictures are"
        raise DataError(f"{file}: {len(wrong)} {noun} {what}: {', '.join(wrong[:3])}{more}")


def read_rows(file: str, payload: bytes) -> list[dict[str, Any]]:
    """The rows of a CSV or JSONL table; spaces around the names and values of a CSV table are no part of them.

    Args:
        file: its name, for messages; ``.jsonl`` is read as that, all else as CSV.
        payload: its bytes, UTF-8.

    Raises:
        DataError: not such a table, a column twice, a row with more values than there are columns.
    """
    try:
        text = payload.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 text (byte {error.start})") from error
    if file.endswith(".jsonl"):
        return [_json_row(file, number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    try:
        names, *lines = [[value.strip() for value in line] for line in _csv_lines(text)] or [[]]
    except csv.Error as error:
        raise DataError(f"{file}: not a CSV table: {error}") from error
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{file}: two columns {twice[0]!r}; rename one")
    other = next((mark for mark in (";", "\t") if len(names) == 1 and mark in names[0]), None)
    if other:
        raise DataError(f"{file}: commas between the columns expected, got {other!r}; save it as CSV with commas")
    for number, line in enumerate(lines, 1):
        if len(line) > len(names):
            raise DataError(f"{file}: row {number} has more values than there are columns")
    return [dict(itertools.zip_longest(names, line)) for line in lines]


def _csv_lines(text: str) -> list[list[str]]:
    """Those that are not blank."""
    return [line for line in csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True) if line]


def _json_row(file: str, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{file}: line {number} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f"{file}: line {number}: an object expected, got {line.strip()[:40]}")
    return row


def _columns(file: str, rows: Mapping[str, Mapping[str, Any]]) -> Columns:
    labels: dict[str, str] = {}
    attributes: dict[str, dict[str, float | str]] = {name: {} for name in rows}
    for column in dict.fromkeys(key for row in rows.values() for key in row):
        if column == "file_name":
            continue
        values = [row.get(column) for row in rows.values()]
        if any(isinstance(value, (list, dict)) for value in values):
            continue
        missing = [name for name, value in zip(rows, values, strict=True) if _is_missing(value)]
        if missing:
            of = f"{len(missing)} of {len(rows)} values are missing, the first for {missing[0]}"
            raise DataError(f"{file}: column {column!r}: {of}; fill them in or drop the column")
        if column == "label":
            labels = dict(zip(rows, map(str, values), strict=True))
            continue
        for name, value in zip(rows, _typed(values), strict=True):
            attributes[name][column] = value
    return Columns(labels, attributes)


def _is_missing(value: Any) -> bool:
    """Nothing, or what spreadsheets and pandas write for nothing."""
    if isinstance(value, str):
        return value.strip().lower() in {"", "nan", "na", "n/a", "null"}
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _typed(values: Iterable[Any]) -> list[float | str]:
    listed = list(values)
    try:
        numbers = [float(value) for value in listed]
    except ValueError:
        return [str(value) for value in listed]
    return list(numbers) if all(map(math.isfinite, numbers)) else [str(value) for value in listed]
