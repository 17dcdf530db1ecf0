"""What does a style cause? Every content in every style at every strength, and each picture measured.

    y[a, b, c] -> an outcome of content a in style b at strength c     A, B -> contents, styles

The factorial is crossed, so that nothing is confounded: each content is seen in each style at each strength. Contents
and styles are *drawn*, they stand for others that might have been taken, and intervals are about other draws of both;
see `pentimento.causal.factorial`. At strength 0 a picture has no style, so it is made once for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pentimento import images
from pentimento.capabilities import Stylizes
from pentimento.causal import (
    DoseResponse,
    Effect,
    PairedEffect,
    Share,
    Study,
    benjamini_hochberg,
    main_effects,
    over_levels,
    variance_shares,
)
from pentimento.errors import CausalError, NotFoundError, suggest
from pentimento.model import Model
from pentimento.runtime import Progress, ProgressCallback, no_progress
from pentimento.studies.outcomes import (
    ALL,
    PIXEL_OUTCOMES,
    Outcome,
    content_distance,
    find_outcomes,
    measure_all,
    style_distance,
)
from pentimento.tasks.pictures import computing, model_name, placed
from pentimento.tasks.style_objective import resized

__all__ = [
    "FACTORS",
    "FEWEST",
    "KEPT",
    "OUTCOMES",
    "REACHED",
    "Factorial",
    "Style",
    "StyleStudy",
    "brought_to",
    "find_style_outcomes",
    "study_styles",
]

FACTORS = ("content", "style", "strength")
DRAWN = FACTORS[:2]
FEWEST = 5  # contents, and styles: an interval over fewer rests on too little
LEAST_PX = 32  # of a content along a side: the deepest maps that are compared are a sixteenth of it
KEPT, REACHED = "content-kept", "style-reached"
OUTCOMES: Mapping[str, str] = {
    KEPT: "1 - the content distance from the content: 1 is all kept, 0 nothing",
    REACHED: "1 - the style distance from the painting: 1 is all reached; below 0, farther from it than nothing is",
    **{outcome.name: outcome.formula for outcome in PIXEL_OUTCOMES},
}
SHOWN_CONTENTS, SHOWN_STYLES = 4, 4  # in sheets


@dataclass(frozen=True)
class Style:
    """A style that contents are rendered in.

    Args:
        name: in tables; each style has its own.
        vector: (1, S), as the model encodes it.
        painting: (1, 3, h, w) in [0, 1]; None where there is no picture of it.
    """

    name: str
    vector: Tensor
    painting: Tensor | None = None


@dataclass(frozen=True)
class Factorial:
    """What is crossed.

    Args:
        contents: (1, 1 or 3, h, w) each, at the size that they are rendered at; A of them.
        styles: B of them.
        strengths: from 0, increasing, to 1 at most.
    """

    contents: Sequence[Tensor]
    styles: Sequence[Style]
    strengths: tuple[float, ...]


@dataclass(frozen=True)
class StyleStudy:
    """The answers.

    Args:
        study: the record of the effects of each style and of each strength.
        shares: outcome -> the shares of its variance.
        responses: over strengths, by ``"strength"`` and the outcome.
        values: y, (A, B, strengths, outcomes).
        sheets: caption -> a sheet (C, H, W): a row for each of a few contents, a column for each strength.
    """

    study: Study
    shares: Mapping[str, tuple[Share, ...]]
    responses: Mapping[tuple[str, str], DoseResponse]
    values: Tensor
    sheets: Mapping[str, Tensor] = field(default_factory=dict)


# ------------------------------------------------------------------------------------------- what is crossed
def brought_to(content: Tensor, longest_px: int) -> Tensor:
    """(1, C, h, w) with that longer side, larger or smaller.

    Raises:
        CausalError: its shorter side is too small then to tell what it shows.
    """
    height, width = content.shape[2:]
    factor = longest_px / max(height, width)
    if min(height, width) < LEAST_PX or round(min(height, width) * factor) < LEAST_PX:
        raise CausalError(
            f"{width}x{height} px, seen {longest_px} px long: at least {LEAST_PX} px along the shorter side expected; "
            "leave it out, or raise --size"
        )
    return resized(content, round(height * factor), round(width * factor))


def find_style_outcomes(names: Sequence[str]) -> tuple[Outcome, ...]:
    """The outcomes called so: of `OUTCOMES`, or of a network or a reference as anywhere (``judge:MODEL:CLASS``, ...).

    `KEPT` and `REACHED` come first.

    Raises:
        CausalError: none, or one twice.
        NotFoundError: an unknown one.
        PentimentoError: as `pentimento.studies.outcomes.find_outcomes`.
    """
    if not names:
        raise CausalError("--outcome: at least one expected, got none")
    known = [*OUTCOMES, *(name for name in ALL if ":" in name)]
    for k, name in enumerate(names):
        if name in names[:k]:
            raise CausalError(f"--outcome: {name!r} is given twice; leave one away")
        if name not in OUTCOMES and ":" not in name:
            raise NotFoundError(f"--outcome: unknown name {name!r}; {suggest(name, known, limit=len(known))}")
    special = {name: Outcome(name, "", OUTCOMES[name], _of_no_cell) for name in (KEPT, REACHED)}
    found = [special[name] for name in names if name in special]
    others = [name for name in names if name not in special]
    found += find_outcomes(others, spec=None) if others else ()
    return tuple(found)


def _of_no_cell(_: Tensor) -> Tensor:
    """What `_of_cells` replaces."""
    raise CausalError("content-kept, style-reached: of a content and a style, by study_styles alone")


def _check(crossed: Factorial, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Those that can be measured; refuses what cannot be asked, before any work."""
    for what, count in (("contents", len(crossed.contents)), ("--style", len(crossed.styles))):
        if count < FEWEST:
            raise CausalError(f"{what}: {FEWEST} or more expected, for an interval over them, got {count}")
    given = crossed.strengths
    if len(given) < 2 or given[0] != 0 or sorted(set(given)) != list(given) or given[-1] > 1:
        raise CausalError(
            f"--strength: 0 and others up to 1, increasing, expected, got {', '.join(f'{s:g}' for s in given)}"
        )
    painted = all(style.painting is not None for style in crossed.styles)
    kept = [outcome for outcome in outcomes if outcome.name != REACHED or painted]
    if not kept:
        raise CausalError(
            f"--outcome {REACHED}: needs a picture of every style, and named styles have none; give files"
        )
    alone = [outcome for outcome in kept if outcome.measure is not _of_no_cell]
    for height, width in {tuple(content.shape[2:]) for content in crossed.contents} if alone else ():
        measure_all(alone, torch.zeros(1, 3, height, width))
    return kept


