"""`pentimento explain debias`, as a user types it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from pentimento import images
from pentimento.app import cli
from pentimento.model import DataSpec
from pentimento.models import build, load, save

CLASSES = ("fox", "owl")
SPEC = DataSpec(channels=3, height_px=8, width_px=8, classes=CLASSES)
SMALL = {"--count": 8, "--kimg": 0.064, "--device": "cpu"}


def typed(capsys, *arguments):
    capsys.readouterr()
    code = cli.run(["explain", "debias", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, " ".join(err.split())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the models ``cgn`` and ``gan`` and the pictures ``own``."""
    folder = tmp_path_factory.mktemp("debias")
    torch.manual_seed(0)
    for name in ("cgn", "gan"):
        model = build(name, {"spec": SPEC, "conditional": True, "width": 2, "latent_dim": 3})
        save(model, folder / name, card="# card\n")
    generator = np.random.default_rng(0)
    for label in CLASSES:
        (folder / "own" / label).mkdir(parents=True)
        for number in range(10):
            pixels = generator.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "own" / label / f"{number}.png")
    return folder


@pytest.fixture
def ask(capsys, tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*more, model="cgn"):
        options = {name: value for name, value in SMALL.items() if name not in more}
        known = ("--data", place / "own", "--model", place / model, "--out", "study")
        return typed(capsys, *known, *(each for pair in options.items() for each in pair), *more)

    return run


def test_a_folder_is_written_that_can_be_learned_from(ask, tmp_path):
    code, out, err = ask()
    assert code == 0, err
    assert "nothing randomized" in out
    assert "for lack of --test with factors" in " ".join(out.split())
    study = tmp_path / "study"
    assert sorted(p.name for p in study.iterdir()) == ["classifiers", "counterfactual", "report.html", "report.json"]
    with (study / "counterfactual" / "metadata.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["file_name", "label", "foreground", "background"]
    assert [row["label"] for row in rows] == ["fox", "owl"] * 4
    told = images.describe(study / "counterfactual" / rows[3]["file_name"])["provenance"]["options"]
    assert (told["shape"], told["foreground"]) == (rows[3]["label"], rows[3]["foreground"])
    assert load(study / "classifiers" / "both").spec.classes == CLASSES
    report = json.loads((study / "report.json").read_text())
    assert [s["test"] for s in report["scores"][::3]] == [
        "nothing randomized",
        "foreground randomized",
        "background randomized",
        "all randomized",
    ]
    page = (study / "report.html").read_text()
    assert "mask, foreground, background, and the picture they make" in page
    assert "<script" not in page


def test_pictures_of_one_s_own_to_ask_about(ask, tmp_path):
    (tmp_path / "asked").mkdir()
    lines = ["file_name,label,foreground"]
    for number, (label, foreground) in enumerate([("fox", "owl"), ("owl", "owl"), ("owl", "fox")]):
        Image.fromarray(np.full((8, 8, 3), 80 * number, np.uint8)).save(tmp_path / "asked" / f"{number}.png")
        lines.append(f"{number}.png,{label},{foreground}")
    (tmp_path / "asked" / "metadata.csv").write_text("\n".join(lines) + "\n")
    code, out, err = ask("--test", "asked", "--json")
    assert code == 0, out + err
    scores = json.loads(out)["report"]["scores"]
    assert [(s["test"], s["count"]) for s in scores[::3]] == [("nothing randomized", 1), ("foreground randomized", 3)]
    assert "whose metadata say the class of each factor" in json.loads(out)["legend"]
    (tmp_path / "asked" / "metadata.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines) + "\n")
    code, out, err = ask("--test", "asked", "--overwrite")
    assert code == 0
    assert "no column foreground or background" in err
    assert "pictures of --test" in out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--count", 1], "--count: 2 or more expected, got 1"),
        (["--kimg", 0], "--kimg: above 0 expected, got 0"),
        (["--seed", -1], "--seed: 0 or more expected, got -1"),
    ],
)
def test_options_out_of_range(ask, more, said):
    code, _, err = ask(*more)
    assert (code, said in err) == (2, True), err


def test_a_model_without_mechanisms(ask):
    code, _, err = ask(model="gan")
    assert code == 2
    assert err.endswith("explain debias: a 'gan' model cannot do this; families that can: cgn")


def test_what_stands_there_stays(ask, tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "mine.txt").write_text("mine")
    code, _, err = ask()
    assert (code, "study: exists; choose another --out, or --overwrite" in err) == (2, True)
    code, _, err = ask("--overwrite")
    assert (code, "was not written by explain debias" in err) == (2, True)
    assert (tmp_path / "study" / "mine.txt").read_text() == "mine"


def test_do_of_one_mechanism_in_generate_and_effects(place, tmp_path):
    generate = [
        "generate",
        str(place / "cgn"),
        "--count",
        "4",
        "--do",
        "foreground=owl",
        "--out",
        str(tmp_path / "made"),
    ]
    assert cli.run(generate) == 0
    with (tmp_path / "made" / "metadata.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(r["label"], r["shape"], r["foreground"]) for r in rows[:2]] == [
        ("fox", "fox", "owl"),
        ("owl", "owl", "owl"),
    ]
    effects = ["explain", "effects", str(place / "cgn"), "--do", "background=fox,owl", "--count", "64", "--no-refute"]
    assert cli.run(effects) == 0
