"""Distances between sets of features: agreement with torch-fidelity and prdc, time, and how often intervals hold.

Those two are no dependencies; they ask for torchvision, which need not be there. Into a folder of their own:

    pip install --no-deps --target PEERS torch-fidelity prdc
    PYTHONPATH=PEERS python benchmarks/metrics.py
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
import math
import os
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from reporting import Figure, Spread, command_line, median_and_spread, parser, wilson, write

if TYPE_CHECKING:
    from torch import Tensor

    from pentimento.evaluate.intervals import Estimate

K = 5  # neighbours
CLASSES, SPLITS = 1000, 10  # of the Inception Score
SUBSETS, SUBSET_SIZE = 100, 1000  # of the kernel distance
PEER_SEED = 2020  # of torch-fidelity's own draws
AIM_DISTANCE, AIM_SCORE = 1e-6, 1e-4  # relative
AIM_COVERAGE = (90.0, 98.0)  # per cent of intervals at 95 %
RESAMPLES = 200  # of the bootstrap
FIDELITY, PRDC, BOOTSTRAP = "torch-fidelity", "prdc", "percentile bootstrap"
SHARES = ("precision", "recall", "density", "coverage")

Raced = dict[str, list[tuple[Any, list[float]]]]  # what each way of a metric found, and its seconds


def main() -> None:
    """Measure, and write the report."""
    options = parser(__doc__ or "")
    options.formatter_class = argparse.RawDescriptionHelpFormatter
    options.add_argument("--count", type=int, default=10_000, help="pictures of either set")
    options.add_argument("--dim", type=int, default=2048, help="features of a picture")
    options.add_argument("--rounds", type=int, default=3, help="of each timing, after one at a tenth of the pictures")
    options.add_argument("--repetitions", type=int, default=200, help="of each experiment with intervals")
    chosen = options.parse_args()
    busy = os.getloadavg()[0]
    prepare_peers()
    figures = agreement_and_time(chosen.count, chosen.dim, chosen.rounds)
    figures += intervals(chosen.repetitions)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch-fidelity", "prdc"))
    notes = [
        f"Peers: {versions}, on the same features in float64, as many threads, the same subsets and splits, k = {K}.",
        "Features: non-negative, of 256 correlated factors and noise, as a pooled layer after a rectifier has them.",
        f"Times: median of {chosen.rounds} rounds in turn, and lowest to highest. Ours come with an interval unless "
        "said otherwise, which takes 20 replicates more; theirs without one.",
        f"Intervals: {chosen.repetitions} repetitions, in each of which both sets are drawn anew from two normal "
        "distributions with different means and covariances, of 16 dimensions where nothing else is said. Covered: the "
        "share of 95 % intervals that hold what is true, with Wilson's interval. True are the closed form (Frechet and "
        "kernel distance, mean), the score of a million samples, and for the four shares, which are defined at their "
        "sample size, the mean over all repetitions.",
        f"Bootstrap: {RESAMPLES} resamples of either set, 2.5 % and 97.5 % percentiles.",
        f"Before it began other work kept the machine busy with {busy:.1f} threads on {os.cpu_count()} cores.",
    ]
    write("metrics", "Metrics", command_line(__file__, chosen, options), figures, notes, folder=chosen.out)


# -------------------------------------------------------------------------------------------------- peers
def prepare_peers() -> None:
    """Import what we are compared with; ends the program where it is not there."""
    try:
        importlib.import_module("torchvision")
    except ImportError:
        for name in ("", ".datasets", ".transforms", ".transforms.functional"):
            sys.modules[f"torchvision{name}"] = types.ModuleType(f"torchvision{name}")
        for name in ("CIFAR10", "CIFAR100", "STL10"):
            setattr(sys.modules["torchvision.datasets"], name, type(name, (), {}))
    try:
        importlib.import_module("torch_fidelity.metric_fid")
        importlib.import_module("prdc")
    except ImportError as error:
        sys.exit(f"needs torch-fidelity and prdc ({error}); the head of this file says how to install them")


def peer_frechet(x: Tensor, y: Tensor) -> float:
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    found = fid_statistics_to_metric(fid_features_to_statistics(x), fid_features_to_statistics(y), False)
    return float(found[KEY_METRIC_FID])


def peer_kernel(x: Tensor, y: Tensor) -> float:
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    size = {"kid_subsets": SUBSETS, "kid_subset_size": min(SUBSET_SIZE, len(x)), "rng_seed": PEER_SEED}
    return float(kid_features_to_metric(x, y, verbose=False, **size)[KEY_METRIC_KID_MEAN])


def peer_subsets(count: int) -> list[tuple[Tensor, Tensor]]:
    """Those that torch-fidelity draws."""
    import numpy as np
    import torch

    draws, size = np.random.RandomState(PEER_SEED), min(SUBSET_SIZE, count)

    def draw() -> Tensor:
        return torch.from_numpy(draws.choice(count, size, replace=False))

    return [(draw(), draw()) for _ in range(SUBSETS)]


def peer_score(logits: Tensor) -> float:
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

    return float(isc_features_to_metric(logits, SPLITS, True, PEER_SEED)[KEY_METRIC_ISC_MEAN])


def peer_splits(count: int) -> list[Tensor]:
    """Those that torch-fidelity makes."""
    import numpy as np
    import torch

    order = torch.from_numpy(np.random.RandomState(PEER_SEED).permutation(count))
    return [order[i * count // SPLITS : (i + 1) * count // SPLITS] for i in range(SPLITS)]


def peer_shares(x: Tensor, y: Tensor) -> list[float]:
    from prdc import compute_prdc

    with contextlib.redirect_stdout(io.StringIO()):
        found = compute_prdc(y.numpy(), x.numpy(), K)
    return [float(found[name]) for name in SHARES]


# -------------------------------------------------------------------------------------- agreement and time
def agreement_and_time(count: int, dim: int, rounds: int) -> list[Figure]:
    """Of all metrics at `count` pictures of either set and `dim` features."""
    import torch
    from threadpoolctl import threadpool_limits

    with threadpool_limits(torch.get_num_threads()):
        for work in contests(max(100, count // 10), min(dim, max(100, count // 10) // 2)).values():
            for each in work:
                each()  # warm-up
        raced = race(contests(count, dim), rounds)
    return agreement(raced, count) + times(raced, count, dim)


def contests(count: int, dim: int) -> dict[str, list[Callable[[], Any]]]:
    """For each metric our way to compute it, then the peer's, if it has one."""
    from pentimento.evaluate.distances import frechet, inception_score, kernel_distance, kernel_distance_subsets
    from pentimento.evaluate.neighbours import neighbours

    x, y, logits = features(count, dim, 1, 0.0), features(count, dim, 2, 0.02), normal(3, count, CLASSES) * 2
    subsets, splits = peer_subsets(count), peer_splits(count)
    return {
        "Frechet distance, value alone": [lambda: frechet_value(x, y), lambda: peer_frechet(x, y)],
        "Frechet distance": [lambda: frechet(x, y)],
        f"kernel distance, {SUBSETS} subsets of {min(SUBSET_SIZE, count):,}, value alone": [
            lambda: float(kernel_distance_subsets(x, y, subsets).mean()),
            lambda: peer_kernel(x, y),
        ],
        "kernel distance, all pairs": [lambda: kernel_distance(x, y)],
        "Inception Score": [lambda: inception_score(logits.softmax(1), splits), lambda: peer_score(logits)],
        "precision, recall, density, coverage": [lambda: neighbours(x, y, K), lambda: peer_shares(x, y)],
    }


