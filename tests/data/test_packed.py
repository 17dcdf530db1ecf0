"""Packing: contents, refusals, interruption, damage, and a split that does not move."""

from __future__ import annotations

import gc
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pentimento.data.decode import shrink
from pentimento.data.items import Item, hash_items, natural_key
from pentimento.data.packed import PackedDataset, cache_folder, pack
from pentimento.data.sources import open_source
from pentimento.errors import DataError, StorageError
from pentimento.runtime import Progress

Make = Callable[..., Path]
Png = Callable[..., bytes]


class Listed:
    """A source of given items."""

    name = "listed"

    def __init__(self, *items: Item) -> None:
        self.count = len(items)
        self._items = items

    def content_hash(self) -> str:
        return hash_items("listed", self._items)

    def items(self) -> Iterator[Item]:
        return iter(self._items)


def noise(seed: int, height: int = 4, width: int = 4, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def pictures(png: Png, count: int) -> list[Item]:
    return [Item(f"{i}.png", png(i)) for i in range(count)]


def leftovers() -> list[str]:
    return [p.name for p in (cache_folder() / "packed").glob("*")]


# ---------------------------------------------------------------------------------------------- contents
def test_ragged_pictures_come_back(png: Png) -> None:
    arrays = [noise(0, 3, 5), noise(1, 7, 2), noise(2, 1, 1), noise(3, 4, 4, 1)]
    dataset = pack(Listed(*(Item(str(i), a) for i, a in enumerate(arrays))))
    assert len(dataset) == 4
    for i, array in enumerate(arrays):
        assert np.array_equal(dataset.pixels(i), array)
    assert np.array_equal(dataset.pixels(-1), arrays[-1])
    assert dataset.names == ("0", "1", "2", "3")
    assert dataset.labels is None
    with pytest.raises(IndexError):
        dataset.pixels(4)


def test_encoded_pictures_keep_order_and_pixels(png: Png) -> None:
    dataset = pack(Listed(*pictures(png, 100)))
    for i in range(100):
        assert np.array_equal(dataset.pixels(i), np.asarray(Image.open(io.BytesIO(png(i)))))


def test_one_by_one(png: Png) -> None:
    dataset = pack(Listed(Item("1.png", png(0, 1, 1))))
    assert dataset.spec().image_shape == (3, 1, 1)


def test_classes_are_sorted_naturally() -> None:
    dataset = pack(Listed(*(Item(label, noise(i), label) for i, label in enumerate(["10", "9", "a", "1"]))))
    assert dataset.classes == ("1", "9", "10", "a")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [2, 1, 3, 0]


@given(st.lists(st.text(max_size=6), max_size=6))
def test_natural_order_is_total(texts: list[str]) -> None:
    assert sorted(texts, key=natural_key) == sorted(sorted(texts), key=natural_key)


def test_attributes() -> None:
    rows = [{"age": 3.0, "place": "Rome"}, {"age": -1.5, "place": "Bonn"}]
    dataset = pack(Listed(*(Item(str(i), noise(i), None, row) for i, row in enumerate(rows))))
    age, place = dataset.attributes
    assert (age.name, age.kind, age.low, age.high) == ("age", "numeric", -1.5, 3.0)
    assert (place.name, place.kind, place.values) == ("place", "categorical", ("Bonn", "Rome"))
    assert dataset.attribute_values.tolist() == [[3.0, 1.0], [-1.5, 0.0]]


def test_free_text_is_no_attribute() -> None:
    items = [Item(str(i), noise(i, 1, 1), None, {"caption": f"text {i}", "n": float(i)}) for i in range(300)]
    told: list[Progress] = []
    dataset = pack(Listed(*items), progress=told.append)
    assert [a.name for a in dataset.attributes] == ["n"]
    assert any("'caption' has 300 different texts" in p.message for p in told)


def test_notices_are_said_at_every_packing(folder: Make) -> None:
    where = folder("cats/1.png", "dogs/2.png", "cover.png", "old.heic", "runs/x/run.json", "runs/x/recipe.toml")
    source = open_source(str(where))
    starts = ["1 picture lies outside", "ignored: 1 .heic", "skipped run folder: runs/x"]
    for _ in range(2):  # the second time from the cache
        told: list[Progress] = []
        dataset = pack(source, progress=told.append)
        said = [p.message for p in told if p.message]
        assert [line[: len(start)] for line, start in zip(said, starts, strict=True)] == starts
        assert dataset.meta["notices"] == said
    (where / "new.svg").write_text("<svg/>")  # not a part of the content, and yet said of what was packed before
    told = []
    assert pack(open_source(str(where)), progress=told.append).key == dataset.key
    assert "ignored: 1 .heic, 1 .svg; convert" in told[1].message


def test_some_labels_and_some_attributes_are_refused() -> None:
    with pytest.raises(DataError, match="1 of 2 pictures have none"):
        pack(Listed(Item("a", noise(0), "x"), Item("b", noise(1))))
    with pytest.raises(DataError, match="b: attributes that only some pictures have: age"):
        pack(Listed(Item("a", noise(0), None, {"age": 1.0}), Item("b", noise(1))))


def test_spec(png: Png) -> None:
    gray = pack(Listed(Item("a", noise(0, 4, 6, 1)), Item("b", noise(1, 4, 6, 1))))
    assert gray.spec().image_shape == (1, 4, 6)
    assert gray.spec((8, 9), channels=3).image_shape == (3, 8, 9)
    mixed = pack(Listed(Item("a", noise(0, 4, 6, 1)), Item("b", noise(1, 6, 4, 3))))
    assert mixed.spec((8, 8)).channels == 3
    with pytest.raises(DataError, match=r"sizes from 4x4 to 6x6 \(height x width\); set data.size_px"):
        mixed.spec()
    with pytest.raises(DataError, match="size_px: height"):
        mixed.spec((0, 8))


# ----------------------------------------------------------------------------------------- size and depth
def test_longer_side_is_scaled_down() -> None:
    dataset = pack(
        Listed(Item("a", noise(0, 40, 20)), Item("b", noise(1, 10, 10)), Item("c", noise(2, 300, 1))), max_side_px=20
    )
    assert [dataset.pixels(i).shape for i in range(3)] == [(20, 10, 3), (10, 10, 3), (20, 1, 3)]
    assert dataset.pixels(0).mean() == pytest.approx(noise(0, 40, 20).mean(), abs=2)


def test_sixteen_bits() -> None:
    array = noise(0)
    dataset = pack(Listed(Item("a", array)), bits=16)
    assert dataset.pixels(0).dtype == np.uint16
    assert np.array_equal(dataset.pixels(0), array.astype(np.uint16) * 257)
    assert dataset.full_scale == 65535


def test_sixteen_bit_files_keep_their_precision() -> None:
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000 + 7
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    source = Listed(Item("a.png", stream.getvalue()))
    assert np.array_equal(pack(source, bits=16).pixels(0)[..., 0], values)
    assert np.array_equal(pack(source, bits=8).pixels(0)[..., 0], np.rint(values / 257).astype(np.uint8))


def test_shrinking_sixteen_bits_stays_in_range() -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint16)
    stripes[:, ::16] = stripes[:, 1::16] = 65535
    smaller = shrink(stripes, 32)
    assert smaller.shape == (32, 32, 3)
    assert smaller.mean() == pytest.approx(stripes.mean(), rel=0.02)


