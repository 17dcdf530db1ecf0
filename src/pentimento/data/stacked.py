"""Stacked pictures: three gray pictures in the three channels of one, the test of mode coverage (Metz et al. 2017).

From MNIST it makes Stacked MNIST: 1,000 modes, the triples of digits, of nearly the same share each.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pentimento.data.items import Item, Source, hash_items
from pentimento.errors import DataError

__all__ = ["StackedSource"]


class StackedSource:
    """As many triples as the source has pictures, each picture of which is red once, green once and blue once.

    The label is the three labels in a row, with hyphens between them where one is longer than a character. All
    pictures are kept in memory.

    Args:
        source: of gray pictures of one size, given as pixels: digits, or MNIST's files.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.name = f"stacked:{source.name}"
        self.count = source.count

    def content_hash(self) -> str:
        """Of all pixels and labels."""
        return hash_items("stacked", self.items())

    def items(self) -> Iterator[Item]:
        """The pictures as (H, W, 3) uint8.

        Raises:
            DataError: a picture in colour, of another size than the others, or given as a file.
        """
        pictures, labels = self._read()
        count, between = len(pictures), "" if all(len(label) == 1 for label in labels or ()) else "-"
        stream = np.random.Generator(np.random.Philox(key=0))
        triples = np.stack([stream.permutation(count) for _ in range(3)], 1)  # (N, 3)
        for i, triple in enumerate(triples.tolist()):
            label = None if labels is None else between.join(labels[k] for k in triple)
            yield Item(f"{i:06d}", np.stack([pictures[k] for k in triple], 2), label)

    def _read(self) -> tuple[list[npt.NDArray[np.uint8]], list[str] | None]:
        pictures, labels = list[npt.NDArray[np.uint8]](), list[str]()
        for item in self.source.items():
            pixels = item.payload
            if isinstance(pixels, bytes) or pixels.shape[2] != 1:
                raise DataError(f"stacked: gray pixels, as of digits or MNIST's files, expected; {item.name} is other")
            if pictures and pixels.shape[:2] != pictures[0].shape:
                raise DataError(f"stacked: pictures of one size expected; {item.name} differs from the first")
            pictures.append(pixels[:, :, 0])
            labels += [] if item.label is None else [item.label]
        return pictures, labels if labels and len(labels) == len(pictures) else None
