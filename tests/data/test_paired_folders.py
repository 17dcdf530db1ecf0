"""Pairs: found by name, cut and changed alike, told apart from classes, and refused where they do not fit."""

from __future__ import annotations

import itertools
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pentimento.data.augment import Augment, augment
from pentimento.data.batches import Batches
from pentimento.data.items import Item, hash_items, notices_of
from pentimento.data.packed import PackedDataset, pack
from pentimento.data.sources import open_source
from pentimento.errors import DataError, NotFoundError
from pentimento.model import Batch
from pentimento.runtime import Draws

Make = Callable[..., Path]
Arrays = list[tuple[np.ndarray, np.ndarray]]

SIZES = [(12, 16), (21, 9), (8, 8), (30, 17), (9, 40), (16, 16)]
MOVES = Augment(mirror=True, shift=0.2, rotate_degrees=15, scale=0.2, cutout=0.3)


def noise(seed: int, height: int = 12, width: int = 10, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def turned(images: torch.Tensor) -> torch.Tensor:
    """Red for green for blue: what the targets of these tests are of their inputs, whatever is done to both."""
    return images[:, [1, 2, 0]]


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path)


def write_pairs(where: Path, arrays: Arrays, names: tuple[str, str] = ("damaged", "clean")) -> str:
    for i, (damaged, clean) in enumerate(arrays):
        save(where / names[0] / f"{i}.png", damaged)
        save(where / names[1] / f"{i}.bmp", clean)
    return str(where)


def turned_pairs(sizes: list[tuple[int, int]]) -> Arrays:
    pictures = [noise(i, *size) for i, size in enumerate(sizes)]
    return [(p, p[..., [1, 2, 0]]) for p in pictures]


def draw(dataset: PackedDataset, **options: object) -> Batch:
    spec = dataset.spec(options.pop("size", None), options.pop("channels", "auto"))  # type: ignore[arg-type]
    options = {"batch_size": 24, "seed": 0} | options
    return Batches(dataset, range(len(dataset)), spec, **options).draw(0)  # type: ignore[arg-type]


def both(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    assert batch.targets is not None
    assert batch.images.is_contiguous() and batch.targets.is_contiguous()
    return batch.images, batch.targets


# ------------------------------------------------------------------------------------------ both sides alike
@pytest.mark.parametrize("fit", ["crop", "pad", "resize", "patch"])
@pytest.mark.parametrize("sizes", [SIZES, [(12, 16)] * 4], ids=["ragged", "alike"])
def test_both_sides_are_cut_and_moved_alike(tmp_path: Path, sizes: list[tuple[int, int]], fit: str) -> None:
    dataset = pack(open_source(write_pairs(tmp_path, turned_pairs(sizes))), max_side_px=24)
    for size, augmented in itertools.product([(12, 16), (7, 10), (26, 13)], [None, MOVES]):
        options = {"size": size, "fit": fit, "augment": augmented, "background": (0.5, 0.5, 0.5)}
        images, targets = both(draw(dataset, **options))
        assert images.shape == targets.shape == (24, 3, *size)
        assert torch.equal(targets, turned(images))
        assert images.flatten(1).unique(dim=0).shape[0] >= len(sizes)
    for batch in Batches(dataset, range(len(dataset)), dataset.spec((7, 10)), batch_size=4, seed=0).in_order():
        images, targets = both(batch)
        assert torch.equal(targets, turned(images))


def test_pixels_are_those_of_the_files(tmp_path: Path) -> None:
    arrays = [(noise(2 * i, 9, 7), noise(2 * i + 1, 9, 7)) for i in range(5)]
    dataset = pack(open_source(write_pairs(tmp_path, arrays)))
    assert dataset.paired and len(dataset) == 5 and dataset.common_size == (9, 7)
    batch = next(Batches(dataset, range(5), dataset.spec(), batch_size=5, seed=0).in_order())
    for i, pair in enumerate(arrays):
        assert np.array_equal(dataset.pixels(i), pair[0])
        assert np.array_equal(dataset.sides(i), np.stack(pair))
        for side, pixels in zip(both(batch), pair, strict=True):
            assert torch.equal((side[i] * 255).round().byte(), torch.from_numpy(pixels).permute(2, 0, 1))


def test_colours_are_changed_by_one_map() -> None:
    # In gray the map of a pair is a x + b, so the difference of the two sides is only scaled. With contrasts about two
    # means it would be shifted too. In the middle of the range nothing is cut off.
    pair = torch.rand(6, 2, 5, 7, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.1, 0.3])[:, None, None]
    changed = augment(pair + 0.3, Augment(colour=0.5), Draws(0, range(6)), sides=2)
    ratios = ((changed[:, 0] - changed[:, 1]) / (pair[:, 0] - pair[:, 1])).flatten(1)
    wide = (pair[:, 0] - pair[:, 1]).flatten(1).abs() > 0.02
    for row, chosen in zip(ratios, wide, strict=True):
        assert torch.allclose(row[chosen], row[chosen][0], atol=1e-4)
    assert ratios[:, 0].std() > 0.01


