"""The verb `explain scorecard`: how good a model's counterfactual pictures are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pentimento.api.explanation import ExplainResult
from pentimento.api.options import Callback, Flag, check_seed, report_files, say_licence
from pentimento.errors import DataError, EvaluationError, suggest
from pentimento.runtime import ProgressCallback, no_progress

if TYPE_CHECKING:
    from torch import Tensor

    from pentimento.studies.scm import World

__all__ = ["explain_scorecard"]


def explain_scorecard(
    model: str,
    /,
    *,
    data: str,
    count: int = 200,
    judges: Annotated[Sequence[str], Parameter(name="--judge", negative="")] = (),
    residual: Annotated[bool, Parameter(negative="--no-residual")] = True,
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
    overwrite: Flag = False,
    progress: Callback = no_progress,
) -> ExplainResult:
    """Score a model's counterfactual pictures: composition, effectiveness, reversibility, minimality.

    Every attribute is set to the values of other pictures, on pictures that are best ones the model did not see.
    Attributes that are outcomes by name (thickness, intensity, brightness, ...) are measured from the pixels, others by
    judges. Every score has a 95 % interval over pictures.

    Args:
        model: A run folder, a model folder or a hub id of a model trained with edges.
        data: Pictures with the attributes of the model, as for train.
        count: Pictures to take, at random.
        judges: Models that predict attributes or labels of such pictures (classifier); repeatable.
        residual: Carry over what the model does not know of a picture.
        seed: Of the choice of pictures and of the values that are set.
        out: Write the report there, as .json and .html.
        device: auto, cpu, cuda, cuda:N or mps.
        overwrite: Replace reports that stand at OUT.
    """
    from pentimento.runtime import choose_device
    from pentimento.studies.scm import open_world
    from pentimento.studies.scorecard import LEAST, pixel_meters, score

    if count < LEAST:
        raise EvaluationError(f"--count: {LEAST} pictures or more expected, for intervals over them, got {count}")
    check_seed(seed)
    files = report_files(out, overwrite)
    world = open_world(model, choose_device(device))
    say_licence(world.model.origin, progress)
    images, values, name = _pictures(world, data, count, seed, progress)
    meters = pixel_meters(world, images)
    for judge in judges:
        meters |= _meters(judge, world, images)
    card = score(world, images, values, meters, residual=residual, seed=seed, progress=progress)
    report = {"model": model, "data": name, "judges": list(judges), "graph": world.graph.to_dot(), **card.to_json()}
    measured = {name.partition(" by ")[0] for name in meters}
    silent = [node for node in world.attributes.graph.nodes if node not in measured]
    legend = (
        f"On {card.count} pictures of {name}, each attribute set to the values of others. Distances of pictures are of "
        "255; 0 is best, of shares 1."
    )
    if silent:
        legend += f" Nothing measures {', '.join(silent)}: give a --judge."
    return ExplainResult(card.table(), legend, report, _write(files, world, card.table(), legend, report))


def _pictures(
    world: World, where: str, count: int, seed: int, progress: ProgressCallback
) -> tuple[Tensor, dict[str, Any], str]:
    """Pictures of the model's size, their attributes, and the name of the data."""
    import torch

    from pentimento.data.batches import Batches
    from pentimento.data.packed import pack
    from pentimento.data.sources import open_source
    from pentimento.runtime import derive_seed
    from pentimento.studies.scm import columns_of

    dataset = pack(open_source(where), progress=progress)
    generator = torch.Generator().manual_seed(derive_seed(seed, "scorecard"))
    chosen = torch.randperm(len(dataset), generator=generator)[:count].sort().values.numpy()
    columns, nodes = columns_of(dataset, chosen), world.attributes.graph.nodes
    for node in nodes:
        if node not in columns:
            raise DataError(f"--data: {dataset.name} does not tell {node!r} of its pictures; {suggest(node, columns)}")
    batches = Batches(dataset, chosen, world.model.spec, batch_size=128, seed=seed, training=False)
    images = torch.cat([batch.images for batch in batches.in_order()])
    return images, {node: columns[node] for node in nodes}, dataset.name


def _meters(where: str, world: World, images: Tensor) -> dict[str, Any]:
    """What one judge tells of such pictures; refused at once where it cannot look at them."""
    from pentimento.models import load
    from pentimento.studies.outcomes import model_judge
    from pentimento.studies.scorecard import judge_meters

    opened = load(where, world.model.device)
    judge = model_judge(opened)
    told = [label for label in opened.spec.classes if label in judge.outcomes]
    meters = judge_meters(judge, world.attributes.graph.nodes, told)
    for meter in meters.values():
        meter(images[:1])
    return {f"{name} by {judge.name}": meter for name, meter in meters.items()}


def _write(files: list[Path], world: World, table: list[list[str]], legend: str, report: dict[str, Any]) -> list[Path]:
    import datetime
    import html
    import json

    from pentimento import __version__
    from pentimento.causal.drawing import to_svg
    from pentimento.evaluate import markup
    from pentimento.runtime import atomic_write

    header, *rows = table
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    for path in files:
        if path.suffix == ".json":
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            continue
        cells = [markup.row(html.escape(row[0]), [html.escape(cell) for cell in row[1:]]) for row in rows]
        scores = markup.wide(markup.table("numbers many", ["", *header[1:]], markup.body(cells)), "Scores")
        sections = {
            "The scores": scores,
            "The graph": f"<figure style='max-width: 34rem'>{to_svg(world.graph)}</figure>",
        }
        lead = f"<p class='lead'>{html.escape(legend)}</p>"
        title = f"Counterfactuals of {html.escape(report['model'])}"
        markup.write_page(path, title, lead, markup.titled(sections), (__version__, now))
    return files
