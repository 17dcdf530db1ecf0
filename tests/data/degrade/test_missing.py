"""Holes cover what was asked, and the mask says exactly where."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from scipy import ndimage

from pentimento.data.degrade import Step, degrade
from pentimento.data.degrade.brush import cover_in_order, paint
from pentimento.data.degrade.missing import fill, rectangle_masks, text_mask
from pentimento.runtime import Draws


def pictures(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def step(**options: Any) -> Any:
    return TypeAdapter(Step).validate_python(options)


def test_a_stroke_is_where_its_points_are() -> None:
    points = torch.tensor([[[[10.0, 5.0], [10.0, 30.0], [25.0, 30.0]]]])
    painted = paint(points, torch.full((1, 1, 3), 2.0), torch.ones(1, 1, 3), torch.tensor([[2]]), 40, 50)[0, 0]
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(50.0), indexing="ij")
    first = ((y - 10).square() + (x - x.clamp(5, 30)).square()).sqrt()
    second = ((y - y.clamp(10, 25)).square() + (x - 30).square()).sqrt()
    assert torch.allclose(painted, (2.5 - torch.minimum(first, second)).clamp(0, 1), atol=1e-5)
    half = paint(points, torch.full((1, 1, 3), 2.0), torch.ones(1, 1, 3), torch.tensor([[1]]), 40, 50)[0, 0]
    assert torch.allclose(half, (2.5 - first).clamp(0, 1), atol=1e-5)


def test_strokes_vary_along_their_way_and_meet_in_the_stronger() -> None:
    points = torch.tensor([[[[4.0, 0.0], [4.0, 20.0]], [[0.0, 10.0], [9.0, 10.0]]]])
    opacities = torch.tensor([[[0.0, 1.0], [0.3, 0.3]]])
    painted = paint(points, torch.ones(1, 2, 2), opacities, torch.ones(1, 2).long(), 9, 21)[0, 0]
    assert torch.allclose(painted[4], torch.maximum(torch.arange(21) / 20, painted[8]), atol=1e-5)
    thin = paint(points[:, :1], torch.full((1, 1, 2), 0.25), torch.ones(1, 1, 2), torch.ones(1, 1).long(), 9, 21)
    assert torch.allclose(thin.sum(2), torch.tensor(0.5 * 0.75), atol=1e-5)  # paler, not narrower than a pixel


@pytest.mark.parametrize("where", [(-30.0, -30.0), (500.0, 3.0)])
def test_strokes_beyond_the_picture_do_no_harm(where: tuple[float, float]) -> None:
    points = torch.tensor([*where, *where]).view(1, 1, 2, 2) + torch.tensor([[0.0, 0.0], [0.0, 4.0]])
    assert not paint(points, torch.ones(1, 1, 2), torch.ones(1, 1, 2), torch.ones(1, 1).long(), 8, 9).any()


def test_a_brush_stops_when_it_has_covered_enough() -> None:
    points = torch.tensor([[10.0, 0.0], [10.0, 99.0]]).expand(3, 1, 2, 2)
    masks = cover_in_order(points, torch.full((3, 1), 9.0), torch.tensor([0.0, 0.1, 0.9]), 50, 100)
    # A line of 9 x 100 pixels covers 18 % in all: the last sample's do not suffice.
    assert masks.mean((1, 2, 3)).tolist() == pytest.approx([0, 0.1, 0.18], abs=0.005)
    assert masks[1, 0, 10, :50].all()
    assert not masks[1, 0, :, 60:].any()


@pytest.mark.parametrize(("size", "width_px"), [((64, 64), (8, 32)), ((64, 64), (1, 3)), ((200, 150), (4, 20))])
def test_strokes_cover_the_share_asked(size: tuple[int, int], width_px: tuple[float, float]) -> None:
    x = pictures(24, 1, *size)
    for share in (0.02, 0.2, 0.5):
        done = degrade(x, [step(kind="strokes", width_px=width_px, coverage=(share, share))], Draws(0, range(24)))
        assert done.masks is not None
        covered = done.masks.mean((1, 2, 3))
        assert torch.equal(done.facts[0]["coverage"], covered)
        # The brush moves by whole pixels of its front at worst.
        assert (covered - share).abs().max() <= width_px[1] / math.prod(size) + 1e-6


def test_strokes_have_the_width_asked() -> None:
    x = pictures(4, 1, 300, 300)
    done = degrade(x, [step(kind="strokes", width_px=(20, 20), coverage=(0.05, 0.05))], Draws(3, range(4)))
    assert done.masks is not None
    for mask in done.masks:
        inner = ndimage.distance_transform_edt(mask[0].numpy())
        assert 9 <= inner.max() <= 16  # half the width, more where strokes cross


@pytest.mark.parametrize("kind", ["strokes", "rectangles", "text"])
@pytest.mark.parametrize("value", [0.5, 0.0, 1.0])
def test_masks_are_where_pixels_changed(kind: str, value: float) -> None:
    x = pictures(6, 3, 48, 60) * 0.4 + 0.05  # nowhere the value
    done = degrade(x, [step(kind=kind, fill=value)], Draws(0, range(6)))
    assert done.masks is not None
    assert set(done.masks.unique().tolist()) == {0.0, 1.0}
    changed = (done.images != x).all(1, keepdim=True)
    assert torch.equal(changed, done.masks > 0)
    assert torch.equal(changed, (done.images != x).any(1, keepdim=True))
    assert (done.images[changed.expand_as(x)] == value).all()
    assert torch.equal(done.targets, x)


def test_rectangles_are_where_they_are_put() -> None:
    numbers = (torch.tensor([[1, 3]]), torch.tensor([[2, 5]]), torch.tensor([[2, 9]]), torch.tensor([[3, 1]]))
    mask = rectangle_masks(*numbers, (6, 8))[0, 0]
    wanted = torch.zeros(6, 8)
    wanted[1:3, 2:5] = 1
    wanted[3:12, 5:6] = 1
    assert torch.equal(mask, wanted)
    assert torch.equal(fill(torch.ones(1, 3, 6, 8), mask[None, None], 0.25)[0, 1], 1 - 0.75 * wanted)


def test_rectangles_have_the_sides_asked() -> None:
    done = degrade(
        pictures(20, 1, 50, 80), [step(kind="rectangles", count=(1, 1), side=(0.2, 0.4))], Draws(0, range(20))
    )
    assert done.masks is not None
    for mask in done.masks[:, 0]:
        high, wide = int(mask.any(1).sum()), int(mask.any(0).sum())
        assert 10 <= high <= 20
        assert 16 <= wide <= 32
        assert mask.sum() == high * wide
    none = degrade(pictures(2, 1, 9, 9), [step(kind="rectangles", count=(0, 0))], Draws(0, range(2)))
    assert none.masks is not None
    assert not none.masks.any()


def test_text_has_its_size_and_its_place() -> None:
    mask = text_mask([("MOON", 20, 30.0, 10.0)], 80, 120)[0]
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    assert 12 <= len(rows) <= 20
    assert rows.min() >= 30
    assert 9 <= columns.min() <= 14
    assert 40 <= columns.max() - columns.min() <= 90