def frechet_value(x: Tensor, y: Tensor) -> float:
    from pentimento.evaluate.distances import frechet_distance

    return frechet_distance(x.mean(0), x.T.cov(), y.mean(0), y.T.cov())


def race(work: dict[str, list[Callable[[], Any]]], rounds: int) -> Raced:
    """Run all in turn; for each the result and the seconds of each round."""
    found: Raced = {name: [(None, []) for _ in each] for name, each in work.items()}
    for _ in range(rounds):
        for name, each in work.items():
            for i, run in enumerate(each):
                start = time.perf_counter()
                result = run()
                found[name][i] = (result, [*found[name][i][1], time.perf_counter() - start])
    return found


def agreement(raced: Raced, count: int) -> list[Figure]:
    """How far our values are from the peers'."""
    figures = []
    for name, pair in raced.items():
        if len(pair) < 2:
            continue
        ours, theirs = (result for result, _ in pair)
        if isinstance(theirs, list):
            mine = [getattr(ours, share).value for share in SHARES]
            decisions = [count, count, K * count, count]
            wrong = sum(abs(round(a * n) - round(b * n)) for a, b, n in zip(mine, theirs, decisions, strict=True))
            values = ", ".join(f"{share} {value:.4f}" for share, value in zip(SHARES, mine, strict=True))
            judged = {"aim": "0", "met": wrong == 0, "note": f"Of {sum(decisions):,}; {values}."}
            figures.append(Figure(f"{name}: points decided otherwise than by {PRDC}", wrong, **judged))
            continue
        value = ours if isinstance(ours, float) else ours.value
        aim = AIM_SCORE if name == "Inception Score" else AIM_DISTANCE
        error = abs(value - theirs) / abs(theirs)
        label = name.removesuffix(", value alone")
        judged = {"aim": f"<= {aim:g}", "met": error <= aim, "note": f"{value:.9g} and {theirs:.9g}."}
        figures.append(Figure(f"{label}: relative difference from {FIDELITY}", error, **judged))
    return figures


