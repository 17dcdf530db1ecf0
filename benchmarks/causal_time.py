"""How long 512 interventions on units of the MNIST GAN take, beside running the whole network for every one."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from pentimento.interventions import Do, usual_values
from pentimento.models import load
from pentimento.studies.experiment import Arm, Experiment
from pentimento.studies.outcomes import Outcome
from reporting import Figure, median_and_spread

__all__ = ["NOTES", "arms_of", "hooked", "measure"]

MODEL, INTERVENTIONS = "mnist-gan", 512
AIM_SECONDS = 120.0
MEAN = Outcome("pixel mean", "", "mean of the pixels", lambda x: x.double().mean((1, 2, 3)))
NOTES = [
    "512 interventions on the zoo's MNIST GAN, pixel mean, 1,000 samples: all of its 224 units set to 0, all set to "
    "their usual value, and the first 64 of the last 224 to twice that. Ours goes through `Experiment.measure`: stages "
    "before the one that is changed are taken from the run without intervention.",
    "The naive way puts a forward hook on the layer and runs the whole network for each intervention on the same "
    "noise, in the same chunks of 32; it is measured on every eighth intervention and multiplied, its run without "
    "intervention not counted. Both give the same numbers: the largest difference is in the table.",
    "Seconds are those of the process's cores together (CPU) where it says so, else of the clock.",
]


def arms_of(experiment: Experiment, count: int = INTERVENTIONS) -> list[Arm]:
    """The interventions: each unit at 0, at its usual value, at twice that."""
    model = experiment.model
    usual = {stage: usual_values(model, stage, experiment.seed) for stage in model.stages[:-1]}
    arms = [
        Arm(f"{stage}[{unit}] {factor:g} of usual", (Do(stage, factor * float(values[unit]), (unit,)),))
        for factor in (0.0, 1.0, 2.0)
        for stage, values in usual.items()
        for unit in range(len(values))
    ]
    return arms[:count]


# ------------------------------------------------------------------------------------------- the naive way
@contextmanager
def hooked(model: Any, arm: Arm) -> Iterator[None]:
    """The layer's output, with the unit set, by whatever the model is run."""
    (do,) = arm.dos
    stage: Callable[..., Tensor] = model.run_stage

    def run_stage(name: str, *rest: Any) -> Tensor:
        x = stage(name, *rest)
        if name == do.target:
            x = x.clone()
            x[:, do.units[0]] = do.value
        return x

    model.run_stage = run_stage
    try:
        yield
    finally:
        del model.run_stage


def naive(experiment: Experiment, arms: list[Arm], count: int) -> Tensor:
    """The outcome of each arm, (N, A): the whole network anew for each."""
    columns = []
    for arm in arms:
        with hooked(experiment.model, arm):
            columns.append(MEAN.measure(experiment.pictures(Arm("as it is"), range(count))))
    return torch.stack(columns, 1)


# ------------------------------------------------------------------------------------------------- figures
def timed(run: Callable[[], Tensor]) -> tuple[Tensor, float, float]:
    """What it gives, seconds by the clock, and of all cores."""
    wall, used = time.perf_counter(), time.process_time()
    found = run()
    return found, time.perf_counter() - wall, time.process_time() - used


def measure(chosen: argparse.Namespace) -> list[Figure]:
    """All figures of the part."""
    experiment = Experiment(load(MODEL).eval(), chosen.seed)
    arms, count = arms_of(experiment), chosen.samples
    few = arms[::8]
    experiment.measure([Arm("as it is"), *few], [MEAN], range(32))  # warm-up
    naive(experiment, few[:8], 32)
    ours, theirs, difference = [], [], 0.0
    for _ in range(chosen.rounds):
        found = timed(lambda: experiment.measure([Arm("as it is"), *arms], [MEAN], range(count))[..., 0])
        peer = timed(lambda: naive(experiment, few, count))
        ours.append(found[1:])
        theirs.append(tuple(seconds * len(arms) / len(few) for seconds in peer[1:]))
        difference = max(difference, float((found[0][:, 1:][:, ::8] - peer[0]).abs().max()))
        print(f"time: {found[1]:.0f} s beside {theirs[-1][0]:.0f} s", file=sys.stderr)
    return figures(ours, theirs, difference, len(arms), count)


def figures(
    ours: list[tuple[float, ...]], theirs: list[tuple[float, ...]], difference: float, arms: int, count: int
) -> list[Figure]:
    """Of the rounds: seconds by the clock and of all cores."""
    (wall, walls), (used, uses) = (median_and_spread(column) for column in zip(*ours, strict=True))
    (peer, peers), (spent, spents) = (median_and_spread(column) for column in zip(*theirs, strict=True))
    name = f"{arms} interventions x {count:,} samples"
    return [
        Figure(
            name,
            wall,
            "s",
            walls,
            aim="< 2 min on 2 cores",
            met=wall < AIM_SECONDS,
            peer="whole network, with a hook",
            peer_value=peer,
            peer_spread=peers,
        ),
        Figure(f"{name}: CPU", used, "s", uses, peer="whole network", peer_value=spent, peer_spread=spents),
        Figure("largest difference of an outcome", difference, "", aim="< 1e-6", met=difference < 1e-6),
    ]
