"""What `measure_all` takes, gives and refuses, and when work is shared."""

from __future__ import annotations

import re

import pytest
import torch

from pentimento.errors import CausalError
from pentimento.studies.outcomes import DIGIT_OUTCOMES, PIXEL_OUTCOMES, Outcome, measure_all
from pentimento.studies.outcomes.outcome import Once, pieces

PICTURES = torch.rand(3, 1, 9, 7, generator=torch.Generator().manual_seed(0))


def outcome(measure):
    return Outcome("mine", "", "a function of mine", measure)


def test_a_table_with_a_column_for_each():
    ours = [outcome(lambda x: x.mean((1, 2, 3))), outcome(lambda x: torch.arange(len(x)))]
    table = measure_all(ours, PICTURES)
    assert table.dtype == torch.float64
    assert table.tolist() == [[float(PICTURES[i].mean()), float(i)] for i in range(3)]


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda x: x.mean(), r"mine: a tensor with one number for each of 3 pictures, \(3,\), expected, got .*\(\)"),
        (lambda x: x.mean((2, 3)), r"expected, got torch.float32 \(3, 1\); mend the outcome's function"),
        (lambda x: [1.0, 2.0, 3.0], r"mine: .* got a list"),
        (
            lambda x: torch.tensor([0.0, torch.nan, torch.inf]),
            r"mine: not a finite number for 2 of 3 .* number 1.*: nan",
        ),
    ],
)
def test_functions_that_do_not_measure(measure, message):
    with pytest.raises(CausalError, match=message) as caught:
        measure_all([outcome(measure)], PICTURES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (PICTURES[0], r"images: floats \(N, 1 or 3, H, W\).* got torch.float32 \(1, 9, 7\)"),
        (PICTURES[:0], r"got torch.float32 \(0, 1, 9, 7\)"),
        (torch.zeros(1, 2, 4, 4), r"\(1, 2, 4, 4\)"),
        ((PICTURES * 255).byte(), r"got torch.uint8"),
        (PICTURES * 2 - 1, r"images: values in \[0, 1\] expected, got -0.9\d* to 0.9\d*; see what made them"),
        (PICTURES.clone().index_fill_(0, torch.tensor(1), torch.nan), r"values in \[0, 1\] expected, got nan to nan"),
    ],
)
def test_pictures_that_are_none(images, message):
    with pytest.raises(CausalError, match=message):
        measure_all(PIXEL_OUTCOMES, images)


def test_no_outcomes():
    with pytest.raises(CausalError, match="outcomes: at least one expected, got none"):
        measure_all([], PICTURES)


def test_work_is_shared_but_never_stale():
    seen = []
    once = Once(lambda x: seen.append(1) or x.sum((1, 2, 3)))
    images = PICTURES.clone()
    assert torch.equal(once(images), once(images))
    assert len(seen) == 1
    images.mul_(0.5)
    assert torch.equal(once(images), images.sum((1, 2, 3)))
    assert torch.equal(once(images.clone()), images.sum((1, 2, 3)))
    assert len(seen) == 3
    with torch.inference_mode():
        frozen = PICTURES.clone()
        assert torch.equal(once(frozen), once(frozen))
    assert len(seen) == 5


def test_pieces_are_small_and_complete():
    images = torch.rand(5, 3, 128, 128)
    found = list(pieces(images, enlarged=8))
    assert [len(p) for p in found] == [2, 2, 1]
    assert torch.equal(torch.cat(found).float(), images)


@pytest.mark.parametrize("shared", [*PIXEL_OUTCOMES, *DIGIT_OUTCOMES], ids=lambda o: o.name)
def test_a_picture_has_the_same_number_in_any_company(shared):
    together = shared.measure(PICTURES)
    assert together.dtype == torch.float64
    alone = torch.cat([shared.measure(picture[None]) for picture in PICTURES])
    assert torch.allclose(together, alone, rtol=1e-12, atol=1e-12)
    assert not re.search(r"\n", shared.formula)
