"""Pictures larger than memory: read window by window, through libvips, and written row by row.

`read` opens what libvips reads. A tiled TIFF is decoded where a window needs it; other formats are decoded once, and
where that takes more than 100 MB, into a temporary file (libvips' ``VIPS_DISC_THRESHOLD``). `writing` makes a tiled
TIFF, BigTIFF where it must be, that holds what `pentimento.images.write` would put into it. libvips would write one
too, but without EXIF, and from a copy of all samples on the disk.

Importing this imports neither torch nor pyvips.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from pentimento import colour, images
from pentimento.colour import Pixels, import_pyvips
from pentimento.errors import ImageError, NotFoundError
from pentimento.formats import (
    Decoded,
    compressed,
    damage_is_an_error,
    new_tiff_directory,
    reason,
    tiff_directory,
    upright_exif,
)
from pentimento.images import BoolArray, Picture, file_samples
from pentimento.provenance import Provenance, to_xmp
from pentimento.runtime import atomic_write

__all__ = ["LargePicture", "Writer", "check_name", "open_still", "read", "writing"]

_WHAT = "working on pictures larger than memory"
_CHANNELS = {"b-w": 1, "grey16": 1, "srgb": 3, "rgb": 3, "rgb16": 3, "cmyk": 4}  # of libvips' interpretations
_TILE_PX = 256
_CLASSIC_MAX_BYTES = 2**32 - 2**28  # of samples, tiles filled up: TIFF ends at 4 GiB, and Deflate may add a little


@dataclass(frozen=True, eq=False)
class LargePicture:
    """A picture that stays in its file; `read` makes it. What `crop` gives is upright and in the working space.

    Args:
        height_px: upright.
        width_px: upright.
        channels: of colour in the file: 1 gray, 3 RGB, 4 CMYK.
        bits: of a sample, 8 or 16.
        has_alpha: whether there is transparency.
        icc_profile: as of `Picture`.
        exif: as of `Picture`.
        format: of the file, e.g. ``"TIFF"``.
        path: of the file.
        image: libvips' handle of it.
    """

    height_px: int
    width_px: int
    channels: int
    bits: Literal[8, 16]
    has_alpha: bool
    icc_profile: bytes | None
    exif: bytes | None
    format: str
    path: Path
    image: Any

    def crop(self, top: int, left: int, height: int, width: int) -> Picture:
        """A window of it, in pixels, with all that it carries.

        Raises:
            ImageError: a window that is not inside the picture, or a file that is truncated or damaged there.
        """
        if min(top, left, height - 1, width - 1) < 0 or top + height > self.height_px or left + width > self.width_px:
            size = f"{self.height_px} x {self.width_px}"
            raise ImageError(f"crop: a window inside {size} expected, got {height} x {width} at ({top}, {left})")
        vips = import_pyvips(_WHAT)
        try:
            # By a region: `Image.crop` starts threads for every window, and their heaps add up to the picture.
            with damage_is_an_error(vips):
                data = vips.Region.new(self.image).fetch(left, top, width, height)
        except vips.Error as error:
            raise ImageError(f"{self.path}: truncated or damaged ({reason(error)})") from error
        samples = np.frombuffer(data, f"u{self.bits // 8}").reshape(height, width, -1)
        colours = np.ascontiguousarray(samples[..., : self.channels])
        alpha = np.ascontiguousarray(samples[..., self.channels]) if self.has_alpha else None
        return Picture.of_file(Decoded(colours, alpha, self.format, self.icc_profile, self.exif, None))

    def scaled_down(self, height: int, width: int) -> Picture:
        """All of it in memory, that small, with all that it carries.

        Raises:
            ImageError: a file that is truncated or damaged.
        """
        vips = import_pyvips(_WHAT)
        most, image = 2**self.bits - 1, self.image
        if self.has_alpha:  # colours that cannot be seen are not mixed with those that can
            image = image.premultiply(max_alpha=most)
        image = image.resize(width / image.width, vscale=height / image.height, kernel="cubic")
        if self.has_alpha:
            image = image.unpremultiply(max_alpha=most)
        samples = image.rint().cast("ushort" if self.bits == 16 else "uchar")
        try:
            with damage_is_an_error(vips):
                samples = samples.copy_memory()  # row by row; a window of all would ask for all of the large picture
        except vips.Error as error:
            raise ImageError(f"{self.path}: truncated or damaged ({reason(error)})") from error
        return replace(self, height_px=height, width_px=width, image=samples).crop(0, 0, height, width)


def read(path: Path | str) -> LargePicture:
    """Open a picture without decoding it, as far as its format allows.

    Raises:
        NotFoundError: no such file.
        ImageError: not a picture that libvips reads, damaged, or with samples other than 8- or 16-bit unsigned ones.
        MissingExtraError: pyvips is not installed.
    """
    path = Path(path)
    vips = import_pyvips(_WHAT)
    if not path.exists():
        raise NotFoundError(f"{path}: no such file")
    if not path.is_file():
        raise ImageError(f"{path}: a {'folder' if path.is_dir() else 'special file'}, not a picture file")
    try:
        # Through a source, because libvips takes brackets in a file's name for options.
        source = vips.Source.new_from_file(str(path))
        image = vips.Image.new_from_source(source, "", access="random", fail_on="error").autorot()
        if image.format not in ("uchar", "ushort"):
            raise ImageError(f"{path}: {image.format} samples; save it with 8- or 16-bit unsigned ones")
        if image.interpretation not in _CHANNELS:
            image = image.colourspace("rgb16" if image.format == "ushort" else "srgb")
    except vips.Error as error:
        raise ImageError(f"{path}: not a picture that libvips reads, or damaged ({reason(error)})") from error
    profile = bytes(image.get("icc-profile-data")) if image.get_typeof("icc-profile-data") else None
    channels = _CHANNELS[image.interpretation]
    opened = LargePicture(
        height_px=image.height,
        width_px=image.width,
        channels=channels,
        bits=16 if image.format == "ushort" else 8,
        has_alpha=image.bands > channels,
        icc_profile=profile,
        exif=_exif(path, image),
        format=image.get("vips-loader").removesuffix("_source").removesuffix("load").upper(),
        path=path,
        image=image,
    )
    return replace(opened, icc_profile=opened.crop(0, 0, 1, 1).icc_profile)  # None where it cannot be used


def open_still(path: Path | str, limit_bytes: int, growth: int = 1) -> Picture | LargePicture:
    """A picture in memory; or in its file, where it and a result `growth` times as large would pass `limit_bytes`.

    Raises:
        ImageError: an animation, or several pages; and as `read` and `pentimento.images.read`.
        MissingExtraError, NotFoundError: likewise.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit is ours to set
        try:
            with Image.open(path) as header:
                sample_bytes = 2 if ";16" in str(header.tile[:1]) else 1  # of colour, Pillow's mode does not tell
                taken = (1 + growth) * header.width * header.height * len(header.getbands()) * sample_bytes
                count = _count(header)
        except Image.DecompressionBombError:
            return read(path)
        except Exception:  # what it is not, `images.read` says
            return images.read(path)
        if count > 1:
            what = "a document" if header.format == "TIFF" else "an animation"
            raise ImageError(f"{path}: {what} of {count} pictures; save the one you want as a still")
        return read(path) if taken > limit_bytes else images.read(path)


