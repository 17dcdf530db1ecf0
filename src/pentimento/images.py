"""The one door for pictures: files and bytes to arrays and tensors, and back, with all that pictures carry.

Inside, a picture is sRGB-encoded, upright, gray or RGB, 8 or 16 bit; as a tensor float32 in [0, 1], (C, H, W).
Alpha, EXIF and the ICC profile are kept aside; ``write(..., like=picture)`` puts them back, and the colours into the
profile they came in. Colours outside sRGB's gamut are clipped to it on the way in; ``write(..., changed=mask)`` leaves
all other pixels as the file had them, sample by sample.

Importing this imports neither torch nor pyvips.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt

from pentimento import colour
from pentimento.colour import Pixels
from pentimento.errors import ImageError, NotFoundError, suggest
from pentimento.formats import Decoded, decode, encode
from pentimento.provenance import Provenance, digital_source_type, from_xmp, to_xmp
from pentimento.runtime import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "READABLE_SUFFIXES",
    "WRITABLE_SUFFIXES",
    "Background",
    "BoolArray",
    "Picture",
    "describe",
    "file_samples",
    "grid",
    "read",
    "to_samples",
    "write",
]

Background = tuple[float, float, float]
BoolArray = npt.NDArray[np.bool_]

_FORMAT_OF_SUFFIX = {".jpeg": "JPEG", ".jpg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP"}
WRITABLE_SUFFIXES = frozenset(_FORMAT_OF_SUFFIX)
READABLE_SUFFIXES = WRITABLE_SUFFIXES | {".bmp", ".gif", ".jfif", ".jpe"}

_WHITE: Background = (1.0, 1.0, 1.0)
_HOLDS_16_BIT = ("PNG", "TIFF")


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture in the working space, sRGB, and what it carries.

    Args:
        pixels: (H, W, C), C = 1 gray or 3 RGB, uint8 or uint16, sRGB-encoded, upright.
        alpha: (H, W), same dtype, or None: opaque. The colours are not multiplied by it.
        icc_profile: of the *input*, where it was used; `pixels` are sRGB whatever it says. None: the input was sRGB.
        exif: with orientation 1, or None.
        format: of the file it was read from, e.g. ``"PNG"``.

    Attributes:
        own: (H, W, 1, 3 or 4), same dtype: the file's samples where reading converted their colours; None: `pixels` are
            the file's. Only `of_file` sets it, so that one made by ``dataclasses.replace`` has none, and no stale one.

    Raises:
        ImageError: arrays of another shape or dtype.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    icc_profile: bytes | None = None
    exif: bytes | None = None
    format: str = "PNG"
    own: Pixels | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if len(shape) != 3 or shape[2] not in (1, 3) or 0 in shape or dtype not in (np.uint8, np.uint16):
            raise ImageError(f"pixels: (H, W, 1 or 3), uint8 or uint16 expected, got {shape}, {dtype}")
        if self.alpha is not None and (self.alpha.shape != shape[:2] or self.alpha.dtype != dtype):
            raise ImageError(f"alpha: {shape[:2]}, {dtype} expected, got {self.alpha.shape}, {self.alpha.dtype}")

    @classmethod
    def of_file(cls, raw: Decoded) -> Picture:
        """What a file holds, in the working space."""
        pixels = colour.to_srgb(raw.pixels, raw.icc_profile) if raw.icc_profile else None
        used = raw.icc_profile if pixels is not None else None
        if pixels is None:
            pixels = colour.cmyk_to_rgb(raw.pixels) if raw.pixels.shape[-1] == 4 else raw.pixels
        picture = cls(pixels, raw.alpha, used, raw.exif, raw.format)
        return picture if pixels is raw.pixels else picture._with_own(raw.pixels)

    def _with_own(self, own: Pixels | None) -> Picture:
        object.__setattr__(self, "own", own)  # frozen for all others
        return self

    @property
    def height_px(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width_px(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def bits(self) -> Literal[8, 16]:
        """Of a sample."""
        return 16 if self.pixels.dtype == np.uint16 else 8

    def to_tensor(self, background: Background | None = _WHITE) -> Tensor:
        """(C, H, W) float32 in [0, 1].

        Args:
            background: RGB in [0, 1] that shows through where the picture is transparent; a gray picture takes its
                luma. None leaves the colours as they are under the alpha: for verbs whose result gets it back.
        """
        import torch

        values = colour.composite(self.pixels, self.alpha, background)
        return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))

    def crop(self, top: int, left: int, height: int, width: int) -> Picture:
        """A window of it, in pixels, with all that it carries; a view."""
        cut = (slice(top, top + height), slice(left, left + width))
        part = replace(self, pixels=self.pixels[cut], alpha=None if self.alpha is None else self.alpha[cut])
        return part._with_own(None if self.own is None else self.own[cut])

    def composited(self, background: Background = _WHITE) -> Picture:
        """The same picture without transparency: over `background`, rounded to its own bit depth."""
        if self.alpha is None:
            return self
        values = colour.composite(self.pixels, self.alpha, background)
        return replace(self, pixels=_quantized(values, self.bits), alpha=None)


# ---------------------------------------------------------------------------------------------- reading
def read(source: Path | str | bytes, name: str | None = None) -> Picture:
    """The (first) picture of a PNG, JPEG, WebP, TIFF, BMP or GIF file, upright and in sRGB.

    16-bit samples keep their precision. Palettes become RGB, CMYK becomes RGB, 1-bit becomes gray. A broken ICC
    profile, or one for another kind of pixels, is ignored as browsers do; so is broken EXIF.

    Args:
        source: path, or the bytes of a file.
        name: for messages; the path, or ``"<bytes>"``.

    Raises:
        NotFoundError: no such file.
        ImageError: not a picture, truncated, damaged, without pixels, or with more than Pillow deems safe.
        MissingExtraError: 16-bit colour, and pyvips is not installed.
    """
    data, name = _load(source, name)
    return Picture.of_file(decode(data, name))


def describe(path: Path | str) -> dict[str, Any]:
    """What a picture file is and where it says it comes from, as JSON values.

    Returns:
        ``format``; ``width_px`` and ``height_px``, upright; ``channels`` of colour: 1 gray, 3 RGB, 4 CMYK; ``bits``:
        8 or 16; ``alpha``: whether it has any; ``icc_profile``: the name the profile gives itself, or None;
        ``digital_source_type``: IPTC's, or None; ``provenance``: our record, or None; ``sha256`` of the file.

    Raises:
        NotFoundError, ImageError, MissingExtraError: as `read`.
    """
    data, name = _load(path, None)
    raw = decode(data, name)
    return {
        "format": raw.format,
        "width_px": int(raw.pixels.shape[1]),
        "height_px": int(raw.pixels.shape[0]),
        "channels": int(raw.pixels.shape[2]),
        "bits": 8 * raw.pixels.dtype.itemsize,
        "alpha": raw.alpha is not None,
        "icc_profile": colour.describe_profile(raw.icc_profile) if raw.icc_profile else None,
        "digital_source_type": digital_source_type(raw.xmp) if raw.xmp else None,
        "provenance": from_xmp(raw.xmp) if raw.xmp else None,
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def _load(source: Path | str | bytes, name: str | None) -> tuple[bytes, str]:
    if isinstance(source, bytes):
        return source, name or "<bytes>"
    path = Path(source)
    name = name or str(path)
    try:
        if path.exists() and not path.is_file():  # a folder; a device or a pipe, which may never end
            raise ImageError(f"{name}: a {'folder' if path.is_dir() else 'special file'}, not a picture file")
        return path.read_bytes(), name
    except FileNotFoundError as error:
        raise NotFoundError(f"{name}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        raise ImageError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


# ---------------------------------------------------------------------------------------------- writing
def write(
    path: Path | str,
    image: Tensor | Picture,
    *,
    provenance: Provenance | None = None,
    like: Picture | None = None,
    changed: BoolArray | None = None,
    bits: Literal[8, 16] | None = None,
    quality: int | None = None,
) -> None:
    """Write a picture in the format of the suffix; the file appears whole or not at all.

    JPEG has no alpha (it is composited over white) and WebP no gray (it comes back as three equal channels). CMYK
    profiles go into JPEG and TIFF; elsewhere, and where a profile cannot be converted to, sRGB without one is written.

    Args:
        path: ends in one of `WRITABLE_SUFFIXES`; an existing file is replaced.
        image: (C, H, W) or (1, C, H, W) floats in [0, 1], sRGB, clamped and rounded to nearest; or a `Picture`, which
            is also its own `like`.
        provenance: goes into the file as XMP.
        like: the picture this one was made from; its EXIF, its ICC profile and, where the size is the same, its alpha
            are put back. Make the tensor with ``to_tensor(background=None)`` if it has alpha.
        changed: (H, W); where False, the file gets the samples that the file of `like` had, not converted, not rounded.
            JPEG and lossy WebP take them too, and then change every pixel a little.
        bits: a sample, 8 or 16 (PNG and TIFF only); None is that of the picture or of `like`, where the format can.
        quality: 1 to 100, of lossy JPEG and WebP; None is 95 for JPEG, 4:4:4 always, and lossless WebP.

    Raises:
        ImageError: another suffix, a tensor of another shape or with NaN or infinity, 16 bit asked of JPEG or WebP, a
            picture or metadata that the format cannot hold, or `changed` where `like` has other samples than the file.
        MissingExtraError: 16-bit colour in PNG or with a profile, and pyvips is not installed.
        StorageError: the disk is full or refuses.
    """
    path = Path(path)
    kind = _writable_format(path)
    if isinstance(image, Picture):
        like = like or image
    bits = _output_bits(bits, like, kind)
    if quality is not None and not 1 <= quality <= 100:
        raise ImageError(f"quality: 1 to 100 expected, got {quality}")
    xmp = to_xmp(provenance) if provenance is not None else None
    try:
        if isinstance(image, Picture):
            pixels, alpha = colour.to_bits(image.pixels, bits), image.alpha
        else:
            pixels, alpha = to_samples(image, bits), None
        pixels, alpha, profile = file_samples(pixels, alpha, like, kind, changed)
        payload = encode(Decoded(pixels, alpha, kind, profile, like.exif if like else None, xmp), quality)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    with atomic_write(path) as temporary:
        temporary.write_bytes(payload)


def _writable_format(path: Path) -> str:
    try:
        return _FORMAT_OF_SUFFIX[path.suffix.lower()]
    except KeyError:
        hint = suggest(path.suffix.lower(), WRITABLE_SUFFIXES)
        allowed = ", ".join(sorted(WRITABLE_SUFFIXES))
        more = f"; {hint}" if hint.startswith("did") else ""
        raise ImageError(f"{path}: a picture's name must end in one of {allowed}{more}") from None


def _output_bits(bits: int | None, like: Picture | None, kind: str) -> Literal[8, 16]:
    if bits is None:
        bits = like.bits if like is not None and kind in _HOLDS_16_BIT else 8
    if bits not in (8, 16):
        raise ImageError(f"bits: 8 or 16 expected, got {bits}")
    if bits == 16 and kind not in _HOLDS_16_BIT:
        raise ImageError(f"bits: {kind} holds 8 bits a sample, 16 were asked for; write .png or .tif")
    return cast(Literal[8, 16], bits)


def to_samples(image: Tensor, bits: Literal[8, 16]) -> Pixels:
    """(C, H, W) or (1, C, H, W) floats in [0, 1] to (H, W, C) of `bits`, clamped and rounded to nearest.

    Raises:
        ImageError: a tensor of another shape, or with NaN or infinity.
    """
    import torch

    if not isinstance(image, torch.Tensor) or not image.is_floating_point():
        kind = image.dtype if isinstance(image, torch.Tensor) else type(image).__name__
        raise ImageError(f"image: a tensor of floats in [0, 1] or a Picture expected, got {kind}")
    shape = tuple(image.shape)
    if len(shape) == 4 and shape[0] == 1:
        image = image[0]
    if image.ndim != 3 or image.shape[0] not in (1, 3) or 0 in shape:
        raise ImageError(f"image: (C, H, W) or (1, C, H, W) with C = 1 or 3 expected, got {shape}")
    values = image.detach().to("cpu", torch.float32)
    if not bool(torch.isfinite(values).all()):
        raise ImageError("image: it holds NaN or infinity; nothing was written")
    return _quantized(values.permute(1, 2, 0).numpy(), bits)


def _quantized(values: Pixels, bits: int) -> Pixels:
    """Floats to samples, to nearest: floor(x * most + 1/2), clamped to [0, most]."""
    most = 2**bits - 1
    scaled = np.floor(np.clip(values, 0, 1) * np.float32(most) + np.float32(0.5))
    return np.ascontiguousarray(scaled).astype(np.uint16 if bits == 16 else np.uint8)


def file_samples(
    pixels: Pixels, alpha: Pixels | None, like: Picture | None, kind: str, changed: BoolArray | None = None
) -> tuple[Pixels, Pixels | None, bytes | None]:
    """The samples, the alpha and the ICC profile that go into a file of format `kind`; see `write` for the rest.

    Args:
        pixels: (H, W, 1 or 3), sRGB, at the bit depth of the file.
        alpha: (H, W), or None: that of `like`, if the size is the same.

    Raises:
        ImageError: `changed`, and the samples of `like` are not such as the file will hold.
    """
    size = pixels.shape[:2]
    if changed is not None and (changed.shape != size or changed.dtype != bool):
        raise ImageError(f"changed: {size}, bool expected, got {changed.shape}, {changed.dtype}")
    if changed is not None and (like is None or like.pixels.shape[:2] != size):
        raise ImageError("changed: needs `like`, of the same size, whose samples are kept")
    bits = 8 * pixels.dtype.itemsize
    if alpha is None and like is not None and like.alpha is not None and like.alpha.shape == size:
        alpha = like.alpha
    alpha = None if alpha is None else colour.to_bits(alpha, bits)
    if alpha is not None and kind == "JPEG":
        changed = None if changed is None else changed | (alpha < 2**bits - 1)  # white shows through: not a sample
        pixels, alpha = _quantized(colour.composite(pixels, alpha, _WHITE), bits), None
    pixels, profile = _into_profile(pixels, like.icc_profile if like else None, kind, alpha is not None)
    if changed is not None and like is not None:
        pixels = np.where(changed[..., None], pixels, _own_samples(like, pixels, profile, kind))
        if alpha is not None and like.alpha is not None:
            alpha = np.where(changed, alpha, like.alpha)
    return pixels, alpha, profile


def _own_samples(like: Picture, pixels: Pixels, profile: bytes | None, kind: str) -> Pixels:
    """The samples of the file that `like` was read from, which must be of the kind of `pixels`."""
    if like.own is None and like.icc_profile is not None:
        corner = like.pixels[:1, :1]
        if colour.to_srgb(corner, like.icc_profile) is not corner:  # so `read` has converted them
            raise ImageError("changed: `like` was altered after it was read, and has lost the file's own samples")
    own = like.pixels if like.own is None else like.own
    if own.shape != pixels.shape or own.dtype != pixels.dtype or (like.own is not None and profile is None):
        had, holds = _in_words(own, like.icc_profile), _in_words(pixels, profile)
        raise ImageError(f"changed: `like` has {had}, this {kind} {holds}: samples cannot be kept as they are")
    return own


def _in_words(samples: Pixels, profile: bytes | None) -> str:
    space = {1: "gray", 3: "RGB", 4: "CMYK"}[samples.shape[-1]]
    return f"{8 * samples.dtype.itemsize}-bit {space} {'with' if profile else 'without'} an ICC profile"


def _into_profile(pixels: Pixels, profile: bytes | None, kind: str, has_alpha: bool) -> tuple[Pixels, bytes | None]:
    """`pixels` in `profile`, and the profile; or both untouched and None where the file could not say it."""
    moved = colour.from_srgb(pixels, profile) if profile is not None else None
    if moved is None:
        return pixels, None
    channels = moved.shape[-1]
    if (channels == 4 and (kind not in ("JPEG", "TIFF") or has_alpha)) or (channels == 1 and kind == "WEBP"):
        return pixels, None
    return moved, profile


# ------------------------------------------------------------------------------------ sheets and folders
def grid(images: Tensor, columns: int | None = None, pad_px: int = 2, fill: float = 1.0) -> Tensor:
    """A contact sheet: (N, C, H, W) to (C, rows * (H + pad_px) + pad_px, columns * (W + pad_px) + pad_px).

    Args:
        images: row by row, N of them.
        columns: of the sheet; None is the least that makes it no higher than wide, counted in pictures.
        pad_px: between pictures and around them.
        fill: value of the padding and of empty places, in [0, 1].

    Raises:
        ImageError: no pictures, another shape, or columns or padding that make no sheet.
    """
    if images.ndim != 4 or 0 in images.shape:
        raise ImageError(f"images: (N, C, H, W) with at least one picture expected, got {tuple(images.shape)}")
    count, channels, height, width = images.shape
    columns = math.isqrt(count - 1) + 1 if columns is None else columns
    if columns < 1 or pad_px < 0:
        raise ImageError(f"columns >= 1 and pad_px >= 0 expected, got columns={columns}, pad_px={pad_px}")
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    sheet = images.new_full(
        (channels, rows * (height + pad_px) + pad_px, columns * (width + pad_px) + pad_px), float(fill)
    )
    for index in range(count):
        top = pad_px + index // columns * (height + pad_px)
        left = pad_px + index % columns * (width + pad_px)
        sheet[:, top : top + height, left : left + width] = images[index]
    return sheet
