"""Two pictures side by side: PSNR, SSIM and MS-SSIM of a picture and its target, and the diversity of samples.

    x, y -> picture and target, values in [0, 1]      MSE -> mean of (x - y)^2 over all values of a picture

Colour pictures are measured in RGB, all channels alike; for figures on luma alone convert the pictures first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from pentimento.errors import EvaluationError
from pentimento.evaluate.intervals import Estimate, mean_estimate
from pentimento.runtime import derive_seed

__all__ = ["MAX_PSNR_DB", "Fidelity", "diversity", "fidelity", "ms_ssim", "ms_ssim_scales", "psnr", "ssim"]

MAX_PSNR_DB = 100.0
BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, finest first (Wang et al. 2003)
LEAST_SIDES = (11, 22, 44, 99, 176)  # px that 1 to 5 scales take: what torchmetrics allows with a window of 11
CHUNK = 2**21  # values of pictures compared at a time


@dataclass(frozen=True)
class Fidelity:
    """How faithful pictures are to their targets; means over the pictures.

    Args:
        psnr_db: in dB, at most 100 each.
        ssim: at most 1.
        ms_ssim: in [0, 1].
        identical: share of pictures that equal their target in every value.
    """

    psnr_db: Estimate
    ssim: Estimate
    ms_ssim: Estimate
    identical: float


def fidelity(pairs: Iterable[tuple[Tensor, Tensor]], seed: int) -> Fidelity:
    """All measures of pairs of batches; the batches may differ in size from one another.

    Args:
        pairs: of pictures and targets, each (N, C, H, W) in [0, 1].
        seed: of the groups of the intervals.

    Raises:
        EvaluationError: a picture and its target differ in size or channels, a picture smaller than 3 px or not
            finite, or fewer than two pictures in all.
    """
    rows = []
    for pictures, targets in pairs:
        same = (pictures == targets).flatten(1).all(1) if pictures.shape == targets.shape else torch.zeros(0)
        columns = (psnr(pictures, targets), ssim(pictures, targets), ms_ssim(pictures, targets), same.cpu())
        rows.append(torch.stack([column.double() for column in columns]))
    values = torch.cat(rows, 1) if rows else torch.zeros(4, 0)
    if values.shape[1] < 2:
        raise EvaluationError(f"pairs: at least two pictures are needed for an interval, got {values.shape[1]}")
    psnr_db, ssims, ms_ssims = (mean_estimate(row, seed) for row in values[:3])
    return Fidelity(psnr_db, ssims, ms_ssims, float(values[3].mean()))


# -------------------------------------------------------------------------------------------- one by one
def psnr(pictures: Tensor, targets: Tensor) -> Tensor:
    """``-10 log10 MSE`` in dB of each picture, (N,), on the CPU.

    At most 100 dB, so that a mean exists where a picture equals its target. Two 8-bit pictures of up to 150,000 values
    reach that only if they are equal; `Fidelity.identical` tells how many are.

    Raises:
        EvaluationError: see `fidelity`.
    """
    _check(pictures, targets)
    pairs = zip(pictures.cpu(), targets.cpu(), strict=True)
    error = torch.stack([(x.double() - y.double()).square().mean() for x, y in pairs])
    return -10 * error.clamp(min=10 ** (-MAX_PSNR_DB / 10)).log10()


def ssim(pictures: Tensor, targets: Tensor) -> Tensor:
    """The structural similarity of each picture, (N,), on the CPU (Wang et al. 2004).

    A Gaussian window of 11 px, sigma 1.5, on each channel. The mean is over the places where the window lies within
    the picture, as in the paper and in scikit-image; torchmetrics, which computes it, also averages over the borders,
    where it mirrors the picture. A picture with a side below 11 px gets the largest window that fits, with sigma
    less in proportion.

    Raises:
        EvaluationError: see `fidelity`.
    """
    _check(pictures, targets)
    from torchmetrics.functional.image import structural_similarity_index_measure

    reach = _reach(pictures)

    def measure(x: Tensor, y: Tensor) -> Tensor:
        whole = structural_similarity_index_measure(
            x, y, sigma=0.3 * reach, data_range=1.0, reduction="none", return_full_image=True
        )[1]
        return whole[..., reach:-reach, reach:-reach].flatten(1).mean(1)

    return _in_chunks(measure, pictures, targets)


def ms_ssim(pictures: Tensor, targets: Tensor) -> Tensor:
    """The multi-scale structural similarity of each picture, (N,), on the CPU (Wang et al. 2003), by torchmetrics.

    Five scales take a shorter side of 176 px. Smaller pictures get as many as fit, `ms_ssim_scales`, the finest ones,
    with their exponents scaled to sum to 1; figures with different numbers of scales do not compare. Negative
    similarities at a scale count as 0.

    Raises:
        EvaluationError: see `fidelity`.
    """
    _check(pictures, targets)
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    reach = _reach(pictures)
    betas = BETAS[: ms_ssim_scales(*pictures.shape[2:])]
    weights = tuple(beta / sum(betas) for beta in betas) if len(betas) < len(BETAS) else BETAS

    def measure(x: Tensor, y: Tensor) -> Tensor:
        return multiscale_structural_similarity_index_measure(
            x,
            y,
            sigma=0.3 * reach,
            kernel_size=2 * reach + 1,
            data_range=1.0,
            betas=weights,
            normalize="relu",
            reduction="none",
        )

    return _in_chunks(measure, pictures, targets)


def ms_ssim_scales(height_px: int, width_px: int) -> int:
    """How many scales `ms_ssim` has for pictures of this size: 1 to 5.

    >>> ms_ssim_scales(28, 28), ms_ssim_scales(128, 192), ms_ssim_scales(480, 320)
    (2, 4, 5)
    """
    return max(1, sum(min(height_px, width_px) >= side for side in LEAST_SIDES))


def _reach(pictures: Tensor) -> int:
    """Pixels from the middle of the window to its edge."""
    return min(5, (min(pictures.shape[2:]) - 1) // 2)


def _in_chunks(measure: Callable[[Tensor, Tensor], Tensor], pictures: Tensor, targets: Tensor) -> Tensor:
    """`measure` over the pictures, a bounded number of values at a time, in float32.

    Rounding costs up to 1e-4 of SSIM where a picture is flat, and far less elsewhere; float64 convolutions were
    measured 20 times slower on a CPU.
    """
    step = max(1, CHUNK // pictures[0].numel())
    parts = zip(torch.split(pictures.float(), step), torch.split(targets.float(), step), strict=True)
    return torch.cat([measure(x, y).reshape(-1).cpu() for x, y in parts])


def _check(pictures: Tensor, targets: Tensor) -> None:
    if pictures.ndim != 4 or targets.ndim != 4 or not len(pictures):
        raise EvaluationError(
            f"pictures, targets: (N, C, H, W), N >= 1 expected, got {tuple(pictures.shape)} and {tuple(targets.shape)}"
        )
    if pictures.shape != targets.shape:
        raise EvaluationError(
            "pictures, targets: the same number, channels and size expected, "
            f"got {tuple(pictures.shape)} and {tuple(targets.shape)}"
        )
    if min(pictures.shape[2:]) < 3:
        raise EvaluationError(f"pictures: sides of at least 3 px expected, got {tuple(pictures.shape)}")
    if not bool(torch.isfinite(pictures).all() & torch.isfinite(targets).all()):
        raise EvaluationError("pictures, targets: finite values expected, got NaN or infinity")


# --------------------------------------------------------------------------------------------- diversity
def diversity(images: Tensor, labels: Tensor | None, pairs: int, seed: int) -> Estimate:
    """The mean MS-SSIM of random pairs of images; lower is more diverse (Odena et al. 2017, section 4.3).

    With labels, pairs are within a class: a model whose classes each collapse to one picture has a high mean. Read it
    beside the same figure of real pictures, for it depends on what they show and on their size. No image is in two
    pairs, so that pairs are independent.

    Args:
        images: (N, C, H, W) in [0, 1].
        labels: (N,) int64, or None.
        pairs: how many.
        seed: of the pairs and of the groups of the interval.

    Raises:
        EvaluationError: labels for other images, or fewer images than the pairs take.
    """
    if labels is not None and labels.shape != images.shape[:1]:
        raise EvaluationError(f"labels: one for each of {len(images)} images expected, got {tuple(labels.shape)}")
    chosen = _disjoint_pairs(torch.zeros(len(images)) if labels is None else labels.cpu(), seed)
    if not 2 <= pairs <= len(chosen):
        within = "" if labels is None else " within their classes"
        raise EvaluationError(f"pairs: 2 to {len(chosen)} expected, as {len(images)} images make{within}, got {pairs}")
    first, second = chosen[:pairs].to(images.device).unbind(1)
    return mean_estimate(ms_ssim(images[first], images[second]), seed)


def _disjoint_pairs(labels: Tensor, seed: int) -> Tensor:
    """All pairs that can be had with each image in one at most, in random order: (P, 2) int64."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "pairs"))
    order = torch.randperm(len(labels), generator=generator)
    pairs = []
    for label in torch.unique(labels):
        members = order[labels[order] == label]
        pairs.append(members[: len(members) // 2 * 2].view(-1, 2))
    joined = torch.cat(pairs) if pairs else torch.zeros(0, 2, dtype=torch.int64)
    return joined[torch.randperm(len(joined), generator=generator)]
