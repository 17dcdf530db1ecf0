"""Sampling: stage by stage, in chunks of one size, under a condition nobody chose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pentimento.capabilities import Intervenes
from pentimento.errors import ModelError, suggest
from pentimento.model import Condition, Model
from pentimento.runtime import Draws

__all__ = ["SAMPLE_CHUNK", "Draw", "default_condition", "run_stages", "sample_chunks"]

Draw = Callable[[Mapping[str, Tensor], Condition], Tensor]  # noise and what is told -> images
SAMPLE_CHUNK = 32  # samples a forward pass; fixed, so that a seed gives the same image at any count


def run_stages(
    model: Intervenes,
    noise: Mapping[str, Tensor],
    condition: Condition,
    *,
    start: str | None = None,
    value: Tensor | None = None,
    stop: str | None = None,
) -> Tensor:
    """Run `model` stage by stage and return the output of the last stage run.

    Args:
        model: anything that `Intervenes`.
        noise: from its `draw_noise`.
        condition: of the same N samples.
        start: first stage to run; `value` is what goes into it. Default: the first of all.
        value: the output of the stage before `start`.
        stop: last stage to run. Default: the last of all, whose output is the images.

    Raises:
        ModelError: an unknown stage, or `stop` before `start`.
    """
    names = model.stages
    for name in (start, stop):
        if name is not None and name not in names:
            raise ModelError(f"stage: unknown name {name!r}; {suggest(name, names)}")
    first = names.index(start) if start else 0
    last = names.index(stop) if stop else len(names) - 1
    if last < first:
        raise ModelError(f"stage: {stop!r} comes before {start!r}; the order is {', '.join(names)}")
    if (value is None) != (first == 0):
        raise ModelError("value: needed for every stage but the first, and only there")
    x = value
    for name in names[first : last + 1]:
        x = model.run_stage(name, x, noise, condition)
    assert x is not None
    return x


@torch.no_grad()
def sample_chunks(
    model: Any,
    condition: Condition,
    indices: Sequence[int],
    seed: int,
    truncation: float | None = None,
    draw: Draw | None = None,
) -> Tensor:
    """Images of the samples called `indices` under `seed`: (N, C, H, W) on the CPU.

    Runs in chunks of exactly `SAMPLE_CHUNK` (the last one padded by repeating its last sample), because the rounding
    of a convolution depends on the batch size: so sample i of a seed is the same picture at any count.

    Args:
        model: anything that `Samples`, or with `draw` whatever that takes.
        condition: of these samples.
        indices: of the samples.
        seed: of their noise.
        truncation: see `Samples.draw_noise`.
        draw: makes the images of noise and a condition; `Samples.sample` where left out.
    """
    was_training = model.training
    model.eval()
    pictures: list[Tensor] = []
    try:
        for begin in range(0, len(indices), SAMPLE_CHUNK):
            rows = list(range(begin, min(begin + SAMPLE_CHUNK, len(indices))))
            padded = rows + rows[-1:] * (SAMPLE_CHUNK - len(rows))
            draws = Draws(seed, [indices[i] for i in padded], device=model.device)
            noise = model.draw_noise(draws, truncation)
            told = condition[padded].to(model.device)
            chunk = (draw or model.sample)(noise, told)
            pictures.append(chunk[: len(rows)].float().clamp(0, 1).cpu())
    finally:
        model.train(was_training)
    return torch.cat(pictures)


def default_condition(model: Model, indices: Sequence[int], seed: int) -> Condition:
    """A condition for samples nobody asked anything of: labels in turn, attributes uniform over what was seen.

    A pure function of (seed, sample index), on the CPU; None for what the data does not have.
    """
    spec = model.spec
    labels = torch.tensor([i % len(spec.classes) for i in indices]) if spec.classes else None
    columns = []
    draws = Draws(seed, indices)
    for attribute in spec.attributes:
        u = draws.uniform(f"attribute-{attribute.name}")
        low, high = (
            (0.0, float(attribute.width)) if attribute.kind == "categorical" else (attribute.low, attribute.high)
        )
        columns.append((low + u * (high - low)).floor() if attribute.kind == "categorical" else low + u * (high - low))
    return Condition(labels, torch.stack(columns, 1) if columns else None)
