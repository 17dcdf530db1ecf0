"""Pictures in a tree of files: a folder on disk, or the same folder in an archive.

What the names in the tree mean:

- Top-level folders that are all called train, test, val, valid or validation are splits, and one is picked.
- ``metadata.csv`` or ``metadata.jsonl`` (the convention of Hugging Face's imagefolder) beside the pictures, or at the
  top of the tree: ``file_name`` says which picture, ``label`` its class, every other column is an attribute.
- Without a ``label`` column, the first folder below the split is the class, if every picture lies in such a folder
  and there are at least two of them (one folder would tell nothing).

Files whose suffix is no picture's, hidden files and ``__MACOSX`` are ignored; so are run folders, which hold a
``run.json`` beside a ``recipe.toml``. What a person may not expect of this is said in `TreeSource.notices`.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from pentimento import images
from pentimento.data.items import Item, hash_items, pick_split
from pentimento.data.metadata import METADATA_NAMES, Columns, read_metadata
from pentimento.errors import DataError

__all__ = ["SPLIT_NAMES", "Folder", "Tree", "TreeSource", "is_hidden", "is_picture", "top_folders"]

SPLIT_NAMES = frozenset({"train", "test", "val", "valid", "validation"})
RUN_FILES = ("run.json", "recipe.toml")  # a folder that holds both is one of Pentimento's runs
UNREAD_SUFFIXES = frozenset(
    {".avif", ".cr2", ".dng", ".heic", ".heif", ".jp2", ".nef", ".psd", ".raw", ".svg"}
)  # pictures in formats that are not read
_RULES = 2  # raised when the same archive is understood in another way than before


class Tree(Protocol):
    """Files by relative POSIX name, wherever they lie."""

    @property
    def path(self) -> Path:
        """Of the folder or the archive."""
        ...

    def names(self) -> list[str]:
        """Names of all regular files that are not hidden, each once."""
        ...

    def read(self, name: str) -> bytes:
        """One file."""
        ...

    def stream(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """The wanted files, always in the same order."""
        ...

    def fingerprint(self) -> str | None:
        """Hash of the whole tree where it is cheaper than hashing file by file, else None."""
        ...


@dataclass(frozen=True)
class _Entry:
    """A picture of the tree under its name in the source."""

    name: str
    label: str | None
    attributes: dict[str, float | str] = field(default_factory=dict)


class Folder:
    """A folder on disk as a `Tree`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        """Sorted. Links to folders are followed, each real folder once.

        Raises:
            DataError: a folder cannot be read.
        """
        found: list[str] = []
        seen: set[str] = set()
        for folder, subfolders, files in os.walk(self.path, onerror=_refuse, followlinks=True):
            real = str(Path(folder).resolve())
            if real in seen:
                subfolders.clear()
                continue
            seen.add(real)
            subfolders.sort()
            relative = PurePosixPath(Path(folder).relative_to(self.path).as_posix())
            found += [str(relative / file) for file in files]
        return sorted(name for name in found if not is_hidden(name) and (self.path / name).is_file())

    def read(self, name: str) -> bytes:
        """One file.

        Raises:
            DataError: the file cannot be read.
        """
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise DataError(f"cannot read {self.path / name}: {error.strerror or error}") from error

    def stream(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """In the order of the names."""
        for name in sorted(wanted):
            yield name, self.read(name)

    def fingerprint(self) -> None:
        """A folder is hashed file by file."""


class TreeSource:
    """The pictures of one split of a tree.

    Attributes:
        notices: lines for a person about what was found and not taken, or not understood as it may be meant.

    Raises:
        DataError: there are no pictures, no such split, or the metadata do not fit the pictures.
    """

    def __init__(self, tree: Tree, split: str = "train") -> None:
        self._tree = tree
        self._split = split
        self.name = tree.path.resolve().name
        self._entries, self.notices = _arrange(tree, split)
        self._paths = {entry.name: path for path, entry in self._entries.items()}
        self.count = len(self._entries)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the pictures, in the order of the tree's names."""
        return tuple(self._paths)

    def read(self, name: str) -> bytes:
        """The file of one picture; for many in an archive `items` is faster."""
        return self._tree.read(self._paths[name])

    def content_hash(self) -> str:
        """Of names, labels, attributes and files; of an archive, of its bytes and the split."""
        whole = self._tree.fingerprint()
        if whole is not None:
            return hashlib.blake2b(f"{whole}/{self._split}/{_RULES}".encode(), digest_size=16).hexdigest()
        return hash_items("tree", self.items())

    def items(self) -> Iterator[Item]:
        """The pictures as encoded files, in the order of the tree."""
        for path, payload in self._tree.stream(self._entries):
            entry = self._entries[path]
            yield Item(entry.name, payload, entry.label, entry.attributes)


def _refuse(error: OSError) -> None:
    raise DataError(f"cannot read the folder {error.filename}: {error.strerror or error}") from error


def is_hidden(name: str) -> bool:
    """Whether a part of the name starts with a dot, or it is what macOS adds to archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def is_picture(name: str) -> bool:
    """By its suffix."""
    return PurePosixPath(name).suffix.lower() in images.READABLE_SUFFIXES


def top_folders(tree: Tree) -> set[str]:
    """The first folders on the way to the pictures, run folders left out; ``""`` where pictures lie at the top."""
    names, _ = _without_runs(tree.names())
    return {name.split("/", 1)[0] if "/" in name else "" for name in filter(is_picture, names)}


def _arrange(tree: Tree, split: str) -> tuple[dict[str, _Entry], tuple[str, ...]]:
    """Path in the tree -> what is known of the picture, for the pictures of `split`; and the notices."""
    everything, runs = _without_runs(tree.names())
    skipped = _run_notice(runs)
    pictures = [name for name in everything if is_picture(name)]
    if not pictures:
        raise DataError(f"{tree.path}: no pictures; {'; '.join([*skipped, _describe(everything)])}")
    prefix = _split_prefix(pictures, split, tree.path)
    chosen = [name for name in pictures if name.startswith(prefix)]
    found = _metadata_file(everything, prefix, tree.path)
    columns = None
    if found is not None:
        inner = [name[len(prefix) :] for name in chosen]
        # Metadata at the top of a tree with splits name their files with the split in front, and all splits at once.
        cut = prefix if "/" not in found else ""
        columns = read_metadata(found, tree.read(found), inner, cut)
    loose = [] if columns and columns.labels else _loose_notice(chosen, prefix)
    unread = _unread_notice(name for name in everything if name.startswith(prefix))
    return _entries(chosen, prefix, columns), (*loose, *unread, *skipped)


def _without_runs(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names outside run folders, and the outermost run folders. The tree itself was asked for, so it is none."""
    present = set(names)
    ends = tuple("/" + name for name in RUN_FILES)
    folders = {name.removesuffix(ends[0]) for name in names if name.endswith(ends[0])}
    runs = {folder for folder in folders if folder + ends[1] in present}
    outer = {run for run in runs if not any(str(above) in runs for above in PurePosixPath(run).parents)}
    kept = [n for n in names if not any(str(above) in outer for above in PurePosixPath(n).parents)] if outer else names
    return list(kept), sorted(outer)


def _run_notice(runs: Sequence[str]) -> list[str]:
    if len(runs) < 2:
        return [f"skipped run folder: {run}" for run in runs]
    return [f"skipped {len(runs)} run folders: {_some(runs)}"]


def _loose_notice(chosen: Sequence[str], prefix: str) -> list[str]:
    """Where the folders of the split would be classes or splits, were it not for pictures beside them."""
    loose = sorted(path for path in chosen if "/" not in path[len(prefix) :])
    folders = {path[len(prefix) :].split("/", 1)[0] for path in chosen} - {path[len(prefix) :] for path in loose}
    splits = not prefix and bool(folders) and folders <= SPLIT_NAMES
    if not loose or (len(folders) < 2 and not splits):
        return []
    count, verb, them = (f"{len(loose)} pictures", "lie", "them") if len(loose) > 1 else ("1 picture", "lies", "it")
    if splits:
        means = f"no splits and no labels were taken, but all of {', '.join(sorted(folders))}"
        return [f"{count} {verb} outside the split folders ({_some(loose)}), so {means}; move {them} into one or out"]
    means = f"no labels were taken; move {them} into a class folder or out"
    return [f"{count} {verb} outside the class folders ({_some(loose)}), so {means}"]


def _unread_notice(names: Iterable[str]) -> list[str]:
    suffixes = Counter(PurePosixPath(name).suffix.lower() for name in names)
    found = [f"{count} {suffix}" for suffix, count in sorted(suffixes.items()) if suffix in UNREAD_SUFFIXES]
    return [f"ignored: {', '.join(found)}; convert them to JPEG, PNG, TIFF or WebP"] if found else []


def _some(names: Sequence[str]) -> str:
    """The first three."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _entries(chosen: Sequence[str], prefix: str, columns: Columns | None) -> dict[str, _Entry]:
    inner = {path: path[len(prefix) :] for path in chosen}
    labels = columns.labels if columns and columns.labels else _folder_labels(inner.values())
    attributes = columns.attributes if columns else {}
    return {path: _Entry(name, labels.get(name), attributes.get(name, {})) for path, name in inner.items()}


def _split_prefix(pictures: Iterable[str], split: str, where: Path) -> str:
    """``"train/"`` where the tree has splits, else ``""``."""
    tops = {PurePosixPath(name).parts[0] if "/" in name else "" for name in pictures}
    if tops <= SPLIT_NAMES:
        return pick_split(split, tops, str(where)) + "/"
    if split != "train":
        pick_split(split, [], str(where))
    return ""


def _folder_labels(names: Collection[str]) -> dict[str, str]:
    if any("/" not in name for name in names):
        return {}
    labels = {name: name.split("/", 1)[0] for name in names}
    return labels if len(set(labels.values())) > 1 else {}


def _metadata_file(everything: Iterable[str], prefix: str, where: Path) -> str | None:
    """The metadata file that holds for the split: the one beside it, else the one at the top."""
    candidates = [name for name in everything if PurePosixPath(name).name in METADATA_NAMES]
    for place in dict.fromkeys((prefix, "")):
        here = [name for name in candidates if name in {place + m for m in METADATA_NAMES}]
        if len(here) > 1:
            raise DataError(f"{where}: both {' and '.join(here)}; keep one of them")
        if here:
            return here[0]
    deep = [name for name in candidates if name.startswith(prefix)]
    if deep:
        raise DataError(f"{where}: {deep[0]} lies too deep; metadata are read at the top of the folder or of the split")
    return None


def _describe(names: Sequence[str]) -> str:
    """What was found instead of pictures, and what would be one."""
    expected = ", ".join(sorted(images.READABLE_SUFFIXES))
    if not names:
        return f"the folder is empty; expected files ending in {expected}"
    kinds = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in names)
    found = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(5))
    return f"found {found}; expected files ending in {expected}"
