"""Which mechanism an attribute gets: the simplest of those that predict held-out rows best.

Best is up to `TOLERANCE` standard errors of the difference in score, row by row, from the lowest score. So few rows get
a simple mechanism, and many rows get the true one even where it scores only a little better.

    F -> the distribution that a mechanism predicts from the parents      x -> what was seen
    CRPS(F, x) -> E|X - x| - E|X - X'| / 2,  X and X' drawn from F        0 is best, in the attribute's unit

For categories, with distance 0 or 1 in place of ``|.|``, that is half the Brier score. It is a proper score (Gneiting
and Raftery 2007): none does better than the true distribution. For numbers it is twice the mean pinball loss over
quantiles, which every mechanism gives without drawing, for a number rises with its noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pentimento.causal.attributes import Attribute
from pentimento.causal.mechanisms import Categorical, Empirical, Mechanism, PostNonlinear, fit_additive

__all__ = ["TOLERANCE", "Choice", "choose", "score"]

TOLERANCE = 2.0  # standard errors of the difference to the best: what a simpler mechanism may lose
HELD_OUT = 5  # one row of so many
LEVELS = 50  # quantiles of a predicted distribution
MOST_TERMS = 300  # of a polynomial
Fit = Callable[[Tensor, Tensor, int], Mechanism]


@dataclass(frozen=True)
class Choice:
    """Why an attribute has the mechanism it has.

    Args:
        name: of the attribute.
        mechanism: the name of the candidate that was taken.
        scores: CRPS of each candidate on the rows held out, the simplest first, in the attribute's unit.
        allowed: by how much each may be worse than the best and still count as good, see the module.
        fitted_on: rows.
        held_out: rows that none of the scored candidates had seen; what was taken is fitted on all.
    """

    name: str
    mechanism: str
    scores: Mapping[str, float]
    allowed: Mapping[str, float]
    fitted_on: int
    held_out: int

    def __str__(self) -> str:
        """One line, e.g. ``hue: linear (CRPS linear 0.056, flow 0.056)``."""
        return f"{self.name}: {self.mechanism} (CRPS {', '.join(f'{k} {v:.3g}' for k, v in self.scores.items())})"


def choose(attribute: Attribute, parents: Tensor, x: Tensor, seed: int) -> tuple[Mechanism, Choice]:
    """Fit every candidate on four rows of five, taken by lot, score it on the others, and fit the choice on all rows.

    Args:
        attribute: whose mechanism it will be.
        parents: encoded, (N, P).
        x: numbers or codes, (N,).
        seed: of the lot and of the fits.

    Raises:
        MissingExtraError: DoWhy is not installed.
    """
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    aside, rows = order[: len(x) // HELD_OUT], order[len(x) // HELD_OUT :]
    candidates = _candidates(attribute, parents.shape[1], len(rows))
    rows_scores = {
        name: score(fit(parents[rows], x[rows], seed), parents[aside], x[aside]) for name, fit in candidates.items()
    }
    scores = {name: float(found.mean()) for name, found in rows_scores.items()}
    best = min(scores, key=scores.__getitem__)
    errors = {name: (found - rows_scores[best]).std() / math.sqrt(len(aside)) for name, found in rows_scores.items()}
    allowed = {name: TOLERANCE * float(error) for name, error in errors.items()}
    taken = next(name for name, found in scores.items() if found - scores[best] <= allowed[name])
    choice = Choice(attribute.name, taken, scores, allowed, len(rows), len(aside))
    return candidates[taken](parents, x, seed), choice


def _candidates(attribute: Attribute, width: int, rows: int) -> dict[str, Fit]:
    """By name, the simplest first."""
    if attribute.levels:
        fits: dict[str, Fit] = {"frequencies" if not width else "logistic": partial(_categorical, attribute, False)}
        return {**fits, "network": partial(_categorical, attribute, True)} if width else fits
    if not width:
        return {"quantiles": _empirical}
    found: dict[str, Fit] = {}
    for degree, name in ((1, "linear"), (2, "quadratic"), (3, "cubic")):
        if degree == 1 or math.comb(width + degree, degree) <= min(MOST_TERMS, rows / 10):
            found[name] = partial(_additive, degree)
    # The one that stays in the range comes first: what lies outside was never seen, by any mechanism.
    return {**found, "bounded flow": partial(_flow, "logit"), "flow": partial(_flow, "identity")}


def _categorical(attribute: Attribute, bends: bool, parents: Tensor, x: Tensor, seed: int) -> Mechanism:
    return Categorical.fit(parents, x, len(attribute.levels), bends, seed)


def _empirical(parents: Tensor, x: Tensor, seed: int) -> Mechanism:  # noqa: ARG001
    return Empirical.fit(x)


def _additive(degree: int, parents: Tensor, x: Tensor, seed: int) -> Mechanism:  # noqa: ARG001
    return fit_additive(parents, x, degree)


def _flow(link: str, parents: Tensor, x: Tensor, seed: int) -> Mechanism:
    return PostNonlinear.fit(parents, x, "logit" if link == "logit" else "identity", seed)


def score(mechanism: Mechanism, parents: Tensor, x: Tensor) -> Tensor:
    """CRPS of what `mechanism` predicts for each row, (N,); see the module."""
    if isinstance(mechanism, Categorical):
        odds = mechanism.log_odds(parents).exp()
        return 0.5 * (odds - torch.nn.functional.one_hot(x, odds.shape[1])).square().sum(1)
    levels = (torch.arange(LEVELS, dtype=torch.float64) + 0.5) / LEVELS
    pinball = torch.zeros(len(x), dtype=torch.float64)
    for level in levels:
        below = x - mechanism.predict(parents, torch.special.ndtri(level).expand(len(x)))
        pinball += torch.maximum(level * below, (level - 1) * below)
    return 2 * pinball / LEVELS