def test_equal_colours_stay_equal(tmp_path: Path) -> None:
    pictures = [noise(i, 8, 8) for i in range(3)]
    dataset = pack(open_source(write_pairs(tmp_path, [(p, np.roll(p, 1, 0)) for p in pictures])))
    images, targets = both(draw(dataset, augment=Augment(colour=1.0, mirror=True)))
    assert torch.allclose(targets, images.roll(1, 2), atol=1e-6)
    assert not torch.allclose(images, both(draw(dataset))[0], atol=0.05)


def test_gray_beside_colour(tmp_path: Path) -> None:
    gray = [noise(i, 6, 8, 1) for i in range(3)]
    arrays = [(gray[0], gray[0].repeat(3, 2)), (gray[1].repeat(3, 2), gray[1]), (gray[2], gray[2])]
    mixed = pack(open_source(write_pairs(tmp_path / "mixed", arrays)))
    assert mixed.spec().image_shape == (3, 6, 8)
    for size in ((6, 8), (4, 4)):
        images, targets = both(draw(mixed, size=size))
        assert images.shape[1] == 3
        assert torch.equal(images, targets)
    only = pack(open_source(write_pairs(tmp_path / "gray", [(g, 255 - g) for g in gray])))
    assert only.spec().channels == 1
    images, targets = both(draw(only))
    assert torch.allclose(targets, 1 - images, atol=1e-6)
    assert both(draw(only, channels=3))[1].shape == (24, 3, 6, 8)


def test_sixteen_bits_beside_eight(tmp_path: Path) -> None:
    eight = noise(0, 8, 8, 1)
    sixteen = (np.arange(64, dtype=np.uint16) * 1000 + 7).reshape(8, 8, 1)
    save(tmp_path / "damaged/0.png", eight)
    save(tmp_path / "clean/0.png", sixteen)
    dataset = pack(open_source(str(tmp_path)), bits=16)
    assert np.array_equal(dataset.sides(0), np.stack([eight.astype(np.uint16) * 257, sixteen]))
    images, targets = both(draw(dataset, batch_size=1))
    assert torch.allclose(targets[0, 0], torch.from_numpy(sixteen[..., 0] / 65535).float(), atol=1e-7)
    assert torch.allclose(images[0, 0], torch.from_numpy(eight[..., 0] / 255).float(), atol=1e-7)


def test_side_by_side_is_the_same_as_two_folders(tmp_path: Path) -> None:
    arrays = [(noise(i, 10, 14), noise(i + 100, 10, 14)) for i in range(4)]
    for i, pair in enumerate(arrays):
        save(tmp_path / "joined" / "train" / f"{i}.png", np.concatenate(pair, 1))
    joined = open_source(f"side-by-side:{tmp_path / 'joined'}")
    assert joined.name == "side-by-side:joined" and joined.count == 4
    uncut = open_source(str(tmp_path / "joined"))
    assert joined.content_hash() != uncut.content_hash()
    apart = open_source("pairs:" + write_pairs(tmp_path / "apart", arrays, ("A", "B")))
    for limit in (512, 7):
        batches = [draw(pack(source, max_side_px=limit)) for source in (joined, apart)]
        for ours, theirs in zip(*map(both, batches), strict=True):
            assert torch.equal(ours, theirs)
    assert not pack(uncut).paired and pack(uncut).common_size == (10, 28)


