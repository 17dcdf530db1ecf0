"""One step of damage after another, on a batch. Importing this module does not import torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pentimento.data.degrade.steps import Downscale, Gray, Step
from pentimento.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from pentimento.data.degrade.stream import Effect
    from pentimento.runtime import Draws

__all__ = ["Degraded", "degrade"]

Unit = Literal["noise", "jpeg"]


@dataclass(frozen=True)
class Degraded:
    """Damaged pictures, what they should become, and what was done.

    Args:
        images: (N, C, H', W').
        targets: (N, C, H, W); larger than `images` after a step *downscale*.
        masks: (N, 1, H', W'), 1 where pixels are missing or locally damaged by any step, else 0. None: no step of the
            chain does that.
        strengths: (N, 1, H', W') in [0, 1], see `pentimento.capabilities.Restores`: sigma / 255 of noise, those of
            several steps added as variances; or (100 - quality) / 100 of JPEG, the worst of several; of one kind, see
            `degrade`. It is what was added when it was added: a later blur is not reckoned with.
            None: no step sets it.
        facts: a table for each step. ``"kind"``, its name; ``"applied"``, (N,) bool; and what was done to each sample
            in the units of the options, (N,): NaN, or False, where it was not applied. A step that was applied to no
            sample has the first two only.
    """

    images: Tensor
    targets: Tensor
    masks: Tensor | None
    strengths: Tensor | None
    facts: tuple[dict[str, Tensor | str], ...]


def degrade(images: Tensor, steps: Sequence[Step], draws: Draws, told: Unit | None = None) -> Degraded:
    """Damage pictures by one step after another.

    What happens to a sample depends on the seed, the training step, the position in the chain and the sample's index
    only, not on its batch. Autocast is off inside, and nothing is recorded for a gradient.

    Args:
        images: (N, C, H, W) float32 in [0, 1], C = 1 or 3, N at least 1, on any device. They are not changed; where
            *downscale* needs it, the right and the bottom are cut to a multiple of the factor.
        steps: what to do.
        draws: of the same N samples.
        told: the kind of damage whose strength is wanted; None: that of the last step that says one.

    Raises:
        DataError: another shape or type, or pictures too small to be downscaled.
    """
    import torch

    _check(images, draws)
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        images = _cropped(images, math.prod(step.factor for step in steps if isinstance(step, Downscale)))
        told = told or next((step.tells for step in reversed(steps) if step.tells), None)
        state = Degraded(images, images, None, None, ())
        for position, step in enumerate(steps):
            state = _stepped(state, step, f"degrade/{position}/{step.kind}", draws, told)
        return state


def _check(images: Tensor, draws: Draws) -> None:
    import torch

    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape or images.dtype != torch.float32:
        raise DataError(
            f"images: (N, 1 or 3, H, W) float32, at least one picture, expected, got {tuple(images.shape)}, "
            f"{images.dtype}"
        )
    if len(draws.indices) != len(images):
        raise DataError(f"draws: as many samples as images, {len(images)}, expected, got {len(draws.indices)}")


def _cropped(images: Tensor, multiple: int) -> Tensor:
    height, width = images.shape[2:]
    if min(height, width) < multiple:
        raise DataError(
            f"downscale: pictures of at least {multiple} x {multiple} pixels expected, got {height} x {width}"
        )
    return images[:, :, : height - height % multiple, : width - width % multiple]


def _stepped(state: Degraded, step: Step, purpose: str, draws: Draws, told: Unit | None) -> Degraded:
    """`state` after `step`, which is done to those samples that draw it."""
    import torch

    from pentimento.data.degrade.apply import apply
    from pentimento.data.degrade.gray import to_gray
    from pentimento.data.degrade.stream import Stream

    own = Stream(draws, purpose, state.images.device)
    chances = own.uniform("chosen").tolist() if step.probability < 1 else [0.0] * len(own)
    rows = [row for row, chance in enumerate(chances) if chance < step.probability]
    applied = torch.zeros(len(own), dtype=torch.bool, device=own.device)
    applied[rows] = True
    facts: dict[str, Tensor | str] = {"kind": step.kind, "applied": applied}
    if step.makes_masks and state.masks is None:
        state = replace(state, masks=torch.zeros_like(state.images[:, :1]))
    if step.tells is not None and step.tells == told and state.strengths is None:
        state = replace(state, strengths=torch.zeros_like(state.images[:, :1]))
    if rows:
        effect = apply(step, state.images if len(rows) == len(chances) else state.images[rows], own.of(rows))
        facts.update(
            {name: _placed(_blank(values, len(chances)), rows, values) for name, values in effect.facts.items()}
        )
        if isinstance(step, Downscale):
            state = _shrunk(state, effect, step.factor)
        else:
            state = _updated(state, effect, rows, step.tells if step.tells == told else None)
        if isinstance(step, Gray):
            state = replace(state, targets=_placed(state.targets, rows, to_gray(state.targets[rows])))
    return replace(state, facts=(*state.facts, facts))


def _updated(state: Degraded, effect: Effect, rows: list[int], unit: Unit | None) -> Degraded:
    import torch

    images = _placed(state.images, rows, effect.images)
    masks, strengths = state.masks, state.strengths
    if masks is not None and effect.masks is not None:
        masks = _placed(masks, rows, torch.maximum(masks[rows], effect.masks))
    if strengths is not None and effect.strengths is not None and unit is not None:
        join = torch.hypot if unit == "noise" else torch.maximum
        strengths = _placed(strengths, rows, join(strengths[rows], effect.strengths))
    return replace(state, images=images, masks=masks, strengths=strengths)


def _shrunk(state: Degraded, effect: Effect, factor: int) -> Degraded:
    """Smaller: a pixel is missing where any of those it was made of is."""
    from torch.nn import functional

    masks = None if state.masks is None else functional.max_pool2d(state.masks, factor)
    strengths = None if state.strengths is None else functional.avg_pool2d(state.strengths, factor)
    return replace(state, images=effect.images, masks=masks, strengths=strengths)


def _blank(values: Tensor, count: int) -> Tensor:
    """(count,) of what is said where nothing was done."""
    return values.new_full((count,), float("nan") if values.is_floating_point() else 0)


def _placed(whole: Tensor, rows: list[int], part: Tensor) -> Tensor:
    """`whole` with `part` in its `rows`."""
    if len(rows) == len(whole):
        return part
    whole = whole.clone()
    whole[rows] = part
    return whole
