"""Copies are found, honest samples are not accused, and the intervals hold what they should."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from pentimento.errors import EvaluationError
from pentimento.evaluate.copying import (
    generalization_gap,
    memorization,
    nearest,
    pixel_features,
    worst_pairs,
)
from pentimento.evaluate.intervals import difference


def drawn(count, seed, dims=8):
    return torch.randn(count, dims, generator=torch.Generator().manual_seed(seed))


def test_nearest_against_brute_force(monkeypatch):
    queries, bank = drawn(50, 0), drawn(300, 1)
    expected = torch.cdist(queries.double(), bank.double()).min(1)
    monkeypatch.setattr("pentimento.evaluate.copying.CHUNK", 700)  # a few rows at a time
    distances, indices = nearest(queries, bank)
    assert torch.equal(indices, expected.indices)
    assert torch.allclose(distances, expected.values, rtol=1e-12)


def test_a_copy_has_distance_zero_even_where_float32_products_cancel():
    bank = 1000 + 1e-2 * drawn(200, 2, 64)
    distances, indices = nearest(bank[:10], bank)
    assert distances.tolist() == [0.0] * 10
    assert indices.tolist() == list(range(10))


def test_honest_samples_are_not_accused():
    """Over 40 repetitions the share is 5 % and the rank one half, and the intervals hold these."""
    training, runs = drawn(1000, 3), 40
    shares, ranks = [], []
    for run in range(runs):
        result = memorization(drawn(400, 100 + run), drawn(300, 200 + run), training, run)
        shares.append(result.share)
        ranks.append(result.rank)
    assert sum(e.value for e in shares) / runs == pytest.approx(0.05, abs=0.01)
    assert sum(e.value for e in ranks) / runs == pytest.approx(0.5, abs=0.015)
    # 95 % of 40 is 38; 34 is three standard deviations below.
    assert sum(e.low <= 0.05 <= e.high for e in shares) >= 34
    assert sum(e.low <= 0.5 <= e.high for e in ranks) >= 34


def test_copies_are_found_and_named():
    training, held_out = drawn(500, 4), drawn(400, 5)
    samples = drawn(400, 6)
    samples[:100] = training[100:200] + 1e-3 * drawn(100, 7)
    result = memorization(samples, held_out, training, 0)
    honest = memorization(drawn(400, 6), held_out, training, 0)
    assert result.share.low > 0.2 > result.null_share
    assert result.share.value == pytest.approx(0.25 + 0.75 * honest.share.value, abs=0.02)
    assert result.rank.low > honest.rank.high
    assert sorted(result.order[:100].tolist()) == list(range(100))
    assert torch.equal(result.nearest[:100], torch.arange(100, 200))
    assert difference(result.share, honest.share).low > 0.1
    everything = memorization(training[:100], held_out, training, 0)
    assert (everything.share.value, everything.rank.value) == (1.0, 1.0)
    assert everything.share.low > 0.9


def test_samples_far_from_everything_copy_nothing():
    result = memorization(drawn(200, 8) * 50, drawn(200, 9), drawn(200, 10), 0)
    assert (result.share.value, result.share.low) == (0.0, 0.0)
    assert 0 < result.share.high < 0.05
    assert result.rank.value < 0.05


def test_the_rank_is_mann_and_whitneys():
    """On a lattice, so that there are ties."""
    samples, held_out, training = ((drawn(n, s, 2) * 2).round() for n, s in ((90, 11), (70, 12), (40, 13)))
    result = memorization(samples, held_out, training, 0)
    statistic = stats.mannwhitneyu(result.held_out_distances, result.distances).statistic
    assert result.rank.value == pytest.approx(statistic / (90 * 70))


def test_pixel_distance_is_the_root_mean_square_difference():
    images = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(14))
    features = pixel_features(images)
    assert features.shape == (2, 3 * 8 * 12)
    assert float((features[0] - features[1]).norm()) == pytest.approx(
        float((images[0] - images[1]).square().mean().sqrt()), rel=1e-5
    )
    flat = pixel_features(torch.full((1, 1, 40, 60), 0.5))
    assert flat.shape == (1, 32 * 32)
    assert torch.allclose(flat * 32, torch.full_like(flat, 0.5))


def test_worst_pairs_shows_each_sample_beside_its_nearest():
    training = torch.linspace(0, 0.9, 30)[:, None, None, None].expand(30, 1, 4, 5)
    samples = training[:20] + torch.linspace(0.01, 0, 20)[:, None, None, None]
    result = memorization(samples.flatten(1), training.flatten(1) + 0.014, training.flatten(1), 0)
    sheet = worst_pairs(samples, training, result, 3)
    assert sheet.shape == (1, 6 + 2, 3 * 2 * 7 + 2)
    for pair, i in enumerate((19, 18, 17)):
        assert float(sheet[0, 2, 2 + 14 * pair]) == pytest.approx(float(samples[i, 0, 0, 0]))
        assert float(sheet[0, 2, 9 + 14 * pair]) == pytest.approx(float(training[i, 0, 0, 0]))


def test_generalization_gap_is_welchs():
    train, held_out = drawn(300, 15, 1)[:, 0] + 0.5, 3 * drawn(40, 16, 1)[:, 0]
    gap = generalization_gap(train, held_out, 0)
    welch = stats.ttest_ind(train.double(), held_out.double(), equal_var=False).confidence_interval(0.95)
    assert gap.value == pytest.approx(float(train.double().mean() - held_out.double().mean()))
    assert (gap.low, gap.high) == pytest.approx((welch.low, welch.high))
    assert len(gap.replicates) == 20
    same = generalization_gap(torch.ones(5), torch.zeros(5), 0)
    assert (same.value, same.low, same.high) == (1.0, 1.0, 1.0)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(EvaluationError, match="held_out: at least 20 are needed.*got 19"):
        memorization(drawn(20, 0), drawn(19, 0), drawn(5, 0), 0)
    with pytest.raises(EvaluationError, match=r"features: .*\(20, 8\) and \(5, 4\)"):
        memorization(drawn(20, 0), drawn(20, 0), drawn(5, 0, 4), 0)
    with pytest.raises(EvaluationError, match=r"images: \(N, C, H, W\) expected, got \(3, 4\)"):
        pixel_features(torch.zeros(3, 4))
    result = memorization(drawn(20, 0), drawn(20, 1), drawn(5, 0), 0)
    with pytest.raises(EvaluationError, match=r"samples: the 20 measured.*\(3, 4, 4\).*\(20, 1, 4, 4\)"):
        worst_pairs(torch.zeros(20, 1, 4, 4), torch.zeros(5, 3, 4, 4), result, 3)
    with pytest.raises(EvaluationError, match="count: at least 1 expected, got 0"):
        worst_pairs(torch.zeros(20, 1, 4, 4), torch.zeros(5, 1, 4, 4), result, 0)
    with pytest.raises(EvaluationError, match=r"held_out_scores: .*finite"):
        generalization_gap(torch.ones(3), torch.tensor([1.0, math.nan]), 0)
