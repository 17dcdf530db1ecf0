"""`pentimento restore` as a user meets it: what it keeps, what it says, what it refuses."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from sklearn.datasets import load_sample_image

import pentimento
from pentimento import images, large
from pentimento.app import cli
from pentimento.capabilities import Reach
from pentimento.errors import InputError
from pentimento.model import DataSpec
from pentimento.models import build, load, save
from pentimento.tasks import memory, tiles
from pentimento.tasks import restore as task
from pentimento.tasks.ensemble import with_all_positions
from pentimento.tasks.masks import read_mask

SPEC = DataSpec(channels=3, height_px=16, width_px=16)
FAMILIES = {
    "noise": ("restorer", {"told": "noise", "widths": (8, 8)}),
    "jpeg": ("restorer", {"told": "jpeg", "widths": (8,)}),
    "holes": ("restorer", {"takes_masks": True, "widths": (8, 8)}),
    "twice": ("restorer", {"scale": 2, "shrink": 1, "widths": (8,)}),
    "passes": ("recurrent", {"told": "noise", "widths": (8, 8)}),
    "finder": ("detector", {"widths": (8,)}),
    "gan": ("gan", {"width": 4, "latent_dim": 4}),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Models that change pictures visibly, at random."""
    folder = tmp_path_factory.mktemp("models")
    for name, (family, config) in FAMILIES.items():
        torch.manual_seed(1)
        save(build(family, {"spec": SPEC, **config}), folder / name, card="")
    return folder


