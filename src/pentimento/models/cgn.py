"""Counterfactual generative networks (Sauer and Geiger 2021): a picture composed by independent mechanisms.

    m -> mask, (N, 1, H, W) in [0, 1]      f -> foreground, b -> background, (N, C, H, W) in [0, 1]
    x = m f + (1 - m) b -> image (eq. 4)      y_m, y_f, y_b -> what each mechanism is told, (N,) each

Training data are entangled: in every picture of a class, shape, foreground and background are that class's. In
training the label goes to all three; afterwards each is told its own, and pictures appear that no camera took: the
shape of a seven in the colour of a three.

What keeps the mechanisms apart is what each of them *can* do:
``shape``       a decoder from a latent to one channel, the mask; it has no colour to give.
``foreground``, ``background``   stationary textures: a small network, the same at every pixel, of white noise and plane
                waves of random phase (after Jetchev et al. 2016; Bergmann et al. 2017, eq. 4 to 6). No place differs
                from another in distribution, so neither can hold a shape, nor know where the shape lies.

A relativistic discriminator judges the composition under the label. Two terms shape the mask: it is near 0 or 1 (the
paper's binary entropy; here ``4 m (1 - m)``, whose slope is bounded), and it covers a share of the picture within
bounds; it begins in the middle. Both decide what is foreground and what is background. A third term keeps textures as
plain as the data allow, as a pattern in the foreground would otherwise do for a part of the shape. A fourth keeps them
from saturating: a colour that has gone too far one way would not come back, and the classes that need it elsewhere be
left with masks of a few dots.

Where it differs from the paper, and why. The paper's MNIST networks draw textures as shuffled patches and its
ImageNet ones begin with a trained BigGAN, a saliency network and a perceptual loss towards its samples; textures that
are stationary by construction need neither patches nor pretrained networks. The paper bounds the mask's mean over a
batch, here it is each picture's; the upper bound is below a half, as otherwise the two textures could change places.
Where things are, the paper has from its saliency network; here from the beginning of the mask.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pentimento.errors import ModelError
from pentimento.layers import ConditionEmbedding, Decoder, truncate_normal
from pentimento.losses import generator_loss, total_variation
from pentimento.model import Batch, Condition, DataSpec
from pentimento.models.gan import GAN, Discriminator, GANBackbone
from pentimento.runtime import Draws

__all__ = ["CGN", "compose"]

TEXTURES = ("foreground", "background")
TURNS = (0.0, 0.25, 0.5, 0.75)  # directions in which the waves of a texture begin, in half turns
PERIOD_PX = 6.0  # and their period; both are learned from there, for each class
LOGIT_MAX = 4.0  # of a texture, beyond which it is pulled back: values of 5 and 250 of 255

# Added to the logits of a mask: 0 in the middle, falling with the squared distance (1 in the middle of an edge) to
# MASK_LEAST. A mask that began everywhere would take some classes' ground for their foreground.
MASK_FALL, MASK_LEAST = 6.0, -3.0

Share = Annotated[float, Field(ge=0, le=1)]


def compose(mask: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
    """``m f + (1 - m) b`` (eq. 4): (N, C, H, W) of (N, 1, H, W) and twice (N, C, H, W)."""
    return mask * foreground + (1 - mask) * background


def coverage_excess(mask: Tensor, low: float, high: float) -> Tensor:
    """By how much the mean of each mask lies outside [low, high], the mean over the batch; a scalar."""
    share = mask.mean((1, 2, 3))
    return (F.relu(low - share) + F.relu(share - high)).mean()


def border_mean(mask: Tensor) -> Tensor:
    """The mean of masks (N, 1, H, W) over their outermost eighth, on each of the four sides; a scalar."""
    down, across = (-(-side // 8) for side in mask.shape[2:])
    inner = mask[:, :, down:-down, across:-across]
    return (mask.sum() - inner.sum()) / (mask.numel() - inner.numel())


class Shape(nn.Module):
    """(N, latent_dim) and a label -> the mask (N, 1, H, W), in the stages ``input``, the decoder's, ``mask``."""

    prior: Tensor

    def __init__(self, spec: DataSpec, latent_dim: int, width: int, embed_dim: int) -> None:
        super().__init__()
        self.embed = ConditionEmbedding(spec, True, (), embed_dim)
        one = spec.model_copy(update={"channels": 1})
        self.decoder = Decoder(one, latent_dim + embed_dim, "conv", width, "batch")
        down, across = (torch.linspace(-1, 1, n).square() for n in (spec.height_px, spec.width_px))
        self.register_buffer("prior", (-MASK_FALL * (down[:, None] + across)).clamp(min=MASK_LEAST), persistent=False)
        self.stages = ("input", *(name for name in self.decoder.stages if name != "image"), "mask")

    def run_stage(self, stage: str, x: Tensor | None, z: Tensor, labels: Tensor) -> Tensor:
        if stage == "input":
            return self.embed.join(z, Condition(labels))  # (N, latent_dim + embed_dim)
        assert x is not None
        if stage == "mask":
            return (self.decoder.run_stage("image", x) + self.prior).sigmoid()
        return self.decoder.run_stage(stage, x)


