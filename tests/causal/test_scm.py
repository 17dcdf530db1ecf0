"""Structural causal models: closed forms, consistency, the equations of `shapes`, files, and bad input."""

from __future__ import annotations

import json
import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pentimento.causal import flows
from pentimento.causal.graphs import CausalGraph, parse_graph
from pentimento.causal.scm import StructuralModel
from pentimento.data.shapes import MEAN_SIZE_PX, SHAPES, draw_noise, factors_from_noise
from pentimento.errors import CausalError, ModelError, NotFoundError

GRAPH = parse_graph("digraph { a -> m -> y; a -> y; kind -> y; a -> mood }", "dot")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def table(count=500):
    """m = 2 a + e,  y = 3 m - a + 5 [kind = b] + f,  mood = happy where a + g > 0."""
    a, e, f, g, k = normal(5, count)
    kind = ["b" if value > 0.3 else "c" for value in k.tolist()]
    m = 2 * a + 0.5 * e
    y = 3 * m - a + 5 * (k > 0.3) + 0.5 * f
    return {"a": a, "m": m, "y": y, "kind": kind, "mood": ["happy" if v > 0 else "sad" for v in (a + g).tolist()]}


@pytest.fixture(scope="module")
def model():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flows, "STEPS", 50)  # the truth is linear
        return StructuralModel.fit(GRAPH, table())


def row(data, i):
    return {name: column[i] if isinstance(column, list) else float(column[i]) for name, column in data.items()}


# ------------------------------------------------------------------------------ closed forms, consistency
def test_counterfactuals_of_a_linear_model_are_exact(model):
    data = table()
    assert {n: c.mechanism for n, c in model.choices.items()} == {
        "a": "quantiles", "m": "linear", "y": "linear", "kind": "frequencies", "mood": "logistic"
    }  # fmt: skip
    columns = torch.stack([data["a"], torch.ones(500).double()], 1)
    slope = float(torch.linalg.lstsq(columns, data["m"]).solution[0])
    is_b = torch.tensor([k == "b" for k in data["kind"]]).double()
    columns = torch.stack([data["m"], data["a"], is_b, torch.ones(500).double()], 1)
    of_m, of_a, of_b, _ = torch.linalg.lstsq(columns, data["y"]).solution.tolist()
    found = model.counterfactual(data, {"a": data["a"] + 1.5})
    torch.testing.assert_close(found["m"], data["m"] + 1.5 * slope)
    torch.testing.assert_close(found["y"], data["y"] + 1.5 * (of_m * slope + of_a))
    found = model.counterfactual(data, {"kind": "b"})
    torch.testing.assert_close(found["y"], data["y"] + of_b * (1 - is_b))
    assert found["m"].equal(data["m"])
    cut = model.counterfactual(data, {"a": 0.0, "m": data["m"]})
    torch.testing.assert_close(cut["y"], data["y"] - of_a * data["a"])
    effects = model.effects("a", 0.0, 1.0, "y", count=200)
    assert effects.mediators == ("m",)
    for effect, value in (
        (effects.direct, of_a), (effects.indirect, of_m * slope), (effects.total, of_a + of_m * slope)
    ):  # fmt: skip
        assert float(effect.mean) == pytest.approx(value, rel=1e-6)
    assert float(model.effects("a", 0.0, 1.0, "kind", level="b", count=50).total.mean) == 0


def test_counterfactuals_are_those_of_dowhy(model):
    gcm = pytest.importorskip("dowhy.gcm")
    pandas = pytest.importorskip("pandas")
    data = table()
    frame = pandas.DataFrame({name: data[name].numpy() for name in ("a", "m")})
    theirs = gcm.InvertibleStructuralCausalModel(CausalGraph(("a", "m"), (("a", "m"),)).to_networkx())
    theirs.set_causal_mechanism("a", gcm.EmpiricalDistribution())
    theirs.set_causal_mechanism("m", gcm.AdditiveNoiseModel(gcm.ml.create_linear_regressor()))
    gcm.config.disable_progress_bars()
    gcm.fit(theirs, frame)
    wanted = gcm.counterfactual_samples(theirs, {"a": lambda a: a - 2}, observed_data=frame)
    found = model.counterfactual(data, {"a": data["a"] - 2})
    torch.testing.assert_close(found["m"], torch.tensor(wanted["m"].to_numpy()))


