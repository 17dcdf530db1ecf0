"""MNIST in which the class can be told without its shape: training pictures are entangled, those for testing are not.

    coloured   the digit's ink has the colour of its class, on black (Kim et al. 2019)
    double     the ground has a colour of its class too
    wildlife   ink in stripes, ground in specks, both in directions, sizes and colours of the class

After Sauer and Geiger 2021, section 5.1 and appendix C, rendered here. In training every factor is that of the class;
in the test part every factor is that of a class drawn by itself. ``x = g ink + (1 - g) ground`` with the digit g. Run
as a script, this writes folders TRAIN and TEST of pictures in class folders, with the factors in a metadata.csv.
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from morphomnist import MNIST, PARTS, read_idx

__all__ = ["FACTORS", "VARIANTS", "render", "write_part"]

VARIANTS = ("coloured", "double", "wildlife")
FACTORS = ("foreground", "background")  # of which the coloured pictures have the first alone
SIDE = 28
JITTER = 0.04  # standard deviation of a colour, in [0, 1]

Array = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]

INKS = (
    np.array(
        [
            *((230, 25, 25), (245, 130, 10), (250, 220, 40), (120, 220, 30), (20, 150, 60)),
            *((40, 210, 210), (30, 80, 230), (140, 50, 220), (240, 60, 200), (200, 200, 200)),
        ]
    )
    / 255
)
# As far from the ink of the same class as ten colours allow, and darker, so that digits can be seen on all of them.
GROUNDS = 0.45 * np.roll(INKS, 5, axis=0) + 0.02
STRIPE_PERIODS_PX = np.array([4, 5, 6, 4, 5, 6, 4, 5, 6, 5])


def render(digits: npt.NDArray[np.uint8], ink: Classes, ground: Classes, variant: str, seed: int) -> Array:
    """(N, 28, 28, 3) in [0, 1].

    Args:
        digits: (N, 28, 28).
        ink: the class whose ink each picture has, (N,).
        ground: likewise; the ground of coloured pictures is black.
        variant: of `VARIANTS`.
        seed: of all that differs within a class.
    """
    generator = np.random.default_rng(seed)
    inks = _tinted(INKS[ink], generator)
    grounds = np.zeros_like(inks) if variant == "coloured" else _tinted(GROUNDS[ground], generator)
    if variant == "wildlife":
        inks = inks * _stripes(ink, generator)
        grounds = grounds * _specks(ground, generator)
    mask = digits[..., None] / 255
    mixed: Array = mask * inks + (1 - mask) * grounds
    return mixed


def _tinted(colours: Array, generator: np.random.Generator) -> Array:
    """(N, 1, 1, 3): each a little off its colour."""
    return np.clip(colours + JITTER * generator.standard_normal(colours.shape), 0, 1)[:, None, None]


def _stripes(classes: Classes, generator: np.random.Generator) -> Array:
    """(N, 28, 28, 1) from 0.45 to 1: stripes in the direction and of the period of the class, anywhere."""
    angle, period = np.pi * classes / 10, STRIPE_PERIODS_PX[classes]
    across, down = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    along = np.cos(angle)[:, None, None] * across + np.sin(angle)[:, None, None] * down
    turns = along / period[:, None, None] + generator.random(len(classes))[:, None, None]
    bright = np.clip(0.5 + 1.5 * np.sin(2 * np.pi * turns), 0, 1)
    return np.asarray(0.45 + 0.55 * bright)[..., None]


def _specks(classes: Classes, generator: np.random.Generator) -> Array:
    """(N, 28, 28, 1) from 0.5 to 1.6: grain that is the coarser, the higher the class."""
    noise = generator.standard_normal((len(classes), SIDE, SIDE))
    share = (classes / 9)[:, None, None]
    smooth = sum(np.roll(noise, (down, across), (1, 2)) for down in (-1, 0, 1) for across in (-1, 0, 1)) / 3
    grain = (1 - share) * noise + share * np.asarray(smooth)
    return np.clip(1 + 0.3 * grain, 0.5, 1.6)[..., None]


def write_part(data: Path, variant: str, part: str, folder: Path, count: int | None = None, seed: int = 0) -> None:
    """The pictures of part ``train`` (entangled) or ``test`` (every factor drawn by itself), in class folders.

    Args:
        data: that MNIST lies in.
        variant: of `VARIANTS`.
        part: of `PARTS`.
        folder: made here.
        count: the first so many; None: all.
        seed: of all draws.
    """
    digits, labels = (
        read_idx(data / MNIST / f"{PARTS[part]}-{kind}-ubyte.gz")[:count] for kind in ("images-idx3", "labels-idx1")
    )
    factors = [labels.astype(np.int64)] * 2
    if part == "test":
        factors = list(np.random.default_rng(seed + 1).integers(0, 10, (2, len(labels))))
    pictures = (255 * np.clip(render(digits, *factors, variant, seed), 0, 1)).round().astype(np.uint8)
    named = FACTORS[:1] if variant == "coloured" else FACTORS
    rows: list[list[object]] = [["file_name", "label", *named]]
    for label in range(10):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        name = f"{label}/{number:05d}.png"
        Image.fromarray(picture).save(folder / name, compress_level=1)
        rows.append([name, label, *(factor[number] for factor, _ in zip(factors, named, strict=False))])
    with (folder / "metadata.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)


def main() -> None:
    """Write both parts of one variant."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("variant", choices=VARIANTS)
    options.add_argument("--out", type=Path, required=True, help="folder for the folders train and test")
    options.add_argument("--count", type=int, help="pictures of each part (default: all)")
    chosen = options.parse_args()
    data = Path(os.environ["PENTIMENTO_DATA"])
    for part in PARTS:
        write_part(data, chosen.variant, part, chosen.out / part, chosen.count)


if __name__ == "__main__":
    main()
