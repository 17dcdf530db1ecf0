"""Graphs: three ways to write one, what is refused, what a graph implies, and whether a table agrees."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
import torch

from pentimento.causal.drawing import to_svg
from pentimento.causal.graphs import CausalGraph, parse_graph, read_graph
from pentimento.causal.independence import check_independences, implied_independences
from pentimento.errors import CausalError, NotFoundError

CHAIN = CausalGraph(("a", "b", "c"), (("a", "b"), ("b", "c")))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ----------------------------------------------------------------------------------------------- reading
DOT = """
// a comment
strict digraph "shapes" { # and another
  rankdir=LR; node [shape=box, color="red"];
  shape -> {hue; "size px"} [label="acts on"] /* long
  comment */
  hue -> score; a <-> shape
  b -> a [dir="both"];
}
"""
GML = """graph [ directed 1
  node [ id 0 label "shape" ] node [ id 1 label "hue" ] node [ id 2 label "size px" ] node [ id 3 label "score" ]
  node [ id 4 label "a" ] node [ id 5 label "b" ]
  edge [ source 0 target 1 ] edge [ source 0 target 2 ] edge [ source 1 target 3 ]
  edge [ source 4 target 0 dir "both" ] edge [ source 5 target 4 dir "both" ] ]"""
TOML = 'nodes = ["shape"]\nedges = ["shape -> hue -> score", "shape -> size px", "a <-> shape", "b <-> a"]'


@pytest.mark.parametrize(("name", "text"), [("g.dot", DOT), ("g.gml", GML), ("g.toml", TOML)])
def test_three_ways_to_write_a_graph(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    graph = read_graph(tmp_path / name)
    assert set(graph.nodes) == {"shape", "hue", "size px", "score", "a", "b"}
    assert set(graph.edges) == {("shape", "hue"), ("shape", "size px"), ("hue", "score")}
    assert set(graph.confounded) == {("a", "shape"), ("b", "a")}
    assert parse_graph(graph.to_dot(), "dot") == graph


def test_dagitty_and_names_that_are_marks():
    graph = parse_graph('dag { bb="0,0,1,1" "{" [exposure,pos="1,2"] "{" -> "a\\"->" }', "dot")
    assert graph.edges == (("{", 'a"->'),)
    assert parse_graph(graph.to_dot(), "dot") == graph


def test_relations():
    graph = parse_graph("digraph { d -> c; a -> b -> c -> e; a -> c }", "dot")
    assert graph.parents("c") == ("d", "a", "b")
    assert graph.children("a") == ("c", "b")
    assert graph.ancestors("e") == ("d", "c", "a", "b")
    assert graph.descendants("b") == ("c", "e")
    assert graph.order.index("b") < graph.order.index("c") < graph.order.index("e")
    with pytest.raises(CausalError, match="no node 'bb'; did you mean 'b'"):
        graph.parents("bb")


def test_a_confounded_pair_is_a_node_nobody_observed():
    graph = CausalGraph(("unobserved", "b"), (), (("unobserved", "b"),)).to_networkx()
    assert set(graph.edges) == {("_unobserved_0", "unobserved"), ("_unobserved_0", "b")}
    assert [n for n, observed in graph.nodes(data="observed") if not observed] == ["_unobserved_0"]


@pytest.mark.parametrize(
    ("form", "text", "message"),
    [
        ("dot", "digraph { x -> a -> b -> c -> a }", "a cycle, a -> b -> c -> a; no cause may follow"),
        ("dot", "digraph { a -> a }", "a -> a joins a node to itself"),
        ("dot", "digraph { a -> b; a -> b }", "edge a -> b is there 2 times"),
        ("dot", "digraph { a <-> b; b <-> a }", "confounded pair a <-> b is there 2 times"),
        ("dot", "digraph { }", "at least one node expected, got none"),
        ("dot", "graph { a -- b }", "an undirected graph says of no edge which end is the cause; write 'digraph'"),
        ("dot", "digraph { a -- b }", "'a -- b' says not which is the cause"),
        ("dot", "digraph { a -> b [dir=back] }", "dir=back is not read"),
        ("dot", "digraph { subgraph { a } }", "'subgraph' is not read there; nodes, chains"),
        ("dot", "digraph { a:n -> b }", "line 1: ':n -> b }' is not read; nodes, chains"),
        ("dot", "digraph { a -> b", "ends too early"),
        ("dot", "digraph { a -> b } c", "'c' is not read there"),
        ("dot", "a -> b", "'a' is not read there"),
        ("gml", 'graph [ node [ id 0 label "a" ] ]', "put 'directed 1' in it"),
        ("gml", "graph [ directed 1 node [ id 0 ] ]", "GML that cannot be read: node #0 has no 'label'"),
        ("toml", 'edges = ["a > b"]', "'a -> b' or 'a <-> b' expected, got 'a > b'"),
        ("toml", 'edges = ["a <- b"]', "'a -> b' or 'a <-> b' expected, got 'a <- b'"),
        ("toml", 'edges = "a -> b"', "edges: a list of texts expected"),
        ("toml", 'edgs = ["a -> b"]', "unknown key 'edgs'; did you mean 'edges'?"),
        ("toml", "edges = [", "not TOML"),
    ],
)
def test_what_is_no_causal_graph(form, text, message):
    with pytest.raises(CausalError, match=re.escape(message)) as caught:
        parse_graph(text, form)
    assert "\n" not in str(caught.value)


def test_files_that_hold_no_graph(tmp_path):
    with pytest.raises(NotFoundError, match="no file"):
        read_graph(tmp_path / "g.dot")
    with pytest.raises(CausalError, match=r"\.dot, \.gv, \.gml, \.toml expected, got 'g\.txt'"):
        read_graph(tmp_path / "g.txt")
    (tmp_path / "g.dot").write_bytes(b"digraph { \xff }")
    with pytest.raises(CausalError, match="not UTF-8 text"):
        read_graph(tmp_path / "g.dot")


def test_the_drawing_has_every_node_and_edge_and_says_so():
    graph = parse_graph("digraph { a -> {b c}; b -> c; c -> d }", "dot")
    graph = CausalGraph((*graph.nodes, "<e>"), graph.edges, (("a", "<e>"), ("b", "<e>")))
    svg = ET.fromstring(to_svg(graph))
    assert [t.text for t in svg.iter("text")] == list(graph.nodes)
    assert len([p for p in svg.iter("path") if p.get("class") == "edge"]) == 4
    assert len([p for p in svg.iter("path") if p.get("class") == "confounded"]) == 2
    assert "a acts on b" in svg.find("title").text
    left = {t.text: float(t.get("x")) for t in svg.iter("text")}
    assert left["a"] < left["b"] < left["c"] < left["d"]


# ------------------------------------------------------------------------------------- what graphs imply
@pytest.mark.parametrize(
    ("text", "implied"),
    [
        ("a -> b -> c", ["a _||_ c | b"]),
        ("a -> b; c -> b", ["a _||_ c"]),
        ("s -> {x y z}", ["x _||_ y | s", "x _||_ z | s", "y _||_ z | s"]),
        ("a -> b -> c; b <-> c", []),  # an instrument: nothing that a table shows
        ("a -> {b c}; b -> d; c -> d", ["a _||_ d | b, c", "b _||_ c | a"]),
        ("a -> b", []),
    ],
)
def test_implied_independences(text, implied):
    found = implied_independences(parse_graph(f"digraph {{ {text} }}", "dot"))
    assert sorted(map(str, found)) == sorted(implied)


def chain_table(count=600):
    a, e, f = normal(3, count)
    b = torch.tanh(2 * a) + 0.4 * e
    names = ["low" if value < -0.5 else "high" if value > 0.5 else "middle" for value in (b + 0.5 * f).tolist()]
    return {"a": a, "b": b, "c": names}


def test_a_right_graph_holds_and_a_wrong_one_does_not():
    table = chain_table()
    (right,) = check_independences(CHAIN, table)
    assert right.holds and right.count == 600
    assert right.note == "the table does not speak against a _||_ c | b"
    (wrong,) = check_independences(parse_graph("digraph { b -> a -> c }", "dot"), table)
    assert not wrong.holds and wrong.q_value < 1e-6
    assert wrong.note.startswith("b and c depend on one another given a, which the graph rules out")


def test_dependence_without_correlation_is_seen():
    x, e = normal(2, 400)
    (found,) = check_independences(parse_graph("digraph { x y }", "dot"), {"x": x, "y": x.square() + 0.5 * e})
    assert not found.holds


def test_true_claims_are_refuted_as_often_as_the_level_allows():
    p_values = []
    for seed in range(40):
        z, e, f = normal(3, 250, seed=seed)
        table = {"b": z, "a": torch.tanh(2 * z) + 0.3 * e, "c": torch.sin(2 * z) + 0.3 * f}
        p_values += [found.p_value for found in check_independences(parse_graph("digraph {b -> {a c}}", "dot"), table)]
    p = torch.tensor(p_values)
    assert (p < 0.05).double().mean() <= 0.05 + 3 * (0.05 * 0.95 / 40) ** 0.5
    assert 0.05 < (p < 0.3).double().mean() < 0.55


def test_a_full_graph_implies_nothing():
    assert check_independences(parse_graph("digraph { a -> b -> c; a -> c }", "dot"), chain_table(60)) == ()
