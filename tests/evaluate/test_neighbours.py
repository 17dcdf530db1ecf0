"""Precision, recall, density and coverage: exactly the plain definition, ties and all, with intervals that cover."""

from __future__ import annotations

import math

import pytest
import torch

from pentimento.errors import EvaluationError
from pentimento.evaluate.intervals import deal, difference, half_sample_estimate, halves
from pentimento.evaluate.neighbours import neighbours

NAMES = ("precision", "recall", "density", "coverage")


def normal(count, width, seed):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain(x, y, k):
    """As the package prdc does it, from differences instead of products."""
    apart = lambda a, b: (a[:, None] - b).square().sum(2)  # noqa: E731
    radius_x, radius_y = (apart(a, a).sort(1).values[:, k] for a in (x, y))  # the first is the point itself
    in_y, in_x = apart(y, x) < radius_y[:, None], apart(y, x) < radius_x
    density = int(in_y.sum()) / (k * len(x))
    return [
        float(in_y.any(0).double().mean()),
        float(in_x.any(1).double().mean()),
        density,
        float(in_y.any(1).double().mean()),
    ]


def values(found):
    return [getattr(found, name).value for name in NAMES]


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("grid", [0.0, 1.0, 0.1])
def test_the_shares_are_those_of_the_plain_definition(k, grid, monkeypatch):
    monkeypatch.setattr("pentimento.evaluate.neighbours.ROWS", 4)  # several to a group
    x, y = normal(85, 3, 1), 1.2 * normal(120, 3, 2)
    if grid:  # many distances are equal: on the edge is outside
        x, y = (x / grid).round(), (y / grid).round()
    assert values(neighbours(x, y, k)) == plain(x, y, k)
    # Off the grid of binary numbers equal distances differ by their rounding, and are still taken for equal.
    assert values(neighbours(0.1 * x, 0.1 * y, k)) == plain(x, y, k)


def test_a_set_and_its_copy_fill_one_another_to_the_edge():
    x = normal(300, 50, 1) + 1e3
    assert values(neighbours(x, x.clone())) == [1, 1, 1, 1]


def test_sets_far_apart_share_nothing():
    assert values(neighbours(normal(40, 4, 1), normal(50, 4, 2) + 1e3)) == [0, 0, 0, 0]


def test_all_samples_alike_reach_one_place():
    found = neighbours(torch.zeros(40, 4), normal(200, 4, 2))
    assert found.recall.value == 0
    assert found.precision.value == 1
    assert 0 < found.coverage.value < 0.5


def test_intervals_are_those_of_the_shares_of_halves():
    x, y = normal(90, 3, 1), 1.2 * normal(120, 3, 2)
    found = neighbours(x, y, 3, seed=7)
    of_x, of_y = halves()[:, deal(90, 7)], halves()[:, deal(120, 7)]
    first, second = (
        [plain(x[a == side], y[b == side], 3) for a, b in zip(of_x, of_y, strict=True)] for side in (1, -1)
    )
    for i, name in enumerate(NAMES):
        mine, expected = getattr(found, name), plain(x, y, 3)[i]
        assert mine == half_sample_estimate(expected, [row[i] for row in first], [row[i] for row in second])


def test_intervals_cover_what_is_found_on_average():
    def features(count, seed, shift):
        return (normal(count, 4, seed) @ normal(4, 16, 0) + 0.5 * normal(count, 16, seed + 1) + shift).relu()

    runs = [(features(200, 4 * r, 0.0), features(200, 4 * r + 2, 0.3), r) for r in range(24)]
    found = [neighbours(x, y, seed=r) for x, y, r in runs]
    for name in NAMES:
        estimates = [getattr(each, name) for each in found]
        mean = sum(each.value for each in estimates) / len(estimates)
        # Of 24 intervals that cover with 95 %, 6 or more miss with a probability of 0.001.
        assert sum(not each.low <= mean <= each.high for each in estimates) < 6, name
        claimed = torch.tensor([(e.high - e.low) / 2 / 2.093 for e in estimates]).square().mean().sqrt()
        assert float(claimed / torch.tensor([e.value for e in estimates]).std()) == pytest.approx(1, abs=0.4), name


def test_two_models_compare_over_the_same_reference():
    y = normal(200, 3, 1)
    near, far = neighbours(normal(200, 3, 2), y), neighbours(normal(200, 3, 3) + 3, y)
    gap = difference(near.coverage, far.coverage)
    assert gap.value == near.coverage.value - far.coverage.value
    assert gap.low > 0


@pytest.mark.parametrize(("count", "k", "message"), [
    (19, 5, "samples: at least 20 pictures are needed for an interval, got 19"),
    (39, 9, "samples: at least 40 pictures are needed for k = 9, got 39"),
    (60, 0, "k: at least 1 expected, got 0"),
])  # fmt: skip
def test_too_few_neighbours_are_refused(count, k, message):
    with pytest.raises(EvaluationError, match=message):
        neighbours(normal(count, 3, 0), normal(100, 3, 1), k)


def test_features_that_cannot_be_used_are_refused():
    x = normal(30, 3, 0)
    with pytest.raises(EvaluationError, match="3 features each where the reference has 2"):
        neighbours(x, x[:, :2])
    broken = x.clone()
    broken[4, 1] = math.inf
    with pytest.raises(EvaluationError, match="reference: 1 of 30 rows hold numbers that are not finite"):
        neighbours(x, broken)
    assert values(neighbours(normal(40, 3, 0), normal(40, 3, 1), 9))  # as few as the message says
