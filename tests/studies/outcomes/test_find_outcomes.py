"""Outcomes by name, and what is said of names that are none."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from pentimento import models
from pentimento.errors import CausalError, ModelError, NotFoundError
from pentimento.model import DataSpec
from pentimento.studies.outcomes import ALL, DIGITS, find_outcomes, measure_all

GRAY = DataSpec(channels=1, height_px=12, width_px=12, classes=("0", "1:1"))
COLOUR = DataSpec(channels=3, height_px=12, width_px=12)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with a judge and a picture in it."""
    torch.manual_seed(0)
    models.save(models.build("classifier", {"spec": GRAY, "width": 4}), tmp_path / "judge", card="")
    Image.fromarray(torch.randint(0, 255, (24, 24, 3), dtype=torch.uint8).numpy()).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_all_that_have_a_name_of_their_own():
    names = [name for name in ALL if ":" not in name]
    found = find_outcomes(names, spec=GRAY)
    assert [o.name for o in found] == names
    assert set(DIGITS) < set(names)
    assert [o.formula for o in found] == [ALL[name] for name in names]


def test_named_by_what_they_need(folder):
    found = find_outcomes(
        ["brightness", "judge:judge", "content:photo.png", "style:photo.png", "pixels:photo.png"], spec=GRAY
    )
    names = [
        "brightness",
        "judge:judge:0",
        "judge:judge:1:1",
        "content:photo.png",
        "style:photo.png",
        "pixels:photo.png",
    ]
    assert [o.name for o in found] == names
    assert measure_all(found, torch.rand(2, 1, 12, 12)).shape == (2, 6)


@pytest.mark.parametrize(
    ("name", "title"), [("judge:judge:0", "0"), ("judge:judge:1:1", "1:1"), ("judge:judge:confidence", "confidence")]
)
def test_one_of_a_judge(folder, name, title):
    (found,) = find_outcomes([name], spec=None)
    assert found.name == f"judge:judge:{title}"


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        ([], CausalError, "outcomes: at least one expected, got none"),
        (["brigthness"], NotFoundError, r"outcome: unknown name 'brigthness'; did you mean 'brightness' or "),
        (["hue"], NotFoundError, r"outcome: unknown name 'hue'"),
        (["x"], NotFoundError, r"outcome: unknown name 'x'; known: area, brightness, .*judge:MODEL, judge:MODEL:CLASS"),
        (["judge:"], NotFoundError, r"outcome: unknown name 'judge:'; did you mean 'judge:MODEL'"),
        (["jugde:judge"], NotFoundError, r"outcome: unknown name 'jugde:judge'"),
        (["judge:nobody"], NotFoundError, r"nobody: neither a folder nor a model of the zoo"),
        (["judge:mnist-gan"], ModelError, r"judge: a 'gan' model cannot do this; families that can: classifier"),
        (["judge:judge:7"], CausalError, r"judge:judge: tells nothing called '7'; known: 0, 1:1, confidence"),
        (["judge:judge", "judge:judge:0"], CausalError, r"outcomes: 'judge:judge:0' is given twice; leave one away"),
        (["onnx:no.onnx"], NotFoundError, r"no.onnx"),
        (["onnx:no.pt#1"], CausalError, r"onnx:no.pt: a file that ends in .onnx expected"),
        (["content:no.png"], NotFoundError, r"no.png"),
    ],
)
def test_refused(folder, names, error, message):
    with pytest.raises(error, match=message) as caught:
        find_outcomes(names, spec=GRAY)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        ("thickness", COLOUR, "digits: gray pictures of up to 128x128 px expected, got 12x12 px with 3 channels"),
        (
            "judge:judge:0",
            GRAY.model_copy(update={"width_px": 28}),
            "looks at pictures of 12x12 px, and these are 28x12",
        ),
        ("content:photo.png", GRAY.model_copy(update={"width_px": 28}), "content:photo.png: the reference is 24x24 px"),
    ],
)
def test_not_for_these_pictures(folder, name, spec, message):
    """Said before anything is made; without a spec, when it is measured."""
    with pytest.raises(CausalError, match=message):
        find_outcomes([name], spec=spec)
    late = find_outcomes([name], spec=None)
    with pytest.raises(CausalError, match=message):
        measure_all(late, torch.zeros(1, *spec.image_shape))
