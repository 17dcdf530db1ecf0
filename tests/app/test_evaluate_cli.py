"""`pentimento evaluate` and `generate --mask` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pentimento.app import cli

TINY = ["--set", "training.total_kimg=0.064", "--set", "model.width=4", "--set", "training.sample_count=4"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A GAN, an autoregressive CNN and a classifier of the digits, hardly trained."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("digits-gan", "digits-cnn", "digits-classifier"):
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


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def noise(path, height=8, width=8, channels=(), seed=0):
    return write(path, np.random.default_rng(seed).integers(0, 256, (height, width, *channels), dtype=np.uint8))


def measured(document):
    return {metric["name"]: metric for metric in document["report"]["subjects"][0]["metrics"]}


# ------------------------------------------------------------------------------------------------ good input
def test_models_side_by_side(pentimento, models):
    judge = models / "digits-classifier"
    names = [models / "digits-gan", models / "digits-cnn"]
    common = ("--data", "digits", "--features", judge, "--classifier", judge, "--count", 300, "--scored", 100)
    code, out, err = pentimento("evaluate", *names, *common, "--out", "report.json", "--json")
    assert code == 0, err
    document = json.loads(out)
    gan, cnn = document["report"]["subjects"]
    assert [gan["name"], cnn["name"]] == ["digits-gan", "digits-cnn"]
    wanted = {"frechet", "kid", "precision", "recall", "density", "coverage", "label agreement", "modes", "diversity"}
    assert wanted <= measured(document).keys()
    assert "log_likelihood" in {m["name"] for m in cnn["metrics"]}
    frechet = measured(document)["frechet"]
    assert frechet["estimate"]["low"] < frechet["estimate"]["corrected"] < frechet["estimate"]["high"]
    assert frechet["protocol"]["extractor"] == "digits-classifier"
    assert frechet["protocol"]["reference_count"] == 1797
    assert {row["metric"] for row in document["report"]["differences"]} >= {"frechet", "precision"}
    assert json.loads(Path("report.json").read_text())["subjects"][0]["name"] == "digits-gan"
    page = Path("report.html").read_text()
    assert "://" not in page.replace("http://www.w3.org", "")
    assert "digits-cnn" in page
    code, out, _ = pentimento("evaluate", *names, *common, "--metrics", "precision-recall")
    assert code == 0
    assert "recall" in out
    assert "frechet" not in out


def test_reports_compare_only_where_the_protocol_is_the_same(pentimento, models):
    common = ("--data", "digits", "--features", models / "digits-classifier", "--metrics", "kid")
    for name, count in (("a", 200), ("b", 200), ("c", 150)):
        assert pentimento("evaluate", models / "digits-gan", *common, "--count", count, "--out", name)[0] == 0
    assert pentimento("evaluate", "a.json", "b.json")[0] == 0
    code, _, err = pentimento("evaluate", "a.json", "c.json")
    assert code == 2
    assert "different protocols: sample count 200 and 150" in err


def test_two_folders_pair_by_pair(pentimento, tmp_path):
    for i in range(4):
        noise(tmp_path / "made" / f"{i}.png", seed=i)
        noise(tmp_path / "real" / f"{i}.png", seed=i if i else 9)
    code, out, _ = pentimento(
        "evaluate", "made", "--data", "real", "--metrics", "fidelity", "--json", "--features", "x.onnx"
    )
    assert code == 2  # the network is asked for before anything is measured
    code, out, err = pentimento("evaluate", "made", "--data", "real", "--metrics", "fidelity", "--json")
    assert code == 0, err
    psnr = measured(json.loads(out))["PSNR"]["estimate"]["value"]
    assert 75 < psnr < 100  # three pairs are the same, at 100 dB each


def test_pairs_of_many_sizes_go_by_name_whatever_the_ending(pentimento, tmp_path):
    for i, height in enumerate((20, 30, 700)):
        noise(tmp_path / "made" / f"{i}.png", height, 25, seed=i)
        noise(tmp_path / "real" / f"{i}.bmp", height, 25, seed=i)
    code, out, err = pentimento("evaluate", "made", "--data", "real", "--metrics", "fidelity", "--json")
    assert code == 0, err
    assert measured(json.loads(out))["SSIM"]["estimate"]["value"] == pytest.approx(1)  # and none was scaled down
    noise(tmp_path / "real" / "more.png")
    code, _, err = pentimento("evaluate", "made", "--data", "real", "--metrics", "fidelity")
    assert code == 2
    assert "1 pictures have no partner, more for one" in err
    code, _, err = pentimento("evaluate", "made", "--data", "real", "--metrics", "diversity")
    assert code == 2
    assert "its pictures have different sizes; bring them to one" in err


def test_a_classifier_trained_on_real_digits_scores_well_and_one_on_noise_does_not(pentimento, tmp_path):
    """The classification accuracy score, with folders for models: real digits, and noise under their labels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for i, (image, label) in enumerate(zip(digits.images[:400], digits.target, strict=False)):
        write(tmp_path / "real" / str(label) / f"{i}.png", (image * 15).astype(np.uint8))
        noise(tmp_path / "noise" / str(label) / f"{i}.png", seed=i)
    scores = []
    for name in ("real", "noise"):
        code, out, err = pentimento("evaluate", name, "--data", "digits", "--metrics", "accuracy-score", "--json")
        assert code == 0, err
        scores.append(measured(json.loads(out))["accuracy-score"]["estimate"])
    assert scores[0]["low"] > 0.7
    assert scores[1]["high"] < 0.4


