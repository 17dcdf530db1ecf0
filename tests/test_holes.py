"""Filling holes from what surrounds them."""

from __future__ import annotations

import pytest
import torch

from pentimento.layers import HOLE_GRID_PX, HOLE_REACH_PX, fill_holes


def hole(height, width, top, left, size):
    mask = torch.zeros(1, 1, height, width)
    mask[..., top : top + size, left : left + size] = 1
    return mask


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (40, 40), (61, 97)])
def test_known_pixels_stay_and_one_colour_stays_one(shape):
    picture = torch.rand(2, 3, *shape)
    mask = (torch.rand(2, 1, *shape) < 0.4).float()
    filled = fill_holes(picture, mask)
    assert torch.equal(filled * (1 - mask), picture * (1 - mask))
    flat = fill_holes(torch.where(mask > 0, 9.0, 0.3).expand(2, 3, *shape), mask)
    flat = flat[mask.mean((1, 2, 3)) < 1]  # where nothing is known, nothing is to be continued
    torch.testing.assert_close(flat, torch.full_like(flat, 0.3))


def test_what_was_in_the_hole_is_not_seen():
    picture, mask = torch.rand(1, 3, 64, 64), hole(64, 64, 20, 20, 24)
    assert torch.equal(fill_holes(picture, mask), fill_holes(torch.where(mask > 0, -7.0, picture), mask))


def test_continues_a_ramp_better_than_the_mean_of_it():
    ramp = torch.linspace(0, 1, 96).expand(1, 1, 96, 96)
    mask = hole(96, 96, 32, 32, 24)
    error = (fill_holes(ramp, mask) - ramp)[mask > 0].abs().mean()
    assert error < 0.25 * (ramp[mask > 0] - ramp[mask > 0].mean()).abs().mean()


def test_looks_no_farther_than_it_says():
    size, step = 3 * HOLE_REACH_PX, HOLE_GRID_PX
    mask = hole(size, size, step, step, size - 2 * step)
    pictures = torch.rand(1, 1, size, size), torch.rand(1, 1, size, size)
    left = torch.arange(size) < size // 2
    filled, other = (fill_holes(torch.where(left, pictures[0], p), mask) for p in pictures)
    same = (filled == other).all(dim=(0, 1, 2))
    assert same[: size // 2 - HOLE_REACH_PX].all()
    assert not same[: size // 2].all()
    # A tile that begins on the grid sees what the whole sees, but for its borders.
    tile = fill_holes(pictures[0][..., step:, step:], mask[..., step:, step:])
    inside = slice(HOLE_REACH_PX, None)
    whole = fill_holes(pictures[0], mask)[..., step:, step:]
    torch.testing.assert_close(tile[..., inside, inside], whole[..., inside, inside])


def test_gray_where_nothing_is_known():
    assert (fill_holes(torch.rand(1, 1, 40, 40), torch.ones(1, 1, 40, 40)) == 0.5).all()
