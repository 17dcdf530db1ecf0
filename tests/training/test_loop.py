"""The loop: what a run is a function of, what it writes, and when it stops."""

from __future__ import annotations

import json
import math

import pytest
import torch

from pentimento import images
from pentimento.data.degrade.steps import GaussianNoise, Jpeg
from pentimento.errors import BusyError, DataError, ExistsError, ModelError, NotFoundError, RecipeError, TrainingError
from pentimento.models import load, read_weights
from pentimento.models.restorer import Restorer
from pentimento.models.vae import VAE
from pentimento.training.run_folder import RunFolder
from pentimento.training.session import cross_validate, resume, start

FAMILIES = ["gan", "vae", "classifier", "restorer"]


def weights(run):
    return read_weights(run / "model" / "model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_writes_all_there_is_to_know(family, recipe, tmp_path):
    seen = []
    outcome = start(recipe(family), "digits", tmp_path / "run", progress=seen.append)
    steps = 10 if family == "gan" else 20  # the GAN's critic moves twice a step, on two batches
    assert outcome.step == steps
    assert outcome.kimg == pytest.approx(0.32)
    names = {p.name for p in (tmp_path / "run").iterdir()} - {".lock"}
    samples = set() if family == "classifier" else {"samples"}
    assert names == {"recipe.toml", "run.json", "model", "state.pt", "metrics.jsonl", "tensorboard"} | samples
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == steps
    assert [r["step"] for r in rows] == sorted({r["step"] for r in rows})
    assert all(math.isfinite(v) for r in rows for v in r.values())
    assert {r.stage for r in seen} >= {"train"}
    assert seen[-1].done == seen[-1].total == pytest.approx(0.32)
    model = load(tmp_path / "run")
    assert model.origin.name == "run"
    assert "1797 pictures" in (tmp_path / "run" / "model" / "README.md").read_text()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_seed_decides_and_matters(family, recipe, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        start(recipe(family, seed=seed), "digits", tmp_path / name)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


@pytest.mark.parametrize("family", FAMILIES)
def test_stopped_and_resumed_is_bit_identical_to_unbroken(family, recipe, tmp_path):
    start(recipe(family), "digits", tmp_path / "whole")
    start(recipe(family, total_kimg=0.128), "digits", tmp_path / "parts")
    half = RunFolder(tmp_path / "parts").load_state()["step"]
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as stream:
        stream.write(json.dumps({"step": half + 3, "kimg": 1}) + '\n{"step": ')  # written after the last checkpoint
    resume(tmp_path / "parts", ["training.total_kimg=0.32"])
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    whole, parts = (RunFolder(tmp_path / n).load_state() for n in ("whole", "parts"))
    assert same(whole["model"], parts["model"])
    for name, state in whole["optimizers"].items():
        for key, values in state["state"].items():
            assert all(torch.equal(v, parts["optimizers"][name]["state"][key][k]) for k, v in values.items())
    steps = [json.loads(line)["step"] for line in (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))
    assert steps[-1] == whole["step"]


def test_what_is_held_out_is_damaged_alike_at_every_validation(recipe, tmp_path):
    still = {player: {"lr": 1e-12} for player in ("restorer", "discriminator")}
    training = {"validate_every_kimg": 0.064, "log_every_kimg": 0.064, "ema_halflife_kimg": 0}
    start(recipe("restorer", players=still, **training), "digits", tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    figures = [r["validation/psnr"] for r in rows if "validation/psnr" in r]
    assert len(figures) > 1
    assert figures == pytest.approx([figures[0]] * len(figures), rel=1e-6)
    assert len({r["restorer/psnr"] for r in rows}) == len(rows)  # what is trained on is damaged anew


def test_a_model_is_told_of_the_damage_that_it_asks_for_not_of_the_last(recipe, tmp_path, monkeypatch):
    told, loss = [], Restorer.loss

    def seen(self, player, batch, draws):
        told.append(batch.strengths)
        return loss(self, player, batch, draws)

    monkeypatch.setattr(Restorer, "loss", seen)
    steps = (GaussianNoise(sigma=(30, 30)), Jpeg(quality=(5, 5)))
    start(recipe("restorer", total_kimg=0.016).model_copy(update={"degrade": steps}), "digits", tmp_path / "run")
    assert told
    assert all(torch.allclose(strengths * 255, torch.tensor(30.0)) for strengths in told)


def test_pairs_are_not_damaged_and_that_is_said(recipe, tmp_path):
    for number in range(20):
        for folder in ("damaged", "clean"):
            (tmp_path / "pairs" / folder).mkdir(parents=True, exist_ok=True)
            picture = torch.full((1, 8, 8), number / 20)
            images.write(tmp_path / "pairs" / folder / f"{number}.png", picture)
    seen = []
    options = {"told": "nothing", "losses": {"l1": 1.0}}
    start(recipe("restorer", model=options), str(tmp_path / "pairs"), tmp_path / "run", progress=seen.append)
    assert "pairs are damaged already: [[degrade]] is left out" in [r.message for r in seen]
    for model, message in (({}, "model.told: pairs do not say"), ({**options, "scale": 2}, "model.scale: both")):
        with pytest.raises(RecipeError, match=message):
            start(recipe("restorer", model=model), str(tmp_path / "pairs"), tmp_path / "never")
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("family", ["gan", "vae"])
def test_micro_batches_are_one_batch(family, recipe, tmp_path):
    """To rounding, and without batch normalisation, which sees micro-batches apart."""
    for parts in (1, 4):
        start(recipe(family, model={"norm": "none"}, accumulate=parts), "digits", tmp_path / str(parts))
    one, four = weights(tmp_path / "1"), weights(tmp_path / "4")
    error = sum((one[k] - four[k]).square().sum() for k in one) / sum(one[k].square().sum() for k in one)
    assert math.sqrt(error) < 1e-4


def test_a_second_run_leaves_the_first_alone(recipe, tmp_path):
    start(recipe("vae"), "digits", tmp_path / "run")
    before = weights(tmp_path / "run")
    with pytest.raises(ExistsError, match="exists and is not empty; go on with it by --resume"):
        start(recipe("vae", seed=1), "digits", tmp_path / "run")
    assert same(before, weights(tmp_path / "run"))
    start(recipe("vae", seed=1), "digits", tmp_path / "run", overwrite=True)
    assert not same(before, weights(tmp_path / "run"))


def test_overwrite_does_not_touch_what_is_no_run(recipe, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("do not delete")
    with pytest.raises(ExistsError, match="is not a run folder"):
        start(recipe("vae"), "digits", tmp_path / "letters", overwrite=True)
    start(recipe("vae"), "digits", tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("also mine")
    with pytest.raises(ExistsError, match="notes.txt is no part of a run"):
        start(recipe("vae"), "digits", tmp_path / "run", overwrite=True)
    assert (tmp_path / "run" / "model").is_dir()
    (tmp_path / "run" / "notes.txt").unlink()
    assert (tmp_path / "letters" / "dear.txt").read_text() == "do not delete"


def test_two_processes_cannot_train_into_one_folder(recipe, tmp_path):
    with RunFolder(tmp_path / "run"), pytest.raises(BusyError, match="another process is training here"):
        start(recipe("vae"), "digits", tmp_path / "run")


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_a_loss_that_is_not_finite_stops_with_step_and_player(player, recipe, tmp_path, monkeypatch):
    from pentimento.models.gan import GAN

    honest = GAN.loss

    def broken(self, name, batch, draws):
        figures = honest(self, name, batch, draws)
        return {**figures, "loss": figures["loss"] * math.nan} if name == player and draws.step >= 7 else figures

    monkeypatch.setattr(GAN, "loss", broken)
    with pytest.raises(TrainingError, match=rf"step 4: the loss of the player '{player}' is nan.*last good checkpoint"):
        start(recipe("gan", checkpoint_every_seconds=1e-6), "digits", tmp_path / "run")
    assert RunFolder(tmp_path / "run").load_state()["step"] == 3  # and it is whole
    monkeypatch.undo()
    assert resume(tmp_path / "run").step == 10


def test_full_disk_keeps_the_checkpoint_before(recipe, tmp_path):
    """A limit on file sizes makes every write past it fail, as a full disk does."""
    import resource

    from pentimento.errors import StorageError

    start(recipe("vae", total_kimg=0.16), "digits", tmp_path / "run")
    before = RunFolder(tmp_path / "run").load_state()["step"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, hard))
    try:
        with pytest.raises(StorageError, match="cannot write"):
            resume(tmp_path / "run", ["training.total_kimg=0.32"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert RunFolder(tmp_path / "run").load_state()["step"] == before
    assert not list((tmp_path / "run").glob(".*.tmp"))
    assert resume(tmp_path / "run", ["training.total_kimg=0.32"]).step == 20


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_reaches_the_loss(family, recipe, tmp_path, monkeypatch):
    """And nothing crashes where autocast is left for a penalty."""
    from pentimento.models import MODELS

    seen, honest, device = [], MODELS[family].loss, torch.device("cpu")
    monkeypatch.setattr("lightning_fabric.Fabric.device", device)

    def watched(self, player, batch, draws):
        seen.append(torch.is_autocast_enabled("cpu") and draws.device is device)
        return honest(self, player, batch, draws)

    monkeypatch.setattr(MODELS[family], "loss", watched)
    start(recipe(family, precision="bf16", total_kimg=0.064), "digits", tmp_path / "run")
    assert seen
    assert all(seen)


def test_a_lazy_penalty_counts_the_updates_of_its_player(recipe, tmp_path):
    """Here the discriminator moves at odd ticks only."""
    lazy = recipe(
        "gan", model={"critic_updates": 1, "penalty_every": 2}, players={"generator": {"updates_per_step": 2}}
    )
    start(lazy, "digits", tmp_path / "run")
    assert "discriminator/penalty" in json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])


@pytest.mark.parametrize(("family", "parts"), [("gan", {"Linear", "ConvTranspose2d"}), ("vae", {"Encoder"})])
def test_compile_reaches_what_is_called(family, parts, recipe, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(self))  # noqa: PLW0108
    start(recipe(family, compile=True, total_kimg=0.032), "digits", tmp_path / "run")
    inside = {type(m).__name__ for c in compiled for m in c.modules()}
    assert parts <= inside
    assert ("Encoder" in inside) == (family == "vae")  # a GAN's discriminator with R1 differentiates twice


class TestValidation:
    def test_early_stopping_ships_the_best_weights(self, recipe, tmp_path, monkeypatch):
        figures = iter([5.0, 3.0, 4.0, 3.5, 1.0])
        kept = []

        def staged(self, batch, draws):
            if not draws.indices[0]:
                kept.append({k: v.clone() for k, v in self.state_dict().items()})
                staged.value = next(figures)
            return {"loss": torch.tensor(staged.value)}

        monkeypatch.setattr(VAE, "validate", staged)
        options = {"validate_every_kimg": 0.032, "early_stopping_patience": 2}
        outcome = start(recipe("vae", **options), "digits", tmp_path / "run")
        assert outcome.stopped_early
        assert outcome.step == 8  # four validations, two steps apart
        assert outcome.figures["validation/loss"] == 3.0  # of the weights that ship
        assert same(weights(tmp_path / "run"), kept[1])

    def test_a_gan_has_none(self, recipe, tmp_path):
        with pytest.raises(RecipeError, match="a 'gan' has no validation loss"):
            start(recipe("gan", validate_every_kimg=1), "digits", tmp_path / "run")
        with pytest.raises(RecipeError, match="folds: a 'gan' has no validation loss"):
            cross_validate(recipe("gan"), "digits", tmp_path / "run", 3)

    def test_nothing_held_out(self, recipe, tmp_path):
        with pytest.raises(RecipeError, match="nothing is held out"):
            start(recipe("vae", validate_every_kimg=1, data={"validation": 0.0}), "digits", tmp_path / "run")

    def test_folds_hold_out_every_picture_once(self, recipe, tmp_path):
        folds = cross_validate(recipe("classifier", total_kimg=3), "digits", tmp_path / "run", 3)
        found = [f["validation/accuracy"] for f in folds.figures]
        assert folds.mean["validation/accuracy"] == pytest.approx(sum(found) / 3)
        assert folds.mean["validation/accuracy"] > 0.5  # chance is 0.1
        held_out = [
            json.loads((tmp_path / "run" / f"fold-{k}" / "run.json").read_text())["held_out"] for k in (1, 2, 3)
        ]
        assert held_out[0][0] == 0
        assert held_out[2][1] == 1
        assert held_out[0][1] == held_out[1][0]
        assert held_out[1][1] == held_out[2][0]


class TestTransfer:
    def test_init_takes_all_that_fits(self, recipe, tmp_path):
        start(recipe("vae"), "digits", tmp_path / "a")
        notes = []
        frozen = recipe("vae", freeze=["*"], seed=5)
        with pytest.raises(RecipeError, match="leaves the player 'vae' nothing to train"):
            start(frozen, "digits", tmp_path / "b", init=str(tmp_path / "a"))
        kept = recipe("vae", freeze=["encoder.*", "embed.*", "posterior.*"], seed=5, ema_halflife_kimg=0)
        start(kept, "digits", tmp_path / "c", init=str(tmp_path / "a"), progress=notes.append)
        before, after = weights(tmp_path / "a"), weights(tmp_path / "c")
        for name in before:
            fixed = name.split(".")[0] in ("encoder", "embed", "posterior")
            assert torch.equal(before[name], after[name]) == fixed, name
        assert any("tensors from" in n.message for n in notes)
        assert not any("without --init" in n.message for n in notes)

    def test_frozen_at_random_is_told(self, recipe, tmp_path):
        notes = []
        start(recipe("vae", freeze=["encoder.*"]), "digits", tmp_path / "a", progress=notes.append)
        assert [n.stage for n in notes if "training.freeze without --init" in n.message] == ["init"]

    def test_a_run_brings_its_discriminator_along(self, recipe, tmp_path):
        start(recipe("gan"), "digits", tmp_path / "a")
        fixed = recipe("gan", freeze=["discriminator.encoder.*"])
        start(fixed, "digits", tmp_path / "b", init=str(tmp_path / "a"))
        a, b = (RunFolder(tmp_path / n).load_state()["model"] for n in "ab")
        names = [k for k in a if k.startswith("discriminator.encoder")]
        assert names
        assert all(torch.equal(a[k], b[k]) for k in names)

    def test_nothing_fits(self, recipe, tmp_path):
        start(recipe("classifier"), "digits", tmp_path / "a")
        with pytest.raises(ModelError, match="no tensor fits"):
            start(recipe("vae", model={"backbone": "mlp"}), "digits", tmp_path / "b", init=str(tmp_path / "a"))

    def test_freeze_pattern_without_a_match(self, recipe, tmp_path):
        with pytest.raises(RecipeError, match="freeze: 'encodr' matches no parameter"):
            start(recipe("vae", freeze=["encodr"]), "digits", tmp_path / "a")


class TestResume:
    def test_before_the_first_checkpoint_keeps_its_init(self, recipe, tmp_path):
        start(recipe("vae"), "digits", tmp_path / "a")
        start(recipe("vae", seed=3), "digits", tmp_path / "b", init=str(tmp_path / "a"))
        unbroken = weights(tmp_path / "b")
        (tmp_path / "b" / "state.pt").unlink()
        resume(tmp_path / "b")
        assert same(unbroken, weights(tmp_path / "b"))

    def test_a_finished_run_stays_as_it_is_and_gets_its_model_back(self, recipe, tmp_path):
        import shutil

        start(recipe("vae"), "digits", tmp_path / "run")
        before = weights(tmp_path / "run")
        shutil.rmtree(tmp_path / "run" / "model")  # killed after state.pt, before the model
        assert resume(tmp_path / "run").step == 20
        assert same(before, weights(tmp_path / "run"))

    def test_patience_at_an_end_stays_at_an_end(self, recipe, tmp_path, monkeypatch):
        monkeypatch.setattr(VAE, "validate", lambda self, batch, draws: {"loss": torch.tensor(1.0)})
        options = {"validate_every_kimg": 0.032, "early_stopping_patience": 2}
        step = start(recipe("vae", **options), "digits", tmp_path / "run").step
        assert step == 6
        assert resume(tmp_path / "run").step == step

    def test_moved_pictures(self, recipe, tmp_path):
        start(recipe("vae", data={"size_px": [8, 8]}, total_kimg=0.16), "shapes:40", tmp_path / "run")
        again = resume(tmp_path / "run", ["training.total_kimg=0.32"], where="shapes:40")
        assert again.step == 20


def test_enlarging_is_said(recipe, tmp_path):
    said = []
    start(recipe("vae", data={"size_px": [12, 12]}, total_kimg=0.032), "digits", tmp_path / "a", progress=said.append)
    assert any("100% of the pictures are packed smaller than 12x12" in r.message for r in said)
    said.clear()
    start(recipe("vae", data={"size_px": [6, 6]}, total_kimg=0.032), "digits", tmp_path / "b", progress=said.append)
    assert not any("enlarged" in r.message for r in said)


def test_more_folds_than_pictures(recipe, tmp_path):
    few = recipe("vae", data={"size_px": [8, 8]}, total_kimg=0.032)
    with pytest.raises(DataError, match="no picture falls into fold"):
        cross_validate(few, "shapes:3", tmp_path / "run", 8)


class TestResumeRefuses:
    def test_another_run(self, recipe, tmp_path):
        start(recipe("vae"), "digits", tmp_path / "run")
        with pytest.raises(RecipeError, match="model.width: cannot change when a run goes on"):
            resume(tmp_path / "run", ["model.width=8"])

    def test_other_pictures(self, recipe, tmp_path):
        start(recipe("vae", data={"size_px": [8, 8]}), "shapes:40", tmp_path / "run")
        about = json.loads((tmp_path / "run" / "run.json").read_text())
        (tmp_path / "run" / "run.json").write_text(json.dumps({**about, "data": "shapes:41"}))
        with pytest.raises(DataError, match="the pictures changed since"):
            resume(tmp_path / "run")

    @pytest.mark.parametrize("name", ["nothing", ""])
    def test_what_is_no_run(self, name, tmp_path):
        with pytest.raises(NotFoundError):
            resume(tmp_path / name)


def test_players_options_are_checked(recipe, tmp_path):
    with pytest.raises(RecipeError, match=r"players.genrator: a 'gan' has no such player; did you mean 'generator'"):
        start(recipe("gan", players={"genrator": {}}), "digits", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_batches_must_split_evenly(recipe):
    with pytest.raises(RecipeError, match="accumulate must divide batch_size"):
        recipe("vae", accumulate=3)
