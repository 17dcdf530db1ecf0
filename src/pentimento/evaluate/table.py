"""An evaluation in characters: numbers with their intervals, marks where subjects differ, and a table of it all."""

from __future__ import annotations

import math
from typing import NamedTuple

from pentimento.evaluate.intervals import Estimate
from pentimento.evaluate.records import Metric
from pentimento.evaluate.report import Evaluation, metric_names

__all__ = ["BETTER", "LEGEND", "Shown", "heading", "is_share", "marks", "shares_listed", "shown", "table"]

BETTER = {"higher": ("↑", "higher is better"), "lower": ("↓", "lower is better")}
MOST_CLASSES = 30  # whose shares are shown one by one
LEGEND = (
    "value [95 % interval]; ↑ higher is better, ↓ lower is better. "
    "better, worse, differs: than the first, where the 95 % interval of the difference excludes zero. "
    "not comparable: measured in different ways. "
    "unbiased: without what is due to the number of samples alone; the interval is about it."
)


class Shown(NamedTuple):
    """An estimate in characters.

    Args:
        value: e.g. ``12.3``.
        interval: e.g. ``[11.8, 12.9]``; empty where the number is exact.
        unbiased: the value without its bias, where known; empty where it reads the same.
    """

    value: str
    interval: str
    unbiased: str


def shown(estimate: Estimate) -> Shown:
    """An estimate with three significant digits, four where its interval is narrow, and all digits of whole numbers.

    >>> shown(Estimate(0.97312, 0.9688, 0.9775))
    Shown(value='0.973', interval='[0.969, 0.978]', unbiased='')
    >>> shown(Estimate(4.352, 3.8, 4.22, corrected=4.01))
    Shown(value='4.35', interval='[3.80, 4.22]', unbiased='4.01')
    >>> shown(Estimate(438657.0, 438657.0, 438657.0)).value
    '438,657'
    """
    ends = (estimate.value, estimate.low, estimate.high)
    exact = estimate.low == estimate.high == estimate.value
    sizes = [abs(x) for x in (*ends, estimate.corrected or 0.0) if math.isfinite(x) and x]
    decimals = 0
    if sizes and not (exact and float(estimate.value).is_integer()):
        decimals = 2 - math.floor(math.log10(max(sizes)))
        half_width = (estimate.high - estimate.low) / 2
        decimals += half_width < 2 * 10.0**-decimals
    value, low, high = (_digits(x, decimals) for x in ends)
    unbiased = "" if estimate.corrected is None else _digits(estimate.corrected, decimals)
    return Shown(value, "" if exact else f"[{low}, {high}]", "" if unbiased == value else unbiased)


def _digits(value: float, decimals: int) -> str:
    if math.isnan(value):
        return "unknown"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    if decimals > 7:  # longer than its power of ten
        return f"{value:.2e}"
    text = f"{value:,.{max(decimals, 0)}f}"
    return text if any(c in "123456789" for c in text) else text.removeprefix("-")


def heading(metric: Metric) -> str:
    """Name, unit and better direction, e.g. ``elbo (nats) ↑``."""
    unit = f" ({metric.unit})" if metric.unit else ""
    return metric.name + unit + (f" {BETTER[metric.better][0]}" if metric.better else "")


def is_share(name: str) -> bool:
    """Whether a metric is the share of one class, of which there are many."""
    return name.startswith("share of ")


def shares_listed(evaluation: Evaluation) -> bool:
    """Whether there are few enough classes to show the share of each."""
    return sum(map(is_share, metric_names(evaluation.subjects))) <= MOST_CLASSES


def marks(evaluation: Evaluation) -> dict[tuple[str, str], str]:
    """(metric, subject) -> ``better``, ``worse``, ``differs`` or ``not comparable``, all with the first subject.

    Only what is marked. ``differs`` is for metrics where no way is better.
    """
    first = evaluation.subjects[0].name
    found = {(r.metric, r.second): "not comparable" for r in evaluation.refusals if r.first == first}
    for row in evaluation.differences:
        if row.first == first and row.clear:
            said = {None: "differs", first: "worse"}.get(row.winner, "better")
            found[row.metric, row.second] = said
    return found


def table(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """A row for each metric, a column for each subject: the header and the rows. Read it with `LEGEND`.

    A cell is ``value [interval] mark``, or ``value mark`` and below it ``unbiased value [interval]`` where that is
    known and reads differently. The shares of more than 30 classes are left out.
    """
    marked, rows = marks(evaluation), []
    for name in metric_names(evaluation.subjects):
        if is_share(name) and not shares_listed(evaluation):
            continue
        metrics = [subject.metric(name) for subject in evaluation.subjects]
        row = [next(heading(m) for m in metrics if m)]
        for subject, metric in zip(evaluation.subjects, metrics, strict=True):
            value, interval, unbiased = shown(metric.estimate) if metric else ("", "", "")
            said = marked.get((name, subject.name), "")
            lines = [[value, said], ["unbiased", unbiased, interval]] if unbiased else [[value, interval, said]]
            row.append("\n".join(" ".join(filter(None, line)) for line in lines))
        rows.append(row)
    return ["", *(subject.name for subject in evaluation.subjects)], rows
