"""What the restoration benchmark runs: our models, the networks of others, and classics; all as functions of a `Case`.

The networks of others run as they were published, in fp32. Ours run as they ship, in the precision that the
processor is good at. Classics that are not installed are left out.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from denoisers import DNCNN, load_dncnn, load_ffdnet
from pentimento.runtime import autocast
from pentimento.tasks.ensemble import in_all_positions
from restoration_protocol import Case, Method

__all__ = [
    "BIHARMONIC",
    "BLIND_PEER",
    "BM3D",
    "CV_MEANS",
    "FFDNET",
    "MEANS",
    "TELEA",
    "VARIATION",
    "Precision",
    "Timed",
    "biharmonic",
    "bm3d",
    "computing",
    "cv_means",
    "dncnn",
    "ffdnet",
    "given",
    "installed",
    "means",
    "ours",
    "telea",
    "unchanged",
    "variation",
]

FFDNET, BM3D, BLIND_PEER = "FFDNet", "BM3D", "blind colour DnCNN"
BIHARMONIC, TELEA = "scikit-image, biharmonic", "OpenCV, Telea"
MEANS, VARIATION, CV_MEANS = "scikit-image, non-local means", "scikit-image, total variation", "OpenCV, non-local means"
PACKAGES = {BM3D: "bm3d", BIHARMONIC: "skimage", TELEA: "cv2", MEANS: "skimage", VARIATION: "skimage", CV_MEANS: "cv2"}
TELEA_RADIUS_PX = 5
# In sigma of the noise: the best of a few for the very pictures that are measured.
MEANS_STRENGTH, VARIATION_WEIGHT, CV_STRENGTH_COLOUR, CV_STRENGTH_GRAY = 0.6, 0.8, 0.6, 1.0

Precision = Literal["auto", "fp32", "bf16"]


def given(images: Tensor) -> Tensor:
    """In the layout that convolutions of ours are fast in."""
    return images.contiguous(memory_format=torch.channels_last)


def computing(precision: Precision) -> torch.autocast:
    """The context in which ours run."""
    return autocast(torch.device("cpu"), precision)


def ours(model: Any, precision: Precision, told: bool = True, ensemble: bool = False) -> Method:
    """A model that `Restores`.

    Args:
        model: ours.
        precision: to compute in.
        told: whether it is told how strong the damage is, if it can be.
        ensemble: whether the mean over eight positions of the picture is made.
    """
    model.to(memory_format=torch.channels_last)

    def run(case: Case) -> Tensor:
        def repair(images: Tensor, masks: Tensor | None) -> Tensor:
            repaired: Tensor = model.restore(images, masks, strength(model, case) if told else None)
            return repaired

        with computing(precision):
            if ensemble:
                return in_all_positions(repair, given(case.damaged), case.mask, model.reach.multiple_px)
            return repair(given(case.damaged), case.mask)

    return run


def strength(model: Any, case: Case) -> Tensor | None:
    """`Restores.restore`'s, of the level of the case."""
    if model.told == "nothing":
        return None
    value = case.level / 255 if model.told == "noise" else (100 - case.level) / 100
    return torch.full((1, 1, 1, 1), value)


# ---------------------------------------------------------------------------------------- networks of others
def ffdnet(channels: int) -> dict[str, Method]:
    """It is told the noise."""
    network = load_ffdnet(channels)
    return {FFDNET: lambda case: network(case.damaged, case.level)}


def dncnn(file: str) -> dict[str, Method]:
    """One of `denoisers.DNCNN`; it is told nothing."""
    network = load_dncnn(file)
    return {DNCNN[file]: lambda case: network(case.damaged)}


# -------------------------------------------------------------------------------------------------- classics
def unchanged(case: Case) -> Tensor:
    """What is damaged, as it is."""
    return case.damaged


def installed(methods: Mapping[str, Method]) -> dict[str, Method]:
    """Those whose package is there; says which are left out."""
    found = {}
    for name, method in methods.items():
        if importlib.util.find_spec(PACKAGES[name]) is None:
            print(f"{name} is left out: {PACKAGES[name]} is not installed", file=sys.stderr)
        else:
            found[name] = method
    return found


def bm3d(case: Case) -> Tensor:
    """BM3D and colour BM3D as PyPI has them, told the noise, in their usual profile."""
    from bm3d import bm3d as gray
    from bm3d import bm3d_rgb

    pixels = case.damaged[0].permute(1, 2, 0).double().numpy()
    cleaned = (bm3d_rgb if pixels.shape[2] == 3 else gray)(pixels, case.level / 255)
    return _from_array(cleaned.reshape(pixels.shape))


def means(case: Case) -> Tensor:
    """scikit-image's `denoise_nl_means`, told the noise."""
    from skimage.restoration import denoise_nl_means

    pixels, sigma = case.damaged[0].permute(1, 2, 0).double().numpy(), case.level / 255
    strength = {"h": MEANS_STRENGTH * sigma, "sigma": sigma}
    cleaned = denoise_nl_means(pixels, 5, 6, **strength, fast_mode=True, channel_axis=-1)
    return _from_array(cleaned.reshape(pixels.shape))


def variation(case: Case) -> Tensor:
    """scikit-image's `denoise_tv_chambolle`."""
    from skimage.restoration import denoise_tv_chambolle

    pixels = case.damaged[0].permute(1, 2, 0).double().numpy()
    return _from_array(denoise_tv_chambolle(pixels, VARIATION_WEIGHT * case.level / 255, channel_axis=-1))


def cv_means(case: Case) -> Tensor:
    """OpenCV's `fastNlMeansDenoising`, which works on 8 bits; of colours its form in Lab."""
    import cv2

    pixels = (case.damaged[0].clamp(0, 1).permute(1, 2, 0) * 255).round().byte().numpy()
    if pixels.shape[2] == 3:
        h = CV_STRENGTH_COLOUR * case.level
        cleaned: Any = cv2.fastNlMeansDenoisingColored(pixels, None, h, h)
    else:
        cleaned = cv2.fastNlMeansDenoising(pixels[..., 0], None, CV_STRENGTH_GRAY * case.level)
    return _from_array(cleaned.reshape(pixels.shape) / 255)


def biharmonic(case: Case) -> Tensor:
    """scikit-image's `inpaint_biharmonic`, channel by channel."""
    from skimage.restoration import inpaint_biharmonic

    pixels, holes = case.damaged[0].permute(1, 2, 0).double().numpy(), _holes(case)
    return _from_array(inpaint_biharmonic(pixels, holes > 0, channel_axis=-1))


def telea(case: Case) -> Tensor:
    """OpenCV's `inpaint` after Telea 2004, which works on 8 bits."""
    import cv2

    pixels = (case.damaged[0].permute(1, 2, 0) * 255).round().byte().numpy()
    filled: Any = cv2.inpaint(pixels, _holes(case), TELEA_RADIUS_PX, cv2.INPAINT_TELEA)
    return _from_array(filled / 255)


def _holes(case: Case) -> np.ndarray[Any, np.dtype[np.uint8]]:
    assert case.mask is not None
    return case.mask[0, 0].byte().numpy()


def _from_array(pixels: Any) -> Tensor:
    """(H, W, C) -> (1, C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float()[None]


class Timed:
    """A method, and the seconds that each call of it took."""

    def __init__(self, method: Callable[[Case], Tensor]) -> None:
        self.method = method
        self.seconds = list[float]()

    def __call__(self, case: Case) -> Tensor:
        begun = time.perf_counter()
        made = self.method(case)
        self.seconds.append(time.perf_counter() - begun)
        return made
