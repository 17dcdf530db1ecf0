"""What a source of pictures is: items in a fixed order, and a hash of all that decides them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from pentimento.errors import DataError

__all__ = [
    "RIGHT_HALF",
    "Item",
    "Source",
    "hash_items",
    "natural_key",
    "notices_of",
    "payload_digest",
    "pick_split",
]

RIGHT_HALF: Final = "right half"

_ALIASES = ({"val", "valid", "validation"},)


@dataclass(frozen=True)
class Item:
    """One picture before it is decoded.

    Args:
        name: relative path, unique within its source.
        payload: the encoded file, or pixels (H, W, C) uint8 with C 1 or 3.
        label: name of its class, or None where the source has none.
        attributes: numbers and category names by column.
        target: what the picture should become, for a pair. `RIGHT_HALF`: the payload shows the two side by side.
    """

    name: str
    payload: bytes | npt.NDArray[np.uint8]
    label: str | None = None
    attributes: Mapping[str, float | str] = field(default_factory=dict)
    target: Item | Literal["right half"] | None = None


class Source(Protocol):
    """Pictures in a deterministic order.

    A source may also have `notices`, a tuple of lines for a person about what was not taken; see `notices_of`.
    """

    @property
    def name(self) -> str:
        """For people: what was opened."""
        ...

    @property
    def count(self) -> int | None:
        """Number of items, or None where nobody knows before the end."""
        ...

    def content_hash(self) -> str:
        """Hex digest of the content, the split and what decides it; independent of where it lies on disk."""
        ...

    def items(self) -> Iterator[Item]:
        """The pictures, always in the same order."""
        ...


def notices_of(source: Source) -> tuple[str, ...]:
    """What a person should know of how `source` was understood; nothing where it has no `notices`."""
    return tuple(getattr(source, "notices", ()))


def payload_digest(payload: bytes | npt.NDArray[np.uint8], size: int = 8) -> bytes:
    """BLAKE2b of an encoded file, or of the shape and values of pixels."""
    if isinstance(payload, bytes):
        return hashlib.blake2b(payload, digest_size=size).digest()
    digest = hashlib.blake2b(f"{payload.dtype}{payload.shape}".encode(), digest_size=size)
    digest.update(np.ascontiguousarray(payload).data)
    return digest.digest()


def hash_items(kind: str, items: Iterable[Item]) -> str:
    """Hex digest of everything in `items`, read once from the first to the last."""
    digest = hashlib.blake2b(kind.encode(), digest_size=16)
    for item in items:
        digest.update(repr((item.name, item.label, sorted(item.attributes.items()))).encode())
        digest.update(payload_digest(item.payload, 16))
        if isinstance(item.target, Item):
            digest.update(repr(item.target.name).encode() + payload_digest(item.target.payload, 16))
        elif item.target is not None:
            digest.update(item.target.encode())
    return digest.hexdigest()


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts ``"2"`` before ``"10"`` and ``"img9"`` before ``"img10"``.

    >>> sorted(["b", "10", "9", "a2", "a10"], key=natural_key)
    ['9', '10', 'a2', 'a10', 'b']
    """
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    # The text itself comes last: "1" and "01" are different names and need an order that does not depend on chance.
    return (*((0, int(p), "") if p[0] in "0123456789" else (1, 0, p) for p in parts), (2, 0, text))


def pick_split(split: str, present: Iterable[str], where: str) -> str:
    """The member of `present` that `split` means; val, valid and validation are one.

    Raises:
        DataError: there is no such split; the message names those present.
    """
    names = list(present)
    alike = next((group for group in _ALIASES if split in group), {split})
    for name in (split, *sorted(alike)):
        if name in names:
            return name
    if not names:
        raise DataError(f"split: {where} has no split folders, so only split = 'train' (everything), got {split!r}")
    raise DataError(f"split: {where} has no split {split!r}; known: {', '.join(sorted(names))}")
