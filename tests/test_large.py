"""Pictures larger than memory: the same picture as `images.read` sees, in windows; written whole or not at all."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from pentimento import images, large
from pentimento.errors import ImageError, MissingExtraError, NotFoundError, StorageError
from pentimento.images import Picture
from pentimento.provenance import Provenance

vips = pytest.importorskip("pyvips")


def _random(*shape: int, bits: int = 8) -> Any:
    kind = np.uint8 if bits == 8 else np.uint16
    return np.random.default_rng([bits, *shape]).integers(0, 2**bits, shape).astype(kind)


def _swapped_profile() -> bytes:
    """An RGB profile whose red is sRGB's green and the other way round: no value keeps its colour."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    table = bytes(data)
    for old, new in [(b"rXYZ", b"gXYZ"), (b"gXYZ", b"rXYZ")]:
        place = table.index(old)
        data[place : place + 4] = new
    return bytes(data)


def _exif(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    exif[270] = "Musée".encode()
    exif[34665] = {36867: "2020:01:02 03:04:05", 33434: 0.005}
    exif[34853] = {1: "N", 2: (1.0, 2.0, 3.5)}
    return exif.tobytes()


def _saved(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def _tiled(path: Path, samples: Any, interpretation: str, **fields: Any) -> Path:
    image = vips.Image.new_from_array(samples, interpretation=interpretation).copy()
    for name, value in fields.items():
        kind = vips.GValue.gint_type if isinstance(value, int) else vips.GValue.blob_type
        image.set_type(kind, name.replace("_", "-"), value)
    image.tiffsave(str(path), tile=True, tile_width=16, tile_height=16, compression="deflate")
    return path


# ---------------------------------------------------------------------------------------------- reading
CASES = {
    "tiled": lambda p: _tiled(p / "x.tif", _random(50, 70, 3), "srgb"),
    "tiled, turned": lambda p: _tiled(p / "x.tif", _random(50, 70, 3), "srgb", orientation=6),
    "tiled, mirrored": lambda p: _tiled(p / "x.tif", _random(50, 70, 3), "srgb", orientation=7),
    "16 bit, alpha": lambda p: _tiled(p / "x.tif", _random(50, 70, 4, bits=16), "rgb16"),
    "16 bit gray": lambda p: _tiled(p / "x.tif", _random(50, 70, bits=16), "grey16"),
    "profile": lambda p: _tiled(p / "x.tif", _random(50, 70, 3), "srgb", icc_profile_data=_swapped_profile()),
    "16 bit profile": lambda p: _tiled(
        p / "x.tif", _random(50, 70, 3, bits=16), "rgb16", icc_profile_data=_swapped_profile()
    ),
    "broken profile": lambda p: _tiled(p / "x.tif", _random(50, 70, 3), "srgb", icc_profile_data=b"junk"),
    "CMYK": lambda p: _tiled(p / "x.tif", _random(50, 70, 4), "cmyk"),
    "JPEG": lambda p: _saved(Image.fromarray(_random(50, 70, 3)), p / "x.jpg", exif=_exif(8), quality=95),
    "CMYK JPEG": lambda p: _saved(Image.frombytes("CMYK", (70, 50), _random(50, 70, 4).tobytes()), p / "x.jpg"),
    "palette": lambda p: _saved(Image.fromarray(_random(50, 70, 3)).quantize(64), p / "x.png"),
    "one bit": lambda p: _saved(Image.fromarray(_random(50, 70) > 99), p / "x.tif"),
    "gray with alpha": lambda p: _saved(Image.fromarray(_random(50, 70, 2), "LA"), p / "x[1].png"),
    "WebP": lambda p: _saved(Image.fromarray(_random(50, 70, 4)), p / "x.webp", lossless=True, exact=True),
    "own writer": lambda p: images.write(p / "x.tif", Picture(_random(50, 70, 3), exif=_exif())) or p / "x.tif",
}


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_windows_are_those_of_the_whole(make: Any, tmp_path: Path) -> None:
    path = make(tmp_path)
    whole, opened = images.read(path), large.read(path)
    assert (opened.height_px, opened.width_px, opened.bits) == (whole.height_px, whole.width_px, whole.bits)
    assert (opened.format, opened.icc_profile, opened.exif) == (whole.format, whole.icc_profile, whole.exif)
    assert opened.has_alpha == (whole.alpha is not None)
    assert opened.channels == images.describe(path)["channels"]
    height, width = whole.height_px, whole.width_px
    for window in [(0, 0, height, width), (height - 1, width - 1, 1, 1), (13, 7, 20, 31)]:
        part, expected = opened.crop(*window), whole.crop(*window)
        # Little CMS runs over other rows in a window, and libvips decodes JPEG as Pillow does: all is equal.
        np.testing.assert_array_equal(part.pixels, expected.pixels)
        for one, other in [(part.own, expected.own), (part.alpha, expected.alpha)]:
            assert (one is None) == (other is None)
            if one is not None:
                np.testing.assert_array_equal(one, other)


def test_files_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFoundError, match=r"none\.tif: no such file"):
        large.read(tmp_path / "none.tif")
    with pytest.raises(ImageError, match="a folder, not a picture"):
        large.read(tmp_path)
    (tmp_path / "x.tif").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"x\.tif: not a picture that libvips reads, or damaged \(.*known format\)$"):
        large.read(tmp_path / "x.tif")
    _saved(Image.fromarray(_random(5, 5).astype(np.float32)), tmp_path / "float.tif")
    with pytest.raises(ImageError, match="float samples; save it with 8- or 16-bit unsigned ones"):
        large.read(tmp_path / "float.tif")
    whole = _tiled(tmp_path / "whole.tif", _random(300, 300, 3), "srgb")
    opened = large.read(whole)
    for window in [(-1, 0, 5, 5), (0, 0, 0, 5), (296, 0, 5, 5), (0, 296, 5, 5)]:
        with pytest.raises(ImageError, match=r"crop: a window inside 300 x 300 expected"):
            opened.crop(*window)
    monkeypatch.setitem(sys.modules, "pyvips", None)
    with pytest.raises(MissingExtraError, match=r'larger than memory needs pyvips: pip install "pentimento\[large\]"'):
        large.read(whole)


