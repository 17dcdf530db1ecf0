"""What a causal graph says must be independent, and whether a table agrees.

    x, y -> two attributes without an edge between them          Z -> the smallest set that separates them in the graph
    f_i(x), g_j(y) -> features: cos(i pi u), u the share of rows below a number; or 0 and 1 for each category but one
    r_i, s_j -> f_i(x) and g_j(y) less what Z predicts of them     R -> the products r_i s_j, row by row
    T -> N mean(R)' Cov(R)^-1 mean(R): chi-squared, as many degrees of freedom as products, where x, y are independent

This is the generalised covariance measure (Shah and Peters 2020) over several features at once: with waves, it sees
dependence that is no correlation, and categories need no test of their own. What Z predicts is kernel ridge regression,
each row predicted from the others. DoWhy's own kernel test was measured first: where x and y are tanh(2 z) and sin(2 z)
plus noise, it says at 500 rows that they depend on one another given z in 5 of 12 tables (p < 0.05); this one in 1 of
40 at 300 rows.

That a table agrees does not make a graph true: graphs that imply the same are not told apart, and none is told by what
it does not imply, a graph with all edges above all.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy import special
from torch import Tensor

from pentimento.causal.attributes import Attribute, read_table
from pentimento.causal.effects import LEVEL, benjamini_hochberg
from pentimento.causal.graphs import CausalGraph
from pentimento.runtime import derive_seed

__all__ = ["Independence", "IndependenceTest", "check_independences", "implied_independences"]

AT_MOST = 5000  # rows
LANDMARKS = 200
WAVES = 3  # of a number; powers have tails for which chi-squared is too small
SEARCHED = 3  # members of a separating set up to which the smallest is looked for
SCALES = (0.5, 1.0, 2.0)  # of the kernel, in sqrt(columns of Z)
RIDGES = 10.0 ** torch.arange(-4, 3, dtype=torch.float64)


@dataclass(frozen=True)
class Independence:
    """x and y are independent given Z; in words ``x _||_ y | z, w``."""

    x: str
    y: str
    given: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.x} _||_ {self.y}" + (f" | {', '.join(self.given)}" if self.given else "")


@dataclass(frozen=True)
class IndependenceTest:
    """Whether a table agrees with what a graph implies.

    Args:
        claim: what the graph implies.
        p_value: of data that depend as much, were the claim true.
        q_value: `p_value` corrected for all claims that were tested (Benjamini-Hochberg).
        count: rows that were used.
        note: what it means, one sentence.
        level: at which a claim counts as refuted.
    """

    claim: Independence
    p_value: float
    q_value: float
    count: int
    note: str
    level: float = LEVEL

    @property
    def holds(self) -> bool:
        """The table does not speak against it."""
        return self.q_value > self.level


def implied_independences(graph: CausalGraph) -> tuple[Independence, ...]:
    """One for each pair that no edge joins and that some set of nodes separates, with the smallest such set.

    Pairs that only an unmeasured cause could separate are left out: the graph says nothing of them that a table shows.
    Sets of more than three are minimal, none of their members can be left out, but a smaller one may exist.

    >>> print(*implied_independences(CausalGraph(("a", "b", "c"), (("a", "b"), ("b", "c")))))
    a _||_ c | b
    """
    import networkx

    directed = graph.to_networkx()
    joined = {frozenset(pair) for pair in (*graph.edges, *graph.confounded)}
    found = []
    for x, y in itertools.combinations(graph.nodes, 2):
        if frozenset((x, y)) in joined:
            continue
        allowed = set(graph.nodes) - {x, y}
        minimal = networkx.find_minimal_d_separator(directed, x, y, restricted=allowed)
        if minimal is None:
            continue
        near = [n for n in graph.nodes if n in {*graph.ancestors(x), *graph.ancestors(y)} - {x, y}]
        smaller = (s for k in range(min(len(minimal), SEARCHED + 1)) for s in itertools.combinations(near, k))
        best = next((s for s in smaller if networkx.is_d_separator(directed, x, y, set(s))), minimal)
        found.append(Independence(x, y, tuple(n for n in graph.nodes if n in best)))
    return tuple(found)


def check_independences(
    graph: CausalGraph, table: Mapping[str, Any], at_most: int = AT_MOST, seed: int = 0
) -> tuple[IndependenceTest, ...]:
    """Test all that the graph implies, see the module; what fails is a finding, not an error.

    Args:
        graph: over columns of the table.
        table: columns by name, as `read_table` takes them.
        at_most: rows to use, taken by lot where there are more.
        seed: of the lot.

    Raises:
        CausalError: as `read_table`.
    """
    attributes, columns = read_table(graph, table)
    claims = implied_independences(graph)
    if not claims:
        return ()
    count = len(columns[graph.nodes[0]])
    lot = torch.randperm(count, generator=torch.Generator().manual_seed(derive_seed(seed, "independence")))[:at_most]
    rows = {name: column[lot] for name, column in columns.items()}
    residuals = _all_residuals(claims, attributes, rows)
    p_values = [independence_p(residuals[c.x, c.given], residuals[c.y, c.given]) for c in claims]
    q_values = benjamini_hochberg(torch.tensor(p_values, dtype=torch.float64)).tolist()
    return tuple(
        IndependenceTest(claim, p, q, len(lot), _note(claim, q))
        for claim, p, q in zip(claims, p_values, q_values, strict=True)
    )


def _note(claim: Independence, q_value: float) -> str:
    if q_value > LEVEL:
        return f"the table does not speak against {claim}"
    given = f" given {', '.join(claim.given)}" if claim.given else ""
    return (
        f"{claim.x} and {claim.y} depend on one another{given}, which the graph rules out: an edge between them, or a "
        "common cause, is missing, or an arrow points the wrong way"
    )


def _all_residuals(
    claims: Sequence[Independence], attributes: Mapping[str, Attribute], rows: Mapping[str, Tensor]
) -> dict[tuple[str, tuple[str, ...]], Tensor]:
    """Of each attribute's features, by what they were predicted from; what several claims need is computed once."""
    features = {name: _features(attributes[name], rows[name]) for name in attributes}
    found = {}
    for given in dict.fromkeys(claim.given for claim in claims):
        names = list(dict.fromkeys(name for claim in claims if claim.given == given for name in (claim.x, claim.y)))
        stacked = torch.cat([features[name] for name in names], 1)
        if given:
            stacked = _residuals(torch.cat([_scores(attributes[n], rows[n]) for n in given], 1), stacked)
        else:
            stacked = stacked - stacked.mean(0)
        parts = torch.split(stacked, [features[name].shape[1] for name in names], 1)
        found.update({(name, given): part for name, part in zip(names, parts, strict=True)})
    return found


