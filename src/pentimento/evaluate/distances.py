"""How far two sets of features are apart, and how sure and varied a classifier finds one set; with intervals.

Legend: samples -> X (N, D); reference -> Y (M, D); mean, cov -> mu, S; kernel -> k(x, y) = (x . y / D + 1)^3;
probabilities -> p(y | x) (N, K).

Everything is computed in float64 on the CPU. Intervals are jackknifed, see `pentimento.evaluate.intervals`: a group is
left out of both sets at once, each dealt by itself from the same seed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import torch
from torch import Tensor

from pentimento.errors import EvaluationError
from pentimento.evaluate.intervals import GROUPS, Estimate, deal, jackknife_estimate
from pentimento.runtime import derive_seed

__all__ = [
    "feature_pair",
    "frechet",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
    "kernel_distance_subsets",
]

ROWS = 1024  # of a kernel matrix held at once
SPLITS = 10  # of the Inception Score, as everybody reports it


def feature_pair(samples: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64 on the CPU, (N, D) and (M, D).

    Raises:
        EvaluationError: one is no table of finite numbers, has fewer rows than an interval has groups, or the two
            differ in D.
    """
    for name, table in (("samples", samples), ("reference", reference)):
        _check_table(name, table)
    if samples.shape[1] != reference.shape[1]:
        raise EvaluationError(
            f"samples: {samples.shape[1]} features each where the reference has {reference.shape[1]}; "
            "compute both with the same feature network"
        )
    return samples.detach().to("cpu", torch.float64), reference.detach().to("cpu", torch.float64)


def _check_table(name: str, table: Tensor) -> None:
    if table.ndim != 2 or table.shape[1] == 0:
        raise EvaluationError(f"{name}: one row of numbers a picture expected, got the shape {tuple(table.shape)}")
    if len(table) < GROUPS:
        raise EvaluationError(f"{name}: at least {GROUPS} pictures are needed for an interval, got {len(table)}")
    broken = int((~torch.isfinite(table)).any(1).sum())
    if broken:
        raise EvaluationError(f"{name}: {broken} of {len(table)} rows hold numbers that are not finite (NaN, infinity)")


# ----------------------------------------------------------------------------------------------- Frechet
def frechet(samples: Tensor, reference: Tensor, seed: int = 0) -> Estimate:
    """The Frechet distance between normal distributions fitted to both sets (Heusel et al. 2017, eq. 6).

    ``||mu1 - mu2||^2 + tr(S1 + S2 - 2 (S1 S2)^1/2)``. `value` is what everybody reports. It is too large,
    the more so the more features and the fewer pictures there are; `corrected` and the interval take that out. Where
    both sets are of one distribution the interval is wider than it need be. Takes 21 distances.

    Args:
        samples: (N, D).
        reference: (M, D).
        seed: of the groups.

    Raises:
        EvaluationError: see `feature_pair`; or too few of either set for a covariance of full rank.
    """
    samples, reference = feature_pair(samples, reference)
    _check_enough("samples", samples)
    _check_enough("reference", reference)
    ours, theirs = _Moments(samples, seed), _Moments(reference, seed)
    value = frechet_distance(*ours.without(), *theirs.without())
    replicates = [frechet_distance(*ours.without(g), *theirs.without(g)) for g in range(GROUPS)]
    return jackknife_estimate(value, replicates, correct_bias=True)


