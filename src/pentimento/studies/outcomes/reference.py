"""Outcomes that say how far a picture is from another one: from one reference, or each from its own original.

x, r -> the picture, its reference
content, style -> see `pentimento.features.likeness`
pixels = E |x - r|, over all values, in [0, 1]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pentimento.data.fit import recolour
from pentimento.errors import CausalError
from pentimento.features.likeness import CONTENT_LAYER, NETWORK, content_of, style_of
from pentimento.features.network import bilinear
from pentimento.losses import relative_distance
from pentimento.studies.outcomes.outcome import Outcome

__all__ = ["content_distance", "pixel_distance", "style_distance"]

LEAST_PX = 32  # a style is not shown to the network smaller than this along a side
ROUNDING_PX = 1.0  # by which two pictures of the same shape may differ when one is brought to the size of the other
PIECE_PX = 2**18  # seen by the network together: the finest maps take 16 MB

Look = Callable[[Tensor], list[Tensor]]  # (n, C, H, W) pictures -> what of them is compared, each (n, ...)
Distance = Callable[[Tensor, Tensor], Tensor]  # two (n, ...) -> (n,)


def content_distance(reference: Tensor, name: str = "content") -> Outcome:
    """How much of what the reference shows is lost; see the module.

    Args:
        reference: (1, C, h, w), or (N, C, h, w): a picture each; C = 1 or 3, in [0, 1]. It has the pictures' shape and
            is brought to their size and channels.
        name: of the outcome.

    Raises:
        CausalError: not such a tensor; when measuring, another number of pictures or another shape.
    """
    formula = f"share of the reference's {CONTENT_LAYER} that a picture misses, squared ({NETWORK} network)"
    return _outcome(name, formula, _Held(name, reference, _content, relative_distance, same_shape=True))


def style_distance(reference: Tensor, name: str = "style") -> Outcome:
    """How far a picture is from the look of the reference; see the module.

    Args:
        reference: as of `content_distance`, but of any shape: its longer side becomes the pictures'.
        name: of the outcome.

    Raises:
        CausalError: not such a tensor; when measuring, another number of pictures.
    """
    formula = f"share of the reference's Gram matrices that a picture misses, squared ({NETWORK} network, five layers)"
    return _outcome(name, formula, _Held(name, reference, style_of, relative_distance, same_shape=False))


def pixel_distance(reference: Tensor, name: str = "pixels") -> Outcome:
    """The mean absolute difference of values.

    Args:
        reference: as of `content_distance`.
        name: of the outcome.

    Raises:
        CausalError: as `content_distance`.
    """
    formula = "mean absolute difference from the reference"
    return _outcome(name, formula, _Held(name, reference, _values, _mean_difference, same_shape=True))


# --------------------------------------------------------------------------------------------- what is compared
def _content(images: Tensor) -> list[Tensor]:
    return [content_of(images)]


def _values(images: Tensor) -> list[Tensor]:
    return [images]


def _mean_difference(made: Tensor, wanted: Tensor) -> Tensor:
    return (made - wanted).abs().flatten(1).mean(1)


# ---------------------------------------------------------------------------------------------- how it is held
@dataclass
class _Held:
    """Pictures held against a reference: the mean of `distance` over what `look` sees of both.

    What is seen of a single reference is remembered, for the pictures of a study are all of one size.
    """

    name: str
    reference: Tensor
    look: Look
    distance: Distance
    same_shape: bool
    _last: tuple[object, list[Tensor]] | None = None

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """(N,) of (N, C, H, W)."""
        if len(self.reference) not in (1, len(images)):
            raise CausalError(
                f"{self.name}: one reference, or one for each of {len(images)} pictures, expected, got "
                f"{len(self.reference)}; give the originals of these pictures in their order"
            )
        count, found = max(1, PIECE_PX // (images.shape[2] * images.shape[3])), []
        for begin in range(0, len(images), count):
            piece = images[begin : begin + count]
            wanted = self._seen(piece, slice(begin, begin + count))
            parts = [self.distance(x, r.expand_as(x)) for x, r in zip(self.look(piece), wanted, strict=True)]
            found.append(torch.stack(parts).mean(0).cpu().double())
        return torch.cat(found)

    def _seen(self, images: Tensor, rows: slice) -> list[Tensor]:
        """Of the reference, for `images`, which are its `rows` where it has as many."""
        if len(self.reference) > 1:
            return self.look(self._brought(self.reference[rows], images))
        key = images.shape[1:], images.device, images.dtype
        last = self._last
        if last is None or last[0] != key:
            last = self._last = key, self.look(self._brought(self.reference, images))
        return last[1]

    def _brought(self, reference: Tensor, images: Tensor) -> Tensor:
        """To the channels of `images`, and to their size or their longer side."""
        (h, w), (height, width) = reference.shape[2:], images.shape[2:]
        if self.same_shape:
            scale = max(height / h, width / w)
            if max(scale * h - height, scale * w - width) > ROUNDING_PX:
                raise CausalError(
                    f"{self.name}: the reference is {w}x{h} px and the pictures are {width}x{height}, which is another "
                    "shape; crop one of them"
                )
        else:
            scale = max(max(height, width) / max(h, w), LEAST_PX / min(h, w))
            height, width = round(scale * h), round(scale * w)
        return bilinear(recolour(reference, images.shape[1]).to(images), height, width)


def _outcome(name: str, formula: str, held: _Held) -> Outcome:
    shape = tuple(held.reference.shape)
    if len(shape) != 4 or shape[1] not in (1, 3) or not held.reference.numel():
        raise CausalError(f"{name}: a reference (1 or N, 1 or 3, h, w) expected, got {shape}")
    return Outcome(name, "", formula, held)
