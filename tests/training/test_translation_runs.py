"""Trainings of the families that translate: from pairs and from two sets, stopped and gone on with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from pentimento.errors import DataError, InputError, ModelError
from pentimento.models import load, read_weights
from pentimento.training.recipe import parse_recipe
from pentimento.training.run_folder import RunFolder
from pentimento.training.session import resume, start


def recipe(family, total_kimg=0.04, **model):
    small = {"widths": (4, 8), "blocks": 1, "discriminator_width": 4}
    training = {"total_kimg": total_kimg, "batch_size": 4, "sample_every_kimg": 0.02, "device": "cpu"}
    options = {"model": {**small, **model}, "data": {"validation": 0.4}, "training": training}
    return parse_recipe({"family": family, **options})


@pytest.fixture
def folder(tmp_path):
    """A/ and B/ with pairs of the same names, in two classes."""
    generator = np.random.default_rng(0)
    for number in range(12):
        samples = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        for side, shown in (("A", samples), ("B", samples[..., ::-1])):
            place = tmp_path / "data" / side / ("day", "night")[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(shown).save(place / f"{number}.png")
    return tmp_path / "data"


@pytest.mark.parametrize(("family", "prefix"), [("pix2pix", "pairs:"), ("cyclegan", "")])
def test_stopped_and_resumed_is_bit_identical_to_unbroken(family, prefix, folder, tmp_path):
    options = {"pool": 5} if family == "cyclegan" else {}
    where = f"{prefix}{folder}"
    start(recipe(family, **options), where, tmp_path / "whole")
    start(recipe(family, total_kimg=0.024, **options), where, tmp_path / "parts")
    resume(tmp_path / "parts", ["training.total_kimg=0.04"])
    whole, parts = (RunFolder(tmp_path / name) for name in ("whole", "parts"))
    for kind in ("model", "ema"):
        states = whole.load_state()[kind], parts.load_state()[kind]
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    remembered = [value for name, value in whole.load_state()["model"].items() if name.endswith("pools.a.images")]
    assert len(remembered) == (family == "cyclegan")
    assert all(pictures.any() for pictures in remembered)
    weights = read_weights(tmp_path / "whole" / "model" / "model.safetensors")
    assert not any(name.startswith(("pools", "judges", "discriminator")) for name in weights)
    assert sorted(p.name for p in (tmp_path / "whole" / "samples").glob("translated-*.png"))


def test_folders_below_the_pairs_are_looks(folder, tmp_path):
    start(recipe("pix2pix", total_kimg=0.008), f"pairs:{folder}", tmp_path / "run")
    model = load(tmp_path / "run")
    assert model.config["conditional"]
    assert model.spec.classes == ("day", "night")


def test_pairs_of_two_sizes_and_pictures_without_partners(folder, tmp_path):
    Image.new("RGB", (8, 16)).save(folder / "B" / "day" / "0.png")
    with pytest.raises(DataError, match=r"16x16.*16x8 \(height x width\); bring the two to one size"):
        start(recipe("pix2pix"), f"pairs:{folder}", tmp_path / "run")
    (folder / "B" / "day" / "0.png").unlink()
    with pytest.raises(DataError, match="A/day/0.png has no partner in B/"):
        start(recipe("pix2pix"), f"pairs:{folder}", tmp_path / "run")
    start(recipe("cyclegan", total_kimg=0.008), str(folder), tmp_path / "unpaired")  # which needs none


def test_pix2pix_without_pairs_says_how_to_give_them(folder, tmp_path):
    with pytest.raises(InputError, match="pix2pix: learns from pairs; give them as pairs:FOLDER"):
        start(recipe("pix2pix"), str(folder), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("family", "damage", "problem"),
    [
        ("restorer", [], r"restorer: learns from damaged and clean pictures; add \[\[degrade\]\]"),
        ("restorer", [{"kind": "downscale", "factor": 2}], "scale: 1 makes .*, but their targets are"),
        ("detector", [{"kind": "gray"}], "detector: learns where damage is"),
    ],
)
def test_what_a_model_cannot_learn_from_leaves_no_run_behind(family, damage, problem, folder, tmp_path):
    options = {"model": {"widths": (4,)}, "degrade": damage, "training": {"total_kimg": 0.01, "batch_size": 4}}
    with pytest.raises(ModelError, match=problem):
        start(parse_recipe({"family": family, **options}), str(folder), tmp_path / "run")
    assert not (tmp_path / "run").exists()
