"""Batches: pure, complete, the same in parts; and pictures brought to size."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pentimento.data.augment import Augment
from pentimento.data.batches import Batches, Prefetcher
from pentimento.data.items import Item, hash_items
from pentimento.data.packed import PackedDataset, pack
from pentimento.errors import DataError
from pentimento.model import Batch, DataSpec


class Numbered:
    """Pictures whose first value is their number; all of one size, or of many."""

    name = "numbered"

    def __init__(self, count: int, ragged: bool) -> None:
        self.count = count
        self.ragged = ragged

    def content_hash(self) -> str:
        return hash_items("numbered", self.items())

    def items(self) -> Iterator[Item]:
        for i in range(self.count):
            height, width = (5 + i % 4, 5 + i % 7) if self.ragged else (6, 6)
            pixels = np.random.default_rng(i).integers(0, 256, (height, width, 1 if i % 2 else 3), dtype=np.uint8)
            yield Item(f"{i:03d}", pixels, str(i % 3), {"number": float(i)})


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, PackedDataset]:
    cache = tmp_path_factory.mktemp("cache")
    return {ragged: pack(Numbered(23, ragged), cache=cache) for ragged in (False, True)}


def equal(a: Batch, b: Batch) -> bool:
    assert a.labels is not None and b.labels is not None and a.attributes is not None and b.attributes is not None
    return (
        torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) and torch.equal(a.attributes, b.attributes)
    )


def numbers(batch: Batch) -> list[int]:
    assert batch.attributes is not None
    return [int(v) for v in batch.attributes[:, 0]]


AUGMENT = Augment(mirror=True, shift=0.2, rotate_degrees=10)


@pytest.mark.parametrize("fit", ["crop", "pad", "resize", "patch"])
@pytest.mark.parametrize("ragged", [False, True])
def test_rows_are_those_of_the_whole_batch(datasets: dict[bool, PackedDataset], ragged: bool, fit: str) -> None:
    spec = datasets[ragged].spec((6, 6))
    batches = Batches(datasets[ragged], range(23), spec, batch_size=8, seed=1, fit=fit, augment=AUGMENT)  # type: ignore[arg-type]
    for step in (0, 2, 5):  # 2 and 5 lie across the end of an epoch
        whole = batches.draw(step)
        assert whole.images.shape == (8, 3, 6, 6)
        assert 0 <= whole.images.min() <= whole.images.max() <= 1
        for rows in (slice(0, 3), slice(3, 8), slice(1, 8, 2), slice(-1, None)):
            part = batches.draw(step, rows)
            assert numbers(part) == numbers(whole)[rows]
            assert torch.allclose(part.images, whole.images[rows], atol=1e-6)
            assert part.labels is not None and whole.labels is not None
            assert torch.equal(part.labels, whole.labels[rows])


def test_rows_without_augmentation_are_equal_to_the_bit(datasets: dict[bool, PackedDataset]) -> None:
    batches = Batches(datasets[True], range(23), datasets[True].spec((7, 4)), batch_size=8, seed=1)
    assert torch.equal(batches.draw(3).images[2:5], batches.draw(3, slice(2, 5)).images)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 23), st.integers(0, 3))
def test_every_epoch_visits_each_picture_once(batch_size: int, count: int, seed: int) -> None:
    batches = Batches(SHARED[0], range(count), SHARED[0].spec(), batch_size=batch_size, seed=seed)
    drawn: list[int] = []
    step = 0
    while len(drawn) < 3 * count:
        drawn += numbers(batches.draw(step))
        step += 1
    for epoch in range(3):
        assert sorted(drawn[epoch * count : (epoch + 1) * count]) == list(range(count))


SHARED: list[PackedDataset] = []


@pytest.fixture(autouse=True, scope="module")
def _share(datasets: dict[bool, PackedDataset]) -> None:
    SHARED[:] = [datasets[False]]


def test_epochs_have_orders_of_their_own(datasets: dict[bool, PackedDataset]) -> None:
    batches = Batches(datasets[False], range(23), datasets[False].spec(), batch_size=23, seed=0)
    orders = {tuple(numbers(batches.draw(step))) for step in range(4)}
    other = Batches(datasets[False], range(23), datasets[False].spec(), batch_size=23, seed=1)
    assert len(orders | {tuple(numbers(other.draw(0)))}) == 5


def test_draws_are_pure(datasets: dict[bool, PackedDataset]) -> None:
    def make() -> Batches:
        spec = datasets[True].spec((4, 4))
        return Batches(datasets[True], range(23), spec, batch_size=5, seed=2, augment=AUGMENT)

    forwards, backwards = make(), make()
    first = {step: forwards.draw(step) for step in range(12)}
    assert all(equal(backwards.draw(step), first[step]) for step in reversed(range(12)))


def test_threads_do_not_disturb_each_other(datasets: dict[bool, PackedDataset]) -> None:
    batches = Batches(datasets[True], range(23), datasets[True].spec((4, 4)), batch_size=5, seed=2)
    alone = {step: batches.draw(step) for step in range(60)}
    wrong: list[int] = []

    def work(steps: range) -> None:
        wrong.extend(step for step in steps if not equal(batches.draw(step), alone[step]))

    threads = [threading.Thread(target=work, args=(range(k, 60, 4),)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_in_order(datasets: dict[bool, PackedDataset]) -> None:
    batches = Batches(datasets[True], [5, 3, 8], datasets[True].spec((4, 4)), batch_size=2, seed=2, augment=AUGMENT)
    drawn = list(batches.in_order())
    assert [numbers(b) for b in drawn] == [[5, 3], [8]]
    assert all(equal(a, b) for a, b in zip(drawn, batches.in_order(2), strict=True))


def test_labels_and_attributes(datasets: dict[bool, PackedDataset]) -> None:
    batch = Batches(datasets[False], range(23), datasets[False].spec(), batch_size=9, seed=0).draw(0)
    assert batch.labels is not None and batch.attributes is not None
    assert (batch.labels.dtype, batch.attributes.dtype) == (torch.int64, torch.float32)
    assert batch.labels.tolist() == [n % 3 for n in numbers(batch)]


@pytest.mark.parametrize("wrong", [{"fit": "cover"}, {"batch_size": 0}, {"indices": []}])
def test_wrong_options(datasets: dict[bool, PackedDataset], wrong: dict[str, object]) -> None:
    options: dict[str, object] = {"indices": range(3), "batch_size": 2, "seed": 0} | wrong
    with pytest.raises(DataError):
        Batches(datasets[False], spec=datasets[False].spec(), **options)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------ bringing to size
def one(pixels: np.ndarray, **options: object) -> torch.Tensor:
    """The picture as a model takes it."""

    class Single(Numbered):
        def items(self) -> Iterator[Item]:
            yield Item("a", pixels)

    channels = options.pop("channels", pixels.shape[2])
    height, width = options.pop("size", pixels.shape[:2])  # type: ignore[misc]
    spec = DataSpec(channels=channels, height_px=height, width_px=width)  # type: ignore[arg-type]
    options = {"training": False, "batch_size": 1, "seed": 0} | options
    return Batches(pack(Single(1, False)), [0], spec, **options).draw(0).images[0]  # type: ignore[arg-type]


RAMP = np.arange(6 * 10 * 3, dtype=np.uint8).reshape(6, 10, 3)


def planes(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)


@pytest.mark.parametrize("fit", ["crop", "pad", "resize", "patch"])
def test_the_right_size_is_left_alone(fit: str) -> None:
    assert torch.allclose(one(RAMP, fit=fit), planes(RAMP), atol=1e-7)


def test_crop_covers_and_cuts() -> None:
    assert torch.allclose(one(RAMP, size=(6, 6)), planes(RAMP[:, 2:8]), atol=1e-7)
    assert one(RAMP, size=(13, 3)).shape == (3, 13, 3)
    flat = np.full((6, 10, 3), 51, dtype=np.uint8)
    assert torch.allclose(one(flat, size=(31, 17)), torch.full((3, 31, 17), 0.2), atol=1e-5)


def test_pad_fills_with_the_background() -> None:
    black = np.zeros((6, 10, 3), dtype=np.uint8)
    padded = one(black, size=(10, 10), fit="pad", background=(1.0, 0.5, 0.0))
    assert torch.equal(padded[:, 2:8], torch.zeros(3, 6, 10))
    assert torch.equal(padded[:, [0, 1, 8, 9]], torch.tensor([1.0, 0.5, 0.0])[:, None, None].expand(3, 4, 10))


def test_patch_keeps_the_scale() -> None:
    assert torch.allclose(one(RAMP, size=(4, 4), fit="patch"), planes(RAMP[1:5, 3:7]), atol=1e-7)
    wide = one(RAMP, size=(8, 4), fit="patch")
    assert torch.allclose(wide, planes(np.pad(RAMP[:, 3:7], ((1, 1), (0, 0), (0, 0)), mode="edge")), atol=1e-7)


def test_resize_stays_in_range() -> None:
    edge = np.zeros((8, 8, 1), dtype=np.uint8)
    edge[:, 4:] = 255
    resized = one(edge, size=(32, 20), fit="resize")
    assert (resized.min(), resized.max()) == (0, 1)


@pytest.mark.parametrize("size", [(5, 9), (16, 23), (1, 1), (20, 3)])
def test_scaling_down_in_eight_bits_is_close_to_floats(size: tuple[int, int]) -> None:
    # Values from the middle of the range, so that no overshoot is cut off between the axes.
    pixels = np.random.default_rng(0).integers(90, 160, (20, 24, 3), dtype=np.uint8)
    exact = torch.nn.functional.interpolate(planes(pixels)[None], size, mode="bicubic", antialias=True)
    # Rounded after each axis: half a level, and half a level that the second axis may pass on.
    assert (one(pixels, size=size, fit="resize") - exact[0]).abs().max() < 1.1 / 255


def test_scaling_up_is_in_floats() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    exact = torch.nn.functional.interpolate(planes(pixels)[None], (9, 17), mode="bicubic", antialias=True).clamp(0, 1)
    assert torch.allclose(one(pixels, size=(9, 17), fit="resize"), exact[0], atol=1e-6)


def test_random_places_are_all_reached() -> None:
    ramp = np.arange(9, dtype=np.uint8)[None, :, None]
    spec = DataSpec(channels=1, height_px=1, width_px=1)

    class Single(Numbered):
        def items(self) -> Iterator[Item]:
            yield Item("a", ramp)

    batch = Batches(pack(Single(1, False)), [0], spec, batch_size=900, seed=0, fit="patch").draw(0)
    counts = Counter((batch.images.flatten() * 255).round().int().tolist())
    assert sorted(counts) == list(range(9))
    assert max(counts.values()) < 150  # 100 +- 5 standard errors


def test_channels() -> None:
    gray = np.full((2, 2, 1), 51, dtype=np.uint8)
    assert torch.allclose(one(gray, channels=3), torch.full((3, 2, 2), 0.2))
    green = np.zeros((2, 2, 3), dtype=np.uint8)
    green[..., 1] = 255
    assert torch.allclose(one(green, channels=1), torch.full((1, 2, 2), 0.587))
    assert torch.allclose(one(green, channels=1, size=(1, 1)), torch.full((1, 1, 1), 0.587))


@pytest.mark.parametrize("size", [(6, 6), (4, 4)])
def test_sixteen_bits_are_not_rounded_to_eight(size: tuple[int, int]) -> None:
    dataset = pack(Numbered(1, False), bits=16)
    batch = Batches(dataset, [0], dataset.spec(size), batch_size=1, seed=0, fit="patch", training=False).draw(0)
    middle = (6 - size[0]) // 2
    full = planes(dataset.pixels(0).astype(np.float32) / 257)[:, middle : middle + size[0], middle : middle + size[1]]
    assert torch.allclose(batch.images[0], full, atol=1e-6)


# ---------------------------------------------------------------------------------------------- prefetching
def test_prefetcher_gives_what_draw_gives(datasets: dict[bool, PackedDataset]) -> None:
    batches = Batches(datasets[True], range(23), datasets[True].spec((4, 4)), batch_size=5, seed=2)
    with Prefetcher(batches.draw) as prefetcher:
        for k in (0, 1, 2, 7, 8, 3, 3):
            assert equal(prefetcher.get(k), batches.draw(k))
        assert prefetcher.waited_seconds > 0


def test_prefetcher_runs_ahead_and_waits_little() -> None:
    drawn: list[int] = []
    ready = threading.Event()

    def draw(k: int) -> Batch:
        drawn.append(k)
        if k == 3:
            ready.set()
        return Batch(torch.full((1, 1, 1, 1), float(k)))

    with Prefetcher(draw, ahead=3) as prefetcher:
        assert prefetcher.get(0).images.item() == 0
        assert ready.wait(5)
        time.sleep(0.05)
        assert drawn == [0, 1, 2, 3]


def test_prefetcher_passes_errors_on_and_recovers() -> None:
    failures = [DataError("gone")]

    def draw(k: int) -> Batch:
        if k == 1 and failures:
            raise failures.pop()
        return Batch(torch.full((1, 1, 1, 1), float(k)))

    with Prefetcher(draw) as prefetcher:
        prefetcher.get(0)
        with pytest.raises(DataError, match="gone"):
            prefetcher.get(1)
        assert prefetcher.get(1).images.item() == 1


def test_closed_prefetcher() -> None:
    before = threading.active_count()
    prefetcher = Prefetcher(lambda k: Batch(torch.full((1, 1, 1, 1), float(k))))
    prefetcher.get(0)
    prefetcher.close()
    prefetcher.close()
    assert threading.active_count() == before
    with pytest.raises(RuntimeError):
        prefetcher.get(1)
