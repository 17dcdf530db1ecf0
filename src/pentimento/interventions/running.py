"""A run of a model with interventions set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pentimento.interventions.words import MEAN, Do, named
from pentimento.model import Condition, Model
from pentimento.runtime import Draws
from pentimento.sampling import SAMPLE_CHUNK, default_condition

__all__ = ["class_targets", "made_by", "outputs", "resolve", "run", "tell", "usual_values"]

USUAL_SAMPLES = 256  # whose mean is a unit's usual value


@torch.no_grad()
def made_by(model: Any, stage: str, seed: int, count: int) -> Iterator[Tensor]:
    """What `stage` gives for `count` samples of `seed`, (n, C, ...) at a time."""
    for begin in range(0, count, SAMPLE_CHUNK):
        rows = range(begin, min(begin + SAMPLE_CHUNK, count))
        noise = model.draw_noise(Draws(seed, rows, device=model.device))
        condition = default_condition(model, rows, seed).to(model.device)
        x = None
        for name in model.stages[: model.stages.index(stage) + 1]:
            x = model.run_stage(name, x, noise, condition)
        assert x is not None
        yield x


def usual_values(model: Any, stage: str, seed: int) -> Tensor:
    """The mean of each unit of `stage` over samples and positions, (C,)."""
    parts = [
        x.cpu().double().flatten(2).mean(2) if x.ndim > 2 else x.cpu().double()
        for x in made_by(model, stage, seed, USUAL_SAMPLES)
    ]
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
        index = spec.class_index(named(told_by["label"], spec.classes))
        condition = replace(condition, labels=torch.full_like(condition.labels, index))
    mechanisms = class_targets(model)[1:]
    if told_by.keys() & set(mechanisms) and condition.labels is not None:
        columns = [condition.labels] * len(mechanisms)
        for place, name in enumerate(mechanisms):
            if name in told_by:
                columns[place] = torch.full_like(condition.labels, spec.class_index(named(told_by[name], spec.classes)))
        condition = replace(condition, mechanisms=torch.stack(columns, 1))
    for place, attribute in enumerate(spec.attributes):
        if attribute.name in told_by and condition.attributes is not None:
            value = told_by[attribute.name]
            number = (
                attribute.values.index(named(value, attribute.values)) if attribute.kind == "categorical" else value
            )
            told = condition.attributes.clone()
            told[:, place] = float(number)  # type: ignore[arg-type]  # checked
            condition = replace(condition, attributes=told)
    return condition


def class_targets(model: Any) -> tuple[str, ...]:
    """What is set to a class: the label, and the model's mechanisms; what intervenes need not be a `Model`."""
    return ("label", *getattr(model, "mechanisms", ()))
