"""Estimators from observed tables, identification and refuters: closed forms, references, and cases to say no to."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import stats

from pentimento.causal.graphs import CausalGraph, parse_graph
from pentimento.causal.identification import identify
from pentimento.causal.observational import (
    Variable,
    averaged,
    basis,
    doubly_robust,
    front_door,
    instrument,
    orthogonal,
    regression,
    standardisation,
)
from pentimento.causal.resampled import Again, placebo_treatment, random_cause, subsets
from pentimento.causal.sensitivity import robustness_value, unmeasured_cause
from pentimento.errors import CausalError, MissingExtraError


def draw(count, seed=0):
    """Two confounders, a treatment with two levels, an outcome with an average effect of 1."""
    g = torch.Generator().manual_seed(seed)
    a, b, e = torch.randn(3, count, generator=g, dtype=torch.float64)
    t = (torch.rand(count, generator=g, dtype=torch.float64) < torch.sigmoid(a - 0.5 * b)).double()
    return a, b, t, t * (1 + a / 2) + a.exp() + b + e


def ones(count):
    return torch.ones(count, 1, dtype=torch.float64)


def contrast(scores):
    return averaged(scores.values[:, 1] - scores.values[:, 0])


# ---------------------------------------------------------------------------------------------- estimators
def test_without_covariates_standardisation_is_welch():
    g = torch.Generator().manual_seed(0)
    t = (torch.arange(300) % 3 == 0).double()
    y = t + torch.randn(300, generator=g, dtype=torch.float64) * (1 + t)
    found = contrast(standardisation(y, t, ones(300)))
    assert float(found.mean) == pytest.approx(float(y[t == 1].mean() - y[t == 0].mean()))
    error = stats.ttest_ind(y[t == 1], y[t == 0], equal_var=False).confidence_interval()
    assert float(found.standard_error) == pytest.approx(
        math.sqrt(float(y[t == 1].var() / 100 + y[t == 0].var() / 200)), rel=0.01
    )
    assert (float(found.low), float(found.high)) == pytest.approx((error.low, error.high), abs=0.02)


def test_standardisation_by_a_category_is_the_weighted_mean_of_its_cells():
    a, _, t, y = draw(400)
    group = (a > 0.3).double() + (a > 1).double()
    cells = [
        float((group == k).double().mean() * (y[(group == k) & (t == 1)].mean() - y[(group == k) & (t == 0)].mean()))
        for k in range(3)
    ]
    phi = basis([Variable("group", group, ("low", "middle", "high"))], 400, 100)
    assert phi.shape[1] == 3
    assert float(contrast(standardisation(y, t, phi)).mean) == pytest.approx(sum(cells))


@pytest.mark.parametrize("estimator", [standardisation, doubly_robust])
def test_adjusting_takes_the_confounding_away(estimator):
    a, b, t, y = draw(3000)
    found = contrast(estimator(y, t, basis([Variable("a", a), Variable("b", b)], 3000, 1000)))
    assert float(y[t == 1].mean() - y[t == 0].mean()) > 1.8
    assert float(found.low) < 1 < float(found.high) and float(found.high - found.low) < 0.4


def test_doubly_robust_survives_either_model_being_wrong():
    g = torch.Generator().manual_seed(1)
    x = torch.randn(4000, generator=g, dtype=torch.float64)
    e = torch.randn(4000, generator=g, dtype=torch.float64)
    jump = (x > 0).double()  # what phi, smooth curves of x, does not hold
    coin = torch.rand(4000, generator=g, dtype=torch.float64)
    line = torch.stack([torch.ones_like(x), x], 1)
    smooth = (coin < torch.sigmoid(x)).double()  # e is right, mu is wrong
    assert float(contrast(doubly_robust(smooth + 5 * jump + e, smooth, line)).mean) == pytest.approx(1, abs=0.15)
    jumpy = (coin < 0.2 + 0.6 * jump).double()  # mu is right, e is wrong
    assert float(contrast(doubly_robust(jumpy + 5 * x + e, jumpy, line)).mean) == pytest.approx(1, abs=0.15)
    both = jumpy + 5 * jump + e  # neither is
    assert abs(float(contrast(doubly_robust(both, jumpy, line)).mean) - 1) > 0.3


def test_slopes_of_numbers():
    g = torch.Generator().manual_seed(2)
    a, e, f = torch.randn(3, 2000, generator=g, dtype=torch.float64)
    t = a.square() + e
    y = 0.5 * t + 2 * a.square() + f
    phi = basis([Variable("a", a)], 2000, 2000)
    alone = averaged(regression(t + f, t[:, None], ones(2000)).values)
    plain = stats.linregress(t.numpy(), (t + f).numpy())
    assert float(alone.mean) == pytest.approx(plain.slope)
    assert float(alone.standard_error) == pytest.approx(plain.stderr, rel=0.05)
    for estimator in (regression, orthogonal):
        found = averaged(estimator(y, t[:, None], phi).values)
        assert float(found.low) < 0.5 < float(found.high) and float(found.high - found.low) < 0.15
    assert float(orthogonal(y, t[:, None], phi).propensities) == pytest.approx(1 / 3, abs=0.05)


def test_the_unit_of_a_column_does_not_matter():
    g = torch.Generator().manual_seed(2)
    a, e, f = torch.randn(3, 300, generator=g, dtype=torch.float64)
    t, y = a + e, a + f
    phi = basis([Variable("a", a)], 300, 300)
    far, unit = 1.7e9 + 1e6 * t, 1e6
    for estimator in (regression, orthogonal):
        near, there = (averaged(estimator(y, v[:, None], phi).values) for v in (t, far))
        assert float(there.mean) * unit == pytest.approx(float(near.mean), rel=1e-4, abs=1e-6)
        assert float(there.standard_error) * unit == pytest.approx(float(near.standard_error), rel=1e-4)
    near, there = (instrument(y + t, t, torch.stack([e, scale * f], 1)) for scale in (1, 1e9))
    assert there.low == pytest.approx(near.low) and there.strength == pytest.approx(near.strength)


def test_slopes_are_those_of_statsmodels():
    api = pytest.importorskip("statsmodels.api")
    g = torch.Generator().manual_seed(3)
    a, e, f = torch.randn(3, 300, generator=g, dtype=torch.float64)
    t, phi = a + e, basis([Variable("a", a)], 300, 300)
    y = t + a + (1 + a.abs()) * f
    theirs = api.OLS(y.numpy(), torch.cat([t[:, None], phi], 1).numpy()).fit(cov_type="HC3")
    found = averaged(regression(y, t[:, None], phi).values)
    assert float(found.mean) == pytest.approx(theirs.params[0])
    assert float(found.standard_error) == pytest.approx(theirs.bse[0], rel=0.01)


def test_anderson_rubin_covers_where_rows_scatter_unlike():
    hits = 0
    for seed in range(100):
        g = torch.Generator().manual_seed(seed)
        u, e, f = torch.randn(3, 400, generator=g, dtype=torch.float64)
        z = (torch.rand(400, generator=g, dtype=torch.float64) < 0.15).double()
        t = z + u + e
        found = instrument(2 * t + (1 + 2 * z) * (u + f), t, z[:, None])
        hits += found.low < 2 < found.high
    assert hits >= 89  # 95 expected; where the spread is taken to be equal, 68


def test_the_front_door_and_its_delta_method():
    g = torch.Generator().manual_seed(3)
    u, e, f, h = torch.randn(4, 4000, generator=g, dtype=torch.float64)
    t = (u + e > 0).double()
    m = 1.5 * t + f
    y = 0.8 * m + u + h
    first = standardisation(m, t, ones(4000)).values
    second = regression(y, m[:, None], torch.stack([torch.ones_like(t), t], 1)).values
    found = averaged(front_door((first[:, 1] - first[:, 0])[:, None], second))
    assert float(found.low) < 1.2 < float(found.high)
    a, b = averaged(first[:, 1] - first[:, 0]), averaged(second)
    wanted = math.hypot(float(b.mean * a.standard_error), float(a.mean * b.standard_error))  # the two are uncorrelated
    assert float(found.standard_error) == pytest.approx(wanted, rel=0.05)


def test_an_instrument_is_wald_and_its_interval_holds_when_it_is_weak():
    g = torch.Generator().manual_seed(4)
    u, e, f = torch.randn(3, 3000, generator=g, dtype=torch.float64)
    z = (torch.arange(3000) % 2).double()
    t = z + u + e
    y = 2 * t + 3 * u + f
    found = instrument(y, t, z[:, None])
    wald = (y[z == 1].mean() - y[z == 0].mean()) / (t[z == 1].mean() - t[z == 0].mean())
    assert float(found.scores.mean()) == pytest.approx(float(wald))
    assert found.low < 2 < found.high and found.strength > 100 and found.p_value < 1e-6
    weak = instrument(y, u + e, z[:, None])
    assert (weak.low, weak.high) == (-math.inf, math.inf) and weak.strength < 10
    null = instrument(3 * u + f, t, z[:, None])
    assert (null.low <= 0 <= null.high) == (null.p_value >= 0.05)


# ------------------------------------------------------------------------------------------ identification
def asked(text):
    return identify(parse_graph(f"digraph {{ {text} }}", "dot"), "t", "y")


@pytest.mark.parametrize(
    ("graph", "strategy", "variables"),
    [
        ("t -> y", "adjustment", ()),
        ("w -> {t y}; t -> y", "adjustment", ("w",)),
        ("w -> {t y}; t -> m -> y", "adjustment", ("w",)),  # never a mediator
        ("t -> y; t -> c; y -> c", "adjustment", ()),  # nor a collider
        ("t -> m -> y; t <-> y", "front door", ("m",)),
        ("z -> t -> y; t <-> y", "instrument", ("z",)),
        ("t -> y; t <-> y", None, ()),
    ],
)
def test_which_formula(graph, strategy, variables):
    found = asked(graph)
    assert (found.strategy, found.variables) == (strategy, variables)
    assert bool(found.formula) == bool(found.assumptions) == (strategy is not None)


def test_a_set_is_found_where_there_is_one_and_is_valid():
    from dowhy.graph import check_valid_backdoor_set

    g = torch.Generator().manual_seed(0)
    found = {True: 0, False: 0}
    for _ in range(60):
        order = ["w", "v", "x", "t", "y"]
        pairs = list(itertools.combinations(order, 2))
        drawn = [p for p in pairs if p == ("t", "y") or torch.rand((), generator=g) < 0.5]
        hidden = [p for p in pairs if torch.rand((), generator=g) < 0.15]
        graph = CausalGraph(("y", "x", "w", "t", "v"), tuple(drawn), tuple(hidden))
        directed = graph.to_networkx()
        valid = [
            set(some)
            for size in range(4)
            for some in itertools.combinations("wvx", size)
            if check_valid_backdoor_set(directed, ["t"], ["y"], set(some))["is_dseparated"]
        ]
        answer = identify(graph, "t", "y")
        assert (answer.strategy == "adjustment") == bool(valid)
        assert not valid or set(answer.variables) in valid
        found[bool(valid)] += 1
    assert min(found.values()) > 5


def test_the_set_is_the_one_of_the_most_exact_estimate_and_is_found_at_once():
    assert asked("i -> t; w -> {t y}; p -> y; t -> y; t -> c").variables == ("w", "p")  # never i
    names = " ".join(f"w{k}" for k in range(25))
    assert len(asked(f"{{{names}}} -> t; {{{names}}} -> y; t -> y").variables) == 25


def test_what_would_overturn_it_and_what_would_have_to_be_observed():
    assert asked("w -> {t y}; t -> y").overturned == ("an unmeasured common cause of t and y",)
    assert "an unmeasured common cause of t and m" in asked("t -> m -> y; t <-> y").overturned
    assert asked("w -> {t y}; t -> y; t <-> y").wanted == ((("the common cause of t and y",), "adjustment"),)
    both = (("the common cause of t and y", "the common cause of t and m"), "adjustment")
    assert asked("t -> m -> y; t <-> y; t <-> m; m <-> y").wanted == (both,)
    either = [names for names, _ in asked("w -> {t y}; t -> y; t <-> w; w <-> y").wanted]
    assert either == [("the common cause of t and w",), ("the common cause of w and y",)]


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ("t -> z", "--outcome: no node 'y' in the graph; known: t, z"),
        ("z -> y", "--treatment: no node 't' in the graph"),
        ("y -> t", "by the graph y causes t, not the other way round"),
        ("w -> {t y}", "no path leads from t to y in the graph"),
    ],
)
def test_questions_that_the_graph_refuses(graph, message):
    with pytest.raises(CausalError, match=message):
        asked(graph)


def test_an_effect_on_itself_is_refused():
    with pytest.raises(CausalError, match="'t' is the treatment itself"):
        identify(CausalGraph(("t", "y"), (("t", "y"),)), "t", "t")


def test_without_dowhy(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "dowhy", None)
    with pytest.raises(MissingExtraError, match=r'questions to tables need DoWhy: pip install "pentimento\[causal\]"'):
        asked("t -> y")


# ------------------------------------------------------------------------------------------------- refuters
def adjusted(columns, treatment, names):
    y, t = columns["y"], columns[treatment]
    phi = basis([Variable(name, columns[name]) for name in names], len(y), 50)
    return float(contrast(standardisation(y, t, phi)).mean)


def again(columns, estimate=adjusted, names=("a", "b")):
    value = estimate(columns, "t", names)
    phi = basis([Variable(name, columns[name]) for name in names], len(columns["y"]), 50)
    error = float(contrast(standardisation(columns["y"], columns["t"], phi)).standard_error)
    return Again(columns, "t", "y", names, estimate, value, error)


@pytest.fixture(scope="module")
def table():
    return dict(zip("abty", draw(400), strict=True))


def test_a_sound_effect_passes_all(table):
    sound = again(table)
    for refuter in (placebo_treatment, random_cause, subsets):
        found = refuter(sound)
        assert found.passed, found
        assert all(math.isfinite(value) for value in found.figures.values())
    assert placebo_treatment(sound) == placebo_treatment(sound)  # by the seed


def test_placebo_treatment_says_no_to_nothing_and_to_an_estimator_that_finds_what_is_not_there(table):
    noise = torch.randn(400, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    assert not placebo_treatment(again({**table, "y": table["a"] + noise})).passed
    biased = placebo_treatment(again(table, lambda *given: adjusted(*given) + 5))
    assert not biased.passed and biased.figures["mean"] > 4


def test_random_cause_says_no_to_an_estimate_that_noise_moves(table):
    def unsteady(columns, treatment, names):
        return adjusted(columns, treatment, names) + (3 * float(columns["w_random"][0]) if "w_random" in names else 0)

    assert not random_cause(again(table, unsteady)).passed


def test_subsets_say_no_to_an_effect_of_one_row(table):
    y = torch.randn(400, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    y[int(table["t"].argmax())] = 400.0
    alone = subsets(again({**table, "y": y}, names=()))
    assert not alone.passed and alone.figures["same_sign"] < alone.figures["subsets"]


def test_an_unmeasured_cause():
    assert robustness_value(4.18, 783) == pytest.approx(0.139, abs=5e-4)  # Cinelli and Hazlett 2020, table 1
    assert robustness_value(4.18, 783, 0.05) == pytest.approx(0.076, abs=5e-4)
    assert robustness_value(1.0, 783, 0.05) == 0
    g = torch.Generator().manual_seed(6)
    a, e, f = torch.randn(3, 1000, generator=g, dtype=torch.float64)

    def asked_of(effect, pull):
        t = pull * a + e
        y = effect * t + pull * a + f
        return unmeasured_cause(y, t, torch.stack([torch.ones_like(a), a], 1), {"a": ones(1000)})

    strong, fragile = asked_of(1.0, 0.2), asked_of(0.1, 1.0)
    assert strong.passed and "one as strong as a is not enough to hide it" in strong.note
    assert not fragile.passed and "one as strong as a is enough to hide it" in fragile.note


def test_a_cause_at_the_robustness_value_brings_the_slope_to_zero():
    """A confounder that was left out, which explains R of both, moves the slope by what the formula says."""
    g = torch.Generator().manual_seed(7)
    u, e, f = (v - v.mean() for v in torch.randn(3, 500, generator=g, dtype=torch.float64))
    t = u + e
    y = 1.5 * u + f  # t does nothing
    slope = stats.linregress(t.numpy(), y.numpy())
    r_t = float(torch.corrcoef(torch.stack([t, u]))[0, 1]) ** 2
    rest_y, rest_u = (v - t * (t @ v) / (t @ t) for v in (y, u))
    r_y = float(torch.corrcoef(torch.stack([rest_y, rest_u]))[0, 1]) ** 2
    bias = slope.stderr * math.sqrt(498 * r_y * r_t / (1 - r_t))
    with_u = float(torch.linalg.lstsq(torch.stack([t, u], 1), y[:, None]).solution[0])
    assert slope.slope - bias == pytest.approx(with_u, abs=1e-6)
    assert min(r_t, r_y) < robustness_value(slope.slope / slope.stderr, 498) < max(r_t, r_y)