@pytest.fixture
def restore(capsys, tmp_path, monkeypatch, models):
    """Run the verb in an empty folder; gives (exit code, JSON of standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, model="noise"):
        capsys.readouterr()
        code = cli.run(
            ["restore", *map(str, arguments), *(["--model", str(models / model)] if model else []), "--json"]
        )
        captured = capsys.readouterr()
        return code, json.loads(captured.out) if captured.out else None, captured.err

    return run


def noise(path, height=40, width=60, channels=(3,), seed=0, dtype=np.uint8, **options):
    most = np.iinfo(dtype).max + 1
    pixels = np.random.default_rng(seed).integers(0, most, (height, width, *channels), dtype=dtype)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if dtype == np.uint16:
        images.write(Path(path), images.Picture(pixels))
    else:
        Image.fromarray(pixels).save(path, **options)
    return pixels


def pixels(path):
    return np.asarray(Image.open(path))


def fails(outcome, *parts):
    """Exit code 2 and one line with all `parts`."""
    code, _, err = outcome
    assert code == 2, err
    lines = [line for line in err.splitlines() if line.startswith("pentimento:")]
    assert len(lines) == 1, err
    for part in parts:
        assert part in lines[0]


# ------------------------------------------------------------------------------------------------ what it does
def test_one_picture(restore, models):
    before = noise("in.png")
    code, out, _ = restore("in.png", "--out", "out.png")
    assert code == 0
    assert out["files"] == ["out.png"]
    assert set(out["guessed"]) == {"out.png"}
    assert pixels("out.png").shape == before.shape
    assert not np.array_equal(pixels("out.png"), before)
    record = images.describe("out.png")["provenance"]
    assert record["verb"] == "restore"
    assert record["inputs"] == {"in.png": images.describe("in.png")["sha256"]}


def test_told_noise_is_not_guessed_and_more_of_it_changes_more(restore):
    before = noise("in.png").astype(float)
    changes = []
    for sigma in (0, 20, 60):
        code, out, _ = restore("in.png", "--noise", sigma, "--out", f"{sigma}.png")
        assert (code, out["guessed"]) == (0, {})
        changes.append(np.abs(pixels(f"{sigma}.png") - before).mean())
    assert len(set(changes)) == 3


def test_strength_blends(restore):
    before = noise("in.png").astype(float)
    for strength in ("0", "0.5", "1"):
        assert restore("in.png", "--strength", strength, "--out", f"{strength}.png")[0] == 0
    assert np.array_equal(pixels("0.png"), before)
    inside = (pixels("1.png") > 0) & (pixels("1.png") < 255)  # where nothing was cut off
    half = (before + pixels("1.png")) / 2
    assert np.abs(pixels("0.5.png") - half)[inside].max() <= 1


def test_an_ensemble_is_another_picture_and_is_recorded(restore):
    before = noise("in.png", 37, 51)
    mask = np.zeros((37, 51), np.uint8)
    mask[10:20, 5:40] = 255
    Image.fromarray(mask).save("mask.png")
    for name, options in (("once", ()), ("eight", ("--ensemble",))):
        assert restore("in.png", "--out", f"{name}.png", "--mask", "mask.png", *options, model="holes")[0] == 0
    assert np.array_equal(pixels("eight.png")[mask == 0], before[mask == 0])
    assert not np.array_equal(pixels("eight.png"), pixels("once.png"))
    told = [images.describe(f"{name}.png")["provenance"]["options"].get("ensemble") for name in ("once", "eight")]
    assert told == [None, True]


def test_passes_and_tolerance(restore):
    noise("in.png")
    made = {}
    for passes in (1, 2, 4):
        assert restore("in.png", "--passes", passes, "--out", f"{passes}.png", model="passes")[0] == 0
        made[passes] = pixels(f"{passes}.png")
    assert not np.array_equal(made[1], made[2])
    assert restore("in.png", "--out", "usual.png", model="passes")[0] == 0
    assert np.array_equal(pixels("usual.png"), made[4])
    assert restore("in.png", "--tolerance", 255, "--out", "soon.png", model="passes")[0] == 0
    assert np.array_equal(pixels("soon.png"), made[2])  # the second differs little enough from the first
    assert restore("in.png", "--tolerance", 0, "--out", "never.png", model="passes")[0] == 0
    assert np.array_equal(pixels("never.png"), made[4])


def test_enlargement_takes_alpha_along(restore):
    noise("in.png", 7, 9, (4,))
    assert restore("in.png", "--scale", 2, "--out", "out.png", model="twice")[0] == 0
    assert pixels("out.png").shape == (14, 18, 4)


def test_compare(restore):
    before = noise("in.png")
    _, out, _ = restore("in.png", "--out", "out.png", "--compare")
    assert out["files"] == ["out.png", "out-before-after.png", "out-changes.png"]
    both, changes = pixels("out-before-after.png"), pixels("out-changes.png")
    assert np.array_equal(both[2:42, 2:62], before)
    assert np.array_equal(both[2:42, 64:124], pixels("out.png"))
    wanted = np.abs(pixels("out.png").astype(int) - before).max(2) * 4
    assert np.abs(changes - wanted.clip(0, 255).astype(int)).max() <= 1
    Path("out.png").unlink()
    fails(restore("in.png", "--out", "out.png", "--compare"), "out-before-after.png: exists")
    assert not Path("out.png").exists()


def test_the_mask_that_was_found_is_shown_to_be_corrected(restore, models, monkeypatch):
    noise("in.png")
    monkeypatch.setattr(type(load(models / "finder")), "detect", lambda _, x: (x[:, :1] > 0.99).float())
    find = ("--find-scratches", "--detector", models / "finder")
    code, out, _ = restore("in.png", *find, "--out", "out.png", "--compare", model="holes")
    assert (code, out["files"][-1]) == (0, "out-mask.png")
    assert np.mean(pixels("out-mask.png") == 255) == pytest.approx(out["repaired"]["out.png"])
    code, _, _ = restore("in.png", "--mask", "out-mask.png", "--out", "again.png", model="holes")
    assert code == 0
    assert np.array_equal(pixels("again.png"), pixels("out.png"))


def test_what_is_found_does_not_depend_on_memory(models, monkeypatch):
    """A pixel that is damage or none by a rounding is filled or not, 63 levels of 255 apart."""
    detector, seen = load(models / "finder"), []
    monkeypatch.setattr(type(detector), "detect", lambda _, x: (seen.append(x.shape), x[:, :1])[1])
    picture = images.Picture(np.zeros((1500, 2000, 3), np.uint8))
    for size in (task.SEARCH_BYTES, 2**33):
        task.find_damage(detector, picture, size)
    first, second = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert len(first) > 1
    assert first == second
    with pytest.raises(InputError, match=r"--memory: too little for --find-scratches; allow \d+MB"):
        task.find_damage(detector, picture, task.SEARCH_BYTES - 1)


TILED = [("noise",), ("holes",), ("twice",), ("passes",), ("noise", "--ensemble")]


@pytest.mark.parametrize(("model", "options"), [(model, options) for model, *options in TILED])
def test_tiles_are_the_whole_within_one_level(restore, model, options, monkeypatch):
    monkeypatch.setattr(memory, "_held_bytes", lambda: 0)
    height, width = (450, 610) if model == "holes" else (150, 230)  # holes are filled from far away
    noise("in.png", height, width)
    assert restore("in.png", "--out", "whole.png", *options, model=model)[0] == 0
    reach = task.cast(task.Restores, build(*_config(model))).reach
    reach = with_all_positions(reach) if options else reach
    least = (2 * reach.overlap_px + 3 * reach.multiple_px) ** 2 * reach.bytes_per_px
    least += height * width * 12 * reach.scale**2
    code, _, err = restore("in.png", "--memory", f"{least // 1000}KB", "--out", "tiled.png", *options, model=model)
    assert code == 0, err
    plan = tiles.plan(height, width, reach, least)
    assert plan.count > 1
    assert np.abs(pixels("whole.png").astype(int) - pixels("tiled.png")).max() <= 1


def _config(name):
    family, config = FAMILIES[name]
    return family, {"spec": SPEC, **config}


# ------------------------------------------------------------------------------------------------ what it keeps
def test_sixteen_bits_profile_exif_and_alpha_stay(restore):
    deep = noise("deep.tif", dtype=np.uint16)
    assert restore("deep.tif", "--strength", 0, "--out", "deep-out.tif")[0] == 0
    assert np.array_equal(images.read("deep-out.tif").pixels, deep)

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010E] = "a photograph"
    before = noise("all.png", channels=(4,), icc_profile=profile, exif=exif)
    assert restore("all.png", "--out", "all-out.png")[0] == 0
    with Image.open("all-out.png") as made:
        assert made.info["icc_profile"] == profile
        assert made.getexif()[0x010E] == "a photograph"
        assert np.array_equal(np.asarray(made)[..., 3], before[..., 3])


def test_outside_the_mask_every_pixel_is_the_file_s_own(restore):
    """In a profile that is not sRGB, where there and back again would round."""
    from pentimento.colour import import_pyvips

    vips = import_pyvips("a test")
    noise("plain.png", seed=3)
    image = vips.Image.new_from_file("plain.png").icc_transform("p3", embedded=False, input_profile="srgb")
    image.pngsave("wide.png")
    before = pixels("wide.png")
    mask = np.zeros(before.shape[:2], np.uint8)
    mask[10:20, 30:50] = 255
    Image.fromarray(mask).save("mask.png")
    code, out, err = restore("wide.png", "--mask", "mask.png", "--out", "out.png", model="holes")
    assert code == 0, err
    after = pixels("out.png")
    assert np.array_equal(after[mask == 0], before[mask == 0])
    assert not np.array_equal(after[mask > 0], before[mask > 0])
    assert out["repaired"] == {"out.png": pytest.approx(200 / 2400)}


def test_scratches_are_found_and_the_rest_is_left_alone(restore, models):
    noise("in.png")
    code, out, err = restore(
        "in.png", "--find-scratches", "--detector", models / "finder", "--out", "out.png", model="holes"
    )
    assert code == 0, err
    share = out["repaired"]["out.png"]
    assert images.describe("out.png")["provenance"]["options"]["detector"] == "finder"
    same = (pixels("in.png") == pixels("out.png")).all(2).mean()
    assert same >= 1 - share - 1e-9


def test_damage_is_found_alike_in_eight_and_sixteen_bits_and_widened(models, monkeypatch):
    detector = load(models / "finder")
    monkeypatch.setattr(type(detector), "detect", lambda _, x: torch.where(x[:, :1] > 0.7, 0.6, 0.4))
    few = np.zeros((40, 60, 3), np.uint8)
    few[20, 30] = 255
    wanted = np.zeros((40, 60), bool)
    wanted[18:23, 28:33] = True
    for picture in (images.Picture(few), images.Picture(few.astype(np.uint16) * 257)):
        assert np.array_equal(task.find_damage(detector, picture, 2**30), wanted)


def test_a_streamed_picture_is_restored_like_one_in_memory(restore, monkeypatch):
    noise("in.tif", 300, 200)
    mask = np.zeros((300, 200), np.uint8)
    mask[100:250] = 255
    Image.fromarray(mask).save("mask.png")
    for options in ((), ("--mask", "mask.png")):
        assert restore("in.tif", "--out", "memory.tif", "--overwrite", *options)[0] == 0
        with monkeypatch.context() as patch:
            patch.setattr(memory, "memory_budget", lambda text=None: 2**31 if text else 1000)
            code, _, err = restore("in.tif", "--out", "streamed.tif", "--overwrite", "--memory", "2GiB", *options)
        assert code == 0, err
        assert np.array_equal(images.read("memory.tif").pixels, images.read("streamed.tif").pixels)
        assert images.describe("streamed.tif")["provenance"]["verb"] == "restore"


# ------------------------------------------------------------------------------------------------ folders
def test_a_folder_with_broken_files(restore):
    for name in ("a.png", "sub/b.jpg", "z.png"):
        noise(f"in/{name}")
    Path("in/broken.png").write_bytes(Path("in/a.png").read_bytes()[:200])
    Path("in/text.png").write_text("no picture")
    code, out, err = restore("in", "--out", "out")
    assert code == 2
    assert out["files"] == ["out/a.png", "out/sub/b.jpg", "out/z.png"]
    assert set(out["failed"]) == {"in/broken.png", "in/text.png"}
    assert "2 could not be used, the others are done" in err
    assert sorted(p.name for p in Path("out").rglob("*") if p.is_file()) == ["a.png", "b.jpg", "z.png"]


def test_interrupted_half_way_and_gone_on_with(restore, monkeypatch):
    for k in range(4):
        noise(f"in/{k}.png", seed=k)
    real, calls = images.write, []

    def interrupted(path, *arguments, **options):
        if Path(path).parent == Path("out"):  # elsewhere it is tried whether the format holds a pixel
            calls.append(path)
            if len(calls) == 3:
                raise KeyboardInterrupt
        real(path, *arguments, **options)

    monkeypatch.setattr(images, "write", interrupted)
    assert restore("in", "--out", "out")[0] == 130
    assert sorted(p.name for p in Path("out").iterdir()) == ["0.png", "1.png"]  # whole ones, and nothing else
    for path in Path("out").iterdir():
        Image.open(path).load()
    code, out, _ = restore("in", "--out", "out", "--skip-existing")
    assert code == 0
    assert out["files"] == ["out/2.png", "out/3.png"]
    assert out["skipped"] == ["out/0.png", "out/1.png"]


def test_in_place_keeps_exif_and_is_asked_for(restore):
    exif = Image.Exif()
    exif[0x010E] = "mine"
    noise("in.jpg", exif=exif)
    before = Path("in.jpg").read_bytes()
    fails(restore("in.jpg", "--out", "in.jpg", "--overwrite"), "is an input", "--in-place")
    assert Path("in.jpg").read_bytes() == before
    code, _, _ = restore("in.jpg", "--in-place")
    assert code == 0
    assert Path("in.jpg").read_bytes() != before
    assert Image.open("in.jpg").getexif()[0x010E] == "mine"
    assert [p.name for p in Path().iterdir()] == ["in.jpg"]
    Path("link.jpg").symlink_to("in.jpg")
    before = Path("in.jpg").read_bytes()
    assert restore("link.jpg", "--in-place")[0] == 0
    assert Path("link.jpg").is_symlink()
    assert Path("in.jpg").read_bytes() != before


def test_a_mask_is_never_written_onto(restore):
    Path("scans/masks").mkdir(parents=True)
    noise("scans/a.png")
    hole = np.zeros((40, 60), np.uint8)
    hole[10:20, 5:40] = 255
    for name in ("scans/m.png", "scans/masks/a.png"):
        Image.fromarray(hole).save(name)
    before = Path("scans/m.png").read_bytes()
    told = "scans/m.png: is a mask, and would be written onto; choose another --out"
    fails(restore("scans/*.png", "--mask", "scans/m.png", "--in-place", model="holes"), told)
    fails(restore("scans/a.png", "--mask", "scans/m.png", "--out", "scans/m.png", "--overwrite", model="holes"), told)
    code, out, _ = restore("scans", "--mask", "scans/m.png", "--out", "made", model="holes")  # the mask is no picture
    assert (code, out["files"]) == (0, ["made/a.png", "made/masks/a.png"])
    Path("scans/m.png").unlink()
    code, out, _ = restore("scans", "--mask", "scans/masks", "--in-place", model="holes")
    assert (code, out["files"]) == (0, ["scans/a.png"])
    assert Path("scans/masks/a.png").read_bytes() == before


def test_pictures_of_one_name_have_masks_by_folder(restore):
    holes = {}
    for side, rows in (("left", slice(0, 9)), ("right", slice(20, 30))):
        for folder in (f"scans/{side}", f"masks/{side}"):
            Path(folder).mkdir(parents=True)
        noise(f"scans/{side}/a.tif")
        holes[side] = np.zeros((40, 60), np.uint8)
        holes[side][rows] = 255
        Image.fromarray(holes[side]).save(f"masks/{side}/a.png")
    assert restore("scans", "--mask", "masks", "--out", "made", model="holes")[0] == 0
    for side, hole in holes.items():
        changed = (pixels(f"made/{side}/a.tif") != pixels(f"scans/{side}/a.tif")).any(-1)
        assert not changed[hole == 0].any()
        assert changed[hole == 255].mean() > 0.9
    Path("one").mkdir()
    Image.fromarray(holes["left"]).save("one/a.png")
    outcome = restore("scans", "--mask", "one", "--out", "again", model="holes")
    fails(outcome, "one/a.png would be the mask of scans/left/a and scans/right/a")
    noise("one/other.png")
    noise("one/other.tif")  # which nobody asks for
    assert restore("scans/left", "--mask", "one", "--out", "again", model="holes")[0] == 0
    Image.fromarray(holes["left"]).save("one/a.tif")
    outcome = restore("scans/left", "--mask", "one", "--out", "more", model="holes")
    fails(outcome, "one/a.png and a.tif are for the same picture")


def test_a_picture_is_not_its_own_mask(restore):
    Path("scans").mkdir()
    noise("scans/a.png")
    hole = np.zeros((40, 60), np.uint8)
    hole[5:9] = 255
    Image.fromarray(hole).save("a.png")
    code, out, _ = restore("scans/a.png", "--mask", ".", "--out", "o", model="holes")
    assert (code, out["repaired"]) == (0, {"o/a.png": 0.1})


def test_what_is_erased_is_repaired_whatever_colours_are_left(restore):
    before = noise("in.png")
    alpha = np.full((40, 60, 1), 255, np.uint8)
    alpha[5:15, 5:40] = 0
    Image.fromarray(np.concatenate([before, alpha], 2)).save("erased.png")
    code, out, _ = restore("in.png", "--mask", "erased.png", "--out", "o.png", model="holes")
    assert (code, out["repaired"]) == (0, {"o.png": 350 / 2400})
    fails(restore("in.png", "--mask", "in.png", "--out", "p.png", model="holes"), "gray for the most part")
    paint = np.concatenate([np.full((40, 60, 3), 255, np.uint8), 255 - alpha], 2)
    Image.fromarray(paint).save("layer.png")
    fails(restore("in.png", "--mask", "layer.png", "--out", "p.png", model="holes"), "is white and transparent")


def test_what_shows_changes_is_planned_before_the_work(restore, monkeypatch):
    Path("in").mkdir()
    noise("in/a.png")
    noise("in/a.jpg")
    with monkeypatch.context() as patch:
        patch.setattr(task, "_treatment", None)
        fails(restore("in", "--out", "o", "--compare"), "o/a-before-after.png: is where a.jpg is shown and a.png too")
        Path("o").mkdir()
        noise("o/a-changes.png")
        told = "o/a-changes.png: exists, and is where a.png is shown; --overwrite, or move it away"
        fails(restore("in/a.png", "--out", "o", "--compare"), told)
    assert restore("in/a.png", "--out", "o", "--compare", "--overwrite")[0] == 0


def test_what_the_format_cannot_hold_is_refused_before_the_work(restore, monkeypatch):
    monkeypatch.setattr(task, "_treatment", None)
    exif = Image.Exif()
    exif[0x010E] = "long" * 20_000
    noise("in.png", exif=exif)
    fails(restore("in.png", "--out", "o.jpg"), "o.jpg: JPEG cannot hold this picture", "EXIF")


# ------------------------------------------------------------------------------------------------ bad input
@pytest.mark.parametrize("size", [(1, 1), (3, 600), (600, 3), (17, 5)])
@pytest.mark.parametrize("model", ["noise", "holes", "passes", "twice"])
def test_any_size(restore, size, model):
    noise("in.png", *size)
    assert restore("in.png", "--out", "out.png", model=model)[0] == 0
    scale = 2 if model == "twice" else 1
    assert pixels("out.png").shape[:2] == (scale * size[0], scale * size[1])


def test_masks(restore, models):
    noise("in.png")
    for name, size, value in (("other", (60, 60), 255), ("empty", (40, 60), 0), ("all", (40, 60), 255)):
        Image.fromarray(np.full(size, value, np.uint8)).save(f"{name}.png")
    fails(restore("in.png", "--mask", "other.png", "--out", "o.png"), "60x40", "60x60")
    fails(restore("in.png", "--mask", "empty.png", "--out", "o.png"), "no white")
    fails(restore("in.png", "--mask", "all.png", "--out", "o.png"), "nothing left to repair from")
    fails(restore("in.png", "--mask", "none.png", "--out", "o.png"), "none.png does not exist")
    fails(restore("in.png", "--mask", "all.png", "--find-scratches", "--out", "o.png"), "one or the other")
    fails(restore("in.png", "--mask", "all.png", "--out", "o.png", model="twice"), "enlarges, and repairs no parts")
    Path("masks").mkdir()
    fails(restore("in.png", "--mask", "masks", "--out", "o.png"), "no picture called in")
    assert not Path("o.png").exists()


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--strength", "1.5"), ("--strength: 0 to 1 expected, got 1.5",)),
        (("--strength", "nan"), ("--strength",)),
        (("--noise", "-1"), ("--noise: 0 to 255",)),
        (("--quality", "0"), ("--quality: 1 to 100",)),
        (("--quality", "50"), ("is not told this", "--model dejpeg")),
        (("--passes", "0"), ("--passes",)),
        (("--passes", "3"), ("works in one pass", "denoise-recurrent")),
        (("--scale", "4"), ("enlarges 1 times, not 4",)),
        (("--memory", "lots"), ("memory: a size above zero such as 2GB",)),
        (("--memory", "1KB"), ("--memory: too little", "allow ")),
        (("--in-place",), ("leave --out away",)),
        (("--detector", "find-scratches"), ("--detector: finds damage for --find-scratches",)),
    ],
)
def test_options_out_of_range(restore, options, parts):
    noise("in.png")
    fails(restore("in.png", "--out", "o.png", *options), *parts)
    assert not Path("o.png").exists()


def test_what_is_no_still_picture(restore):
    frames = [Image.fromarray(np.full((9, 9), value, np.uint8)) for value in (0, 128, 255)]
    frames[0].save("moving.gif", save_all=True, append_images=frames[1:])
    fails(restore("moving.gif", "--out", "o.png"), "an animation of 3 pictures")
    Path("text.png").write_text("no picture")
    fails(restore("text.png", "--out", "o.png"), "text.png: not a PNG")
    fails(restore("nothing.png", "--out", "o.png"), "nothing.png: no such file")
    frames[0].save("still.gif")
    assert restore("still.gif", "--out", "o.png")[0] == 0


def test_in_place_a_folder_keeps_what_cannot_be_written(restore):
    noise("in/a.png")
    Image.fromarray(noise("in/b.png", seed=1)).save("in/c.bmp")
    code, out, _ = restore("in", "--in-place")
    assert (code, out["files"]) == (2, ["in/a.png", "in/b.png"])
    assert "in/c.bmp cannot be written" in out["failed"]["in/c.bmp"]


def test_a_file_of_several_pages_would_lose_all_but_one(restore):
    first, second = (Image.fromarray(noise(f"{k}.png", seed=k)) for k in (0, 1))
    first.save("pages.tif", save_all=True, append_images=[second, second])
    before = Path("pages.tif").read_bytes()
    fails(restore("pages.tif", "--in-place"), "a document of 3 pictures; save the one you want as a still")
    assert Path("pages.tif").read_bytes() == before
    second.encoderinfo = {"tiffinfo": {254: 1}}  # a smaller version of the first
    first.save("pyramid.tif", save_all=True, append_images=[second])
    with Image.open("pyramid.tif") as made:
        assert made.n_frames == 2
    assert restore("pyramid.tif", "--out", "o.tif")[0] == 0


def test_samples_that_a_mask_cannot_keep_are_refused_before_the_work(restore, monkeypatch):
    monkeypatch.setattr(task, "_treatment", None)
    noise("deep.png", dtype=np.uint16)
    Image.fromarray(noise("plain.png")).convert("CMYK").save("ink.jpg")
    mask = np.zeros((40, 60), np.uint8)
    mask[:9] = 255
    Image.fromarray(mask).save("mask.png")
    for source, out in (("deep.png", "o.jpg"), ("ink.jpg", "o.jpg"), ("ink.jpg", "o.tif")):
        outcome = restore(source, "--mask", "mask.png", "--out", out, model="holes")
        way = "CMYK without a profile must become RGB before" if source == "ink.jpg" else "choose .tif or .png"
        fails(outcome, f"{source}: {out[1:]} cannot hold the pixels outside of a mask as they are; {way}")
    assert not list(Path().glob("o.*"))


def test_ink_without_a_profile_becomes_rgb_and_that_is_told(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(noise("plain.png")).convert("CMYK").save("ink.tif")
    told = []
    pentimento.restore(["ink.tif", "plain.png"], out="made", model=str(models / "noise"), progress=told.append)
    assert (pixels("made/ink.tif").shape) == (40, 60, 3)
    assert [p.message for p in told if p.message] == ["ink.tif: CMYK without a profile, so the result is RGB"]
    assert [p.done for p in told if p.stage == "files"] == [0, 1, 2]


def test_python_takes_strings(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise("in.png")
    mask = np.zeros((40, 60), np.uint8)
    mask[:9] = 255
    Image.fromarray(mask).save("mask.png")
    made = pentimento.restore("in.png", out="o.png", mask="mask.png", model=str(models / "holes"))
    assert made.files == [Path("o.png")]
    assert np.array_equal(pixels("o.png")[9:], pixels("in.png")[9:])


def test_what_is_streamed_goes_into_tiff_and_that_is_said_before_the_work(restore, monkeypatch):
    monkeypatch.setattr(task, "_treatment", None)
    monkeypatch.setattr(memory, "memory_budget", lambda text=None: 1000)
    noise("in.png")
    fails(restore("in.png", "--out", "o.png"), "larger than memory is written as .tif or .tiff")


def test_memory_is_reckoned_with_all_samples(tmp_path):
    noise(tmp_path / "deep.tif", 10, 10, dtype=np.uint16)
    noise(tmp_path / "deep.png", 10, 10, dtype=np.uint16)
    for name in ("deep.tif", "deep.png"):
        for growth in (1, 4):
            taken = (1 + growth) * 10 * 10 * 3 * 2
            assert isinstance(large.open_still(tmp_path / name, taken, growth), images.Picture)
            assert isinstance(large.open_still(tmp_path / name, taken - 1, growth), large.LargePicture)


def test_a_mask_of_any_size_is_read_in_parts(tmp_path, monkeypatch):
    mask = np.random.default_rng(0).integers(0, 2, (600, 30)).astype(bool)
    Image.fromarray(mask).save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png", 600, 30), mask)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # more than Pillow deems safe
    assert np.array_equal(read_mask(tmp_path / "mask.png", 600, 30), mask)


def test_found_damage_is_widened(models):
    class Bright:
        """Sees damage where a picture is bright."""

        reach, device = Reach(1, 0, 1), torch.device("cpu")

        def detect(self, batch):
            return batch[:, :1]

    spots = np.random.default_rng(0).random((31, 17, 1)) < 0.02
    found = task.find_damage(Bright(), images.Picture(spots.astype(np.uint8) * 255), 2**30)
    wanted = torch.nn.functional.max_pool2d(torch.from_numpy(spots[..., 0]).float()[None], 5, 1, 2)[0]
    assert np.array_equal(found, wanted.numpy() > 0)


def test_what_is_no_model_that_restores(restore, models):
    noise("in.png")
    fails(restore("in.png", "--out", "o.png", model="gan"), "families that can: restorer, recurrent")
    fails(restore("in.png", "--out", "o.png", "--find-scratches", "--detector", models / "gan"), "detector")
    fails(restore("in.png", "--out", "o.png", "--model", "denoize", model=None), "neither a folder nor a model")


def test_the_model_follows_from_what_is_asked():
    from pentimento.api.restoration import _default_model

    assert _default_model(None, None, False, False, False) == "denoise"
    assert _default_model(None, None, True, False, False) == "denoise-recurrent"
    assert _default_model(None, 30, False, False, False) == "dejpeg"
    assert _default_model(4, None, False, False, False) == "upscale-x4"
    assert _default_model(None, None, False, True, False) == "inpaint"
    assert _default_model(None, None, False, False, True) == "old-photo"
    with pytest.raises(InputError, match="--scale: 2 or 4 expected, got 3"):
        _default_model(3, None, False, False, False)


def test_the_quality_is_guessed_where_the_blocks_begin(restore):
    """Seen from the middle of a block, a quality of 12 was taken for one of 39."""
    Image.fromarray(load_sample_image("china.jpg")[:420, :500]).save("in.jpg", quality=12)
    code, out, _ = restore("in.jpg", "--out", "o.png", "--model", "dejpeg", model=None)
    assert code == 0
    assert out["guessed"]["o.png"] == pytest.approx(12, abs=4)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_jpeg_that_exif_turns_is_guessed_and_repaired_like_upright_ones(restore, orientation):
    """Its blocks then begin elsewhere: 12 was taken for 64, 37 and 33, and half of what could be gained was lost."""
    clean = np.ascontiguousarray(load_sample_image("china.jpg")[:420, :500])
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(clean).save("upright.jpg", quality=12)
    Image.fromarray(clean).save("turned.jpg", quality=12, exif=exif)
    code, out, _ = restore("*.jpg", "--out", "o", "--model", "dejpeg", model=None)
    assert code == 0
    assert out["guessed"]["o/turned.jpg"] == pytest.approx(12, abs=4)
    back = np.rot90(pixels("o/turned.jpg"), {3: 2, 6: 1, 8: -1}[orientation]).astype(int)
    errors = [np.square(made - clean).mean() for made in (back, pixels("o/upright.jpg").astype(int))]
    assert 10 * np.log10(errors[0] / errors[1]) < 0.1  # dB; what is encoded once more differs a little


def test_png_bytes_in_a_jpeg_name_are_read_for_what_they_are(restore):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(buffer, "PNG")
    Path("in.jpg").write_bytes(buffer.getvalue())
    assert restore("in.jpg", "--out", "o.png")[0] == 0
