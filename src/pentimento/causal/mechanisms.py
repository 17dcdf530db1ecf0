"""How an attribute follows from its parents: x = f(parents, noise), with noise that does not depend on the parents.

    p -> parents, encoded (N, P); P = 0 for a root          x -> numbers float64 or codes int64, (N,)
    n -> noise: standard normal (N,) of a number, standard Gumbel (N, K) of a category with K levels

    Empirical      x = Q(Phi(n))                      Q: quantiles of what was seen; the only one for a root's numbers
    Additive       x = f(p) + Q(Phi(n))               f: linear or polynomial, fitted by DoWhy's additive noise model
    PostNonlinear  x = g(a(p) + s(p) H^-1(n))         see `pentimento.causal.flows`
    Categorical    x = argmax_k (log P(k | p) + n_k)  log P: frequencies, linear, or a small network

A number rises with its noise in each of the first three, so the noise is found from x and p (abduction), and n is the
same thing in all of them: which quantile x is of what its parents allow. The noise of a category is not determined by
it; abduction draws it from what is left, given the category (Oberst and Sontag 2019, section 3).

Parameters are kept, as JSON and tensors; DoWhy's fitted objects are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, cast

import torch
from torch import Tensor

from pentimento.causal.flows import Link, Logits, Network, Spline, bounds, from_unit, solve, to_unit, train
from pentimento.errors import MissingExtraError
from pentimento.runtime import seed_modules

__all__ = ["Additive", "Categorical", "Empirical", "Mechanism", "PostNonlinear", "fit_additive", "from_state"]

State = tuple[dict[str, Any], dict[str, Tensor]]
KNOTS = 1000
FEW = 200  # different numbers: then Q has a step for each
EDGE = 1e-9  # probabilities stay this far from 0 and 1


class Mechanism(Protocol):
    """What every mechanism does. `standard` are standard normal numbers, (N, *noise_shape), each row's own."""

    kind: ClassVar[str]

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Of one row's noise."""

    def predict(self, parents: Tensor, noise: Tensor) -> Tensor:
        """x of (N, P) and (N, *noise_shape)."""

    def abduct(self, parents: Tensor, x: Tensor, standard: Tensor) -> Tensor:
        """A noise that gives x; `standard` settles what x leaves open."""

    def draw(self, standard: Tensor) -> Tensor:
        """Noise of nothing in particular."""

    def to_state(self) -> State:
        """What `from_state` takes: values for JSON, and tensors."""


