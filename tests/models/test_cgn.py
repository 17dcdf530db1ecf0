"""Counterfactual generative networks: the contract of a family, and that each mechanism is told its own label."""

from __future__ import annotations

import pytest
import torch

from pentimento import interventions
from pentimento.capabilities import Composes, Intervenes, Samples
from pentimento.errors import ModelError
from pentimento.model import Batch, Condition, DataSpec
from pentimento.models import build, load, save
from pentimento.models.cgn import border_mean, compose, coverage_excess
from pentimento.runtime import Draws
from pentimento.sampling import run_stages

N = 6
SHAPES = [(3, 28, 28), (1, 5, 9), (3, 1, 1), (1, 3, 50)]
CLASSES = ("fox", "owl", "elk")


def make_model(shape=(3, 28, 28), **config):
    torch.manual_seed(0)
    channels, height, width = shape
    spec = DataSpec(channels=channels, height_px=height, width_px=width, classes=CLASSES)
    return build("cgn", {"spec": spec, "conditional": True, "width": 4, "latent_dim": 5, **config})


def make_batch(shape):
    images = torch.rand(N, *shape, generator=torch.Generator().manual_seed(1))
    return Batch(images, torch.arange(N) % 3)


def told(**labels):
    """Condition of N samples, the mechanisms told as `labels` say and fox otherwise."""
    columns = [labels.get(name, "fox") for name in ("shape", "foreground", "background")]
    row = torch.tensor([CLASSES.index(name) for name in columns])
    return Condition(torch.zeros(N, dtype=torch.int64), mechanisms=row.expand(N, -1))


@pytest.fixture(scope="module")
def model():
    return make_model().eval().requires_grad_(False)  # as a loaded one: matmul folds otherwise


@pytest.fixture(scope="module")
def noise(model):
    return model.draw_noise(Draws(0, range(N)))


class TestContract:
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_every_parameter_of_every_player_gets_a_finite_gradient(self, shape):
        model, batch = make_model(shape), make_batch(shape)
        owned = set()
        for player in model.players():
            model.requires_grad_(False)
            for name in player.modules:
                getattr(model, name).requires_grad_(True)
            figures = model.loss(player.name, batch, Draws(0, range(N)))
            assert all(torch.isfinite(v).all() and v.ndim == 0 for v in figures.values())
            figures["loss"].backward()
            owned |= {id(p) for m in player.modules for p in getattr(model, m).parameters()}
        assert owned == {id(p) for p in model.parameters()}
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_samples_are_images_whatever_the_size(self, shape):
        model = make_model(shape).eval()
        pictures = model.sample(model.draw_noise(Draws(0, range(N)), truncation=1.0), make_batch(shape).condition)
        assert pictures.shape == (N, *shape)
        assert pictures.min() >= 0
        assert pictures.max() <= 1

    def test_saved_and_loaded_is_the_same(self, model, noise, tmp_path):
        save(model, tmp_path, card="# card\n")
        loaded = load(tmp_path)
        assert not hasattr(loaded, "discriminator")
        assert torch.equal(loaded.sample(noise, told(shape="elk")), model.sample(noise, told(shape="elk")))

    def test_running_on_from_any_stage_changes_nothing(self, model, noise):
        assert isinstance(model, Samples)
        assert isinstance(model, Intervenes)
        assert isinstance(model, Composes)
        whole = model.sample(noise, told())
        for before, stage in zip(model.stages, model.stages[1:], strict=False):
            value = run_stages(model, noise, told(), stop=before)
            assert torch.equal(run_stages(model, noise, told(), start=stage, value=value), whole)

    def test_everything_is_made_on_the_model_s_device(self):
        model, batch = make_model().to("meta").eval(), make_batch((3, 28, 28)).to("meta")
        noise = model.draw_noise(Draws(0, range(N), device="meta"), 1.0)
        assert model.sample(noise, batch.condition).device.type == "meta"


