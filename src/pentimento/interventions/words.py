"""Interventions in words, and in files; see the package for their forms."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pentimento.errors import ModelError, NotFoundError
from pentimento.model import Model
from pentimento.runtime import atomic_write

__all__ = ["MEAN", "Do", "Value", "named", "parse", "parse_all", "parse_doses", "read_set", "write_set"]

MEAN = "mean"
FORMAT = 1  # of a file of interventions
_EXPRESSION = re.compile(r"\s*([\w.-]+)\s*(?:\[([^\]]*)\])?\s*(\+?=)\s*(.+?)\s*")

Value = float | str | tuple[float, ...]


@dataclass(frozen=True)
class Do:
    """One thing that is set.

    Args:
        target: ``"label"``, an attribute, a mechanism, a name of the noise (``"latent"``) or a stage.
        value: a number; a class or a category; ``"mean"`` of units; or a number for each unit.
        units: indices along the second axis, of noise and stages.
        shift: whether `value` is added instead of set; of noise and stages.
    """

    target: str
    value: Value
    units: tuple[int, ...] = ()
    shift: bool = False

    def __str__(self) -> str:
        units = f"[{','.join(map(str, self.units))}]" if self.units else ""
        numbers = self.value if isinstance(self.value, tuple) else (self.value,)
        shown = ",".join(f"{v:g}" if isinstance(v, float) else str(v) for v in numbers)
        return f"{self.target}{units}{'+=' if self.shift else '='}{shown}"


def parse(text: str) -> Do:
    """The intervention that `text` names, see the package. What a model has of it is for `check`.

    Raises:
        ModelError: not of this form.

    >>> parse("up2[3,17]=0")
    Do(target='up2', value=0.0, units=(3, 17), shift=False)
    """
    found = _EXPRESSION.fullmatch(text)
    if not found:
        raise ModelError(f"--do: NAME=VALUE or NAME[UNIT]=VALUE expected, e.g. label=7 or up2[17]=0, got {text!r}")
    target, inside, sign, value = found.groups()
    units: tuple[int, ...] = ()
    if inside is not None:
        parts = [part.strip() for part in inside.split(",")]
        if not all(part.isdigit() for part in parts):
            raise ModelError(f"--do: units are whole numbers from 0, e.g. {target}[3,17]=0, got {text!r}")
        units = tuple(dict.fromkeys(map(int, parts)))
    return Do(target, _number(value), units, shift=sign == "+=")


def parse_doses(text: str, model: Model | None = None) -> tuple[Do, ...]:
    """Of ``latent[3]=-1,0,1``: one for each dose, increasing; of ``label=deer,dog``: one for each name, in their order;
    of one value, or of ``@FILE``, as `parse_all`.

    Raises:
        ModelError: see `parse`, `read_set`; doses of units that are not numbers, or a value that is there twice.
        NotFoundError: no such file.
    """
    if text.startswith("@"):
        return parse_all([text], model)
    do = parse(text)
    if not isinstance(do.value, str) or "," not in do.value:
        return (do,)
    values = [_number(part.strip()) for part in do.value.split(",")]
    numbers = sorted(value for value in values if isinstance(value, float))
    in_words = len(numbers) < len(values)
    if (in_words and (do.units or do.shift)) or "" in values or len(set(values)) < len(values):
        raise ModelError(
            "--do: several values are different numbers, or names of classes, e.g. latent[3]=-1,0,1 or label=deer,dog, "
            f"got {text!r}"
        )
    return tuple(replace(do, value=value) for value in (values if in_words else numbers))


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def named(value: Value, names: Sequence[str]) -> str:
    """The class or category that a value stands for: label=7 is ``7``; or ``007``, where that alone is as much."""
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    alike = [name for name in names if isinstance(value, float) and _number(name) == value]
    return alike[0] if shown not in names and len(alike) == 1 else shown


def parse_all(texts: Iterable[str], model: Model | None = None) -> tuple[Do, ...]:
    """Of each, in order; ``@FILE`` stands for what a file holds, see `read_set` for `model`.

    Raises:
        ModelError: see `parse`, `read_set`.
        NotFoundError: no such file.
    """
    dos: list[Do] = []
    for text in texts:
        dos += read_set(Path(text[1:]), model) if text.startswith("@") else [parse(text)]
    return tuple(dos)


def read_set(path: Path, model: Model | None = None) -> tuple[Do, ...]:
    """The interventions that `write_set` wrote.

    Args:
        path: of the file.
        model: that they are for; one that was not loaded, or None, is not held against what the file says.

    Raises:
        NotFoundError: no such file.
        ModelError: another kind of file; or it says that it was made for other weights, whose units are others.
    """
    if not path.is_file():
        raise NotFoundError(f"--do: no file {path}")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        rows, made_for = document["do"], document.get("weights_sha256")
        dos = tuple(Do(r["target"], _value(r["value"]), tuple(map(int, r["units"])), bool(r["shift"])) for r in rows)
        if not dos or any(unit < 0 for do in dos for unit in do.units):
            raise ValueError("nothing to set")
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"--do: {path} does not hold interventions, as explain dissect --save writes them") from error
    origin = model.origin if model is not None else None
    if made_for and origin and made_for != origin.weights_sha256:
        raise ModelError(
            f"--do: {path} was made for {document.get('model', 'another model')} with other weights, and units of "
            f"{origin.name} are other units; make a set for it with explain dissect --save"
        )
    return dos


def _value(value: Any) -> Value:
    return tuple(map(float, value)) if isinstance(value, list) else value if isinstance(value, str) else float(value)


def write_set(path: Path, dos: Sequence[Do], about: Mapping[str, Any]) -> None:
    """Write interventions as JSON, with what there is to say about them.

    Raises:
        StorageError: the disk is full or refuses.
    """
    rows = [{"target": d.target, "units": d.units, "value": d.value, "shift": d.shift} for d in dos]
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({"format": FORMAT, "do": rows, **about}, indent=2) + "\n", encoding="utf-8")
