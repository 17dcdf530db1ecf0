"""Finds damage in pictures: a U-Net that says for each pixel how likely it is part of a scratch, a crease or dust."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pentimento.capabilities import Reach
from pentimento.data.fit import recolour
from pentimento.errors import ModelError
from pentimento.layers import UNet, pad_to_multiple
from pentimento.model import Batch, DataSpec, Model, Player
from pentimento.runtime import Draws

__all__ = ["Detector"]


class Detector(Model):
    """(N, C, H, W) images -> (N, 1, H, W) probability of damage.

    Args:
        spec: of the pictures.
        widths: channels of the U-Net by level, the finest first.
        blocks: residual blocks on each level, each way.
        shrink: side of the blocks of pixels that become channels.
        lr: learning rate.
    """

    family = "detector"
    monitor = "loss"

    def __init__(
        self,
        *,
        spec: DataSpec,
        widths: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (24, 48, 96),
        blocks: Annotated[int, Field(ge=1)] = 1,
        shrink: Literal[1, 2, 4] = 2,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
    ) -> None:
        super().__init__()
        self.shrink, self.widths, self.lr = shrink, widths, lr
        self.network = UNet((spec.channels + 1) * shrink**2, shrink**2, widths, blocks)

    def players(self) -> tuple[Player, ...]:
        """One."""
        return (Player("detector", ("network",), optimizer="adamw", lr=self.lr, betas=(0.9, 0.99)),)

    def loss(self, player: str, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """See `Model.loss`: cross-entropy plus Dice's loss, which does not drown in the many sound pixels.

        ``1 - (2 sum pm + 1) / (sum p + sum m + 1)`` over the batch, without the squares of Milletari et al. 2016
        (as Sudre et al. 2017); `"dice"` is that quotient after a threshold of 1/2.
        """
        logits, there = self._logits(batch.images).float(), self._masks(batch)
        found = logits.sigmoid()
        entropy = F.binary_cross_entropy_with_logits(logits, there)
        return {"loss": entropy + 1 - _dice(found, there), "dice": _dice((found > 0.5).float(), there)}

    def check(self, batch: Batch) -> None:
        """See `Model.check`."""
        self._masks(batch)

    def _masks(self, batch: Batch) -> Tensor:
        if batch.masks is None:
            raise ModelError("detector: learns where damage is; add a step to [[degrade]] that makes some")
        return batch.masks

    def _logits(self, images: Tensor) -> Tensor:
        images = recolour(images, self.spec.channels)
        height, width = images.shape[2:]
        # A channel of ones stands in for the biases that the network does not have.
        x = F.pad(images - 0.5, (0, 0, 0, 0, 0, 1), value=1.0)
        x = F.pixel_unshuffle(pad_to_multiple(x, self.shrink * self.network.multiple), self.shrink)
        return F.pixel_shuffle(self.network(x), self.shrink)[:, :, :height, :width]

    # -------------------------------------------------------------------------------------- capabilities
    @property
    def reach(self) -> Reach:
        """See `Detects`."""
        multiple, numbers = self.shrink * self.network.multiple, self.network.numbers_held(self.shrink) + 12
        return Reach(multiple, overlap_px=max(4 * multiple, 32), bytes_per_px=round(4 * numbers))

    def detect(self, images: Tensor) -> Tensor:
        """See `Detects`."""
        return self._logits(images).float().sigmoid()


def _dice(found: Tensor, there: Tensor) -> Tensor:
    return (2 * (found * there).sum() + 1) / (found.sum() + there.sum() + 1)
