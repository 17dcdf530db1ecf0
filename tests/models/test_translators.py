"""The families that translate pictures: what they take, what they give, what they learn."""

from __future__ import annotations

import pytest
import torch

from pentimento.capabilities import Restores, Translates, require
from pentimento.errors import ModelError, RecipeError
from pentimento.layers import UNet
from pentimento.model import Attribute, Batch, Condition, DataSpec
from pentimento.models import MODELS, build, load, save
from pentimento.models.cyclegan import ImagePool
from pentimento.runtime import Draws

N = 2
TOLD = {"conditional": True, "attributes": ("age", "paper"), "embed_dim": 3}
VARIANTS = {
    "pairs": ("pix2pix", {}),
    "told": ("pix2pix", {**TOLD, "shrink": 1}),
    "relativistic": ("pix2pix", {**TOLD, "loss": "relativistic"}),
    "l1": ("pix2pix", {"adversarial": 0.0}),
    "game": ("pix2pix", {"l1": 0.0, "loss": "least_squares"}),
    "unpaired": ("cyclegan", {"pool": 3}),
    "unpaired-plain": ("cyclegan", {"pool": 0, "identity": 0.0, "loss": "relativistic"}),
}
SHAPES = [(3, 24, 40), (1, 17, 9), (3, 1, 1), (1, 3, 50)]


def make_spec(channels=3, side=16):
    attributes = (Attribute(name="age", low=0, high=9), Attribute(name="paper", kind="categorical", values=("a", "b")))
    return DataSpec(channels=channels, height_px=side, width_px=side, classes=("x", "y"), attributes=attributes)


def make_model(variant, channels=3, side=16, seed=0, **config):
    family, options = VARIANTS[variant]
    torch.manual_seed(seed)
    spec = make_spec(channels, side)
    return build(family, {"spec": spec, "widths": (4, 8), "blocks": 1, "discriminator_width": 4, **options, **config})


