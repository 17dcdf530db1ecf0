"""What pictures would have been, had something been otherwise: abduction, action, prediction (Pearl 2009, chapter 7).

    x, a, p -> a picture, its attributes, those of them that act on the picture
    z = E(x, p)          r = x - D(z, p)          n -> noise of the attributes, see `StructuralModel`
    abduction            z, r and n: what about this picture its attributes do not say
    action, prediction   a' of n with what is set;  x' = D(z, p') + r, cut to [0, 1]

E and D are the encoder and the decoder of the image model. D draws what the model knows of the picture, r is what it
does not know, and is carried over (Pawlowski et al. 2020, section 3.2). So a picture in which nothing is set comes back
as it was, to the last bit. Where the action moves things, r leaves traces of where they were; without it (``residual``
off) x' is what the model draws, somewhat blurred.

    total effect      of what is set, with all that follows from it
    direct effect     with what follows held at its factual value (``hold``)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy import special
from torch import Tensor

from pentimento.causal.scm import Row
from pentimento.errors import CausalError, suggest
from pentimento.interventions.words import named
from pentimento.model import Condition
from pentimento.sampling import SAMPLE_CHUNK
from pentimento.studies.scm import IMAGE, World
from pentimento.tasks.invert import FLAT, MISSED

__all__ = [
    "Abducted",
    "Columns",
    "Counterfactual",
    "abduct",
    "as_row",
    "counterfactual",
    "predict",
    "read_values",
    "take",
    "warnings_of",
]

UNUSUAL = 3.0  # standard deviations of noise
FAR = 0.999  # of pictures have a latent that is nearer to 0
Columns = dict[str, Tensor | list[str]]  # by attribute: numbers (N,) float64, or N names


@dataclass(frozen=True)
class Abducted:
    """What is kept of N pictures, whatever is set.

    Args:
        images: (N, C, H, W), of the model's size.
        values: the attributes.
        noise: of the attributes: standard normal (N,) of a number, Gumbel (N, K) of a category.
        latent: z, (N, D).
        reconstruction: D(z, p), (N, C, H, W).
        seed: of the noise of categories, which the attributes leave open.
    """

    images: Tensor
    values: Columns
    noise: Mapping[str, Tensor]
    latent: Tensor
    reconstruction: Tensor
    seed: int

    @property
    def residual(self) -> Tensor:
        """r, (N, C, H, W)."""
        return self.images - self.reconstruction

    @property
    def missed(self) -> Tensor:
        """Mean square of r as a share of the picture's variance, (N,)."""
        variance = self.images.flatten(1).var(1, correction=0).clamp(min=FLAT)
        return self.residual.square().flatten(1).mean(1) / variance


@dataclass(frozen=True)
class Counterfactual:
    """N pictures as they would have been.

    Args:
        abducted: what was kept.
        do: what was set, by name.
        hold: attributes that were held at their factual values.
        values: the attributes then.
        images: x', (N, C, H, W) in [0, 1].
        residual: whether r was carried over.
    """

    abducted: Abducted
    do: Mapping[str, Any]
    hold: tuple[str, ...]
    values: Columns
    images: Tensor
    residual: bool


# ------------------------------------------------------------------------------------------- the three steps
def abduct(world: World, images: Tensor, values: Row, seed: int = 0) -> Abducted:
    """What of these pictures is kept, whatever is set.

    Args:
        world: the model.
        images: (N, C, H, W) in [0, 1], of its size.
        values: of every attribute, N or one for all.
        seed: of the noise of categories.

    Raises:
        CausalError: pictures of another shape, an attribute without a value, and as `StructuralModel.abduct`.
    """
    spec = world.model.spec
    if images.ndim != 4 or tuple(images.shape[1:]) != spec.image_shape:
        raise CausalError(f"images: (N, {', '.join(map(str, spec.image_shape))}) expected, got {tuple(images.shape)}")
    columns = _columns(world, values, len(images))
    noise, condition = world.attributes.abduct(columns, seed), world.condition(columns)
    model: Any = world.model
    latent = _in_chunks(model.encode, images.to(model.device), condition)
    made = _in_chunks(model.decode, latent, condition)
    return Abducted(images.cpu(), columns, noise, latent.cpu(), made.float().clamp(0, 1).cpu(), seed)


def predict(
    world: World, abducted: Abducted, do: Row, hold: Sequence[str] = (), residual: bool = True
) -> Counterfactual:
    """The pictures with `do` set and all else about them as it was.

    Args:
        world: the model.
        abducted: from `abduct`.
        do: values to set, one or N of each; none: the null intervention.
        hold: attributes that stay as they were, though what is set acts on them.
        residual: carry over what the model does not know of a picture.

    Raises:
        CausalError: an unknown name, with its neighbours; an attribute that is both set and held; and as
            `StructuralModel.counterfactual`.
    """
    _known(world, "--do", do)
    _known(world, "--hold", hold)
    if both := [name for name in hold if name in do]:
        raise CausalError(f"--hold: {both[0]} is what --do sets; leave one of the two out")
    forced = {**do, **{name: abducted.values[name] for name in hold}}
    values = world.attributes.counterfactual(abducted.values, forced, abducted.seed)
    condition = world.condition(values)
    model: Any = world.model
    made = _in_chunks(model.decode, abducted.latent.to(model.device), condition)
    made = made.float().clamp(0, 1).cpu()
    if residual:
        same = _unchanged(world, abducted.values, values)[:, None, None, None]
        made = torch.where(same, abducted.images, (made + abducted.residual).clamp(0, 1))
    return Counterfactual(abducted, dict(do), tuple(hold), values, made, residual)


