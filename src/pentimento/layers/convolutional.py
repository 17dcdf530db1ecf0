"""Networks that run on pictures of any size, because none of their layers looks at the whole."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

__all__ = ["FEATURE_LAYERS", "PatchDiscriminator", "UNet", "feature_stages", "pad_before", "pad_to_multiple"]

FEATURE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """(N, C, H, W) with its last rows and columns mirrored until both sides are divisible by `multiple`.

    Repeated, noise makes streaks, and a network takes those for something seen. Only where there are too few to mirror
    are they repeated.
    """
    height, width = x.shape[2:]
    return _mirrored(x, (0, -width % multiple, 0, -height % multiple))


def pad_before(x: Tensor, above: int, left: int) -> Tensor:
    """(N, C, H, W) with so many of its first rows and columns mirrored, or repeated, before them."""
    return _mirrored(x, (left, 0, above, 0))


def _mirrored(x: Tensor, sides: tuple[int, int, int, int]) -> Tensor:
    if not any(sides):
        return x
    reflected = max(sides[:2]) < x.shape[3] and max(sides[2:]) < x.shape[2]
    return F.pad(x, sides, mode="reflect" if reflected else "replicate")


class UNet(nn.Module):
    """Down through `widths`, halving between them, and up again; features of equal size are added.

    Residual blocks ``x + conv(relu(conv(x)))`` without normalisation and without biases (Zhang et al. 2021, DRUNet):
    scale the input, and the output scales with it, so that what was learned at one strength of noise holds at others
    (Mohan et al. 2020). No layer looks at the whole picture, so it can run in tiles.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        widths: channels by level, the finest first.
        blocks: residual blocks on each level on the way down, as many on the way up; on the coarsest once.
    """

    def __init__(self, in_channels: int, out_channels: int, widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.widths, self.multiple = widths, 2 ** (len(widths) - 1)
        self.head = _conv(in_channels, widths[0])
        steps = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(_blocks(fine, blocks) for fine, _ in steps)
        self.descend = nn.ModuleList(nn.Conv2d(n, m, 2, stride=2, bias=False) for n, m in steps)
        self.ascend = nn.ModuleList(nn.ConvTranspose2d(m, n, 2, stride=2, bias=False) for n, m in reversed(steps))
        self.up = nn.ModuleList(_blocks(fine, blocks) for fine, _ in reversed(steps))
        self.base = _blocks(widths[-1], blocks)
        self.tail = _conv(widths[0], out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H, W); sides divisible by `multiple`."""
        x = first = self.head(x)
        skips = []
        for blocks, halve in zip(self.down, self.descend, strict=True):
            skips.append(blocks(x))
            x = halve(skips[-1])
        x = self.base(x)
        for double, blocks in zip(self.ascend, self.up, strict=True):
            x = blocks(double(x) + skips.pop())
        out: Tensor = self.tail(x + first)
        return out

    def numbers_held(self, shrink: int, finest: int = 6) -> float:
        """At once, for each pixel, where blocks of `shrink` x `shrink` pixels are a position of the input.

        So many maps of the finest level, three of each other; measured.
        """
        return sum((3 if k else finest) * width * 0.25**k for k, width in enumerate(self.widths)) / shrink**2


class PlainBlock(nn.Module):
    """``x + conv(relu(conv(x)))``, (N, C, H, W), without biases."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(channels, channels), nn.ReLU(), _conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


def _conv(n: int, m: int) -> nn.Conv2d:
    return nn.Conv2d(n, m, 3, padding=1, bias=False)


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(PlainBlock(channels) for _ in range(count)))


class PatchDiscriminator(nn.Module):
    """(N, C, H, W) -> (N, H', W') logits, one for each patch of 26 pixels (after Isola et al. 2017, section 3.2.2)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * width, 1, 3, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Of images in [0, 1]."""
        below, right = (max(0, 4 - n) for n in images.shape[2:])
        images = F.pad(images, (0, right, 0, below), mode="replicate")  # so that the smallest have a patch
        logits: Tensor = self.body(images * 2 - 1)[:, 0]
        return logits


def feature_stages(widths: Sequence[int]) -> nn.ModuleDict:
    """The beginning of a VGG: a stage for each map, of `widths` channels, by layer; each halves, rounding up.

    (N, 3, H, W) in [-1, 1] -> (N, widths[0], H, W) -> (N, widths[1], H / 2, W / 2) -> ...
    """

    def conv(n: int, m: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(n, m, 3, padding=1, padding_mode="replicate"), nn.ReLU())

    stages = [conv(3, widths[0])]
    stages += [
        nn.Sequential(conv(n, n), nn.MaxPool2d(2, ceil_mode=True), conv(n, m)) for n, m in itertools.pairwise(widths)
    ]
    return nn.ModuleDict(dict(zip(FEATURE_LAYERS, stages, strict=False)))  # as many as there are widths
