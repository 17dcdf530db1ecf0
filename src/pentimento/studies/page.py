"""A page about a study: effects, what tried to refute them, curves over doses, the same samples side by side."""

from __future__ import annotations

import datetime
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from pentimento import __version__
from pentimento.causal import DoseResponse, Effect, Refutation, Study
from pentimento.evaluate import markup
from pentimento.evaluate.figures import PICTURES_BYTES, sheet_figure
from pentimento.evaluate.intervals import Estimate
from pentimento.evaluate.plots import Point, curve_plot, interval_plot

__all__ = ["effect_table", "set_section", "write_page"]

MOST_ROWS = 200  # on a page; the JSON file has all
MOST_POINTS = 24  # in a forest plot


def write_page(
    path: Path,
    study: Study,
    responses: Mapping[tuple[str, str], DoseResponse],
    strips: Mapping[str, Tensor],
    more: Mapping[str, str] | None = None,
    first: Mapping[str, str] | None = None,
) -> None:
    """Write the page; what stands at `path` is replaced at once or not at all.

    Args:
        path: of the page.
        study: the record.
        responses: over doses, by what was dosed and the outcome.
        strips: caption -> sheet (C, H, W).
        more: further sections, title -> HTML.
        first: sections that stand before all others.

    Raises:
        StorageError: the disk is full or refuses.
    """
    shown = sorted(study.effects, key=lambda e: not e.found)[:MOST_ROWS]
    sections = {
        **(first or {}),
        "Effects": _about(study, len(shown)) + markup.wide(_effects(shown), "Effects"),
        "Side by side": _forests(shown),
        "Over doses": _curves(responses),
        "The same samples": _strips(strips),
        **(more or {}),
        "What tried to refute them": _refutations(shown),
        "How it was measured": _protocol(study),
    }
    lead = f"<p class='lead'>{html.escape(study.question)}</p>"
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    title = f"Effects in {html.escape(study.model)}"
    markup.write_page(path, title, lead, markup.titled(sections), (__version__, now))


def set_section(study: Study, told: str) -> str:
    """A set that was found: what is said of it, its effects, counted by themselves, and what tried to refute them."""
    effects = study.effects
    about = f"<p>{html.escape(told)}</p>" + _about(study, len(effects))
    return about + markup.wide(_effects(effects), "Effects of the set") + _refutations(effects)


def effect_table(effects: Sequence[Effect]) -> list[list[str]]:
    """A header, and a row for each effect, as text for a terminal."""
    rows = [["intervention", "outcome", "without", "effect", "95 % interval", "q", "refuters"]]
    for e in effects:
        name = e.intervention + (f", {e.subgroup}" if e.subgroup else "")
        q = e.p_value if e.q_value is None else e.q_value
        rows.append([name, e.outcome, f"{e.baseline:.4g}", _signed(e.value), _interval(e), f"{q:.2g}", _verdict(e)])
    return rows


def _verdict(effect: Effect) -> str:
    if not effect.found:
        return "not found"
    failed = [r.name for r in effect.refutations if not r.passed]
    if failed:
        return "failed: " + ", ".join(failed)
    return f"passed {len(effect.refutations)} of {len(effect.refutations)}" if effect.refutations else "not tried"


def _signed(value: float) -> str:
    return f"{value:+.4g}"


def _interval(effect: Effect) -> str:
    return f"{effect.low:+.4g} to {effect.high:+.4g}"


# --------------------------------------------------------------------------------------------------- parts
def _about(study: Study, shown: int) -> str:
    found = sum(e.found for e in study.effects)
    survive = sum(e.survives and bool(e.refutations) for e in study.effects)
    said = [
        f"{found} of {len(study.effects)} effects found at a level of {study.level:g}",
        study.correction and f"corrected: {study.correction}",
        f"{survive} of them passed every refuter" if any(e.refutations for e in study.effects) else "",
        f"{shown} are shown; the JSON file has all" if shown < len(study.effects) else "",
    ]
    return f"<p class='quiet'>{html.escape('. '.join(filter(None, said)))}.</p>"


def _effects(effects: Sequence[Effect]) -> str:
    header, *rows = effect_table(effects)
    cells = [markup.row(html.escape(name), [html.escape(c.replace("-", "−")) for c in rest]) for name, *rest in rows]
    return markup.table("numbers many", ["", *header[1:]], markup.body(cells))


