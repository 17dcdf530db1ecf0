"""What the numbers in a picture mean: ICC profiles, bit depths, transparency. Arrays in, arrays out.

Arrays are (H, W, C), uint8 or uint16, with C = 1 (gray), 3 (RGB) or 4 (CMYK). Profiles are the bytes of an ICC file.
Conversions are relative colorimetric with black point compensation: what lies in both gamuts keeps its colour.
"""

from __future__ import annotations

import functools
import io
import logging
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from pentimento.errors import MissingExtraError

__all__ = [
    "LUMA",
    "Pixels",
    "cmyk_to_rgb",
    "composite",
    "describe_profile",
    "from_srgb",
    "import_pyvips",
    "to_bits",
    "to_srgb",
]

Pixels = np.ndarray[Any, np.dtype[Any]]

LUMA = (0.299, 0.587, 0.114)  # of R, G and B, ITU-R BT.601

_SPACES = {1: "GRAY", 3: "RGB", 4: "CMYK"}
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
# Profiles called sRGB differ among themselves by rounding; one that moves no 8-bit value by more than this is sRGB,
# and its pixels are better left alone.
_SAME_WITHIN = 1


def import_pyvips(what: str) -> Any:
    """The module `pyvips`, for `what` needs it.

    Raises:
        MissingExtraError: it is not installed, or its library cannot be loaded.
    """
    try:
        import pyvips
    except (ImportError, OSError) as error:
        raise MissingExtraError(f'{what} needs pyvips: pip install "pentimento[large]"') from error
    # It also logs what it raises, and without a handler logging would print that to standard error.
    logging.getLogger("pyvips").addHandler(logging.NullHandler())
    return pyvips


# ---------------------------------------------------------------------------------------------- numbers
def to_bits(values: Pixels, bits: int) -> Pixels:
    """8 to 16 bit and back, to nearest: 255 <-> 65535, and 8 to 16 to 8 changes nothing."""
    if bits == 8 and values.dtype == np.uint16:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if bits == 16 and values.dtype == np.uint8:
        return values.astype(np.uint16) * np.uint16(257)
    return values


def composite(pixels: Pixels, alpha: Pixels | None, background: tuple[float, float, float] | None) -> Pixels:
    """alpha * pixels + (1 - alpha) * background, (H, W, C) float32 in [0, 1], on sRGB-encoded values as browsers do.

    Args:
        pixels: (H, W, 1 or 3).
        alpha: (H, W), same dtype, or None: opaque.
        background: RGB in [0, 1]; a gray picture takes its luma (ITU-R BT.601); None leaves the colours as they are.
    """
    scale = np.float32(np.iinfo(pixels.dtype).max)
    values: Pixels = pixels.astype(np.float32) / scale
    if alpha is None or background is None:
        return values
    behind = np.asarray(background, np.float32)
    if pixels.shape[-1] == 1:
        behind = behind @ np.asarray(LUMA, np.float32)
    weight = alpha.astype(np.float32)[..., None] / scale
    # The weights add to one and rounding may pass it by one unit in the last place.
    return np.clip(weight * values + (1 - weight) * behind, 0, 1)