class Texture(nn.Module):
    """A latent, a field of white noise, phases and a label -> a stationary texture, logits of (N, C, H, W) in [0, 1].

    A network of one hidden layer, the same at every pixel, whose first weights depend on latent and label. It sees the
    noise, raw and averaged over 3x3 pixels, and waves ``sin(k . p + phase)``. Every class has wave vectors k of its
    own, in radians a pixel; phases are random, so that a wave too is everywhere the same in distribution.
    """

    def __init__(self, spec: DataSpec, latent_dim: int, width: int, embed_dim: int) -> None:
        super().__init__()
        self.embed = ConditionEmbedding(spec, True, (), embed_dim)
        self.style = nn.Sequential(nn.Linear(latent_dim + embed_dim, 64), nn.LeakyReLU(0.2))
        k = 2 * math.pi / PERIOD_PX
        start = torch.tensor([[k * math.sin(a * math.pi), k * math.cos(a * math.pi)] for a in TURNS])  # down, across
        self.waves = nn.Parameter(start.repeat(len(spec.classes), 1, 1))  # (K, P, 2)
        self.look = nn.Linear(64, width * (1 + len(TURNS) + 2))
        for parameter in self.look.parameters():
            parameter.data.mul_(0.2)  # a texture begins as one colour
        self.colour = nn.Linear(width, spec.channels)
        self.tint = nn.Linear(64, spec.channels)
        self.width, self.size = width, (spec.height_px, spec.width_px)

    @property
    def field_shape(self) -> tuple[int, int, int]:
        """Of the white noise of one sample."""
        return (1, self.size[0] + 2, self.size[1] + 2)

    def forward(self, z: Tensor, field: Tensor, phase: Tensor, labels: Tensor) -> Tensor:
        style = self.style(self.embed.join(z, Condition(labels)))
        seen = [self._plane_waves(phase, labels), field[:, :, 1:-1, 1:-1], 3 * F.avg_pool2d(field, 3, stride=1)]
        pixels = torch.cat(seen, 1).flatten(2)  # (N, P + 2, H W)
        shift, look = self.look(style).view(len(z), self.width, -1).split([1, pixels.shape[1]], 2)
        hidden = F.leaky_relu(torch.baddbmm(shift, look, pixels), 0.2)  # (N, width, H W)
        values = (self.colour.weight @ hidden) + (self.tint(style) + self.colour.bias)[..., None]
        logits: Tensor = values.view(len(z), -1, *self.size)
        return logits

    def _plane_waves(self, phase: Tensor, labels: Tensor) -> Tensor:
        """(N, P, H, W) of phases (N, P) in turns."""
        down, across = (torch.arange(n, device=phase.device) for n in self.size)
        waves = self.waves[labels]  # (N, P, 2)
        angle = waves[:, :, :1, None] * down[:, None] + waves[:, :, 1:, None] * across
        return torch.sin(angle + 2 * math.pi * phase[..., None, None])


class Composer(nn.Module):
    """The three mechanisms."""

    def __init__(self, spec: DataSpec, latent_dim: int, style_dim: int, width: int, texture_width: int) -> None:
        super().__init__()
        self.shape = Shape(spec, latent_dim, width, embed_dim=latent_dim)
        self.foreground, self.background = (Texture(spec, style_dim, texture_width, embed_dim=16) for _ in TEXTURES)


