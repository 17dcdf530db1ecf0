"""`pentimento translate` as a user meets it: what it keeps, what it says, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from pentimento import images, large
from pentimento.app import cli
from pentimento.model import Attribute, DataSpec
from pentimento.models import build, load, save
from pentimento.tasks import memory, tiles

SPEC = DataSpec(
    channels=3,
    height_px=16,
    width_px=16,
    classes=("winter", "spring"),
    attributes=(Attribute(name="hour", low=0, high=24),),
)
NET = {"widths": (8, 8), "blocks": 1}
FAMILIES = {
    "pairs": ("pix2pix", NET),
    "looks": ("pix2pix", {**NET, "conditional": True, "attributes": ("hour",)}),
    "ways": ("cyclegan", NET),
    "finder": ("detector", {"widths": (8,)}),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Models that change pictures visibly, at random."""
    folder = tmp_path_factory.mktemp("models")
    for name, (family, config) in FAMILIES.items():
        torch.manual_seed(1)
        model = build(family, {"spec": SPEC, **config})
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.data *= 1.5
        save(model, folder / name, card="")
    return folder


@pytest.fixture
def translate(capsys, tmp_path, monkeypatch, models):
    """Run the verb in an empty folder; gives (exit code, JSON of standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, model="pairs"):
        capsys.readouterr()
        code = cli.run(["translate", *map(str, arguments), "--model", str(models / model), "--json"])
        captured = capsys.readouterr()
        return code, json.loads(captured.out) if captured.out else None, captured.err

    return run


def noise(path, height=40, width=60, channels=(3,), dtype=np.uint8, **options):
    samples = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (height, width, *channels), dtype=dtype)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if dtype == np.uint16:
        images.write(Path(path), images.Picture(samples, **options))
    else:
        Image.fromarray(samples).save(path, **options)
    return samples


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
def test_one_picture_and_its_record(translate, models):
    before = noise("in.png")
    code, out, _ = translate("in.png", "--out", "out.png")
    assert code == 0
    assert out["files"] == ["out.png"]
    assert out["weights_sha256"] == load(models / "pairs").origin.weights_sha256
    assert pixels("out.png").shape == before.shape
    assert not np.array_equal(pixels("out.png"), before)
    record = images.describe("out.png")["provenance"]
    assert (record["verb"], record["model"], record["options"]) == ("translate", "pairs", {})
    assert record["inputs"] == {"in.png": images.describe("in.png")["sha256"]}


def test_strength_blends(translate):
    before = noise("in.png").astype(float)
    for strength in ("0", "0.5", "1"):
        assert translate("in.png", "--strength", strength, "--out", f"{strength}.png")[0] == 0
    assert np.array_equal(pixels("0.png"), before)
    half = (before + pixels("1.png")) / 2
    assert np.abs(pixels("0.5.png") - half).max() <= 1
    assert images.describe("0.5.png")["provenance"]["options"] == {"strength": 0.5}


def test_there_and_back_are_two_ways(translate):
    noise("in.png")
    for name, options in (("there", ()), ("back", ("--reverse",))):
        assert translate("in.png", *options, "--out", f"{name}.png", model="ways")[0] == 0
    assert not np.array_equal(pixels("there.png"), pixels("back.png"))
    assert images.describe("back.png")["provenance"]["options"] == {"reverse": True}


def test_label_and_attribute_say_the_look(translate):
    noise("in.png")
    made = {}
    for label, hour in (("winter", 3), ("spring", 3), ("spring", 20)):
        name = f"{label}-{hour}.png"
        options = ("--label", label, "--attribute", f"hour={hour}")
        assert translate("in.png", *options, "--out", name, model="looks")[0] == 0
        made[name] = pixels(name).tobytes()
    assert len(set(made.values())) == 3
    told = images.describe("spring-20.png")["provenance"]["options"]
    assert told == {"label": "spring", "attributes": {"hour": "20"}}


@pytest.mark.parametrize("model", ["pairs", "ways"])
def test_tiles_are_the_whole_within_one_level(translate, models, model, monkeypatch):
    monkeypatch.setattr(memory, "_held_bytes", lambda: 0)
    noise("in.png", 150, 230)
    reach = load(models / model).reach
    least = 130 * 130 * reach.bytes_per_px
    assert tiles.plan(150, 230, reach, least).count > 1
    assert translate("in.png", "--out", "whole.png", model=model)[0] == 0
    assert translate("in.png", "--memory", f"{least / 1000}KB", "--out", "tiles.png", model=model)[0] == 0
    assert np.abs(pixels("whole.png").astype(int) - pixels("tiles.png")).max() <= 1


def test_sixteen_bits_profile_exif_and_alpha_stay(translate):
    exif = Image.Exif()
    exif[0x010E] = "a garden"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    before = noise("in.png", channels=(4,), exif=exif, icc_profile=profile)
    assert translate("in.png", "--out", "out.png")[0] == 0
    with Image.open("out.png") as made:
        assert made.getexif()[0x010E] == "a garden"
        assert np.array_equal(np.asarray(made)[..., 3], before[..., 3])
    noise("deep.tif", channels=(3,), dtype=np.uint16)
    assert translate("deep.tif", "--out", "deep-out.tif")[0] == 0
    assert images.read("deep-out.tif").bits == 16


def test_a_gray_picture_may_become_coloured(translate):
    noise("gray.png", channels=())
    assert translate("gray.png", "--out", "out.png")[0] == 0
    made = pixels("out.png")
    assert made.shape == (40, 60, 3)
    assert (made[..., 0] != made[..., 2]).any()


def test_what_is_larger_than_memory_goes_from_file_to_file(translate, monkeypatch):
    pytest.importorskip("pyvips")
    noise("in.tif", 150, 100, channels=(4,))
    assert translate("in.tif", "--out", "whole.tif")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(memory, "memory_budget", lambda text=None: 2**31 if text else 1000)
        fails(translate("in.tif", "--memory", "2GB", "--out", "out.png"), "is written as .tif")
        assert translate("in.tif", "--memory", "2GB", "--out", "streamed.tif")[0] == 0
    assert isinstance(large.open_still("in.tif", 1000), large.LargePicture)
    assert np.array_equal(pixels("streamed.tif"), pixels("whole.tif"))


def test_folders_with_broken_files_and_going_on(translate):
    for name in ("a.png", "deep/b.png"):
        noise(f"box/{name}")
    whole = Path("box/a.png").read_bytes()
    Path("box/broken.png").write_bytes(whole[: len(whole) // 2])
    code, out, err = translate("box", "--out", "made")
    assert code == 2
    assert out["files"] == ["made/a.png", "made/deep/b.png"]
    assert list(out["failed"]) == ["box/broken.png"]
    assert "1 could not be used, the others are done" in err
    fails(translate("box/a.png", "--out", "made"), "exists; choose another --out")
    assert translate("box/a.png", "--out", "made", "--skip-existing")[1]["skipped"] == ["made/a.png"]
    assert translate("box/a.png", "--in-place")[1]["files"] == ["box/a.png"]
    assert Path("box/a.png").read_bytes() != whole


# ------------------------------------------------------------------------------------------- what it refuses
@pytest.mark.parametrize(
    ("model", "options", "parts"),
    [
        ("pairs", ("--reverse",), ("--reverse: pairs translates one way only", "A/ and B/ exchanged")),
        ("pairs", ("--label", "spring"), ("trained without labels",)),
        ("pairs", ("--attribute", "hour=3"), ("trained without 'hour'",)),
        ("pairs", ("--attribute", "hour"), ("--attribute: NAME=VALUE expected, got 'hour'",)),
        ("looks", ("--attribute", "hour=3"), ("--label: looks knows several looks; say which: winter, spring",)),
        ("looks", ("--label", "sprung", "--attribute", "hour=3"), ("'sprung'; did you mean 'spring'",)),
        ("looks", ("--label", "spring"), ("must be told hour; say --attribute hour=VALUE",)),
        ("looks", ("--label", "spring", "--attribute", "hour=3", "--attribute", "our=3"), ("did you mean 'hour'",)),
        ("finder", (), ("a 'detector' model cannot do this; families that can: pix2pix, cyclegan",)),
        ("pairs", ("--strength", "2"), ("--strength: 0 to 1 expected, got 2.0",)),
        ("pairs", ("--memory", "1KB"), ("--memory: too little for this model", "allow ")),
    ],
)
def test_refusals(translate, model, options, parts):
    noise("in.png")
    fails(translate("in.png", *options, "--out", "out.png", model=model), *parts)
    assert not Path("out.png").exists()


def test_a_model_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    noise("in.png")
    assert cli.run(["translate", "in.png", "--model", "denoisy", "--out", "out.png"]) == 2
    assert "denoisy: neither a folder nor a model of the zoo; did you mean 'denoise'" in capsys.readouterr().err
