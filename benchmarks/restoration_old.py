"""The part of the restoration benchmark on old photographs: what is found of drawn damage, and pictures to look at."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from pentimento import images
from pentimento.data.degrade import degrade
from pentimento.data.degrade.steps import Creases, GaussianNoise, Jpeg, Scratches
from pentimento.images import Picture
from pentimento.runtime import Draws
from pentimento.tasks.restore import find_damage
from reporting import Figure, shared
from restoration_methods import computing, given
from restoration_protocol import mean, photographs

__all__ = ["found_by_width", "old_photographs", "repaired_by_width"]

KINDS = {"scratches": Scratches, "creases": Creases}
WIDTHS = (1, 2, 3, 5, 8)  # px
REPAIRED_WIDTHS = (2, 8)
SET, SEED, MEMORY_BYTES = "CBSD68", 7, 10**9


def found_by_width(detector: Any, chosen: argparse.Namespace) -> list[Figure]:
    """How much is found of drawn damage of each width, and how much of what is whole is taken for damage."""
    figures = []
    for kind, step in KINDS.items():
        for width in WIDTHS:
            found, false = [], []
            for index, clean in enumerate(photographs(SET, chosen.count)):
                drawn = degrade(clean, [step(width_px=(width, width))], Draws(SEED, range(index, index + 1)))
                damage = drawn.masks[0, 0].numpy() > 0.5
                seen = find_damage(detector, Picture(images.to_samples(drawn.images, 8)), MEMORY_BYTES)
                found.append(seen[damage].mean() if damage.any() else np.nan)
                false.append((seen & ~damage).mean())
            value, spread = mean(100 * torch.tensor(found)[~torch.tensor(found).isnan()])
            note = f"{100 * np.mean(false):.2f} % of the pixels were marked beside it, edges of 2 px included."
            name = f"{kind} {width} px wide: damaged pixels found"
            figures.append(Figure(name, value, "%", spread, note=note))
    false = [
        find_damage(detector, Picture(images.to_samples(clean, 8)), MEMORY_BYTES).mean()
        for clean in photographs(SET, chosen.count)
    ]
    value, spread = mean(100 * torch.tensor(false))
    return [*figures, Figure("photographs without damage: pixels marked", value, "%", spread)]


def repaired_by_width(model: Any, chosen: argparse.Namespace) -> list[Figure]:
    """How near the truth what stands where scratches were is, on photographs with light grain that JPEG has encoded."""
    figures = []
    for width in REPAIRED_WIDTHS:
        steps = [Scratches(width_px=(width, width)), GaussianNoise(sigma=(5, 5)), Jpeg(quality=(80, 80))]
        decibel = []
        for index, clean in enumerate(photographs(SET, chosen.count)):
            drawn = degrade(clean, steps, Draws(SEED, range(index, index + 1)))
            mask = F.max_pool2d((drawn.masks > 0.5).float(), 5, 1, 2)  # as much wider as the verb makes what it finds
            if not mask.any():
                continue
            with computing(chosen.precision), torch.no_grad():
                made = model.restore(given(drawn.images), mask).float()
            error = ((made - clean).square() * mask).sum() / (3 * mask.sum())
            decibel.append(-10 * torch.log10(error))
        value, spread = mean(torch.stack(decibel))
        figures.append(Figure(f"scratches {width} px wide, repaired: within them", value, "dB", spread))
    return figures


def old_photographs(model: str, detector: str, chosen: argparse.Namespace) -> list[Figure]:
    """Repair the old photographs with the verb itself, whole and where scratches were found, to be looked at."""
    from pentimento.api.restoration import restore

    figures = []
    folder = shared("restoration/old-photos")
    for path in sorted(folder.rglob("*.png"))[: chosen.count]:
        name = f"{path.parent.name}-{path.stem}"
        begun = time.perf_counter()
        out = chosen.pictures / f"{name}-scratches.png"
        found = restore(
            [str(path)], out=out, model=model, find_scratches=True, detector=detector, compare=True, overwrite=True
        )
        seconds = time.perf_counter() - begun
        restore([str(path)], out=chosen.pictures / f"{name}-whole.png", model=model, compare=True, overwrite=True)
        share = 100 * sum(found.repaired.values())
        figures.append(Figure(f"{name}: pixels found damaged", share, "%", note=f"{seconds:.1f} s."))
    return figures
