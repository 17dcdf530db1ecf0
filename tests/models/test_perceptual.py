"""The distilled feature maps."""

from __future__ import annotations

import re

import pytest
import torch

from pentimento.errors import ModelError, RecipeError
from pentimento.features import open_network
from pentimento.layers import FEATURE_LAYERS
from pentimento.model import Batch, DataSpec
from pentimento.models import build, save
from pentimento.models.perceptual import Perceptual
from pentimento.runtime import Draws
from pentimento.training.recipe import parse_recipe
from pentimento.training.session import start

SPEC = DataSpec(channels=3, height_px=32, width_px=48)
WIDTHS = (4, 6, 8, 8, 8)


class Teacher(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def maps(self, images, layers):
        found = self.network.maps(images)
        return {name: found[name] for name in layers}


def make_student(seed=0, **config):
    torch.manual_seed(seed)
    return build("perceptual", {"spec": SPEC, "widths": WIDTHS, **config})


def make_batch():
    return Batch(torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0)))


def test_every_parameter_learns_and_only_from_the_teacher():
    student, batch = make_student(), make_batch()
    student.attach("teacher", Teacher(make_student(1)))
    figures = student.loss("perceptual", batch, Draws(0, range(2)))
    figures["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in student.parameters())
    assert figures["loss"].item() == pytest.approx(sum(float(figures[f"error_{k}"]) for k in FEATURE_LAYERS) / 5)
    assert not any(p.requires_grad for p in student.attached["teacher"].parameters())


def test_a_student_that_equals_its_teacher_but_for_the_scale_has_no_error():
    student, batch = make_student(), make_batch()
    teacher = Teacher(make_student())
    student.attach("teacher", teacher)
    for _ in range(3):
        student.loss("perceptual", batch, Draws(0, range(2)))
    wanted = [m.square().mean().sqrt().item() for m in teacher.maps(batch.images, FEATURE_LAYERS).values()]
    assert student.scale.rms.tolist() == pytest.approx(wanted, rel=1e-5)
    student.eval()
    student.scale.rms.fill_(1.0)
    assert float(student.loss("perceptual", batch, Draws(0, range(2)))["loss"]) == 0
    student.scale.rms.fill_(2.0)
    assert float(student.loss("perceptual", batch, Draws(0, range(2)))["loss"]) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("size", [(32, 48), (5, 9), (1, 1), (33, 100)])
def test_maps_halve_at_any_size(size):
    found = make_student().maps(torch.rand(1, 3, *size))
    assert tuple(found) == FEATURE_LAYERS
    for (height, width), channels, values in zip(
        [tuple(-(-side // 2**k) for side in size) for k in range(5)], WIDTHS, found.values(), strict=True
    ):
        assert values.shape == (1, channels, height, width)


def test_it_serves_as_a_feature_network(tmp_path):
    student = make_student().eval()
    save(student, tmp_path, card="")
    network, images = open_network(tmp_path), torch.rand(2, 3, 40, 24)
    assert network.layers == FEATURE_LAYERS
    assert network.dim == sum(WIDTHS)
    assert torch.equal(network.maps(images, ["relu3_1"])["relu3_1"], student.maps(images)["relu3_1"])
    gray = torch.rand(1, 1, 8, 8)
    assert torch.equal(network(gray).vectors, network(gray.expand(-1, 3, -1, -1)).vectors)


def test_what_cannot_be():
    student, batch = make_student(), make_batch()
    student.attach("teacher", Teacher(make_student(widths=(4, 6, 8, 8, 16))))
    with pytest.raises(ModelError, match=r"widths: relu5_1 of the teacher is \(16, 2, 3\) .* student's \(8, 2, 3\)"):
        student.loss("perceptual", batch, Draws(0, range(2)))
    with pytest.raises(ModelError, match="looks at colour pictures; set data.channels to 3"):
        Perceptual(spec=DataSpec(channels=1, height_px=32, width_px=32))


@pytest.mark.parametrize(
    ("networks", "said"),
    [
        ({}, "networks.teacher: a 'perceptual' learns with one; name it: --set networks.teacher=FILE"),
        ({"teacher": "x.pth", "techer": "y.pth"}, "asks for none of that name; did you mean 'teacher'?"),
    ],
)
def test_its_training_is_refused_before_anything_is_written(networks, said, tmp_path):
    recipe = parse_recipe({"family": "perceptual", "training": {"total_kimg": 1}, "networks": networks})
    with pytest.raises(RecipeError, match=re.escape(said)):
        start(recipe, "shapes:20", tmp_path / "run")
    assert not (tmp_path / "run").exists()
