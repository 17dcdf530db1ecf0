"""Effects from what was only observed: estimators that adjust for what else differs, with intervals.

    y -> outcome, (N,)          t -> treatment: codes of levels 0 .. L - 1, or numbers, (N,)
    x, phi -> covariates, and `basis` of them, (N, P), the first column 1
    mu_a(x) -> mean outcome at level a;  e_a(x) -> probability of level a: the propensity
    Gamma_a -> score of level a, (N,), whose mean estimates the mean outcome had all rows had level a

Every estimator gives scores, one number a row: their mean is the estimate, and their spread its error, by Student's t:
see `averaged`. Two for levels, two for numbers:

- *standardisation*: mu_a by least squares among the rows at a, then averaged over all rows (Robins 1986; for
  experiments Lin 2013). Right where mu_a lies in the span of phi.
- *doubly robust*: ``Gamma_a = mu_a(x) + 1{t = a} (y - mu_a(x)) / e_a(x)`` (Robins, Rotnitzky and Zhao 1994), both
  cross-fitted (Chernozhukov et al. 2018). Right where either mu or e is.
- *regression*: y on t and phi, the slope of t.
- *orthogonal*: ``y - E[y | x]`` on ``t - E[t | x]``, both cross-fitted (Robinson 1988; Chernozhukov et al. 2018).

phi holds smooth curves of each covariate and products of pairs: an effect of covariates that jumps is not adjusted for.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import special
from torch import Tensor

from pentimento.causal.effects import LEVEL, PairedEffect, student_p, student_quantile
from pentimento.runtime import derive_seed

__all__ = [
    "FOLDS",
    "Instrumental",
    "Scores",
    "Variable",
    "averaged",
    "basis",
    "doubly_robust",
    "front_door",
    "instrument",
    "orthogonal",
    "regression",
    "standardisation",
]

FOLDS = 5
KNOTS = (0.05, 0.275, 0.5, 0.725, 0.95)  # quantiles (Harrell 2015, table 2.3)
LEAST_PROPENSITY = 0.01  # of a row at the level that it has: no row counts for more than 100
ROWS_A_COLUMN = 10  # of phi, in the smallest level (Peduzzi et al. 1996)
MOST_COLUMNS = 100
SAME = 1e-6  # standard deviations of a column that others leave, below which it is theirs
PENALTIES = tuple(10.0**k for k in range(-3, 5))


@dataclass(frozen=True)
class Variable:
    """A column of a table.

    Args:
        name: of it.
        values: (N,) float64: numbers, or codes of `levels`.
        levels: names of the codes 0, 1, ...; empty for a number.
    """

    name: str
    values: Tensor
    levels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scores:
    """What an estimator says of each row.

    Args:
        values: (N, K): of level a, or of treatment k; their mean is the estimate.
        propensities: e_a, (N, L), of the estimator that has them; for numbers the share of the treatment that x does
            not explain, (1, 1); else None.
    """

    values: Tensor
    propensities: Tensor | None = None


def averaged(scores: Tensor, level: float = LEVEL) -> PairedEffect:
    """The mean of scores with Student's interval.

    `pentimento.causal.paired`, which also takes skewness out, is not used: rows of large weight skew scores more than
    their mean. With it, doubly robust intervals of 500 rows were a quarter wider, and covered no more than 1 % more.

    Args:
        scores: (N,).
        level: the interval is of 1 - level.
    """
    mean, error = scores.mean()[None], scores.std()[None] / len(scores) ** 0.5
    half = student_quantile(len(scores) - 1, level) * error
    p_value = student_p(mean / error.clamp(min=1e-300), len(scores) - 1)
    return PairedEffect(mean, error, mean - half, mean + half, p_value, len(scores))


# --------------------------------------------------------------------------------------------- covariates
def basis(variables: Sequence[Variable], count: int, least: int) -> Tensor:
    """phi, (N, P): 1, each variable, and as many of their curves and products as `least` rows carry.

    A number gives itself and a natural cubic spline with five knots, a category 0 or 1 for each level but the first.
    Columns are centred, of unit variance, and none is a combination of those before.

    Args:
        variables: that are adjusted for.
        count: N.
        least: rows of the smallest level of the treatment, or N.
    """
    mains = [main for each in variables for main in _main(each)]
    most = max(2, min(least // ROWS_A_COLUMN, MOST_COLUMNS))
    splines = [_curves(each.values) for each in variables if not each.levels]
    curves = [curve for turn in itertools.zip_longest(*splines) for curve in turn if curve is not None]
    products = [a * b for a, b in itertools.combinations([_scaled(m) for m in mains], 2)]
    chosen = [torch.ones(count, dtype=torch.float64)]
    axes = chosen[0][:, None] / count**0.5  # orthonormal, of the same span as what is chosen
    for extra, forced in [*((m, True) for m in mains), *((c, False) for c in [*curves, *products])]:
        if len(chosen) >= most and not forced:
            break
        scaled = _scaled(extra)
        rest = scaled - axes @ (axes.T @ scaled)
        rest -= axes @ (axes.T @ rest)  # twice is enough (Giraud et al. 2005)
        if float(rest.std()) > SAME:
            chosen.append(scaled)
            axes = torch.cat([axes, rest[:, None] / rest.norm()], 1)
    return torch.stack(chosen, 1)


def _main(variable: Variable) -> list[Tensor]:
    if not variable.levels:
        return [variable.values]
    return [(variable.values == code).double() for code in range(1, len(variable.levels))]


def _scaled(values: Tensor) -> Tensor:
    return (values - values.mean()) / values.std().clamp(min=1e-300)


def _curves(values: Tensor) -> list[Tensor]:
    """A natural cubic spline less its line: linear beyond the outer knots (Hastie et al. 2009, section 5.2.1)."""
    x = _scaled(values)
    knots = sorted({float(k) for k in np.quantile(x.numpy(), KNOTS)})
    if len(knots) < 3:
        return []
    cubes = [((x - k).clamp(min=0) ** 3 - (x - knots[-1]).clamp(min=0) ** 3) / (knots[-1] - k) for k in knots[:-1]]
    return [cube - cubes[-1] for cube in cubes[:-1]]


# ----------------------------------------------------------------------------------- treatments with levels
def standardisation(y: Tensor, t: Tensor, phi: Tensor) -> Scores:
    """``Gamma_a = phi' b_a + 1{t = a} N m' G_a phi (y - phi' b_a) / (1 - h)``, b_a by least squares among rows at a.

    m is the mean of phi, G_a the inverse of ``sum phi phi'`` over rows at a, h the leverage: residuals are enlarged as
    in HC3 (MacKinnon and White 1985), for least squares makes them too small. Without covariates the contrast is the
    difference of the means, and its error Welch's but for 1 / N.

    Args:
        y: (N,).
        t: codes, (N,); at least two rows of each level.
        phi: see `basis`.
    """
    values = []
    for level in range(int(t.max()) + 1):
        here = t == level
        inverse = torch.linalg.pinv(phi[here].T @ phi[here], hermitian=True)
        b = inverse @ (phi[here].T @ y[here])
        leverage = (phi[here] @ inverse * phi[here]).sum(1).clamp(max=0.99)
        weights = len(y) * (phi[here] @ (inverse @ phi.mean(0)))
        fitted = phi @ b
        gamma = fitted.clone()
        gamma[here] += weights * (y[here] - fitted[here]) / (1 - leverage)
        values.append(gamma - gamma.mean() + fitted.mean())
    return Scores(torch.stack(values, 1))


def doubly_robust(y: Tensor, t: Tensor, phi: Tensor, seed: int = 0) -> Scores:
    """Gamma_a of the module, and e; mu by ridge regression, e by a logistic one.

    Args:
        y: (N,).
        t: codes, (N,); at least `FOLDS` rows of each level.
        phi: see `basis`.
        seed: of the folds.
    """
    levels = int(t.max()) + 1
    means = torch.zeros(len(y), levels, dtype=torch.float64)
    propensities = torch.zeros_like(means)
    for held in _folds(t, seed):
        rest = torch.ones(len(y), dtype=torch.bool)
        rest[held] = False
        propensities[held] = _logistic(phi[rest], t[rest], phi[held])
        for level in range(levels):
            here = rest & (t == level)
            means[held, level] = _ridge(phi[here], y[here, None], phi[held])[:, 0]
    has = torch.nn.functional.one_hot(t.long(), levels).double()
    values = means + has * (y[:, None] - means) / propensities.clamp(min=LEAST_PROPENSITY)
    return Scores(values, propensities)


# -------------------------------------------------------------------------------- treatments that are numbers
def regression(y: Tensor, t: Tensor, phi: Tensor) -> Scores:
    """Slopes of y on the columns of t, beside phi, by least squares; residuals enlarged as in HC3.

    Args:
        y: (N,).
        t: (N, K).
        phi: see `basis`.
    """
    unit = t.std(0).clamp(min=1e-300)
    both = torch.cat([(t - t.mean(0)) / unit, phi], 1)
    b = torch.linalg.lstsq(both, y[:, None], driver="gelsd").solution[:, 0]
    inverse = torch.linalg.pinv(both.T @ both, hermitian=True)
    leverage = (both @ inverse * both).sum(1).clamp(max=0.99)
    influence = len(y) * (both @ inverse) * ((y - both @ b) / (1 - leverage))[:, None]
    slopes = influence[:, : t.shape[1]]
    return Scores((slopes - slopes.mean(0) + b[: t.shape[1]]) / unit)


def orthogonal(y: Tensor, t: Tensor, phi: Tensor, seed: int = 0) -> Scores:
    """Slopes of ``y - E[y | x]`` on the columns of ``t - E[t | x]``, both expectations cross-fitted ridge regressions.

    Args:
        y: (N,).
        t: (N, K).
        phi: see `basis`.
        seed: of the folds.
    """
    unit = t.std(0).clamp(min=1e-300)
    both = torch.cat([y[:, None], (t - t.mean(0)) / unit], 1)
    rest_of = torch.zeros_like(both)
    for held in _folds(torch.zeros(len(y)), seed):
        rest = torch.ones(len(y), dtype=torch.bool)
        rest[held] = False
        rest_of[held] = both[held] - _ridge(phi[rest], both[rest], phi[held])
    v, u = rest_of[:, 1:], rest_of[:, 0]
    inverse = torch.linalg.pinv(v.T @ v, hermitian=True)
    b = inverse @ (v.T @ u)
    values = b + len(y) * (v @ inverse) * (u - v @ b)[:, None]
    unexplained = v.square().mean(0) / both[:, 1:].square().mean(0)
    return Scores(values / unit, unexplained[:1, None])


# --------------------------------------------------------------------------------------- without adjustment
def front_door(first: Tensor, second: Tensor) -> Tensor:
    """Scores, (N,), of ``sum_k a_k b_k``: through mediators, of which y depends on the k-th by b_k a unit (Pearl 1995).

    By the delta method: ``s = sum_k (A_k b_k + a_k B_k - a_k b_k)`` with a, b the means of A and B. So mediators do not
    modify each other's or the treatment's part in y.

    Args:
        first: A, (N, K): scores of the effect of the treatment on each mediator.
        second: B, (N, K): scores of the slopes of y on the mediators, beside the treatment.
    """
    a, b = first.mean(0), second.mean(0)
    return (first * b + a * second - a * b).sum(1)


@dataclass(frozen=True)
class Instrumental:
    """What instruments say.

    Args:
        scores: (N,) of two-stage least squares.
        low: lower end of Anderson and Rubin's interval; both ends are infinite where the instruments are too weak.
        high: upper end.
        p_value: theirs, of no effect.
        strength: F of the first stage, robust to unequal variances: below 10 the scores' own interval is too narrow.
    """

    scores: Tensor
    low: float
    high: float
    p_value: float
    strength: float


def instrument(y: Tensor, t: Tensor, z: Tensor, level: float = LEVEL) -> Instrumental:
    """``b = cov(y, p) / cov(t, p)`` with p the projection of t on the instruments (Wright 1928; Theil 1953).

    Anderson and Rubin (1949): all b at which the instruments do not explain ``y - b t`` at `level`, which is right
    however weak they are. Of one instrument, whatever the spread of ``y - b t`` beside it (White 1980); several take
    that spread to be equal. With several it may be empty, where they contradict each other; it is then told from the
    estimate to itself.

    Args:
        y: (N,).
        t: (N,).
        z: instruments, (N, K), none of them constant.
        level: the interval is of 1 - level.
    """

    y, t, z = (v - v.mean(0) for v in (y, t, z / z.std(0)))
    count, k = z.shape
    inverse = torch.linalg.pinv(z.T @ z, hermitian=True)
    p = z @ (inverse @ (z.T @ t))
    b = float(p @ y / (p @ t))
    scores = b + count * p * (y - b * t) / float(p @ t)
    pi, rest = inverse @ (z.T @ t), t - p
    spread = inverse @ (z.T @ (z * rest.square()[:, None])) @ inverse
    strength = float(pi @ torch.linalg.pinv(spread, hermitian=True) @ pi) / k
    # In u = y - b t: explained(u, u) <= c left(u, u), a quadratic in b.
    freedom = count - k - 1
    c = float(special.fdtri(k, freedom, 1 - level)) * k / freedom
    hat = z @ inverse

    def explained(u: Tensor, v: Tensor) -> float:
        return float((u @ hat) @ (z.T @ v))

    def left(u: Tensor, v: Tensor) -> float:
        u, v = (w - hat @ (z.T @ w) for w in (u, v))
        if k > 1:
            return float(u @ v)
        return float((z[:, 0].square() * u) @ v / z.square().mean())  # rows may scatter more where z is far out

    def form(u: Tensor, v: Tensor) -> float:
        return explained(u, v) - c * left(u, v)

    p_value = float(special.fdtrc(k, freedom, explained(y, y) / k / max(left(y, y), 1e-300) * freedom))
    square, middle, constant = form(t, t), form(t, y), form(y, y)
    inside = middle**2 - square * constant
    if square <= 0:
        return Instrumental(scores, -float("inf"), float("inf"), p_value, strength)
    half = max(inside, 0.0) ** 0.5
    low, high = (b, b) if inside < 0 else ((middle - half) / square, (middle + half) / square)
    return Instrumental(scores, low, high, p_value, strength)


# ---------------------------------------------------------------------------------------------------- parts
def _folds(t: Tensor, seed: int) -> list[Tensor]:
    """Indices of `FOLDS` parts, with a like share of each level in all."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "folds"))
    order = torch.randperm(len(t), generator=generator)
    order = order[torch.argsort(t[order], stable=True)]
    return [order[k::FOLDS] for k in range(FOLDS)]


def _ridge(phi: Tensor, y: Tensor, where: Tensor) -> Tensor:
    """(M, K) predictions at `where` (M, P), with the penalty that leaves out one row at a time best."""
    centre, mean = phi.mean(0), y.mean(0)
    u, scale, v = torch.linalg.svd(phi - centre, full_matrices=False)
    turned = u.T @ (y - mean)
    best, kept = float("inf"), turned
    for penalty in PENALTIES:
        shrunk = (scale.square() / (scale.square() + penalty))[:, None] * turned
        leverage = u.square() @ (scale.square() / (scale.square() + penalty)) + 1 / len(y)
        error = float(((y - mean - u @ shrunk) / (1 - leverage.clamp(max=0.99))[:, None]).square().mean())
        if error < best:
            best, kept = error, (scale / (scale.square() + penalty))[:, None] * turned
    predicted: Tensor = mean + (where - centre) @ (v.T @ kept)
    return predicted


def _logistic(phi: Tensor, t: Tensor, where: Tensor) -> Tensor:
    """(M, L) probabilities at `where` (M, P)."""
    if phi.shape[1] == 1:
        return (torch.bincount(t.long()).double() / len(t)).expand(len(where), -1)
    from sklearn.linear_model import LogisticRegression

    # Penalised a little, so that it ends where a covariate tells the level for certain.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a step that falls back to another solver
        model = LogisticRegression(C=10.0, solver="newton-cholesky").fit(phi[:, 1:].numpy(), t.long().numpy())
    return torch.from_numpy(model.predict_proba(where[:, 1:].numpy()))
