"""Part of the style benchmark that asks how good: content kept and style reached, judged by an independent network."""

from __future__ import annotations

import argparse
import hashlib
import inspect
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import pentimento.tasks.descent
import pentimento.tasks.optimize
import pentimento.tasks.style_objective
import style_networks
from pentimento import images
from pentimento.features import FeatureNetwork, open_network
from pentimento.losses import gram
from pentimento.tasks.optimize import Objective, Schedule, Style, optimize
from pentimento.tasks.style_objective import resized
from reporting import Figure, Spread, shared
from style_networks import SqueezeNet, load_levels, load_squeezenet, transfer_moments, wct
from style_protocol import TRAINED, UNSEEN, painting, photographs, rendered

__all__ = ["Losses", "Method", "compared", "judged", "quality", "ratio", "run"]

NETWORK = "weights/vgg19-16x-collaborative-distillation/5SE.pth"
CONTENT_LAYER = "fire7"
STYLE_LAYERS = ("conv1", "fire2", "fire3", "fire5", "fire7")
OURS, OPTIMIZE, WCT, ADAIN, PHOTO = "stylize", "optimize", "WCT", "AdaIN alone", "the photograph"
SHOWN = (OURS, OPTIMIZE, WCT, ADAIN)  # in the sheet
TABLES = {"unseen": (tuple(UNSEEN), 2.5), "trained": (tuple(TRAINED), 1.5)}  # paintings, aim on style over optimize
RESAMPLES = 2000
CELL_PX = 160  # of the sheet

Made = Callable[[Tensor, Tensor], Tensor]  # photo, painting -> picture
Tables = dict[str, Tensor]  # method -> (photos, paintings)


@dataclass(frozen=True)
class Method:
    """What renders a photo in the look of a painting.

    Args:
        name: of the method.
        make: of a photo and a painting, (1, 3, H, W) each.
        settings: what its results depend on beside the pictures, for those that are kept in files; None: made anew.
    """

    name: str
    make: Made
    settings: Sequence[object] | None = None

    @property
    def kept_as(self) -> str:
        """The beginning of the names of its files: other for other settings, or other sources of a module in them."""
        said = [inspect.getsource(s) if inspect.ismodule(s) else repr(s) for s in self.settings or ()]
        return f"{self.name}-{hashlib.sha256('|'.join(said).encode()).hexdigest()[:8]}".replace(" ", "-")


@dataclass(frozen=True)
class Losses:
    """Of all methods on one set of paintings; 0 is all kept or all reached, 1 nothing of it."""

    content: Tables
    style: Tables


class Aim(NamedTuple):
    """In words, and whether so many times the peer reaches it."""

    words: str | None
    reached: Callable[[float], bool | None]


def quality(model: Any, chosen: argparse.Namespace) -> list[Figure]:
    """The sets of paintings that are asked for; and the sheet."""
    methods, judge, photos = make_methods(model, chosen.steps), load_squeezenet(), photographs(chosen.photos)
    figures, columns = [mirrored(judge, photos)], list[list[Tensor]]()
    for name in chosen.sets:
        names, aim = TABLES[name]
        paintings = {each: painting(each) for each in islice(names, chosen.paintings)}
        losses, pictures = run(methods, judge, photos, paintings, chosen.work)
        figures += compared(f"{name} paintings", losses, aim)
        columns += [[paintings[p], *pictures[p]] for p in paintings]
    if chosen.sheet:
        chosen.sheet.parent.mkdir(parents=True, exist_ok=True)
        images.write(chosen.sheet, sheet(list(photos.values()), columns))
        print(f"{chosen.sheet}: for each photo, from top to bottom: {', '.join(SHOWN)}", file=sys.stderr)
    return figures


