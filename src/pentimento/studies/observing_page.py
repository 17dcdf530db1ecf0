"""What a table answered, as text for a terminal, values for JSON, and a page."""

from __future__ import annotations

import dataclasses
import datetime
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pentimento import __version__
from pentimento.causal.drawing import to_svg
from pentimento.causal.effects import PairedEffect
from pentimento.causal.identification import Estimand
from pentimento.evaluate import markup
from pentimento.evaluate.intervals import Estimate
from pentimento.evaluate.plots import Point, Share, interval_plot, share_plot
from pentimento.studies.observing import Answer, Observed, Overlap
from pentimento.validation import json_safe

__all__ = ["answer_table", "legend", "to_json", "write_page"]

BINS = 10  # of propensities


# ----------------------------------------------------------------------------------------------- in a terminal
def answer_table(answers: Sequence[Answer], level: float) -> list[list[str]]:
    """A header, and a row for each effect and estimator; empty without effects."""
    if not answers:
        return []
    interval = f"{100 * (1 - level):g} % interval"
    rows = [["treatment", "outcome", "estimator", "effect", interval, "q", "refuters"]]
    for answer in answers:
        e = answer.effect
        p = e.p_value if e.q_value is None else e.q_value
        failed = [r.name for r in e.refutations if not r.passed]
        tried = f"passed {len(e.refutations)} of {len(e.refutations)}" if e.refutations else "not tried"
        verdict = ("failed: " + ", ".join(failed) if failed else tried) if e.found else "not found"
        between = f"{e.low:+.4g} to {e.high:+.4g}"
        rows.append([answer.contrast, e.outcome, answer.estimator, f"{e.value:+.4g}", between, f"{p:.2g}", verdict])
    return rows


def legend(found: Observed) -> str:
    """The formula, what it rests on and what would overturn it; or what would have to be observed. A line each."""
    estimand = found.estimand
    if estimand.strategy is None:
        return "\n".join(_not_identified(estimand))
    lines = [found.study.question, f"By {_by(estimand)}: {estimand.formula}"]
    lines += [f"Unadjusted, {words}: {_plain(effect)}; that is no effect." for words, effect in _unlike(found)]
    lines += ["It rests on this:", *(f"- {text}" for text in estimand.assumptions)]
    lines += ["This would overturn it:", *(f"- {text}" for text in estimand.overturned)]
    lines += ["The graph against the table:", *(f"- {text}" for text in found.checks)] if found.checks else []
    return "\n".join(lines + [f"Mind: {text}." for text in found.warnings])


def _by(estimand: Estimand) -> str:
    names = ", ".join(estimand.variables)
    if estimand.strategy == "adjustment":
        return f"adjustment for {names}" if names else "comparison as it is"
    return f"the front door through {names}" if estimand.strategy == "front door" else f"the instrument {names}"


def _not_identified(estimand: Estimand) -> list[str]:
    t, y = estimand.treatment, estimand.outcome
    lines = [
        f"The effect of {t} on {y} is not identified: by this graph, no adjustment, front door or instrument among the "
        "columns of the table tells it from what is not measured. No estimate is given, for it could have either sign."
    ]
    if not estimand.wanted:
        return [*lines, "No three unmeasured causes, were they observed, would change that; set the treatment by lot."]
    lines.append("One of these would have to be observed:")
    lines += [f"- {' and '.join(names)} ({strategy})" for names, strategy in estimand.wanted]
    return [*lines, f"Or set {t} by lot, in an experiment."]


def _unlike(found: Observed) -> list[tuple[str, PairedEffect]]:
    """What is seen without adjustment, where anything is adjusted for."""
    as_it_is = found.estimand.strategy == "adjustment" and not found.estimand.variables
    return [] if as_it_is else list(found.associations.items())


def _plain(effect: PairedEffect) -> str:
    return f"{float(effect.mean):+.4g} ({float(effect.low):+.4g} to {float(effect.high):+.4g})"


def to_json(found: Observed) -> dict[str, Any]:
    """For a report, in values that JSON can hold."""
    made = found.study.to_json()
    for effect, answer in zip(made["effects"], found.answers, strict=True):
        effect |= {"contrast": answer.contrast, "estimator": answer.estimator}
    estimand = dataclasses.asdict(found.estimand)
    estimand["wanted"] = [{"observed": names, "strategy": strategy} for names, strategy in found.estimand.wanted]
    more = {
        "identified": found.estimand.strategy is not None,
        "estimand": estimand,
        "graph": found.graph.to_dot(),
        "associations": {
            words: {"value": float(e.mean), "low": float(e.low), "high": float(e.high)}
            for words, e in found.associations.items()
        },
        "seldom": {overlap.contrast: overlap.seldom for overlap in found.overlaps},
        "checks": found.checks,
        "warnings": found.warnings,
    }
    return {**made, **json_safe(more)}