# ------------------------------------------------------------------------------------------------- the study
def study_styles(
    model: Model,
    crossed: Factorial,
    outcomes: Sequence[Outcome],
    *,
    level: float = 0.05,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> StyleStudy:
    """Render and measure all cells, and say what depends on what; refutations are in `studies.style_refuting`.

    `REACHED` is left out where a style has no painting, and the record says so.

    Args:
        model: that stylizes.
        crossed: contents, styles and strengths.
        outcomes: of `find_style_outcomes`.
        level: at which an effect counts as found, after correction.
        seed: of the draws of intervals.
        progress: told after each content.

    Raises:
        CausalError: too few contents or styles, strengths that do not begin at 0, a model that makes no pictures, or an
            outcome that cannot measure the pictures, or is the same in every cell.
    """
    kept = _check(crossed, outcomes)
    values, shown = _measure(model, crossed, kept, progress)
    shares, responses, rows = {}, {}, list[_Row]()
    doses = torch.tensor(crossed.strengths, dtype=torch.float64)
    for k, name in enumerate(outcome.name for outcome in kept):
        y = values[..., k]
        if bool((y == y.flatten()[0]).all()):
            raise CausalError(f"{name}: is {float(y.flatten()[0]):g} in every cell; choose another outcome")
        shares[name] = variance_shares(y, FACTORS, DRAWN, seed=seed)
        responses["strength", name] = over_levels(y, FACTORS, "strength", doses, DRAWN)
        rows += _rows(crossed, name, y, responses["strength", name])
    study = _record(model, crossed, kept, rows, level, seed)
    if len(kept) < len(outcomes):
        study = _noted(study, f"{REACHED} is left out: not every style is a picture.")
    return StyleStudy(study, shares, responses, values, _sheets(crossed, shown))


Shown = dict[tuple[int, int], list[Tensor]]  # content, style -> its pictures over strengths


@torch.no_grad()
def _measure(
    model: Model, crossed: Factorial, outcomes: Sequence[Outcome], progress: ProgressCallback
) -> tuple[Tensor, Shown]:
    """y, (A, B, strengths, outcomes), and a few of the pictures."""
    stylizer, styles = cast(Stylizes, model), crossed.styles
    paintings = [style_distance(style.painting.to(model.device)) for style in styles if style.painting is not None]
    values = torch.zeros(len(crossed.contents), len(styles), len(crossed.strengths), len(outcomes), dtype=torch.float64)
    shown: Shown = {}
    for a, content in enumerate(crossed.contents):
        given = placed(content.expand(-1, 3, -1, -1), model)
        asked = _of_cells(outcomes, content_distance(given), paintings)
        for c, strength in enumerate(crossed.strengths):
            made: list[Tensor] = []
            for style in styles[: None if strength else 1]:
                with computing(model):
                    made.append(stylizer.stylize(given, style.vector.to(given), strength).float().clamp(0, 1))
            pictures = torch.cat(made).expand(len(styles), -1, -1, -1)
            values[a, :, c] = measure_all(asked, pictures)
            for b in range(min(SHOWN_STYLES, len(styles)) if a < SHOWN_CONTENTS else 0):
                shown.setdefault((a, b), []).append(pictures[b].cpu())
        progress(Progress("contents", a + 1, len(crossed.contents)))
    return values, shown


def _of_cells(outcomes: Sequence[Outcome], content: Outcome, paintings: Sequence[Outcome]) -> list[Outcome]:
    """The same for the pictures of one content, one in each style."""

    def kept(pictures: Tensor) -> Tensor:
        return 1 - content.measure(pictures)

    def reached(pictures: Tensor) -> Tensor:
        return 1 - torch.cat([p.measure(picture[None]) for p, picture in zip(paintings, pictures, strict=True)])

    of_cells = {KEPT: kept, REACHED: reached}
    return [replace(each, measure=of_cells.get(each.name, each.measure)) for each in outcomes]


# ------------------------------------------------------------------------------------------------ the record
@dataclass(frozen=True)
class _Row:
    """One effect before correction: index `i` of `effects`, beside what it is held against."""

    name: str
    outcome: str
    effects: PairedEffect
    i: int
    baseline: float
    spread: float
    held: tuple[str, ...]


def _rows(crossed: Factorial, outcome: str, y: Tensor, response: DoseResponse) -> list[_Row]:
    """Each style at strengths above 0 beside the mean of all styles; each strength beside 0."""
    painted = y[:, :, 1:].mean(2)  # (A, B)
    effects = main_effects(painted, DRAWN, "style", ("content",))
    usual = painted.mean(1)
    rows = [
        _Row(f"do(style={style.name})", outcome, effects, b, float(usual.mean()), float(usual.std()), FACTORS[::2])
        for b, style in enumerate(crossed.styles)
    ]
    bare = y[:, :, 0].mean(1)
    return rows + [
        _Row(f"do(strength={dose:g})", outcome, response.change, c, float(bare.mean()), float(bare.std()), DRAWN)
        for c, dose in enumerate(crossed.strengths)
        if c
    ]


def _record(
    model: Model, crossed: Factorial, outcomes: Sequence[Outcome], rows: Sequence[_Row], level: float, seed: int
) -> Study:
    units = {outcome.name: outcome.unit for outcome in outcomes}
    q_values = benjamini_hochberg(torch.stack([row.effects.p_value[row.i] for row in rows])).tolist()
    effects = tuple(
        Effect(
            intervention=row.name,
            outcome=row.outcome,
            unit=units[row.outcome],
            value=float(row.effects.mean[row.i]),
            low=float(row.effects.low[row.i]),
            high=float(row.effects.high[row.i]),
            standard_error=float(row.effects.standard_error[row.i]),
            standardized=float(row.effects.mean[row.i]) / row.spread if row.spread else float("nan"),
            baseline=row.baseline,
            p_value=float(row.effects.p_value[row.i]),
            count=row.effects.count,
            q_value=q,
            held_fixed=row.held,
            level=level,
        )
        for row, q in zip(rows, q_values, strict=True)
    )
    counted = f"{len(crossed.contents)} contents in {len(crossed.styles)} styles at {len(crossed.strengths)} strengths"
    return Study(
        question=f"What do style and strength cause in {', '.join(units)}? {counted}.",
        model=model_name(model),
        model_hash=model.origin.weights_sha256 if model.origin else "",
        seed=seed,
        sample_count=len(crossed.contents) * len(crossed.styles),
        outcomes={outcome.name: outcome.formula for outcome in outcomes},
        effects=effects,
        level=level,
        correction=f"Benjamini-Hochberg over {len(effects)} effects",
        assumptions=(
            "An effect is on these pictures in this model, and on others as far as they are drawn as these were.",
            "The effect of a style is beside the mean of all styles of the study, over its strengths above 0, on the "
            "same contents; that of a strength beside strength 0, on the same contents in the same styles.",
            "Intervals of strengths are about other contents and other styles; those of styles about other contents.",
            "An outcome is the number that its formula says, whatever its name promises.",
        ),
    )


def _noted(study: Study, note: str) -> Study:
    return replace(study, notes=(*study.notes, note))


# -------------------------------------------------------------------------------------------------- to look at
def _sheets(crossed: Factorial, shown: Shown) -> dict[str, Tensor]:
    """One for each of a few styles."""
    longest = max(max(content.shape[2:]) for content in crossed.contents)
    strengths = ", ".join(f"{strength:g}" for strength in crossed.strengths)
    sheets: dict[str, Tensor] = {}
    for b, style in enumerate(crossed.styles[:SHOWN_STYLES]):
        cells = [_squared(picture, longest) for (_, each), row in shown.items() if each == b for picture in row]
        caption = f"{style.name} at strength {strengths}"
        sheets[caption] = images.grid(torch.stack(cells), columns=len(crossed.strengths))
    return sheets


def _squared(picture: Tensor, side: int) -> Tensor:
    """(3, side, side), white beside it."""
    return F.pad(picture, (0, side - picture.shape[2], 0, side - picture.shape[1]), value=1.0)
