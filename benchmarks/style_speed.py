"""Parts of the style benchmark that ask what a picture costs, and whether tiles, strength and weights do as said."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pentimento.tasks import tiles
from pentimento.tasks.pictures import computing, placed
from pentimento.tasks.style_objective import resized
from pentimento.tasks.styles import encode, shares
from reporting import Figure, median_and_spread, shared
from restoration_protocol import Case, mean, psnr
from restoration_speed import MEGA, MEMORY, MEMORY_BYTES, MIB, Runner, ratio, run_measured, write_large
from style_networks import TransformerNet
from style_protocol import PAINTINGS, painting, photographs, rendered

__all__ = ["exactness", "rates", "same_as_one", "speed", "strength_0", "stylize_command", "tiled"]

SIZE = (1080, 1920)
STYLE = "van-gogh-rhone"
OTHER = "seurat-grande-jatte"
LYING = "219090"  # a photograph
RIVAL = "fast neural style, plain fp32"
AIM_TIMES = 6.0
TILED_SIZE, BUDGETS_MB = (1000, 1500), (200, 100, 50, 40)
AIM_TILED = 2.0  # of 255
AIM_KEPT = 30.0  # dB


# --------------------------------------------------------------------------------------------------- speed
def speed(model: Any, chosen: argparse.Namespace) -> list[Figure]:
    """Megapixels per second in memory, and time and memory of the verb on files."""
    photo = resized(photographs()[LYING], *SIZE)
    return rates(model, photo, painting(STYLE), chosen.rounds) + file_figures(chosen.model, chosen.megapixels)


@torch.no_grad()
def rates(model: Any, photo: Tensor, style: Tensor, rounds: int) -> list[Figure]:
    """Ours beside the rival, in turn.

    Args:
        model: ours.
        photo: (1, 3, H, W), sides a multiple of 4.
        style: (1, 3, h, w).
        rounds: after one to warm up.
    """
    vector, rival = encode(model, style), TransformerNet().eval()

    def stylize(vector: Tensor) -> Tensor:
        with computing(model):
            made: Tensor = model.stylize(placed(photo, model), vector)
        return made

    ours = Runner("stylize, style vector ready", lambda: stylize(vector))
    runners = [
        ours,
        Runner("stylize, painting encoded too", lambda: stylize(encode(model, style))),
        Runner(RIVAL, lambda: rival(photo)),
    ]
    for round_ in range(1 + rounds):
        for runner in runners:
            runner.time()
            print(f"round {round_}: {runner.name}: {runner.seconds[-1]:.2f} s", file=sys.stderr)
    megapixels = photo.shape[2] * photo.shape[3] / MEGA
    figures = []
    for runner in runners:
        runner.seconds = runner.seconds[1:]
        value, spread = median_and_spread(megapixels / each for each in runner.seconds)
        figures.append(Figure(runner.name, value, "megapixels/s", spread))
    return [*figures, ratio(RIVAL, ours, runners[-1], AIM_TIMES)]


def file_figures(model: str, sizes: Sequence[float]) -> list[Figure]:
    """Time and peak memory of the verb, each size in a fresh process."""
    figures = []
    with tempfile.TemporaryDirectory() as scratch:
        for megapixels in sizes:
            picture, out = Path(scratch) / "big.png", Path(scratch) / "out.png"
            height, width = write_large(picture, megapixels)
            seconds, peak = run_measured(stylize_command(picture, model, out))
            out.unlink()
            decoded = 3 * height * width
            name, above = f"pentimento stylize, {megapixels:g} megapixels", peak - decoded
            note = f"{width}x{height} PNG, {megapixels / seconds:.2g} megapixels/s with reading and writing."
            figures.append(Figure(f"{name}: time", seconds, "s", note=note))
            aim, met = f"<= {MEMORY_BYTES / MIB:,.0f}", above <= MEMORY_BYTES
            note = f"{peak / MIB:,.0f} MiB in all, {decoded / MIB:,.0f} MiB of them the decoded picture."
            figures.append(
                Figure(f"{name}: peak memory above the picture", above / MIB, "MiB", None, aim, met, note=note)
            )
            print(f"{name}: {seconds:.1f} s, {peak / MIB:,.0f} MiB", file=sys.stderr)
    return figures


def stylize_command(picture: Path, model: str, out: Path) -> list[str]:
    """The command line that is measured."""
    style = shared(f"style/paintings-pd/{PAINTINGS[STYLE]}")
    options = ["--model", model, "--memory", MEMORY, "--out", str(out)]
    return [sys.executable, "-m", "pentimento", "stylize", str(picture), str(style), *options]


# ----------------------------------------------------------------------------------------------- exactness
def exactness(model: Any, chosen: argparse.Namespace) -> list[Figure]:
    """Tiles, strength 0, and weights of 1 and 0."""
    photos, styles = photographs(chosen.photos), [painting(STYLE), painting(OTHER)]
    large = resized(photographs()[LYING], *TILED_SIZE)
    figures = tiled(model, large, styles[0], [10**6 * budget for budget in BUDGETS_MB])
    return figures + strength_0(model, photos, styles[0]) + [same_as_one(model, large, styles)]


def tiled(model: Any, photo: Tensor, style: Tensor, budgets: Sequence[int]) -> list[Figure]:
    """In tiles against whole, in 16 bits, for budgets in bytes."""
    height, width = photo.shape[2:]
    reach, size, kept_bytes = model.reach, f"{width}x{height} px", 6 * height * width  # of 16 bits in colour
    enough = height * width * reach.bytes_per_px + kept_bytes
    whole = rendered(model, photo, [style], memory_bytes=enough, bits=16)
    figures = []
    for budget in budgets:
        parts = rendered(model, photo, [style], memory_bytes=budget, bits=16)
        apart = 255 * (parts - whole).abs()
        count = tiles.plan(height, width, reach, budget, kept_bytes).count
        worst = float(apart.max())
        figures.append(
            Figure(
                f"largest difference of the whole and {count} tiles, in {budget / 1e6:g} MB",
                worst,
                "of 255",
                aim=f"<= {AIM_TILED:g}",
                met=worst <= AIM_TILED,
                note=f"{size}; mean difference {float(apart.mean()):.2g}.",
            )
        )
    return figures


def strength_0(model: Any, photos: Mapping[str, Tensor], style: Tensor) -> list[Figure]:
    """How near to the photo itself."""
    reached = [psnr(rendered(model, p, [style], strength=0.0), Case(p, p)) for p in photos.values()]
    value, spread = mean(torch.tensor(reached, dtype=torch.float64))
    aim = f">= {AIM_KEPT:g}"
    return [
        Figure("strength 0 against the photograph: PSNR", value, "dB", spread, aim, value >= AIM_KEPT),
        Figure(
            "strength 0 against the photograph: PSNR, worst", min(reached), "dB", None, aim, min(reached) >= AIM_KEPT
        ),
    ]


def same_as_one(model: Any, photo: Tensor, styles: Sequence[Tensor]) -> Figure:
    """Of two styles with weights 1 and 0 against the first alone; weights of one half show that it can differ."""
    one = rendered(model, photo, styles[:1])
    both, halves = (rendered(model, photo, styles, shares(2, weights)) for weights in ([1, 0], [1, 1]))
    different, control = (int((made != one).any(1).sum()) for made in (both, halves))
    note = f"With weights 1 and 1: {control:,}."
    return Figure(
        "weights 1 and 0: pixels unlike those of the first style", different, "", None, "0", different == 0, note=note
    )
