"""Abduction: the noise under which a model makes a picture that is given.

    x -> the picture     z -> the latent, (S, D)     c -> what the model is told     G(z, c) -> what it makes of both
    F -> what of a picture is where, in the embedded network `perceptual`, see `pentimento.features.likeness`
    loss(z) = E |G(z, c) - x|^2 / Var x + 2 |F(G(z, c)) - F(x)|^2 / |F(x)|^2 + 0.05 E z^2

A model that encodes (vae) is asked for the latent. Of another (gan), of 64 latents that are drawn those that come
nearest are moved down the loss by Adam, several at once, and the best is taken (Zhu et al. 2016; Abdal et al. 2019).
By pixels alone the result is blurred, so F looks too. The term in z keeps latents where the model has been: with less
of it what is set afterwards shows more seldom, with more the reconstruction is worse.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from pentimento.capabilities import Encodes, Intervenes
from pentimento.errors import InputError, ModelError
from pentimento.features.likeness import content_of
from pentimento.losses import relative_distance
from pentimento.model import Condition, DataSpec, Model
from pentimento.runtime import Draws, Progress, ProgressCallback, no_progress
from pentimento.sampling import default_condition, run_stages
from pentimento.tasks.generate import make_condition

__all__ = ["FLAT", "MISSED", "Inversion", "Search", "candidates", "check_latent", "invert"]

DRAWN = 64  # latents among which a search begins
STARTS = 4  # of them are moved on: of 20 digits, `mnist-gan` missed 4.6 % with 1, 4.2 % with 4
CLASSES = 32  # at most so many classes are searched, those whose drawn latents come nearest
TRIAL = 0.25  # of the steps are spent on each class, where nobody said which it is
LR, CONTENT, PRIOR = 0.2, 2.0, 0.05
FLAT = (4 / 255) ** 2  # a picture of less variance counts as one of this
MISSED = 0.25  # share of a picture's variance that a reconstruction may miss before it is warned of


@dataclass(frozen=True)
class Search:
    """How a latent is sought.

    Args:
        steps: of the search.
        seed: of the latents that are drawn.

    Raises:
        InputError: a number out of range.
    """

    steps: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"--steps: 1 or more expected, got {self.steps}")
        if self.seed < 0:
            raise InputError(f"--seed: 0 or more expected, got {self.seed}")


@dataclass(frozen=True)
class Inversion:
    """What a picture is to a model.

    Args:
        noise: under which the model makes the reconstruction, of one sample.
        condition: that it is told.
        reconstruction: (1, C, H, W).
        error: the mean squared difference from the picture, values in [0, 1].
        missed: the same as a share of the picture's variance: 0 is the picture, 1 no better than its mean.
    """

    noise: Mapping[str, Tensor]
    condition: Condition
    reconstruction: Tensor
    error: float
    missed: float

    @property
    def rmse(self) -> float:
        """Root mean squared difference from the picture, of 255."""
        return 255 * math.sqrt(self.error)

    @property
    def psnr_db(self) -> float:
        """Peak signal to noise ratio in dB, 100 at most."""
        return -10 * math.log10(max(self.error, 1e-10))


def check_latent(model: Model) -> None:
    """Refuse a model for whose pictures no noise can be found.

    Raises:
        ModelError: it does not run in stages, or draws each pixel from noise of its own.
    """
    if isinstance(model, Intervenes) and set(model.draw_noise(Draws(0, [0], device=model.device))) == {"latent"}:
        return
    raise ModelError(f"edit: a {model.family!r} model makes no pictures of a latent; families that can: gan, vae")


def candidates(model: Model, label: str | None, attributes: Mapping[str, float | str]) -> Condition:
    """What `model` may have been told of a picture: of the class `label`, or else a sample of each class; K of them.

    Raises:
        ModelError: an unknown label or attribute, or an attribute that the model must be told.
    """
    if missing := [name for name in model.config.get("attributes", ()) if name not in attributes]:
        known = ", ".join(f"{name} ({_range(model.spec, name)})" for name in missing)
        raise ModelError(f"--attribute: the model must be told {known} of the picture; say --attribute NAME=VALUE")
    condition = make_condition(model, 1, 0, label, attributes)
    if label is not None or not model.config.get("conditional"):
        return condition
    count = len(model.spec.classes)
    return replace(condition[[0] * count], labels=torch.arange(count))


def _range(spec: DataSpec, name: str) -> str:
    attribute = spec.attribute(name)
    if attribute.kind == "categorical":
        return f"one of {', '.join(attribute.values)}"
    return f"{attribute.low:g} to {attribute.high:g}"


def invert(
    model: Model,
    image: Tensor,
    condition: Condition | None = None,
    search: Search | None = None,
    progress: ProgressCallback = no_progress,
) -> Inversion:
    """The noise under which `model` makes `image`, or what comes nearest.

    Args:
        model: in evaluation mode, see `check_latent`.
        image: (1, C, H, W), as the model makes them.
        condition: see `candidates`; of several, the one with the best reconstruction is taken. None: of a model that is
            told nothing.
        search: of a model that does not encode.
        progress: told of each step.

    Raises:
        ModelError: see `check_latent`; or an image of another shape.
    """
    check_latent(model)
    if image.shape != (1, *model.spec.image_shape):
        raise ModelError(f"image: {(1, *model.spec.image_shape)} expected, got {tuple(image.shape)}")
    search, image = search or Search(), image.to(model.device)
    condition = (default_condition(model, [0], 0) if condition is None else condition).to(model.device)
    if isinstance(model, Encodes):
        latent, condition = _encoded(model, image, condition)
    else:
        goal = _Goal(model, image)
        if _count(condition) > 1:
            condition = _likeliest(goal, condition, search, progress)
        latent, condition = _sought(goal, condition, search, progress)
    with torch.no_grad():
        made = run_stages(cast(Intervenes, model), {"latent": latent}, condition)
    error = float((made - image).square().mean())
    return Inversion({"latent": latent}, condition, made, error, error / _variance(image))


@torch.no_grad()
def _encoded(model: Any, image: Tensor, condition: Condition) -> tuple[Tensor, Condition]:
    """The model's own latent (1, D), under the condition with the best reconstruction."""
    latents = model.encode(image.expand(_count(condition), -1, -1, -1), condition)
    best = int(_pixel_error(model.decode(latents, condition), image).argmin())
    return latents[best : best + 1], condition[best : best + 1]


