"""One contract for every feature network; and what is particular to each architecture."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F  # noqa: N812

from pentimento.errors import EvaluationError, ModelError
from pentimento.features import FeatureNetwork, open_network
from pentimento.features.convnets import CifarResNet
from pentimento.features.inception import _average, _prepare, resize_tf1
from pentimento.features.network import bilinear

KINDS = ["inception", "vgg", "compressed", "resnet", "classifier", "mapper", "onnx"]


@pytest.fixture
def network(request, published, save_model, save_onnx, mapper_family, tmp_path):
    kind = request.param
    if kind in published:
        return published[kind]
    if kind == "onnx":
        return open_network(save_onnx(features=1.0, logits=2.0))
    return open_network(save_model(tmp_path / kind, kind))


def pictures(channels=3, height=21, width=34, count=2):
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("network", KINDS, indirect=True)
def test_contract(network):
    assert isinstance(network, FeatureNetwork)
    images = pictures()
    found = network(images)
    assert found.vectors.shape == (2, network.dim)
    assert found.vectors.dtype == torch.float32
    assert network.resizer
    if found.probabilities is not None:
        assert torch.allclose(found.probabilities.sum(1), torch.ones(2))
        assert len(network.classes) in (0, found.probabilities.shape[1])
    assert not network.train().training
    assert not any(m.training for m in network.modules())
    assert not any(p.requires_grad for p in network.parameters())
    gray = pictures(channels=1)
    assert torch.equal(network(gray).vectors, network(gray.repeat(1, 3, 1, 1)).vectors)


@pytest.mark.parametrize("network", [k for k in KINDS if k != "onnx"], indirect=True)
def test_gradients_flow_to_the_images(network):
    images = pictures().requires_grad_()
    network(images).vectors.square().sum().backward()
    assert torch.isfinite(images.grad).all()
    assert images.grad.abs().amax((1, 2, 3)).min() > 0


@pytest.mark.parametrize("network", ["vgg", "compressed", "resnet", "mapper"], indirect=True)
def test_maps(network):
    images = pictures().requires_grad_()
    maps = network.maps(images)
    assert tuple(maps) == network.layers
    first, last = network.layers[0], network.layers[-1]
    assert maps[first].shape[2:] == images.shape[2:]
    chosen = network.maps(images, [last, first])
    assert list(chosen) == [first, last]
    assert torch.equal(chosen[last], maps[last])
    maps[last].square().sum().backward()
    assert images.grad.abs().max() > 0
    with pytest.raises(ModelError, match=f"layers: .* has no '{last}x'; did you mean '{last}'"):
        network.maps(images, [last + "x"])


@pytest.mark.parametrize("network", ["inception", "classifier"], indirect=True)
def test_networks_without_maps_say_so(network):
    with pytest.raises(ModelError, match="has no feature maps to compare; VGG-19 has"):
        network.maps(pictures())


def test_everything_is_made_on_the_network_s_device(published):
    """On the meta device, which computes shapes alone and refuses tensors of the CPU, as a GPU would."""
    images = pictures().to("meta")
    with torch.device("meta"):
        fresh = [type(n).like(n.state_dict()) for n in published.values()]
    for network in fresh:
        assert network(images).vectors.device.type == "meta"


# --------------------------------------------------------------------------------------------- Inception
class TestInception:
    def test_resizing_is_tensorflow_1_s(self):
        """Of a ramp, output pixel i is ``i n / size``, and the last pixel from there on."""
        ramp = torch.arange(5.0).expand(1, 1, 7, 5)
        wanted = (torch.arange(299) * (5 / 299)).clamp(max=4)
        assert torch.allclose(resize_tf1(ramp, 299, 299)[0, 0], wanted.expand(299, 299), atol=1e-5)
        assert torch.equal(resize_tf1(ramp.mT, 3, 5)[0, 0, :, 0], torch.tensor([0, 5 / 3, 10 / 3]))
        images = pictures(height=299, width=299)
        assert torch.equal(resize_tf1(images, 299, 299), images)

    def test_averages_leave_the_border_out(self):
        assert torch.equal(_average(torch.ones(1, 1, 4, 4)), torch.ones(1, 1, 4, 4))

    def test_it_has_the_tensors_of_the_published_file(self, published):
        """566 tensors; 23,834,568 parameters of torchvision's without the side head, and 8 classes more."""
        state = published["inception"].state_dict()
        assert len(state) == 566
        assert sum(p.numel() for p in published["inception"].parameters()) == 23_834_568 + 8 * 2049
        assert state["fc.weight"].shape == (1008, 2048)
        assert state["Mixed_6e.branch7x7dbl_4.conv.weight"].shape == (192, 192, 7, 1)
        assert state["Mixed_7c.branch3x3dbl_3b.bn.running_var"].shape == (384,)

    def test_pictures_are_rounded_to_8_bits(self):
        levels = torch.randint(0, 256, (1, 3, 299, 299), generator=torch.Generator().manual_seed(0))
        for error in (-0.4, 0.0, 0.4):
            images = ((levels + error) / 255).requires_grad_()
            prepared = _prepare(images)
            assert torch.equal(prepared, (levels - 128) / 128)
        prepared.sum().backward()
        assert torch.allclose(images.grad, torch.tensor(255 / 128))

    def test_the_score_leaves_the_bias_out(self, published):
        network, images = published["inception"], pictures(count=1)
        found = network(images)
        wanted = (found.vectors @ network.fc.weight.T).softmax(1)
        assert network.fc.bias.abs().max() > 0
        assert torch.allclose(found.probabilities, wanted)

    def test_only_the_last_block_takes_a_maximum(self, published):
        network = published["inception"]
        assert (network.Mixed_7b.pool, network.Mixed_7c.pool) == ("average", "maximum")