def test_damage_is_found_where_it_is(tmp_path: Path) -> None:
    path = _tiled(tmp_path / "x.tif", _random(300, 300, 3), "srgb")
    data = bytearray(path.read_bytes())
    with Image.open(path) as image:
        tile = image.tag_v2[324][-1]
    data[tile : tile + 200] = bytes(200)
    path.write_bytes(data)
    opened = large.read(path)
    opened.crop(0, 0, 16, 16)
    with pytest.raises(ImageError, match=r"x\.tif: truncated or damaged \("):
        opened.crop(290, 290, 10, 10)


# ---------------------------------------------------------------------------------------------- writing
@pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
@pytest.mark.parametrize("size", [(1, 1), (256, 256), (257, 600)], ids=str)
@pytest.mark.parametrize(("channels", "alpha", "bits"), [(3, True, 8), (3, False, 16), (1, True, 16), (1, False, 8)])
def test_rows_in_any_bands_come_back(
    size: tuple[int, int], channels: int, alpha: bool, bits: int, big: bool, tmp_path: Path, monkeypatch: Any
) -> None:
    if big:
        monkeypatch.setattr(large, "_CLASSIC_MAX_BYTES", 0)
    pixels, veil = _random(*size, channels, bits=bits), _random(*size, bits=bits) if alpha else None
    profile = _swapped_profile() if channels == 3 else None
    like = Picture(pixels, veil, profile, _exif())
    record = Provenance("restore", "compositeWithTrainedAlgorithmicMedia", model="été")
    path = tmp_path / "x[1].tif"
    with large.writing(path, *size, like=like, provenance=record) as writer:
        for top, end in itertools.pairwise(sorted({0, 1, min(5, size[0]), min(255, size[0]), *size[:1]})):
            writer.write(pixels[top:end])
    assert not writer.notes
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes()[2] == (43 if big else 42)
    whole = tmp_path / "whole.tif"
    images.write(whole, like, provenance=record)
    made, expected = images.read(path), images.read(whole)
    np.testing.assert_array_equal(made.pixels, expected.pixels)
    assert (made.icc_profile, made.exif, made.alpha is not None) == (profile, expected.exif, alpha)
    if alpha:
        np.testing.assert_array_equal(made.alpha, veil)
    assert images.describe(path)["provenance"]["model"] == "été"
    by_vips = vips.Image.tiffload(str(path))
    assert (by_vips.get("tile-width"), by_vips.hasalpha()) == (256, alpha)
    samples = by_vips.numpy().reshape(*size, -1)[..., :channels]
    np.testing.assert_array_equal(samples, expected.pixels if made.own is None else made.own)
    tags = Image.Exif()
    tags.load(made.exif)
    assert tags.get_ifd(34665)[36867] == "2020:01:02 03:04:05"
    assert tags.get_ifd(34853)[2] == (1.0, 2.0, 3.5)


