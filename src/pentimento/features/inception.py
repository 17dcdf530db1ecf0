"""Inception-v3 as the Fréchet Inception Distance knows it: the TensorFlow graph of 2015-12-05, weights and quirks.

Szegedy et al. 2016, section 6; Heusel et al. 2017. It differs from the network of the paper where the TensorFlow
graph does: average pools do not count the border, and the last block takes a maximum instead of an average. Tensor
names are those of torchvision and of the weights file of pytorch-fid.

    Conv2d_*  convolutions at the entrance        Mixed_*  blocks of chains of convolutions, side by side
    pool3     the mean of Mixed_7c over the picture: (N, 2048), the vector of the distance
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pentimento.data.fit import recolour
from pentimento.features.network import Features, PublishedNetwork

__all__ = ["Inception", "resize_tf1"]

SIZE_PX = 299
CLASS_COUNT = 1008  # ImageNet's 1000, and 8 that were never used


def resize_tf1(images: Tensor, height: int, width: int) -> Tensor:
    """Bilinear as in TensorFlow 1 without ``align_corners``: output pixel i looks at ``i * H / height``.

    That puts the corners, not the centres, of the first pixels on one another, and shrinking does not antialias.

    Args:
        images: (N, C, H, W) float32.
        height: of the output.
        width: of the output.
    """
    for axis, size in ((3, width), (2, height)):
        count = images.shape[axis]
        place = torch.arange(size, dtype=images.dtype, device=images.device) * (count / size)
        low = place.long()
        share = (place - low).view(-1, *[1] * (3 - axis))
        near, far = images.index_select(axis, low), images.index_select(axis, (low + 1).clamp(max=count - 1))
        images = near + (far - near) * share
    return images


class Inception(PublishedNetwork):
    """Pictures are rounded to 8 bits, resized to 299x299 and mapped to [-1, 1) as ``(x - 128) / 128``.

    Rounding lets the gradient through unchanged. The probabilities are those of the Inception Score (Salimans et al.
    2016) as torch-fidelity computes it: 1008 classes, logits without their bias.
    """

    kind = "Inception-v3 of the Fréchet Inception Distance"
    dim = 2048
    resizer = f"bilinear {SIZE_PX}x{SIZE_PX}, TensorFlow 1 alignment, rounded to 8 bits"

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Convolution(3, 32, 3, stride=2, padding="valid")
        self.Conv2d_2a_3x3 = _Convolution(32, 32, 3, padding="valid")
        self.Conv2d_2b_3x3 = _Convolution(32, 64, 3)
        self.Conv2d_3b_1x1 = _Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = _Convolution(80, 192, 3, padding="valid")
        self.Mixed_5b = _Mixed35(192, pooled=32)
        self.Mixed_5c = _Mixed35(256, pooled=64)
        self.Mixed_5d = _Mixed35(288, pooled=64)
        self.Mixed_6a = _ShrinkTo17(288)
        self.Mixed_6b = _Mixed17(768, inner=128)
        self.Mixed_6c = _Mixed17(768, inner=160)
        self.Mixed_6d = _Mixed17(768, inner=160)
        self.Mixed_6e = _Mixed17(768, inner=192)
        self.Mixed_7a = _ShrinkTo8(768)
        self.Mixed_7b = _Mixed8(1280, pool="average")
        self.Mixed_7c = _Mixed8(2048, pool="maximum")
        self.fc = nn.Linear(2048, CLASS_COUNT)

    def forward(self, images: Tensor) -> Features:
        """See `FeatureNetwork.forward`."""
        x = _prepare(images)  # (N, 3, 299, 299)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # (N, 64, 147, 147)
        x = F.max_pool2d(x, 3, stride=2)  # (N, 64, 73, 73)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))  # (N, 192, 71, 71)
        x = F.max_pool2d(x, 3, stride=2)  # (N, 192, 35, 35)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))  # (N, 288, 35, 35)
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))  # (N, 768, 17, 17)
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))  # (N, 2048, 8, 8)
        vectors = x.mean((2, 3)).float()
        return Features(vectors, F.linear(vectors, self.fc.weight).softmax(1))


def _prepare(images: Tensor) -> Tensor:
    """What the network looks at, see `Inception`."""
    levels = recolour(images, 3) * 255
    levels = levels.detach().round() + (levels - levels.detach())  # its value is the first term, exactly
    return (resize_tf1(levels, SIZE_PX, SIZE_PX) - 128) / 128


class _Convolution(nn.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: Literal["same", "valid"] = "same",
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


def _average(x: Tensor) -> Tensor:
    """The mean of the 3x3 neighbours that are inside."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class _Mixed35(nn.Module):
    """At 35x35: ``224 + pooled`` channels."""

    def __init__(self, channels: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = _Convolution(channels, 64, 1)
        self.branch5x5_1 = _Convolution(channels, 48, 1)
        self.branch5x5_2 = _Convolution(48, 64, 5)
        self.branch3x3dbl_1 = _Convolution(channels, 64, 1)
        self.branch3x3dbl_2 = _Convolution(64, 96, 3)
        self.branch3x3dbl_3 = _Convolution(96, 96, 3)
        self.branch_pool = _Convolution(channels, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        once = self.branch5x5_2(self.branch5x5_1(x))
        twice = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(_average(x))], 1)


