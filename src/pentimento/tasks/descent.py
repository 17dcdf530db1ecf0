"""How a picture with values in [0, 1] is sought that makes a loss small: iterators, one evaluation of the loss a step.

Losses are a function from a picture to scalars by name, of which ``loss`` is made small. Every step yields the picture
to go on from, and its losses as numbers.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

__all__ = ["Found", "Losses", "adam", "lbfgs"]

Losses = Callable[[Tensor], Mapping[str, Tensor]]
Found = tuple[Tensor, dict[str, float]]

HISTORY = 10  # pairs remembered: 20 and 100 were measured not to be faster
FIRST_MOVE = 0.01  # root mean square of the first step's move, of the range of a pixel
POWER, LOWEST = 1.0, 0.005  # of the metric, see `_metric`; cycles per pixel
DECREASE = 1e-4  # share of the promised decrease that must come (Armijo)
SHORTER = 0.25  # times the length of a step that went too far
PATIENCE = 3  # steps too far in a row before the curvature seen so far is forgotten


def lbfgs(losses: Losses, start: Tensor, steps: int) -> Iterator[Found]:
    """L-BFGS (Nocedal and Wright 2006, algorithm 7.4), moves cut to [0, 1].

    Pixels that are at a bound and pushed beyond it stay out of a step, so that it goes down (Bertsekas 1982, eq. 33).
    A step is taken at full length, and only where the loss did not fall enough, or is not finite, is the next
    one a shorter try from where it began. torch's either checks nothing, and was seen to jump out of the valley it was
    in, or asks for Wolfe's conditions, which take more evaluations a step. Before any curvature is known, coarse waves
    are moved further than fine ones, see `_metric`: that was measured to halve the steps.
    """
    metric = _metric(start)
    pairs: deque[tuple[Tensor, Tensor, float]] = deque(maxlen=HISTORY)  # s, y, 1 / <s, y>
    x = start.detach().clone()
    base, gradient, found = x, torch.zeros_like(x), {"loss": math.inf}
    length, failures, direction, free = 1.0, 0, torch.zeros_like(x), torch.ones_like(x, dtype=torch.bool)
    for _ in range(steps):
        values, slope = _evaluate(losses, x)
        move = x - base
        if values["loss"] <= found["loss"] + DECREASE * min(0.0, _dot(gradient, move)) or base is x:
            turn = slope - gradient
            if base is not x and (bend := _dot(move, turn)) > 1e-10 * _dot(turn, turn):
                pairs.append((move, turn, 1 / bend))
            base, gradient, found = x, slope, values
            free = ((x > 0) | (slope < 0)) & ((x < 1) | (slope > 0))
            length, failures, direction = 1.0, 0, _direction(slope * free, pairs, metric) * free
        else:
            length, failures = length * SHORTER, failures + 1
            if failures == PATIENCE:
                pairs.clear()
                length, direction = SHORTER, _direction(gradient * free, pairs, metric) * free
        yield base.clone(), dict(found)
        x = (base + length * direction).clamp(0, 1)


def _direction(gradient: Tensor, pairs: deque[tuple[Tensor, Tensor, float]], metric: Tensor) -> Tensor:
    """Minus the inverse Hessian, as far as `pairs` tell it and `metric` beyond them, times the gradient."""
    if not pairs:
        smooth = _smoothed(gradient, metric)
        return smooth * (-FIRST_MOVE / smooth.square().mean().sqrt().clamp(min=1e-30))
    found, shares = gradient.clone(), []
    for s, y, rho in reversed(pairs):
        shares.append(rho * _dot(s, found))
        found.sub_(y, alpha=shares[-1])
    _, y, rho = pairs[-1]
    found = _smoothed(found, metric) / (rho * _dot(y, _smoothed(y, metric)))
    for (s, y, rho), share in zip(pairs, reversed(shares), strict=True):
        found.add_(s, alpha=share - rho * _dot(y, found))
    return -found


def _metric(like: Tensor) -> Tensor:
    """(H, W // 2 + 1), how far each wave of a picture is moved: 1 / frequency, as natural pictures have it.

    A picture's waves differ in size by that law (Field 1987), so this makes them alike to the search: the decorrelated
    space of Olah et al. 2017, "Feature visualization", as the first inverse Hessian instead of another set of numbers.
    """
    height, width = like.shape[2:]
    down, across = torch.fft.fftfreq(height, device=like.device), torch.fft.rfftfreq(width, device=like.device)
    far = torch.hypot(down[:, None], across).clamp(min=LOWEST) ** -POWER
    return far / far.mean()


def _smoothed(picture: Tensor, metric: Tensor) -> Tensor:
    """A symmetric positive map of pictures."""
    smooth: Tensor = torch.fft.irfft2(torch.fft.rfft2(picture) * metric, s=picture.shape[2:])
    return smooth


def _dot(a: Tensor, b: Tensor) -> float:
    return float(torch.dot(a.flatten(), b.flatten()))


def adam(losses: Losses, start: Tensor, steps: int, lr: float) -> Iterator[Found]:
    """Adam (Kingma and Ba 2015), moves cut to [0, 1]; `lr` is about how far a pixel moves in a step at first."""
    x = start.detach().clone()
    optimizer = torch.optim.Adam([x], lr=lr, betas=(0.9, 0.99))
    for _ in range(steps):
        before = x.clone()
        values, x.grad = _evaluate(losses, x)
        yield before, values
        optimizer.step()
        x.clamp_(0, 1)


def _evaluate(losses: Losses, x: Tensor) -> tuple[dict[str, float], Tensor]:
    """The losses at `x`, and the gradient of ``loss``."""
    with torch.enable_grad():
        picture = x.detach().requires_grad_()
        # The network computes in this layout; the losses and the search do not depend on it.
        found = losses(picture.contiguous(memory_format=torch.channels_last))
        (gradient,) = torch.autograd.grad(found["loss"], picture)
    return {name: float(value.detach()) for name, value in found.items()}, gradient.contiguous()
