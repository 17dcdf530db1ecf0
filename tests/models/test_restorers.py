"""The families that repair pictures: what they take, what they give, what they learn."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from pentimento.capabilities import Detects, Refines, Restores
from pentimento.errors import ModelError, RecipeError
from pentimento.layers import UNet
from pentimento.model import Batch, DataSpec
from pentimento.models import build, load, save
from pentimento.restoring import FEW, StrengthEstimator, mistold
from pentimento.runtime import Draws

N = 2
VARIANTS = {
    "plain": ("restorer", {}),
    "noise": ("restorer", {"told": "noise"}),
    "masked": ("restorer", {"told": "jpeg", "takes_masks": True, "mask_weight": 4.0}),
    "twice": ("restorer", {"scale": 2, "shrink": 1}),
    "thrice": ("restorer", {"scale": 3}),
    "losses": (
        "restorer",
        {
            "losses": {"l1": 1, "l2": 1, "charbonnier": 1, "psnr": 1, "adversarial": 0.1, "perceptual": 1},
            "told": "noise",
        },
    ),
    "mistold": ("restorer", {"told": "noise", "told_wrong": 0.5}),
    "recurrent": ("recurrent", {"told": "noise", "passes": 3}),
    "recurrent-masked": ("recurrent", {"takes_masks": True, "passes": 2, "shrink": 1}),
}
SHAPES = [(3, 24, 40), (1, 17, 9), (3, 1, 1), (1, 3, 50)]


class Maps(torch.nn.Module):
    """Two feature maps of a picture: itself and its differences."""

    def maps(self, images):
        return {"a": images + 0.1, "b": torch.cat([images, images.roll(1, 3)], 1)}


def make_model(variant, channels=3):
    family, config = VARIANTS[variant]
    torch.manual_seed(0)
    spec = DataSpec(channels=channels, height_px=16, width_px=16)
    widths = (4, 8) if family == "recurrent" else (4, 8, 8)
    model = build(family, {"spec": spec, "widths": widths, "blocks": 1, **config})
    if "perceptual" in config.get("losses", {}):
        model.attach("perceptual", Maps())
    return model


def make_batch(model, shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    channels, height, width = shape
    scale = model.reach.scale
    targets = torch.rand(N, channels, scale * height, scale * width, generator=generator)
    images = torch.rand(N, *shape, generator=generator)
    masks = (torch.rand(N, 1, height, width, generator=generator) < 0.3).float()
    return Batch(images, targets=targets, masks=masks, strengths=torch.full_like(masks, 0.1))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
class TestContract:
    def test_every_parameter_of_every_player_learns(self, variant, shape):
        model = make_model(variant, shape[0])
        batch = make_batch(model, shape)
        for player in model.players():
            for parameter in model.parameters():
                parameter.requires_grad_(False)
            for name in player.modules:
                getattr(model, name).requires_grad_(True)
            figures = model.loss(player.name, batch, Draws(0, range(N)))
            assert all(torch.isfinite(v).all() and v.ndim == 0 for v in figures.values())
            figures["loss"].backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
        assert model.monitor in model.validate(batch, Draws(0, range(N)))

    def test_the_result_has_the_size_and_the_channels_of_the_picture(self, variant, shape):
        model = make_model(variant, shape[0]).eval()
        assert isinstance(model, Restores)
        batch = make_batch(model, shape)
        assert model.restore(batch.images, batch.masks, batch.strengths).shape == batch.targets.shape
        assert model.restore(batch.images).shape == batch.targets.shape

    def test_gray_through_a_colour_model_and_colour_through_a_gray_one(self, variant, shape):
        model = make_model(variant, shape[0]).eval()
        other = torch.rand(N, 4 - shape[0], *shape[1:])
        made = model.restore(other)
        assert made.shape == (N, 4 - shape[0], *(model.reach.scale * n for n in shape[1:]))
        if shape[0] == 1:  # channel by channel
            strength = model.estimate(other).mean((2, 3), keepdim=True)
            alone = [model.restore(other[:, k : k + 1], None, strength) for k in range(3)]
            torch.testing.assert_close(made, torch.cat(alone, 1))


@pytest.mark.parametrize("variant", VARIANTS)
class TestMeaning:
    def test_saved_and_loaded_is_the_same_and_the_critic_stays_behind(self, variant, tmp_path):
        model = make_model(variant).eval()
        save(model, tmp_path, card="")
        loaded = load(tmp_path)
        images = torch.rand(1, 3, 20, 20)
        assert torch.equal(loaded.restore(images), model.restore(images))
        assert not hasattr(loaded, "discriminator")

    def test_what_is_hidden_by_the_mask_is_not_looked_at(self, variant):
        model = make_model(variant).eval()
        batch = make_batch(model, (3, 24, 24))
        made = model.restore(batch.images, batch.masks, batch.strengths)
        other = batch.images * (1 - batch.masks) + torch.rand_like(batch.images) * batch.masks
        same = torch.equal(model.restore(other, batch.masks, batch.strengths), made)
        assert same == model.takes_masks

    def test_it_listens_to_the_strength_it_is_told(self, variant):
        model = make_model(variant).eval()
        images = torch.rand(1, 3, 24, 24)
        few, many = (model.restore(images, None, torch.full((1, 1, 1, 1), s)) for s in (0.05, 0.3))
        assert torch.equal(few, many) == (model.told == "nothing")
        if model.told != "nothing":
            guess = model.estimate(images).mean((2, 3), keepdim=True)
            assert torch.equal(model.restore(images), model.restore(images, None, guess))

    def test_far_pixels_do_not_matter_as_reach_says(self, variant):
        model = make_model(variant).eval()
        reach = model.reach
        size = reach.multiple_px * (2 * (reach.overlap_px // reach.multiple_px) + 2)
        whole = torch.rand(1, 3, size, size)
        strength = torch.full((1, 1, 1, 1), 0.1)
        made = model.restore(whole, None, strength)
        cut = model.restore(whole[:, :, :, : size - reach.multiple_px], None, strength)
        safe = reach.scale * (size - reach.multiple_px - reach.overlap_px)
        assert (made[..., :safe] - cut[..., :safe]).abs().max() < 1 / 255


class TestRecurrent:
    def test_passes_feed_on_each_other_and_go_on_without_end(self):
        model = make_model("recurrent").eval()
        assert isinstance(model, Refines)
        assert not isinstance(make_model("noise"), Refines)
        images, strength = torch.rand(1, 3, 16, 16), torch.full((1, 1, 1, 1), 0.1)
        made = list(itertools.islice(model.refine(images, None, strength), 6))
        assert all(not torch.equal(a, b) for a, b in itertools.pairwise(made))
        assert torch.equal(model.restore(images, None, strength), made[model.passes - 1])

    def test_no_pass_is_made_in_vain(self):
        model, made = make_model("recurrent"), []
        model.network.register_forward_hook(lambda *_: made.append(1))
        batch = make_batch(model, (3, 8, 8))
        model.loss("restorer", batch, Draws(0, range(N)))
        model.restore(batch.images, None, batch.strengths)
        assert len(made) == 2 * model.passes

    def test_all_passes_are_trained(self):
        model = make_model("recurrent")
        batch = make_batch(model, (3, 16, 16))
        made = list(itertools.islice(model.refine(batch.images, None, batch.strengths), 3))
        guess = (model.estimate(batch.images) - 0.1).abs().mean()
        wanted = torch.stack([(m - batch.targets).abs().mean() for m in made]).mean() + guess
        torch.testing.assert_close(model.loss("restorer", batch, Draws(0, range(N)))["loss"], wanted)

    def test_one_set_of_weights_for_any_number_of_passes(self):
        few, many = (
            build("recurrent", {"spec": DataSpec(channels=1, height_px=8, width_px=8), "passes": n}) for n in (1, 7)
        )
        assert few.state_dict().keys() == many.state_dict().keys()


def test_the_averaged_model_is_validated_without_the_critic_it_does_not_have():
    model = make_model("losses")
    batch = make_batch(model, (3, 16, 16))
    del model.discriminator
    assert torch.isfinite(model.validate(batch, Draws(0, range(N)))["loss"])


def test_the_losses_are_a_weighted_sum():
    def loss(**weights):
        model = make_model("plain")
        model.losses = model.losses.model_copy(update={"l1": 0.0, **weights})
        return float(model.loss("restorer", make_batch(model, (3, 8, 8)), Draws(0, range(N)))["loss"].detach())

    alone = [loss(**{name: 1.0}) for name in ("l1", "l2", "charbonnier", "psnr")]
    assert alone[0] == pytest.approx(alone[2], rel=1e-3)
    weighted = 2 * alone[0] + 3 * alone[1] + 0.5 * alone[2] + 4 * alone[3]
    assert loss(l1=2.0, l2=3.0, charbonnier=0.5, psnr=4.0) == pytest.approx(weighted)


class TestToldWrong:
    """What keeps a network from believing all that it is told."""

    def test_of_a_share_of_the_pictures_by_up_to_twice_or_half_and_a_little_more(self):
        told = mistold(torch.full((4000, 1, 1, 1), 0.2), 0.25, Draws(0, range(4000))).flatten()
        wrong = told[told != 0.2]
        assert len(wrong) / 4000 == pytest.approx(0.25, abs=0.03)
        assert 0.1 <= wrong.min() < 0.11
        assert 0.39 < wrong.max() < 0.4 + FEW
        nothing = mistold(torch.zeros(4000, 1, 1, 1), 1.0, Draws(0, range(4000)))
        assert nothing.mean() == pytest.approx(FEW / 2, rel=0.05)

    def test_a_map_is_wrong_by_one_factor(self):
        varying = torch.rand(6, 1, 4, 4) + 0.5
        told = mistold(varying, 1.0, Draws(0, range(6)))
        slope = (told - told[..., :1, :1])[..., 1:, 1:] / (varying - varying[..., :1, :1])[..., 1:, 1:]
        torch.testing.assert_close(slope, slope[..., :1, :1].expand_as(slope), rtol=1e-3, atol=1e-4)

    def test_the_guess_is_still_taught_the_truth_and_the_network_the_untruth(self):
        right, wrong = make_model("noise"), make_model("mistold")
        wrong.load_state_dict(right.state_dict())
        batch, draws = make_batch(right, (3, 16, 16)), Draws(0, [1, 6])
        batch.strengths[:] = 0.2
        assert (mistold(batch.strengths, 0.5, draws) != batch.strengths).any()
        told, mistaken = (model.loss("restorer", batch, draws) for model in (right, wrong))
        assert told["guess_error"] == mistaken["guess_error"]
        assert told["loss"] != mistaken["loss"]

    def test_not_where_nothing_is_told(self):
        with pytest.raises(ModelError, match="told_wrong: nothing is told; set told to"):
            build("restorer", {"spec": DataSpec(channels=3, height_px=8, width_px=8), "told_wrong": 0.1})


def test_a_missing_pixel_counts_as_many_times_as_said():
    def loss(weight, images, targets, masks):
        torch.manual_seed(0)
        spec = DataSpec(channels=1, height_px=8, width_px=8)
        model = build("restorer", {"spec": spec, "takes_masks": True, "mask_weight": weight})
        for parameter in model.parameters():
            parameter.data.zero_()  # so it gives back what it sees
        return float(
            model.loss("restorer", Batch(images, targets=targets, masks=masks), Draws(0, [0]))["loss"].detach()
        )

    masks = torch.zeros(1, 1, 8, 8)
    masks[..., 0] = 1
    images, targets = torch.full((1, 1, 8, 8), 0.5), torch.full((1, 1, 8, 8), 0.75)
    assert loss(1.0, images, targets, masks) == pytest.approx(0.25)
    assert loss(5.0, images, targets, masks) == pytest.approx(0.25 * (1 + 4 / 8))


@pytest.mark.parametrize("family", ["restorer", "recurrent"])
def test_a_gray_model_reckons_with_the_three_channels_that_go_through_it_at_once(family):
    specs = (DataSpec(channels=channels, height_px=16, width_px=16) for channels in (1, 3))
    gray, colour = (build(family, {"spec": spec}).reach.bytes_per_px for spec in specs)
    assert 2 * colour < gray < 3 * colour


def test_scaled_input_gives_scaled_output():
    """Without biases, the network learns nothing that holds at one brightness of the noise only."""
    torch.manual_seed(0)
    network, x = UNet(3, 2, (4, 8), 2), torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(network(3 * x), 3 * network(x))


class TestDetector:
    def make(self):
        torch.manual_seed(0)
        return build("detector", {"spec": DataSpec(channels=3, height_px=16, width_px=16), "widths": (8, 8)})

    def test_it_learns_where_damage_is(self):
        model, generator = self.make(), torch.Generator().manual_seed(0)
        assert isinstance(model, Detects)
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        masks = (torch.rand(8, 1, 16, 16, generator=generator) < 0.1).float()
        images = 0.4 + 0.2 * torch.rand(8, 3, 16, 16, generator=generator)
        images = images * (1 - masks) + masks
        for _ in range(60):
            figures = model.loss("detector", Batch(images, masks=masks), Draws(0, range(8)))
            optimizer.zero_grad()
            figures["loss"].backward()
            optimizer.step()
        assert figures["dice"] > 0.95
        assert ((model.detect(images) > 0.5) == (masks > 0.5)).float().mean() > 0.98

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_any_size_and_gray(self, shape):
        found = self.make().detect(torch.rand(2, *shape))
        assert found.shape == (2, 1, *shape[1:])
        assert 0 <= found.min() <= found.max() <= 1


class TestRefusals:
    def test_training_without_damage_noise_or_fitting_sizes(self):
        plain, noise, twice = (make_model(v) for v in ("plain", "noise", "twice"))
        images, draws = torch.rand(1, 3, 16, 16), Draws(0, [0])
        with pytest.raises(ModelError, match=r"restorer: learns from damaged and clean pictures; add \[\[degrade\]\]"):
            plain.loss("restorer", Batch(images), draws)
        with pytest.raises(ModelError, match=r"told: no step of \[\[degrade\]\] says how strong 'noise' was"):
            noise.loss("restorer", Batch(images, targets=images), draws)
        with pytest.raises(ModelError, match=r"scale: 2 makes \(32, 32\) of these pictures.*targets are \(16, 16\)"):
            twice.loss("restorer", Batch(images, targets=images), draws)
        detector = TestDetector().make()
        with pytest.raises(ModelError, match="detector: learns where damage is"):
            detector.loss("detector", Batch(images), draws)

    @pytest.mark.parametrize("family", ["restorer", "recurrent", "detector"])
    def test_no_levels(self, family):
        with pytest.raises(RecipeError, match="model.widths: .*should have at least 1"):
            build(family, {"spec": DataSpec(channels=3, height_px=8, width_px=8), "widths": ()})

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ({"losses": {"charbonier": 1.0}}, "model.losses.charbonier: unknown key; did you mean 'charbonnier'"),
            ({"losses": {"l1": -1.0}}, "model.losses.l1: .*greater than or equal to 0"),
            ({"scale": 5}, "model.scale"),
            ({"told": "nois"}, "model.told: .*expected, got 'nois'; did you mean 'noise'"),
        ],
    )
    def test_configs(self, config, message):
        with pytest.raises(RecipeError, match=message):
            build("restorer", {"spec": DataSpec(channels=3, height_px=8, width_px=8), **config})

    def test_no_loss_at_all(self):
        with pytest.raises(ModelError, match="losses: none has a weight above 0"):
            build("restorer", {"spec": DataSpec(channels=3, height_px=8, width_px=8), "losses": {"l1": 0.0}})


def test_the_quality_of_jpeg_can_be_learned():
    """Seen as it is, a picture hides what JPEG did to it: no better than a constant guess was learned."""
    photograph = Image.fromarray(load_sample_image("china.jpg"))
    draws, batches = np.random.default_rng(0), []
    for _ in range(60):
        pictures, told = [], draws.uniform(5, 95, 8)
        for quality in told:
            left, top = draws.integers(0, 500), draws.integers(0, 350)
            file = io.BytesIO()
            photograph.crop((left, top, left + 64, top + 64)).save(file, "JPEG", quality=round(quality))
            pictures.append(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255)
        batches.append((torch.stack(pictures), torch.from_numpy((100 - told) / 100).float()[:, None]))
    torch.manual_seed(0)
    estimator = StrengthEstimator(3, by_differences=True)
    optimizer = torch.optim.AdamW(estimator.parameters(), lr=2e-3, betas=(0.9, 0.99))
    errors = []
    for x, s in batches * 6:
        error = (estimator(x).flatten(1) - s).abs().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    constant = torch.cat([s for _, s in batches]).sub(0.5).abs().mean().item()
    assert np.mean(errors[-60:]) < 0.75 * constant
