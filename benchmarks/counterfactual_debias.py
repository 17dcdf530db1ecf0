"""Part `debias` of `counterfactuals.py`: classifiers of MNIST whose colours and textures tell the digit in training.

Trained on original pictures, on counterfactual ones, and on both; asked about pictures in which every factor is drawn
by itself. See `coloured_mnist.py` for the pictures.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from coloured_mnist import VARIANTS, write_part
from pentimento.api import explain_debias
from reporting import Figure

__all__ = ["NOTES", "debias", "read_runs"]

COUNT, KIMG = 30_000, 180.0
TRAINING_PICTURES = 34_000  # of which the verb holds some out
NOTES = [
    "Pictures rendered by coloured_mnist.py: in training, colours and textures are those of the digit; in the 10,000 "
    "test pictures each is that of a digit drawn by itself, so that chance is 10 %.",
    f"Measured as by `pentimento explain debias --count {COUNT} --kimg {KIMG:g}`: a small classifier, not the peer's, "
    f"learns from {COUNT:,} original pictures, from as many counterfactual ones, or from both, for {KIMG:g} thousand "
    "looks at a picture. "
    "Shares with Wilson's 95 % interval; an aim is missed where the value is below it.",
    "The peer is the counterfactual generative network of Sauer and Geiger 2021, as published, on colours and textures "
    "of their own rendering: the numbers stand beside each other, not on the same pictures.",
]
PUBLISHED = {"coloured": 95.1, "double": 89.0, "wildlife": 85.7}  # learned from counterfactual pictures, %


def read_runs(texts: list[str]) -> dict[str, str]:
    """Variant -> run folder, of ``VARIANT=RUN``.

    Raises:
        ValueError: another form, or another variant.
    """
    runs = dict(text.partition("=")[::2] for text in texts)
    if not runs or not all(runs.values()) or runs.keys() - set(VARIANTS):
        raise ValueError(f"--debias: VARIANT=RUN expected, of {', '.join(VARIANTS)}, got {' '.join(texts) or 'none'}")
    return runs


def debias(chosen: argparse.Namespace) -> list[Figure]:
    """All figures of the part."""
    figures = []
    for variant, run in read_runs(chosen.debias).items():
        with tempfile.TemporaryDirectory() as work:
            report = studied(variant, run, Path(work), chosen.seed)
            if chosen.pictures is not None:
                chosen.pictures.mkdir(parents=True, exist_ok=True)
                shutil.copy(Path(work) / "study" / "report.html", chosen.pictures / f"debias-{variant}.html")
        figures += [figure(variant, score) for score in report["scores"]]
        print(f"{variant}: done", file=sys.stderr)
    return figures


def studied(variant: str, run: str, work: Path, seed: int) -> dict[str, Any]:
    """The report of the verb."""
    data = Path(os.environ["PENTIMENTO_DATA"])
    write_part(data, variant, "train", work / "train", TRAINING_PICTURES)
    write_part(data, variant, "test", work / "test")
    found = explain_debias(
        data=str(work / "train"),
        model=run,
        test=str(work / "test"),
        out=work / "study",
        count=COUNT,
        kimg=KIMG,
        seed=seed,
        device="cpu",
    )
    return found.report


def figure(variant: str, score: dict[str, Any]) -> Figure:
    """One classifier on one set of test pictures."""
    accuracy, reliance = score["accuracy"], score["reliance"]
    name = f"{variant}, {score['test']}: right, learned from {score['trained_on']}"
    spread = (100 * accuracy["low"], 100 * accuracy["high"])
    note = f"{score['count']:,} pictures"
    if reliance is not None:
        note += f"; answers with that factor's class, where it is not the digit: {100 * reliance['value']:.1f} %"
    beside: dict[str, Any] = {}
    everything = "foreground randomized" if variant == "coloured" else "all randomized"
    if score["test"] == everything and score["trained_on"] == "counterfactual":
        peer = PUBLISHED[variant]
        beside = {"aim": f"above {peer:g} %", "met": 100 * accuracy["value"] > peer}
        beside |= {"peer": "counterfactual generative network, published", "peer_value": peer}
    return Figure(name, 100 * accuracy["value"], "%", spread, note=note, **beside)
