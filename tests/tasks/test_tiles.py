"""Tiles: whatever the size and the budget, the same picture as without them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pentimento.capabilities import Reach
from pentimento.errors import ImageError, InputError, ModelError
from pentimento.images import Picture
from pentimento.runtime import Progress
from pentimento.tasks import memory, tiles
from pentimento.tasks.tiles import Plan, Window


class _Tensor:
    """A source that records the windows it is asked for, and a sink that keeps floats."""

    def __init__(self, values: Tensor) -> None:
        self.values, self.windows, self.rows = values, [], []

    def read(self, window: Window) -> Tensor:
        self.windows.append(window)
        below, right = window.top + window.height, window.left + window.width
        return self.values[:, :, window.top : below, window.left : right]

    def write(self, rows: Tensor) -> None:
        self.rows.append(rows)


def _run(function: Any, values: Tensor, cut: Plan, **options: Any) -> tuple[Tensor, list[Window]]:
    both = _Tensor(values)
    tiles.run(lambda patch, window: function(patch), both, both, cut, stage="test", **options)
    return torch.cat(both.rows, 1)[None], both.windows


def _least(height: int, width: int, reach: Reach) -> int:
    with pytest.raises(InputError) as caught, mock.patch.object(memory, "_held_bytes", return_value=0):
        tiles.plan(height, width, reach, 0)
    return int(re.search(r"allow (\d+)MB", str(caught.value))[1]) * 10**6


SIDES = st.one_of(st.integers(1, 3), st.integers(1, 90))
REACHES = st.builds(
    Reach,
    multiple_px=st.sampled_from([1, 2, 3, 8, 16]),
    overlap_px=st.integers(0, 30),
    bytes_per_px=st.sampled_from([10_000, 30_001]),  # so that a megabyte is about one small tile
    scale=st.sampled_from([1, 2, 3, 4]),
)


@settings(max_examples=60, deadline=None)
@given(height=SIDES, width=SIDES, reach=REACHES, share=st.floats(0, 1))
def test_identity_is_exact_within_any_budget(height: int, width: int, reach: Reach, share: float) -> None:
    least = _least(height, width, reach)
    budget = int(least + share * max(0, height * width * reach.bytes_per_px - least))
    cut = tiles.plan(height, width, reach, budget)
    values = torch.rand(1, 2, height, width, generator=torch.Generator().manual_seed(0))

    def enlarge(x: Tensor) -> Tensor:
        return x.repeat_interleave(reach.scale, 2).repeat_interleave(reach.scale, 3)

    made, windows = _run(enlarge, values, cut)
    assert made.shape == enlarge(values).shape
    assert (made - enlarge(values)).abs().max() <= 1e-6
    assert len(windows) == cut.count
    assert cut.memory_bytes <= budget
    assert max(w.height for w in windows) == cut.rows.window_px
    for window in windows:
        assert window.top % reach.multiple_px == window.left % reach.multiple_px == 0
        assert window.height * window.width * reach.bytes_per_px <= cut.memory_bytes


@settings(max_examples=40, deadline=None)
@given(height=SIDES, width=SIDES, reach=REACHES, share=st.floats(0, 0.5))
def test_what_sees_three_quarters_of_the_overlap_makes_the_same_as_of_the_whole(
    height: int, width: int, reach: Reach, share: float
) -> None:
    assume(reach.overlap_px >= 4)
    least = _least(height, width, reach)
    cut = tiles.plan(height, width, reach, int(least + share * height * width * reach.bytes_per_px))
    radius, draws = 3 * reach.overlap_px // 4, torch.Generator().manual_seed(1)
    across, down = torch.rand(2, 2 * radius + 1, generator=draws).softmax(1)
    values = torch.rand(1, 1, height, width, generator=draws)

    def blur(x: Tensor) -> Tensor:  # with the borders padded, as networks do
        x = F.conv2d(x, across.view(1, 1, 1, -1), padding=(0, radius))
        x = F.conv2d(x, down.view(1, 1, -1, 1), padding=(radius, 0))
        return F.interpolate(x, scale_factor=reach.scale) if reach.scale > 1 else x

    assert (_run(blur, values, cut)[0] - blur(values)).abs().max() <= 1e-5


def test_what_halves_falls_on_the_same_pixels() -> None:
    values = torch.rand(1, 3, 101, 83, generator=torch.Generator().manual_seed(2))

    def mosaic(x: Tensor) -> Tensor:
        small = F.avg_pool2d(F.pad(x, (0, -x.shape[3] % 8, 0, -x.shape[2] % 8), mode="replicate"), 8)
        return F.interpolate(small, scale_factor=8)[:, :, : x.shape[2], : x.shape[3]]

    cut = tiles.plan(101, 83, Reach(8, 16, 1000), 1_700_000)
    assert cut.rows.count > 1 < cut.columns.count
    assert torch.allclose(_run(mosaic, values, cut)[0], mosaic(values), atol=1e-6)


# -------------------------------------------------------------------------------------------------- plans
def test_one_tile_where_it_fits_to_the_byte() -> None:
    reach = Reach(16, 64, 700)
    assert tiles.plan(1000, 3001, reach, 1000 * 3001 * 700).count == 1
    assert tiles.plan(1000, 3001, reach, 1000 * 3001 * 700 - 1).count > 1


def test_tiles_are_large_and_about_square() -> None:
    cut = tiles.plan(20_000, 20_000, Reach(16, 64, 500), 2 * 10**9)
    high, wide = cut.rows.window_px, cut.columns.window_px
    assert 0.8e6 * 2 < high * wide < 4e6  # of the 4 million that fit, less the row of results
    assert 1 / 2 < high / wide < 2


def test_too_little_memory_says_how_much_is_enough() -> None:
    reach = Reach(16, 64, 50_000)
    least = _least(5000, 4000, reach)
    cut = tiles.plan(5000, 4000, reach, least)
    assert cut.rows.window_px == cut.columns.window_px == 2 * 64 + 16
    message = r"--memory: too little for this model on a picture of 4000x5000 px, .*; allow \d+MB, or take a smaller"
    with pytest.raises(InputError, match=message):
        tiles.plan(5000, 4000, reach, 900 * 10**6)


@pytest.mark.parametrize("held", [0, 300 * 10**6, 10**10])
def test_what_is_said_to_be_enough_is_enough_beside_what_the_program_holds(
    held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_held_bytes", lambda: held)
    reach = Reach(16, 64, 50_000)
    with pytest.raises(InputError) as refused:
        tiles.plan(5000, 4000, reach, memory.working_memory("1MB"), kept_bytes=60 * 10**6)
    (enough,) = re.findall(r"allow (\d+)MB", str(refused.value))
    tiles.plan(5000, 4000, reach, memory.working_memory(f"{enough}MB"), kept_bytes=60 * 10**6)
    with pytest.raises(InputError):
        tiles.plan(5000, 4000, reach, memory.working_memory(f"{int(enough) - 2}MB"), kept_bytes=60 * 10**6)


def test_enormous_pictures_are_planned_at_once() -> None:
    cut = tiles.plan(200_000, 300_000, Reach(1, 33, 1000), 4 * 10**9)
    assert cut.rows.window(cut.rows.count - 1)[1] == 200_000
    assert cut.columns.window(cut.columns.count - 1)[1] == 300_000


# ---------------------------------------------------------------------------------------------- pictures
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_comes_back_as_it_was(channels: int, dtype: Any) -> None:
    most = np.iinfo(dtype).max
    pixels = np.random.default_rng(0).integers(0, most, (90, 70, channels), endpoint=True).astype(dtype)
    picture = Picture(pixels, alpha=pixels[..., 0])
    sink, seen = tiles.ArraySink(90, 70, picture.bits), []
    cut = tiles.plan(90, 70, Reach(4, 8, 1000), 1_500_000)
    tiles.run(lambda x, _: x, tiles.PictureSource(picture), sink, cut, stage="restore", progress=seen.append)
    np.testing.assert_array_equal(sink.pixels, pixels)
    assert seen == [Progress("restore", i + 1, cut.count, "tiles") for i in range(cut.count)]
    assert cut.count > 3


def test_a_model_that_does_not_keep_to_its_reach() -> None:
    cut = tiles.plan(8, 8, Reach(1, 0, 1, scale=2), 100)
    with pytest.raises(ModelError, match=r"test: \(1, C, 16, 16\) expected of the model, got \(1, 1, 8, 8\)"):
        _run(lambda x: x, torch.zeros(1, 1, 8, 8), cut)
    sink = tiles.ArraySink(8, 8, 8)
    with pytest.raises(ImageError, match="NaN"):
        source = tiles.PictureSource(Picture(np.zeros((8, 8, 1), np.uint8)))
        tiles.run(lambda x, _: x / 0, source, sink, tiles.plan(8, 8, Reach(1, 0, 1), 100), stage="test")


@pytest.mark.parametrize("scale", [1, 2])
def test_from_file_to_file(scale: int, tmp_path: Path) -> None:
    """What was not changed is the file's own, sample by sample; a tensor function changes the rest."""
    pytest.importorskip("pyvips")
    from pentimento import images, large

    pixels = np.random.default_rng(1).integers(0, 2**16, (300, 280, 3)).astype(np.uint16)
    images.write(tmp_path / "in.tif", Picture(pixels, pixels[..., 1]))
    source = large.read(tmp_path / "in.tif")
    cut = tiles.plan(300, 280, Reach(8, 16, 1000, scale), 12_000_000)
    assert cut.count > 1

    def invert(patch: Tensor, window: Window) -> Tensor:
        return F.interpolate(1 - patch, scale_factor=scale)

    def changed(window: Window) -> Any:
        return np.add.outer(np.arange(window.top, window.top + window.height), np.arange(window.width)) % 3 == 0

    with large.writing(tmp_path / "out.tif", scale * 300, scale * 280, like=source) as writer:
        sink = tiles.FileSink(writer, changed if scale == 1 else None)
        tiles.run(invert, tiles.PictureSource(source), sink, cut, stage="restore")
    expected = (65535 - pixels).repeat(scale, 0).repeat(scale, 1)
    made = images.read(tmp_path / "out.tif")
    if scale == 1:
        expected = np.where(changed(Window(0, 0, 300, 280))[..., None], expected, pixels)
        np.testing.assert_array_equal(made.alpha, pixels[..., 1])
        assert not writer.notes
    else:
        assert made.alpha is None
        assert writer.notes == ["the transparency is left out, because the size of the picture changed"]
    np.testing.assert_array_equal(made.pixels, expected)


