"""A factorial of contents, styles and strengths, on a stylizer whose shares and effects are known."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch

from pentimento import images, models
from pentimento.causal import paired
from pentimento.errors import CausalError, NotFoundError
from pentimento.model import DataSpec
from pentimento.studies.style import KEPT, REACHED, Factorial, Style, brought_to, find_style_outcomes, study_styles
from pentimento.studies.style_page import shares_section, sheets_section
from pentimento.studies.style_refuting import refute_styles

STRENGTHS = (0.0, 0.25, 0.5, 1.0)
LIGHT = torch.tensor([0.30, 0.33, 0.36, 0.42, 0.45, 0.48])  # of the contents
LIFT = torch.tensor([0.0, 0.05, 0.10, 0.15, 0.20])  # of the styles


class Lifter:
    """Adds its style, times the strength, to every pixel; counts what it is asked to render."""

    family, origin, device, training = "lifter", None, torch.device("cpu"), False

    def __init__(self):
        self.rendered = 0

    def stylize(self, images, styles, strength=1.0, moments=None):
        self.rendered += 1
        return images + strength * styles[:, :1, None, None]


def contents(light=LIGHT, height=36, width=48):
    """One dark pixel each, so that a network sees something."""
    made = light.view(-1, 1, 1, 1, 1).repeat(1, 1, 3, height, width)
    made[..., ::8, ::8] = 0.1
    return list(made)


def crossed(light=LIGHT, lift=LIFT, strengths=STRENGTHS, paintings=False):
    painting = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0)) if paintings else None
    styles = [Style(f"style{k}", torch.tensor([[float(value)]]), painting) for k, value in enumerate(lift)]
    return Factorial(contents(light), styles, strengths)


def by_name(study):
    return {effect.intervention: effect for effect in study.effects}


# ------------------------------------------------------------------------------------------------ known answers
def test_shares_are_the_closed_form():
    """y = content + lift * strength: no interaction with the content."""
    found = study_styles(Lifter(), crossed(), find_style_outcomes(["brightness"]))
    a = torch.tensor(STRENGTHS).double()
    light, lift = found.values[:, 0, 0, 0], LIFT.double()
    parts = {
        ("content",): light.var(correction=0),
        ("style",): lift.var(correction=0) * a.mean() ** 2,
        ("strength",): lift.mean() ** 2 * a.var(correction=0),
        ("style", "strength"): lift.var(correction=0) * a.var(correction=0),
    }
    total = sum(parts.values())
    for share in found.shares["brightness"]:
        assert share.value == pytest.approx(float(parts.get(share.factors, 0.0) / total), abs=1e-5)
        assert share.low <= share.value <= share.high


def test_effects_are_the_closed_form():
    found = study_styles(Lifter(), crossed(), find_style_outcomes(["brightness"]))
    effects = by_name(found.study)
    assert list(effects) == [
        *(f"do(style=style{k})" for k in range(5)),
        *(f"do(strength={s:g})" for s in STRENGTHS[1:]),
    ]
    above = sum(STRENGTHS) / 3  # mean of the strengths above 0
    for k, lift in enumerate(LIFT):
        effect = effects[f"do(style=style{k})"]
        assert effect.value == pytest.approx(float(lift - LIFT.mean()) * above, abs=1e-6)
        assert effect.held_fixed == ("content", "strength")
    bare = found.values[:, :, 0, 0]
    for strength in STRENGTHS[1:]:
        effect = effects[f"do(strength={strength:g})"]
        assert effect.value == pytest.approx(float(LIFT.mean()) * strength, abs=1e-6)
        assert effect.baseline == pytest.approx(float(bare.mean()))
        assert effect.held_fixed == ("content", "style")
        # All that scatters is between styles, so the interval is that of the styles' means.
        by_style = paired(LIFT.double() * strength)
        assert effect.standard_error == pytest.approx(float(by_style.standard_error), rel=1e-4)
    response = found.responses["strength", "brightness"]
    assert response.slope.mean.tolist() == pytest.approx([float(LIFT.mean())], abs=1e-6)
    assert response.monotone == 1.0
    assert found.study.correction == "Benjamini-Hochberg over 8 effects"


def test_content_kept_is_1_at_strength_0_and_style_reached_is_left_out_without_paintings():
    found = study_styles(Lifter(), crossed(), find_style_outcomes([KEPT, REACHED]))
    assert torch.allclose(found.values[:, :, 0, 0], torch.ones(6, 5).double(), atol=1e-5)
    assert bool((found.values[:, -1, 1:, 0] < 1 - 1e-4).all())
    assert list(found.study.outcomes) == [KEPT]
    assert found.study.notes == ("style-reached is left out: not every style is a picture.",)
    painted = study_styles(Lifter(), crossed(paintings=True), find_style_outcomes([REACHED]))
    assert list(painted.study.outcomes) == [REACHED] and painted.study.notes == ()


def test_strength_0_is_rendered_once_a_content():
    model = Lifter()
    study_styles(model, crossed(), find_style_outcomes(["brightness"]))
    assert model.rendered == 6 * (1 + 5 * 3)


def test_contents_of_other_shapes_and_gray_ones():
    given = crossed()
    turned = [given.contents[0].transpose(2, 3), given.contents[1][:, :1], *given.contents[2:]]
    found = study_styles(Lifter(), dataclasses.replace(given, contents=turned), find_style_outcomes(["brightness"]))
    assert found.values[:, :, 0, 0].std(1).max() == 0
    sheet = found.sheets["style0 at strength 0, 0.25, 0.5, 1"]
    assert sheet.shape == (3, 4 * 50 + 2, 4 * 50 + 2)
    page = sheets_section(found.sheets) + shares_section(found.shares)
    assert page.count("<img") == 4 and "content x style x strength" in page and "http" not in page.replace("/svg", "")


# ----------------------------------------------------------------------------------------------------- refuters
def test_true_effects_pass_and_each_is_asked_what_fits():
    given = crossed(lift=LIFT + 0.1)
    found = refute_styles(study_styles(Lifter(), given, find_style_outcomes(["brightness"])), given)
    effects = by_name(found.study)
    strong = effects["do(strength=1)"]
    names = [r.name for r in strong.refutations]
    assert names == ["dummy outcome", "permuted pairing", "stable", "dose response"]
    assert strong.survives
    assert [r.name for r in effects["do(style=style0)"].refutations] == ["dummy outcome", "permuted pairing", "stable"]
    assert any(note.startswith("Refuters asked: dummy outcome") for note in found.study.notes)


class Bump(Lifter):
    """Does most halfway: no dose response."""

    def stylize(self, images, styles, strength=1.0, moments=None):
        return super().stylize(images, styles, 4 * strength * (1 - strength) + 0.1 * strength)


def test_a_response_that_turns_fails_the_dose_response():
    given = crossed(lift=LIFT + 0.1)
    found = refute_styles(study_styles(Bump(), given, find_style_outcomes(["brightness"])), given)
    half = by_name(found.study)["do(strength=0.5)"]
    assert half.found and not half.survives
    assert [r.name for r in half.refutations if not r.passed] == ["dose response"]


def test_an_effect_that_one_content_carries_fails():
    class One(Lifter):
        def stylize(self, images, styles, strength=1.0, moments=None):
            lift = 0.3 if float(images.max()) > 0.47 else -1e-3
            return images + strength * lift * (1 + styles[:, :1, None, None])

    given = crossed()
    study = study_styles(One(), given, find_style_outcomes(["brightness"]), level=0.9)  # found at any rate
    strong = by_name(refute_styles(study, given).study)["do(strength=1)"]
    permuted = next(r for r in strong.refutations if r.name == "permuted pairing")
    assert strong.found and not permuted.passed and permuted.note.startswith("over contents: ")


def test_outcomes_of_references_and_networks_are_asked_as_anywhere(tmp_path):
    """On a black reference, the distance in pixels is the mean value: the lift, at full strength."""
    images.write(tmp_path / "black.png", torch.zeros(3, 36, 48))
    asked = find_style_outcomes(["brightness", f"pixels:{tmp_path / 'black.png'}"])
    study = study_styles(Lifter(), crossed(), asked).study
    assert list(study.outcomes) == [outcome.name for outcome in asked]
    full = [effect for effect in study.effects if effect.intervention == "do(strength=1)"]
    assert [effect.value for effect in full] == pytest.approx([float(LIFT.mean())] * 2, abs=1e-6)


def test_a_judge_of_other_pictures_is_refused(tmp_path):
    spec = DataSpec(height_px=16, width_px=16, channels=1, classes=("plain", "bold"))
    models.save(models.build("classifier", {"spec": spec, "width": 4}), tmp_path / "judge", card="")
    lifter = Lifter()
    with pytest.raises(CausalError, match=r"looks at pictures of 16x16 px, and these are 48x36; train a judge on"):
        study_styles(lifter, crossed(), find_style_outcomes([f"judge:{tmp_path / 'judge'}"]))
    assert lifter.rendered == 0


# ---------------------------------------------------------------------------------------------------- bad input
def test_a_stylizer_that_makes_no_pictures_is_refused():
    class Broken(Lifter):
        def stylize(self, images, styles, strength=1.0, moments=None):
            return images * float("nan")

    with pytest.raises(CausalError, match=r"images: values in \[0, 1\] expected, got nan to nan; see what made them"):
        study_styles(Broken(), crossed(), find_style_outcomes(["brightness"]))


@pytest.mark.parametrize(
    ("changed", "names", "error", "message"),
    [
        ({"light": LIGHT[:4]}, ["brightness"], CausalError, "contents: 5 or more expected, for an interval over them"),
        (
            {"lift": LIFT[:3]},
            ["brightness"],
            CausalError,
            "--style: 5 or more expected, for an interval over them, got 3",
        ),
        ({"strengths": (0.5, 1.0)}, ["brightness"], CausalError, "--strength: 0 and others up to 1, increasing"),
        ({"strengths": (0.0, 1.5)}, ["brightness"], CausalError, "--strength: 0 and others up to 1, increasing"),
        ({"strengths": (0.0,)}, ["brightness"], CausalError, "--strength: 0 and others up to 1, increasing"),
        ({"strengths": (0.0, 0.5, 0.5)}, ["brightness"], CausalError, "--strength: 0 and others up to 1, increasing"),
        ({}, ["saturation"], CausalError, "saturation: is 0 in every cell; choose another outcome"),
        ({}, [], CausalError, "--outcome: at least one expected, got none"),
        ({}, ["brightness", "brightness"], CausalError, "--outcome: 'brightness' is given twice"),
        ({}, ["content-kapt"], NotFoundError, "unknown name 'content-kapt'; did you mean 'content-kept'"),
        ({}, ["thickness"], NotFoundError, "--outcome: unknown name 'thickness'; "),
        ({}, [REACHED], CausalError, "--outcome style-reached: needs a picture of every style"),
    ],
)
def test_refused(changed, names, error, message):
    with pytest.raises(error, match=re.escape(message)):
        study_styles(Lifter(), crossed(**changed), find_style_outcomes(names))


def test_a_working_size():
    assert brought_to(torch.zeros(1, 3, 40, 80), 160).shape == (1, 3, 80, 160)
    assert brought_to(torch.zeros(1, 3, 400, 800), 64).shape == (1, 3, 32, 64)
    for height, width, longest in ((31, 400, 400), (400, 1600, 64)):
        with pytest.raises(CausalError, match=rf"{width}x{height} px, seen {longest} px long: at least 32 px"):
            brought_to(torch.zeros(1, 3, height, width), longest)
