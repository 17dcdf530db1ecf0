"""Where pictures come from: `open_source` finds out what a path or a name means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pentimento.data.archives import open_archive
from pentimento.data.folders import Folder, TreeSource, top_folders
from pentimento.data.hub import is_saved_dataset, open_hub, open_saved
from pentimento.data.idx import IdxSource, find_idx, is_idx
from pentimento.data.items import Item, Source, hash_items, pick_split
from pentimento.data.pairs import RESTORATION, PairSource, SideBySideSource, are_pairs, open_both
from pentimento.data.shapes import ShapesSource
from pentimento.data.stacked import StackedSource
from pentimento.errors import DataError, NotFoundError, suggest

__all__ = ["DigitsSource", "Item", "Source", "open_source", "open_two_sources"]

_SHAPES = re.compile(r"shapes(:(?P<count>[^:]*)(:(?P<seed>[^:]*))?)?")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")
MAX_SHAPES = 10_000_000  # at 12 KiB a picture, packing more would fill 120 GB unasked


class DigitsSource:
    """scikit-learn's 1,797 handwritten digits, 8x8 gray, scaled from 0 .. 16 to 0 .. 255."""

    name = "digits"
    count = 1797

    def content_hash(self) -> str:
        """Of all pixels and labels."""
        return hash_items("digits", self.items())

    def items(self) -> Iterator[Item]:
        """The pictures as (8, 8, 1) uint8 with the labels 0 to 9."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        for i, (image, label) in enumerate(zip(pixels, digits.target, strict=True)):
            yield Item(f"{i:04d}", image[..., None], str(label))


def open_source(where: str, split: str = "train") -> Source:
    """Open pictures by path or by name.

    Args:
        where: a folder of pictures or a zip or tar of one; a folder of MNIST's idx files or the path of one images
            file; a folder written by `datasets` or, where no such path exists, an id on the Hugging Face hub
            (``owner/name`` or ``hf:name``, with ``:configuration`` where it needs one); ``digits``; ``shapes``,
            ``shapes:N`` or ``shapes:N:seed``; ``stacked:WHERE`` puts three gray pictures of another source into the
            channels of one; ``pairs:FOLDER`` pairs pictures in ``damaged/`` and ``clean/`` or in ``A/`` and ``B/``,
            and ``side-by-side:WHERE`` the halves of another source's pictures. A folder with nothing but ``damaged/``
            and ``clean/`` is one of pairs unasked. A folder called digits is ``./digits``.
        split: train, test or validation, for what has splits. The path of an idx file is its own split.

    Raises:
        DataError: what is there cannot be used, or has no such split.
        MissingExtraError: a Hugging Face dataset without `datasets` installed.
        NotFoundError: there is no such path or name.
    """
    shapes = _SHAPES.fullmatch(where)
    if shapes is not None or where == "digits":
        if split != "train":
            pick_split(split, [], where)
        return DigitsSource() if shapes is None else _open_shapes(shapes)
    prefixed = _open_prefixed(where, split)
    if prefixed is not None:
        return prefixed
    path = Path(where).expanduser()
    if not where or not path.exists():
        return _open_missing(where, path, split)
    if path.is_dir():
        return _open_folder(path, split)
    return _open_file(path, split)


def open_two_sources(where: str, second: str | None = None, split: str = "train") -> tuple[Source, Source]:
    """Open two sets of pictures that are drawn apart: no picture of the one has a partner in the other.

    Args:
        where: the first set, see `open_source`; without `second` a folder that holds both, in ``A/`` and ``B/``.
        second: the other set, see `open_source`.
        split: as of `open_source`, for both.

    Raises:
        DataError: there is no second set, one of them comes in pairs, or what `open_source` refuses.
        MissingExtraError, NotFoundError: see `open_source`.
    """
    if second is None:
        path = Path(where).expanduser()
        if path.is_dir():
            return open_both(path, split)
        raise DataError(
            "second: the other set of pictures is missing; name it by --second, or both by a folder that holds "
            f"A/ and B/; {where} is no folder"
        )
    both = open_source(where, split), open_source(second, split)
    for name, place, source in zip(("data", "second"), (where, second), both, strict=True):
        if isinstance(source, (PairSource, SideBySideSource)):
            raise DataError(
                f"{name}: {place} comes in pairs; a set without partners expected, such as one side of them"
            )
    return both


def _open_prefixed(where: str, split: str) -> Source | None:
    """What a word and a colon before the rest say; None where there are none."""
    kind, colon, inner = where.partition(":")
    if kind + colon == "stacked:":
        return StackedSource(open_source(inner, split))
    if kind + colon == "side-by-side:":
        return SideBySideSource(open_source(inner, split))
    if kind + colon == "pairs:":
        return _open_pairs(inner, split)
    return open_hub(inner, split) if kind + colon == "hf:" else None


def _open_file(path: Path, split: str) -> Source:
    if is_idx(path):
        return IdxSource(path)
    archive = open_archive(path)
    if archive is None:
        raise DataError(
            f"data: {path} is neither a folder, nor a zip or tar archive, nor an idx file of MNIST's format"
        )
    source = TreeSource(archive, split)
    if top_folders(archive) == set(RESTORATION):
        source.notices += ("clean/ and damaged/ are taken as two classes; for pairs, unpack the archive",)
    return source


def _open_folder(path: Path, split: str) -> Source:
    if is_saved_dataset(path):
        return open_saved(path, split)
    try:
        images_file = find_idx(path, split)
    except OSError as error:
        raise DataError(f"cannot read the folder {path}: {error.strerror or error}") from error
    if images_file is not None:
        return IdxSource(images_file)
    return PairSource(path, split, asked=False) if are_pairs(path, split) else TreeSource(Folder(path), split)


def _open_pairs(where: str, split: str) -> PairSource:
    path = Path(where).expanduser()
    if not where or not path.exists():
        hint = suggest(str(path), _siblings(path))
        hint = hint if hint.startswith("did") else "a folder with damaged/ and clean/, or A/ and B/, expected"
        raise NotFoundError(f"data: pairs:{where} does not exist; {hint}")
    if not path.is_dir():
        raise DataError(f"data: pairs:{where} is a file; a folder expected, so unpack an archive first")
    return PairSource(path, split)


def _open_shapes(match: re.Match[str]) -> ShapesSource:
    texts = tuple(default if match[key] is None else match[key] for key, default in (("count", "2000"), ("seed", "0")))
    if not all(re.fullmatch("[0-9]{1,18}", text) for text in texts) or not 1 <= int(texts[0]) <= MAX_SHAPES:
        raise DataError(f"data: shapes:N:seed takes N from 1 to {MAX_SHAPES:,} and a whole seed, got {match[0]!r}")
    return ShapesSource(int(texts[0]), int(texts[1]))


def _open_missing(where: str, path: Path, split: str) -> Source:
    """What is not on this disk: an id on the hub, or a mistake.

    Raises:
        NotFoundError: a mistake; near names are suggested.
    """
    # "photos/cats" beside a folder called photos is a mistyped path, not an id on the hub.
    if _HUB_ID.fullmatch(where) and not path.parent.is_dir() and path.parent.name not in {".", ".."}:
        return open_hub(where, split)
    hint = suggest(str(path), (*(_siblings(path) if where else []), "digits", "shapes"))
    hint = hint if hint.startswith("did") else "a path, digits, shapes or a hub id (owner/name) expected"
    raise NotFoundError(f"data: {where or 'nothing'!r} does not exist; {hint}")


def _siblings(path: Path) -> list[str]:
    """What lies where `path` would."""
    if not path.parent.is_dir():
        return []
    return [str(path.parent / sibling.name) for sibling in path.parent.iterdir() if not sibling.name.startswith(".")]
