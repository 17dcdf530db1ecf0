"""Parts of the restoration benchmark that ask what happens away from the middle of the road: any strength of noise, a
wrong one told, noise of other kinds, and more or fewer passes of a recurrent model."""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from reporting import Figure
from restoration_methods import BLIND_PEER, FFDNET, Timed, computing, dncnn, ffdnet, given, ours, strength
from restoration_plot import Line, line_plot
from restoration_protocol import (
    OURS,
    Case,
    Method,
    Scores,
    compared,
    draws,
    mean,
    photographs,
    psnr,
    score,
)
from restoration_tasks import BLIND, noise_cases, told_and_blind

__all__ = ["PLOT", "noise_kinds", "recurrent", "robust"]

SET = "CBSD68"
SIGMAS = (5, 10, 15, 25, 35, 50, 60, 75)
WRONG = ((15, 40), (40, 15))  # told, true
PLOT = "restoration-robust.svg"
KIND_SIGMA = 25.0
PASSES = (1, 2, 4, 8)
PASS_SIGMAS = (15, 25, 50)
AIM_FALL = 0.01  # dB that a pass beyond the usual number may lose


# -------------------------------------------------------------------------------------------------- robust
def robust(model: Any, chosen: argparse.Namespace) -> list[Figure]:
    """Strengths, wrong strengths, kinds; and the plot, beside the results."""
    methods = told_and_blind(model, chosen)
    if chosen.peers == "all":
        methods |= {**ffdnet(3), **dncnn("GD_Color_Blind.mat")}
    figures, sweep = strength_figures(model, methods, chosen)
    write_plot(sweep, chosen.out / PLOT)
    return figures + wrong_figures(methods, chosen) + kind_figures(methods, chosen)


def strength_figures(
    model: Any, methods: dict[str, Method], chosen: argparse.Namespace
) -> tuple[list[Figure], dict[int, Scores]]:
    """PSNR by sigma, and the scores themselves."""
    figures, sweep = [], {}
    for sigma in SIGMAS:
        (sweep[sigma],) = score(f"{SET}, sigma {sigma}", noise_cases(SET, sigma, chosen), methods)
        figures += compared(f"sigma {sigma}, told", sweep[sigma], FFDNET)
        note = guess_note(model, sigma, chosen) if model is not None and model.told == "noise" else ""
        figures += compared(f"sigma {sigma}, blind", sweep[sigma], BLIND_PEER, ours=BLIND, note=note)
    return figures, sweep


@torch.no_grad()
def guess_note(model: Any, sigma: float, chosen: argparse.Namespace) -> str:
    """How the model's own guess of the noise lies."""
    cases = noise_cases(SET, sigma, chosen)
    guesses = [255 * float(model.estimate(case.damaged).float().mean()) for case in cases]
    return f"Its guess of sigma: {sum(guesses) / len(guesses):.1f} ({min(guesses):.1f} to {max(guesses):.1f})."


def write_plot(sweep: dict[int, Scores], path: Path) -> None:
    """PSNR over sigma, a line for each method."""
    names = list(sweep[SIGMAS[0]])
    lines = [Line(name, [(sigma, mean(found[name])[0]) for sigma, found in sweep.items()]) for name in names]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line_plot(f"PSNR over sigma, {SET}", "sigma of the noise", "PSNR, dB", lines), encoding="utf-8")


def wrong_figures(methods: dict[str, Method], chosen: argparse.Namespace) -> list[Figure]:
    """One sigma told, another one true."""
    told_methods = {name: method for name, method in methods.items() if name in (OURS, FFDNET)}
    figures = []
    for told, true in WRONG:
        label = f"told sigma {told}, true {true}"
        (found,) = score(f"{SET}, {label}", noise_cases(SET, true, chosen, told), told_methods)
        figures += compared(label, found, FFDNET)
    return figures


def kind_figures(methods: dict[str, Method], chosen: argparse.Namespace) -> list[Figure]:
    """Noise of other kinds; who is told anything is told its root mean square."""
    figures = []
    for kind, damage in noise_kinds().items():
        (found,) = score(f"{SET}, {kind}", kind_cases(damage, chosen), methods)
        told = ", ".join(f"{name} {mean(found[name])[0]:.2f}" for name in (OURS, FFDNET) if name in found)
        note = f"Told the root mean square: {told} dB." if told else ""
        figures += compared(f"{kind}, blind", found, BLIND_PEER, ours=BLIND, note=note)
    return figures


Damage = Callable[[Tensor, torch.Generator], Tensor]


def kind_cases(damage: Damage, chosen: argparse.Namespace) -> Iterator[Case]:
    """The pictures of the set, damaged so, not clipped."""
    for index, clean in enumerate(photographs(SET, chosen.count)):
        damaged = damage(clean, draws(index, KIND_SIGMA))
        yield Case(clean, damaged, 255 * float((damaged - clean).square().mean().sqrt()))


