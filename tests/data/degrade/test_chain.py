"""Chains: each sample's damage is its own, targets and masks follow, and the facts are true."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from pentimento.data.degrade import Step, degrade
from pentimento.data.degrade.gray import is_gray, to_gray
from pentimento.data.degrade.noise import sensor_sigma
from pentimento.data.degrade.resample import downscale
from pentimento.data.degrade.steps import (
    Creases,
    Downscale,
    Dust,
    Fading,
    GaussianBlur,
    GaussianNoise,
    Gray,
    Halftone,
    Jpeg,
    MotionBlur,
    Rectangles,
    Scratches,
    SensorNoise,
    Stains,
    Strokes,
    Text,
    Yellowing,
)
from pentimento.errors import DataError
from pentimento.runtime import Draws

STEPS: dict[str, Any] = {
    step.kind: step
    for step in (
        Gray(), GaussianNoise(varying=0.5), SensorNoise(grainy=0.5), Jpeg(), GaussianBlur(elongation=(1, 3)),
        MotionBlur(), Strokes(), Rectangles(), Text(), Scratches(), Creases(), Dust(), Stains(), Fading(),
        Yellowing(), Halftone(),
    )
}  # fmt: skip
NOISES = ("gaussian_noise", "sensor_noise")


def pictures(*shape: int) -> torch.Tensor:
    """Smooth ones, as codecs and eyes expect."""
    coarse = torch.rand(*shape[:2], 6, 6, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, shape[2:], mode="bilinear").contiguous()


def tensor(value: torch.Tensor | str) -> torch.Tensor:
    assert isinstance(value, torch.Tensor)
    return value


def test_all_kinds_are_tested() -> None:
    union = TypeAdapter(Step).json_schema()["discriminator"]["mapping"]
    assert set(union) == {*STEPS, "downscale"}


def test_nothing_asked_nothing_done() -> None:
    x = pictures(2, 3, 9, 7)
    done = degrade(x, (), Draws(0, range(2)))
    assert torch.equal(done.images, x)
    assert torch.equal(done.targets, x)
    assert done.masks is done.strengths is None
    assert done.facts == ()


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("shape", [(3, 3, 40, 44), (2, 1, 37, 53), (2, 3, 3, 50), (1, 3, 1, 1)])
def test_every_step_keeps_the_shape_and_is_finite(kind: str, shape: tuple[int, ...]) -> None:
    x = pictures(*shape)
    before = x.clone()
    done = degrade(x, [STEPS[kind]], Draws(0, range(shape[0])))
    assert torch.equal(x, before)
    assert done.images.shape == x.shape
    assert done.images.dtype == torch.float32
    assert done.images.isfinite().all()
    if kind not in NOISES:
        assert done.images.min() >= 0
        assert done.images.max() <= 1
    assert torch.equal(done.targets, to_gray(x) if kind == "gray" else x)
    for extra, wanted in ((done.masks, STEPS[kind].makes_masks), (done.strengths, STEPS[kind].tells)):
        assert (extra is not None) == bool(wanted)
        assert extra is None or extra.shape == (shape[0], 1, *shape[2:])
        assert extra is None or (extra.min() >= 0 and extra.max() <= 1)
    for value in done.facts[0].values():
        assert isinstance(value, str) or (value.shape == (shape[0],) and not value.isnan().any())


@pytest.mark.parametrize("kind", STEPS)
def test_a_sample_does_not_depend_on_its_batch(kind: str) -> None:
    x = pictures(6, 3, 40, 36)
    steps = [STEPS[kind].model_copy(update={"probability": 0.7})]
    whole, alone = degrade(x, steps, Draws(0, range(6))), degrade(x[[4, 1]], steps, Draws(0, [4, 1]))
    # Not to the last bit: sums may be grouped otherwise.
    assert torch.allclose(whole.images[[4, 1]], alone.images, atol=1e-5)
    for a, b in ((whole.masks, alone.masks), (whole.strengths, alone.strengths)):
        assert a is b is None or (a is not None and b is not None and torch.allclose(a[[4, 1]], b, atol=1e-5))
    for name, value in alone.facts[0].items():
        if isinstance(value, torch.Tensor):
            got = tensor(whole.facts[0][name])[[4, 1]]
            assert torch.allclose(got.float(), value.float(), atol=1e-5, equal_nan=True), name


def test_what_a_sample_draws_depends_on_seed_step_position_and_index() -> None:
    x = pictures(1, 3, 32, 32)
    noise = GaussianNoise(sigma=(20, 20))
    made = [
        degrade(x, [noise], Draws(*args)).images - x for args in ((0, [0]), (1, [0]), (0, [1]), (0, [0], 1), (0, [0]))
    ]
    twice = degrade(x, [noise, noise], Draws(0, [0])).images - x
    assert torch.equal(made[0], made[4])
    second = twice - made[0]
    for a, b in ((0, 1), (0, 2), (0, 3)):
        assert torch.corrcoef(torch.stack([made[a].flatten(), made[b].flatten()]))[0, 1].abs() < 0.1
    assert torch.corrcoef(torch.stack([made[0].flatten(), second.flatten()]))[0, 1].abs() < 0.1


@pytest.mark.parametrize("kind", STEPS)
def test_probability(kind: str) -> None:
    x = pictures(60, 3, 16, 16)
    never = degrade(x, [STEPS[kind].model_copy(update={"probability": 0.0})], Draws(0, range(60)))
    assert torch.equal(never.images, x)
    assert torch.equal(never.targets, x)
    assert not tensor(never.facts[0]["applied"]).any()
    assert (never.masks is not None) == STEPS[kind].makes_masks
    assert never.masks is None or not never.masks.any()
    assert never.strengths is None or not never.strengths.any()
    some = degrade(x, [STEPS[kind].model_copy(update={"probability": 0.5})], Draws(0, range(60)))
    applied = tensor(some.facts[0]["applied"])
    assert 15 <= applied.sum() <= 45  # 30 +- 3.9 standard errors
    assert torch.equal(some.images[~applied], x[~applied])
    for value in some.facts[0].values():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            assert torch.equal(value.isnan(), ~applied)


def test_gaussian_noise_says_its_sigma() -> None:
    x = torch.full((8, 3, 128, 128), 0.5)
    done = degrade(x, [GaussianNoise(sigma=(5, 50), varying=0.5)], Draws(0, range(8)))
    facts, strengths = done.facts[0], done.strengths
    assert strengths is not None
    # Of 49,152 numbers: 4 standard errors are 1.3 %.
    assert torch.allclose((done.images - x).std((1, 2, 3)) * 255, tensor(facts["sigma"]), rtol=0.02)
    assert torch.allclose(strengths.square().mean((1, 2, 3)).sqrt() * 255, tensor(facts["sigma"]), rtol=1e-4)
    assert strengths.min() >= 5 / 255 - 1e-6
    assert strengths.max() <= 50 / 255 + 1e-6
    varying = strengths.flatten(1).std(1) > 1e-3
    assert 0 < varying.sum() < 8
    smooth = (strengths[varying][..., 1:] - strengths[varying][..., :-1]).abs().max()
    assert smooth < 3 / 255
    # Where the map says less, there is less.
    half = done.images[varying] - x[varying]
    local = torch.nn.functional.avg_pool2d(half.square().mean(1, keepdim=True), 32).sqrt()
    told = torch.nn.functional.avg_pool2d(strengths[varying], 32)
    assert torch.corrcoef(torch.stack([local.flatten(), told.flatten()]))[0, 1] > 0.98


def test_grain_of_a_gray_picture_is_gray() -> None:
    x = pictures(6, 1, 20, 30).expand(-1, 3, -1, -1).contiguous()
    added = degrade(x, [GaussianNoise(sigma=(30, 30), grainy=0.5)], Draws(0, range(6))).images - x
    assert torch.allclose(added, added[:, :1].expand(-1, 3, -1, -1), atol=1e-6)
    assert added.std() > 0.05


@pytest.mark.parametrize("kind", NOISES)
def test_grain_is_drawn_by_each_sample_and_leaves_sigma_as_it_is_told(kind: str) -> None:
    x = pictures(12, 1, 128, 128)
    white = STEPS[kind].model_copy(update={"varying": 0.0} if kind == "gaussian_noise" else {})
    plain, done = (
        degrade(x, [white.model_copy(update={"grainy": share})], Draws(0, range(12))) for share in (0.0, 0.5)
    )
    grain_px = tensor(done.facts[0]["grain_px"])
    chosen = grain_px > 0
    assert 0 < chosen.sum() < 12
    assert grain_px[chosen].min() >= 0.4
    assert grain_px.max() <= 2
    assert torch.equal(done.images[~chosen], plain.images[~chosen])
    assert not torch.isclose(done.images[chosen], plain.images[chosen]).all((1, 2, 3)).any()
    assert done.strengths is not None
    assert plain.strengths is not None
    assert torch.equal(done.strengths, plain.strengths)
    added = (done.images - x) / done.strengths.clamp(min=1e-6)
    assert added.std((1, 2, 3)).tolist() == pytest.approx([1] * 12, abs=0.12)  # of some 600 grains that go alone


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("kind", NOISES)
def test_noise_is_clipped_if_asked_and_says_so(kind: str, clip: bool) -> None:
    step = {"gaussian_noise": GaussianNoise(sigma=(40, 50), clip=clip), "sensor_noise": SensorNoise(clip=clip)}[kind]
    done = degrade(pictures(3, 3, 32, 32).round(), [step], Draws(0, range(3)))
    assert bool((done.images.min() < 0) and (done.images.max() > 1)) != clip
    assert tensor(done.facts[0]["clipped"]).tolist() == [clip] * 3


def test_sensor_noise_says_its_sigma() -> None:
    x = pictures(5, 3, 100, 100)
    done = degrade(x, [SensorNoise(gain=(0.1, 2), read=(1, 8))], Draws(0, range(5)))
    facts = done.facts[0]
    sigma = sensor_sigma(x, tensor(facts["gain"]), tensor(facts["read"]))
    assert done.strengths is not None
    assert torch.allclose(done.strengths * 255, sigma.square().mean(1, keepdim=True).sqrt(), atol=1e-3)
    assert ((done.images - x) * 255 / sigma).std((1, 2, 3)).tolist() == pytest.approx([1] * 5, abs=0.02)


def test_jpeg_says_its_quality() -> None:
    x = pictures(30, 3, 16, 16)
    done = degrade(x, [Jpeg(quality=(10, 30), subsampled=0.5)], Draws(0, range(30)))
    quality, halved = (tensor(done.facts[0][name]) for name in ("quality", "subsampled"))
    assert set(quality.tolist()) <= set(range(10, 31))
    assert len(set(quality.tolist())) > 10
    assert 0 < halved.sum() < 30
    assert done.strengths is not None
    assert torch.allclose(done.strengths[:, 0, 0, 0], (100 - quality) / 100)


def test_strengths_of_several_steps() -> None:
    x = pictures(4, 1, 16, 16)
    first, second, jpeg = GaussianNoise(sigma=(30, 30)), GaussianNoise(sigma=(40, 40), probability=0.5), Jpeg()
    done = degrade(x, [first, second], Draws(0, range(4)))
    applied = tensor(done.facts[1]["applied"])
    assert 0 < applied.sum() < 4
    assert done.strengths is not None
    assert torch.allclose(done.strengths[:, 0, 0, 0] * 255, torch.where(applied, 50.0, 30.0))
    told = degrade(x, [first, jpeg, Jpeg()], Draws(0, range(4)))
    assert told.strengths is not None
    worst = torch.minimum(*(tensor(told.facts[i]["quality"]) for i in (1, 2)))
    assert torch.allclose(told.strengths[:, 0, 0, 0], (100 - worst) / 100)
    noise = degrade(x, [first, jpeg, Jpeg()], Draws(0, range(4)), told="noise").strengths
    assert noise is not None
    assert torch.allclose(noise * 255, torch.tensor(30.0))


def test_gray_turns_the_target_gray_too_and_noise_leaves_it_so() -> None:
    x = pictures(40, 3, 24, 24)
    done = degrade(x, [Gray(probability=0.5), GaussianNoise(sigma=(20, 30)), Jpeg()], Draws(0, range(40)))
    gray = tensor(done.facts[0]["applied"])
    assert 8 <= gray.sum() <= 32
    assert torch.equal(is_gray(done.targets), gray)
    assert torch.equal(is_gray(done.images), gray)
    assert torch.equal(done.targets[gray], to_gray(x[gray]))
    assert torch.equal(done.targets[~gray], x[~gray])


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_downscale_cuts_to_a_multiple_and_masks_follow(factor: int) -> None:
    x = pictures(3, 3, 37, 53)
    height, width = 37 // factor, 53 // factor
    hole = Rectangles(count=(1, 1), side=(0.2, 0.3))
    done = degrade(x, [hole, GaussianNoise(), Downscale(factor=factor)], Draws(0, range(3)))
    assert torch.equal(done.targets, x[:, :, : height * factor, : width * factor])
    assert done.images.shape == (3, 3, height, width)
    assert done.masks is not None
    assert done.strengths is not None
    assert done.masks.shape == done.strengths.shape == (3, 1, height, width)
    whole = degrade(x[:, :, : height * factor, : width * factor], [hole], Draws(0, range(3))).masks
    assert whole is not None
    blocks = whole.view(3, 1, height, factor, width, factor).amax((3, 5))
    assert torch.equal(done.masks, blocks)
    plain = degrade(x, [Downscale(factor=factor)], Draws(0, range(3)))
    assert torch.equal(plain.images, downscale(plain.targets, factor))
    assert tensor(plain.facts[0]["factor"]).tolist() == [factor] * 3


def test_several_downscales() -> None:
    done = degrade(pictures(1, 1, 27, 26), [Downscale(factor=2), Downscale(factor=3)], Draws(0, [0]))
    assert done.targets.shape[2:] == (24, 24)
    assert done.images.shape[2:] == (4, 4)


def test_masks_are_the_union() -> None:
    x = pictures(4, 1, 40, 40)
    steps = [Rectangles(count=(1, 1)), Fading(), Text(probability=0.5)]
    done = degrade(x, steps, Draws(0, range(4)))
    first = degrade(x, steps[:1], Draws(0, range(4))).masks
    assert done.masks is not None
    assert first is not None
    assert (done.masks >= first).all()
    more = (done.masks > first).flatten(1).any(1)
    assert more.any()
    assert not more[~tensor(done.facts[2]["applied"])].any()


def test_precision_is_kept_under_autocast() -> None:
    x = pictures(2, 3, 24, 24)
    steps = [GaussianBlur(), MotionBlur(), Rectangles(), Downscale(factor=2)]
    plain = degrade(x, steps, Draws(0, range(2)))
    with torch.autocast("cpu", torch.bfloat16):
        cast = degrade(x.requires_grad_(), steps, Draws(0, range(2)))
    assert torch.equal(cast.images, plain.images)
    assert not cast.images.requires_grad


@pytest.mark.parametrize(
    ("images", "count", "words"),
    [
        (torch.rand(2, 2, 8, 8), 2, r"images: \(N, 1 or 3, H, W\) float32, .* got \(2, 2, 8, 8\), torch.float32"),
        (torch.rand(3, 8, 8), 3, r"images: .* got \(3, 8, 8\)"),
        (torch.rand(0, 3, 8, 8), 0, "images: .* at least one picture"),
        (torch.rand(2, 3, 8, 8).double(), 2, "images: .* torch.float64"),
        (torch.rand(2, 3, 8, 8), 3, "draws: as many samples as images, 2, expected, got 3"),
        (torch.rand(2, 3, 3, 8), 2, "downscale: pictures of at least 4 x 4 pixels expected, got 3 x 8"),
    ],
)
def test_what_is_refused(images: torch.Tensor, count: int, words: str) -> None:
    with pytest.raises(DataError, match=words):
        degrade(images, [Downscale(factor=4)], Draws(0, range(count)))


@pytest.mark.parametrize("device", ["cuda"])
def test_on_a_gpu_all_but_the_noise_is_as_on_the_processor(device: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    x = pictures(4, 3, 48, 64)
    steps = [STEPS[kind] for kind in ("strokes", "rectangles", "text", "gaussian_blur", "motion_blur", "yellowing")]
    here, there = (degrade(x.to(d), steps, Draws(0, range(4), device=d)) for d in ("cpu", device))
    assert there.images.device.type == device
    assert torch.allclose(there.images.cpu(), here.images, atol=1e-4)
    every = degrade(x.to(device), list(STEPS.values()), Draws(0, range(4), device=device))
    assert every.images.isfinite().all()
