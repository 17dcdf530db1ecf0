"""Repair picture files with a model that restores; see `pentimento.tasks.pictures` for what keeps all they carry."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from pentimento.capabilities import Detects, Refines, Restores
from pentimento.errors import InputError, ModelError
from pentimento.images import BoolArray, Picture
from pentimento.layers import pad_before
from pentimento.model import Model
from pentimento.provenance import Provenance
from pentimento.runtime import Progress, ProgressCallback, no_progress
from pentimento.tasks import compare, pictures, tiles
from pentimento.tasks.ensemble import in_all_positions, with_all_positions
from pentimento.tasks.files import Job
from pentimento.tasks.grid import BLOCK_PX, find_grid
from pentimento.tasks.masks import read_mask
from pentimento.tasks.memory import least_budget
from pentimento.tasks.pictures import AnyPicture, Treatment
from pentimento.tasks.tiles import ArraySink, PictureSource, Window

__all__ = ["Restored", "Wishes", "find_damage", "guess_strength", "restore_file", "restored"]

GUESS_PX, GUESSES = 256, 4  # the strength is guessed from at most so many squares of this side, each way
JPEG_GRID_PX = 16  # of its blocks, with colours at half the size
NO_GRID = (0, 0)
SEARCH_BYTES = 100_000_000  # that the search for damage takes
GROWTH_PX = 2  # found damage is widened by so much: its edges are damaged too

Grid = tuple[int, int]  # row and column at which the first whole block of JPEG begins


@dataclass(frozen=True)
class Wishes:
    """What the user asks for, in the user's units.

    Args:
        noise: sigma of 255, or None.
        quality: of JPEG, or None.
        blend: the share of the change that is made, in [0, 1].
        passes: of a recurrent model, or None for its own number.
        tolerance: mean change of 255 under which passes stop, or None.
        memory_bytes: beside the picture.
        compare: whether to show what changed.
        ensemble: whether the mean over eight positions of the picture is made.
    """

    noise: float | None = None
    quality: int | None = None
    blend: float = 1.0
    passes: int | None = None
    tolerance: float | None = None
    memory_bytes: int = 2**31
    compare: bool = False
    ensemble: bool = False

    def check(self, model: Model, scale: int | None = None, masked: bool = False) -> None:
        """Refuse what `model` cannot be told or cannot do.

        Raises:
            ModelError: that.
        """
        restorer, name = cast(Restores, model), pictures.model_name(model)
        for option, value, told in (("noise", self.noise, "noise"), ("quality", self.quality, "jpeg")):
            if value is not None and restorer.told != told:
                other = "denoise" if told == "noise" else "dejpeg"
                more = f", or use --model {other}" if restorer.reach.scale == 1 else ""
                raise ModelError(f"--{option}: {name} is not told this; leave it away{more}")
        if not isinstance(model, Refines) and (self.passes is not None or self.tolerance is not None):
            raise ModelError(f"--passes, --tolerance: {name} works in one pass; use --model denoise-recurrent")
        if scale is not None and scale != restorer.reach.scale:
            raise ModelError(f"--scale: {name} enlarges {restorer.reach.scale} times, not {scale}")
        if masked and restorer.reach.scale != 1:
            raise ModelError(f"{name} enlarges, and repairs no parts; repair first, enlarge then")

    @property
    def told(self) -> float | None:
        """The strength, as networks take it."""
        if self.noise is not None:
            return self.noise / 255
        return None if self.quality is None else (100 - self.quality) / 100


@dataclass(frozen=True)
class Restored:
    """What was done to one file.

    Args:
        files: written.
        guessed: sigma of 255 or JPEG quality, where the model had to guess.
        repaired: share of the pixels inside the mask, where there was one.
    """

    files: list[Path]
    guessed: float | None
    repaired: float | None


# ----------------------------------------------------------------------------------------------- damage
def find_damage(
    detector: Model, picture: AnyPicture, memory_bytes: int, progress: ProgressCallback = no_progress
) -> BoolArray:
    """(H, W), True where `detector` sees damage, widened by `GROWTH_PX`.

    Tiles differ by a rounding, and where that decides, by a pixel that is damage or none, and is filled or not. So they
    are the same however much memory there is.

    Raises:
        InputError: less memory than they take.
    """
    finder = cast(Detects, detector)
    if memory_bytes < SEARCH_BYTES:
        raise InputError(f"--memory: too little for --find-scratches; allow {least_budget(SEARCH_BYTES)}")

    def detect(patch: Tensor, _: Window) -> Tensor:
        with pictures.computing(detector):
            return finder.detect(pictures.placed(patch, detector))

    height, width = picture.height_px, picture.width_px
    plan, sink = tiles.plan(height, width, finder.reach, SEARCH_BYTES), ArraySink(height, width, 8)
    tiles.run(detect, PictureSource(picture), sink, plan, stage="detect", progress=progress)
    found = sink.pixels[..., 0] > 127
    for turned in (found, found.T):
        before = turned.copy()
        for step in range(1, GROWTH_PX + 1):
            turned[step:] |= before[:-step]
            turned[:-step] |= before[step:]
    return np.asarray(found)


# -------------------------------------------------------------------------------------------- restoring
def restore_file(
    model: Model,
    job: Job,
    wishes: Wishes,
    *,
    mask_file: Path | None = None,
    detector: Model | None = None,
    progress: ProgressCallback = no_progress,
) -> Restored:
    """Read, restore, write.

    Args:
        model: that restores.
        job: what, and where to.
        wishes: checked against `model`.
        mask_file: white where to repair; pixels elsewhere stay as they are.
        detector: finds where to repair, where no mask is given.
        progress: told of every tile.

    Raises:
        ImageError: the picture or the mask cannot be used.
        InputError: the memory budget is too small.
    """
    shown = compare.names(job.target, found=detector is not None) if wishes.compare else []
    masked = mask_file is not None or detector is not None
    picture = pictures.open_picture(job, cast(Restores, model).reach.scale, masked=masked, progress=progress)
    mask = None
    if mask_file is not None:
        mask = read_mask(mask_file, picture.height_px, picture.width_px)
    elif detector is not None:
        pictures.planned(picture, cast(Restores, model).reach, wishes.memory_bytes)  # refuses before the search
        mask = find_damage(detector, picture, wishes.memory_bytes, progress)
        if not mask.any():
            progress(Progress("detect", 0, message=f"{job.source.name}: no damage found"))
    treatment, guessed = _treatment(model, picture, mask, wishes)
    record = _record(model, job.source, wishes, guessed, mask_file, detector)
    made = pictures.write_treated(treatment, picture, job.target, record, mask, progress)
    if shown and isinstance(picture, Picture) and made is not None:
        compare.show(picture, made, record, shown, None if detector is None else mask)
    elif shown:
        progress(Progress("restore", 0, message=f"{job.source.name}: too large for --compare"))
        shown = []
    return Restored([job.target, *shown], guessed, None if mask is None else float(mask.mean()))


def restored(
    model: Model,
    picture: Picture,
    wishes: Wishes,
    mask: BoolArray | None = None,
    progress: ProgressCallback = no_progress,
) -> tuple[Picture, float | None]:
    """`picture` restored, and the strength where it was guessed, see `Restored`; outside of `mask` it is as it was."""
    treatment, guessed = _treatment(model, picture, mask, wishes)
    return pictures.treated(treatment, picture, mask, progress), guessed


def _treatment(
    model: Model, picture: AnyPicture, mask: BoolArray | None, wishes: Wishes
) -> tuple[Treatment, float | None]:
    """What is done to each tile, and the strength where it was guessed."""
    restorer = cast(Restores, model)
    grid = find_grid(_squares(picture)) if restorer.told == "jpeg" else NO_GRID
    strength, guessed = wishes.told, None
    if strength is None and restorer.told != "nothing":
        strength = guess_strength(model, picture, grid)
        guessed = 255 * strength if restorer.told == "noise" else 100 - 100 * strength
    before = [-offset % BLOCK_PX for offset in grid]  # rows and columns that make the first block whole

    def run(patch: Tensor, window: Window) -> Tensor:
        covered = None
        if mask is not None:
            covered = torch.from_numpy(mask[window.slices]).float()[None, None]
            if not covered.any():
                return patch
        given, masks = (None if x is None else pad_before(x, *before) for x in (patch, covered))
        assert given is not None
        made = _run(model, given, masks, strength, wishes).cpu()
        made = made[..., restorer.reach.scale * before[0] :, restorer.reach.scale * before[1] :]
        made = pictures.blended(patch, made, wishes.blend)
        return made if covered is None else torch.where(covered > 0.5, made, patch)

    reach = with_all_positions(restorer.reach) if wishes.ensemble else restorer.reach
    return Treatment(run, reach, wishes.memory_bytes, "restore"), guessed


def guess_strength(model: Model, picture: AnyPicture, grid: Grid = NO_GRID) -> float:
    """The mean guess over squares spread evenly over the picture, so the same however it is tiled; see `Restores`."""
    total, count = 0.0, 0
    for square in _squares(picture, grid):
        with pictures.computing(model):
            guess = cast(Restores, model).estimate(pictures.placed(square, model)).float()
        total, count = total + float(guess.sum()), count + guess.numel()
    return min(max(total / count, 0.0), 1.0)


def _squares(picture: AnyPicture, grid: Grid = NO_GRID) -> Iterator[Tensor]:
    """(1, C, h, w) each, at most `GUESSES` each way, as many as cover the picture; all begin where a block does."""
    (top, height), (left, width) = ((o, n - o) if n > o else (0, n) for o, n in zip(grid, _size(picture), strict=True))
    for row, column in itertools.product(_spread(height), _spread(width)):
        square = picture.crop(top + row, left + column, min(GUESS_PX, height), min(GUESS_PX, width))
        yield square.to_tensor(None)[None]


def _size(picture: AnyPicture) -> tuple[int, int]:
    return picture.height_px, picture.width_px


def _spread(side: int) -> list[int]:
    """Where squares begin along a side: as many as cover it, at most `GUESSES`; all where a block of JPEG begins."""
    many, room = min(GUESSES, -(-side // GUESS_PX)), max(0, side - GUESS_PX)
    return [k * room // max(1, many - 1) // JPEG_GRID_PX * JPEG_GRID_PX for k in range(many)]


def _run(model: Model, patch: Tensor, mask: Tensor | None, strength: float | None, wishes: Wishes) -> Tensor:
    """The model on one tile, in as many positions and passes as are wished."""
    given = pictures.placed(patch, model)
    covered = None if mask is None else mask.to(model.device)
    told = None if strength is None else torch.full((1, 1, 1, 1), strength, device=model.device)

    def repair(images: Tensor, masks: Tensor | None) -> Tensor:
        if not isinstance(model, Refines):
            return cast(Restores, model).restore(images, masks, told).float()
        made: Tensor | None = None
        for better in itertools.islice(model.refine(images, masks, told), wishes.passes or model.passes):
            before, made = made, better
            if wishes.tolerance and before is not None and 255 * float((made - before).abs().mean()) < wishes.tolerance:
                break
        assert made is not None
        return made.float()

    with pictures.computing(model):
        if wishes.ensemble:
            return in_all_positions(repair, given, covered, cast(Restores, model).reach.multiple_px)
        return repair(given, covered)


def _record(
    model: Model, source: Path, wishes: Wishes, guessed: float | None, mask_file: Path | None, detector: Model | None
) -> Provenance:
    asked = {"noise": wishes.noise, "quality": wishes.quality, "passes": wishes.passes, "tolerance": wishes.tolerance}
    options: dict[str, float | str] = {k: v for k, v in asked.items() if v is not None}
    if wishes.blend < 1:
        options["strength"] = wishes.blend
    if wishes.ensemble:
        options["ensemble"] = True
    if guessed is not None:
        options["guessed"] = round(guessed, 2)
    if detector is not None:
        options["detector"] = pictures.model_name(detector)
        options["detector_sha256"] = detector.origin.weights_sha256 if detector.origin else ""
    return pictures.record("restore", model, options, [path for path in (source, mask_file) if path is not None])
