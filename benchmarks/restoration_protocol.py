"""The protocol of the restoration benchmark: pictures, damage with fixed seeds, scores, and figures made of them.

Every method is given the very same damaged pictures. A random draw is a function of the picture's place in its set and
of the damage's strength alone. Noise is not clipped. PSNR is taken on results that were clipped and rounded to 8 bits,
over all channels, picture by picture; a figure is the mean over pictures.
"""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from pentimento.evaluate.intervals import mean_estimate
from reporting import Figure, shared

__all__ = [
    "OURS",
    "Case",
    "Measure",
    "Method",
    "Scores",
    "compared",
    "draws",
    "gain",
    "jpeg",
    "mean",
    "noisy",
    "photographs",
    "psnr",
    "psnr_in_holes",
    "psnr_inside",
    "score",
    "strokes",
    "to_luma",
]

OURS = "Pentimento"  # a method's name
FOLDER = "restoration"
NAMES = f"{FOLDER}/BSDS500-images/CBSD68_BSD68_names.txt"
FILES = {"Kodak24": "*.png", "Set5": "*.bmp", "Set12": "*.png", "Set14": "*.bmp"}
GRAY = ("Set12", "BSD68")
STROKE_PX = (8, 32)


@dataclass(frozen=True)
class Case:
    """A damaged picture and what it was.

    Args:
        clean: (1, C, H, W).
        damaged: (1, C, h, w).
        level: what a method that is told the damage's strength is told: sigma on the scale of 0 to 255, or the
            JPEG quality.
        mask: (1, 1, h, w), 1 where pixels are missing.
    """

    clean: Tensor
    damaged: Tensor
    level: float = 0.0
    mask: Tensor | None = None


Method = Callable[[Case], Tensor]  # the repaired picture
Measure = Callable[[Tensor, Case], float]  # of a repaired picture, in dB
Scores = dict[str, Tensor]  # method -> (N,) dB


# ------------------------------------------------------------------------------------------------ pictures
def photographs(name: str, count: int | None = None) -> Iterator[Tensor]:
    """(1, C, H, W) of each picture of a set in the order of names, or of the first `count`.

    Gray is what the set has, or the luma that MATLAB's rgb2gray and Pillow agree on: 0.299 R + 0.587 G + 0.114 B,
    rounded to 8 bits.
    """
    if name in FILES:
        paths = sorted(shared(f"{FOLDER}/{name}").glob(FILES[name]))
    else:
        folder = shared(f"{FOLDER}/BSDS500-images/val")
        paths = [folder / f"{each}.jpg" for each in shared(NAMES).read_text(encoding="utf-8").split()]
    for path in islice(paths, count):
        with Image.open(path) as picture:
            yield to_tensor(picture.convert("L" if name in GRAY else "RGB"))


def photographed_noise(count: int | None = None) -> Iterator[Case]:
    """PolyU: the first `count` pairs of one exposure ("real") and of the mean of hundreds of the same ("mean")."""
    folder = shared(f"{FOLDER}/PolyU-CroppedImages")
    for path in islice(sorted(folder.glob("*_real.JPG")), count):
        with Image.open(path) as noise, Image.open(path.with_name(path.name.replace("_real", "_mean"))) as clean:
            yield Case(to_tensor(clean.convert("RGB")), to_tensor(noise.convert("RGB")))


def to_tensor(picture: Image.Image) -> Tensor:
    """(1, C, H, W) in [0, 1]."""
    pixels = torch.from_numpy(np.array(picture)).float() / 255
    return pixels[None, None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)[None].contiguous()


def to_luma(images: Tensor) -> Tensor:
    """(N, 3, H, W) -> (N, 1, H, W), Y of MATLAB's rgb2ycbcr, 16 to 235, as papers on enlargement score it."""
    r, g, b = images.split(1, 1)
    return (16 + 65.481 * r + 128.553 * g + 24.966 * b) / 255


# -------------------------------------------------------------------------------------------------- damage
def draws(index: int, strength: float) -> torch.Generator:
    """Random numbers for the picture `index` of a set, damaged so strongly."""
    return torch.Generator().manual_seed(round(1000 * strength) + index)


def noisy(clean: Tensor, index: int, sigma: float) -> Tensor:
    """With Gaussian noise, not clipped."""
    return clean + torch.randn(clean.shape, generator=draws(index, sigma)) * (sigma / 255)


def jpeg(clean: Tensor, quality: int) -> Tensor:
    """A gray (1, 1, H, W) through libjpeg."""
    buffer = io.BytesIO()
    Image.fromarray((clean[0, 0] * 255).round().byte().numpy()).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as coded:
        return to_tensor(coded)


