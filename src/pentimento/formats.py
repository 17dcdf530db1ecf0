"""Picture files as bytes: decoding to samples and metadata, and encoding. `pentimento.images` is the door to this.

Pillow decodes and encodes what is 8 bit, and 16-bit gray. It silently cuts 16-bit colour to 8 bit, so that goes
through libvips. TIFF is written here, on Pillow's directory writer: Pillow's TIFF encoder fails on EXIF with
sub-directories when it compresses, and libvips writes no EXIF into TIFF, whatever its `keep` says.
"""

from __future__ import annotations

import contextlib
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from pentimento.colour import Pixels, import_pyvips
from pentimento.errors import ImageError, PentimentoError

__all__ = [
    "Decoded",
    "compressed",
    "damage_is_an_error",
    "decode",
    "encode",
    "new_tiff_directory",
    "reason",
    "tiff_directory",
    "upright_exif",
]

_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
_ORIENTATION = 274
_EXIF_IFD, _GPS_IFD, _INTEROP = 34665, 34853, 40965
# Of the tags of a TIFF directory, those that describe the picture and not the layout of the file: description, maker,
# model, resolution, software, date, artist, host, copyright, rating, the EXIF and GPS directories.
_DESCRIPTIVE = {270, 271, 272, 282, 283, 296, 305, 306, 315, 316, 18246, 18249, 33432, _EXIF_IFD, _GPS_IFD}
_Turn = Callable[[Pixels], Pixels]
_TURNS: dict[int, _Turn] = {  # EXIF 2.3, table 6: what brings row 0 to the top, column 0 to the left
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}
_STRIP_ROWS = 256
_BIG_HEAD = b"II\x2b\0\x08\0\0\0" + (16).to_bytes(8, "little")
_JPEG_XMP_MAX = 65_502  # bytes: a segment's 65,535 less its length field and the name space


@dataclass(frozen=True)
class Decoded:
    """What a file holds, upright, in its own colours.

    Args:
        pixels: (H, W, C), C = 1 gray, 3 RGB or 4 CMYK, uint8 or uint16.
        alpha: (H, W), same dtype, or None.
        format: ``"PNG"``, ``"JPEG"``, ``"WEBP"``, ``"TIFF"``, ``"BMP"`` or ``"GIF"``.
        icc_profile: as embedded, perhaps broken, or None.
        exif: with orientation 1, beginning ``Exif``, or None.
        xmp: the packet, or None.
    """

    pixels: Pixels
    alpha: Pixels | None
    format: str
    icc_profile: bytes | None
    exif: bytes | None
    xmp: bytes | None


# --------------------------------------------------------------------------------------------- decoding
def decode(data: bytes, name: str) -> Decoded:
    """The first picture of a file; `name` is for messages.

    Raises:
        ImageError: it is no picture, damaged, truncated, too large or of a kind we do not read.
        MissingExtraError: 16-bit colour, and pyvips is not installed.
    """
    if not data:
        raise ImageError(f"{name}: the file is empty")
    try:
        tiff = tiff_directory(io.BytesIO(data))
        if _is_deep(data, tiff):
            return _decode_by_vips(data, tiff)
        return _decode_by_pillow(data)
    except PentimentoError as error:
        raise type(error)(f"{name}: {error}") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not a PNG, JPEG, WebP, TIFF, BMP or GIF picture, or damaged at its start") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name}: more pixels than are safe to open ({reason(error)})") from error
    except Exception as error:  # decoders raise whatever their parsing trips over, struct.error and SyntaxError too
        raise ImageError(f"{name}: truncated or damaged ({reason(error)})") from error


def reason(error: BaseException) -> str:
    """One line of what a library said."""
    return "; ".join(line.strip() for line in str(error).splitlines() if line.strip()) or type(error).__name__


