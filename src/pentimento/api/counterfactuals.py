"""The verb `explain counterfactual`: a picture as it would have been, had something about it been otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pentimento.api.explanation import ExplainResult
from pentimento.api.options import Callback, Flag, check_seed, report_files, say_licence
from pentimento.errors import CausalError, ExistsError, InputError, NotFoundError
from pentimento.runtime import Progress, ProgressCallback, no_progress

if TYPE_CHECKING:
    from torch import Tensor

    from pentimento.studies.counterfactual import Abducted, Counterfactual
    from pentimento.studies.scm import World

__all__ = ["explain_counterfactual"]


def explain_counterfactual(
    model: str,
    image: Path,
    /,
    *,
    do: Annotated[Sequence[str], Parameter(negative="")] = (),
    attributes: Annotated[Sequence[str], Parameter(name="--attribute", negative="")] = (),
    data: Path | None = None,
    hold: Annotated[Sequence[str], Parameter(negative="")] = (),
    traverse: Annotated[Sequence[str], Parameter(negative="")] = (),
    residual: Annotated[bool, Parameter(negative="--no-residual")] = True,
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
    overwrite: Flag = False,
    progress: Callback = no_progress,
) -> ExplainResult:
    """Ask what a picture would have been, had one of its attributes been otherwise: abduct, act, predict.

    What is set has consequences, by the graph that the model was trained with: other attributes follow, and the picture
    follows from all of them. All else about the picture stays: the noise of its attributes, its latent, and what the
    model does not know of it.

    Args:
        model: A run folder, a model folder or a hub id of a model trained with edges (train scm-shapes, scm-morpho).
        image: A picture file; brought to the model's size.
        do: What to set: thickness=4.2, shape=star; repeatable: all are set at once.
        attributes: NAME=VALUE of the picture as it is; repeatable. What is not said is looked up in the metadata.csv or
            metadata.jsonl beside the picture, else measured, where it is thickness, intensity or another outcome.
        data: The folder whose metadata has the picture's row; that of IMAGE where left out.
        hold: An attribute to keep as it was, though what is set acts on it: the direct effect; repeatable.
        traverse: NAME=VALUE,VALUE,...: a strip of pictures for the report, one for each value; repeatable.
        residual: Carry over what the model does not know of the picture.
        seed: Of the noise of categories, which the picture leaves open.
        out: Write the picture there, as .png, and the report, as .json and .html.
        device: auto, cpu, cuda, cuda:N or mps.
        overwrite: Replace files that stand at OUT.
    """
    from pentimento.runtime import choose_device
    from pentimento.studies import counterfactual as studies
    from pentimento.studies.scm import open_world

    check_seed(seed)
    if not do:
        raise InputError("--do: nothing to set; say what, e.g. --do thickness=4.2")
    files = _files(out, overwrite)
    image = Path(image)
    world = open_world(model, choose_device(device))
    say_licence(world.model.origin, progress)
    asked = studies.read_values(world, _pairs(do, "--do"), "--do")
    doses = [_doses(world, text) for text in traverse]
    pixels = _pixels(world, image, progress)
    given = studies.read_values(world, _pairs(attributes, "--attribute"), "--attribute")
    values, sources = _values(world, image, pixels, given, data)
    kept = studies.abduct(world, pixels, values, seed)
    found = studies.predict(world, kept, asked, hold, residual)
    warnings = studies.warnings_of(world, found)
    for warning in warnings:
        progress(Progress("do", 0, message=warning))
    strips = dict(_strip(world, kept, name, numbers, hold, residual) for name, numbers in doses)
    return _report(world, found, image, sources, strips, warnings, files)


# --------------------------------------------------------------------------------------------------- options
def _files(out: Path | None, overwrite: bool) -> list[Path]:
    if out is None:
        return []
    out = Path(out)
    if out.suffix not in ("", ".png", ".json", ".html"):
        raise InputError(f"--out: a name that ends in .png, .json or .html expected, got {out}")
    files = [out.with_suffix(".png"), *report_files(out.with_suffix(""), overwrite)]
    if files[0].exists() and not overwrite:
        raise ExistsError(f"{files[0]}: exists; choose another --out, or --overwrite")
    return files


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name or not value:
            raise CausalError(f"{option}: NAME=VALUE expected, e.g. thickness=4.2, got {text!r}")
        if name in pairs:
            raise CausalError(f"{option}: {name} is given twice")
        pairs[name] = value
    return pairs


def _doses(world: World, text: str) -> tuple[str, list[float | str]]:
    from pentimento.studies.counterfactual import read_values

    ((name, listed),) = _pairs([text], "--traverse").items()
    return name, [read_values(world, {name: value.strip()}, "--traverse")[name] for value in listed.split(",")]


# ------------------------------------------------------------------------------------- the picture as it is
def _pixels(world: World, image: Path, progress: ProgressCallback) -> Tensor:
    """(1, C, H, W) of the model's size; told where the picture has another."""
    from pentimento import images
    from pentimento.tasks.edit import fitted

    if not image.is_file():
        raise NotFoundError(f"{image}: no such file")
    picture, spec = images.read(image), world.model.spec
    if (picture.width_px, picture.height_px) != (spec.width_px, spec.height_px):
        message = (
            f"{image.name} is {picture.width_px}x{picture.height_px} px, brought to the model's "
            f"{spec.width_px}x{spec.height_px}: scaled, and cut at its middle"
        )
        progress(Progress("image", 0, message=message))
    return fitted(picture, spec)