def test_transparency_is_composited() -> None:
    stream = io.BytesIO()
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(stream, "PNG")
    source = Listed(Item("a.png", stream.getvalue()))
    assert pack(source).pixels(0)[0, 0].tolist() == [255, 255, 255]
    assert pack(source, background=(0, 1, 0)).pixels(0)[0, 0].tolist() == [0, 255, 0]


@pytest.mark.parametrize("options", [{"bits": 12}, {"max_side_px": 0}, {"background": (2, 0, 0)}])
def test_options_out_of_range(options: dict[str, object]) -> None:
    with pytest.raises(DataError, match=next(iter(options))):
        pack(Listed(Item("a", noise(0))), **options)  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------- unreadable files
def test_one_truncated_file_among_twenty_is_refused(folder: Make) -> None:
    where = folder(*(f"{i:02d}.png" for i in range(21)))
    (where / "13.png").write_bytes((where / "13.png").read_bytes()[:60])
    with pytest.raises(DataError, match=r"1 of 21 pictures cannot be read: .*13\.png.*--skip-broken"):
        pack(open_source(str(where)))
    assert not leftovers()
    dataset = pack(open_source(str(where)), skip_broken=True)
    assert len(dataset) == 20
    assert dataset.meta["broken"][0][0] == "13.png"
    with pytest.raises(DataError, match="1 of 21"):
        pack(open_source(str(where)))


def test_one_in_a_hundred_is_left_out_and_said(png: Png) -> None:
    told: list[Progress] = []
    dataset = pack(Listed(*pictures(png, 99), Item("bad.png", b"")), progress=told.append)
    assert len(dataset) == 99
    assert any("1 unreadable left out" in p.message and "bad.png" in p.message for p in told)


def test_nothing_readable_is_refused_always() -> None:
    with pytest.raises(DataError, match="none of 1 pictures can be read"):
        pack(Listed(Item("bad.png", b"no picture")), skip_broken=True)


def test_wrong_arrays_are_refused() -> None:
    with pytest.raises(DataError, match=r"a: \(H, W, 1 or 3\) uint8 expected"):
        pack(Listed(Item("a", noise(0, 4, 4, 2))))


