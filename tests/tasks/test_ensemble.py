"""Eight positions and their mean: by hand, and by what the mean must not depend on."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from pentimento.capabilities import Reach
from pentimento.model import DataSpec
from pentimento.models import build
from pentimento.tasks.ensemble import in_all_positions, with_all_positions

POSITIONS = list(itertools.product(range(4), (False, True)))


def drawn(height, width, channels=3):
    return torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(height))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    spec = DataSpec(channels=3, height_px=16, width_px=16)
    made = build("restorer", {"spec": spec, "widths": (8, 8), "takes_masks": True}).eval()
    return made.requires_grad_(False)


def test_the_mean_of_eight_by_hand():
    """A step that moves everything to the right, seen upright again, moves it everywhere: four ways, each twice."""
    x = drawn(6, 6)

    def shift(images, _):
        return images.roll(1, 3)

    wanted = sum(x.roll(*move) for move in ((1, 3), (-1, 3), (1, 2), (-1, 2))) / 4
    assert torch.allclose(in_all_positions(shift, x, None, 2), wanted)


def test_what_needs_no_repair_comes_back_and_masks_turn_with_their_pictures():
    x, masks = drawn(7, 10), (drawn(7, 10, channels=1) > 0.5).float()
    assert torch.allclose(in_all_positions(lambda images, _: images, x, None, 4), x)
    found = in_all_positions(lambda images, covered: images * covered, x, masks, 4)
    assert torch.allclose(found, x * masks)


def test_enlarged_pictures_are_cut_to_their_own_size():
    x = drawn(5, 9)
    twice = in_all_positions(lambda images, _: F.interpolate(images, scale_factor=2), x, None, 4)
    assert torch.allclose(twice, F.interpolate(x, scale_factor=2))


def test_a_turned_picture_is_repaired_as_the_upright_one(model):
    multiple = model.reach.multiple_px
    x, masks = drawn(multiple, 2 * multiple), (drawn(multiple, 2 * multiple, channels=1) > 0.8).float()
    upright = in_all_positions(model.restore, x, masks, multiple)
    assert not torch.allclose(upright, model.restore(x, masks), atol=1e-4)
    for turns, mirrored in POSITIONS:
        given = [torch.rot90(t.flip(3) if mirrored else t, turns, (2, 3)) for t in (x, masks)]
        found = torch.rot90(in_all_positions(model.restore, *given, multiple), -turns, (2, 3))
        assert torch.allclose(found.flip(3) if mirrored else found, upright, atol=1e-5)


def test_memory_grows_by_five_pictures():
    reach = with_all_positions(Reach(8, 32, bytes_per_px=100, scale=2))
    assert reach == Reach(8, 32, bytes_per_px=100 + 5 * 4 * 3 * 4, scale=2)