def test_a_blind_study_and_its_votes(pentimento, models):
    names = [models / "digits-gan", models / "digits-cnn"]
    code, out, err = pentimento("evaluate", *names, "--blind", "--count", 4, "--json")
    assert code == 0, err
    page, key = json.loads(out)["files"]
    assert "digits-gan" not in Path(page).read_text()
    document = json.loads(Path(key).read_text())
    votes = [
        {"pair": p["id"], "left": p["a"], "right": p["b"], "choice": "left", "repeat": False, "seconds": 1.0}
        for p in document["pairs"]
    ]
    ballot = {"format": "pentimento votes", "version": 1, "study": document["study"], "ballot": "b1", "voter": "me"}
    Path("votes.json").write_text(json.dumps({**ballot, "saved": "now", "planned": 4, "votes": votes}))
    code, out, err = pentimento("evaluate", "--votes", "votes.json", "--json")
    assert code == 0, err
    preference = json.loads(out)["preference"]
    assert (preference["wins_a"], preference["wins_b"]) == (4, 0)
    assert preference["share"]["low"] > 0.3


def test_a_part_of_a_picture_drawn_anew(pentimento, models, tmp_path):
    given = noise(tmp_path / "given.png")
    mask = np.zeros((8, 8), np.uint8)
    mask[5:] = 255
    write(tmp_path / "mask.png", mask)
    options = ("--image", given, "--mask", "mask.png", "--count", 3, "--label", "4")
    code, _, err = pentimento("generate", models / "digits-cnn", *options, "--out", "redrawn")
    assert code == 0, err
    before = np.asarray(Image.open(given))
    made = [np.asarray(Image.open(f"redrawn/{i:06d}.png")) for i in range(3)]
    for picture in made:
        assert (picture[:5] == before[:5]).all()
    assert (made[0][5:] != made[1][5:]).any()


