"""Translation learned from pairs (after pix2pix, Isola et al. 2017).

    x -> the picture given     y -> what it should become     G(x) -> what is made of it
    D(x, y) -> logits, (N, H', W'), one for each patch; it sees the condition too

The generator comes close to y pixel by pixel (L1, which alone blurs what it cannot know) and must pass for a y beside
its x before a discriminator of patches. A condition says which of several looks y has, so that one model learns many.

Where we differ from the paper: see `pentimento.translating` for the network; the loss of the game is hinge by default,
whose discriminator stops to learn from what it knows for sure; no dropout, so that a picture has one translation.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from pentimento.capabilities import Reach
from pentimento.errors import ModelError
from pentimento.layers import ConditionEmbedding, PatchDiscriminator
from pentimento.losses import AdversarialLoss, discriminator_loss, generator_loss
from pentimento.model import Batch, Condition, DataSpec, Model, Player
from pentimento.runtime import Draws
from pentimento.translating import Translator, as_maps

__all__ = ["Pix2Pix"]


class Pix2Pix(Model):
    """Translates pictures as the pairs show that it has learned from.

    Args:
        spec: of the pictures on either side.
        widths: channels of the U-Net by level, the finest first.
        blocks: residual blocks on each level, each way.
        shrink: side of the blocks of pixels that become channels.
        loss: see `pentimento.losses.discriminator_loss`.
        l1: weight of the mean absolute difference.
        adversarial: weight of the game; 0 leaves the discriminator out.
        discriminator_width: channels of the discriminator at its finest level.
        conditional: whether the class label says which look is wanted.
        attributes: names of the attributes that say it.
        embed_dim: length of the condition's embedding.
        lr: learning rate of both players.
    """

    family = "pix2pix"
    monitor = "l1"

    def __init__(
        self,
        *,
        spec: DataSpec,
        widths: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (40, 72, 96, 128),
        blocks: Annotated[int, Field(ge=1)] = 2,
        shrink: Literal[1, 2, 4] = 2,
        loss: AdversarialLoss = "hinge",
        l1: Annotated[float, Field(ge=0)] = 100.0,
        adversarial: Annotated[float, Field(ge=0)] = 1.0,
        discriminator_width: Annotated[int, Field(ge=1)] = 32,
        conditional: bool = False,
        attributes: tuple[str, ...] = (),
        embed_dim: Annotated[int, Field(ge=1)] = 16,
        lr: Annotated[float, Field(gt=0)] = 5e-4,
    ) -> None:
        super().__init__()
        if not l1 and not adversarial:
            raise ModelError("l1, adversarial: one of them must have a weight above 0; 100 and 1 are the paper's")
        self.kind, self.l1, self.adversarial, self.lr = loss, l1, adversarial, lr
        self.generator = Translator(spec, widths, blocks, shrink, conditional, attributes, embed_dim)
        if adversarial:
            use = (conditional, attributes, embed_dim)
            self.discriminator = PairDiscriminator(spec, discriminator_width, *use)

    # ------------------------------------------------------------------------------------------ training
    def players(self) -> tuple[Player, ...]:
        """The discriminator, where there is one, then the generator."""
        generator = Player("generator", ("generator",), lr=self.lr, betas=(0.5, 0.99))
        if not self.adversarial:
            return (generator,)
        return (Player("discriminator", ("discriminator",), lr=self.lr, betas=(0.5, 0.99), ships=False), generator)

    def loss(self, player: str, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """See `Model.loss`; ``"l1"`` is without its weight."""
        x, y, condition = batch.images, self._targets(batch), batch.condition
        if player == "discriminator":
            with torch.no_grad():
                made = self.generator(x, condition)
            real, fake = (self.discriminator(x, other, condition) for other in (y, made))
            means = {"real_logit": real.mean().detach(), "fake_logit": fake.mean().detach()}
            return {"loss": discriminator_loss(self.kind, real, fake), **means}
        made = self.generator(x, condition)
        distance = (made - y).abs().mean()
        total = self.l1 * distance
        if self.adversarial:
            fake = self.discriminator(x, made, condition)
            real = self.discriminator(x, y, condition) if self.kind == "relativistic" else None
            total = total + self.adversarial * generator_loss(self.kind, fake, real)
        return {"loss": total, "l1": distance.detach()}

    def check(self, batch: Batch) -> None:
        """See `Model.check`."""
        self._targets(batch)

    def validate(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """The L1 distance of what is written: clamped."""
        made = self.translate(batch.images, batch.condition)
        return {"l1": (made - self._targets(batch)).abs().mean()}

    def _targets(self, batch: Batch) -> Tensor:
        if batch.targets is None:
            raise ModelError(
                f"{self.family}: learns from pairs; give them as pairs:FOLDER (A/ and B/) or side-by-side:FOLDER"
            )
        if batch.targets.shape != batch.images.shape:
            sizes = tuple(tuple(t.shape[1:]) for t in (batch.images, batch.targets))
            raise ModelError(f"{self.family}: pairs of one size expected, got {sizes[0]} and {sizes[1]} (C, H, W)")
        return batch.targets

    # -------------------------------------------------------------------------------------- capabilities
    @property
    def reach(self) -> Reach:
        """See `Translates`."""
        return self.generator.reach

    @property
    def reversible(self) -> bool:
        """See `Translates`."""
        return False

    def translate(self, images: Tensor, condition: Condition, reverse: bool = False) -> Tensor:
        """See `Translates`."""
        if reverse:
            raise ModelError(f"reverse: a {self.family!r} translates one way; train another with A and B exchanged")
        return self.generator.translate(images, condition)


class PairDiscriminator(PatchDiscriminator):
    """Two pictures (N, C, H, W) in [0, 1] and a condition -> (N, H', W') logits."""

    def __init__(
        self, spec: DataSpec, width: int, conditional: bool, attributes: tuple[str, ...], embed_dim: int
    ) -> None:
        embed = ConditionEmbedding(spec, conditional, attributes, embed_dim)
        super().__init__(2 * spec.channels + embed.dim, width)
        self.embed = embed

    def forward(self, given: Tensor, made: Tensor, condition: Condition) -> Tensor:  # type: ignore[override]
        """Whether `made` belongs beside `given`."""
        maps = [as_maps(self.embed(condition), given)] if self.embed.dim else []
        return super().forward(torch.cat([given, made, *maps], 1)).float()
