"""A convolutional restorer: a U-Net on rearranged pixels that says what to change (after FFDNet, Zhang et al. 2018,
and DRUNet, Zhang et al. 2021).

Blocks of ``shrink x shrink`` pixels become channels, so the network works at half the resolution: four times as fast
as at full one. See `pentimento.restoring` for what it is told and learns from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pentimento.capabilities import Reach
from pentimento.layers import UNet, pad_to_multiple
from pentimento.losses import L1, PictureLosses
from pentimento.model import DataSpec
from pentimento.restoring import RestoringModel, Told

__all__ = ["Restorer"]


class Restorer(RestoringModel):
    """Repairs a picture in one pass.

    Args:
        spec: of the clean pictures.
        widths: channels of the U-Net by level, the finest first.
        blocks: residual blocks on each level, each way.
        shrink: side of the blocks of pixels that become channels.
        scale: of the enlargement.
        told: what is said about the damage in numbers: nothing, the noise, or the JPEG quality.
        told_wrong: share of the pictures, in training, of which that is wrong, up to twice or half.
        takes_masks: whether it is told where pixels are missing.
        losses: weights.
        mask_weight: how many times as much a missing pixel counts.
        lr: learning rate.
    """

    family = "restorer"

    def __init__(
        self,
        *,
        spec: DataSpec,
        widths: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (40, 72, 96, 128),
        blocks: Annotated[int, Field(ge=1)] = 2,
        shrink: Literal[1, 2, 4] = 2,
        scale: Literal[1, 2, 3, 4] = 1,
        told: Told = "nothing",
        told_wrong: Annotated[float, Field(ge=0, le=1)] = 0.0,
        takes_masks: bool = False,
        losses: PictureLosses = L1,
        mask_weight: Annotated[float, Field(ge=1)] = 1.0,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
    ) -> None:
        super().__init__(spec, told, told_wrong, takes_masks, losses, mask_weight, lr)
        self.scale, self.shrink, self.widths = scale, shrink, widths
        self.network = UNet(self.in_channels * shrink**2, spec.channels * (shrink * scale) ** 2, widths, blocks)

    def _passes(self, y: Tensor, seen: Tensor) -> Iterator[Tensor]:
        height, width = y.shape[2:]
        seen = pad_to_multiple(seen, self.shrink * self.network.multiple)
        change = F.pixel_shuffle(self.network(F.pixel_unshuffle(seen, self.shrink)), self.shrink * self.scale)
        start = y if self.scale == 1 else F.interpolate(y, scale_factor=self.scale, mode="bicubic")
        yield start + change[:, :, : self.scale * height, : self.scale * width]

    @property
    def reach(self) -> Reach:
        """See `Restores`."""
        pictures = self.in_channels + 4 * self.spec.channels * self.scale**2
        numbers = self.network.numbers_held(self.shrink) + pictures
        multiple = self.shrink * self.network.multiple
        return self._reach(multiple, max(4 * multiple, 32), numbers)
