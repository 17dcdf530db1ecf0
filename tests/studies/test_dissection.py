"""Units of a model whose answers are known: the set that is found, and whether pictures stay near real ones."""

from __future__ import annotations

import pytest
import torch

from pentimento.errors import CausalError, EvaluationError
from pentimento.evaluate.distances import frechet
from pentimento.evaluate.pictures import Pictures
from pentimento.features import FeatureNetwork, Features
from pentimento.interventions import Do
from pentimento.model import Condition, DataSpec
from pentimento.studies.dissection import Aim, control, dissect, fresh_samples
from pentimento.studies.experiment import Arm, Experiment
from pentimento.studies.outcomes import Outcome
from pentimento.studies.quality import Quality, QualityChange, of_label

UNITS = 6


class Rows:
    """Row r of a picture is 0.5 + 0.1 * unit r; units are a fourth of the latents, of mean 0.5."""

    family, config, device, training, origin = "rows", {}, torch.device("cpu"), False, None
    mechanisms = ()
    spec = DataSpec(channels=1, height_px=UNITS, width_px=4)
    stages = ("units", "image")

    def draw_noise(self, draws, truncation=None):
        return {"latent": draws.normal("latent", (UNITS,))}

    def run_stage(self, stage, x, noise, condition):
        if stage == "units":
            return 0.5 + 0.25 * noise["latent"][:, :, None, None].expand(-1, -1, 2, 2)
        return (0.5 + 0.1 * x.mean((2, 3)))[:, None, :, None].expand(-1, -1, -1, 4)


class Halves(FeatureNetwork):
    """The mean of the upper half and of the lower one."""

    kind, dim, name, sha256, resizer = "halves", 2, "halves", "0" * 64, "none"

    def forward(self, images):
        return Features(torch.stack([images[:, :, :3].mean((1, 2, 3)), images[:, :, 3:].mean((1, 2, 3))], 1))


UPPER = Outcome("upper", "", "mean of the upper half", lambda x: x[:, :, :3].double().mean((1, 2, 3)))
LOWER = Outcome("lower", "", "mean of the lower half", lambda x: x[:, :, 3:].double().mean((1, 2, 3)))


def real_of(experiment, dos=(), labels=None, classes=()):
    pictures = experiment.pictures(Arm("", dos), range(1000, 1400))
    spec = DataSpec(channels=1, height_px=UNITS, width_px=4, classes=classes)
    return Pictures("real", (pictures * 255).round().to(torch.uint8), Condition(labels), "hash", spec)


def test_the_set_is_of_units_that_do_it_and_told_on_fresh_samples():
    experiment = Experiment(Rows(), seed=1)
    found = dissect(experiment, [UPPER, LOWER], count=60)
    assert [e.found for e in found.study.effects] == [True, False] * 3 + [False, True] * 3
    chosen = control(experiment, found, Aim("upper", -0.03, keep="lower", within=0.001))
    assert {do.units[0] for do in chosen.dos} <= {0, 1, 2} and len(chosen.dos) == 2
    assert chosen.reached
    upper, lower = chosen.effects.study.effects
    assert upper.value == pytest.approx(-2 * 0.1 * 0.5 / 3, abs=0.005) and lower.value == 0
    assert chosen.effects.study.seed == fresh_samples(experiment).seed != experiment.seed
    with pytest.raises(CausalError, match="no unit moves upper that way and keeps lower"):
        control(experiment, found, Aim("upper", 0.03, keep="lower"))


def test_the_distance_grows_by_what_the_set_takes_from_pictures():
    experiment = Experiment(Rows(), seed=1)
    quality = Quality(real_of(experiment), Halves(), 400)
    dark = (Do("units", 0.0, (0, 1, 2)),)
    worse = QualityChange(quality.distance(experiment), quality.distance(experiment, dark))
    samples = [(experiment.pictures(Arm("", dos), range(400)) * 255).round() / 255 for dos in ((), dark)]
    both = [frechet(Halves()(x).vectors, Halves()(real_of(experiment).floats()).vectors, 1).value for x in samples]
    assert worse.change.value == pytest.approx(both[1] - both[0], rel=1e-4)
    assert 0 < worse.change.low < worse.change.value < worse.change.high
    # Pictures that lack the same are nearer to real ones with the set than without.
    quality = Quality(real_of(experiment, dark), Halves(), 400)
    better = QualityChange(quality.distance(experiment), quality.distance(experiment, dark))
    assert better.change.high < 0
    assert "400" not in str(better) and "to real (halves)" in str(better)
    assert better.to_json()["with"]["protocol"]["sample_count"] == 400


def test_the_interval_of_the_change_knows_what_both_have_in_common():
    experiment = Experiment(Rows(), seed=1)
    quality = Quality(real_of(experiment), Halves(), 400)
    hardly = (Do("units", 0.01, (0,), shift=True),)
    found = QualityChange(quality.distance(experiment), quality.distance(experiment, hardly))
    alone = found.without.estimate
    assert found.change.high - found.change.low < 0.5 * (alone.high - alone.low)


def test_too_few_pictures_for_a_distance():
    experiment = Experiment(Rows(), seed=1)
    with pytest.raises(EvaluationError, match="at least 20 pictures are needed for an interval, got 10"):
        Quality(real_of(experiment), Halves(), 10).distance(experiment)


def test_real_pictures_of_the_same_class():
    labels = torch.arange(400) % 2
    real = real_of(Experiment(Rows(), seed=1), labels=labels, classes=("a", "b"))
    assert len(of_label(real, "b")) == 200 and (of_label(real, "b").images == real.images[1::2]).all()
    assert of_label(real, None) is real
    unlabelled = real_of(Experiment(Rows(), seed=1))
    assert of_label(unlabelled, "b") is unlabelled
    with pytest.raises(EvaluationError, match="no picture of real is of class 'c'; its classes: a, b"):
        of_label(real, "c")
