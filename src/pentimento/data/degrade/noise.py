"""Noise, unclipped unless asked.

sigma -> standard deviation in levels of 255      z -> standard normal
"""

from __future__ import annotations

import torch
from torch import Tensor

from pentimento.data.degrade.blur import blur, gaussian_kernels

__all__ = ["gaussian_noise", "grainy", "sensor_sigma"]


def gaussian_noise(images: Tensor, sigma: Tensor, z: Tensor, *, clip: bool = False) -> Tensor:
    """``x + sigma / 255 z``.

    Args:
        images: x, (N, C, H, W).
        sigma: (N, 1, 1, 1), or a map (N, 1 or C, H, W).
        z: (N, C, H, W).
        clip: to [0, 1], which makes the noise weaker near black and white and is what a file does. The denoising
            literature leaves it off (Zhang et al. 2017, DnCNN).
    """
    noisy = torch.addcmul(images, z, sigma / 255)
    return noisy.clamp_(0, 1) if clip else noisy


def grainy(z: Tensor, grain_px: Tensor, shared: Tensor, margin_px: int) -> Tensor:
    """Noise whose neighbours and colours go together, of variance 1 like z, (N, C, H, W).

    So is what film has, and what a camera's colours have when they were put together from a mosaic, or were resized.

    Args:
        z: (N, C + 1, H + 2 margin, W + 2 margin), white: of each channel, and last what all of them share.
        grain_px: (N,) standard deviation of the blur that the noise goes through; 0 leaves it sharp.
        shared: (N,) correlation of one channel with another, in [0, 1].
        margin_px: 3 times the largest `grain_px`, rounded up: beyond it the blur does not see, nor the mirror there,
            which would make the noise stronger.
    """
    part = shared[:, None, None, None]
    z = (1 - part).sqrt() * z[:, :-1] + part.sqrt() * z[:, -1:]
    kernels = gaussian_kernels(grain_px, torch.ones_like(grain_px), torch.zeros_like(grain_px))
    blurred = blur(z, kernels)[..., margin_px:-margin_px, margin_px:-margin_px]
    return blurred / kernels.square().sum((1, 2)).sqrt()[:, None, None, None]


def sensor_sigma(images: Tensor, gain: Tensor, read: Tensor) -> Tensor:
    """sigma of a camera's noise at every pixel, for `gaussian_noise`: ``sqrt(gain 255 x + read^2)``, (N, C, H, W).

    Foi et al. 2008, equation 3, with the Poisson distribution of the light replaced by the normal one of equal
    variance: the two cannot be told apart above about ten photons a pixel.

    Args:
        images: x in [0, 1]; what is below 0 counts as black.
        gain: (N,) levels of 255 that one photon makes.
        read: (N,) levels of 255, standard deviation of the noise of reading.
    """
    gain, read = gain[:, None, None, None], read[:, None, None, None]
    return (images.clamp(min=0) * (255 * gain) + read.square()).sqrt_()
