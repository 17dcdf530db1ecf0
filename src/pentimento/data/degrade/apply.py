"""Draws the parameters of a step and calls the function of its effect, for all kinds of steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pentimento.data.degrade import ageing, missing, steps
from pentimento.data.degrade.blur import blur, gaussian_kernels, motion_kernels
from pentimento.data.degrade.codec import jpeg
from pentimento.data.degrade.gray import is_gray, to_gray
from pentimento.data.degrade.noise import gaussian_noise, grainy, sensor_sigma
from pentimento.data.degrade.resample import downscale
from pentimento.data.degrade.stream import Effect, Stream

__all__ = ["apply"]


def apply(step: steps.Step, images: Tensor, own: Stream) -> Effect:
    """Do `step` to all of `images` (N, C, H, W)."""
    return _EFFECTS[step.kind](step, images, own)


def _gray(_: steps.Gray, images: Tensor, __: Stream) -> Effect:
    return Effect(to_gray(images), {})


def _gaussian_noise(step: steps.GaussianNoise, images: Tensor, own: Stream) -> Effect:
    sigma = own.uniform("sigma", step.sigma)[:, None, None, None]
    if step.varying:
        corners = own.uniform("map", step.sigma, (1, 4, 4))
        smooth = F.interpolate(corners, images.shape[2:], mode="bicubic", align_corners=True).clamp_(*step.sigma)
        varies = own.uniform("varying") < step.varying
        sigma = torch.where(varies[:, None, None, None], smooth, sigma)
    noisy, facts = _with_noise(step, images, sigma, own)
    return Effect(noisy, facts, strengths=(sigma / 255).expand(-1, -1, *images.shape[2:]))


def _sensor_noise(step: steps.SensorNoise, images: Tensor, own: Stream) -> Effect:
    gain, read = own.log_uniform("gain", step.gain), own.uniform("read", step.read)
    sigma = sensor_sigma(images, gain, read)
    noisy, facts = _with_noise(step, images, sigma, own)
    strengths = sigma.square().mean(1, keepdim=True).sqrt_() / 255
    return Effect(noisy, {"gain": gain, "read": read, **facts}, strengths=strengths)


def _with_noise(
    step: steps.GaussianNoise | steps.SensorNoise, images: Tensor, sigma: Tensor, own: Stream
) -> tuple[Tensor, dict[str, Tensor]]:
    """The pictures with noise of `sigma`, and what there is to say of it."""
    z, grain_px, shared = _white(own, images), *torch.zeros(2, len(own), device=own.device)
    rows = (own.uniform("grainy") < step.grainy).nonzero()[:, 0].tolist()
    if rows:
        some = own.of(rows)
        grain_px[rows] = some.log_uniform("grain", step.grain_px)
        shared[rows] = some.uniform("shared", step.grain_shared)
        margin_px = math.ceil(3 * step.grain_px[1])
        common = some.normal_field("common", (1, *(side + 2 * margin_px for side in images.shape[2:])))
        wide = torch.cat([_white(some, images[rows], margin_px), common], 1)
        z[rows] = grainy(wide, grain_px[rows], shared[rows], margin_px)
    noisy = gaussian_noise(images, sigma, z, clip=step.clip)
    facts = {"sigma": _rms(sigma), "grain_px": grain_px, "grain_shared": shared, "clipped": _said(step.clip, own)}
    return noisy, facts


def _white(own: Stream, images: Tensor, margin_px: int = 0) -> Tensor:
    """White noise (N, C, H, W), for a gray picture the same in all channels: it is one of one channel.

    With a margin it is wider by so much on each side, and other noise.
    """
    count, *sides = images.shape[1:]
    noise = own.normal_field("wide" if margin_px else "noise", (count, *(side + 2 * margin_px for side in sides)))
    if count > 1 and bool((gray := is_gray(images)).any()):
        noise[gray] = noise[gray, :1].expand(-1, count, -1, -1)
    return noise


def _rms(sigma: Tensor) -> Tensor:
    return sigma.square().mean((1, 2, 3)).sqrt()


def _said(value: bool, own: Stream) -> Tensor:
    return torch.full((len(own),), value, device=own.device)


def _jpeg(step: steps.Jpeg, images: Tensor, own: Stream) -> Effect:
    quality, subsampled = own.whole("quality", step.quality), own.uniform("subsampled") < step.subsampled
    strengths = ((100 - quality) / 100)[:, None, None, None].expand(-1, 1, *images.shape[2:])
    facts = {"quality": quality.float(), "subsampled": subsampled}
    return Effect(jpeg(images, quality, subsampled), facts, strengths=strengths)


def _gaussian_blur(step: steps.GaussianBlur, images: Tensor, own: Stream) -> Effect:
    sigma, elongation = own.log_uniform("sigma", step.sigma_px), own.log_uniform("elongation", step.elongation)
    angle = own.uniform("angle", (0, 180))
    facts = {"sigma_px": sigma, "elongation": elongation, "angle_degrees": angle}
    return Effect(blur(images, gaussian_kernels(sigma, elongation, angle)), facts)


def _motion_blur(step: steps.MotionBlur, images: Tensor, own: Stream) -> Effect:
    length, angle = own.uniform("length", step.length_px), own.uniform("angle", step.angle_degrees)
    return Effect(blur(images, motion_kernels(length, angle)), {"length_px": length, "angle_degrees": angle})


def _downscale(step: steps.Downscale, images: Tensor, own: Stream) -> Effect:
    return Effect(downscale(images, step.factor), {"factor": images.new_full((len(own),), step.factor)})


def _strokes(step: steps.Strokes, images: Tensor, own: Stream) -> Effect:
    coverage = own.uniform("coverage", step.coverage)
    masks = missing.random_strokes(own, step.width_px, coverage, step.coverage[1], *images.shape[2:])
    return _holes(images, masks.to(images.dtype), step.fill)


def _rectangles(step: steps.Rectangles, images: Tensor, own: Stream) -> Effect:
    most, size = step.count[1], images.shape[2:]
    there = torch.arange(most, device=own.device) < own.whole("count", step.count)[:, None]  # (N, K)
    sides = own.uniform("side", step.side, (2, most)) * images.new_tensor(size)[:, None]  # (N, 2, K)
    sides = sides.round().clamp(min=1) * there[:, None]
    begins = (own.uniform("place", shape=(2, most)) * (images.new_tensor(size)[:, None] + 1 - sides)).floor()
    masks = missing.rectangle_masks(begins[:, 0], begins[:, 1], sides[:, 0], sides[:, 1], size)
    return _holes(images, masks, step.fill)


def _text(step: steps.Text, images: Tensor, own: Stream) -> Effect:
    height, width = images.shape[2:]
    most = step.lines[1]
    counts, sizes = own.whole("count", step.lines).tolist(), own.whole("size", step.size_px).tolist()
    words = own.whole("words", (0, len(_WORDS) - 1), (max(most, 1), 3)).tolist()
    places = own.uniform("place", (-0.2, 1.0), (max(most, 1), 2)).tolist()
    masks = []
    for count, size_px, texts, corners in zip(counts, sizes, words, places, strict=True):
        lines = [
            (" ".join(_WORDS[i] for i in text), size_px, top * height, left * width)
            for text, (top, left) in zip(texts[:count], corners, strict=False)
        ]
        masks.append(missing.text_mask(lines, height, width))
    return _holes(images, torch.stack(masks).to(images.device, images.dtype), step.fill)


_WORDS = ("Lorem ipsum", "dolor sit", "amet,", "consectetur", "adipiscing", "elit, sed", "do eiusmod", "tempor 1234")


def _holes(images: Tensor, masks: Tensor, value: float) -> Effect:
    return Effect(missing.fill(images, masks, value), {"coverage": masks.mean((1, 2, 3))}, masks)


_EFFECTS: dict[str, Callable[[Any, Tensor, Stream], Effect]] = {
    "gray": _gray,
    "gaussian_noise": _gaussian_noise,
    "sensor_noise": _sensor_noise,
    "jpeg": _jpeg,
    "gaussian_blur": _gaussian_blur,
    "motion_blur": _motion_blur,
    "downscale": _downscale,
    "strokes": _strokes,
    "rectangles": _rectangles,
    "text": _text,
    "scratches": ageing.scratches,
    "creases": ageing.creases,
    "dust": ageing.dust,
    "stains": ageing.stains,
    "fading": ageing.fading,
    "yellowing": ageing.yellowing,
    "halftone": ageing.halftone,
}