def strokes(height: int, width: int, index: int, share: float = 0.2) -> Tensor:
    """(1, 1, H, W): free-form strokes, 8 to 32 px wide with round ends, until `share` of the pixels are missing."""
    random = np.random.default_rng(index)
    canvas = Image.new("L", (width, height))
    pen = ImageDraw.Draw(canvas)
    while True:
        x, y = random.uniform(0, (width, height))
        angle, thick = random.uniform(0, 2 * math.pi), int(random.integers(STROKE_PX[0], STROKE_PX[1] + 1))
        for _ in range(random.integers(2, 9)):
            angle += random.normal(0, 0.6)
            length = random.uniform(16, 80)
            end = (x + length * math.cos(angle), y + length * math.sin(angle))
            pen.line((x, y, *end), 255, thick)
            for at in ((x, y), end):
                pen.circle(at, thick / 2, 255)
            x, y = end
            mask = to_tensor(canvas)
            if mask.mean() >= share:
                return mask


# -------------------------------------------------------------------------------------------------- scores
def psnr(made: Tensor, case: Case) -> float:
    """Over the whole picture."""
    return _decibel(_square_error(made, case).mean())


def psnr_in_holes(made: Tensor, case: Case) -> float:
    """Over the pixels that were missing."""
    assert case.mask is not None
    return _decibel(_square_error(made, case)[case.mask.expand_as(case.clean) > 0.5].mean())


def psnr_inside(border_px: int, luma: bool = False) -> Measure:
    """Without a border of so many pixels; of the luma where asked for."""

    def measure(made: Tensor, case: Case) -> float:
        inside = (..., slice(border_px, -border_px), slice(border_px, -border_px))
        if luma:
            made = to_luma((made.clamp(0, 1) * 255).round() / 255)
            return _decibel((255 * (made - to_luma(case.clean))).double().square()[inside].mean())
        return _decibel(_square_error(made, case)[inside].mean())

    return measure


def _square_error(made: Tensor, case: Case) -> Tensor:
    """In steps of 8 bits, squared."""
    if made.shape != case.clean.shape:
        sys.exit(f"a method made {tuple(made.shape)} of a picture of {tuple(case.clean.shape)}")
    return ((made.clamp(0, 1) * 255).round() - (case.clean * 255).round()).double().square()


def _decibel(mean_square: Tensor) -> float:
    """Of an error in steps of 8 bits; at most 120."""
    return -10 * math.log10(max(float(mean_square) / 255**2, 1e-12))


@torch.no_grad()
def score(
    label: str, cases: Iterable[Case], methods: Mapping[str, Method], measures: Sequence[Measure] = (psnr,)
) -> list[Scores]:
    """For each measure, what each method reaches on each case. Says the means on standard error, for it takes long."""
    found: list[dict[str, list[float]]] = [{name: [] for name in methods} for _ in measures]
    for case in cases:
        for name, method in methods.items():
            made = method(case)
            for measure, table in zip(measures, found, strict=True):
                table[name].append(measure(made, case))
    scores = [{name: torch.tensor(row, dtype=torch.float64) for name, row in table.items()} for table in found]
    print(f"{label}:", ", ".join(f"{name} {row.mean():.3f}" for name, row in scores[0].items()), file=sys.stderr)
    return scores


# ------------------------------------------------------------------------------------------------- figures
def mean(values: Tensor) -> tuple[float, tuple[float, float] | None]:
    """The mean over pictures and its 95 % interval; None for one picture."""
    if len(values) < 2:
        return float(values.mean()), None
    found = mean_estimate(values, 0)
    return found.value, (found.low, found.high)


def gain(found: Scores, ours: str, peer: str) -> str:
    """The difference, taken picture by picture, in words."""
    difference, spread = mean(found[ours] - found[peer])
    return f"{difference:+.3f} dB" + ("" if spread is None else f" ({spread[0]:+.3f} to {spread[1]:+.3f})")


def compared(
    name: str,
    found: Scores,
    peer: str,
    *,
    ours: str = OURS,
    aim: float | None = None,
    aim_above: float | None = None,
    note: str = "",
) -> list[Figure]:
    """Our mean PSNR beside the peer's; one of them alone where the other was not measured, and none without either.

    Args:
        name: of the figure.
        found: scores of both.
        peer: name of its method.
        ours: name of ours.
        aim: dB to reach.
        aim_above: dB to be above the peer.
        note: what a reader must know.
    """
    if ours not in found and peer not in found:
        return []
    if ours not in found:
        return [Figure(f"{name}: {peer}, no model of ours", *_in_db(found[peer]), note=note)]
    value, unit, spread = _in_db(found[ours])
    goal, met = None, None
    if aim is not None:
        goal, met = f">= {aim:g}", value >= aim
    if peer not in found:
        return [Figure(name, value, unit, spread, goal, met, note=note)]
    beside, _, peer_spread = _in_db(found[peer])
    if aim_above is not None:
        goal, met = f">= {aim_above:g} dB above the peer", value - beside >= aim_above
    note = f"Above the peer by {gain(found, ours, peer)}. {note}".strip()
    return [Figure(name, value, unit, spread, goal, met, peer, beside, peer_spread, note)]


def _in_db(values: Tensor) -> tuple[float, str, tuple[float, float] | None]:
    value, spread = mean(values)
    return value, "dB", spread
