"""The alarm rings when recall falls, and only then."""

from __future__ import annotations

import json

import pytest
import torch

from pentimento.data.batches import Batches
from pentimento.data.packed import pack
from pentimento.data.sources import open_source
from pentimento.errors import RecipeError
from pentimento.evaluate.alarm import BEST, CollapseAlarm
from pentimento.features import FeatureNetwork, Features
from pentimento.model import DataSpec
from pentimento.models.gan import GAN
from pentimento.training.recipe import parse_recipe
from pentimento.training.session import start


class Pixels(FeatureNetwork):
    """The pixels themselves."""

    kind, name, sha256, dim = "pixels", "pixels", "0", 64

    def forward(self, images):
        return Features(images.flatten(1))


@pytest.fixture(scope="module")
def data():
    dataset = pack(open_source("digits"))
    return Batches(dataset, range(len(dataset)), dataset.spec(), batch_size=16, seed=0)


class Copier(GAN):
    """Gives real digits, the first so many of them over and over."""

    @classmethod
    def of(cls, pictures, kinds):
        model = cls(spec=DataSpec(channels=1, height_px=8, width_px=8), width=1)
        model.pictures, model.kinds = pictures, kinds
        return model

    def sample(self, noise, condition):
        rows = (noise["latent"][:, 0].abs() * 1e4).long() % self.kinds
        return self.pictures[rows]


@pytest.mark.parametrize(("kinds", "rings"), [(1000, False), (2, True)])
def test_it_rings_when_a_model_shows_a_few_pictures_only(data, kinds, rings):
    pictures = next(data.in_order(1000)).images
    alarm = CollapseAlarm(Pixels(), 200, seed=0)
    figures, warning = alarm(Copier.of(pictures, 1000), data, {})
    assert not warning
    assert figures["evaluate/recall"] == figures[BEST] > 0.5
    later, warning = alarm(Copier.of(pictures, kinds), data, figures)
    assert later["evaluate/precision"] > 0.5
    assert later[BEST] == figures[BEST]
    assert ("the model is collapsing: recall fell from" in warning) == rings


def test_training_writes_its_figures_to_the_curves_and_passes_the_warning_on(tmp_path):
    def watch(model, batches, figures):
        assert not model.training or isinstance(model, torch.nn.Module)
        return {"evaluate/recall": 0.25, BEST: figures.get(BEST, 0.0) + 1}, "collapsing"

    recipe = parse_recipe(
        {
            "family": "gan",
            "model": {"width": 2, "latent_dim": 4},
            "training": {"total_kimg": 0.064, "batch_size": 16, "log_every_kimg": 0.016, "device": "cpu"},
            "evaluate": {"every_kimg": 0.032},
        }
    )
    said = []
    start(recipe, "digits", tmp_path / "run", watch=watch, progress=said.append)
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [row.get(BEST) for row in rows] == [None, 1, 1, 2]
    assert [report.message for report in said if report.message].count("collapsing") == 2


def test_a_model_that_makes_no_samples_is_refused_before_anything_is_written(tmp_path):
    recipe = parse_recipe({"family": "classifier", "training": {"total_kimg": 1}, "evaluate": {"every_kimg": 1}})
    with pytest.raises(RecipeError, match=r"evaluate\.every_kimg: a 'classifier' makes no samples to measure"):
        start(recipe, "digits", tmp_path / "run")
    assert not (tmp_path / "run").exists()
