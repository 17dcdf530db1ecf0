"""The part of the restoration benchmark that asks what a model costs."""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.utils.flop_counter import FlopCounterMode

from denoisers import load_dncnn, load_ffdnet
from pentimento.runtime import choose_precision
from reporting import Figure, median_and_spread
from restoration_methods import Precision, computing, given
from restoration_protocol import noisy, photographs

__all__ = ["restore_command", "run_measured", "speed"]

HEIGHT, WIDTH = 512, 768
SIGMA = 25.0
MEGA = 1e6
AIM_EQUAL, AIM_FFDNET, AIM_DNCNN = 2.0, 4.0, 12.0  # times as fast
MEMORY, MEMORY_BYTES = "2GB", 2e9
MIB = 2**20
# Starts a command and writes its peak memory: that of a process begins with what the one that started it had.
LAUNCHER = """
import os, sys
child = os.spawnv(os.P_NOWAIT, sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(child, 0)
with open(sys.argv[1], "w") as peak:
    peak.write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass
class Runner:
    """Something that repairs one photograph, and how long that took, round by round."""

    name: str
    run: Callable[[], Tensor]
    seconds: list[float] = field(default_factory=list)

    def time(self) -> None:
        """One round."""
        begun = time.perf_counter()
        self.run()
        self.seconds.append(time.perf_counter() - begun)

    @property
    def rates(self) -> list[float]:
        """Megapixels per second."""
        return [HEIGHT * WIDTH / MEGA / each for each in self.seconds]


# --------------------------------------------------------------------------------------------------- speed
def speed(model: Any, where: str | None, chosen: argparse.Namespace) -> list[Figure]:
    """Megapixels per second in memory, and time and memory of the command on large files.

    Args:
        model: the colour denoiser, or None.
        where: what the command is to call it.
        chosen: options.
    """
    photograph = next(photographs("Kodak24"))
    height, width = photograph.shape[2:]
    photograph = F.pad(photograph, (0, WIDTH - width, 0, HEIGHT - height), mode="reflect")
    noise = noisy(photograph, 0, SIGMA)
    runners = our_runners(model, noise) + (their_runners(noise) if chosen.peers == "all" else [])
    with torch.no_grad():
        adds = {runner.name: multiply_adds(runner.run) for runner in runners}
        for runner in runners:
            runner.run()
        for _ in range(chosen.rounds):
            for runner in runners:
                runner.time()
    figures = [Figure(r.name, *_rate(r), note=f"{adds[r.name] / 1000:,.0f} k multiply-adds a pixel.") for r in runners]
    figures += ratio_figures({runner.name: runner for runner in runners})
    return figures + (file_figures(where, chosen) if where else [])


def _rate(runner: Runner) -> tuple[float, str, tuple[float, float]]:
    value, spread = median_and_spread(runner.rates)
    return value, "megapixels/s", spread


def our_runners(model: Any, noise: Tensor) -> list[Runner]:
    """In fp32, and in bf16 where the processor computes in it."""
    if model is None:
        return []
    model.to(memory_format=torch.channels_last)
    told = torch.full((1, 1, 1, 1), SIGMA / 255) if model.told == "noise" else None
    images = given(noise)
    return [Runner(f"denoiser, {p}", within(p, lambda: model.restore(images, None, told))) for p in _precisions()]


def their_runners(noise: Tensor) -> list[Runner]:
    """Plain fp32, as shipped; and FFDNet also the way that ours runs."""
    plain = load_ffdnet(3)
    arranged = load_ffdnet(3).to(memory_format=torch.channels_last)
    blind = load_dncnn("GD_Color_Blind.mat")
    images = given(noise)
    runners = [
        Runner("FFDNet, plain fp32", lambda: plain(noise, SIGMA)),
        Runner("DnCNN, plain fp32", lambda: blind(noise)),
    ]
    return runners + [
        Runner(f"FFDNet, channels last, {p}", within(p, lambda: arranged(images, SIGMA))) for p in _precisions()
    ]


def _precisions() -> list[Precision]:
    return list(dict.fromkeys(["fp32", choose_precision("auto", torch.device("cpu"))]))


def within(precision: Precision, run: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """`run`, computing in `precision`."""

    def inside() -> Tensor:
        with computing(precision):
            return run()

    return inside


def multiply_adds(run: Callable[[], Tensor]) -> float:
    """Of a pixel, in convolutions and linear layers."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 2 / (HEIGHT * WIDTH)  # it counts a multiplication and an addition as two


