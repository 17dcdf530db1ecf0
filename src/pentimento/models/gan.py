"""Generative adversarial networks, unconditional or conditioned on a label and on attributes (cGAN).

The generator turns a latent, joined by the embedding of its condition, into an image. The discriminator tells real
images from generated ones; a condition enters it by projection (Miyato and Koyama 2018): the inner product of image
features and the condition's embedding is added to its logit.

    z -> latent, (N, latent_dim)      x -> real image      G(z) -> fake image      D -> logit, (N,)

A recipe to choose from, oldest first:
``loss="nonsaturating", backbone="dcgan", norm="batch"``   DCGAN (Radford et al. 2016)
``loss="wasserstein", gradient_penalty=10, critic_updates=5``   WGAN-GP (Gulrajani et al. 2017)
``loss="hinge", spectral=true``   SN-GAN (Miyato et al. 2018)
``loss="relativistic", r1=1, r2=1, norm="none"``   R3GAN's objective (Huang et al. 2024)
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from pentimento.data.augment import Augment, augment
from pentimento.errors import ModelError
from pentimento.layers import Backbone, ConditionEmbedding, Decoder, Encoder, Norm, add_spectral_norm, truncate_normal
from pentimento.losses import (
    AdversarialLoss,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    zero_centred_penalty,
)
from pentimento.model import Batch, Condition, DataSpec, Model, Player
from pentimento.runtime import Draws
from pentimento.sampling import run_stages

__all__ = ["GAN"]

GANBackbone = Literal["mlp", "dcgan", "resnet"]


class Generator(nn.Module):
    """(N, latent_dim) and a condition -> (N, C, H, W) in [0, 1], in the stages ``input``, then the decoder's."""

    def __init__(self, spec: DataSpec, latent_dim: int, backbone: Backbone, width: int, norm: Norm, use: _Use) -> None:
        super().__init__()
        self.embed = ConditionEmbedding(spec, *use)
        self.decoder = Decoder(spec, latent_dim + self.embed.dim, backbone, width, norm)
        self.stages = ("input", *self.decoder.stages)

    def run_stage(self, stage: str, x: Tensor | None, z: Tensor, condition: Condition) -> Tensor:
        if stage == "input":
            return self.embed.join(z, condition)  # (N, latent_dim + embed_dim)
        assert x is not None
        x = self.decoder.run_stage(stage, x)
        return (x.tanh() + 1) / 2 if stage == "image" else x


class Discriminator(nn.Module):
    """(N, C, H, W) in [0, 1] and a condition -> logits (N,)."""

    def __init__(self, spec: DataSpec, backbone: Backbone, width: int, norm: Norm, spectral: bool, use: _Use) -> None:
        super().__init__()
        self.encoder = Encoder(spec, backbone, width, norm)
        self.embed = ConditionEmbedding(spec, *use)
        self.logit = nn.Linear(self.encoder.out_dim, 1)
        self.project = nn.Linear(self.encoder.out_dim, self.embed.dim, bias=False) if self.embed.dim else None
        if spectral:
            add_spectral_norm(self)

    def forward(self, images: Tensor, condition: Condition) -> Tensor:
        features = self.encoder(images * 2 - 1)
        logits: Tensor = self.logit(features)[:, 0].float()
        if self.project is not None:
            agreement = self.project(features) * self.embed(condition)
            logits = logits + agreement.sum(1) / self.embed.dim**0.5  # kept at unit scale, as in attention
        return logits


_Use = tuple[bool, tuple[str, ...], int]  # labels?, attributes, dim: what ConditionEmbedding takes


