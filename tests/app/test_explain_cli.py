"""`pentimento explain`, as a user types it, on the GAN that ships."""

from __future__ import annotations

import json
import re

import pytest
from PIL import Image

from pentimento.app import cli

MODEL = "mnist-gan"


@pytest.fixture
def explain(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = cli.run(["explain", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_effects_with_intervals_refutations_and_a_page(explain, tmp_path):
    asked = ("--do", "label=1", "--do", "latent[0]=-2,0,2", "--outcome", "brightness", "--count", 64)
    code, out, err = explain("effects", MODEL, *asked, "--out", "report.html")
    assert code == 0, err
    assert re.search(r"do\(label=1\)\s+brightness", out)
    study = json.loads((tmp_path / "report.json").read_text())
    label = study["effects"][0]
    assert label["value"] < 0 and label["high"] < 0  # a one has less ink than other digits
    assert label["found"] and {r["name"] for r in label["refutations"]} >= {"dummy outcome", "stable", "on manifold"}
    assert len(study["effects"]) == 4
    assert study["correction"] == "Benjamini-Hochberg over 4 effects"
    assert study["model_hash"]
    page = (tmp_path / "report.html").read_text()
    assert "do(label=1)" in page and "Over doses" in page and page.count("<img") == 2
    assert "src='http" not in page and 'href="http' not in page


def test_json_says_the_same(explain):
    code, out, _ = explain("effects", MODEL, "--do", "label=1", "--count", 64, "--no-refute", "--json")
    assert code == 0
    (effect,) = json.loads(out)["report"]["effects"]
    assert effect["intervention"] == "do(label=1)" and effect["refutations"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([MODEL, "--do", "lable=1"], "no 'lable'; did you mean 'label'"),
        ([MODEL, "--do", "up1[99]=0"], "up1 has 32 units, 0 to 31"),
        ([MODEL, "--do", "label=1", "--outcome", "brightnes"], "did you mean 'brightness'"),
        ([MODEL, "--do", "label=1", "--count", 5], "--count: an interval needs 30 samples or more, got 5"),
        ([MODEL, "--do", "label=1", "--level", 2], "--level: between 0 and 1"),
        ([MODEL, "--do", "label=1", "--label", 2], "--label: is what --do sets"),
        ([MODEL, "--do", "latent[0]=a,b"], "several values are different numbers"),
        ([MODEL, "--do", "label=1", "--outcome", "saturation"], "is 0 for every picture"),
        (["denoise", "--do", "label=1"], "families that can: "),
        ([MODEL, "--do", "label=1", "--do", "label=3", "--together"], "label is set twice"),
        ([MODEL, "--do", "label=1", "--against", "label=3,4"], "--against: one value each"),
        ([MODEL, "--do", "latent[0]=1", "--against", "label=3", "--by-label"], "changes the label itself"),
        (
            [MODEL, "--do", "latent[0]=1", "--do", "latent[1]=1", "--against", "label=3", "--together"],
            "leave --against",
        ),
        ([MODEL, "--do", "latent[0]=0,1", "--do", "latent[0]=2,3"], "doses of latent[0] are asked for twice"),
        ([MODEL, "--do", "latent[0]=1", "--half-width", "0.1", "--by-label"], "leave --by-label out"),
        ([MODEL], "--do: nothing to set"),
    ],
)
def test_bad_questions(explain, arguments, message):
    code, out, err = explain("effects", *arguments)
    assert code == 2
    assert message in " ".join(err.split())
    assert out == ""


def test_far_values_are_warned_of(explain):
    code, _, err = explain("effects", MODEL, "--do", "latent[0]=9", "--count", 40, "--no-refute")
    assert code == 0
    assert "latent[0]=9: 6 beyond the 3 standard deviations that are usual" in " ".join(err.split())


def test_a_report_is_not_overwritten(explain, tmp_path):
    (tmp_path / "report.json").write_text("mine")
    code, _, err = explain("effects", MODEL, "--do", "label=1", "--out", "report.json")
    assert code == 2 and "report.json: exists" in err
    assert (tmp_path / "report.json").read_text() == "mine"


def test_a_set_in_generate(explain, tmp_path, capsys):
    (tmp_path / "set.json").write_text('{"do": [{"target": "up1", "units": [3], "value": 0.0, "shift": false}]}')
    assert cli.run(["generate", MODEL, "--do", "@set.json", "--count", "4", "--out", "changed.png"]) == 0
    assert cli.run(["generate", MODEL, "--do", "up1[3]=0", "--count", "4", "--out", "same.png"]) == 0
    with Image.open(tmp_path / "changed.png") as changed, Image.open(tmp_path / "same.png") as same:
        assert changed.tobytes() == same.tobytes()  # the files differ in the moment of their record
    assert cli.run(["generate", MODEL, "--do", "up1[3]=0", "--interpolate", "3", "--out", "never.png"]) == 2


# --------------------------------------------------------------------------------------------------- dissect
def test_dissect_finds_a_set_that_generate_takes(explain, tmp_path):
    asked = ("--stage", "up1", "--outcome", "brightness", "--outcome", "symmetry", "--count", 64, "--no-refute")
    aimed = ("--control", "brightness", "--change", 0.02, "--keep", "symmetry", "--within", 0.2)
    code, _, err = explain("dissect", MODEL, *asked, *aimed, "--save", "set.json", "--out", "report.html")
    assert code == 0, err
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["effects"]) == 2 * 32
    found = report["control"]["study"]["effects"][0]
    assert report["control"]["reached"] and found["outcome"] == "brightness" and found["value"] > 0.01
    assert report["control"]["study"]["seed"] != report["seed"]
    sizes = [abs(effect["standardized"]) for effect in report["effects"]]
    assert sizes == sorted(sizes, reverse=True)
    page = (tmp_path / "report.html").read_text()
    assert "what excites it most" in page
    found = sum(effect["found"] for effect in report["effects"])
    assert f"{found} of 64 effects found" in page  # those of units alone
    assert "of 2 effects found" in page.partition("<h2>Effects</h2>")[0]  # those of the set
    assert cli.run(["generate", MODEL, "--do", "@set.json", "--count", "4", "--out", "brighter.png"]) == 0


def test_dissect_tells_whether_pictures_stay_as_good(explain, tmp_path):
    assert cli.run(["generate", MODEL, "--count", "140", "--seed", "5", "--out", "real"]) == 0
    asked = ("--stage", "up1", "--no-refute", "--control", "brightness", "--change", 0.01, "--data", "real")
    code, out, err = explain("dissect", MODEL, *asked, "--count", 140, "--out", "report.html")
    assert code == 0, err
    frechet = json.loads((tmp_path / "report.json").read_text())["control"]["frechet"]
    assert frechet["without"]["protocol"]["reference"] == "real"
    change = frechet["with"]["estimate"]["value"] - frechet["without"]["estimate"]["value"]
    assert frechet["change"]["value"] == pytest.approx(change)
    assert frechet["change"]["low"] < frechet["change"]["high"]
    for told in (" ".join(out.split()), (tmp_path / "report.html").read_text()):
        assert "Frechet distance to real (features-cifar)" in told
    code, _, err = explain("dissect", MODEL, *asked, "--count", 60)
    assert code == 2 and "60 pictures are too few for a Frechet distance of 128 features" in " ".join(err.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "digits"], "--data: is what pictures with a set are held against; name what the set is to"),
        (["--features", "inception"], "--features: is of the distance to --data"),
        (["--data", "nothing-here", "--control", "brightness", "--change", 1], "nothing-here"),
        (["--stage", "up2"], "--stage: no stage 'up2' with units; did you mean 'up1'"),
        (["--value", "none"], "--value: a number or mean expected, got 'none'"),
        (["--control", "brightness"], "--control: goes with --change"),
        (["--save", "set.json"], "are of a set; name what it is to --control"),
        (["--count", 3], "30 samples or more"),
        (
            ["--stage", "up1", "--count", 40, "--no-refute", "--control", "slant", "--change", 1],
            "'slant' is not measured; add --outcome slant",
        ),
        (["--stage", "up1", "--count", 40, "--no-refute", "--control", "brightness", "--change", 0], "--change: above"),
    ],
)
def test_bad_dissections(explain, arguments, message):
    code, _, err = explain("dissect", MODEL, *arguments)
    assert code == 2
    assert message in " ".join(err.split())


