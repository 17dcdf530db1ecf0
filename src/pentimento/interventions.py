"""Interventions: what an experiment sets in a model, in words, and a run of the model with it set.

    label=7                the class that the model is told
    thickness=4.2          an attribute that it is told
    foreground=3           the class that one mechanism alone is told, of a model that has several (cgn)
    latent[3]=1.5          a coordinate of its noise; latent[3]+=1.5 moves it
    up2[17]=0              a unit (channel) of the output of stage up2, at every position; up2[17]=mean: its usual value
    up2[3,17,20]=0         several at once
    @set.json              those that a file holds, see `write_set`

All else is held fixed: the noise, what the model is told, and the stages before the first one that is changed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pentimento.errors import ModelError, NotFoundError, suggest
from pentimento.model import Condition, DataSpec, Model
from pentimento.runtime import Draws, atomic_write
from pentimento.sampling import SAMPLE_CHUNK, default_condition

__all__ = [
    "MEAN",
    "Do",
    "check",
    "class_targets",
    "outputs",
    "parse",
    "parse_all",
    "parse_doses",
    "read_set",
    "resolve",
    "run",
    "tell",
    "usual_values",
    "write_set",
]

MEAN = "mean"
FORMAT = 1  # of a file of interventions
USUAL_SAMPLES = 256  # whose mean is a unit's usual value
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


# ------------------------------------------------------------------------------------------------ in words
def parse(text: str) -> Do:
    """The intervention that `text` names, see the module. What a model has of it is for `check`.

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
    named = len(numbers) < len(values)
    if (named and (do.units or do.shift)) or "" in values or len(set(values)) < len(values):
        raise ModelError(
            "--do: several values are different numbers, or names of classes, e.g. latent[3]=-1,0,1 or label=deer,dog, "
            f"got {text!r}"
        )
    return tuple(replace(do, value=value) for value in (values if named else numbers))


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


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


# ---------------------------------------------------------------------------------------------- of a model
def check(model: Any, dos: Sequence[Do]) -> list[str]:
    """Refuse what `model` does not have, and say what lies outside what it has seen, a line each.

    Args:
        model: a `Model` that `Intervenes`.
        dos: to be set together.

    Raises:
        ModelError: an unknown name, with its neighbours; a unit out of range; a value that its target cannot have; the
            same thing set twice.
    """
    noise, shapes = _probe(model)
    taken: set[tuple[str, int]] = set()
    warnings = []
    for do in dos:
        for unit in do.units or (-1,):
            if (do.target, unit) in taken:
                raise ModelError(f"--do: {do.target} is set twice")
            taken.add((do.target, unit))
        if do.target in noise:
            warnings += _check_units(do, noise[do.target], bound=3.0)
        elif do.target in model.stages:
            _check_stage(model, do, shapes)
        else:
            warnings += _check_told(model, do, (*noise, *model.stages[:-1]))
    return warnings


