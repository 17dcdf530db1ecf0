"""Archives as trees of files, read where they lie: nothing is ever extracted, so no name in them can do harm."""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath

from pentimento.data.folders import SPLIT_NAMES, Tree, is_hidden
from pentimento.errors import DataError

__all__ = ["open_archive"]

MAX_FILE_BYTES = 1 << 30  # of one file in an archive: a longer one is no picture and would only fill the memory

# RuntimeError and NotImplementedError are what zipfile raises for passwords and for methods that it does not know.
_FAULTS = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError,
    NotImplementedError,
)  # fmt: skip


def open_archive(path: Path) -> Tree | None:
    """`path` as a tree if it is a zip or a tar (plain, gz, bz2 or xz) by its content, else None."""
    with _readable(path):
        if zipfile.is_zipfile(path):
            return _Archive(path, _walk_zip)
        if tarfile.is_tarfile(path):
            return _Archive(path, _walk_tar)
    return None


_Member = tuple[str, int, Callable[[], bytes]]  # name as stored, size in bytes, reader


class _Archive:
    """A tree in an archive; a single folder around everything is taken off."""

    def __init__(self, path: Path, walk: Callable[[Path], Iterator[_Member]]) -> None:
        self.path = path
        self._walk = walk
        self._stored: dict[str, str] | None = None

    def names(self) -> list[str]:
        """In the order of the archive.

        Raises:
            DataError: the archive is damaged, or holds a name twice.
        """
        return list(self._listing().values())

    def read(self, name: str) -> bytes:
        """One file."""
        return next(payload for _, payload in self.stream({name}))

    def stream(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """The wanted files in one pass, in the order of the archive."""
        listing = self._listing()
        left = len(wanted)
        with _readable(self.path):
            for stored, size, read in self._walk(self.path):
                name = listing.get(_clean(stored))
                if name is None or name not in wanted:
                    continue
                if size > MAX_FILE_BYTES:
                    raise DataError(f"{self.path}: {name} is {size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
                payload = read()
                yield name, payload
                left -= 1
                if not left:
                    return

    def fingerprint(self) -> str:
        """Hash of the archive's bytes."""
        with _readable(self.path), self.path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()

    def _listing(self) -> dict[str, str]:
        """Cleaned name -> name without the folder around everything."""
        if self._stored is None:
            with _readable(self.path):
                cleaned = [_clean(stored) for stored, _, _ in self._walk(self.path)]
            kept = [name for name in cleaned if name and not is_hidden(name)]
            if len(set(kept)) < len(kept):
                twice = next(name for name in kept if kept.count(name) > 1)
                raise DataError(f"{self.path}: holds {twice} more than once")
            tops = {name.split("/", 1)[0] if "/" in name else "" for name in kept}
            around = tops.pop() if len(tops) == 1 else ""
            cut = len(around) + 1 if around and around not in SPLIT_NAMES else 0
            self._stored = {name: name[cut:] for name in kept}
        return self._stored


def _clean(stored: str) -> str:
    """A relative POSIX name: no drive, no root, no way up."""
    parts = PurePosixPath(stored.replace("\\", "/")).parts
    return "/".join(part for part in parts if part not in {"/", "//", "..", "."})


def _walk_zip(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for info in sorted(archive.infolist(), key=lambda i: i.filename):
            if not info.is_dir():
                yield info.filename, info.file_size, lambda info=info: archive.read(info)  # type: ignore[misc]


def _walk_tar(path: Path) -> Iterator[_Member]:
    # A stream ("r|") never seeks back: compressed archives are unpacked once a pass, and members are forgotten.
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            if member.isreg():
                yield member.name, member.size, lambda member=member: _read_tar(archive, member)  # type: ignore[misc]
            archive.members = []  # type: ignore[attr-defined]


def _read_tar(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    if file is None:
        raise tarfile.ReadError(f"no data for {member.name}")
    payload = file.read()
    if len(payload) < member.size:
        raise EOFError(f"{member.name} is cut off")
    return payload


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what damaged archives raise into one line.

    Raises:
        DataError: always instead of the above.
    """
    try:
        yield
    except _FAULTS as error:
        raise DataError(f"cannot read the archive {path}: {error}") from error
