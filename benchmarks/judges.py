"""Networks of others that benchmarks hold ours against: read from the shared weights, never shipped, never trained.

All are from the folder ``weights/mnist-lenet-gan-vae`` (csinva/gan-vae-pretrained-pytorch). Images go in and come out
as (N, 1, 28, 28) in [0, 1].
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from reporting import shared

__all__ = ["LeNet", "PeerGAN", "PeerVAE", "in_batches", "load_gan", "load_lenet", "load_vae"]

FOLDER = "weights/mnist-lenet-gan-vae"
M = TypeVar("M", bound=nn.Module)


class LeNet(nn.Module):
    """LeNet-5 on pictures stretched to 32x32, as it was trained (upstream ``classifiers/mnist``)."""

    def __init__(self) -> None:
        super().__init__()
        layers = {
            "c1": nn.Conv2d(1, 6, 5),
            "relu1": nn.ReLU(),
            "s2": nn.MaxPool2d(2),
            "c3": nn.Conv2d(6, 16, 5),
            "relu3": nn.ReLU(),
            "s4": nn.MaxPool2d(2),
            "c5": nn.Conv2d(16, 120, 5),
            "relu5": nn.ReLU(),
            "flat": nn.Flatten(),
        }
        self.convnet = nn.Sequential(OrderedDict(layers))
        self.fc = nn.Sequential(OrderedDict(f6=nn.Linear(120, 84), relu6=nn.ReLU(), f7=nn.Linear(84, 10)))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 10) probabilities."""
        probabilities: Tensor = self.fc.f7(self.features(images)).softmax(1)  # type: ignore[operator]
        return probabilities

    def features(self, images: Tensor) -> Tensor:
        """(N, 84): the last hidden layer, after its nonlinearity."""
        stretched = F.interpolate(images, (32, 32), mode="bilinear")
        hidden: Tensor = self.fc[:2](self.convnet(stretched))
        return hidden


class PeerGAN(nn.Module):
    """The unconditional generator of fully connected layers (upstream ``mnist/gan_mnist.py``)."""

    latent_dim = 64

    def __init__(self) -> None:
        super().__init__()
        sizes, layers = (64, 256, 256, 784), list[nn.Module]()
        for n, m in itertools.pairwise(sizes):
            layers += [nn.Linear(n, m), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1], nn.Tanh())

    def forward(self, latents: Tensor) -> Tensor:
        """(N, 64) -> (N, 1, 28, 28)."""
        images: Tensor = (self.layers(latents).view(-1, 1, 28, 28) + 1) / 2
        return images


class PeerVAE(nn.Module):
    """The unconditional VAE of PyTorch's example, 20 latents, Bernoulli pixels (upstream ``mnist_vae/vae.py``)."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(784, 400), nn.Linear(400, 20), nn.Linear(400, 20)
        self.fc3, self.fc4 = nn.Linear(20, 400), nn.Linear(400, 784)

    def sample(self, latents: Tensor) -> Tensor:
        """(N, 20) -> (N, 1, 28, 28), the means of the pixels."""
        return self.fc4(self.fc3(latents).relu()).sigmoid().view(-1, 1, 28, 28)

    def bounds(self, seen: Tensor, observed: Tensor, samples: int) -> tuple[Tensor, Tensor]:
        """ELBO and importance-weighted bound of log p(observed), (N,) each, in nats, over the same draws.

        Args:
            seen: (N, 1, 28, 28), what the encoder looks at; any function of it is a valid proposal.
            observed: (N, 1, 28, 28) of 0 and 1.
            samples: draws from the proposal.
        """
        hidden = self.fc1(seen.flatten(1)).relu()
        mean, logvar = self.fc21(hidden), self.fc22(hidden)
        log_w = []
        for _ in range(samples):
            epsilon = torch.randn_like(mean)
            z = mean + (0.5 * logvar).exp() * epsilon
            logits = self.fc4(self.fc3(z).relu())
            log_px = -F.binary_cross_entropy_with_logits(logits, observed.flatten(1), reduction="none").sum(1)
            log_w.append(log_px + 0.5 * (epsilon.square() - z.square() + logvar).sum(1))
        weights = torch.stack(log_w)  # (samples, N)
        return weights.mean(0), weights.logsumexp(0) - math.log(samples)


def load_lenet() -> LeNet:
    """The LeNet that its authors found right on 99.1 % of the test set."""
    return _load(LeNet(), "lenet_epoch=12_test_acc=0.991.pth")


def load_gan() -> PeerGAN:
    """The GAN after 300 epochs."""
    return _load(PeerGAN(), "G--300.ckpt", prefix="layers.")


def load_vae() -> PeerVAE:
    """The VAE after 25 epochs."""
    return _load(PeerVAE(), "vae_epoch_25.pth")


def _load(network: M, name: str, prefix: str = "") -> M:
    state = torch.load(shared(f"{FOLDER}/{name}"), map_location="cpu", weights_only=True)
    network.load_state_dict({prefix + key: value for key, value in state.items()})
    return network.eval().requires_grad_(False)


@torch.no_grad()
def in_batches(function: Callable[[Tensor], Tensor], images: Tensor, size: int = 500) -> Tensor:
    """``function(images)``, `size` at a time."""
    return torch.cat([function(part) for part in images.split(size)])