def _probe(model: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The noise of one sample, and what each stage makes of it."""
    noise = model.draw_noise(Draws(0, [0], device=model.device))
    return noise, outputs(model, noise, default_condition(model, [0], 0).to(model.device))


def _check_units(do: Do, values: Tensor, bound: float) -> list[str]:
    if values.ndim != 2:
        raise ModelError(f"--do {do}: {do.target} is not made of units; set label or an attribute instead")
    _check_indices(do, values.shape[1])
    if not isinstance(do.value, float) or not math.isfinite(do.value):
        raise ModelError(f"--do {do}: a number expected")
    beyond = abs(do.value) - bound  # of a shift: where it takes the mean
    return [f"{do}: {beyond:g} beyond the {bound:g} standard deviations that are usual"] if beyond > 0 else []


def _check_indices(do: Do, count: int) -> None:
    if not do.units:
        raise ModelError(f"--do {do}: say which of the {count} units, e.g. {do.target}[0]={do.value}")
    if max(do.units) >= count:
        raise ModelError(f"--do {do}: {do.target} has {count} units, 0 to {count - 1}")


def _check_stage(model: Any, do: Do, shapes: Mapping[str, Tensor]) -> None:
    made = shapes[do.target]
    if made.shape[1:] == model.spec.image_shape:
        raise ModelError(f"--do {do}: stage {do.target} gives pictures, which have no units to set")
    _check_indices(do, made.shape[1])
    if do.value == MEAN and not do.shift:
        return
    numbers = do.value if isinstance(do.value, tuple) else (do.value,)
    if not all(isinstance(v, float) and math.isfinite(v) for v in numbers):
        raise ModelError(f"--do {do}: a number or {MEAN} expected")
    if len(numbers) not in {1, len(do.units)}:
        raise ModelError(f"--do {do}: {len(do.units)} numbers expected, one for each unit")


def _check_told(model: Any, do: Do, settable: Sequence[str]) -> list[str]:
    spec: DataSpec = model.spec
    attributes = tuple(model.config.get("attributes", ()))
    labels = class_targets(model) if model.config.get("conditional") else ()
    if do.target not in labels + attributes:
        raise ModelError(
            f"--do: this model has no {do.target!r}; {suggest(do.target, (*labels, *attributes, *settable))}"
        )
    if do.units or do.shift:
        raise ModelError(f"--do {do}: {do.target} takes one value: {do.target}=VALUE")
    if do.target in labels:
        spec.class_index(_as_class(do.value))
        return []
    attribute = spec.attribute(do.target)
    if attribute.kind == "categorical":
        if _as_class(do.value) not in attribute.values:
            raise ModelError(f"--do {do}: one of {', '.join(attribute.values)} expected")
        return []
    if not isinstance(do.value, float) or not math.isfinite(do.value):
        raise ModelError(f"--do {do}: a number from {attribute.low:g} to {attribute.high:g} expected")
    beyond = max(attribute.low - do.value, do.value - attribute.high)
    seen = f"what was seen, {attribute.low:g} to {attribute.high:g}"
    return [f"{do}: {beyond:g} outside {seen}"] if beyond > 0 else []


def class_targets(model: Any) -> tuple[str, ...]:
    """What is set to a class: the label, and the model's mechanisms; what intervenes need not be a `Model`."""
    return ("label", *getattr(model, "mechanisms", ()))


def _as_class(value: Value) -> str:
    """Names of classes may be numbers: label=7 is the class called "7"."""
    return f"{value:g}" if isinstance(value, float) else str(value)


# ------------------------------------------------------------------------------------------------- running
@torch.no_grad()
def usual_values(model: Any, stage: str, seed: int) -> Tensor:
    """The mean of each unit of `stage` over samples and positions, (C,)."""
    parts = []
    for begin in range(0, USUAL_SAMPLES, SAMPLE_CHUNK):
        rows = range(begin, begin + SAMPLE_CHUNK)
        noise = model.draw_noise(Draws(seed, rows, device=model.device))
        condition = default_condition(model, rows, seed).to(model.device)
        x = None
        for name in model.stages[: model.stages.index(stage) + 1]:
            x = model.run_stage(name, x, noise, condition)
        assert x is not None
        parts.append(x.cpu().double().flatten(2).mean(2) if x.ndim > 2 else x.cpu().double())
    return torch.cat(parts).mean(0)


def resolve(model: Any, dos: Sequence[Do], seed: int) -> tuple[Do, ...]:
    """With every ``"mean"`` replaced by the numbers it stands for, of samples of `seed`."""
    resolved = []
    for do in dos:
        if do.target in model.stages and do.value == MEAN:
            usual = usual_values(model, do.target, seed)
            resolved.append(replace(do, value=tuple(usual[list(do.units)].tolist())))
        else:
            resolved.append(do)
    return tuple(resolved)


@torch.no_grad()
def outputs(model: Any, noise: Mapping[str, Tensor], condition: Condition) -> dict[str, Tensor]:
    """What each stage gives where nothing is set, for `run`."""
    made: dict[str, Tensor] = {}
    x = None
    for stage in model.stages:
        x = made[stage] = model.run_stage(stage, x, noise, condition)
    return made


def run(
    model: Any,
    noise: Mapping[str, Tensor],
    condition: Condition,
    dos: Sequence[Do],
    usual: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """The images of `noise` and `condition` with `dos` set, (N, C, H, W).

    Args:
        model: a `Model` that `Intervenes`.
        noise: from its `draw_noise`.
        condition: of the same N samples, on its device.
        dos: checked and resolved.
        usual: `outputs` of the same samples: stages before the first that is changed are taken from there.
    """
    by_target: dict[str, list[Do]] = {}
    for do in dos:
        by_target.setdefault(do.target, []).append(do)
    stages, x, first = model.stages, None, 0
    if usual is not None and by_target.keys() <= set(stages):
        first = min((stages.index(target) for target in by_target), default=len(stages) - 1)
        x = _set_units(usual[stages[first]], by_target.get(stages[first], ()))
        first += 1
    else:
        noise = {name: _set_units(values, by_target.get(name, ())) for name, values in noise.items()}
        condition = tell(model, condition, dos)
    for stage in stages[first:]:
        x = _set_units(model.run_stage(stage, x, noise, condition), by_target.get(stage, ()))
    assert x is not None
    return x


def _set_units(x: Tensor, dos: Sequence[Do]) -> Tensor:
    if not dos:
        return x
    x = x.clone()
    for do in dos:
        value = torch.as_tensor(do.value, dtype=x.dtype, device=x.device).expand(len(do.units))
        value = value.view(-1, *[1] * (x.ndim - 2))
        chosen = list(do.units)
        x[:, chosen] = x[:, chosen] + value if do.shift else value.expand_as(x[:, chosen])
    return x


def tell(model: Model, condition: Condition, dos: Sequence[Do]) -> Condition:
    """What the model is told of each sample, with labels and attributes as `dos` set them."""
    spec, told_by = model.spec, {do.target: do.value for do in dos if not do.units}
    if "label" in told_by and condition.labels is not None:
        index = spec.class_index(_as_class(told_by["label"]))
        condition = replace(condition, labels=torch.full_like(condition.labels, index))
    mechanisms = class_targets(model)[1:]
    if told_by.keys() & set(mechanisms) and condition.labels is not None:
        columns = [condition.labels] * len(mechanisms)
        for place, name in enumerate(mechanisms):
            if name in told_by:
                columns[place] = torch.full_like(condition.labels, spec.class_index(_as_class(told_by[name])))
        condition = replace(condition, mechanisms=torch.stack(columns, 1))
    for place, attribute in enumerate(spec.attributes):
        if attribute.name in told_by and condition.attributes is not None:
            value = told_by[attribute.name]
            number = attribute.values.index(_as_class(value)) if attribute.kind == "categorical" else value
            told = condition.attributes.clone()
            told[:, place] = float(number)  # type: ignore[arg-type]  # checked
            condition = replace(condition, attributes=told)
    return condition
