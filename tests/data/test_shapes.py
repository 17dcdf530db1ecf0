"""The shapes, their causal graph and its counterfactuals."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pentimento.data.shapes import (
    BACKGROUNDS,
    MEAN_SIZE_PX,
    SHAPES,
    ShapeFactors,
    draw_noise,
    factors_from_noise,
    render,
    sample_factors,
    shape_mask,
)
from pentimento.errors import DataError

PLAIN = ShapeFactors("circle", 0.0, 12.0, 0.5, 0.5, "plain", 0.5)


def test_the_same_index_and_seed_give_the_same_picture() -> None:
    assert sample_factors(5, 3) == sample_factors(5, 3)
    assert np.array_equal(render(sample_factors(5, 3)), render(sample_factors(5, 3)))
    assert sample_factors(5, 3) != sample_factors(6, 3) != sample_factors(6, 4)


def test_do_hue_changes_nothing_else() -> None:
    noise = draw_noise(1, 0)
    fact, counterfact = factors_from_noise(noise), factors_from_noise(noise, do={"hue": 0.3})
    assert dataclasses.replace(fact, hue=0.3) == counterfact
    assert np.array_equal(shape_mask(fact), shape_mask(counterfact))
    outside = shape_mask(fact) == 0
    assert np.array_equal(render(fact)[outside], render(counterfact)[outside])
    assert not np.array_equal(render(fact), render(counterfact))


def test_do_shape_moves_what_depends_on_it() -> None:
    noise = dataclasses.replace(draw_noise(1, 0), shape=0.1, size=0.4, hue=-0.5, background_hue=0.25)
    fact, counterfact = factors_from_noise(noise), factors_from_noise(noise, do={"shape": "star"})
    assert (fact.shape, counterfact.shape) == ("circle", "star")
    assert fact.size_px == pytest.approx(MEAN_SIZE_PX[0] + 0.6)
    assert counterfact.size_px == pytest.approx(MEAN_SIZE_PX[3] + 0.6)
    assert fact.hue == pytest.approx(1 / 8 - 0.05)
    assert counterfact.hue == pytest.approx(7 / 8 - 0.05)
    assert fact.background_hue == pytest.approx(0.5 * (1 / 8 + 0.5) + 0.55 * 0.25)
    assert counterfact.background_hue == pytest.approx(0.5 * (7 / 8 + 0.5) + 0.55 * 0.25)
    assert (fact.x, fact.y, fact.background) == (counterfact.x, counterfact.y, counterfact.background)


def test_do_of_everything_is_obeyed() -> None:
    assert factors_from_noise(draw_noise(0, 0), do=dataclasses.asdict(PLAIN)) == PLAIN


def test_entangle_zero_frees_the_background() -> None:
    noise = draw_noise(2, 0)
    hues = {factors_from_noise(noise, {"shape": s}, entangle=0).background_hue for s in SHAPES}
    assert len(hues) == 1
    assert len({factors_from_noise(noise, {"shape": s}, entangle=1).background_hue for s in SHAPES}) == 4


def test_shape_confounds_hue_and_size() -> None:
    drawn = [sample_factors(i, 0) for i in range(2000)]
    sizes = [np.mean([f.size_px for f in drawn if f.shape == s]) for s in SHAPES]
    assert sizes == pytest.approx(MEAN_SIZE_PX, abs=0.3)  # standard error 1.5 / sqrt(500) = 0.07
    assert {f.background for f in drawn} == set(BACKGROUNDS)
    assert all(1 / 3 <= f.x <= 2 / 3 and 6 <= f.size_px <= 20 and 0 <= f.hue < 1 for f in drawn)
    within = [np.corrcoef([(f.hue, f.size_px) for f in drawn if f.shape == s and 0.02 < f.hue < 0.98], rowvar=False)
              for s in SHAPES[1:3]]  # fmt: skip
    assert np.max(np.abs([c[0, 1] for c in within])) < 0.15  # independent given the shape; 3.3 standard errors
    overall = np.corrcoef([(f.hue, f.size_px) for f in drawn], rowvar=False)[0, 1]
    assert overall > 0.4


def test_areas() -> None:
    radius = 12.0
    # Areas of the figures inscribed in a circle of that radius; the star's is that of a regular pentagram.
    expected = {"circle": np.pi, "square": 2.0, "triangle": 3 * np.sqrt(3) / 4, "star": 1.12257}
    for shape, area in expected.items():
        covered = shape_mask(dataclasses.replace(PLAIN, shape=shape)).sum()
        assert covered == pytest.approx(area * radius**2, rel=0.01)


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_pictures(shape: str, background: str) -> None:
    picture = render(dataclasses.replace(PLAIN, shape=shape, background=background))
    assert picture.shape == (64, 64, 3)
    assert picture.dtype == np.uint8
    assert picture[32, 32].tolist() == [255, 38, 38]  # red, saturation 0.85
    assert picture[0, 0, 0] < picture[0, 0, 1]  # cyan


def test_other_sizes_are_the_same_picture() -> None:
    large = render(PLAIN, 128).astype(float).reshape(64, 2, 64, 2, 3).mean((1, 3))
    # Not equal: the circle's edge is sampled at 64 instead of 16 points a pixel.
    assert np.abs(large - render(PLAIN)).mean() < 0.5


@pytest.mark.parametrize(
    ("do", "message"),
    [
        ({"colour": 1.0}, "unknown factor 'colour'"),
        ({"shape": "cirle"}, "did you mean 'circle'"),
        ({"hue": 1.5}, "hue takes 0 to 1, got 1.5"),
        ({"hue": "red"}, "hue takes 0 to 1"),
        ({"size_px": float("nan")}, "size_px takes 6 to 20"),
    ],
)
def test_impossible_interventions(do: dict[str, float | str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        factors_from_noise(draw_noise(0, 0), do=do)
