"""Part of the style benchmark that translates: yellow emoji into tones of skin, beside what Noto's artists drew.

A split is a dict, tone -> (yellow, toned): two (N, 3, H, W) in [0, 1], over white, of the same emoji for every tone.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mnist import trained
from pentimento import images
from pentimento.data.decode import decode_pair
from pentimento.data.fit import to_planes
from pentimento.data.sources import open_source
from pentimento.evaluate.pairs import psnr, ssim
from pentimento.images import Picture
from pentimento.models import load
from pentimento.tasks.translate import Wishes, translated
from reporting import Figure, shared
from restoration_protocol import mean

__all__ = ["affine", "colour_table", "colour_transfer", "compared", "read_split", "score", "sheet", "translation"]

EMOJI = "generation/noto-emoji/png/128"
TOOL = Path(__file__).parent.parent / "tools/emoji_pairs.py"
WHITE = (1.0, 1.0, 1.0)
TONES, UNPAIRED = "emoji-tone", "CycleGAN"
YELLOW, TRANSFER, AFFINE, TABLE = "the yellow emoji", "colour transfer", "affine colour map", "colour table"
SHOWN = (TRANSFER, TONES, UNPAIRED)  # in the sheet, after the yellow one and the truth
BINS = 32  # of each of R, G and B in the colour table
LEAST_DEVIATION = 1e-3  # in Lab, of one colour alone
BLOCKS = 3  # of the sheet, side by side

Split = Mapping[str, tuple[Tensor, Tensor]]
Method = Callable[[Tensor, str], Tensor]  # (N, 3, H, W) of yellow emoji, tone -> as many
Scores = dict[str, Tensor]  # method -> (measures, emoji)


class Measure(NamedTuple):
    """What is measured of pictures and what they should be, (N,)."""

    unit: str
    better: int  # 1: the higher; -1: the lower
    of: Callable[[Tensor, Tensor], Tensor]


MEASURES = {
    "L1": Measure("of 255", -1, lambda made, truth: 255 * (made - truth).abs().mean((1, 2, 3))),
    "SSIM": Measure("", 1, ssim),
    "PSNR": Measure("dB", 1, psnr),
}


def translation(chosen: argparse.Namespace) -> tuple[list[Figure], list[str]]:
    """All five tones; one of them without pairs, where such a model is given; the sheet; and what the models are."""
    where = {TONES: chosen.tones} | ({UNPAIRED: chosen.unpaired} if chosen.unpaired else {})
    models = {name: load(place) for name, place in where.items()}
    with tempfile.TemporaryDirectory() as folder:
        pair_up(Path(folder))
        train, test = (read_split(Path(folder), split) for split in ("train", "test"))
    methods = make_methods(train, models)
    paired = {name: method for name, method in methods.items() if name != UNPAIRED}
    figures = compared(f"five tones: {TONES}", score(paired, test), TONES, tuple(paired))
    one = {chosen.unpaired_tone: test[chosen.unpaired_tone]}
    if chosen.unpaired:
        title = f"{chosen.unpaired_tone}, learned without pairs: {UNPAIRED}"
        figures += compared(title, score(methods, one), UNPAIRED, (YELLOW, TRANSFER))
    if chosen.sheet:
        write_sheet(chosen.sheet.with_stem(f"{chosen.sheet.stem}-translation"), methods, one)
    return figures, [f"{name}: {trained(place, models[name])}." for name, place in where.items()]


# --------------------------------------------------------------------------------------------------- pairs
def pair_up(folder: Path) -> None:
    """Link the pairs of the shared emoji, as those of the recipe are."""
    spec = importlib.util.spec_from_file_location("emoji_pairs", TOOL)
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.pair_up(shared(EMOJI), folder)


def read_split(folder: Path, split: str) -> Split:
    """The pairs of a split by label, composited over white and rounded to 8 bits as for the training."""
    found: dict[str, list[Tensor]] = {}
    for item in open_source(f"pairs:{folder}", split).items():
        pair = decode_pair(item, max_side_px=512, bits=8, background=WHITE)
        found.setdefault(str(item.label), []).append(to_planes(pair, 255))
    by_tone = {tone: torch.stack(pairs) for tone, pairs in found.items()}  # (N, 2, 3, H, W)
    return {tone: (pairs[:, 0], pairs[:, 1]) for tone, pairs in by_tone.items()}


def foreground(pictures: Tensor) -> Tensor:
    """(N, 1, H, W), whether a pixel is anything but white."""
    return (pictures < 1).any(1, keepdim=True)


# ------------------------------------------------------------------------------------------------- methods
def make_methods(train: Split, models: Mapping[str, Any]) -> dict[str, Method]:
    """The emoji as it is, what the pairs of `train` tell plain methods, and `models` by name."""
    return {
        YELLOW: lambda yellow, _: yellow,
        TRANSFER: colour_transfer(train),
        AFFINE: affine(train),
        TABLE: colour_table(train),
        **{name: by_model(model) for name, model in models.items()},
    }


def colour_transfer(train: Split) -> Method:
    """Mean and deviation of each axis of Lab moved to those of the tone (Reinhard et al. 2001, eq. 10 and 11).

    The statistics of a tone are the means of those of its emoji. Theirs is the space l-alpha-beta, not Lab.
    """
    from kornia.color import lab_to_rgb, rgb_to_lab

    wanted = {
        tone: [m.mean(0) for m in moments(rgb_to_lab(toned), foreground(toned))] for tone, (_, toned) in train.items()
    }

    def make(yellow: Tensor, tone: str) -> Tensor:
        inside, lab = foreground(yellow), rgb_to_lab(yellow)
        middle, deviation = moments(lab, inside)
        moved = (lab - middle) / deviation.clamp(min=LEAST_DEVIATION) * wanted[tone][1] + wanted[tone][0]
        return torch.where(inside, lab_to_rgb(moved), yellow)

    return make


def moments(values: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation, (N, C, 1, 1) each, of (N, C, H, W) where `inside`, (N, 1, H, W), holds."""
    count = inside.sum((2, 3), keepdim=True).clamp(min=1)
    middle = (values * inside).sum((2, 3), keepdim=True) / count
    return middle, (((values - middle) * inside).square().sum((2, 3), keepdim=True) / count).sqrt()


