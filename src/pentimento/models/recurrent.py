"""A recurrent convolutional restorer: one set of weights, applied again and again, each pass yielding a picture.

    h_t = U(y, x_{t-1}, h_{t-1})     x_t = y + T(h_t)     x_0 = y, h_0 = 0

Both what was made and what was thought of it are fed back (Liao and Poggio 2016; SRFBN, Li et al. 2019). All passes
are trained to give the clean picture, so the first is usable and more of them may be run than in training.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pentimento.capabilities import Reach
from pentimento.layers import UNet, pad_to_multiple
from pentimento.losses import L1, PictureLosses
from pentimento.model import DataSpec
from pentimento.restoring import RestoringModel, Told

__all__ = ["Recurrent"]


class Recurrent(RestoringModel):
    """Repairs a picture in as many passes as are asked for.

    Args:
        spec: of the clean pictures.
        widths: channels of the U-Net by level, the finest first; the first is also the width of h.
        blocks: residual blocks on each level, each way.
        passes: in training, and the usual number afterwards.
        shrink: side of the blocks of pixels that become channels.
        told: what is said about the damage in numbers: nothing, the noise, or the JPEG quality.
        told_wrong: share of the pictures, in training, of which that is wrong, up to twice or half.
        takes_masks: whether it is told where pixels are missing.
        losses: weights, of each pass.
        mask_weight: how many times as much a missing pixel counts.
        lr: learning rate.
    """

    family = "recurrent"

    def __init__(
        self,
        *,
        spec: DataSpec,
        widths: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (40, 80),
        blocks: Annotated[int, Field(ge=1)] = 1,
        passes: Annotated[int, Field(ge=1)] = 4,
        shrink: Literal[1, 2, 4] = 2,
        told: Told = "nothing",
        told_wrong: Annotated[float, Field(ge=0, le=1)] = 0.0,
        takes_masks: bool = False,
        losses: PictureLosses = L1,
        mask_weight: Annotated[float, Field(ge=1)] = 1.0,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
    ) -> None:
        super().__init__(spec, told, told_wrong, takes_masks, losses, mask_weight, lr)
        self.shrink, self.widths, self.trained_passes = shrink, widths, passes
        channels, self.thought = spec.channels * shrink**2, widths[0]
        self.network = UNet(self.in_channels * shrink**2 + channels + self.thought, self.thought, widths, blocks)
        self.tail = nn.Conv2d(self.thought, channels, 3, padding=1, bias=False)

    @property
    def passes(self) -> int:
        """See `Refines`."""
        return self.trained_passes

    def refine(self, images: Tensor, masks: Tensor | None = None, strength: Tensor | None = None) -> Iterator[Tensor]:
        """See `Refines`."""
        return self._refined(images, masks, strength)

    def _passes(self, y: Tensor, seen: Tensor) -> Iterator[Tensor]:
        height, width = y.shape[2:]
        multiple = self.shrink * self.network.multiple
        given = F.pixel_unshuffle(pad_to_multiple(seen, multiple), self.shrink)
        start = F.pixel_unshuffle(pad_to_multiple(y, multiple), self.shrink)
        x, h = start, start.new_zeros((len(y), self.thought, *start.shape[2:]))
        while True:
            h = self.network(torch.cat([given, x, h], 1))
            x = start + self.tail(h)
            yield F.pixel_shuffle(x, self.shrink)[:, :, :height, :width]

    @property
    def reach(self) -> Reach:
        """See `Restores`; the overlap is for the usual number of passes, as influence spreads with each."""
        pictures = 2 * self.in_channels + 6 * self.spec.channels
        numbers = self.network.numbers_held(self.shrink, finest=10) + pictures
        multiple = self.shrink * self.network.multiple
        return self._reach(multiple, max(8 * multiple, 32), numbers)
