"""What training minimises, as pure functions: adversarial, likelihood, penalties, differences, style.

Legend: real_logits, fake_logits -> D(x), D(G(z)), each (N,); mean, logvar -> mu, log sigma^2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

__all__ = [
    "L1",
    "AdversarialLoss",
    "PictureLosses",
    "alignment",
    "bernoulli_log_prob",
    "charbonnier",
    "discriminator_loss",
    "gaussian_log_prob",
    "generator_loss",
    "gradient_penalty",
    "grain_distance",
    "gram",
    "kl_standard_normal",
    "log_squared_distance",
    "logistic_log_mass",
    "logistic_log_prob",
    "mean_and_deviation",
    "perceptual_distance",
    "relative_distance",
    "total_variation",
    "zero_centred_penalty",
]

AdversarialLoss = Literal["nonsaturating", "hinge", "least_squares", "wasserstein", "relativistic"]


# ------------------------------------------------------------------------------------------- adversarial
def discriminator_loss(kind: AdversarialLoss, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """What the discriminator minimises; a scalar.

    - nonsaturating (Goodfellow et al. 2014): ``softplus(-D(x)) + softplus(D(G(z)))``
    - hinge (Lim and Ye 2017; Miyato et al. 2018): ``max(0, 1 - D(x)) + max(0, 1 + D(G(z)))``
    - least squares (Mao et al. 2017, eq. 9, without the halves): ``(D(x) - 1)^2 + D(G(z))^2``
    - wasserstein (Arjovsky et al. 2017): ``D(G(z)) - D(x)``
    - relativistic pairing (Jolicoeur-Martineau 2019; Huang et al. 2024, eq. 2): ``softplus(-(D(x) - D(G(z))))``
    """
    if kind == "nonsaturating":
        return (F.softplus(-real_logits) + F.softplus(fake_logits)).mean()
    if kind == "hinge":
        return (F.relu(1 - real_logits) + F.relu(1 + fake_logits)).mean()
    if kind == "least_squares":
        return ((real_logits - 1).square() + fake_logits.square()).mean()
    if kind == "wasserstein":
        return (fake_logits - real_logits).mean()
    return F.softplus(-(real_logits - fake_logits)).mean()


def generator_loss(kind: AdversarialLoss, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
    """What the generator minimises; a scalar. Only the relativistic loss looks at `real_logits`."""
    if kind == "nonsaturating":
        return F.softplus(-fake_logits).mean()
    if kind in ("hinge", "wasserstein"):
        return -fake_logits.mean()
    if kind == "least_squares":
        return (fake_logits - 1).square().mean()
    assert real_logits is not None
    return F.softplus(-(fake_logits - real_logits)).mean()


def zero_centred_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """``1/2 E ||grad_x D(x)||^2``: R1 on real images, R2 on fake ones (Mescheder et al. 2018, eq. 9).

    Args:
        logits: (N,), computed from `images`.
        images: (N, C, H, W), requiring a gradient.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return 0.5 * gradient.square().flatten(1).sum(1).mean()


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """``E (||grad_x D(x)||_2 - 1)^2`` at ``x = mix real + (1 - mix) fake`` (Gulrajani et al. 2017, eq. 3).

    Args:
        critic: (N, C, H, W) -> (N,).
        real: (N, C, H, W).
        fake: (N, C, H, W).
        mix: (N,) in [0, 1].
    """
    mix = mix[:, None, None, None]
    points = (mix * real + (1 - mix) * fake).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    lengths: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return (lengths - 1).square().mean()


# ------------------------------------------------------------------------------------------- likelihoods
def bernoulli_log_prob(logits: Tensor, x: Tensor) -> Tensor:
    """log p(x) in nats per sample, (N,), of binary `x` (N, C, H, W) under ``sigmoid(logits)``."""
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


def gaussian_log_prob(mean: Tensor, log_scale: Tensor, x: Tensor) -> Tensor:
    """log p(x) in nats per sample, (N,): a density, so it may be positive. `log_scale` broadcasts against `x`."""
    z = (x - mean) * torch.exp(-log_scale)
    return -(0.5 * z.square() + log_scale + 0.5 * math.log(2 * math.pi)).flatten(1).sum(1)


