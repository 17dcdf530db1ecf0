"""The command line as a user meets it: results on standard output, one line on standard error, an exit code."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pentimento.app import cli
from pentimento.runtime import Progress

TINY = ["--set", "training.total_kimg=0.064", "--set", "model.width=2", "--set", "training.sample_count=4"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A conditional GAN and a classifier, hardly trained."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("digits-gan", "digits-classifier"):
        assert cli.run(["train", name, "--data", "digits", "--out", str(folder / name), *TINY, "--json"]) == 0
    return folder


@pytest.fixture
def pentimento(capsys, tmp_path, monkeypatch):
    """Run a command in an empty folder; gives (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()
        code = cli.run([str(a) for a in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def picture(path, height=16, width=16, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def bomb(path):
    """A PNG whose header claims 100,000 x 100,000 pixels."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


# ------------------------------------------------------------------------------- options of several values
@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("stylize photo a b --mask m n --out x", "stylize photo a b --mask m --mask n --out x"),
        ("stylize --in-place --out x photo a --mask=m n", "stylize --in-place --out x photo a --mask=m --mask n"),
        ("stylize --mask m photo a", "stylize --mask m photo a"),
        ("stylize photo --mask m a", "stylize photo --mask m a"),
        ("stylize --weights 1 -2 photo a", "stylize --weights 1 --weights -2 photo a"),
        ("stylize photo a --mask m -- n", "stylize photo a --mask m -- n"),
        ("translate a b --attribute c=1 d=e --model m", "translate a b --attribute c=1 --attribute d=e --model m"),
        ("train recipe --set a=1 b=2", "train recipe --set a=1 --set b=2"),
        ("train --set a=1 recipe", "train --set a=1 recipe"),
        ("evaluate a b --metrics c d --data e", "evaluate a b --metrics c --metrics d --data e"),
        ("evaluate --metrics c a", "evaluate --metrics c a"),
        ("train recipe --set --data x", "train recipe --set --data x"),
        ("stylize --help", "stylize --help"),
        ("nothing a", "nothing a"),
    ],
)
def test_values_follow_one_another_and_what_is_positional_stays_so(given, meant):
    assert cli._one_value_each(cli.build_app(), given.split()) == meant.split()


def test_votes_and_subjects_are_not_mixed_up(pentimento):
    code, _, error = pentimento("evaluate", "--votes", "a.json", "b.json")
    assert code == 2
    assert "--votes: are counted by themselves, without b.json; name --votes before each file" in error


# ------------------------------------------------------------------------------------------------ good input
def test_train_generate_inspect_from_a_folder_of_pictures(pentimento, tmp_path):
    for i in range(24):
        picture(tmp_path / "mine" / ("warm" if i % 2 else "cold") / f"{i}.png", 20 + i, 30, seed=i)
    size = ["--set", "data.size_px=[16,24]", "--set", "training.batch_size=8"]
    code, out, _ = pentimento("train", "gan", "--data", "mine", *TINY, *size, "--json")
    assert code == 0
    result = json.loads(out)
    assert result["run"] == "runs/gan-mine"
    assert result["steps"] == 8
    code, out, _ = pentimento("generate", "runs/gan-mine", "--label", "warm", "--count", 3, "--out", "new", "--json")
    assert code == 0
    files = json.loads(out)["files"]
    assert files == [f"new/{i:06d}.png" for i in range(3)]
    assert Image.open(files[0]).size == (24, 16)
    assert Path("new/metadata.csv").read_text().splitlines() == [
        "file_name,label",
        *(f"{i:06d}.png,warm" for i in range(3)),
    ]
    code, out, _ = pentimento("inspect", files[1], "--json")
    record = json.loads(out)
    assert code == 0
    assert record["digital_source_type"] == "trainedAlgorithmicMedia"
    provenance = record["provenance"]
    assert provenance["verb"] == "generate"
    assert provenance["options"] == {"count": 3, "label": "warm", "index": 1}
    assert len(provenance["weights_sha256"]) == 64
    # What was generated is a data set in its turn.
    code, *_ = pentimento(
        "train",
        "vae",
        "--data",
        "new",
        "--out",
        "again",
        *TINY,
        "--set",
        "data.size_px=[8,8]",
        "--set",
        "training.validate_every_kimg=0",
    )
    assert code == 0


def test_the_same_seed_gives_the_same_picture_at_any_count(pentimento, models):
    for out, count in (("few", 2), ("many", 40)):
        assert pentimento("generate", models / "digits-gan", "--count", count, "--seed", 5, "--out", out)[0] == 0
    for i in range(2):
        few, many = (np.asarray(Image.open(f"{folder}/{i:06d}.png")) for folder in ("few", "many"))
        assert (few == many).all()
    other = np.asarray(Image.open("many/000039.png"))
    assert (other != many).any()


def test_interpolation_is_a_sheet(pentimento, models):
    code, *_ = pentimento("generate", models / "digits-gan", "--count", 3, "--interpolate", 5, "--out", "walk.png")
    assert code == 0
    assert Image.open("walk.png").size == (5 * 10 + 2, 3 * 10 + 2)


def test_models_lists_and_tells(pentimento, models):
    code, out, _ = pentimento("models", "--json")
    listed = json.loads(out)
    assert code == 0
    assert {"gan", "vae", "classifier"} <= listed["families"].keys()
    assert "digits-gan" in listed["recipes"]
    for name, expected in (
        ("gan", "backbone"),
        ("digits-gan", "[training]"),
        (models / "digits-gan", "Handwritten digits"),
    ):
        code, out, _ = pentimento("models", name)
        assert code == 0
        assert expected in out


def test_folds(pentimento):
    code, out, _ = pentimento(
        "train", "digits-classifier", "--data", "digits", "--folds", 2, "--out", "cv", *TINY, "--json"
    )
    assert code == 0
    assert set(json.loads(out)["deviations"]) == {"validation/loss", "validation/accuracy"}


def test_help_says_what_each_option_does():
    out = subprocess.run(
        [sys.executable, "-m", "pentimento", "train", "--help"], capture_output=True, text=True, check=True
    )
    for option in (
        "--data",
        "--second",
        "--out",
        "--set",
        "--resume",
        "--init",
        "--folds",
        "--overwrite",
        "--skip-broken",
    ):
        assert option in out.stdout
    assert "progress" not in out.stdout.lower().replace("in progress", "")


# ------------------------------------------------------------------------------------------------- bad input
def one_line(err):
    lines = [line for line in err.splitlines() if line.startswith("pentimento: ")]
    assert len(lines) == 1
    assert "Traceback" not in err
    return lines[0]


def folder_of_text(root):
    (root / "data").mkdir()
    (root / "data" / "notes.txt").write_text("no picture")


def one_truncated(root):
    for i in range(20):
        picture(root / "data" / f"{i}.jpg", seed=i)
    whole = (root / "data" / "7.jpg").read_bytes()
    (root / "data" / "7.jpg").write_bytes(whole[: len(whole) // 2])


def one_bomb(root):
    picture(root / "data" / "good.png")
    bomb(root / "data" / "bomb.png")


def mixed_sizes(root):
    for i in range(4):
        picture(root / "data" / f"{i}.png", 10 + i, 12)


@pytest.mark.parametrize(
    ("prepare", "arguments", "message"),
    [
        (lambda root: (root / "data").mkdir(), [], "data"),
        (folder_of_text, [], "picture"),
        (one_truncated, [], "7.jpg"),
        (one_bomb, [], "bomb.png"),
        (mixed_sizes, [], "data.size_px"),
        (lambda root: None, ["--data", "nowhere/at/all"], "nowhere"),
        (lambda root: None, [], "data"),
    ],
    ids=["empty", "text files", "truncated", "bomb", "mixed sizes", "no such path", "no such folder"],
)
def test_bad_data(pentimento, tmp_path, prepare, arguments, message):
    prepare(tmp_path)
    data = arguments or ["--data", "data"]
    code, out, err = pentimento("train", "digits-vae", *data, *TINY)
    assert code == 2
    assert message in one_line(err)
    assert out == ""
    assert not Path("runs").exists()


def test_skip_broken_goes_on_without_them(pentimento, tmp_path):
    one_truncated(tmp_path)
    code, _, err = pentimento("train", "digits-vae", "--data", "data", "--skip-broken", *TINY)
    assert code == 0, err
    assert "7.jpg" in err
    assert "going on without validation" in err  # 19 pictures, a twentieth of which may be none
    assert json.loads(Path("runs/digits-vae-data/run.json").read_text())["data_count"] == 19


def test_pictures_of_one_pixel(pentimento, tmp_path):
    for i in range(8):
        picture(tmp_path / "data" / f"{i}.png", 1, 1, seed=i)
    for recipe in ("digits-vae", "digits-gan"):
        code, _, err = pentimento("train", recipe, "--data", "data", *TINY)
        assert code == 0, err
        assert pentimento("generate", f"runs/{recipe}-data", "--count", 2, "--out", f"{recipe}.png")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "digts-gan", "--data", "digits"], "did you mean 'digits-gan'"),
        (["train", "digits-gan", "--data", "digits", "--set", "family=gn"], "did you mean 'gan'"),
        (["train", "digits-gan", "--data", "digits", "--set", "model.bakbone=mlp"], "did you mean 'backbone'"),
        (["train", "digits-gan", "--data", "digits", "--set", "model.backbone=dcgn"], "did you mean 'dcgan'"),
        (["train", "digits-gan", "--data", "digits", "--set", "training.batch_size=none"], "training.batch_size"),
        (
            ["train", "digits-gan", "--data", "digits", "--set", "model.conditional=true", "--set", "data.split=test"],
            "split",
        ),
        (["train", "digits-gan"], "--data"),
        (["train", "digits-gan", "--data", "digits", "--init", "nothing-here"], "nothing-here"),
        (["train", "nothing-here", "--resume"], "nothing-here"),
        (["train", "digits-gan", "--data", "digits", "--folds", "3"], "no validation loss"),
        (["train", "digits-gan", "--data", "digits", "--set", "training.device=cudda"], "device"),
        (["train", "digits-gan", "--data", "digits", "--datta", "x"], "datta"),
        (["train", "digits-gan", "--data", "digits", "--set", "players.generator.lrr=1"], "did you mean 'lr'"),
        (["train", "digits-gan", "--data", "digits", "--set", "training.total_kimg=inf"], "training.total_kimg"),
        (["generate", "nothing-here", "--out", "x.png"], "neither a folder nor a model"),
        (["inspect", "nothing.png"], "nothing.png"),
        (["models", "ga"], "did you mean 'gan'"),
        (["trian"], "trian"),
    ],
    ids=lambda a: " ".join(a)[:60] if isinstance(a, list) else "",
)
def test_wrong_usage(pentimento, arguments, message):
    code, out, err = pentimento(*arguments)
    assert code == 2
    assert message in one_line(err)
    assert out == ""
    assert not any(Path().iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--label", "11", "--out", "x.png"], "unknown class '11'"),
        (["--attribute", "slant=1", "--out", "x.png"], "unknown name 'slant'"),
        (["--attribute", "slant", "--out", "x.png"], "NAME=VALUE"),
        (["--count", "0", "--out", "x.png"], "--count: 1 or more"),
        (["--truncation", "0", "--out", "x.png"], "truncation: must be above 0"),
        (["--interpolate", "1", "--out", "x.png"], "2 steps or more"),
        (["--interpolate", "4", "--out", "folder"], "--interpolate: makes one sheet"),
        (["--seed", "-1", "--out", "x.png"], "--seed: 0 or more"),
        (["--out", "x.gif"], "--out: cannot write .gif"),
        (["--out", "x.bmp.png/y.png/z"], "x.bmp.png"),
    ],
    ids=lambda a: " ".join(a) if isinstance(a, list) else "",
)
def test_wrong_wishes(pentimento, models, tmp_path, arguments, message):
    (tmp_path / "x.bmp.png").write_text("a file where a folder is wanted")
    code, _, err = pentimento("generate", models / "digits-gan", *arguments)
    assert code in (1, 2)
    assert message in one_line(err)
    assert [p.name for p in tmp_path.iterdir()] == ["x.bmp.png"]


def test_a_classifier_cannot_generate(pentimento, models):
    code, _, err = pentimento("generate", models / "digits-classifier", "--label", "3", "--out", "x.png")
    assert code == 2
    assert "families that can: gan, vae" in one_line(err)


def test_nothing_is_overwritten_unasked(pentimento, models, tmp_path):
    for out in ("sheet.png", "folder"):
        generate = ["generate", models / "digits-gan", "--count", 2, "--out", out]
        assert pentimento(*generate)[0] == 0
        code, _, err = pentimento(*generate)
        assert code == 2
        assert "--overwrite" in one_line(err)
        assert pentimento(*generate, "--overwrite")[0] == 0
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("keep")
    code, _, err = pentimento("generate", models / "digits-gan", "--out", "letters", "--overwrite")
    assert code == 2
    assert "was not generated" in one_line(err)
    assert (tmp_path / "letters" / "dear.txt").read_text() == "keep"
    picture(tmp_path / "mine" / "0.png")  # the user's own data set, with the names we give
    (tmp_path / "mine" / "metadata.csv").write_text("file_name\n0.png\n")
    assert pentimento("generate", models / "digits-gan", "--out", "mine", "--overwrite")[0] == 2
    assert (tmp_path / "mine" / "0.png").is_file()


def test_errors_as_json(pentimento):
    code, out, _ = pentimento("inspect", "nothing.png", "--json")
    assert code == 2
    assert json.loads(out)["error"]["type"] == "NotFoundError"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("restore", "a.png", "--noise", "much"), "--noise: a number expected, got 'much'"),
        (("restore", "a.png", "--passes", "many"), "--passes: a whole number expected, got 'many'"),
        (("restore", "a.png", "--passes", "2.9"), "--passes: a whole number expected, got '2.9'"),
        (("restore", "a.png", "--scale=2.5"), "--scale: a whole number expected, got '2.5'"),
        (("stylize", "a.png", "b.png", "--size", "1e3"), "--size: a whole number expected, got '1e3'"),
        (("stylize", "a.png", "b.png", "--strength", "atuo"), "--strength: a number or auto expected, got 'atuo'"),
        (("stylize", "a.png", "b.png", "--weights", "1", "half"), "--weights: a number expected, got 'half'"),
        (("stylize", "a.png", "b.png", "--colours", "luminence"), 'Did you mean "luminance"?'),
    ],
)
def test_what_is_no_number_is_told_in_words(pentimento, arguments, said):
    code, _, err = pentimento(*arguments, "--out", "o.png")
    assert code == 2
    assert said in one_line(err)


@pytest.mark.parametrize("verb", [["train"], ["restore"], ["explain", "effects"]])
def test_every_help_names_what_all_commands_take(pentimento, verb):
    code, out, _ = pentimento(*verb, "--help")
    assert code == 0
    assert "--json" in out
    assert "--debug" in out


def test_json_has_what_is_told_on_the_way(pentimento, tmp_path):
    picture(tmp_path / "in.png")
    code, out, err = pentimento("restore", "in.png", "--model", "denoise", "--out", "o.jpg", "--json")
    assert (code, err) == (0, "")
    licence, lossy = json.loads(out)["notes"]
    assert "denoise was trained on data for research use" in licence
    assert "JPEG loses a little everywhere" in lossy


def test_a_licence_is_not_told_beside_an_error(pentimento, tmp_path):
    picture(tmp_path / "in.png")
    code, _, err = pentimento("restore", "in.png", "--model", "denoise", "--quality", 50, "--out", "o.png")
    assert code == 2
    assert err.splitlines() == [one_line(err)]
    code, _, err = pentimento("restore", "in.png", "--model", "denoise", "--out", "o.jpg")
    assert code == 0
    assert err.count("denoise was trained on data for research use") == 1
    assert err.count("JPEG loses a little") == 1


def test_ctrl_c_while_packing_leaves_nothing_behind(pentimento, tmp_path, monkeypatch):
    from pentimento.data import packed

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    for i in range(4):
        picture(tmp_path / "data" / f"{i}.png", seed=i)
    monkeypatch.setattr(packed, "decode", interrupted, raising=True)
    code, _, err = pentimento("train", "digits-vae", "--data", "data", *TINY)
    assert code == 130
    assert "interrupted" in one_line(err)
    assert not Path("runs").exists()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert pentimento("train", "digits-vae", "--data", "data", *TINY)[0] == 0


def test_standard_output_closed_early():
    """``pentimento models | head -0`` is no error worth a word."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "pentimento", "models", "gan"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert "Traceback" not in done.stderr


def test_a_model_of_research_data_says_so_once(pentimento, models, tmp_path):
    shutil.copytree(models / "digits-gan", "mine")
    card = Path("mine/model/README.md")
    lines = card.read_text().splitlines()
    restricted = "| licence of the training data | research use (photographs) |"
    changed = [restricted if "| licence of" in line else line for line in lines]
    card.write_text("\n".join(changed))
    code, _, err = pentimento("generate", "mine", "--count", 1, "--out", "one.png")
    assert code == 0
    assert err.count("mine was trained on data for research use (photographs): mind that") == 1
    code, _, err = pentimento("generate", models / "digits-gan", "--count", 1, "--out", "two.png")
    assert "licence" not in err


def test_a_bar_follows_the_number_of_tiles_from_file_to_file():
    with cli.Display(quiet=True) as display:
        for total in (12, 3):
            for done in range(1, total + 1):
                display(Progress("restore", done, total, "tiles"))
        (task,) = display.bars.tasks
        assert (task.completed, task.total, task.finished) == (3, 3, True)
