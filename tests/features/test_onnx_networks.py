"""ONNX files: which output is which, fixed sizes, and what is refused."""

from __future__ import annotations

import sys

import pytest
import torch

from pentimento.errors import EvaluationError, MissingExtraError, ModelError
from pentimento.features import open_network
from pentimento.features.network import bilinear

pytest.importorskip("onnxruntime", reason="needs the extra pentimento[onnx]")


def pictures(count=3, channels=3, height=10, width=12):
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("outputs", "vector", "probabilities"),
    [
        ({"a": 1.0, "b": 2.0}, 2.0, None),
        ({"features": 1.0, "b": 2.0}, 1.0, None),
        ({"a": 1.0, "logits": 3.0}, 1.0, 3.0),
        ({"logits": 3.0}, 3.0, 3.0),
    ],
)
def test_which_output_is_which(save_onnx, outputs, vector, probabilities):
    network = open_network(save_onnx(**outputs))
    images = pictures()
    wanted = images.mean((2, 3)) @ save_onnx.matrix
    found = network(images)
    assert (network.dim, network.resizer, network.name) == (5, "none", "net.onnx")
    assert torch.allclose(found.vectors, vector * wanted, atol=1e-5)
    if probabilities is None:
        assert found.probabilities is None
    else:
        assert torch.allclose(found.probabilities, (probabilities * wanted).softmax(1), atol=1e-5)


def test_probabilities_are_taken_as_they_are(save_onnx):
    network = open_network(save_onnx(probabilities=1.0, logits=2.0, a=3.0))
    found = network(pictures())
    assert torch.allclose(found.vectors, 3 * found.probabilities, atol=1e-5)


def test_fixed_sizes_and_counts(save_onnx):
    network = open_network(save_onnx(shape=(2, 1, 8, 6), features=1.0))
    assert (network.resizer, network.channels) == ("antialiased bilinear 8x6", 1)
    images = pictures(count=5, channels=1)
    wanted = bilinear(images, 8, 6).mean((2, 3)) @ save_onnx.matrix[:1]
    assert torch.allclose(network(images).vectors, wanted, atol=1e-5)
    assert open_network(save_onnx(shape=("N", 3, 8, "W"), features=1.0)).resizer == "antialiased bilinear 8xany"


def test_it_has_no_gradients(save_onnx):
    network = open_network(save_onnx(features=1.0))
    assert not network(pictures().requires_grad_()).vectors.requires_grad
    with pytest.raises(ModelError, match=r"net.onnx: an ONNX network cannot be differentiated"):
        network.maps(pictures())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"shape": ("N", 4, "H", "W"), "features": 1.0},
            r"one input of float32 \(N, 1 or 3, H, W\) expected, got images",
        ),
        ({"shape": ("N", 3, 32), "features": 1.0}, r"expected, got images tensor\(float\)"),
        ({"external": True, "features": 1.0}, "keeps its weights in another file; export it with external_data=False"),
    ],
)
def test_networks_of_another_kind(save_onnx, options, message):
    with pytest.raises(ModelError, match=message) as caught:
        open_network(save_onnx(**options))
    assert "\n" not in str(caught.value)


def test_broken_files(save_onnx, capfd):
    path = save_onnx(features=1.0)
    whole = path.read_bytes()
    for content in (b"", whole[:-9], b"not a network"):
        path.write_bytes(content)
        with pytest.raises(ModelError, match="not a readable ONNX file") as caught:
            open_network(path)
        assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_pictures_that_it_does_not_take(save_onnx, monkeypatch):
    network = open_network(save_onnx(features=1.0))

    def refuse(*_):
        raise RuntimeError("too\nsmall")

    monkeypatch.setattr(network, "_run", refuse)
    with pytest.raises(EvaluationError, match=r"net.onnx: cannot look at pictures of 10x12: too small"):
        network(pictures())


def test_extra_missing(save_onnx, monkeypatch):
    path = save_onnx(features=1.0)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r'pip install "pentimento\[onnx\]"'):
        open_network(path)
