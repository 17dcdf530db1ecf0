"""What a model has, and what lies outside of what it has seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pentimento.errors import ModelError, suggest
from pentimento.interventions.running import class_targets, made_by, outputs
from pentimento.interventions.words import MEAN, Do, named
from pentimento.model import DataSpec
from pentimento.runtime import Draws
from pentimento.sampling import default_condition

__all__ = ["check"]

SEEN_SAMPLES = 64  # that say between which values a unit of a stage lies


def check(model: Any, dos: Sequence[Do]) -> list[str]:
    """Refuse what `model` does not have, and say what lies outside what it has seen, a line each.

    What units of a stage give is seen on samples, drawn here.

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
            warnings += _check_stage(model, do, shapes)
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


def _check_stage(model: Any, do: Do, shapes: Mapping[str, Tensor]) -> list[str]:
    made = shapes[do.target]
    if made.shape[1:] == model.spec.image_shape:
        raise ModelError(f"--do {do}: stage {do.target} gives pictures, which have no units to set")
    _check_indices(do, made.shape[1])
    if do.value == MEAN and not do.shift:
        return []
    numbers = do.value if isinstance(do.value, tuple) else (do.value,)
    if not all(isinstance(v, float) and math.isfinite(v) for v in numbers):
        raise ModelError(f"--do {do}: a number or {MEAN} expected")
    if len(numbers) not in {1, len(do.units)}:
        raise ModelError(f"--do {do}: {len(do.units)} numbers expected, one for each unit")
    return [] if do.shift else _check_seen(model, do, [float(v) for v in numbers])


def _check_seen(model: Any, do: Do, numbers: Sequence[float]) -> list[str]:
    """A line for the unit that is set farthest outside of what samples give."""
    units = list(do.units)
    found = [x[:, units].transpose(0, 1).flatten(1).double().cpu() for x in made_by(model, do.target, 0, SEEN_SAMPLES)]
    low, high = torch.cat(found, 1).aminmax(dim=1)
    value = torch.tensor(numbers, dtype=torch.float64).expand_as(low)
    beyond, worst = torch.maximum(low - value, value - high).max(0)
    k = int(worst)
    seen = f"what {SEEN_SAMPLES} samples give, {float(low[k]):.3g} to {float(high[k]):.3g}"
    one = replace(do, units=(do.units[k],), value=float(value[k]))
    return [f"{one}: {float(beyond):.3g} outside {seen}"] if beyond > 0 else []


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
        spec.class_index(named(do.value, spec.classes))
        return []
    attribute = spec.attribute(do.target)
    if attribute.kind == "categorical":
        if named(do.value, attribute.values) not in attribute.values:
            raise ModelError(f"--do {do}: one of {', '.join(attribute.values)} expected")
        return []
    if not isinstance(do.value, float) or not math.isfinite(do.value):
        raise ModelError(f"--do {do}: a number from {attribute.low:g} to {attribute.high:g} expected")
    beyond = max(attribute.low - do.value, do.value - attribute.high)
    seen = f"what was seen, {attribute.low:g} to {attribute.high:g}"
    return [f"{do}: {beyond:g} outside {seen}"] if beyond > 0 else []