def tiff_directory(stream: BinaryIO) -> Image.Exif | None:
    """The first directory of a TIFF or BigTIFF file (EXIF is a TIFF file without a picture), or None for others."""
    stream.seek(0)
    head = stream.read(16)
    if head[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return None
    big = b"+" in head[:4]
    start = ImageFileDirectory_v2(head if big else head[:8])
    tags = Image.Exif()
    tags.endian, tags.bigtiff = start._endian, big
    tags.load_from_fp(stream, start.next)
    return tags


def _is_deep(data: bytes, tiff: Image.Exif | None) -> bool:
    """Whether the samples are 16 bit and Pillow would cut or misread them.

    Raises:
        ImageError: samples that are neither 1 to 8 nor 16 bit, or not unsigned integers.
    """
    if tiff is None:
        is_png = data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR"
        return is_png and data[24] == 16 and data[25] in (2, 4, 6)  # RGB, gray with alpha, RGB with alpha
    depths = np.atleast_1d(tiff.get(258, 1))
    kinds = np.atleast_1d(tiff.get(339, 1))
    if not set(depths.tolist()) <= {1, 2, 4, 8, 16} or not set(kinds.tolist()) <= {1, 4}:  # 1 unsigned, 4 undefined
        kind = {2: "signed", 3: "floating point"}.get(int(kinds[0]), "unsigned")
        raise ImageError(f"{depths[0]}-bit {kind} samples; save it with 8- or 16-bit unsigned ones")
    gray = len(depths) == 1 and tiff.get(262, 1) == 1  # photometric 1: black is zero; Pillow does not invert the other
    return bool(depths.max() == 16 and not gray)


def _decode_by_pillow(data: bytes) -> Decoded:
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        image.load()
        if 0 in image.size:
            raise ImageError("a picture without pixels")
        pixels, alpha = _samples(image, data)
        info, kind = image.info, image.format or ""
        try:
            tags: Image.Exif | None = image.getexif()  # after load: Pillow has then turned TIFF itself
        except Exception:  # hostile EXIF raises as freely as hostile pictures, and is no reason to lose the picture
            tags = None
    return _upright(
        pixels,
        alpha,
        "JPEG" if kind == "MPO" else kind,  # MPO: a JPEG file with more pictures behind the first
        tags,
        icc_profile=_bytes_or_none(info.get("icc_profile")),
        xmp=_bytes_or_none(info.get("xmp")),
    )


def _samples(image: Image.Image, data: bytes) -> tuple[Pixels, Pixels | None]:
    """(H, W, C) colours and (H, W) alpha of any mode that our formats decode to."""
    mode = image.mode
    if mode in ("1", "L") or mode.startswith("I;16"):
        gray = np.asarray(image.convert("L") if mode == "1" else image)
        gray = gray.astype(np.uint16 if mode.startswith("I;16") else np.uint8)
        return gray[..., None], _keyed_alpha(gray, image, data)
    if mode == "CMYK":
        return np.array(image), None
    if mode in ("LA", "La"):
        both = np.array(image.convert("LA"))
        return both[..., :1], both[..., 1]
    if mode not in ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr"):
        raise ImageError(f"the colour mode {mode} is not read; save it as RGB")
    if image.has_transparency_data:
        both = np.array(image.convert("RGBA"))
        return both[..., :3], both[..., 3]
    return np.array(image.convert("RGB")), None


def _keyed_alpha(gray: Pixels, image: Image.Image, data: bytes) -> Pixels | None:
    """PNG and GIF may name one gray that is transparent; PNG names it before 1, 2 or 4 bits are stretched to 8."""
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return None
    most = int(np.iinfo(gray.dtype).max)
    if image.format == "PNG" and data[24] < 8:
        key *= most // (2 ** data[24] - 1)
    return np.where(gray == key, 0, most).astype(gray.dtype)


def _decode_by_vips(data: bytes, tiff: Image.Exif | None) -> Decoded:
    vips = import_pyvips("reading 16-bit colour")
    load = vips.Image.pngload_buffer if tiff is None else vips.Image.tiffload_buffer
    image = load(data, fail_on="error")
    if image.width * image.height > 2 * (Image.MAX_IMAGE_PIXELS or np.inf):  # Pillow's own rule
        raise Image.DecompressionBombError(f"{image.width} x {image.height}")
    if image.format != "ushort":
        raise ImageError(f"{image.format} samples; save it with 8- or 16-bit unsigned ones")
    if image.interpretation not in ("rgb16", "grey16", "cmyk"):
        image = image.colourspace("rgb16")
    with damage_is_an_error(vips):
        samples = image.numpy().reshape(image.height, image.width, image.bands)
    colours = {"rgb16": 3, "grey16": 1, "cmyk": 4}[image.interpretation]

    def field(key: str) -> bytes | None:
        return bytes(image.get(key)) if image.get_typeof(key) else None

    tags = tiff
    if tags is None:
        tags = Image.Exif()
        tags.load(field("exif-data") or b"")
    return _upright(
        samples[..., :colours],
        samples[..., colours] if image.bands > colours else None,
        "PNG" if tiff is None else "TIFF",
        tags,
        icc_profile=field("icc-profile-data"),
        xmp=field("xmp-data"),
    )


@contextlib.contextmanager
def damage_is_an_error(vips: Any) -> Iterator[None]:
    """Raise `vips.Error` where libvips only complains: of a damaged tile of a TIFF, which it then makes black."""
    vips.Error("")  # takes the complaints of before
    yield
    if complaint := vips.Error("").detail:
        raise vips.Error(complaint)


def _upright(
    pixels: Pixels,
    alpha: Pixels | None,
    kind: str,
    tags: Image.Exif | None,
    *,
    icc_profile: bytes | None,
    xmp: bytes | None,
) -> Decoded:
    orientation = tags.get(_ORIENTATION) if tags is not None else None
    turn: _Turn = _TURNS.get(orientation if isinstance(orientation, int) else 1, lambda a: a)
    return Decoded(
        pixels=np.ascontiguousarray(turn(pixels)),
        alpha=None if alpha is None else np.ascontiguousarray(turn(alpha)),
        format=kind,
        icc_profile=icc_profile,
        exif=upright_exif(tags, only_descriptive=kind == "TIFF"),
        xmp=xmp,
    )


def upright_exif(tags: Image.Exif | None, *, only_descriptive: bool) -> bytes | None:
    """EXIF anew, with orientation 1 and without the thumbnail, which would go on showing the picture as it was."""
    if tags is None:
        return None
    fresh = Image.Exif()
    try:
        for tag, value in tags.items():
            if tag == _ORIENTATION or (only_descriptive and tag not in _DESCRIPTIVE):
                continue
            if tag in (_EXIF_IFD, _GPS_IFD):
                # Interoperability is a directory of its own, at an offset that no longer holds.
                fresh[tag] = {t: _text(v) for t, v in tags.get_ifd(tag).items() if t != _INTEROP}
            else:
                fresh[tag] = _text(value)
        if not fresh:
            return None
        fresh[_ORIENTATION] = 1
        return fresh.tobytes()
    except Exception:  # hostile or broken EXIF: the picture is worth more
        return None


def _text(value: Any) -> Any:
    """Pillow reads text as Latin-1 and writes ASCII, with question marks; bytes pass through as they were."""
    return value.encode("latin-1", "replace") if isinstance(value, str) and not value.isascii() else value


def _bytes_or_none(value: object) -> bytes | None:
    return value or None if isinstance(value, bytes) else None


# --------------------------------------------------------------------------------------------- encoding
def encode(picture: Decoded, quality: int | None) -> bytes:
    """A whole file of `picture.format`, one of PNG, JPEG, WEBP, TIFF, with all the metadata given.

    Args:
        picture: 16 bit and CMYK only where the format holds them; no alpha for JPEG.
        quality: 1 to 100; None is 95 for JPEG (always 4:4:4) and lossless for WebP. PNG and TIFF are lossless.

    Raises:
        ImageError: the format cannot hold this picture or its metadata.
        MissingExtraError: PNG with 16-bit colour, and pyvips is not installed.
    """
    deep = picture.pixels.dtype == np.uint16 and (picture.pixels.shape[-1] > 1 or picture.alpha is not None)
    try:
        if picture.format == "TIFF":
            return _tiff(picture)
        if deep:
            return _png_by_vips(picture)
        return _encode_by_pillow(picture, quality)
    except PentimentoError:
        raise
    except Exception as error:  # too many pixels a side, too much metadata: each encoder in its own words
        raise ImageError(f"{picture.format} cannot hold this picture ({reason(error)})") from error


def _interleaved(picture: Decoded) -> Pixels:
    """(H, W, C or C + 1), alpha last."""
    if picture.alpha is None:
        return picture.pixels
    return np.concatenate([picture.pixels, picture.alpha[..., None]], axis=-1)


def _encode_by_pillow(picture: Decoded, quality: int | None) -> bytes:
    samples = _interleaved(picture)
    height, width, bands = samples.shape
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA" if picture.alpha is not None else "CMYK"}[bands]
    if samples.dtype == np.uint16:
        mode, samples = "I;16", samples.astype("<u2")
    options: dict[str, Any] = {"icc_profile": picture.icc_profile, "exif": picture.exif, "xmp": picture.xmp}
    if picture.format == "PNG" and picture.xmp:
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", picture.xmp.decode())
    if picture.format == "JPEG":
        if len(picture.xmp or b"") > _JPEG_XMP_MAX:
            raise ImageError("the provenance record is too long for JPEG (64 KiB); write PNG, WebP or TIFF")
        options |= {"quality": 95 if quality is None else quality, "subsampling": 0}
    if picture.format == "WEBP":
        # exact: colours under full transparency are kept too
        options |= {"lossless": True, "exact": True} if quality is None else {"quality": quality}
    stream = io.BytesIO()
    image = Image.frombytes(mode, (width, height), np.ascontiguousarray(samples).tobytes())
    image.save(stream, picture.format, **{k: v for k, v in options.items() if v is not None})
    return stream.getvalue()


def _png_by_vips(picture: Decoded) -> bytes:
    vips = import_pyvips("writing 16-bit colour into PNG")
    gray = picture.pixels.shape[-1] == 1
    image = vips.Image.new_from_array(
        np.ascontiguousarray(_interleaved(picture)), interpretation="grey16" if gray else "rgb16"
    ).copy()
    fields = {"icc-profile-data": picture.icc_profile, "exif-data": picture.exif, "xmp-data": picture.xmp}
    for key, value in fields.items():
        if value is not None:
            image.set_type(vips.GValue.blob_type, key, value)
    keep = vips.ForeignKeep.ICC | vips.ForeignKeep.XMP | (vips.ForeignKeep.EXIF if picture.exif else 0)
    return bytes(image.pngsave_buffer(keep=keep))


def _tiff(picture: Decoded) -> bytes:
    """In strips; see `new_tiff_directory`."""
    samples = _interleaved(picture)
    strips = [compressed(samples[row : row + _STRIP_ROWS]) for row in range(0, len(samples), _STRIP_ROWS)]
    sizes = [len(strip) for strip in strips]
    if sum(sizes) > 2**32 - 2**20:
        raise ImageError("TIFF ends at 4 GiB; write smaller pictures")
    directory = new_tiff_directory(picture, *samples.shape[:2])
    directory[278], directory[279] = _STRIP_ROWS, tuple(sizes)
    # Counted from the first strip: `save` adds where the directory ends.
    directory[273] = tuple(sum(sizes[:i]) for i in range(len(sizes)))
    stream = io.BytesIO()
    directory.save(stream)
    return b"".join([stream.getvalue(), *strips])


def compressed(samples: Pixels) -> bytes:
    """(h, w, bands) as a strip or a tile: little-endian, horizontal differences, Deflate (TIFF 6.0, section 14)."""
    steps = samples.astype(samples.dtype.newbyteorder("<"))
    steps[:, 1:] -= samples[:, :-1]  # modulo 2^bits, as the format wants it
    return zlib.compress(steps.tobytes(), 6)


def new_tiff_directory(like: Decoded, height: int, width: int, *, big: bool = False) -> ImageFileDirectory_v2:
    """All of a TIFF directory but where the samples are, which `compressed` makes (TIFF 6.0, sections 7, 14 and 18).

    `like` has the bits, the channels, the alpha and the metadata, if not the size. BigTIFF is for more than 4 GiB.
    """
    directory = ImageFileDirectory_v2(_BIG_HEAD) if big else ImageFileDirectory_v2()
    described = Image.Exif()
    described.load(like.exif or b"")
    for tag, value in described.items():
        directory[tag] = described.get_ifd(tag) if tag in (_EXIF_IFD, _GPS_IFD) else _text(value)
    colours, bits = like.pixels.shape[-1], 8 * like.pixels.dtype.itemsize
    bands = colours + (like.alpha is not None)
    directory[256], directory[257] = width, height
    directory[258], directory[277], directory[339] = (bits,) * bands, bands, (1,) * bands
    directory[259], directory[317] = 8, 2  # Deflate, horizontal differences
    directory[262] = {1: 1, 3: 2, 4: 5}[colours]  # black is zero, RGB, CMYK
    directory[284] = 1  # samples of a pixel side by side
    if like.alpha is not None:
        directory[338] = 2  # alpha that has not been multiplied into the colours
    for tag, blob in ((34675, like.icc_profile), (700, like.xmp)):
        if blob:
            directory[tag] = blob
    return directory