class GAN(Model):
    """A generator and a discriminator at play.

    Args:
        spec: of the data.
        backbone: of both networks, see `pentimento.layers`.
        width: channels at the finest level.
        latent_dim: length of z.
        norm: normalisation in the generator.
        discriminator_norm: in the discriminator; leave it ``"none"`` with any gradient penalty.
        spectral: spectral normalisation of the discriminator.
        loss: see `pentimento.losses.discriminator_loss`.
        r1: weight of the zero-centred gradient penalty on real images, whose values lie in [0, 1]: four times as
            strong as the same number on [-1, 1].
        r2: the same on fake images.
        gradient_penalty: weight of the one-centred penalty of WGAN-GP; 10 is usual.
        penalty_every: penalise every so many updates, that much stronger (Karras et al. 2020, appendix B).
        critic_updates: updates of the discriminator per step.
        conditional: whether to condition on the class label.
        attributes: names of the attributes to condition on.
        embed_dim: length of the condition's embedding.
        augment: differentiable augmentation of real and fake images alike (Zhao et al. 2020), for small data sets.
        lr: learning rate of both players.
    """

    family = "gan"

    def __init__(
        self,
        *,
        spec: DataSpec,
        backbone: GANBackbone = "dcgan",
        width: Annotated[int, Field(ge=1)] = 64,
        latent_dim: Annotated[int, Field(ge=1)] = 100,
        norm: Norm = "batch",
        discriminator_norm: Norm = "none",
        spectral: bool = False,
        loss: AdversarialLoss = "nonsaturating",
        r1: Annotated[float, Field(ge=0)] = 0.0,
        r2: Annotated[float, Field(ge=0)] = 0.0,
        gradient_penalty: Annotated[float, Field(ge=0)] = 0.0,
        penalty_every: Annotated[int, Field(ge=1)] = 1,
        critic_updates: Annotated[int, Field(ge=1)] = 1,
        conditional: bool = False,
        attributes: tuple[str, ...] = (),
        embed_dim: Annotated[int, Field(ge=1)] = 64,
        augment: Augment | None = None,
        lr: Annotated[float, Field(gt=0)] = 2e-4,
    ) -> None:
        super().__init__()
        if discriminator_norm == "batch" and (r1 or r2 or gradient_penalty):
            raise ModelError(
                "discriminator_norm: 'batch' mixes the samples of a batch, so a gradient penalty has no "
                "per-sample meaning; use 'none', with spectral = true if it needs taming"
            )
        trunk: Backbone = "conv" if backbone == "dcgan" else backbone
        use = (conditional, attributes, embed_dim)
        self.generator = Generator(spec, latent_dim, trunk, width, norm, use)
        self.discriminator = Discriminator(spec, trunk, width, discriminator_norm, spectral, use)
        self.kind, self.latent_dim, self.lr, self.augmentation = loss, latent_dim, lr, augment
        self.r1, self.r2, self.gp = r1, r2, gradient_penalty
        self.penalty_every, self.critic_updates = penalty_every, critic_updates

    # ------------------------------------------------------------------------------------------ training
    def players(self) -> tuple[Player, ...]:
        """The discriminator, then the generator; Adam without momentum, as with all gradient penalties."""
        betas = (0.5, 0.999) if self.kind == "nonsaturating" else (0.0, 0.99)
        penalised = bool(self.r1 or self.r2 or self.gp)
        return (
            Player(
                "discriminator",
                ("discriminator",),
                lr=self.lr,
                betas=betas,
                updates_per_step=self.critic_updates,
                ships=False,
                compiles=not penalised,
            ),
            Player("generator", ("generator",), lr=self.lr, betas=betas),
        )

    def loss(self, player: str, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """See `Model.loss`. Real and fake images meet under the same condition."""
        z = draws.normal(f"latent-{player}", (self.latent_dim,))
        if player == "discriminator":
            with torch.no_grad():
                fake = self.sample({"latent": z}, batch.condition)
            return self._discriminator_loss(batch, fake, draws)
        fake = self.sample({"latent": z}, batch.condition)
        fake_logits = self.discriminator(self._augmented(fake, draws, "fake"), batch.condition)
        real_logits = None
        if self.kind == "relativistic":
            real_logits = self.discriminator(self._augmented(batch.images, draws, "real"), batch.condition)
        return {"loss": generator_loss(self.kind, fake_logits, real_logits)}

    def _discriminator_loss(self, batch: Batch, fake: Tensor, draws: Draws) -> dict[str, Tensor]:
        penalise = bool(self.r1 or self.r2 or self.gp) and draws.update % self.penalty_every == 0
        # The penalty is taken with respect to the augmented images: what the discriminator sees. It runs in fp32,
        # for a gradient's gradient loses too much in bf16.
        real = self._augmented(batch.images, draws, "real").detach().float().requires_grad_(penalise)
        fake = self._augmented(fake, draws, "fake").detach().float().requires_grad_(penalise)
        with torch.autocast(real.device.type, enabled=False) if penalise else nullcontext():
            real_logits = self.discriminator(real, batch.condition)
            fake_logits = self.discriminator(fake, batch.condition)
            logs = {
                "loss": discriminator_loss(self.kind, real_logits, fake_logits),
                "real_logit": real_logits.mean().detach(),
                "fake_logit": fake_logits.mean().detach(),
            }
            if not penalise:
                return logs
            penalty = real.new_zeros(())
            if self.r1:
                penalty = penalty + self.r1 * zero_centred_penalty(real_logits, real)
            if self.r2:
                penalty = penalty + self.r2 * zero_centred_penalty(fake_logits, fake)
            if self.gp:
                mix = draws.uniform("mix")
                penalty = penalty + self.gp * gradient_penalty(
                    lambda x: self.discriminator(x, batch.condition), real, fake, mix
                )
        return {**logs, "loss": logs["loss"] + self.penalty_every * penalty, "penalty": penalty.detach()}

    def _augmented(self, images: Tensor, draws: Draws, which: str) -> Tensor:
        if self.augmentation is None:
            return images
        return augment(images, self.augmentation, draws, purpose=f"augment-{which}", fill="zeros")

    # -------------------------------------------------------------------------------------- capabilities
    @property
    def stages(self) -> tuple[str, ...]:
        """See `Intervenes`."""
        return self.generator.stages

    def draw_noise(self, draws: Draws, truncation: float | None = None) -> dict[str, Tensor]:
        """``"latent"``: (N, latent_dim), standard normal."""
        z = draws.normal("latent", (self.latent_dim,))
        return {"latent": z if truncation is None else truncate_normal(z, truncation)}

    def run_stage(self, stage: str, x: Tensor | None, noise: Mapping[str, Tensor], condition: Condition) -> Tensor:
        """See `Intervenes`."""
        return self.generator.run_stage(stage, x, noise["latent"], condition)

    def sample(self, noise: Mapping[str, Tensor], condition: Condition) -> Tensor:
        """See `Samples`."""
        return run_stages(self, noise, condition)