def _count(header: Image.Image) -> int:
    """Pictures in a file; in a TIFF, small versions and masks of the first (NewSubfileType 1 and 4) do not count."""
    frames: int = getattr(header, "n_frames", 1)
    if header.format != "TIFF":
        return frames if header.format in ("GIF", "WEBP", "PNG") else 1
    count = 1
    for frame in range(1, frames):
        header.seek(frame)
        count += not cast(Any, header).tag_v2.get(254, 0) & 5
    return count


def _exif(path: Path, image: Any) -> bytes | None:
    """libvips reads no EXIF out of TIFF, and that of other formats as it stands."""
    try:
        with path.open("rb") as stream:
            tags = tiff_directory(stream)
            if tags is not None:
                return upright_exif(tags, only_descriptive=True)
        tags = Image.Exif()
        tags.load(bytes(image.get("exif-data")) if image.get_typeof("exif-data") else b"")
    except Exception:  # hostile EXIF raises as it likes, and is no reason to lose the picture
        return None
    return upright_exif(tags, only_descriptive=False)


# ---------------------------------------------------------------------------------------------- writing
class Writer:
    """Takes the rows of a picture, top to bottom; `writing` makes it.

    Attributes:
        notes: what the file will not hold of `like`, a line each.
    """

    def __init__(
        self,
        stream: BinaryIO,
        height_px: int,
        width_px: int,
        like: Picture | LargePicture | None,
        bits: Literal[8, 16],
        xmp: bytes | None,
    ) -> None:
        self.bits = bits
        self.notes: list[str] = []
        self._stream, self._size, self._like, self._xmp = stream, (height_px, width_px), like, xmp
        self._corner = None if like is None else like.crop(0, 0, 1, 1)
        self._done = 0
        self._band: Pixels | None = None  # (_TILE_PX, width, bands): the row of tiles that is being filled
        self._directory = ImageFileDirectory_v2()
        self._start = 0  # of the tiles in the file
        self._sizes: list[int] = []

    def write(self, rows: Pixels, changed: BoolArray | None = None) -> None:
        """The next rows.

        Args:
            rows: (h, width, 1 or 3), sRGB, 8 or 16 bit: converted to the bits of the file.
            changed: (h, width), see `pentimento.images.write`.

        Raises:
            ImageError: rows of another width or with other channels than before, too many of them, or `changed` where
                the samples of `like` are not such as the file will hold.
        """
        height, width = self._size
        if rows.shape[1] != width or self._done + len(rows) > height:
            raise ImageError(f"rows: {height - self._done} or fewer of {width} px expected, got {rows.shape[:2]}")
        like = self._like_of_rows(len(rows), changed is not None)
        colours, alpha, profile = file_samples(colour.to_bits(rows, self.bits), None, like, "TIFF", changed)
        samples = colours if alpha is None else np.concatenate([colours, alpha[..., None]], axis=-1)
        if self._band is None:
            exif = self._like.exif if self._like is not None else None
            self._begin(Decoded(colours, alpha, "TIFF", profile, exif, self._xmp))
            self._band = np.empty((_TILE_PX, width, samples.shape[-1]), samples.dtype)
        if samples.shape[-1] != self._band.shape[-1]:
            raise ImageError(f"rows: {self._band.shape[-1]} channels as before expected, got {samples.shape[-1]}")
        while len(samples):
            filled = self._done % _TILE_PX
            part, samples = np.split(samples, [_TILE_PX - filled])
            self._band[filled : filled + len(part)] = part
            self._done += len(part)
            if self._done == height or self._done % _TILE_PX == 0:
                self._flush(self._band[: filled + len(part)])

    def finish(self) -> None:
        """Say where everything is.

        Raises:
            ImageError: rows are missing.
        """
        if self._done < self._size[0]:
            raise ImageError(f"rows: {self._size[0]} expected, got {self._done}; nothing was written")
        self._directory[324] = tuple(int(place) for place in np.cumsum([self._start, *self._sizes[:-1]]))
        self._directory[325] = tuple(self._sizes)
        self._stream.seek(0)
        self._directory.save(self._stream)

    def _begin(self, first: Decoded) -> None:
        """Keep room for the directory, whose length is known before its values."""
        tiles = [-(-side // _TILE_PX) for side in self._size]
        sample_bytes = self.bits // 8 * (first.pixels.shape[-1] + (first.alpha is not None))
        big = math.prod(tiles) * _TILE_PX**2 * sample_bytes > _CLASSIC_MAX_BYTES
        self._directory = new_tiff_directory(first, *self._size, big=big)
        self._directory[322] = self._directory[323] = _TILE_PX
        self._directory.tagtype |= {324: 16 if big else 4, 325: 4}  # of 64 bits or 32
        self._directory[324] = self._directory[325] = (0,) * math.prod(tiles)
        self._start = self._stream.write(bytes(16 + len(self._directory.tobytes())))
        if self._corner is not None and self._corner.icc_profile is not None and first.icc_profile is None:
            self.notes.append("the picture's ICC profile cannot be written to; the colours are sRGB")
        if self._corner is not None and self._corner.alpha is not None and first.alpha is None:
            self.notes.append("the transparency is left out, because the size of the picture changed")

    def _flush(self, band: Pixels) -> None:
        """Write a row of tiles; those at the border are filled up with their last row and column."""
        for left in range(0, band.shape[1], _TILE_PX):
            tile = band[:, left : left + _TILE_PX]
            missing = [(0, _TILE_PX - side) for side in tile.shape[:2]]
            self._sizes.append(self._stream.write(compressed(np.pad(tile, [*missing, (0, 0)], mode="edge"))))

    def _like_of_rows(self, count: int, wanted: bool) -> Picture | None:
        """The part of `like` that these rows were made from, or, where nothing of it is put back, its corner."""
        if self._like is None or self._corner is None:
            return None
        if (self._like.height_px, self._like.width_px) != self._size:
            return replace(self._corner, alpha=None)
        if wanted or self._corner.alpha is not None:
            return self._like.crop(self._done, 0, count, self._size[1])
        return self._corner


def check_name(path: Path) -> None:
    """Refuse what `writing` does not write.

    Raises:
        ImageError: another suffix than ``.tif`` or ``.tiff``.
    """
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise ImageError(f"{path}: a picture larger than memory is written as .tif or .tiff; choose such a name")


@contextlib.contextmanager
def writing(
    path: Path | str,
    height_px: int,
    width_px: int,
    *,
    like: Picture | LargePicture | None = None,
    bits: Literal[8, 16] | None = None,
    provenance: Provenance | None = None,
) -> Iterator[Writer]:
    """Write a picture row by row into a tiled, Deflate-compressed TIFF; the file appears whole or not at all.

    EXIF, ICC profile and alpha of `like` are put back as `pentimento.images.write` does it.

    Args:
        path: ends in ``.tif`` or ``.tiff``; an existing file is replaced.
        height_px: of the picture.
        width_px: of the picture.
        like: the picture it was made from, which may be the one that stands at `path`.
        bits: a sample, 8 or 16; None is that of `like`, or 8.
        provenance: goes into the file as XMP.

    Raises:
        ImageError: another suffix, or fewer rows than `height_px`.
        StorageError: the disk is full or refuses.
    """
    path = Path(path)
    check_name(path)
    xmp = to_xmp(provenance) if provenance is not None else None
    if bits is None:
        bits = like.bits if like is not None else 8
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        writer = Writer(stream, height_px, width_px, like, bits, xmp)
        yield writer
        writer.finish()
