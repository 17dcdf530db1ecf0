"""Denoisers of others that benchmarks hold ours against: read from the shared weights, never shipped, never trained.

All are from the folder ``weights/denoisers``, as their authors published them: DnCNN (Zhang et al. 2017) and FFDNet
(Zhang et al. 2018), plain convolutions with biases, batch normalisation merged into them. Images go in and come out as
(N, C, H, W) about [0, 1]; noise is not clipped.

MATLAB's files are HDF5 and are read with h5py. MATLAB stores columns first, so that a kernel (rows, columns, in, out)
appears as (out, in, columns, rows), and FFDNet numbers the four pixels of a block column by column.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from reporting import shared

__all__ = ["DNCNN", "DnCNN", "FFDNet", "load_dncnn", "load_ffdnet"]

FOLDER = "weights/denoisers"
BLOCK = 2  # FFDNet works on blocks of 2x2 pixels
BY_ROWS = (0, 2, 1, 3)  # pixels of a block column by column -> row by row, and back
# What each file holds: the name a table gives it.
DNCNN = {
    "GD_Color_Blind.mat": "blind colour DnCNN",
    "GD_Gray_Blind.mat": "blind gray DnCNN",
    "DnCNN3.mat": "DnCNN-3",
    "dncnn_25.pth": "DnCNN for sigma 25",
}

Layer = tuple[Tensor, Tensor]  # (out, in, rows, columns) kernel and (out,) bias


class DnCNN(nn.Module):
    """Convolutions of 3x3 with ReLUs between; they find the noise, or another damage, which is taken away.

    Args:
        layers: kernels and biases, in order.
    """

    def __init__(self, layers: list[Layer]) -> None:
        super().__init__()
        self.channels = layers[0][0].shape[1]
        self.body = _convolutions(layers)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) cleaned images."""
        cleaned: Tensor = images - self.body(images)
        return cleaned


class FFDNet(nn.Module):
    """Convolutions of 3x3 with ReLUs between, on blocks of 2x2 pixels and a map that tells how strong the noise is.

    Args:
        layers: kernels and biases, in order, with the pixels of a block row by row.
    """

    def __init__(self, layers: list[Layer]) -> None:
        super().__init__()
        self.channels = layers[-1][0].shape[0] // BLOCK**2
        self.body = _convolutions(layers)

    def forward(self, images: Tensor, sigma: float) -> Tensor:
        """(N, C, H, W) cleaned images.

        Args:
            images: of any size; an odd side is made even by repeating its last row or column, as upstream does.
            sigma: standard deviation of the noise, on the scale of 0 to 255.
        """
        height, width = images.shape[2:]
        even = F.pad(images, (0, width % BLOCK, 0, height % BLOCK), mode="replicate")
        blocks = F.pixel_unshuffle(even, BLOCK)
        told = blocks.new_full((len(blocks), 1, *blocks.shape[2:]), sigma / 255)
        cleaned = F.pixel_shuffle(self.body(torch.cat([blocks, told], 1)), BLOCK)
        return cleaned[..., :height, :width]


def _convolutions(layers: list[Layer]) -> nn.Sequential:
    body = list[nn.Module]()
    for kernel, bias in layers:
        convolution = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1)
        convolution.weight, convolution.bias = nn.Parameter(kernel), nn.Parameter(bias)
        body += [convolution, nn.ReLU(inplace=True)]
    return nn.Sequential(*body[:-1])


# ------------------------------------------------------------------------------------------------- reading
def load_dncnn(name: str) -> DnCNN:
    """The DnCNN of the file `name`, one of `DNCNN`."""
    path = shared(f"{FOLDER}/{name}")
    layers = _read_torch(path) if path.suffix == ".pth" else _read_matlab(path)
    return DnCNN(layers).eval().requires_grad_(False)


def load_ffdnet(channels: int) -> FFDNet:
    """The FFDNet for gray (1) or colour (3)."""
    layers = _read_matlab(shared(f"{FOLDER}/FFDNet_{'color' if channels == 3 else 'gray'}.mat"))
    order = [BLOCK**2 * c + p for c, p in itertools.product(range(channels), BY_ROWS)]
    (first, bias), (last, last_bias) = layers[0], layers[-1]
    layers[0] = (first[:, [*order, BLOCK**2 * channels]], bias)
    layers[-1] = (last[order], last_bias[order])
    return FFDNet(layers).eval().requires_grad_(False)


def _read_torch(path: Path) -> list[Layer]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    return [(state[name], state[name.replace("weight", "bias")]) for name in state if name.endswith("weight")]


def _read_matlab(path: Path) -> list[Layer]:
    try:
        import h5py
    except ImportError:
        sys.exit(f"{path.name}: needs h5py (pip install --no-deps h5py)")

    with h5py.File(path) as file:
        layers = [file[reference] for reference in file["net/layers"][()].flat]
        pairs = [[_array(file[r]) for r in layer["weights"][()].flat] for layer in layers if _type(layer) == "conv"]
    # A kernel of one output has lost that axis, for MATLAB drops what is 1 at the end.
    kernels = [kernel[None] if kernel.ndim == 3 else kernel for kernel, _ in pairs]
    return [
        (kernel.transpose(2, 3).contiguous(), bias.flatten()) for kernel, (_, bias) in zip(kernels, pairs, strict=True)
    ]


def _array(stored: Any) -> Tensor:
    return torch.from_numpy(stored[()])


def _type(layer: Any) -> str:
    return "".join(map(chr, layer["type"][()].flat))
