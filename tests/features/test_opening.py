"""What a name, a folder or a file of weights means, and one line for each that means nothing."""

from __future__ import annotations

import pickle

import pytest
import safetensors.torch
import torch

from pentimento import features, models
from pentimento.errors import ModelError, NotFoundError
from pentimento.features import open_network
from pentimento.features.download import sha256_of
from pentimento.model import DataSpec


def pictures(height=32, width=40):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))


# ------------------------------------------------------------------------------------------------- files
WRAPS = {
    "weights.pth": lambda state: state,
    "weights.th": lambda state: {"best": 0.9, "state_dict": {f"module.{k}": v for k, v in state.items()}},
    "weights.ckpt": lambda state: {"epoch": 3, "model": state},
    "old.pt": lambda state: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")},
}


@pytest.mark.parametrize(
    ("kind", "name", "extra"),
    [
        *(("resnet", name, ()) for name in [*WRAPS, "weights.safetensors"]),
        ("compressed", "weights.ckpt", ("conv11_aux.weight", "conv11_aux.bias")),
        ("vgg", "weights.pth", ("classifier.0.weight", "classifier.0.bias")),
    ],
)
def test_files_of_known_networks(published, kind, name, extra, tmp_path):
    path, network = tmp_path / name, published[kind]
    state = {**network.state_dict(), **{unused: torch.zeros(2) for unused in extra}}
    if name.endswith("safetensors"):
        safetensors.torch.save_file(state, path)
    else:
        torch.save(WRAPS[name](state), path)
    before = torch.get_rng_state()
    opened = open_network(str(path))
    assert torch.equal(torch.get_rng_state(), before)
    assert type(opened) is type(network)
    assert (opened.name, opened.sha256) == (name, sha256_of(path))
    assert not any(p.requires_grad for p in opened.parameters())
    assert torch.equal(opened(pictures()).vectors, network(pictures()).vectors)


def test_the_official_inception_file_has_its_name_wherever_it_lies(published, tmp_path, monkeypatch):
    path = tmp_path / "copy.pth"
    torch.save(published["compressed"].state_dict(), path)  # only its hash and its place matter here
    assert open_network(path).name == "copy.pth"
    monkeypatch.setitem(features.PUBLISHED, "inception", (path.as_uri(), sha256_of(path)))
    assert open_network(path).name == open_network("inception").name == "inception"


def test_weights_that_nobody_published_are_told_of(published, tmp_path, monkeypatch):
    path, told = tmp_path / "own.pth", []
    torch.save(published["vgg"].state_dict(), path)
    open_network(path, progress=lambda p: told.append(p.message))
    assert told == ["own.pth: fits VGG-19, but is not what was published of it; used as it is"]
    monkeypatch.setitem(features.PUBLISHED, "vgg19", (path.as_uri(), sha256_of(path)))
    open_network(path, progress=lambda p: told.append(p.message))
    assert len(told) == 1


def test_weights_that_are_not_finite(published, tmp_path):
    state = published["compressed"].state_dict()
    name = list(state)[3]
    torch.save(state | {name: torch.full_like(state[name], torch.nan)}, tmp_path / "broken.pth")
    with pytest.raises(ModelError, match=f"broken.pth: {name} holds numbers that are not finite; get the file anew"):
        open_network(tmp_path / "broken.pth")


def test_a_file_whose_name_has_another_hash(published, tmp_path):
    path = tmp_path / "net-0123abcd.pth"
    torch.save(published["compressed"].state_dict(), path)
    digest = sha256_of(path)
    with pytest.raises(ModelError, match=f"SHA-256 begins with {digest[:8]}, not with 0123abcd as its name says"):
        open_network(path)
    right = path.rename(tmp_path / f"net-{digest[:8]}.pth")
    assert open_network(right).sha256 == digest


