"""Style transfer by optimisation: the losses by hand, the plan of scales, regions, blends; and what it refuses."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from pentimento.errors import EvaluationError, ImageError, InputError, ModelError, TrainingError
from pentimento.features import FeatureNetwork, open_network
from pentimento.features.convnets import VGG19, CifarResNet, CompressedVGG
from pentimento.losses import gram
from pentimento.tasks.optimize import Objective, Schedule, Style, optimize, plan
from pentimento.tasks.style_objective import Goal, statistics

SMALL = Objective(content_layers=("relu2_1",), style_layers=("relu1_1", "relu2_1"))


@pytest.fixture(scope="module")
def network():
    """A compressed VGG of two blocks with drawn weights, and pools."""
    torch.manual_seed(0)
    made = CompressedVGG({"relu1_1": 4, "relu1_2": 5, "relu2_1": 6}).requires_grad_(False)
    made.name = "small"
    return made


def picture(height=24, width=30, seed=0):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def half(left, height=24, width=30):
    mask = torch.zeros(1, 1, height, width)
    mask[..., : width // 2] = 1
    return mask if left else 1 - mask


def last(*args, **kwargs):
    *_, step = optimize(*args, **kwargs)
    return step


# ------------------------------------------------------------------------------------------------ losses
def test_losses_are_the_relative_distances_of_the_formula(network):
    content, style, x = picture(32, 32), picture(32, 32, seed=1), picture(32, 32, seed=2)  # no style is scaled
    goal = Goal(content, [Style(style)], network, SMALL, "fp32")
    maps, wanted, painted = (network.maps(image) for image in (x, content, style))
    deep = "relu2_1"
    part = (maps[deep] - wanted[deep]).square().sum() / wanted[deep].square().sum()
    grams = [(gram(maps[name]), gram(painted[name])) for name in SMALL.style_layers]
    look = sum((g - a).square().sum() / a.square().sum() for g, a in grams) / 2
    found = goal(x)
    assert torch.allclose(found["content"], part)
    assert torch.allclose(found["style"], look)
    whole = SMALL.content_weight * part + SMALL.style_weight * look + SMALL.tv_weight * found["tv"]
    assert torch.allclose(found["loss"], whole)
    same = Goal(content, [Style(content)], network, SMALL, "fp32")(content)
    assert same["content"] == same["style"] == 0


def test_losses_in_bf16_are_nearly_those_in_fp32(network):
    pictures = picture(32, 32), [Style(picture(32, 32, seed=1))]
    for x in (picture(32, 32, seed=2), picture(32, 32)):
        short, full = (Goal(*pictures, network, SMALL, precision)(x)["loss"] for precision in ("bf16", "fp32"))
        assert short != full
        assert torch.allclose(short, full, rtol=0.02)


@pytest.mark.parametrize("kind", ["gram", "moments"])
def test_gradient_of_the_losses(network, kind):
    wide = CompressedVGG({"relu1_1": 4, "relu1_2": 5, "relu2_1": 6}).double().requires_grad_(False)
    wide.load_state_dict(network.state_dict())
    objective = Objective(content_layers=("relu2_1",), style_layers=("relu1_1",), statistics=kind)
    mask = half(True, 4, 4).double()
    styles = [Style(picture(32, 32, 1).double(), mask=mask), Style(picture(32, 32, 2).double(), mask=1 - mask)]
    goal = Goal(picture(4, 4).double(), styles, wide, objective)
    x = picture(4, 4, seed=3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: goal(x)["loss"], x, eps=1e-7, atol=1e-4, fast_mode=True)


def test_moments_are_mean_and_covariance():
    maps = torch.randn(1, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    mean, covariance = statistics(maps, "moments")
    rows = maps.flatten(2)[0]
    assert torch.allclose(mean[0, :, 0], rows.mean(1), atol=1e-6)
    assert torch.allclose(covariance[0], torch.cov(rows, correction=0), atol=1e-6)
    weights = torch.zeros(1, 1, 5, 7)
    weights[..., :2, :3] = 2.0
    inside = statistics(maps[..., :2, :3], "moments")
    for found, wanted in zip(statistics(maps, "moments", weights), inside, strict=True):
        assert torch.allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("kind", ["gram", "moments"])
def test_a_mask_over_everything_changes_nothing(network, kind):
    objective = Objective(content_layers=("relu2_1",), style_layers=("relu1_1", "relu2_1"), statistics=kind)
    plain, guided = (
        Goal(picture(), [Style(picture(20, 40, 1), mask=mask)], network, objective)(picture(seed=2))
        for mask in (None, torch.ones(1, 1, 24, 30))
    )
    assert torch.allclose(plain["loss"], guided["loss"], rtol=1e-5)


def test_a_region_looks_at_its_own_pixels_alone(network):
    """The first map of one half does not see the other, where a style without weight wants nothing."""
    shallow = Objective(content_weight=0, content_layers=("relu1_1",), style_layers=("relu1_1",), tv_weight=0)
    styles = [Style(picture(40, 30, 1), mask=half(True)), Style(picture(40, 30, 2), mask=half(False), weight=0)]
    x = picture(seed=3).requires_grad_()
    Goal(picture(), styles, network, shallow)(x)["loss"].backward()
    assert x.grad[..., :15].abs().amin((0, 1)).min() > 0
    assert x.grad[..., 16:].abs().max() == 0  # column 15 is seen by the 3x3 about column 14


# ------------------------------------------------------------------------------------------------- plan
def test_scales_are_halves_with_as_many_steps_each():
    stages = plan((341, 512), Schedule(steps=300))
    assert [size for size, _ in stages] == [(85, 128), (170, 256), (341, 512)]
    assert [steps for _, steps in stages] == [100, 100, 100]
    assert [steps for _, steps in plan((341, 512), Schedule(steps=5))] == [1, 2, 2]
    assert plan((500, 101), Schedule(steps=9)) == [((500, 101), 9)]  # too narrow to be halved
    assert [size for size, _ in plan((40, 60), Schedule(scales=3))] == [(10, 15), (20, 30), (40, 60)]
    assert [size for size, _ in plan((40, 60), Schedule(scales=(30, 45)))] == [(20, 30), (30, 45), (40, 60)]
    assert plan((40, 60), Schedule(scales=(60,), steps=1)) == [((40, 60), 1)]
    assert len(plan((4000, 6000), Schedule(steps=2))) == 2  # fewer scales than it would like


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"steps": 0}, "steps: 1 or more expected, got 0"),
        ({"steps": 2, "scales": 3}, "steps: at least one for each of 3 scales expected, got 2"),
        ({"lr": 0.0}, "lr: a number above 0 expected, got 0"),
        ({"scales": 0}, "scales: a number, or sides in pixels from small to large, expected, got 0"),
        ({"scales": (64, 32)}, r"from small to large, expected, got \(64, 32\)"),
        ({"scales": (32, 99)}, r"scales: up to the content's 60x40 px expected, got \(32, 99\)"),
        ({"scales": 9}, "scales: at most 7 for 60x40 px expected, got 9"),
    ],
)
def test_schedules_that_cannot_be(asked, problem):
    with pytest.raises(InputError, match=problem):
        plan((40, 60), Schedule(**asked))


# ----------------------------------------------------------------------------------------------- search
@pytest.mark.parametrize(("method", "start"), [("lbfgs", "content"), ("lbfgs", "noise"), ("adam", "noise")])
def test_the_loss_falls_and_the_same_seed_gives_the_same_picture(network, method, start):
    schedule = Schedule(method=method, start=start, steps=32, scales=(15,), seed=4)
    told = []
    steps = list(optimize(picture(25, 31), [Style(picture(17, 50, 1))], network, SMALL, schedule, progress=told.append))
    assert [step.size for step in (steps[0], steps[-1])] == [(12, 15), (25, 31)]
    assert steps[15].losses["loss"] < 0.5 * steps[0].losses["loss"]
    assert all(step.picture.shape == (1, 3, 25, 31) for step in steps)
    assert 0 <= steps[-1].picture.min() < steps[-1].picture.max() <= 1
    assert [(p.done, p.total, p.unit, dict(p.figures)) for p in told] == [
        (step.done, 32, "steps", step.losses) for step in steps
    ]
    again = last(picture(25, 31), [Style(picture(17, 50, 1))], network, SMALL, schedule)
    assert torch.equal(steps[-1].picture, again.picture)
    if start == "noise":
        other = last(picture(25, 31), [Style(picture(17, 50, 1))], network, SMALL, Schedule(steps=1, start="noise"))
        assert not torch.equal(other.picture, steps[0].picture)


def test_the_losses_of_a_step_are_those_of_its_picture(network):
    styles = [Style(picture(40, 40, 1))]
    step = last(picture(), styles, network, SMALL, Schedule(steps=6))
    found = Goal(picture(), styles, network, SMALL)(step.picture)
    assert {name: pytest.approx(float(value), rel=1e-4) for name, value in found.items()} == step.losses


def test_a_style_without_weight_counts_for_nothing(network):
    one, two = Style(picture(30, 30, 1), weight=3.0), Style(picture(20, 50, 2), weight=0.0)
    alone, both = (last(picture(), styles, network, SMALL, Schedule(steps=8)) for styles in ([one], [one, two]))
    assert torch.equal(alone.picture, both.picture)


def test_weights_are_relative_and_blend_the_statistics(network):
    x = picture(seed=3)
    pair = [picture(32, 32, 1), picture(32, 32, 2)]
    found = [
        Goal(picture(), [Style(p, w) for p, w in zip(pair, weights, strict=True)], network, SMALL)
        for weights in ((1, 3), (0.5, 1.5))
    ]
    assert torch.equal(found[0](x)["style"], found[1](x)["style"])
    grams = [network.maps(p)["relu1_1"] for p in pair]
    wanted = 0.25 * gram(grams[0]) + 0.75 * gram(grams[1])
    assert torch.allclose(found[0].regions[0].target["relu1_1"][0], wanted)


def test_holes_keep_the_content(network):
    styles = [Style(picture(30, 30, 1), mask=half(True))]
    *_, step = optimize(picture(), styles, network, SMALL, Schedule(steps=8))
    moved = (step.picture - picture()).abs()
    assert moved[..., 16:].max() == 0
    assert moved[..., :14].mean() > 0.01


def test_whoever_stops_has_the_last_picture_and_the_rest_is_not_done(network):
    told = []
    for step in optimize(picture(), [Style(picture(seed=1))], network, SMALL, progress=told.append):
        if step.done == 3:
            break
    assert len(told) == 3
    assert torch.isfinite(step.picture).all()


@pytest.mark.parametrize(("method", "after"), [("adam", 2), ("lbfgs", 0)])
def test_a_loss_that_is_not_finite_leaves_the_steps_before(network, monkeypatch, method, after):
    real, calls = Goal.__call__, itertools.count()

    def failing(self, image):
        worth = 1.0 if next(calls) < after else math.nan
        return {name: value * worth for name, value in real(self, image).items()}

    monkeypatch.setattr(Goal, "__call__", failing)
    seen = []
    with pytest.raises(TrainingError, match=f"not finite at step {after + 1} of 300; lower the weights of content"):
        for step in optimize(picture(), [Style(picture(seed=1))], network, SMALL, Schedule(method=method)):
            seen.append(step)  # noqa: PERF402
    assert len(seen) == after
    assert all(torch.isfinite(step.picture).all() for step in seen)


# -------------------------------------------------------------------------------------------- bad input
WHOLE = torch.ones(1, 1, 24, 30)


@pytest.mark.parametrize(
    ("styles", "error", "problem"),
    [
        ([], InputError, "styles: at least one expected, got none"),
        ([Style(picture(1, 1))], ImageError, "style 1: at least 16x16 px expected, got 1x1; a smaller picture"),
        ([Style(picture()), Style(picture(8, 30))], ImageError, "style 2: at least 16x16 px expected, got 30x8"),
        ([Style(picture()[:, :1])], ImageError, r"style 1: one RGB picture, \(1, 3, H, W\), expected, got \(1, 1"),
        ([Style(picture(), -1), Style(picture())], InputError, "weights of the styles: 0 or more, .* got -1, 1"),
        ([Style(picture(), 0), Style(picture(), 0)], InputError, "one above 0, expected, got 0, 0"),
        ([Style(picture(), math.nan)], InputError, "one above 0, expected, got nan"),
        (
            [Style(picture(), mask=half(True)), Style(picture(), mask=0.2 * WHOLE)],
            ImageError,
            "masks: they overlap at 360 of 720 pixels; paint the regions of the styles apart",
        ),
        (
            [Style(picture(), mask=torch.ones(1, 1, 9, 30))],
            ImageError,
            "mask of style 1: the size of the content, 30x24, and one channel expected, got 30x9, 1 channel",
        ),
        ([Style(picture(), mask=0 * WHOLE)], ImageError, "mask of style 1: black all over"),
        ([Style(picture(), mask=WHOLE), Style(picture())], ImageError, "one for every style or none .* got 1 for 2"),
    ],
)
def test_styles_that_cannot_be_used(network, styles, error, problem):
    with pytest.raises(error, match=problem):
        optimize(picture(), styles, network, SMALL)


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"style_weight": -1.0}, "weights of content, style and tv: .* expected, got 1, -1, 0.5"),
        ({"content_weight": 0.0, "style_weight": 0.0, "tv_weight": 0.0}, "one above 0, expected, got 0, 0, 0"),
        ({"style_layers": ()}, "style_layers: at least one each expected, got none; use a weight of 0"),
        ({"style_scale": 0.0}, "style_scale: a number above 0 expected, got 0"),
    ],
)
def test_objectives_that_cannot_be(asked, problem):
    with pytest.raises(InputError, match=problem):
        Objective(**asked)


def test_networks_that_do_not_fit(network):
    styles = [Style(picture())]
    with pytest.raises(ModelError, match="layers: small has no 'relu4_1'; did you mean 'relu2_1' or 'relu1_1'"):
        next(optimize(picture(), styles, network))
    with pytest.raises(EvaluationError, match="small: relu2_1 needs pictures of at least 4x4 px, got 3x30"):
        next(optimize(picture(3, 30), styles, network, SMALL))
    blind = FeatureNetwork()
    blind.name, blind.kind = "blind", "a network"
    with pytest.raises(ModelError, match="blind: a network has no feature maps to compare"):
        next(optimize(picture(), styles, blind))
    resnet = CifarResNet(1, 2)
    resnet.name = "resnet"
    with pytest.raises(ModelError, match="pooling: resnet has no maximum pools to replace by means; use pooling 'max'"):
        optimize(picture(), styles, resnet, Objective(pooling="average"))


# ---------------------------------------------------------------------------------------------- networks
def test_average_pooling(network):
    twin = network.averaging()
    images = picture(8, 8)
    wanted = torch.nn.functional.avg_pool2d(network.maps(images)["relu1_2"], 2)
    convolved = torch.relu(network.get_submodule("conv21")(wanted))
    assert torch.allclose(twin.maps(images)["relu2_1"], convolved, atol=1e-6)
    assert not torch.allclose(network.maps(images)["relu2_1"], convolved)  # the original takes maxima still
    perceptual = open_network("perceptual")
    first, second = (n.maps(picture(33, 21))["relu5_1"] for n in (perceptual, perceptual.averaging()))
    assert first.shape == second.shape
    assert not torch.allclose(first, second)
    assert "5.pool" not in str(list(VGG19().state_dict()))  # no tensors of its own


@pytest.mark.parametrize(("size", "pooling"), [((48, 65), "max"), ((63, 16), "average")])
def test_defaults_with_the_embedded_network(size, pooling):
    styles, objective = [Style(picture(16, 40, 1).square())], Objective(pooling=pooling)
    steps = list(optimize(picture(*size), styles, open_network("perceptual"), objective, Schedule(steps=16)))
    assert steps[-1].losses["loss"] < 0.5 * steps[0].losses["loss"]
    assert steps[-1].losses["style"] < 0.5 * steps[0].losses["style"]
