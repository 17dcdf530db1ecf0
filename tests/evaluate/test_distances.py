"""Frechet, kernel distance and Inception Score: closed forms, plain references, intervals that cover."""

from __future__ import annotations

import math

import pytest
import torch

from pentimento.errors import EvaluationError
from pentimento.evaluate.distances import (
    frechet,
    frechet_distance,
    inception_score,
    kernel_distance,
    kernel_distance_subsets,
)
from pentimento.evaluate.intervals import GROUPS, deal


def normal(count, width, seed, dtype=torch.float64):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def covariance(width, seed):
    a = normal(width, width, seed) / width**0.5
    return a @ a.T + 0.1 * torch.eye(width, dtype=torch.float64)


def moments(x):
    return x.mean(0), x.T.cov()


# ----------------------------------------------------------------------------------------------- Frechet
def test_commuting_covariances_have_a_closed_form():
    rotation = torch.linalg.qr(normal(5, 5, 0)).Q
    a, b = torch.tensor([4.0, 1, 0, 9, 1e-8]).double(), torch.tensor([1.0, 1, 4, 0, 4e-8]).double()
    mean = torch.ones(5, dtype=torch.float64)
    found = frechet_distance(mean, rotation * a @ rotation.T, 3 * mean, rotation * b @ rotation.T)
    assert found == pytest.approx(20 + float((a.sqrt() - b.sqrt()).square().sum()), rel=1e-7)


def test_the_distance_is_symmetric_and_does_not_see_rotations():
    a, b, rotation = moments(normal(50, 6, 1)), moments(2 * normal(50, 6, 2) + 1), torch.linalg.qr(normal(6, 6, 3)).Q
    turned = [(mean @ rotation, rotation.T @ cov @ rotation) for mean, cov in (a, b)]
    assert frechet_distance(*a, *b) == pytest.approx(frechet_distance(*b, *a), rel=1e-12)
    assert frechet_distance(*a, *b) == pytest.approx(frechet_distance(*turned[0], *turned[1]), rel=1e-12)


def test_replicates_are_the_distance_without_each_group():
    # Far from zero, where subtracting a scatter around zero would cancel.
    x, y = normal(130, 4, 1) + 1e4, 2 * normal(90, 4, 2) + 1e4
    found = frechet(x, y, seed=5)
    group_x, group_y = deal(130, 5), deal(90, 5)
    assert found.value == pytest.approx(frechet_distance(*moments(x), *moments(y)), rel=1e-9)
    for g in range(GROUPS):
        without = frechet_distance(*moments(x[group_x != g]), *moments(y[group_y != g]))
        assert found.replicates[g] == pytest.approx(without, rel=1e-9)


def test_equal_sets_and_features_that_never_change_are_at_zero():
    x = normal(60, 4, 1)
    x[:, 1], x[:, 2] = 0.1, x[:, 3]  # one constant, one a copy: the covariance is singular
    for found in (frechet(x, x), frechet(torch.full((30, 3), 0.1), torch.full((40, 3), 0.1))):
        # 1e-7: the square root makes the rounding of a vanishing eigenvalue, 1e-16, as large as 1e-8.
        assert abs(found.value) < 1e-7
        assert all(math.isfinite(end) for end in (found.low, found.high))


def test_its_interval_covers_the_true_distance():
    mean1, mean2, cov1, cov2 = 0.5 * normal(1, 16, 1), 0.5 * normal(1, 16, 2), covariance(16, 3), covariance(16, 4)
    truth = frechet_distance(mean1[0], cov1, mean2[0], cov2)
    root1, root2 = torch.linalg.cholesky(cov1).T, torch.linalg.cholesky(cov2).T
    found = [
        frechet(normal(500, 16, 2 * r) @ root1 + mean1, normal(500, 16, 2 * r + 1) @ root2 + mean2, seed=r)
        for r in range(60)
    ]
    # Of 60 intervals that cover with 95 %, 10 or more miss with a probability of 0.001; benchmarks/metrics.py has 200.
    assert sum(not each.low <= truth <= each.high for each in found) < 10
    values, corrected = (torch.tensor([getattr(e, name) for e in found]) for name in ("value", "corrected"))
    assert (corrected.mean() - truth).abs() < 0.5 * (values.mean() - truth)
    # The spread that an interval claims is the spread there is; a tenth is the error of a standard deviation of 60.
    claimed = torch.tensor([(e.high - e.low) / 2 / 2.093 for e in found]).square().mean().sqrt()
    assert float(claimed / corrected.std()) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize(("count", "width", "message"), [
    (70, 70, "samples: 70 pictures are too few .* 70 features: take at least 75 pictures, .* at most 65 features"),
    (74, 70, "take at least 75 pictures, or a feature network of at most 69 features"),
])  # fmt: skip
def test_too_few_pictures_for_a_covariance_are_refused(count, width, message):
    with pytest.raises(EvaluationError, match=message):
        frechet(normal(count, width, 0), normal(200, width, 1))
    with pytest.raises(EvaluationError, match="^reference: "):
        frechet(normal(200, width, 0), normal(count, width, 1))


