"""One item of a source -> pixels as they are packed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pentimento import images
from pentimento.colour import to_bits
from pentimento.data.items import Item
from pentimento.errors import DataError

__all__ = ["decode", "decode_pair", "shrink"]

Pixels = npt.NDArray[Any]  # uint8 or uint16


def decode(item: Item, *, max_side_px: int, bits: int, background: tuple[float, float, float]) -> Pixels:
    """The pixels of `item`: (H, W, C) uint8 or uint16, C 1 or 3, no side above `max_side_px`.

    Args:
        item: an encoded file or pixels.
        max_side_px: longer pictures are scaled down to it, with their proportions kept.
        bits: 8 or 16 a channel; what comes in another depth is converted after scaling.
        background: sRGB colour in [0, 1] under transparent pixels.

    Raises:
        DataError: pixels of another shape or type.
        ImageError: a file that is no readable picture.
    """
    return to_bits(shrink(_read(item, background), max_side_px), bits)


def decode_pair(item: Item, *, max_side_px: int, bits: int, background: tuple[float, float, float]) -> Pixels:
    """The pixels of `item` and of its target: (2, H, W, C), C 3 where one of them is in colour; else as `decode`.

    Raises:
        DataError: as `decode`; or the two differ in size, or the halves of a picture of an odd width would.
        ImageError: as `decode`.
    """
    first = _read(item, background)
    if isinstance(item.target, Item):
        second = _read(item.target, background)
        (height, width), (other_height, other_width) = first.shape[:2], second.shape[:2]
        if (height, width) != (other_height, other_width):
            raise DataError(
                f"pairs: {item.name} is {height}x{width} and {item.target.name} {other_height}x{other_width} "
                f"(height x width); bring the two to one size"
            )
    else:
        width = first.shape[1]
        if width % 2:
            raise DataError(f"side-by-side: {item.name} is {width} pixels wide; two halves need an even width")
        first, second = first[:, : width // 2], first[:, width // 2 :]
    sides = [to_bits(shrink(side, max_side_px), bits) for side in (first, second)]
    return np.stack(np.broadcast_arrays(*sides))  # gray is repeated beside colour


def _read(item: Item, background: tuple[float, float, float]) -> Pixels:
    """At native size and depth."""
    if isinstance(item.payload, bytes):
        pixels: Pixels = images.read(item.payload, name=item.name).composited(background).pixels
    else:
        pixels = item.payload
        if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or pixels.dtype != np.uint8 or not pixels.size:
            raise DataError(f"{item.name}: (H, W, 1 or 3) uint8 expected, got {pixels.shape} {pixels.dtype}")
    return pixels


def shrink(pixels: Pixels, max_side_px: int) -> Pixels:
    """Scale (H, W, C) down so that no side is above `max_side_px`, without aliasing; smaller ones stay as they are.

    8-bit pictures by Pillow's Lanczos filter, 16-bit ones by torch's antialiased bicubic one, because Pillow has no
    16-bit colour.
    """
    height, width = pixels.shape[:2]
    longer = max(height, width)
    if longer <= max_side_px:
        return pixels
    h, w = (max(1, round(side * max_side_px / longer)) for side in (height, width))
    if pixels.dtype == np.uint8:
        from PIL import Image

        picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        return np.asarray(picture.resize((w, h), Image.Resampling.LANCZOS)).reshape(h, w, -1)
    import torch

    planes = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]  # (1, C, H, W)
    planes = torch.nn.functional.interpolate(planes, (h, w), mode="bicubic", antialias=True)
    smaller = planes[0].permute(1, 2, 0).round().clamp(0, 65535).numpy()
    return np.ascontiguousarray(smaller.astype(np.uint16))
