"""Outcomes over doses of an intervention, on the same samples at every dose.

x_1 < .. < x_D -> doses     y_i(x) -> outcome of sample i at dose x, all noise of the sample held fixed
b_i -> slope of sample i, by least squares:  sum_j (x_j - mean x) y_i(x_j) / sum_j (x_j - mean x)^2
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pentimento.causal.effects import LEVEL, PairedEffect, paired
from pentimento.causal.tables import column, table
from pentimento.errors import CausalError

__all__ = ["DoseResponse", "over_doses"]


@dataclass(frozen=True)
class DoseResponse:
    """How an outcome answers to doses.

    Args:
        doses: (D,), increasing.
        reference: index of the dose that the others are compared with.
        mean: of the outcome at each dose, (D,).
        change: from the reference dose, of D interventions; 0 with p = 1 at the reference itself.
        band_low: (D,) lower ends of intervals of `change` that all hold at once with 95 % confidence (Bonferroni: it
            needs no draws, and doses are few).
        band_high: upper ends.
        steps: from each dose to the next, of D - 1 interventions.
        slope: the mean of b_i, in the outcome's unit per unit of dose; of one intervention.
    """

    doses: Tensor
    reference: int
    mean: Tensor
    change: PairedEffect
    band_low: Tensor
    band_high: Tensor
    steps: PairedEffect
    slope: PairedEffect

    @property
    def direction(self) -> float:
        """1 where the outcome is higher at the highest dose than at the lowest, -1 where it is lower, else 0."""
        return float((self.mean[-1] - self.mean[0]).sign())

    @property
    def monotone(self) -> float:
        """Share of the steps that go in `direction`; 0 where there is none."""
        return float((self.steps.mean.sign() * self.direction > 0).double().mean())


def over_doses(doses: Tensor, outcomes: Tensor, reference: int = 0) -> DoseResponse:
    """The dose-response curve with its intervals.

    Args:
        doses: (D,), D >= 2, increasing.
        outcomes: y_i(x_j), (N, D), N >= 2.
        reference: index of the dose to compare with, e.g. that of no intervention.

    Raises:
        CausalError: doses that do not increase or are not as many as the columns of `outcomes`, a reference that is
            none of them, fewer samples, or an outcome that is not finite.
    """
    x = column(doses, "doses")
    if not bool((x.diff() > 0).all()):
        raise CausalError(f"doses: increasing ones expected, got {[float(f'{dose:g}') for dose in x]}")
    y = table(outcomes, "outcomes")
    if y.shape[1] != len(x):
        raise CausalError(f"outcomes: a column for each of {len(x)} doses expected, got shape {tuple(outcomes.shape)}")
    if not 0 <= reference < len(x):
        raise CausalError(f"reference: the index of a dose, 0 to {len(x) - 1}, expected, got {reference}")
    change = y - y[:, [reference]]
    band = paired(change, LEVEL / (len(x) - 1))
    centred = x - x.mean()
    return DoseResponse(
        doses=x,
        reference=reference,
        mean=y.mean(0),
        change=paired(change),
        band_low=band.low,
        band_high=band.high,
        steps=paired(y.diff(dim=1)),
        slope=paired(y @ centred / centred.square().sum()),
    )
