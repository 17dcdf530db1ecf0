"""`pentimento edit`, as a user types it, on models that ship."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pentimento import images
from pentimento.app import cli
from pentimento.images import Picture

FAST = ("--steps", 4)


@pytest.fixture
def edit(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = np.zeros((40, 30, 3), np.uint8)
    pixels[8:32, 13:18] = 255  # rather a one
    alpha = np.full((40, 30), 255, np.uint8)
    alpha[:3] = 200
    images.write(tmp_path / "one.png", Picture(pixels, alpha))

    def run(*arguments):
        code = cli.run(["edit", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, " ".join(err.split())

    return run


def test_a_picture_is_made_anew_with_what_is_set(edit, tmp_path):
    code, out, err = edit("one.png", "--model", "mnist-vae", "--do", "label=3", "--out", "three.png", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["out"] == "three.png" and result["warnings"] == []
    assert result["rmse"] == pytest.approx(255 * 10 ** (-result["psnr_db"] / 20), rel=1e-2) and result["rmse"] < 40
    about = images.describe(tmp_path / "three.png")
    assert (about["width_px"], about["height_px"], about["alpha"]) == (28, 28, False)
    record = about["provenance"]
    assert about["digital_source_type"] == "compositeWithTrainedAlgorithmicMedia" and record["verb"] == "edit"
    assert (
        record["options"]["do"] == [["label=3"]]
        and record["options"]["label"] == result["label"]
        and record["seed"] == 0
    )
    assert record["inputs"]["one.png"] == images.describe(tmp_path / "one.png")["sha256"]
    assert record["weights_sha256"] == result["weights_sha256"]


def test_only_what_changes_goes_into_the_picture(edit, tmp_path):
    asked = ("--model", "mnist-vae", "--do", "label=7", "--only-changes", "--label", "1")
    code, _, err = edit("one.png", *asked, "--out", "own.png")
    assert code == 0, err
    before, after = images.read(tmp_path / "one.png"), images.read(tmp_path / "own.png")
    assert after.pixels.shape == before.pixels.shape and np.array_equal(after.alpha, before.alpha)
    same = (after.pixels == before.pixels).all(2)
    assert same[:2].all() and not same.all()


def test_several_values_make_a_strip(edit, tmp_path):
    asked = ("--label", "1", "--do", "latent[3]=-2,0,2", *FAST)
    code, _, err = edit("one.png", "--model", "mnist-gan", *asked, "--out", "strip.png")
    assert code == 0, err
    about = images.describe(tmp_path / "strip.png")
    assert (about["width_px"], about["height_px"]) == (5 * 30 + 2, 32)
    asked = ("--label", "1", "--do", "label=7,3,5,9", "--overwrite")
    code, _, err = edit("one.png", "--model", "mnist-vae", *asked, "--out", "strip.png")
    assert code == 0, err
    assert images.describe(tmp_path / "strip.png")["width_px"] == 6 * 30 + 2


def test_a_search_that_is_stopped_writes_nothing(edit, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pentimento.tasks.edit.invert", stop)
    code, _, _ = edit("one.png", "--model", "mnist-vae", *DO, "--out", "never.png")
    assert code == 130 and [path.name for path in tmp_path.iterdir()] == ["one.png"]


def test_a_bad_reconstruction_and_far_values_are_warned_of(edit, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (28, 28, 1), dtype=np.uint8)
    images.write(tmp_path / "noise.png", Picture(noise))
    asked = ("--label", "1", "--do", "latent[0]=9", "--out", "a.png", "--model", "mnist-vae")
    code, out, err = edit("noise.png", *asked)
    assert code == 0
    for said in ("latent[0]=9: 6 beyond the 3 standard deviations", "makes this picture badly"):
        assert said in err and said in " ".join(out.split())


def a_set(path, sha256):
    row = {"target": "up1", "units": [3], "value": 0.0, "shift": False}
    path.write_text(json.dumps({"do": [row], "model": "their-gan", "weights_sha256": sha256}))


def test_a_set_of_another_model_is_refused_everywhere(edit, tmp_path, capsys):
    a_set(tmp_path / "theirs.json", "0" * 64)
    code, _, err = edit("one.png", "--model", "mnist-gan", "--do", "@theirs.json", "--out", "a.png")
    assert (
        code == 2 and "theirs.json was made for their-gan with other weights, and units of mnist-gan are other" in err
    )
    asked = ["mnist-gan", "--do", "@theirs.json", "--out"]
    assert cli.run(["generate", *asked, "b.png"]) == cli.run(["explain", "effects", *asked, "b.json"]) == 2
    assert capsys.readouterr().err.count("made for their-gan") == 2
    assert not list(tmp_path.glob("[ab].*"))


DO = ("--do", "label=7")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["two.png", "--model", "mnist-gan", *DO], "two.png: no such file"),
        (["one.png", "--model", "mnist-gan", "--do", "lable=7"], "no 'lable'; did you mean 'label'"),
        (["one.png", "--model", "mnist-gan", "--do", "up1[99]=0"], "up1 has 32 units, 0 to 31"),
        (["one.png", "--model", "mnist-gan"], "--do: nothing to set"),
        (["one.png", "--model", "mnist-gan", *DO, "--label", "12"], "unknown class '12'"),
        (["one.png", "--model", "mnist-gan", *DO, "--attribute", "size=1"], "attribute: unknown name 'size'"),
        (["one.png", "--model", "mnist-gan", *DO, "--steps", 0], "--steps: 1 or more expected, got 0"),
        (["one.png", "--model", "mnist-gan", *DO, "--seed", -1], "--seed: 0 or more expected, got -1"),
        (["one.png", "--model", "mnist-gna", *DO], "did you mean 'mnist-gan'"),
        (["one.png", "--model", "mnist-cnn", *DO], "a 'cnn' model makes no pictures of a latent; families that can:"),
        (["one.png", "--model", "denoise", *DO], "a 'restorer' model makes no pictures of a latent"),
        (["one.png", "--model", "mnist-gan", "--do", "label=1,7", "--only-changes"], "--do one value each"),
        (["one.png", "--model", "cifar-gan", "--do", "label=deer,dgo"], "unknown class 'dgo'; did you mean 'dog'"),
        (["one.png", "--model", "mnist-gan", "--do", "latent[0]=1,a"], "several values are different numbers"),
        (["text.png", "--model", "mnist-vae", *DO], "text.png"),
    ],
)
def test_bad_wishes(edit, tmp_path, arguments, message):
    (tmp_path / "text.png").write_text("no picture")
    code, out, err = edit(*arguments, "--out", "made.png")
    assert code == 2
    assert message in err
    assert out == "" and not (tmp_path / "made.png").exists()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("there.png", "there.png: exists; choose another --out, or --overwrite"),
        ("one.png", "one.png: is the picture itself"),
        ("made.gif", "cannot write made.gif; its name must end in one of .jpeg, .jpg, .png"),
    ],
)
def test_nothing_is_lost(edit, tmp_path, out, message):
    (tmp_path / "there.png").write_text("mine")
    before = (tmp_path / "one.png").read_bytes()
    code, _, err = edit("one.png", "--model", "mnist-vae", *DO, "--out", out)
    assert code == 2 and message in err
    assert (tmp_path / "there.png").read_text() == "mine" and (tmp_path / "one.png").read_bytes() == before