# ---------------------------------------------------------------------------------------------- numbers
class Empirical:
    """Quantiles of what was seen: straight between knots, and a step each where there are few different numbers.

    Args:
        shares: probabilities at the knots, (K,), never falling.
        knots: quantiles there, (K,), never falling.
    """

    kind: ClassVar[str] = "quantiles"
    noise_shape = ()

    def __init__(self, shares: Tensor, knots: Tensor) -> None:
        self.shares = shares
        self.knots = knots

    @classmethod
    def fit(cls, x: Tensor) -> Empirical:
        """To numbers (N,)."""
        distinct, counts = torch.unique(x, return_counts=True)
        if len(distinct) <= min(FEW, len(x) // 2):
            upper = counts.double().cumsum(0) / len(x)
            lower = torch.cat([torch.zeros(1, dtype=upper.dtype), upper[:-1]])
            return cls(torch.stack([lower, upper], 1).flatten(), distinct.repeat_interleave(2))
        ranks = torch.linspace(0, len(x) - 1, min(KNOTS, len(x)), dtype=torch.float64).round().long()
        return cls((ranks + 0.5) / len(x), x.sort().values[ranks])

    def quantile(self, share: Tensor) -> Tensor:
        """Q."""
        return _between(self.shares, self.knots, share)

    def predict(self, parents: Tensor, noise: Tensor) -> Tensor:
        """x of (N, 0) and (N,)."""
        return self.quantile(torch.special.ndtr(noise))

    def abduct(self, parents: Tensor, x: Tensor, standard: Tensor) -> Tensor:
        """Where Q is level, any probability would do: one is taken by lot."""
        first = torch.searchsorted(self.knots, x).clamp(max=len(self.knots) - 1)
        last = torch.searchsorted(self.knots, x, right=True).clamp(min=1) - 1
        hit = self.knots[first] == x
        between = _between(self.knots, self.shares, x)
        low, high = torch.where(hit, self.shares[first], between), torch.where(hit, self.shares[last], between)
        share = low + (high - low) * torch.special.ndtr(standard)
        noise: Tensor = torch.special.ndtri(share.clamp(EDGE, 1 - EDGE))
        return noise

    def draw(self, standard: Tensor) -> Tensor:
        """As it is."""
        return standard

    def to_state(self) -> State:
        """All of it is tensors."""
        return {}, {"shares": self.shares, "knots": self.knots}

    @classmethod
    def from_state(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Empirical:
        """See `to_state`."""
        return cls(**config, **tensors)


def _between(at: Tensor, values: Tensor, x: Tensor) -> Tensor:
    """Linear interpolation of `values` at `at`, neither falling; the ends go on level."""
    k = torch.searchsorted(at, x, right=True).clamp(1, len(at) - 1) - 1
    width = at[k + 1] - at[k]
    part = torch.where(width > 0, (x - at[k]) / torch.where(width > 0, width, 1.0), 1.0).clamp(0, 1)
    found: Tensor = values[k] + part * (values[k + 1] - values[k])
    return found


class Additive:
    """A polynomial of the parents plus noise of the same distribution everywhere.

    Args:
        powers: of each parent in each term, (T, P) int64.
        weights: of the terms, (T,).
        intercept: the constant term.
        noise: quantiles of the residuals.
    """

    kind: ClassVar[str] = "additive"
    noise_shape = ()

    def __init__(self, powers: Tensor, weights: Tensor, intercept: float, noise: Empirical) -> None:
        self.powers = powers
        self.weights = weights
        self.intercept = intercept
        self.noise = noise

    def mean(self, parents: Tensor) -> Tensor:
        """f(p), (N,)."""
        total = torch.full((len(parents),), self.intercept, dtype=torch.float64)
        for weight, power in zip(self.weights, self.powers, strict=True):
            used = power.nonzero()[:, 0]
            total += weight * torch.pow(parents[:, used], power[used]).prod(1)
        return total

    def predict(self, parents: Tensor, noise: Tensor) -> Tensor:
        """x of (N, P) and (N,)."""
        return self.mean(parents) + self.noise.quantile(torch.special.ndtr(noise))

    def abduct(self, parents: Tensor, x: Tensor, standard: Tensor) -> Tensor:
        """That of the residual."""
        return self.noise.abduct(parents, x - self.mean(parents), standard)

    def draw(self, standard: Tensor) -> Tensor:
        """As it is."""
        return standard

    def to_state(self) -> State:
        """The intercept is for JSON."""
        tensors = {"powers": self.powers, "weights": self.weights}
        return {"intercept": self.intercept}, {**tensors, **self.noise.to_state()[1]}

    @classmethod
    def from_state(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Additive:
        """See `to_state`."""
        noise = Empirical(tensors["shares"], tensors["knots"])
        return cls(tensors["powers"], tensors["weights"], float(config["intercept"]), noise)


def fit_additive(parents: Tensor, x: Tensor, degree: int) -> Additive:
    """DoWhy's additive noise model with a polynomial of `degree` in the parents, and its parameters read off.

    Raises:
        MissingExtraError: DoWhy is not installed.
    """
    try:
        from dowhy.gcm import AdditiveNoiseModel
        from dowhy.gcm.ml import create_polynom_regressor
    except ImportError as error:
        raise MissingExtraError('causal mechanisms need DoWhy: pip install "pentimento[causal]"') from error
    model = AdditiveNoiseModel(create_polynom_regressor(degree=degree))
    model.fit(parents.numpy(), x.numpy())
    terms, line = model.prediction_model.sklearn_model
    residual = torch.from_numpy(model.estimate_noise(x.numpy(), parents.numpy())).flatten()
    powers, weights = torch.from_numpy(terms.powers_).long(), torch.from_numpy(line.coef_).double()
    return Additive(powers, weights, float(line.intercept_), Empirical.fit(residual))


class PostNonlinear:
    """A flow, see `pentimento.causal.flows`.

    Args:
        network: place, spread and the spline's parameters.
        link: how the range is kept.
        low: the lower end of the range, see `bounds`.
        high: the upper end.
        centre: mean of g^-1(x).
        scale: its standard deviation.
    """

    kind: ClassVar[str] = "flow"
    noise_shape = ()

    def __init__(self, network: Network, link: Link, low: float, high: float, centre: float, scale: float) -> None:
        self.network = network.requires_grad_(False)
        self.link: Link = link
        self.low, self.high = low, high
        self.centre, self.scale = centre, scale

    @classmethod
    def fit(cls, parents: Tensor, x: Tensor, link: Link, seed: int) -> PostNonlinear:
        """By maximum likelihood."""
        low, high = bounds(x)
        z = to_unit(x, link, low, high)
        centre, scale = float(z.mean()), float(z.std())
        with torch.random.fork_rng(devices=[]):
            seed_modules(seed)
            network = Network(parents.shape[1])
        train(network, parents, (z - centre) / scale, seed)
        return cls(network, link, low, high, centre, scale)

    def predict(self, parents: Tensor, noise: Tensor) -> Tensor:
        """x of (N, P) and (N,)."""
        place, spread = self.network(parents)
        z = place + spread * Spline.of(self.network.raw).inverse(noise)
        return from_unit(self.centre + self.scale * z, self.link, self.low, self.high)

    def abduct(self, parents: Tensor, x: Tensor, standard: Tensor) -> Tensor:
        """All of it is determined."""
        place, spread = self.network(parents)
        z = (to_unit(x, self.link, self.low, self.high) - self.centre) / self.scale
        return Spline.of(self.network.raw)((z - place) / spread)[0]

    def draw(self, standard: Tensor) -> Tensor:
        """As it is."""
        return standard

    def to_state(self) -> State:
        """The network's weights are tensors."""
        numbers = {"low": self.low, "high": self.high, "centre": self.centre, "scale": self.scale}
        return {"link": self.link, **numbers}, dict(self.network.state_dict())

    @classmethod
    def from_state(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> PostNonlinear:
        """See `to_state`."""
        network = Network(tensors["straight.weight"].shape[1])
        network.load_state_dict(tensors)
        return cls(network, **config)


# -------------------------------------------------------------------------------------------- categories
class Categorical:
    """The largest of log-odds plus Gumbel noise (the Gumbel-max trick).

    Args:
        network: log-odds of the parents.
    """

    kind: ClassVar[str] = "categorical"

    def __init__(self, network: Logits) -> None:
        self.network = network.requires_grad_(False)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """One number a level."""
        return (len(self.network.bias),)

    @classmethod
    def fit(cls, parents: Tensor, codes: Tensor, levels: int, bends: bool, seed: int) -> Categorical:
        """By maximum likelihood; without parents these are the frequencies."""
        with torch.random.fork_rng(devices=[]):
            seed_modules(seed)
            network = Logits(parents.shape[1], levels, bends)
        # Half a row for each level besides: none is impossible, and the frequencies are where the training starts.
        counts = torch.bincount(codes, minlength=levels).double() + 0.5
        with torch.no_grad():
            network.bias.copy_((counts / counts.sum()).log())
        if bends:
            train(network, parents, codes, seed)
        elif parents.shape[1]:
            solve(network, parents, codes)
        return cls(network)

    def log_odds(self, parents: Tensor) -> Tensor:
        """log P(k | p), (N, K)."""
        return cast(Tensor, self.network(parents)).log_softmax(1)

    def predict(self, parents: Tensor, noise: Tensor) -> Tensor:
        """x of (N, P) and (N, K)."""
        return (self.log_odds(parents) + noise).argmax(1)

    def abduct(self, parents: Tensor, x: Tensor, standard: Tensor) -> Tensor:
        """From the noise's distribution given x: the largest is Gumbel, the others are Gumbel cut off there."""
        log_odds, gumbel = self.log_odds(parents), self.draw(standard)
        largest = gumbel.gather(1, x[:, None])  # of location log sum_k P(k | p) = 0
        cut = -torch.logaddexp(-largest, -(log_odds + gumbel))
        return cut.scatter(1, x[:, None], largest) - log_odds

    def draw(self, standard: Tensor) -> Tensor:
        """Standard Gumbel numbers."""
        return -torch.log(-torch.special.log_ndtr(standard))

    def to_state(self) -> State:
        """All of it is tensors."""
        return {"bends": self.network.body is not None}, dict(self.network.state_dict())

    @classmethod
    def from_state(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Categorical:
        """See `to_state`."""
        levels, parents = tensors["weight"].shape
        network = Logits(parents, levels, **config)
        network.load_state_dict(tensors)
        return cls(network)


_KINDS = {kind.kind: kind for kind in (Empirical, Additive, PostNonlinear, Categorical)}


def from_state(kind: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Mechanism:
    """A mechanism as `Mechanism.to_state` gave it.

    Raises:
        KeyError, TypeError, ValueError, RuntimeError: what was given is not that.
    """
    return _KINDS[kind].from_state(config, tensors)
