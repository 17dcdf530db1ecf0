"""Part of the benchmark of causal effects that asks of `stylize --strength auto`: does a picture keep its content?"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pentimento import api, images
from pentimento.api.stylization import KEPT
from pentimento.features import FeatureNetwork, open_network
from reporting import Figure, median_and_spread, shared
from style_protocol import PAINTINGS, UNSEEN, painting, photographs
from style_quality import sheet, small

__all__ = ["NOTES", "strength"]

FULL = 1.0  # the strength of the peer
LOOKED_AT_PX = 512
LARGER = {  # 720 to 1016 px
    "barbara": "Set14/barbara.bmp",
    "monarch": "Set14/monarch.bmp",
    "old-d": "old-photos/old/d.png",
    "old-f": "old-photos/old/f.png",
}
NOTES = [
    "Photographs and paintings are those of the style benchmark: 8 of BSDS500 as they are, 6 paintings that the model "
    "was not trained on; and 4 larger ones, whose search runs on a copy.",
    f"The bound is the usual one, {KEPT:g}. What was written, PNG in full size, is read again and measured by code of "
    "the benchmark's own: the squared distance in relu4_1 of the network `perceptual` over the squared length of the "
    f"photograph's, both brought to {LOOKED_AT_PX} px where they are longer.",
    "The peer is the same model at strength 1. Spreads of strengths are lowest and highest.",
]


class Rendered(NamedTuple):
    """One picture: how strongly, and how much of its content was lost, in what is written."""

    strength: float
    said: float  # by the verb
    lost: float  # measured again
    picture: Tensor  # small


def strength(chosen: argparse.Namespace) -> list[Figure]:
    """All figures of the part; and the sheet."""
    photos = photographs()
    own, fixed, seconds = rendered(chosen.stylizer, photos)
    figures = [*compared("8 photographs of 481 px x 6 paintings", own, fixed), *strengths(own), timed(seconds, own)]
    larger = {name: images.read(shared(f"restoration/{file}")).to_tensor()[None] for name, file in LARGER.items()}
    figures += compared("4 photographs of 720 to 1016 px x 6 paintings", *rendered(chosen.stylizer, larger)[:2])
    if chosen.sheet:
        columns = [
            [painting(name), *(r[name, photo].picture for photo in photos for r in (own, fixed))] for name in UNSEEN
        ]
        chosen.sheet.parent.mkdir(parents=True, exist_ok=True)
        images.write(chosen.sheet, sheet(list(photos.values()), columns))
        print(f"{chosen.sheet}: for each photo, from top to bottom: auto, strength 1", file=sys.stderr)
    return figures


Cells = Mapping[tuple[str, str], Rendered]  # painting, photo


def rendered(model: str, photos: Mapping[str, Tensor]) -> tuple[Cells, Cells, tuple[float, float]]:
    """By `--strength auto` and at strength 1, as the verb does it; and the seconds that each took."""
    network = open_network("perceptual")
    found: tuple[dict[tuple[str, str], Rendered], dict[tuple[str, str], Rendered]] = ({}, {})
    seconds = [0.0, 0.0]
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder, "photos")
        given.mkdir()
        for photo, picture in photos.items():
            images.write(given / f"{photo}.png", picture)
        for name in UNSEEN:
            style = str(shared(f"style/paintings-pd/{PAINTINGS[name]}"))
            for way, asked in enumerate(("auto", FULL)):
                out = Path(folder, name, ("auto", "full")[way])
                begun = time.perf_counter()
                told = api.stylize(str(given), [style], out=out, model=model, strength=asked).strengths
                seconds[way] += time.perf_counter() - begun
                for photo, picture in photos.items():
                    made = images.read(out / f"{photo}.png").to_tensor()[None]
                    chosen = told.get(str(out / f"{photo}.png"), {"strength": FULL, "content": float("nan")})
                    found[way][name, photo] = Rendered(*chosen.values(), lost(network, made, picture), small(made))
            print(f"{name}: done", file=sys.stderr)
    return *found, (seconds[0], seconds[1])


@torch.no_grad()
def lost(network: FeatureNetwork, made: Tensor, photo: Tensor) -> float:
    """The content distance, by the formula."""
    x, r = (network.maps(looked_at(picture), ["relu4_1"])["relu4_1"].double() for picture in (made, photo))
    return float((x - r).square().sum() / r.square().sum())


def looked_at(picture: Tensor) -> Tensor:
    """No longer than `LOOKED_AT_PX`."""
    factor = min(1.0, LOOKED_AT_PX / max(picture.shape[2:]))
    if factor == 1:
        return picture
    height, width = (round(side * factor) for side in picture.shape[2:])
    return F.interpolate(picture, (height, width), mode="bicubic", antialias=True).clamp(0, 1)


def compared(name: str, own: Cells, fixed: Cells) -> list[Figure]:
    """How many keep the bound, and how much the worst loses."""
    kept, peer = (sum(cell.lost <= KEPT for cell in cells.values()) for cells in (own, fixed))
    worst, beside = (max(cell.lost for cell in cells.values()) for cells in (own, fixed))
    told = max(abs(cell.lost - cell.said) for cell in own.values())
    count, full = len(own), "strength 1"
    return [
        Figure(
            f"content bound kept: {name}",
            kept,
            f"of {count}",
            aim=f"all {count}",
            met=kept == count,
            peer=full,
            peer_value=peer,
        ),
        Figure(
            f"largest content distance: {name}",
            worst,
            peer=full,
            peer_value=beside,
            note=f"the verb's own number is at most {told:.2g} from what was measured again",
        ),
    ]


def strengths(own: Cells) -> list[Figure]:
    """What was chosen."""
    value, spread = median_and_spread([cell.strength for cell in own.values()])
    full = sum(cell.strength == FULL for cell in own.values())
    used = statistics.median(cell.lost / KEPT for cell in own.values() if cell.strength < FULL)
    return [
        Figure("strength chosen, median", value, spread=spread, note=f"{full} of {len(own)} take strength 1"),
        Figure("share of the bound that is used, median of those below strength 1", 100 * used, "%"),
    ]


def timed(seconds: Sequence[float], own: Cells) -> Figure:
    """A picture's time, with all that the verb does."""
    auto, fixed = (total / len(own) for total in seconds)
    return Figure("time for a picture of 481 px", auto, "s", peer="strength 1", peer_value=fixed)
