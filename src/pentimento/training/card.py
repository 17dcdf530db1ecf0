"""The model card: what a person should know before using a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pentimento import __version__
from pentimento.model import Model
from pentimento.training.recipe import Recipe

__all__ = ["model_card"]

_TOLD = {"noise": "the noise", "jpeg": "the JPEG quality"}


def model_card(
    model: Model, recipe: Recipe, about: Mapping[str, Any], kimg: float, figures: Mapping[str, float]
) -> str:
    """Markdown with the front matter that the Hugging Face hub reads."""
    spec, count = model.spec, sum(v.numel() for v in model.shipped_state().values())
    conditions = [f"{len(spec.classes)} labels"] if model.config.get("conditional") else []
    conditions += list(model.config.get("attributes", ()))
    conditions += [_TOLD[model.config["told"]]] if model.config.get("told", "nothing") != "nothing" else []
    conditions += ["where pixels are missing"] if model.config.get("takes_masks") else []
    licence = recipe.licence or "not stated: ask the owner of the pictures"
    trained_on = f"{about.get('data_name', 'unknown')}, {about.get('data_count', '?')} pictures"
    hashes = f"`{about.get('data_hash', '?')}`"
    if "second_hash" in about:
        trained_on += f"; {about['second_name']}, {about['second_count']} pictures"
        hashes += f"; `{about['second_hash']}`"
    lines = [
        "---",
        "library_name: pentimento",
        f"tags: [{model.family}]",
        "---",
        "",
        f"# {recipe.title or model.family}",
        "",
        f"A `{model.family}` for {spec.height_px}x{spec.width_px} images of {spec.channels} channel(s), "
        f"{count:,} numbers; told {', '.join(conditions) or 'nothing'}.",
        "",
        "| | |",
        "|---|---|",
        f"| trained on | {trained_on} |",
        f"| licence of the training data | {licence} |",
        f"| hash of the data | {hashes} |",
        f"| images seen | {kimg:g} thousand |",
        f"| seed | {recipe.training.seed} |",
        f"| started from | {Path(about['init']).name if about.get('init') else 'random weights'} |",
        f"| made by | pentimento {__version__} |",
    ]
    if figures:
        lines += ["", "Last figures of the training:", "", "| | |", "|---|---|"]
        lines += [f"| {name} | {value:.4g} |" for name, value in figures.items()]
    return "\n".join(lines) + "\n"