# ------------------------------------------------------------------------------------------------- methods
def make_methods(model: Any, steps: int) -> list[Method]:
    """Ours, those of others, and the photo itself."""
    network, levels, adain = open_network(shared(NETWORK)), load_levels([5, 4, 3, 2, 1]), load_levels([4])[0]
    schedule, tasks = Schedule(steps=steps), pentimento.tasks
    sources = [tasks.optimize, tasks.descent, tasks.style_objective]
    return [
        Method(OURS, lambda photo, style: rendered(model, photo, [style])),
        Method(OPTIMIZE, optimizing(network, schedule), [*sources, Objective(), schedule, network.sha256]),
        Method(WCT, lambda photo, style: wct(levels, photo, style), [style_networks]),
        Method(ADAIN, lambda photo, style: adain.transfer(photo, style, transfer_moments).clamp(0, 1)),
        Method(PHOTO, lambda photo, _: photo),
    ]


def optimizing(network: FeatureNetwork, schedule: Schedule) -> Made:
    """The verb's method `optimize` with its usual weights."""

    def make(photo: Tensor, style: Tensor) -> Tensor:
        *_, last = optimize(photo, [Style(style)], network, Objective(), schedule)
        return last.picture

    return make


@torch.no_grad()
def run(
    methods: Sequence[Method],
    judge: SqueezeNet,
    photos: Mapping[str, Tensor],
    paintings: Mapping[str, Tensor],
    folder: Path,
) -> tuple[Losses, dict[str, list[Tensor]]]:
    """The losses of every method on every pair, and by painting what is shown of them, photo by photo.

    Args:
        methods: all of them.
        judge: of the results.
        photos: by name.
        paintings: by name.
        folder: of results that are kept, so that a run that was stopped goes on.
    """
    found = {method.name: torch.empty(2, len(photos), len(paintings), dtype=torch.float64) for method in methods}
    made: dict[str, list[Tensor]] = {name: [] for name in paintings}
    for row, (photo_name, photo) in enumerate(photos.items()):
        for column, (name, style) in enumerate(paintings.items()):
            for method in methods:
                begun = time.perf_counter()
                picture = result(method, photo, style, folder / f"{method.kept_as}-{photo_name}-{name}.png")
                seconds = time.perf_counter() - begun
                found[method.name][:, row, column] = torch.tensor(judged(judge, picture, photo, style))
                made[name] += [small(picture)] if method.name in SHOWN else []
                print(f"{photo_name} {name} {method.name}: {seconds:.2f} s", file=sys.stderr)
    content, reached = ({name: table[kind] for name, table in found.items()} for kind in (0, 1))
    return Losses(content, reached), made


def result(method: Method, photo: Tensor, style: Tensor, path: Path) -> Tensor:
    """What the method makes, in 8 bits: out of `path` where it is there, and into it where results are kept."""
    if method.settings is None:
        return (method.make(photo, style) * 255).round() / 255
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        images.write(path, method.make(photo, style))
    return images.read(path).to_tensor()[None]


# ------------------------------------------------------------------------------------------------- judging
def judged(judge: SqueezeNet, picture: Tensor, photo: Tensor, style: Tensor) -> tuple[float, float]:
    """Content and style loss: relative squared distances, of a map from the photo's, of Grams from the painting's."""
    made = judge.maps(picture, (*STYLE_LAYERS, CONTENT_LAYER))
    content = relative(made[CONTENT_LAYER], judge.maps(photo, [CONTENT_LAYER])[CONTENT_LAYER])
    wanted = judge.maps(style, STYLE_LAYERS)
    missed = [relative(gram(made[layer]), gram(wanted[layer])) for layer in STYLE_LAYERS]
    return content, sum(missed) / len(missed)


def relative(found: Tensor, wanted: Tensor) -> float:
    """Squared distance as a share of the squared length of what is wanted."""
    return float((found - wanted).square().sum() / wanted.square().sum())


