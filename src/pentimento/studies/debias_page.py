"""A study of shortcuts as text for a terminal, values for JSON, and a page."""

from __future__ import annotations

import datetime
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pentimento import __version__, images
from pentimento.data.fit import recolour
from pentimento.evaluate import markup
from pentimento.evaluate.figures import PICTURES_BYTES, sheet_figure
from pentimento.evaluate.intervals import Estimate
from pentimento.model import Condition
from pentimento.runtime import Draws
from pentimento.sampling import SAMPLE_CHUNK
from pentimento.studies.debias import Score
from pentimento.tasks.pictures import model_name
from pentimento.validation import json_safe

__all__ = ["mechanism_sheets", "score_table", "to_json", "write_page"]

MOST_SHOWN = SAMPLE_CHUNK  # classes on the page
NOTES = (
    "A classifier that looks at the shape alone answers alike whatever is randomized, and with the class of a "
    "randomized factor no more often than by chance.",
    "The label of a counterfactual picture is that of its shape, as the model was told; where the model draws a shape "
    "badly, the label is wrong. Look at the pictures.",
)
MEASURED = {
    "given": "Measured in pictures of --test, whose metadata say the class of each factor.",
    "drawn": (
        "Measured in counterfactual pictures that nothing was trained on, for lack of --test with factors: it shares "
        "the model's faults with the pictures learned from, and flatters who learned from these."
    ),
}


def score_table(scores: Sequence[Score]) -> list[list[str]]:
    """A header, and for each test set a row of accuracies; below it, where one factor is randomized, of reliance."""
    names = list(dict.fromkeys(score.trained_on for score in scores))
    rows = [["right answers, %", "pictures", *names]]
    for test in dict.fromkeys(score.test for score in scores):
        found = {score.trained_on: score for score in scores if score.test == test}
        first = next(iter(found.values()))
        rows.append([test, f"{first.count:,}", *(_shown(found[name].accuracy) for name in names)])
        if first.reliance is not None:
            factor = test.removesuffix(" randomized")
            rows.append([f"- answers with the {factor}'s class", "", *(_shown(found[name].reliance) for name in names)])
    return rows


def _shown(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{100 * estimate.value:.1f} ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


@torch.no_grad()
def mechanism_sheets(model: Any, seed: int) -> dict[str, Tensor]:
    """Caption -> sheet (C, H, W): what each mechanism draws, class by class, and a shape of every class in every look.

    On the second sheet, rows share foreground and background, and columns the shape.
    """
    classes = min(len(model.spec.classes), MOST_SHOWN)
    noise = model.draw_noise(Draws(seed, range(classes), device=model.device))
    labels = torch.arange(classes, device=model.device)
    mask, *textures = model.parts(noise, Condition(labels))
    whole = model.sample(noise, Condition(labels))
    rows = [recolour(mask.cpu(), model.spec.channels), *(t.cpu() for t in textures), whole.cpu()]
    grid = []
    for turn in range(min(classes, 10)):
        told = torch.stack([labels, (labels * 0 + turn), (labels * 0 + turn + turn // 2 + 1) % classes], 1)
        grid.append(model.sample(noise, Condition(labels, mechanisms=told)).cpu())
    return {
        "mask, foreground, background, and the picture they make": images.grid(torch.cat(rows), columns=classes),
        "a row for each foreground, a column for each shape; the backgrounds are of other classes": images.grid(
            torch.cat(grid), columns=classes
        ),
    }


def to_json(model: Any, scores: Sequence[Score], about: Mapping[str, Any]) -> dict[str, Any]:
    """For a report."""
    origin = model.origin
    rows = [
        {
            "trained_on": score.trained_on,
            "test": score.test,
            "count": score.count,
            "accuracy": _numbers(score.accuracy),
            "reliance": None if score.reliance is None else _numbers(score.reliance),
        }
        for score in scores
    ]
    told = {"model": model_name(model), "model_hash": origin.weights_sha256 if origin else "", **about}
    return dict(json_safe({**told, "classes": model.spec.classes, "scores": rows}))


def _numbers(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def write_page(path: Path, scores: Sequence[Score], sheets: Mapping[str, Tensor], report: Mapping[str, Any]) -> None:
    """Write the page; what stands at `path` is replaced at once or not at all.

    Args:
        path: of the page.
        scores: all of them.
        sheets: from `mechanism_sheets`.
        report: from `to_json`.

    Raises:
        StorageError: the disk is full or refuses.
    """
    header, *rows = score_table(scores)
    cells = [markup.row(html.escape(row[0].replace("- ", "– ")), [html.escape(c) for c in row[1:]]) for row in rows]
    table = markup.wide(markup.table("numbers many", ["", *header[1:]], markup.body(cells)), "Right answers")
    budget = PICTURES_BYTES // max(1, len(sheets))
    figures = [sheet_figure(sheet, html.escape(said), said, budget) for said, sheet in sheets.items()]
    facts = [
        ("model", f"{html.escape(report['model'])} {markup.short_hash(report['model_hash'])}"),
        ("data", html.escape(report["data"])),
        ("pictures to learn from", f"{report['originals']:,} original, {report['counterfactuals']:,} counterfactual"),
        ("each classifier saw", f"{report['kimg']:g} thousand pictures"),
        ("seed", str(report["seed"])),
    ]
    said = [html.escape(text) for text in (MEASURED[report["tests"]], *NOTES)]
    sections = {
        "Right answers, in %, by what was learned from": table,
        "The mechanisms": f"<div class='sheets' style='--columns:1'>{''.join(figures)}</div>",
        "What it means": f"<ul>{''.join(f'<li>{text}</li>' for text in said)}</ul>",
        "How it was made": markup.table("subjects", ["", ""], markup.body([markup.row(n, [t]) for n, t in facts])),
    }
    lead = "<p class='lead'>Does a classifier look at the shape, or at what goes with it?</p>"
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    markup.write_page(path, "Shortcuts, before and after", lead, markup.titled(sections), (__version__, now))
