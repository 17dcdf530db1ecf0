"""What the verbs' signatures share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from pentimento.errors import ExistsError, InputError
from pentimento.runtime import Progress, ProgressCallback

if TYPE_CHECKING:
    from pentimento.model import Origin

__all__ = ["Callback", "Flag", "check_level", "check_seed", "read_attributes", "report_files", "say_licence"]

Callback = Annotated[ProgressCallback, Parameter(parse=False)]
Flag = Annotated[bool, Parameter(negative="")]


def check_seed(seed: int) -> None:
    """Refuse a seed below 0.

    Raises:
        InputError: that.
    """
    if seed < 0:
        raise InputError(f"--seed: 0 or more expected, got {seed}")


def check_level(level: float) -> None:
    """Refuse a level that is not strictly between 0 and 1.

    Raises:
        InputError: that; NaN too.
    """
    if not 0 < level < 1:
        raise InputError(f"--level: between 0 and 1 expected, got {level:g}")


def say_licence(origin: Origin | None, progress: ProgressCallback) -> None:
    """Tell the user of a model whose training data were not for every use."""
    if origin is not None and origin.is_restricted:
        message = f"{origin.name} was trained on data for {origin.licence}: mind that when you use what it makes"
        progress(Progress("licence", 0, message=message))


def read_attributes(given: Sequence[str]) -> dict[str, float | str]:
    """Name -> value, of what ``--attribute`` was given.

    Raises:
        InputError: one that is not NAME=VALUE.
    """
    asked: dict[str, float | str] = {}
    for option in given:
        name, equals, value = option.partition("=")
        if not equals:
            raise InputError(f"--attribute: NAME=VALUE expected, got {option!r}")
        asked[name.strip()] = value.strip()
    return asked


def report_files(out: Path | None, overwrite: bool) -> list[Path]:
    """The JSON file and the page that a report is written to; none without `out`.

    Raises:
        InputError: another kind of file.
        ExistsError: one exists, and is not to be replaced.
    """
    if out is None:
        return []
    if Path(out).suffix not in ("", ".json", ".html"):
        raise InputError(f"--out: a name that ends in .json or .html expected, got {out}")
    files = [Path(out).with_suffix(suffix) for suffix in (".json", ".html")]
    for path in files:
        if path.exists() and not overwrite:
            raise ExistsError(f"{path}: exists; choose another --out, or --overwrite")
    return files
