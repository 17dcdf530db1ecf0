"""Small recipes on the built-in digits: seconds of training, every family."""

from __future__ import annotations

import pytest

from pentimento.training.recipe import parse_recipe

FAMILIES = {
    "gan": {"model": {"width": 4, "latent_dim": 8, "loss": "relativistic", "r1": 0.1, "r2": 0.1, "critic_updates": 2}},
    "vae": {"model": {"width": 4, "latent_dim": 4}},
    "classifier": {"model": {"width": 4, "dropout": 0.3}, "augment": {"shift": 0.1}},
    "restorer": {
        "model": {"widths": (4, 8), "blocks": 1, "told": "noise", "losses": {"l1": 1.0, "adversarial": 0.1}},
        "degrade": [{"kind": "scratches", "probability": 0.5}, {"kind": "gaussian_noise", "varying": 0.5}],
    },
    "cyclegan": {"model": {"widths": (4,), "blocks": 1, "pool": 20, "discriminator_width": 4}},
}


def small(family, *, players=None, data=None, model=None, **training):
    """A recipe of `family` for 20 steps of 16 digits."""
    changes = FAMILIES[family]
    options = {
        "total_kimg": 0.32,
        "batch_size": 16,
        "log_every_kimg": 0.064,
        "sample_every_kimg": 0.16,
        "sample_count": 4,
    }
    return parse_recipe(
        {
            "family": family,
            **changes,
            "model": {**changes["model"], **(model or {})},
            "training": {**options, "device": "cpu", "precision": "fp32", **training},
            "players": players or {},
            "data": data or {},
        }
    )


@pytest.fixture
def recipe():
    return small
