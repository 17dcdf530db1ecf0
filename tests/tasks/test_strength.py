"""The strength that keeps a picture's content: what is chosen, and what it rests on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pentimento import images
from pentimento.capabilities import Reach
from pentimento.errors import EvaluationError
from pentimento.images import Picture
from pentimento.tasks import pictures, strength
from pentimento.tasks.files import Job
from pentimento.tasks.strength import STEPS, choose_strength, largest_kept, stylize_keeping
from pentimento.tasks.styles import NamedStyle
from pentimento.tasks.stylize import Look


class Painter:
    """Goes `strength` of the way to its style, a colour."""

    family, origin, device, training = "painter", None, torch.device("cpu"), False
    reach, strides = Reach(1, 0, 12), (1,)

    def stylize(self, images, styles, strength=1.0, moments=None):
        return torch.lerp(images, styles[:, :, None, None].expand_as(images), strength)


RED = NamedStyle("red", torch.tensor([[1.0, 0.0, 0.0]]))
LOOK = Look([RED], (1.0,))


def photo(height=40, width=60, seed=0):
    return Picture(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def by_pixels(monkeypatch):
    """The content distance is the mean absolute difference: of Painter, exactly the strength times that from red."""
    monkeypatch.setattr(strength, "content_distances", lambda x, r: (x - r).abs().mean((1, 2, 3)))


# ------------------------------------------------------------------------------------------------ what is chosen
@pytest.mark.parametrize(
    ("response", "bound", "chosen"),
    [
        (lambda a: a, 0.55, 0.55),
        (lambda a: a, 0.549, 0.5375),  # steps of an eightieth
        (lambda a: a, 1.0, 1.0),
        (lambda a: 0.5 * a, 0.6, 1.0),
        (lambda a: a**2, 0.25, 0.5),
        (lambda a: 0.01 + a, 0.015, 0.0),  # nothing above 0 keeps it
        (lambda a: float(0.25 < a < 0.35), 0.5, 0.25),  # falls again: what is beyond the turn is not taken
        (lambda a: float(a > 0.72), 0.5, 0.7125),
    ],
)
def test_the_largest_strength_below_which_all_is_kept(response, bound, chosen):
    assert largest_kept(response, bound).strength == pytest.approx(chosen)


@given(st.lists(st.floats(0, 1), min_size=101, max_size=101), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_any_response_keeps_the_bound_where_it_was_tried(values, bound):
    """However it turns: every trial up to what is chosen keeps the bound, and the next larger one does not."""
    values[0] = 0.0
    found = largest_kept(lambda a: float(np.interp(a, np.linspace(0, 1, 101), values)), bound)
    kept = {a: d <= bound for a, d in found.tried.items()}
    assert found.content == found.tried[found.strength] <= bound
    assert all(kept[a] for a in kept if a <= found.strength)
    above = sorted(a for a in kept if a > found.strength)
    assert not above or not kept[above[0]]
    assert above or found.strength == STEPS[-1]
    assert not above or above[0] - found.strength == pytest.approx(1 / 80, abs=1e-3)


def test_what_strength_0_loses_already_is_refused():
    with pytest.raises(EvaluationError, match=r"--keep: of the content, 0\.2 is lost at strength 0 already, and 0\.1"):
        largest_kept(lambda a: 0.2 + a, 0.1)


# ---------------------------------------------------------------------------------------------- of pictures
def test_the_strength_of_a_picture_is_the_closed_form(monkeypatch):
    by_pixels(monkeypatch)
    picture = photo()
    x = picture.to_tensor()
    whole = float((x - RED.vector.view(3, 1, 1)).abs().mean())
    found = choose_strength(Painter(), picture, LOOK, 0.5 * whole)
    assert abs(found.strength - 0.5) <= 1 / 80 + 1e-9
    assert found.content == pytest.approx(found.strength * whole, abs=1 / 255)


def test_masks_styles_and_colours_count(monkeypatch):
    """Half of the picture is painted, so twice the strength is kept; by lightness alone, more still."""
    by_pixels(monkeypatch)
    picture, bound = photo(), 0.15
    left = np.zeros((40, 60), np.uint8)
    left[:, :30] = 255
    whole = choose_strength(Painter(), picture, LOOK, bound).strength
    half = choose_strength(Painter(), picture, LOOK, bound, [left]).strength
    assert half == pytest.approx(2 * whole, abs=0.05)
    luminance = choose_strength(Painter(), picture, Look([RED], (1.0,), colours="luminance"), bound).strength
    assert luminance > whole


def test_it_is_the_perceptual_network_that_looks_and_the_picture_written_keeps_the_bound(tmp_path):
    picture, bound = photo(64, 80), 0.05
    images.write(tmp_path / "photo.png", picture)
    job, told = Job(tmp_path / "photo.png", tmp_path / "out.png"), []
    found = stylize_keeping(Painter(), job, LOOK, bound=bound, options={"colours": "style"}, progress=told.append)
    made = images.read(tmp_path / "out.png").to_tensor()[None]
    lost = float(strength.content_distances(made, picture.to_tensor()[None]))
    assert lost == pytest.approx(found.content, abs=1e-6)
    assert 0 < found.strength < 1 and lost <= bound
    options = images.describe(tmp_path / "out.png")["provenance"]["options"]
    assert options["strength"] == found.strength
    assert options["content_distance"] == pytest.approx(lost, abs=1e-6)
    assert (options["content_bound"], options["colours"]) == (bound, "style")
    (message,) = [report.message for report in told if report.message]
    assert message == f"photo.png: strength {found.strength:g}, content distance {lost:.3f} of 0.05 allowed"


def test_large_pictures_are_looked_at_small(monkeypatch):
    seen = []
    monkeypatch.setattr(
        strength, "content_distances", lambda x, r: (seen.append((x.shape, r.shape)), x.new_zeros(1))[1]
    )
    choose_strength(Painter(), photo(700, 1400), LOOK, 0.1)
    assert set(seen) == {((1, 3, 256, 512), (1, 3, 256, 512))}


def test_a_picture_larger_than_memory_is_looked_at_small_too(tmp_path, monkeypatch):
    by_pixels(monkeypatch)
    images.write(tmp_path / "photo.tif", photo(700, 900))
    found = {}
    for name in ("memory", "file"):
        if name == "file":
            monkeypatch.setattr(pictures.memory, "memory_budget", lambda text=None: 100)
        job = Job(tmp_path / "photo.tif", tmp_path / f"{name}.tif")
        found[name] = stylize_keeping(Painter(), job, LOOK, bound=0.1, options={}).strength
    assert found["file"] == pytest.approx(found["memory"], abs=1 / 80)
    assert 0 < found["file"] < 1
    assert (tmp_path / "file.tif").exists()