def _values(
    world: World, image: Path, pixels: Tensor, given: dict[str, float | str], data: Path | None
) -> tuple[dict[str, float | str], dict[str, str]]:
    """Every attribute of the picture, and where each comes from."""
    from pentimento.studies.counterfactual import read_values

    nodes, known = world.attributes.graph.nodes, world.attributes.attributes
    row = _row(image, data)
    looked = {name: row[name] for name in nodes if name in row and name not in given}
    values, sources = dict(given), dict.fromkeys(given, "given")
    values |= read_values(world, looked, "metadata:")
    sources |= dict.fromkeys(looked, "metadata")
    for name in nodes:
        if name not in values and (measured := _measured(name, pixels)) is not None and not known[name].levels:
            values[name], sources[name] = measured, "measured from the picture"
    if missing := [name for name in nodes if name not in values]:
        levels = {name: ", ".join(known[name].levels) for name in missing}
        spans = {name: levels[name] or f"{known[name].low:g} to {known[name].high:g}" for name in missing}
        listed = "; ".join(f"{name} ({span})" for name, span in spans.items())
        raise CausalError(
            f"--attribute: nobody says {listed} of this picture; give --attribute NAME=VALUE for each, or put the "
            "picture's row into a metadata.csv beside it"
        )
    return {name: values[name] for name in nodes}, {name: sources[name] for name in nodes}


def _row(image: Path, data: Path | None) -> dict[str, Any]:
    """What metadata say of the picture; empty where there are none."""
    from pentimento.data.metadata import METADATA_NAMES
    from pentimento.studies.tables import FILE_NAME, read_columns

    folder = Path(data) if data is not None else image.parent
    path = next((folder / name for name in METADATA_NAMES if (folder / name).is_file()), None)
    if path is None:
        if data is not None:
            raise NotFoundError(f"--data: no {' or '.join(METADATA_NAMES)} in {folder}")
        return {}
    columns = read_columns(path)
    names = [(folder / str(name)).resolve() for name in columns.get(FILE_NAME, [])]
    if image.resolve() not in names:
        if data is not None:
            raise NotFoundError(f"--data: {path} has no row for {image}")
        return {}
    place = names.index(image.resolve())
    return {name: column[place] for name, column in columns.items() if column[place] is not None}


def _measured(name: str, pixels: Tensor) -> float | None:
    """An attribute that is one of the outcomes by its name, of pictures that it can be measured in."""
    from pentimento.studies.outcomes import ALL, find_outcomes, measure_all

    if name not in ALL or ":" in name:
        return None
    try:
        return float(measure_all(find_outcomes([name], spec=None), pixels)[0, 0])
    except CausalError:  # an outcome of digits, and the picture is none
        return None


# ---------------------------------------------------------------------------------------------------- results
def _strip(
    world: World, kept: Abducted, name: str, doses: Sequence[float | str], hold: Sequence[str], residual: bool
) -> tuple[str, Tensor]:
    """Caption and pictures (N, C, H, W), the factual one first."""
    import torch

    from pentimento.studies.counterfactual import predict

    held = [other for other in hold if other != name]
    made = [predict(world, kept, {name: dose}, held, residual).images for dose in doses]
    told = ", ".join(dose if isinstance(dose, str) else f"{dose:g}" for dose in doses)
    return f"factual, then {name} = {told}", torch.cat([kept.images, *made])


def _report(
    world: World,
    found: Counterfactual,
    image: Path,
    sources: dict[str, str],
    strips: dict[str, Tensor],
    warnings: list[str],
    files: list[Path],
) -> ExplainResult:
    import hashlib
    import json
    from dataclasses import replace

    from pentimento import images
    from pentimento.runtime import atomic_write
    from pentimento.studies import counterfactual_page as page
    from pentimento.tasks.pictures import record

    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    about = {"image": image.name, "image_hash": digest, "sources": sources, "traversals": list(strips)}
    report = page.to_json(world, found, about, warnings)
    for path in files:
        if path.suffix == ".png":
            asked = {"do": report["do"], "hold": report["hold"], "residual": found.residual}
            asked["factual"] = report["factual"]
            made = replace(record("explain counterfactual", world.model, asked, [image]), seed=found.abducted.seed)
            images.write(path, found.images, provenance=made)
        elif path.suffix == ".json":
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        else:
            page.write_page(path, world, found, strips, report)
    kept = report["abducted"]
    legend = (
        f"{page.question(found)} The picture changes by {report['mean_absolute_change']:.1f} of 255 on average. "
        f"Abducted: a latent of length {kept['latent_length']:.1f}; a residual of {kept['residual_rmse']:.1f} of 255, "
        f"{'carried over' if found.residual else 'left out'}."
    )
    return ExplainResult(page.attribute_table(found), legend, report, files)