def noise_kinds() -> dict[str, Damage]:
    """Kinds of noise other than white Gaussian noise; (1, C, H, W) in and out."""
    root3 = 3**0.5
    sigma = KIND_SIGMA / 255

    def sensor(clean: Tensor, random: torch.Generator) -> Tensor:
        """Poisson noise of 100 electrons at white, and 2 electrons of read noise."""
        electrons = torch.poisson(clean * 100, generator=random)
        return (electrons + 2 * torch.randn(clean.shape, generator=random)) / 100

    def salt_and_pepper(clean: Tensor, random: torch.Generator) -> Tensor:
        """5 % of the pixels are black or white."""
        drawn = torch.rand((1, 1, *clean.shape[2:]), generator=random)
        return torch.where(drawn < 0.025, 0.0, torch.where(drawn > 0.975, 1.0, clean))

    def uniform(clean: Tensor, random: torch.Generator) -> Tensor:
        """As strong as Gaussian noise of sigma 25."""
        return clean + (2 * torch.rand(clean.shape, generator=random) - 1) * (root3 * sigma)

    def correlated(clean: Tensor, random: torch.Generator) -> Tensor:
        """Gaussian noise of sigma 25, each value the sum of 3x3 weighted 1 2 1 both ways, as strong as before."""
        line = torch.tensor([1.0, 2.0, 1.0])
        kernel = (line[:, None] * line) / float(line.square().sum())  # of unit norm
        noise = torch.randn((clean.shape[1], 1, clean.shape[2] + 2, clean.shape[3] + 2), generator=random)
        return clean + F.conv2d(noise, kernel[None, None]).transpose(0, 1) * sigma

    return {
        "Poisson-Gaussian, 100 electrons": sensor,
        "salt and pepper, 5 %": salt_and_pepper,
        "uniform, as strong as sigma 25": uniform,
        "correlated over 3 px, sigma 25": correlated,
    }


# ----------------------------------------------------------------------------------------------- recurrent
def recurrent(model: Any, others: Mapping[str, Any], chosen: argparse.Namespace) -> list[Figure]:
    """PSNR and time by the number of passes; told the noise.

    Args:
        model: recurrent.
        others: networks of one pass by name; the first one stands beside every number of passes.
        chosen: options.
    """
    figures = []
    for sigma in PASS_SIGMAS:
        by_pass, seconds = score_passes(model, sigma, max(*PASSES, model.passes), chosen)
        timed = {sized(name, other): Timed(ours(other, chosen.precision)) for name, other in others.items()}
        (found,) = score(f"{SET}, sigma {sigma}", noise_cases(SET, sigma, chosen), timed)
        notes = {name: f"{statistics.median(method.seconds):.2g} s a picture" for name, method in timed.items()}
        beside: dict[str, Any] = {}
        if found:
            peer = next(iter(found))
            value, spread = mean(found[peer])
            beside = {"peer": peer, "peer_value": value, "peer_spread": spread}
        for count in PASSES:
            value, spread = mean(by_pass[count - 1])
            label = f"sigma {sigma}, {count} pass" + ("es" if count > 1 else "")
            note = f"{seconds[count - 1]:.2g} s a picture" + (f"; {peer}: {notes[peer]}." if beside else ".")
            figures.append(Figure(label, value, "dB", spread, **beside, note=note))
        for name in list(found)[1:]:
            value, spread = mean(found[name])
            figures.append(Figure(f"sigma {sigma}, one pass of {name}", value, "dB", spread, note=f"{notes[name]}."))
        figures += pass_figures(sigma, [mean(values)[0] for values in by_pass], model.passes)
    return figures


def sized(name: str, model: Any) -> str:
    """With its number of parameters."""
    return f"{name}, {sum(p.numel() for p in model.parameters()):,} parameters"


@torch.no_grad()
def score_passes(model: Any, sigma: float, count: int, chosen: argparse.Namespace) -> tuple[list[Tensor], list[float]]:
    """For each of `count` passes, (N,) dB, and the median seconds until its result is there."""
    model.to(memory_format=torch.channels_last)
    rows, times = [], []
    for case in noise_cases(SET, sigma, chosen):
        with computing(chosen.precision):
            begun, made, after = time.perf_counter(), [], []
            for result in itertools.islice(model.refine(given(case.damaged), None, strength(model, case)), count):
                made.append(result)
                after.append(time.perf_counter() - begun)
        rows.append([psnr(each, case) for each in made])
        times.append(after)
    by_pass = list(torch.tensor(rows, dtype=torch.float64).T)
    shown = ", ".join(f"{values.mean():.3f}" for values in by_pass)
    print(f"{SET}, sigma {sigma}, by pass: {shown}", file=sys.stderr)
    return by_pass, torch.tensor(times).median(0).values.tolist()


def pass_figures(sigma: float, decibel: list[float], usual: int) -> list[Figure]:
    """Whether each of the usual passes gains, and whether any later one loses."""
    steps = [after - before for before, after in itertools.pairwise(decibel)]
    gained, later = steps[: usual - 1], steps[usual - 1 :]
    figures = []
    if gained:
        name = f"sigma {sigma}: least gain of a pass up to the usual {usual}"
        figures.append(Figure(name, min(gained), "dB", aim="> 0", met=min(gained) > 0))
    if later:
        fall = max(0.0, decibel[usual - 1] - min(decibel[usual:]))
        name = f"sigma {sigma}: most lost after pass {usual}, up to {len(decibel)}"
        figures.append(Figure(name, fall, "dB", aim=f"<= {AIM_FALL}", met=fall <= AIM_FALL))
    return figures
