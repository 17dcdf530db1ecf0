"""`pentimento explain style`, as a user types it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from pentimento.app import cli
from pentimento.model import DataSpec
from pentimento.models import STYLES, build, load, save
from pentimento.tasks.styles import write_styles

SPEC = DataSpec(channels=3, height_px=16, width_px=16)
STYLIZER = {"widths": (8, 8), "blocks": (1, 1), "style_widths": (4, 4), "style_dim": 6}
QUICK = ("--size", 48, "--strength", 0, 0.5, 1)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A stylizer that changes pictures visibly, at random, with five styles of its own; and a GAN."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    model = build("stylizer", {"spec": SPEC, **STYLIZER})
    for module in model.modules():
        if hasattr(module, "second"):
            module.second.reset_parameters()  # a block begins as the identity
    for module in model.decoder.modules():
        if hasattr(module, "affine"):
            module.affine.weight.data.mul_(5)
    save(model, folder / "painter", card="")
    vectors = {name: torch.randn(6, generator=torch.Generator().manual_seed(k)) for k, name in enumerate("vwxyz")}
    write_styles(folder / "painter" / STYLES, vectors, load(folder / "painter"))
    save(build("stylizer", {"spec": SPEC, **STYLIZER}), folder / "bare", card="")
    save(build("gan", {"spec": SPEC, "width": 4, "latent_dim": 4}), folder / "gan", card="")
    return folder


@pytest.fixture
def explain(capsys, tmp_path, monkeypatch, models):
    """Run the verb in a folder with five photos and five paintings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for kind, (height, width) in (("photos", (40, 48)), ("paintings", (32, 40))):
        (tmp_path / kind).mkdir()
        for k in range(5):
            draws = np.random.default_rng(k + 10 * (kind == "photos"))
            tint = draws.random(3) * 155 + 100
            pixels = draws.random((height // 4, width // 4, 1)).repeat(4, 0).repeat(4, 1) * tint
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / kind / f"{kind[0]}{k}.png")

    def run(*arguments, model="painter"):
        capsys.readouterr()
        code = cli.run(["explain", "style", *map(str, arguments), "--model", str(models / model)])
        out, err = capsys.readouterr()
        return code, out, " ".join(err.split())

    return run


def paintings(*names):
    return [word for name in names for word in ("--style", f"paintings/{name}.png")]


def test_a_report_of_paintings(explain, tmp_path):
    given = paintings(*(f"p{k}" for k in range(5)))
    code, out, err = explain("photos", *given, *QUICK, "--out", "report.html")
    assert code == 0, err
    assert "do(style=p0)" in out and "do(strength=1)" in out and "Of the variance of content-kept: " in out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["format"] == "pentimento study" and report["strengths"] == [0, 0.5, 1]
    assert (report["contents"], report["styles"]) == (5, [f"p{k}" for k in range(5)])
    assert {e["outcome"] for e in report["effects"]} >= {"content-kept", "style-reached", "brightness"}
    assert len(report["effects"]) == 5 * (5 + 2)
    assert report["model_hash"] and report["correction"] == "Benjamini-Hochberg over 35 effects"
    for shares in report["shares"].values():
        assert sum(share["value"] for share in shares) == pytest.approx(1)
    page = (tmp_path / "report.html").read_text()
    for title in ("What outcomes depend on", "Effects", "Over doses", "The same contents", "How it was measured"):
        assert f"<h2>{title}</h2>" in page
    assert page.count("<img") == 4 and "src='http" not in page and 'href="http' not in page


def test_the_styles_of_the_model_where_none_are_named(explain):
    code, out, err = explain("photos", *QUICK, "--outcome", "content-kept", "style-reached", "--json")
    assert code == 0, err
    report = json.loads(out)["report"]
    assert report["styles"] == list("vwxyz") and list(report["outcomes"]) == ["content-kept"]
    assert any(note.startswith("style-reached is left out") for note in report["notes"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photos/p0.png"], "contents: 5 pictures or more expected, for an interval over them, got 1"),
        (["photos", "--style", "v", "--style", "w"], "--style: 5 or more expected, for an interval over them, got 2"),
        (["photos", "--style", "v", "--style", "v"], "--style: 'v' is given twice; leave one away"),
        (["photos", "--style", "vv"], "style: 'vv' is neither a file nor a style of painter; did you mean 'v'?"),
        (["gone"], "gone: no such file"),
        (["photos", "tiny.png"], "contents: tiny.png: 8x8 px, seen 256 px long: at least 32 px along the shorter side"),
        (["photos", "text.png"], "text.png: not a PNG"),
        (["photos", "--size", 16], "--size: 32 to 4096 expected, got 16"),
        (["photos", "--strength", 0, 1.5], "--strength: 0 to 1 expected, got 1.5"),
        (["photos", "--strength", 0, 0.5, 0.5], "--strength: two or more different ones, with 0 among them"),
        (
            ["photos", "--strength", 0.5, 1],
            "--strength: two or more different ones, with 0 among them, expected, got 0.5",
        ),
        (["photos", "--strength", 0], "--strength: two or more different ones"),
        (["photos", "--outcome", "brightnes"], "--outcome: unknown name 'brightnes'; did you mean 'brightness'"),
        (["photos", "--level", 1], "--level: between 0 and 1 expected, got 1"),
        (["photos", "--seed", -1], "--seed: 0 or more expected, got -1"),
        (["photos", "--out", "there.html"], "there.html: exists; choose another --out, or --overwrite"),
    ],
)
def test_bad_questions(explain, arguments, message, tmp_path):
    Image.new("RGB", (8, 8)).save("tiny.png")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "there.html").write_text("mine")
    code, out, err = explain(*arguments)
    assert code == 2
    assert message in err
    assert out == "" and (tmp_path / "there.html").read_text() == "mine"


def test_models_that_cannot(explain):
    code, _, err = explain("photos", model="gan")
    assert code == 2 and "explain style: a 'gan' model cannot do this; families that can: stylizer" in err
    code, _, err = explain("photos", model="bare")
    assert code == 2 and "--style: 5 or more expected, for an interval over them, got 0" in err
