"""A page about an evaluation: one file without scripts that loads nothing, for a screen, a phone or paper."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from pentimento.evaluate import markup
from pentimento.evaluate.figures import metric_figures, share_figures, sheet_figures
from pentimento.evaluate.plots import difference_plot, icon
from pentimento.evaluate.records import Metric, Option, Protocol
from pentimento.evaluate.report import Difference, Evaluation, metric_names
from pentimento.evaluate.table import BETTER, is_share, marks, shown

__all__ = ["write_html"]

SHARES = "shares of classes"
MISSING = "<span class='unit' role='img' aria-label='not measured'>–</span>"


def write_html(evaluation: Evaluation, path: Path, reference_sheet: Tensor | None = None) -> None:
    """Write the page.

    Args:
        evaluation: from `conclude` or `merge`.
        path: of the page; what stands there is replaced at once or not at all.
        reference_sheet: (C, H, W) real pictures in [0, 1], shown beside the first sheets.

    Raises:
        StorageError: the disk is full or refuses.
    """
    sheets = sheet_figures(evaluation, reference_sheet)
    first = next(iter(sheets), "")
    judged = "".join(
        f"<section><h3>{html.escape(caption)}</h3>{row}</section>"
        for caption, row in sheets.items()
        if caption != first
    )
    sections = {
        html.escape(first.capitalize()): sheets.get(first, ""),
        "Numbers": _numbers(evaluation),
        "Differences": _differences(evaluation) + _refusals(evaluation),
        "Plots": metric_figures(evaluation),
        "Classes": _classes(evaluation),
        "To be judged by eye": judged and f"<div class='judged'>{judged}</div>",
        "How it was measured": _protocol_table(evaluation),
    }
    markup.write_page(
        path,
        _title([s.name for s in evaluation.subjects]) + ": an evaluation",
        _lead(evaluation),
        _subjects(evaluation) + markup.titled(sections),
        (evaluation.package_version, evaluation.time),
    )


# --------------------------------------------------------------------------------------------------- parts
def _title(names: Sequence[str]) -> str:
    if len(names) > 4:
        return f"{len(names)} subjects"
    return html.escape(", ".join(names[:-1]) + (" and " if names[:-1] else "") + names[-1])


def _lead(evaluation: Evaluation) -> str:
    against = evaluation.against
    held = f"Measured against {against.count:,} pictures of {html.escape(against.name)}" if against else "Measured"
    return f"<p class='lead'>{held} with seed {evaluation.seed}. Numbers come with 95&nbsp;% intervals.</p>"


def _subjects(evaluation: Evaluation) -> str:
    facts = [(icon(i) + html.escape(s.name), s.kind, s.count, s.digest) for i, s in enumerate(evaluation.subjects)]
    if against := evaluation.against:
        facts.append((html.escape(against.name), "real pictures", against.count, against.digest))
    rows = [
        markup.row(f"{name} <span class='unit'>{html.escape(kind)}</span>", [f"{count:,}", markup.short_hash(digest)])
        for name, kind, count, digest in facts
    ]
    return markup.table("subjects", ["", "pictures", "hash"], markup.body(rows))


# ------------------------------------------------------------------------------------------------- numbers
def _numbers(evaluation: Evaluation) -> str:
    names = [n for n in metric_names(evaluation.subjects) if not is_share(n)]
    first = html.escape(evaluation.subjects[0].name)
    said = ["↑ higher is better, ↓ lower is better."]
    if len(evaluation.subjects) > 1:
        said.append(f"<i>Better, worse, differs</i>: than {first}, where the interval of the difference excludes zero.")
    if evaluation.refusals:
        said.append("<i>Not comparable</i>: measured in different ways.")
    said.append("<i>Unbiased</i>: without what is due to the number of samples alone.")
    said.append("A small figure leads to how a number was measured.")
    return f"<p class='quiet'>{' '.join(said)}</p>" + markup.wide(_metric_table(evaluation, names), "Numbers")


def _metric_table(evaluation: Evaluation, names: Sequence[str]) -> str:
    """Metrics that were measured alike and follow one another are a group."""
    marked, protocols = marks(evaluation), _protocols(evaluation)
    groups: list[tuple[list[int], list[str]]] = []
    for name in names:
        metrics = [subject.metric(name) for subject in evaluation.subjects]
        found = [m for m in metrics if m]
        keys = sorted({protocols.index(_unnamed(m.protocol)) + 1 for m in found})
        notes = {m.note for m in found}
        cells = [
            _cell(m, marked.get((name, s.name), ""), m.note if len(notes) > 1 else "") if m else MISSING
            for s, m in zip(evaluation.subjects, metrics, strict=True)
        ]
        if not groups or groups[-1][0] != keys:
            groups.append((keys, []))
        groups[-1][1].append(markup.row(_metric_head(found[0], keys, found[0].note if len(notes) == 1 else ""), cells))
    columns = ["", *(icon(i) + html.escape(s.name) for i, s in enumerate(evaluation.subjects))]
    style = "numbers" if len(evaluation.subjects) < 4 else "numbers many"
    return markup.table(style, columns, "".join(markup.body(rows) for _, rows in groups))


def _metric_head(metric: Metric, keys: Sequence[int], note: str) -> str:
    unit = f" <span class='unit'>{html.escape(metric.unit)}</span>" if metric.unit else ""
    way = ""
    if metric.better:
        arrow, said = BETTER[metric.better]
        way = f" <span class='way' role='img' aria-label='{said}' title='{said}'>{arrow}</span>"
    links = " ".join(f"<a class='key' href='#protocol-{k}' aria-label='protocol {k}'>{k}</a>" for k in keys)
    small = f"<small>{html.escape(note)}</small>" if note else ""
    return f"{html.escape(metric.name)}{unit}{way} {links}{small}"


def _cell(metric: Metric, mark: str, note: str) -> str:
    value, interval, unbiased = (part.replace("-", "−") for part in shown(metric.estimate))
    said = f"<span class='mark {mark}'>{mark}</span>" if mark else ""
    around = f"<span class='interval'>{interval}</span>" if interval else ""
    beside, below = (said, f"<small>unbiased {unbiased} {around}</small>") if unbiased else (f"{said} {around}", "")
    small = f"<small>{html.escape(note)}</small>" if note else ""
    return f"<div class='cell'><span class='value'>{value}</span> {beside}</div>{below}{small}"


def _differences(evaluation: Evaluation) -> str:
    if not evaluation.differences:
        return ""
    place = {s.name: i for i, s in enumerate(evaluation.subjects)}
    bodies = []
    for first, second in dict.fromkeys((d.first, d.second) for d in evaluation.differences):
        rows = [_difference(d, place) for d in evaluation.differences if (d.first, d.second) == (first, second)]
        title = f"{html.escape(first)} minus {html.escape(second)}"
        head = f"<tr role='row'><th role='rowheader' scope='rowgroup' colspan='4' class='pair'>{title}</th></tr>"
        bodies.append(markup.body([head, *rows]))
    counted = sum(d.estimate.low < d.estimate.high for d in evaluation.differences)
    about = (
        "<p class='quiet'>One is named where the 95&nbsp;% interval of the difference excludes zero. Nothing was "
        f"corrected for the number of comparisons: of {counted}, about {counted * 0.05:.1g} would be named if none "
        "differed. Where a bias is known, it is taken out.</p>"
    )
    return about + markup.wide(markup.table("differences", [], "".join(bodies)), "Differences")


def _difference(row: Difference, place: Mapping[str, int]) -> str:
    value, interval, unbiased = (part.replace("-", "−") for part in shown(row.estimate))
    number = f"<span class='value'>{unbiased or value}</span> <span class='interval'>{interval}</span>"
    if row.winner:
        said = f"{icon(place[row.winner])}<span class='mark'>{html.escape(row.winner)} is better</span>"
    elif row.clear:
        said = "<span class='mark'>they differ</span>"
    else:
        said = f"<span class='unit'>{'not told apart' if interval else 'equal'}</span>"
    return markup.row(
        html.escape(row.metric), [number, difference_plot(row.estimate, row.clear) if interval else "", said]
    )


def _refusals(evaluation: Evaluation) -> str:
    reasons: dict[tuple[str, str, str], dict[str, None]] = {}
    for r in evaluation.refusals:
        names = reasons.setdefault((r.first, r.second, r.reason.removeprefix(f"{r.metric}: ")), {})
        names[SHARES if is_share(r.metric) else r.metric] = None
    said = [f"{a} and {b}, {', '.join(names)}: {reason}" for (a, b, reason), names in reasons.items()]
    items = "".join(f"<li>{html.escape(line)}</li>" for line in said)
    return f"<h3>Not comparable</h3><ul>{items}</ul>" if items else ""


def _classes(evaluation: Evaluation) -> str:
    names = [n for n in metric_names(evaluation.subjects) if is_share(n)]
    if not names:
        return ""
    table = markup.wide(_metric_table(evaluation, names), "Classes")
    return f"{share_figures(evaluation)}<details><summary>{len(names)} shares in numbers</summary>{table}</details>"


# ----------------------------------------------------------------------------------------------- protocols
def _unnamed(protocol: Protocol) -> Protocol:
    return replace(protocol, metric="")


def _protocols(evaluation: Evaluation) -> list[Protocol]:
    """Every protocol once, whatever its metric, in the order of the numbers."""
    found: list[Protocol] = []
    for name in metric_names(evaluation.subjects):
        for metric in filter(None, (s.metric(name) for s in evaluation.subjects)):
            if _unnamed(metric.protocol) not in found:
                found.append(_unnamed(metric.protocol))
    return found


def _protocol_table(evaluation: Evaluation) -> str:
    columns = ["", "measures", "samples", "held against", "seen through", "further"]
    rows = [
        markup.row(str(k), _protocol_cells(evaluation, group), f" id='protocol-{k}'", columns[1:])
        for k, group in enumerate(_protocols(evaluation), 1)
    ]
    about = "<p class='quiet'>Numbers compare where all in a row is the same. Hashes are cut to twelve digits.</p>"
    return about + markup.wide(markup.table("protocols", columns, markup.body(rows)), "How it was measured")


def _protocol_cells(evaluation: Evaluation, group: Protocol) -> list[str]:
    every = [(s.name, m) for s in evaluation.subjects for m in s.metrics]
    here = [(s, m) for s, m in every if _unnamed(m.protocol) == group]
    measured = {m.name for _, m in here}
    names = list(dict.fromkeys(SHARES if is_share(m.name) else m.name for _, m in here))
    if any(m.name in measured and _unnamed(m.protocol) != group for _, m in every):
        names[-1] += f" (of {', '.join(dict.fromkeys(s for s, _ in here))})"
    against = f"{group.reference_count:,} of {html.escape(group.reference)} {markup.short_hash(group.reference_hash)}"
    through = f"{html.escape(group.extractor)} {markup.short_hash(group.extractor_hash)}"
    through += f"<small>{html.escape(group.resizer)}</small>"
    options = {"seed": group.seed, **group.options}
    further = ", ".join(f"{html.escape(key.replace('_', ' '))}&nbsp;{_option(v)}" for key, v in options.items())
    return [
        html.escape("; ".join(names)),
        f"{group.sample_count:,}",
        against if group.reference else "",
        through if group.extractor else "",
        further,
    ]


def _option(value: Option) -> str:
    text = str(value)
    return markup.short_hash(text) if re.fullmatch("[0-9a-f]{32,}", text) else html.escape(text)
