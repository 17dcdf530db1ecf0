"""Two sets drawn apart: each in an order of its own, a pure function of the seed; and what is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pentimento.app import cli
from pentimento.data.augment import Augment
from pentimento.data.batches import Batches
from pentimento.data.packed import pack
from pentimento.data.sources import open_source
from pentimento.errors import DataError, RecipeError
from pentimento.model import DataSpec, Model, Player
from pentimento.models import MODELS, read_weights
from pentimento.training.recipe import dump, parse_recipe
from pentimento.training.session import cross_validate, resume, start

SIZES = {"A": (12, 10, 3), "B": (9, 14, 3)}
COUNTS = {"A": 11, "B": 7}


class Levels(Model):
    """Learns by how much the second set is brighter than the first, of which it sees noisy pictures.

    Args:
        spec: what the data offers.
    """

    family = "levels"
    monitor = "loss"
    unpaired = True

    def __init__(self, *, spec: DataSpec) -> None:
        super().__init__()
        self.shift = nn.Conv2d(spec.channels, spec.channels, 1)

    def players(self):
        return (Player("levels", ("shift",)),)

    def loss(self, player, batch, draws):
        noisy = batch.images + 0.1 * draws.normal("noise", batch.images.shape[1:])
        return {"loss": (self.shift(noisy).mean((2, 3)) - batch.targets.mean((2, 3))).square().mean()}


@pytest.fixture(autouse=True)
def _family(monkeypatch):
    monkeypatch.setitem(MODELS, "levels", Levels)


def save(path, seed, shape):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels.squeeze()).save(path)


def write(where, name, seed=0, channels=3):
    """The folder `where`: pictures of one size, of which no two are alike."""
    for i in range(COUNTS[name]):
        save(where / f"{name.lower()}-{i}.png", seed + 100 * (name == "B") + i, (*SIZES[name][:2], channels))
    return str(where)


@pytest.fixture
def both(tmp_path):
    """A folder with A/ and B/, no file of which has a partner."""
    for name in SIZES:
        write(tmp_path / "both" / name, name)
    return str(tmp_path / "both")


def levels(*, second=None, data=None, family="levels", **training):
    options = {"total_kimg": 0.08, "batch_size": 4, "log_every_kimg": 0.02, "device": "cpu", "precision": "fp32"}
    return parse_recipe(
        {
            "family": family,
            "data": {"size_px": [8, 8], "validation": 0.0, **(data or {})},
            "second": second or {},
            "training": {**options, **training},
        }
    )


def weights(run):
    return read_weights(run / "model" / "model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def about(run):
    return json.loads((run / "run.json").read_text())


# --------------------------------------------------------------------------------------------------- batches
def batches(where, *, seed=0, second=None, **options):
    sets = [pack(open_source(f"{where}/{name}")) for name in "AB"]
    spec = DataSpec(channels=3, height_px=8, width_px=8)
    options = {"batch_size": 4, "augment": Augment(mirror=True), **options}
    other = Batches(sets[1], range(7), spec, **{**options, "seed": seed + 1000, **(second or {})})
    return Batches(sets[0], range(11), spec, **options, seed=seed, second=other)


def test_batches_are_a_pure_function_of_seed_and_step(both):
    once, again, other = batches(both), batches(both), batches(both, seed=1)
    drawn = {step: once.draw(step) for step in range(6)}
    for step in reversed(range(6)):
        whole, part = again.draw(step), again.draw(step, slice(1, 3))
        assert torch.equal(whole.images, drawn[step].images)
        assert torch.equal(whole.targets, drawn[step].targets)
        assert torch.equal(part.images, whole.images[1:3])
        assert torch.equal(part.targets, whole.targets[1:3])
        assert not torch.equal(other.draw(step).targets, whole.targets)


def test_each_set_has_epochs_and_an_order_of_its_own(both):
    """Without cuts and changes a picture is told by its pixels; its partners change from epoch to epoch."""
    drawn = batches(both, batch_size=1, fit="resize", augment=None)
    seen = [drawn.draw(step) for step in range(77)]
    images, targets = ([getattr(b, name).numpy().tobytes() for b in seen] for name in ("images", "targets"))
    for order, count in ((images, 11), (targets, 7)):
        epochs = [order[begin : begin + count] for begin in range(0, 77, count)]
        assert all(len(set(epoch)) == count for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) == len(epochs)
    partners = {picture: {t for i, t in zip(images, targets, strict=True) if i == picture} for picture in images}
    assert min(map(len, partners.values())) > 1


def test_in_order_shows_all_of_both(both):
    held_out = batches(both, training=False)
    shown = list(held_out.in_order(3))
    assert [len(b) for b in shown] == [3, 3, 3, 2]
    images, targets = (torch.cat([getattr(b, name) for b in shown]) for name in ("images", "targets"))
    assert len(images.unique(dim=0)) == 11
    assert len(targets.unique(dim=0)) == 7
    assert torch.equal(targets[7:], targets[:4])  # the smaller set begins again


@pytest.mark.parametrize("wrong", [{"batch_size": 3}, {"seed": 0}])
def test_sets_that_do_not_go_together(both, wrong):
    with pytest.raises(DataError, match="second: the same batch size, another seed"):
        batches(both, second=wrong)


# --------------------------------------------------------------------------------------------------- training
def test_stopped_and_resumed_is_bit_identical_to_unbroken(both, tmp_path):
    start(levels(), both, tmp_path / "whole")
    start(levels(total_kimg=0.036), both, tmp_path / "parts")
    resume(tmp_path / "parts", ["training.total_kimg=0.08"])
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    start(levels(seed=1), both, tmp_path / "other")
    assert not same(weights(tmp_path / "whole"), weights(tmp_path / "other"))


def test_one_folder_or_two_is_the_same_training(both, tmp_path):
    start(levels(), both, tmp_path / "one")
    start(levels(), f"{both}/A", tmp_path / "two", second=f"{both}/B")
    assert same(weights(tmp_path / "one"), weights(tmp_path / "two"))
    for split in ("train", "test"):
        for name in SIZES:
            shutil.copytree(f"{both}/{name}", tmp_path / "above" / split / name)
            shutil.copytree(f"{both}/{name}", tmp_path / "below" / name / split)
    for where in ("above", "below"):
        start(levels(data={"split": "test"}), str(tmp_path / where), tmp_path / f"run-{where}")
        assert same(weights(tmp_path / "one"), weights(tmp_path / f"run-{where}"))


def test_the_record_names_both_and_resuming_asks_for_both(both, tmp_path):
    run = tmp_path / "run"
    start(levels(total_kimg=0.036), f"{both}/A", run, second=f"{both}/B")
    told = about(run)
    assert (told["data_count"], told["second_count"]) == (11, 7)
    assert told["second"] == f"{both}/B"
    assert told["second_hash"] == open_source(f"{both}/B").content_hash()
    card = (run / "model" / "README.md").read_text()
    assert "11 pictures;" in card
    assert "7 pictures |" in card
    assert f"`{told['data_hash']}`; `{told['second_hash']}`" in card
    moved = shutil.move(f"{both}/B", tmp_path / "moved")
    assert resume(run, ["training.total_kimg=0.08"], second=str(moved)).step == 20
    write(tmp_path / "changed", "B", seed=1)
    with pytest.raises(DataError, match=r"changed: the pictures changed since .*run began"):
        resume(run, second=str(tmp_path / "changed"))


def test_a_run_that_began_with_one_folder_resumes_from_it(both, tmp_path):
    start(levels(total_kimg=0.036), both, tmp_path / "run")
    assert about(tmp_path / "run")["data"] == both
    assert "second" not in about(tmp_path / "run")
    save(tmp_path / "both" / "B" / "another.png", 5, SIZES["B"])
    with pytest.raises(DataError, match="both: the pictures changed since"):
        resume(tmp_path / "run")


def test_the_second_set_is_fitted_and_changed_as_it_says(both, tmp_path):
    seen = {}

    def watch(self, player, batch, draws):
        seen.setdefault(batch.targets.flatten(1).std().item(), batch)
        return loss(self, player, batch, draws)

    loss, Levels.loss = Levels.loss, watch
    try:
        runs = {
            "as the first": {},
            "fit": {"fit": "pad"},
            "changes": {"augment": {"cutout": 0.5}},
        }
        drawn = {}
        for name, second in runs.items():
            seen.clear()
            start(levels(second=second, total_kimg=0.004), both, tmp_path / name)
            drawn[name] = next(iter(seen.values()))
    finally:
        Levels.loss = loss
    plain = drawn.pop("as the first")
    assert all(torch.equal(batch.images, plain.images) for batch in drawn.values())
    assert not any(torch.equal(batch.targets, plain.targets) for batch in drawn.values())
    assert (drawn["fit"].targets[:, :, 0] == 1).all()  # 9 x 14 in a square: white above
    assert ((drawn["changes"].targets == 0).all(1).sum((1, 2)) >= 4).all()


def test_validation_needs_pictures_of_both(both, tmp_path):
    held_out = levels(data={"validation": 0.5}, validate_every_kimg=0.04)
    assert "validation/loss" in start(held_out, both, tmp_path / "run").figures
    folds = cross_validate(levels(), f"{both}/A", tmp_path / "folds", 2, second=f"{both}/B")
    assert folds.mean["validation/loss"] > 0


def test_a_second_set_in_colour_beside_a_gray_one(both, tmp_path):
    gray = write(tmp_path / "gray", "A", channels=1)
    for channels, told in (("auto", True), (3, False)):
        said = []
        recipe = levels(data={"channels": channels}, total_kimg=0.004)
        start(recipe, gray, tmp_path / str(channels), second=f"{both}/B", progress=said.append)
        assert any("the second set is made gray" in r.message for r in said) == told


def test_enlarging_is_said_of_both(both, tmp_path):
    said = []
    start(levels(data={"size_px": [10, 10]}, total_kimg=0.004), both, tmp_path / "run", progress=said.append)
    assert [r.message[:44] for r in said if "enlarged" in r.message] == ["100% of the pictures of the second set are p"]


# --------------------------------------------------------------------------------------------------- refusals
def test_a_second_set_for_a_family_that_learns_from_one(both, tmp_path):
    with pytest.raises(DataError, match="second: a 'vae' learns from one set of pictures; leave --second out"):
        start(levels(family="vae"), f"{both}/A", tmp_path / "run", second=f"{both}/B")
    with pytest.raises(RecipeError, match=r"second: a 'vae' learns from one set of pictures; leave \[second\] out"):
        start(levels(family="vae", second={"fit": "pad"}), f"{both}/A", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_damage_is_refused(both, tmp_path, monkeypatch):
    monkeypatch.setattr(Levels, "restore", lambda self: None, raising=False)
    recipe = levels().model_copy(update={"degrade": parse_recipe(restoring()).degrade})
    with pytest.raises(RecipeError, match="degrade: a 'levels' learns from pictures as they are"):
        start(recipe, both, tmp_path / "run")


def restoring():
    return {"family": "restorer", "training": {"total_kimg": 1}, "degrade": [{"kind": "gray"}]}


@pytest.mark.parametrize("name", ["A", "B"])
def test_one_set_where_two_are_needed(name, both, tmp_path):
    shutil.rmtree(f"{both}/{name}")
    left = "B" if name == "A" else "A"
    with pytest.raises(DataError, match=f"second: the other set .* missing; name it by --second, .*; it holds {left}/"):
        start(levels(), both, tmp_path / "run")
    with pytest.raises(DataError, match=r"second: the other set .* A/ and B/; digits is no folder"):
        start(levels(), "digits", tmp_path / "run")


def test_an_empty_second_folder(both, tmp_path):
    shutil.rmtree(f"{both}/B")
    (tmp_path / "both" / "B").mkdir()
    with pytest.raises(DataError, match="B: no pictures"):
        start(levels(), both, tmp_path / "run")


def test_pairs(both, tmp_path):
    for folder in ("damaged", "clean"):
        save(tmp_path / "pairs" / folder / "1.png", 0, SIZES["A"])
    pairs = str(tmp_path / "pairs")
    for name, sets in (("data", (pairs, both)), ("second", (both, pairs))):
        with pytest.raises(DataError, match=f"^{name}: {pairs} comes in pairs; a set without partners expected"):
            start(levels(), sets[0], tmp_path / "run", second=sets[1])
    with pytest.raises(DataError, match="the other set of pictures is missing; .*it holds clean/, damaged/"):
        start(levels(), pairs, tmp_path / "run")


# ------------------------------------------------------------------------------------------------ command line
def test_the_command_line(both, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "levels.toml").write_text(dump(levels(second={"augment": {"hue_degrees": 20.0}})))

    def run(*arguments):
        code = cli.run(["train", *arguments])
        return code, capsys.readouterr().err

    assert run("levels.toml", "--data", "both/A", "--second", "both/B", "--out", "run")[0] == 0
    assert about(tmp_path / "run")["second_count"] == 7
    shutil.move("both/B", "moved")
    assert run("run", "--resume", "--second", "moved", "--set", "training.total_kimg=0.1")[0] == 0
    code, said = run("levels.toml", "--data", "both")
    assert code == 2
    assert "second: the other set of pictures is missing" in said
    assert run("digits-vae", "--data", "digits", "--second", "moved")[0] == 2
