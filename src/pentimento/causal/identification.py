"""Can a graph and a table answer? DoWhy looks for a formula of what is measured that equals an effect of what is set.

    t, y -> treatment, outcome          W, M, Z -> what is adjusted for, mediators, instruments

Three kinds of formula are looked for, in this order: adjustment (Pearl 1993), with the set that makes the estimate
most exact among the valid ones (Henckel, Perkovic and Maathuis 2022), or where a part of that is not measured a minimal
one (van der Zander, Liskiewicz and Textor 2019); the front door (Pearl 1995); instruments, which need the effect to be
linear. A graph that has none of them may still have an intricate one of the do-calculus.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pentimento.causal.graphs import CausalGraph
from pentimento.errors import CausalError, MissingExtraError, suggest

if TYPE_CHECKING:
    import networkx

__all__ = ["Estimand", "Strategy", "identify", "quiet_dowhy"]

Strategy = Literal["adjustment", "front door", "instrument"]
MOST_MEDIATORS = 3  # of a front door
MOST_WANTED = 3  # unmeasured causes that would have to be measured together
MOST_NODES = 30  # of a graph of which every unmeasured common cause is tried


@dataclass(frozen=True)
class Estimand:
    """What is to be computed from the table, and what that rests on.

    Args:
        treatment: t.
        outcome: y.
        strategy: kind of formula; None where none was found.
        variables: W, M or Z.
        formula: of the effect.
        assumptions: sentences; where one is false, so may be the answer.
        overturned: what would make the formula wrong, e.g. ``"an unmeasured common cause of a and b"``.
        wanted: where there is no formula: sets of what would have to be measured, and the kind that each would give.
    """

    treatment: str
    outcome: str
    strategy: Strategy | None
    variables: tuple[str, ...]
    formula: str
    assumptions: tuple[str, ...]
    overturned: tuple[str, ...] = ()
    wanted: tuple[tuple[tuple[str, ...], Strategy], ...] = ()


@contextlib.contextmanager
def quiet_dowhy() -> Iterator[None]:
    """DoWhy, which logs and warns of what is said here in other words.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import dowhy  # noqa: F401  # so that a missing one is told here
    except ImportError as error:
        raise MissingExtraError('questions to tables need DoWhy: pip install "pentimento[causal]"') from error
    logger = logging.getLogger("dowhy")
    before, logger.disabled = logger.level, True
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = False
        logger.setLevel(before)


def identify(graph: CausalGraph, treatment: str, outcome: str) -> Estimand:
    """The formula for the effect of `treatment` on `outcome`, see the module.

    Args:
        graph: of all that matters; its nodes are measured, the common causes of its confounded pairs are not.
        treatment: what is set.
        outcome: what is asked about.

    Raises:
        CausalError: a name that is not in the graph, a treatment that is the outcome or does not act on it.
        MissingExtraError: without DoWhy.
    """
    _check(graph, treatment, outcome)
    directed, hidden = _directed(graph)
    with quiet_dowhy():
        strategy, variables = _search(directed, treatment, outcome, [n for n in directed if n not in hidden])
        if strategy is None:
            wanted = _wanted(directed, treatment, outcome, hidden)
            return Estimand(treatment, outcome, None, (), "", (), wanted=wanted)
        overturned = _overturning(graph, treatment, outcome, strategy, variables)
    formula, assumptions = _words(strategy, treatment, outcome, variables)
    return Estimand(treatment, outcome, strategy, variables, formula, assumptions, overturned)


def _check(graph: CausalGraph, treatment: str, outcome: str) -> None:
    for option, name in (("--treatment", treatment), ("--outcome", outcome)):
        if name not in graph.nodes:
            raise CausalError(f"{option}: no node {name!r} in the graph; {suggest(name, graph.nodes)}")
    if treatment == outcome:
        raise CausalError(f"--outcome: {outcome!r} is the treatment itself; ask about another column")
    if treatment in graph.descendants(outcome):
        raise CausalError(
            f"--treatment: by the graph {outcome} causes {treatment}, not the other way round; swap the two, or turn "
            "the edges round"
        )
    if outcome not in graph.descendants(treatment):
        raise CausalError(
            f"--outcome: no path leads from {treatment} to {outcome} in the graph, which says that there is no effect; "
            "draw the edges that you ask about"
        )


# ----------------------------------------------------------------------------------------------- the search
def _directed(graph: CausalGraph) -> tuple[networkx.DiGraph, dict[str, str]]:
    """With a node for each hidden common cause, and what each hidden node is, in words."""
    directed = graph.to_networkx()
    unseen = [node for node, seen in directed.nodes(data="observed") if not seen]
    return directed, {node: f"the common cause of {' and '.join(directed.successors(node))}" for node in unseen}


def _search(
    directed: networkx.DiGraph, treatment: str, outcome: str, observed: Sequence[str]
) -> tuple[Strategy | None, tuple[str, ...]]:
    import networkx
    from dowhy.graph import get_instruments

    order = list(directed.nodes)
    adjusted = _adjustment(directed, treatment, outcome, observed)
    if adjusted is not None:
        return "adjustment", tuple(sorted(adjusted, key=order.index))
    on_the_way = networkx.descendants(directed, treatment) & networkx.ancestors(directed, outcome)
    between = [n for n in observed if n in on_the_way]
    for size in range(1, MOST_MEDIATORS + 1):
        for mediators in itertools.combinations(between, size):
            if _is_front_door(directed, treatment, outcome, mediators):
                return "front door", mediators
    instruments = set(get_instruments(directed, [treatment], [outcome])) & set(observed)
    return ("instrument", tuple(sorted(instruments, key=order.index))) if instruments else (None, ())