def test_weights_of_other_networks(published, tmp_path):
    path = tmp_path / "other.pth"
    extra = {name: torch.zeros(1) for name in ("conv12_aux.scale", "x", "y")}
    state = {**published["compressed"].state_dict(), "conv21.bias": torch.zeros(9), **extra}
    del state["conv0.bias"]
    torch.save(state, path)
    wanted = (
        r"other.pth: nearest to compressed VGG-19, but conv0.bias is missing; conv21.bias is \(9,\), not \(6,\); "
        r"x is not part of the model; and 1 more; export any other network to ONNX"
    )
    with pytest.raises(ModelError, match=wanted):
        open_network(path)
    torch.save({"layers.0.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(
        ModelError, match=r"no known network \(Inception-v3 .*, VGG-19, compressed VGG-19, CIFAR ResNet"
    ):
        open_network(path)


def test_files_that_hold_no_tensors(published, tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return (print, ("executed",))

    path = tmp_path / "w.pth"
    torch.save(published["compressed"].state_dict(), path)
    whole = path.read_bytes()
    for content in (whole[:-100], whole[:20], b"", b"text", pickle.dumps(Evil(), protocol=2)):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"w.pth: not a readable file of tensors: .*never executed") as caught:
            open_network(path)
        assert "\n" not in str(caught.value)
    assert "executed" not in capsys.readouterr().out
    for nothing in ([torch.zeros(1)], {"epoch": 1}, torch.zeros(1)):
        torch.save(nothing, path)
        with pytest.raises(ModelError, match="holds no tensors by name"):
            open_network(path)
    path.rename(tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        open_network(tmp_path / "w.safetensors")


def test_files_that_are_not_there(tmp_path):
    (tmp_path / "vgg19.pth").touch()
    with pytest.raises(NotFoundError, match=r"vgg91.pth' is neither a file, .*; did you mean '.*vgg19.pth'"):
        open_network(tmp_path / "vgg91.pth")
    with pytest.raises(NotFoundError, match=r"elsewhere.onnx' is neither a file, .*; known: .*inception"):
        open_network("nowhere/elsewhere.onnx")
    with pytest.raises(NotFoundError, match=r"vgg9' is neither a file, .*; did you mean '.*vgg19.pth'"):
        open_network(tmp_path / "vgg9")
    (tmp_path / "weights.bin").touch()
    with pytest.raises(ModelError, match=r"weights.bin: a file of weights ends in .onnx, .safetensors, .pth"):
        open_network(tmp_path / "weights.bin")


# ------------------------------------------------------------------------------------------------ models
def test_a_classifier(save_model, tmp_path):
    network = open_network(save_model(tmp_path / "run" / "model"))
    model = models.load(tmp_path / "run")
    assert (network.name, network.sha256) == ("run", model.origin.weights_sha256)
    assert (network.resizer, network.classes, network.layers) == ("antialiased bilinear 12x16", ("cat", "dog"), ())
    images = torch.nn.functional.interpolate(pictures(), (12, 16), mode="bilinear", antialias=True)
    found = network(pictures())
    assert torch.equal(found.vectors, model.features(images))
    assert torch.equal(found.probabilities, model.predict(images)["probabilities"])


def test_a_gray_classifier_sees_luma(save_model, tmp_path):
    spec = DataSpec(channels=1, height_px=8, width_px=8, classes=("a", "b"))
    network = open_network(save_model(tmp_path / "gray", spec=spec))
    images = pictures(8, 8)
    luma = 0.299 * images[:, :1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:]
    assert torch.allclose(network(images).vectors, network(luma).vectors, atol=1e-6)


def test_a_model_with_maps_alone(save_model, tmp_path, mapper_family):
    network = open_network(save_model(tmp_path / "m", "mapper"))
    assert (network.resizer, network.layers, network.dim, network.classes) == ("none", ("fine", "coarse"), 12, ())
    maps = network.maps(pictures())
    assert maps["fine"].shape == (2, 4, 32, 40)
    assert torch.equal(network(pictures()).vectors[:, 4:], maps["coarse"].mean((2, 3)))
    assert network(pictures()).probabilities is None


def test_a_model_without_features(save_model, tmp_path):
    with pytest.raises(
        ModelError, match="a 'vae' model offers neither features nor maps; families that do: classifier"
    ):
        open_network(save_model(tmp_path / "v", "vae"))


def test_names(save_model, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "ZOO", tmp_path)
    save_model(tmp_path / "features-cifar")
    network = open_network("features-cifar")
    assert network.name == "features-cifar"
    with pytest.raises(NotFoundError, match="'features-cifra' is neither a file.*did you mean 'features-cifar'"):
        open_network("features-cifra")
    with pytest.raises(NotFoundError, match="did you mean 'inception'"):
        open_network("inceptoin")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFoundError, match="no model here"):
        open_network(tmp_path / "empty")
