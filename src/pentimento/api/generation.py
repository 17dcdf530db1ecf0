"""The verb `generate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from pentimento import __version__
from pentimento.api.options import Callback, Flag, check_seed, read_attributes, say_licence
from pentimento.errors import ExistsError, InputError
from pentimento.runtime import Progress, ProgressCallback, no_progress

__all__ = ["GenerateResult", "generate"]


@dataclass(frozen=True)
class GenerateResult:
    """What was generated.

    Args:
        out: the picture or the folder.
        files: all pictures written.
        count: samples.
        seed: that makes them again.
        weights_sha256: of the model.
    """

    out: Path
    files: list[Path]
    count: int
    seed: int
    weights_sha256: str


def generate(
    model: str,
    *,
    out: Path,
    count: int = 64,
    label: str | None = None,
    attributes: Annotated[Sequence[str], Parameter(name="--attribute", negative="")] = (),
    seed: int = 0,
    truncation: float | None = None,
    interpolate: int | None = None,
    image: Path | None = None,
    mask: Path | None = None,
    do: Annotated[Sequence[str], Parameter(negative="")] = (),
    device: str = "auto",
    overwrite: Flag = False,
    progress: Callback = no_progress,
) -> GenerateResult:
    """Make new pictures with a trained model.

    The same seed gives the same pictures at any count. Every file says what made it: see `pentimento inspect`.

    Args:
        model: A run folder, a model folder, a model of the zoo, or a hub id.
        out: A picture (.png, .jpg, .webp, .tif) for a contact sheet; a folder for single pictures with a metadata.csv.
        count: How many; rows, with --interpolate.
        label: The class to draw, where the model knows classes; all in turn where left out.
        attributes: NAME=VALUE for an attribute that the model was told; repeatable.
        seed: Of all randomness.
        truncation: Draw latents within so many standard deviations: tamer pictures, less variety.
        interpolate: Walk from one latent to another in so many pictures, a row for each pair.
        image: A picture of which a part is drawn anew, by a model that draws pixel by pixel (cnn).
        mask: Of that picture, white (or transparent) where it is drawn anew, given what precedes in the model's order.
        do: Set something within the model and leave all else as it was: latent[3]=1.5, up2[17]=0, up2[3,17]=mean, or
            @FILE of a set that explain dissect saved; repeatable.
        device: auto, cpu, cuda, cuda:N or mps.
        overwrite: Replace what stands at OUT.
    """
    from pentimento import images, interventions
    from pentimento.capabilities import Samples, require
    from pentimento.models import MODELS, load
    from pentimento.runtime import choose_device
    from pentimento.tasks import generate as task

    out = Path(out)
    is_sheet = out.suffix.lower() in images.WRITABLE_SUFFIXES
    _check_wishes(out, is_sheet, count, seed, interpolate, overwrite)
    given = _given_files(image, mask, interpolate)
    loaded = load(model, choose_device(device))
    require(loaded, Samples, "generate", MODELS)
    say_licence(loaded.origin, progress)
    draw, dos = _draw(loaded, given, do, interpolate, seed, progress)
    asked = read_attributes(attributes)
    condition = interventions.tell(loaded, task.make_condition(loaded, count, seed, label, asked), dos)
    options = {
        "count": count,
        "label": label,
        "attributes": asked,
        "truncation": truncation,
        "interpolate": interpolate,
        "do": [str(each) for each in dos],
    }
    record = _recorder("generate", loaded, seed, options, given)
    if is_sheet:
        if interpolate is not None:
            sheet = task.interpolate(loaded, condition, count, interpolate, seed, truncation)
        else:
            sheet = task.generate_grid(loaded, condition, count, seed, truncation, draw)
        images.write(out, sheet, provenance=record(None))
        files = [out]
    else:
        how: dict[str, Any] = {"truncation": truncation, "draw": draw, "overwrite": overwrite, "progress": progress}
        files = task.generate_folder(loaded, condition, count, seed, out, record, **how)
    assert loaded.origin is not None
    return GenerateResult(out, files, count, seed, loaded.origin.weights_sha256)


# --------------------------------------------------------------------------------------------------- parts
def _check_wishes(out: Path, is_sheet: bool, count: int, seed: int, interpolate: int | None, overwrite: bool) -> None:
    from pentimento import images

    if count < 1:
        raise InputError(f"--count: 1 or more expected, got {count}")
    check_seed(seed)
    if out.suffix.lower() in images.READABLE_SUFFIXES and not is_sheet:
        raise InputError(f"--out: cannot write {out.suffix}; one of {', '.join(images.WRITABLE_SUFFIXES)} expected")
    if interpolate is not None and not is_sheet:
        raise InputError("--interpolate: makes one sheet; give --out a picture's name, e.g. path.png")
    if out.exists() and not overwrite:
        raise ExistsError(f"{out}: exists; choose another --out, or --overwrite")
    if out.exists() and is_sheet != out.is_file():
        kind = "file" if out.is_file() else "folder"
        raise ExistsError(f"{out}: is a {kind}, and --overwrite only replaces its own kind")


def _given_files(image: Path | None, mask: Path | None, interpolate: int | None) -> tuple[Path, Path] | None:
    if image is None and mask is None:
        return None
    if image is None or mask is None or interpolate is not None:
        raise InputError("--image: goes with --mask, and neither goes with --interpolate")
    return Path(image), Path(mask)


def _draw(
    model: Any,
    given: tuple[Path, Path] | None,
    do: Sequence[str],
    interpolate: int | None,
    seed: int,
    progress: ProgressCallback,
) -> tuple[Any, Sequence[Any]]:
    """What draws the pictures, where that is not the model as it is; and what was set in it."""
    from pentimento import interventions
    from pentimento.capabilities import Intervenes, Regenerates, require
    from pentimento.models import MODELS
    from pentimento.tasks import generate as task

    if do and (given is not None or interpolate is not None):
        raise InputError("--do: goes neither with --image nor with --interpolate")
    if given is not None:
        require(model, Regenerates, "generate --image", MODELS)
        return task.redraw(model, *given), ()
    if not do:
        return None, ()
    require(model, Intervenes, "generate --do", MODELS)
    dos = interventions.parse_all(do, model)
    for warning in interventions.check(model, dos):
        progress(Progress("do", 0, message=warning))
    dos = interventions.resolve(model, dos, seed)
    return lambda noise, told: interventions.run(model, noise, told, dos), dos


def _recorder(verb: str, model: Any, seed: int, options: dict[str, Any], given: tuple[Path, Path] | None) -> Any:
    """A function from a sample's index (None for a sheet) to its provenance record."""
    import hashlib

    from pentimento.provenance import Provenance

    told = {k: v for k, v in options.items() if v not in (None, {}, (), [])}
    inputs = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in given or ()}

    def record(index: int | None) -> Provenance:
        return Provenance(
            verb=verb,
            model=model.origin.name,
            weights_sha256=model.origin.weights_sha256,
            seed=seed,
            options=told if index is None else {**told, "index": index},
            package_version=__version__,
            source_type="compositeWithTrainedAlgorithmicMedia" if inputs else "trainedAlgorithmicMedia",
            inputs=inputs,
        )

    return record