def times(raced: Raced, count: int, dim: int) -> list[Figure]:
    """Seconds, beside the peer's."""
    figures = []
    for name, pair in raced.items():
        seconds = [median_and_spread(spent) for _, spent in pair]
        beside: dict[str, Any] = {}
        if len(pair) > 1:
            peer = PRDC if isinstance(pair[1][0], list) else FIDELITY
            beside = {"peer": peer, "peer_value": seconds[1][0], "peer_spread": seconds[1][1]}
        columns = CLASSES if name == "Inception Score" else dim
        label = f"{name}: time at {count:,} x {columns:,}"
        figures.append(Figure(label, seconds[0][0], "s", seconds[0][1], **beside))
    return figures


def normal(seed: int, *shape: int) -> Tensor:
    import torch

    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def features(count: int, dim: int, seed: int, shift: float) -> Tensor:
    """(count, dim) float64."""
    factors = normal(seed, count, 256) @ normal(0, 256, dim) / 16
    return (factors + 0.7 * normal(seed + 100, count, dim) + shift).relu()


# ---------------------------------------------------------------------------------------------- intervals
class Distributions:
    """Two normal distributions, and what is true of them.

    Args:
        width: dimensions.
        alike: whether they are one and the same.
    """

    def __init__(self, width: int, alike: bool = False) -> None:
        import torch

        self.width = width
        self.means = [0.5 * normal(seed, width) for seed in (1, 2)]
        roots = [normal(seed, width, width) / math.sqrt(width) for seed in (3, 4)]
        self.covariances = [root @ root.T + 0.1 * torch.eye(width, dtype=torch.float64) for root in roots]
        self.classifier = normal(5, width, 100) / 2
        if alike:
            self.means[1], self.covariances[1] = self.means[0], self.covariances[0]

    def draw(self, which: int, count: int, seed: int) -> Tensor:
        """(count, width)."""
        import torch

        root = torch.linalg.cholesky(self.covariances[which])
        return self.means[which] + normal(2 * seed + which + 1000, count, self.width) @ root.T

    def probabilities(self, x: Tensor) -> Tensor:
        """(N, 100)."""
        return (x @ self.classifier).softmax(1)

    def frechet(self) -> float:
        from pentimento.evaluate.distances import frechet_distance

        (mean1, mean2), (cov1, cov2) = self.means, self.covariances
        return frechet_distance(mean1, cov1, mean2, cov2)

    def kernel(self) -> float:
        """From the first three moments: ``(s + 1)^3 = 1 + 3 s + 3 s^2 + s^3`` with ``s = x . y / D``."""

        def mean_kernel(a: int, b: int) -> float:
            total = 1.0
            for order, (u, v) in enumerate(zip(self.moments(a), self.moments(b), strict=True), start=1):
                total += math.comb(3, order) * float((u * v).sum()) / self.width**order
            return total

        return mean_kernel(0, 0) + mean_kernel(1, 1) - 2 * mean_kernel(0, 1)

    def moments(self, which: int) -> Iterator[Tensor]:
        """E x, E x x^T, E x x x, each (width, ...)."""
        import torch

        m, s = self.means[which], self.covariances[which]
        yield m
        yield s + torch.outer(m, m)
        mixed = torch.einsum("i,jk->ijk", m, s)
        yield torch.einsum("i,j,k->ijk", m, m, m) + mixed + mixed.permute(1, 0, 2) + mixed.permute(1, 2, 0)

    def score(self) -> float:
        """Of a million samples."""
        import torch

        negentropy, marginal = torch.zeros((), dtype=torch.float64), torch.zeros(100, dtype=torch.float64)
        for part in range(10):
            p = self.probabilities(self.draw(0, 100_000, 10**6 + part))
            negentropy += torch.xlogy(p, p).sum(1).mean() / 10
            marginal += p.mean(0) / 10
        return float((negentropy - torch.xlogy(marginal, marginal).sum()).exp())