# --------------------------------------------------------------------------------------------------- search
class _Goal:
    """The picture, and the loss of latents."""

    def __init__(self, model: Any, image: Tensor) -> None:
        self.model, self.image, self.variance = model, image, _variance(image)
        with torch.no_grad():
            self.content = content_of(image)

    def __call__(self, latents: Tensor, condition: Condition) -> Tensor:
        """(S,) of (S, D), see the module."""
        made = run_stages(self.model, {"latent": latents}, condition)
        content = relative_distance(content_of(made), self.content.expand(len(made), -1, -1, -1))
        missed = _pixel_error(made, self.image) / self.variance
        return missed + CONTENT * content + PRIOR * latents.square().mean(1)


def _likeliest(goal: _Goal, condition: Condition, search: Search, progress: ProgressCallback) -> Condition:
    """Of several conditions the one under which a short search comes nearest."""
    latents, errors = _nearest(goal, condition, 1, search.seed)  # (K, 1, D), (K, 1)
    kept = errors[:, 0].topk(min(CLASSES, len(errors)), largest=False).indices
    steps = max(1, round(TRIAL * search.steps))
    _, losses = _descend(goal, latents[kept, 0], condition[kept], steps, "classes", progress)
    best = kept[losses.argmin()]
    return condition[best[None]]


def _sought(goal: _Goal, condition: Condition, search: Search, progress: ProgressCallback) -> tuple[Tensor, Condition]:
    """The best latent, (1, D), under the one condition."""
    starts = _nearest(goal, condition, STARTS, search.seed)[0][0]  # (STARTS, D)
    told = condition[[0] * len(starts)]
    latents, losses = _descend(goal, starts, told, search.steps, "invert", progress)
    return latents[losses.argmin()][None], condition


@torch.no_grad()
def _nearest(goal: _Goal, condition: Condition, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """For each of K conditions the `count` drawn latents that come nearest: (K, count, D), their errors (K, count)."""
    drawn = goal.model.draw_noise(Draws(seed, range(DRAWN), device=goal.image.device))["latent"]
    latents, errors = [], []
    for k in range(_count(condition)):
        made = run_stages(goal.model, {"latent": drawn}, condition[[k] * DRAWN])
        found = _pixel_error(made, goal.image).topk(count, largest=False)
        latents.append(drawn[found.indices])
        errors.append(found.values)
    return torch.stack(latents), torch.stack(errors)


def _descend(
    goal: _Goal, latents: Tensor, condition: Condition, steps: int, stage: str, progress: ProgressCallback
) -> tuple[Tensor, Tensor]:
    """(S, D) latents each moved down its own loss, and the losses (S,) at the end."""
    latents = latents.clone().requires_grad_()
    adam = torch.optim.Adam([latents], lr=LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for step in range(steps):
        losses = goal(latents, condition)
        (latents.grad,) = torch.autograd.grad(losses.sum(), latents)
        adam.step()
        schedule.step()
        progress(Progress(stage, step + 1, steps, "steps", figures={"loss": float(losses.detach().min())}))
    with torch.no_grad():
        return latents.detach(), goal(latents, condition)


def _pixel_error(made: Tensor, image: Tensor) -> Tensor:
    """Mean squared difference of (S, C, H, W) from (1, C, H, W), (S,)."""
    return (made - image).square().flatten(1).mean(1)


def _variance(image: Tensor) -> float:
    return max(float(image.var(correction=0)), FLAT)


def _count(condition: Condition) -> int:
    values = condition.labels if condition.labels is not None else condition.attributes
    return 1 if values is None else len(values)
