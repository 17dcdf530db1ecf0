"""Strokes whose measures are known, scikit-image and scipy, and the factors of published digits."""

from __future__ import annotations

import csv
import gzip
import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.datasets import load_digits

from pentimento.errors import CausalError
from pentimento.studies.outcomes import DIGIT_OUTCOMES, DIGITS, digits, measure_all
from pentimento.studies.outcomes.skeleton import depths, skeletonize


def measured(images):
    return dict(zip(DIGITS, measure_all(DIGIT_OUTCOMES, images).T.numpy(), strict=True))


def bar(width, height, shear=0.0, value=1.0, side=40):
    """(1, 1, side, side): a bar that leans to the right by `shear` px a px of height, 8x8 samples a pixel."""
    grid = (np.arange(side * 8) + 0.5) / 8 - side / 2
    x, y = grid[None, :], grid[:, None]
    inside = (abs(x + shear * y) < width / 2) & (abs(y) < height / 2)
    shares = inside.reshape(side, 8, side, 8).mean((1, 3))
    return torch.from_numpy(value * shares)[None, None].float()


def masks():
    """(N, 64, 64) figures with and without holes, in one and in several parts."""
    small = torch.from_numpy(load_digits().images[:60]).float()[:, None]
    return (torch.nn.functional.interpolate(small, (64, 64), mode="bicubic")[:, 0] > 7).numpy()


def test_a_bar():
    found = measured(bar(width=6, height=30))
    assert found["thickness"] == pytest.approx(6, abs=0.1)
    assert found["area"] == pytest.approx(180, rel=0.02)
    assert found["length"] == pytest.approx(30 - 6, abs=1.5)  # thinning takes about half the width at either end
    assert 0.98 * 6 < found["width"] < 6 + 1.5  # enlarging smooths the sides
    assert found["height"] == pytest.approx(0.98 * 30, abs=0.35)
    assert found["slant"] == pytest.approx(0, abs=1e-6)
    assert found["intensity"] == pytest.approx(255)
    assert found["ink"] == pytest.approx(180 / 1600)


@pytest.mark.parametrize("shear", [-0.5, 0.25, 0.8])
def test_a_leaning_bar(shear):
    found = measured(bar(width=4, height=24, shear=shear))
    assert found["slant"] == pytest.approx(np.arctan(shear), abs=0.02)  # positive to the right, as in /
    assert 0.98 * 4 < found["width"] < 4 + 1.6
    assert found["thickness"] == pytest.approx(4 / np.hypot(1, shear), abs=0.25)


def test_bounding_parallelogram():
    """As the paper defines it: positions of two shares of the mass, counted line by line."""
    images = torch.cat([bar(4, 24, 0.5), torch.rand(1, 1, 40, 40)])
    found, enlarged = measured(images), digits._enlarged(images.double())
    y, x = np.mgrid[:160, :160]
    for k, mass in enumerate(enlarged / enlarged.sum((1, 2), keepdims=True)):
        middle = (y * mass).sum()
        lean = np.tan(found["slant"][k])
        left_of = [mass[x + 0.5 < t - lean * (y - middle)].sum() for t in range(160)]
        above = [mass[y < t].sum() for t in range(160)]
        for name, line in (("width", left_of), ("height", above)):
            low, high = np.interp([0.01, 0.99], line, range(160))
            assert found[name][k] == pytest.approx((high - low) / 4), name


def test_an_ellipse():
    """The second moments of a filled ellipse rotated by 30 degrees say what its shear is."""
    a, b, angle = 12.0, 5.0, np.deg2rad(30)
    grid = np.arange(48) - 23.5
    x, y = grid[None, :], grid[:, None]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    inside = (along / a) ** 2 + (across / b) ** 2 < 1
    u11 = (a**2 - b**2) * np.sin(angle) * np.cos(angle)
    u02 = (a * np.sin(angle)) ** 2 + (b * np.cos(angle)) ** 2
    found = measured(torch.from_numpy(inside)[None, None].float())
    assert found["slant"] == pytest.approx(-np.arctan(u11 / u02), abs=0.03)
    assert found["area"] == pytest.approx(np.pi * a * b, rel=0.02)


def test_what_does_not_matter():
    straight, dim = bar(4, 20, 0.5), bar(4, 20, 0.5, value=0.4)
    ours, dimmer, mirrored = measured(straight), measured(dim), measured(straight.flip(3))
    for name in DIGITS:
        if name != "intensity":
            assert dimmer[name] == pytest.approx(ours[name], rel=0.01), name
    assert dimmer["intensity"] == pytest.approx(0.4 * 255)
    assert mirrored["slant"] == pytest.approx(-ours["slant"], abs=1e-6)
    assert mirrored["thickness"] == pytest.approx(ours["thickness"], rel=0.06)


def test_pictures_without_ink():
    blank = torch.cat([torch.zeros(1, 1, 8, 9), torch.full((1, 1, 8, 9), 0.3)])
    found = measured(blank)
    for name in ("thickness", "length", "area", "slant", "width", "height"):
        assert found[name].tolist() == [0, 0], name
    assert found["intensity"] == pytest.approx([0, 0.3 * 255])


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 2)])
def test_smallest_digits(size):
    assert measure_all(DIGIT_OUTCOMES, torch.rand(3, 1, *size)).isfinite().all()


