"""Keep the colours of a picture that takes the look of another: afterwards in lightness alone, or in the style before.

Both work in CIE Lab (D65), where one axis is lightness and the others are hue and saturation (Gatys et al. 2017,
section 5). Images are (1, 3, H, W), sRGB in [0, 1]; colours that leave sRGB's gamut are clipped to it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pentimento.errors import ImageError

__all__ = ["luminance_only", "match_colours"]

LEAST_VARIANCE = 1.0  # of a colour axis in Lab units squared: a style without colours is not blown up into noise


def luminance_only(content: Tensor, stylized: Tensor) -> Tensor:
    """The lightness of `stylized` and the hues of `content`: L of the one, a and b of the other.

    Raises:
        ImageError: pictures of different size.
    """
    from kornia.color import lab_to_rgb, rgb_to_lab

    if content.shape != stylized.shape:
        sizes = tuple(content.shape[2:]), tuple(stylized.shape[2:])
        raise ImageError(f"stylized: the size of the content, {sizes[0]}, expected, got {sizes[1]}")
    lab = torch.cat([rgb_to_lab(stylized)[:, :1], rgb_to_lab(content)[:, 1:]], 1)
    coloured: Tensor = lab_to_rgb(lab)
    return coloured


def match_colours(style: Tensor, content: Tensor) -> Tensor:
    """The style in the content's colours: moved in Lab so that mean and covariance over pixels become the content's.

    Of all linear maps that do so, the one that moves colours least (Pitié and Kokaram 2007, "The linear
    Monge-Kantorovitch linear colour mapping"): ``T = S^-1/2 (S^1/2 C S^1/2)^1/2 S^-1/2`` for covariances S and C.

    Args:
        style: (1, 3, h, w).
        content: (1, 3, H, W).

    Returns:
        (1, 3, h, w).
    """
    from kornia.color import lab_to_rgb, rgb_to_lab

    colours = rgb_to_lab(style).flatten(2)[0]  # (3, h w)
    mean, covariance = _moments(colours)
    wanted_mean, wanted = _moments(rgb_to_lab(content).flatten(2)[0])
    root, inverse = (_power(covariance, exponent, LEAST_VARIANCE) for exponent in (0.5, -0.5))
    turn = inverse @ _power(root @ wanted @ root, 0.5) @ inverse
    moved = turn.to(colours) @ (colours - mean) + wanted_mean
    coloured: Tensor = lab_to_rgb(moved.view_as(style))
    return coloured


def _moments(colours: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (3, 1), and covariance (3, 3) in float64 on the CPU, of (3, n)."""
    mean = colours.mean(1, keepdim=True)
    apart = colours - mean
    return mean, (apart @ apart.mT / colours.shape[1]).double().cpu()


def _power(matrix: Tensor, exponent: float, least: float = 0.0) -> Tensor:
    """Of a symmetric (3, 3); eigenvalues below `least` count as that."""
    values, vectors = torch.linalg.eigh(matrix)
    power: Tensor = (vectors * values.clamp(min=least) ** exponent) @ vectors.mT
    return power
