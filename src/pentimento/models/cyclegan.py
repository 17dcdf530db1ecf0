"""Translation between two sets of pictures that are no pairs (CycleGAN, Zhu et al. 2017).

    a, b -> pictures of the two sets, drawn apart     G(a) -> a as one of b's set     F(b) -> b as one of a's
    D_a, D_b -> logits, (N, H', W'), one for each patch: is it of the set?
    cycle: F(G(a)) = a, G(F(b)) = b     identity: G(b) = b, F(a) = a (section 5.2)

The discriminators are shown made pictures of earlier steps too, from a pool of 50 each (section 4; Shrivastava et al.
2017, section 2.3). See `pentimento.translating` for where the generators differ from the paper's.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, distributed, nn

from pentimento.capabilities import Reach
from pentimento.errors import ModelError
from pentimento.layers import PatchDiscriminator
from pentimento.losses import AdversarialLoss, discriminator_loss, generator_loss
from pentimento.model import Batch, Condition, DataSpec, Model, Player
from pentimento.runtime import Draws, of_all_processes
from pentimento.translating import Translator

__all__ = ["CycleGAN", "ImagePool"]


class CycleGAN(Model):
    """Translates pictures of one set into the look of another, and back.

    Args:
        spec: of the pictures of both sets.
        widths: channels of the U-Nets by level, the finest first.
        blocks: residual blocks on each level, each way.
        shrink: side of the blocks of pixels that become channels.
        loss: see `pentimento.losses.discriminator_loss`.
        cycle: weight of the mean absolute difference between a picture and itself translated there and back.
        identity: likewise, between a picture and itself translated into the set that it is of, as a share of `cycle`.
        pool: how many made pictures are remembered of either side; 0 shows the discriminators the newest only.
        discriminator_width: channels of the discriminators at their finest level.
        lr: learning rate of both players.
    """

    family = "cyclegan"
    unpaired: ClassVar[bool] = True

    def __init__(
        self,
        *,
        spec: DataSpec,
        widths: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (40, 72, 96, 128),
        blocks: Annotated[int, Field(ge=1)] = 2,
        shrink: Literal[1, 2, 4] = 2,
        loss: AdversarialLoss = "least_squares",
        cycle: Annotated[float, Field(ge=0)] = 10.0,
        identity: Annotated[float, Field(ge=0)] = 0.5,
        pool: Annotated[int, Field(ge=0)] = 50,
        discriminator_width: Annotated[int, Field(ge=1)] = 32,
        lr: Annotated[float, Field(gt=0)] = 2e-4,
    ) -> None:
        super().__init__()
        self.kind, self.cycle, self.identity, self.lr = loss, cycle, identity, lr
        self.forth, self.back = (Translator(spec, widths, blocks, shrink) for _ in range(2))
        self.judges = nn.ModuleDict({side: PatchDiscriminator(spec.channels, discriminator_width) for side in "ab"})
        self.pools = nn.ModuleDict({side: ImagePool(pool, spec.image_shape) for side in "ab"})

    # ------------------------------------------------------------------------------------------ training
    def players(self) -> tuple[Player, ...]:
        """Both discriminators with what they remember, then both generators."""
        betas = (0.5, 0.999)
        judges = Player("discriminators", ("judges", "pools"), lr=self.lr, betas=betas, ships=False)
        return (judges, Player("generators", ("forth", "back"), lr=self.lr, betas=betas))

    def loss(self, player: str, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """See `Model.loss`; ``"cycle"`` and ``"identity"`` are without their weights."""
        a, b = batch.images, self._second(batch)
        if player == "discriminators":
            with torch.no_grad():
                made = {"b": _made(self.forth, a), "a": _made(self.back, b)}
            losses = []
            for side, real in (("a", a), ("b", b)):
                fake = self.pools[side](made[side], draws, side)
                logits = (self.judges[side](images).float() for images in (real, fake))
                losses.append(discriminator_loss(self.kind, *logits))
            return {"loss": losses[0] + losses[1], "loss_a": losses[0].detach(), "loss_b": losses[1].detach()}
        in_b, in_a = _made(self.forth, a), _made(self.back, b)
        game = self._passes_for("b", in_b, b) + self._passes_for("a", in_a, a)
        cycle = _distance(_made(self.back, in_b), a) + _distance(_made(self.forth, in_a), b)
        total, figures = game + self.cycle * cycle, {"game": game.detach(), "cycle": cycle.detach()}
        if self.identity:
            identity = _distance(_made(self.forth, b), b) + _distance(_made(self.back, a), a)
            total = total + self.cycle * self.identity * identity
            figures["identity"] = identity.detach()
        return {"loss": total, **figures}

    def check(self, batch: Batch) -> None:
        """See `Model.check`."""
        self._second(batch)

    def _second(self, batch: Batch) -> Tensor:
        if batch.targets is None:
            raise ModelError(f"{self.family}: learns from two sets of pictures; name the other one by --second")
        return batch.targets

    def _passes_for(self, side: str, made: Tensor, real: Tensor) -> Tensor:
        """The generators' loss where `made` must pass for one of that side."""
        judge = self.judges[side]
        return generator_loss(
            self.kind, judge(made).float(), judge(real).float() if self.kind == "relativistic" else None
        )

    # -------------------------------------------------------------------------------------- capabilities
    @property
    def reach(self) -> Reach:
        """See `Translates`."""
        return self.forth.reach

    @property
    def reversible(self) -> bool:
        """See `Translates`."""
        return True

    def translate(self, images: Tensor, condition: Condition, reverse: bool = False) -> Tensor:
        """See `Translates`; it is told nothing, so `condition` is without effect."""
        return (self.back if reverse else self.forth).translate(images, condition)