class CGN(GAN):
    """Shape, foreground and background as networks of their own, composed, and a discriminator of the composition.

    Args:
        spec: of the data; it needs classes.
        conditional: whether there are labels, without which there is nothing to tell apart.
        backbone: of the discriminator, see `pentimento.layers`.
        width: channels at the finest level, of the shape mechanism and the discriminator.
        texture_width: hidden units of the textures.
        latent_dim: length of the latent of the shape.
        style_dim: length of the latent of each texture: what differs from picture to picture of a class.
        coverage: lowest and highest share of a picture that the foreground covers.
        coverage_weight: of what is outside.
        binary_weight: of ``4 m (1 - m)``, the mean over pixels.
        border_weight: of the mean of the mask over the outermost eighth of the picture's sides.
        smooth_weight: of the total variation of both textures.
        smooth_start: the same at the beginning; left out, all along.
        smooth_kimg: over so many thousand images it goes from the one to the other, by a constant factor.
        r1: weight of the zero-centred gradient penalty on real images, see `GAN`.
        r2: the same on composed images.
        penalty_every: penalise every so many updates, that much stronger.
        lr: learning rate of both players.
    """

    family = "cgn"
    mechanisms = ("shape", *TEXTURES)
    generator: Composer  # type: ignore[assignment]  # where a GAN has one network

    def __init__(
        self,
        *,
        spec: DataSpec,
        conditional: bool = True,
        backbone: GANBackbone = "dcgan",
        width: Annotated[int, Field(ge=1)] = 32,
        texture_width: Annotated[int, Field(ge=1)] = 8,
        latent_dim: Annotated[int, Field(ge=1)] = 64,
        style_dim: Annotated[int, Field(ge=1)] = 4,
        coverage: tuple[Share, Share] = (0.02, 0.3),
        coverage_weight: Annotated[float, Field(ge=0)] = 100.0,
        binary_weight: Annotated[float, Field(ge=0)] = 1.0,
        border_weight: Annotated[float, Field(ge=0)] = 0.0,
        smooth_weight: Annotated[float, Field(ge=0)] = 0.5,
        smooth_start: Annotated[float, Field(gt=0)] | None = None,
        smooth_kimg: Annotated[float, Field(gt=0)] = 100.0,
        r1: Annotated[float, Field(ge=0)] = 0.1,
        r2: Annotated[float, Field(ge=0)] = 0.1,
        penalty_every: Annotated[int, Field(ge=1)] = 4,
        lr: Annotated[float, Field(gt=0)] = 5e-4,
    ) -> None:
        super(GAN, self).__init__()
        if not conditional or not spec.classes:
            raise ModelError(
                "cgn: the data has no labels, so there is nothing to tell apart; put classes in subfolders"
            )
        if not coverage[0] < coverage[1]:
            raise ModelError(f"coverage: the lowest share first, below the highest, got {coverage[0]}, {coverage[1]}")
        self.generator = Composer(spec, latent_dim, style_dim, width, texture_width)
        trunk = "conv" if backbone == "dcgan" else backbone
        self.discriminator = Discriminator(spec, trunk, width, "none", False, (True, (), 64))
        self.kind, self.lr, self.augmentation = "relativistic", lr, None
        self.r1, self.r2, self.gp, self.penalty_every, self.critic_updates = r1, r2, 0.0, penalty_every, 1
        self.latent_dim, self.style_dim, self.coverage = latent_dim, style_dim, coverage
        self.coverage_weight, self.binary_weight, self.border_weight = coverage_weight, binary_weight, border_weight
        self.smooth_weight, self.smooth_start, self.smooth_kimg = smooth_weight, smooth_start, smooth_kimg

    # ------------------------------------------------------------------------------------------ training
    def loss(self, player: str, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """See `Model.loss`. The label of each picture goes to all mechanisms and to the discriminator."""
        told = Condition(batch.labels)
        noise = self._draw(draws, f"-{player}")
        if player == "discriminator":
            with torch.no_grad():
                fake = compose(*self.parts(noise, told))
            return self._discriminator_loss(batch, fake, draws)
        mask, textures = self._mask(noise, told), [self._logits(name, noise, told) for name in TEXTURES]
        foreground, background = (texture.sigmoid() for texture in textures)
        judged = [self.discriminator(x, told) for x in (compose(mask, foreground, background), batch.images)]
        deceived = generator_loss(self.kind, *judged)
        outside = coverage_excess(mask, *self.coverage)
        unsure = (4 * mask * (1 - mask)).mean()
        rough = total_variation(foreground) + total_variation(background)
        saturated = torch.stack([F.relu(texture.abs() - LOGIT_MAX).square().mean() for texture in textures]).sum()
        loss = deceived + self.coverage_weight * outside + self.binary_weight * unsure + saturated
        loss = loss + self.border_weight * border_mean(mask) + self._smoothness(draws.seen_kimg) * rough
        covered = mask.mean().detach()
        return {
            "loss": loss,
            "deceived": deceived.detach(),
            "covered": covered,
            "unsure": unsure.detach(),
            "rough": rough.detach(),
            "saturated": saturated.detach(),
        }

    def _smoothness(self, seen_kimg: float) -> float:
        """The weight of the textures' total variation after so many thousand images."""
        if self.smooth_start is None:
            return self.smooth_weight
        share = min(1.0, seen_kimg / self.smooth_kimg)
        return float(self.smooth_start ** (1 - share) * self.smooth_weight**share)

    # -------------------------------------------------------------------------------------- capabilities
    @property
    def stages(self) -> tuple[str, ...]:
        """See `Intervenes`: those of the shape, up to ``mask``; two at which a texture joins it; ``image``."""
        return (*self.generator.shape.stages, *(f"with_{name}" for name in TEXTURES), "image")

    def draw_noise(self, draws: Draws, truncation: float | None = None) -> dict[str, Tensor]:
        """Of each mechanism its ``_latent``, standard normal; of textures also ``_field`` and ``_phase`` (in turns)."""
        noise = self._draw(draws, "")
        if truncation is not None:
            noise |= {k: truncate_normal(v, truncation) for k, v in noise.items() if k.endswith("_latent")}
        return noise

    def _draw(self, draws: Draws, suffix: str) -> dict[str, Tensor]:
        noise = {"shape_latent": draws.normal(f"shape{suffix}", (self.latent_dim,))}
        for name in TEXTURES:
            texture: Texture = getattr(self.generator, name)
            noise[f"{name}_latent"] = draws.normal(f"{name}{suffix}", (self.style_dim,))
            noise[f"{name}_field"] = draws.uniform(f"{name}-field{suffix}", texture.field_shape, -1.0, 1.0)
            noise[f"{name}_phase"] = draws.uniform(f"{name}-phase{suffix}", (texture.waves.shape[1],))
        return noise

    def told(self, condition: Condition) -> dict[str, Tensor]:
        """The label of each mechanism by name, (N,) each: its own, where `condition` has it, else the picture's.

        Raises:
            ModelError: neither is given.
        """
        if condition.mechanisms is not None:
            return dict(zip(self.mechanisms, condition.mechanisms.T, strict=True))
        if condition.labels is None:
            raise ModelError("label: this model is conditioned on a class label; give one")
        return dict.fromkeys(self.mechanisms, condition.labels)

    def parts(self, noise: Mapping[str, Tensor], condition: Condition) -> tuple[Tensor, Tensor, Tensor]:
        """Mask (N, 1, H, W), foreground and background (N, C, H, W)."""
        foreground, background = (self._logits(name, noise, condition).sigmoid() for name in TEXTURES)
        return self._mask(noise, condition), foreground, background

    def _mask(self, noise: Mapping[str, Tensor], condition: Condition) -> Tensor:
        label, mask = self.told(condition)["shape"], None
        for stage in self.generator.shape.stages:
            mask = self.generator.shape.run_stage(stage, mask, noise["shape_latent"], label)
        assert mask is not None
        return mask

    def _logits(self, name: str, noise: Mapping[str, Tensor], condition: Condition) -> Tensor:
        """Of a texture, (N, C, H, W)."""
        texture: Texture = getattr(self.generator, name)
        drawn = (noise[f"{name}_{what}"] for what in ("latent", "field", "phase"))
        made: Tensor = texture(*drawn, self.told(condition)[name])
        return made

    def run_stage(self, stage: str, x: Tensor | None, noise: Mapping[str, Tensor], condition: Condition) -> Tensor:
        """See `Intervenes`. After ``with_foreground`` channels are the mask and f, after ``with_background`` also b."""
        if stage in self.generator.shape.stages:
            return self.generator.shape.run_stage(stage, x, noise["shape_latent"], self.told(condition)["shape"])
        assert x is not None
        if stage != "image":
            name = stage.removeprefix("with_")
            return torch.cat([x, self._logits(name, noise, condition).sigmoid()], 1)
        channels = self.spec.channels
        return compose(x[:, :1], x[:, 1 : 1 + channels], x[:, 1 + channels :]).clamp(0, 1)