def cmyk_to_rgb(pixels: Pixels) -> Pixels:
    """(1 - ink) (1 - black), for pictures that do not say which inks."""
    most = int(np.iinfo(pixels.dtype).max)
    paper = most - pixels.astype(np.uint64)
    rgb: Pixels = (paper[..., :3] * paper[..., 3:] + most // 2) // most
    return rgb.astype(pixels.dtype)


# --------------------------------------------------------------------------------------------- profiles
def to_srgb(pixels: Pixels, profile: bytes) -> Pixels | None:
    """From `profile` to sRGB: (H, W, C) gray stays gray, RGB and CMYK become RGB; the dtype stays.

    Returns:
        None where the profile is broken or not for such pixels; `pixels` themselves where the profile is sRGB.

    Raises:
        MissingExtraError: 16-bit colour, and pyvips is not installed.
    """
    return _convert(pixels, profile, into_profile=False)


def from_srgb(pixels: Pixels, profile: bytes) -> Pixels | None:
    """From sRGB to `profile`, the reverse of `to_srgb`; the result has the channels of the profile.

    Returns:
        None where that cannot be done: a profile that is broken, only for reading, or for gray while `pixels` are RGB.

    Raises:
        MissingExtraError: 16-bit colour, and pyvips is not installed.
    """
    opened = _open(profile)
    if opened is not None and pixels.shape[-1] == 1 and _space(opened) != "GRAY":
        pixels = np.repeat(pixels, 3, axis=-1)
    return _convert(pixels, profile, into_profile=True)


def describe_profile(profile: bytes) -> str | None:
    """The name that a profile gives itself, or None where it has none or is broken."""
    opened = _open(profile)
    text = opened.profile.profile_description if opened is not None else None
    return text.strip() or None if text else None


def _convert(pixels: Pixels, profile: bytes, *, into_profile: bool) -> Pixels | None:
    opened = _open(profile)
    if opened is None:
        return None
    space = _space(opened)
    channels = next((c for c, s in _SPACES.items() if s == space), 0)
    fits = channels == pixels.shape[-1] or (into_profile and channels == 4 and pixels.shape[-1] == 3)
    if not fits:
        return None
    working = _gray_srgb() if space == "GRAY" else _open(None)
    assert working is not None
    ends = (working, opened) if into_profile else (opened, working)
    try:
        probe = _probe(pixels.shape[-1])
        moved = _apply(probe, *ends, _output_channels(pixels, channels, into_profile))
    except ImageCms.PyCMSError:
        return None  # one that opens, and lacks what this direction needs
    if moved.shape == probe.shape and np.abs(moved.astype(int) - probe).max() <= _SAME_WITHIN:
        return pixels
    if pixels.dtype == np.uint16 and pixels.shape[-1] > 1:
        return _convert_by_vips(pixels, profile, into_profile=into_profile)
    return _apply(pixels, *ends, _output_channels(pixels, channels, into_profile))


def _output_channels(pixels: Pixels, of_profile: int, into_profile: bool) -> int:
    return of_profile if into_profile else min(pixels.shape[-1], 3)


def _open(profile: bytes | None) -> ImageCms.ImageCmsProfile | None:
    """None opens sRGB."""
    try:
        source = ImageCms.createProfile("sRGB") if profile is None else io.BytesIO(profile)
        return ImageCms.ImageCmsProfile(source)
    except (OSError, TypeError, ValueError):
        return None


def _space(profile: ImageCms.ImageCmsProfile) -> str:
    return profile.profile.xcolor_space.strip()


def _apply(pixels: Pixels, source: Any, target: Any, channels: int) -> Pixels:
    """Little CMS on (H, W, C): 8 bit, or 16-bit gray."""
    height, width, _ = pixels.shape
    wide = pixels.dtype == np.uint16
    mode, out_mode = ("I;16", "I;16") if wide else (_MODES[pixels.shape[-1]], _MODES[channels])
    transform = ImageCms.buildTransform(
        source,
        target,
        mode,
        out_mode,
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.HIGHRESPRECALC,
    )
    samples = pixels.astype("<u2") if wide else pixels
    moved = ImageCms.applyTransform(Image.frombytes(mode, (width, height), samples.tobytes()), transform)
    assert moved is not None
    return np.asarray(moved).astype(pixels.dtype).reshape(height, width, channels)


def _convert_by_vips(pixels: Pixels, profile: bytes, *, into_profile: bool) -> Pixels | None:
    """Pillow's Little CMS has no 16-bit colour; libvips converts in floating point and takes profiles as files."""
    vips = import_pyvips("converting 16-bit colour")
    image = vips.Image.new_from_array(
        np.ascontiguousarray(pixels), interpretation="cmyk" if pixels.shape[-1] == 4 else "rgb16"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "profile.icc"
        path.write_bytes(profile)
        source, target = ("srgb", str(path)) if into_profile else (str(path), "srgb")
        try:
            moved = image.icc_transform(
                target, input_profile=source, depth=16, intent="relative", black_point_compensation=True
            ).numpy()
        except vips.Error:
            return None
    return np.asarray(moved, dtype=np.uint16)


def _probe(channels: int) -> Pixels:
    """(1, n, channels) uint8: every gray, or a lattice over the cube."""
    if channels == 1:
        return np.arange(256, dtype=np.uint8).reshape(1, 256, 1)
    steps = np.linspace(0, 255, 17 if channels == 3 else 5).round().astype(np.uint8)
    return np.stack(np.meshgrid(*[steps] * channels), axis=-1).reshape(1, -1, channels)


@functools.cache
def _gray_srgb() -> ImageCms.ImageCmsProfile:
    """A gray profile with sRGB's tone curve (IEC 61966-2-1), which Little CMS does not offer ready-made.

    ICC.1:2010: a 128-byte header, a table of tags, and the tags: name, licence, white point D50, curve.
    """

    def fixed(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))

    def text(value: str) -> bytes:
        encoded = value.encode("utf-16-be")
        return b"mluc" + struct.pack(">III2s2sII", 0, 1, 12, b"en", b"US", len(encoded), 28) + encoded

    white = fixed(0.9642, 1.0, 0.8249)
    # Y = (a X + b)^g from X = d on, c X below: parametric curve 3, in the order g, a, b, c, d.
    curve = b"para" + struct.pack(">IHH", 0, 3, 0) + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    tags = {b"desc": text("Gray sRGB"), b"cprt": text("CC0"), b"wtpt": b"XYZ \0\0\0\0" + white, b"kTRC": curve}
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    head = struct.pack(">I4xI4s4s4s12x4s28x", start + len(body), 0x04300000, b"mntr", b"GRAY", b"XYZ ", b"acsp")
    head = (head + white).ljust(128, b"\0")
    return ImageCms.ImageCmsProfile(io.BytesIO(head + struct.pack(">I", len(tags)) + table + body))
