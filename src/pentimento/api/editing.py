"""The verb `edit`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pentimento.api.options import Callback, Flag, read_attributes
from pentimento.api.pictures import say_beforehand
from pentimento.errors import ExistsError, ImageError, NotFoundError
from pentimento.runtime import no_progress

__all__ = ["EditResult", "edit"]


@dataclass(frozen=True)
class EditResult:
    """What was made of a picture.

    Args:
        out: the picture, or the strip.
        label: the class that the picture was taken to be of; None where the model knows none.
        rmse: of the model's reconstruction of the picture before anything was set, of 255.
        psnr_db: of the same.
        seed: of the search.
        weights_sha256: of the model.
        warnings: what to mind.
    """

    out: Path
    label: str | None
    rmse: float
    psnr_db: float
    seed: int
    weights_sha256: str
    warnings: list[str] = field(default_factory=list)


def edit(
    image: Path,
    /,
    *,
    model: str,
    out: Path,
    do: Annotated[Sequence[str], Parameter(negative="")] = (),
    label: str | None = None,
    attributes: Annotated[Sequence[str], Parameter(name="--attribute", negative="")] = (),
    only_changes: Flag = False,
    steps: int = 200,
    seed: int = 0,
    device: str = "auto",
    overwrite: Flag = False,
    progress: Callback = no_progress,
) -> EditResult:
    """Set something within the model of a picture of your own: what it would have been, had that been otherwise.

    The noise is found under which the model makes the picture, and the picture is made of it anew with what is set. How
    near the model comes to the picture before is said: an edit of a bad reconstruction is one of another picture.

    Args:
        image: A picture file; what the model makes is cut from its middle.
        model: A run folder, a model folder, a model of the zoo, or a hub id, that makes pictures of latents (gan, vae).
        out: A picture (.png, .jpg, .webp, .tif) of the model's size; a strip, where --do has several values.
        do: What to set: label=7, thickness=4.2, latent[3]=1.5, up2[17]=0, up2[3,17]=mean, or @FILE of a set that
            explain dissect saved; repeatable. One may have several values, latent[3]=-2,0,2 or label=deer,dog, for a
            strip of the picture, what the model makes of it, and a picture for each.
        label: The class of the picture, where the model knows classes; the one that fits best where left out.
        attributes: NAME=VALUE of the picture, for each attribute that the model was told; repeatable.
        only_changes: Add what changes to the picture itself, which keeps its size, alpha, profile and EXIF, and every
            pixel where nothing changes.
        steps: Of the search for the noise (gan).
        seed: Of the latents it begins at.
        device: auto, cpu, cuda, cuda:N or mps.
        overwrite: Replace what stands at OUT.
    """
    from pentimento.models import load
    from pentimento.runtime import choose_device
    from pentimento.tasks.edit import Wishes, edit_file, label_of
    from pentimento.tasks.files import Job
    from pentimento.tasks.invert import Search

    job = Job(Path(image), Path(out))
    wishes = Wishes(do, label, read_attributes(attributes), only_changes, Search(steps, seed))
    _check_files(job.source, job.target, overwrite)
    loaded = load(model, choose_device(device))
    say_beforehand([job] if only_changes else [], "edit", [loaded], progress)
    found, warnings = edit_file(loaded, job, wishes, progress)
    assert loaded.origin is not None
    sha256 = loaded.origin.weights_sha256
    taken, rmse, psnr_db = label_of(loaded, found), round(found.rmse, 2), round(found.psnr_db, 2)
    return EditResult(job.target, taken, rmse, psnr_db, seed, sha256, warnings)


def _check_files(source: Path, target: Path, overwrite: bool) -> None:
    from pentimento import images

    if not source.exists():
        raise NotFoundError(f"{source}: no such file")
    if target.suffix.lower() not in images.WRITABLE_SUFFIXES:
        kinds = ", ".join(sorted(images.WRITABLE_SUFFIXES))
        raise ImageError(f"--out: cannot write {target.name}; its name must end in one of {kinds}")
    if target.exists() and target.samefile(source):
        raise ExistsError(f"{target}: is the picture itself; choose another --out")
    if target.exists() and (target.is_dir() or not overwrite):
        raise ExistsError(f"{target}: exists; choose another --out, or --overwrite")
