"""Questions to tables whose answer is known: levels, numbers, front doors, instruments, and what is warned of."""

from __future__ import annotations

import json
import math

import pytest
import torch

from pentimento.causal.graphs import parse_graph
from pentimento.errors import CausalError
from pentimento.studies.observing import observe
from pentimento.studies.observing_page import answer_table, legend, to_json
from pentimento.studies.questions import Asked
from pentimento.studies.tables import measure_columns, read_columns


def normal(count, columns, seed=0):
    return torch.randn(columns, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ask(graph, table, **how):
    given = {name: c.tolist() if isinstance(c, torch.Tensor) else c for name, c in table.items()}
    return observe(parse_graph(f"digraph {{ {graph} }}", "dot"), given, Asked("t", "y", **{"refute": False, **how}))


def holds(found, truths):
    """Whether the interval of every answer has its truth, and none has 0."""
    assert found.answers
    for answer in found.answers:
        truth = truths[answer.contrast]
        assert answer.effect.low < truth < answer.effect.high, answer
        assert (answer.effect.low > 0) == (truth > 0), answer


def test_levels_against_one_of_them():
    w, e, coin = normal(900, 3)
    pick = (w + coin > 0).long() + (w + coin > 1).long()
    y = w + torch.tensor([0.0, 1.0, -1.0], dtype=torch.float64)[pick] + e
    table = {"w": w, "t": [("low", "middle", "high")[k] for k in pick], "y": y}
    found = ask("w -> {t y}; t -> y", table, against="low")
    holds(found, {"t: middle against low": 1, "t: high against low": -1})
    assert found.study.correction == "Benjamini-Hochberg over 2 levels"
    assert all(e.q_value is not None and e.q_value >= e.p_value for e in found.study.effects)
    assert len(found.overlaps) == 2 and all(len(o.treated) and len(o.others) for o in found.overlaps)
    most = ask("w -> {t y}; t -> y", table)
    assert {a.contrast.rpartition(" ")[2] for a in most.answers} == {"low"}  # the most frequent


def test_a_binary_outcome_and_numbers_that_are_levels():
    w, e, coin = normal(1200, 3, 1)
    t = (w + coin > 0).double()
    y = torch.where(w + t + e > 0, 1.0, 0.0)
    normal_cdf = torch.special.ndtr
    truth = float((normal_cdf(w + 1) - normal_cdf(w)).mean())
    found = ask("w -> {t y}; t -> y", {"w": w, "t": t, "y": [("no", "yes")[int(k)] for k in y]})
    holds(found, {"t: 1 against 0": truth})
    assert found.study.outcomes == {"y": "share of 'yes' in column 'y'"}


def test_a_number_has_a_slope():
    w, e, f = normal(500, 3, 2)
    t = w.square() + e
    found = ask("w -> {t y}; t -> y", {"w": w, "t": t, "y": 0.5 * t - w.square() + f})
    holds(found, {"t + 1": 0.5})
    assert [a.estimator for a in found.answers] == ["regression", "orthogonal"]
    assert float(found.associations["t + 1"].mean) < 0  # of the other sign


def test_the_front_door():
    u, a, b, c = normal(1000, 4, 3)
    t = (u + a > 0).double()
    m = 1.5 * t + b
    found = ask("t -> m -> y; t <-> y", {"t": t, "m": m, "y": 0.8 * m + u + c}, refute=True)
    holds(found, {"t: 1 against 0": 1.2})
    assert found.estimand.strategy == "front door"
    assert {r.name for r in found.answers[0].effect.refutations} == {"subsets", "placebo treatment"}


def test_instruments_strong_and_weak():
    u, a, b = normal(1000, 3, 4)
    z = (torch.arange(1000) % 2).double()
    t = z + u + a
    found = ask("z -> t -> y; t <-> y", {"z": z, "t": t, "y": 2 * t + u + b}, refute=True)
    holds(found, {"t + 1": 2})
    assert [a.estimator for a in found.answers] == ["two-stage", "Anderson-Rubin"] and not found.warnings
    weak = ask("z -> t -> y; t <-> y", {"z": z, "t": u + a, "y": u + b})
    assert "trust Anderson-Rubin alone" in weak.warnings[0]
    robust = weak.answers[1].effect
    assert (robust.low, robust.high) == (-math.inf, math.inf) and not robust.found
    json.dumps(to_json(weak), allow_nan=False)


def test_instruments_that_contradict_one_another_are_told():
    u, a, b, z = normal(1000, 4, 10)
    table = {"z": z, "v": a, "t": z + a + u, "y": z + a + u + 3 * z + b}
    found = ask("z -> t; v -> t; t -> y; t <-> y", table)
    assert "z, v contradict one another" in found.warnings[0]


def test_levels_of_large_numbers_keep_apart_and_few_numbers_are_told():
    w, e, coin = normal(300, 3, 11)
    t = 1.7e9 + (w + coin > 0).double()
    found = ask("w -> {t y}; t -> y", {"w": w, "t": t, "y": t + e}, against="1700000000")
    assert found.answers[0].contrast == "t: 1700000001 against 1700000000" and not found.warnings
    genre = (w > 0.5).double() + (w > 1)
    found = ask("w -> {t y}; t -> y", {"w": genre, "t": t, "y": t + genre + e})
    assert found.warnings == ("w has only 3 different numbers; if they stand for categories, give names",)


def test_a_thin_overlap_is_warned_of():
    w, e, coin = normal(1000, 3, 5)
    t = (1.4 * w + coin > 0).double()
    found = ask("w -> {t y}; t -> y", {"w": w, "t": t, "y": t + w + e})
    assert "next to no chance" in found.warnings[0]
    assert "Mind: " in legend(found)


def test_the_table_is_held_against_the_graph():
    w, a, b = normal(300, 3, 6)
    table = {"w": w, "t": w + a, "y": w + b, "v": w + normal(300, 1, 9)[0]}
    assert "which the graph rules out" in "".join(ask("w -> {t y}; t -> y; v -> y", table).checks)
    assert ask("w -> {t y v}; t -> y; v -> {t y}", table).checks == ()


def test_the_same_again():
    w, e, coin = normal(200, 3, 7)
    table = {"w": w, "t": (w + coin > 0).double(), "y": w + e}
    once, twice, other = (ask("w -> {t y}; t -> y", table, seed=s).study.effects for s in (1, 1, 2))
    assert once == twice and once[0] == other[0] and once[1] != other[1]  # folds are drawn


def test_words_for_a_terminal():
    w, e, coin = normal(200, 3, 8)
    found = ask("w -> {t y}; t -> y", {"w": w, "t": (w + coin > 0).double(), "y": w + e}, level=0.1)
    header, first, _ = answer_table(found.answers, 0.1)
    assert header[4] == "90 % interval" and first[0] == "t: 1 against 0" and first[-1] == "not found"
    assert "that is no effect" in legend(found)


# -------------------------------------------------------------------------------------------------- tables
def test_csv_and_jsonl_say_the_same(tmp_path):
    (tmp_path / "a.csv").write_text("name,x,ok\nbold,1,true\nplain,,false\n")
    (tmp_path / "a.jsonl").write_text('{"name": "bold", "x": 1, "ok": "true"}\n\n{"name": "plain", "ok": "false"}\n')
    wanted = {"name": ["bold", "plain"], "x": [1.0, None], "ok": ["true", "false"]}
    assert read_columns(tmp_path / "a.csv") == read_columns(tmp_path / "a.jsonl") == wanted
    (tmp_path / "b.jsonl").write_text('{"ok": true}\n{"ok": false}\n')
    assert read_columns(tmp_path / "b.jsonl") == {"ok": [1.0, 0.0]}


def test_a_table_as_spreadsheets_write_it(tmp_path):
    (tmp_path / "a.csv").write_text(
        '\ufeff"größe cm", style ,id\r\n"1", "a, b",1_2\r\n\r\n2,plain,3\r\n', encoding="utf-8"
    )
    assert read_columns(tmp_path / "a.csv") == {"größe cm": [1, 2], "style": ["a, b", "plain"], "id": ["1_2", "3"]}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "x,y\n", "a.csv has no rows"),
        ("a.csv", "x,x\n1,2\n", "two columns 'x'"),
        ("a.csv", "x,y\n1,2,3\n", "row 1 has more values than there are columns"),
        ("a.csv", "x;y\n1;2\n", "commas between the columns expected, got ';'"),
        ("a.csv", "x\ty\n1\t2\n", r"commas between the columns expected, got '\\t'"),
        ("a.csv", b"\xff\xfe", "not UTF-8 text"),
        ("a.jsonl", "{x\n", "line 1 is not JSON"),
        ("a.jsonl", "[1]\n", "line 1: an object expected"),
        ("a.xlsx", "", "a .csv or .jsonl file expected"),
    ],
)
def test_files_that_are_no_tables(tmp_path, name, text, message):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CausalError, match=message):
        read_columns(tmp_path / name)


def test_a_measure_does_not_hide_a_column(tmp_path):
    with pytest.raises(CausalError, match="has a column 'brightness' already"):
        measure_columns({"file_name": ["a.png"], "brightness": [1.0]}, ["brightness"], tmp_path)
