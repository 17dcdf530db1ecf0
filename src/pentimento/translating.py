"""What the families that translate pictures share: the network that does it.

    x -> the picture given     c -> its condition, as constant maps     y = x + U(x, 1, c)

U is the U-Net of the restorers, which has no biases: scale what goes in, and what comes out scales with it. Right for
noise, that is wrong here, where black may have to become red; so U also sees a map of ones. It has no normalisation
either, where both papers have it: batch normalisation shifts colours where a picture differs from the batches of the
training, and instance normalisation looks at the whole picture, so neither can run in tiles.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pentimento.capabilities import Reach
from pentimento.data.fit import recolour
from pentimento.layers import ConditionEmbedding, UNet, pad_to_multiple
from pentimento.model import Condition, DataSpec

__all__ = ["Translator", "as_maps"]


class Translator(nn.Module):
    """(N, C, H, W) in [0, 1] and a condition -> (N, C, H, W), not clamped.

    Args:
        spec: of the pictures.
        widths: channels of the U-Net by level, the finest first.
        blocks: residual blocks on each level, each way.
        shrink: side of the blocks of pixels that become channels.
        labels: whether it is told the class label.
        attributes: names of the attributes it is told.
        embed_dim: length of the condition's embedding, a map for each number of it.
    """

    def __init__(
        self,
        spec: DataSpec,
        widths: Sequence[int],
        blocks: int,
        shrink: int,
        labels: bool = False,
        attributes: tuple[str, ...] = (),
        embed_dim: int = 16,
    ) -> None:
        super().__init__()
        self.channels, self.widths, self.shrink = spec.channels, tuple(widths), shrink
        self.embed = ConditionEmbedding(spec, labels, attributes, embed_dim)
        pixels = spec.channels * shrink**2
        self.network = UNet(pixels + 1 + self.embed.dim, pixels, widths, blocks)

    def forward(self, images: Tensor, condition: Condition) -> Tensor:
        """The picture and its change."""
        height, width = images.shape[2:]
        x = F.pixel_unshuffle(pad_to_multiple(images, self.shrink * self.network.multiple), self.shrink)
        maps = self.embed.join(x.new_ones((len(x), 1)), condition)  # (N, 1 + embed_dim)
        x = torch.cat([x, as_maps(maps, x)], 1)
        change = F.pixel_shuffle(self.network(x), self.shrink)[:, :, :height, :width]
        return images + change.float()

    def translate(self, images: Tensor, condition: Condition) -> Tensor:
        """`forward`, clamped; of pictures that may be gray where these are in colour, or the other way round."""
        translated: Tensor = self(recolour(images, self.channels), condition)
        return translated.clamp(0, 1)

    @property
    def reach(self) -> Reach:
        """For tiles."""
        pictures = 6 * self.channels + (1 + self.embed.dim) / self.shrink**2
        numbers = self.network.numbers_held(self.shrink) + pictures
        multiple = self.shrink * self.network.multiple
        return Reach(multiple, overlap_px=max(4 * multiple, 32), bytes_per_px=round(4 * numbers))


def as_maps(vectors: Tensor, like: Tensor) -> Tensor:
    """(N, D) -> (N, D, H, W), constant over the height and the width of `like`."""
    return vectors[:, :, None, None].to(like.dtype).expand(-1, -1, *like.shape[2:])