def mirrored(judge: SqueezeNet, photos: Mapping[str, Tensor]) -> Figure:
    """The content loss where nothing is at its place any more, by which to read the others."""
    losses = [judged(judge, photo.flip(3), photo, photo)[0] for photo in photos.values()]
    return Figure("control: content loss of the photograph mirrored", sum(losses) / len(losses))


# ------------------------------------------------------------------------------------------------- figures
def compared(name: str, losses: Losses, aim: float) -> list[Figure]:
    """Ours beside each of the others.

    Args:
        name: of the paintings.
        losses: of all methods.
        aim: at most so many times the style loss of `optimize`.
    """
    below = Aim("below the peer", lambda times: times < 1)
    style = {OPTIMIZE: Aim(f"<= {aim:g} times the peer", lambda times: times <= aim), WCT: below}
    content = {OPTIMIZE: Aim("no more than the peer", lambda times: times <= 1), WCT: below}
    figures = []
    for kind, tables, aims, peers in (
        ("style loss", losses.style, style, (OPTIMIZE, WCT, ADAIN, PHOTO)),
        ("content loss", losses.content, content, (OPTIMIZE, WCT, ADAIN)),
    ):
        value, spread = mean(tables[OURS])
        for peer in peers:
            beside, peer_spread = mean(tables[peer])
            times, around = ratio(tables[OURS], tables[peer])
            goal, reached = aims.get(peer, Aim(None, lambda _: None))
            note = f"{times:.3g} times the peer" + (
                "." if around is None else f" ({around[0]:.3g} to {around[1]:.3g})."
            )
            figures.append(
                Figure(
                    f"{name}: {kind}, beside {peer}",
                    value,
                    "",
                    spread,
                    goal,
                    reached(times),
                    peer,
                    beside,
                    peer_spread,
                    note,
                )
            )
    return figures


def mean(table: Tensor) -> tuple[float, Spread | None]:
    """Over (photos, paintings), with its interval."""
    return float(table.mean()), interval(resampled(table), table)


def ratio(ours: Tensor, theirs: Tensor) -> tuple[float, Spread | None]:
    """Of the means over (photos, paintings), with its interval: both drawn alike, which takes out what they share."""
    return float(ours.mean() / theirs.mean()), interval(resampled(ours) / resampled(theirs), ours)


def resampled(table: Tensor) -> Tensor:
    """(RESAMPLES,) means with photos and paintings drawn anew, each with replacement, always the same draws."""
    generator = torch.Generator().manual_seed(0)
    photos, paintings = (
        F.one_hot(torch.randint(size, (RESAMPLES, size), generator=generator), size).double().mean(1)
        for size in table.shape
    )
    return torch.einsum("bp,pq,bq->b", photos, table, paintings)


def interval(draws: Tensor, table: Tensor) -> Spread | None:
    """95 %; None where there is but one photo or painting."""
    if min(table.shape) < 2:
        return None
    low, high = draws.quantile(torch.tensor([0.025, 0.975], dtype=draws.dtype)).tolist()
    return low, high


# --------------------------------------------------------------------------------------------- to look at
def sheet(photos: Sequence[Tensor], columns: Sequence[Sequence[Tensor]]) -> Tensor:
    """A column for each painting, which is on top: for each photo, what the methods made; photos are on the left."""
    empty, rows = torch.ones(3, CELL_PX, CELL_PX), (len(columns[0]) - 1) // len(photos)
    first = [empty, *(cell for photo in photos for cell in [small(photo)] + [empty] * (rows - 1))]
    cells = [first, *([small(style), *made] for style, *made in columns)]
    return images.grid(torch.stack([column[row] for row in range(len(first)) for column in cells]), len(cells))


def small(picture: Tensor) -> Tensor:
    """(3, CELL_PX, CELL_PX), white beside it."""
    height, width = (round(side * CELL_PX / max(picture.shape[2:])) for side in picture.shape[2:])
    return F.pad(resized(picture, height, width)[0], (0, CELL_PX - width, 0, CELL_PX - height), value=1.0)