def _made(translator: Translator, images: Tensor) -> Tensor:
    """What `translate` gives, and values out of bounds can come back.

    No pixel has a value to reach, as in pairs it has, and values without bounds run away with the discriminators.
    """
    made: Tensor = _Clamped.apply(translator(images, Condition()))  # type: ignore[no-untyped-call]
    return made


class _Clamped(torch.autograd.Function):
    """``x.clamp(0, 1)``, whose slope is zero only where a step along it would lead farther out."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return slope.masked_fill(((x < 0) & (slope > 0)) | ((x > 1) & (slope < 0)), 0.0)


def _distance(made: Tensor, wanted: Tensor) -> Tensor:
    return (made - wanted).abs().mean()


class ImagePool(nn.Module):
    """Made pictures of earlier steps, in buffers, so that they are part of the state of a training.

    While it fills, it gives what it gets. Then, for each picture, it tosses a coin: it gives that picture back, or one
    that it remembers, whose place the new one takes. Several processes have one memory: each goes through the pictures
    of all, in the order in which one process would.

    Args:
        size: how many it remembers.
        shape: (C, H, W) of each.
    """

    images: Tensor
    count: Tensor

    def __init__(self, size: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.zeros(size, *shape))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, images: Tensor, draws: Draws, purpose: str) -> Tensor:
        """(N, C, H, W) -> as many, some of them older."""
        if not self.size:
            return images
        coins, places = draws.uniform(f"coin-{purpose}"), draws.integers(f"place-{purpose}", self.size)
        every = (of_all_processes(x.to(images.device)) for x in (images.float(), coins, places))
        given = []
        for new, coin, drawn in zip(*every, strict=True):
            full = self.count >= self.size
            place = torch.where(full, drawn, self.count)[None]  # without a look at the device, which would wait for it
            old = self.images.index_select(0, place)
            swapped = full & (coin < 0.5)
            given.append(torch.where(swapped, old, new))
            self.images.index_copy_(0, place, torch.where(swapped | ~full, new, old))
            self.count += ~full
        first = len(images) * (distributed.get_rank() if len(given) > len(images) else 0)
        return torch.cat(given[first : first + len(images)])
