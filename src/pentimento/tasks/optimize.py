"""Style transfer by optimisation: the pixels themselves are changed until content and style fit (Gatys et al. 2016).

The picture is sought from coarse to fine (Gatys et al. 2017, section 6): as many steps on a small one, where a step
costs little and strokes span few pixels, as on each that follows, the last at full size. The engine is an iterator:
whoever asks for the steps shows them, stops where they like, and has the last. Losses: see `style_objective`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pentimento.errors import InputError, TrainingError
from pentimento.features import FeatureNetwork
from pentimento.runtime import Draws, Progress, ProgressCallback, no_progress
from pentimento.tasks.descent import adam, lbfgs
from pentimento.tasks.style_objective import Goal, Objective, Style, check_styles, cover, resized

__all__ = ["Objective", "Schedule", "Step", "Style", "optimize", "plan"]

COARSEST_PX = 128  # the longer side of the first picture is this to twice this
LEAST_SIDE_PX = 64  # and its shorter side at least this, where the content has it


@dataclass(frozen=True)
class Schedule:
    """How the picture is sought.

    Args:
        method: of `descent`.
        steps: evaluations of the losses over all scales; the first shows the start.
        start: the content, or noise.
        scales: how many sizes, each half the next and the last that of the content; or the longer sides in pixels from
            small to large, to which that of the content is added; None: by halves down to 128 to 256 px.
        lr: of Adam, for pixels in [0, 1].
        seed: of the noise.

    Raises:
        InputError: a number out of range, or sides that do not grow.
    """

    method: Literal["lbfgs", "adam"] = "lbfgs"
    steps: int = 300
    start: Literal["content", "noise"] = "content"
    scales: int | tuple[int, ...] | None = None
    lr: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"steps: 1 or more expected, got {self.steps}")
        if not 0 < self.lr < math.inf:
            raise InputError(f"lr: a number above 0 expected, got {self.lr:g}")
        sides = (self.scales,) if isinstance(self.scales, int) else self.scales or ()
        if any(side < 1 for side in sides) or list(sides) != sorted(set(sides)):
            raise InputError(f"scales: a number, or sides in pixels from small to large, expected, got {self.scales}")


@dataclass(frozen=True)
class Step:
    """Where the search stands.

    Args:
        picture: (1, 3, H, W) in [0, 1], of the content's size; at coarse scales enlarged.
        losses: of the picture at its scale, in the precision of the search: ``loss``, and ``content``, ``style`` and
            ``tv`` before their weights.
        done: steps, this one included.
        total: steps in all.
        size: (height, width) of its scale.
    """

    picture: Tensor
    losses: Mapping[str, float]
    done: int
    total: int
    size: tuple[int, int]


def optimize(
    content: Tensor,
    styles: Sequence[Style],
    network: FeatureNetwork,
    objective: Objective | None = None,
    schedule: Schedule | None = None,
    *,
    progress: ProgressCallback = no_progress,
) -> Iterator[Step]:
    """The content in the look of the styles, better with every step.

    >>> import torch
    >>> from pentimento.features import open_network
    >>> content, style = torch.rand(1, 3, 32, 48), Style(torch.rand(1, 3, 40, 40))
    >>> for step in optimize(content, [style], open_network("perceptual"), schedule=Schedule(steps=2)):
    ...     picture = step.picture
    >>> picture.shape
    torch.Size([1, 3, 32, 48])

    Args:
        content: (1, 3, H, W), on the device of the network.
        styles: one or more, of any size.
        network: with maps, such as VGG-19; frozen.
        objective: what is minimised; None: `Objective` as it is.
        schedule: None: `Schedule` as it is.
        progress: told of each step, with the losses.

    Raises:
        EvaluationError: the content is too small for a layer.
        ImageError: a picture or a mask that cannot be used, see `Style`.
        InputError: weights of styles or scales that cannot be used.
        ModelError: the network has no maps, not this layer, or no pools to average.
        TrainingError: a loss is not finite; the steps before it stay good.
    """
    objective, schedule = objective or Objective(), schedule or Schedule()
    check_styles(content, styles)
    stages = plan((content.shape[2], content.shape[3]), schedule)
    if objective.pooling == "average":
        network = network.averaging()
    return _search(content, styles, network, objective, schedule, stages, progress)


def plan(size: tuple[int, int], schedule: Schedule) -> list[tuple[tuple[int, int], int]]:
    """The sizes (height, width) of the picture on its way to `size`, and the steps at each; every one has at least one.

    Raises:
        InputError: more scales than the picture has room for, or than there are steps.
    """
    longest, shortest = max(size), min(size)
    if isinstance(schedule.scales, tuple):
        factors = [side / longest for side in schedule.scales if side != longest] + [1.0]
    else:
        halves = min(math.log2(longest / COARSEST_PX), math.log2(shortest / LEAST_SIDE_PX))
        count = schedule.scales or 1 + max(0, math.floor(halves))
        factors = [2.0**-k for k in reversed(range(count))]
        if schedule.scales is None:
            factors = factors[-schedule.steps :]
    sizes = [(round(size[0] * factor), round(size[1] * factor)) for factor in factors]
    if max(factors) > 1 or min(sizes[0]) < 1:
        if isinstance(schedule.scales, int):
            most = 1 + math.floor(math.log2(2 * shortest - 1))  # the smallest rounds to one pixel or more
            raise InputError(f"scales: at most {most} for {size[1]}x{size[0]} px expected, got {schedule.scales}")
        raise InputError(f"scales: up to the content's {size[1]}x{size[0]} px expected, got {schedule.scales}")
    if len(sizes) > schedule.steps:
        raise InputError(f"steps: at least one for each of {len(sizes)} scales expected, got {schedule.steps}")
    bounds = [schedule.steps * k // len(sizes) for k in range(len(sizes) + 1)]
    return [(each, bounds[k + 1] - bounds[k]) for k, each in enumerate(sizes)]


def _search(
    content: Tensor,
    styles: Sequence[Style],
    network: FeatureNetwork,
    objective: Objective,
    schedule: Schedule,
    stages: Sequence[tuple[tuple[int, int], int]],
    progress: ProgressCallback,
) -> Iterator[Step]:
    done, began, kept = 0, time.monotonic(), _kept(content, styles)
    picture = _start(content, stages[0][0], schedule)
    for size, steps in stages:
        goal = Goal(resized(content, *size), styles, network, objective)
        first = resized(picture, *size) if done == 0 else _finer(picture, content, size, schedule)
        search = lbfgs(goal, first, steps) if schedule.method == "lbfgs" else adam(goal, first, steps, schedule.lr)
        for found, losses in search:
            done += 1
            if not all(map(math.isfinite, losses.values())):
                raise TrainingError(
                    f"optimize: the loss is not finite at step {done} of {schedule.steps}; lower the weights of "
                    "content, style and tv" + (", or lr" if schedule.method == "adam" else "")
                )
            rate = done / max(time.monotonic() - began, 1e-9)
            progress(Progress("stylize", done, schedule.steps, "steps", rate, losses))
            shown = resized(found, content.shape[2], content.shape[3])
            yield Step(shown if kept is None else shown.lerp(content, kept), losses, done, schedule.steps, size)
            picture = found


def _start(content: Tensor, size: tuple[int, int], schedule: Schedule) -> Tensor:
    if schedule.start == "content":
        return content
    noise = Draws(schedule.seed, [0], device=content.device).normal_field("start", (3, *size))
    return (0.5 + 0.25 * noise).clamp(0, 1)


def _finer(picture: Tensor, content: Tensor, size: tuple[int, int], schedule: Schedule) -> Tensor:
    """The picture at the next size; from the content on, with the detail that the content gains."""
    enlarged = resized(picture, *size)
    if schedule.start == "noise":
        return enlarged
    fine = resized(content, *size)
    blurred = resized(resized(content, picture.shape[2], picture.shape[3]), *size)
    return (enlarged + fine - blurred).clamp(0, 1)


def _kept(content: Tensor, styles: Sequence[Style]) -> Tensor | None:
    """(1, 1, H, W), the share of the content's own pixels where masks leave holes; None where there are none.

    The border is blurred over about a hundredth of the longer side.
    """
    masks = [style.mask for style in styles if style.mask is not None]
    if not masks or (covered := cover(masks).clamp(max=1)).min() == 1:
        return None
    radius = max(1, max(content.shape[2:]) // 200)
    padded = F.pad(1 - covered, [radius] * 4, mode="replicate")
    return F.avg_pool2d(padded, 2 * radius + 1, stride=1)
