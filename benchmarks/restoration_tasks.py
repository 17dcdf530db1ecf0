"""Parts of the restoration benchmark that ask how near a repaired picture comes to the clean one.

Each takes our model, or None to measure the others alone, and gives figures. Published numbers are those of the
papers: DnCNN (Zhang et al. 2017), FFDNet (Zhang et al. 2018), DRUNet (Zhang et al. 2021), SRCNN as MMagic has it.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pentimento.data.degrade.resample import downscale
from reporting import Figure
from restoration_methods import (
    BIHARMONIC,
    BLIND_PEER,
    BM3D,
    CV_MEANS,
    FFDNET,
    MEANS,
    TELEA,
    VARIATION,
    Timed,
    biharmonic,
    bm3d,
    cv_means,
    dncnn,
    ffdnet,
    installed,
    means,
    ours,
    telea,
    unchanged,
    variation,
)
from restoration_protocol import (
    OURS,
    Case,
    Measure,
    Method,
    Scores,
    compared,
    gain,
    jpeg,
    mean,
    noisy,
    photographed_noise,
    photographs,
    psnr,
    psnr_in_holes,
    psnr_inside,
    score,
    strokes,
)
from style_networks import SqueezeNet, load_squeezenet

__all__ = ["denoise", "enlarge", "gray", "inpaint", "jpeg_artefacts", "noise_cases", "real"]

BLIND = "Pentimento, blind"
ENSEMBLE = "Pentimento, --ensemble"
INPUT = "as it is"
SIGMAS = (15, 25, 50)
AIMS = {
    "CBSD68": dict(zip(SIGMAS, (34.0, 31.4, 28.15), strict=True)),
    "Kodak24": dict(zip(SIGMAS, (34.8, 32.4, 29.2), strict=True)),
    "Set12": {25: 30.6},
    "BSD68": {25: 29.3},
}
PUBLISHED = {
    "CBSD68": {
        15: "FFDNet 33.87, DRUNet (32 M parameters) 34.30",
        25: "FFDNet 31.21, DRUNet (32 M parameters) 31.69",
        50: "FFDNet 27.96, DRUNet (32 M parameters) 28.51",
    },
    "Kodak24": {
        15: "FFDNet 34.63, DRUNet (32 M parameters) 35.31",
        25: "FFDNet 32.13, DRUNet (32 M parameters) 32.89",
        50: "FFDNet 28.98, DRUNet (32 M parameters) 29.86",
    },
    "Set12": {25: "FFDNet 30.43"},
    "BSD68": {15: "DnCNN 31.73", 25: "DnCNN 29.23, FFDNet 29.19", 50: "DnCNN 26.23"},
}
CLASSIC_SIGMA, CLASSIC_PICTURES = 25, 4
QUALITIES = (10, 20, 30, 40)
AIMS_JPEG = {10: 0.15, 40: 0.15}  # dB above DnCNN-3
AIMS_ENLARGE = {(4, "Set5"): 29.5, (4, "Set14"): 26.3}
SRCNN = {(4, "Set5"): 28.43, (4, "Set14"): 25.65}
BICUBIC = "bicubic"
HOLE = 0.5
SEEN = ("conv1", "fire2", "fire4", "fire6", "fire8")
AIM_INPAINT, AIM_REAL = 2.0, 1.0  # dB above the peer


# --------------------------------------------------------------------------------------------------- noise
def denoise(model: Any, chosen: argparse.Namespace) -> list[Figure]:
    """Gaussian noise in colour."""
    peers = {**ffdnet(3), **dncnn("GD_Color_Blind.mat")} if chosen.peers == "all" else {}
    figures = []
    for name in ("CBSD68", "Kodak24"):
        figures += noise_figures(name, model, peers, BLIND_PEER, chosen)
    return figures + classic_figures("CBSD68", model, chosen)


def gray(model: Any, chosen: argparse.Namespace) -> list[Figure]:
    """Gaussian noise in gray."""
    peers = {**ffdnet(1), **dncnn("GD_Gray_Blind.mat")} if chosen.peers == "all" else {}
    trained_for_25 = dncnn("dncnn_25.pth") if chosen.peers == "all" else {}
    figures = []
    for name in ("Set12", "BSD68"):
        figures += noise_figures(name, model, peers, "blind gray DnCNN", chosen, {25: trained_for_25})
    return figures + classic_figures("Set12", model, chosen)


def noise_figures(
    name: str,
    model: Any,
    peers: dict[str, Method],
    blind_peer: str,
    chosen: argparse.Namespace,
    specialists: Mapping[int, dict[str, Method]] = MappingProxyType({}),
) -> list[Figure]:
    """Of one set: told the noise beside FFDNet, which is told it too; blind beside the blind network.

    Args:
        name: of the set.
        model: ours, or None.
        peers: that take any sigma.
        blind_peer: the one of them that is told nothing.
        chosen: options.
        specialists: sigma -> networks trained for it alone.
    """
    methods = {**told_and_blind(model, chosen), **peers}
    if model is not None:
        methods[ENSEMBLE] = ours(model, chosen.precision, ensemble=True)
    figures = []
    for sigma in SIGMAS:
        special = specialists.get(sigma, {})
        title, cases = f"{name}, sigma {sigma}", noise_cases(name, sigma, chosen)
        (found,) = score(title, cases, {**methods, **special})
        published = PUBLISHED[name].get(sigma)
        note = f"Published: {published}." if published else ""
        figures += compared(title, found, FFDNET, aim=AIMS[name].get(sigma), note=note)
        note = f"Being told the noise is worth {gain(found, OURS, BLIND)}." if OURS in found else ""
        figures += compared(f"{title}, blind", found, blind_peer, ours=BLIND, note=note)
        figures += ensemble_figures(f"{title}, --ensemble", found, FFDNET, AIMS[name].get(sigma))
        for peer in special:
            figures += compared(f"{title}, beside a network for this noise alone", found, peer)
    return figures


def told_and_blind(model: Any, chosen: argparse.Namespace) -> dict[str, Method]:
    """Our model told the noise, and blind; nothing without a model."""
    if model is None:
        return {}
    return {OURS: ours(model, chosen.precision), BLIND: ours(model, chosen.precision, told=False)}


def ensemble_figures(
    name: str, found: Scores, peer: str, aim: float | None = None, above: float | None = None, alone: str = OURS
) -> list[Figure]:
    """Eight positions of the picture beside a peer; and, in a note, what they are worth over one `alone`."""
    if ENSEMBLE not in found:
        return []
    note = f"Worth {gain(found, ENSEMBLE, alone)}, in eight times the work."
    return compared(name, found, peer, ours=ENSEMBLE, aim=aim, aim_above=above, note=note)


def noise_cases(name: str, sigma: float, chosen: argparse.Namespace, told: float | None = None) -> Iterator[Case]:
    """The pictures of a set with noise of `sigma`, of which `told` is said."""
    for index, clean in enumerate(photographs(name, chosen.count)):
        yield Case(clean, noisy(clean, index, sigma), sigma if told is None else told)


def classic_figures(name: str, model: Any, chosen: argparse.Namespace) -> list[Figure]:
    """The first few pictures of a set beside methods without networks, of which BM3D is slow."""
    classics: dict[str, Method] = {BM3D: bm3d, MEANS: means, VARIATION: variation, CV_MEANS: cv_means}
    peers = installed(classics) if chosen.peers == "all" else {}
    if not peers:
        return []
    own = {OURS: ours(model, chosen.precision)} if model is not None else {}
    methods = {name: Timed(method) for name, method in {**own, **peers}.items()}
    count = min(CLASSIC_PICTURES, chosen.count or CLASSIC_PICTURES)
    first = argparse.Namespace(**{**vars(chosen), "count": count})
    (found,) = score(f"{name}, classics", noise_cases(name, CLASSIC_SIGMA, first), methods)
    figures = []
    for peer in peers:
        times = [f"{each} {statistics.median(methods[each].seconds):.2g}" for each in (*own, peer)]
        title, note = f"{name}, sigma {CLASSIC_SIGMA}, its first {count} pictures", ", ".join(times)
        figures += compared(title, found, peer, note=f"Median seconds a picture: {note}.")
    return figures


def real(model: Any, chosen: argparse.Namespace) -> list[Figure]:
    """What cameras do to a photograph; nothing is told."""
    methods: dict[str, Method] = {INPUT: unchanged}
    if model is not None:
        methods[BLIND] = ours(model, chosen.precision, told=False)
        methods[ENSEMBLE] = ours(model, chosen.precision, told=False, ensemble=True)
    if chosen.peers == "all":
        methods |= dncnn("GD_Color_Blind.mat")
    (found,) = score("PolyU", photographed_noise(chosen.count), methods)
    note = f"The noisy pictures themselves: {mean(found[INPUT])[0]:.2f} dB."
    figures = compared("PolyU, blind", found, BLIND_PEER, ours=BLIND, aim_above=AIM_REAL, note=note)
    return figures + ensemble_figures("PolyU, blind, --ensemble", found, BLIND_PEER, above=AIM_REAL, alone=BLIND)


# ---------------------------------------------------------------------------------------------------- JPEG
def jpeg_artefacts(model: Any, chosen: argparse.Namespace) -> list[Figure]:
    """Gray pictures through JPEG; DnCNN-3 is told nothing, so ours is not either."""
    methods: dict[str, Method] = {INPUT: unchanged, **told_and_blind(model, chosen)}
    if model is not None:
        methods[ENSEMBLE] = ours(model, chosen.precision, told=False, ensemble=True)
    if chosen.peers == "all":
        methods |= dncnn("DnCNN3.mat")
    figures = []
    for quality in QUALITIES:
        clean = photographs("BSD68", chosen.count)
        cases = (Case(picture, jpeg(picture, quality), quality) for picture in clean)
        (found,) = score(f"BSD68, JPEG {quality}", cases, methods)
        note = f"The JPEG itself: {mean(found[INPUT])[0]:.2f} dB."
        if model is not None and model.told == "jpeg":
            note += f" Being told the quality is worth {gain(found, OURS, BLIND)}."
        above, title = AIMS_JPEG.get(quality), f"BSD68, quality {quality}"
        figures += compared(title, found, "DnCNN-3", ours=BLIND, aim_above=above, note=note)
        figures += ensemble_figures(f"{title}, --ensemble", found, "DnCNN-3", above=above, alone=BLIND)
    return figures


# ------------------------------------------------------------------------------------------------- enlarge
def enlarge(models: dict[int, Any], chosen: argparse.Namespace) -> list[Figure]:
    """Small pictures made large; `models` by the factor."""
    figures = []
    for scale in (2, 4):
        methods: dict[str, Method] = {BICUBIC: enlarged} if chosen.peers == "all" else {}
        model = models.get(scale)
        if model is not None:
            methods[OURS] = ours(model, chosen.precision, told=False)
            methods[ENSEMBLE] = ours(model, chosen.precision, told=False, ensemble=True)
        for name in ("Set5", "Set14"):
            label = f"{name}, x{scale}"
            measures = (psnr_inside(scale), psnr_inside(scale, luma=True), psnr)
            rgb, luma, whole = score(label, small_cases(name, scale, chosen), methods, measures)
            shown = [(n, mean(luma[n])[0], mean(whole[n])[0]) for n in methods]
            note = "; ".join(
                f"{n}: {y:.2f} dB of luma, {all_of_it:.2f} dB with its border" for n, y, all_of_it in shown
            )
            srcnn = SRCNN.get((scale, name))
            note += f". Published: SRCNN {srcnn}." if srcnn else "."
            aim = AIMS_ENLARGE.get((scale, name))
            figures += compared(label, rgb, BICUBIC, aim=aim, note=note)
            figures += ensemble_figures(f"{label}, --ensemble", rgb, BICUBIC, aim)
    return figures


def small_cases(name: str, scale: int, chosen: argparse.Namespace) -> Iterator[Case]:
    """Pictures cut to a multiple of `scale`, and their small versions, rounded to 8 bits."""
    for picture in photographs(name, chosen.count):
        height, width = (n - n % scale for n in picture.shape[2:])
        clean = picture[..., :height, :width]
        yield Case(clean, (downscale(clean, scale) * 255).round() / 255)


def enlarged(case: Case) -> Tensor:
    """By the same bicubic kernel, which torch has under the name of the antialiased one."""
    return F.interpolate(case.damaged, case.clean.shape[2:], mode="bicubic", antialias=True)


# ------------------------------------------------------------------------------------------------- inpaint
def inpaint(model: Any, chosen: argparse.Namespace) -> list[Figure]:
    """Free-form holes in photographs."""
    methods: dict[str, Method] = {}
    if chosen.peers == "all":
        methods |= {n: Timed(m) for n, m in installed({BIHARMONIC: biharmonic, TELEA: telea}).items()}
    if model is not None:
        methods[OURS] = Timed(keeping(ours(model, chosen.precision, told=False)))
        methods[ENSEMBLE] = Timed(keeping(ours(model, chosen.precision, told=False, ensemble=True)))
    measures = (psnr_in_holes, psnr, seen(load_squeezenet()))
    holes, whole, by_eye = score("Kodak24, holes", hole_cases(chosen), methods, measures)
    figures = []
    for peer in [each for each in (BIHARMONIC, TELEA) if each in methods] or [BIHARMONIC]:
        times = ", ".join(
            f"{name} {statistics.median(methods[name].seconds):.2g}" for name in (OURS, peer) if name in methods
        )
        note = f"Median seconds a picture: {times}."
        figures += compared("Kodak24, within the holes", holes, peer, aim_above=AIM_INPAINT, note=note)
        figures += compared("Kodak24, the whole picture", whole, peer)
        figures += ensemble_figures("Kodak24, within the holes, --ensemble", holes, peer, above=AIM_INPAINT)
        figures += [nearer_by_eye(by_eye, peer)] if {OURS, peer} <= by_eye.keys() else []
    return figures


def seen(network: SqueezeNet) -> Measure:
    """What a network that was trained for none of this sees of the repair, as LPIPS (Zhang et al. 2018) does.

    Features of length 1 at every place, their squared distance, mean over places and layers; without LPIPS's weights of
    channels, which were fitted to another SqueezeNet.
    """

    def measure(made: Tensor, case: Case) -> float:
        rounded = (made.clamp(0, 1) * 255).round() / 255
        both = zip(network.maps(rounded, SEEN).values(), network.maps(case.clean, SEEN).values(), strict=True)
        apart = [(F.normalize(a) - F.normalize(b)).square().sum(1).mean() for a, b in both]
        return float(torch.stack(apart).mean())

    return measure


def nearer_by_eye(found: Scores, peer: str) -> Figure:
    """Ours beside a peer; less is nearer."""
    (value, spread), (beside, peer_spread) = mean(found[OURS]), mean(found[peer])
    ratio = value / beside
    better = int((found[OURS] < found[peer]).sum())
    note = f"{ratio:.2f} times the peer; nearer on {better} of {len(found[OURS])} pictures."
    name = "Kodak24: distance that a network sees"
    return Figure(name, value, "", spread, "below the peer", ratio < 1, peer, beside, peer_spread, note)


def keeping(method: Method) -> Method:
    """With what is not missing left as it is: as the verb does, and as the classics do."""

    def run(case: Case) -> Tensor:
        assert case.mask is not None
        return torch.where(case.mask > 0.5, method(case), case.damaged)

    return run


def hole_cases(chosen: argparse.Namespace) -> Iterator[Case]:
    """Photographs with mid-gray strokes."""
    for index, clean in enumerate(photographs("Kodak24", chosen.count)):
        mask = strokes(*clean.shape[2:], index)
        yield Case(clean, torch.where(mask > 0.5, HOLE, clean), mask=mask)
