"""What style transfer by optimisation minimises: content, style and smoothness of a picture, all in relative units.

Gatys et al. 2016, "Image style transfer using convolutional neural networks"; with regions, Gatys et al. 2017,
"Controlling perceptual factors in neural style transfer". Ours differs in that every distance is divided by the size of
what it is measured against, so that one set of weights serves networks whose maps differ by orders of magnitude:

    x, p, a -> the picture sought, the content, the style     F_l -> maps of layer l     S -> a statistic of maps
    content = mean over l of  E (F_l(x) - F_l(p))^2 / E F_l(p)^2
    style   = mean over l of  ||S(F_l(x)) - S(F_l(a))||^2 / ||S(F_l(a))||^2
    tv      = E |difference of neighbours|
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pentimento.errors import ImageError, InputError
from pentimento.features import FeatureNetwork
from pentimento.losses import gram, relative_distance, total_variation
from pentimento.runtime import Precision, autocast

__all__ = ["Goal", "Objective", "Style", "check_styles", "cover", "no_longer", "resized", "statistics"]

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CONTENT_LAYERS = ("relu4_2", "relu4_1")  # the first that the network has
LEAST_STYLE_PX = 16
LEAST_SEEN_PX = 32  # no style is shown to a network smaller than this along a side: relu5_1 of every network exists
TOLERANCE = 1e-3  # by which masks that were resized or rounded to 8 bits may add up to more than 1


@dataclass(frozen=True)
class Style:
    """A picture whose look is wanted.

    Args:
        image: (1, 3, h, w), any size from 16 px a side.
        weight: its share where there are several: they are divided by their sum. With masks, the heaviest style comes
            out in full strength in its region, and the others less in proportion.
        mask: (1, 1, H, W) in [0, 1] of the content's size: where this style goes. Either every style has one or none
            has. Masks may not overlap: they add up to 1 at most, everywhere. They may leave holes, and there the
            picture stays as the content is.
    """

    image: Tensor
    weight: float = 1.0
    mask: Tensor | None = None


@dataclass(frozen=True)
class Objective:
    """What is minimised: ``content_weight content + style_weight style + tv_weight tv``; see the head of the module.

    Args:
        content_layers: None: relu4_2, or relu4_1 where the network has no such layer.
        style_layers: all count alike.
        content_weight: of the content.
        style_weight: of the style.
        tv_weight: of the differences of neighbours: smooth pictures.
        statistics: of a style layer: its Gram matrix, or mean and covariance of the channels apart.
        pooling: ``average`` replaces the network's maximum pools (Gatys et al. 2016, section 2).
        style_scale: the style's longer side in units of the content's: smaller makes smaller strokes.

    Raises:
        InputError: a negative weight, none above zero, no layers, or a `style_scale` that is not above zero.
    """

    content_layers: tuple[str, ...] | None = None
    style_layers: tuple[str, ...] = STYLE_LAYERS
    content_weight: float = 1.0
    style_weight: float = 30.0
    tv_weight: float = 0.5
    statistics: Literal["gram", "moments"] = "gram"
    pooling: Literal["max", "average"] = "max"
    style_scale: float = 1.0

    def __post_init__(self) -> None:
        weights = (self.content_weight, self.style_weight, self.tv_weight)
        if not all(0 <= w < math.inf for w in weights) or not any(weights):
            shown = ", ".join(f"{w:g}" for w in weights)
            raise InputError(f"weights of content, style and tv: 0 or more, and one above 0, expected, got {shown}")
        if not self.style_layers or self.content_layers == ():
            raise InputError("content_layers, style_layers: at least one each expected, got none; use a weight of 0")
        if not 0 < self.style_scale < math.inf:
            raise InputError(f"style_scale: a number above 0 expected, got {self.style_scale:g}")


# ------------------------------------------------------------------------------------------------ styles
def check_styles(content: Tensor, styles: Sequence[Style]) -> None:
    """Refuse styles that cannot be used.

    Raises:
        ImageError: no RGB picture, a style that is too small, or masks against the rule, see `Style`.
        InputError: no style, a negative weight, or none above zero.
    """
    if not styles:
        raise InputError("styles: at least one expected, got none")
    _check_picture("content", content)
    for number, style in enumerate(styles, 1):
        _check_picture(f"style {number}", style.image)
        height, width = style.image.shape[2:]
        if min(height, width) < LEAST_STYLE_PX:
            raise ImageError(
                f"style {number}: at least {LEAST_STYLE_PX}x{LEAST_STYLE_PX} px expected, got {width}x{height}; "
                "a smaller picture has no look to take"
            )
    weights = [style.weight for style in styles]
    if not all(0 <= w < math.inf for w in weights) or not any(weights):
        shown = ", ".join(f"{w:g}" for w in weights)
        raise InputError(f"weights of the styles: 0 or more, and one above 0, expected, got {shown}")
    _check_masks(content, [style.mask for style in styles])


def _check_picture(name: str, image: Tensor) -> None:
    if image.ndim != 4 or image.shape[:2] != (1, 3):
        raise ImageError(f"{name}: one RGB picture, (1, 3, H, W), expected, got {tuple(image.shape)}")


def _check_masks(content: Tensor, masks: Sequence[Tensor | None]) -> None:
    given = [mask for mask in masks if mask is not None]
    if not given:
        return
    if len(given) < len(masks):
        raise ImageError(f"masks: one for every style or none expected, got {len(given)} for {len(masks)} styles")
    size = content.shape[2:]
    for number, mask in enumerate(given, 1):
        if mask.shape != (1, 1, *size):
            raise ImageError(
                f"mask of style {number}: the size of the content, {size[1]}x{size[0]}, and one channel expected, "
                f"got {mask.shape[-1]}x{mask.shape[-2]}, {mask.shape[1] if mask.ndim == 4 else mask.ndim} channels"
            )
        if not mask.any():
            raise ImageError(f"mask of style {number}: black all over, so this style would go nowhere; leave it away")
    over = int((cover(given) > 1 + TOLERANCE).sum())
    if over:
        raise ImageError(
            f"masks: they overlap at {over} of {size[0] * size[1]} pixels; paint the regions of the styles apart "
            "(masks add up to 1 at most; where they leave a hole the content stays)"
        )


def cover(masks: Sequence[Tensor]) -> Tensor:
    """(1, 1, H, W), how much of each pixel some mask covers."""
    return torch.stack(list(masks)).sum(0)


def resized(image: Tensor, height: int, width: int) -> Tensor:
    """(N, C, H, W) in [0, 1] -> (N, C, height, width), antialiased bicubic; the same size stays as it is."""
    if image.shape[2:] == (height, width):
        return image
    return F.interpolate(image, (height, width), mode="bicubic", antialias=True).clamp(0, 1)


def no_longer(image: Tensor, longest_px: int) -> Tensor:
    """(N, C, H, W) scaled down to that longer side, where it is longer."""
    height, width = image.shape[2:]
    factor = min(1.0, longest_px / max(height, width))
    return resized(image, max(1, round(height * factor)), max(1, round(width * factor)))


def _style_at(image: Tensor, longest_px: float) -> Tensor:
    """The style with that longer side, and never smaller than `LEAST_SEEN_PX`."""
    sides = image.shape[2:]
    factor = max(longest_px / max(sides), LEAST_SEEN_PX / min(sides))
    height, width = (round(side * factor) for side in sides)
    return resized(image, height, width)


# -------------------------------------------------------------------------------------------- statistics
def statistics(maps: Tensor, kind: Literal["gram", "moments"], weights: Tensor | None = None) -> tuple[Tensor, ...]:
    """What of feature maps makes a style: of (N, C, H, W) one (N, C, C), or the mean (N, C, 1) and that of the rest.

    Args:
        maps: of a layer.
        kind: ``gram``, or ``moments``: mean and covariance.
        weights: (N, 1, H, W), how much each position counts; None: all alike.
    """
    if kind == "gram":
        return (gram(maps, weights),)
    if weights is None:
        mean = maps.mean((2, 3), keepdim=True)
    else:
        mean = (maps * weights).sum((2, 3), keepdim=True) / weights.sum((2, 3), keepdim=True)
    return mean.flatten(2), gram(maps - mean, weights)


def _distance(found: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Relative squared distance, the mean over statistics."""
    parts = [relative_distance(a, b) for a, b in zip(found, target, strict=True)]
    return torch.stack(parts).mean()


