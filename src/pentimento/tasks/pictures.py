"""A function on tiles, over picture files: read, work within a memory budget, keep all that the file carries, write.

The verbs that change pictures differ in the function, in what they say of it, and in nothing else. One that needs to
know the whole picture first (its statistics, say) looks at it with `look_over` before.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pentimento import images, large
from pentimento.capabilities import Reach
from pentimento.colour import Pixels
from pentimento.errors import ExistsError, ImageError, InputError, MissingExtraError
from pentimento.images import BoolArray, Picture
from pentimento.large import LargePicture
from pentimento.model import Model
from pentimento.provenance import Provenance
from pentimento.runtime import Progress, ProgressCallback, autocast, no_progress
from pentimento.tasks import memory, tiles
from pentimento.tasks.files import Job, check_writable
from pentimento.tasks.tiles import ArraySink, FileSink, PictureSource, Plan, TileFunction, VisitFunction, Window

__all__ = [
    "AnyPicture",
    "Treatment",
    "blended",
    "computing",
    "in_tiles",
    "look_over",
    "model_name",
    "one_by_one",
    "open_picture",
    "placed",
    "planned",
    "record",
    "scaled_down",
    "treated",
    "write_treated",
]

AnyPicture = Picture | LargePicture


@dataclass(frozen=True)
class Treatment:
    """What is done to a picture, tile by tile.

    Args:
        function: see `pentimento.tasks.tiles.run`; it may change the number of channels.
        reach: of the function.
        memory_bytes: that it may take, beside the picture; a result that is kept in memory counts.
        verb: for progress and messages.
    """

    function: TileFunction
    reach: Reach
    memory_bytes: int
    verb: str


# ---------------------------------------------------------------------------------------- what functions use
def placed(patch: Tensor, model: Model) -> Tensor:
    """On the model's device, channels last: convolutions are faster so."""
    return patch.to(model.device, memory_format=torch.channels_last)


@contextlib.contextmanager
def computing(model: Model) -> Iterator[None]:
    """Without gradients, in bf16 where the processor computes in it."""
    with torch.no_grad(), autocast(model.device):
        yield


def blended(before: Tensor, made: Tensor, share: float) -> Tensor:
    """`share` of the way from `before` to `made`, which may be larger, (1, C, H, W); `before` is enlarged then."""
    if share == 1:
        return made
    if before.shape[2:] != made.shape[2:]:
        before = F.interpolate(before, made.shape[2:], mode="bicubic")
    return before + share * (made - before)


# --------------------------------------------------------------------------------------------------- files
def one_by_one(
    jobs: Sequence[Job], work: Callable[[Job], None], progress: ProgressCallback = no_progress
) -> dict[str, str]:
    """Do `work` on each; of several pictures, those that cannot be used are left out.

    Returns:
        Source -> why it could not be used.

    Raises:
        InputError, ExistsError, MissingExtraError: what `work` raised on the only one.
    """
    failed: dict[str, str] = {}
    for number, job in enumerate(jobs):
        if len(jobs) > 1:
            progress(Progress("files", number, len(jobs), "files"))
        try:
            work(job)
        except (InputError, ExistsError, MissingExtraError) as error:  # what the others do not suffer from
            if len(jobs) == 1:
                raise
            failed[str(job.source)] = str(error).removeprefix(f"{job.source}: ")
    if len(jobs) > 1:
        progress(Progress("files", len(jobs), len(jobs), "files"))
    return failed


