"""Kernels are what they say, borders reflect, and enlarging's opposite is MATLAB's."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from pentimento.data.degrade.blur import blur, gaussian_kernels, motion_kernels
from pentimento.data.degrade.borders import mirrored
from pentimento.data.degrade.resample import downscale
from pentimento.errors import DataError


def pictures(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def moments(kernel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (x, y), y upwards, and covariance."""
    radius = len(kernel) // 2
    places = torch.arange(-radius, radius + 1.0)
    at = torch.stack([places.expand_as(kernel), -places[:, None].expand_as(kernel)])  # (2, k, k)
    mean = (at * kernel).sum((1, 2))
    away = at - mean[:, None, None]
    return mean, torch.einsum("iyx,jyx,yx->ij", away, away, kernel)


@pytest.mark.parametrize(("edge_twice", "mode"), [(True, "symmetric"), (False, "reflect")])
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (3, 4), (5, 2)])
def test_mirrored_borders_are_those_of_numpy(edge_twice: bool, mode: str, size: tuple[int, int]) -> None:
    import numpy as np

    x = pictures(2, 3, *size)
    wanted = np.pad(x.numpy(), ((0, 0), (0, 0), (4, 4), (9, 9)), mode=mode)  # type: ignore[call-overload]
    assert np.array_equal(mirrored(x, 4, 9, edge_twice=edge_twice).numpy(), wanted)


def test_gaussian_kernels_have_the_covariance_asked() -> None:
    sigma, elongation, angle = (
        torch.tensor([1.0, 1.5, 2.0]),
        torch.tensor([1.0, 2.0, 3.0]),
        torch.tensor([0, 30, 120.0]),
    )
    for kernel, s, e, a in zip(gaussian_kernels(sigma, elongation, angle), sigma, elongation, angle, strict=True):
        mean, covariance = moments(kernel)
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        assert mean.abs().max() < 1e-4
        cosine, sine = math.cos(math.radians(a)), math.sin(math.radians(a))
        turn = torch.tensor([[cosine, -sine], [sine, cosine]])
        wanted = turn @ torch.diag(torch.stack([(s * e) ** 2, s**2])) @ turn.T
        # Cut off at 3 sigma, a normal distribution loses 2.7 % of its variance.
        assert torch.allclose(covariance, wanted, rtol=0.04, atol=0.04 * float((s * e) ** 2))


def test_motion_kernels_have_the_length_and_the_angle_asked() -> None:
    length, angle = torch.tensor([0.0, 5.0, 12.0, 30.0]), torch.tensor([0.0, 0.0, 45.0, 110.0])
    kernels = motion_kernels(length, angle)
    assert torch.equal(kernels[0].nonzero(), torch.tensor([[15, 15]]))
    for kernel, of, turned in zip(kernels, length, angle, strict=True):
        mean, covariance = moments(kernel)
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        assert mean.abs().max() < 1e-4
        along = torch.tensor([math.cos(math.radians(turned)), math.sin(math.radians(turned))])
        # A line of length L has the variance L^2 / 12 along it; spreading over 4 pixels adds at most 1/4 either way.
        assert -1e-3 <= along @ covariance @ along - of**2 / 12 <= 0.26
        across = torch.stack([-along[1], along[0]])
        assert across @ covariance @ across <= 0.26
    # From -2.5 to 2.5 each place counts the same; beyond the centre of an outer pixel, it is shared with the next.
    wanted = torch.tensor([0.025, 0.175, 0.2, 0.2, 0.2, 0.175, 0.025])
    assert torch.allclose(kernels[1, 15, 12:19], wanted, atol=1e-4)


def test_blur_of_a_point_is_its_kernel_and_of_a_plain_picture_itself() -> None:
    kernels = torch.cat([F.pad(gaussian_kernels(*torch.tensor([[1.2], [2.0], [20.0]])), (2,) * 4),
                         motion_kernels(torch.tensor([19.0]), torch.tensor([70.0]))])  # fmt: skip
    point = torch.zeros(2, 3, 41, 45)
    point[:, :, 20, 22] = 1
    blurred = blur(point, kernels)
    radius = kernels.shape[1] // 2
    shown = blurred[:, :, 20 - radius : 21 + radius, 22 - radius : 23 + radius]
    assert torch.allclose(shown, kernels[:, None].expand_as(shown), atol=1e-6)
    assert torch.allclose(blurred.sum((2, 3)), torch.ones(2, 3), atol=1e-5)
    plain = torch.tensor([0.2, 0.7])[:, None, None, None].expand(2, 1, 9, 7)
    assert torch.allclose(blur(plain, kernels), plain, atol=1e-5)


def test_blur_reflects_at_the_border() -> None:
    from scipy import ndimage

    x, kernel = pictures(1, 1, 20, 15), gaussian_kernels(torch.tensor([1.5]), torch.tensor([1.0]), torch.tensor([0.0]))
    wanted = ndimage.correlate(x[0, 0].double().numpy(), kernel[0].double().numpy(), mode="mirror")
    assert torch.allclose(blur(x, kernel)[0, 0].double(), torch.from_numpy(wanted), atol=1e-5)


def matlab_imresize(x: torch.Tensor, factor: int) -> torch.Tensor:
    """`contributions` and `resizeAlongDim` of MATLAB's imresize.m, written out for one axis after the other."""

    def cubic(t: float) -> float:
        t = abs(t)
        near = (1.5 * t**3 - 2.5 * t**2 + 1) * (t <= 1)
        return near + (-0.5 * t**3 + 2.5 * t**2 - 4 * t + 2) * (1 < t <= 2)

    def along_rows(rows: torch.Tensor) -> torch.Tensor:
        length, scale = len(rows), 1 / factor
        width = 4 / scale
        made = torch.zeros(length // factor, rows.shape[1], dtype=torch.float64)
        for out in range(1, length // factor + 1):
            u = out / scale + 0.5 * (1 - 1 / scale)
            left = math.floor(u - width / 2)
            indices = [left + k for k in range(math.ceil(width) + 2)]
            weights = [scale * cubic(scale * (u - i)) for i in indices]
            mirror = [*range(1, length + 1), *range(length, 0, -1)]
            for i, weight in zip(indices, weights, strict=True):
                made[out - 1] += weight / sum(weights) * rows[mirror[(i - 1) % (2 * length)] - 1]
        return made

    return along_rows(along_rows(x.double()).T.contiguous()).T


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("blocks", [(6, 9), (1, 5), (1, 1)])
def test_downscale_is_that_of_matlab(factor: int, blocks: tuple[int, int]) -> None:
    x = pictures(2, 3, blocks[0] * factor, blocks[1] * factor)
    made = downscale(x, factor)
    assert made.shape == (2, 3, *blocks)
    for i in range(2):
        for c in range(3):
            assert torch.allclose(made[i, c].double(), matlab_imresize(x[i, c], factor).clamp(0, 1), atol=1e-6)


def test_downscale_differs_from_torch_at_the_border_only() -> None:
    x = pictures(1, 1, 40, 48)
    other = F.interpolate(x, (20, 24), mode="bicubic", antialias=True).clamp(0, 1)
    difference = (downscale(x, 2) - other).abs()[0, 0]
    assert difference[2:-2, 2:-2].max() < 1e-6
    assert difference.max() > 1e-3


def test_downscale_refuses_other_sizes() -> None:
    with pytest.raises(DataError, match=r"factor: .* divide both sides, got 3 for 9 x 10 .*; crop first"):
        downscale(pictures(1, 1, 9, 10), 3)