def _adjustment(directed: networkx.DiGraph, treatment: str, outcome: str, observed: Sequence[str]) -> set[str] | None:
    """The set, see the module; None where no set of observed nodes is valid.

    DoWhy 0.14's own search lists all paths: with six common causes it takes seconds, with twelve it does not end.
    """
    import networkx

    after = networkx.descendants(directed, treatment)
    on_the_way = after & (networkx.ancestors(directed, outcome) | {outcome})
    causes = {cause for node in on_the_way for cause in directed.predecessors(node)}
    best: set[str] = causes - on_the_way - {treatment}
    if best <= set(observed) and _holds(directed, treatment, outcome, "adjustment", sorted(best)):
        return best
    backwards = directed.copy()
    backwards.remove_edges_from(list(directed.out_edges(treatment)))
    allowed = set(observed) - after - {treatment, outcome}
    found = networkx.find_minimal_d_separator(backwards, outcome, treatment, restricted=allowed)
    return None if found is None else set(found)


def _is_front_door(directed: networkx.DiGraph, treatment: str, outcome: str, mediators: Sequence[str]) -> bool:
    from dowhy.causal_identifier.auto_identifier import identify_frontdoor

    found = identify_frontdoor(directed.copy(), [treatment], [outcome], list(mediators))
    return set(found) == set(mediators)


def _holds(directed: networkx.DiGraph, treatment: str, outcome: str, strategy: Strategy, names: Sequence[str]) -> bool:
    """Whether the formula is right in this graph."""
    from dowhy.graph import check_valid_backdoor_set, get_instruments

    if strategy == "adjustment":
        return bool(check_valid_backdoor_set(directed, [treatment], [outcome], set(names))["is_dseparated"])
    if strategy == "front door":
        return _is_front_door(directed, treatment, outcome, names)
    return set(names) <= set(get_instruments(directed, [treatment], [outcome]))


def _wanted(
    directed: networkx.DiGraph, treatment: str, outcome: str, hidden: dict[str, str]
) -> tuple[tuple[tuple[str, ...], Strategy], ...]:
    """The smallest sets of hidden nodes that would give a formula, were they measured."""
    seen = [node for node in directed if node not in hidden]
    for size in range(1, MOST_WANTED + 1):
        tried = [
            (tuple(hidden[node] for node in chosen), _search(directed, treatment, outcome, [*seen, *chosen])[0])
            for chosen in itertools.combinations(hidden, size)
        ]
        found = [(names, strategy) for names, strategy in tried if strategy is not None]
        if found:
            return tuple(sorted(found, key=lambda each: each[1] != "adjustment"))
    return ()


def _overturning(
    graph: CausalGraph, treatment: str, outcome: str, strategy: Strategy, variables: Sequence[str]
) -> tuple[str, ...]:
    """The pairs whose unmeasured common cause would make the formula wrong, those with the treatment first."""
    if len(graph.nodes) > MOST_NODES:
        return (f"an unmeasured common cause of {treatment} and {outcome}",)
    names = sorted(graph.nodes, key=[treatment, outcome, *graph.nodes].index)
    have = {frozenset(pair) for pair in graph.confounded}
    found = []
    for pair in itertools.combinations(names, 2):
        if frozenset(pair) in have:
            continue
        more = dataclasses.replace(graph, confounded=(*graph.confounded, pair))
        if not _holds(_directed(more)[0], treatment, outcome, strategy, variables):
            found.append(f"an unmeasured common cause of {pair[0]} and {pair[1]}")
    return tuple(found)


# -------------------------------------------------------------------------------------------------- in words
def _words(strategy: Strategy, t: str, y: str, variables: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The formula, and the sentences that it rests on."""
    names, act = ", ".join(variables), "acts" if len(variables) == 1 else "act"
    everywhere = (
        "The graph is right: what it leaves out does not act.",
        "A row is not acted on by the treatment of another.",
    )
    if strategy == "adjustment" and not variables:
        formula = f"E[{y} | do({t})] = E[{y} | {t}]"
        return formula, (f"Nothing acts on both {t} and {y}: {t} is as good as drawn by lot.", *everywhere)
    if strategy == "adjustment":
        formula = f"E[{y} | do({t})] = sum over {names} of E[{y} | {t}, {names}] P({names})"
        return formula, (
            f"Nothing unmeasured acts on both {t} and {y}, other than through {names}.",
            f"Every value of {t} occurs at all values of {names} (positivity).",
            *everywhere,
        )
    if strategy == "front door":
        formula = (
            f"E[{y} | do({t})] = sum over {names} of P({names} | {t}) sum over {t}' of E[{y} | {t}', {names}] P({t}')"
        )
        return formula, (
            f"{t} acts on {y} only through {names}.",
            f"Nothing unmeasured acts on both {t} and {names}, or on both {names} and {y}.",
            f"{names} {act} on {y} by so much a unit, at every value of {t} and of each other.",
            *everywhere,
        )
    formula = f"effect of {t} on {y} = cov({y}, {names}) / cov({t}, {names})"
    return formula, (
        f"{names} {act} on {y} only through {t}.",
        f"Nothing unmeasured acts on both {names} and {y}.",
        f"{t} acts on {y} by so much a unit, in every row; where that differs, the answer is about the rows whose "
        f"{t} {names} would change.",
        *everywhere,
    )
