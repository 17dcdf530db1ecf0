"""Pictures of any size through a network: in tiles that overlap and fade into each other, row by row of tiles.

    core     -> the part of the picture that a tile is there for; the cores lie side by side and begin at multiples of m
    window   -> what a tile reads: its core and `overlap` px to each side, cut at the picture's border
    fade     -> px to each side of a border between cores on which one tile gives way to the next, linearly

A fade is a quarter of the overlap at most, so every pixel that counts was made from three quarters of it or more to
each side, or up to the picture's border. Windows begin at multiples of m, so that what the network halves falls on the
same pixels as in the whole picture; they end there too, or at the border, where the network pads as for the whole.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from pentimento import images
from pentimento.capabilities import Reach
from pentimento.colour import Pixels
from pentimento.errors import InputError, ModelError
from pentimento.images import BoolArray, Picture
from pentimento.large import LargePicture, Writer
from pentimento.runtime import Progress, ProgressCallback, no_progress, return_freed_memory
from pentimento.tasks.memory import LEAST_SHARE, least_budget

__all__ = [
    "ArraySink",
    "FileSink",
    "PictureSource",
    "Plan",
    "Sink",
    "Source",
    "Split",
    "TileFunction",
    "VisitFunction",
    "Window",
    "plan",
    "run",
    "visit",
]

_BAND_BYTES = 3 * 4  # an output pixel, RGB, float32
_SLICE_PX = 2**20  # output pixels that are rounded and handed on at once


@dataclass(frozen=True)
class Window:
    """A part of the input in pixels: `height` rows from `top` on, `width` columns from `left` on."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to cut it out of an array (H, W)."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


# A patch (1, C, h, w), float32 on the CPU, and where it was cut -> (1, C', scale * h, scale * w) on any device.
TileFunction = Callable[[Tensor, Window], Tensor]
# Such a patch, where it was cut, and its core, which no other patch has.
VisitFunction = Callable[[Tensor, Window, Window], None]