def affine(train: Split) -> Method:
    """RGB times a matrix and plus a colour, for each tone those of the least squared error on the training's pairs."""
    maps = {}
    for tone, (yellow, toned) in train.items():
        inside = foreground(yellow)[:, 0]
        given, wanted = (side.movedim(1, 3)[inside].double() for side in (yellow, toned))  # (pixels, 3)
        maps[tone] = torch.linalg.lstsq(with_one(given), wanted).solution.float()  # (4, 3)

    def make(yellow: Tensor, tone: str) -> Tensor:
        moved = (with_one(yellow.movedim(1, 3)) @ maps[tone]).movedim(3, 1)
        return torch.where(foreground(yellow), moved, yellow)

    return make


def with_one(colours: Tensor) -> Tensor:
    """(..., 3) -> (..., 4)"""
    return torch.cat([colours, torch.ones_like(colours[..., :1])], -1)


def colour_table(train: Split) -> Method:
    """The mean change of each colour, to 5 bits of R, G and B, by tone; colours that the training lacks stay."""
    tables = {}
    for tone, (yellow, toned) in train.items():
        places = cells(yellow).flatten()
        changes = (toned - yellow).movedim(1, 3).reshape(-1, 3).double()
        sums = torch.zeros(BINS**3, 3, dtype=torch.float64).index_add_(0, places, changes)
        tables[tone] = (sums / torch.bincount(places, minlength=BINS**3).clamp(min=1)[:, None]).float()
    return lambda yellow, tone: yellow + tables[tone][cells(yellow)].movedim(3, 1)


def cells(pictures: Tensor) -> Tensor:
    """(N, H, W) int64, the cell of the colour table."""
    red, green, blue = (pictures * 255).round().long().mul(BINS).div(256, rounding_mode="floor").unbind(1)
    return (red * BINS + green) * BINS + blue


def by_model(model: Any) -> Method:
    """As the verb translates pictures over white; one that knows several looks is told the tone."""

    def make(yellow: Tensor, tone: str) -> Tensor:
        wishes = Wishes(label=tone if model.config.get("conditional") else None)
        pictures = (Picture(images.to_samples(picture[None], 8)) for picture in yellow)
        return torch.stack([translated(model, picture, wishes).to_tensor() for picture in pictures])

    return make


# ------------------------------------------------------------------------------------------------- figures
@torch.no_grad()
def score(methods: Mapping[str, Method], split: Split) -> Scores:
    """What every method reaches on every emoji, the mean over the tones of `split`."""
    found = {}
    for name, method in methods.items():
        by_tone = [
            torch.stack([measure.of(rounded(method(yellow, tone)), toned).double() for measure in MEASURES.values()])
            for tone, (yellow, toned) in split.items()
        ]
        found[name] = torch.stack(by_tone).mean(0)
        print(f"{', '.join(split)}: {name}", *(f"{value:.4g}" for value in found[name].mean(1)), file=sys.stderr)
    return found


def rounded(pictures: Tensor) -> Tensor:
    """To 8 bits."""
    return (pictures.clamp(0, 1) * 255).round() / 255


def compared(name: str, scores: Scores, ours: str, to_beat: Sequence[str]) -> list[Figure]:
    """Each measure of `ours` beside that of every other method; those `to_beat` are what is aimed at."""
    figures = []
    for row, (measure, (unit, better, _)) in enumerate(MEASURES.items()):
        value, spread = mean(scores[ours][row])
        for peer in (each for each in scores if each != ours):
            beside, peer_spread = mean(scores[peer][row])
            gain, around = mean(better * (scores[ours][row] - scores[peer][row]))
            note = f"Better than the peer by {gain:.3g}" + (
                f" ({around[0]:.3g} to {around[1]:.3g})." if around else "."
            )
            aim, met = ("better than the peer", gain > 0) if peer in to_beat else (None, None)
            title = f"{name}, {measure}, beside {peer}"
            figures.append(Figure(title, value, unit, spread, aim, met, peer, beside, peer_spread, note))
    return figures


# --------------------------------------------------------------------------------------------- to look at
def write_sheet(path: Path, methods: Mapping[str, Method], one: Split) -> None:
    """See `sheet`; says on standard error what stands where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write(path, sheet(methods, one))
    made = ", ".join(name for name in SHOWN if name in methods)
    print(f"{path}: from left to right yellow, {', '.join(one)} as drawn, {made}", file=sys.stderr)


def sheet(methods: Mapping[str, Method], one: Split) -> Tensor:
    """A row for each emoji of a single tone, in `BLOCKS` columns of rows: yellow, as drawn, and what methods make."""
    ((tone, (yellow, toned)),) = one.items()
    made = [rounded(methods[name](yellow, tone)) for name in SHOWN if name in methods]
    pictures = torch.stack([yellow, toned, *made], 1)  # (N, columns, 3, H, W)
    empty = torch.ones_like(pictures[:1]).expand(-len(pictures) % BLOCKS, *pictures.shape[1:])
    blocks = torch.cat([pictures, empty]).unflatten(0, (BLOCKS, -1))  # (BLOCKS, rows, columns, 3, H, W)
    return images.grid(blocks.transpose(0, 1).flatten(0, 2), BLOCKS * pictures.shape[1])
