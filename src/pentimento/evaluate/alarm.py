"""What to watch while a generator trains: do its samples look real, and do they show all that the data shows."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from pentimento.data.batches import Batches
from pentimento.errors import EvaluationError
from pentimento.evaluate.neighbours import neighbours
from pentimento.evaluate.pictures import draw_samples, read_pictures
from pentimento.features import FeatureNetwork
from pentimento.model import Model
from pentimento.runtime import derive_seed

__all__ = ["COLLAPSED", "CollapseAlarm"]

COLLAPSED = 0.5  # of the best recall so far: what lies below is a collapse
LEAST_RECALL = 0.1  # below it there is nothing to fall from
BEST = "evaluate/best_recall"


class CollapseAlarm:
    """Measures precision, recall, density and coverage of a model in training; warns when recall has fallen.

    A collapsing GAN goes on making convincing pictures, of fewer and fewer kinds: precision stays, recall falls
    (Kynkaanniemi et al. 2019). The best recall so far is among the figures, so that it survives a stop.

    Args:
        network: whose features are compared.
        count: samples, and real pictures from the training data.
        seed: of both.
    """

    def __init__(self, network: FeatureNetwork, count: int, seed: int) -> None:
        self.network, self.count, self.seed = network, count, seed

    def __call__(self, model: Model, data: Batches, figures: Mapping[str, float]) -> tuple[dict[str, float], str]:
        """New figures, and a warning or "".

        Args:
            model: that samples.
            data: it trains on.
            figures: of the training so far.
        """
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "watched"))
        rows = torch.randperm(len(data), generator=generator)[: self.count].tolist()
        real = read_pictures(data.dataset, [int(data.indices[row]) for row in rows], data.spec)
        try:
            samples = draw_samples(model, real, self.count, self.seed)
            found = neighbours(samples.features(self.network).vectors, real.features(self.network).vectors)
        except EvaluationError as error:
            return {}, f"not measured: {error}"
        named = {name: getattr(found, name).value for name in ("precision", "recall", "density", "coverage")}
        recall, best = named["recall"], max(figures.get(BEST, 0.0), named["recall"])
        warning = ""
        if best > LEAST_RECALL and recall < COLLAPSED * best:
            warning = (
                f"the model is collapsing: recall fell from {best:.2f} to {recall:.2f}, so its samples show ever less "
                "of what the data shows; stop it, and begin again with a lower lr or a stronger penalty"
            )
        return {**{f"evaluate/{name}": value for name, value in named.items()}, BEST: best}, warning
