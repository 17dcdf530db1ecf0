"""Edit a picture of one's own: abduction (`pentimento.tasks.invert`), action, prediction (Pearl 2009, section 7.1).

    abduction    the noise under which the model makes the picture
    action       what is set, see `pentimento.interventions`
    prediction   the picture that the model makes of the same noise then

A model is never quite able to make a picture that it did not make. With `Wishes.only_changes` what the action changed,
prediction minus reconstruction, is added to the picture itself, so that what the model could not say of it stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pentimento import images, interventions
from pentimento.data.fit import corner, fit_picture, recolour
from pentimento.errors import ImageError, InputError, ModelError
from pentimento.images import BoolArray, Picture
from pentimento.interventions import Do
from pentimento.model import DataSpec, Model
from pentimento.provenance import Provenance
from pentimento.runtime import Progress, ProgressCallback, no_progress
from pentimento.tasks import pictures
from pentimento.tasks.files import Job
from pentimento.tasks.invert import MISSED, Inversion, Search, candidates, check_latent, invert

__all__ = ["Wishes", "add_changes", "edit_file", "edited", "fitted", "label_of", "read_dos", "strip"]

VISIBLE = 1 / 255  # smaller changes are none

CENTRE = torch.full((2,), 0.5).numpy()
WHITE = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Wishes:
    """What the user asks for.

    Args:
        do: as `pentimento.interventions` reads it; one of them may have several values.
        label: the class of the picture; None: the one that the model makes it of best.
        attributes: name -> value, of the picture.
        only_changes: add what changed to the picture, instead of writing what the model makes.
        search: for the noise.

    Raises:
        InputError: nothing to do.
    """

    do: Sequence[str]
    label: str | None = None
    attributes: Mapping[str, float | str] = field(default_factory=dict)
    only_changes: bool = False
    search: Search = field(default_factory=Search)

    def __post_init__(self) -> None:
        if not self.do:
            raise InputError("--do: nothing to set; say what, e.g. --do label=7 or --do latent[3]=1.5")


def edit_file(
    model: Model, job: Job, wishes: Wishes, progress: ProgressCallback = no_progress
) -> tuple[Inversion, list[str]]:
    """Read, invert, set, write.

    Returns:
        What the picture is to the model, and what the user is to be warned of; `progress` was told of it.

    Raises:
        ImageError: the picture cannot be used, or does not fit into memory.
        InputError: several values together with `Wishes.only_changes`.
        ModelError: see `read_dos`, `check_latent`, `candidates`.
    """
    check_latent(model)
    arms, warnings = read_dos(model, wishes.do, wishes.search.seed)
    if wishes.only_changes and len(arms) > 1:
        raise InputError("--only-changes: makes one picture; give --do one value each")
    told = candidates(model, wishes.label, wishes.attributes)
    picture = pictures.open_picture(job, masked=wishes.only_changes, progress=progress)
    if not isinstance(picture, Picture):
        raise ImageError(f"{job.source}: too large for the memory that is free; make it smaller before")
    for warning in warnings:
        progress(Progress("do", 0, message=warning))
    image = fitted(picture, model.spec)
    found = invert(model, image, told, wishes.search, progress)
    if found.missed > MISSED:
        warnings.append(
            f"the model makes this picture badly: it misses {min(found.missed, 1):.0%} of what varies in it, more than "
            f"{MISSED:.0%}; what is edited is rather another picture"
        )
        progress(Progress("invert", 0, message=warnings[-1]))
    made = [edited(model, found, dos) for dos in arms]
    record = _record(model, job.source, wishes, arms, found)
    if wishes.only_changes:
        result, changed = add_changes(picture, made[0] - found.reconstruction.cpu())
        images.write(job.target, result, provenance=record, like=picture, changed=changed)
    else:
        result = strip(image, found.reconstruction, made) if len(made) > 1 else made[0]
        images.write(job.target, result, provenance=record)
    return found, warnings


def read_dos(model: Model, texts: Sequence[str], seed: int) -> tuple[list[tuple[Do, ...]], list[str]]:
    """What is set in each picture that is asked for: one, or one for each dose; and warnings.

    Raises:
        ModelError: see `interventions.parse_doses` and `interventions.check`; or several have doses.
        NotFoundError: no such file of a set.
    """
    fixed: list[Do] = []
    doses: tuple[Do, ...] = ()
    for text in texts:
        given = interventions.parse_doses(text, model)
        if text.startswith("@") or len(given) == 1:
            fixed += given
        elif doses:
            raise ModelError(f"--do: several values of one thing make a strip; {doses[0].target} has some already")
        else:
            doses = given
    arms = [(*fixed, dose) for dose in doses] or [tuple(fixed)]
    warnings = dict.fromkeys(warning for dos in arms for warning in interventions.check(model, dos))
    return [interventions.resolve(model, dos, seed) for dos in arms], list(warnings)


def fitted(picture: Picture, spec: DataSpec) -> Tensor:
    """(1, C, H, W): scaled until it covers what the model makes, and cut in its middle, as training does it."""
    pixels = picture.composited(WHITE).pixels[None]
    return fit_picture(pixels, 2**picture.bits - 1, spec, fit="crop", place=CENTRE, background=WHITE)


@torch.no_grad()
def edited(model: Model, found: Inversion, dos: Sequence[Do]) -> Tensor:
    """(1, C, H, W) on the CPU: the same noise with `dos` set; the reconstruction, where they are none."""
    return interventions.run(model, found.noise, found.condition, dos).float().clamp(0, 1).cpu()


def add_changes(picture: Picture, change: Tensor) -> tuple[Tensor, BoolArray]:
    """`picture` with `change` in it, (C, H, W), and which of its pixels have changed, (H, W).

    Args:
        picture: of any size; colours under its alpha are changed too.
        change: (1, C', h, w), differences of values in [0, 1], of what `fitted` cuts. Less than 1/255 is none.
    """
    own = picture.to_tensor(None)
    height, width = change.shape[2:]
    scale = max(height / picture.height_px, width / picture.width_px)
    covering = [max(s, round(scale * t)) for s, t in ((height, picture.height_px), (width, picture.width_px))]
    top, left = corner((covering[0] - height, covering[1] - width), CENTRE)
    canvas = torch.zeros(1, change.shape[1], *covering)
    canvas[:, :, top : top + height, left : left + width] = change
    if covering != [picture.height_px, picture.width_px]:
        canvas = F.interpolate(canvas, own.shape[1:], mode="bicubic", antialias=True)
    changed = canvas[0].abs().amax(0) >= VISIBLE
    return (own + recolour(canvas, own.shape[0])[0] * changed).clamp(0, 1), changed.numpy()


def strip(image: Tensor, reconstruction: Tensor, made: Sequence[Tensor]) -> Tensor:
    """(C, H, W): the picture as the model sees it, its reconstruction, and what was made, side by side."""
    row = torch.cat([image.cpu(), reconstruction.cpu(), *made])
    return images.grid(row, columns=len(row))


def _record(model: Model, source: Path, wishes: Wishes, arms: Sequence[Sequence[Do]], found: Inversion) -> Provenance:
    asked = {
        "label": label_of(model, found),
        "attributes": dict(wishes.attributes),
        "only_changes": wishes.only_changes,
    }
    options = {
        "do": [[str(do) for do in dos] for dos in arms],
        "steps": wishes.search.steps,
        "reconstruction_rmse": round(found.rmse, 2),
        **{name: value for name, value in asked.items() if value},
    }
    return replace(pictures.record("edit", model, options, [source]), seed=wishes.search.seed)


def label_of(model: Model, found: Inversion) -> str | None:
    """The class that the model was told; None where it is told none."""
    if not model.config.get("conditional") or found.condition.labels is None:
        return None
    return model.spec.classes[int(found.condition.labels[0])]
