"""Augmentation: what it leaves alone, what it moves, and that gradients flow."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pydantic
import pytest
import torch

from pentimento.data.augment import Augment, _hue_matrix, augment
from pentimento.errors import DataError
from pentimento.runtime import Draws

EVERYTHING = Augment(
    mirror=True, shift=0.1, rotate_degrees=20, scale=0.2, colour=0.5, hue_degrees=40, permute=True, cutout=0.3
)
DRAWS = Draws(0, range(6))


def images(n: int = 6, c: int = 3, h: int = 9, w: int = 12) -> torch.Tensor:
    return torch.rand(n, c, h, w, generator=torch.Generator().manual_seed(0))


def test_options_import_no_torch() -> None:
    code = (
        "import sys; from pentimento.data.augment import Augment; Augment(shift=0.1); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "wrong", [{"shift": 1.5}, {"colour": -0.1}, {"scale": -1}, {"cutout": 2}, {"flip": True}, {"hue_degrees": 181}]
)
def test_options_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(pydantic.ValidationError):
        Augment.model_validate(wrong)


def test_nothing_asked_nothing_done() -> None:
    x = images()
    assert augment(x, Augment(), DRAWS, clamp=True) is x


def test_turns_are_exact_and_each_as_likely() -> None:
    x = torch.rand(400, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    y = augment(x, Augment(turns=True), Draws(0, range(400)))
    found = [(y == torch.rot90(x, k, (2, 3))).flatten(1).all(1).sum().item() for k in range(4)]
    assert sum(found) == 400
    assert min(found) > 70
    with pytest.raises(DataError, match="augment.turns: square pictures expected, these are 4x5"):
        augment(x[:, :, :4], Augment(turns=True), Draws(0, range(400)))


def test_mirror_is_exact_and_of_half() -> None:
    x = images(200)
    y = augment(x, Augment(mirror=True), Draws(0, range(200)))
    flipped = (y == x.flip(3)).flatten(1).all(1)
    same = (y == x).flatten(1).all(1)
    assert (flipped ^ same).all()
    assert 70 < flipped.sum() < 130  # 100 +- 4 standard errors


@pytest.mark.parametrize("fill", ["zeros", "border"])
def test_shift_moves_whole_pixels(fill: str) -> None:
    x = images(8, 1, 10, 20) + 1
    y = augment(x, Augment(shift=0.2), Draws(1, range(8)), fill=fill)  # type: ignore[arg-type]
    moved = 0
    for a, b in zip(x, y, strict=True):
        matches = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-4, 5)
            if torch.allclose(a[:, 2 - dy : 8 - dy, 4 - dx : 16 - dx], b[:, 2:8, 4:16], atol=1e-5)
        ]
        assert len(matches) == 1
        moved += matches[0] != (0, 0)
        dy, dx = matches[0]
        if dx > 0 and dy == 0:
            outside = torch.zeros(()) if fill == "zeros" else a[:, 2:8, :1]
            assert torch.allclose(b[:, 2:8, :dx], outside.expand(1, 6, dx), atol=1e-5)
    assert moved > 4


def test_rotation_keeps_proportions_of_wide_pictures() -> None:
    # A centred disc stays a disc under any rotation, also where the sides differ.
    y, x = torch.meshgrid(torch.arange(40) - 19.5, torch.arange(80) - 39.5, indexing="ij")
    disc = torch.sigmoid(12 - (x * x + y * y).sqrt()).expand(4, 1, 40, 80)
    turned = augment(disc, Augment(rotate_degrees=180), Draws(0, range(4)))
    assert (turned - disc).abs().max() < 0.1


def test_scale_stays_in_its_range() -> None:
    y, x = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij")
    disc = torch.sigmoid(12 - (x * x + y * y).sqrt()).expand(50, 1, 64, 64)
    radii = (augment(disc, Augment(scale=0.5), Draws(0, range(50))).sum((1, 2, 3)) / torch.pi).sqrt() / 12
    assert radii.min() > 1 / 1.5 - 0.03
    assert radii.max() < 1.5 + 0.03
    assert radii.min() < 0.8
    assert radii.max() > 1.2


def test_cutout_erases_one_square() -> None:
    y = augment(torch.ones(50, 1, 20, 20), Augment(cutout=0.5), Draws(0, range(50)))
    erased = (y == 0).sum((1, 2, 3))
    assert erased.max() == 100  # whole squares of 10 x 10; those at the border lose a part
    assert erased.min() >= 25


def test_colour_changes_colour_only_by_an_affine_map() -> None:
    gray = augment(images(c=1), Augment(colour=1), DRAWS)
    for before, after in zip(images(c=1), gray, strict=True):
        assert torch.corrcoef(torch.stack([before.flatten(), after.flatten()]))[0, 1] == pytest.approx(1, abs=1e-4)
    assert not torch.allclose(gray, images(c=1), atol=0.01)


def test_hue_turns_about_the_grays() -> None:
    x = images(300)
    y = augment(x, Augment(hue_degrees=90), Draws(0, range(300)))
    assert torch.allclose(y.mean(1), x.mean(1), atol=1e-6)
    before, after = (t - t.mean(1, keepdim=True) for t in (x, y))
    assert torch.allclose(after.norm(dim=1), before.norm(dim=1), atol=1e-5)
    cosines = (before * after).sum((1, 2, 3)) / before.square().sum((1, 2, 3))
    assert -1e-5 < cosines.min() < 0.1
    assert cosines.max() > 0.99
    gray = images(c=1).expand(-1, 3, -1, -1)
    assert torch.allclose(augment(gray, Augment(hue_degrees=180), DRAWS), gray, atol=1e-6)
    alone = images(c=1)
    assert torch.equal(augment(alone, Augment(hue_degrees=180, permute=True), DRAWS), alone)


def test_a_third_of_the_circle_carries_red_into_green() -> None:
    matrix = _hue_matrix(torch.tensor([2 * torch.pi / 3]))[0]
    assert torch.allclose(matrix @ torch.eye(3), torch.eye(3)[:, [1, 2, 0]], atol=1e-6)


def test_permutations_are_exact_and_each_as_likely() -> None:
    x = images(1200, 3, 2, 2)
    y = augment(x, Augment(permute=True), Draws(0, range(1200)))
    orders = itertools.permutations(range(3))
    found = [(y == x[:, list(order)]).flatten(1).all(1).sum().item() for order in orders]
    assert sum(found) == 1200
    assert min(found) > 150  # 200 - 4 standard errors


def test_both_pictures_of_a_pair_get_the_same_colours() -> None:
    x = images()
    pairs = torch.cat([x, x.flip(3)], 1)
    for options in (Augment(hue_degrees=180), Augment(permute=True)):
        first, second = augment(pairs, options, DRAWS, sides=2).chunk(2, 1)
        assert torch.allclose(first, second.flip(3), atol=1e-6)
        assert torch.allclose(first, augment(x, options, DRAWS), atol=1e-6)


def test_clamp() -> None:
    free = augment(images(), Augment(colour=1), DRAWS)
    assert free.min() < 0 or free.max() > 1
    assert torch.equal(augment(images(), Augment(colour=1), DRAWS, clamp=True), free.clamp(0, 1))


def test_gradients_flow() -> None:
    x = images().double().requires_grad_()
    y = augment(x, EVERYTHING, DRAWS)
    assert y.dtype == torch.float64
    y.square().sum().backward()
    assert x.grad is not None
    assert (x.grad.flatten(1).abs().sum(1) > 0).all()
    small = images(2, 2, 4, 5).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: augment(t, EVERYTHING, Draws(0, range(2))), [small])
    # A gradient penalty differentiates a second time, through what follows.
    assert torch.autograd.gradgradcheck(lambda t: augment(t, EVERYTHING, Draws(0, range(2))) ** 3, [small])


def test_a_sample_does_not_depend_on_its_batch() -> None:
    x = images()
    whole = augment(x, EVERYTHING, DRAWS)
    alone = augment(x[[4, 1]], EVERYTHING, Draws(0, [4, 1]))
    # Not equal to the last bit: sums over a picture may be grouped otherwise in another batch.
    assert torch.allclose(whole[[4, 1]], alone, atol=1e-6)
    assert not torch.allclose(augment(x, EVERYTHING, DRAWS, "other"), whole, atol=1e-3)
    assert not torch.allclose(augment(x, EVERYTHING, Draws(0, range(6), step=1)), whole, atol=1e-3)
