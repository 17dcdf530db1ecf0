"""A counterfactual of one picture as text for a terminal, values for JSON, and a page."""

from __future__ import annotations

import datetime
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pentimento import __version__, images
from pentimento.causal.drawing import to_svg
from pentimento.data.fit import recolour
from pentimento.evaluate import markup
from pentimento.evaluate.figures import PICTURES_BYTES, sheet_figure
from pentimento.studies.counterfactual import Counterfactual, as_row
from pentimento.studies.scm import World
from pentimento.tasks.pictures import model_name
from pentimento.validation import json_safe

__all__ = ["attribute_table", "difference_map", "question", "to_json", "write_page"]

FULL = 0.5  # change of a value that a difference map shows in full colour
NOTES = (
    "It is the model's answer: right as far as the graph is, nothing unmeasured acts on two of its nodes, and each "
    "mechanism was learned well. No picture can show what would have been.",
    "What the model does not know of the picture, the residual, is carried over as it is. Where the action moves "
    "things, it leaves traces of where they were; --no-residual shows what the model draws by itself.",
)


def question(found: Counterfactual) -> str:
    """What was asked, one line."""
    asked = ", ".join(f"{name} = {_shown(value)}" for name, value in found.do.items())
    held = f", with {', '.join(found.hold)} as before" if found.hold else ""
    return f"What would this picture have been, had {asked}{held}?"


def attribute_table(found: Counterfactual) -> list[list[str]]:
    """A header, and a row for each attribute: before, after, its noise, and how it came to what it is."""
    before, after = as_row(found.abducted.values, 0), as_row(found.values, 0)
    rows = [["attribute", "factual", "counterfactual", "noise", ""]]
    for name, value in before.items():
        noise = found.abducted.noise[name][0]
        said = f"{float(noise):+.2f}" if noise.ndim == 0 else ""
        rows.append([name, _shown(value), _shown(after[name]), said, _why(found, name, value == after[name])])
    return rows


def _why(found: Counterfactual, name: str, same: bool) -> str:
    if name in found.do:
        return "set"
    if name in found.hold:
        return "held"
    return "" if same else "follows"


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def difference_map(change: Tensor) -> Tensor:
    """(3, H, W) of a change (C, H, W): red where there is more, blue where there is less, white where nothing is."""
    strength = (recolour(change[None], 1)[0, 0] / FULL).clamp(-1, 1)
    more, less = strength.clamp(min=0), -strength.clamp(max=0)
    return torch.stack([1 - less, 1 - more - less, 1 - more])


def to_json(world: World, found: Counterfactual, about: Mapping[str, Any], warnings: Sequence[str]) -> dict[str, Any]:
    """For a report: what was asked, abducted and predicted."""
    kept, origin = found.abducted, world.model.origin
    noise = {name: values[0].tolist() for name, values in kept.noise.items()}
    change = (found.images - kept.images).abs().mean()
    return dict(
        json_safe(
            {
                "question": question(found),
                "model": model_name(world.model),
                "model_hash": origin.weights_sha256 if origin else "",
                **about,
                "do": dict(found.do),
                "hold": found.hold,
                "residual": found.residual,
                "factual": as_row(kept.values, 0),
                "counterfactual": as_row(found.values, 0),
                "follows": [row[0] for row in attribute_table(found)[1:] if row[4] == "follows"],
                "abducted": {
                    "noise": noise,
                    "latent": kept.latent[0].tolist(),
                    "latent_length": float(kept.latent[0].norm()),
                    "residual_rmse": 255 * float(kept.residual.square().mean().sqrt()),
                    "missed": float(kept.missed[0]),
                    "seed": kept.seed,
                },
                "mean_absolute_change": 255 * float(change),
                "graph": world.graph.to_dot(),
                "warnings": list(warnings),
            }
        )
    )


def write_page(
    path: Path,
    world: World,
    found: Counterfactual,
    strips: Mapping[str, Tensor],
    report: Mapping[str, Any],
) -> None:
    """Write the page; what stands at `path` is replaced at once or not at all.

    Args:
        path: of the page.
        world: the model.
        found: of one picture.
        strips: caption -> pictures (N, C, H, W) of a traversal.
        report: from `to_json`.

    Raises:
        StorageError: the disk is full or refuses.
    """
    header, *rows = attribute_table(found)
    cells = [markup.row(html.escape(row[0]), [html.escape(cell.replace("-", "−")) for cell in row[1:]]) for row in rows]
    table = markup.wide(markup.table("numbers many", ["", *header[1:]], markup.body(cells)), "Attributes")
    sections = {
        "The pictures": _pictures(found),
        "The attributes": table + _list(report["warnings"]),
        "What if, step by step": _strips(strips),
        "The graph": f"<figure style='max-width: 34rem'>{to_svg(world.graph)}</figure>",
        "What it means": _list(NOTES if found.residual else NOTES[:1]),
        "How it was made": _protocol(report),
    }
    lead = f"<p class='lead'>{html.escape(question(found))}</p>"
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    markup.write_page(path, "A counterfactual picture", lead, markup.titled(sections), (__version__, now))


def _list(texts: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(text)}</li>' for text in texts)}</ul>" if texts else ""


def _pictures(found: Counterfactual) -> str:
    kept = found.abducted
    shown = {
        "factual": kept.images[0],
        "abducted: what the model knows of it": kept.reconstruction[0],
        "residual: what it does not know": (0.5 + kept.residual[0] / 2).clamp(0, 1),
        "counterfactual": found.images[0],
        "difference: red more, blue less": difference_map(found.images[0] - kept.images[0]),
    }
    budget = PICTURES_BYTES // 2 // len(shown)
    figures = [sheet_figure(picture, html.escape(caption), caption, budget) for caption, picture in shown.items()]
    return f"<div class='sheets' style='--columns:{len(figures)}'>{''.join(figures)}</div>"


def _strips(strips: Mapping[str, Tensor]) -> str:
    budget = PICTURES_BYTES // 2 // max(1, len(strips))
    figures = [
        sheet_figure(images.grid(made, columns=len(made)), html.escape(caption), caption, budget)
        for caption, made in strips.items()
    ]
    return f"<div class='sheets' style='--columns:1'>{''.join(figures)}</div>" if figures else ""


def _protocol(report: Mapping[str, Any]) -> str:
    kept = report["abducted"]
    facts = [
        ("model", f"{html.escape(report['model'])} {markup.short_hash(report['model_hash'])}"),
        ("picture", f"{html.escape(report['image'])} {markup.short_hash(report['image_hash'])}"),
        ("length of the latent", f"{kept['latent_length']:.2f} in {len(kept['latent'])} dimensions"),
        ("residual", f"{kept['residual_rmse']:.1f} of 255 (root mean square)"),
        ("seed", str(kept["seed"])),
        *((f"{name}: from", html.escape(where)) for name, where in report["sources"].items()),
    ]
    return markup.table("subjects", ["", ""], markup.body([markup.row(name, [text]) for name, text in facts]))
