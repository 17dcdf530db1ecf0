"""Batches as a pure function of (seed, step): a stopped and resumed run draws what an unbroken one would have drawn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType
from typing import Generic, Literal, Self, TypeVar, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pentimento.data.augment import Augment, augment
from pentimento.data.dataset import PackedDataset
from pentimento.data.fit import Fit, fit_picture, recolour, to_planes
from pentimento.errors import DataError, suggest
from pentimento.model import Batch, DataSpec
from pentimento.runtime import Draws, derive_seed

__all__ = ["Batches", "Fit", "Prefetcher"]

T = TypeVar("T")


class Batches:
    """Draws batches of a packed data set, each picture once an epoch, in an order of its own every epoch.

    Global sample g = step * batch_size + row is picture ``permutation(seed, g // n)[g % n]`` of the n indices, so
    batches run on across the end of an epoch.

    Of pairs, the inputs are a batch's images, and the targets its targets; both are cut and changed alike. Of two sets
    drawn apart, the targets are pictures of the second: each set has its own order, epochs, cuts and changes.

    Args:
        dataset: packed pictures.
        indices: of the pictures to draw from.
        spec: what the model takes; its channels and size are delivered.
        batch_size: pictures a step, over all processes together.
        seed: of the order, the positions and the augmentation.
        fit: how a picture comes to the size: ``crop`` scales it to cover the target and cuts, ``pad`` scales it to
            fit inside and fills with `background`, ``resize`` stretches, ``patch`` cuts at native scale. Cuts are
            at random positions in training and central otherwise.
        augment: random changes in training, or None.
        background: sRGB colour in [0, 1] for ``pad``.
        training: False for central cuts and no augmentation.
        second: draws the second set, for pictures that are no pairs; of the same batch size and another seed.

    Raises:
        DataError: no indices, an option out of range, or a `second` that does not go with the first.
    """

    def __init__(
        self,
        dataset: PackedDataset,
        indices: Sequence[int] | npt.NDArray[np.int64],
        spec: DataSpec,
        *,
        batch_size: int,
        seed: int,
        fit: Fit = "crop",
        augment: Augment | None = None,
        background: tuple[float, float, float] = (1.0, 1.0, 1.0),
        training: bool = True,
        second: Batches | None = None,
    ) -> None:
        if fit not in get_args(Fit):
            raise DataError(f"fit: unknown {fit!r}; {suggest(fit, get_args(Fit))}")
        if not len(indices):
            raise DataError("data: no pictures to draw from; is the validation fraction too small or too large?")
        if batch_size < 1:
            raise DataError(f"batch_size: at least 1 expected, got {batch_size}")
        self.dataset = dataset
        self.indices = np.asarray(indices, dtype=np.int64)
        self.spec = spec
        self.batch_size = batch_size
        self.seed = seed
        self.fit: Fit = fit
        self.augment = augment
        self.background = background
        self.training = training
        self.second = second
        if second is not None and (second.batch_size != batch_size or second.seed == seed or dataset.paired):
            raise DataError("second: the same batch size, another seed, and a first set that is not paired expected")
        self._orders: dict[int, npt.NDArray[np.int64]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Pictures an epoch."""
        return len(self.indices)

    def draw(self, step: int, rows: slice = slice(None)) -> Batch:
        """The batch of `step`, or those `rows` of it: exactly what the whole batch has there. May run in any thread."""
        samples = [step * self.batch_size + row for row in range(*rows.indices(self.batch_size))]
        if not samples:
            raise DataError(f"rows: {rows} selects nothing of a batch of {self.batch_size}")
        n = len(self.indices)
        chosen = [int(self._order(g // n)[g % n]) for g in samples]
        draws = Draws(self.seed, samples, step)
        images = self._images(chosen, draws if self.training else None)
        if self.training and self.augment is not None and self.augment.active:
            sides: Literal[1, 2] = 2 if self.dataset.paired else 1
            images = augment(images, self.augment, draws, "augment", "border", clamp=True, sides=sides)
        batch = self._batch(images, chosen)
        return batch if self.second is None else replace(batch, targets=self.second.draw(step, rows).images)

    def in_order(self, batch_size: int | None = None) -> Iterator[Batch]:
        """Every picture once, in the order of the indices, cut centrally and not augmented; the last may be short.

        Of two sets the smaller begins again until the larger is through.
        """
        size = self.batch_size if batch_size is None else batch_size
        if size < 1:
            raise DataError(f"batch_size: at least 1 expected, got {size}")
        count = max(len(self), 0 if self.second is None else len(self.second))
        for begin in range(0, count, size):
            yield self._places(range(begin, min(begin + size, count)))

    def _places(self, places: range) -> Batch:
        """The pictures at these places of the indices, which begin again after the last."""
        chosen = self.indices.take(places, mode="wrap").tolist()
        batch = self._batch(self._images(chosen, None), chosen)
        return batch if self.second is None else replace(batch, targets=self.second._places(places).images)

    def _order(self, epoch: int) -> npt.NDArray[np.int64]:
        """The indices in the order of `epoch`. The last two are kept, because a batch may lie across two epochs."""
        with self._lock:
            order = self._orders.get(epoch)
            if order is None:
                stream = np.random.Generator(np.random.Philox(key=derive_seed(self.seed, "order", epoch)))
                order = stream.permutation(self.indices)
                self._orders[epoch] = order
                while len(self._orders) > 2:
                    del self._orders[next(iter(self._orders))]
            return order

    def _images(self, chosen: Sequence[int], draws: Draws | None) -> Tensor:
        """(N, C, H, W) of the spec, or (N, 2C, H, W) of pairs; cuts are at random positions if there are `draws`."""
        size = (self.spec.height_px, self.spec.width_px)
        white = self.dataset.full_scale
        if self.dataset.common_size == size:
            stacked = self.dataset.stacked(chosen)
            if stacked is not None:
                planes = recolour(to_planes(stacked, white), self.spec.channels)
                return planes.view(len(chosen), -1, *size)
        places = np.full((len(chosen), 2), 0.5, dtype=np.float32)
        if draws is not None and self.fit in ("crop", "patch"):
            places = draws.uniform("place", (2,)).numpy()
        pictures = [
            fit_picture(self.dataset.sides(i), white, self.spec, fit=self.fit, place=place, background=self.background)
            for i, place in zip(chosen, places, strict=True)
        ]
        return torch.stack(pictures).flatten(1, 2)

    def _batch(self, images: Tensor, chosen: Sequence[int]) -> Batch:
        labels, values = self.dataset.labels, self.dataset.attribute_values
        images, *targets = (side.contiguous() for side in images.chunk(2 if self.dataset.paired else 1, 1))
        return Batch(
            images,
            targets=targets[0] if targets else None,
            labels=None if labels is None else torch.from_numpy(labels[chosen]),
            attributes=torch.from_numpy(values[chosen].astype(np.float32)) if self.dataset.attributes else None,
        )


class Prefetcher(Generic[T]):
    """Draws batches ahead in a thread, so that the model does not wait for them.

    Args:
        draw: number of a batch -> the batch; a pure function.
        ahead: how many batches beyond the one asked for are kept ready.

    Attributes:
        waited_seconds: how long `get` had to wait in all.
    """

    def __init__(self, draw: Callable[[int], T], ahead: int = 2) -> None:
        self.waited_seconds = 0.0
        self._draw = draw
        self._ahead = ahead
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._pending: dict[int, Future[T]] = {}

    def get(self, k: int) -> T:
        """``draw(k)``; k + 1, k + 2, ... are begun meanwhile. What `draw` raises, this raises.

        Raises:
            RuntimeError: after `close`.
        """
        wanted = range(k, k + self._ahead + 1)
        for stale in [number for number in self._pending if number not in wanted]:
            self._pending.pop(stale).cancel()
        for number in wanted:
            if number not in self._pending:
                self._pending[number] = self._pool.submit(self._draw, number)
        start = time.monotonic()
        try:
            return self._pending.pop(k).result()
        finally:
            self.waited_seconds += time.monotonic() - start

    def close(self) -> None:
        """Stop the thread; what is being drawn is finished first."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._pending.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()
