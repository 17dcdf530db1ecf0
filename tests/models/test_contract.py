"""One contract for every family: forward, finite, every parameter learns, saved and loaded alike, at any size."""

from __future__ import annotations

import contextlib
import copy

import pytest
import torch

from pentimento.capabilities import Encodes, Intervenes, Predicts, Samples, Scores, require
from pentimento.errors import ModelError
from pentimento.model import Attribute, Batch, Condition, DataSpec
from pentimento.models import MODELS, build, config_schema, load, save
from pentimento.runtime import Draws
from pentimento.sampling import default_condition, run_stages, sample_chunks

SHAPES = [(1, 28, 28), (3, 100, 100), (3, 96, 160), (1, 8, 8), (3, 5, 9), (1, 1, 1)]
CONDITIONS = ["none", "label", "attributes", "both"]
N = 4

VARIANTS = {
    "gan-mlp": ("gan", {"backbone": "mlp"}),
    "gan-dcgan": ("gan", {"backbone": "dcgan"}),
    "gan-resnet": ("gan", {"backbone": "resnet", "norm": "none"}),
    "gan-wasserstein": ("gan", {"loss": "wasserstein", "gradient_penalty": 10.0, "critic_updates": 3}),
    "gan-hinge": ("gan", {"loss": "hinge", "spectral": True, "discriminator_norm": "batch"}),
    "gan-spectral-resnet": ("gan", {"loss": "hinge", "spectral": True, "backbone": "resnet", "norm": "none"}),
    "gan-relativistic": ("gan", {"loss": "relativistic", "r1": 1.0, "r2": 1.0, "norm": "none"}),
    "gan-augmented": (
        "gan",
        {"loss": "relativistic", "r1": 1.0, "augment": {"mirror": True, "shift": 0.1, "colour": 0.2}},
    ),
    "vae-mlp": ("vae", {"backbone": "mlp", "likelihood": "bernoulli", "independence": 1.0, "effectiveness": 1.0}),
    "vae-conv": ("vae", {"backbone": "conv", "likelihood": "gaussian"}),
    "vae-resnet": ("vae", {"backbone": "resnet", "likelihood": "logistic", "norm": "batch"}),
    "cnn-bernoulli": ("cnn", {"likelihood": "bernoulli", "layers": 2}),
    "cnn-logistic": ("cnn", {"likelihood": "logistic", "layers": 2, "kernel_px": 5, "order": "reversed"}),
    "classifier-mlp": ("classifier", {"backbone": "mlp", "l1": 1e-4}),
    "classifier-conv": ("classifier", {"backbone": "conv"}),
    "classifier-resnet": ("classifier", {"backbone": "resnet", "norm": "none"}),
}


def make_spec(shape):
    attributes = (
        Attribute(name="thickness", low=1.0, high=6.0),
        Attribute(name="paper", kind="categorical", values=("laid", "wove", "rag")),
    )
    channels, height, width = shape
    return DataSpec(channels=channels, height_px=height, width_px=width, classes=("a", "b", "c"), attributes=attributes)


def make_model(variant, shape=(1, 28, 28), told="both"):
    name, config = VARIANTS[variant]
    config = {"spec": make_spec(shape), "width": 4, **config}
    if told in ("attributes", "both") or name == "classifier":
        config["attributes"] = ("thickness", "paper")
    if name != "classifier":
        config["conditional"] = told in ("label", "both")
    torch.manual_seed(0)
    return build(name, config)


def make_batch(shape):
    generator = torch.Generator().manual_seed(1)
    attributes = torch.tensor([[1.0, 0], [2.5, 1], [6.0, 2], [3.0, 0]])
    return Batch(torch.rand(N, *shape, generator=generator), torch.tensor([0, 1, 2, 0]), attributes)


def all_move(model, batch, step=0):
    """One backward pass of every player; the figures of each."""
    figures = {}
    for player in model.players():
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for name in player.modules:
            getattr(model, name).requires_grad_(True)
        figures[player.name] = model.loss(player.name, batch, Draws(0, range(N), step))
        figures[player.name]["loss"].backward()
    return figures


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_of_every_player_gets_a_finite_gradient(variant, shape):
    model = make_model(variant, shape)
    figures = all_move(model, make_batch(shape))
    for player in model.players():
        assert all(torch.isfinite(v).all() and v.ndim == 0 for v in figures[player.name].values())
        for module in player.modules:
            for name, parameter in getattr(model, module).named_parameters():
                assert parameter.grad is not None, f"{player.name}: {module}.{name} does not learn"
                assert torch.isfinite(parameter.grad).all(), f"{player.name}: {module}.{name}"