# ------------------------------------------------------------------------------------------------- bad input
BAD = {
    "nothing": ([], "name a model or a folder of pictures to measure, or give --votes"),
    "no data": (["GAN", "--metrics", "frechet"], "frechet: needs real pictures to hold samples against; give --data"),
    "metric": (["GAN", "--data", "digits", "--metrics", "frechett"], "unknown 'frechett'; did you mean 'frechet'?"),
    "two samples": (["GAN", "--data", "digits", "--count", "2"], "at least"),
    "channels": (["GAN", "--data", "colour"], "the pictures of colour are in colour and those to be measured gray"),
    "size": (["GAN", "--data", "small"], "100% of the pictures of small are smaller than the 8x8"),
    "channels of a folder": (["small", "--data", "colour"], "those to be measured gray"),
    "size of a folder": (["gray", "--data", "small"], "are smaller than the 8x8"),
    "no labels": (["CNN", "--data", "gray", "--metrics", "likelihood"], "20 held-out pictures or more are needed"),
    "one sample scored": (["GAN", "--data", "digits", "--scored", "1"], "--scored: 20 or more expected, got 1"),
    "reports and models": (["GAN", "x.json"], "reports (.json) compare with reports only"),
    "features": (["GAN", "--data", "digits", "--features", "other.safetensors"], "other.safetensors"),
    "judge": (["GAN", "--data", "digits", "--metrics", "labels"], "give --classifier MODEL"),
    "likelihood": (["GAN", "--data", "digits", "--metrics", "likelihood"], "cannot tell how likely a picture is"),
    "one for blind": (["GAN", "--blind"], "--blind: compares two models, got 1"),
    "pairs": (["small", "--data", "colour", "--metrics", "fidelity"], "the same number, channels and size expected"),
    "count": (["GAN", "--data", "digits", "--count", "0"], "--count: 1 or more expected, got 0"),
    "out": (["GAN", "--data", "digits", "--out", "report.pdf"], "a name that ends in .json or .html expected"),
    "votes": (["--votes", "nothing.json"], "nothing.json"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name, pentimento, models, tmp_path):
    from safetensors.numpy import save_file

    arguments, said = BAD[name]
    for i in range(3):
        noise(tmp_path / "colour" / f"{i}.png", channels=(3,), seed=i)
        noise(tmp_path / "small" / f"{i}.png", 4, 4, seed=i)
        noise(tmp_path / "gray" / f"{i}.png", seed=i)
    save_file({"layer.weight": np.zeros((3, 3), np.float32)}, tmp_path / "other.safetensors")
    named = {"GAN": str(models / "digits-gan"), "CNN": str(models / "digits-cnn")}
    arguments = [named.get(a, a) for a in arguments]
    if "--features" not in arguments and arguments:
        arguments += ["--features", str(models / "digits-classifier")]
    code, out, err = pentimento("evaluate", *arguments, "--json")
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert json.loads(out)["error"]["exit_code"] == 2
    assert not list(tmp_path.glob("*.html"))


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        (
            "digits-cnn",
            ["--image", "given.png", "--mask", "wide.png"],
            "--mask: the size of the picture, 8x8, expected, got 9x8",
        ),
        (
            "digits-cnn",
            ["--image", "wide.png", "--mask", "wide.png"],
            "--image: 8x8 expected, as this model draws, got 9x8",
        ),
        ("digits-cnn", ["--image", "given.png", "--mask", "black.png"], "has no white, so nothing would be drawn"),
        ("digits-cnn", ["--image", "given.png"], "--image: goes with --mask"),
        ("digits-gan", ["--image", "given.png", "--mask", "given.png"], "families that can: cnn"),
        ("digits-cnn", ["--truncation", "1"], "no latent to truncate"),
    ],
)
def test_what_cannot_be_drawn_anew(model, options, said, pentimento, models, tmp_path):
    noise(tmp_path / "given.png")
    noise(tmp_path / "wide.png", 8, 9)
    write(tmp_path / "black.png", np.zeros((8, 8), np.uint8))
    code, _, err = pentimento("generate", models / model, *options, "--out", "new")
    assert code == 2
    assert said in err
    assert not (tmp_path / "new").exists()


def test_alpha_counts_as_the_white_behind_it(pentimento, models, tmp_path):
    """Samples of a folder with transparency are composited, as for training."""
    for i in range(4):
        pixels = np.zeros((8, 8, 4), np.uint8)
        write(tmp_path / "clear" / f"{i}.png", pixels)
        write(tmp_path / "white" / f"{i}.png", np.full((8, 8, 3), 255, np.uint8))
    code, out, err = pentimento("evaluate", "clear", "--data", "white", "--metrics", "fidelity", "--json")
    assert code == 0, err
    assert measured(json.loads(out))["PSNR"]["estimate"]["value"] == 100


def test_constant_pictures_give_numbers(pentimento, models, tmp_path):
    for i in range(200):
        write(tmp_path / "flat" / f"{i}.png", np.full((8, 8), 128, np.uint8))
    features = ("--features", models / "digits-classifier")
    code, out, err = pentimento("evaluate", "flat", "--data", "flat", *features, "--json")
    assert code == 0, err
    found = measured(json.loads(out))
    assert found["frechet"]["estimate"]["value"] == pytest.approx(0, abs=1e-6)
    assert all(np.isfinite(m["estimate"]["value"]) for m in found.values())
