"""Old photographs: draws the parameters of these steps and calls the functions of `damage` and `brush`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pentimento.data.degrade import damage, steps
from pentimento.data.degrade.brush import paint, windows
from pentimento.data.degrade.stream import Effect, Stream

__all__ = ["creases", "dust", "fading", "halftone", "scratches", "stains", "yellowing"]


def scratches(step: steps.Scratches, images: Tensor, own: Stream) -> Effect:
    """See `steps.Scratches`."""
    height, width = images.shape[2:]
    piece_px = 6.0
    number, most = _number(own, step.density, height, width)
    most_pieces = math.ceil(step.length_px[1] / piece_px)
    length = own.log_uniform("length", step.length_px, (most,))
    pieces = (length / piece_px).ceil()  # (N, S)
    heading = own.uniform("heading", (0, 2 * math.pi), (most, 1))
    bend = own.normal("bend", (most, 1)) * 0.01 + own.normal("shake", (most, most_pieces)) * 0.03
    points = _walk(_anywhere(own, most, height, width), heading + bend.cumsum(2), length / pieces, pieces)
    uneven = own.normal("uneven", (2, most, most_pieces + 1))  # (N, 2, S, K)
    half = own.log_uniform("width", step.width_px, (most, 1)) / 2
    radii = half * torch.exp(0.35 * uneven[:, 0]) * _tapered(pieces, most_pieces + 1)
    opacities = (own.uniform("opacity", (0.5, 1.1), (most, 1)) + 0.25 * uneven[:, 1]).clamp(0.1, 1)
    is_bright = own.uniform("bright", shape=(most,)) < step.bright
    shown = pieces.long() * (torch.arange(most, device=own.device) < number[:, None])
    layers = [paint(points, radii, opacities, shown * chosen, height, width) for chosen in (is_bright, ~is_bright)]
    return _covered(images, own, layers, {"count": number.float()})


def dust(step: steps.Dust, images: Tensor, own: Stream) -> Effect:
    """See `steps.Dust`; every 25th is a hair."""
    height, width = images.shape[2:]
    number, most = _number(own, step.density, height, width)
    rare = own.uniform("size", shape=(most,)).square()  # large ones are few
    size = step.size_px[0] * (step.size_px[1] / step.size_px[0]) ** rare  # (N, S)
    lumps = own.uniform("lumps", (0.5, 1.0), (most, 3))
    two = torch.full(size.shape, 2, device=own.device)
    turn = own.uniform("heading", (0, 2 * math.pi), (most, 2))
    specks = _walk(_anywhere(own, most, height, width), turn, size * own.uniform("long", (0, 0.5), (most,)), two)
    opacities = own.uniform("opacity", (0.4, 1.0), (most, 1)).expand(-1, -1, 3)
    is_hair = own.uniform("hair", shape=(most,)) < 1 / 25
    is_bright = own.uniform("bright", shape=(most,)) < step.bright
    there = torch.arange(most, device=own.device) < number[:, None]
    hairs, hair_pieces = _hairs(own, most, height, width)
    thin = own.uniform("thin", (0.35, 0.7), (most, 1)).expand(-1, -1, hairs.shape[2])
    layers = []
    for chosen in (is_bright & there, ~is_bright & there):
        spots = paint(specks, size[:, :, None] / 2 * lumps, opacities, two * (chosen & ~is_hair), height, width)
        lines = paint(hairs, thin, torch.ones_like(thin), hair_pieces * (chosen & is_hair), height, width)
        layers.append(torch.maximum(spots, lines))
    return _covered(images, own, layers, {"count": number.float()})


def creases(step: steps.Creases, images: Tensor, own: Stream) -> Effect:
    """See `steps.Creases`."""
    height, width = images.shape[2:]
    most, reach = step.count[1], math.ceil(math.hypot(height, width)) + 1
    number = own.whole("count", step.count)
    width_px = own.log_uniform("width", step.width_px)  # (N,)
    if not most:
        masks = torch.zeros_like(images[:, :1])
        return Effect(images, {"count": number.float(), "width_px": width_px, "coverage": _share(masks)}, masks)
    place, angle = _anywhere(own, most, height, width), own.uniform("angle", (0, math.pi), (most,))
    y = torch.arange(height, device=own.device)[:, None] - place[:, :, :1, None]  # (N, K, H, 1)
    x = torch.arange(width, device=own.device) - place[:, :, 1:, None]  # (N, K, 1, W)
    cosine, sine = angle.cos()[:, :, None, None], angle.sin()[:, :, None, None]
    at = (x * cosine + y * sine).add_(reach).round_().long().flatten(2)  # (N, K, H W), which pixel along the fold
    across = y * cosine - x * sine
    lines = {name: own.smooth_line(name, cell, (most, 2 * reach + 1)) for name, cell in _CREASE_CELLS_PX.items()}
    wander = 5 * lines["bow"] + 1.2 * lines["kink"] + 0.5 * lines["jag"]
    half = (width_px / 2)[:, None, None] * torch.exp(0.5 * lines["width"]) * (0.6 + 0.7 * lines["whole"]).clamp(-1, 1)
    there = torch.arange(most, device=own.device) < number[:, None]
    half = half.masked_fill(~there[:, :, None], -1)
    ragged = 0.7 * own.smooth_field("ragged", 2, height, width) + 0.5 * own.smooth_field("torn", 7, height, width)
    wander_here, half_here = (line.gather(2, at).view_as(across) for line in (wander, half))
    frayed = half_here * (1 + 0.6 * ragged)
    loss, light = damage.crease_maps(
        (across - wander_here).masked_fill(~there[:, :, None, None], 1e4), frayed, 1.2 * width_px + 0.5
    )
    light = light * own.uniform("depth", (0.04, 0.14))[:, None, None, None]
    paper = own.uniform("paper", (0.82, 0.97))[:, None, None, None] + 0.06 * ragged
    loss = loss * own.uniform("loss", (0.75, 1.0))[:, None, None, None]
    made = damage.cover((images + light).clamp_(0, 1), loss, paper.clamp(0, 1))
    masks = torch.maximum(damage.visible(loss), damage.visible(2 * light))
    return Effect(made, {"count": number.float(), "width_px": width_px, "coverage": _share(masks)}, masks)


def stains(step: steps.Stains, images: Tensor, own: Stream) -> Effect:
    """See `steps.Stains`."""
    height, width = images.shape[2:]
    number, most = _number(own, step.density, height, width)
    centres = _anywhere(own, most, height, width)
    radii = own.log_uniform("radius", step.radius_px, (most,))
    rims = own.uniform("rim", (-0.6, 1.0), (most,)).clamp(min=0)
    weights = own.uniform("weight", (0.5, 1.0), (most,))
    warp = 0.22 * own.smooth_field("outline", 12, height, width) + 0.08 * own.smooth_field("fringe", 4, height, width)
    patchy = (0.85 + 0.2 * own.smooth_field("patchy", 7, height, width)).clamp_(0.3, 1)
    opacity = torch.zeros_like(images[:, :1]).flatten()
    planes, which = (torch.arange(most, device=own.device) < number[:, None]).nonzero(as_tuple=True)
    if len(planes):
        side = 2 * math.ceil(_BLOT_REACH * float(radii[planes, which].max())) + 1
        for window in windows(centres[planes, which], planes, side, height, width):
            rows = (planes[window.rows], which[window.rows])
            radius, rim, weight = (v[rows][:, None, None] for v in (radii, rims, weights))
            y, x = window.y - centres[rows][:, :1, None], window.x - centres[rows][:, 1:, None]
            distance = (y.square() + x.square()).sqrt_() / radius
            bent = distance + warp.flatten()[window.index] * distance.clamp(max=1)
            bent.masked_fill_(distance > _BLOT_REACH, math.inf)
            opacity.scatter_reduce_(0, window.index.flatten(), (weight * damage.blot(bent, rim)).flatten(), "amax")
    opacity = opacity.view_as(warp) * patchy
    strength = own.uniform("strength", step.strength)
    brown = own.uniform("brown", (-0.12, 0.12), (1,)) + own.uniform("hue", (-0.04, 0.04), (3,))
    brown = brown + brown.new_tensor([0.62, 0.47, 0.28])
    made = damage.tint(images, opacity * strength[:, None, None, None], brown)
    masks = damage.visible(opacity * strength[:, None, None, None])
    return Effect(made, {"count": number.float(), "strength": strength, "coverage": _share(masks)}, masks)


def fading(step: steps.Fading, images: Tensor, own: Stream) -> Effect:
    """See `steps.Fading`."""
    height, width = images.shape[2:]
    contrast, colour, level = (
        own.uniform(name, pair)
        for name, pair in (("contrast", step.contrast), ("colour", step.colour), ("level", step.level))
    )
    uneven = 1 + 0.12 * own.smooth_field("uneven", max(2, max(height, width) // 3), height, width)
    lost = (contrast[:, None, None, None] * uneven).clamp_(0, 1)
    facts = {"contrast": lost.mean((1, 2, 3)), "colour": colour, "level": level}
    return Effect(damage.fade(images, lost, colour, level), facts)


def yellowing(step: steps.Yellowing, images: Tensor, own: Stream) -> Effect:
    """See `steps.Yellowing`."""
    strength = own.uniform("strength", step.strength)
    spread = own.uniform("tint", (-1, 1), (3,))
    paper = spread.new_tensor([0.99, 0.87, 0.66]) + spread * spread.new_tensor([0.01, 0.04, 0.12])
    return Effect(damage.tint(images, strength[:, None, None, None], paper), {"strength": strength})


def halftone(step: steps.Halftone, images: Tensor, own: Stream) -> Effect:
    """See `steps.Halftone`."""
    period = own.log_uniform("period", step.period_px)
    angle, strength = own.uniform("angle", (0, 90)), own.uniform("strength", step.strength)
    facts = {"period_px": period, "angle_degrees": angle, "strength": strength}
    return Effect(damage.halftone(images, period, angle, strength), facts)


# How far apart the points are between which the line of a crease changes smoothly.
_CREASE_CELLS_PX = {"bow": 60, "kink": 14, "jag": 4, "width": 10, "whole": 25}

# In radii: how far from its centre a stain may be seen where its outline is most uneven.
_BLOT_REACH = 1.8


def _covered(images: Tensor, own: Stream, layers: Sequence[Tensor], facts: dict[str, Tensor]) -> Effect:
    """Bright and dark damage laid on, grainy as what is under an emulsion."""
    height, width = images.shape[2:]
    grain = (1 - 0.25 * own.normal_field("grain", (1, height, width)).abs()).clamp_(0.3, 1)
    for layer, name, tones in zip(layers, ("white", "black"), ((0.8, 1.0), (0.0, 0.2)), strict=True):
        images = damage.cover(images, layer * grain, own.uniform(name, tones)[:, None, None, None])
    masks = damage.visible(torch.maximum(*layers))
    return Effect(images, {**facts, "coverage": _share(masks)}, masks)


def _number(own: Stream, density: Sequence[float], height: int, width: int) -> tuple[Tensor, int]:
    """(N,) int64 how many of something there are, at random about density x area; and how many at most."""
    area = height * width / 1e4
    wanted = own.uniform("density", density) * area + own.uniform("rounding")
    return wanted.floor().long(), math.floor(density[1] * area) + 1


def _anywhere(own: Stream, count: int, height: int, width: int) -> Tensor:
    """(N, count, 2) y, x within the picture."""
    places = own.uniform("place", shape=(count, 2))
    return places * places.new_tensor([height, width]) - 0.5


def _walk(centres: Tensor, headings: Tensor, piece_px: Tensor, pieces: Tensor) -> Tensor:
    """(N, S, K, 2) polylines about `centres` (N, S, 2), of `pieces` (N, S) that each go `piece_px` (N, S) on.

    Args:
        centres: where the middle piece begins.
        headings: (N, S, K - 1) of each piece.
        piece_px: length of each piece.
        pieces: how many of the K - 1 count.
    """
    steps_px = torch.stack([headings.sin(), headings.cos()], 3) * piece_px[:, :, None, None]
    points = torch.cat([torch.zeros_like(steps_px[:, :, :1]), steps_px.cumsum(2)], 2)
    middle = (pieces / 2).long()[:, :, None, None].expand(-1, -1, 1, 2)
    return points - points.gather(2, middle) + centres[:, :, None]


def _tapered(pieces: Tensor, points: int) -> Tensor:
    """(N, S, points) 0.3 at both ends of a stroke of `pieces` (N, S), 1 from its third point on."""
    at = torch.arange(points, device=pieces.device)
    return (torch.minimum(at, pieces[:, :, None] - at) * 0.35 + 0.3).clamp(0.3, 1)


def _hairs(own: Stream, count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Curls of 12 to 50 pixels: (N, count, K, 2) points, and (N, count) how many pieces."""
    pieces = own.whole("hair pieces", (4, 12), (count,))
    curl = own.normal("curl", (count, 1)) * 0.3 + own.normal("twist", (count, 12)) * 0.25
    heading = own.uniform("hair heading", (0, 2 * math.pi), (count, 1))
    piece = own.uniform("piece", (3, 4.2), (count,))
    return _walk(_anywhere(own, count, height, width), heading + curl.cumsum(2), piece, pieces), pieces


def _share(masks: Tensor) -> Tensor:
    """(N,) of the picture."""
    return masks.mean((1, 2, 3))
