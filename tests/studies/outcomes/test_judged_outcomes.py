"""What judges tell: trained models, and networks in ONNX files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pentimento import models
from pentimento.errors import CausalError, ModelError
from pentimento.features import open_network
from pentimento.model import Attribute, DataSpec
from pentimento.studies.outcomes import measure_all, model_judge, onnx_judge

NUMBER = Attribute(name="size", low=2.0, high=6.0)
KIND = Attribute(name="kind", kind="categorical", values=("round", "square", "star"))
SPEC = DataSpec(channels=1, height_px=12, width_px=8, classes=("cat", "dog"), attributes=(NUMBER, KIND))
PICTURES = torch.rand(70, 1, 12, 8, generator=torch.Generator().manual_seed(0))


def judge_model(spec=SPEC, attributes=("kind", "size"), family="classifier"):
    torch.manual_seed(0)
    chosen = {"attributes": attributes} if family == "classifier" else {}
    return models.build(family, {"spec": spec, "width": 4, **chosen})


def test_classes_and_attributes():
    model = judge_model()
    judge = model_judge(model, "judge:m")
    names = ["cat", "dog", "kind=round", "kind=square", "kind=star", "size"]
    assert list(judge.outcomes) == names
    assert [o.name for o in judge.outcomes.values()] == [f"judge:m:{name}" for name in names]
    told = measure_all([*judge.outcomes.values(), judge.outcome("confidence")], PICTURES)
    with torch.no_grad():
        wanted = model.predict(PICTURES)
    assert torch.allclose(told[:, :2], wanted["probabilities"].double(), atol=1e-6)
    assert torch.equal(told[:, 2:5].argmax(1), wanted["attributes"][:, 0].long())
    assert told[:, 2:5].sum(1).eq(1).all()
    assert torch.allclose(told[:, 5], wanted["attributes"][:, 1].double(), atol=1e-5)
    assert torch.allclose(told[:, 6], told[:, :2].amax(1))


def test_it_looks_once(monkeypatch):
    model = judge_model()
    judge, calls = model_judge(model), []
    predict = model.predict
    monkeypatch.setattr(model, "predict", lambda x: calls.append(len(x)) or predict(x))
    measure_all(tuple(judge.outcomes.values()), PICTURES)
    assert calls == [64, 6]


def test_colour_for_a_gray_judge():
    judge = model_judge(judge_model(attributes=()))
    assert list(judge.outcomes) == ["cat", "dog"]
    colour = PICTURES[:3].expand(-1, 3, -1, -1)
    assert torch.allclose(judge.outcome("cat").measure(colour), judge.outcome("cat").measure(PICTURES[:3]), atol=1e-6)


def test_only_attributes():
    judge = model_judge(judge_model(SPEC.model_copy(update={"classes": ()}), ("size",)))
    assert list(judge.outcomes) == ["size"]
    assert judge.confidence is None


@pytest.mark.parametrize(
    ("title", "message"),
    [
        ("dgo", r"judge:m: tells nothing called 'dgo'; did you mean 'dog'\?"),
        ("kind", r"judge:m: tells nothing called 'kind'; "),
    ],
)
def test_nothing_called_so(title, message):
    with pytest.raises(CausalError, match=message):
        model_judge(judge_model(), "judge:m").outcome(title)


def test_pictures_of_another_size():
    judge = model_judge(judge_model(), "judge:m")
    with pytest.raises(
        CausalError, match="judge:m: looks at pictures of 8x12 px, and these are 9x12; train a judge on"
    ):
        measure_all([judge.outcome("cat")], torch.zeros(2, 1, 12, 9))


def test_models_that_do_not_judge():
    with pytest.raises(ModelError, match=r"judge: a 'vae' model cannot do this; families that can: classifier"):
        model_judge(judge_model(family="vae"))


def test_models_that_predict_something_else(monkeypatch):
    model = judge_model()
    monkeypatch.setattr(model, "predict", lambda x: {"probabilities": torch.ones(len(x), 3)})
    with pytest.raises(
        ModelError, match=r"judge:m: its config names 2 classes and 2 attributes, but it predicts .*: 3"
    ):
        model_judge(model, "judge:m")


# ---------------------------------------------------------------------------------------------------- ONNX
@pytest.fixture
def save_onnx(tmp_path):
    """Saves a network whose outputs are the mean colour times a matrix each."""
    onnx = pytest.importorskip("onnx", reason="needs the extra pentimento[dev]")
    pytest.importorskip("onnxruntime", reason="needs the extra pentimento[onnx]")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT

    def save(shape=("N", 1, 12, 8), flat=True, **matrices):
        nodes = [helper.make_node("GlobalAveragePool", ["images"], ["mean"])]
        nodes += [helper.make_node("Flatten", ["mean"], ["flat"])] if flat else []
        nodes += [helper.make_node("MatMul", ["flat" if flat else "mean", f"w_{name}"], [name]) for name in matrices]
        weights = [onnx.numpy_helper.from_array(np.array(m, "float32"), f"w_{name}") for name, m in matrices.items()]
        inputs = [helper.make_tensor_value_info("images", kind, list(shape))]
        outputs = [helper.make_tensor_value_info(name, kind, None) for name in matrices]
        graph = helper.make_graph(nodes, "net", inputs, outputs, weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        onnx.save(model, str(tmp_path / "net.onnx"))
        return tmp_path / "net.onnx"

    return save


def test_columns_of_an_onnx_file(save_onnx):
    judge = onnx_judge(save_onnx(out=[[2.0, -1.0, 0.5]]), "onnx:net")
    assert [o.name for o in judge.outcomes.values()] == ["onnx:net#0", "onnx:net#1", "onnx:net#2"]
    told = measure_all(tuple(judge.outcomes.values()), PICTURES)
    assert torch.allclose(told, PICTURES.mean((2, 3)).double() * torch.tensor([2.0, -1.0, 0.5]), atol=1e-6)


def test_probabilities_of_an_onnx_file(save_onnx):
    judge = onnx_judge(save_onnx(features=[[9.0]], logits=[[2.0, -1.0]]))
    told = measure_all(tuple(judge.outcomes.values()), PICTURES)
    wanted = (PICTURES.mean((2, 3)) * torch.tensor([2.0, -1.0])).softmax(1)
    assert torch.allclose(told, wanted.double(), atol=1e-6)
    assert judge.outcome("1").unit == "probability"


def test_onnx_of_any_size(save_onnx):
    judge = onnx_judge(save_onnx(shape=("N", 1, "H", "W"), out=[[1.0]]))
    assert judge.outcome("0").measure(torch.ones(2, 1, 5, 7)).tolist() == [1, 1]


def test_onnx_that_is_refused(save_onnx, tmp_path):
    judge = onnx_judge(save_onnx(out=[[1.0, 2.0]]), "onnx:net")
    with pytest.raises(
        CausalError, match="onnx:net: looks at pictures of 8x12 px, and these are 28x28; export the network for their"
    ):
        measure_all([judge.outcome("0")], torch.zeros(2, 1, 28, 28))
    with pytest.raises(CausalError, match="onnx:net: tells nothing called '2'; known: 0, 1"):
        judge.outcome("2")
    with pytest.raises(CausalError, match="onnx:net: one logit has no softmax; export it as an output"):
        onnx_judge(save_onnx(logits=[[1.0]]), "onnx:net")
    with pytest.raises(ModelError, match=r"net.onnx: no output of float numbers \(N, D\); outputs: out"):
        onnx_judge(save_onnx(flat=False, out=[[1.0, 2.0]]))
    with pytest.raises(CausalError, match="onnx:net.pt: a file that ends in .onnx expected"):
        onnx_judge("net.pt")


def test_onnx_channels(save_onnx):
    """A judge of colour sees gray pictures as colour ones."""
    path = save_onnx(shape=("N", 3, 12, 8), out=[[1.0], [1.0], [1.0]])
    assert open_network(path).channels == 3
    assert torch.allclose(
        onnx_judge(path).outcome("0").measure(PICTURES), 3 * PICTURES.mean((1, 2, 3)).double(), atol=1e-5
    )