def make_batch(shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    images, targets = (torch.rand(N, *shape, generator=generator) for _ in range(2))
    attributes = torch.tensor([[1.0, 0.0], [8.0, 1.0]])
    return Batch(images, labels=torch.tensor([0, 1]), attributes=attributes, targets=targets)


def move(model, batch, draws):
    """One backward pass of every player; the figures of each."""
    figures = {}
    for player in model.players():
        model.requires_grad_(False)
        for name in player.modules:
            getattr(model, name).requires_grad_(True)
        figures[player.name] = model.loss(player.name, batch, draws)
        figures[player.name]["loss"].backward()
    return figures


@pytest.mark.parametrize("variant", VARIANTS)
class TestContract:
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_every_parameter_of_every_player_learns(self, variant, shape):
        model = make_model(variant, shape[0])
        if variant == "unpaired":  # what it remembers has the size of the training
            model.pools = torch.nn.ModuleDict({side: ImagePool(3, shape) for side in "ab"})
        figures = move(model, make_batch(shape), Draws(0, range(N)))
        for values in figures.values():
            assert all(torch.isfinite(v).all() and v.ndim == 0 for v in values.values())
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_the_result_is_a_picture_of_the_same_size(self, variant, shape):
        model = make_model(variant, shape[0]).eval()
        assert isinstance(model, Translates)
        batch = make_batch(shape)
        for reverse in (False, True) if model.reversible else (False,):
            made = model.translate(batch.images, batch.condition, reverse)
            assert made.shape == batch.images.shape
            assert made.min() >= 0
            assert made.max() <= 1
            other = model.translate(torch.rand(N, 4 - shape[0], *shape[1:]), batch.condition, reverse)
            assert other.shape == batch.images.shape  # gray into colour, colour into gray

    def test_saved_and_loaded_is_the_same_and_what_judges_stays_behind(self, variant, tmp_path):
        model = make_model(variant).eval()
        move(model, make_batch((3, 16, 16)), Draws(0, range(N)))
        save(model, tmp_path, card="")
        loaded, batch = load(tmp_path), make_batch((3, 20, 20))
        assert torch.equal(
            loaded.translate(batch.images, batch.condition), model.translate(batch.images, batch.condition)
        )
        assert {n for n, _ in loaded.named_children()} <= {"generator", "forth", "back"}

    def test_everything_is_made_on_the_model_s_device(self, variant):
        model, batch = make_model(variant).to("meta"), make_batch((3, 16, 16)).to("meta")
        for player in model.players():
            figures = model.loss(player.name, batch, Draws(0, range(N), device="meta"))
            assert {v.device.type for v in figures.values()} == {"meta"}

    def test_far_pixels_do_not_matter_as_reach_says(self, variant):
        model, condition = make_model(variant).eval(), make_batch((3, 8, 8)).condition[:1]
        reach = model.reach
        size = reach.multiple_px * (2 * (reach.overlap_px // reach.multiple_px) + 2)
        whole = torch.rand(1, 3, size, size)
        cut = whole[:, :, :, : size - reach.multiple_px]
        safe = size - reach.multiple_px - reach.overlap_px
        made = [model.translate(images, condition)[..., :safe] for images in (whole, cut)]
        assert (made[0] - made[1]).abs().max() < 1 / 255


# ----------------------------------------------------------------------------------------------- pix2pix
def train(model, steps, make, lr):
    """Adam for every player, as the loop does it; the last figures."""
    adams = {
        p.name: torch.optim.Adam([q for n in p.modules for q in getattr(model, n).parameters()], lr, p.betas)
        for p in model.players()
    }
    for step in range(steps):
        draws = Draws(0, range(8), step)
        for adam in adams.values():
            adam.zero_grad()
            adam.param_groups[0]["lr"] = lr * (1 - step / steps)
        batch = make(draws)
        for name, adam in adams.items():
            model.requires_grad_(False)
            for group in adam.param_groups:
                for parameter in group["params"]:
                    parameter.requires_grad_(True)
            model.loss(name, batch, draws)["loss"].backward()
            adam.step()


def flat(draws, count=8):
    """(count, 3, 8, 8) of one colour each."""
    return draws.uniform("colour", (3, 1, 1)).expand(count, 3, 8, 8).contiguous()


def test_it_learns_to_exchange_channels():
    model = make_model("l1", side=8, widths=(16,), shrink=2)
    train(model, 120, lambda draws: Batch(x := flat(draws), targets=x.flip(1)), lr=5e-3)
    x = flat(Draws(1, range(8)))
    assert (x - x.flip(1)).abs().mean() > 0.12
    assert model.validate(Batch(x, targets=x.flip(1)), Draws(0, range(8)))[model.monitor] < 0.03


def test_one_model_learns_two_looks_and_the_label_says_which():
    model = make_model("told", side=8, widths=(16,), shrink=2, attributes=(), adversarial=0.0)
    labels = torch.tensor([0, 1] * 4)

    def pairs(draws):
        x = flat(draws)
        return Batch(x, labels=labels, targets=torch.where((labels == 0).view(8, 1, 1, 1), x.flip(1), 1 - x))

    train(model, 200, pairs, lr=5e-3)
    held_out = pairs(Draws(1, range(8)))
    assert model.validate(held_out, Draws(0, range(8)))["l1"] < 0.08
    wrong = Condition(labels=1 - labels)
    assert (model.translate(held_out.images, wrong) - held_out.targets).abs().mean() > 0.16


def test_black_need_not_stay_black():
    assert not UNet(3, 3, (4, 8), 1)(torch.zeros(1, 3, 8, 8)).any()
    assert make_model("l1").generator(torch.zeros(1, 3, 8, 8), Condition()).any()


def test_the_loss_is_the_weighted_sum_and_without_a_game_there_is_one_player():
    batch, draws = make_batch((3, 16, 16)), Draws(0, range(N))

    def loss(**weights):
        model = make_model("pairs")
        model.l1, model.adversarial = weights["l1"], weights["adversarial"]
        return model.loss("generator", batch, draws)["loss"].detach()

    parts = loss(l1=1.0, adversarial=0.0), loss(l1=0.0, adversarial=1.0)
    torch.testing.assert_close(loss(l1=7.0, adversarial=3.0), 7 * parts[0] + 3 * parts[1])
    assert [p.name for p in make_model("l1").players()] == ["generator"]
    with pytest.raises(ModelError, match="l1, adversarial: one of them must have a weight above 0"):
        make_model("l1", l1=0.0)


@pytest.mark.parametrize("variant", ["pairs", "unpaired"])
def test_no_levels_are_refused(variant):
    with pytest.raises(RecipeError, match="model.widths: .*should have at least 1"):
        make_model(variant, widths=())


def test_what_it_cannot_learn_from():
    batch, draws = make_batch((3, 16, 16)), Draws(0, range(N))
    with pytest.raises(ModelError, match="pix2pix: learns from pairs; give them as pairs:FOLDER"):
        make_model("pairs").loss("generator", Batch(batch.images), draws)
    with pytest.raises(ModelError, match=r"pairs of one size expected, got \(3, 16, 16\) and \(3, 8, 8\)"):
        make_model("pairs").loss("generator", Batch(batch.images, targets=batch.targets[:, :, ::2, ::2]), draws)
    with pytest.raises(ModelError, match="pix2pix: learns from pairs"):
        make_model("pairs").check(Batch(batch.images))
    with pytest.raises(ModelError, match="cyclegan: learns from two sets"):
        make_model("unpaired").check(Batch(batch.images))
    with pytest.raises(ModelError, match="cyclegan: learns from two sets of pictures; name the other one by --second"):
        make_model("unpaired").loss("generators", Batch(batch.images), draws)
    with pytest.raises(ModelError, match="reverse: a 'pix2pix' translates one way"):
        make_model("pairs").translate(batch.images, Condition(), reverse=True)


def test_who_cannot_translate_is_told_who_can():
    restorer = build("restorer", {"spec": make_spec(), "widths": (4,)})
    with pytest.raises(ModelError, match="a 'restorer' model cannot do this; families that can: pix2pix, cyclegan"):
        require(restorer, Translates, "translate", MODELS)
    assert not isinstance(make_model("pairs"), Restores)


# ---------------------------------------------------------------------------------------------- cyclegan
def test_the_generators_loss_in_closed_form():
    """With generators that give back what they get, cycle and identity are 0; a judge that says 0 leaves the game."""
    model, batch = make_model("unpaired"), make_batch((3, 16, 16))
    for module in (model.forth.network.tail, model.back.network.tail, *(model.judges[s].body[-1] for s in "ab")):
        for parameter in module.parameters():
            parameter.data.zero_()
    figures = model.loss("generators", batch, Draws(0, range(N)))
    assert float(figures["cycle"].detach()) == float(figures["identity"].detach()) == 0
    assert float(figures["loss"].detach()) == 2  # (0 - 1)^2 from either judge
    assert float(model.loss("discriminators", batch, Draws(0, range(N)))["loss"].detach()) == 2  # (0 - 1)^2 + 0^2
    model.back.network.tail.weight.data.normal_()
    figures = {k: float(v.detach()) for k, v in model.loss("generators", batch, Draws(0, range(N))).items()}
    assert figures["loss"] == pytest.approx(figures["game"] + 10 * figures["cycle"] + 5 * figures["identity"])


def test_a_generator_out_of_bounds_is_judged_by_what_it_gives_and_can_come_back():
    """Values of thousands are white or black to the judges, so that the game stays bounded; its slope is not zero."""
    model, batch = make_model("unpaired", identity=0.0), make_batch((3, 16, 16))
    tail = model.forth.network.tail.weight
    tail.data.normal_().mul_(1000)
    assert model.forth(batch.images, Condition()).abs().max() > 100
    seen = []
    model.judges["b"].register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    model.loss("generators", batch, Draws(0, range(N)))["loss"].backward()
    model.loss("discriminators", batch, Draws(0, range(N)))
    assert len(seen) == 3  # made, then real and made
    assert all(float(pictures.min()) >= 0 and float(pictures.max()) <= 1 for pictures in seen)
    assert tail.grad.abs().sum() > 0


def test_there_and_back_are_two_networks():
    model, batch = make_model("unpaired").eval(), make_batch((3, 16, 16))
    there, back = (model.translate(batch.images, Condition(), reverse) for reverse in (False, True))
    assert not torch.equal(there, back)


class TestImagePool:
    def test_while_it_fills_it_gives_what_it_gets(self):
        pool, images = ImagePool(5, (1, 1, 1)), torch.arange(5.0).view(5, 1, 1, 1)
        assert torch.equal(pool(images[:3], Draws(0, range(3)), "a"), images[:3])
        assert torch.equal(pool(images[3:], Draws(0, range(2), 1), "a"), images[3:])
        assert torch.equal(pool.images, images)

    def test_then_half_are_older_and_each_makes_room_for_the_one_it_is_given_for(self):
        pool = ImagePool(50, (1, 1, 1))
        pool(torch.arange(50.0).view(50, 1, 1, 1), Draws(0, range(50)), "a")
        older = 0
        for step in range(1, 41):
            new = torch.arange(50.0 * step, 50.0 * step + 50).view(50, 1, 1, 1)
            before = set(pool.images.flatten().tolist())
            given = pool(new, Draws(0, range(50), step), "a")
            kept, came = set(pool.images.flatten().tolist()), set(new.flatten().tolist())
            assert kept | set(given.flatten().tolist()) == before | came  # nothing is lost, nothing is given twice
            assert not kept & set(given.flatten().tolist())
            older += int((given != new).sum())
        assert 0.45 < older / 2000 < 0.55

    def test_it_remembers_by_state_and_draws_alone(self):
        pools = [ImagePool(4, (1, 2, 2)) for _ in range(2)]
        for step in range(3):
            torch.manual_seed(step)
            pools[0](torch.rand(3, 1, 2, 2), Draws(0, range(3), step), "a")
        pools[1].load_state_dict(pools[0].state_dict())
        images = torch.rand(6, 1, 2, 2)
        given = []
        for seed, pool in enumerate(pools):
            torch.manual_seed(seed)
            given.append(pool(images, Draws(0, range(6), 3), "a"))
        assert torch.equal(*given)
        assert torch.equal(pools[0].images, pools[1].images)

    def test_it_is_part_of_the_training_and_not_of_the_model(self):
        model = make_model("unpaired")
        names = set(model.state_dict())
        assert {"pools.a.images", "pools.b.count"} <= names
        assert not any(name.startswith("pools") for name in model.shipped_state())
