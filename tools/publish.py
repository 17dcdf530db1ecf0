"""Put a trained model into the zoo: its weights in half precision, its card with the figures that it reached.

    python tools/publish.py runs/mnist-gan mnist-gan --figure "LeNet sees the label asked for in 98 % of 10,000 samples"

Afterwards measure the shipped model, not the run: rounding to half precision is part of it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from pentimento.models import CARD, ZOO, find, load, save

LIMIT_MB = 4.0
LIMITS_MB = {"stylizer": 6.0}  # of families that may be larger


def main() -> None:
    """Publish one model."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("run", help="run or model folder")
    options.add_argument("name", help="in the zoo")
    options.add_argument("--mean-with", help="another run, of the same shape: the mean of their weights ships")
    options.add_argument("--figure", action="append", default=[], help="a line of the card; repeatable")
    options.add_argument("--limit", action="append", default=[], help="what the model cannot do; repeatable")
    chosen = options.parse_args()
    publish(chosen.run, chosen.name, chosen.figure, chosen.limit, chosen.mean_with)


def publish(run: str, name: str, figures: list[str], limits: list[str], mean_with: str | None = None) -> Path:
    """Write ``zoo/<name>``; returns the folder.

    The mean of two runs, one from the other, is often better than either (Wortsman et al. 2022, "Model soups").
    """
    model = load(run)
    state = model.state_dict()
    if mean_with:
        other = load(mean_with).state_dict()
        if {k: v.shape for k, v in other.items()} != {k: v.shape for k, v in state.items()}:
            sys.exit(f"--mean-with: a model of the same shape as {run} expected, {mean_with} has another")
        state = {k: (v + other[k]) / 2 if v.is_floating_point() else v for k, v in state.items()}
    rounded = {name for name, _ in model.named_parameters()}  # buffers may be measured: squares, counts
    state = {k: v.half() if k in rounded else v for k, v in state.items()}
    if not all(torch.isfinite(v).all() for v in state.values() if v.is_floating_point()):
        sys.exit(f"{run}: a weight does not fit into half precision")
    card = (find(run) / CARD).read_text().rstrip()
    card = card.replace("| made by |", f"| recipe | `{name}` |\n| made by |", 1)
    for title, lines in (("Figures", figures), ("Limits", limits)):
        if lines:
            card += f"\n\n## {title}\n" + "\n".join(f"- {line}" for line in lines)
    size_mb = sum(v.nbytes for v in state.values()) / 1e6
    limit_mb = LIMITS_MB.get(model.family, LIMIT_MB)
    if size_mb > limit_mb:
        sys.exit(f"{run}: {size_mb:.1f} MB, and {limit_mb:g} MB are allowed")
    folder = ZOO / name
    save(model, folder, card + "\n", state)
    print(f"{folder}: {size_mb:.2f} MB")
    return folder


if __name__ == "__main__":
    main()