def test_an_interrupted_run_leaves_what_was_there(tmp_path: Path) -> None:
    from pentimento import large

    out = tmp_path / "out.tif"
    out.write_bytes(b"precious")

    def stop(x: Tensor, window: Window) -> Tensor:
        if window.top > 100:
            raise KeyboardInterrupt
        return x

    source = tiles.PictureSource(Picture(np.zeros((600, 50, 3), np.uint8)))
    with pytest.raises(KeyboardInterrupt):
        with large.writing(out, 600, 50) as writer:
            tiles.run(stop, source, tiles.FileSink(writer), tiles.plan(600, 50, Reach(8, 8, 1000), 10**7), stage="x")
    assert out.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [out]


# ------------------------------------------------------------------------------------------------- visits
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 3), st.integers(0, 24), st.integers(600, 20_000))
@settings(max_examples=40, deadline=None)
def test_a_visit_sees_every_pixel_once_in_a_core_and_reads_what_a_run_reads(
    height: int, width: int, halvings: int, overlap_px: int, memory_bytes: int
) -> None:
    reach = Reach(multiple_px=2**halvings, overlap_px=overlap_px, bytes_per_px=4)
    try:
        cut = tiles.plan(height, width, reach, memory_bytes)
    except InputError:
        assume(False)
    values = torch.arange(float(height * width)).view(1, 1, height, width)
    source, seen, reports = _Tensor(values), torch.zeros(height, width), list[Progress]()

    def look(patch: Tensor, window: Window, core: Window) -> None:
        assert patch.shape[2:] == (window.height, window.width)
        top, left = core.top - window.top, core.left - window.left
        inside = patch[0, 0, top : top + core.height, left : left + core.width]
        assert torch.equal(inside, values[0, 0][core.slices])
        seen[core.slices] += 1

    tiles.visit(look, source, cut, stage="look", progress=reports.append)
    assert (seen == 1).all()
    assert source.windows == _run(lambda patch: patch, values, cut)[1]
    assert [r.done for r in reports] == list(range(1, cut.count + 1))
