"""A user's table, CSV or JSONL, as columns; outcomes of the pictures that it names become further columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from pentimento import images
from pentimento.data.metadata import read_rows
from pentimento.errors import CausalError, DataError, ImageError, InputError, NotFoundError, suggest
from pentimento.runtime import Progress, ProgressCallback, no_progress
from pentimento.studies.outcomes import find_outcomes, measure_all

__all__ = ["FILE_NAME", "Columns", "measure_columns", "read_columns"]

Columns = dict[str, list[Any]]  # name -> float, text, or None where it is missing, for each row
FILE_NAME = "file_name"  # the column that names pictures, as data sets have it
_MISSING = {"", "nan", "na", "n/a", "null", "none"}


def read_columns(path: Path) -> Columns:
    """The columns of a ``.csv`` or ``.jsonl`` file, in their order.

    A column is of numbers where every value that is there is one (true and false of JSONL are 1 and 0), else of text.

    Raises:
        NotFoundError: no such file.
        CausalError: another suffix, a file that is not a table, or one without rows.
    """
    if path.suffix.lower() not in (".csv", ".jsonl"):
        raise CausalError(f"--data: a .csv or .jsonl file expected, got {path.name!r}")
    try:
        rows = read_rows(path.name, path.read_bytes())
    except FileNotFoundError as error:
        raise NotFoundError(f"--data: no file {path}") from error
    except OSError as error:
        raise CausalError(f"--data: {path} cannot be read: {error.strerror or error}") from error
    except DataError as error:
        raise CausalError(f"--data: {error}") from error
    if not rows:
        raise CausalError(f"--data: {path.name} has no rows")
    names = dict.fromkeys(key for row in rows for key in row)
    return {name: _typed([row.get(name) for row in rows]) for name in names}


def _typed(values: Sequence[Any]) -> list[Any]:
    there = [None if _is_missing(value) else value for value in values]
    if any(isinstance(value, list | dict) or (isinstance(value, str) and "_" in value) for value in there):
        return [None if value is None else str(value) for value in there]  # Python takes 1_2 for 12
    try:
        return [None if value is None else float(value) for value in there]
    except (TypeError, ValueError):
        return [None if value is None else str(value) for value in there]


def _is_missing(value: Any) -> bool:
    """Nothing, or what spreadsheets write for nothing."""
    if isinstance(value, str):
        return value.strip().lower() in _MISSING
    return value is None or (isinstance(value, float) and math.isnan(value))


# ------------------------------------------------------------------------------------------------- pictures
def measure_columns(
    columns: Columns, names: Sequence[str], folder: Path, progress: ProgressCallback = no_progress
) -> dict[str, str]:
    """Add the outcomes called `names`, measured from the pictures in the column ``file_name``; tells their formulas.

    Args:
        columns: of the table; is added to.
        names: see `pentimento.studies.outcomes.ALL`.
        folder: that the names of the pictures are relative to.
        progress: told of every picture.

    Raises:
        CausalError: no column ``file_name``, or one that is called as an outcome already.
        InputError: pictures that are missing or cannot be read: how many, and the first; and as `find_outcomes`.
    """
    if not names:
        return {}
    if FILE_NAME not in columns:
        raise CausalError(f"--measure: the table has no column {FILE_NAME!r}; {suggest(FILE_NAME, columns)}")
    outcomes = find_outcomes(names, spec=None)
    there = next((outcome.name for outcome in outcomes if outcome.name in columns), None)
    if there is not None:
        raise CausalError(f"--measure: the table has a column {there!r} already; rename it, or leave --measure out")
    rows: list[list[float]] = []
    broken: list[str] = []
    files = columns[FILE_NAME]
    for number, file in enumerate(files):
        picture = _picture(folder, file, broken)
        if picture is not None and not broken:
            rows.append(measure_all(outcomes, picture[None])[0].tolist())
        progress(Progress("measure", number + 1, len(files)))
    if broken:
        raise InputError(
            f"--measure: {len(broken)} of {len(files)} pictures cannot be measured, the first: {broken[0]}; mend or "
            "leave out their rows, or say where they are with --images"
        )
    for k, outcome in enumerate(outcomes):
        columns[outcome.name] = [row[k] for row in rows]
    return {outcome.name: outcome.formula for outcome in outcomes}


def _picture(folder: Path, file: Any, broken: list[str]) -> Tensor | None:
    """(C, H, W); None where there is none, and `broken` says why."""
    if file is None:
        broken.append("a row without a file name")
        return None
    path = folder / str(file)
    if not path.is_file():
        broken.append(f"no file {path}")
        return None
    try:
        return images.read(path).to_tensor()
    except ImageError as error:
        broken.append(str(error))
        return None