def independence_p(r: Tensor, s: Tensor) -> float:
    """P-value of T for residuals (N, I) and (N, J); directions in which their products do not vary are left out."""
    products = (r[:, :, None] * s[:, None, :]).flatten(1)
    mean, count = products.mean(0), len(products)
    values, vectors = torch.linalg.eigh(torch.cov(products.T).reshape(len(mean), len(mean)))
    kept = values > values.max() * 1e-6
    if not bool((values.max() > 1e-20) & kept.any()):
        return 1.0
    statistic = count * ((vectors[:, kept].T @ mean).square() / values[kept]).sum()
    return float(special.chdtrc(int(kept.sum()), float(statistic)))


# ---------------------------------------------------------------------------------- features, residuals
def _scores(attribute: Attribute, values: Tensor) -> Tensor:
    """Normal scores of a number's ranks, (N, 1); 0 and 1 for each category, (N, K). Ties share their mean rank."""
    if attribute.levels:
        return attribute.encode(values)
    _, where, counts = torch.unique(values, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0) - (counts - 1) / 2)[where]
    scores: Tensor = torch.special.ndtri((ranks - 0.5).double() / len(values))
    return scores[:, None]


def _features(attribute: Attribute, values: Tensor) -> Tensor:
    """f_i, (N, I)."""
    scores = _scores(attribute, values)
    if attribute.levels:
        used = scores[:, scores.amax(0) > 0]  # the lot may have left a category out
        return used[:, :-1] if used.shape[1] > 1 else used
    return torch.cat([torch.cos(math.pi * k * torch.special.ndtr(scores)) for k in range(1, WAVES + 1)], 1)


def _residuals(given: Tensor, targets: Tensor) -> Tensor:
    """Targets (N, F) less their kernel ridge prediction from the other rows, scale and ridge by what predicts best.

    The kernel is taken through `LANDMARKS` rows (Nystroem's approximation), the rows that were left out by each one's
    leverage. Each column has its own scale and ridge.
    """
    centred = targets - targets.mean(0)
    best = centred  # predicting the mean is always allowed
    landmarks = torch.unique(given[:LANDMARKS], dim=0)
    for scale in SCALES:
        width = 2 * scale**2 * given.shape[1]
        near, among = (torch.exp(-torch.cdist(rows, landmarks).square() / width) for rows in (given, landmarks))
        values, vectors = torch.linalg.eigh(among)
        kept = values > values.max() * 1e-10
        left, singular, _ = torch.linalg.svd(near @ (vectors[:, kept] / values[kept].sqrt()), full_matrices=False)
        turned = left.T @ centred
        for ridge in RIDGES:
            share = singular.square() / (singular.square() + ridge)
            miss = centred - left @ (share[:, None] * turned)
            miss = miss / (1 - left.square() @ share).clamp(min=1e-8)[:, None]
            best = torch.where(miss.square().sum(0) < best.square().sum(0), miss, best)
    return best
