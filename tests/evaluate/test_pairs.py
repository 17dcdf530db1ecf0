"""Against closed forms, against a direct reading of the papers in numpy, and against torchmetrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from pentimento.errors import EvaluationError
from pentimento.evaluate.pairs import BETAS, diversity, fidelity, ms_ssim, ms_ssim_scales, psnr, ssim


def drawn(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def noisy(images, sigma=0.1):
    return (images + sigma * torch.randn(images.shape, generator=torch.Generator().manual_seed(99))).clamp(0, 1)


def ssim_of_the_paper(x, y, radius):
    """Wang et al. 2004, eq. 13, on one channel in float64, where the window lies within the picture."""
    at = np.arange(-radius, radius + 1)
    window = np.exp(-(at**2) / (2 * (0.3 * radius) ** 2))
    window /= window.sum()

    def blur(a):
        return correlate1d(correlate1d(a, window, 0), window, 1)[radius:-radius, radius:-radius]

    mx, my = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()


def test_psnr_of_known_errors():
    images = torch.full((3, 3, 4, 5), 0.5)
    targets = images.clone()
    targets[1] += 0.1
    targets[2, 0, 0, 0] += 0.25
    found = psnr(images, targets)
    assert found.tolist() == pytest.approx([100.0, 20.0, 10 * math.log10(60 / 0.0625)], abs=1e-4)


@pytest.mark.parametrize(("shape", "radius"), [((2, 1, 24, 31), 5), ((2, 3, 16, 16), 5), ((1, 1, 8, 9), 3)])
def test_ssim_against_the_paper(shape, radius):
    images = drawn(*shape)
    targets = noisy(images)
    for i, value in enumerate(ssim(images, targets)):
        expected = np.mean(
            [
                ssim_of_the_paper(images[i, c].double().numpy(), targets[i, c].double().numpy(), radius)
                for c in range(shape[1])
            ]
        )
        assert float(value) == pytest.approx(expected, abs=1e-5)


def test_ssim_of_flat_pictures_has_a_closed_form():
    """No variance: the luminance term alone, (2 a b + c1) / (a^2 + b^2 + c1)."""
    dark, light = torch.full((1, 1, 16, 16), 0.2), torch.full((1, 1, 16, 16), 0.8)
    a, b = (float(x.double().mean()) for x in (dark, light))
    expected = (2 * a * b + 1e-4) / (a**2 + b**2 + 1e-4)
    assert float(ssim(dark, light)) == pytest.approx(expected, abs=1e-4)
    assert float(ssim(dark, dark)) == pytest.approx(1.0, abs=1e-4)
    black = torch.zeros(1, 1, 64, 64)
    assert float(ms_ssim(black, black)) == 1.0
    assert 0 <= float(ms_ssim(black, torch.ones_like(black))) < 0.5


def test_ms_ssim_is_torchmetrics_where_that_can():
    images = drawn(3, 1, 180, 180)
    targets = noisy(images, 0.3)
    expected = multiscale_structural_similarity_index_measure(targets, images, data_range=1.0, reduction="none")
    assert torch.allclose(ms_ssim(images, targets), expected, atol=1e-6)


@pytest.mark.parametrize(("side", "scales"), [(3, 1), (8, 1), (21, 1), (22, 2), (44, 3), (98, 3), (99, 4), (176, 5)])
def test_smaller_pictures_have_fewer_scales(side, scales):
    assert ms_ssim_scales(side, side + 7) == scales
    images = drawn(2, 1, side, side + 7)
    assert torch.allclose(ms_ssim(images, images), torch.ones(2), atol=1e-4)
    less, more = ms_ssim(images, noisy(images, 0.05)), ms_ssim(images, noisy(images, 0.3))
    assert bool((more < less).all() and (less < 1).all())
    assert sum(b / sum(BETAS[:scales]) for b in BETAS[:scales]) == pytest.approx(1.0)


def test_fidelity_takes_batches_of_different_sizes():
    a, b = drawn(4, 3, 16, 20), drawn(3, 1, 40, 12, seed=1)
    pairs = [(noisy(a), a), (b, b)]
    found = fidelity(pairs, 0)
    assert found.identical == pytest.approx(3 / 7)
    expected = torch.cat([psnr(noisy(a), a), torch.full((3,), 100.0)])
    assert found.psnr_db.value == pytest.approx(float(expected.mean()))
    assert found.ssim.value == pytest.approx(float(torch.cat([ssim(x, y) for x, y in pairs]).mean()))
    assert found.ms_ssim.low < found.ms_ssim.value < found.ms_ssim.high


def test_measures_do_not_depend_on_the_chunks(monkeypatch):
    images = drawn(5, 1, 24, 24)
    targets = noisy(images)
    whole = ssim(images, targets)
    monkeypatch.setattr("pentimento.evaluate.pairs.CHUNK", 1000)  # one picture at a time
    assert torch.allclose(ssim(images, targets), whole, atol=1e-6)


def test_diversity_sees_a_class_that_has_collapsed():
    """Each class one picture, a little noisy: diverse as a whole, all alike within a class."""
    classes = drawn(4, 1, 24, 24)
    labels = torch.arange(200) % 4
    images = noisy(classes[labels], 0.01)
    within, across = diversity(images, labels, 80, 0), diversity(images, None, 80, 0)
    rich = diversity(drawn(200, 1, 24, 24, seed=5), labels, 80, 0)
    assert within.low > 0.95
    assert across.value < 0.5
    assert rich.high < within.low
    assert len(within.replicates) == 20
    assert diversity(images, labels, 80, 0) == within
    assert diversity(torch.full((40, 1, 12, 12), 0.3), None, 20, 0).value == pytest.approx(1.0, abs=1e-4)


def test_what_cannot_be_measured_is_refused():
    a = drawn(4, 1, 16, 16)
    with pytest.raises(EvaluationError, match=r"\(4, 1, 16, 16\) and \(4, 3, 16, 16\)"):
        psnr(a, drawn(4, 3, 16, 16))
    with pytest.raises(EvaluationError, match=r"\(4, 1, 16, 16\) and \(4, 1, 16, 15\)"):
        fidelity([(a, a[..., :15])], 0)
    with pytest.raises(EvaluationError, match=r"sides of at least 3 px expected, got \(4, 1, 2, 16\)"):
        ssim(a[:, :, :2], a[:, :, :2])
    with pytest.raises(EvaluationError, match="finite values expected"):
        ms_ssim(a, a / 0)
    with pytest.raises(EvaluationError, match="at least two pictures are needed for an interval, got 1"):
        fidelity([(a[:1], a[:1])], 0)
    with pytest.raises(EvaluationError, match="pairs: 2 to 2 expected, as 4 images make, got 3"):
        diversity(a, None, 3, 0)
    with pytest.raises(EvaluationError, match="pairs: 2 to 1 expected, as 4 images make within their classes, got 2"):
        diversity(a, torch.tensor([0, 0, 1, 2]), 2, 0)
    with pytest.raises(EvaluationError, match=r"labels: one for each of 4 images expected, got \(3,\)"):
        diversity(a, torch.zeros(3), 2, 0)
