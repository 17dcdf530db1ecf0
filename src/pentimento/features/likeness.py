"""How much of what a picture shows was kept, and how far its look was reached: what is compared, in one network.

    x, r -> the picture, its reference     F_l -> maps of layer l of the embedded network `perceptual`
    G -> Gram matrix of maps, see `pentimento.losses.gram`
    content = ||F_4(x) - F_4(r)||^2 / ||F_4(r)||^2                    in relu4_1: what is where
    style   = mean over l of  ||G(F_l(x)) - G(F_l(r))||^2 / ||G(F_l(r))||^2      in relu1_1 ... relu5_1: the look

Both are what stylizers are trained on, in shares of what the reference has: 0 is the same, 1 is nothing of it.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from pentimento.features import FeatureNetwork, open_network
from pentimento.layers import FEATURE_LAYERS
from pentimento.losses import gram, relative_distance

__all__ = ["CONTENT_LAYER", "NETWORK", "content_distances", "content_of", "style_of"]

NETWORK, CONTENT_LAYER = "perceptual", "relu4_1"


def content_of(images: Tensor) -> Tensor:
    """F_4, (N, C', h, w), of (N, 1 or 3, H, W) images in [0, 1] of any size."""
    return _network(str(images.device)).maps(images, [CONTENT_LAYER])[CONTENT_LAYER].float()


def style_of(images: Tensor) -> list[Tensor]:
    """G(F_l), each (N, C_l, C_l), of (N, 1 or 3, H, W) images in [0, 1] of any size."""
    return [gram(maps.float()) for maps in _network(str(images.device)).maps(images, FEATURE_LAYERS).values()]


@torch.no_grad()
def content_distances(images: Tensor, reference: Tensor) -> Tensor:
    """The distance in content of (N, C, H, W) images from a reference (1, C, H, W) of their size, (N,)."""
    wanted = content_of(reference)
    return relative_distance(content_of(images), wanted.expand(len(images), -1, -1, -1))


@functools.lru_cache(maxsize=4)
def _network(device: str) -> FeatureNetwork:
    return open_network(NETWORK, device)