# -------------------------------------------------------------------------------------------------- plans
@dataclass(frozen=True)
class Split:
    """One side of a picture, in cores of `core_px`, of which the last may be shorter.

    Args:
        length_px: of the side.
        core_px: a multiple of m.
        overlap_px: a multiple of m.
    """

    length_px: int
    core_px: int
    overlap_px: int

    @property
    def count(self) -> int:
        """Cores."""
        return -(-self.length_px // self.core_px)

    @property
    def fade_px(self) -> int:
        """To each side of a border between cores."""
        return min(self.overlap_px // 4, self.core_px // 2)

    def window(self, index: int) -> tuple[int, int]:
        """Where tile `index` begins and ends reading."""
        return self._around(index, self.overlap_px)

    def share(self, index: int) -> tuple[int, int]:
        """Where what tile `index` makes begins and ends to count."""
        return self._around(index, self.fade_px)

    def core(self, index: int) -> tuple[int, int]:
        """Where the core of tile `index` begins and ends."""
        return self._around(index, 0)

    def _around(self, index: int, margin: int) -> tuple[int, int]:
        begin = index * self.core_px
        return max(0, begin - margin), min(self.length_px, begin + self.core_px + margin)

    @property
    def window_px(self) -> int:
        """The longest window: of the last tile that reaches the beginning, or of the one after."""
        reaching = min(self.overlap_px // self.core_px, self.count - 1)
        windows = map(self.window, (reaching, min(reaching + 1, self.count - 1)))
        return max(end - begin for begin, end in windows)

    def weights(self, index: int, scale: int) -> Tensor:
        """How much tile `index` counts over its share, (scale * (end - begin),); over all tiles they add to 1."""
        begin, end = self.share(index)
        places = (torch.arange(scale * begin, scale * end, dtype=torch.float64) + 0.5) / scale  # middles of pixels
        weights = torch.ones_like(places)
        core, fade = index * self.core_px, self.fade_px
        if index > 0 and fade:
            weights *= ((places - core + fade) / (2 * fade)).clamp(0, 1)
        if index < self.count - 1 and fade:
            weights *= ((core + self.core_px + fade - places) / (2 * fade)).clamp(0, 1)
        return weights.float()


@dataclass(frozen=True)
class Plan:
    """How a picture is cut; `plan` makes it.

    Args:
        rows: its height.
        columns: its width.
        scale: output pixels for one of the input, along a side.
        memory_bytes: that running it takes, besides the samples of the picture and of the result.
    """

    rows: Split
    columns: Split
    scale: int
    memory_bytes: int

    @property
    def count(self) -> int:
        """Tiles."""
        return self.rows.count * self.columns.count


def plan(height: int, width: int, reach: Reach, memory_bytes: int, kept_bytes: int = 0) -> Plan:
    """The tiles that make the least work for a network of this `reach` within `memory_bytes`; one, where that fits.

    Counted are the network's working memory for the largest window, and, where there is more than one tile, a row of
    tiles of RGB results. Little work means large tiles, about as wide as high.

    Args:
        height: of the picture, px.
        width: of the picture, px.
        reach: of the network.
        memory_bytes: see `pentimento.tasks.memory.memory_budget`.
        kept_bytes: of them that a result takes which stays in memory; a part of the budget is left however large it is.

    Raises:
        InputError: too little even for the smallest tiles, whose cores are ``multiple_px`` wide and high.
    """
    left = max(memory_bytes - kept_bytes, memory_bytes // LEAST_SHARE)
    whole = height * width * reach.bytes_per_px
    if whole <= left:
        return Plan(Split(height, height, 0), Split(width, width, 0), reach.scale, whole)
    overlap = -(-reach.overlap_px // reach.multiple_px) * reach.multiple_px
    columns: list[Split] = []  # wide to narrow
    for split in _splits(width, reach.multiple_px, overlap):
        if not columns or split.window_px < columns[-1].window_px:
            columns.append(split)
    narrowing = [-wide.window_px for wide in columns]
    cuts: list[Plan] = []
    least = math.inf
    for high in _splits(height, reach.multiple_px, overlap):
        band = min(height, high.core_px + 2 * high.fade_px) * width * reach.scale**2 * _BAND_BYTES
        column_bytes = high.window_px * reach.bytes_per_px
        least = min(least, column_bytes * columns[-1].window_px + band)
        fitting = columns[bisect.bisect_left(narrowing, (band - left) / column_bytes) :]
        cuts += [Plan(high, wide, reach.scale, column_bytes * wide.window_px + band) for wide in fitting[:1]]
    if not cuts:
        needed = least_budget(math.ceil(min(least + kept_bytes, LEAST_SHARE * least)))
        raise InputError(
            f"--memory: too little for this model on a picture of {width}x{height} px, even in the smallest tiles; "
            f"allow {needed}, or take a smaller model"
        )
    return min(cuts, key=lambda cut: (cut.count * cut.rows.window_px * cut.columns.window_px, cut.count))


def _splits(length: int, multiple: int, overlap: int) -> Iterator[Split]:
    """Each number of cores that whole multiples allow, in cores as even as they allow; few and long ones first."""
    units = -(-length // multiple)
    core = units
    while True:
        yield Split(length, core * multiple, overlap)
        if core == 1:
            return
        core = -(-units // -(-units // (core - 1)))  # the longest that makes one core more


# ------------------------------------------------------------------------------------- sources and sinks
class Source(Protocol):
    """Where windows are read from."""

    def read(self, window: Window) -> Tensor:
        """(1, C, window.height, window.width) float32 in [0, 1], sRGB."""
        ...


class Sink(Protocol):
    """Where finished rows go, top to bottom."""

    def write(self, rows: Tensor) -> None:
        """(C, h, scale * W) float32, clamped and rounded by the sink."""
        ...


@dataclass(frozen=True, eq=False)
class PictureSource:
    """A picture, in memory or in its file; its alpha is left aside."""

    picture: Picture | LargePicture

    def read(self, window: Window) -> Tensor:
        """See `Source`."""
        part = self.picture.crop(window.top, window.left, window.height, window.width)
        return part.to_tensor(background=None)[None]


class ArraySink:
    """Keeps the result as samples of `bits`."""

    def __init__(self, height_px: int, width_px: int, bits: Literal[8, 16]) -> None:
        self.height_px, self.width_px, self.bits = height_px, width_px, bits
        self._pixels: Pixels | None = None
        self._done = 0

    def write(self, rows: Tensor) -> None:
        """See `Sink`."""
        samples = images.to_samples(rows, self.bits)
        if self._pixels is None:
            self._pixels = np.empty((self.height_px, self.width_px, samples.shape[-1]), samples.dtype)
        self._pixels[self._done : self._done + len(samples)] = samples
        self._done += len(samples)

    @property
    def pixels(self) -> Pixels:
        """(H, W, C), when all rows are there."""
        assert self._pixels is not None and self._done == self.height_px
        return self._pixels


class FileSink:
    """Streams the result into a file.

    Args:
        writer: of the file.
        changed: (h, W) of a window of whole rows of the result: where it is False, the file keeps the samples of the
            picture that it was made from; see `pentimento.images.write`. None: all is new.
    """

    def __init__(self, writer: Writer, changed: Callable[[Window], BoolArray] | None = None) -> None:
        self.writer, self.changed = writer, changed
        self._done = 0

    def write(self, rows: Tensor) -> None:
        """See `Sink`."""
        samples = images.to_samples(rows, self.writer.bits)
        window = Window(self._done, 0, *samples.shape[:2])
        self.writer.write(samples, None if self.changed is None else self.changed(window))
        self._done += len(samples)


# ---------------------------------------------------------------------------------------------- running
@torch.no_grad()
def run(
    function: TileFunction,
    source: Source,
    sink: Sink,
    plan: Plan,
    *,
    stage: str,
    progress: ProgressCallback = no_progress,
) -> None:
    """Run `function` over a picture, tile by tile; only one row of tiles is held besides.

    Args:
        function: see `TileFunction`.
        source: of the patches.
        sink: of the rows.
        plan: of the picture.
        stage: for `progress`, e.g. ``"restore"``.
        progress: told after each tile.

    Raises:
        ModelError: `function` gives another size.
    """
    rows, scale = plan.rows, plan.scale
    done = itertools.count(1)

    def tile(window: Window) -> Tensor:
        """(C', scale * h, scale * w)"""
        if plan.count > 1:
            return_freed_memory()  # or it would add to the next tile's
        made = function(source.read(window), window).to("cpu", torch.float32)
        size = (scale * window.height, scale * window.width)
        if made.ndim != 4 or len(made) != 1 or made.shape[2:] != size:
            raise ModelError(f"{stage}: (1, C, {size[0]}, {size[1]}) expected of the model, got {tuple(made.shape)}")
        progress(Progress(stage, next(done), plan.count, "tiles"))
        return made[0]

    carried: Tensor | None = None  # (C', 2 * scale * fade, scale * W): where the next row of tiles fades in
    for index in range(rows.count):
        band = _band(tile, plan, index)
        if carried is not None:
            band[:, : carried.shape[1]] += carried
        begin, end = rows.share(index)
        ready = scale * ((rows.share(index + 1)[0] if index + 1 < rows.count else end) - begin)
        carried = band[:, ready:].clone()
        step = max(1, _SLICE_PX // band.shape[2])
        for row in range(0, ready, step):
            sink.write(band[:, row : min(row + step, ready)])
        del band  # before the next one is made


def _band(tile: Callable[[Window], Tensor], plan: Plan, row: int) -> Tensor:
    """What a row of tiles makes, weighted: (C', scale * height of its share, scale * W)."""
    columns, s = plan.columns, plan.scale
    (top, bottom), (first, last) = plan.rows.window(row), plan.rows.share(row)
    down = plan.rows.weights(row, s)[:, None]
    band: Tensor | None = None
    for column in range(columns.count):
        (left, right), (begin, end) = columns.window(column), columns.share(column)
        made = tile(Window(top, left, bottom - top, right - left))
        if plan.count == 1:
            return made
        if band is None:
            band = torch.zeros(len(made), s * (last - first), s * columns.length_px)
        made = made[:, s * (first - top) : s * (last - top), s * (begin - left) : s * (end - left)]
        band[:, :, s * begin : s * end] += made * down * columns.weights(column, s)
    assert band is not None
    return band


@torch.no_grad()
def visit(
    function: VisitFunction, source: Source, plan: Plan, *, stage: str, progress: ProgressCallback = no_progress
) -> None:
    """Show `function` every tile of a picture, row by row: for what must be known of the whole before `run`.

    The cores cover the picture once, so sums over them are sums over the picture, however it is tiled.
    """
    done = itertools.count(1)
    for row, column in itertools.product(range(plan.rows.count), range(plan.columns.count)):
        window, core = (
            Window(top, left, bottom - top, right - left)
            for (top, bottom), (left, right) in (
                (plan.rows.window(row), plan.columns.window(column)),
                (plan.rows.core(row), plan.columns.core(column)),
            )
        )
        if plan.count > 1:
            return_freed_memory()
        function(source.read(window), window, core)
        progress(Progress(stage, next(done), plan.count, "tiles"))
