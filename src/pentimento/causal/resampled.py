"""Refuters that estimate again from a table that was changed, by DoWhy: placebo treatment, random cause, subsets.

    K -> times that each estimates again

DoWhy changes the table and calls the estimator; what it says of the results is a p-value of their mean, and here the
results themselves are judged too, for they say more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from pentimento.causal.effects import LEVEL
from pentimento.causal.identification import quiet_dowhy
from pentimento.causal.records import Refutation
from pentimento.causal.refute import placebo
from pentimento.errors import CausalError
from pentimento.runtime import derive_seed

__all__ = ["TIMES", "Again", "placebo_treatment", "random_cause", "subsets"]

TIMES = 19  # K: the least of which none may do as much for p <= 0.05
FRACTION = 0.8  # of the rows, in a subset
SHIFT = 1.0  # standard errors that a cause without any effect may move an estimate

# columns, name of the treatment's column, names of what is adjusted for -> estimate
Estimate = Callable[[Mapping[str, Tensor], str, Sequence[str]], float]


@dataclass(frozen=True)
class Again:
    """An estimate that can be made again.

    Args:
        columns: of the table, (N,) each: numbers, or codes of levels.
        treatment: its column.
        outcome: its column.
        adjusted: columns that are adjusted for.
        estimate: see `Estimate`.
        value: from the table as it is.
        standard_error: of it.
    """

    columns: Mapping[str, Tensor]
    treatment: str
    outcome: str
    adjusted: tuple[str, ...]
    estimate: Estimate
    value: float
    standard_error: float


def placebo_treatment(again: Again, seed: int = 0, level: float = LEVEL) -> Refutation:
    """Does the treatment do more than itself, dealt out to the rows by lot? (Fisher 1935)

    Fails: an effect within what the lots do (its rank among K of them is above `level`), or lots that do something on
    average (DoWhy's p-value is at most `level`): then the estimator finds what is not there.

    False alarm: 1 of 39 true effects that a doubly robust estimate found in tables of 100 rows with three covariates,
    none of 40 in those of 400 rows. Confounding passes, for a lot has none.

    Raises:
        CausalError: as `pentimento.causal.placebo`.
        MissingExtraError: without DoWhy; so do all of these.
    """
    with quiet_dowhy():
        from dowhy.causal_refuters.placebo_treatment_refuter import PlaceboType, refute_placebo_treatment

    told, found = _run(
        again, refute_placebo_treatment, seed, treatment_names=[again.treatment], placebo_type=PlaceboType.PERMUTE
    )
    ranked = placebo(again.value, found, level)
    return Refutation(
        "placebo treatment",
        ranked.passed and told > level,
        {**ranked.figures, "mean": float(found.mean()), "mean_p_value": told},
        f"{ranked.note}; on average they do {float(found.mean()):.3g}",
    )


def random_cause(again: Again, seed: int = 0) -> Refutation:
    """Does the estimate stay where it is when a column of noise is adjusted for as well?

    Fails: noise that moves the estimate by more than its standard error, at the root of the mean square over K
    columns of noise: then the table is too small for what is adjusted for.

    False alarm: 1 of 39 and none of 40, see `placebo_treatment`. Confounding passes.
    """
    with quiet_dowhy():
        from dowhy.causal_refuters.random_common_cause import refute_random_common_cause

    told, found = _run(again, refute_random_common_cause, seed)
    moved = float((found - again.value).square().mean().sqrt()) / again.standard_error
    return Refutation(
        "random cause",
        moved <= SHIFT,
        {"moved": moved, "allowed": SHIFT, "mean": float(found.mean()), "p_value": told},
        f"columns of noise move it by {moved:.2g} standard errors",
    )


def subsets(again: Again, seed: int = 0) -> Refutation:
    """Is the effect there in every random subset of four fifths of the rows?

    Fails: a sign that turns in any of K subsets: then a few rows make the effect.

    False alarm: 6 of 39 and 2 of 40, see `placebo_treatment`, where rows of large weight do make a part of the effect;
    with equal weights an estimate of two standard errors turns in a subset with a probability of 0.00003, for it moves
    by half of one. Misses what more than a few rows make.
    """
    with quiet_dowhy():
        from dowhy.causal_refuters.data_subset_refuter import refute_data_subset

    told, found = _run(again, refute_data_subset, seed, subset_fraction=FRACTION)
    alike = int((found.sign() == torch.tensor(again.value).sign()).sum())
    low, high = float(found.min()), float(found.max())
    return Refutation(
        "subsets",
        alike == len(found),
        {"subsets": float(len(found)), "same_sign": float(alike), "lowest": low, "highest": high, "p_value": told},
        f"the sign is the same in {alike} of {len(found)} subsets; they say {low:.3g} to {high:.3g}",
    )


@dataclass
class _Estimator:
    """What DoWhy asks of an estimator, and what it was told."""

    again: Again
    estimand: Any
    found: list[float] = field(default_factory=list)
    data: Any = None
    _effect_modifier_names: None = None
    _target_units: str = "ate"

    def get_new_estimator_object(self, estimand: Any) -> _Estimator:
        return _Estimator(self.again, estimand, self.found)

    def fit(self, data: Any, **_: Any) -> _Estimator:
        self.data = data
        return self

    def estimate_effect(self, data: Any, **_: Any) -> Any:
        columns = {name: torch.tensor(data[name].to_numpy(dtype="float64")) for name in data}
        adjusted = self.estimand.get_adjustment_set()
        self.found.append(self.again.estimate(columns, self.estimand.treatment_variable[0], adjusted))
        return SimpleNamespace(value=self.found[-1])


def _run(again: Again, refuter: Callable[..., Any], seed: int, **how: Any) -> tuple[float, Tensor]:
    """DoWhy's p-value, and the K estimates."""
    with quiet_dowhy():
        import numpy as np
        import pandas as pd
        from dowhy.causal_estimator import CausalEstimate
        from dowhy.causal_identifier import IdentifiedEstimand

        estimand = IdentifiedEstimand(
            None,
            treatment_variable=[again.treatment],
            outcome_variable=[again.outcome],
            backdoor_variables={"backdoor": list(again.adjusted)},
            default_backdoor_id="backdoor",
            identifier_method="backdoor",
        )
        frame = pd.DataFrame({name: values.numpy() for name, values in again.columns.items()})
        estimate = CausalEstimate(
            frame, again.treatment, again.outcome, again.value, estimand, "", control_value=0, treatment_value=1
        )
        estimator = _Estimator(again, estimand)
        estimate.add_estimator(estimator)
        state = np.random.RandomState(derive_seed(seed, refuter.__name__) % 2**32)
        told = refuter(frame, estimand, estimate, num_simulations=TIMES, random_state=state, **how)
    found = torch.tensor(estimator.found, dtype=torch.float64)
    if not bool(found.isfinite().all()):
        raise CausalError(f"refuters: {refuter.__name__} gave an estimate that is not finite; see the table")
    return float(told.refutation_result["p_value"]), found
