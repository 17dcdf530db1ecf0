"""The verb `explain style`: what styles and their strength cause in a stylizer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from pentimento.api.explanation import ExplainResult, write_report
from pentimento.api.options import Callback, Flag, check_level, check_seed, report_files, say_licence
from pentimento.api.pictures import check_range, load_able
from pentimento.errors import CausalError, InputError
from pentimento.runtime import no_progress

if TYPE_CHECKING:
    from torch import Tensor

    from pentimento.model import Model
    from pentimento.studies.style import Factorial, Style, StyleStudy

__all__ = ["explain_style"]

LARGEST_SHARES = 3  # of an outcome, in the legend


def explain_style(
    contents: Annotated[list[str], Parameter(negative="")],
    /,
    *,
    model: str = "stylize",
    styles: Annotated[Sequence[str], Parameter(name="--style", negative="")] = (),
    strengths: Annotated[Sequence[float], Parameter(name="--strength", negative="")] = (0.0, 0.25, 0.5, 0.75, 1.0),
    outcomes: Annotated[Sequence[str], Parameter(name="--outcome", negative="")] = (
        "content-kept",
        "style-reached",
        "brightness",
        "contrast",
        "colourfulness",
    ),
    size: int = 256,
    level: float = 0.05,
    refute: Annotated[bool, Parameter(negative="--no-refute")] = True,
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
    overwrite: Flag = False,
    progress: Callback = no_progress,
) -> ExplainResult:
    """Render every content in every style at every strength, and say what depends on what.

    Tells the shares of variance of content, style and strength, the effect of each style and of each strength, with
    intervals over contents and styles.

    Args:
        contents: Five or more picture files, folders or patterns such as "photos/*.jpg".
        model: A stylizer: a model of the zoo, a run folder, a model folder or a hub id.
        styles: Five or more: pictures; names of styles that come with the model; or FILE.safetensors:NAME; the model's
            own where left out; repeatable.
        strengths: From 0, which the others are held against, to 1; two or more.
        outcomes: What to measure: content-kept, style-reached (where every style is a picture), brightness, contrast,
            colourfulness, sharpness, ...; judge:MODEL, onnx:FILE, style:IMAGE, pixels:IMAGE; repeatable.
        size: The longer side that contents, and pictures of styles, are brought to.
        level: At which an effect counts as found, after correction.
        refute: Put what is found to refuters.
        seed: Of all randomness.
        out: Write the report there, as .json and .html.
        device: auto, cpu, cuda, cuda:N or mps.
        overwrite: Replace reports that stand at OUT.
    """
    from pentimento.studies import style as studies
    from pentimento.studies.style_refuting import refute_styles

    check_seed(seed)
    check_level(level)
    check_range("size", size, 32, 4096)
    doses = _strengths(strengths)
    asked = studies.find_style_outcomes(outcomes)
    files = report_files(out, overwrite)
    pictures = _contents(contents, size)
    stylizer = load_able(model, "Stylizes", "explain style", device)
    crossed = studies.Factorial(pictures, _styles(stylizer, model, styles, size), doses)
    say_licence(stylizer.origin, progress)
    found = studies.study_styles(stylizer, crossed, asked, level=level, seed=seed, progress=progress)
    if refute:
        found = refute_styles(found, crossed)
    return _report(found, crossed, files)


# --------------------------------------------------------------------------------------------------- parts
def _strengths(given: Sequence[float]) -> tuple[float, ...]:
    """In order; refuses what is no strength, or there twice."""
    for strength in given:
        check_range("strength", strength, 0, 1)
    doses = tuple(sorted(given))
    if len(set(doses)) < len(doses) or len(doses) < 2 or doses[0] != 0:
        shown = ", ".join(f"{strength:g}" for strength in given)
        raise InputError(f"--strength: two or more different ones, with 0 among them, expected, got {shown}")
    return doses


def _contents(given: Sequence[str], size: int) -> list[Tensor]:
    """Each at its working size; refuses too few, and too small ones."""
    from pentimento import images
    from pentimento.studies.style import FEWEST, brought_to
    from pentimento.tasks.files import find_pictures

    paths = find_pictures(given)
    if len(paths) < FEWEST:
        raise CausalError(f"contents: {FEWEST} pictures or more expected, for an interval over them, got {len(paths)}")
    made = []
    for path in paths:
        try:
            made.append(brought_to(images.read(path).to_tensor()[None], size))
        except CausalError as error:
            raise CausalError(f"contents: {path}: {error}") from error
    return made


def _styles(model: Model, where: str, given: Sequence[str], size: int) -> list[Style]:
    """As named, each under a name of its own, with its picture where it is one; the model's own where none are."""
    from pentimento.models import find
    from pentimento.studies.style import FEWEST, Style
    from pentimento.tasks.styles import find_style, is_named, known_styles, style_picture

    folder = find(where)
    texts = list(given) or list(known_styles(model, folder))
    twice = next((text for k, text in enumerate(texts) if text in texts[:k]), None)
    if twice is not None:
        raise InputError(f"--style: {twice!r} is given twice; leave one away")
    found = [find_style(model, folder, text, size) for text in texts]
    if len(found) < FEWEST:
        hint = "" if given else f"; {where} comes with no more"
        raise CausalError(f"--style: {FEWEST} or more expected, for an interval over them, got {len(found)}{hint}")
    names = [style.name for style in found]
    names = names if len(set(names)) == len(names) else texts
    return [
        Style(name, style.vector, None if is_named(text) else style_picture(style.files[0], size))
        for name, text, style in zip(names, texts, found, strict=True)
    ]


def _report(found: StyleStudy, crossed: Factorial, files: list[Path]) -> ExplainResult:
    from pentimento.studies.page import effect_table
    from pentimento.studies.style_page import part_name, share_text, shares_section, sheets_section

    study, legend = found.study, [found.study.question, f"{found.study.correction}."]
    for name, shares in found.shares.items():
        largest = sorted(shares, key=lambda share: -share.value)[:LARGEST_SHARES]
        told = ", ".join(f"{part_name(share)} {share_text(share)}" for share in largest)
        legend.append(f"Of the variance of {name}: {told}.")
    report = study.to_json()
    report["contents"], report["styles"] = len(crossed.contents), [style.name for style in crossed.styles]
    report["strengths"] = list(crossed.strengths)
    report["shares"] = {name: [dataclasses.asdict(share) for share in shares] for name, shares in found.shares.items()}
    report["responses"] = [
        {
            "outcome": outcome,
            "mean": response.mean.tolist(),
            "change": response.change.mean.tolist(),
            "band_low": response.band_low.tolist(),
            "band_high": response.band_high.tolist(),
        }
        for (_, outcome), response in found.responses.items()
    ]
    more = {"The same contents": sheets_section(found.sheets)}
    first = {"What outcomes depend on": shares_section(found.shares)}
    written = write_report(files, report, (study, found.responses, {}, more, first))
    return ExplainResult(effect_table(study.effects), " ".join((*legend, *study.notes)), report, written)
