"""Interventions: their words, what is refused, and that only what they name is changed."""

from __future__ import annotations

import pytest
import torch

from pentimento import interventions
from pentimento.errors import ModelError, NotFoundError
from pentimento.interventions import Do, check, parse, parse_all, parse_doses, read_set, resolve, run, write_set
from pentimento.model import Attribute, DataSpec, Origin
from pentimento.models import build
from pentimento.runtime import Draws
from pentimento.sampling import default_condition, run_stages

SPEC = DataSpec(
    channels=1,
    height_px=16,
    width_px=16,
    classes=("3", "7", "cat"),
    attributes=(
        Attribute(name="size", low=1.0, high=2.0),
        Attribute(name="shape", kind="categorical", values=("disc", "5")),
    ),
)
CONFIG = {"spec": SPEC, "conditional": True, "attributes": ("size", "shape"), "width": 4, "latent_dim": 6}
N = 5


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build("vae", CONFIG).eval()


@pytest.fixture
def drawn(model):
    return model.draw_noise(Draws(1, range(N))), default_condition(model, range(N), 1)


@pytest.mark.parametrize(
    ("text", "do"),
    [
        ("label=7", Do("label", 7.0)),
        (" label = cat ", Do("label", "cat")),
        ("latent[3]+=-1.5", Do("latent", -1.5, (3,), shift=True)),
        ("up1[2, 0,2]=mean", Do("up1", "mean", (2, 0))),
    ],
)
def test_words(text, do):
    assert parse(text) == do
    assert parse(str(do)) == do


@pytest.mark.parametrize("text", ["label", "up1[x]=0", "up1[-1]=0", "=3", "up1[1]="])
def test_words_that_say_nothing(text):
    with pytest.raises(ModelError, match="--do: .* expected|--do: units are whole numbers"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("latent[3]=1,-1, 0", [-1.0, 0.0, 1.0]),
        ("label=owl, cat", ["owl", "cat"]),  # names have no order but the one they are given in
        ("label=7,cat,3", [7.0, "cat", 3.0]),
        ("label=cat", ["cat"]),
    ],
)
def test_several_values(text, values):
    target, units = ("latent", (3,)) if "latent" in text else ("label", ())
    assert parse_doses(text) == tuple(Do(target, value, units) for value in values)


@pytest.mark.parametrize(
    "text", ["latent[0]=a,b", "up1[0]=0,mean", "latent+=a,b", "label=cat,cat", "label=1,1.0", "label=cat,", "size=1,,2"]
)
def test_several_values_that_are_none(text):
    with pytest.raises(ModelError, match="--do: several values are different numbers, or names of classes"):
        parse_doses(text)


def test_a_set_is_read_as_it_was_written(tmp_path):
    dos = (Do("up1", (0.25, -1.0), (3, 1)), Do("latent", 2.0, (0,), shift=True), Do("label", "cat"))
    write_set(tmp_path / "set.json", dos, {"outcome": "brightness"})
    assert read_set(tmp_path / "set.json") == dos
    assert parse_all(["size=1", f"@{tmp_path / 'set.json'}"]) == (Do("size", 1.0), *dos)


def test_a_set_is_of_the_weights_it_was_made_for(model, tmp_path, monkeypatch):
    path, dos = tmp_path / "set.json", (Do("up1", 0.0, (3,)),)
    write_set(path, dos, {"model": "theirs", "weights_sha256": "ab" * 32})
    assert read_set(path, model) == dos  # a model that was not loaded has no weights to name
    monkeypatch.setattr(model, "origin", Origin("mine", "ab" * 32))
    assert read_set(path, model) == parse_doses(f"@{path}", model) == dos
    monkeypatch.setattr(model, "origin", Origin("mine", "cd" * 32))
    for read in (lambda: read_set(path, model), lambda: parse_all([f"@{path}"], model)):
        with pytest.raises(ModelError, match="made for theirs with other weights, and units of mine are other units"):
            read()
    write_set(path, dos, {})
    assert read_set(path, model) == dos  # written by hand: it does not say


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "set.json").write_text('{"a": 1}')
    with pytest.raises(ModelError, match="does not hold interventions"):
        read_set(tmp_path / "set.json")
    with pytest.raises(NotFoundError, match="no file"):
        read_set(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["upp1[0]=0"], "no 'upp1'; did you mean 'up1'"),
        (["label=8"], "unknown class '8'"),
        (["shape=square"], "one of disc, 5 expected"),
        (["size=big"], "a number from 1 to 2 expected"),
        (["size[0]=1"], "takes one value"),
        (["latent[6]=0"], "latent has 6 units, 0 to 5"),
        (["latent=0"], r"say which of the 6 units, e\.g\. latent\[0\]"),
        (["latent[0]=mean"], "a number expected"),
        (["up1[0]=nan"], "a number or mean expected"),
        (["up1[0]+=mean"], "a number or mean expected"),
        (["image[0]=0"], "gives pictures"),
        (["up1[0]=0", "up1[1,0]=1"], "up1 is set twice"),
        (["label=7", "label=3"], "label is set twice"),
    ],
)
def test_what_a_model_does_not_have(model, texts, message):
    with pytest.raises(ModelError, match=message):
        check(model, parse_all(texts))