# ------------------------------------------------------------------------------------------ what is found where
def test_names_labels_and_splits(tmp_path: Path) -> None:
    for name in ("train/A/x/1.png", "train/A/y/2.png", "test/A/y/3.png"):
        save(tmp_path / "above" / name, noise(0))
        save(tmp_path / "above" / name.replace("A/", "B/").replace(".png", ".TIF"), noise(1))
        top, side, rest = name.split("/", 2)
        save(tmp_path / "below" / side / top / rest, noise(0))
        save(tmp_path / "below" / "B" / top / rest, noise(1))
    for layout in ("above", "below"):
        where = f"pairs:{tmp_path / layout}"
        found = {item.name: item.label for item in open_source(where).items()}
        assert found == {"A/x/1.png": "x", "A/y/2.png": "y"}
        assert [item.name for item in open_source(where, "test").items()] == ["A/y/3.png"]
        with pytest.raises(DataError, match="split"):
            open_source(where, "validation")


def test_clean_and_damaged_are_pairs_unasked(tmp_path: Path) -> None:
    write_pairs(tmp_path, turned_pairs(SIZES))
    (tmp_path / "README.txt").write_text("mine")
    save(tmp_path / "runs" / "first" / "samples" / "1.png", noise(0))
    for name in ("run.json", "recipe.toml"):
        (tmp_path / "runs" / "first" / name).write_text("")
    source = open_source(str(tmp_path))
    assert [line[:40] for line in notices_of(source)] == [
        "damaged/ and clean/ are taken as pairs, ",
        "not taken, because beside damaged/ and c",
    ]
    assert notices_of(source)[1].endswith(": runs/")
    assert pack(source).content_hash == pack(open_source(f"pairs:{tmp_path}")).content_hash
    (tmp_path / "train").mkdir()
    for side in ("clean", "damaged"):
        (tmp_path / side).rename(tmp_path / "train" / side)
    assert pack(open_source(str(tmp_path / "train"))).paired


@pytest.mark.parametrize("beside", ["cover.png", "faded/1.png", "metadata.csv"])
def test_other_data_beside_clean_and_damaged_make_classes(tmp_path: Path, beside: str) -> None:
    write_pairs(tmp_path, turned_pairs([(8, 8)]))
    if beside.endswith(".csv"):
        (tmp_path / beside).write_text("file_name,label\ndamaged/0.png,a\nclean/0.bmp,b\n")
    else:
        save(tmp_path / beside, noise(0))
    assert not pack(open_source(str(tmp_path))).paired
    asked = open_source(f"pairs:{tmp_path}")
    assert pack(asked).paired
    assert notices_of(asked) == (f"not taken, because beside damaged/ and clean/: {beside.replace('1.png', '')}",)


def test_a_folder_called_test_beside_pictures_is_no_split(folder: Make) -> None:
    assert open_source(str(folder("test/1.png", "2.png"))).count == 2


def test_an_archive_of_pairs_is_told_to_be_two_classes(tmp_path: Path, png: Callable[..., bytes]) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in ("clean/1.png", "damaged/1.png"):
            archive.writestr(name, png(0))
    source = open_source(str(tmp_path / "all.zip"))
    assert {item.label for item in source.items()} == {"clean", "damaged"}
    assert notices_of(source) == ("clean/ and damaged/ are taken as two classes; for pairs, unpack the archive",)
    with pytest.raises(DataError, match="is a file; a folder expected, so unpack"):
        open_source(f"pairs:{tmp_path / 'all.zip'}")


# ------------------------------------------------------------------------------------------ hashes and the cache
def test_the_content_is_that_of_both_sides(tmp_path: Path) -> None:
    where = write_pairs(tmp_path, turned_pairs(SIZES))
    before = open_source(where).content_hash()
    assert open_source(where).content_hash() == before
    save(tmp_path / "clean/3.bmp", noise(99, *SIZES[3]))
    assert open_source(where).content_hash() != before


def test_pairs_with_one_target_are_never_on_both_sides(tmp_path: Path) -> None:
    arrays = [(noise(i), noise(1000 + i % 12)) for i in range(48)]
    dataset = pack(open_source(write_pairs(tmp_path, arrays)))
    train, held_out = dataset.split(0.2, 0.7)
    assert len(train) and len(held_out)
    number = [int(Path(name).stem) % 12 for name in dataset.names]
    assert not {number[i] for i in train} & {number[i] for i in held_out}


