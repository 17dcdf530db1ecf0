"""Distances to one picture, and of each from its own original."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from pentimento.data import shapes
from pentimento.errors import CausalError
from pentimento.studies.outcomes import content_distance, measure_all, pixel_distance, style_distance

MAKERS = [content_distance, style_distance, pixel_distance]


def drawn(count, size=48):
    pictures = [shapes.render(shapes.sample_factors(i, 0), size) for i in range(count)]
    return torch.stack([torch.from_numpy(p) for p in pictures]).permute(0, 3, 1, 2).float() / 255


def distances(make, reference, images):
    return measure_all([make(reference)], images)[:, 0]


@pytest.mark.parametrize("make", MAKERS)
def test_nothing_between_a_picture_and_itself(make):
    images = drawn(3)
    assert distances(make, images, images).tolist() == pytest.approx([0, 0, 0], abs=1e-6)
    one = distances(make, images[:1], images)
    assert one[0] == pytest.approx(0, abs=1e-6)
    assert (one[1:] > 0.005).all()


@pytest.mark.parametrize("make", MAKERS)
def test_each_against_its_own(make):
    images, originals = drawn(4), drawn(4).flip(0)
    together = distances(make, originals, images)
    alone = torch.cat([distances(make, originals[k : k + 1], images[k : k + 1]) for k in range(4)])
    assert torch.allclose(together, alone, rtol=1e-4)


def test_pieces_make_no_difference(monkeypatch):
    images, originals = drawn(5), drawn(5).flip(0)
    whole = distances(content_distance, originals, images)
    monkeypatch.setattr("pentimento.studies.outcomes.reference.PIECE_PX", 2 * 48 * 48)
    assert torch.allclose(distances(content_distance, originals, images), whole, rtol=1e-4)


def test_pixels_by_hand():
    images = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    assert distances(pixel_distance, torch.full((1, 1, 4, 4), 0.25), images).tolist() == [0.25, 0.75]
    gray = distances(pixel_distance, torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand(-1, -1, 4, 4), images)
    assert gray.tolist() == pytest.approx([0.299, 0.701])


def test_content_is_what_is_where_and_style_is_not():
    """Shuffling the places changes the content; the look stays nearer than that of another picture."""
    images = drawn(2, 64)
    moved = images[:1].roll(32, 3)
    style = distances(style_distance, images[:1], torch.cat([moved, images[1:]]))
    content = distances(content_distance, images[:1], torch.cat([moved, images[:1] * 0.9]))
    assert style[0] < 0.5 * style[1]
    assert content[1] < 0.5 * content[0]


def test_references_of_another_size():
    images = drawn(1, 64)
    larger = F.interpolate(images, scale_factor=3, mode="bicubic").clamp(0, 1)
    assert distances(content_distance, larger, images) < 0.05
    assert distances(style_distance, F.pad(larger, (0, 0, 0, 20)), images).isfinite().all()


@pytest.mark.parametrize(
    ("make", "reference", "message"),
    [
        (
            content_distance,
            torch.zeros(3, 8, 8),
            r"content: a reference \(1 or N, 1 or 3, h, w\) expected, got \(3, 8, 8\)",
        ),
        (style_distance, torch.zeros(1, 2, 8, 8), r"style: a reference .* got \(1, 2, 8, 8\)"),
        (pixel_distance, torch.zeros(0, 1, 8, 8), r"pixels: a reference"),
        (
            content_distance,
            torch.zeros(3, 1, 48, 48),
            r"content: one reference, or one for each of 2 pictures.* got 3; give",
        ),
        (style_distance, torch.zeros(3, 1, 48, 48), r"style: one reference, or one for each of 2 pictures"),
        (
            content_distance,
            torch.zeros(1, 1, 48, 60),
            r"content: the reference is 60x48 px and the pictures are 48x48,.*crop",
        ),
        (pixel_distance, torch.zeros(1, 1, 40, 48), r"pixels: the reference is 48x40 px"),
    ],
)
def test_refused(make, reference, message):
    with pytest.raises(CausalError, match=message):
        distances(make, reference, drawn(2))
