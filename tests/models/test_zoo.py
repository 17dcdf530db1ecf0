"""What ships: every model loads, is small, tells where it comes from, and was made by a recipe of its name."""

from __future__ import annotations

import importlib.util
import zlib
from pathlib import Path

import pytest
import torch

import pentimento
from pentimento.capabilities import Predicts, Samples
from pentimento.model import DataSpec
from pentimento.models import CARD, WEIGHTS, build, find, load, read_weights, save, zoo_names
from pentimento.sampling import default_condition, sample_chunks
from pentimento.training.recipe import find_recipe, load_recipe, recipe_names

ROOT = Path(__file__).parent.parent.parent
WHEEL_LIMIT_MB = 40
SPEC = DataSpec(channels=1, height_px=8, width_px=8)


@pytest.fixture
def publish(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("publish", ROOT / "tools/publish.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ZOO", tmp_path / "zoo")
    return module


@pytest.mark.parametrize("name", zoo_names())
def test_a_shipped_model(name):
    model, folder = load(name), find(name)
    weights = read_weights(folder / WEIGHTS)
    assert {v.dtype for v in weights.values() if v.is_floating_point()} == {torch.float16}
    assert (folder / WEIGHTS).stat().st_size < (6e6 if model.family == "stylizer" else 4e6)
    assert model.origin.name == name
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.origin.licence
    assert name in recipe_names()
    recipe = load_recipe(find_recipe(name))
    assert recipe.family == model.family
    assert recipe.licence == model.origin.licence
    if isinstance(model, Samples):
        images = sample_chunks(model, default_condition(model, range(2), 0), range(2), 0)
        assert torch.isfinite(images).all()
        assert images.std() > 0.1
    if isinstance(model, Predicts):
        found = model.predict(torch.rand(2, *model.spec.image_shape))
        assert torch.isfinite(found["probabilities"]).all()


def test_the_wheel_stays_small():
    files = [p for p in Path(pentimento.__file__).parent.rglob("*") if p.is_file() and p.suffix != ".pyc"]
    assert sum(len(zlib.compress(p.read_bytes())) for p in files) < WHEEL_LIMIT_MB * 1e6  # as a wheel holds them


def test_publishing_halves_the_weights_and_adds_the_figures(publish, tmp_path):
    model = build("gan", {"spec": SPEC, "width": 4}).eval()
    save(model, tmp_path / "run/model", card="# A GAN\n\n| made by | us |\n")
    folder = publish.publish(str(tmp_path / "run"), "small-gan", ["12 % better"], ["digits only"])
    loaded = load(folder)
    for name, value in model.shipped_state().items():
        assert torch.equal(loaded.state_dict()[name], value.half().float() if value.is_floating_point() else value)
    assert (folder / CARD).read_text() == (
        "# A GAN\n\n| recipe | `small-gan` |\n| made by | us |\n\n"
        "## Figures\n- 12 % better\n\n## Limits\n- digits only\n"
    )


def test_what_was_measured_ships_as_it_is(publish, tmp_path):
    """A variance of a hundred thousand is beyond half precision."""
    model = build("gan", {"spec": SPEC, "width": 4, "norm": "batch"}).eval()
    measured = [name for name, _ in model.named_buffers() if name.endswith("running_var")]
    with torch.no_grad():
        for name in measured:
            model.get_buffer(name).fill_(1.2345678e5)
    save(model, tmp_path / "run", card="")
    loaded = load(publish.publish(str(tmp_path / "run"), "small-gan", [], []))
    kept = [name for name in measured if name in loaded.state_dict()]
    assert kept
    assert all(torch.equal(loaded.get_buffer(name), model.get_buffer(name)) for name in kept)


def test_the_mean_of_two_runs_ships_where_they_have_one_shape(publish, tmp_path):
    runs = {"one": {"width": 4}, "two": {"width": 4}, "other": {"width": 8}}
    models = {name: build("gan", {"spec": SPEC, **config}).eval() for name, config in runs.items()}
    for name, model in models.items():
        save(model, tmp_path / name, card="")
    folder = publish.publish(str(tmp_path / "one"), "mean", [], [], str(tmp_path / "two"))
    one, two = (models[name].shipped_state() for name in ("one", "two"))
    for name, value in load(folder).state_dict().items():
        if value.is_floating_point():
            assert torch.equal(value, ((one[name] + two[name]) / 2).half().float())
    with pytest.raises(SystemExit, match="--mean-with: .*one expected, .*other has another"):
        publish.publish(str(tmp_path / "one"), "x", [], [], str(tmp_path / "other"))


def test_what_cannot_ship(publish, tmp_path):
    model = build("vae", {"spec": SPEC, "width": 4, "backbone": "mlp"}).eval()
    with torch.no_grad():
        model.posterior.weight.fill_(1e6)
    save(model, tmp_path / "large-weights", card="")
    with pytest.raises(SystemExit, match="a weight does not fit into half precision"):
        publish.publish(str(tmp_path / "large-weights"), "x", [], [])
    assert not (tmp_path / "zoo").exists()
