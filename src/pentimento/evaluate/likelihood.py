"""How likely real pictures are under a model that scores them, in nats per picture.

log p(x | c) -> exact (``log_likelihood``) or from below (``elbo``, ``iwae``), whatever the model offers
log p(x) = log sum_y p(y) p(x | y), where a model is told the label y; p(y) the shares of the labels in the data
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pentimento.capabilities import Scores
from pentimento.evaluate.pictures import Pictures, condition_for
from pentimento.model import Batch, Model
from pentimento.runtime import Draws, Progress, ProgressCallback, no_progress

__all__ = ["MARGINAL", "log_likelihoods"]

MARGINAL = " without the label"  # ends the names of figures of log p(x) where the model is told the label
CHUNK = 100


@torch.no_grad()
def log_likelihoods(
    model: Model,
    pictures: Pictures,
    importance_samples: int,
    seed: int,
    shares: Tensor | None = None,
    progress: ProgressCallback = no_progress,
) -> dict[str, Tensor]:
    """What `model` scores of each picture, (N,) each, on the CPU, by name.

    Picture i is observed (binarised, say) by the draws of (seed, i), so every model sees the same.

    Args:
        model: one that `Scores`.
        pictures: with the labels and attributes that the model is told, see `condition_for`.
        importance_samples: see `Scores`.
        seed: of the draws.
        shares: (K,), p(y): adds figures of log p(x), at K times the cost. The importance-weighted bound of each
            p(x | y) takes part in the sum, so the sum is a bound, too.
        progress: called after each chunk.
    """
    assert isinstance(model, Scores)
    found: dict[str, list[Tensor]] = {}
    told = condition_for(model, pictures)
    for begin in range(0, len(pictures), CHUNK):
        rows = slice(begin, min(begin + CHUNK, len(pictures)))
        condition = told[rows]
        batch = Batch(pictures.floats(rows), condition.labels, condition.attributes).to(model.device)
        draws = Draws(seed, range(rows.start, rows.stop), device=model.device)
        for name, values in model.score(batch, draws, importance_samples).items():
            found.setdefault(name, []).append(values.cpu())
        if shares is not None:
            for name, values in _marginal(model, batch, draws, importance_samples, shares).items():
                found.setdefault(name + MARGINAL, []).append(values)
        progress(Progress("likelihood", rows.stop, len(pictures)))
    return {name: torch.cat(parts) for name, parts in found.items()}


def _marginal(model: Scores, batch: Batch, draws: Draws, importance_samples: int, shares: Tensor) -> dict[str, Tensor]:
    joint: dict[str, list[Tensor]] = {}
    for label, share in enumerate(shares.tolist()):
        told = replace(batch, labels=torch.full((len(batch),), label, device=batch.images.device))
        for name, values in model.score(told, draws, importance_samples).items():
            joint.setdefault(name, []).append(values.cpu() + torch.tensor(share).log())
    return {name: torch.stack(parts).logsumexp(0) for name, parts in joint.items()}
