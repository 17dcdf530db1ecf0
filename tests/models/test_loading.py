"""A model folder that is damaged, foreign or from another version is refused with one line."""

from __future__ import annotations

import json
import pickle

import docstring_parser
import pytest
import safetensors.torch
import torch

from pentimento.errors import ModelError, NotFoundError, RecipeError
from pentimento.model import DataSpec
from pentimento.models import MODELS, build, config_schema, find, load, save

SPEC = DataSpec(channels=1, height_px=8, width_px=8)


@pytest.fixture
def folder(tmp_path):
    save(build("vae", {"spec": SPEC, "width": 2}), tmp_path / "m", card="# A card\n")
    return tmp_path / "m"


def edit(folder, change):
    document = json.loads((folder / "config.json").read_text())
    change(document)
    (folder / "config.json").write_text(json.dumps(document))


def edit_weights(folder, change):
    tensors = safetensors.torch.load((folder / "model.safetensors").read_bytes())
    change(tensors)
    (folder / "model.safetensors").write_bytes(safetensors.torch.save(tensors))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format=2), "format 2, but pentimento .* reads 1"),
        (lambda d: d.update(family="vea"), "unknown name 'vea'; did you mean 'vae'"),
        (lambda d: d.pop("family"), "not a model config"),
        (lambda d: d["config"].update(widht=3), "model.widht: unknown key; did you mean 'width'"),
        (lambda d: d["config"].update(width="x"), "model.width: should be a valid integer"),
        (lambda d: d["config"]["spec"].update(channels=2), "not a model config"),
        (lambda d: d["config"].update(width=3), "does not fit config.json: .*; and .* more"),
    ],
)
def test_configs(folder, change, message):
    edit(folder, change)
    with pytest.raises(ModelError, match=message):
        load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("posterior.bias"), "posterior.bias is missing"),
        (lambda t: t.update(extra=torch.zeros(1)), "extra is not part of the model"),
        (lambda t: t.update({"posterior.bias": torch.zeros(5)}), r"posterior.bias is \(5,\), not \(64,\)"),
    ],
)
def test_weights(folder, change, message):
    edit_weights(folder, change)
    with pytest.raises(ModelError, match=message):
        load(folder)


def test_files_that_are_no_safetensors(folder, capsys):
    path = folder / "model.safetensors"
    whole = path.read_bytes()

    class Evil:
        def __reduce__(self):
            return (print, ("executed",))

    for content in (whole[:-7], whole[:20], b"", pickle.dumps(Evil())):
        path.write_bytes(content)
        with pytest.raises(ModelError, match="not a readable safetensors file"):
            load(folder)
    path.unlink()
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        load(folder)
    assert "executed" not in capsys.readouterr().out


def test_half_precision_files_load_into_full_precision(folder):
    """safetensors in half precision load into the model's own precision."""
    edit_weights(folder, lambda t: t.update({k: v.half() for k, v in t.items()}))
    assert all(p.dtype == torch.float32 for p in load(folder).parameters())


def test_where_a_model_may_be(folder, tmp_path):
    (tmp_path / "run").mkdir()
    folder.rename(tmp_path / "run" / "model")
    assert find(tmp_path / "run") == find(tmp_path / "run" / "model")
    assert load(tmp_path / "run").origin.name == "run"
    with pytest.raises(NotFoundError, match="no model here"):
        find(tmp_path)
    with pytest.raises(NotFoundError, match="neither a folder nor a model of the zoo"):
        find("no-such-model")


def test_building_refuses_what_the_constructor_does_not_know():
    with pytest.raises(ModelError, match="did you mean 'gan'"):
        build("gn", {"spec": SPEC})
    with pytest.raises(RecipeError, match="model.spec: missing"):
        build("gan", {})
    with pytest.raises(ModelError, match="discriminator_norm: 'batch' mixes the samples"):
        build("gan", {"spec": SPEC, "discriminator_norm": "batch", "r1": 1.0})
    with pytest.raises(ModelError, match="classifier: the data has no labels"):
        build("classifier", {"spec": SPEC})


@pytest.mark.parametrize("name", MODELS)
def test_every_option_of_a_family_is_described(name):
    described = {p.arg_name for p in docstring_parser.parse(MODELS[name].__doc__).params}
    assert described == set(config_schema(name).model_fields)
