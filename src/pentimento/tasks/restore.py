"""Repair picture files with a model that restores; see `pentimento.tasks.pictures` for what keeps all they carry."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from pentimento.capabilities import Detects, Refines, Restores
from pentimento.errors import ModelError
from pentimento.images import BoolArray, Picture
from pentimento.model import Model
from pentimento.provenance import Provenance
from pentimento.runtime import Progress, ProgressCallback, no_progress
from pentimento.tasks import compare, pictures
from pentimento.tasks.ensemble import in_all_positions, with_all_positions
from pentimento.tasks.files import Job
from pentimento.tasks.masks import read_mask
from pentimento.tasks.pictures import AnyPicture, Treatment
from pentimento.tasks.tiles import Window

__all__ = ["Restored", "Wishes", "find_damage", "guess_strength", "restore_file", "restored"]

GUESS_PX, GUESSES = 256, 4  # the strength is guessed from at most so many squares of this side, each way
JPEG_GRID_PX = 16  # of its blocks, with colours at half the size
GROWTH_PX = 2  # found damage is widened by so much: its edges are damaged too


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
        overwrite: whether what is shown may replace other files.
        ensemble: whether the mean over eight positions of the picture is made.
    """

    noise: float | None = None
    quality: int | None = None
    blend: float = 1.0
    passes: int | None = None
    tolerance: float | None = None
    memory_bytes: int = 2**31
    compare: bool = False
    overwrite: bool = False
    ensemble: bool = False

    def check(self, model: Model, scale: int | None = None, masked: bool = False) -> None:
        """Refuse what `model` cannot be told or cannot do.

        Raises:
            ModelError: that.
        """
        restorer, name = cast(Restores, model), pictures.model_name(model)
        for option, value, told in (("noise", self.noise, "noise"), ("quality", self.quality, "jpeg")):
            if value is not None and restorer.told != told:
                use = "denoise" if told == "noise" else "dejpeg"
                raise ModelError(f"--{option}: {name} is not told this; leave it away, or use --model {use}")
        one_pass = not isinstance(model, Refines) or model.passes == 1
        if one_pass and (self.passes is not None or self.tolerance is not None):
            raise ModelError(f"--passes, --tolerance: {name} works in one pass; use --model denoise-recurrent")
        if scale is not None and scale != restorer.reach.scale:
            raise ModelError(f"--scale: {name} enlarges {restorer.reach.scale} times, not {scale}")
        if masked and restorer.reach.scale != 1:
            raise ModelError(f"--mask: {name} enlarges; repair first, enlarge then")

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
    """(H, W), True where `detector` sees damage, widened by `GROWTH_PX`."""
    finder = cast(Detects, detector)

    def detect(patch: Tensor, _: Window) -> Tensor:
        with pictures.computing(detector):
            return finder.detect(pictures.placed(patch, detector))

    treatment = Treatment(detect, finder.reach, memory_bytes, "detect")
    found = pictures.in_tiles(treatment, picture, progress)[..., 0] > 2 ** (picture.bits - 1) - 1
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
        ExistsError: what is to be shown would replace a file.
        ImageError: the picture or the mask cannot be used.
        InputError: the memory budget is too small.
    """
    shown = compare.names(job.target, wishes.overwrite) if wishes.compare else ()
    masked = mask_file is not None or detector is not None
    picture = pictures.open_picture(job, cast(Restores, model).reach.scale, masked=masked, progress=progress)
    mask = None
    if mask_file is not None:
        mask = read_mask(mask_file, picture.height_px, picture.width_px)
    elif detector is not None:
        mask = find_damage(detector, picture, wishes.memory_bytes, progress)
        if not mask.any():
            progress(Progress("detect", 0, message=f"{job.source.name}: no damage found"))
    treatment, guessed = _treatment(model, picture, mask, wishes)
    record = _record(model, job.source, wishes, guessed, mask_file, detector)
    made = pictures.write_treated(treatment, picture, job.target, record, mask, progress)
    if shown and isinstance(picture, Picture) and made is not None:
        compare.show(picture, made, record, *shown)
    elif shown:
        progress(Progress("restore", 0, message=f"{job.source.name}: too large for --compare"))
        shown = ()
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
    strength, guessed = wishes.told, None
    if strength is None and restorer.told != "nothing":
        strength = guess_strength(model, picture)
        guessed = 255 * strength if restorer.told == "noise" else 100 - 100 * strength

    def run(patch: Tensor, window: Window) -> Tensor:
        covered = None
        if mask is not None:
            covered = torch.from_numpy(mask[window.slices]).float()[None, None]
            if not covered.any():
                return patch
        made = _run(model, patch, covered, strength, wishes).cpu()
        made = pictures.blended(patch, made, wishes.blend)
        return made if covered is None else torch.where(covered > 0.5, made, patch)

    reach = with_all_positions(restorer.reach) if wishes.ensemble else restorer.reach
    return Treatment(run, reach, wishes.memory_bytes, "restore"), guessed


def guess_strength(model: Model, picture: AnyPicture) -> float:
    """The mean guess over squares spread evenly over the picture, so the same however it is tiled; see `Restores`."""
    total, count = 0.0, 0
    height, width = picture.height_px, picture.width_px
    for top, left in itertools.product(_spread(height), _spread(width)):
        square = picture.crop(top, left, min(GUESS_PX, height), min(GUESS_PX, width))
        with pictures.computing(model):
            guess = cast(Restores, model).estimate(pictures.placed(square.to_tensor(None)[None], model)).float()
        total, count = total + float(guess.sum()), count + guess.numel()
    return min(max(total / count, 0.0), 1.0)


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