def counterfactual(
    world: World,
    images: Tensor,
    values: Row,
    do: Row,
    hold: Sequence[str] = (),
    residual: bool = True,
    seed: int = 0,
) -> Counterfactual:
    """All three steps; arguments and errors as of `abduct` and `predict`."""
    return predict(world, abduct(world, images, values, seed), do, hold, residual)


@torch.no_grad()
def _in_chunks(function: Callable[[Tensor, Condition], Tensor], x: Tensor, condition: Condition) -> Tensor:
    """`function` of `SAMPLE_CHUNK` rows at a time, the last ones padded: so a row is the same in any company."""
    parts = []
    for begin in range(0, len(x), SAMPLE_CHUNK):
        rows = list(range(begin, min(begin + SAMPLE_CHUNK, len(x))))
        padded = rows + rows[-1:] * (SAMPLE_CHUNK - len(rows))
        parts.append(function(x[padded], condition[padded])[: len(rows)])
    return torch.cat(parts)


def _columns(world: World, values: Row, count: int) -> Columns:
    """`values` as columns of `count` rows; one value stands for all of them."""
    _known(world, "--attribute", values)
    columns: Columns = {}
    for name in world.attributes.graph.nodes:
        if name not in values:
            raise CausalError(f"--attribute: a value of {name} is missing; every attribute of the graph needs one")
        attribute = world.attributes.attributes[name]
        found = attribute.read(values[name])
        if len(found) not in (1, count):
            raise CausalError(f"{name}: one value, or {count}, one a picture, expected, got {len(found)}")
        columns[name] = attribute.write(found.expand(count))
    return columns


def _known(world: World, option: str, names: Mapping[str, Any] | Sequence[str]) -> None:
    nodes = world.attributes.graph.nodes
    for name in names:
        if name == IMAGE:
            raise CausalError(f"{option}: {IMAGE} is the picture itself; name one of {', '.join(nodes)}")
        if name not in nodes:
            raise CausalError(f"{option}: the model has no attribute {name!r}; {suggest(name, nodes)}")


def _unchanged(world: World, before: Columns, after: Columns) -> Tensor:
    """Rows in which nothing that acts on the picture has changed, (N,)."""
    same = torch.tensor(True)
    for name in world.parents:
        read = world.attributes.attributes[name].read
        same = same & (read(before[name]) == read(after[name]))
    return same


# -------------------------------------------------------------------------------------------- words and rows
def read_values(world: World, given: Mapping[str, str | float], option: str) -> dict[str, float | str]:
    """What a user gave, as numbers and names of categories.

    Args:
        world: the model.
        given: by name of the attribute.
        option: that it was given with, for messages.

    Raises:
        CausalError: an unknown name, with its neighbours; a category that was never seen; a number that is none.
    """
    _known(world, option, given)
    read: dict[str, float | str] = {}
    for name, value in given.items():
        attribute = world.attributes.attributes[name]
        if attribute.levels:
            text = named(value, attribute.levels)
            if text not in attribute.levels:
                raise CausalError(f"{option} {name}: no category {text!r}; {suggest(text, attribute.levels)}")
            read[name] = text
            continue
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            span = f"{attribute.low:g} to {attribute.high:g}"
            raise CausalError(f"{option} {name}: a number, {span} was seen, expected, got {value!r}")
        read[name] = number
    return read


def as_row(values: Columns, row: int) -> dict[str, float | str]:
    """One row of columns."""
    return {n: v if isinstance(v := column[row], str) else float(v) for n, column in values.items()}


def take(values: Columns, rows: Sequence[int]) -> Columns:
    """Some rows of columns."""
    return {
        name: column[list(rows)] if isinstance(column, Tensor) else [column[row] for row in rows]
        for name, column in values.items()
    }


def warnings_of(world: World, found: Counterfactual) -> list[str]:
    """What makes the answer doubtful: values and noise that were never or seldom seen, a picture the model misses."""
    kept, attributes = found.abducted, world.attributes
    lines = [f"factual {line}" for line in attributes.check(kept.values)]
    lines += attributes.check({name: found.values[name] for name in attributes.graph.nodes if name in found.do})
    followed = [name for name in attributes.graph.nodes if name not in found.do and name not in found.hold]
    lines += [f"it follows that {line}" for line in attributes.check({name: found.values[name] for name in followed})]
    for name, noise in kept.noise.items():
        worst = float(noise.abs().max()) if noise.ndim == 1 else 0.0
        if worst > UNUSUAL:
            lines.append(
                f"{name}: its noise is {worst:.1f} standard deviations, so its causes explain it badly and what "
                "follows from them is a guess"
            )
    far = math.sqrt(2 * float(special.gammaincinv(kept.latent.shape[1] / 2, FAR)))
    norm = float(kept.latent.norm(dim=1).max())
    if norm > far:
        lines.append(f"latent: of length {norm:.1f}; 1 picture of 1,000 goes beyond {far:.1f}: an odd picture")
    if float(kept.missed.max()) > MISSED:
        missed = f"{min(float(kept.missed.max()), 1.0):.0%} of what varies, more than {MISSED:.0%}"
        lines.append(f"the model makes this picture badly: it misses {missed}")
    return list(dict.fromkeys(lines))
