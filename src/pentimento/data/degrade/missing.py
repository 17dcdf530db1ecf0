"""Missing pixels: masks (N, 1, H, W), 1 where a pixel is missing, else 0; and what stands there instead."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pentimento.data.degrade.brush import cover_in_order
from pentimento.data.degrade.stream import Stream

__all__ = ["Line", "fill", "random_strokes", "rectangle_masks", "text_mask"]

# (text, size in pixels, top, left)
Line = tuple[str, int, float, float]


def fill(images: Tensor, masks: Tensor, value: float) -> Tensor:
    """(N, C, H, W) with `value` where `masks` (N, 1, H, W) is 1."""
    return images.masked_fill(masks > 0.5, value)


def random_strokes(
    own: Stream, widths_px: Sequence[float], coverage: Tensor, most: float, height: int, width: int
) -> Tensor:
    """Free-form masks (N, 1, H, W), in the manner of Yu et al. 2019, section 3.4: curves with a brush.

    Theirs have a random number of strokes; these end when `coverage` (N,) is reached, at most `most`.
    """
    low, high = widths_px
    pieces, step = 8, max(4.0, high / 2)
    # Strokes fall where others are, so their areas must add up to more than is covered: -log(1 - c) on average.
    area = -math.log1p(-min(most, 0.99)) * height * width
    count = 2 + math.ceil(4 * area / (pieces * step * (low + high) / 2))
    widths = own.uniform("width", widths_px, (count,))  # (N, count)
    start = own.uniform("start", shape=(count, 1, 2)) * widths.new_tensor([height, width])
    turns = own.normal("turn", (count, pieces)) * 0.5
    heading = own.uniform("heading", (0, 2 * math.pi), (count, 1)) + turns.cumsum(2)
    way = step * torch.stack([heading.sin(), heading.cos()], 3).cumsum(2)  # (N, count, pieces, 2)
    points = _folded(torch.cat([start, start + way], 2), height, width)
    return cover_in_order(points, widths, coverage, height, width)


def _folded(points: Tensor, height: int, width: int) -> Tensor:
    """Points outside the picture mirrored into it."""
    sides = points.new_tensor([height, width])
    places = points.remainder(2 * sides)
    return torch.minimum(places, 2 * sides - places) - 0.5


def rectangle_masks(top: Tensor, left: Tensor, high: Tensor, wide: Tensor, size: Sequence[int]) -> Tensor:
    """(N, 1, H, W) of K rectangles each, in whole pixels, all (N, K); what is outside the picture is cut off."""
    inside = []
    for begin, length, side in ((top, high, size[0]), (left, wide, size[1])):
        place = torch.arange(side, device=top.device)
        inside.append((place >= begin[:, :, None]) & (place < (begin + length)[:, :, None]))  # (N, K, side)
    covered = torch.einsum("nky,nkx->nyx", inside[0].float(), inside[1].float()) > 0
    return covered.float()[:, None]


def text_mask(lines: Sequence[Line], height: int, width: int) -> Tensor:
    """(1, H, W) on the CPU, of lines of text in the font that comes with Pillow, without soft edges."""
    from PIL import Image, ImageDraw

    picture = Image.new("1", (width, height))
    canvas = ImageDraw.Draw(picture)
    for text, size_px, top, left in lines:
        canvas.text((left, top), text, fill=1, font=_font(size_px))
    return torch.from_numpy(np.array(picture, dtype=np.float32))[None]


@functools.lru_cache(maxsize=64)
def _font(size_px: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size_px)