def test_the_model_knows_what_it_was_told_alone():
    blind = build("vae", {**CONFIG, "conditional": False, "attributes": ()})
    with pytest.raises(ModelError, match="no 'label'"):
        check(blind, [Do("label", 7.0)])


def test_values_outside_what_was_seen_are_said(model):
    said = check(model, parse_all(["size=2.5", "latent[0]=-4", "latent[1]=2", "latent[2]+=5", "shape=5"]))
    assert said == [
        "size=2.5: 0.5 outside what was seen, 1 to 2",
        "latent[0]=-4: 1 beyond the 3 standard deviations that are usual",
        "latent[2]+=5: 2 beyond the 3 standard deviations that are usual",
    ]


@torch.no_grad()
def test_nothing_set_is_the_model_as_it_is(model, drawn):
    assert torch.equal(run(model, *drawn, ()), model.sample(*drawn))


@torch.no_grad()
def test_what_is_set_is_what_the_next_stage_sees(model, drawn):
    noise, condition = drawn
    x = run_stages(model, noise, condition, stop="up1")
    kept = x.clone()
    x[:, 1], x[:, 2] = 0.5, x[:, 2] - 1
    wanted = run_stages(model, noise, condition, start="image", value=x)
    made = run(model, noise, condition, [Do("up1", 0.5, (1,)), Do("up1", -1.0, (2,), shift=True)])
    assert torch.equal(made, wanted)
    assert torch.equal(run_stages(model, noise, condition, stop="up1"), kept)


@torch.no_grad()
def test_noise_labels_and_attributes(model, drawn):
    noise, condition = drawn
    dos = parse_all(["latent[2]=1", "label=cat", "size=1.5", "shape=5"])
    changed = noise["latent"].clone()
    changed[:, 2] = 1
    told = type(condition)(torch.full((N,), 2), torch.tensor([[1.5, 1.0]]).expand(N, 2))
    assert torch.equal(run(model, noise, condition, dos), model.sample({"latent": changed}, told))


@torch.no_grad()
def test_a_unit_set_far_outside_of_what_samples_give_is_told(model):
    rows = range(64)
    x = run_stages(model, model.draw_noise(Draws(0, rows)), default_condition(model, rows, 0), stop="up1")
    low, high = float(x[:, 2].min()), float(x[:, 2].max())
    (said,) = check(model, parse_all([f"up1[0,2]={high + 100:.6f}"]))
    highest = min((float(x[:, unit].max()), unit) for unit in (0, 2))  # of which the value is farther away
    assert said.startswith(f"up1[{highest[1]}]=")
    assert f": {high + 100 - highest[0]:.3g} outside what 64 samples give, " in said
    assert check(model, parse_all([f"up1[2]={(low + high) / 2}", "up1[0]=mean", "up1[1]+=50"])) == []


def test_a_class_whose_name_is_a_number_with_zeros_before_it(drawn):
    classes = ("007", "7.5", "cat")
    model = build("vae", {**CONFIG, "spec": SPEC.model_copy(update={"classes": classes})})
    dos = [parse("label=007")]
    assert check(model, dos) == []
    assert interventions.tell(model, drawn[1], dos).labels.tolist() == [0] * N
    with pytest.raises(ModelError, match="'8'"):
        check(model, [parse("label=8")])


@torch.no_grad()
def test_a_usual_value_is_the_mean_over_samples_and_positions(model, monkeypatch):
    monkeypatch.setattr(interventions.running, "USUAL_SAMPLES", 32)
    rows = range(32)
    x = run_stages(model, model.draw_noise(Draws(4, rows)), default_condition(model, rows, 4), stop="up1")
    (do,) = resolve(model, [Do("up1", "mean", (3, 0))], seed=4)
    assert do.value == pytest.approx(x[:, [3, 0]].mean((0, 2, 3)).tolist(), rel=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    "texts", [[], ["up1[1]=0"], ["base[0]=1", "up1[3]+=1"], ["latent[0]=1", "up1[2]=0"], ["label=7"]]
)
def test_stages_that_were_run_before_are_not_run_again(model, drawn, texts):
    dos = parse_all(texts)
    usual = interventions.outputs(model, *drawn)
    assert torch.equal(run(model, *drawn, dos, usual), run(model, *drawn, dos))
