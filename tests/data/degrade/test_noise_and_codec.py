"""Noise has the strength that was asked, and JPEG is Pillow's."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from pentimento.data.degrade.codec import jpeg
from pentimento.data.degrade.gray import is_gray, to_gray
from pentimento.data.degrade.noise import gaussian_noise, grainy, sensor_sigma
from pentimento.errors import DataError


def pictures(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def test_gaussian_noise_has_the_sigma_asked_of_each_sample() -> None:
    sigma = torch.tensor([0.0, 5.0, 25.0, 75.0])
    clean = torch.full((4, 3, 200, 200), 0.5)
    added = (gaussian_noise(clean, sigma[:, None, None, None], noise(4, 3, 200, 200)) - clean) * 255
    # Of 120,000 numbers, the standard deviation is within 1 % at 4.9 standard errors, the mean within 1.5 %.
    assert torch.allclose(added.std((1, 2, 3)), sigma, rtol=0.01)
    assert (added.mean((1, 2, 3)).abs() <= 0.015 * sigma).all()


def test_grain_keeps_the_variance_and_goes_together_as_far_as_its_blur_reaches() -> None:
    sigma = torch.tensor([0.0, 0.7, 2.0])
    grain = grainy(noise(3, 2, 400, 400), sigma, torch.zeros(3), 6)
    assert torch.equal(grain[0], noise(3, 2, 400, 400)[0, :1, 6:-6, 6:-6])
    assert torch.allclose(grain.std((1, 2, 3)), torch.ones(3), rtol=0.03)
    for step in (1, 2, 4):
        beside = (grain[..., step:] * grain[..., :-step]).mean((1, 2, 3))
        wanted = torch.exp(-(step**2) / (4 * sigma.clamp(min=1e-3) ** 2))  # of two normal densities that far apart
        assert torch.allclose(beside, wanted, atol=0.03)


def test_grain_is_as_strong_at_the_border_and_in_small_pictures_as_elsewhere() -> None:
    grain = grainy(noise(4000, 2, 17, 17), torch.full((4000,), 2.0), torch.zeros(4000), 6)  # of 5x5
    assert torch.allclose(grain.std(0), torch.ones(1, 5, 5), rtol=0.06)  # 4 standard errors are 4.5 %


def test_colours_of_grain_go_together_as_they_are_told_to() -> None:
    shared = torch.tensor([0.0, 0.6, 1.0])
    grain = grainy(noise(3, 4, 300, 300), torch.zeros(3), shared, 1)
    for row, wanted in zip(grain, shared, strict=True):
        found = torch.cov(row.flatten(1))
        assert torch.allclose(found, wanted + (1 - wanted) * torch.eye(3), atol=0.02)  # 4 standard errors, and more


def test_gaussian_noise_by_a_map() -> None:
    sigma = torch.linspace(0, 50, 400).expand(1, 1, 400, 400)
    added = gaussian_noise(torch.zeros(1, 1, 400, 400), sigma, noise(1, 1, 400, 400)) * 255
    # A column of 400 numbers: 4 standard errors are 14 %.
    assert torch.allclose(added.std((0, 1, 2)), sigma[0, 0, 0], rtol=0.16)


def test_unclipped_noise_leaves_the_range_and_clipped_does_not() -> None:
    clean, z = torch.full((1, 1, 32, 32), 0.98), noise(1, 1, 32, 32)
    free = gaussian_noise(clean, torch.tensor(25.0), z)
    assert free.max() > 1
    assert torch.equal(gaussian_noise(clean, torch.tensor(25.0), z, clip=True), free.clamp(0, 1))
    assert torch.equal(clean, torch.full_like(clean, 0.98))


def test_sensor_noise_grows_with_the_light() -> None:
    x = torch.tensor([-0.1, 0.0, 0.2, 1.0]).view(1, 1, 1, 4)
    sigma = sensor_sigma(x, torch.tensor([0.5]), torch.tensor([3.0]))
    # read^2 + gain x level: levels 0, 0, 51 and 255.
    assert torch.allclose(sigma.flatten().square(), torch.tensor([9, 9, 9 + 0.5 * 51, 9 + 0.5 * 255]))


def test_gray_is_the_luma() -> None:
    x = pictures(2, 3, 5, 7)
    gray = to_gray(x)
    assert torch.allclose(gray[:, 0], 0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2])
    assert is_gray(gray).all()
    assert is_gray(torch.stack([x[0], gray[0]])).tolist() == [False, True]
    assert is_gray(pictures(2, 1, 3, 3)).all()
    partly = gray.clone()
    partly[1, 0, 4, 6] += 0.1
    assert is_gray(partly).tolist() == [True, False]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(37, 53), (1, 1), (3, 50)])
def test_jpeg_is_the_round_trip_of_pillow(channels: int, size: tuple[int, int]) -> None:
    x = torch.nn.functional.interpolate(pictures(3, channels, 4, 4), size, mode="bilinear") * 1.2 - 0.1
    quality, halved = torch.tensor([5, 40, 95]), torch.tensor([True, False, True])
    made = jpeg(x, quality, halved)
    assert made.shape == x.shape
    for i in range(3):
        samples = (x[i].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        file = io.BytesIO()
        picture = Image.fromarray(samples[:, :, 0] if channels == 1 else samples)
        picture.save(file, "JPEG", quality=int(quality[i]), subsampling="4:2:0" if halved[i] else "4:4:4")
        wanted = np.asarray(Image.open(file)).reshape(samples.shape)
        assert np.array_equal((made[i] * 255).round().byte().permute(1, 2, 0).numpy(), wanted)


def test_jpeg_of_a_gray_picture_stays_gray_and_is_that_of_one_channel() -> None:
    one = pictures(2, 1, 24, 40)
    args = torch.tensor([10, 60]), torch.tensor([True, False])
    three = jpeg(one.expand(-1, 3, -1, -1), *args)
    assert is_gray(three).all()
    assert torch.equal(three[:, :1], jpeg(one, *args))


def test_jpeg_subsampling_costs_colour_only() -> None:
    x = torch.zeros(1, 3, 32, 32)
    x[:, 0, :, ::2] = 1  # red stripes of one pixel: the luma survives, the colour cannot
    errors = [
        (to_gray(jpeg(x, torch.tensor([95]), torch.tensor([half]))) - to_gray(x)).abs().mean() for half in (True, False)
    ]
    colour = [jpeg(x, torch.tensor([95]), torch.tensor([half]))[0, 0].std() for half in (True, False)]
    assert max(errors) < 0.1
    assert colour[0] < 0.7 * colour[1]


@pytest.mark.parametrize("quality", [0, 101])
def test_jpeg_refuses_other_qualities(quality: int) -> None:
    with pytest.raises(DataError, match=f"quality: 1 to 100 expected, got {quality}"):
        jpeg(pictures(1, 3, 8, 8), torch.tensor([quality]), torch.tensor([True]))
