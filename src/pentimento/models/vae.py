"""Variational autoencoders (Kingma and Welling 2014; Rezende et al. 2014), unconditional or conditional.

    x -> image      z -> latent, (N, latent_dim)      mean, logvar -> mu, log sigma^2 of q(z | x)
    log_px -> log p(x | z)      kl -> KL(q(z | x) || p(z))      ELBO = E_q[log p(x | z)] - KL

All log probabilities are in nats per image. The likelihood decides what a pixel is:
``bernoulli``  0 or 1, drawn anew from its gray value at every look (dynamic binarisation, Burda et al. 2016)
``gaussian``   a real number; one learned scale per channel (sigma-VAE, Rybkin et al. 2021); a density, not a mass
``logistic``   one of 256 values under a discretised logistic with one learned scale per channel
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pentimento.layers import Backbone, ConditionEmbedding, Decoder, Encoder, Norm, truncate_normal
from pentimento.losses import alignment, bernoulli_log_prob, gaussian_log_prob, kl_standard_normal, logistic_log_prob
from pentimento.model import Batch, Condition, DataSpec, Model, Player
from pentimento.runtime import Draws
from pentimento.sampling import run_stages

__all__ = ["VAE"]

JUDGE_WIDTH = 32  # channels at the finest level
JUDGE_NOISE = 0.05  # standard deviation, of the range of a pixel: hides patterns that only a network would see


class VAE(Model):
    """An encoder q(z | x, c) and a decoder p(x | z, c) under a standard normal prior.

    Args:
        spec: of the data.
        backbone: of both networks, see `pentimento.layers`.
        width: channels at the finest level.
        latent_dim: length of z.
        norm: normalisation in both networks.
        likelihood: see the module.
        beta: weight of the KL term (Higgins et al. 2017); 1 is the ELBO.
        kl_warmup_kimg: over so many thousand images, beta grows linearly from 0 (Bowman et al. 2016).
        independence: weight of the dependence of z on what the model is told (Lopez et al. 2018), by
            `pentimento.losses.alignment`. Without it z may repeat what is told, which then changes little.
        effectiveness: weight of how far a picture decoded under another's conditions is from showing them, by a network
            that learns beside it to tell the conditions of true pictures, and does not ship (Ribeiro et al. 2023):
            squared error, of numeric attributes in halves of their range, of others as one-hot.
        conditional: whether to condition on the class label.
        attributes: names of the attributes to condition on.
        embed_dim: length of the condition's embedding.
        lr: learning rate.
    """

    family = "vae"
    monitor = "loss"

    def __init__(
        self,
        *,
        spec: DataSpec,
        backbone: Backbone = "conv",
        width: Annotated[int, Field(ge=1)] = 32,
        latent_dim: Annotated[int, Field(ge=1)] = 32,
        norm: Norm = "none",
        likelihood: Literal["bernoulli", "gaussian", "logistic"] = "gaussian",
        beta: Annotated[float, Field(ge=0)] = 1.0,
        kl_warmup_kimg: Annotated[float, Field(ge=0)] = 0.0,
        independence: Annotated[float, Field(ge=0)] = 0.0,
        effectiveness: Annotated[float, Field(ge=0)] = 0.0,
        conditional: bool = False,
        attributes: tuple[str, ...] = (),
        embed_dim: Annotated[int, Field(ge=1)] = 64,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
    ) -> None:
        super().__init__()
        self.embed = ConditionEmbedding(spec, conditional, attributes, embed_dim)
        self.encoder = Encoder(spec, backbone, width, norm)
        self.posterior = nn.Linear(self.encoder.out_dim + self.embed.dim, 2 * latent_dim)
        self.decoder = Decoder(spec, latent_dim + self.embed.dim, backbone, width, norm)
        self.pixels = PixelScale(0 if likelihood == "bernoulli" else spec.channels)
        self.likelihood, self.latent_dim, self.lr = likelihood, latent_dim, lr
        self.beta, self.kl_warmup_kimg, self.independence = beta, kl_warmup_kimg, independence
        self.effectiveness = effectiveness if self.embed.dim else 0.0
        if self.effectiveness:
            trunk = Encoder(spec, "conv", JUDGE_WIDTH, "none")
            self.judge = nn.Sequential(trunk, nn.Linear(trunk.out_dim, self.embed.told_dim))

    # ------------------------------------------------------------------------------------------ training
    def players(self) -> tuple[Player, ...]:
        """A VAE plays alone, or beside the judge of what its pictures show."""
        vae = Player("vae", ("embed", "encoder", "posterior", "decoder", "pixels"), lr=self.lr)
        return (vae, Player("judge", ("judge",), lr=self.lr, ships=False)) if self.effectiveness else (vae,)

    def loss(self, player: str, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """See `Model.loss`: minus the ELBO, its KL term weighted by beta, and what the other weights add."""
        if player == "judge":
            return {"loss": self._misses(batch.images, batch.condition, draws)}
        warm = min(1.0, draws.seen_kimg / self.kl_warmup_kimg) if self.kl_warmup_kimg else 1.0
        x = self._observed(batch.images, draws)
        z, kl = self._abduct(x, batch.condition, draws)
        reconstruction = self._log_px(z, x, batch.condition)
        loss = -(reconstruction - warm * self.beta * kl).mean()
        logged = {"nll_z": -reconstruction.mean().detach(), "kl": kl.mean().detach()}
        if self.independence and self.embed.dim and len(z) > 1:
            dependence = alignment(z, self.embed.told(batch.condition))
            loss = loss + self.independence * dependence
            logged["dependence"] = dependence.detach()
        if self.effectiveness:
            asked = batch.condition[torch.arange(-1, len(z) - 1)]  # another's, whole: what the judge has seen together
            misses = self._misses(self._mean(self._decode_raw({"latent": z}, asked)), asked, draws)
            loss = loss + self.effectiveness * misses
            logged["misses"] = misses.detach()
        return {"loss": loss, **logged}

    def validate(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Minus the ELBO at the full beta, whatever the warm-up."""
        reconstruction, kl = self._bound(batch, draws)
        return {"loss": -(reconstruction - self.beta * kl).mean(), "kl": kl.mean()}

    def _bound(self, batch: Batch, draws: Draws) -> tuple[Tensor, Tensor]:
        """log p(x | z) with z ~ q(z | x), and KL(q || p): (N,) each."""
        x = self._observed(batch.images, draws)
        z, kl = self._abduct(x, batch.condition, draws)
        return self._log_px(z, x, batch.condition), kl

    def _abduct(self, x: Tensor, condition: Condition, draws: Draws) -> tuple[Tensor, Tensor]:
        """z ~ q(z | x), (N, latent_dim), and KL(q || p), (N,)."""
        mean, logvar = self._posterior(x, condition)
        z = mean + (0.5 * logvar).exp() * draws.normal("posterior", (self.latent_dim,))
        return z, kl_standard_normal(mean, logvar)

    def _misses(self, images: Tensor, condition: Condition, draws: Draws) -> Tensor:
        """How far `images` are from showing `condition`, by the judge: a mean square."""
        seen = images + JUDGE_NOISE * draws.normal("judge", images.shape[1:])
        return F.mse_loss(self.judge(seen * 2 - 1).float(), self.embed.told(condition))

    def _observed(self, images: Tensor, draws: Draws) -> Tensor:
        if self.likelihood == "bernoulli":
            return (draws.uniform("binarize", images.shape[1:]) < images).float()
        return (images * 255).round() / 255 if self.likelihood == "logistic" else images

    def _posterior(self, x: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        features = self.encoder(x * 2 - 1)
        both = self.posterior(self.embed.join(features, condition)).float()
        mean, logvar = both.chunk(2, 1)
        return mean, logvar.clamp(-12, 12)  # exp(12) is far from any posterior; it keeps early steps finite

    def _log_px(self, z: Tensor, x: Tensor, condition: Condition) -> Tensor:
        out = self._decode_raw({"latent": z}, condition).float()
        if self.likelihood == "bernoulli":
            return bernoulli_log_prob(out, x)
        log_prob = gaussian_log_prob if self.likelihood == "gaussian" else logistic_log_prob
        return log_prob(out, self.pixels.log_scale(), x)

    def _decode_raw(self, noise: Mapping[str, Tensor], condition: Condition) -> Tensor:
        x = self._enter(noise["latent"], condition)
        for stage in self.decoder.stages:
            x = self.decoder.run_stage(stage, x)
        return x

    def _mean(self, raw: Tensor) -> Tensor:
        """Of p(x | z), from what the decoder says; normal and logistic ones may lie outside of [0, 1]."""
        return raw.sigmoid() if self.likelihood == "bernoulli" else raw

    def _enter(self, z: Tensor, condition: Condition) -> Tensor:
        return self.embed.join(z, condition)  # (N, latent_dim + embed_dim)

    # -------------------------------------------------------------------------------------- capabilities
    @property
    def stages(self) -> tuple[str, ...]:
        """See `Intervenes`."""
        return ("input", *self.decoder.stages)

    def draw_noise(self, draws: Draws, truncation: float | None = None) -> dict[str, Tensor]:
        """``"latent"``: (N, latent_dim), standard normal."""
        z = draws.normal("latent", (self.latent_dim,))
        return {"latent": z if truncation is None else truncate_normal(z, truncation)}

    def run_stage(self, stage: str, x: Tensor | None, noise: Mapping[str, Tensor], condition: Condition) -> Tensor:
        """See `Intervenes`. The images are the means of p(x | z)."""
        if stage == "input":
            return self._enter(noise["latent"], condition)
        assert x is not None
        x = self.decoder.run_stage(stage, x)
        return self._mean(x).clamp(0, 1) if stage == "image" else x

    def sample(self, noise: Mapping[str, Tensor], condition: Condition) -> Tensor:
        """See `Samples`."""
        return run_stages(self, noise, condition)

    def encode(self, images: Tensor, condition: Condition) -> Tensor:
        """Posterior means, (N, latent_dim)."""
        return self._posterior(images, condition)[0]

    def decode(self, latents: Tensor, condition: Condition) -> Tensor:
        """Means of p(x | z), (N, C, H, W)."""
        return self.sample({"latent": latents}, condition)

    def score(self, batch: Batch, draws: Draws, importance_samples: int = 1) -> dict[str, Tensor]:
        """``"elbo"`` and the importance-weighted bound ``"iwae"`` on log p(x | c), (N,) each, in nats.

        ``log 1/K sum_k p(x, z_k) / q(z_k | x)`` over K = `importance_samples` (Burda et al. 2016, eq. 8). Both are
        averages over the same K draws, so iwae >= elbo always.
        """
        x = self._observed(batch.images, draws)
        mean, logvar = self._posterior(x, batch.condition)
        std, log_w = (0.5 * logvar).exp(), []
        for k in range(importance_samples):
            epsilon = draws.normal(f"posterior-{k}", (self.latent_dim,))
            z = mean + std * epsilon
            log_ratio = 0.5 * (epsilon.square() - z.square() + logvar).sum(1)  # log p(z) - log q(z | x)
            log_w.append(self._log_px(z, x, batch.condition) + log_ratio)
        weights = torch.stack(log_w)  # (K, N)
        return {"elbo": weights.mean(0), "iwae": weights.logsumexp(0) - math.log(importance_samples)}


class PixelScale(nn.Module):
    """One learned log scale per channel (none for Bernoulli pixels), starting at 0.1 of the full range."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.full((channels,), math.log(0.1))) if channels else None

    def log_scale(self) -> Tensor:
        """(1, C, 1, 1), no lower than exp(-7), a quarter of one 8-bit level: below it a density would run away."""
        assert self.raw is not None
        return self.raw.clamp(min=-7.0)[None, :, None, None]
