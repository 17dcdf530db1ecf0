"""`pentimento stylize` as a user meets it: what it keeps, what it says, what it refuses."""

from __future__ import annotations

import json
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pentimento
from pentimento import images
from pentimento.app import cli
from pentimento.capabilities import Reach
from pentimento.errors import TrainingError
from pentimento.images import Picture
from pentimento.model import DataSpec
from pentimento.models import STYLES, build, load, save
from pentimento.tasks import memory
from pentimento.tasks import stylize as task
from pentimento.tasks.styles import NamedStyle, write_styles

SPEC = DataSpec(channels=3, height_px=16, width_px=16)
OPTIMIZE = ("--method", "optimize", "--network", "perceptual", "--steps", "4")
STYLIZER = {"widths": (8, 8), "blocks": (1, 1), "style_widths": (4, 4), "style_dim": 6}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two stylizers that change pictures visibly, at random, the first with two styles of its own; and a GAN."""
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("painter", "other")):
        torch.manual_seed(seed)
        model = build("stylizer", {"spec": SPEC, **STYLIZER})
        for module in model.modules():
            if hasattr(module, "second"):
                module.second.reset_parameters()  # a block begins as the identity
        for module in model.decoder.modules():
            if hasattr(module, "affine"):
                module.affine.weight.data.mul_(20)
        save(model, folder / name, card="")
    save(build("gan", {"spec": SPEC, "width": 4, "latent_dim": 4}), folder / "gan", card="")
    painter = load(folder / "painter")
    write_styles(folder / "painter" / STYLES, {"dots": torch.ones(6), "waves": -torch.ones(6)}, painter)
    return folder


@pytest.fixture
def stylize(capsys, tmp_path, monkeypatch, models):
    """Run the verb in an empty folder with a photo and two paintings; gives (exit code, JSON, standard error)."""
    monkeypatch.chdir(tmp_path)
    picture("photo.png", 50, 70)
    picture("red.png", 40, 30, seed=1, tint=(255, 60, 20))
    picture("blue.png", 30, 40, seed=2, tint=(10, 60, 255))

    def run(*arguments, model="painter"):
        capsys.readouterr()
        chosen = [] if model is None or "optimize" in arguments else ["--model", str(models / model)]
        code = cli.run(["stylize", *map(str, arguments), *chosen, "--json"])
        captured = capsys.readouterr()
        return code, json.loads(captured.out) if captured.out else None, captured.err

    return run


def picture(path, height, width, seed=0, tint=(255, 255, 255)):
    pixels = np.random.default_rng(seed).random((height, width, 1)) * np.array(tint)
    Image.fromarray(pixels.round().astype(np.uint8)).save(path)


def halves(height=50, width=70, split=30):
    """A mask file of the left part and one of the right."""
    for name, part in (("left.png", np.s_[:, :split]), ("right.png", np.s_[:, split:])):
        mask = np.zeros((height, width), np.uint8)
        mask[part] = 255
        Image.fromarray(mask).save(name)


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


# ------------------------------------------------------------------------------------------------ what it does
def test_a_painting_a_name_and_a_saved_vector(stylize):
    assert stylize("photo.png", "red.png", "--out", "a.png", "--save-style", "mine.safetensors:red")[0] == 0
    code, result, _ = stylize("photo.png", "mine.safetensors", "--out", "b.png")
    assert (code, result["styles"]) == (0, {"red": 1.0})
    assert np.array_equal(pixels("a.png"), pixels("b.png"))
    assert stylize("photo.png", "dots", "--out", "c.png")[0] == 0
    assert not np.array_equal(pixels("a.png"), pixels("c.png"))
    assert pixels("c.png").shape == (50, 70, 3)
    record = images.describe("c.png")["provenance"]
    assert (record["verb"], record["model"], record["options"]["styles"]) == ("stylize", "painter", "dots")
    assert set(images.describe("a.png")["provenance"]["inputs"]) == {"photo.png", "red.png"}


@pytest.mark.parametrize(
    "line",
    [
        "photo.png red.png blue.png --weights 3 1",
        "photo.png red.png blue.png --weights 3 --weights 1",
        "--weights 3 1 photo.png red.png blue.png",
        "--weights=3 --weights=1 photo.png red.png blue.png",
    ],
)
def test_weights_one_after_another_or_repeated(line, stylize):
    code, result, _ = stylize(*line.split(), "--out", "out.png")
    assert (code, result["styles"]) == (0, {"red": 0.75, "blue": 0.25})


def test_styles_of_one_name_keep_their_shares(stylize):
    Path("other").mkdir()
    picture("other/red.png", 30, 40, seed=3)
    _, result, _ = stylize("photo.png", "red.png", "other/red.png", "--weights", "3", "1", "--out", "a.png")
    assert result["styles"] == {"red.png": 0.75, "other/red.png": 0.25}
    _, result, _ = stylize("photo.png", "red.png", "red.png", "other/red.png", *OPTIMIZE, "--out", "b.png")
    assert result["styles"] == pytest.approx({"red.png": 2 / 3, "other/red.png": 1 / 3})


def test_weights_1_and_0_are_the_single_style_exactly(stylize):
    stylize("photo.png", "red.png", "--out", "one.png")
    stylize("photo.png", "red.png", "blue.png", "--weights", "1", "0", "--out", "both.png")
    stylize("photo.png", "red.png", "blue.png", "--out", "mean.png")
    assert np.array_equal(pixels("one.png"), pixels("both.png"))
    assert not np.array_equal(pixels("one.png"), pixels("mean.png"))


def test_a_blend_is_kept_under_a_name(stylize):
    store = ["--save-style", "mine.safetensors:blend"]
    stylize("photo.png", "dots", "waves", "--weights", "3", "--weights", "1", "--out", "a.png", *store)
    stylize("photo.png", "dots", "--out", "b.png", "--save-style", "mine.safetensors:dots")
    stylize("photo.png", "mine.safetensors:blend", "--out", "c.png")
    assert np.array_equal(pixels("a.png"), pixels("c.png"))
    code, _, error = stylize("photo.png", "mine.safetensors", "--out", "d.png")
    assert code == 2
    assert "has several styles; write mine.safetensors:NAME; known: blend, dots" in error


def test_a_style_that_was_kept_is_not_replaced_unasked(stylize):
    store = ("--save-style", "mine.safetensors:red")
    stylize("photo.png", "red.png", "--out", "a.png", *store)
    before = Path("mine.safetensors").read_bytes()
    code, _, error = stylize("photo.png", "blue.png", "--out", "b.png", *store)
    assert code == 2
    assert "--save-style: mine.safetensors has a style 'red' already; choose another name, or --overwrite or" in error
    assert not Path("b.png").exists()
    assert stylize("photo.png", "blue.png", "--out", "b.png", *store, "--skip-existing")[0] == 0
    assert Path("mine.safetensors").read_bytes() == before
    assert stylize("photo.png", "blue.png", "--out", "b.png", *store, "--overwrite")[0] == 0
    assert Path("mine.safetensors").read_bytes() != before


def test_each_style_in_its_region_and_the_picture_in_the_holes(stylize):
    halves()
    stylize("photo.png", "red.png", "--out", "red-all.png")
    stylize("photo.png", "blue.png", "--out", "blue-all.png")
    both = ("red.png", "blue.png", "--mask", "left.png", "right.png")
    code, result, _ = stylize("photo.png", *both, "--out", "both.png")
    assert (code, result["styles"]) == (0, {"red": 1.0, "blue": 1.0})  # each in full where it is
    assert np.array_equal(pixels("both.png")[:, :30], pixels("red-all.png")[:, :30])
    assert np.array_equal(pixels("both.png")[:, 30:], pixels("blue-all.png")[:, 30:])
    stylize("photo.png", "red.png", "--mask", "left.png", "--out", "hole.png")
    assert np.array_equal(pixels("hole.png")[:, 30:], pixels("photo.png")[:, 30:])


def test_python_takes_strings(stylize, models):
    halves()
    stylize("photo.png", "red.png", "--mask", "left.png", "--out", "a.png")
    pentimento.stylize("photo.png", "red.png", mask="left.png", out="b.png", model=str(models / "painter"))
    assert np.array_equal(pixels("a.png"), pixels("b.png"))


def test_tiles_are_the_whole_within_2_of_255(stylize, models):
    picture("large.png", 400, 500)
    stylize("large.png", "red.png", "--out", "whole.png")
    needed = load(models / "painter").reach.bytes_per_px * 400 * 500
    code, _, _ = stylize("large.png", "red.png", "--out", "tiled.png", "--memory", f"{needed // 2000}KB")
    assert code == 0
    assert np.abs(pixels("whole.png") - pixels("tiled.png")).max() <= 2


def test_a_picture_larger_than_memory_is_the_same(stylize, monkeypatch):
    picture("large.tif", 300, 200)
    stylize("large.tif", "red.png", "--out", "whole.tif")
    with monkeypatch.context() as patch:
        patch.setattr(memory, "memory_budget", lambda text=None: 2**31 if text else 1000)
        assert stylize("large.tif", "red.png", "--out", "streamed.tif", "--memory", "2GiB")[0] == 0
    assert np.abs(pixels("whole.tif") - pixels("streamed.tif")).max() <= 2


def test_colours_of_the_content(stylize):
    stylize("photo.png", "red.png", "--out", "style.png")
    stylize("photo.png", "red.png", "--out", "luminance.png", "--colours", "luminance")
    grayness = pixels("luminance.png").std(2).mean()  # the photo is gray
    assert grayness < 1.0 < pixels("style.png").std(2).mean()
    assert stylize("photo.png", "red.png", "--out", "matched.png", "--colours", "matched")[0] == 0


def test_alpha_and_bit_depth_stay(stylize):
    given = np.random.default_rng(0).integers(0, 2**16, (20, 24, 4), dtype=np.uint16)
    images.write(Path("deep.png"), images.Picture(given[..., :3], alpha=given[..., 3]))
    assert stylize("deep.png", "dots", "--out", "out.png")[0] == 0
    made = images.read(Path("out.png"))
    assert made.bits == 16
    assert np.array_equal(made.alpha, given[..., 3])


def test_a_folder_with_a_broken_file(stylize):
    Path("photos").mkdir()
    picture("photos/a.png", 20, 20)
    Path("photos/b.png").write_bytes(b"no picture")
    code, result, _ = stylize("photos", "dots", "--out", "made")
    assert code == 2
    assert [Path(f).name for f in result["files"]] == ["a.png"]
    assert list(result["failed"]) == ["photos/b.png"]


# ---------------------------------------------------------------------------------------------- what it refuses
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["photo.png", "dot"], "style: 'dot' is neither a file nor a style of painter; did you mean 'dots'?"),
        (["photo.png", "gone.png"], "gone.png"),
        (["photo.png", "dots", "--strength", "1.5"], "--strength: 0 to 1 expected, got 1.5"),
        (["photo.png", "dots", "waves", "--weights", "1"], "--weights: one for each of the 2 styles expected, got 1"),
        (["photo.png", "dots", "waves", "--weights=-1", "--weights=2"], "--weights: 0 or more, and one above 0"),
        (["photo.png", "dots", "waves", "--weights=0", "--weights=0"], "--weights: 0 or more, and one above 0"),
        (
            ["photo.png", "dots", "--mask", "small.png"],
            "--mask: the size of the picture, 70x50, expected, but small.png",
        ),
        (["photo.png", "dots", "--mask", "black.png"], "--mask: black.png is black all over"),
        (["photo.png", "dots", "waves", "--mask", "left.png"], "--mask: one for each of 2 styles expected"),
        (
            ["photo.png", "dots", "waves", "--mask", "left.png", "--mask", "white.png"],
            "--mask: white.png overlaps those before it at 1500 of 3500 pixels",
        ),
        (["photo.png", "tiny.png"], "style: tiny.png is 8x8 px; at least 16x16 expected"),
        (["photo.png", "pixel.png"], "style: pixel.png is 1x1 px; at least 16x16 expected"),
        (["photo.png", "dots", "--colours", "matched"], "needs the picture of a style, and dots is a vector"),
        (["photo.png", "dots", "waves", "--style-size", "64"], "--style-size: is for pictures, and dots is a vector"),
        (
            ["photo.png", "dots", "--mask", "left.png", "--weights", "1"],
            "--mask, --weights: one or the other; a mask says how much of its style goes where",
        ),
        (["photo.png", "moving.gif"], "moving.gif: an animation of 2 pictures; save the one you want as a still"),
        (["photo.png", "dots", "--size", "30"], "--size: is for --method optimize; leave it out"),
        (["photo.png", "dots", "--preview-every", "3"], "--preview-every: is for --method optimize; leave it out"),
        (["photo.png", "dots", "--style-layers", "relu1_1"], "--style-layers: is for --method optimize; leave it out"),
        (["photo.png", "dots", "--save-style", "x"], "--save-style: FILE.safetensors:NAME expected, got 'x'"),
        (
            ["photo.png", "dots", "--mask", "left.png", "--save-style", "a.safetensors:b"],
            "--save-style: keeps one style, or one blend, and --mask keeps styles apart; leave one out",
        ),
        (
            ["photo.png", "red.png", "--colours", "matched", "--save-style", "a.safetensors:b"],
            "--save-style: keeps a style in its own colours, and --colours matched changes them for each picture",
        ),
        (
            ["photo.png", "dots", "--save-style", "red.png/a.safetensors:b"],
            "red.png is a file, so nothing can be written into it; choose another",
        ),
        (["photo.png", "red.png", *OPTIMIZE, "--smooth-weight", "-1"], "--smooth-weight: 0 or more expected, got -1"),
        (["photo.png", "red.png", *OPTIMIZE[:4], "--steps", "0"], "--steps: 1 to 1000000000 expected, got 0"),
        (["photo.png", "dots", "--memory", "10KB"], "memory:"),
        (["photo.png", "dots", "--method", "optimize", "--network", "perceptual"], "'dots' is no picture file"),
        *(
            (["photo.png", "red.png", "--method", "optimize", *given.split()], f"{given.split()[0]}: is for {line}")
            for given, line in (
                ("--model gone", "--method model; with --method optimize use --network"),
                ("--strength 0.5", "--method model; with --method optimize use --style-weight and --content-weight"),
                ("--style-size 64", "--method model; with --method optimize use --style-scale"),
                ("--save-style a.safetensors:b", "--method model; leave it out"),
                ("--lr 0.1", "--optimizer adam; leave it out"),
                ("--seed 1", "--start noise; leave it out"),
            )
        ),
    ],
)
def test_bad_input(arguments, line, stylize):
    halves()
    first, second = (Image.new("L", (40, 40), value) for value in (0, 255))
    first.save("moving.gif", save_all=True, append_images=[second])
    picture("small.png", 10, 10)
    picture("tiny.png", 8, 8)
    picture("pixel.png", 1, 1)
    Image.new("L", (70, 50), 0).save("black.png")
    Image.new("L", (70, 50), 255).save("white.png")
    code, _, error = stylize(*arguments, "--out", "out.png")
    assert code == 2
    assert line in error
    assert not Path("out.png").exists()


def test_styles_of_other_weights(stylize, models):
    code, _, error = stylize("photo.png", models / "painter" / STYLES, "--out", "out.png", model="other")
    assert code == 2
    assert "were made by other weights than those of other" in error


def test_a_model_that_cannot(stylize):
    code, _, error = stylize("photo.png", "red.png", "--out", "out.png", model="gan")
    assert code == 2
    assert "stylize: a 'gan' model cannot do this; families that can: stylizer" in error


# ---------------------------------------------------------------------------------------------- by optimisation


def test_optimisation_writes_and_says_its_losses(stylize):
    code, result, _ = stylize("photo.png", "red.png", *OPTIMIZE, "--out", "out.png")
    assert code == 0
    assert set(result["losses"]["out.png"]) == {"loss", "content", "style", "tv"}
    assert result["model"] == "perceptual"
    assert images.describe("out.png")["provenance"]["model"] == "perceptual"
    assert stylize("photo.png", "red.png", *OPTIMIZE, "--out", "small.png", "--size", "40")[0] == 0
    assert pixels("small.png").shape == (29, 40, 3)


def test_ctrl_c_keeps_the_last_picture(stylize, monkeypatch):
    steps = task.optimize

    def interrupted(*arguments, **options):
        for step in steps(*arguments, **options):
            yield step
            if step.done == 2:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(task, "optimize", interrupted)
        code, _, error = stylize("photo.png", "red.png", *OPTIMIZE, "--out", "out.png")
    assert code == cli.INTERRUPTED
    assert "pentimento: stopped after step 2 of 4; the picture so far is out-so-far.png\n" in error
    assert pixels("out-so-far.png").shape == (50, 70, 3)
    assert images.describe("out-so-far.png")["provenance"]["options"]["steps"] == 2
    assert not Path("out.png").exists()
    code, _, error = stylize("photo.png", "red.png", *OPTIMIZE, "--out", "out.png")
    assert code == 2
    assert "out-so-far.png: exists, and is where out.png lies until it is done; --overwrite, or move it" in error
    _, result, _ = stylize("photo.png", "red.png", *OPTIMIZE, "--out", "out.png", "--skip-existing")
    assert (result["files"], result["skipped"]) == (["out.png"], [])
    assert not Path("out-so-far.png").exists()


def test_a_loss_that_is_not_finite_keeps_the_last_picture(stylize, monkeypatch):
    steps = task.optimize

    def diverging(*arguments, **options):
        for step in steps(*arguments, **options):
            if step.done == 3:
                raise TrainingError("content: not finite at step 3 of 4")
            yield step

    monkeypatch.setattr(task, "optimize", diverging)
    code, _, error = stylize("photo.png", "red.png", *OPTIMIZE, "--out", "out.png")
    assert code == TrainingError.exit_code
    assert "not finite at step 3 of 4; the picture of step 2 is out-so-far.png\n" in error
    assert images.describe("out-so-far.png")["provenance"]["options"]["steps"] == 2
    assert not Path("out.png").exists()


def test_a_picture_larger_than_memory_is_brought_down_for_a_search(stylize, monkeypatch):
    picture("large.tif", 200, 300)
    monkeypatch.setattr(memory, "memory_budget", lambda text=None: 1000 if text is None else 2**30)
    options = ("large.tif", "red.png", *OPTIMIZE, "--memory", "1GB", "--out", "out.png")
    code, _, error = stylize(*options)
    assert code == 2
    assert "large.tif: is too large for a search; bring it down with --size" in error
    assert stylize(*options, "--size", "60", "--colours", "matched")[0] == 0
    assert pixels("out.png").shape == (40, 60, 3)


def test_many_looks_take_the_memory_of_one():
    """Counted in what is alive at once beside the network: one look after another is put together."""
    alive, most = [], 0

    class Painter:
        family, origin, device, training = "painter", None, torch.device("cpu"), False
        reach, strides = Reach(1, 0, 12), (1,)

        def stylize(self, images, styles, strength=1.0, moments=None):
            nonlocal most
            made = images + 0
            alive.append(weakref.ref(made))
            most = max(most, sum(made() is not None for made in alive))
            return made

    content = Picture(np.zeros((8, 8, 3), np.uint8))
    styles = [NamedStyle(str(k), torch.zeros(1, 3)) for k in range(8)]
    regions = [np.full((8, 8), 255 * (k == 0) + 1 * (k > 0), np.uint8) for k in range(8)]
    task.stylized(Painter(), content, task.Look(styles, (1 / 8,) * 8), regions)
    assert len(alive) == 8
    assert most <= 2


def test_what_is_written_on_the_way_lies_beside_the_result(stylize, monkeypatch):
    written = []
    write = images.write
    monkeypatch.setattr(task.images, "write", lambda path, *a, **k: (written.append(path.name), write(path, *a, **k)))
    stylize("photo.png", "red.png", *OPTIMIZE, "--out", "out.png", "--preview-every", "1")
    assert written == ["tried.png"] + 3 * ["out-so-far.png"] + ["out.png"]  # first whether PNG holds a pixel of it
    assert not Path("out-so-far.png").exists()


def test_a_picture_so_far_is_never_written_onto_another(stylize):
    picture("out-so-far.png", 30, 30)
    before = Path("out-so-far.png").read_bytes()
    for given in (("photo.png", "out-so-far.png"), ("out-so-far.png", "red.png")):
        code, _, error = stylize(*given, *OPTIMIZE, "--out", "out.png", "--overwrite")
        assert code == 2
        assert "out-so-far.png: is where out.png lies until it is done; call that file otherwise" in error
    assert Path("out-so-far.png").read_bytes() == before


def test_too_large_for_the_memory_says_which_size_would_fit(stylize):
    code, _, error = stylize("photo.png", "red.png", *OPTIMIZE, "--out", "out.png", "--memory", "1MB")
    assert code == 2
    size = error.rpartition("try --size ")[2].split()[0]
    assert stylize("photo.png", "red.png", *OPTIMIZE, "--out", "out.png", "--memory", "1MB", "--size", size)[0] == 0


def test_a_style_too_large_for_the_memory_says_which_scale_would_fit(stylize):
    picture("room.png", 64, 64)
    options = ("room.png", "red.png", *OPTIMIZE, "--out", "out.png", "--memory", "40MB")
    code, _, error = stylize(*options, "--style-scale", "100")
    assert code == 2
    assert "--style-scale: too little memory for a style of 6400 px; try --style-scale" in error
    scale = error.rpartition("try --style-scale ")[2].split(",")[0]
    assert stylize(*options, "--style-scale", scale)[0] == 0


def test_regions_that_meet_do_not_overlap_when_the_picture_is_scaled(stylize):
    picture("wide.png", 90, 121)
    for number, region in enumerate((np.s_[:, :45], np.s_[:45, 45:], np.s_[45:, 45:])):
        mask = np.zeros((90, 121), np.uint8)
        mask[region] = 255
        Image.fromarray(mask).save(f"mask{number}.png")
    masks = [part for number in range(3) for part in ("--mask", f"mask{number}.png")]
    styles = ("red.png", "blue.png", "photo.png")
    code, _, error = stylize("wide.png", *styles, *masks, *OPTIMIZE, "--out", "out.png", "--size", "70")
    assert (code, error) == (0, "")


def test_optimisation_runs_where_the_network_is(stylize, monkeypatch):
    """On "meta", the only other device that every machine has."""
    seen = []

    def looked_at(content, styles, network, *_, **__):
        seen.extend((content.device.type, styles[0].image.device.type, styles[0].mask.device.type))
        raise KeyboardInterrupt

    monkeypatch.setattr(task, "optimize", looked_at)
    monkeypatch.setattr("pentimento.runtime.choose_device", lambda _: torch.device("meta"))
    Image.new("L", (70, 50), 255).save("white.png")
    code, _, _ = stylize("photo.png", "red.png", "--mask", "white.png", *OPTIMIZE, "--out", "out.png")
    assert code == cli.INTERRUPTED
    assert seen == ["meta"] * 3


def test_a_style_is_never_written_onto(stylize):
    Path("all").mkdir()
    picture("all/photo.png", 20, 20)
    picture("all/painting.png", 20, 20, seed=1)
    before = Path("all/painting.png").read_bytes()
    for options in (("--in-place",), ("--out", "all/painting.png", "--overwrite")):
        source = "all" if options == ("--in-place",) else "photo.png"
        code, _, error = stylize(source, "all/painting.png", *options)
        assert code == 2
        assert "all/painting.png: is a style or a mask, and would be written onto; choose another --out" in error
    assert Path("all/painting.png").read_bytes() == before


# ------------------------------------------------------------------------------------- a strength for each picture
def test_the_largest_strength_that_keeps_the_content(stylize):
    code, result, error = stylize("photo.png", "red.png", "--strength", "auto", "--keep", "0.5", "--out", "auto.png")
    assert code == 0, error
    found = result["strengths"]["auto.png"]
    assert found["content"] <= 0.5
    stylize("photo.png", "red.png", "--strength", found["strength"], "--out", "same.png")
    assert np.array_equal(pixels("auto.png"), pixels("same.png"))
    options = images.describe("auto.png")["provenance"]["options"]
    assert (options["strength"], options["content_bound"]) == (found["strength"], 0.5)


def test_pictures_that_cannot_keep_the_content_are_left_out(stylize):
    """A stylizer that was not trained changes pictures at strength 0, too."""
    code, _, error = stylize("photo.png", "red.png", "--strength", "auto", "--keep", "0", "--out", "out.png")
    assert code == 2
    assert "is lost at strength 0 already, and 0 is allowed; allow more, or leave this picture as it is" in error
    assert not Path("out.png").exists()
    Path("photos").mkdir()
    for name in ("a.png", "b.png"):
        picture(f"photos/{name}", 40, 40)
    code, result, _ = stylize("photos", "red.png", "--strength", "auto", "--keep", "0", "--out", "made")
    assert code == 2
    assert sorted(result["failed"]) == ["photos/a.png", "photos/b.png"] and result["files"] == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--keep", "0.2"], "--keep: is for --strength auto; leave it out"),
        (["--strength", "0.5", "--keep", "0.2"], "--keep: is for --strength auto; leave it out"),
        (["--strength", "auto", "--keep", "2"], "--keep: 0 to 1 expected, got 2"),
        (["--strength", "autos"], "--strength"),
        (["--strength", "auto", "--method", "optimize"], "--strength: is for --method model; with --method optimize"),
    ],
)
def test_strengths_that_are_refused(arguments, line, stylize):
    code, _, error = stylize("photo.png", "red.png", *arguments, "--out", "out.png")
    assert code == 2
    assert line in error and len(error.strip().splitlines()) == 1
    assert not Path("out.png").exists()
