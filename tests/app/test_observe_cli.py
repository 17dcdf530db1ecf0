"""`pentimento explain observe`, as a user types it."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from PIL import Image

from pentimento.app import cli

GRAPH = "digraph { age -> {style clicks}; genre -> {style clicks}; style -> clicks }"


@pytest.fixture
def ask(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        code = cli.run(["explain", "observe", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, " ".join(err.split())

    return run


@pytest.fixture
def desk(tmp_path):
    """table.csv, in which bold earns 2 clicks more and the old choose bold; and graph.dot."""
    write(tmp_path / "table.csv", rows())
    (tmp_path / "graph.dot").write_text(GRAPH)
    return tmp_path


def rows(count=240):
    g = torch.Generator().manual_seed(0)
    age, noise = torch.randn(2, count, generator=g, dtype=torch.float64)
    genre = torch.randint(0, 2, (count,), generator=g)
    bold = torch.rand(count, generator=g, dtype=torch.float64) < torch.sigmoid(age + genre - 0.7)
    clicks = 2 * bold + 1.5 * age + genre + noise
    columns = {
        "age": [f"{float(x):.4f}" for x in age],
        "genre": [("jazz", "rock")[k] for k in genre],
        "style": [("plain", "bold")[int(k)] for k in bold],
        "clicks": [f"{float(x):.4f}" for x in clicks],
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def write(path, table):
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, table[0])
        writer.writeheader()
        writer.writerows(table)


ASKED = ("--data", "table.csv", "--treatment", "style", "--outcome", "clicks", "--graph", "graph.dot")


def test_an_answer_with_its_assumptions_refuters_and_a_page(ask, desk):
    code, out, err = ask(*ASKED, "--against", "plain", "--out", "report.html")
    assert code == 0, err
    assert "style: bold against plain" in out and "passed 4 of 4" in out
    assert "By adjustment for age, genre: E[clicks | do(style)] = sum over age, genre of" in out
    assert "- an unmeasured common cause of style and clicks" in out
    report = json.loads((desk / "report.json").read_text())
    assert report["identified"] and report["estimand"]["variables"] == ["age", "genre"]
    assert [e["estimator"] for e in report["effects"]] == ["standardisation", "doubly robust"]
    for effect in report["effects"]:
        assert effect["low"] < 2 < effect["high"] and effect["held_fixed"] == ["age", "genre"]
        names = {r["name"] for r in effect["refutations"]}
        assert names == {"subsets", "placebo treatment", "random cause", "unmeasured cause"}
    assert report["associations"]["style: bold against plain"]["low"] > 2.3  # what is seen is not what it does
    page = (desk / "report.html").read_text()
    assert all(title in page for title in ("The graph", "What would overturn it", "Overlap", "What tried to refute it"))
    assert "acts on clicks" in page and "src='http" not in page and 'href="http' not in page


def test_no_answer_is_an_answer(ask, desk):
    (desk / "graph.dot").write_text("digraph { genre -> {style clicks}; style -> clicks; style <-> clicks }")
    code, out, _ = ask(*ASKED, "--out", "report")
    assert code == 0
    assert "The effect of style on clicks is not identified" in out
    assert "- the common cause of style and clicks (adjustment)" in out
    report = json.loads((desk / "report.json").read_text())
    assert not report["identified"] and report["effects"] == []
    assert report["estimand"]["wanted"] == [
        {"observed": ["the common cause of style and clicks"], "strategy": "adjustment"}
    ]
    assert "not identified" in (desk / "report.html").read_text()
    code, out, _ = ask(*ASKED, "--json")
    assert code == 0 and json.loads(out)["table"] == []


def test_pictures_as_outcomes(ask, desk):
    table = rows(60)
    (desk / "pictures").mkdir()
    for i, row in enumerate(table):
        row["file_name"] = f"{i}.png"
        level = 60 + 40 * (row["style"] == "bold") + i % 50
        Image.new("L", (9, 7), level).save(desk / "pictures" / row["file_name"])
    write(desk / "table.csv", table)
    (desk / "graph.dot").write_text("digraph { style -> brightness }")
    brightness = (*ASKED[:4], "--outcome", "brightness", *ASKED[6:], "--no-refute", "--against", "plain")
    code, out, err = ask(*brightness, "--measure", "brightness", "--images", "pictures", "--json")
    assert code == 0, err
    report = json.loads(out)["report"]
    assert report["effects"][0]["low"] < 40 / 255 < report["effects"][0]["high"]
    assert "luma" in report["outcomes"]["brightness"]
    code, _, err = ask(*brightness)
    assert code == 2 and "--outcome: no column 'brightness' in the table; add --measure brightness" in err
    code, _, err = ask(*brightness, "--measure", "brightnes", "--images", "pictures")
    assert code == 2 and "unknown name 'brightnes'; did you mean 'brightness'" in err
    (desk / "pictures" / "3.png").unlink()
    (desk / "pictures" / "5.png").write_bytes(b"broken")
    code, _, err = ask(*brightness, "--measure", "brightness", "--images", "pictures")
    assert code == 2 and "--measure: 2 of 60 pictures cannot be measured, the first: no file pictures/3.png" in err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--graph": "digraph { style -> clicks -> age -> style }"}, "a cycle, style -> clicks -> age -> style"),
        (
            {"--graph": "digraph { style -> clicks; agee -> clicks }"},
            "no column for the node 'agee'; did you mean 'age'",
        ),
        ({"--graph": "digraph { clicks -> style }"}, "by the graph clicks causes style, not the other way round"),
        ({"--graph": "digraph { age -> {style clicks} }"}, "no path leads from style to clicks"),
        ({"--graph": "digraph { style -> clicks; brightness -> clicks }"}, "'brightness'; add --measure brightness"),
        ({"--treatment": "stile"}, "--treatment: no node 'stile' in the graph; did you mean 'style'"),
        ({"--outcome": "style"}, "--outcome: 'style' is the treatment itself"),
        ({"--against": "fancy"}, "--against: style has no level 'fancy'; known: bold, plain"),
        ({"--treatment": "age", "--against": "1"}, "--against: 'age' is a number, whose slope is told"),
        ({"--measure": "brightnes"}, "--measure: the table has no column 'file_name'"),
        ({"--level": "2"}, "--level: between 0 and 1"),
        ({"--seed": "-1"}, "--seed: 0 or more"),
        ({"--data": "table.txt"}, "--data: a .csv or .jsonl file expected, got 'table.txt'"),
        ({"--data": "none.csv"}, "--data: no file none.csv"),
        ({"--graph": None}, "graph: no file none.dot"),
        ({"--out": "report.pdf"}, "--out: a name that ends in .json or .html"),
    ],
)
def test_bad_questions(ask, desk, changes, message):
    options = dict(zip(ASKED[::2], ASKED[1::2], strict=True))
    if "--graph" in changes:
        (desk / "graph.dot").write_text(changes["--graph"] or "")
        changes = {} if changes["--graph"] else {"--graph": "none.dot"}
    code, out, err = ask(*(word for pair in {**options, **changes}.items() for word in pair))
    assert code == 2 and out == ""
    assert message in err


def change(table, column, value, where=lambda row: True):
    return [{**row, column: value(row) if callable(value) else value} if where(row) else row for row in table]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: change(t, "style", "bold"), "--treatment: 'style' has one level, 'bold'"),
        (lambda t: change(t, "age", "1"), "column 'age': all 240 values are 1"),
        (
            lambda t: change(t, "age", "", lambda row: row["genre"] == "rock"),
            f"column 'age': {sum(r['genre'] == 'rock' for r in rows())} of 240 values are missing, the first in row",
        ),
        (lambda t: t[:20], "at least 50 rows are needed, got 20"),
        (lambda t: change(t, "style", lambda row: "bold" if float(row["age"]) > 0 else "plain"), "(positivity)"),
        (
            lambda t: [{**row, "style": "odd"} if i < 4 else row for i, row in enumerate(t)],
            "--treatment: style=odd has 4 rows, at least 10 are needed",
        ),
        (
            lambda t: [{**row, "genre": f"g{i % 40}"} for i, row in enumerate(t)],
            "are too few to adjust for age, genre, which make 40 columns",
        ),
        (
            lambda t: [{**row, "clicks": "abc"[i % 3]} for i, row in enumerate(t)],
            "--outcome: numbers or two categories expected, 'clicks' has 3",
        ),
    ],
)
def test_bad_tables(ask, desk, spoil, message):
    write(desk / "table.csv", spoil(rows()))
    code, out, err = ask(*ASKED, "--no-refute")
    assert code == 2 and out == "", out
    assert message in err


def test_a_number_that_others_tell_has_no_positivity(ask, desk):
    write(desk / "table.csv", change(rows(), "style", lambda row: f"{2 * float(row['age']):.4f}"))
    code, _, err = ask(*ASKED, "--no-refute")
    assert code == 2 and "of its variance (positivity)" in err
