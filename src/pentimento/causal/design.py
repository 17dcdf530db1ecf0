"""How many samples: from a pilot, for an interval of the half-width that is wanted, which covers as often as it says.

    n0, s0 -> samples of the pilot, standard deviation of their d_i
    t -> 97.5 % of Student's t with n0 - 1 degrees of freedom
    h -> half-width that is wanted      N -> max(n0, (t s0 / h)^2 rounded up): samples in all, pilot included
    m -> mean d_i of all N samples      Stein's interval -> m -+ t s0 / sqrt(N), which is no wider than h

Who chooses N by looking and then counts as if N had been chosen blindly gets intervals that cover too seldom. In
Stein's (1945) the spread is the pilot's alone: the mean of normal differences does not depend on it, so that
``sqrt(N) (m - effect) / s0`` has Student's t whatever N became of s0, and the coverage is exact.

For differences that are not normal it is not: a pilot of 100 that misses a long tail asks for too few samples, and
goes on to count with too small a spread (92 % for lognormal differences of sigma 0.5). So the effect must hold against
the interval of all N samples as well, as `pentimento.causal.paired` gives it: the interval reaches as far as either,
and the p-value is the larger one. Where the pilot was too small to know, the interval is wider than h.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pentimento.causal.effects import PairedEffect, paired, student_p, student_quantile
from pentimento.causal.tables import table
from pentimento.errors import CausalError

__all__ = ["sample_size", "stein"]


def sample_size(pilot_differences: Tensor, half_width: float, at_most: int = 100_000) -> int:
    """N, enough for every intervention of the pilot.

    Args:
        pilot_differences: (n0, U), or (n0,) for one intervention; n0 >= 2.
        half_width: h, in the outcome's unit.
        at_most: samples that can be had.

    Raises:
        CausalError: a half-width that is not above zero, more samples than `at_most`, a pilot in which nothing varies,
            and as `pentimento.causal.paired`.
    """
    d = table(pilot_differences, "pilot_differences")
    if not (math.isfinite(half_width) and half_width > 0):
        raise CausalError(f"half_width: a number above 0 expected, got {half_width:g}")
    if at_most < len(d):
        raise CausalError(f"at_most: at least the {len(d)} samples of the pilot expected, got {at_most}")
    if bool((d == d[0]).all()):
        raise CausalError(
            f"pilot_differences: all {len(d)} are the same, which says nothing of the spread; draw a larger pilot, or "
            "choose an outcome or a dose that changes something"
        )
    reach = student_quantile(len(d) - 1) * float(d.std(0).max())  # half-width at one sample
    wanted = (reach / half_width) ** 2
    if wanted > at_most:
        raise CausalError(
            f"half_width: {half_width:g} takes {wanted:,.0f} samples, at most {at_most:,} are allowed; ask for "
            f"{_rounded_up(reach / math.sqrt(at_most)):g}, which these give, or allow more"
        )
    return max(len(d), math.ceil(wanted))


def _rounded_up(value: float) -> float:
    """To three digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return math.ceil(value / unit) * unit


def stein(pilot: Tensor, more: Tensor) -> PairedEffect:
    """The average effects from a pilot and the samples that `sample_size` asked for besides, see the module.

    The standard error is the larger of the two. An intervention whose differences are all the same in the pilot has no
    s0, and gets the interval of all samples alone.

    Args:
        pilot: d_i of the pilot, (n0, U) or (n0,); n0 >= 2.
        more: of the others, (N - n0, U) or (N - n0,); there may be none.

    Raises:
        CausalError: other interventions in `more` than in `pilot`, and as `pentimento.causal.paired`.
    """
    first, rest = table(pilot, "pilot"), table(more, "more", least=0)
    if first.shape[1] != rest.shape[1]:
        raise CausalError(f"more: {first.shape[1]} interventions expected, as in the pilot, got {rest.shape[1]}")
    every, freedom = torch.cat([first, rest]), len(first) - 1
    usual = paired(every)
    known = first.amax(0) > first.amin(0)
    error = torch.where(known, first.std(0) / math.sqrt(len(every)), 0.0)
    half = student_quantile(freedom) * error
    p_value = student_p(usual.mean / torch.where(known, error, 1.0), freedom)
    return PairedEffect(
        mean=usual.mean,
        standard_error=torch.maximum(error, usual.standard_error),
        low=torch.minimum(usual.mean - half, usual.low),
        high=torch.maximum(usual.mean + half, usual.high),
        p_value=torch.where(known, torch.maximum(p_value, usual.p_value), usual.p_value),
        count=len(every),
    )
