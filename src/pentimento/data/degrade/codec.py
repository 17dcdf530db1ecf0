"""Damage of a codec: the codec itself, as its files are what a restorer will meet."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pentimento.errors import DataError

__all__ = ["jpeg"]


def jpeg(images: Tensor, quality: Tensor, subsampled: Tensor) -> Tensor:
    """Through JPEG files in memory (Pillow's libjpeg with the tables of the standard, as in MATLAB's `imwrite`).

    Pictures are clipped and rounded to 8 bits first; pixels outside [0, 1] do not fit into a file.

    Args:
        images: (N, C, H, W), C = 1 or 3.
        quality: (N,) whole numbers from 1 to 100.
        subsampled: (N,) bool: colour at half the resolution (4:2:0), else at the full one (4:4:4).

    Raises:
        DataError: a quality out of range.
    """
    values = quality.tolist()
    for value in values:
        if not 1 <= value <= 100:
            raise DataError(f"quality: 1 to 100 expected, got {value:g}")
    samples = images.detach().clamp(0, 1).mul(255).round().to("cpu", torch.uint8)
    mode = "L" if images.shape[1] == 1 else "RGB"
    made = []
    for pixels, value, half in zip(samples.permute(0, 2, 3, 1).numpy(), values, subsampled.tolist(), strict=True):
        file = io.BytesIO()
        picture = Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if mode == "L" else pixels), mode=mode)
        picture.save(file, "JPEG", quality=int(value), subsampling=2 if half else 0)
        with Image.open(file) as reopened:
            made.append(np.array(reopened).reshape(pixels.shape))
    decoded = torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).contiguous()
    return decoded.to(images.device, images.dtype).div_(255)
