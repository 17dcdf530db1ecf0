"""The figures of a page: plots of an evaluation, and its pictures."""

from __future__ import annotations

import base64
import html
import io
import math
import re

from PIL import Image
from torch import Tensor

from pentimento.evaluate.plots import Point, Share, icon, interval_plot, scatter_plot, share_plot
from pentimento.evaluate.records import Metric
from pentimento.evaluate.report import Evaluation, metric_names
from pentimento.evaluate.table import BETTER, is_share, shares_listed, shown

__all__ = ["PICTURES_BYTES", "metric_figures", "share_figures", "sheet_figure", "sheet_figures"]

PICTURES_BYTES = 5_500_000  # of all pictures together; base64 makes a third more of them
SHARP_PX = 900  # longer side to which small pictures are enlarged, so that a browser only ever shrinks them
PAIRS = (("recall", "precision"), ("coverage", "density"))


# --------------------------------------------------------------------------------------------------- plots
def metric_figures(evaluation: Evaluation) -> str:
    """Intervals of all subjects on one axis, metric by metric, and metrics that trade against each other."""
    intervals = [_interval_figure(evaluation, n) for n in metric_names(evaluation.subjects) if not is_share(n)]
    scatters = [_scatter_figure(evaluation, x, y) for x, y in PAIRS]
    drawn = [f"<div class='plots'>{''.join(group)}</div>" for group in (intervals, scatters) if any(group)]
    about = (
        "<p class='quiet'>A mark is a value and its line the 95&nbsp;% interval. Where the bias is known, the solid "
        "mark is the value without it and the hollow one the value with it.</p>"
    )
    return about + "".join(drawn) if drawn else ""


def _points(evaluation: Evaluation, name: str, other: str = "") -> list[Point]:
    found = []
    for i, subject in enumerate(evaluation.subjects):
        x, y = subject.metric(name), subject.metric(other)
        numbers = [n for m in (x, y) if m for n in (m.estimate.value, m.estimate.low, m.estimate.high)]
        if x and (y or not other) and not any(map(math.isnan, numbers)):
            text = " ".join(filter(None, shown(x.estimate)[:2]))
            text += f" and {' '.join(filter(None, shown(y.estimate)[:2]))}" if y else ""
            found.append(Point(i, subject.name, x.estimate, text, y.estimate if y else None))
    return found


def _interval_figure(evaluation: Evaluation, name: str) -> str:
    points = _points(evaluation, name)
    alike = all(p.x == points[0].x for p in points) or all(p.x.low == p.x.high for p in points)
    drawn = "" if alike else interval_plot(name, points)
    metric = next(m for s in evaluation.subjects if (m := s.metric(name)))
    said = ", ".join(filter(None, [html.escape(metric.unit), BETTER[metric.better][1] if metric.better else ""]))
    caption = f"<figcaption><b>{html.escape(name)}</b>{'&ensp;' + said if said else ''}</figcaption>"
    return f"<figure>{caption}{drawn}</figure>" if drawn else ""


def _scatter_figure(evaluation: Evaluation, x_name: str, y_name: str) -> str:
    points = _points(evaluation, x_name, y_name)
    if not points:
        return ""
    caption = f"<figcaption><b>{y_name} and {x_name}</b>&ensp;best: top right</figcaption>"
    return f"<figure>{caption}{scatter_plot(x_name, y_name, points)}</figure>"


def share_figures(evaluation: Evaluation) -> str:
    """How the samples of each subject spread over the classes; empty where there are none, or too many."""
    figures = []
    for i, subject in enumerate(evaluation.subjects if shares_listed(evaluation) else []):
        shares = [_share(m) for m in subject.metrics if is_share(m.name)]
        if shares:
            caption = f"<figcaption><b>{icon(i)}{html.escape(subject.name)}</b></figcaption>"
            figures.append(f"<figure>{caption}{share_plot(i, subject.name, shares)}</figure>")
    about = (
        "<p class='quiet'>A bar is the share of a class among the samples, with its 95&nbsp;% interval; the upright "
        "line is its share in the data.</p>"
    )
    return f"{about}<div class='plots'>{''.join(figures)}</div>" if figures else ""


def _share(metric: Metric) -> Share:
    # The note of such a metric begins with the share in the data.
    said = re.match(r"(?:0|1)(?:\.\d+)?(?= )", metric.note)
    name, text = metric.name.removeprefix("share of "), shown(metric.estimate).value
    return Share(name, metric.estimate, text, float(said[0]) if said else None)


# ------------------------------------------------------------------------------------------------ pictures
def sheet_figures(evaluation: Evaluation, reference_sheet: Tensor | None) -> dict[str, str]:
    """Caption -> the sheets of all subjects, the first beside `reference_sheet`."""
    captions = list(dict.fromkeys(caption for s in evaluation.subjects for caption in s.sheets))
    count = sum(len(s.sheets) for s in evaluation.subjects) + (reference_sheet is not None)
    budget = PICTURES_BYTES // max(count, 1)
    rows: dict[str, str] = {}
    for caption in captions:
        figures = [
            sheet_figure(s.sheets[caption], icon(i) + html.escape(s.name), f"{s.name}: {caption}", budget)
            for i, s in enumerate(evaluation.subjects)
            if caption in s.sheets
        ]
        if not rows and reference_sheet is not None:
            figures.insert(0, sheet_figure(reference_sheet, "real pictures", "real pictures", budget))
        rows[caption] = f"<div class='sheets' style='--columns:{min(len(figures), 4)}'>{''.join(figures)}</div>"
    return rows


def sheet_figure(sheet: Tensor, caption: str, alt: str, budget: int) -> str:
    """A sheet (C, H, W) within the page, of at most `budget` bytes; `caption` is HTML, `alt` is text."""
    ratio = sheet.shape[1] / sheet.shape[2]
    style = " class='tall'" if ratio > 2 else " class='broad'" if ratio < 0.4 else ""
    image = f"<img src='{_data_uri(sheet, budget)}' alt='{html.escape(alt)}'>"
    return f"<figure{style}><figcaption>{caption}</figcaption>{image}</figure>"


def _data_uri(sheet: Tensor, most_bytes: int) -> str:
    """PNG, enlarged by a whole number where small; JPEG, and smaller, where that would take more than `most_bytes`."""
    array = (sheet.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    image = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    times = max(1, round(SHARP_PX / max(image.size)))
    large = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    kind, data = "png", _encoded(large, "PNG")
    while len(data) > most_bytes:
        kind, data = "jpeg", _encoded(image, "JPEG")
        image = image.resize((max(1, image.width * 2 // 3), max(1, image.height * 2 // 3)), Image.Resampling.LANCZOS)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _encoded(image: Image.Image, kind: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return stream.getvalue()
