"""Shares, modes and birthdays of laws that are known."""

from __future__ import annotations

import math

import pytest
import torch

from pentimento.errors import EvaluationError
from pentimento.evaluate.coverage import _nearest_pairs, birthday, label_histogram, modes
from pentimento.evaluate.intervals import wilson

UNIFORM = torch.full((10,), 0.1)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_wilson_against_published_intervals():
    """Newcombe 1998, table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    for hits, count, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)]:
        estimate = wilson(hits / count, count)
        assert (round(estimate.low, 4), round(estimate.high, 4)) == (low, high)
    assert (wilson(0.0, 7).low, wilson(1.0, 7).high) == (0.0, 1.0)


def test_label_histogram():
    labels = torch.tensor([0] * 30 + [2] * 70)
    a, b, c = label_histogram(labels, torch.tensor([0.25, 0.5, 0.25]), ("a", "b", "c"))
    assert (a.name, a.share.value, a.reference) == ("a", 0.3, 0.25)
    assert (b.share.value, b.share.low, b.reference) == (0.0, 0.0, 0.5)
    assert b.share.high == pytest.approx(0.037, abs=1e-4)
    assert c.share == wilson(0.7, 100)


def test_kl_of_known_shares():
    """Half the modes, evenly: log 2; and the closed form of shares that are not even."""
    half = modes(torch.arange(1000) % 5, UNIFORM, 0)
    assert half.covered.value == 5
    assert half.classes == 10
    assert half.kl.value == pytest.approx(math.log(2), abs=1e-6)
    odd = modes(torch.tensor([0] * 750 + [1] * 250), torch.tensor([0.5, 0.5]), 0)
    assert odd.kl.value == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), abs=1e-12)


def test_the_kl_of_a_small_sample_is_corrected_for_its_bias():
    """A model that is right, and one that is not: the plain figure is (K - 1) / 2 n too high, the corrected is not."""
    uneven = torch.tensor([0.30, 0.20, 0.10, 0.10, 0.10, 0.10, 0.04, 0.03, 0.02, 0.01])
    count, runs = 400, 100
    for law, truth in [(UNIFORM, 0.0), (uneven, float((uneven * (uneven / 0.1).log()).sum()))]:
        found = [modes(torch.multinomial(law, count, True, generator=seeded(r)), UNIFORM, r).kl for r in range(runs)]
        plain = sum(e.value for e in found) / runs
        corrected = sum(e.corrected for e in found) / runs
        assert plain - truth == pytest.approx(9 / (2 * count), rel=0.35)
        assert abs(corrected - truth) < 0.3 * (plain - truth)
        # 95 % of 100 at least, less three standard deviations of such a count.
        assert sum(e.low <= truth <= e.high for e in found) >= 88


def test_modes_of_a_thousand():
    labels = torch.multinomial(torch.ones(1000), 26_000, True, generator=seeded(0))
    found = modes(labels, torch.full((1000,), 1e-3), 0)
    assert found.covered.value == 1000
    assert found.kl.value == pytest.approx(999 / 52_000, rel=0.15)
    assert found.kl.low == 0 or found.kl.low < found.kl.value / 5
    dropped = modes(labels % 700, torch.full((1000,), 1e-3), 0)
    assert (dropped.covered.value, dropped.covered.high) == (700, 700)


def test_the_interval_of_the_modes_holds_what_further_samples_would_show():
    law = torch.cat([torch.full((50,), 0.0195), torch.full((50,), 0.0005)])
    expected = float((1 - (1 - law.double()) ** 1000).sum())
    found = [modes(torch.multinomial(law, 1000, True, generator=seeded(r)), law, r).covered for r in range(50)]
    assert sum(e.low <= expected <= e.high for e in found) >= 45
    assert all(e.high <= 100 for e in found)


@pytest.mark.parametrize("support", [200, 2000])
def test_birthday_finds_the_support_of_a_model_that_repeats_itself(support):
    """Choosing among `support` points, a little jittered; the data are points that never repeat."""
    points = torch.randn(support, 12, generator=seeded(1))
    size = round(1.2 * support**0.5)
    chosen = torch.randint(support, (200 * size,), generator=seeded(2))
    samples = points[chosen] + 1e-4 * torch.randn(len(chosen), 12, generator=seeded(3))
    data = torch.randn(100 * size, 12, generator=seeded(4))
    found = birthday(samples, data, size, 0, pairs=5)
    assert (found.batches, found.reference_batches) == (200, 100)
    assert found.false_alarms == 5 / 101
    assert found.support.low < support < found.support.high
    assert found.support.value == pytest.approx(support, rel=0.4)
    assert torch.equal(chosen[found.pairs[:, 0]], chosen[found.pairs[:, 1]])
    gaps = (samples[found.pairs[:, 0]] - samples[found.pairs[:, 1]]).double().norm(dim=1)
    assert torch.allclose(gaps, found.distances, rtol=1e-3)
    assert found.distances.tolist() == sorted(found.distances.tolist())


def test_birthday_of_a_model_as_rich_as_the_data_is_a_lower_bound():
    samples, data = (torch.randn(2000, 12, generator=seeded(s)) for s in (5, 6))
    found = birthday(samples, data, 20, 0)
    assert found.duplicates.low < found.false_alarms
    assert found.support.high == math.inf
    assert found.support.low > 20 * 19 / 2
    never = birthday(samples * 100, data, 20, 0)  # all far apart: not one duplicate
    assert never.duplicates.value == 0
    assert never.support.value == math.inf
    assert never.support.low > found.support.low


def test_birthday_of_a_model_that_makes_one_picture():
    found = birthday(torch.ones(200, 4), torch.randn(200, 4, generator=seeded(7)), 20, 0, pairs=3)
    assert found.duplicates.value == 1
    assert found.support.value == 1
    assert found.distances.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("chunk", [2**20, 70])
def test_nearest_pairs_against_brute_force(monkeypatch, chunk):
    """All at once, and a few rows at a time."""
    monkeypatch.setattr("pentimento.evaluate.coverage.CHUNK", chunk)
    samples, rows = torch.randn(60, 6, generator=seeded(8)), torch.arange(59, 9, -1)
    distances, pairs = _nearest_pairs(samples, rows, 7)
    expected = torch.pdist(samples[rows].double()).sort()
    places = torch.combinations(rows)[expected.indices[:7]]
    assert torch.allclose(distances, expected.values[:7], rtol=1e-12)
    assert torch.equal(pairs, places)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: modes(torch.zeros(30), UNIFORM, 0), r"labels: \(N,\) int64.*float32"),
        (lambda: modes(torch.full((30,), 10), UNIFORM, 0), r"labels: 0 to 9 expected.*got 10 to 10"),
        (lambda: modes(torch.arange(10), UNIFORM, 0), "labels: at least 20 samples.*got 10"),
        (lambda: modes(torch.arange(30) % 2, torch.tensor([1.0, 0.0]), 0), r"reference_shares: .*classes \[1\]"),
        (lambda: modes(torch.arange(30) % 2, torch.tensor([3.0, 5.0]), 0), "reference_shares: .*sum 8"),
        (lambda: label_histogram(torch.arange(10), UNIFORM, ("a",)), "names: 10 expected.*got 1"),
        (lambda: birthday(torch.ones(99, 2), torch.ones(200, 2), 10, 0), "batch_size: 2 to 9 expected.*99 samples"),
        (lambda: birthday(torch.ones(99, 2), torch.ones(99, 3), 5, 0), r"\(99, 2\) and \(99, 3\)"),
    ],
)
def test_what_cannot_be_measured_is_refused(call, message):
    with pytest.raises(EvaluationError, match=message):
        call()
