"""Options: what is refused, in which words, and what needs no torch."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pydantic
import pytest

from pentimento.data.degrade import Step
from pentimento.data.degrade.steps import GaussianNoise, Gray
from pentimento.validation import describe_problems


class Recipe(pydantic.BaseModel):
    degrade: tuple[Step, ...] = ()


def test_import_no_torch() -> None:
    code = "import sys; from pentimento.data.degrade import Step, degrade; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_tables_become_steps() -> None:
    tables = [
        {"kind": "gray", "probability": 0.25},
        {"kind": "gaussian_noise", "sigma": [0, 75], "varying": 0.2},
    ]
    steps = Recipe.model_validate({"degrade": tables}).degrade
    assert steps == (Gray(probability=0.25), GaussianNoise(sigma=(0, 75), varying=0.2))
    again = Recipe.model_validate({"degrade": [step.model_dump(mode="json") for step in steps]})
    assert again.degrade == steps


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"kind": "gausian_noise"}, "degrade.0: kind: unknown name 'gausian_noise'; did you mean 'gaussian_noise'"),
        ({"kind": "zzz"}, "degrade.0: kind: unknown name 'zzz'; known: creases, downscale, dust, fading, gaussian"),
        ({"sigma": [0, 5]}, "degrade.0: kind: missing; known: creases, downscale"),
        ({"kind": "jpeg", "qualty": [5, 9]}, "degrade.0: qualty: unknown key of 'jpeg'; did you mean 'quality'?"),
        ({"kind": "jpeg", "quality": [0, 9]}, "degrade.0.jpeg.quality.0: should be greater than or equal to 1, got 0"),
        ({"kind": "jpeg", "quality": [5, 101]}, "degrade.0.jpeg.quality.1: should be less than or equal to 100"),
        (
            {"kind": "gaussian_noise", "sigma": [75, 0]},
            "degrade.0.gaussian_noise.sigma: a pair (low, high) with low <= high expected, got [75, 0]",
        ),
        ({"kind": "gaussian_noise", "sigma": [0, 300]}, "sigma.1: should be less than or equal to 255, got 300"),
        ({"kind": "gaussian_noise", "sigma": 25}, "degrade.0.gaussian_noise.sigma: should be a valid tuple, got 25"),
        ({"kind": "gaussian_noise", "sigma": [0, float("nan")]}, "degrade.0.gaussian_noise.sigma.1: "),
        ({"kind": "sensor_noise", "gain": [0, 1]}, "gain.0: should be greater than 0, got 0"),
        ({"kind": "downscale", "factor": 5}, "degrade.0.downscale.factor: 2, 3 or 4 expected, got 5"),
        ({"kind": "downscale", "probability": 0.5}, "probability: should be greater than or equal to 1, got 0.5"),
        ({"kind": "strokes", "coverage": [0.1, 1.2]}, "coverage.1: should be less than or equal to 1, got 1.2"),
        ({"kind": "dust", "probability": -0.1}, "probability: should be greater than or equal to 0, got -0.1"),
    ],
)
def test_what_is_refused(table: dict[str, Any], words: str) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        Recipe.model_validate({"degrade": [table]})
    line = describe_problems(caught.value, Recipe)
    assert words in line
    assert "\n" not in line
