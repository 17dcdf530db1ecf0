"""Style transfer by optimisation: the loss at full size against the seconds spent, ours beside plain PyTorch."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pentimento import images
from pentimento.features import FeatureNetwork, open_network
from pentimento.tasks.optimize import Objective, Schedule, Style, optimize
from pentimento.tasks.style_objective import Goal, resized
from reporting import Figure, shared
from restoration_plot import Line, line_plot

__all__ = ["Curve", "optimisation", "seconds_to"]

PHOTO = "restoration/BSDS500-images/val/102061.jpg"
PAINTING = "style/paintings-pd/dph_32_target.jpg"
NETWORKS = {
    "compressed VGG": "weights/vgg19-16x-collaborative-distillation/5SE.pth",
    "perceptual": None,  # of the zoo
}
PLAIN = "plain, L-BFGS"
PLOTTED = "compressed VGG"
PLOT = "style-optimisation.svg"
AIM = 2.0
EVERY = 4  # steps between two looks at the loss at full size
POINTS = 25  # of a line of the plot


@dataclass(frozen=True)
class Curve:
    """(seconds, loss at full size), in the order of time."""

    points: list[tuple[float, float]]

    @property
    def best(self) -> float:
        """The lowest loss."""
        return min(loss for _, loss in self.points)


def optimisation(chosen: argparse.Namespace) -> list[Figure]:
    """Both networks; and the plot of one, beside the results."""
    content, painting = (images.read(shared(path)).to_tensor()[None] for path in (PHOTO, PAINTING))
    factor = chosen.size_px / max(content.shape[2:])
    content = resized(content, round(content.shape[2] * factor), round(content.shape[3] * factor))
    figures = []
    for name, file in NETWORKS.items():
        network = open_network(shared(file) if file else name)
        curves = measure(content, Style(painting), network, chosen.steps)
        figures += compared(name, curves)
        if name == PLOTTED:
            chosen.out.mkdir(parents=True, exist_ok=True)
            lines = [Line(method, thinned(curve)) for method, curve in curves.items()]
            plot = line_plot("Loss over time", "seconds", "log10 of the loss", lines)
            (chosen.out / PLOT).write_text(plot, encoding="utf-8")
    return figures


def compared(network: str, curves: dict[str, Curve]) -> list[Figure]:
    """How much faster each of ours is than the plain one, and where they end."""
    plain, figures = curves[PLAIN], []
    for method, curve in curves.items():
        if method == PLAIN:
            continue
        level = max(curve.best, plain.best)
        ours, theirs = seconds_to(curve, level), seconds_to(plain, level)
        judged = {"aim": f">= {AIM:g}", "met": theirs / ours >= AIM} if method == "L-BFGS" else {}
        ends = f"Loss at the end: {curve.best:.4g} after {curve.points[-1][0]:.3g} s; plain: {plain.best:.4g}"
        figures += [
            Figure(f"{network}, {method}: seconds to a loss of {level:.4g}", ours, "s", peer=PLAIN, peer_value=theirs),
            Figure(f"{network}, {method}: times as fast as plain", theirs / ours, **judged, note=f"{ends}."),
        ]
    return figures


def seconds_to(curve: Curve, level: float) -> float:
    """When the loss was first that low."""
    return next(seconds for seconds, loss in curve.points if loss <= level)


def thinned(curve: Curve) -> list[tuple[float, float]]:
    """Some points of it, as the plot shows them."""
    found = torch.tensor(curve.points[:: max(1, len(curve.points) // POINTS)])
    return [(seconds, loss) for seconds, loss in zip(found[:, 0].tolist(), found[:, 1].log10().tolist(), strict=True)]


# --------------------------------------------------------------------------------------------- the searches
def measure(content: Tensor, style: Style, network: FeatureNetwork, steps: int) -> dict[str, Curve]:
    """The curve of every method; a short search of each kind warms up first."""
    searches: dict[str, Callable[[int], Curve]] = {
        "L-BFGS": lambda count: ours(content, style, network, Schedule(steps=count)),
        "L-BFGS, one scale": lambda count: ours(content, style, network, Schedule(steps=count, scales=1)),
        "Adam": lambda count: ours(content, style, network, Schedule(steps=count, method="adam")),
        PLAIN: lambda count: plain(content, style, network, count),
    }
    for search in searches.values():
        search(4)
    return {method: search(steps) for method, search in searches.items()}


def ours(content: Tensor, style: Style, network: FeatureNetwork, schedule: Schedule) -> Curve:
    """The clock stands while a picture is judged, at full size and in full precision."""
    judge = Goal(content, [style], network, Objective(), "fp32")
    began, stood, points = time.perf_counter(), 0.0, []
    for step in optimize(content, [style], network, schedule=schedule):
        now = time.perf_counter()
        if step.done % EVERY == 1 or step.done == step.total:
            with torch.no_grad():
                points.append((now - began - stood, float(judge(step.picture)["loss"])))
        stood += time.perf_counter() - now
    return Curve(points)


def plain(content: Tensor, style: Style, network: FeatureNetwork, evaluations: int) -> Curve:
    """The loop of the PyTorch tutorial."""
    began, points = time.perf_counter(), list[tuple[float, float]]()
    goal, x = Goal(content, [style], network, Objective(), "fp32"), content.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([x])

    def closure() -> Tensor:
        with torch.no_grad():
            x.clamp_(0, 1)
        optimizer.zero_grad()
        loss = goal(x)["loss"]
        loss.backward()  # type: ignore[no-untyped-call]
        points.append((time.perf_counter() - began, float(loss.detach())))
        return loss

    while len(points) < evaluations:
        optimizer.step(closure)
    return Curve(points[:evaluations])
