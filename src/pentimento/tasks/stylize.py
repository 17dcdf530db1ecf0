"""Render picture files in the look of others: by a stylizer, in one pass, or by optimisation.

Masks say which style goes where. They may not overlap, and where they leave a hole the picture stays as it is. Gray
in a mask is a part: where two regions meet, their masks may fade into each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor

from pentimento import images
from pentimento.capabilities import Reach, Stylizes
from pentimento.errors import InputError, TrainingError
from pentimento.features import FeatureNetwork
from pentimento.images import Picture
from pentimento.model import Model
from pentimento.provenance import Provenance
from pentimento.runtime import ProgressCallback, no_progress
from pentimento.tasks import pictures
from pentimento.tasks.colours import luminance_only, match_colours
from pentimento.tasks.files import Job
from pentimento.tasks.masks import Shares, brought_to, read_regions
from pentimento.tasks.memory import least_budget
from pentimento.tasks.optimize import Objective, Schedule, Step, Style, optimize
from pentimento.tasks.pictures import AnyPicture, Treatment
from pentimento.tasks.style_objective import no_longer
from pentimento.tasks.styles import NamedStyle, encode, style_picture
from pentimento.tasks.tiles import Window

__all__ = [
    "Colours",
    "Look",
    "Search",
    "content_moments",
    "matched",
    "optimize_file",
    "so_far",
    "stylize_file",
    "stylized",
    "write_stylized",
]

Colours = Literal["style", "luminance", "matched"]
Options = Mapping[str, float | str]

COLOURS_PX = 512  # the longer side of what the colours of a picture are measured on
REGIONS_BYTES = 2 * 3 * 4 + 8  # a pixel, beside the network: what is put together, a look's part of it, shares
LIVE_NUMBERS = 3  # of every number of a map, in optimisation: itself, its gradient, and what makes the next


@dataclass(frozen=True)
class Look:
    """What pictures are to look like.

    Args:
        styles: at least one.
        shares: what each counts, adding to 1; with regions, each has its own in full.
        strength: from 0, the picture itself, to 1.
        colours: ``style``; ``luminance``: the picture keeps its own and takes over the lightness only; ``matched``:
            the styles, which must be pictures, are brought to its colours first.
        style_px: the longer side that pictures of styles are brought to.
        memory_bytes: beside the picture.
    """

    styles: Sequence[NamedStyle]
    shares: Sequence[float]
    strength: float = 1.0
    colours: Colours = "style"
    style_px: int = 512
    memory_bytes: int = 2**31

    def vectors(self, in_regions: bool) -> Tensor:
        """(K, S): one vector for each region, or the mixture of all."""
        every = torch.cat([style.vector for style in self.styles])
        if in_regions:
            return every
        used = [(share, vector) for share, vector in zip(self.shares, every, strict=True) if share]
        return torch.stack([share * vector for share, vector in used]).sum(0, keepdim=True)


# ---------------------------------------------------------------------------------------------- in one pass
def stylize_file(
    model: Model,
    job: Job,
    look: Look,
    mask_files: Sequence[Path] = (),
    *,
    options: Options,
    progress: ProgressCallback = no_progress,
) -> None:
    """Read, render, write.

    Args:
        model: that stylizes.
        job: what, and where to.
        look: wished for.
        mask_files: one for each style, or none.
        options: for the record.
        progress: told of every tile.

    Raises:
        ImageError: the picture or a mask cannot be used.
        InputError: the memory budget is too small.
    """
    picture = pictures.open_picture(job, progress=progress)
    regions = read_regions(mask_files, picture.height_px, picture.width_px)
    write_stylized(model, job, picture, look, regions, mask_files, options=options, progress=progress)


def write_stylized(
    model: Model,
    job: Job,
    picture: AnyPicture,
    look: Look,
    regions: Sequence[Shares],
    mask_files: Sequence[Path],
    *,
    options: Options,
    progress: ProgressCallback = no_progress,
) -> None:
    """Render and write a picture that was read, and its masks; see `stylize_file`."""
    if look.colours == "matched":
        look = matched(model, look, pictures.scaled_down(picture, COLOURS_PX))
    treatment = _treatment(model, picture, look, regions, progress)
    files = [job.source, *(f for style in look.styles for f in style.files), *mask_files]
    record = pictures.record("stylize", model, options, files)
    pictures.write_treated(treatment, picture, job.target, record, progress=progress)


def stylized(
    model: Model, picture: Picture, look: Look, regions: Sequence[Shares] = (), progress: ProgressCallback = no_progress
) -> Picture:
    """`picture` in that look, in memory."""
    return pictures.treated(_treatment(model, picture, look, regions, progress), picture, progress=progress)


def matched(model: Model, look: Look, picture: Picture) -> Look:
    """The look of the same styles, which are pictures, in the colours of `picture`."""
    content = no_longer(_in_colour(picture), COLOURS_PX)

    def recoloured(style: NamedStyle) -> NamedStyle:
        painting = style_picture(style.files[0], look.style_px)
        return replace(style, vector=encode(model, match_colours(painting, content)))

    return replace(look, styles=[recoloured(style) for style in look.styles])


def _in_colour(picture: Picture) -> Tensor:
    """(1, 3, H, W), the alpha left aside."""
    return picture.to_tensor(None)[None].expand(-1, 3, -1, -1)


def _treatment(
    model: Model, picture: AnyPicture, look: Look, regions: Sequence[Shares], progress: ProgressCallback
) -> Treatment:
    stylizer = cast(Stylizes, model)
    reach = stylizer.reach
    if regions:
        reach = replace(reach, bytes_per_px=reach.bytes_per_px + REGIONS_BYTES + 2 * len(regions))
    moments = content_moments(model, picture, reach, look.memory_bytes, progress)
    vectors = look.vectors(bool(regions)).to(model.device)

    def render(patch: Tensor, vector: Tensor) -> Tensor:
        """In one of the looks, (1, 3, h, w)."""
        with pictures.computing(model):
            given = pictures.placed(patch, model)
            made = stylizer.stylize(given, vector[None], look.strength, moments).float().cpu()
        return luminance_only(patch, made.clamp(0, 1)) if look.colours == "luminance" else made

    def run(patch: Tensor, window: Window) -> Tensor:
        patch = patch.expand(-1, 3, -1, -1)
        if not regions:
            return render(patch, vectors[0])
        parts = [torch.from_numpy(region[window.slices]) for region in regions]
        whole = torch.stack(parts).sum(0).clamp(min=255)  # more by rounding only
        made = patch.clone()
        for vector, part in zip(vectors, parts, strict=True):  # one after another: many looks take no more memory
            if part.any():
                made += (part / whole) * (render(patch, vector) - patch)
        return made

    return Treatment(run, reach, look.memory_bytes, "stylize")


# ------------------------------------------------------------------------------------ before the first tile
def content_moments(
    model: Model, picture: AnyPicture, reach: Reach, memory_bytes: int, progress: ProgressCallback = no_progress
) -> list[tuple[Tensor, Tensor]] | None:
    """Mean and deviation of the model's content maps over the whole picture; None if it takes one tile only.

    Tiles are looked at beforehand, and of each the positions in its core are counted, so every position once.
    """
    stylizer = cast(Stylizes, model)
    if pictures.planned(picture, reach, memory_bytes).count == 1:
        return None
    found: list[Moments] = [Moments() for _ in stylizer.strides]

    def look(patch: Tensor, window: Window, core: Window) -> None:
        with pictures.computing(model):
            maps = stylizer.content_maps(pictures.placed(patch, model))
        for moments, stride, full in zip(found, stylizer.strides, maps, strict=True):
            moments.add(full[(0, slice(None), *_positions(core, window, stride))])

    pictures.look_over(look, picture, reach, memory_bytes, "measure", progress)
    both = [moments.mean_and_deviation() for moments in found]
    return [(mean.to(model.device), deviation.to(model.device)) for mean, deviation in both]


def _positions(core: Window, window: Window, stride: int) -> tuple[slice, slice]:
    """Of the core, in the map of the window. The last core has what the network pads, as in the whole picture."""
    sides = (
        (core.top - window.top, core.height, window.height),
        (core.left - window.left, core.width, window.width),
    )
    first, second = (
        slice(begin // stride, None if begin + length == full else (begin + length) // stride)
        for begin, length, full in sides
    )
    return first, second


class Moments:
    """Sums over the positions of a map, part by part."""

    def __init__(self) -> None:
        self.count, self.sum, self.squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, part: Tensor) -> None:
        """(C, h, w)"""
        rows = part.flatten(1).float()
        count, mean = rows.shape[1], rows.mean(1)
        variance = (rows - mean[:, None]).square().mean(1)
        mean, variance = mean.cpu().double(), variance.cpu().double()  # not every device has float64
        self.count += count
        self.sum, self.squares = self.sum + count * mean, self.squares + count * (variance + mean.square())

    def mean_and_deviation(self) -> tuple[Tensor, Tensor]:
        """(1, C, 1, 1) each, as `pentimento.losses.mean_and_deviation` has them."""
        mean = self.sum / self.count
        deviation = (self.squares / self.count - mean.square()).clamp(min=0).add(1e-5).sqrt()
        return mean.float().view(1, -1, 1, 1), deviation.float().view(1, -1, 1, 1)


# --------------------------------------------------------------------------------------------- by optimisation
@dataclass(frozen=True)
class Search:
    """How a picture is sought by optimisation.

    Args:
        network: that tells content and style.
        objective: what is minimised.
        schedule: how.
        colours: see `Look`.
        longest_px: the longer side that the picture is brought down to first; None leaves it as it is.
        memory_bytes: in all.
        preview_every: steps after which the picture so far is written, see `so_far`; None writes none.
    """

    network: FeatureNetwork
    objective: Objective
    schedule: Schedule
    colours: Colours = "style"
    longest_px: int | None = None
    memory_bytes: int = 2**31
    preview_every: int | None = None


def optimize_file(
    search: Search,
    job: Job,
    style_files: Sequence[Path],
    shares: Sequence[float],
    mask_files: Sequence[Path] = (),
    *,
    options: Options,
    progress: ProgressCallback = no_progress,
) -> Step:
    """Read, search, write. Stopped by Ctrl-C, or by a loss that is not finite, the last picture is kept: see `so_far`.

    Returns:
        The last step.

    Raises:
        EvaluationError, ImageError, InputError, ModelError, TrainingError: see `pentimento.tasks.optimize.optimize`.
    """
    original = pictures.open_picture(job, streams=False, progress=progress)
    if not isinstance(original, Picture) and search.longest_px is None:
        raise InputError(f"{job.source}: is too large for a search; bring it down with --size, e.g. --size 2048")
    longest = max(original.height_px, original.width_px) if search.longest_px is None else search.longest_px
    picture = pictures.scaled_down(original, longest)
    per_px = _check_memory(search, picture)
    network, device = search.network, _device(search.network)
    content, styles = _in_colour(picture), []
    regions = read_regions(mask_files, original.height_px, original.width_px)
    small = [brought_to(region, picture.height_px, picture.width_px) for region in regions]
    masks = [torch.from_numpy(region)[None, None].float() / 255 for region in small]
    for number, (file, share) in enumerate(zip(style_files, shares, strict=True)):
        painting = style_picture(file)
        _check_style_memory(search, picture, painting, per_px)
        painting = match_colours(painting, no_longer(content, COLOURS_PX)) if search.colours == "matched" else painting
        styles.append(Style(painting.to(device), share, masks[number].to(device) if masks else None))
    record = replace(
        pictures.record("stylize", None, options, [job.source, *style_files, *mask_files]),
        model=network.name,
        weights_sha256=network.sha256,
    )
    unfinished, last = so_far(job.target), None
    try:
        found = optimize(content.to(device), styles, network, search.objective, search.schedule, progress=progress)
        for last in found:
            if search.preview_every and last.done % search.preview_every == 0 and last.done < last.total:
                _write(last, picture, search, unfinished, record)
    except KeyboardInterrupt as stop:
        if last is None:
            raise
        _write(last, picture, search, unfinished, record)
        told = f"stopped after step {last.done} of {last.total}; the picture so far is {unfinished}"
        raise KeyboardInterrupt(told) from stop
    except TrainingError as error:
        if last is None:
            raise
        _write(last, picture, search, unfinished, record)
        raise TrainingError(f"{error}; the picture of step {last.done} is {unfinished}") from error
    assert last is not None
    _write(last, picture, search, job.target, record)
    unfinished.unlink(missing_ok=True)
    return last


def so_far(target: Path) -> Path:
    """Where the picture lies that is to become `target`, until it is done."""
    return target.with_stem(f"{target.stem}-so-far")


def _write(step: Step, picture: Picture, search: Search, target: Path, record: Provenance) -> None:
    made = step.picture.cpu()
    made = luminance_only(_in_colour(picture), made) if search.colours == "luminance" else made
    result = replace(picture, pixels=images.to_samples(made, picture.bits))
    record = replace(record, options={**record.options, "steps": step.done})
    images.write(target, result, provenance=record, like=picture)


def _device(network: FeatureNetwork) -> torch.device:
    return next((p.device for p in network.parameters()), torch.device("cpu"))


def _check_memory(search: Search, picture: Picture) -> float:
    """Refuse what will not fit, by the maps of a small picture.

    Returns:
        Bytes that the network's maps take for one pixel.

    Raises:
        InputError: the search takes more than it may.
    """
    side = 64
    with torch.no_grad():
        maps = search.network.maps(torch.zeros(1, 3, side, side, device=_device(search.network)))
    per_px = 4 * sum(m.numel() for m in maps.values()) / side**2
    needed = LIVE_NUMBERS * per_px * picture.height_px * picture.width_px
    if needed > search.memory_bytes:
        longest = int(max(picture.height_px, picture.width_px) * (search.memory_bytes / needed) ** 0.5)
        raise InputError(
            f"--memory: too little for the search at {picture.width_px}x{picture.height_px} px; allow about "
            f"{least_budget(math.ceil(needed))}, or try --size {longest}"
        )
    return per_px


def _check_style_memory(search: Search, picture: Picture, painting: Tensor, per_px: float) -> None:
    """Refuse a style that would be looked at too large; its maps take `per_px` bytes a pixel.

    Raises:
        InputError: that.
    """
    height, width = painting.shape[2:]
    longest = max(picture.height_px, picture.width_px) * search.objective.style_scale
    needed = per_px * height * width * (longest / max(height, width)) ** 2
    if needed > search.memory_bytes:
        fitting = search.objective.style_scale * (search.memory_bytes / needed) ** 0.5
        raise InputError(
            f"--style-scale: too little memory for a style of {longest:.0f} px; try --style-scale "
            f"{math.floor(fitting * 100) / 100:g}, or allow about --memory {least_budget(math.ceil(needed))}"
        )