def logistic_log_mass(mean: Tensor, log_scale: Tensor, x: Tensor) -> Tensor:
    """log P(x) in nats per value of 8-bit values under a discretised logistic.

    The mass of the bin of width 1/255 around each value, the outermost bins reaching to infinity (Salimans et al.
    2017, section 2.1).

    Args:
        mean: in the units of `x`; all three broadcast.
        log_scale: likewise.
        x: in [0, 1], multiples of 1/255.
    """
    half, inverse = 0.5 / 255, torch.exp(-log_scale)
    upper, lower = inverse * (x - mean + half), inverse * (x - mean - half)
    # log(sigmoid(b) - sigmoid(a)) = log sigmoid(b) + log sigmoid(-a) + log(1 - exp(a - b)), which never cancels.
    inside = F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(lower - upper))
    return torch.where(x < half, F.logsigmoid(upper), torch.where(x > 1 - half, F.logsigmoid(-lower), inside))


def logistic_log_prob(mean: Tensor, log_scale: Tensor, x: Tensor) -> Tensor:
    """`logistic_log_mass` summed over (C, H, W): nats per sample, (N,)."""
    return logistic_log_mass(mean, log_scale, x).flatten(1).sum(1)


def kl_standard_normal(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp(logvar)) || N(0, 1)) in nats per sample, (N,) (Kingma and Welling 2014, appendix B)."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(1)


def alignment(x: Tensor, y: Tensor) -> Tensor:
    """How far two things depend on each other over N samples: 0 they do not, 1 they tell the same, a scalar.

    Centred kernel alignment, ``HSIC(x, y) / sqrt(HSIC(x, x) HSIC(y, y))`` (Gretton et al. 2005; Kornblith et al. 2019),
    with Gaussian kernels of a width of the mean distance, so that no form of dependence is hidden from it. Of few
    samples it is above 0 in any case.

    Args:
        x: (N, D).
        y: (N, E).
    """

    def kernel(values: Tensor) -> Tensor:
        """(N, N), centred."""
        values = (values - values.mean(0)) / (values.var(0, correction=0) + 1e-6).sqrt()
        squared = (values[:, None] - values).square().sum(2)
        k = torch.exp(-squared / squared.detach().mean().clamp(min=1e-6))
        return k - k.mean(0) - k.mean(1, keepdim=True) + k.mean()

    k, m = kernel(x.float()), kernel(y.float())
    aligned: Tensor = (k * m).sum() / (k.norm() * m.norm()).clamp(min=1e-12)
    return aligned


# ------------------------------------------------------------------------------------- picture by picture
Weight = Annotated[float, Field(ge=0)]


