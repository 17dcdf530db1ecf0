"""Editing: that a model's own pictures are found again, that nothing set changes nothing, and what stays untouched."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pentimento
from pentimento import images
from pentimento.errors import InputError, ModelError, NotFoundError
from pentimento.images import Picture
from pentimento.interventions import Do
from pentimento.model import Attribute, DataSpec
from pentimento.models import build
from pentimento.runtime import Draws
from pentimento.tasks.edit import Wishes, add_changes, edited, fitted, label_of, read_dos, strip
from pentimento.tasks.generate import make_condition
from pentimento.tasks.invert import Search, candidates, check_latent, invert

SPEC = DataSpec(
    channels=1,
    height_px=16,
    width_px=16,
    classes=("cat", "dog", "owl"),
    attributes=(
        Attribute(name="size", low=1.0, high=2.0),
        Attribute(name="shape", kind="categorical", values=("disc", "bar")),
    ),
)
TOLD = {"size": 1.5, "shape": "bar"}
CONFIG = {"spec": SPEC, "conditional": True, "width": 4, "latent_dim": 4}
QUICK = Search(steps=60)


def small(family, **config):
    torch.manual_seed(0)
    return build(family, {**CONFIG, **config}).eval()


def own_sample(model, label, index=3):
    """A picture that the model made: (1, C, H, W)."""
    noise = model.draw_noise(Draws(99, [index]))
    with torch.no_grad():
        return model.sample(noise, make_condition(model, 1, 0, label))


@pytest.fixture(scope="module")
def gan():
    return small("gan", norm="none", backbone="mlp")


@pytest.fixture(scope="module")
def picture():
    """A picture of some size with alpha, in 16 bits."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 65536, (50, 34, 3), dtype=np.uint16)
    return Picture(pixels, generator.integers(0, 65536, (50, 34), dtype=np.uint16))


# ---------------------------------------------------------------------------------------------------- invert
def test_a_pictures_noise_is_found_again(gan):
    image = own_sample(gan, "dog")
    found = invert(gan, image, candidates(gan, "dog", {}), QUICK)
    plain = float(image.std(correction=0)) * 255
    assert found.missed == pytest.approx((found.rmse / plain) ** 2, rel=1e-4) and found.missed < 0.02
    assert found.psnr_db == pytest.approx(20 * np.log10(255 / found.rmse))


def test_a_digit_of_the_zoo_is_found_again():
    model = pentimento.load("mnist-gan")
    found = invert(model, own_sample(model, "3"), candidates(model, "3", {}), QUICK)
    assert found.rmse < 12  # of a real digit, 15 in 200 steps; the digit's own deviation is about 80


def test_the_class_that_fits_is_taken():
    model = pentimento.load("mnist-gan")
    found = invert(model, own_sample(model, "3"), candidates(model, None, {}), Search(steps=24))
    assert label_of(model, found) == "3"


def test_a_model_that_encodes_says_the_latent_itself():
    model = small("vae", attributes=("size", "shape"))
    image, condition = torch.rand(1, *SPEC.image_shape), candidates(model, "owl", TOLD)
    found = invert(model, image, condition)
    with torch.no_grad():
        latent = model.encode(image, condition)
        assert torch.equal(found.noise["latent"], latent)
        assert torch.equal(found.reconstruction, model.decode(latent, condition))
    each = [invert(model, image, candidates(model, name, TOLD)).error for name in SPEC.classes]
    told_nothing = invert(model, image, candidates(model, None, TOLD))
    assert label_of(model, told_nothing) == SPEC.classes[int(np.argmin(each))]