def test_as_few_pictures_as_the_message_says_are_enough():
    assert math.isfinite(frechet(normal(75, 70, 0), normal(75, 70, 1)).value)


# ------------------------------------------------------------------------------------------------ kernel
def plain_kernel_distance(x, y):
    k = lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3  # noqa: E731
    n, m = len(x), len(y)
    xx, yy = (k(a, a).sum() - k(a, a).trace() for a in (x, y))
    return float(xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * k(x, y).mean())


def test_the_kernel_distance_is_that_of_all_pairs_and_so_are_its_replicates(monkeypatch):
    monkeypatch.setattr("pentimento.evaluate.distances.ROWS", 3)
    x, y = normal(85, 7, 1), 1.3 * normal(61, 7, 2) + 0.2
    found = kernel_distance(x, y, seed=3)
    group_x, group_y = deal(85, 3), deal(61, 3)
    assert found.value == pytest.approx(plain_kernel_distance(x, y), rel=1e-10)
    without = [plain_kernel_distance(x[group_x != g], y[group_y != g]) for g in range(GROUPS)]
    assert found.replicates == pytest.approx(without, rel=1e-10)
    assert found.corrected is None  # it has no bias


def test_kernel_distances_of_subsets():
    x, y = normal(40, 7, 1), normal(30, 7, 2) + 0.2
    subsets = [(torch.arange(5, 25), torch.arange(20)), (torch.arange(40), torch.arange(30))]
    plain = [plain_kernel_distance(x[i], y[j]) for i, j in subsets]
    assert kernel_distance_subsets(x, y, subsets).tolist() == pytest.approx(plain, rel=1e-10)
    with pytest.raises(EvaluationError, match="subsets: at least two rows"):
        kernel_distance_subsets(x, y, [(torch.tensor([1]), torch.arange(5))])


# ------------------------------------------------------------------------------------------------- score
def test_the_score_of_answers_that_say_nothing_and_of_answers_that_say_all():
    assert inception_score(torch.full((40, 8), 1 / 8)).value == pytest.approx(1)
    sure = torch.eye(8).repeat(10, 1)
    splits = [torch.arange(8 * i, 8 * i + 8) for i in range(10)]
    assert inception_score(sure, splits).value == pytest.approx(8)


def test_the_score_is_the_mean_over_splits_and_its_interval_that_of_endless_pictures():
    logits = 3 * normal(20_000, 30, 1)
    everything = logits.softmax(1)
    truth = float((everything * (everything.log() - everything.mean(0).log())).sum(1).mean().exp())
    p = everything[:600].float()  # splits of 60 for 30 classes
    splits = [torch.arange(60 * i, 60 * i + 60) for i in range(10)]
    parts = [p[rows].double() for rows in splits]
    plain = [float((part * (part.log() - part.mean(0).log())).sum(1).mean().exp()) for part in parts]
    found = inception_score(p, splits)
    assert found.value == pytest.approx(sum(plain) / 10, rel=1e-6)
    assert found.value < 0.95 * truth
    assert found.low < truth < found.high
    assert found.high - found.low < 0.2 * truth
    again = inception_score(p, seed=3)
    assert again == inception_score(p, seed=3)
    assert again != inception_score(p, seed=4)


@pytest.mark.parametrize(("probabilities", "splits", "message"), [
    (normal(30, 4, 0), None, "take the softmax first"),
    (torch.full((30, 4), 0.5), None, "take the softmax first"),
    (torch.full((30, 4), 0.25), [], "splits: one or more expected"),
    (torch.full((30, 4), 0.25), [torch.arange(0)], "splits: one or more expected, each of at least one row"),
    (torch.full((19, 4), 0.25), None, "probabilities: at least 20 pictures are needed for an interval, got 19"),
])  # fmt: skip
def test_what_is_no_table_of_probabilities_is_refused(probabilities, splits, message):
    with pytest.raises(EvaluationError, match=message):
        inception_score(probabilities, splits)


# --------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize("metric", [frechet, kernel_distance])
@pytest.mark.parametrize(("samples", "reference", "message"), [
    (torch.zeros(30), torch.zeros(30, 2), r"samples: one row of numbers a picture expected, got the shape \(30,\)"),
    (torch.zeros(30, 2), torch.zeros(30, 0), "reference: one row of numbers"),
    (torch.zeros(1, 2), torch.zeros(30, 2), "samples: at least 20 pictures are needed for an interval, got 1"),
    (torch.zeros(30, 2), torch.zeros(30, 3), "samples: 2 features each where the reference has 3"),
    (torch.zeros(30, 2), torch.full((30, 2), math.nan), "reference: 30 of 30 rows hold numbers that are not finite"),
])  # fmt: skip
def test_features_that_cannot_be_used_are_refused(metric, samples, reference, message):
    with pytest.raises(EvaluationError, match=message):
        metric(samples, reference)