def test_unchanged_pixels_keep_the_files_own_samples(tmp_path: Path) -> None:
    inks = _tiled(tmp_path / "x.tif", _random(300, 40, 3, bits=16), "rgb16", icc_profile_data=_swapped_profile())
    like = large.read(inks)
    changed = _random(300, 40) > 127
    with large.writing(tmp_path / "y.tif", 300, 40, like=like) as writer:
        for top in range(0, 300, 100):
            writer.write(np.zeros((100, 40, 3), np.uint8), changed[top : top + 100])
    made = vips.Image.tiffload(str(tmp_path / "y.tif")).numpy()
    np.testing.assert_array_equal(made[~changed], _random(300, 40, 3, bits=16)[~changed])
    assert made[changed].max() < 2**8  # black, but for rounding
    with pytest.raises(ImageError, match=r"changed: needs `like`"):
        with large.writing(tmp_path / "z.tif", 600, 80, like=like) as writer:
            writer.write(np.zeros((100, 80, 3), np.uint8), np.zeros((100, 80), bool))


def test_what_cannot_be_kept_is_said(tmp_path: Path) -> None:
    like = Picture(_random(4, 4, 3), _random(4, 4), icc_profile=b"junk")
    with large.writing(tmp_path / "x.tif", 8, 8, like=like) as writer:
        writer.write(_random(8, 8, 3))
    assert [note.split(",")[0].split(";")[0] for note in writer.notes] == [
        "the picture's ICC profile cannot be written to",
        "the transparency is left out",
    ]


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    for name in ("x.png", "x"):
        with pytest.raises(ImageError, match=rf"{name}: a picture larger than memory is written as \.tif or \.tiff"):
            with large.writing(tmp_path / name, 4, 4):
                raise AssertionError("not reached")
    path = tmp_path / "x.tif"
    path.write_bytes(b"precious")
    rows = _random(4, 4, 3)
    for bands, message in [
        ([rows[:3]], "rows: 4 expected, got 3; nothing was written"),
        ([rows, rows[:1]], r"rows: 0 or fewer of 4 px expected, got \(1, 4\)"),
        ([rows[:, :3]], r"rows: 4 or fewer of 4 px expected, got \(4, 3\)"),
        ([rows[:2], rows[2:, :, :1]], "rows: 3 channels as before expected, got 1"),
    ]:
        with pytest.raises(ImageError, match=message):
            with large.writing(path, 4, 4) as writer:
                for band in bands:
                    writer.write(band)
    with pytest.raises(StorageError):
        with large.writing(path / "y.tif", 4, 4):
            raise AssertionError("not reached")
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


# ------------------------------------------------------------------------------------------------ memory
def test_memory_stays_far_below_the_size_of_the_picture(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    assert resource is not None
    code = """
import resource, sys, numpy as np
from pentimento import large
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
picture = large.read(sys.argv[1])
with large.writing(sys.argv[2], picture.height_px, picture.width_px, like=picture) as writer:
    for top in range(0, picture.height_px, 250):
        parts = [picture.crop(top, left, 250, 1000).pixels for left in range(0, picture.width_px, 1000)]
        writer.write(np.concatenate(parts, axis=1), np.ones((250, picture.width_px), bool))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)
"""
    ramp = vips.Image.xyz(6000, 5000)
    image = ramp[0].bandjoin([ramp[1], ramp[0] + ramp[1]]).cast("uchar", shift=False) & 255
    source, copy = tmp_path / "in.tif", tmp_path / "out.tif"
    image.copy(interpretation="srgb").tiffsave(str(source), tile=True, compression="deflate")
    done = subprocess.run([sys.executable, "-c", code, source, copy], capture_output=True, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    # Decoded it is 90 MB. Held are two rows of tiles for reading, one for writing, the band and its sources.
    assert int(done.stdout) * unit < 50e6
    difference = vips.Image.tiffload(str(copy)) - vips.Image.tiffload(str(source))
    assert difference.abs().max() == 0


def test_importing_is_light() -> None:
    code = "import sys, pentimento.large; print([m for m in ('torch', 'pyvips') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