def ratio_figures(runners: dict[str, Runner]) -> list[Figure]:
    """How many times as fast ours is: at equal precision, and as each is shipped."""
    if not any(name.startswith("denoiser") for name in runners) or "DnCNN, plain fp32" not in runners:
        return []
    figures = []
    for precision in _precisions():
        forms = [r for name, r in runners.items() if name.startswith("FFDNet") and name.endswith(precision)]
        fastest = min(forms, key=lambda r: statistics.median(r.seconds))
        figures.append(ratio(f"FFDNet, both in {precision}", runners[f"denoiser, {precision}"], fastest, AIM_EQUAL))
    shipped = runners[f"denoiser, {_precisions()[-1]}"]
    figures.append(ratio("plain fp32 FFDNet", shipped, runners["FFDNet, plain fp32"], AIM_FFDNET))
    figures.append(ratio("plain fp32 DnCNN", shipped, runners["DnCNN, plain fp32"], AIM_DNCNN))
    return figures


def ratio(beside: str, ours: Runner, theirs: Runner, aim: float) -> Figure:
    """The median over rounds, with the lowest and the highest."""
    value, spread = median_and_spread(b / a for a, b in zip(ours.seconds, theirs.seconds, strict=True))
    note = f"{ours.name} against {theirs.name}, round by round."
    return Figure(f"times as fast as {beside}", value, "", spread, f">= {aim:g}", value >= aim, note=note)


# ------------------------------------------------------------------------------------------ files, by size
def file_figures(where: str, chosen: argparse.Namespace) -> list[Figure]:
    """Time and peak memory of the command, each size in a fresh process."""
    figures = []
    with tempfile.TemporaryDirectory() as scratch:
        for megapixels in chosen.megapixels:
            picture, out = Path(scratch) / "big.png", Path(scratch) / "out.png"
            height, width = write_large(picture, megapixels)
            seconds, peak = run_measured(restore_command(picture, where, out))
            out.unlink()
            name = f"pentimento restore, {megapixels:g} megapixels"
            note = f"{width}x{height} PNG, {megapixels / seconds:.2g} megapixels/s with reading and writing."
            figures.append(Figure(f"{name}: time", seconds, "s", note=note))
            decoded = 3 * height * width
            above = peak - decoded
            verdict = {"aim": f"<= {MEMORY_BYTES / MIB:,.0f} above the picture", "met": above <= MEMORY_BYTES}
            note = f"{above / MIB:,.0f} MiB above the {decoded / MIB:,.0f} MiB of the decoded picture."
            figures.append(Figure(f"{name}: peak memory", peak / MIB, "MiB", **verdict, note=note))
            print(f"{name}: {seconds:.1f} s, {peak / MIB:,.0f} MiB", file=sys.stderr)
    return figures


def restore_command(picture: Path, model: str, out: Path) -> list[str]:
    """The command line that is measured."""
    options = ["--model", model, "--memory", MEMORY, "--out", str(out)]
    return [sys.executable, "-m", "pentimento", "restore", str(picture), *options]


def write_large(path: Path, megapixels: float) -> tuple[int, int]:
    """A noisy photograph repeated to 3:2; its height and width."""
    height = round(math.sqrt(megapixels * MEGA * 2 / 3))
    width = round(megapixels * MEGA / height)
    noise = noisy(next(photographs("Kodak24")), 0, SIGMA)[0].clamp(0, 1).permute(1, 2, 0)
    pixels = (noise * 255).round().byte().numpy()
    repeats = (math.ceil(height / pixels.shape[0]), math.ceil(width / pixels.shape[1]), 1)
    Image.fromarray(np.tile(pixels, repeats)[:height, :width]).save(path, compress_level=1)
    return height, width


def run_measured(command: list[str]) -> tuple[float, float]:
    """Seconds and peak bytes of a command in a process of its own; ends the program where it fails."""
    begun = time.monotonic()
    with tempfile.TemporaryFile() as said, tempfile.NamedTemporaryFile("r") as peak:
        launch = [sys.executable, "-S", "-c", LAUNCHER, peak.name, *command]
        code = subprocess.run(launch, stdout=said, stderr=subprocess.STDOUT, check=False).returncode
        seconds = time.monotonic() - begun
        if code:
            said.seek(0)
            sys.exit(f"{' '.join(command[1:])} ended with {code}:\n{said.read().decode()[-2000:]}")
        return seconds, int(peak.read()) * (1.0 if sys.platform == "darwin" else 1024.0)
