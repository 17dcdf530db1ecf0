"""Scorecards as figures of a report; what the parts of `counterfactuals.py` on pictures share."""

from __future__ import annotations

from pentimento.evaluate.intervals import Estimate
from pentimento.studies.scorecard import Score, Scorecard
from reporting import Figure

__all__ = ["Aims", "card_figures"]

Aims = dict[tuple[str, str], tuple[float, str]]  # kind, measure -> what must not be passed, in words


def card_figures(card: Scorecard, aims: Aims) -> list[Figure]:
    """A figure for each score; where it stands beside several things, one for each."""
    how = "residual carried over" if card.residual else "without the residual"
    made = []
    for score in card.scores:
        if score.kind == "composition" and not card.residual:
            continue  # both kinds of it are on the other card
        what = score.intervention if score.kind == "composition" else f"do({score.intervention}), {how}"
        shown = 100.0 if score.unit == "share that agrees" else 1.0
        for name, beside in score.beside.items() or (("", None),):
            made.append(
                Figure(
                    f"{score.kind}: {what}; {score.measure}" + (f" beside {name}" if len(score.beside) > 1 else ""),
                    shown * score.estimate.value,
                    "%" if shown > 1 else score.unit,
                    (shown * score.estimate.low, shown * score.estimate.high),
                    **_aim(score, aims),
                    **({} if beside is None else _peer(name, beside, shown)),
                )
            )
    return made


def _aim(score: Score, aims: Aims) -> dict[str, str | bool]:
    if (score.kind, score.measure) not in aims:
        return {}
    bound, words = aims[score.kind, score.measure]
    share = score.unit == "share that agrees"
    return {"aim": words, "met": score.estimate.value >= bound if share else score.estimate.value <= bound}


def _peer(name: str, beside: Estimate, shown: float) -> dict[str, object]:
    return {
        "peer": name,
        "peer_value": shown * beside.value,
        "peer_spread": (shown * beside.low, shown * beside.high),
    }