class TestMechanisms:
    def test_the_label_goes_to_all_where_nothing_else_is_said(self, model, noise):
        labels = torch.full((N,), CLASSES.index("owl"))
        same = model.sample(noise, told(shape="owl", foreground="owl", background="owl"))
        assert torch.equal(model.sample(noise, Condition(labels)), same)

    @pytest.mark.parametrize("place", range(3))
    def test_a_label_reaches_its_own_mechanism_and_no_other(self, model, noise, place):
        before = model.parts(noise, told())
        after = model.parts(noise, told(**{model.mechanisms[place]: "elk"}))
        assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [k != place for k in range(3)]
        assert torch.equal(model.sample(noise, told()), compose(*before))

    @pytest.mark.parametrize("name", ["shape", "foreground", "background"])
    def test_do_sets_one_mechanism_alone(self, model, noise, name):
        dos = interventions.parse_all([f"{name}=elk"])
        assert interventions.check(model, dos) == []
        usual = Condition(torch.zeros(N, dtype=torch.int64))
        made = interventions.run(model, noise, usual, dos)
        assert torch.equal(made, model.sample(noise, told(**{name: "elk"})))
        assert not torch.equal(made, model.sample(noise, usual))

    def test_do_on_a_unit_of_the_shape(self, model, noise):
        made = interventions.run(model, noise, told(), interventions.parse_all(["mask[0]=1"]))
        assert torch.equal(made, model.parts(noise, told())[1])  # all is foreground

    @pytest.mark.parametrize(
        ("do", "said"),
        [
            ("foregrund=fox", "this model has no 'foregrund'; did you mean 'foreground'"),
            ("shape=owls", "unknown class 'owls'; did you mean 'owl'"),
            ("shape[1]=fox", "shape takes one value"),
        ],
    )
    def test_what_it_is_not_told_is_refused(self, model, do, said):
        with pytest.raises(ModelError, match=said.replace("[", r"\[")):
            interventions.check(model, interventions.parse_all([do]))

    def test_a_texture_cannot_tell_one_place_from_another(self, model):
        """Noise and phases moved with the grid give the same texture, moved: it is stationary."""
        texture, shift = model.generator.foreground, 7
        z, labels = torch.randn(1, 4), torch.tensor([1])
        draws = Draws(3, [0])
        field = draws.uniform("field", texture.field_shape, -1, 1)
        phase = draws.uniform("phase", (texture.waves.shape[1],))
        moved = phase + shift * texture.waves[labels][..., 1] / (2 * torch.pi)
        here = texture(z, field, phase, labels)
        there = texture(z, field.roll(-shift, 3), moved, labels)
        assert torch.allclose(there[..., : 28 - shift - 2], here[..., shift : 28 - 2], atol=1e-4)

    @pytest.mark.parametrize("logit", [-30.0, 30.0])
    def test_a_saturated_colour_comes_back(self, logit):
        """By the sigmoid alone its slope would be zero."""
        model = make_model()
        bias = model.generator.foreground.tint.bias
        bias.data.fill_(logit)
        model.loss("generator", make_batch((3, 28, 28)), Draws(0, range(N)))["loss"].backward()
        assert (bias.grad * logit > 0).all()
        assert bias.grad.abs().min() > 1

    def test_coverage(self):
        masks = torch.stack([torch.full((1, 4, 4), v) for v in (0.0, 0.2, 0.9)])
        assert coverage_excess(masks, 0.1, 0.5).item() == pytest.approx((0.1 + 0.0 + 0.4) / 3)

    def test_the_border_is_the_outermost_eighth(self):
        mask = torch.zeros(2, 1, 16, 24)
        mask[:, :, 2:-2, 3:-3] = 1
        assert border_mean(mask).item() == 0
        assert border_mean(1 - mask).item() == 1
        mask[0, 0, 0, 0] = 1
        assert border_mean(mask).item() == pytest.approx(1 / (2 * (16 * 24 - 12 * 18)))

    def test_textures_are_let_go_of_by_and_by(self):
        losses = {}
        for start in (8.0, 0.5, None):
            model = make_model(smooth_weight=0.5, smooth_start=start, smooth_kimg=10)
            for kimg in (0, 5, 10, 20):
                draws = Draws(0, range(N), seen_kimg=kimg)
                found = model.loss("generator", make_batch((3, 28, 28)), draws)
                losses[start, kimg] = {name: float(value.detach()) for name, value in found.items()}
        for kimg, weight in ((0, 8.0), (5, 2.0), (10, 0.5), (20, 0.5)):
            more = losses[8.0, kimg]["loss"] - losses[None, kimg]["loss"]
            assert more == pytest.approx((weight - 0.5) * losses[None, kimg]["rough"], rel=1e-3, abs=1e-5)
            assert losses[0.5, kimg] == losses[None, kimg]


class TestRefusals:
    def test_data_without_labels(self):
        spec = DataSpec(channels=3, height_px=8, width_px=8)
        with pytest.raises(ModelError, match="cgn: the data has no labels, so there is nothing to tell apart"):
            build("cgn", {"spec": spec, "conditional": False})

    def test_bounds_the_wrong_way_round(self):
        with pytest.raises(ModelError, match=r"coverage: the lowest share first, below the highest, got 0\.5, 0\.1"):
            make_model(coverage=(0.5, 0.1))

    def test_a_condition_that_is_needed_is_asked_for(self, model, noise):
        with pytest.raises(ModelError, match="conditioned on a class label"):
            model.sample(noise, Condition())