def test_what_is_not_paired_is_packed_as_before() -> None:
    dataset = pack(open_source("digits"))
    # A new key would leave the packed data of everyone behind, unused.
    assert dataset.key == "a61a38d3799f41f43f4c62cba34d7fe5"
    assert not dataset.paired
    batch = draw(dataset)
    assert batch.targets is None and batch.images.shape == (24, 1, 8, 8)
    meta = dataset.folder / "meta.json"
    older = {key: value for key, value in json.loads(meta.read_text()).items() if key != "paired"}
    meta.write_text(json.dumps(older))
    pack(open_source("digits"))
    assert json.loads(meta.read_text()) == older  # it was opened, not packed anew


# --------------------------------------------------------------------------------------------------- refusals
def missing(where: Path) -> None:
    (where / "clean").rename(where / "cleen")


def both_kinds(where: Path) -> None:
    (where / "A").mkdir()
    (where / "B").mkdir()


def empty(where: Path) -> None:
    for path in (where / "clean").iterdir():
        path.unlink()


def lonely(where: Path) -> None:
    for i in range(3):
        (where / f"clean/{i}.bmp").rename(where / f"clean/picture-{i}.bmp")
    (where / "damaged/0.png").rename(where / "damaged/picture_0.png")


def lonely_target(where: Path) -> None:
    (where / "damaged/1.png").unlink()


def twice(where: Path) -> None:
    save(where / "damaged/1.webp", noise(0))


def other_size(where: Path) -> None:
    save(where / "clean/1.bmp", noise(0, 40, 30))


def unreadable(where: Path) -> None:
    (where / "clean/1.bmp").write_bytes(b"BM")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (missing, r"must hold either damaged/ and clean/, or A/ and B/; it holds cleen/, damaged/$"),
        (both_kinds, r"must hold either .*; it holds A/, B/, clean/, damaged/$"),
        (empty, r"clean: no pictures; the folder is empty"),
        (
            lonely,
            r"pairs: damaged/1.png has no partner in clean/ \(5 more pictures have none\); give it one of the same",
        ),
        (lonely_target, r"pairs: clean/1.bmp has no partner in damaged/; give it one of the same name, or remove it$"),
        (twice, r"pairs: damaged/1.png and damaged/1.webp differ in their suffix only; keep one"),
        (other_size, r"pairs: damaged/1.png is 21x9 and clean/1.bmp 40x30 \(height x width\); bring the two to one"),
        (unreadable, r"1 of 6 pictures cannot be read: .*clean/1.bmp"),
    ],
)
def test_folders_that_do_not_pair(tmp_path: Path, spoil: Callable[[Path], None], said: str) -> None:
    where = write_pairs(tmp_path, turned_pairs(SIZES))
    spoil(tmp_path)
    with pytest.raises(DataError, match=said) as caught:
        pack(open_source(f"pairs:{where}"), max_side_px=8)
    assert "\n" not in str(caught.value)


def test_a_near_name_is_suggested(tmp_path: Path) -> None:
    write_pairs(tmp_path, turned_pairs(SIZES))
    (tmp_path / "clean/4.bmp").rename(tmp_path / "clean/04.bmp")
    with pytest.raises(DataError, match=r"damaged/4.png has no .* \(1 more picture has none\); did you mean '04'\?"):
        open_source(str(tmp_path))
    with pytest.raises(NotFoundError, match=r"data: pairs:.*cleam does not exist; did you mean '.*clean'"):
        open_source(f"pairs:{tmp_path / 'cleam'}")
    with pytest.raises(NotFoundError, match=r"a folder with damaged/ and clean/, or A/ and B/, expected"):
        open_source("pairs:")


def test_halves_that_cannot_be(folder: Make, tmp_path: Path) -> None:
    save(tmp_path / "odd" / "1.png", noise(0, 8, 9))
    with pytest.raises(DataError, match=r"side-by-side: 1.png is 9 pixels wide; two halves need an even width"):
        pack(open_source(f"side-by-side:{tmp_path / 'odd'}"))
    with pytest.raises(DataError, match=r"side-by-side: pairs has pairs already"):
        open_source("side-by-side:" + write_pairs(tmp_path / "pairs", turned_pairs(SIZES)))


def test_a_source_pairs_all_or_none() -> None:
    class Given:
        name, count = "given", 2

        def items(self):
            return iter((Item("a", noise(0)), Item("b", noise(1), target=Item("c", noise(2)))))

        def content_hash(self):
            return hash_items("given", self.items())

    with pytest.raises(DataError, match="target: 1 of 2 pictures have none; pair all or none"):
        pack(Given())