# --------------------------------------------------------------------------------------------- the cache
def test_second_packing_decodes_nothing(png: Png) -> None:
    class Once(Listed):
        def items(self) -> Iterator[Item]:
            raise AssertionError("decoded again")

    first = pack(Listed(*pictures(png, 3)))
    second = pack(Once(*pictures(png, 3)))
    assert first.key == second.key
    assert pack(Listed(*pictures(png, 3)), max_side_px=4).key != first.key
    assert pack(Listed(*pictures(png, 3)), background=(0, 0, 0)).key != first.key


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("at_end", [False, True])
def test_interrupted_packing_leaves_nothing(png: Png, error: type[BaseException], at_end: bool) -> None:
    def interrupt(progress: Progress) -> None:
        if not at_end or progress.done == progress.total:
            raise error

    source = Listed(*pictures(png, 50))
    with pytest.raises(error):
        pack(source, progress=interrupt)
    assert not list((cache_folder() / "packed").iterdir())
    assert len(pack(source)) == 50


def damage_truncate(folder: Path) -> None:
    os.truncate(folder / "pixels.bin", 100)


def damage_missing(folder: Path) -> None:
    (folder / "hashes.npy").unlink()


def damage_meta(folder: Path) -> None:
    (folder / "meta.json").write_text("{")


def damage_lengths(folder: Path) -> None:
    np.save(folder / "labels.npy", np.zeros(1, dtype=np.int64))


def damage_format(folder: Path) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"format": 0}))


def damage_all(folder: Path) -> None:
    for path in folder.iterdir():
        path.write_bytes(b"")


@pytest.mark.parametrize(
    "damage", [damage_truncate, damage_missing, damage_meta, damage_lengths, damage_format, damage_all]
)
def test_damage_is_found_and_mended(png: Png, damage: Callable[[Path], None]) -> None:
    source = Listed(*pictures(png, 5))
    folder = pack(source).folder
    damage(folder)
    with pytest.raises(DataError, match=r"not a finished packed data set|pixels\.bin has"):
        PackedDataset(folder)
    mended = pack(source)
    assert np.array_equal(mended.pixels(4), np.asarray(Image.open(io.BytesIO(png(4)))))
    assert leftovers() == [mended.key]


def test_cache_that_cannot_be_written(png: Png, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        pack(Listed(*pictures(png, 1)), cache=tmp_path / "file")


def test_files_are_closed_with_the_dataset(png: Png) -> None:
    handles = Path("/proc/self/fd")
    if not handles.is_dir():
        pytest.skip("needs /proc")
    datasets = [pack(Listed(*pictures(png, n))) for n in range(1, 6)]
    folders = {str(d.folder) for d in datasets}

    def opened() -> int:
        """Handles of our files: others come and go with the rest of the process."""
        links = [h.readlink() for h in handles.iterdir() if h.is_symlink()]
        return sum(str(link.parent) in folders for link in links)

    assert opened() == 0  # until pixels are asked for
    assert all(d.pixels(0).size for d in datasets)
    assert opened() > 0
    del datasets
    gc.collect()
    assert opened() == 0


def test_progress_ends_with_everything(png: Png) -> None:
    told: list[Progress] = []
    pack(Listed(*pictures(png, 10)), progress=told.append)
    assert [p.done for p in told] == sorted(p.done for p in told)
    assert (told[-1].stage, told[-1].done, told[-1].total, told[-1].unit) == ("pack", 10, 10, "images")
    assert told[-1].rate is not None


# --------------------------------------------------------------------------------------------- the split
def test_split_covers_everything_once() -> None:
    dataset = pack(open_source("digits"))
    train, validation = dataset.split(0.9, 1.0)
    assert sorted([*train, *validation]) == list(range(len(dataset)))
    assert len(validation) / len(dataset) == pytest.approx(0.1, abs=0.03)  # 4 standard errors
    folds = [set(dataset.split(k / 5, (k + 1) / 5)[1].tolist()) for k in range(5)]
    assert sum(map(len, folds)) == len(set.union(*folds)) == len(dataset)
    assert len(dataset.split(0, 1)[1]) == len(dataset)
    assert len(dataset.split(1, 1)[1]) == len(dataset.split(0, 0)[1]) == 0


def test_split_does_not_move_when_files_are_added(png: Png) -> None:
    few, many = pictures(png, 30), [Item(f"new{i}.png", png(1000 + i)) for i in range(30)]
    sides = []
    for items in (few, [*many[:15], *few, *many[15:]]):
        dataset = pack(Listed(*items))
        chosen = set(dataset.split(0.2, 0.6)[1].tolist())
        sides.append({name: i in chosen for i, name in enumerate(dataset.names)})
    assert sides[0].items() <= sides[1].items()
    assert 0 < sum(sides[0].values()) < 30


def test_split_at_the_ends_of_the_hashes() -> None:
    dataset = pack(Listed(*(Item(str(i), noise(i)) for i in range(3))))
    dataset.hashes = np.array([0, 2**63, 2**64 - 1], dtype=np.uint64)
    assert dataset.split(0.5, 1.0)[1].tolist() == [1, 2]
    assert dataset.split(0.0, 0.5)[1].tolist() == [0]
    with pytest.raises(DataError, match="split"):
        dataset.split(0.5, 0.4)
