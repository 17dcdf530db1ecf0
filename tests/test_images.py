"""The door for pictures: every format, mode and depth, what pictures carry, and all the ways files are broken."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import io
import os
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo

from pentimento import colour, images
from pentimento.errors import ImageError, MissingExtraError, NotFoundError, StorageError
from pentimento.images import Picture
from pentimento.provenance import Provenance

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}


@pytest.fixture(autouse=True)
def _needs_vips(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("parametrize") and request.node.callspec.params.get("bits") == 16:
        pytest.importorskip("pyvips")


def _random(*shape: int, bits: int = 8) -> Any:
    """The same for the same shape, whatever ran before."""
    return (
        np.random.default_rng([bits, *shape]).integers(0, 2**bits, shape).astype(np.uint8 if bits == 8 else np.uint16)
    )


def _file(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _png(width: int, height: int, depth: int, colour_type: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file made by hand: what no library would write on request."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    every = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in every)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def _profile(matrix_rows: list[tuple[float, float, float]] | None, gamma: float) -> bytes:
    """A version 2 matrix (r, g, b colorants as XYZ D50) or gray ICC profile with a plain gamma."""

    def xyz(values: tuple[float, float, float]) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"Test\0" + b"\0" * 79
    tags = {b"desc": text, b"wtpt": xyz((0.9642, 1.0, 0.8249)), b"cprt": b"text\0\0\0\0CC0\0"}
    if matrix_rows is None:
        tags[b"kTRC"] = curve
    else:
        tags |= {b"rXYZ": xyz(matrix_rows[0]), b"gXYZ": xyz(matrix_rows[1]), b"bXYZ": xyz(matrix_rows[2])}
        tags |= {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    space = b"GRAY" if matrix_rows is None else b"RGB "
    head = struct.pack(">I4xI4s4s4s12x4s28x", 128 + len(table + body), 0x02400000, b"mntr", space, b"XYZ ", b"acsp")
    return (head + struct.pack(">3i", 63190, 65536, 54061)).ljust(128, b"\0") + table + body


# Adobe RGB (1998): gamma 2.2 and a greener green; colorants chromatically adapted to D50.
WIDE = _profile([(0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)], 2.19921875)
GRAY_1_8 = _profile(None, 1.8)


# ------------------------------------------------------------------------------------------- round trips
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (1, 9), (300, 3)], ids=str)
@pytest.mark.parametrize("with_alpha", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("suffix", "bits"), [(".png", 8), (".png", 16), (".tif", 8), (".tiff", 16), (".webp", 8)], ids=str
)
def test_lossless_round_trip(
    suffix: str, bits: int, channels: int, with_alpha: bool, size: tuple[int, int], *, tmp_path: Path
) -> None:
    pixels = _random(*size, channels, bits=bits)
    alpha = _random(*size, bits=bits) if with_alpha else None
    path = tmp_path / f"x{suffix}"
    images.write(path, Picture(pixels, alpha))
    back = images.read(path)
    if suffix == ".webp" and channels == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    assert (back.height_px, back.width_px, back.bits, back.format) == (*size, bits, FORMATS[suffix])
    np.testing.assert_array_equal(back.pixels, pixels)
    if alpha is None:
        assert back.alpha is None
    else:
        np.testing.assert_array_equal(back.alpha, alpha)
    assert list(tmp_path.iterdir()) == [path]  # nothing temporary is left


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_other_readers_agree(suffix: str, tmp_path: Path) -> None:
    """Pillow for 8 bit, libvips for 16 bit: neither shares our TIFF writer."""
    vips = pytest.importorskip("pyvips")
    shallow, deep = _random(600, 4, 3), _random(600, 4, 3, bits=16)
    images.write(tmp_path / f"8{suffix}", Picture(shallow, _random(600, 4)))
    images.write(tmp_path / f"16{suffix}", Picture(deep))
    with Image.open(tmp_path / f"8{suffix}") as image:
        assert image.mode == "RGBA"
        np.testing.assert_array_equal(np.asarray(image)[..., :3], shallow)
    np.testing.assert_array_equal(vips.Image.new_from_file(str(tmp_path / f"16{suffix}")).numpy(), deep)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=hnp.arrays(
        np.float32,
        st.tuples(st.sampled_from([1, 3]), st.integers(1, 6), st.integers(1, 6)),
        elements=st.floats(-0.5, 1.5, width=32),
    ),
    where=st.sampled_from([(".png", 8), (".tif", 8), (".tif", 16), (".webp", 8)]),
)
def test_what_is_read_is_what_was_rounded(values: Any, where: tuple[str, int], tmp_path: Path) -> None:
    suffix, bits = where
    if bits == 16 and values.shape[0] == 3:
        pytest.importorskip("pyvips")
    most = 2**bits - 1
    images.write(tmp_path / f"x{suffix}", torch.from_numpy(values), bits=bits)  # type: ignore[arg-type]
    back = images.read(tmp_path / f"x{suffix}").to_tensor().numpy()
    exact = np.clip(values.astype(np.float64), 0, 1) * most
    # Half a step is rounding; the rest is what float32 can tell apart at the top of 16 bits.
    assert np.abs(back * np.float64(most) - exact).max() <= 0.5 + 2**-7
    images.write(tmp_path / f"y{suffix}", torch.from_numpy(back), bits=bits)  # type: ignore[arg-type]
    assert torch.equal(images.read(tmp_path / f"y{suffix}").to_tensor(), torch.from_numpy(back))


def test_jpeg_is_near_and_not_subsampled(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, ::2, 0] = 255  # red stripes one pixel wide: 4:2:0 would smear them into one tone
    images.write(tmp_path / "x.jpg", Picture(pixels))
    assert np.abs(images.read(tmp_path / "x.jpg").pixels.astype(int) - pixels).max() < 12
    images.write(tmp_path / "low.jpg", Picture(_random(64, 64, 3)), quality=20)
    images.write(tmp_path / "high.jpg", Picture(_random(64, 64, 3)))
    assert (tmp_path / "low.jpg").stat().st_size < (tmp_path / "high.jpg").stat().st_size / 2


def test_webp_is_lossy_only_when_quality_is_asked(tmp_path: Path) -> None:
    picture = Picture(_random(32, 32, 3))
    images.write(tmp_path / "x.webp", picture, quality=50)
    assert not np.array_equal(images.read(tmp_path / "x.webp").pixels, picture.pixels)


@pytest.mark.parametrize("bits", [8, 16])
def test_bit_depths_convert_to_nearest(bits: int, tmp_path: Path) -> None:
    deep = (np.arange(256, dtype=np.uint32) * 257 + 3).clip(0, 65535).astype(np.uint16).reshape(16, 16, 1)
    images.write(tmp_path / "x.png", Picture(deep), bits=bits)  # type: ignore[arg-type]
    back = images.read(tmp_path / "x.png").pixels
    np.testing.assert_array_equal(back, deep if bits == 16 else np.arange(256).reshape(16, 16, 1))
    assert np.array_equal(colour.to_bits(colour.to_bits(back, 16), 8), colour.to_bits(back, 8))


# ------------------------------------------------------------------------------------------ reading modes
def test_16_bit_colour_keeps_its_precision(tmp_path: Path) -> None:
    vips = pytest.importorskip("pyvips")
    deep = (np.arange(6 * 7 * 3, dtype=np.uint16) * 257 + 3).reshape(6, 7, 3)
    for suffix, options in [(".png", {}), (".tif", {}), (".tif", {"bigtiff": True, "compression": "lzw"})]:
        data = vips.Image.new_from_array(deep, interpretation="rgb16").write_to_buffer(suffix, **options)
        np.testing.assert_array_equal(images.read(data).pixels, deep)
    both = vips.Image.new_from_array(deep[..., :2].copy(), interpretation="grey16").write_to_buffer(".tif")
    read = images.read(both)
    assert read.alpha is not None
    np.testing.assert_array_equal(np.dstack([read.pixels[..., 0], read.alpha]), deep[..., :2])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_gray_keeps_its_precision(kind: str) -> None:
    deep = (np.arange(42, dtype=np.uint16) * 257 + 3).reshape(6, 7)
    np.testing.assert_array_equal(images.read(_file(Image.fromarray(deep), kind)).pixels[..., 0], deep)


def test_16_bit_tiff_where_white_is_zero() -> None:
    vips = pytest.importorskip("pyvips")
    deep = _random(5, 6, bits=16)
    data = vips.Image.new_from_array(deep, interpretation="grey16").write_to_buffer(".tif", miniswhite=True)
    np.testing.assert_array_equal(images.read(data).pixels[..., 0], deep)


def test_16_bit_colour_without_pyvips_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    data = _png(1, 1, 16, 2, b"\0" + bytes(6))
    monkeypatch.setitem(sys.modules, "pyvips", None)
    with pytest.raises(MissingExtraError, match=r'x\.png: .*pip install "pentimento\[large\]"'):
        images.read(data, "x.png")
    assert images.read(_file(Image.fromarray(_random(2, 2, bits=16)), "PNG")).bits == 16


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palettes(kind: str) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 10, 20, 30])
    image.putdata([0, 1, 2])
    expected = [[[255, 0, 0], [0, 255, 0], [10, 20, 30]]]
    plain = images.read(_file(image, kind))
    assert plain.pixels.tolist() == expected
    assert plain.alpha is None
    clear = images.read(_file(image, kind, transparency=1))
    assert clear.alpha is not None
    assert clear.alpha.tolist() == [[255, 0, 255]]
    assert clear.pixels[0, 2].tolist() == [10, 20, 30]


def test_palette_with_partial_transparency() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([0, 1])
    picture = images.read(_file(image, "PNG", transparency=bytes([64, 200])))
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[64, 200]]


def test_gray_with_one_transparent_value() -> None:
    four_bit = images.read(_png(2, 1, 4, 0, b"\0\x5f", (b"tRNS", struct.pack(">H", 5))))
    assert four_bit.pixels[..., 0].tolist() == [[0x55, 0xFF]]
    assert four_bit.alpha is not None
    assert four_bit.alpha.tolist() == [[0, 255]]
    deep = images.read(_png(2, 1, 16, 0, b"\0" + struct.pack(">HH", 513, 514), (b"tRNS", struct.pack(">H", 514))))
    assert deep.alpha is not None
    assert (deep.pixels[..., 0].tolist(), deep.alpha.tolist()) == ([[513, 514]], [[65535, 0]])


def test_one_bit_becomes_gray() -> None:
    bits = _random(5, 9) > 127
    for kind in ("PNG", "TIFF", "BMP"):
        picture = images.read(_file(Image.fromarray(bits), kind))
        assert (picture.pixels[..., 0] == bits * 255).all()


def test_cmyk_without_a_profile() -> None:
    ink = _random(6, 5, 4)
    expected = (255 - ink[..., :3].astype(float)) * (255 - ink[..., 3:]) / 255
    picture = images.read(_file(Image.frombytes("CMYK", (5, 6), ink.tobytes()), "TIFF"))
    assert np.abs(picture.pixels - expected).max() <= 0.5 + 1e-9
    flat = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # red ink, in the inverted CMYK that Photoshop writes
    assert np.abs(images.read(_file(flat, "JPEG")).pixels.astype(int) - [255, 0, 0]).max() <= 3


def test_gif_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    picture = images.read(_file(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert (picture.pixels == [255, 0, 0]).all()


def test_bmp_and_phone_jpeg() -> None:
    pixels = _random(3, 4, 3)
    np.testing.assert_array_equal(images.read(_file(Image.fromarray(pixels), "BMP")).pixels, pixels)
    two = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    assert images.read(_file(two[0], "MPO", save_all=True, append_images=two[1:])).format == "JPEG"


# ------------------------------------------------------------------------------------- orientation, EXIF
def _oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = orientation
    exif[270] = "Musée".encode()
    exif[34665] = {36867: "2020:01:02 03:04:05"}
    return exif


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(orientation: int, kind: str) -> None:
    source = Image.fromarray(_random(5, 7, 3))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = _file(source, kind, exif=_oriented(orientation).tobytes(), **options)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    picture = images.read(data)
    np.testing.assert_array_equal(picture.pixels, expected)
    assert picture.pixels.shape[:2] == ((5, 7) if orientation < 5 else (7, 5))
    back = Image.Exif()
    back.load(picture.exif or b"")
    assert back[274] == 1
    assert back.get_ifd(34665)[36867] == "2020:01:02 03:04:05"


@pytest.mark.parametrize("orientation", [3, 6, 7])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_orientation_of_16_bit_colour(suffix: str, orientation: int) -> None:
    vips = pytest.importorskip("pyvips")
    pixels = _random(5, 7, 3, bits=16)
    image = vips.Image.new_from_array(pixels, interpretation="rgb16").copy()
    image.set_type(vips.GValue.gint_type, "orientation", orientation)
    tagged = Image.fromarray((pixels >> 8).astype(np.uint8))
    tagged.getexif()[274] = orientation
    expected = np.asarray(ImageOps.exif_transpose(tagged))
    np.testing.assert_array_equal(images.read(image.write_to_buffer(suffix)).pixels >> 8, expected)


@pytest.mark.parametrize(
    ("suffix", "bits"), [(".png", 8), (".jpg", 8), (".webp", 8), (".tif", 8), (".png", 16), (".tif", 16)]
)
def test_like_puts_exif_back(suffix: str, bits: int, tmp_path: Path) -> None:
    like = images.read(_file(Image.new("RGB", (7, 5)), "JPEG", exif=_oriented(6).tobytes()))
    images.write(tmp_path / f"x{suffix}", torch.rand(3, 7, 5), like=like, bits=bits)  # type: ignore[arg-type]
    exif = images.read(tmp_path / f"x{suffix}").exif
    assert exif is not None
    tags = Image.Exif()
    tags.load(exif)
    assert tags[270] == "Musée".encode().decode("latin-1")  # Pillow's way of giving back the same bytes
    assert tags.get_ifd(34665)[36867] == "2020:01:02 03:04:05"
    assert tags[274] == 1


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow also warns of what we survive
def test_broken_exif_is_ignored() -> None:
    pixels = _random(4, 4, 3)
    picture = images.read(_file(Image.fromarray(pixels), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f"))
    np.testing.assert_array_equal(picture.pixels, pixels)


# --------------------------------------------------------------------------------------------- profiles
def _wide_to_srgb(pixels: Any) -> Any:
    """Adobe RGB to sRGB by the definitions, float64: an independent reference for Little CMS."""
    adobe = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
    srgb = np.array([[0.4360, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
    linear = (pixels / np.iinfo(pixels.dtype).max) ** 2.19921875 @ adobe.T @ np.linalg.inv(srgb).T
    linear = linear.clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize(("bits", "within"), [(8, 2.01 / 255), (16, 0.25 / 255)])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_wide_gamut_profile_there_and_back(suffix: str, bits: int, within: float, tmp_path: Path) -> None:
    most = 2**bits - 1
    # Muted colours: within sRGB's gamut, so that nothing is clipped and the way back exists.
    pixels = (_random(12, 9, 3, bits=bits) // 5 + 2 * (most // 5)).astype(np.uint8 if bits == 8 else np.uint16)
    path = tmp_path / f"wide{suffix}"
    picture = images.read(_with_profile(pixels, suffix, WIDE))
    expected = _wide_to_srgb(pixels)
    assert expected.min() > 0.1, "nothing is clipped"
    assert np.abs(expected - pixels / most).max() > 0.02, "the profile changes something"
    assert np.abs(picture.pixels / most - expected).max() <= within
    assert picture.icc_profile == WIDE
    images.write(path, picture.to_tensor(), like=picture)
    assert np.abs(_raw_pixels(path).astype(float) - pixels).max() / most <= within
    assert images.describe(path)["icc_profile"] == "Test"
    again = images.read(path)
    assert np.abs(again.pixels.astype(float) - picture.pixels).max() / most <= within


def _with_profile(pixels: Any, suffix: str, profile: bytes) -> bytes:
    if pixels.dtype == np.uint8:
        return _file(Image.fromarray(pixels), FORMATS[suffix], icc_profile=profile)
    vips = pytest.importorskip("pyvips")
    image = vips.Image.new_from_array(pixels, interpretation="rgb16").copy()
    image.set_type(vips.GValue.blob_type, "icc-profile-data", profile)
    return bytes(image.write_to_buffer(suffix))


def _raw_pixels(path: Path) -> Any:
    """What is in the file, not converted."""
    from pentimento.formats import decode

    return decode(path.read_bytes(), "x").pixels


def test_an_srgb_profile_changes_no_pixel(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = _random(9, 8, 3)
    picture = images.read(_file(Image.fromarray(pixels), "PNG", icc_profile=srgb))
    np.testing.assert_array_equal(picture.pixels, pixels)
    images.write(tmp_path / "x.webp", picture)
    np.testing.assert_array_equal(_raw_pixels(tmp_path / "x.webp"), pixels)
    assert images.read(tmp_path / "x.webp").icc_profile == srgb


@pytest.mark.parametrize("bits", [8, 16])
def test_gray_profile(bits: int, tmp_path: Path) -> None:
    most = 2**bits - 1
    ramp = np.linspace(most // 8, most, 256).astype(np.uint8 if bits == 8 else np.uint16).reshape(16, 16)
    picture = images.read(_file(Image.fromarray(ramp), "PNG", icc_profile=GRAY_1_8))
    linear = (ramp / most) ** 1.8
    expected = 1.055 * linear ** (1 / 2.4) - 0.055
    assert picture.pixels.shape == (16, 16, 1)
    assert np.abs(picture.pixels[..., 0] / most - expected).max() <= 1.01 / 255
    images.write(tmp_path / "x.tif", picture.to_tensor(), like=picture)
    assert np.abs(_raw_pixels(tmp_path / "x.tif")[..., 0].astype(float) - ramp).max() / most <= 1.01 / 255
    images.write(tmp_path / "x.webp", picture)  # WebP is never gray, so a gray profile would lie
    assert images.read(tmp_path / "x.webp").icc_profile is None


@pytest.mark.parametrize("bits", [8, 16])
def test_cmyk_profile_there_and_back(bits: int, tmp_path: Path) -> None:
    vips = pytest.importorskip("pyvips")
    rgb = np.repeat(_random(5, 5, 3) // 3 + 100, 8, axis=1)  # patches, and pastel, for what inks can print
    ink = vips.Image.new_from_array(rgb.astype(np.uint8), interpretation="srgb")
    ink = ink.icc_transform("cmyk", input_profile="srgb", depth=bits)
    like = images.read(ink.write_to_buffer(".tif"))
    assert (like.bits, like.pixels.shape) == (bits, rgb.shape)
    assert np.abs(colour.to_bits(like.pixels, 8).astype(int) - rgb).mean() < 8
    for suffix, channels in [(".tif", 4), (".jpg", 4), (".png", 3)]:
        path = tmp_path / f"x{suffix}"
        images.write(path, like.to_tensor(), like=like)
        found = images.describe(path)
        assert (found["channels"], found["icc_profile"] is not None) == (channels, channels == 4)
        back = images.read(path).to_tensor()
        # A press profile's two tables are inverses to some 4 %; a wrong sign or channel would be 50 %.
        assert (back - like.to_tensor()).abs().max() < 12 / 255


def test_profiles_that_do_not_fit_are_ignored() -> None:
    gray, rgb = _random(4, 4), _random(4, 4, 3)
    for profile in (b"junk" * 50, WIDE[:200], GRAY_1_8):
        picture = images.read(_file(Image.fromarray(rgb), "PNG", icc_profile=profile))
        np.testing.assert_array_equal(picture.pixels, rgb)
        assert picture.icc_profile is None
    assert images.read(_file(Image.fromarray(gray), "PNG", icc_profile=WIDE)).icc_profile is None


def test_alpha_is_no_colour() -> None:
    both = _random(6, 6, 4)
    picture = images.read(_file(Image.fromarray(both), "PNG", icc_profile=WIDE))
    plain = images.read(_file(Image.fromarray(both[..., :3].copy()), "PNG", icc_profile=WIDE))
    np.testing.assert_array_equal(picture.alpha, both[..., 3])
    np.testing.assert_array_equal(picture.pixels, plain.pixels)


# ---------------------------------------------------------------------------------------------- alpha
@pytest.mark.parametrize("bits", [8, 16])
def test_compositing_is_the_formula(bits: int) -> None:
    most = 2**bits - 1
    picture = Picture(_random(6, 5, 3, bits=bits), _random(6, 5, bits=bits))
    assert picture.alpha is not None
    back = np.array([0.2, 0.4, 0.9])
    a, c = picture.alpha[..., None] / most, picture.pixels / most
    expected = a * c + (1 - a) * back
    tensor = picture.to_tensor((0.2, 0.4, 0.9))
    assert tensor.dtype == torch.float32
    np.testing.assert_allclose(tensor.permute(1, 2, 0).numpy(), expected, atol=3e-7)
    flat = picture.composited((0.2, 0.4, 0.9))
    assert flat.alpha is None
    assert flat.bits == bits
    assert np.abs(flat.pixels - expected * most).max() <= 0.5 + 2**-5
    np.testing.assert_array_equal(picture.to_tensor(None).permute(1, 2, 0).numpy(), c.astype(np.float32))
    gray = Picture(picture.pixels[..., :1], np.zeros_like(picture.alpha))
    assert torch.allclose(gray.to_tensor((0.0, 1.0, 0.0)), torch.tensor(0.587))


def test_like_puts_alpha_back_where_sizes_are_equal(tmp_path: Path) -> None:
    like = Picture(_random(6, 5, 3), _random(6, 5))
    images.write(tmp_path / "same.png", like.to_tensor(None), like=like)
    np.testing.assert_array_equal(images.read(tmp_path / "same.png").alpha, like.alpha)
    np.testing.assert_array_equal(images.read(tmp_path / "same.png").pixels, like.pixels)
    images.write(tmp_path / "larger.png", torch.rand(3, 12, 10), like=like)
    assert images.read(tmp_path / "larger.png").alpha is None


def test_jpeg_gets_alpha_over_white(tmp_path: Path) -> None:
    images.write(tmp_path / "x.jpg", Picture(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)))
    assert images.read(tmp_path / "x.jpg").pixels.min() >= 254


# ------------------------------------------------------------------------------------------ broken files
def test_files_that_are_no_pictures(tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("not a picture")
    with pytest.raises(ImageError, match=r"notes\.png: not a PNG"):
        images.read(path)
    path.write_bytes(b"")
    with pytest.raises(ImageError, match=r"notes\.png: the file is empty"):
        images.read(path)
    with pytest.raises(ImageError, match="a folder"):
        images.read(tmp_path)
    with pytest.raises(NotFoundError, match="gone"):
        images.read(tmp_path / "gone.png")
    with pytest.raises(ImageError, match="<bytes>"):
        images.read(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ImageError):
        images.read("a\0b.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="special file"):
        images.read(tmp_path / "pipe.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
def test_truncated_files(kind: str) -> None:
    data = _file(Image.fromarray(_random(64, 64, 3)), kind)
    assert images.read(data).width_px == 64
    for keep in (0.6, 0.95):
        with pytest.raises(ImageError, match=r"cut\.img: ") as caught:
            images.read(data[: int(len(data) * keep)], "cut.img")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_truncated_16_bit_colour(suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("pyvips")
    images.write(tmp_path / f"x{suffix}", Picture(_random(64, 64, 3, bits=16)))
    data = (tmp_path / f"x{suffix}").read_bytes()
    with pytest.raises(ImageError, match="cut: "):
        images.read(data[: len(data) // 2], "cut")


@pytest.mark.parametrize(("depth", "colour_type"), [(8, 2), (16, 2)])
def test_decompression_bomb(depth: int, colour_type: int) -> None:
    if depth == 16:
        pytest.importorskip("pyvips")
    with pytest.raises(ImageError, match=r"bomb\.png: more pixels than are safe"):
        images.read(_png(30_000, 30_000, depth, colour_type, b""), "bomb.png")


def test_no_pixels() -> None:
    with pytest.raises(ImageError):
        images.read(_png(0, 0, 8, 2, b""))
    with pytest.raises(ImageError, match="pixels"):
        Picture(np.zeros((0, 4, 3), np.uint8))
    with pytest.raises(ImageError, match="alpha"):
        Picture(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint16))


def test_float_and_32_bit_tiff_are_refused() -> None:
    for values in (np.ones((3, 3), np.float32), np.ones((3, 3), np.int32)):
        with pytest.raises(ImageError, match="32-bit"):
            images.read(_file(Image.fromarray(values), "TIFF"))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow also warns of what we survive
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "GIF"])
def test_flipped_bytes_are_image_errors_or_pictures(kind: str) -> None:
    """Nothing but our own errors leaves the door."""
    chance = random.Random(0)
    data = _file(
        Image.fromarray(_random(16, 16, 3)), kind, **({"exif": _oriented(6).tobytes()} if kind != "GIF" else {})
    )
    for _ in range(150):
        broken = bytearray(data)
        for _ in range(chance.randint(1, 6)):
            broken[chance.randrange(min(len(broken), 300))] = chance.randrange(256)
        try:
            assert images.read(bytes(broken)).width_px > 0
        except (ImageError, MissingExtraError) as error:
            assert "\n" not in str(error)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_no_file_stays_open(tmp_path: Path) -> None:
    good, bad = tmp_path / "a.png", tmp_path / "b.jpg"
    images.write(good, torch.rand(3, 8, 8))
    bad.write_bytes(_file(Image.fromarray(_random(64, 64, 3)), "JPEG")[:2000])

    def once() -> int:
        images.read(good)
        images.describe(good)
        with pytest.raises(ImageError):
            images.read(bad)
        return len(list(Path("/proc/self/fd").iterdir()))

    once()
    gc.collect()  # what tests before this one left open is closed when it is collected, and not while we count
    before = once()
    for _ in range(5):
        after = once()
    assert after <= before
    assert not [fd for fd in Path("/proc/self/fd").iterdir() if tmp_path in Path(os.path.realpath(fd)).parents]


# ---------------------------------------------------------------------------------------------- writing
@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (torch.full((3, 4, 4), float("nan")), {}, "NaN"),
        (torch.full((3, 4, 4), float("inf")), {}, "infinity"),
        (torch.rand(2, 4, 4), {}, r"\(C, H, W\)"),
        (torch.rand(2, 3, 4, 4), {}, r"\(2, 3, 4, 4\)"),
        (torch.rand(3, 0, 4), {}, "expected"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), {}, "floats"),
        (torch.rand(3, 4, 4), {"bits": 12}, "8 or 16"),
        (torch.rand(3, 4, 4), {"quality": 0}, "1 to 100"),
    ],
)
def test_what_cannot_be_written_leaves_the_old_file(image: Any, options: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"precious")
    with pytest.raises(ImageError, match=message):
        images.write(path, image, **options)
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def test_unwritable_formats(tmp_path: Path) -> None:
    for name in ("x.gif", "x.bmp", "x", "x.exe"):
        with pytest.raises(ImageError, match=r"\.jpeg, \.jpg, \.png, \.tif, \.tiff, \.webp"):
            images.write(tmp_path / name, torch.rand(3, 4, 4))
    with pytest.raises(ImageError, match=r"did you mean '\.jpg' or '\.jpeg'"):
        images.write(tmp_path / "x.jepg", torch.rand(3, 4, 4))
    for name in ("x.jpg", "x.webp"):
        with pytest.raises(ImageError, match="16"):
            images.write(tmp_path / name, torch.rand(3, 4, 4), bits=16)
    with pytest.raises(ImageError, match=r"x\.webp: WEBP cannot hold"):
        images.write(tmp_path / "x.webp", torch.rand(1, 1, 20_000))
    assert not list(tmp_path.iterdir())


def test_a_disk_that_refuses(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        images.write(tmp_path / "file" / "x.png", torch.rand(3, 4, 4))
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(StorageError):
        images.write(tmp_path / "folder.png", torch.rand(3, 4, 4))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.png"]


def test_bits_follow_like_where_the_format_can(tmp_path: Path) -> None:
    like = Picture(_random(4, 4, 1, bits=16))
    images.write(tmp_path / "x.png", torch.rand(1, 1, 4, 4, dtype=torch.bfloat16), like=like)
    images.write(tmp_path / "x.jpg", torch.rand(1, 4, 4), like=like)
    assert (images.read(tmp_path / "x.png").bits, images.read(tmp_path / "x.jpg").bits) == (16, 8)


# ------------------------------------------------------------------------------------ what is not changed
def _own_of(path: Path) -> tuple[Any, Any]:
    """The samples and the alpha that are in a file, not converted."""
    from pentimento.formats import decode

    raw = decode(path.read_bytes(), "x")
    return raw.pixels, raw.alpha


def _of_vips(samples: Any, suffix: str, interpretation: str, profile: Any) -> bytes:
    vips = pytest.importorskip("pyvips")
    image = vips.Image.new_from_array(samples, interpretation=interpretation).copy()
    image.set_type(vips.GValue.blob_type, "icc-profile-data", profile)
    return bytes(image.write_to_buffer(suffix))


def _press(bits: int) -> bytes:
    vips = pytest.importorskip("pyvips")
    ink = vips.Image.new_from_array(_random(12, 9, 3), interpretation="srgb")
    return bytes(ink.icc_transform("cmyk", input_profile="srgb", depth=bits).write_to_buffer(".tif"))


KEPT: dict[str, tuple[Any, str]] = {
    "wide": (lambda: _with_profile(_random(12, 9, 3), ".png", WIDE), ".png"),
    "wide, 16 bit": (lambda: _with_profile(_random(12, 9, 3, bits=16), ".tif", WIDE), ".tif"),
    "wide, alpha": (lambda: _file(Image.fromarray(_random(12, 9, 4)), "PNG", icc_profile=WIDE), ".webp"),
    "wide, 16 bit, alpha": (lambda: _of_vips(_random(12, 9, 4, bits=16), ".png", "rgb16", WIDE), ".png"),
    "gray profile": (lambda: _file(Image.fromarray(_random(12, 9)), "PNG", icc_profile=GRAY_1_8), ".tif"),
    "gray, 16 bit": (lambda: _file(Image.fromarray(_random(12, 9, bits=16)), "TIFF"), ".png"),
    "gray, alpha": (lambda: _file(Image.fromarray(_random(12, 9, 2), "LA"), "PNG"), ".tif"),
    "palette": (lambda: _file(Image.fromarray(_random(12, 9, 3)).quantize(16), "PNG"), ".png"),
    "CMYK": (lambda: _press(8), ".tif"),
    "CMYK, 16 bit": (lambda: _press(16), ".tif"),
    "turned": (lambda: _file(Image.fromarray(_random(12, 9, 3)), "PNG", exif=_oriented(6).tobytes()), ".png"),
}


@pytest.mark.parametrize(("make", "suffix"), KEPT.values(), ids=KEPT)
def test_what_is_not_changed_keeps_its_samples(make: Any, suffix: str, tmp_path: Path) -> None:
    source, path = tmp_path / "source", tmp_path / f"x{suffix}"
    source.write_bytes(make())
    before, veil = _own_of(source)
    like = images.read(source)
    changed = _random(*before.shape[:2]) > 127
    new = 1 - like.to_tensor(background=None)
    images.write(path, new, like=like, changed=changed)
    after, alpha = _own_of(path)
    np.testing.assert_array_equal(after[~changed], before[~changed])
    assert (alpha is None) == (veil is None)
    if veil is not None:
        np.testing.assert_array_equal(alpha, veil)
    images.write(tmp_path / f"all{suffix}", new, like=like)
    np.testing.assert_array_equal(after[changed], _own_of(tmp_path / f"all{suffix}")[0][changed])


def test_only_what_reading_converted_has_samples_of_its_own(tmp_path: Path) -> None:
    wide = images.read(_file(Image.fromarray(_random(12, 9, 4)), "PNG", icc_profile=WIDE))
    assert wide.own is not None
    np.testing.assert_array_equal(wide.own, _random(12, 9, 4)[..., :3])
    np.testing.assert_array_equal(wide.crop(2, 3, 4, 5).own, wide.own[2:6, 3:8])  # type: ignore[arg-type]
    assert wide.composited().own is None
    assert dataclasses.replace(wide, pixels=wide.pixels // 2).own is None
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert images.read(_file(Image.fromarray(_random(12, 9, 3)), "PNG", icc_profile=srgb)).own is None
    ink = images.read(_file(Image.frombytes("CMYK", (5, 6), _random(6, 5, 4).tobytes()), "TIFF"))
    np.testing.assert_array_equal(ink.own, _random(6, 5, 4))  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="`like` was altered after it was read"):
        lost = dataclasses.replace(wide, pixels=wide.pixels // 2)
        images.write(tmp_path / "x.png", wide.to_tensor(None), like=lost, changed=np.zeros((12, 9), bool))


def test_alpha_of_a_new_picture_counts_only_where_it_changed(tmp_path: Path) -> None:
    like, new = Picture(_random(4, 5, 3), _random(4, 5)), Picture(_random(4, 5, 3) // 2, _random(4, 5) // 2)
    changed = np.eye(4, 5, dtype=bool)
    images.write(tmp_path / "x.png", new, like=like, changed=changed)
    made = images.read(tmp_path / "x.png")
    np.testing.assert_array_equal(made.pixels, np.where(changed[..., None], new.pixels, like.pixels))
    np.testing.assert_array_equal(made.alpha, np.where(changed, new.alpha, like.alpha))  # type: ignore[arg-type]


def test_lossy_formats_take_the_samples_too(tmp_path: Path) -> None:
    flat = np.full((32, 32, 3), (200, 60, 90), np.uint8)
    like = images.read(_file(Image.fromarray(flat), "PNG", icc_profile=WIDE))
    images.write(tmp_path / "x.jpg", torch.zeros(3, 32, 32), like=like, changed=np.zeros((32, 32), bool))
    assert np.abs(_own_of(tmp_path / "x.jpg")[0].astype(int) - flat).max() <= 2
    clear = Picture(flat, np.zeros((32, 32), np.uint8))
    images.write(tmp_path / "y.jpg", torch.zeros(3, 32, 32), like=clear, changed=np.zeros((32, 32), bool))
    assert images.read(tmp_path / "y.jpg").pixels.min() >= 253  # white shows through what is transparent


def test_samples_that_cannot_be_kept(tmp_path: Path) -> None:
    none, ink = np.zeros((6, 5), bool), Image.frombytes("CMYK", (5, 6), _random(6, 5, 4).tobytes())
    deep, gray = Picture(_random(6, 5, 3, bits=16)), Picture(_random(6, 5, 1))
    tail = "samples cannot be kept as they are"
    rgb, eight = torch.zeros(3, 6, 5), "this PNG 8-bit RGB without an ICC profile"
    for image, options, message in [
        (rgb, {"like": deep, "bits": 8}, f"`like` has 16-bit RGB without an ICC profile, {eight}: {tail}"),
        (rgb, {"like": gray}, f"`like` has 8-bit gray without an ICC profile, {eight}: {tail}"),
        (rgb, {"like": images.read(_file(ink, "TIFF"))}, f"`like` has 8-bit CMYK without an ICC profile, {eight}"),
        (rgb, {}, "changed: needs `like`, of the same size"),
        (rgb, {"like": Picture(_random(5, 6, 3))}, "changed: needs `like`, of the same size"),
        (rgb, {"like": gray, "changed": none[:5]}, r"changed: \(6, 5\), bool expected, got \(5, 5\), bool"),
        (rgb, {"like": gray, "changed": none.astype(int)}, r"changed: \(6, 5\), bool expected, got \(6, 5\), int64"),
    ]:
        with pytest.raises(ImageError, match=rf"x\.png: .*{message}"):
            images.write(tmp_path / "x.png", image, **{"changed": none, **options})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("compression", ["deflate", "lzw"])
def test_a_damaged_tile_of_16_bit_colour_is_not_taken_for_black(compression: str) -> None:
    vips = pytest.importorskip("pyvips")
    image = vips.Image.new_from_array(_random(64, 64, 3, bits=16), interpretation="rgb16")
    data = bytearray(image.tiffsave_buffer(tile=True, tile_width=16, tile_height=16, compression=compression))
    place = _tile_places(bytes(data))[-1]
    data[place : place + 200] = bytes(200)
    with pytest.raises(ImageError, match=r"x\.tif: truncated or damaged \("):
        images.read(bytes(data), "x.tif")


def _tile_places(data: bytes) -> Any:
    from pentimento.formats import tiff_directory

    tags = tiff_directory(io.BytesIO(data))
    assert tags is not None
    return tags[324]


# ------------------------------------------------------------------------------------------- provenance
@pytest.mark.parametrize(
    ("suffix", "bits"),
    [(".png", 8), (".jpg", 8), (".webp", 8), (".tif", 8), (".png", 16), (".tif", 16)],
)
def test_provenance_survives(suffix: str, bits: int, tmp_path: Path) -> None:
    record = Provenance(
        "stylize",
        "compositeWithTrainedAlgorithmicMedia",
        model="Ünïcode 画",
        options={"text": "<&> \"' ]]> \x00"},
        inputs={"été.jpg": "0" * 64},
    )
    path = tmp_path / f"x{suffix}"
    like = images.read(_file(Image.new("RGB", (5, 5)), "JPEG", exif=_oriented(1).tobytes(), icc_profile=WIDE))
    images.write(path, torch.rand(3, 5, 5), provenance=record, like=like, bits=bits)  # type: ignore[arg-type]
    found = images.describe(path)
    assert found["provenance"]["options"] == record.options
    assert found["provenance"]["inputs"] == record.inputs
    assert found["provenance"]["model"] == record.model
    assert found["digital_source_type"] == "compositeWithTrainedAlgorithmicMedia"
    assert found["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (found["bits"], found["icc_profile"], found["channels"]) == (bits, "Test", 3)


def test_provenance_too_long_for_jpeg(tmp_path: Path) -> None:
    record = Provenance("generate", "trainedAlgorithmicMedia", options={"x": "y" * 70_000})
    with pytest.raises(ImageError, match="too long for JPEG"):
        images.write(tmp_path / "x.jpg", torch.rand(3, 4, 4), provenance=record)
    images.write(tmp_path / "x.png", torch.rand(3, 4, 4), provenance=record)
    assert images.describe(tmp_path / "x.png")["provenance"]["options"] == record.options


def test_describe_pictures_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "x.gif").write_bytes(_file(Image.new("RGB", (4, 3)), "GIF"))
    found = images.describe(tmp_path / "x.gif")
    assert {k: found[k] for k in found if k != "sha256"} == {
        "format": "GIF",
        "width_px": 4,
        "height_px": 3,
        "channels": 3,
        "bits": 8,
        "alpha": False,
        "icc_profile": None,
        "digital_source_type": None,
        "provenance": None,
    }
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", '<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>')
    (tmp_path / "x.png").write_bytes(_file(Image.new("RGB", (4, 3)), "PNG", pnginfo=text, icc_profile=b"junk"))
    hostile = images.describe(tmp_path / "x.png")
    assert (hostile["provenance"], hostile["digital_source_type"], hostile["icc_profile"]) == (None, None, None)


# --------------------------------------------------------------------------------------- sheets, folders
def test_grid_places_every_picture() -> None:
    pictures = torch.arange(5.0).reshape(5, 1, 1, 1).expand(5, 3, 4, 6) / 10
    sheet = images.grid(pictures, pad_px=1, fill=0.75)
    assert sheet.shape == (3, 2 * 5 + 1, 3 * 7 + 1)
    assert torch.equal(sheet[:, 1:5, 1:7], pictures[0])
    assert torch.equal(sheet[:, 6:10, 8:14], pictures[4])
    assert bool((sheet[:, 6:10, 15:21] == 0.75).all())
    assert (sheet == 0.75).sum() == sheet.numel() - 5 * 3 * 4 * 6
    assert images.grid(pictures, columns=1, pad_px=0).shape == (3, 20, 6)
    assert images.grid(pictures, columns=9, pad_px=0).shape == (3, 4, 30)
    for bad in (pictures[:0], pictures[0]):
        with pytest.raises(ImageError):
            images.grid(bad)
    with pytest.raises(ImageError, match="columns"):
        images.grid(pictures, columns=0)


def test_importing_is_light() -> None:
    code = "import sys, pentimento.images; print([m for m in ('torch', 'pyvips') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