def test_a_dot_has_a_thickness():
    dot = torch.zeros(1, 1, 9, 9)
    dot[:, :, 4, 4] = 1
    assert 0.5 < measured(dot)["thickness"].item() < 2


@pytest.mark.parametrize("images", [torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 129)])
@pytest.mark.parametrize("outcome", DIGIT_OUTCOMES, ids=DIGITS)
def test_refused(outcome, images):
    size = f"{images.shape[3]}x8 px with {images.shape[1]} channels"
    with pytest.raises(
        CausalError, match=rf"digits: gray pictures of up to 128x128 px expected, got {size}; for others"
    ):
        outcome.measure(images)


# ------------------------------------------------------------------------------------------------ skeletons
def test_skeletons_keep_figures_and_holes():
    figures = masks()
    skeletons = skeletonize(figures)
    assert not (skeletons & ~figures).any()
    for figure, skeleton in zip(figures, skeletons, strict=True):
        for picture, neighbours in ((figure, np.ones((3, 3))), (skeleton, np.ones((3, 3)))):
            assert ndimage.label(picture, neighbours)[1] == ndimage.label(figure, np.ones((3, 3)))[1]
            assert ndimage.label(~np.pad(picture, 1))[1] == ndimage.label(~np.pad(figure, 1))[1]
    assert not ndimage.minimum_filter(skeletons, (1, 2, 2)).any()  # nowhere two pixels wide


def test_small_squares_do_not_vanish():
    figures = np.zeros((5, 7, 7), bool)
    for k, figure in enumerate(figures):
        figure[1 : 2 + k, 1 : 2 + k] = True
    assert (skeletonize(figures).sum((1, 2)) >= 1).all()


def test_against_scikit_image():
    """Its table differs from the paper's rules and leaves more twigs, so that lines agree and their ends may not."""
    morphology = pytest.importorskip("skimage.morphology", reason="needs scikit-image for comparison")
    figures = masks()
    ours = skeletonize(figures)
    theirs = np.array([morphology.skeletonize(figure, method="zhang") for figure in figures])
    far, depth = [], []
    for figure, a, b in zip(figures, ours, theirs, strict=True):
        far.append([ndimage.distance_transform_edt(~x)[y].mean() for x, y in ((a, b), (b, a))])
        inside = ndimage.distance_transform_edt(figure)
        depth.append([inside[a].mean(), inside[b].mean()])
    assert np.median(far, 0).max() < 0.3  # in pixels
    assert np.corrcoef(np.transpose(depth))[0, 1] > 0.99
    assert np.diff(depth).mean() == pytest.approx(0, abs=0.15)


def test_depths_against_scipy():
    figures = np.random.default_rng(0).random((5, 30, 17)) < 0.9
    figures[0, :, 3:9] = True
    points = np.nonzero(figures)
    wanted = np.array([ndimage.distance_transform_edt(figure) for figure in figures])[points]
    assert depths(figures, points) == pytest.approx(wanted)


def test_enlarged_as_scikit_image_does():
    transform = pytest.importorskip("skimage.transform", reason="needs scikit-image for comparison")
    image = np.random.default_rng(0).random((13, 10))
    ours = digits._enlarged(torch.from_numpy(image)[None, None])[0]
    assert np.abs(ours - transform.pyramid_expand(image, upscale=4, order=3)).max() < 1e-12


# -------------------------------------------------------------------------------------------- published digits
def test_factors_of_deepscm(shared_data):
    folder = shared_data("causal/morphomnist-deepscm")
    with (folder / "t10k-morpho.csv").open() as file:
        rows = itertools.islice(csv.DictReader(file), 200)
        asked = [(float(row["thickness"]), float(row["intensity"])) for row in rows]
    thickness, intensity = np.array(asked).T
    found = measured(_first(folder / "t10k-images-idx3-ubyte.gz", 200))
    # The file says what was asked for: thickness was set in steps of 1/16 px and of a disk, intensity was rounded down.
    assert np.corrcoef(found["thickness"], thickness)[0, 1] > 0.97
    assert np.abs(found["thickness"] - thickness).mean() < 0.13
    assert np.abs(found["intensity"] - intensity).mean() < 0.6


def test_factors_of_morpho_mnist(shared_data):
    """Of the first training digit as released; older versions of scikit-image enlarged a little differently."""
    found = measured(_first(shared_data("generation/mnist") / "train-images-idx3-ubyte.gz", 1))
    released = {"area": 107.3125, "thickness": 2.4607, "slant": 0.23107, "width": 14.5396, "height": 19.8491}
    for name, value in released.items():
        assert found[name] == pytest.approx(value, rel=0.05), name


def _first(path, count):
    """Pictures of 28x28 behind the 16 bytes of an idx file's head."""
    with gzip.open(path) as file:
        pixels = file.read(16 + count * 28 * 28)[16:]
    return torch.frombuffer(bytearray(pixels), dtype=torch.uint8).view(count, 1, 28, 28).float() / 255
