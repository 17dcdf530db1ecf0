"""Two sets of pictures in one place: pairs, which are pictures with what each should become, and sets without partners.

A folder of pairs holds ``damaged/`` and ``clean/``, or ``A/`` and ``B/``: the first of the two are the inputs, the
others the targets. Two files are a pair if their paths below these folders are the same but for the suffix. Pairs also
come as pictures that show both side by side. Sets without partners lie in ``A/`` and ``B/``. Splits lie above the two
folders (``train/damaged``) or below both (``damaged/train``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pentimento.data.folders import SPLIT_NAMES, Folder, TreeSource, is_hidden, is_picture, top_folders
from pentimento.data.items import RIGHT_HALF, Item, Source, hash_items, notices_of, pick_split
from pentimento.data.metadata import METADATA_NAMES
from pentimento.errors import DataError, suggest

__all__ = ["RESTORATION", "PairSource", "SideBySideSource", "are_pairs", "open_both"]

RESTORATION, TRANSLATION = ("damaged", "clean"), ("A", "B")  # folder of the inputs, folder of the targets


class PairSource:
    """The pairs of one split of a folder. Labels and attributes are those of the folder of inputs.

    Args:
        path: the folder that holds the two folders, or splits that do.
        split: see `open_source`.
        asked: whether pairs were asked for; if not, a notice tells that they were taken.

    Attributes:
        notices: lines for a person about what was found and not taken, or not understood as it may be meant.

    Raises:
        DataError: one of the two folders is missing or has no pictures, a picture has no partner or more than one, or
            there is no such split.
    """

    def __init__(self, path: Path, split: str = "train", *, asked: bool = True) -> None:
        base, inner = _below_split(path, split)
        self._folders = _find_folders(base)
        self._inputs, self._targets = (TreeSource(Folder(base / folder), inner) for folder in self._folders)
        self._partners = _match(self._inputs.names, self._targets.names, self._folders)
        self.name = path.resolve().name
        self.count = len(self._partners)
        self.notices = (
            *([] if asked else _taken_notice(self._folders)),
            *_beside_notice(base, self._folders),
            *(f"{self._folders[0]}/: {line}" for line in self._inputs.notices),
            *(f"{self._folders[1]}/: {line}" for line in self._targets.notices),
        )

    def content_hash(self) -> str:
        """Of names, labels, attributes and files, those of the targets too."""
        return hash_items("pairs", self.items())

    def items(self) -> Iterator[Item]:
        """The inputs with their targets, as encoded files, in the order of the inputs."""
        inputs, targets = self._folders
        for item in self._inputs.items():
            partner = self._partners[item.name]
            target = Item(f"{targets}/{partner}", self._targets.read(partner))
            yield replace(item, name=f"{inputs}/{item.name}", target=target)


class SideBySideSource:
    """Pairs from a source whose pictures show the input in their left half and the target in their right half.

    Raises:
        DataError: the source has pairs already.
    """

    def __init__(self, source: Source) -> None:
        if isinstance(source, (PairSource, SideBySideSource)):
            raise DataError(f"side-by-side: {source.name} has pairs already; leave out 'side-by-side:'")
        self.source = source
        self.name: str = f"side-by-side:{source.name}"
        self.count = source.count
        self.notices = notices_of(source)

    def content_hash(self) -> str:
        """That of the source, which uncut is other data."""
        return f"side-by-side:{self.source.content_hash()}"

    def items(self) -> Iterator[Item]:
        """Those of the source, to be cut when they are decoded."""
        for item in self.source.items():
            yield replace(item, target=RIGHT_HALF)


def open_both(path: Path, split: str = "train") -> tuple[TreeSource, TreeSource]:
    """The pictures in ``A/`` and those in ``B/``, which need no partners.

    Args:
        path: the folder that holds the two folders, or splits that do.
        split: see `open_source`.

    Raises:
        DataError: one of the two folders is missing or has no pictures, or there is no such split.
    """
    base, inner = _below_split(path, split)
    if not _listing(base)[0].issuperset(TRANSLATION):
        raise DataError(
            f"second: the other set of pictures is missing; name it by --second, or let {base} hold both, "
            f"in A/ and B/; it holds {_held(base)}"
        )
    both = []
    for folder in TRANSLATION:
        source = TreeSource(Folder(base / folder), inner)
        source.name = f"{path.resolve().name}/{folder}"
        source.notices = tuple(f"{folder}/: {line}" for line in source.notices)
        both.append(source)
    both[0].notices = (*_beside_notice(base, TRANSLATION), *both[0].notices)
    return both[0], both[1]


def are_pairs(path: Path, split: str = "train") -> bool:
    """Whether the folder, or its `split`, holds ``damaged/`` and ``clean/``, no other pictures, and no metadata.

    Raises:
        DataError: it cannot be read, or has no such split.
    """
    base, _ = _below_split(path, split)
    if not _listing(base)[0].issuperset(RESTORATION):
        return False
    beside = {file for place in (path, base) for file in _listing(place)[1]}
    return not any(map(_matters, beside)) and top_folders(Folder(base)).issubset(RESTORATION)


def _below_split(path: Path, split: str) -> tuple[Path, str]:
    """Where the two folders should lie, and the split that is picked in each of them."""
    folders, files = _listing(path)
    if folders and folders <= SPLIT_NAMES and not any(map(is_picture, files)):
        return path / pick_split(split, folders, str(path)), "train"
    return path, split


def _listing(path: Path) -> tuple[set[str], set[str]]:
    """Names of the folders and of the files in a folder, without hidden ones."""
    try:
        entries = {entry.name: entry.is_dir() for entry in path.iterdir() if not is_hidden(entry.name)}
    except OSError as error:
        raise DataError(f"cannot read the folder {path}: {error.strerror or error}") from error
    return {name for name in entries if entries[name]}, {name for name in entries if not entries[name]}


def _matters(file: str) -> bool:
    """Whether a file beside the two folders may have been meant as data."""
    return is_picture(file) or file in METADATA_NAMES


def _find_folders(base: Path) -> tuple[str, str]:
    folders, _ = _listing(base)
    whole = [pair for pair in (RESTORATION, TRANSLATION) if folders.issuperset(pair)]
    if len(whole) != 1:
        raise DataError(f"pairs: {base} must hold either damaged/ and clean/, or A/ and B/; it holds {_held(base)}")
    return whole[0]


def _held(base: Path) -> str:
    """The folders in a folder, for a message."""
    return ", ".join(f"{folder}/" for folder in sorted(_listing(base)[0])[:8]) or "no folders"


def _match(inputs: Iterable[str], targets: Iterable[str], folders: tuple[str, str]) -> dict[str, str]:
    """Input -> target, by their names without suffix."""
    ours, theirs = (_by_stem(names, folder) for names, folder in zip((inputs, targets), folders, strict=True))
    alone = [stem for stem in ours if stem not in theirs], [stem for stem in theirs if stem not in ours]
    if alone[0]:
        raise DataError(_lonely(ours[alone[0][0]], alone[0], alone[1], folders))
    if alone[1]:
        raise DataError(_lonely(theirs[alone[1][0]], alone[1], alone[0], (folders[1], folders[0])))
    return {name: theirs[stem] for stem, name in ours.items()}


def _by_stem(names: Iterable[str], folder: str) -> Mapping[str, str]:
    found = dict[str, str]()
    for name in names:
        stem = str(PurePosixPath(name).with_suffix(""))
        if stem in found:
            raise DataError(f"pairs: {folder}/{found[stem]} and {folder}/{name} differ in their suffix only; keep one")
        found[stem] = name
    return found


def _lonely(name: str, alone: list[str], candidates: list[str], folders: tuple[str, str]) -> str:
    """What is said of the first picture in `alone`, which lies in the first of `folders`."""
    hint = suggest(alone[0], candidates)
    hint = hint if hint.startswith("did") else "give it one of the same name, or remove it"
    others = len(alone) + len(candidates) - 1
    count = "" if not others else f" ({others} more {'picture has' if others == 1 else 'pictures have'} none)"
    return f"pairs: {folders[0]}/{name} has no partner in {folders[1]}/{count}; {hint}"


def _taken_notice(folders: tuple[str, str]) -> list[str]:
    return [
        f"{folders[0]}/ and {folders[1]}/ are taken as pairs, input and target; for two classes give them other names"
    ]


def _beside_notice(base: Path, folders: tuple[str, str]) -> list[str]:
    others, files = _listing(base)
    beside = [f"{folder}/" for folder in sorted(others.difference(folders))] + sorted(filter(_matters, files))
    listed = ", ".join(beside[:3]) + (", ..." if len(beside) > 3 else "")
    return [f"not taken, because beside {folders[0]}/ and {folders[1]}/: {listed}"] if beside else []