@pytest.mark.parametrize(("model", "classes"), [(MODEL, ("1", "7")), ("cifar-gan", ("dog", "deer"))])
def test_classes_are_no_doses(explain, model, classes):
    code, out, err = explain(
        "effects", model, "--do", f"label={','.join(classes)}", "--count", 40, "--no-refute", "--json"
    )
    assert code == 0, err
    assert [e["intervention"] for e in json.loads(out)["report"]["effects"]] == [f"do(label={c})" for c in classes]


def test_what_is_held_and_what_a_label_is_without(explain):
    _, out, _ = explain(
        "effects", MODEL, "--do", "latent[0]=1", "--against", "label=3", "--count", 40, "--no-refute", "--json"
    )
    assert json.loads(out)["report"]["effects"][0]["held_fixed"] == ["noise"]
    _, out, _ = explain("effects", MODEL, "--do", "latent[0]=1", "--by-label", "--count", 60, "--no-refute", "--json")
    whole, *labels = json.loads(out)["report"]["effects"]
    assert whole["held_fixed"] == ["noise", "label"]
    assert len({e["baseline"] for e in labels}) == 10


def test_pictures_made_with_a_label_are_recorded_so(explain, tmp_path):
    assert cli.run(["generate", MODEL, "--do", "label=1", "--count", "3", "--out", "ones"]) == 0
    rows = (tmp_path / "ones" / "metadata.csv").read_text().splitlines()[1:]
    assert [row.split(",")[1] for row in rows] == ["1", "1", "1"]