def open_picture(
    job: Job,
    scale: int = 1,
    *,
    masked: bool = False,
    streams: bool = True,
    progress: ProgressCallback = no_progress,
) -> AnyPicture:
    """The picture of `job`; it stays in its file where memory is too small for it and a result `scale` times as wide.

    What writing would refuse in the end is found out before the work: one pixel is tried.

    Args:
        job: what, and where to.
        scale: output pixels for one of the input, along a side.
        masked: whether the result is to keep the file's own samples outside of a mask.
        streams: whether a picture that stays in its file is written from there, row by row.
        progress: told of colours that the result cannot keep.

    Raises:
        ImageError: no still picture, a target of another kind than is written, or one that cannot keep the samples.
    """
    check_writable(job)
    picture = large.open_still(job.source, memory.memory_budget(), scale**2)
    if isinstance(picture, LargePicture) and streams:
        large.check_name(job.target)
    pixel = picture.crop(0, 0, 1, 1)
    bare_ink = pixel.icc_profile is None and pixel.own is not None and pixel.own.shape[2] == 4
    if bare_ink and not masked:
        progress(Progress("read", 0, message=f"{job.source.name}: CMYK without a profile, so the result is RGB"))
    with tempfile.TemporaryDirectory() as folder:
        tried = Path(folder, "tried").with_suffix(job.target.suffix)
        try:
            images.write(tried, pixel, changed=np.zeros((1, 1), bool) if masked else None)
        except ImageError as error:
            why = str(error).removeprefix(f"{tried}: ")
            if not masked:
                raise ImageError(f"{job.target}: {why}") from error
            ways = "CMYK without a profile must become RGB before" if bare_ink else "choose .tif or .png for --out"
            told = f"{job.source}: {job.target.suffix} cannot hold the pixels outside of a mask as they are; {ways}"
            raise ImageError(f"{told} ({why})") from error
    return picture


def record(verb: str, model: Model | None, options: Mapping[str, Any], inputs: Sequence[Path]) -> Provenance:
    """What is written into a picture that was made from `inputs`; files of one name are told apart by their folders."""
    return Provenance(
        verb=verb,
        source_type="compositeWithTrainedAlgorithmicMedia",
        model=None if model is None else model_name(model),
        weights_sha256=model.origin.weights_sha256 if model is not None and model.origin else None,
        options=options,
        inputs={name: _digest(path) for name, path in _told_apart(inputs).items()},
    )


def model_name(model: Model) -> str:
    """What messages and records call it."""
    return model.origin.name if model.origin else model.family


def _told_apart(paths: Sequence[Path]) -> dict[str, Path]:
    """Each path once, by as many of its last parts as tell all of them apart."""
    once = set(paths)
    for length in range(1, max((len(path.parts) for path in once), default=0) + 1):
        named = {"/".join(path.parts[-length:]): path for path in paths}
        if len(named) == len(once):
            break
    return named if once else {}


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# ------------------------------------------------------------------------------------------- in and out
def planned(picture: AnyPicture, reach: Reach, memory_bytes: int) -> Plan:
    """The tiles of a picture, of whatever is done to it; see `pentimento.tasks.tiles.plan`.

    The result of a picture in memory is kept in memory too, as RGB, and counts.
    """
    height, width = picture.height_px, picture.width_px
    result_bytes = 3 * height * width * reach.scale**2 * picture.bits // 8
    kept_bytes = result_bytes if isinstance(picture, Picture) else 0
    return tiles.plan(height, width, reach, memory_bytes, kept_bytes)


def in_tiles(treatment: Treatment, picture: AnyPicture, progress: ProgressCallback = no_progress) -> Pixels:
    """(scale * H, scale * W, C') samples of what the function makes, in the bits of the picture."""
    height, width = (side * treatment.reach.scale for side in (picture.height_px, picture.width_px))
    sink = ArraySink(height, width, picture.bits)
    _run(treatment, picture, sink, progress)
    return sink.pixels


def look_over(
    function: VisitFunction,
    picture: AnyPicture,
    reach: Reach,
    memory_bytes: int,
    stage: str,
    progress: ProgressCallback = no_progress,
) -> None:
    """Show every tile of the picture to `function`, see `pentimento.tasks.tiles.visit`; nothing is made."""
    plan = planned(picture, reach, memory_bytes)
    tiles.visit(function, PictureSource(picture), plan, stage=stage, progress=progress)