# ---------------------------------------------------------------------------------------------- convnets
def test_vgg_is_torchvision_s(published):
    """Its first block by hand, and the numbers by which torchvision calls the convolutions."""
    network, images = published["vgg"], pictures()
    numbers = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]
    assert list(network.state_dict()) == [f"features.{n}.{kind}" for n in numbers for kind in ("weight", "bias")]
    assert network.layers[:5] == ("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1")
    assert network.layers[-1] == "relu5_4"
    assert network.dim == 64 + 128 + 256 + 512 + 512
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x = (images - mean) / std
    for number in "02":
        convolution = network.features[number]
        x = F.conv2d(x, convolution.weight, convolution.bias, padding=1).relu()
    assert torch.allclose(network.maps(images, ["relu1_2"])["relu1_2"], x, atol=1e-6)
    assert torch.allclose(network(images).vectors[:, :64], network.maps(images)["relu1_1"].mean((2, 3)))


@pytest.mark.parametrize(("kind", "layer", "least"), [("vgg", "relu5_4", 16), ("compressed", "relu2_1", 4)])
def test_pictures_too_small_for_a_layer(published, kind, layer, least):
    network = published[kind]
    assert network.maps(pictures(height=least, width=least), [layer])[layer].shape[2] >= 1
    with pytest.raises(
        EvaluationError, match=f"{layer} needs pictures of at least {least}x{least} px, got {least - 1}x"
    ):
        network.maps(pictures(height=least - 1, width=40), [layer])


def test_shortcuts_skip_pixels_and_add_empty_channels():
    """With all convolutions silent only the shortcuts are left."""
    network = CifarResNet(depth=1, class_count=2).eval()
    for stage in (network.layer1, network.layer2, network.layer3):
        torch.nn.init.zeros_(stage[0].bn2.weight)
    maps = network.maps(pictures(height=9, width=8))
    assert torch.equal(maps["layer2"][:, 8:24], maps["layer1"][:, :, ::2, ::2])
    assert maps["layer3"].shape == (2, 64, 3, 2)
    assert maps["layer3"][:, [*range(24), *range(40, 64)]].abs().max() == 0


def test_bilinear_keeps_the_size_it_finds_and_the_mean_of_what_it_shrinks():
    images = pictures(height=8, width=8)
    assert bilinear(images, 8, 8) is images
    assert torch.allclose(
        bilinear(images.mean((2, 3), keepdim=True).expand(2, 3, 8, 8), 3, 5), images.mean((2, 3))[..., None, None]
    )


# ------------------------------------------------------------------------------------- published weights
def test_cifar_resnet_on_the_pictures_it_was_trained_on(shared_data):
    """Lossless training pictures of CIFAR-10, one a row of a PNG; it knows 99.9 % of a thousand of them."""
    network = open_network(shared_data("weights/cifar10-resnet/resnet20-12fca82f.th"))
    assert network.sha256.startswith("12fca82f")
    folder = shared_data("generation/cifar10-png-lossless-4k")
    rows = np.asarray(Image.open(folder / "cifar10_batch_0.png").convert("RGB"))[:200].reshape(-1, 32, 32, 3)
    with (folder / "labels_by_nn.csv").open() as stream:
        labels = [int(row["label"]) for row in csv.DictReader(stream)][:200]
    found = network(torch.from_numpy(rows.copy()).permute(0, 3, 1, 2) / 255).probabilities.argmax(1)
    assert (found == torch.tensor(labels)).float().mean() > 0.98


def test_compressed_vgg_is_inverted_by_its_published_decoder(shared_data):
    """One convolution takes relu1_1 back to the picture: that holds only if colours enter as upstream's do."""
    network = open_network(shared_data("weights/vgg19-16x-collaborative-distillation/1SE.pth"))
    decoder = shared_data("weights/vgg19-16x-collaborative-distillation/1SD.pth")
    weights = torch.load(decoder, map_location="cpu", weights_only=True)["model"]
    photo = shared_data("restoration/BSDS500-images/val/101085.jpg")
    images = torch.from_numpy(np.asarray(Image.open(photo)).copy()).permute(2, 0, 1)[None] / 255
    padded = F.pad(network.maps(images)["relu1_1"], (1, 1, 1, 1), mode="reflect")
    back = F.conv2d(padded, weights["conv11.weight"], weights["conv11.bias"]).clamp(0, 1)
    assert 10 * torch.log10(1 / (back - images).square().mean()) > 40  # dB
