"""Whether a model copies its training pictures: nearest neighbours of samples, against those of real held-out pictures.

    d(x) -> distance of x to its nearest training picture      q -> share of real pictures that are as near by chance

A model that has learnt the data, and not the pictures, makes samples that are no nearer to the training pictures than
other real pictures are. All distances are Euclidean, in whatever space the features span; what is near in one space
need not be in another, and plain pictures are near to others in any, so that a model that makes too many of those
looks like one that copies. The pictures themselves (`worst_pairs`) decide.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pentimento import images as pictures
from pentimento.errors import EvaluationError
from pentimento.evaluate.intervals import (
    GROUPS,
    QUANTILE,
    Estimate,
    deal,
    difference,
    jackknife_estimate,
    mean_estimate,
    wilson,
)

__all__ = ["Memorization", "generalization_gap", "memorization", "nearest", "pixel_features", "worst_pairs"]

NULL_SHARE = 0.05
CANDIDATES = 4  # of which the nearest is chosen exactly
CHUNK = 2**24  # float32 values held at a time: 64 MB


def pixel_features(images: Tensor, side_px: int = 32) -> Tensor:
    """Pixels as vectors, (N, C, H, W) to (N, D), whose distance is the root mean square difference of the pictures.

    Pictures with a side above `side_px` are first shrunk to a square of it (bilinear, antialiased), so that a shift
    by a pixel or noise does not hide a copy; smaller ones are taken as they are.

    Raises:
        EvaluationError: no batch of pictures.
    """
    if images.ndim != 4 or 0 in images.shape:
        raise EvaluationError(f"images: (N, C, H, W) expected, got {tuple(images.shape)}")
    if max(images.shape[2:]) > side_px:
        images = F.interpolate(images, (side_px, side_px), mode="bilinear", antialias=True)
    flat = images.flatten(1)
    return flat / math.sqrt(flat.shape[1])


def nearest(queries: Tensor, bank: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest row of `bank` for each of `queries`: distances (N,) float64 and indices (N,) int64, on the CPU.

    Holds a chunk of the distances at a time. A matrix product in the precision of the features finds a few candidates,
    whose distances are then taken exactly: the distance to an exact copy is 0.

    Args:
        queries: (N, D) features.
        bank: (T, D) features, on the same device.

    Raises:
        EvaluationError: features of another shape, or none.
    """
    if queries.ndim != 2 or bank.ndim != 2 or queries.shape[1] != bank.shape[1] or 0 in (*queries.shape, *bank.shape):
        raise EvaluationError(
            f"features: (N, D) and (T, D) with one D expected, got {tuple(queries.shape)} and {tuple(bank.shape)}"
        )
    dims, few = bank.shape[1], min(CANDIDATES, len(bank))
    centre = bank.mean(0)  # c; it takes what all have in common out of the rounding errors
    half_norms = torch.cat([(part - centre).square().sum(1) / 2 for part in torch.split(bank, max(1, CHUNK // dims))])
    distances, indices = [], []
    for rows in torch.split(queries, max(1, CHUNK // max(len(bank), 2 * few * dims))):
        # (n, T): |b - c|^2 / 2 - (q - c) b, which is half of |q - b|^2 but for what is the same for all b.
        scores = torch.addmm(half_norms, rows - centre, bank.T, alpha=-1)
        candidates = scores.topk(few, dim=1, largest=False).indices.cpu()  # (n, few)
        gaps = rows[:, None].cpu().double() - bank[candidates.to(bank.device)].cpu().double()  # (n, few, D)
        best = gaps.norm(dim=2).min(1)
        distances.append(best.values)
        indices.append(candidates.gather(1, best.indices[:, None])[:, 0])
    return torch.cat(distances), torch.cat(indices)


# ------------------------------------------------------------------------------------------ memorization
@dataclass(frozen=True)
class Memorization:
    """How near samples are to training pictures.

    Args:
        share: samples nearer to a training picture than all but the nearest `null_share` of held-out pictures are.
        null_share: what `share` is expected to be without copying.
        rank: P(d(sample) < d(held-out)), ties counted half: 0.5 without copying, 1 where every sample is nearer to
            the training pictures than any real picture is, below 0.5 where samples lie far from all real pictures.
        threshold: the distance that `share` counts below.
        distances: (N,) float64, of each sample to its nearest training picture.
        held_out_distances: (M,) float64, of each held-out picture.
        nearest: (N,) int64, index of the nearest training picture of each sample.
        order: (N,) int64, samples from the worst, which is the nearest to a training picture.
    """

    share: Estimate
    null_share: float
    rank: Estimate
    threshold: float
    distances: Tensor
    held_out_distances: Tensor
    nearest: Tensor
    order: Tensor


def memorization(samples: Tensor, held_out: Tensor, training: Tensor, seed: int) -> Memorization:
    """Compare samples' distances to the training pictures with those of real pictures that were held out.

    The share counts samples nearer than the 5 % quantile of the held-out pictures' distances (type 6 of Hyndman and
    Fan 1996, by which a further real picture lies below it with a probability of 5 % whatever M is). The rank is
    Mann and Whitney's U over N M: the statistic of the data-copying test of Meehan et al. 2020, C_T, without its
    cells. The held-out pictures must come from the same source as the training pictures, and hold no copies of them.
    Both intervals leave out samples and held-out pictures by groups, so that they hold the threshold's error too.

    Args:
        samples: (N, D) features; N >= 20.
        held_out: (M, D); M >= 20.
        training: (T, D), all that the model was trained on.
        seed: of the groups of the intervals.

    Raises:
        EvaluationError: features of another shape, or too few of them.
    """
    for name, features in (("samples", samples), ("held_out", held_out)):
        if len(features) < GROUPS:
            raise EvaluationError(f"{name}: at least {GROUPS} are needed for an interval, got {len(features)}")
    distances, indices = nearest(samples, training)
    held_out_distances, _ = nearest(held_out, training)
    return Memorization(
        _share_below(distances, held_out_distances, seed),
        NULL_SHARE,
        _dealt(_rank, distances, held_out_distances, seed),
        _threshold(held_out_distances),
        distances,
        held_out_distances,
        indices,
        distances.argsort(stable=True),
    )


def _threshold(held_out_distances: Tensor) -> float:
    return float(np.quantile(held_out_distances.numpy(), NULL_SHARE, method="weibull"))


def _share(distances: Tensor, held_out_distances: Tensor) -> float:
    return float((distances < _threshold(held_out_distances)).double().mean())


def _rank(distances: Tensor, held_out_distances: Tensor) -> float:
    """P(a < b) + P(a = b) / 2 for a of the first and b of the second."""
    ordered = held_out_distances.sort().values
    not_above = torch.searchsorted(ordered, distances, right=True).double()
    below = torch.searchsorted(ordered, distances).double()
    return float(1 - ((not_above + below) / 2).mean() / len(ordered))


def _dealt(statistic: Callable[[Tensor, Tensor], float], a: Tensor, b: Tensor, seed: int) -> Estimate:
    """The jackknife of a statistic of two sets, each dealt into as many groups."""
    group_a, group_b = deal(len(a), seed), deal(len(b), seed)
    replicates = [statistic(a[group_a != g], b[group_b != g]) for g in range(GROUPS)]
    return jackknife_estimate(statistic(a, b), replicates, correct_bias=False)


def _share_below(distances: Tensor, held_out_distances: Tensor, seed: int) -> Estimate:
    """The share, with Wilson's interval for as many draws as have the jackknife's variance (Korn and Graubard 1998).

    So it stays within [0, 1], and has a width where no sample at all lies below the threshold.
    """
    plain = _dealt(_share, distances, held_out_distances, seed)
    variance = ((plain.high - plain.low) / (2 * QUANTILE)) ** 2
    count = float(len(distances))
    if variance > 0:
        count = min(count, plain.value * (1 - plain.value) / variance)
    if not count:  # all samples below the threshold, but not without some group
        count = 1.0
    bounded = wilson(plain.value, count, QUANTILE)
    return dataclasses.replace(plain, low=bounded.low, high=bounded.high)


def worst_pairs(samples: Tensor, training: Tensor, result: Memorization, count: int) -> Tensor:
    """A contact sheet of the samples nearest to training pictures: four pairs a row, each beside its nearest.

    Args:
        samples: (N, C, H, W), in [0, 1] or 8 bits, in the order in which they were measured.
        training: (T, C, H, W), likewise.
        result: of `memorization`.
        count: of pairs; all there are where N is less.

    Returns:
        (C, H', W') in [0, 1].

    Raises:
        EvaluationError: other pictures than were measured, or pairs that do not fit one another.
    """
    if len(samples) != len(result.order) or samples.shape[1:] != training.shape[1:]:
        raise EvaluationError(
            f"samples: the {len(result.order)} measured, of the same size as the training pictures, "
            f"{tuple(training.shape[1:])}, expected, got {tuple(samples.shape)}"
        )
    if count < 1:
        raise EvaluationError(f"count: at least 1 expected, got {count}")
    worst = result.order[:count]
    sheet = torch.stack([samples[worst].cpu(), training[result.nearest[worst]].cpu()], 1)  # (K, 2, C, H, W)
    if sheet.dtype == torch.uint8:
        sheet = sheet.float() / 255
    return pictures.grid(sheet.flatten(0, 1), columns=min(8, 2 * len(sheet)))


# ---------------------------------------------------------------------------------------- generalization
def generalization_gap(train_scores: Tensor, held_out_scores: Tensor, seed: int) -> Estimate:
    """The mean score on training pictures minus that on held-out ones; above 0: training pictures fit better.

    The interval is Welch's (1947): unequal variances, Student's t with Satterthwaite's degrees of freedom.

    Args:
        train_scores: (N,), higher is better: log-likelihoods in nats; losses with their sign turned. N >= 2.
        held_out_scores: (M,), likewise.
        seed: of the groups of the replicates.

    Raises:
        EvaluationError: scores of another shape, fewer than two, or not finite.
    """
    from scipy.special import stdtrit

    for name, scores in (("train_scores", train_scores), ("held_out_scores", held_out_scores)):
        if scores.ndim != 1 or len(scores) < 2 or not bool(torch.isfinite(scores).all()):
            raise EvaluationError(f"{name}: (N,), N >= 2, finite expected, got {tuple(scores.shape)}, {scores.dtype}")
    a, b = train_scores.double().cpu(), held_out_scores.double().cpu()
    gap = difference(mean_estimate(a, seed), mean_estimate(b, seed))
    errors = [float(x.var()) / len(x) for x in (a, b)]  # squared standard errors
    total = sum(errors)
    if not total:
        return dataclasses.replace(gap, low=gap.value, high=gap.value)
    freedom = total**2 / sum(e**2 / (len(x) - 1) for e, x in zip(errors, (a, b), strict=True))
    half = float(stdtrit(freedom, 0.975)) * math.sqrt(total)
    return dataclasses.replace(gap, low=gap.value - half, high=gap.value + half)
