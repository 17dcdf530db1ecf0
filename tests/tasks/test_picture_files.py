"""What verbs that change picture files share: records of several inputs, and a first look before the work."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from pentimento import images, large
from pentimento.capabilities import Reach
from pentimento.errors import InputError
from pentimento.images import Picture
from pentimento.tasks import memory, pictures
from pentimento.tasks.pictures import Treatment


def test_inputs_of_one_name_are_told_apart_in_the_record(tmp_path):
    files = [tmp_path / name for name in ("content/a.png", "style/a.png", "style/b.png")]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_text(str(file))
    inputs = pictures.record("stylize", None, {}, files).inputs
    assert set(inputs) == {"content/a.png", "style/a.png", "style/b.png"}
    assert len(set(inputs.values())) == 3
    assert set(pictures.record("stylize", None, {}, [files[0], files[2], files[2]]).inputs) == {"a.png", "b.png"}


def test_statistics_of_a_first_look_do_not_depend_on_the_tiles():
    samples = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    picture, reach = Picture(samples), Reach(multiple_px=4, overlap_px=8, bytes_per_px=100)
    found = []
    for memory_bytes in (2**30, 400_000):
        total = torch.zeros(3, dtype=torch.float64)

        def look(patch, window, core, total=total):
            top, left = core.top - window.top, core.left - window.left
            total += patch[0, :, top : top + core.height, left : left + core.width].double().sum((1, 2))

        pictures.look_over(look, picture, reach, memory_bytes, "look")
        found.append(total / (90 * 70))
    torch.testing.assert_close(*found)
    torch.testing.assert_close(found[0], torch.from_numpy(samples.mean((0, 1)) / 255))


def test_a_function_may_change_the_channels_and_alpha_is_taken_along():
    alpha = np.full((6, 5), 7, np.uint8)
    picture = Picture(np.full((6, 5, 1), 100, np.uint8), alpha)
    treatment = Treatment(lambda patch, _: patch.repeat(1, 3, 2, 2), Reach(1, 0, 100, scale=2), 2**20, "test")
    made = pictures.treated(treatment, picture)
    assert made.pixels.shape == (12, 10, 3)
    assert (made.pixels == 100).all()
    assert (made.alpha == 7).all()


@pytest.mark.parametrize("bits", [8, 16])
def test_scaled_down_in_memory_and_from_the_file(tmp_path, bits):
    """What is transparent is black here, and none of it comes to light."""
    rows = (np.linspace(0.3, 1, 200)[:, None, None] * np.ones((1, 300, 3)) * (2**bits - 1)).astype(f"u{bits // 8}")
    alpha = np.full((200, 300), 2**bits - 1, rows.dtype)
    alpha[:, :101] = rows[:, :101] = 0
    images.write(tmp_path / "in.tif", Picture(rows, alpha))
    whole, kept = images.read(tmp_path / "in.tif"), large.read(tmp_path / "in.tif")
    for picture in (whole, kept):
        small = pictures.scaled_down(picture, 75)
        assert (small.height_px, small.width_px, small.bits) == (50, 75, bits)
        seen = small.alpha > 0
        wanted = np.linspace(0.3, 1, 200).reshape(50, 4).mean(1)[:, None, None] * (2**bits - 1)
        assert np.abs(small.pixels - wanted)[seen].max() < 0.02 * 2**bits  # a dark fringe would be far off
        assert 0.64 < small.alpha.mean() / (2**bits - 1) < 0.69
    assert pictures.scaled_down(whole, 1000) is whole
    assert np.array_equal(pictures.scaled_down(kept, 1000).pixels[alpha > 0], whole.pixels[alpha > 0])


def test_a_result_in_memory_counts_towards_the_budget(monkeypatch):
    monkeypatch.setattr(memory, "_held_bytes", lambda: 0)
    picture, sizes = Picture(np.zeros((256, 256, 3), np.uint8)), []

    def note(patch, window):
        sizes.append(window.height * window.width)
        return patch

    def largest(memory_bytes):
        sizes.clear()
        pictures.in_tiles(Treatment(note, Reach(4, 0, bytes_per_px=100), memory_bytes, "test"), picture)
        return max(sizes)

    result_bytes, whole_bytes = 256 * 256 * 3, 256 * 256 * 100
    assert largest(whole_bytes + result_bytes) == 256 * 256
    assert largest(whole_bytes + result_bytes - 1) < 256 * 256
    assert largest(result_bytes) * 100 <= result_bytes  # a part of a budget that the result alone fills up
    with pytest.raises(InputError) as refused:
        largest(1000)
    (needed_mb,) = re.findall(r"allow (\d+)MB", str(refused.value))
    assert largest(int(needed_mb) * 10**6)


def test_the_look_before_and_the_work_see_the_same_tiles():
    """A budget for one tile, but not for one tile and the result: statistics of the whole are needed."""
    picture, reach, seen = Picture(np.zeros((256, 256, 3), np.uint8)), Reach(4, 0, bytes_per_px=100), []
    budget = 256 * 256 * 100 + 1
    pictures.look_over(lambda patch, *_: seen.append(patch.shape), picture, reach, budget, "look")
    worked = []
    treatment = Treatment(lambda patch, _: worked.append(patch.shape) or patch, reach, budget, "test")
    pictures.in_tiles(treatment, picture)
    assert seen == worked
    assert pictures.planned(picture, reach, budget).count == len(worked) > 1
