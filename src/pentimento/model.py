"""The contracts: what data offers, and what a model is to the loop that trains it.

An image batch is float32, RGB or one channel, (N, C, H, W), values in [0, 1], sRGB-encoded. Networks centre and
scale inside themselves.

Training sees a model as *players* and one method, ``loss(player, batch, draws)``. Everything else sees the small
protocols of `pentimento.capabilities` and asks for those, never for a class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from pentimento.errors import ModelError, suggest
from pentimento.runtime import Draws

__all__ = [
    "Attribute",
    "Batch",
    "Condition",
    "DataSpec",
    "Model",
    "Origin",
    "Player",
]


# ------------------------------------------------------------------------------------------------- data
Tensors = TypeVar("Tensors", "Condition", "Batch")


class Attribute(BaseModel):
    """One named quantity that every picture of a data set has.

    A numeric attribute is a float within [low, high] over the data. A categorical one is the index into `values`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Literal["numeric", "categorical"] = "numeric"
    low: float = 0.0
    high: float = 1.0
    values: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """How many numbers it takes to tell a network: 1, or one per value."""
        return len(self.values) if self.kind == "categorical" else 1


class DataSpec(BaseModel):
    """What a data set offers, and what a model trained on it takes: part of every model's config."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: Literal[1, 3]
    height_px: Annotated[int, Field(ge=1)]
    width_px: Annotated[int, Field(ge=1)]
    classes: tuple[str, ...] = ()
    attributes: tuple[Attribute, ...] = ()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        return (self.channels, self.height_px, self.width_px)

    def class_index(self, name: str) -> int:
        """The index of the class called `name`.

        Raises:
            ModelError: there is no such class.
        """
        if name not in self.classes:
            raise ModelError(f"label: unknown class {name!r}; {suggest(name, self.classes)}")
        return self.classes.index(name)

    def attribute(self, name: str) -> Attribute:
        """The attribute called `name`.

        Raises:
            ModelError: there is no such attribute.
        """
        for attribute in self.attributes:
            if attribute.name == name:
                return attribute
        raise ModelError(f"attribute: unknown name {name!r}; {suggest(name, (a.name for a in self.attributes))}")


@dataclass(frozen=True)
class Condition:
    """What a conditional model is told about each sample.

    Args:
        labels: (N,) int64 class indices, or None.
        attributes: (N, A) float32 in the units of the data (categorical: as index), in the order of the spec, or None.
        mechanisms: (N, M) int64 class indices, one for each of `Model.mechanisms`, or None: all as `labels`.
    """

    labels: Tensor | None = None
    attributes: Tensor | None = None
    mechanisms: Tensor | None = None

    def to(self, device: Any) -> Condition:
        """The same on `device`."""
        return _map_tensors(self, lambda t: t.to(device, non_blocking=True))

    def __getitem__(self, rows: Any) -> Condition:
        return _map_tensors(self, lambda t: t[rows])


@dataclass(frozen=True)
class Batch:
    """Named tensors for N pictures; what a data set does not have is None.

    Args:
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64.
        attributes: (N, A) float32, see `Condition`.
        masks: (N, 1, H, W) float32 in [0, 1].
        targets: (N, C', H', W') float32 in [0, 1]: what `images` should become, or pictures of the second set.
        strengths: (N, 1, H, W) float32 in [0, 1]: how badly each pixel of `images` was damaged, see `Restores`.
    """

    images: Tensor
    labels: Tensor | None = None
    attributes: Tensor | None = None
    masks: Tensor | None = None
    targets: Tensor | None = None
    strengths: Tensor | None = None

    @property
    def condition(self) -> Condition:
        """Labels and attributes."""
        return Condition(self.labels, self.attributes)

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: Any) -> Batch:
        """The same on `device`."""
        return _map_tensors(self, lambda t: t.to(device, non_blocking=True))


def _map_tensors(record: Tensors, function: Callable[[Tensor], Tensor]) -> Tensors:
    values = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    changed: Tensors = dataclasses.replace(record, **{k: function(v) for k, v in values.items() if v is not None})
    return changed


# ------------------------------------------------------------------------------------------------ models
@dataclass(frozen=True)
class Player:
    """One side of the game that training is. The numbers are the family's defaults; a recipe may override them.

    Args:
        name: e.g. ``"generator"``.
        modules: names of the model's submodules that this player trains.
        optimizer: ``"adam"``, ``"adamw"`` or ``"sgd"``.
        lr: learning rate at its height.
        betas: of Adam; the first is the momentum of SGD.
        weight_decay: decoupled for AdamW, L2 otherwise.
        updates_per_step: updates per training step, each on a batch of its own.
        ships: whether its modules belong to the finished model.
        compiles: False where the loss differentiates twice, which ``torch.compile`` cannot do.
    """

    name: str
    modules: tuple[str, ...]
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    updates_per_step: int = 1
    ships: bool = True
    compiles: bool = True


@dataclass(frozen=True)
class Origin:
    """Where a loaded model came from: what provenance says of it, and what its card says of its training data."""

    name: str
    weights_sha256: str
    licence: str = ""

    @property
    def is_restricted(self) -> bool:
        """Whether the training data were for research or for non-commercial use."""
        return any(word in self.licence.lower() for word in ("research", "non-commercial", "noncommercial"))


class Model(nn.Module):
    """Base of all families. A constructor's keywords *are* the config: stored as given and never reinterpreted.

    A family declares `family`, `players()` and `loss()`. It may set `monitor` to the name of the logged figure that
    validation should make small; without one (a GAN has none) early stopping and cross-validation are refused. It sets
    `unpaired` if it learns from two sets of pictures, drawn apart: `Batch.images` are of the first, `Batch.targets` of
    the second. Its `mechanisms` are those of its parts that are each told a label of their own, by name.
    """

    family: ClassVar[str]
    monitor: ClassVar[str | None] = None
    unpaired: ClassVar[bool] = False
    mechanisms: ClassVar[tuple[str, ...]] = ()
    config: dict[str, Any]
    origin: Origin | None

    def __new__(cls, **config: Any) -> Self:
        """Remember the keywords before any constructor runs."""
        self = super().__new__(cls)
        object.__setattr__(self, "config", config)
        object.__setattr__(self, "origin", None)
        object.__setattr__(self, "attached", {})
        return self

    @property
    def spec(self) -> DataSpec:
        """What the model was built for."""
        spec: DataSpec = self.config["spec"]
        return spec

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @classmethod
    def borrows(cls, config: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG003
        """Names of the frozen networks that the loss of a model with this config cannot do without, see `attach`."""
        return ()

    def players(self) -> tuple[Player, ...]:
        """The players of the game, in the order in which they move."""
        raise NotImplementedError

    def loss(self, player: str, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """``{"loss": scalar to minimise, ...}`` with further scalars to log. Means over the batch, never sums."""
        raise NotImplementedError

    def check(self, batch: Batch) -> None:
        """Refuse data that the loss cannot be taken of; asked of one picture before a training writes anything.

        Raises:
            ModelError: what is missing or does not fit.
        """

    def validate(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Figures on a validation batch, with `monitor` among them; means over the batch."""
        return self.loss(self.players()[0].name, batch, draws)

    def attach(self, name: str, network: nn.Module) -> None:
        """Lend the loss a frozen network. It moves with no one, trains never and is not saved."""
        self.attached[name] = network.eval().requires_grad_(False)

    attached: dict[str, nn.Module]

    def shipped_modules(self) -> tuple[str, ...]:
        """Names of the submodules that belong to the finished model."""
        left_behind = {m for p in self.players() if not p.ships for m in p.modules}
        return tuple(name for name, _ in self.named_children() if name not in left_behind)

    def shipped_state(self) -> dict[str, Tensor]:
        """Parameters and buffers of the finished model by name."""
        shipped = self.shipped_modules()
        return {k: v for k, v in self.state_dict().items() if k.split(".", 1)[0] in shipped}