# ---------------------------------------------------------------------------------------------------- a page
def write_page(path: Path, found: Observed) -> None:
    """Write the page; what stands at `path` is replaced at once or not at all.

    Raises:
        StorageError: the disk is full or refuses.
    """
    drawn = f"<figure style='max-width: 28rem'>{to_svg(found.graph)}</figure>"
    sections = {
        "The answer": _answer(found),
        "Estimators side by side": _forest(found),
        "The graph": drawn + _list(found.checks),
        "What it rests on": _list(found.estimand.assumptions),
        "What would overturn it": _list(found.estimand.overturned),
        "Overlap": _overlap(found.overlaps),
        "What tried to refute it": _refutations(found.answers),
        "How it was computed": _protocol(found),
    }
    lead = f"<p class='lead'>{html.escape(found.study.question)}</p>"
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    title = f"Asked of {html.escape(found.study.model)}"
    markup.write_page(path, title, lead, markup.titled(sections), (__version__, now))


def _list(texts: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(text)}</li>' for text in texts)}</ul>" if texts else ""


def _answer(found: Observed) -> str:
    if found.estimand.strategy is None:
        lines = _not_identified(found.estimand)
        return "".join(_list([text[2:]]) if text.startswith("- ") else f"<p>{html.escape(text)}</p>" for text in lines)
    header, *rows = answer_table(found.answers, found.study.level)
    cells = [markup.row(html.escape(name), [html.escape(c.replace("-", "−")) for c in rest]) for name, *rest in rows]
    formula = f"<p>By {html.escape(_by(found.estimand))}: <code>{html.escape(found.estimand.formula)}</code></p>"
    table = markup.wide(markup.table("numbers many", ["", *header[1:]], markup.body(cells)), "Effects")
    seen = [f"Unadjusted, {words}: {_plain(effect)}; that is no effect." for words, effect in _unlike(found)]
    return formula + table + _list([*seen, *(f"{text}." for text in found.warnings)])


def _forest(found: Observed) -> str:
    """A plot for each contrast; what is seen without adjustment stands first."""
    figures = []
    for words, seen in found.associations.items():
        points = [Point(1, "unadjusted", _estimate(seen), _plain(seen))]
        for answer in found.answers:
            e = answer.effect
            if answer.contrast == words:
                text = f"{e.value:+.4g} ({e.low:+.4g} to {e.high:+.4g})"
                points.append(Point(0, answer.estimator, Estimate(e.value, e.low, e.high), text))
        drawn = interval_plot(f"{words}, on {found.estimand.outcome}", points)
        figures.append(f"<figure><figcaption><b>{html.escape(words)}</b></figcaption>{drawn}</figure>" if drawn else "")
    return f"<div class='plots'>{''.join(figures)}</div>" if any(figures) else ""


def _estimate(effect: PairedEffect) -> Estimate:
    return Estimate(float(effect.mean), float(effect.low), float(effect.high))


def _overlap(overlaps: Sequence[Overlap]) -> str:
    """How propensities are spread among those that have a level, and those that do not."""
    if not overlaps:
        return ""
    about = (
        "<p class='quiet'>How likely the level is by what is adjusted for: bars of the rows that have it, upright "
        "lines of those that have the other. Where one of the two is missing, nothing is known.</p>"
    )
    figures = []
    for index, overlap in enumerate(overlaps):
        with_it, without = _spread(overlap.treated), _spread(overlap.others)
        shares = [
            Share(f"{100 * k // BINS} to {100 * (k + 1) // BINS} %", Estimate(a, a, a), f"{a:.0%}", b)
            for k, (a, b) in enumerate(zip(with_it, without, strict=True))
        ]
        caption = f"<figcaption><b>{html.escape(overlap.contrast)}</b>&ensp;{overlap.seldom:.1%} seldom</figcaption>"
        figures.append(f"<figure>{caption}{share_plot(index, overlap.contrast, shares)}</figure>")
    return about + f"<div class='plots'>{''.join(figures)}</div>"


def _spread(propensities: Tensor) -> list[float]:
    places = (propensities * BINS).long().clamp(0, BINS - 1)
    shares: list[float] = (torch.bincount(places, minlength=BINS) / len(propensities)).tolist()
    return shares


def _refutations(answers: Sequence[Answer]) -> str:
    rows = [
        markup.row(
            f"{html.escape(answer.contrast)} <span class='unit'>{html.escape(answer.estimator)}</span>",
            [
                html.escape(r.name),
                _mark(r.passed),
                html.escape(r.note),
            ],
        )
        for answer in answers
        for r in answer.effect.refutations
    ]
    about = (
        "<p class='quiet'>A refuter that is passed proves nothing; one that is failed names a reason for doubt. None "
        "of them sees a common cause that nobody measured; the last says how strong it would have to be.</p>"
    )
    made = markup.table("numbers many", ["", "refuter", "", "what it found"], markup.body(rows))
    return about + markup.wide(made, "Refuters") if rows else ""


def _mark(passed: bool) -> str:
    return "passed" if passed else "<span class='mark worse'>failed</span>"


def _protocol(found: Observed) -> str:
    study = found.study
    facts = [
        ("table", f"{html.escape(study.model)} {markup.short_hash(study.model_hash)}"),
        ("rows", f"{study.sample_count:,}"),
        ("seed of folds and refuters", str(study.seed)),
        ("level", f"{study.level:g}"),
        ("correction", html.escape(study.correction or "none: one effect")),
        *((html.escape(name), html.escape(formula)) for name, formula in study.outcomes.items()),
    ]
    return markup.table("subjects", ["", ""], markup.body([markup.row(name, [text]) for name, text in facts]))