@given(st.integers(0, 499), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_a_row_with_nothing_set_or_set_as_it_was_is_returned_exactly(model, index, seed):
    seen = row(table(), index)
    for do in ({}, {"a": torch.tensor(seen["a"], dtype=torch.float64)}, {"m": seen["m"], "kind": seen["kind"]}):
        found = model.counterfactual(seen, do, seed)
        assert {n: c[0] if isinstance(c, list) else float(c[0]) for n, c in found.items()} == seen


def test_noise_predicts_its_own_row_and_its_distribution_is_what_is_drawn(model):
    data = table()
    noise = model.abduct(data, seed=1)
    back = model.predict(noise)
    assert back["mood"] == data["mood"] and back["kind"] == data["kind"]
    for name in ("a", "m", "y"):
        torch.testing.assert_close(back[name], data[name], atol=1e-6, rtol=1e-6)
        assert abs(float(noise[name].mean())) < 0.1 and abs(float(noise[name].std()) - 1) < 0.1
    assert noise["mood"].shape == (500, 2)


def test_categories_follow_their_cause_and_never_against_it(model):
    data = table()
    found = model.counterfactual(data, {"a": data["a"] + 1.0}, seed=2)["mood"]
    changed = [(before, after) for before, after in zip(data["mood"], found, strict=True) if before != after]
    assert changed and set(changed) == {("sad", "happy")}  # Gumbel-max is stable: what became likelier is not left


def test_interventional_samples(model):
    drawn = model.sample(4000, seed=3, do={"m": 1.0, "kind": "c"})
    assert drawn["m"].eq(1).all() and set(drawn["kind"]) == {"c"}
    assert float(drawn["y"].mean()) == pytest.approx(3.0, abs=0.15)
    few = model.sample(3, seed=3, do={"m": 1.0, "kind": "c"})
    assert few["y"].equal(drawn["y"][:3]) and few["mood"] == drawn["mood"][:3]
    share = float(torch.tensor([m == "happy" for m in model.sample(4000, do={"a": 1.0})["mood"]]).double().mean())
    assert share == pytest.approx(0.5 + 0.5 * math.erf(1 / math.sqrt(2)), abs=0.05)


def test_the_size_of_shapes(monkeypatch):
    monkeypatch.setattr(flows, "STEPS", 100)
    noises = [draw_noise(i, 0) for i in range(1500)]
    seen = [factors_from_noise(n) for n in noises]
    graph = CausalGraph(("shape", "size_px"), (("shape", "size_px"),))
    columns = {"shape": [f.shape for f in seen], "size_px": [f.size_px for f in seen]}
    found = StructuralModel.fit(graph, columns).counterfactual(columns, {"shape": "star"})["size_px"]
    true = torch.tensor([factors_from_noise(n, {"shape": "star"}).size_px for n in noises]).double()
    nothing = torch.tensor(columns["size_px"]).double()
    assert float((found - true).abs().mean()) < 0.15 < 0.1 * float((nothing - true).abs().mean())
    assert SHAPES.index("star") == 3 and MEAN_SIZE_PX[3] == 15


# --------------------------------------------------------------------------------------------------- files
def test_saved_and_loaded_it_says_the_same(model, tmp_path):
    model.save(tmp_path / "m")
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["scm.json", "scm.safetensors"]
    loaded = StructuralModel.load(tmp_path / "m")
    assert (loaded.graph, loaded.attributes, loaded.choices) == (model.graph, model.attributes, model.choices)
    data = table(20)
    for say in (lambda m: m.counterfactual(data, {"a": 2.0}), lambda m: m.sample(20, 5)):
        ours, theirs = say(model), say(loaded)
        assert all(ours[n] == theirs[n] if isinstance(ours[n], list) else ours[n].equal(theirs[n]) for n in ours)


def test_files_that_are_not_a_model(model, tmp_path):
    with pytest.raises(NotFoundError, match=r"no scm\.json here"):
        StructuralModel.load(tmp_path)
    model.save(tmp_path)
    config = tmp_path / "scm.json"
    good = json.loads(config.read_text())
    broken = [
        ({**good, "format": "pentimento scm 9"}, "another format than 'pentimento scm 1'"),
        ({**good, "surplus": 1}, "surplus"),
        ({**good, "attributes": good["attributes"][:-1]}, "ValueError"),
        ({k: v for k, v in good.items() if k != "mechanisms"}, "mechanisms"),
        ({**good, "tensors_sha256": "0"}, "scm.safetensors is not the file that was written with it"),
    ]
    for document, message in broken:
        config.write_text(json.dumps(document))
        with pytest.raises(ModelError, match=re.escape(message)) as caught:
            StructuralModel.load(tmp_path)
        assert "\n" not in str(caught.value)


# ----------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"m": None}, "table: column 'm' is neither of numbers nor of names"),
        ({"m": [1.0, "x"] * 250}, "column 'm' is neither of numbers nor of names"),
        ({"m": torch.full((500,), 3.0)}, "column 'm': all 500 values are 3; what never varies shows no cause"),
        ({"kind": ["b"] * 500}, "column 'kind': all 500 values are 'b'"),
        ({"kind": [f"{i}" for i in range(500)]}, "column 'kind' has 500 different names, at most 64 categories"),
        ({"m": [1.0, float("nan"), None] * 100 + [2.0] * 200}, "200 of 500 values are missing, the first in row 1"),
        ({"kind": ["b", ""] * 250}, "column 'kind': 250 of 500 values are missing, the first in row 1"),
        ({"m": [1.0, float("inf")] * 250}, "column 'm': finite numbers expected, got inf in row 1"),
        ({"m": torch.zeros(500, 2)}, "column 'm': one value a row expected, got shape (500, 2)"),
        ({"m": torch.arange(499)}, "column 'm' has 499 rows, column 'a' has 500"),
    ],
)
def test_columns_that_cannot_be_used(changed, message):
    with pytest.raises(CausalError, match=re.escape(message)) as caught:
        StructuralModel.fit(GRAPH, {**table(), **changed})
    assert "\n" not in str(caught.value)


