"""What parts of the style benchmark share: photographs, paintings, and pictures rendered as the verb renders them.

Every method is given the same pictures: photographs as they are, 481 px long, and paintings brought to that length, at
which they are judged too. What a method makes is rounded to 8 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor

from pentimento import images
from pentimento.images import Picture
from pentimento.tasks.styles import NamedStyle, encode, style_picture
from pentimento.tasks.stylize import Look, stylized
from reporting import shared

__all__ = ["LONGEST_PX", "PAINTINGS", "PHOTOS", "TRAINED", "UNSEEN", "painting", "photographs", "rendered"]

LONGEST_PX = 481
# of BSDS500's val part: a castle, a man, a harbour, zebras, a mushroom, a lake, a desert, a car race
PHOTOS = ("102061", "189080", "219090", "253027", "208001", "241048", "295087", "21077")
UNSEEN = {
    "seurat-port-en-bessin": "dph_8_target.jpg",
    "renoir-pont-neuf": "dph_16_target.jpg",
    "bingham-flatboatmen": "dph_20_target.jpg",
    "cezanne-card-players": "dph_25_target.jpg",
    "cezanne-apples": "dph_27_target.jpg",
    "picabia-udnie": "udnie.jpg",
}
TRAINED = {
    "van-gogh-self-portrait": "dph_3_target.jpg",
    "van-gogh-bedroom": "dph_12_target.jpg",
    "seurat-grande-jatte": "dph_13_target.jpg",
    "van-gogh-rhone": "dph_32_target.jpg",
    "monet-sainte-adresse": "dph_33_target.jpg",
    "turner-shipwreck": "shipwreck.jpg",
}
PAINTINGS = UNSEEN | TRAINED


def photographs(count: int | None = None) -> dict[str, Tensor]:
    """(1, 3, 321, 481) or upright, by name; the first `count`."""
    folder = shared("restoration/BSDS500-images/val")
    return {name: images.read(folder / f"{name}.jpg").to_tensor()[None] for name in islice(PHOTOS, count)}


def painting(name: str) -> Tensor:
    """(1, 3, h, w), `LONGEST_PX` long."""
    return style_picture(shared(f"style/paintings-pd/{PAINTINGS[name]}"), LONGEST_PX)


def rendered(
    model: Any,
    photo: Tensor,
    styles: Sequence[Tensor],
    shares: Sequence[float] = (1.0,),
    *,
    strength: float = 1.0,
    memory_bytes: int = 2**31,
    bits: Literal[8, 16] = 8,
) -> Tensor:
    """(1, 3, H, W): a photo in the look of paintings, as the verb makes it, rounded to `bits`."""
    named = [NamedStyle(str(number), encode(model, style)) for number, style in enumerate(styles)]
    look = Look(named, shares, strength, memory_bytes=memory_bytes)
    made = stylized(model, Picture(images.to_samples(photo, bits)), look)
    found: Tensor = made.to_tensor()[None]
    return found.to(torch.float32)
