"""Records whose comparison is known beforehand; the page is read back as a browser would read it."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from pentimento import images
from pentimento.errors import EvaluationError, NotFoundError, ProtocolError
from pentimento.evaluate import figures
from pentimento.evaluate.intervals import GROUPS, Estimate, jackknife_estimate
from pentimento.evaluate.page import write_html
from pentimento.evaluate.plots import Point, interval_plot
from pentimento.evaluate.records import Metric, Protocol
from pentimento.evaluate.report import (
    Against,
    Evaluated,
    conclude,
    from_json,
    merge,
    metric_names,
    read_report,
    to_json,
)
from pentimento.evaluate.table import marks, shown, table

NOISE = torch.linspace(-1, 1, GROUPS).tolist()


def number(name, value, noise=0.1, better="higher", *, seed=0, sign=1, **fields):
    """A metric whose replicates scatter by `noise` about its value, all in the same way but for their sign."""
    estimate = jackknife_estimate(value, [value + sign * noise * n for n in NOISE], correct_bias=False)
    return Metric(name, estimate, Protocol(name, 1000, seed, "digits", "abc", 500), better=better, **fields)


def bare(name, value, low=None, high=None, **fields):
    """A metric without replicates."""
    estimate = Estimate(value, value if low is None else low, value if high is None else high)
    return Metric(name, estimate, Protocol(name, 1000, options={"k": 5}), **fields)


def subject(name, *metrics, **sheets):
    return Evaluated(name, "gan", "d" * 64, 1000, metrics, sheets)


def evaluation(*subjects):
    return conclude(subjects, Against("digits", "abc", 500), 0)


# ------------------------------------------------------------------------------------------- comparisons
def test_marks_say_what_the_interval_of_the_difference_says():
    shared = [("up", "higher"), ("down", "lower"), ("neither", None)]
    first = subject("a", *(number(n, 1.0, better=b) for n, b in shared), number("noisy", 1.0))
    # Overlapping intervals, and yet a clear difference: the groups scatter together, but not those of "noisy".
    second = subject("b", *(number(n, 1.2, better=b) for n, b in shared), number("noisy", 1.2, sign=-1))
    found = evaluation(first, second)
    assert first.metrics[0].estimate.high > second.metrics[0].estimate.low
    assert marks(found) == {("up", "b"): "better", ("down", "b"): "worse", ("neither", "b"): "differs"}
    assert {d.metric: d.winner for d in found.differences} == {"up": "b", "down": "a", "neither": None, "noisy": None}
    assert all(d.estimate.value == pytest.approx(-0.2) for d in found.differences)
    assert [d.clear for d in found.differences] == [True, True, True, False]


def test_of_numbers_without_replicates_only_counts_compare():
    first = subject(
        "a",
        bare("parameters", 10, better="lower"),
        bare("megabytes", 7.5, better="lower"),
        bare("share of 1", 0.1, 0.0, 0.2),
        bare("support", math.inf, 10.0, math.inf),
        number("psnr", math.inf),
    )
    second = subject(
        "b", *(replace(m, estimate=replace(m.estimate, value=9, low=9, high=9)) for m in first.metrics[:2])
    )
    second = replace(second, metrics=(*second.metrics, *first.metrics[2:4], number("psnr", 30.0)))
    found = evaluation(first, second)
    assert [(d.metric, d.estimate.low, d.estimate.high, d.winner) for d in found.differences] == [
        ("parameters", 1, 1, "b")
    ]
    assert not found.refusals


def test_equal_numbers_are_not_marked():
    found = evaluation(subject("a", number("x", 1.0)), subject("b", number("x", 1.0)))
    assert not marks(found)
    assert found.differences[0].winner is None


def test_every_pair_is_compared_and_names_become_unique():
    found = evaluation(*(subject(name, number("x", 1.0)) for name in ("a", "a (2)", "a", "a")))
    assert [s.name for s in found.subjects] == ["a", "a (2)", "a (3)", "a (4)"]
    assert len({(d.first, d.second) for d in found.differences}) == 6


def test_metrics_keep_their_places():
    one = subject("a", number("x", 1.0), number("z", 1.0))
    other = subject("b", number("v", 1.0), number("x", 1.0), number("y", 1.0), number("z", 1.0), number("zz", 1.0))
    assert metric_names([one, other]) == ["v", "x", "y", "z", "zz"]


def test_different_protocols_are_refused_by_name():
    found = evaluation(
        subject("a", number("x", 1.0), number("y", 1.0)), subject("b", number("x", 2.0, seed=1), number("y", 2.0))
    )
    assert [(r.metric, r.first, r.second) for r in found.refusals] == [("x", "a", "b")]
    assert "different protocols: seed 0 and 1" in found.refusals[0].reason
    assert marks(found) == {("x", "b"): "not comparable", ("y", "b"): "better"}


def test_merged_reports_compare_or_say_why_not():
    a, b = (evaluation(subject("m", number("x", v), number("y", v))) for v in (1.0, 2.0))
    merged = merge([a, b])
    assert [s.name for s in merged.subjects] == ["m", "m (2)"]
    assert marks(merged) == {("x", "m (2)"): "better", ("y", "m (2)"): "better"}
    assert merged.against == a.against
    partly = evaluation(subject("m", number("x", 2.0), number("y", 2.0, seed=1)))
    assert marks(merge([a, partly])) == {("x", "m (2)"): "better", ("y", "m (2)"): "not comparable"}
    with pytest.raises(ProtocolError, match="x: not comparable.*seed 0 and 1"):
        merge([a, evaluation(subject("m", number("x", 2.0, seed=1)))])
    with pytest.raises(EvaluationError, match="reports 1 and 2 have no metric in common"):
        merge([a, evaluation(subject("m", number("z", 2.0)))])


# --------------------------------------------------------------------------------------------------- JSON
def test_json_round_trip():
    odd = bare("support", math.inf, 12.5, math.inf, note="none", unit="pictures")
    lost = bare("lost", math.nan, -math.inf, math.nan)
    corrected = Metric("f", Estimate(2.0, 1.0, 1.5, 1.25, tuple(NOISE)), Protocol("f", 9, options={"k": 5, "on": True}))
    found = evaluation(subject("a", number("x", 1.0), odd, lost, corrected), subject("b", number("x", 2.0)))
    text = json.dumps(to_json(found), allow_nan=False)
    again = from_json(json.loads(text))
    assert to_json(again) == to_json(found)
    assert again.subjects[0].metrics[0] == found.subjects[0].metrics[0]
    assert again.subjects[0].metrics[3] == corrected
    assert again.subjects[0].metrics[3].protocol.options["on"] is True
    assert again.subjects[0].metrics[1].estimate.high == math.inf
    assert math.isnan(again.subjects[0].metrics[2].estimate.value)
    assert again.differences == found.differences


def changed(**fields):
    return to_json(evaluation(subject("a", number("x", 1.0)))) | fields


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "the whole"),
        ({"pictures": 3}, "format|package_version"),
        (changed(format="something else"), "format"),
        (changed(version=2), "version"),
        (changed(surprise=1), "surprise"),
        (changed(seed="0"), "seed"),
        (changed(subjects=[{"name": "a"}]), r"subjects\.0\.kind"),
        (changed(subjects=[]), "of nothing"),
    ],
)
def test_what_is_no_report_is_refused(document, said):
    with pytest.raises(EvaluationError, match=rf"^a\.json: .*{said}"):
        from_json(document, "a.json")


def test_other_groups_do_not_compare():
    document = to_json(evaluation(subject("a", number("x", 1.0)), subject("b", number("x", 2.0))))
    document["subjects"][1]["metrics"][0]["estimate"]["replicates"].pop()
    assert "different numbers of groups" in from_json(document).refusals[0].reason


def test_files_are_read_or_named(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(NotFoundError, match=r"a\.json: cannot be read"):
        read_report(path)
    path.write_bytes(b"\x89PNG\r\n")
    with pytest.raises(EvaluationError, match=r"a\.json: .* no JSON"):
        read_report(path)
    path.write_text(json.dumps(changed()))
    assert read_report(path).subjects[0].name == "a"


# ------------------------------------------------------------------------------------------------ numbers
@pytest.mark.parametrize(
    ("estimate", "said"),
    [
        (Estimate(12.345, 11.84, 12.86), ("12.3", "[11.8, 12.9]", "")),
        (Estimate(0.97312, 0.9688, 0.9775), ("0.973", "[0.969, 0.978]", "")),
        (Estimate(98.5234, 98.512, 98.535), ("98.52", "[98.51, 98.53]", "")),
        (Estimate(-0.00123, -0.004, 0.0), ("-0.00123", "[-0.00400, 0]", "")),
        (Estimate(4.352, 3.8, 4.22, 4.01), ("4.35", "[3.80, 4.22]", "4.01")),
        (Estimate(4.352, 3.8, 4.9, 4.351), ("4.35", "[3.80, 4.90]", "")),
        (Estimate(7491.7, 6978.1, 7933.3), ("7,492", "[6,978, 7,933]", "")),
        (Estimate(1234567, 1234567, 1234567), ("1,234,567", "", "")),
        (Estimate(7.6953125, 7.6953125, 7.6953125), ("7.695", "", "")),
        (Estimate(math.inf, 9806.2, math.inf), ("∞", "[9,806, ∞]", "")),
        (Estimate(math.nan, math.nan, math.nan), ("unknown", "[unknown, unknown]", "")),
        (Estimate(2.5e-7, 1e-7, 4e-7), ("2.50e-07", "[1.00e-07, 4.00e-07]", "")),
        (Estimate(-0.0001, -5.0, 5.0), ("0.00", "[-5.00, 5.00]", "")),
        (Estimate(0.0, 0.0, 0.0), ("0", "", "")),
    ],
)
def test_numbers_in_characters(estimate, said):
    assert shown(estimate) == said


def test_the_table_reads_well():
    a = subject("a", number("elbo", -90.0, 1.0, unit="nats"), number("frechet", 5.0, better="lower"))
    biased = replace(a.metrics[1], estimate=replace(a.metrics[1].estimate, value=4.0, corrected=3.5, low=3.4, high=3.6))
    header, rows = table(evaluation(a, subject("b", biased)))
    assert header == ["", "a", "b"]
    assert rows[0] == ["elbo (nats) ↑", "-90.0 [-95.5, -84.5]", ""]
    assert rows[1][0] == "frechet ↓"
    assert rows[1][2] == "4.00 better\nunbiased 3.50 [3.40, 3.60]"


def test_the_shares_of_many_classes_stay_out_of_the_table():
    few, many = (evaluation(subject("a", *(bare(f"share of {i}", 0.1, 0, 1) for i in range(n)))) for n in (30, 31))
    assert len(table(few)[1]) == 30
    assert not table(many)[1]


# --------------------------------------------------------------------------------------------------- page
class Reader(HTMLParser):
    """Text outside of styles, and every attribute."""

    def __init__(self, page):
        super().__init__()
        self.text, self.tags, self.attributes, self.open = "", [], [], []
        self.feed(page)
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in ("meta", "img", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += "" if "style" in self.open else data


@pytest.fixture
def page(tmp_path):
    def render(found, reference_sheet=None):
        write_html(found, tmp_path / "page.html", reference_sheet)
        return (tmp_path / "page.html").read_text(encoding="utf-8")

    return render


def example(value, sheet=None):
    """Of everything that a page can show."""
    metrics = [number(n, value / 3) for n in ("precision", "recall", "density", "coverage")]
    metrics += [number("frechet", value, better="lower", note="a < b"), bare("parameters", 1234567, better="lower")]
    metrics += [bare("support", math.inf, 5.0, math.inf), bare("lost", math.nan), number("kid", value, seed=int(value))]
    metrics += [bare(f"share of {c}", 0.5, 0.4, 0.6, note="0.25 of the real pictures") for c in ("cat", "dog")]
    return subject("<script>alert('&')</script>", *metrics, **({"samples": sheet} if sheet is not None else {}))


def test_the_page_shows_everything_and_loads_nothing(page):
    found = evaluation(example(1.0, torch.rand(3, 20, 20)), example(2.0, torch.rand(1, 20, 20)))
    written = page(found, torch.rand(3, 20, 20))
    read = Reader(written)
    assert not read.open
    assert not {"script", "link", "iframe", "object"} & set(read.tags)
    assert not re.search(r"https?:|//[a-z]|url\(|@import", re.sub(r"base64,[A-Za-z0-9+/=]+", "", written))
    assert "<script>alert('&')</script> (2)" in read.text
    for metric in found.subjects[0].metrics:
        assert metric.name in read.text
        assert metric.note in read.text
        assert shown(metric.estimate).value in read.text
    assert "1,234,567" in read.text
    assert "different protocols: seed 1 and 2" in read.text
    assert "is better" in read.text
    assert read.tags.count("img") == 3
    assert all(value.strip() for name, value in read.attributes if name == "alt")
    targets = {value for name, value in read.attributes if name == "id"}
    assert {value.removeprefix("#") for name, value in read.attributes if name == "href"} == targets


def test_plots_are_sound_and_named(page):
    written = page(evaluation(example(1.0), example(2.0)))
    drawn = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", written, re.DOTALL)]
    titles = [svg.findtext("title") for svg in drawn if svg.get("role") == "img"]
    assert sum(t.startswith(("precision over", "density over")) for t in titles) == 2
    assert sum("cat 0.500 (data 0.250)" in t for t in titles) == 2
    assert any(t.startswith("frechet: <script>") for t in titles)
    assert not any(t.startswith("parameters") for t in titles)
    numbers = [float(n) for svg in drawn for e in svg.iter() for n in (e.get("x"), e.get("x1"), e.get("cx")) if n]
    assert all(-1 <= n <= 300 for n in numbers)
    assert "nan" not in written


def test_an_interval_plot_keeps_order_and_draws_infinity():
    points = [Point(i, str(i), Estimate(v, v - 1, h), "") for i, (v, h) in enumerate([(3, 4), (7, math.inf), (5, 6)])]
    svg = ElementTree.fromstring(interval_plot("x", points))
    at = [float(re.search(r"\(([\d.]+)", p.get("transform"))[1]) for p in svg.iter("path") if p.get("transform")]
    assert at[0] < at[2] < at[1]
    assert sum(p.get("class") == "whisker" for p in svg.iter("path")) == 1
    assert interval_plot("x", [Point(0, "a", Estimate(1, 1, 1), "")]) == ""


def pictures(written):
    found = re.findall(r"data:image/(png|jpeg);base64,([A-Za-z0-9+/=]+)", written)
    return [(kind, Image.open(io.BytesIO(base64.b64decode(data)))) for kind, data in found]


def test_small_pictures_are_enlarged_exactly(page):
    sheet = images.grid(torch.rand(4, 1, 8, 8))
    kind, image = pictures(page(evaluation(subject("a", number("x", 1.0), samples=sheet))))[0]
    times = image.width // sheet.shape[2]
    assert (kind, image.mode, times) == ("png", "L", 41)
    exact = torch.tensor(np.array(image))[::times, ::times]
    assert torch.equal(exact, (sheet[0] * 255).round().byte())


def test_large_pictures_fit_the_page(page, monkeypatch):
    monkeypatch.setattr(figures, "PICTURES_BYTES", 60_000)
    sheets = {name: torch.rand(3, 300, 200) for name in "ab"}
    written = page(evaluation(subject("a", number("x", 1.0), **sheets)))
    found = pictures(written)
    assert [kind for kind, _ in found] == ["jpeg", "jpeg"]
    assert all(image.width >= 80 and abs(image.height / image.width - 1.5) < 0.02 for _, image in found)
    assert len(written) < 60_000 * 4 / 3 + 40_000


def test_pages_of_one_and_of_many(page):
    alone = Reader(page(conclude([subject("a", number("x", 1.0))], None, 3)))
    assert "Measured with seed 3" in alone.text
    assert "Differences" not in alone.text
    many = Reader(page(evaluation(*(subject(f"m{i}", number("x", float(i))) for i in range(32)))))
    assert "32 subjects" in many.text
    classes = [bare(f"share of {i}", 0.5, 0.4, 0.6) for i in range(31)]
    assert "31 shares in numbers" in Reader(page(evaluation(subject("a", number("x", 1.0), *classes)))).text