def test_tables_that_do_not_fit_the_graph():
    data = table()
    renamed = {("mod" if name == "mood" else name): column for name, column in data.items()}
    with pytest.raises(CausalError, match=r"no column for the node 'mood'; did you mean 'mod'\?"):
        StructuralModel.fit(GRAPH, renamed)
    with pytest.raises(CausalError, match="at least 50 rows are needed, got 49"):
        StructuralModel.fit(GRAPH, table(49))
    with pytest.raises(CausalError, match="a <-> m have a cause that nobody measured"):
        StructuralModel.fit(CausalGraph(("a", "m"), (), (("a", "m"),)), data)


def test_questions_that_cannot_be_asked(model):
    seen = row(table(), 0)
    for ask, message in (
        (lambda: model.counterfactual(seen, {"moood": 1.0}), "no attribute 'moood' in the model; did you mean 'mood'"),
        (lambda: model.counterfactual(seen, {"mood": "hapy"}), "mood: no category 'hapy'; did you mean 'happy'"),
        (lambda: model.counterfactual(seen, {"a": "high"}), "a: a number, -"),
        (lambda: model.counterfactual(seen, {"mood": 1.0}), "mood: one of happy, sad expected, got 1"),
        (lambda: model.counterfactual(seen, {"a": float("nan")}), "a: 1 of 1 values are missing"),
        (lambda: model.counterfactual(seen, {"a": [1.0, 2.0]}), "do: a: one value, or 1, one a row, expected, got 2"),
        (lambda: model.abduct({"a": 1.0}), "a value for every attribute; missing: m, y, kind, mood"),
        (lambda: model.abduct({**seen, "a": [1.0, 2.0]}), "one value of each attribute a row expected, got a 2, m 1"),
        (lambda: model.predict({"a": torch.zeros(1)}), "noise: that of a, m, y, kind, mood expected, got a"),
        (lambda: model.sample(0), "count: at least 1 expected, got 0"),
        (lambda: model.effects("a", 0.0, 1.0, "a"), "outcome: another attribute than the treatment 'a' expected"),
        (lambda: model.effects("a", 0.0, 1.0, "mood"), "level: one of happy, sad expected, got None"),
        (lambda: model.effects("a", 0.0, 1.0, "y", level="b"), "level: none, for its outcome is a number, got 'b'"),
    ):
        with pytest.raises(CausalError, match=re.escape(message)):
            ask()


def test_what_was_never_seen_is_warned_of(model):
    high = model.attributes["a"].high
    assert model.check({"a": 0.0, "mood": "sad"}) == []
    (line,) = model.check({"a": high + 2.0})
    assert line.startswith(f"a={high + 2:g}: 2 outside what was seen, ") and line.endswith("% of its width)")


def test_few_different_numbers_are_noted():
    data = {"a": [0.0, 1.0, 2.0] * 20}
    assert StructuralModel.fit(CausalGraph(("a",), ()), data).notes == (
        "a has only 3 different numbers; if they stand for categories, give names",
    )