class PictureLosses(BaseModel):
    """Weights of the losses between a picture that a network made and the one that it should have made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    l1: Weight = 0.0
    l2: Weight = 0.0
    charbonnier: Weight = 0.0
    psnr: Weight = 0.0  # see `log_squared_distance`
    perceptual: Weight = 0.0  # see `perceptual_distance`
    adversarial: Weight = 0.0  # of a discriminator of patches


L1 = PictureLosses(l1=1.0)


def charbonnier(difference: Tensor, scale: float = 1e-3) -> Tensor:
    """``sqrt(d^2 + scale^2)``: L1 that is smooth where it is small (Charbonnier et al. 1994; Lai et al. 2017)."""
    return (difference.square() + scale**2).sqrt()


def log_squared_distance(squares: Tensor, floor: float = 1e-5) -> Tensor:
    """``log(1 + m / floor)``, (N,), of squared differences (N, C, H, W) with the means m of each picture.

    Down by as much for every dB of PSNR, however clean the picture is already, where the mean of the squares lets the
    worst picture decide (Chen et al. 2021, HINet, section 3.3); but for those above 50 dB, `floor`, less and less.
    """
    return torch.log1p(squares.flatten(1).mean(1) / floor)


# ------------------------------------------------------------------------------------------- perceptual
def perceptual_distance(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Tensor:
    """How different two batches of images look, (N,), by feature maps of theirs; 0 for the same maps.

    Each map's vectors are brought to length 1 at every position, and the squared distances are averaged over
    positions and layers: LPIPS without learned weights (Zhang et al. 2018, eq. 1, w = 1).

    Args:
        first: (N, C_l, H_l, W_l) by layer, of one batch.
        second: the same layers and shapes, of the other.
    """
    layers = []
    for name in first:
        a, b = (F.normalize(maps[name], dim=1, eps=1e-6) for maps in (first, second))
        layers.append((a - b).square().sum(1).mean((1, 2)))
    return torch.stack(layers).mean(0)


# ------------------------------------------------------------------------------------------------- style
def gram(maps: Tensor, weights: Tensor | None = None) -> Tensor:
    """How the channels of feature maps go together, wherever they do: ``F F^T / n`` (Gatys et al. 2016, eq. 3).

    Args:
        maps: (N, C, H, W).
        weights: (N, 1, H, W), how much each position counts; None: all alike.

    Returns:
        (N, C, C), the mean over positions, so that pictures of different size compare; of the type of the maps, also
        under autocast: a Gram matrix squares what its maps are off by.
    """
    rows = maps.permute(0, 2, 3, 1).flatten(1, 2)  # a view, whatever the memory format
    with torch.autocast(maps.device.type, enabled=False):
        if weights is None:
            found: Tensor = _Gram.apply(rows) / rows.shape[1]  # type: ignore[no-untyped-call]
            return found
        share = weights.flatten(2).mT.to(rows.dtype)
        return (rows * share).mT @ rows / share.sum(1, keepdim=True)


class _Gram(torch.autograd.Function):
    """``R^T R`` of (N, n, C) rows, whose gradient is one product, in the memory format of the rows.

    autograd makes two of it, one in another format, and what then adds to them goes through memory in strides: that
    cost more than the product.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        products: Tensor = rows.mT @ rows
        return products

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        rows: Tensor = ctx.saved_tensors[0]
        both = slope + slope.mT
        return (both @ rows.mT).mT if rows.stride(1) == 1 else rows @ both


def relative_distance(made: Tensor, wanted: Tensor) -> Tensor:
    """``||made - wanted||^2 / ||wanted||^2``, (N,), of two (N, ...): 1 where nothing is reached, or nothing is left.

    Of what is 0, or nearly, it is the squared distance in units of 1e-8.
    """
    length = wanted.square().flatten(1).sum(1).clamp(min=1e-8)
    return (made - wanted).square().flatten(1).sum(1) / length


def grain_distance(made: Tensor, wanted: Tensor) -> Tensor:
    """How far palette and grain are apart, (N,), of two (N, C, H, W) pictures of 2x2 pixels or more: from 0 to 1.

    The mean of ``||A - B||^2 / (||A||^2 + ||B||^2)`` over the four bands of the Haar transform at every position, A
    and B the Gram matrices of a band's colours: the coarse band is the palette, the others are grain. Networks that
    recognise things hardly see the finest grain, and a picture made to please one of them has too much of it.
    """
    bands = zip(_haar_bands(made), _haar_bands(wanted), strict=True)
    grams = [(gram(a).flatten(1), gram(b).flatten(1)) for a, b in bands]
    apart = [(a - b).square().sum(1) / (a.square() + b.square()).sum(1).clamp(min=1e-12) for a, b in grams]
    return torch.stack(apart).mean(0)


def _haar_bands(x: Tensor) -> list[Tensor]:
    """Halved sums and differences of neighbours, down and across: four of (N, C, H - 1, W - 1)."""
    bands = [x]
    for dim in (2, 3):
        halves = [(b.narrow(dim, 1, b.shape[dim] - 1), b.diff(dim=dim) / 2) for b in bands]
        bands = [band for after, half in halves for band in (after - half, half)]
    return bands


def mean_and_deviation(maps: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    """mu and sigma of each channel over positions, each (N, C, 1, 1) (Huang and Belongie 2017, eq. 5 and 6)."""
    mean = maps.mean((2, 3), keepdim=True)
    variance = (maps - mean).square().mean((2, 3), keepdim=True)  # torch.var_mean was measured 14 times as slow
    return mean, (variance + eps).sqrt()


def total_variation(images: Tensor) -> Tensor:
    """The mean absolute difference of pixels side by side, down and across; a scalar (Rudin et al. 1992, anisotropic).

    0 along a side of one pixel.
    """
    down, across = images.diff(dim=2), images.diff(dim=3)
    return torch.stack([d.abs().sum() / max(1, d.numel()) for d in (down, across)]).sum()
