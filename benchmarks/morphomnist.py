"""Digits of Morpho-MNIST as Pawlowski et al. 2020 made them: MNIST brought to a thickness, then to an intensity.

    t, i -> thickness in px, and intensity of 255, of a row of `train-morpho.csv`
    t    = 0.5 + Gamma(10, rate 5)
    i    = 64 + 191 sigmoid(2 t - 5 + 0.5 eps)
    sd   -> signed distance to the edge of the ink, in an enlarged picture; negative within

Their training pictures are not handed out, and are made again here. In theirs, ink grows or wears off by whole pixels
of a sixteen-fold enlargement; ours moves its edge by fractions of a pixel in a fourfold one, which takes a tenth of the
time. Run as a script, this says how far ours are from the 10,000 test pictures that are handed out, and writes a folder
of pictures with a metadata.csv, ready for `pentimento train`.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy import ndimage

from pentimento.studies.outcomes.digits import intensity, strokes

__all__ = ["Digits", "brought_to", "given", "read_idx", "remade"]

SCALE = 4
SMOOTHING = SCALE / 3  # of the enlargement, as scikit-image's pyramids: a sixth of twice the factor
GIVEN, MNIST = "causal/morphomnist-deepscm", "generation/mnist"
PARTS = {"train": "train", "test": "t10k"}

Bytes = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]


class Digits:
    """Pictures with what decides them.

    Args:
        images: (N, 28, 28).
        labels: (N,).
        factors: thickness and intensity, (N, 2).
    """

    def __init__(self, images: Bytes, labels: Bytes, factors: Array) -> None:
        self.images, self.labels, self.factors = images, labels, factors


def given(data: Path) -> Digits:
    """The 10,000 test pictures of the authors."""
    folder = data / GIVEN
    labels = read_idx(folder / "t10k-labels-idx1-ubyte.gz")
    return Digits(read_idx(folder / "t10k-images-idx3-ubyte.gz"), labels, _factors(folder / "t10k-morpho.csv"))


def remade(data: Path, part: str, count: int | None = None) -> Digits:
    """The first `count` digits of MNIST, of part ``train`` or ``test``, brought to the authors' factors."""
    name = PARTS[part]
    images = read_idx(data / MNIST / f"{name}-images-idx3-ubyte.gz")[:count]
    labels = read_idx(data / MNIST / f"{name}-labels-idx1-ubyte.gz")[:count]
    factors = _factors(data / GIVEN / f"{name}-morpho.csv")[:count]
    as_they_are = _thicknesses(images)
    made = [brought_to(image, t, i, own) for image, (t, i), own in zip(images, factors, as_they_are, strict=True)]
    return Digits(np.stack(made), labels, factors)


def brought_to(image: Bytes, thickness: float, value: float, own_thickness: float) -> Bytes:
    """One digit (28, 28) of a thickness of its own, in px, with strokes of another one and ink of another value."""
    ring = np.pad(image.astype(np.float64), 2, mode="edge")
    large = ndimage.zoom(ring, SCALE, order=3, mode="grid-constant", grid_mode=True)
    large = ndimage.gaussian_filter(large[2 * SCALE : -2 * SCALE, 2 * SCALE : -2 * SCALE], SMOOTHING)
    ink = large >= (large.min() + large.max()) / 2
    inside, outside = ndimage.distance_transform_edt(ink), ndimage.distance_transform_edt(~ink)
    distance = np.where(ink, 0.5 - inside, outside - 0.5)
    grown = np.clip(0.5 - (distance - SCALE * (thickness - own_thickness) / 2), 0, 1)
    small = ndimage.zoom(
        ndimage.gaussian_filter(grown, SMOOTHING), 1 / SCALE, order=1, mode="grid-constant", grid_mode=True
    )
    median = np.median(small[small >= small.max() / 2])
    return np.clip(small * (value / median), 0, 255).astype(np.uint8) if median else np.zeros_like(image)


def read_idx(path: Path) -> Bytes:
    """The array of a gzipped file of MNIST's format."""
    raw = gzip.decompress(path.read_bytes())
    sides = [int.from_bytes(raw[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(sides)


def _factors(path: Path) -> Array:
    """Thickness and intensity, (N, 2)."""
    return np.loadtxt(path, delimiter=",", skiprows=1)[:, 1:]


def _thicknesses(images: Bytes) -> Array:
    return np.asarray(strokes(_tensor(images))[:, 0])


def _tensor(images: Bytes) -> torch.Tensor:
    return torch.from_numpy(images.copy()).float()[:, None] / 255


def agreement(data: Path, count: int) -> dict[str, float]:
    """How far test pictures made here are from the given ones, and both from what was asked for."""
    ours, theirs = remade(data, "test", count), given(data)
    found = {"mean absolute difference of 255": np.abs(ours.images - theirs.images[:count].astype(float)).mean()}
    for name, made in (("ours", ours.images), ("theirs", theirs.images[:count])):
        asked = ours.factors
        found[f"{name}: thickness off by, px"] = np.abs(_thicknesses(made) - asked[:, 0]).mean()
        found[f"{name}: intensity off by, of 255"] = np.abs(np.asarray(intensity(_tensor(made))) - asked[:, 1]).mean()
    return {name: float(value) for name, value in found.items()}


def write_folder(digits: Digits, folder: Path) -> None:
    """PNG files and a metadata.csv."""
    folder.mkdir(parents=True)
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["file_name", "label", "thickness", "intensity"])
        for n, (image, label, (t, i)) in enumerate(zip(digits.images, digits.labels, digits.factors, strict=True)):
            name = f"{n:05}.png"
            Image.fromarray(image).save(folder / name)
            rows.writerow([name, int(label), f"{t:.6g}", f"{i:.6g}"])


def main() -> None:
    """See the module."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=Path(os.environ.get("PENTIMENTO_DATA", "../shared/data")))
    options.add_argument("--check", type=int, default=1000, help="test pictures to compare")
    options.add_argument("--count", type=int, default=60000, help="training pictures to write")
    options.add_argument("--out", type=Path, help="folder to write")
    chosen = options.parse_args()
    for name, value in agreement(chosen.data, chosen.check).items():
        print(f"{name}: {value:.3f}")
    if chosen.out:
        write_folder(remade(chosen.data, "train", chosen.count), chosen.out)


if __name__ == "__main__":
    main()
