"""`pentimento train` of a recipe with edges, and `pentimento explain counterfactual`, as a user types them."""

from __future__ import annotations

import dataclasses
import json
import signal

import pytest
import torch
from PIL import Image

from pentimento import images, load
from pentimento.api.counterfactuals import _measured
from pentimento.app import cli
from pentimento.causal.scm import StructuralModel
from pentimento.data.shapes import render, sample_factors
from pentimento.models import build, save
from pentimento.training import loop

RECIPE = """
family = "vae"
edges = ["shape -> background", "shape -> image", "background -> image", "x -> image"]
[model]
backbone = "mlp"
width = 4
latent_dim = 4
[data]
size_px = [12, 12]
[training]
total_kimg = 0.16
batch_size = 16
device = "cpu"
precision = "fp32"
"""
DATA = "shapes:120"


def typed(capsys, *arguments):
    capsys.readouterr()
    code = cli.run(list(map(str, arguments)))
    out, err = capsys.readouterr()
    return code, out, " ".join(err.split())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scm")
    (folder / "tiny.toml").write_text(RECIPE)
    assert cli.run(["train", str(folder / "tiny.toml"), "--data", DATA, "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def ask(capsys, tmp_path, monkeypatch, trained):
    """Asks of one.png, 40x30, beside which a metadata.csv lies."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    factors = sample_factors(3, 9)
    Image.fromarray(render(factors, 40)[5:35]).save(tmp_path / "one.png")
    row = dataclasses.asdict(factors)
    header, values = ",".join(row), ",".join(map(str, row.values()))
    (tmp_path / "metadata.csv").write_text(f"file_name,{header}\none.png,{values}\n")
    return lambda *arguments: typed(capsys, "explain", "counterfactual", trained, "one.png", *arguments)


def test_mechanisms_lie_beside_the_model(trained):
    fitted = StructuralModel.load(trained / "model")
    assert fitted.graph.edges == (("shape", "background"),) and set(fitted.graph.nodes) == {"shape", "background", "x"}
    assert fitted.count < 120  # of the pictures to train on
    config = json.loads((trained / "model" / "config.json").read_text())["config"]
    assert config["attributes"] == ["shape", "background", "x"] and not config["conditional"]
    card = (trained / "model" / "README.md").read_text()
    assert card.count("## Causes") == 1 and "`shape -> background`" in card and "- background: logistic (CRPS" in card
    assert "shape _||_ x: holds" in card


def test_a_run_that_is_stopped_and_resumed_has_them_too(trained, capsys, tmp_path, monkeypatch):
    before = loop.Trainer._move

    def stop(self, mover, tick, parts):
        before(self, mover, tick, parts)
        if tick == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(loop.Trainer, "_move", stop)
    recipe, run = trained.parent / "tiny.toml", tmp_path / "run"
    code, _, _ = typed(capsys, "train", recipe, "--data", DATA, "--out", run)
    assert code == 130
    wanted = (trained / "model" / "scm.json").read_bytes()
    assert (run / "model" / "scm.json").read_bytes() == wanted
    (run / "model" / "scm.json").unlink()
    monkeypatch.setattr(loop.Trainer, "_move", before)
    code, out, err = typed(capsys, "train", run, "--resume", "--json")
    assert code == 0, err
    assert any("shape _||_ x" in line for line in json.loads(out)["findings"])
    for name in ("scm.json", "scm.safetensors", "model.safetensors"):
        assert (run / "model" / name).read_bytes() == (trained / "model" / name).read_bytes()
    assert (run / "model" / "README.md").read_text().count("## Causes") == 1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('edges=["x -> y", "y -> x", "x -> image"]', "graph: a cycle, x -> y -> x"),
        ('edges=["shpe -> image"]', "no column for the node 'shpe'; did you mean 'shape'"),
        ('model.attributes=["x"]', "model.attributes: follows from edges"),
    ],
)
def test_recipes_are_refused_before_anything_is_written(trained, capsys, tmp_path, setting, message):
    recipe, run = trained.parent / "tiny.toml", tmp_path / "run"
    code, _, err = typed(capsys, "train", recipe, "--data", DATA, "--out", run, "--set", setting)
    assert code == 2 and message in err and not run.exists()


def test_a_picture_a_file_and_a_page(ask, tmp_path):
    asked = ("--do", "shape=star", "--do", "x=0.5", "--traverse", "x=0.4,0.6", "--out", "what-if")
    code, out, err = ask(*asked)
    assert code == 0, err
    assert "What would this picture have been, had shape = star, x = 0.5?" in out and "written: what-if.png" in out
    assert "one.png is 40x30 px, brought to the model's 12x12" in err
    report = json.loads((tmp_path / "what-if.json").read_text())
    assert report["do"] == {"shape": "star", "x": 0.5} and report["sources"]["background"] == "metadata"
    assert report["factual"]["shape"] == sample_factors(3, 9).shape and report["counterfactual"]["shape"] == "star"
    assert len(report["abducted"]["latent"]) == 4 and "misses" in " ".join(report["warnings"])
    about = images.describe(tmp_path / "what-if.png")
    assert (about["width_px"], about["height_px"]) == (12, 12)
    assert about["provenance"]["verb"] == "explain counterfactual"
    assert about["provenance"]["options"]["do"] == {"shape": "star", "x": 0.5}
    page = (tmp_path / "what-if.html").read_text()
    titles = ("The pictures", "The attributes", "What if, step by step", "The graph", "shape acts on image")
    assert all(title in page for title in titles) and "src='http" not in page and 'href="http' not in page
    code, _, err = ask(*asked)
    assert code == 2 and "what-if.json: exists" in err
    assert ask(*asked, "--overwrite")[0] == 0


def test_what_is_given_goes_before_metadata(ask, tmp_path):
    given = ("--attribute", "shape=square", "--do", "x=3", "--json")
    report = json.loads(ask(*given)[1])["report"]
    assert report["factual"]["shape"] == "square" and report["sources"]["shape"] == "given"
    assert "x=3: " in report["warnings"][0] and "outside what was seen" in report["warnings"][0]
    held = json.loads(ask("--do", "shape=star", "--hold", "background", "--json")[1])["report"]
    assert held["hold"] == ["background"] and held["follows"] == []
    assert held["counterfactual"]["background"] == held["factual"]["background"]
    (tmp_path / "metadata.csv").unlink()
    code, _, err = ask(*given)
    assert code == 2 and "nobody says background (checks, gradient, plain, stripes); x (0.3" in err
    assert "of this picture; give --attribute NAME=VALUE for each" in err


def test_what_can_be_measured_is_measured():
    bar = torch.zeros(1, 1, 28, 28)
    bar[..., 6:22, 12:16] = 1
    assert _measured("thickness", bar) == pytest.approx(4, abs=0.7) and _measured("intensity", bar) == 255
    assert _measured("hue", bar) is None and _measured("thickness", bar.expand(-1, 3, -1, -1)) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--do: nothing to set"),
        (("--do", "shpe=star"), "--do: the model has no attribute 'shpe'; did you mean 'shape'"),
        (("--do", "shape=starr"), "--do shape: no category 'starr'; did you mean 'star'"),
        (("--do", "x=left"), "--do x: a number, 0.3"),
        (("--do", "x"), "--do: NAME=VALUE expected"),
        (("--do", "x=0.5", "--do", "x=0.6"), "--do: x is given twice"),
        (("--do", "x=0.5", "--hold", "x"), "--hold: x is what --do sets"),
        (("--do", "x=0.5", "--traverse", "x=1,a"), "--traverse x: a number"),
        (("--do", "x=0.5", "--attribute", "y=1"), "--attribute: the model has no attribute 'y'"),
        (("--do", "x=0.5", "--data", "nowhere"), "--data: no metadata.csv or metadata.jsonl in nowhere"),
        (("--do", "x=0.5", "--seed", "-1"), "--seed: 0 or more"),
        (("--do", "x=0.5", "--out", "a.gif"), "--out: a name that ends in .png, .json or .html"),
    ],
)
def test_bad_questions(ask, arguments, message):
    code, out, err = ask(*arguments)
    assert code == 2 and out == "" and message in err


def test_models_and_pictures_that_do_not_serve(ask, capsys, trained):
    assert ask("--do", "x=0.5")[0] == 0
    code, _, err = typed(capsys, "explain", "counterfactual", "mnist-vae", "one.png", "--do", "label=3")
    assert code == 2 and "mnist-vae: no scm.json beside the weights" in err and "scm-shapes" in err
    code, _, err = typed(capsys, "explain", "counterfactual", trained, "none.png", "--do", "x=0.5")
    assert code == 2 and "none.png: no such file" in err


# ------------------------------------------------------------------------------------------------- scorecards
def test_a_scorecard(trained, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ("explain", "scorecard", trained, "--data", DATA, "--count", 24)
    code, out, err = typed(capsys, *asked, "--out", "card", "--json")
    assert code == 0, err
    report = json.loads((tmp_path / "card.json").read_text())
    assert json.loads(out)["report"]["scores"] == report["scores"] and report["count"] == 24
    kinds = {(s["kind"], s["intervention"]) for s in report["scores"]}
    assert {("reversibility", name) for name in ("shape", "background", "x")} < kinds
    assert "Nothing measures shape, background, x: give a --judge" in (tmp_path / "card.html").read_text()
    spec = load(trained).spec
    save(build("classifier", {"spec": spec, "width": 2, "attributes": ["x", "shape"]}), tmp_path / "judge", "# card\n")
    code, out, err = typed(capsys, *asked, "--judge", "judge", "--json")
    assert code == 0, err
    found = {(s["kind"], s["intervention"], s["measure"]): s for s in json.loads(out)["report"]["scores"]}
    assert found["effectiveness", "shape", "shape by judge:judge"]["unit"] == "share that agrees"
    assert ("minimality", "shape", "x by judge:judge") in found and ("effectiveness", "x", "x by judge:judge") in found
    small = spec.model_copy(update={"height_px": 8})
    save(build("classifier", {"spec": small, "width": 2}), tmp_path / "small", "# card\n")
    code, _, err = typed(capsys, *asked, "--judge", "small")
    assert code == 2 and "judge:small: looks at pictures of 12x8 px, and these are 12x12" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", DATA, "--count", "5"), "--count: 20 pictures or more expected, for intervals over them, got 5"),
        (("--data", "digits"), "--data: digits does not tell 'shape' of its pictures"),
        (("--data", DATA, "--judge", "mnist-vae"), "judge: a 'vae' model cannot do this"),
        (("--data", DATA, "--seed", "-1"), "--seed: 0 or more"),
    ],
)
def test_bad_scorecards(trained, capsys, arguments, message):
    code, out, err = typed(capsys, "explain", "scorecard", trained, *arguments)
    assert code == 2 and out == "" and message in err