def intervals(repetitions: int) -> list[Figure]:
    """How often they hold the true value, and how wide they are."""
    from pentimento.evaluate.distances import frechet

    figures = []
    apart = Distributions(16)
    truths: dict[str, float] = {"Frechet distance": apart.frechet(), "kernel distance": apart.kernel()}
    truths |= {"Inception Score": apart.score(), "mean": float(apart.means[0][0])}
    for count in (500, 5000):
        found = [trial(apart, count, seed) for seed in range(repetitions)]
        boots = [bootstrap(apart, count, seed) for seed in range(repetitions)]
        for name in found[0]:
            beside = boots if name == "Frechet distance" else []
            figures += held(f"{name}, {count:,}", [each[name] for each in found], truths.get(name), beside)
    others = {"one distribution twice": (Distributions(16, alike=True), 500), "64 dimensions": (Distributions(64), 128)}
    for label, (pair, count) in others.items():
        estimates = [frechet(pair.draw(0, count, seed), pair.draw(1, count, seed), seed) for seed in range(repetitions)]
        figures += held(f"Frechet distance, {count:,}, {label}", estimates, pair.frechet(), [])
    return figures


def trial(pair: Distributions, count: int, seed: int) -> dict[str, Estimate]:
    """All estimates from one draw of both sets."""
    from pentimento.evaluate.distances import frechet, inception_score, kernel_distance
    from pentimento.evaluate.intervals import mean_estimate
    from pentimento.evaluate.neighbours import neighbours

    x, y = pair.draw(0, count, seed), pair.draw(1, count, seed)
    found = {
        "Frechet distance": frechet(x, y, seed),
        "kernel distance": kernel_distance(x, y, seed),
        "Inception Score": inception_score(pair.probabilities(x), seed=seed),
        "mean": mean_estimate(x[:, 0], seed),
    }
    if count <= 1000:
        shares = neighbours(x, y, K, seed)
        found |= {name: getattr(shares, name) for name in SHARES}
    return found


def bootstrap(pair: Distributions, count: int, seed: int) -> Estimate:
    """The Frechet distance with its percentile interval."""
    import torch

    from pentimento.evaluate.intervals import Estimate

    x, y = pair.draw(0, count, seed), pair.draw(1, count, seed)
    generator = torch.Generator().manual_seed(seed)

    def again(values: Tensor) -> Tensor:
        return values[torch.randint(len(values), (len(values),), generator=generator)]

    values = torch.tensor([frechet_value(again(x), again(y)) for _ in range(RESAMPLES)], dtype=torch.float64)
    low, high = values.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Estimate(frechet_value(x, y), low, high)


def held(name: str, estimates: list[Estimate], truth: float | None, boots: list[Estimate]) -> list[Figure]:
    """Share of intervals that hold the truth, and their mean width, beside the bootstrap's if there are any."""
    values = [each.value for each in estimates]
    true = statistics.fmean(values) if truth is None else truth
    middle = statistics.fmean((each.low + each.high) / 2 for each in estimates)
    coverage, around = covered(estimates, true)
    low, high = AIM_COVERAGE
    note = (
        f"True {true:.4g}; mean of the values {statistics.fmean(values):.4g}, of the intervals' middles {middle:.4g}."
    )
    beside, wide = {}, {}
    if boots:
        share, spread = covered(boots, true)
        beside = {"peer": BOOTSTRAP, "peer_value": share, "peer_spread": spread}
        wide = {"peer": BOOTSTRAP, "peer_value": statistics.fmean(each.high - each.low for each in boots)}
    judged = {"aim": f"{low:g} to {high:g}", "met": low <= coverage <= high}
    return [
        Figure(f"{name}: covered", coverage, "%", around, **judged, **beside, note=note),
        Figure(f"{name}: mean width", statistics.fmean(each.high - each.low for each in estimates), **wide),
    ]


def covered(estimates: list[Estimate], true: float) -> tuple[float, Spread]:
    """The share of intervals that hold what is true, in per cent, and Wilson's interval of that share."""
    hits = sum(each.low <= true <= each.high for each in estimates)
    return 100 * hits / len(estimates), wilson(hits, len(estimates))


if __name__ == "__main__":
    main()
