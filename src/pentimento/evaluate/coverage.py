"""How much of the data a model covers: shares of classes, modes, and the size of its support by the birthday paradox.

p_k, q_k -> share of class k among samples, in the data      n -> number of samples, support size of a uniform law
s -> pictures in a batch                                     P -> probability that a batch holds a duplicate
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pentimento.errors import EvaluationError
from pentimento.evaluate.intervals import GROUPS, Estimate, deal, jackknife_estimate, wilson
from pentimento.runtime import derive_seed

__all__ = ["Birthday", "ClassShare", "Modes", "birthday", "label_histogram", "modes"]

FALSE_ALARMS = 0.05  # share of batches of real pictures that may hold a "duplicate"
LEAST_BATCHES = 10
CHUNK = 2**23  # float64 values of the distances held at a time: 64 MB


# ----------------------------------------------------------------------------------------------- classes
@dataclass(frozen=True)
class ClassShare:
    """One class.

    Args:
        name: of the class.
        share: among the samples, in [0, 1].
        reference: in the data.
    """

    name: str
    share: Estimate
    reference: float


@dataclass(frozen=True)
class Modes:
    """Which classes a model makes, and how evenly.

    Args:
        covered: classes seen at least once among this many samples; the interval is conservative.
        kl: KL(samples || data) in nats; `corrected` is without the bias that it has in a small sample.
        classes: how many there are in the data.
    """

    covered: Estimate
    kl: Estimate
    classes: int


def label_histogram(labels: Tensor, reference_shares: Tensor, names: Sequence[str]) -> tuple[ClassShare, ...]:
    """The share of each class among samples, with Wilson's interval, beside that in the data.

    Args:
        labels: (N,) int64, as a classifier sees the samples.
        reference_shares: (K,), in the data, which sum to 1.
        names: of the K classes.

    Raises:
        EvaluationError: labels or shares of another kind, or as many names as there are no classes.
    """
    counts = _counts(labels, reference_shares)
    if len(names) != len(counts):
        raise EvaluationError(f"names: {len(counts)} expected, one for each class, got {len(names)}")
    shares = (counts.double() / counts.sum()).tolist()
    rows = zip(names, shares, reference_shares.tolist(), strict=True)
    return tuple(ClassShare(name, wilson(share, len(labels)), reference) for name, share, reference in rows)


def modes(labels: Tensor, reference_shares: Tensor, seed: int) -> Modes:
    """Modes covered, and ``KL(samples || data) = sum_k p_k log(p_k / q_k)`` (Metz et al. 2017; Lin et al. 2018).

    The protocol of Stacked MNIST: 1,000 modes, three digits side by side in the colour channels, 26,000 samples,
    uniform shares. The KL of the samples' own shares is too high by about ``(K - 1) / 2 n`` nats, 0.019 there; the
    jackknife takes that out, which is right because the model's own KL does not depend on n.

    Args:
        labels: (N,) int64, as a classifier sees the samples; N >= 20.
        reference_shares: (K,), in the data, which sum to 1.
        seed: of the groups of the interval.

    Raises:
        EvaluationError: labels or shares of another kind, or samples of a class that the data does not have.
    """
    counts, classes = _counts(labels, reference_shares), len(reference_shares)
    if len(labels) < GROUPS:
        raise EvaluationError(f"labels: at least {GROUPS} samples are needed for an interval, got {len(labels)}")
    strange = torch.nonzero((counts > 0) & (reference_shares.cpu() == 0)).flatten().tolist()
    if strange:
        raise EvaluationError(
            f"reference_shares: samples are of classes {strange[:8]}, of which the data has none, so that the KL is "
            "infinite; use a reference that has every class"
        )
    group = deal(len(labels), seed)
    table = torch.bincount(group * classes + labels.cpu(), minlength=GROUPS * classes).view(GROUPS, classes)
    without = counts - table  # (G, K)
    covered = jackknife_estimate(float((counts > 0).sum()), (without > 0).sum(1).double().tolist(), correct_bias=False)
    kl = jackknife_estimate(
        _kl(counts, reference_shares), [_kl(row, reference_shares) for row in without], correct_bias=True
    )
    possible = int((reference_shares > 0).sum())
    return Modes(
        dataclasses.replace(covered, low=max(covered.low, 1.0), high=min(covered.high, float(possible))),
        dataclasses.replace(kl, low=max(kl.low, 0.0), high=max(kl.high, 0.0), corrected=max(kl.corrected or 0.0, 0.0)),
        possible,
    )


def _kl(counts: Tensor, reference_shares: Tensor) -> float:
    p, q = counts.double() / counts.sum(), reference_shares.double().cpu()
    return max(0.0, float((torch.xlogy(p, p) - torch.xlogy(p, q)).sum()))


def _counts(labels: Tensor, reference_shares: Tensor) -> Tensor:
    """(K,) int64 samples of each class, after checks."""
    classes = len(reference_shares)
    total = float(reference_shares.double().sum())
    # 1e-3: shares that were written with three digits pass, counts and percentages do not.
    if reference_shares.ndim != 1 or bool((reference_shares < 0).any()) or not abs(total - 1) < 1e-3:
        raise EvaluationError(
            f"reference_shares: (K,) shares that sum to 1 expected, got {tuple(reference_shares.shape)}, sum {total:g}"
        )
    if labels.ndim != 1 or labels.dtype != torch.int64 or not len(labels):
        raise EvaluationError(f"labels: (N,) int64, N >= 1 expected, got {tuple(labels.shape)}, {labels.dtype}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise EvaluationError(f"labels: 0 to {classes - 1} expected, as reference_shares has them, got {low} to {high}")
    return torch.bincount(labels.cpu(), minlength=classes)


# ---------------------------------------------------------------------------------------------- birthday
@dataclass(frozen=True)
class Birthday:
    """The birthday paradox test.

    Args:
        batch_size: s, pictures in a batch.
        batches: of samples, disjoint.
        reference_batches: of real pictures, disjoint.
        threshold: the distance up to which a pair counts as a duplicate.
        false_alarms: share of batches of real pictures expected to hold such a pair although all differ.
        duplicates: share of batches of samples that hold such a pair.
        support: number of pictures that a model must choose from evenly to repeat itself as often. An infinite
            value: no more duplicates than by false alarm, so `low` is all that is known; an infinite `high` likewise.
        pairs: (m, 2) int64, the nearest pairs of samples in any batch, nearest first: to be looked at.
        distances: (m,) float64, of `pairs`.
    """

    batch_size: int
    batches: int
    reference_batches: int
    threshold: float
    false_alarms: float
    duplicates: Estimate
    support: Estimate
    pairs: Tensor
    distances: Tensor


def birthday(samples: Tensor, reference: Tensor, batch_size: int, seed: int, pairs: int = 20) -> Birthday:
    """The support size of a model, from how often a batch of its samples holds duplicates (Arora and Zhang 2018).

    A batch of s has ``s (s - 1) / 2`` pairs, each a duplicate with probability 1/n where the model chooses evenly
    among n pictures, so ``P = 1 - exp(-s (s - 1) / 2 n)``. Choose s so that P is near one half: then n is near s^2.

    There a person judges the nearest pairs. Here a pair counts when it is no farther apart than the nearest pairs of
    equally large batches of real pictures are in the nearest 5 % of these batches. A low quantile, for with the very
    least distance a single repeated picture in the data would blind the test. The real batches tell how many false
    alarms that gives: a new batch lies at or below the k-th smallest of B with probability ``f = k / (B + 1)``. They
    are taken out, ``1 - P = (1 - f) exp(-s (s - 1) / 2 n)``, and the ends of Wilson's interval of P are mapped
    through. No more duplicates than false alarms (none at all among them) gives a lower bound only. The interval does
    not hold the uncertainty of the threshold, so use many real batches, and look at the pairs.

    Args:
        samples: (N, D) features or pixels; N >= 10 s.
        reference: (M, D) of real pictures, best held out from training; M >= 10 s.
        batch_size: s.
        seed: of the dealing into batches.
        pairs: how many of the nearest pairs to return.

    Raises:
        EvaluationError: features of another shape, or too few of them.
    """
    if samples.ndim != 2 or reference.ndim != 2 or samples.shape[1] != reference.shape[1]:
        raise EvaluationError(
            "samples, reference: (N, D) and (M, D) features expected, "
            f"got {tuple(samples.shape)} and {tuple(reference.shape)}"
        )
    most = min(len(samples), len(reference)) // LEAST_BATCHES
    if not 2 <= batch_size <= most:
        raise EvaluationError(
            f"batch_size: 2 to {most} expected, so that {len(samples)} samples and {len(reference)} real pictures "
            f"make {LEAST_BATCHES} batches, got {batch_size}"
        )
    found = [_nearest_pairs(samples, rows, pairs) for rows in _batches(len(samples), batch_size, seed)]
    real = [_nearest_pairs(reference, rows, 1)[0] for rows in _batches(len(reference), batch_size, seed)]
    k = max(1, int(FALSE_ALARMS * (len(real) + 1)))
    threshold, false_alarms = float(torch.cat(real).sort().values[k - 1]), k / (len(real) + 1)
    hits = sum(float(distances[0]) <= threshold for distances, _ in found)
    share = wilson(hits / len(found), len(found))
    low, value, high = (_support_size(p, batch_size, false_alarms) for p in (share.high, share.value, share.low))
    distances, order = torch.cat([d for d, _ in found]).sort()
    return Birthday(
        batch_size,
        len(found),
        len(real),
        threshold,
        false_alarms,
        share,
        Estimate(value, low, high),
        torch.cat([p for _, p in found])[order[:pairs]],
        distances[:pairs],
    )


def _support_size(probability: float, batch_size: int, false_alarms: float) -> float:
    if probability <= false_alarms:
        return math.inf
    if probability == 1:
        return 1.0
    return max(1.0, -batch_size * (batch_size - 1) / (2 * math.log((1 - probability) / (1 - false_alarms))))


def _batches(count: int, batch_size: int, seed: int) -> list[Tensor]:
    """Disjoint random batches, each (batch_size,) int64; the rest is left out."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(derive_seed(seed, "batches")))
    return list(torch.split(order[: count - count % batch_size], batch_size))


def _nearest_pairs(features: Tensor, rows: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The nearest pairs among `rows` of `features`: distances (m,), ascending, and row numbers (m, 2)."""
    # float64: the squared distance of near duplicates is a small difference of squares.
    x = features[rows.to(features.device)].cpu().double()
    x = x - x.mean(0)
    norms = x.square().sum(1)
    size = len(rows)
    best, places = torch.empty(0, dtype=torch.float64), torch.empty(0, dtype=torch.int64)
    step = max(1, CHUNK // size)
    for begin in range(0, size, step):
        part = slice(begin, begin + step)
        squares = norms[part, None] + norms - 2 * x[part] @ x.T  # (n, s)
        squares = squares.masked_fill(torch.arange(size) <= torch.arange(size)[part, None], math.inf)
        nearest = squares.flatten().topk(min(most, squares.numel()), largest=False)
        best = torch.cat([best, nearest.values])
        places = torch.cat([places, nearest.indices + begin * size])
    places = places[best.topk(min(most, size * (size - 1) // 2), largest=False).indices]
    i, j = places // size, places % size
    distances, order = (x[i] - x[j]).norm(dim=1).sort()  # anew: exactly 0 for exact duplicates
    return distances, torch.stack([rows[i], rows[j]], 1)[order]