def test_the_same_seed_finds_the_same_latent(gan):
    image, condition = own_sample(gan, "cat"), candidates(gan, "cat", {})
    first, again, other = (invert(gan, image, condition, Search(steps=5, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first.noise["latent"], again.noise["latent"])
    assert not torch.equal(first.noise["latent"], other.noise["latent"])


def test_each_step_is_told_and_can_stop_it(gan):
    seen = []
    invert(gan, own_sample(gan, "cat"), candidates(gan, None, {}), Search(steps=8), seen.append)
    assert [(p.stage, p.done, p.total) for p in seen] == [
        *(("classes", n, 2) for n in (1, 2)),
        *(("invert", n, 8) for n in range(1, 9)),
    ]

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        invert(gan, own_sample(gan, "cat"), candidates(gan, "cat", {}), QUICK, stop)


def test_what_cannot_be_inverted(gan):
    with pytest.raises(ModelError, match="'cnn' model makes no pictures of a latent; families that can: gan, vae"):
        check_latent(build("cnn", {"spec": SPEC}))
    with pytest.raises(ModelError, match=r"image: \(1, 1, 16, 16\) expected, got \(1, 3, 16, 16\)"):
        invert(gan, torch.rand(1, 3, 16, 16))
    told = small("vae", attributes=("size", "shape"))
    with pytest.raises(ModelError, match=r"told shape \(one of disc, bar\) of the picture; say --attribute NAME=VALUE"):
        candidates(told, "cat", {"size": 1.5})
    with pytest.raises(ModelError, match="trained without labels"):
        candidates(small("gan", conditional=False), "cat", {})
    with pytest.raises(InputError, match="--steps: 1 or more expected, got 0"):
        Search(steps=0)
    with pytest.raises(InputError, match="--seed: 0 or more"):
        Search(seed=-1)


# ------------------------------------------------------------------------------------------------------ edit
def test_nothing_set_changes_nothing_and_a_label_is_set_alone(gan):
    found = invert(gan, own_sample(gan, "dog"), candidates(gan, "dog", {}), Search(steps=5))
    assert torch.equal(edited(gan, found, ()), found.reconstruction)
    with torch.no_grad():
        wanted = gan.sample(found.noise, make_condition(gan, 1, 0, "owl"))
    assert torch.equal(edited(gan, found, [Do("label", "owl")]), wanted)


def test_doses_are_a_picture_each(gan):
    arms, warnings = read_dos(gan, ["label=owl", "latent[1]=-4,0,4"], seed=0)
    assert arms == [(Do("label", "owl"), Do("latent", v, (1,))) for v in (-4.0, 0.0, 4.0)]
    assert len(warnings) == 2
    named, _ = read_dos(gan, ["label=owl,cat"], seed=0)
    assert named == [(Do("label", "owl"),), (Do("label", "cat"),)]
    image = torch.rand(1, 1, 16, 16)
    sheet = strip(image, image, [image] * len(arms))
    assert sheet.shape == (1, 16 + 2 * 2, 5 * 18 + 2)
    with pytest.raises(ModelError, match=r"make a strip; latent has some already"):
        read_dos(gan, ["latent[1]=0,1", "latent[2]=0,1"], seed=0)
    with pytest.raises(NotFoundError, match="no file"):
        read_dos(gan, ["@none.json"], seed=0)
    with pytest.raises(InputError, match="nothing to set"):
        Wishes(())


def test_a_picture_is_fitted_as_in_training(picture):
    spec = DataSpec(channels=1, height_px=16, width_px=16)
    black = Picture(np.zeros((40, 20, 3), np.uint8), np.zeros((40, 20), np.uint8))
    assert fitted(picture, spec).shape == (1, 1, 16, 16)
    assert torch.equal(fitted(black, spec), torch.ones(1, 1, 16, 16))  # all of it is transparent: white


def test_what_did_not_change_stays_bit_for_bit(picture, tmp_path):
    change = torch.zeros(1, 1, 16, 16)
    change[:, :, :, 8:] = 0.5
    change[:, :, :, :8] = 0.9 / 255  # too small to be seen
    made, changed = add_changes(picture, change)
    assert not changed[:4].any() and not changed[-4:].any()  # the model has not seen these
    assert changed[10:-10, 20:].all() and not changed[:, :12].any()
    images.write(tmp_path / "a.png", made, like=picture, changed=changed)
    after = images.read(tmp_path / "a.png")
    assert np.array_equal(after.pixels[~changed], picture.pixels[~changed])
    assert np.array_equal(after.alpha, picture.alpha)
    inner = slice(14, 36), slice(22, 32)
    wanted = (picture.to_tensor(None)[:, *inner] + 0.5).clamp(max=1)
    assert torch.allclose(made[:, *inner], wanted, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(19, 16), (16, 21), (18, 16), (16, 16)])
def test_changes_go_where_they_were_seen(height, width):
    """Also where what is cut away is an odd number of pixels."""
    pixels = np.random.default_rng(0).integers(0, 200, (height, width, 1), dtype=np.uint8)
    lighter = pixels.copy()
    lighter[height // 2, width // 2] += 50
    before, after = Picture(pixels), Picture(lighter)
    made, changed = add_changes(before, fitted(after, SPEC) - fitted(before, SPEC))
    assert torch.allclose(made, after.to_tensor(), atol=1e-6) and changed.sum() == 1


def test_changes_of_the_pictures_own_size_are_added_as_they_are():
    own = Picture(np.full((16, 16, 1), 100, np.uint8))
    change = torch.linspace(-0.2, 0.2, 256).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    made, changed = add_changes(own, change)
    wanted = own.to_tensor() + change[:, 0] * (change[:, 0].abs() >= 1 / 255)
    assert torch.allclose(made, wanted, atol=1e-6) and 240 < changed.sum() < 256