@pytest.mark.parametrize("variant", VARIANTS)
def test_players_own_all_parameters_and_share_none(variant):
    model = make_model(variant)
    owned = [id(p) for player in model.players() for m in player.modules for p in getattr(model, m).parameters()]
    assert len(owned) == len(set(owned))
    assert set(owned) == {id(p) for p in model.parameters()}


@pytest.mark.parametrize("told", CONDITIONS)
@pytest.mark.parametrize("variant", [v for v in VARIANTS if not v.startswith("classifier")])
def test_samples_are_images_and_listen_to_their_condition(variant, told):
    model = make_model(variant, told=told).eval()
    assert isinstance(model, Samples)
    for parameter in model.parameters() if model.family == "cnn" else ():
        parameter.data.mul_(3)  # a fresh one is so unsure that hardly a bit turns
    noise = model.draw_noise(Draws(0, range(N)))
    batch = make_batch((1, 28, 28))
    pictures = model.sample(noise, batch.condition)
    assert pictures.shape == (N, 1, 28, 28)
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    other_labels = Condition(batch.labels.roll(1), batch.attributes)
    other_attributes = Condition(batch.labels, batch.attributes.roll(1, 0))
    assert torch.equal(model.sample(noise, other_labels), pictures) == (told in ("none", "attributes"))
    assert torch.equal(model.sample(noise, other_attributes), pictures) == (told in ("none", "label"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_saved_and_loaded_is_the_same(variant, tmp_path):
    model = make_model(variant).eval()
    save(model, tmp_path, card="# card\n")
    loaded = load(tmp_path)
    assert type(loaded) is type(model)
    schema = config_schema(model.family)
    assert schema.model_validate(loaded.config) == schema.model_validate(model.config)
    assert loaded.config.keys() == schema.model_fields.keys(), "what was left out is written too"
    state = loaded.state_dict()
    assert state.keys() == model.shipped_state().keys()
    for name, value in model.shipped_state().items():
        assert torch.equal(state[name], value), name
    if isinstance(model, Samples):
        noise = model.draw_noise(Draws(0, range(N)))
        condition = make_batch((1, 28, 28)).condition
        assert torch.equal(loaded.sample(noise, condition), model.sample(noise, condition))


def test_what_does_not_ship_is_neither_saved_nor_loaded(tmp_path):
    model = make_model("gan-dcgan")
    save(model, tmp_path, card="")
    assert not any(k.startswith("discriminator") for k in model.shipped_state())
    assert not hasattr(load(tmp_path), "discriminator")


def test_attached_networks_are_not_part_of_the_model():
    model = make_model("vae-conv")
    before = model.state_dict().keys()
    network = torch.nn.Linear(2, 2)
    model.attach("perceptual", network)
    assert model.attached["perceptual"] is network
    assert model.state_dict().keys() == before
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("variant", VARIANTS)
def test_config_is_stored_as_given_and_survives_a_copy(variant):
    model = make_model(variant)
    assert copy.deepcopy(model).config == model.config
    assert "lr" not in model.config  # a default is not written down as if it had been chosen


# ------------------------------------------------------------------------------------------- Intervenes
@pytest.mark.parametrize("variant", [v for v in VARIANTS if not v.startswith("classifier")])
class TestIntervenes:
    def test_running_on_from_any_stage_changes_nothing(self, variant):
        model = make_model(variant).eval()
        assert isinstance(model, Intervenes)
        noise, condition = model.draw_noise(Draws(0, range(N))), make_batch((1, 28, 28)).condition
        whole = model.sample(noise, condition)
        for before, stage in zip(model.stages, model.stages[1:], strict=False):
            value = run_stages(model, noise, condition, stop=before)
            assert torch.equal(run_stages(model, noise, condition, start=stage, value=value), whole)

    def test_a_unit_set_by_hand_changes_the_picture_and_nothing_else(self, variant):
        model = make_model(variant).eval()
        noise, condition = model.draw_noise(Draws(0, range(N))), make_batch((1, 28, 28)).condition
        stage, after = model.stages[1], model.stages[2]
        value = run_stages(model, noise, condition, stop=stage)
        changed = value.clone()
        changed[0, 0] = 10.0
        pictures = run_stages(model, noise, condition, start=after, value=changed)
        whole = model.sample(noise, condition)
        assert not torch.equal(pictures[0], whole[0])
        assert torch.allclose(pictures[1:], whole[1:])

    def test_unknown_stages(self, variant):
        model = make_model(variant).eval()
        first, last = model.stages[0], model.stages[-1]
        with pytest.raises(ModelError, match=f"stage: unknown name '{last}e'; did you mean '{last}'"):
            run_stages(model, {}, Condition(), stop=f"{last}e")
        with pytest.raises(ModelError, match="comes before"):
            run_stages(model, {}, Condition(), start=last, stop=first, value=torch.zeros(1))


class TestSampling:
    def test_the_same_seed_gives_the_same_image_at_any_count(self):
        model = make_model("gan-dcgan")
        few, many = (sample_chunks(model, default_condition(model, range(n), 7), range(n), 7) for n in (3, 70))
        assert torch.equal(few, many[:3])
        assert model.training  # as it was before

    def test_truncation_narrows(self):
        model = make_model("gan-mlp")
        draws = Draws(0, range(500))
        wide, narrow = (model.draw_noise(draws, t)["latent"] for t in (None, 0.7))
        assert wide.abs().max() > 2.5
        assert narrow.abs().max() <= 0.7
        assert torch.equal(narrow.argsort(0), wide.argsort(0))  # monotone: each sample keeps its noise
        with pytest.raises(ModelError, match="truncation: must be above 0"):
            model.draw_noise(draws, 0.0)

    def test_who_cannot_sample_is_told_who_can(self):
        with pytest.raises(ModelError, match="a 'classifier' model cannot do this; families that can: gan, vae, cnn"):
            require(make_model("classifier-conv"), Samples, "generate", MODELS)

    def test_a_condition_that_is_needed_is_asked_for(self):
        model = make_model("gan-dcgan").eval()
        noise = model.draw_noise(Draws(0, range(2)))
        with pytest.raises(ModelError, match="conditioned on a class label"):
            model.sample(noise, Condition())
        with pytest.raises(ModelError, match="conditioned on thickness, paper"):
            model.sample(noise, Condition(labels=torch.tensor([0, 1])))


def test_capabilities():
    vae, classifier = make_model("vae-conv").eval(), make_model("classifier-conv").eval()
    batch = make_batch((1, 28, 28))
    assert isinstance(vae, Encodes)
    assert isinstance(vae, Scores)
    assert vae.decode(vae.encode(batch.images, batch.condition), batch.condition).shape == batch.images.shape
    assert isinstance(classifier, Predicts)
    found = classifier.predict(batch.images)
    assert torch.allclose(found["probabilities"].sum(1), torch.ones(N))
    assert found["attributes"].shape == (N, 2)
    assert set(found["attributes"][:, 1].tolist()) <= {0.0, 1.0, 2.0}


@pytest.mark.parametrize("told", CONDITIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_everything_is_made_on_the_model_s_device(variant, told, monkeypatch):
    """On the meta device, which computes shapes alone and refuses tensors of the CPU, as a GPU would."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # which it does not have
    model = make_model(variant, (3, 30, 45), told).to("meta")
    batch = make_batch((3, 30, 45)).to("meta")
    for player in model.players():
        figures = model.loss(player.name, batch, Draws(0, range(N), device="meta"))
        assert {v.device.type for v in figures.values()} == {"meta"}
    if isinstance(model, Samples):
        truncation = None if model.family == "cnn" else 1.0  # it has no latent
        noise = model.draw_noise(Draws(0, range(N), device="meta"), truncation)
        assert model.sample(noise, batch.condition).device.type == "meta"
    if isinstance(model, Encodes):
        assert model.encode(batch.images, batch.condition).device.type == "meta"
