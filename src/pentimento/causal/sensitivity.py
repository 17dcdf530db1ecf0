"""How strong would a cause that nobody measured have to be, to take an effect away? (Cinelli and Hazlett 2020)

t, b, s, f -> treatment, its slope in a linear regression, the standard error of that, degrees of freedom
U -> the unmeasured cause
R_t, R_y -> share of what the covariates leave of t, and the covariates and t of y, that U explains
bias -> s sqrt(f R_y R_t / (1 - R_t))
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from pentimento.causal.effects import LEVEL, student_quantile
from pentimento.causal.records import Refutation

__all__ = ["robustness_value", "unmeasured_cause"]


def robustness_value(t_value: float, freedom: int, level: float | None = None) -> float:
    """R at which a cause with ``R_t = R_y = R`` makes the estimate zero, in [0, 1] (their equation 17).

    Args:
        t_value: of the slope, ``b / s``.
        freedom: f.
        level: instead, R at which the effect is no longer found at this level.

    >>> round(robustness_value(4.18, 783), 3), round(robustness_value(4.18, 783, 0.05), 3)  # their example, Darfur
    (0.139, 0.076)
    """
    f = abs(t_value) / math.sqrt(freedom)
    if level is not None:
        f -= student_quantile(freedom - 1, level) / math.sqrt(freedom - 1)
    if f <= 0:
        return 0.0
    return (math.sqrt(f**4 + 4 * f**2) - f**2) / 2


def unmeasured_cause(
    y: Tensor, t: Tensor, phi: Tensor, without: Mapping[str, Tensor], level: float = LEVEL
) -> Refutation:
    """Does the effect withstand an unmeasured cause as strong as the strongest covariate?

    Fails: a cause that explains as much of what is left of t and y as one of the covariates does (their section 4.4,
    with k = 1) leaves no effect at `level`. Without covariates to hold it against, it fails where the effect is not
    found to begin with.

    Misses a confounder that is stronger than all that was measured. False alarm: where a measured cause is so strong
    that no unmeasured one can be like it.

    Args:
        y: (N,).
        t: (N,), 0 and 1 or numbers.
        phi: of all covariates, (N, P), the first column 1.
        without: name of a covariate -> phi of the others.
        level: of the test.
    """
    slope, error, freedom = _slope(y, t, phi)
    value, value_level = (robustness_value(slope / error, freedom, at) for at in (None, level))
    left = {name: _left(y, t, phi, rest, level) for name, rest in without.items()}
    hardest = min(left, key=lambda name: left[name], default="")
    passed = left[hardest] > 0 if left else value_level > 0
    beside = f"; one as strong as {hardest} is {'not ' if passed else ''}enough to hide it" if left else ""
    figures = {"robustness": value, "robustness_found": value_level}
    if left:
        figures["left_at_strongest"] = left[hardest]
    return Refutation(
        "unmeasured cause",
        passed,
        figures,
        f"a cause would have to explain {value:.0%} of what is left of both treatment and outcome to bring it to zero, "
        f"{value_level:.0%} to hide it{beside}",
    )


def _slope(y: Tensor, t: Tensor, phi: Tensor) -> tuple[float, float, int]:
    """b, s and f."""
    freedom = len(y) - phi.shape[1] - 1
    u, v = _rest(y, phi), _rest(t, phi)
    square = float(v @ v)
    slope = float(v @ u) / square
    return slope, math.sqrt(float((u - slope * v).square().sum()) / freedom / square), freedom


def _rest(values: Tensor, phi: Tensor) -> Tensor:
    rest: Tensor = values - phi @ torch.linalg.lstsq(phi, values[:, None], driver="gelsd").solution[:, 0]
    return rest


def _explained(values: Tensor, phi: Tensor, others: Tensor) -> float:
    """Share of what `others` leave of `values` that the rest of phi explains."""
    whole = float(_rest(values, others).square().sum())
    return min(max(0.0, 1 - float(_rest(values, phi).square().sum()) / whole), 0.999) if whole else 0.0


def _left(y: Tensor, t: Tensor, phi: Tensor, others: Tensor, level: float) -> float:
    """What a cause like the covariate leaves of the end of the interval nearest to zero, on the side of the effect."""
    slope, error, freedom = _slope(y, t, phi)
    d = _explained(t, phi, others)
    o = _explained(y, torch.cat([t[:, None], phi], 1), torch.cat([t[:, None], others], 1))
    r_t = min(d / (1 - d), 0.999)
    shared = min(d * d / (1 - d) ** 2, 0.999)  # of the cause with the covariate, given t
    r_y = min((1 + math.sqrt(shared)) ** 2 / (1 - shared) * o / (1 - o), 1.0)
    bias = error * math.sqrt(freedom * r_y * r_t / (1 - r_t))
    wider = error * math.sqrt((1 - r_y) / (1 - r_t) * freedom / (freedom - 1))
    return abs(slope) - bias - student_quantile(freedom - 1, level) * wider