def _forests(effects: Sequence[Effect]) -> str:
    """A plot for each outcome, interval beside interval."""
    figures = []
    for outcome in dict.fromkeys(e.outcome for e in effects):
        rows = [e for e in effects if e.outcome == outcome][:MOST_POINTS]
        points = [
            Point(
                0 if e.found else 1,
                _short_name(e),
                Estimate(e.value, e.low, e.high),
                f"{_signed(e.value)} {_interval(e)}",
            )
            for e in rows
        ]
        drawn = interval_plot(f"Effects on {outcome}", points)
        unit = f"&ensp;{html.escape(rows[0].unit)}" if rows[0].unit else ""
        caption = f"<figcaption><b>{html.escape(outcome)}</b>{unit}</figcaption>"
        figures.append(f"<figure>{caption}{drawn}</figure>" if drawn else "")
    about = "<p class='quiet'>A mark is an effect and its line the 95&nbsp;% interval; round where it was found.</p>"
    return f"{about}<div class='plots'>{''.join(figures)}</div>" if any(figures) else ""


def _short_name(effect: Effect) -> str:
    return effect.subgroup or effect.intervention.removeprefix("do(").removesuffix(")")


def _curves(responses: Mapping[tuple[str, str], DoseResponse]) -> str:
    figures = []
    for (name, outcome), found in responses.items():
        estimates = [
            Estimate(value, low, high)
            for value, low, high in zip(
                found.change.mean.tolist(), found.band_low.tolist(), found.band_high.tolist(), strict=True
            )
        ]
        drawn = curve_plot(name, f"change of {outcome}", found.doses.tolist(), estimates)
        slope = found.slope
        text = f"slope {float(slope.mean):+.3g} ({float(slope.low):+.3g} to {float(slope.high):+.3g})"
        caption = f"<figcaption><b>{html.escape(outcome)}</b>&ensp;{html.escape(text)}</figcaption>"
        figures.append(f"<figure>{caption}{drawn}</figure>" if drawn else "")
    about = (
        "<p class='quiet'>The change from the first dose on the same samples; the intervals hold all at once with "
        "95&nbsp;% confidence.</p>"
    )
    return f"{about}<div class='plots'>{''.join(figures)}</div>" if any(figures) else ""


def _strips(strips: Mapping[str, Tensor]) -> str:
    budget = PICTURES_BYTES // max(1, len(strips))
    figures = [sheet_figure(sheet, html.escape(caption), caption, budget) for caption, sheet in strips.items()]
    about = "<p class='quiet'>A row is one sample, all its noise held fixed; a column is what was set.</p>"
    return f"{about}<div class='sheets' style='--columns:2'>{''.join(figures)}</div>" if figures else ""


def _refutations(effects: Sequence[Effect]) -> str:
    """A row for each effect, a column for each refuter; what those that it failed found."""
    names = list(dict.fromkeys(r.name for e in effects for r in e.refutations))
    rows, doubts = [], []
    for e in (e for e in effects if e.refutations):
        said = {r.name: r for r in e.refutations}
        cells = [_mark(said[name]) if name in said else "" for name in names]
        rows.append(
            markup.row(f"{html.escape(e.intervention)} <span class='unit'>{html.escape(e.outcome)}</span>", cells)
        )
        failed = "; ".join(f"{r.name}: {r.note}" for r in e.refutations if not r.passed)
        doubts += [f"<li>{html.escape(f'{e.intervention}, {e.outcome}: {failed}')}</li>"] if failed else []
    about = (
        "<p class='quiet'>A refuter that is passed proves nothing; one that is failed names a reason for doubt. What "
        "each asks, and how often it is wrong, is in the guide.</p>"
    )
    table = markup.wide(markup.table("numbers many", ["", *names], markup.body(rows)), "Refutations")
    return about + table + (f"<ul>{''.join(doubts)}</ul>" if doubts else "") if rows else ""


def _mark(refutation: Refutation) -> str:
    word = "passed" if refutation.passed else "failed"
    style = "" if refutation.passed else " class='mark worse'"
    return f"<span{style} title='{html.escape(refutation.note, quote=True)}'>{word}</span>"


def _protocol(study: Study) -> str:
    facts = [
        ("model", f"{html.escape(study.model)} {markup.short_hash(study.model_hash)}"),
        ("samples", f"{max((e.count for e in study.effects), default=study.sample_count):,} with seed {study.seed}"),
        ("correction", html.escape(study.correction or "none: one effect")),
        ("held fixed", html.escape(", ".join(study.effects[0].held_fixed) if study.effects else "")),
        *((html.escape(name), html.escape(formula)) for name, formula in study.outcomes.items()),
    ]
    rows = [markup.row(name, [text]) for name, text in facts]
    sentences = "".join(f"<li>{html.escape(text)}</li>" for text in (*study.assumptions, *study.notes))
    return markup.table("subjects", ["", ""], markup.body(rows)) + f"<ul>{sentences}</ul>"
