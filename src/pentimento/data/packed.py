"""`pack`: decode a source once, in threads, into the folder that `PackedDataset` opens."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pentimento.data.dataset import ARRAYS, FORMAT, PackedDataset
from pentimento.data.decode import decode, decode_pair
from pentimento.data.items import Item, Source, natural_key, notices_of, payload_digest
from pentimento.errors import DataError, ImageError, StorageError
from pentimento.model import Attribute
from pentimento.runtime import Progress, ProgressCallback, atomic_folder, no_progress

__all__ = ["PackedDataset", "cache_folder", "pack"]

MAX_BROKEN = 0.01  # fraction of unreadable files that is put up with
MAX_CATEGORIES = 256  # values of a categorical attribute; more is free text or an identifier
_REPORT_SECONDS = 0.1  # between two reports of progress

_Decoded = tuple[npt.NDArray[Any], int]  # pixels, hash of the content


def cache_folder() -> Path:
    """Where packed data sets are kept: ``PENTIMENTO_CACHE``, else ``~/.cache/pentimento``."""
    given = os.environ.get("PENTIMENTO_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "pentimento"


def pack(
    source: Source,
    *,
    max_side_px: int = 512,
    bits: Literal[8, 16] = 8,
    background: tuple[float, float, float] = (1.0, 1.0, 1.0),
    skip_broken: bool = False,
    cache: Path | None = None,
    progress: ProgressCallback = no_progress,
) -> PackedDataset:
    """Decode all pictures of `source` into the cache, or open what was packed before.

    Args:
        source: from `open_source`.
        max_side_px: pictures with a longer side are scaled down to it.
        bits: 8 or 16 a channel.
        background: sRGB colour in [0, 1] under transparent pixels.
        skip_broken: leave out unreadable pictures however many; otherwise up to 1 % of them.
        cache: root folder; None takes `cache_folder`.
        progress: told of every tenth of a second of work, and every time of the source's notices.

    Raises:
        DataError: an option out of range, too many unreadable pictures, labels, attributes or targets that some
            pictures have and others lack, or a pair of different sizes.
        StorageError: the cache cannot be written. An interrupted packing leaves nothing that looks finished.
    """
    if bits not in (8, 16) or max_side_px < 1:
        raise DataError(f"bits: 8 or 16, max_side_px: at least 1 expected; got {bits}, {max_side_px}")
    if len(background) != 3 or not all(0 <= c <= 1 for c in background):
        raise DataError(f"background: three numbers in [0, 1] expected, got {background}")
    options = {"max_side_px": max_side_px, "bits": bits, "background": [float(c) for c in background]}
    content = source.content_hash()
    key = hashlib.blake2b(json.dumps([FORMAT, content, options]).encode(), digest_size=16).hexdigest()
    folder = (cache or cache_folder()) / "packed" / key
    dataset = _reopen(folder)
    for line in notices_of(source):
        progress(Progress("pack", len(dataset) if dataset else 0, source.count, "images", message=line))
    if dataset is None:
        packing = _Packing(source, progress)
        with atomic_folder(folder) as temporary:
            packing.write_pixels(temporary, functools.partial(_decode, options=options))
            packing.write_tables(temporary, content, options, skip_broken)
        dataset = PackedDataset(folder)
    # Also for what was packed before: perhaps with skip_broken, and now without.
    broken = [(str(name), str(reason)) for name, reason in dataset.meta["broken"]]
    _judge_broken(broken, len(dataset), skip_broken)
    for line in _lines(broken, dataset.meta["left_out"]):
        progress(Progress("pack", len(dataset), len(dataset), "images", message=line))
    return dataset


def _lines(broken: list[tuple[str, str]], left_out: list[str]) -> list[str]:
    """What is said at the end of a packing."""
    told = [f"{len(broken)} unreadable left out, e.g. {broken[0][0]} ({broken[0][1]})"] if broken else []
    return [*told, *left_out]


class _Packing:
    """What is gathered while the pixels are written."""

    def __init__(self, source: Source, progress: ProgressCallback) -> None:
        self.source = source
        self.progress = progress
        self.sizes: list[tuple[int, int, int]] = []
        self.paired: list[bool] = []
        self.hashes: list[int] = []
        self.names: list[str] = []
        self.labels: list[str | None] = []
        self.columns: dict[str, list[float | str]] = {}
        self.broken: list[tuple[str, str]] = []

    def write_pixels(self, folder: Path, decoder: Callable[[Item], _Decoded]) -> None:
        """Decode everything into pixels.bin."""
        start = reported = time.monotonic()
        done = 0
        self._report(0, start)
        with (folder / "pixels.bin").open("wb", buffering=1 << 20) as file:
            for item, result in _decoded(self.source.items(), decoder):
                done += 1
                if isinstance(result, ImageError):
                    self.broken.append((item.name, str(result)))
                else:
                    file.write(np.ascontiguousarray(result[0]).data)
                    self._note(item, result)
                if time.monotonic() - reported >= _REPORT_SECONDS:
                    reported = time.monotonic()
                    self._report(done, start)
        self._report(done, start)

    def _note(self, item: Item, result: _Decoded) -> None:
        height, width, channels = result[0].shape[-3:]
        self.paired.append(item.target is not None)
        self.sizes.append((height, width, 2 * channels if self.paired[-1] else channels))
        self.hashes.append(result[1])
        self.labels.append(item.label)
        if not self.names:
            self.columns = {column: [] for column in item.attributes}
        if item.attributes.keys() != self.columns.keys():
            odd = sorted(item.attributes.keys() ^ self.columns.keys())
            raise DataError(f"{item.name}: attributes that only some pictures have: {', '.join(odd)}")
        for column, value in item.attributes.items():
            self.columns[column].append(value)
        self.names.append(item.name)

    def _report(self, done: int, start: float) -> None:
        seconds = time.monotonic() - start
        rate = done / seconds if done and seconds > 0 else None
        self.progress(Progress("pack", done, self.source.count, "images", rate))

    def write_tables(self, folder: Path, content: str, options: dict[str, Any], skip_broken: bool) -> None:
        """Write the arrays and meta.json; the last of them finishes the data set."""
        _judge_broken(self.broken, len(self.names), skip_broken)
        unlabelled = sum(label is None for label in self.labels)
        if 0 < unlabelled < len(self.labels):
            raise DataError(f"label: {unlabelled} of {len(self.labels)} pictures have none; label all or none")
        alone = self.paired.count(False)
        if 0 < alone < len(self.paired):
            raise DataError(f"target: {alone} of {len(self.paired)} pictures have none; pair all or none")
        classes = sorted({label for label in self.labels if label is not None}, key=natural_key)
        number = {label: i for i, label in enumerate(classes)}
        attributes, values, left_out = _tabulate(self.columns, len(self.names))
        sizes = np.array(self.sizes, dtype=np.int64)
        tables: dict[str, Any] = {
            "offsets": np.concatenate([[0], np.cumsum(sizes.prod(1))]),
            "heights": sizes[:, 0],
            "widths": sizes[:, 1],
            "channels": sizes[:, 2],
            "labels": [-1 if label is None else number[label] for label in self.labels],
            "attributes": values,
            "hashes": self.hashes,
        }
        for name, dtype in ARRAYS.items():
            np.save(folder / f"{name}.npy", np.asarray(tables[name], dtype=dtype), allow_pickle=False)
        meta = {
            "format": FORMAT,
            "source": self.source.name,
            "content_hash": content,
            "options": options,
            "paired": not alone,
            "classes": classes,
            "attributes": [attribute.model_dump() for attribute in attributes],
            "left_out": left_out,
            "notices": notices_of(self.source),
            "broken": self.broken,
            "names": self.names,
        }
        (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def _decode(item: Item, options: dict[str, Any]) -> _Decoded:
    # Pairs by their target: several damaged versions of one picture are then on the same side of a split.
    decisive = item.target if isinstance(item.target, Item) else item
    content = int.from_bytes(payload_digest(decisive.payload), "little")
    chosen = decode if item.target is None else decode_pair
    background = tuple(options["background"])
    return chosen(item, max_side_px=options["max_side_px"], bits=options["bits"], background=background), content


def _decoded(
    items: Iterator[Item], decoder: Callable[[Item], _Decoded]
) -> Iterator[tuple[Item, _Decoded | ImageError]]:
    """Each item with its pixels or what is wrong with it, in order; decoded ahead in threads, a few at a time."""
    workers = min(8, os.cpu_count() or 1)
    pending: deque[tuple[Item, Future[_Decoded]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="pack")
    try:
        for item in items:
            pending.append((item, pool.submit(decoder, item)))
            if len(pending) > 4 * workers:
                yield _settled(*pending.popleft())
        while pending:
            yield _settled(*pending.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _settled(item: Item, future: Future[_Decoded]) -> tuple[Item, _Decoded | ImageError]:
    try:
        return item, future.result()
    except ImageError as error:
        return item, error


def _judge_broken(broken: list[tuple[str, str]], good: int, skip_broken: bool) -> None:
    """Refuse a data set of which too much cannot be read.

    Raises:
        DataError: nothing is readable, or more than 1 % is not and `skip_broken` is off.
    """
    total = good + len(broken)
    if not total:
        raise DataError("data: no pictures")
    named = "; ".join(f"{name}: {reason}" if name not in reason else reason for name, reason in broken[:3])
    more = f"; and {len(broken) - 3} more" if len(broken) > 3 else ""
    if not good:
        raise DataError(f"data: none of {total} pictures can be read: {named}{more}")
    if len(broken) > MAX_BROKEN * total and not skip_broken:
        raise DataError(
            f"data: {len(broken)} of {total} pictures cannot be read: {named}{more}; "
            f"mend or remove them, or leave them out with --skip-broken"
        )


def _tabulate(
    columns: dict[str, list[float | str]], count: int
) -> tuple[list[Attribute], npt.NDArray[np.float64], list[str]]:
    """Attributes, their values (count, A), and a line for each column that makes no attribute."""
    attributes: list[Attribute] = []
    values: list[npt.NDArray[np.float64]] = []
    left_out: list[str] = []
    for name, column in columns.items():
        if not any(isinstance(value, str) for value in column):
            numbers = np.asarray(column, dtype=np.float64)
            attributes.append(Attribute(name=name, low=float(numbers.min()), high=float(numbers.max())))
            values.append(numbers)
            continue
        kinds = sorted({str(value) for value in column}, key=natural_key)
        if len(kinds) > MAX_CATEGORIES:
            left_out.append(f"column {name!r} has {len(kinds)} different texts (at most {MAX_CATEGORIES}): left out")
            continue
        index = {kind: i for i, kind in enumerate(kinds)}
        attributes.append(Attribute(name=name, kind="categorical", low=0, high=len(kinds) - 1, values=tuple(kinds)))
        values.append(np.array([index[str(value)] for value in column], dtype=np.float64))
    return attributes, np.stack(values, 1) if values else np.zeros((count, 0)), left_out


def _reopen(folder: Path) -> PackedDataset | None:
    """What was packed before; a damaged folder is removed.

    Raises:
        StorageError: it cannot be removed.
    """
    if not folder.exists():
        return None
    try:
        return PackedDataset(folder)
    except DataError:
        pass
    try:
        # Renamed first, so that a removal that is interrupted leaves nothing under the name of a finished one.
        aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp"))
        folder.replace(aside / folder.name)
        shutil.rmtree(aside)
    except OSError as error:
        raise StorageError(f"cannot remove the damaged {folder}: {error.strerror or error}") from error
    return None
