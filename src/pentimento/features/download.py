"""Files that are fetched when they are first needed, kept in the cache, and known by their SHA-256."""

from __future__ import annotations

import hashlib
import http.client
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from pentimento.data.packed import cache_folder
from pentimento.errors import ModelError, NotFoundError
from pentimento.runtime import Progress, ProgressCallback, atomic_write, no_progress

__all__ = ["download", "sha256_of"]

_TIMEOUT_SECONDS = 30  # without an answer
_PIECE_BYTES = 1 << 20


def sha256_of(path: Path) -> str:
    """The digest of a file, 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def download(url: str, sha256: str, progress: ProgressCallback = no_progress) -> Path:
    """The file at `url`, from the cache (``networks/`` in it) where it was fetched or put there before.

    Args:
        url: of the file; its last part is the file's name.
        sha256: the digest, or as many of its first digits as are known.
        progress: told of every piece, in MB.

    Raises:
        ModelError: the file has another digest; what was fetched is removed.
        NotFoundError: there is no network, or no such file.
        StorageError: the cache cannot be written.
    """
    path = cache_folder() / "networks" / url.rpartition("/")[2]
    if path.exists():
        found = sha256_of(path)
        if not found.startswith(sha256):
            raise ModelError(f"{path}: its SHA-256 is {found}, not {sha256}; remove it, and it is fetched anew")
        return path
    digest = hashlib.sha256()
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        done = 0
        for piece, total in _pieces(url, path):
            digest.update(piece)
            stream.write(piece)
            done += len(piece)
            progress(Progress("download", done / 1e6, total and total / 1e6, "MB"))
        if not digest.hexdigest().startswith(sha256):
            raise ModelError(f"{url}: its SHA-256 is {digest.hexdigest()}, not {sha256}; nothing was kept")
    return path


def _pieces(url: str, path: Path) -> Iterator[tuple[bytes, int | None]]:
    """What the server sends, each piece with the length of the whole in bytes, where the server tells it.

    Raises:
        NotFoundError: it sends nothing, or stops before the end.
    """
    done = 0
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:
            length = answer.headers.get("Content-Length")
            total = int(length) if length else None
            while piece := answer.read(_PIECE_BYTES):
                done += len(piece)
                yield piece, total
        if total is not None and done < total:
            raise http.client.IncompleteRead(b"", total - done)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise NotFoundError(f"cannot fetch {url} ({reason}); put the file at {path} by hand") from error