class _ShrinkTo17(nn.Module):
    """35x35 to 17x17: ``480 + channels`` channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch3x3 = _Convolution(channels, 384, 3, stride=2, padding="valid")
        self.branch3x3dbl_1 = _Convolution(channels, 64, 1)
        self.branch3x3dbl_2 = _Convolution(64, 96, 3)
        self.branch3x3dbl_3 = _Convolution(96, 96, 3, stride=2, padding="valid")

    def forward(self, x: Tensor) -> Tensor:
        twice = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), twice, F.max_pool2d(x, 3, stride=2)], 1)


class _Mixed17(nn.Module):
    """At 17x17, 7x7 neighbourhoods as rows and columns: 768 channels."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        row, column = (1, 7), (7, 1)
        self.branch1x1 = _Convolution(channels, 192, 1)
        self.branch7x7_1 = _Convolution(channels, inner, 1)
        self.branch7x7_2 = _Convolution(inner, inner, row)
        self.branch7x7_3 = _Convolution(inner, 192, column)
        self.branch7x7dbl_1 = _Convolution(channels, inner, 1)
        self.branch7x7dbl_2 = _Convolution(inner, inner, column)
        self.branch7x7dbl_3 = _Convolution(inner, inner, row)
        self.branch7x7dbl_4 = _Convolution(inner, inner, column)
        self.branch7x7dbl_5 = _Convolution(inner, 192, row)
        self.branch_pool = _Convolution(channels, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(_average(x))], 1)


class _ShrinkTo8(nn.Module):
    """17x17 to 8x8: ``512 + channels`` channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch3x3_1 = _Convolution(channels, 192, 1)
        self.branch3x3_2 = _Convolution(192, 320, 3, stride=2, padding="valid")
        self.branch7x7x3_1 = _Convolution(channels, 192, 1)
        self.branch7x7x3_2 = _Convolution(192, 192, (1, 7))
        self.branch7x7x3_3 = _Convolution(192, 192, (7, 1))
        self.branch7x7x3_4 = _Convolution(192, 192, 3, stride=2, padding="valid")

    def forward(self, x: Tensor) -> Tensor:
        short = self.branch3x3_2(self.branch3x3_1(x))
        long = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([short, long, F.max_pool2d(x, 3, stride=2)], 1)


class _Mixed8(nn.Module):
    """At 8x8, rows and columns side by side: 2048 channels."""

    def __init__(self, channels: int, pool: Literal["average", "maximum"]) -> None:
        super().__init__()
        row, column = (1, 3), (3, 1)
        self.pool = pool
        self.branch1x1 = _Convolution(channels, 320, 1)
        self.branch3x3_1 = _Convolution(channels, 384, 1)
        self.branch3x3_2a = _Convolution(384, 384, row)
        self.branch3x3_2b = _Convolution(384, 384, column)
        self.branch3x3dbl_1 = _Convolution(channels, 448, 1)
        self.branch3x3dbl_2 = _Convolution(448, 384, 3)
        self.branch3x3dbl_3a = _Convolution(384, 384, row)
        self.branch3x3dbl_3b = _Convolution(384, 384, column)
        self.branch_pool = _Convolution(channels, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        once = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        wide = [self.branch3x3_2a(once), self.branch3x3_2b(once)]
        wider = [self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice)]
        pooled = _average(x) if self.pool == "average" else F.max_pool2d(x, 3, stride=1, padding=1)
        return torch.cat([self.branch1x1(x), *wide, *wider, self.branch_pool(pooled)], 1)
