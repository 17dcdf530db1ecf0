"""Old photographs: the parts do what their formulas say; how they look is for eyes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from pentimento.data.degrade import Degraded, Step, degrade
from pentimento.data.degrade.damage import blot, cover, crease_maps, fade, halftone, tint, visible
from pentimento.data.degrade.gray import is_gray, to_gray
from pentimento.runtime import Draws

LOCAL: dict[str, dict[str, Any]] = {
    "scratches": {},
    "creases": {},
    "dust": {},
    "stains": {"density": (2, 3), "strength": (0.5, 0.7)},
}


def pictures(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def done(x: torch.Tensor, seed: int = 0, **options: Any) -> Degraded:
    return degrade(x, [TypeAdapter(Step).validate_python(options)], Draws(seed, range(len(x))))


def test_layers() -> None:
    x = pictures(2, 3, 4, 5)
    opacity = torch.tensor([0.0, 0.25]).view(2, 1, 1, 1)
    assert torch.allclose(cover(x, opacity, torch.tensor(1.0)), x * (1 - opacity) + opacity)
    brown = torch.tensor([[1.0, 0.8, 0.5]]).expand(2, 3)
    assert torch.allclose(tint(x, torch.ones(2, 1, 1, 1), brown), x * brown[:, :, None, None])
    assert torch.equal(tint(x, torch.zeros(2, 1, 1, 1), brown), x)
    luma = 0.299 + 0.587 * 0.8 + 0.114 * 0.5
    assert torch.allclose(tint(x[:, :1], torch.ones(2, 1, 1, 1), brown), x[:, :1] * luma)
    assert visible(torch.tensor([0.0, 0.05, 0.2, -0.3])).tolist() == [0, 0, 1, 1]


def test_fading_shrinks_contrast_about_its_level_and_colour_about_gray() -> None:
    x = pictures(1, 3, 6, 6)
    half, none, level = torch.full((1, 1, 1, 1), 0.5), torch.zeros(1, 1, 1, 1), torch.tensor([0.6])
    assert torch.allclose(fade(x, half, torch.zeros(1), level), 0.6 + (x - 0.6) / 2)
    assert is_gray(fade(x, none, torch.ones(1), level)).all()
    assert torch.allclose(to_gray(fade(x, none, torch.full((1,), 0.3), level)), to_gray(x), atol=1e-6)


def test_a_crease_is_bare_in_the_middle_lit_on_one_side_and_shaded_on_the_other() -> None:
    distance = torch.arange(-20.0, 21).view(1, 1, 1, 41)
    loss, light = crease_maps(distance, torch.full_like(distance, 2.0), torch.tensor([4.0]))
    assert torch.equal(loss[0, 0, 0], (2.5 - distance.flatten().abs()).clamp(0, 1))
    assert light.argmax() == 24  # 4 pixels from the fold
    assert light.max() == pytest.approx(1)
    assert torch.allclose(light, -light.flip(3), atol=1e-6)
    assert not crease_maps(distance, torch.full_like(distance, -1.0), torch.tensor([4.0]))[0].any()


def test_a_stain_is_within_its_outline() -> None:
    plain, rimmed = (blot(torch.tensor([0.0, 0.93, 1.3, math.inf]), torch.tensor(rim)) for rim in (0.0, 1.0))
    assert plain.tolist() == pytest.approx([1, 0.78, 0, 0], abs=0.01)
    assert rimmed[1] > 1.5 * rimmed[0]
    assert rimmed[3] == 0


@pytest.mark.parametrize("period", [2.5, 6.0])
@pytest.mark.parametrize("angle", [10.0, 22.0, 40.0])
def test_halftone_keeps_the_mean_tone(angle: float, period: float) -> None:
    tones = torch.linspace(0, 1, 11)
    x = tones[:, None, None, None].expand(11, 1, 120, 120)
    dots = halftone(x, torch.full((11,), period), torch.full((11,), angle), torch.ones(11))
    assert torch.allclose(dots.mean((1, 2, 3)), tones, atol=0.01)
    assert torch.equal(dots[[0, 10]], x[[0, 10]])  # no dots on black and on white
    if period == 6:
        assert ((dots == 0) | (dots == 1)).float().mean() > 0.5  # ink or none
    faint = halftone(x, torch.full((11,), period), torch.full((11,), angle), torch.full((11,), 0.25))
    assert torch.allclose(faint, x + 0.25 * (dots - x), atol=1e-6)


def test_halftone_repeats_with_its_period() -> None:
    x = torch.full((1, 1, 60, 60), 0.4)
    dots = halftone(x, torch.tensor([5.0]), torch.tensor([0.0]), torch.ones(1))[0, 0]
    assert torch.allclose(dots[5:, 5:], dots[:-5, :-5], atol=1e-3)
    assert not torch.allclose(dots[2:, :], dots[:-2, :], atol=0.1)


def test_halftone_has_one_screen_for_gray_and_three_for_colour() -> None:
    x = torch.stack([torch.full((3, 32, 32), 0.5), torch.full((3, 32, 32), 0.5)])
    x[1, 0, 0, 0] = 0.6  # in colour
    dots = halftone(x, torch.full((2,), 5.0), torch.zeros(2), torch.ones(2))
    assert is_gray(dots).tolist() == [True, False]


@pytest.mark.parametrize("kind", LOCAL)
def test_local_damage_is_seen_within_the_mask_only(kind: str) -> None:
    x = torch.full((12, 3, 96, 96), 0.5)
    made = done(x, kind=kind, **LOCAL[kind])
    assert made.masks is not None
    change = (made.images - x).abs().amax(1, keepdim=True)
    assert set(made.masks.unique().tolist()) <= {0.0, 1.0}
    assert (made.masks.mean((1, 2, 3)) > 0).sum() >= 8
    # Outside there are soft edges only: an opacity below 0.1 of what differs by at most 0.5 from the picture, and of
    # creases light below 0.05.
    assert (change * (1 - made.masks)).max() <= (0.1 if kind == "creases" else 0.05)
    assert (change * made.masks).max() > 0.08
    assert torch.equal(made.facts[0]["coverage"], made.masks.mean((1, 2, 3)))


@pytest.mark.parametrize("kind", ["scratches", "dust"])
def test_damage_is_bright_or_dark_as_asked(kind: str) -> None:
    x = torch.full((8, 1, 96, 96), 0.5)
    for share, brighter in ((1.0, True), (0.0, False)):
        change = done(x, kind=kind, bright=share).images - x
        assert bool((change.amax() > 0.2) and (change.amin() >= 0)) == brighter
        assert bool((change.amin() < -0.2) and (change.amax() <= 0)) != brighter


@pytest.mark.parametrize("kind", ["scratches", "dust", "stains"])
def test_density_is_a_count_on_a_hundred_pixels_square(kind: str) -> None:
    counts = [
        done(torch.full((n, 1, *size), 0.5), kind=kind, density=(1.5, 1.5)).facts[0]["count"]
        for n, size in ((200, (50, 50)), (20, (200, 300)))
    ]
    small, large = (c for c in counts if isinstance(c, torch.Tensor))
    assert set(small.tolist()) == {0.0, 1.0}
    assert small.mean() == pytest.approx(0.375, abs=0.12)  # 1.5 / 4; 3.5 standard errors
    assert (large == 9).all()
    assert (done(torch.full((4, 1, 50, 50), 0.5), kind=kind, density=(0, 0)).facts[0]["coverage"] == 0).all()


def test_yellowing_takes_blue_most_and_red_least() -> None:
    made = done(torch.ones(6, 3, 8, 8), kind="yellowing", strength=(1, 1)).images.mean((2, 3))
    assert (made[:, 0] > made[:, 1]).all()
    assert (made[:, 1] > made[:, 2]).all()