@dataclass(frozen=True)
class _Region:
    """Where a style goes, and what it looks like.

    Args:
        share: what its distance counts.
        target: statistics by layer.
        weights: (1, 1, H_l, W_l) by layer; None: everywhere.
    """

    share: float
    target: dict[str, tuple[Tensor, ...]]
    weights: dict[str, Tensor] | None = None


class Goal:
    """The losses of a picture of one size; all that does not depend on the picture is computed once.

    Args:
        content: (1, 3, h, w), at the size of the pictures to be judged.
        styles: that `check_styles` found right.
        network: with the pools that `objective` wants.
        objective: what counts.
        precision: of the network on a picture that is judged; what is wanted of it is computed in that of the content.

    Raises:
        EvaluationError: the content is too small for a layer.
        ModelError: the network has no such layer, or no maps.
    """

    @torch.no_grad()
    def __init__(
        self,
        content: Tensor,
        styles: Sequence[Style],
        network: FeatureNetwork,
        objective: Objective,
        precision: Precision = "auto",
    ) -> None:
        self.network, self.objective, self.precision = network, objective, precision
        deep = next((name for name in CONTENT_LAYERS if name in network.layers), CONTENT_LAYERS[-1])
        self.content_layers = objective.content_layers or (deep,)
        self.layers = tuple(dict.fromkeys((*self.content_layers, *objective.style_layers)))
        maps = network.maps(content, self.layers)
        self.content = {layer: maps[layer] for layer in self.content_layers}
        sizes = {layer: (maps[layer].shape[2], maps[layer].shape[3]) for layer in objective.style_layers}
        used = [style for style in styles if style.weight > 0]
        seen = [self._target(style.image, max(content.shape[2:])) for style in used]
        if used[0].mask is None:
            self.regions = [_blend(seen, [style.weight for style in used])]
            return
        heaviest = max(style.weight for style in used)
        self.regions = []
        for style, target in zip(used, seen, strict=True):
            assert style.mask is not None
            weights = {layer: F.adaptive_avg_pool2d(style.mask, size) for layer, size in sizes.items()}
            # A statistic of a region is a mean over it: times its share of the picture, a pixel counts as elsewhere.
            share = float(style.mask.mean()) * style.weight / heaviest
            self.regions.append(_Region(share, target, weights))

    def _target(self, image: Tensor, longest_px: int) -> dict[str, tuple[Tensor, ...]]:
        scaled = _style_at(image, longest_px * self.objective.style_scale)
        maps = self.network.maps(scaled, self.objective.style_layers)
        return {layer: statistics(m, self.objective.statistics) for layer, m in maps.items()}

    def __call__(self, picture: Tensor) -> dict[str, Tensor]:
        """``loss``, and its parts before their weights: ``content``, ``style``, ``tv``; scalars.

        Args:
            picture: (1, 3, h, w); the losses are differentiable with respect to it.
        """
        objective = self.objective
        with autocast(picture.device, self.precision):
            maps = {layer: m.to(picture.dtype) for layer, m in self.network.maps(picture, self.layers).items()}
        content = torch.stack([relative_distance(maps[layer], target) for layer, target in self.content.items()]).mean()
        layers = []
        for layer in objective.style_layers:
            for region in self.regions:
                weights = None if region.weights is None else region.weights[layer]
                found = statistics(maps[layer], objective.statistics, weights)
                layers.append(region.share * _distance(found, region.target[layer]))
        style = torch.stack(layers).sum() / len(objective.style_layers)
        tv = total_variation(picture)
        loss = objective.content_weight * content + objective.style_weight * style + objective.tv_weight * tv
        return {"loss": loss, "content": content, "style": style, "tv": tv}


def _blend(seen: Sequence[dict[str, tuple[Tensor, ...]]], weights: Sequence[float]) -> _Region:
    """One style whose statistics are the weighted means of those `seen`."""
    shares = [weight / sum(weights) for weight in weights]
    target = {
        layer: tuple(
            torch.stack([share * t for share, t in zip(shares, parts, strict=True)]).sum(0)
            for parts in zip(*(each[layer] for each in seen), strict=True)
        )
        for layer in seen[0]
    }
    return _Region(1.0, target)