def frechet_distance(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> float:
    """The squared 2-Wasserstein distance of two normal distributions (Dowson and Landau 1982).

    With ``S1 = R R^T``, the eigenvalues of ``S1 S2`` are those of the symmetric ``R^T S2 R``, so that no complex square
    root is taken. R is the Cholesky factor, which keeps small eigenvalues accurate, or where S1 is singular
    ``U sqrt(L)`` of its eigenvectors and eigenvalues. Features that never change take no part in the root.

    Args:
        mean1: (D,) float64.
        cov1: (D, D) float64.
        mean2: (D,) float64.
        cov2: (D, D) float64.

    >>> one = torch.ones(1, dtype=torch.float64)
    >>> frechet_distance(0 * one, 4 * one.diag(), 3 * one, 1 * one.diag())  # 3^2 + (2 - 1)^2
    10.0
    """
    vary = (cov1.diagonal() > 0) & (cov2.diagonal() > 0)
    s1, s2 = (cov if vary.all() else cov[vary][:, vary] for cov in (cov1, cov2))
    root, failed = torch.linalg.cholesky_ex(s1)
    if failed:
        eigenvalues, vectors = torch.linalg.eigh(s1)
        root = vectors * eigenvalues.clamp(min=0).sqrt()
    roots = torch.linalg.eigvalsh(root.T @ s2 @ root).clamp(min=0).sqrt()
    between = (mean1 - mean2).square().sum()
    return float(between + cov1.trace() + cov2.trace() - 2 * roots.sum())


class _Moments:
    """Mean and covariance of (N, D) features, of all or without one group.

    A group's scatter is subtracted from that of all. Features are centred first, so that what is subtracted is a
    twentieth of what stays and nothing cancels.
    """

    def __init__(self, features: Tensor, seed: int) -> None:
        self.mean = features.mean(0)
        self.centred = features - self.mean
        self.scatter = self.centred.T @ self.centred
        self.group = deal(len(features), seed)

    def without(self, group: int | None = None) -> tuple[Tensor, Tensor]:
        """(D,) mean and (D, D) covariance (divided by n - 1) of what is left."""
        out = self.centred[self.group == group] if group is not None else self.centred[:0]
        count = len(self.centred) - len(out)
        shift = -out.sum(0) / count
        scatter = self.scatter - out.T @ out - count * torch.outer(shift, shift)
        return self.mean + shift, scatter / (count - 1)


def _check_enough(name: str, features: Tensor) -> None:
    """Covariances must have full rank also without a group, a twentieth."""
    count, width = features.shape
    left = count * (GROUPS - 1) // GROUPS
    if left < width + 1:
        needed = -(-GROUPS * (width + 1) // (GROUPS - 1))
        raise EvaluationError(
            f"{name}: {count} pictures are too few for a Frechet distance of {width} features: take at least {needed} "
            f"pictures, or a feature network of at most {left - 1} features"
        )


# ------------------------------------------------------------------------------------------------ kernel
def kernel_distance(samples: Tensor, reference: Tensor, seed: int = 0) -> Estimate:
    """The Kernel Inception Distance: the squared maximum mean discrepancy, without bias (Binkowski et al. 2018, eq. 4).

    The average over all pairs, where the literature averages over random subsets: same expectation, less noise. Being
    unbiased it may come out below zero.

    Args:
        samples: (N, D).
        reference: (M, D).
        seed: of the groups.

    Raises:
        EvaluationError: see `feature_pair`.
    """
    samples, reference = feature_pair(samples, reference)
    ours = [samples[deal(len(samples), seed) == g] for g in range(GROUPS)]
    theirs = [reference[deal(len(reference), seed) == g] for g in range(GROUPS)]
    sums = (_within(ours), _within(theirs), _between(ours, theirs))
    counts = torch.tensor([[len(part) for part in parts] for parts in (ours, theirs)])
    kept = 1 - torch.eye(GROUPS, dtype=torch.float64)
    value = _discrepancy(sums, counts, torch.ones(GROUPS, dtype=torch.float64))
    return jackknife_estimate(value, [_discrepancy(sums, counts, kept[g]) for g in range(GROUPS)], correct_bias=False)


def kernel_distance_subsets(samples: Tensor, reference: Tensor, subsets: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The distance of each pair of subsets, (len(subsets),) float64: the protocol of the literature.

    Which reports their mean, and usually takes 100 subsets of 1,000.

    Args:
        samples: (N, D).
        reference: (M, D).
        subsets: indices of rows of `samples` and of `reference`, each (at least 2,) int64.

    Raises:
        EvaluationError: see `feature_pair`; or a subset of fewer than two.
    """
    samples, reference = feature_pair(samples, reference)
    found = []
    for ours, theirs in subsets:
        if min(len(ours), len(theirs)) < 2:
            raise EvaluationError("subsets: at least two rows of either set expected in each")
        x, y = [samples[ours]], [reference[theirs]]
        counts, all_of_it = torch.tensor([[len(ours)], [len(theirs)]]), torch.ones(1, dtype=torch.float64)
        found.append(_discrepancy((_within(x), _within(y), _between(x, y)), counts, all_of_it))
    return torch.tensor(found, dtype=torch.float64)


def _between(xs: Sequence[Tensor], ys: Sequence[Tensor]) -> Tensor:
    """Sums of the kernel over all pairs of every two groups, (len(xs), len(ys))."""
    return torch.tensor([[_kernel_sum(x, y) for y in ys] for x in xs], dtype=torch.float64)


def _within(xs: Sequence[Tensor]) -> Tensor:
    """As `_between` of the groups with themselves, without the pairs of a row with itself."""
    sums = torch.zeros(len(xs), len(xs), dtype=torch.float64)
    for a, x in enumerate(xs):
        for b in range(a):
            sums[a, b] = sums[b, a] = _kernel_sum(x, xs[b])
        itself = (x.square().sum(1) / x.shape[1] + 1) ** 3
        sums[a, a] = _kernel_sum(x, x) - itself.sum()
    return sums


def _kernel_sum(x: Tensor, y: Tensor) -> float:
    return math.fsum(float(((rows @ y.T / x.shape[1] + 1) ** 3).sum()) for rows in torch.split(x, ROWS))


def _discrepancy(sums: tuple[Tensor, Tensor, Tensor], counts: Tensor, kept: Tensor) -> float:
    """``mean k(x, x') + mean k(y, y') - 2 mean k(x, y)`` over the groups where `kept` is 1."""
    within_x, within_y, between = (float(kept @ each @ kept) for each in sums)
    n, m = map(float, counts.double() @ kept)
    return within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * between / (n * m)


# ------------------------------------------------------------------------------------------------- score
def inception_score(probabilities: Tensor, splits: Sequence[Tensor] | None = None, seed: int = 0) -> Estimate:
    """``exp(mean KL(p(y | x) || p(y)))``, averaged over splits (Salimans et al. 2016, section 4).

    `value` is the literature's, which falls short the more the fewer rows a split has (for 1,000 classes and splits of
    1,000 by a third). `corrected` and the interval are those of the score of all rows in one, without its bias, so that
    they need not be near `value`; the replicates are shifted by as much.

    Args:
        probabilities: (N, K), each row adding up to 1.
        splits: indices of the rows of each split; None deals all rows into ten.
        seed: of the splits and of the groups.

    Raises:
        EvaluationError: not a table of finite numbers, not probabilities, or an empty split.
    """
    _check_table("probabilities", probabilities)
    p = probabilities.detach().to("cpu", torch.float64)
    # 1e-2: a softmax over 1,000 classes rounded to bf16 still adds up to 1 within that; logits do not.
    if float(p.min()) < 0 or float((p.sum(1) - 1).abs().max()) > 1e-2:
        raise EvaluationError("probabilities: rows of numbers >= 0 that add up to 1 expected; take the softmax first")
    if splits is None:
        split = deal(len(p), derive_seed(seed, "splits"), SPLITS)
        splits = [torch.nonzero(split == s).flatten() for s in range(SPLITS)]
    if not splits or min(len(rows) for rows in splits) == 0:
        raise EvaluationError("splits: one or more expected, each of at least one row")
    value = statistics.fmean(_score(p[rows].mean(0), float(_negentropies(p[rows]).mean())) for rows in splits)
    together = _score_in_one(p, seed)
    assert together.corrected is not None
    shift = value + (value - together.corrected) / (GROUPS - 1) - statistics.fmean(together.replicates)
    return jackknife_estimate(value, [t + shift for t in together.replicates], correct_bias=True)


def _score_in_one(p: Tensor, seed: int) -> Estimate:
    """Of all rows without splits."""
    group = deal(len(p), seed)
    left = (len(p) - torch.bincount(group, minlength=GROUPS)).tolist()
    negentropies = _negentropies(p)
    sums = torch.zeros(GROUPS, p.shape[1], dtype=torch.float64).index_add(0, group, p)
    own = torch.zeros(GROUPS, dtype=torch.float64).index_add(0, group, negentropies)
    marginals, means = p.sum(0) - sums, (negentropies.sum() - own).tolist()
    replicates = [_score(marginals[g] / left[g], means[g] / left[g]) for g in range(GROUPS)]
    return jackknife_estimate(_score(p.mean(0), float(negentropies.mean())), replicates, correct_bias=True)


def _score(marginal: Tensor, mean_negentropy: float) -> float:
    """``exp(mean sum p log p - sum q log q)``."""
    return math.exp(mean_negentropy - float(_negentropies(marginal)))


def _negentropies(p: Tensor) -> Tensor:
    """``sum p log p`` over the last dimension, where 0 log 0 is 0."""
    return torch.xlogy(p, p).sum(-1)