def treated(
    treatment: Treatment, picture: Picture, mask: BoolArray | None = None, progress: ProgressCallback = no_progress
) -> Picture:
    """The result in memory; outside of `mask`, (H, W), it is as `picture` was. Alpha is taken along."""
    pixels = in_tiles(treatment, picture, progress)
    if mask is not None:
        pixels = np.where(mask[..., None], pixels, picture.pixels)
    return replace(picture, pixels=pixels, alpha=_alpha(picture, pixels.shape[0], pixels.shape[1]))


def scaled_down(picture: AnyPicture, longest_px: int) -> Picture:
    """The picture in memory, with that longer side where its own is longer, and with all that it carries.

    Colours count as much as they can be seen, so that what is hidden below transparency does not come to light.
    """
    factor = min(1.0, longest_px / max(picture.height_px, picture.width_px))
    height, width = (max(1, round(side * factor)) for side in (picture.height_px, picture.width_px))
    if isinstance(picture, LargePicture):
        return picture.scaled_down(height, width)
    if factor == 1:
        return picture
    values, alpha = picture.to_tensor(None)[None], _alpha(picture, height, width)
    smaller = _smaller(values, height, width)
    if picture.alpha is not None:
        opacity = torch.from_numpy(picture.alpha.astype(np.float32) / (2**picture.bits - 1))[None, None]
        seen = _smaller(opacity, height, width)
        smaller = torch.where(seen > 0, _smaller(values * opacity, height, width) / seen.clamp(min=1e-6), smaller)
    return replace(picture, pixels=images.to_samples(smaller, picture.bits), alpha=alpha)


def _smaller(values: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(values, (height, width), mode="bicubic", antialias=True)


def _alpha(picture: Picture, height: int, width: int) -> Pixels | None:
    """Its alpha, at another size."""
    if picture.alpha is None or picture.alpha.shape == (height, width):
        return picture.alpha
    values = torch.from_numpy(picture.alpha.astype(np.float32) / (2**picture.bits - 1))[None, None]
    other = F.interpolate(values, (height, width), mode="bicubic", antialias=height < picture.height_px)
    return images.to_samples(other, picture.bits)[..., 0]


def write_treated(
    treatment: Treatment,
    picture: AnyPicture,
    target: Path,
    provenance: Provenance,
    mask: BoolArray | None = None,
    progress: ProgressCallback = no_progress,
) -> Picture | None:
    """Treat and write; a picture that stays in its file goes from file to file.

    Returns:
        The result, or None where it was never in memory.
    """
    if isinstance(picture, LargePicture):
        _stream(treatment, picture, target, provenance, mask, progress)
        return None
    made = treated(treatment, picture, mask, progress)
    images.write(target, made, provenance=provenance, like=picture, changed=mask)
    return made


def _stream(
    treatment: Treatment,
    picture: LargePicture,
    target: Path,
    provenance: Provenance,
    mask: BoolArray | None,
    progress: ProgressCallback,
) -> None:
    def changed(window: Window) -> BoolArray:
        assert mask is not None
        return mask[window.top : window.top + window.height]

    size = (picture.height_px * treatment.reach.scale, picture.width_px * treatment.reach.scale)
    with large.writing(target, *size, like=picture, provenance=provenance) as writer:
        _run(treatment, picture, FileSink(writer, None if mask is None else changed), progress)
    for note in writer.notes:
        progress(Progress(treatment.verb, 0, message=f"{target.name}: {note}"))


def _run(treatment: Treatment, picture: AnyPicture, sink: ArraySink | FileSink, progress: ProgressCallback) -> None:
    plan = planned(picture, treatment.reach, treatment.memory_bytes)
    tiles.run(treatment.function, PictureSource(picture), sink, plan, stage=treatment.verb, progress=progress)
