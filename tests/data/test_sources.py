"""Folders, archives and embedded sets: what is found, and what is refused."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pentimento.data.items import notices_of
from pentimento.data.packed import pack
from pentimento.data.sources import open_source
from pentimento.errors import DataError, NotFoundError

Make = Callable[..., Path]


def labels(where: Path, split: str = "train") -> dict[str, str | None]:
    return {item.name: item.label for item in open_source(str(where), split).items()}


# ------------------------------------------------------------------------------------------------ folders
def test_class_folders_are_labels(folder: Make) -> None:
    assert labels(folder("cat/1.png", "dog/a/2.png")) == {"cat/1.png": "cat", "dog/a/2.png": "dog"}


def test_a_loose_picture_means_no_labels(folder: Make) -> None:
    assert set(labels(folder("cat/1.png", "dog/2.png", "3.png")).values()) == {None}


def test_a_single_folder_is_no_class(folder: Make) -> None:
    assert labels(folder("all/1.png", "all/2.png")) == {"all/1.png": None, "all/2.png": None}


def test_splits(folder: Make) -> None:
    where = folder("train/a/1.png", "train/b/2.png", "val/a/3.png", "val/b/4.png")
    assert labels(where) == {"a/1.png": "a", "b/2.png": "b"}
    assert labels(where, "validation") == {"a/3.png": "a", "b/4.png": "b"}
    with pytest.raises(DataError, match=r"no split 'test'; known: train, val"):
        open_source(str(where), "test")
    with pytest.raises(DataError, match="no split folders"):
        open_source(str(folder("1.png", root="plain")), "test")


def test_other_files_are_ignored(folder: Make) -> None:
    where = folder("1.png", ".hidden.png", "__MACOSX/1.png", "UPPER.PNG", notes__txt="x")
    assert list(labels(where)) == ["1.png", "UPPER.PNG"]


def test_empty_folder(folder: Make) -> None:
    with pytest.raises(DataError, match=r"the folder is empty; expected files ending in .*\.png"):
        open_source(str(folder()))


def test_folder_without_pictures(folder: Make) -> None:
    with pytest.raises(DataError, match=r"no pictures; found 1 x \.txt; expected files ending in"):
        open_source(str(folder(notes__txt="x")))


def test_content_hash_is_of_content_not_of_place(folder: Make, tmp_path: Path) -> None:
    first = folder("a/1.png", "b/2.png")
    second = tmp_path / "moved"
    shutil.copytree(first, second)
    assert open_source(str(first)).content_hash() == open_source(str(second)).content_hash()
    (second / "b/2.png").rename(second / "a/2.png")
    assert open_source(str(first)).content_hash() != open_source(str(second)).content_hash()


def test_linked_folders_are_followed_once(folder: Make, tmp_path: Path) -> None:
    where = folder("a/1.png", "b/2.png")
    (where / "a" / "loop").symlink_to(where)
    assert list(labels(where)) == ["a/1.png", "b/2.png"]


def test_missing_paths_suggest_neighbours(folder: Make, tmp_path: Path) -> None:
    folder("1.png", root="holiday")
    with pytest.raises(NotFoundError, match=r"did you mean '.*holiday'"):
        open_source(str(tmp_path / "holidy"))
    with pytest.raises(NotFoundError, match="does not exist"):
        open_source("qqq")


def test_mistyped_relative_path_is_not_asked_of_the_hub(
    folder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder("cats/1.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFoundError, match=r"did you mean 'pictures/cats'\?"):
        open_source("pictures/cts")


def test_a_file_that_is_nothing_of_ours(folder: Make) -> None:
    with pytest.raises(DataError, match="neither a folder, nor a zip"):
        open_source(str(folder("1.png") / "1.png"))


# ------------------------------------------------------------------------------------------------ notices
def notices(where: Path, split: str = "train") -> tuple[str, ...]:
    return notices_of(open_source(str(where), split))


def test_a_loose_picture_is_named(folder: Make) -> None:
    where = folder("cats/1.png", "dogs/2.png", "cover.png")
    one = "1 picture lies outside the class folders (cover.png), so no labels were taken; move it into a class folder"
    for place in (where, archive(where, "zip"), archive(where, "tar.gz")):
        assert notices(place) == (one + " or out",)
    (line,) = notices(folder("5.png", "4.png", "3.png"))
    assert line.startswith("4 pictures lie outside the class folders (3.png, 4.png, 5.png, ...), so no labels were")
    assert "move them" in line


def test_loose_pictures_beside_splits_and_within_one(folder: Make) -> None:
    beside = folder("train/1.png", "test/2.png", "cover.png", root="beside")
    (line,) = notices(beside)
    assert "1 picture lies outside the split folders (cover.png), so no splits and no labels" in line
    assert "all of test, train" in line
    within = folder("train/a/1.png", "train/b/2.png", "train/3.png", "test/a/1.png", "test/b/2.png", root="within")
    assert "outside the class folders (train/3.png)" in notices(within)[0]
    assert notices(within, "test") == ()


def test_nothing_is_said_where_no_labels_are_lost(folder: Make) -> None:
    assert notices(folder("cats/1.png", "dogs/2.png", "notes.txt", root="sorted")) == ()
    assert notices(folder("old/1.png", "2.png", root="one_folder")) == ()
    table = "file_name,label\na/1.png,x\nb/2.png,y\n3.png,x\n"
    assert notices(folder("a/1.png", "b/2.png", "3.png", root="told", metadata__csv=table)) == ()
    assert notices_of(open_source("digits")) == ()


def test_pictures_in_formats_that_are_not_read_are_counted(folder: Make) -> None:
    where = folder("1.png", "a.heic", "b.HEIC", "c/d.svg", "e.txt")
    expected = ("ignored: 2 .heic, 1 .svg; convert them to JPEG, PNG, TIFF or WebP",)
    assert notices(where) == notices(archive(where, "zip")) == expected
    assert list(labels(where)) == ["1.png"]
    splits = folder("train/1.png", "test/2.png", "test/3.avif", root="splits")
    assert (notices(splits), len(notices(splits, "test"))) == ((), 1)


def test_other_suffixes_of_jpeg_are_read(folder: Make) -> None:
    where = folder()
    for name in ("a.jfif", "b.JPE", "c.jpg"):
        Image.new("RGB", (8, 8), (200, 10, 10)).save(where / name, "JPEG")
    assert pack(open_source(str(where))).names == ("a.jfif", "b.JPE", "c.jpg")
    assert notices(where) == ()


def test_run_folders_are_skipped(folder: Make) -> None:
    where = folder("cats/1.png", "dogs/2.png", "runs/no_run/run.json", "runs/notes/recipe.toml")
    before, key = labels(where), open_source(str(where)).content_hash()
    run = "runs/x/run.json", "runs/x/recipe.toml", "runs/x/samples/0001.png", "runs/x/metadata.csv"
    folder(*("unused.txt" for _ in range(9)), *run)  # numbered, so that no picture above is written anew
    for place in (where, archive(where, "zip")):
        assert labels(place) == before
        assert notices(place) == ("skipped run folder: runs/x",)
    assert open_source(str(where)).content_hash() == key
    folder("y/run.json", "y/recipe.toml", "runs/x/in/run.json", "runs/x/in/recipe.toml")
    assert notices(where) == ("skipped 2 run folders: runs/x, y",)


def test_run_folders_only_or_asked_for(folder: Make) -> None:
    where = folder("x/run.json", "x/recipe.toml", "x/samples/1.png")
    with pytest.raises(DataError, match="no pictures; skipped run folder: x; "):
        open_source(str(where))
    assert list(labels(where / "x")) == ["samples/1.png"]


# --------------------------------------------------------------------------------------------- archives
def archive(where: Path, kind: str, inside: str = "around") -> Path:
    path = where.with_name(f"archive.{kind}")
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            for member in sorted(where.rglob("*")):
                file.write(member, Path(inside) / member.relative_to(where))
    else:
        with tarfile.open(path, f"w:{kind.partition('.')[2]}") as file:
            file.add(where, inside)
    return path


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz"])
@pytest.mark.parametrize("inside", ["around", "", "../..", "/"])
def test_archives_say_what_the_folder_says(folder: Make, kind: str, inside: str) -> None:
    where = folder("train/a/1.png", "train/b/2.png", "test/a/3.png")
    packed = archive(where, kind, inside)
    for split in ("train", "test"):
        from_folder = {i.name: (i.label, i.payload) for i in open_source(str(where), split).items()}
        from_archive = {i.name: (i.label, i.payload) for i in open_source(str(packed), split).items()}
        assert from_archive == from_folder


def test_archive_with_metadata(folder: Make) -> None:
    where = folder("1.png", "2.png", metadata__csv="file_name,label,age\n1.png,x,3\n2.png,y,4.5\n")
    items = list(open_source(str(archive(where, "tar.gz"))).items())
    assert [(i.label, dict(i.attributes)) for i in items] == [("x", {"age": 3.0}), ("y", {"age": 4.5})]


def test_archive_hash_depends_on_bytes_and_split(folder: Make) -> None:
    packed = archive(folder("train/1.png", "test/2.png"), "zip")
    assert open_source(str(packed)).content_hash() != open_source(str(packed), "test").content_hash()
    assert open_source(str(packed)).content_hash() == open_source(str(packed)).content_hash()


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz"])
def test_damaged_archives(folder: Make, kind: str) -> None:
    packed = archive(folder("1.png", "2.png"), kind)
    payload = packed.read_bytes()
    middle = len(payload) // 2
    packed.write_bytes(payload[:middle])
    with pytest.raises(DataError, match=r"archive"):
        list(open_source(str(packed)).items())


def test_archive_with_a_name_twice(folder: Make, tmp_path: Path) -> None:
    where = folder("1.png")
    with tarfile.open(tmp_path / "twice.tar", "w") as file:
        file.add(where / "1.png", "x/1.png")
        file.add(where / "1.png", "x/1.png")
    with pytest.raises(DataError, match=r"holds x/1.png more than once"):
        open_source(str(tmp_path / "twice.tar"))


def test_empty_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with pytest.raises(DataError, match="is empty"):
        open_source(str(tmp_path / "empty.zip"))


# -------------------------------------------------------------------------------------- embedded, named
def test_digits() -> None:
    items = list(open_source("digits").items())
    pixels = np.stack([np.asarray(item.payload) for item in items])
    assert pixels.shape == (1797, 8, 8, 1)
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert {item.label for item in items} == set("0123456789")
    assert len({item.name for item in items}) == 1797
    with pytest.raises(DataError, match="split"):
        open_source("digits", "test")


def test_shapes_by_name() -> None:
    source = open_source("shapes:3:7")
    assert source.count == 3
    assert open_source("shapes").count == 2000
    items = list(source.items())
    assert all(item.label == item.attributes["shape"] for item in items)
    assert set(items[0].attributes) == {"shape", "hue", "size_px", "x", "y", "background", "background_hue"}
    assert source.content_hash() != open_source("shapes:3:8").content_hash()


@pytest.mark.parametrize("name", ["shapes:", "shapes:0", "shapes:x", "shapes:-1", "shapes:5:", "shapes:5:1.5"])
def test_shapes_by_a_wrong_name(name: str) -> None:
    with pytest.raises(DataError, match="shapes:N:seed takes"):
        open_source(name)
