"""Small networks of every kind, saved as files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pentimento import models
from pentimento.features.convnets import VGG19, CifarResNet, CompressedVGG
from pentimento.features.inception import Inception
from pentimento.model import DataSpec, Model, Player

MATRIX = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")
SPEC = DataSpec(channels=3, height_px=12, width_px=16, classes=("cat", "dog"))
PUBLISHED = {
    "inception": Inception,
    "vgg": VGG19,
    "compressed": lambda: CompressedVGG({"relu1_1": 4, "relu1_2": 5, "relu2_1": 6}),
    "resnet": lambda: CifarResNet(depth=2, class_count=7),
}


class Mapper(Model):
    """Has maps and no features."""

    family = "mapper"

    def __init__(self, *, spec: DataSpec, width: int = 4) -> None:
        super().__init__()
        self.fine = nn.Conv2d(spec.channels, width, 3, padding=1)
        self.coarse = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)

    def players(self):
        return (Player("mapper", ("fine", "coarse")),)

    def maps(self, images):
        fine = self.fine(images).relu()
        return {"fine": fine, "coarse": self.coarse(fine).relu()}


@pytest.fixture
def mapper_family(monkeypatch):
    monkeypatch.setitem(models.MODELS, "mapper", Mapper)


@pytest.fixture(scope="session")
def published():
    """Random networks by name, in evaluation mode."""
    torch.manual_seed(0)
    return {name: make().eval().requires_grad_(False) for name, make in PUBLISHED.items()}


@pytest.fixture
def save_model():
    """Saves a small random model and returns its folder."""

    def save(folder, family="classifier", spec=SPEC, **config):
        torch.manual_seed(1)
        models.save(models.build(family, {"spec": spec, "width": 4, **config}), folder, card="")
        return folder

    return save


@pytest.fixture
def save_onnx(tmp_path):
    """Saves a network whose outputs, (N, 5) each, are the mean colour times `matrix` times a factor by name."""
    onnx = pytest.importorskip("onnx", reason="needs the extra pentimento[dev]")
    helper = onnx.helper

    def save(shape=("N", 3, "H", "W"), external=False, **factors):
        kind, channels = onnx.TensorProto.FLOAT, shape[1] if isinstance(shape[1], int) else 3
        nodes = [
            helper.make_node("GlobalAveragePool", ["images"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["flat"]),
            *(helper.make_node("MatMul", ["flat", f"w_{name}"], [name]) for name in factors),
        ]
        weights = [
            onnx.numpy_helper.from_array(np.resize(MATRIX, (channels, 5)) * f, f"w_{name}")
            for name, f in factors.items()
        ]
        inputs = [helper.make_tensor_value_info("images", kind, list(shape))]
        outputs = [helper.make_tensor_value_info(name, kind, None) for name in factors]
        graph = helper.make_graph(nodes, "net", inputs, outputs, weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        path = tmp_path / "net.onnx"
        onnx.save(model, str(path), save_as_external_data=external, location="weights.data", size_threshold=0)
        return path

    save.matrix = torch.from_numpy(MATRIX)
    return save
