"""Blur: kernels of each sample's own, and their application with reflected borders.

Kernels are (N, k, k), k odd, and sum to 1. Angles are in degrees, counter-clockwise from the right.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pentimento.data.degrade.borders import mirrored

__all__ = ["blur", "gaussian_kernels", "motion_kernels"]

# Points on the path of a motion, 0.4 px apart on the longest that the options allow; each is spread over 2 px.
_POINTS = 257


def blur(images: Tensor, kernels: Tensor) -> Tensor:
    """(N, C, H, W) with every channel of a sample convolved with its kernel; the border reflects, any size goes."""
    from kornia.filters import filter2d

    radius = kernels.shape[1] // 2
    margin = mirrored(images, radius, radius, edge_twice=False)
    # The kernels are symmetric about their centre, so correlation is convolution.
    return filter2d(margin, kernels, padding="valid")


def gaussian_kernels(sigma_px: Tensor, elongation: Tensor, angle_degrees: Tensor) -> Tensor:
    """Normal densities, sampled at whole pixels and cut off at 3 sigma of each sample's own.

    Args:
        sigma_px: (N,) along the short axis; 0 leaves a picture sharp.
        elongation: (N,) at least 1: sigma along the long axis over that along the short one.
        angle_degrees: (N,) of the long axis.
    """
    longer = sigma_px * elongation
    reach = (3 * longer).ceil()  # (N,)
    x, y = _grid(int(reach.max()), sigma_px)
    cosine, sine = _direction(angle_degrees)
    along, across = x * cosine - y * sine, x * sine + y * cosine  # (N, k, k); y points down
    least = 1e-3  # pixels: as sharp as 0, and can be divided by
    exponent = (along / longer.clamp(min=least)[:, None, None]).square()
    exponent = exponent + (across / sigma_px.clamp(min=least)[:, None, None]).square()
    inside = torch.maximum(x.abs(), y.abs()) <= reach[:, None, None]
    kernels = torch.exp(-exponent / 2) * inside
    return kernels / kernels.sum((1, 2), keepdim=True)


def motion_kernels(length_px: Tensor, angle_degrees: Tensor) -> Tensor:
    """A point that moves on a straight line at constant speed, each of its places spread over the nearest 4 pixels.

    Args:
        length_px: (N,) of the line; 0 leaves a picture sharp.
        angle_degrees: (N,).
    """
    x, y = _grid(math.ceil(float(length_px.max()) / 2), length_px)
    time = (torch.arange(_POINTS, device=length_px.device, dtype=length_px.dtype) + 0.5) / _POINTS - 0.5
    cosine, sine = (v[:, 0] for v in _direction(angle_degrees))  # (N, 1)
    path = length_px[:, None] * time  # (N, points)
    near_x = (1 - (x - (path * cosine)[:, :, None]).abs()).clamp_(min=0)  # (N, points, k)
    near_y = (1 - (y[..., 0] + (path * sine)[:, :, None]).abs()).clamp_(min=0)
    return torch.einsum("npy,npx->nyx", near_y, near_x) / _POINTS


def _grid(radius: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """x (1, 1, k) and y (1, k, 1) of a kernel's pixels, from its centre."""
    places = torch.arange(-radius, radius + 1, device=like.device, dtype=like.dtype)
    return places[None, None, :], places[None, :, None]


def _direction(angle_degrees: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine, (N, 1, 1)."""
    angle = torch.deg2rad(angle_degrees)[:, None, None]
    return angle.cos(), angle.sin()
