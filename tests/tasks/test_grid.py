"""Where blocks of JPEG begin."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from pentimento import images
from pentimento.tasks.grid import BLOCK_PX, find_grid


def square(pixels):
    return images.Picture(np.ascontiguousarray(pixels)).to_tensor()[None]


@pytest.fixture(scope="module")
def photographs():
    """Brought to half of their size, so that nothing is left of the blocks that they came in."""
    return [Image.fromarray(load_sample_image(name)).reduce(2) for name in ("china.jpg", "flower.jpg")]


@pytest.mark.parametrize("quality", [5, 20, 50])
def test_the_place_is_found_after_a_cut(photographs, quality):
    for number, photograph in enumerate(photographs):
        stream = io.BytesIO()
        photograph.save(stream, "JPEG", quality=quality)
        coded = np.asarray(Image.open(stream))
        for top, left in ((0, 0), (3, 5), (8, 1), (7 + number, 2)):
            wanted = (-top % BLOCK_PX, -left % BLOCK_PX)
            assert find_grid([square(coded[top:, left:])]) == wanted
            halves = (coded[top : top + 96, left:], coded[top + 96 :, left:])
            assert find_grid(map(square, halves)) == wanted  # both begin at the same place of a block


def test_where_little_is_seen_it_is_never_another_place(photographs):
    for quality in (75, 85, 95):
        for photograph in photographs:
            stream = io.BytesIO()
            photograph.save(stream, "JPEG", quality=quality)
            found = find_grid([square(np.asarray(Image.open(stream))[3:, 5:])])
            assert all(place in (0, wanted) for place, wanted in zip(found, (5, 3), strict=True))


def test_without_blocks_they_begin_at_the_first_pixel(photographs):
    flat = torch.full((1, 3, 64, 64), 0.5)
    assert find_grid([flat]) == find_grid([flat[..., :1, :1]]) == find_grid([flat[:, :1, :3]]) == (0, 0)
    taken = 0
    for seed in range(60):
        noise = torch.rand(1, 3, 100, 100, generator=torch.Generator().manual_seed(seed))
        taken += sum(find_grid([noise[..., :side, :side]]) != (0, 0) for side in (20, 40, 100))
    assert taken <= 2  # of 180


def test_edges_of_what_is_shown_are_no_blocks():
    """One line across the picture, however strong."""
    lined = torch.rand(1, 3, 120, 120, generator=torch.Generator().manual_seed(1)) / 4
    lined[..., 61:, :] += 0.7
    assert find_grid([lined]) == (0, 0)
