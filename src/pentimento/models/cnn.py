"""Autoregressive convolutional networks: a gated PixelCNN (van den Oord et al. 2016), unconditional or conditional.

An image is a sequence of pixels in reading order, and a pixel is drawn given all before it, so that the likelihood is
exact:  log p(x) = sum_ij log p(x_ij | x_<ij).

    v -> vertical stack: at (i, j) it has seen the rows up to i      h -> horizontal stack: rows above i, and row i up
    to j      both (N, width, H, W)      gate(a) = tanh(a[:F]) sigmoid(a[F:])      u -> uniform noise, one a channel

The two stacks see everything before a pixel; masked 3x3 filters alone would leave a blind spot. `order="reversed"`
reads from the last pixel to the first, for models that keep the lower part of a picture and regenerate the upper.

A horizontal stack never looks across rows, so drawing costs, per pixel, one position of the horizontal stack and, per
row, one row of the vertical one: linear in the image, where evaluating the whole network for each pixel is quadratic.

What a pixel is:
``bernoulli``  0 or 1, drawn anew from its gray value at every look, as in `pentimento.models.vae`
``logistic``   one of 256 values under a mixture of discretised logistics (Salimans et al. 2017)
A later channel depends linearly on those before it, per pixel with learned weights (section 2.2 there).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pentimento.errors import ModelError
from pentimento.layers import ConditionEmbedding
from pentimento.losses import bernoulli_log_prob, logistic_log_mass
from pentimento.model import Batch, Condition, DataSpec, Model, Player
from pentimento.runtime import Draws
from pentimento.sampling import run_stages

__all__ = ["CNN"]

FIRST = 7  # side of the first filter, which sees the picture itself


class CNN(Model):
    """An autoregressive CNN: exact likelihood; draws and redraws pixel by pixel, region by region.

    Args:
        spec: of the data.
        width: features of each stack.
        layers: gated layers after the first.
        kernel_px: side of their filters, odd.
        likelihood: see the module.
        mixtures: logistics in the mixture of a pixel.
        order: of the pixels.
        regions: bands of rows in which a picture is drawn, one stage each.
        conditional: whether to condition on the class label.
        attributes: names of the attributes to condition on.
        embed_dim: length of the condition's embedding.
        lr: learning rate.
    """

    family = "cnn"
    monitor = "loss"

    def __init__(
        self,
        *,
        spec: DataSpec,
        width: Annotated[int, Field(ge=1)] = 32,
        layers: Annotated[int, Field(ge=1)] = 8,
        kernel_px: Annotated[int, Field(ge=3)] = 3,
        likelihood: Literal["bernoulli", "logistic"] = "logistic",
        mixtures: Annotated[int, Field(ge=1)] = 10,
        order: Literal["raster", "reversed"] = "raster",
        regions: Annotated[int, Field(ge=1)] = 4,
        conditional: bool = False,
        attributes: tuple[str, ...] = (),
        embed_dim: Annotated[int, Field(ge=1)] = 32,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
    ) -> None:
        super().__init__()
        if kernel_px % 2 == 0:
            raise ModelError(f"kernel_px: an odd number is expected, for a filter needs a centre; got {kernel_px}")
        self.embed = ConditionEmbedding(spec, conditional, attributes, embed_dim)
        # Beside the picture, a channel of ones tells the border, where filters see zeros, from black.
        self.first = GatedLayer(spec.channels + 1, width, FIRST, self.embed.dim, first=True)
        self.layers = nn.ModuleList(GatedLayer(width, width, kernel_px, self.embed.dim) for _ in range(layers))
        self.pixels = BernoulliPixels(spec) if likelihood == "bernoulli" else LogisticPixels(spec, mixtures)
        self.head = nn.Sequential(
            nn.ReLU(), nn.Conv2d(width, 2 * width, 1), nn.ReLU(), nn.Conv2d(2 * width, self.pixels.out_dim, 1)
        )
        self.likelihood, self.image_shape, self.lr = likelihood, spec.image_shape, lr
        self.reversed = order == "reversed"
        bands = min(regions, spec.height_px)
        edges = [round(k * spec.height_px / bands) for k in range(bands + 1)]
        self.bands = {f"region{k + 1}": range(edges[k], edges[k + 1]) for k in range(bands)}

    # ------------------------------------------------------------------------------------------ training
    def players(self) -> tuple[Player, ...]:
        """One."""
        return (Player("cnn", ("embed", "first", "layers", "head"), lr=self.lr),)

    def loss(self, player: str, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """See `Model.loss`: minus the log-likelihood in nats per image; ``"bits_per_dim"`` is the same per value."""
        nll = -self.score(batch, draws)["log_likelihood"].mean()
        return {"loss": nll, "bits_per_dim": nll.detach() / (math.prod(self.image_shape) * math.log(2))}

    def score(self, batch: Batch, draws: Draws, importance_samples: int = 1) -> dict[str, Tensor]:
        """``"log_likelihood"``: log p(x | c), (N,), in nats, exact: more `importance_samples` change nothing."""
        x = self._turned(self.pixels.observed(batch.images, draws))
        return {"log_likelihood": self.pixels.log_prob(self._distribution(x, batch.condition).float(), x)}

    def _distribution(self, x: Tensor, condition: Condition) -> Tensor:
        """(N, out_dim, H, W): the distribution of each pixel given those before it; `x` in the model's order."""
        told = self.embed(condition) if self.embed.dim else None
        seen = with_ones(x)
        v, h = self.first(seen, seen, told)
        for layer in self.layers:
            v, h = layer(v, h, told)
        parameters: Tensor = self.head(h)
        return parameters

    def _turned(self, x: Tensor) -> Tensor:
        """Between the picture's order and the model's, both ways."""
        return x.flip(2, 3) if self.reversed else x

    # -------------------------------------------------------------------------------------- capabilities
    @property
    def stages(self) -> tuple[str, ...]:
        """See `Intervenes`: one a region, in the order in which they are drawn."""
        return tuple(self.bands)

    def draw_noise(self, draws: Draws, truncation: float | None = None) -> dict[str, Tensor]:
        """``"pixels"``: (N, C + 1, H, W), uniform; the last channel picks the component of a mixture.

        Raises:
            ModelError: a truncation, which is for models with latents.
        """
        if truncation is not None:
            raise ModelError("truncation: an autoregressive model has no latent to truncate")
        channels, *size = self.image_shape
        return {"pixels": draws.uniform("pixels", (channels + 1, *size))}

    def run_stage(self, stage: str, x: Tensor | None, noise: Mapping[str, Tensor], condition: Condition) -> Tensor:
        """See `Intervenes`: `x` with its rows of region `stage` drawn; what is not yet drawn is black."""
        u = noise["pixels"]
        rows = self.bands[stage]
        wanted = torch.zeros(u.shape[2:], dtype=torch.bool)
        wanted[rows.start : rows.stop] = True
        start = torch.zeros_like(u[:, :-1]) if x is None else self._turned(x)
        return self._turned(self._draw(start, wanted, self._turned(u), condition))

    def sample(self, noise: Mapping[str, Tensor], condition: Condition) -> Tensor:
        """See `Samples`."""
        return run_stages(self, noise, condition)

    def regenerate(self, images: Tensor, masks: Tensor, noise: Mapping[str, Tensor], condition: Condition) -> Tensor:
        """See `Regenerates`: each pixel under the mask is drawn given those before it in the model's order."""
        masks = masks > 0.5
        start, u = self._turned(self.pixels.observed(images, None)), self._turned(noise["pixels"])
        wanted = self._turned(masks.any(0, keepdim=True))[0, 0].cpu()
        return torch.where(masks, self._turned(self._draw(start, wanted, u, condition, self._turned(masks))), images)

    def _draw(
        self, start: Tensor, wanted: Tensor, u: Tensor, condition: Condition, masks: Tensor | None = None
    ) -> Tensor:
        """`start` (N, C, H, W) with pixels drawn anew, one after another; all arguments in the model's order.

        Args:
            start: what stands where nothing is drawn.
            wanted: (H, W) bool on the CPU, the pixels to draw.
            u: (N, C + 1, H, W), see `draw_noise`.
            condition: of the N samples.
            masks: (N, 1, H, W) bool, where not every sample is to be drawn at all pixels `wanted`.
        """
        x = start.clone()
        last = [int(row.nonzero().max()) if row.any() else -1 for row in wanted]  # column to be drawn in each row
        memory = Memory([self.first, *self.layers], x, self.embed(condition) if self.embed.dim else None)
        for i in range(int(wanted.any(1).nonzero().max()) + 1 if wanted.any() else 0):
            for j in range(last[i] + 1):
                h = memory.step(with_ones(x[:, :, i, j - 1]) if j else None, j)
                if wanted[i, j]:
                    parameters = self.head(h[:, :, None, None])[:, :, 0, 0]  # (N, out_dim)
                    drawn = self.pixels.draw(parameters.float(), u[:, :, i, j]).to(x.dtype)
                    x[:, :, i, j] = drawn if masks is None else torch.where(masks[:, :, i, j], drawn, x[:, :, i, j])
            memory.end_row(with_ones(x[:, :, i : i + 1]))
        return x


# ---------------------------------------------------------------------------------------------- the stacks
class GatedLayer(nn.Module):
    """One layer of both stacks (van den Oord et al. 2016, figure 2); here the vertical one is residual, too.

    The `first` layer sees the picture, so its horizontal filter ends left of the pixel, and nothing is added to what
    it makes. What the vertical stack knows of a row enters the horizontal one in the row below.
    """

    def __init__(self, in_channels: int, width: int, kernel_px: int, told_dim: int, first: bool = False) -> None:
        super().__init__()
        self.reach, self.first = kernel_px // 2, first
        self.vertical = nn.Conv2d(in_channels, 2 * width, (self.reach + 1, kernel_px))
        self.horizontal = nn.Conv2d(in_channels, 2 * width, (1, self.reach + (not first)))
        self.down = nn.Conv2d(width, 2 * width, 1, bias=False)
        self.out = nn.Conv2d(width, width, 1)
        self.tell = nn.Linear(told_dim, 4 * width, bias=False) if told_dim else None

    def told(self, condition: Tensor | None) -> tuple[Tensor | float, Tensor | float]:
        """What the condition's embedding (N, told_dim) adds to each stack before its gate."""
        if self.tell is None:
            return 0.0, 0.0
        to_v, to_h = self.tell(condition)[:, :, None, None].chunk(2, 1)  # (N, 2 width, 1, 1)
        return to_v, to_h

    def forward(self, v: Tensor, h: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """(N, in_channels, H, W) twice -> (N, width, H, W) twice."""
        to_v, to_h = self.told(condition)
        v = self.next_v(v, F.pad(v, (self.reach, self.reach, self.reach, 0)), to_v)
        above = F.pad(self.down(v), (0, 0, 1, 0))[:, :, :-1]
        seen = F.pad(h, (self.reach, -1 if self.first else 0))
        made = self.out(gate(self.horizontal(seen) + above + to_h))
        return v, made if self.first else h + made

    def next_v(self, v: Tensor, seen: Tensor, to_v: Tensor | float) -> Tensor:
        """The vertical stack after this layer; `seen` is `v` with the rows above it and the columns beside it."""
        made = gate(self.vertical(seen) + to_v)
        return made if self.first else v + made


def gate(x: Tensor) -> Tensor:
    """(N, 2 F, ...) -> (N, F, ...)."""
    a, b = x.chunk(2, 1)
    return a.tanh() * b.sigmoid()


def with_ones(x: Tensor) -> Tensor:
    """(N, C, ...) in [0, 1] -> (N, C + 1, ...) in [-1, 1], the last of ones."""
    return torch.cat([x * 2 - 1, torch.ones_like(x[:, :1])], 1)


class Memory:
    """What the layers made of the pixels so far, so that nothing is computed twice.

    Args:
        layers: of the model.
        x: (N, C, H, W), for its shape, type and device.
        condition: its embedding, (N, embed_dim).
    """

    def __init__(self, layers: Sequence[GatedLayer], x: Tensor, condition: Tensor | None) -> None:
        self.layers, self.columns = layers, x.shape[3]
        self.told = [layer.told(condition) for layer in layers]
        # What each vertical filter needs of the rows so far, between borders of zeros: (N, F, reach + 1, W + 2 reach).
        self.rows = [
            x.new_zeros(len(x), la.vertical.in_channels, la.reach + 1, self.columns + 2 * la.reach) for la in layers
        ]
        # What enters each horizontal gate besides its filter: (N, 2 F, 1, W).
        self.above = [
            x.new_zeros(len(x), la.down.out_channels, 1, self.columns) + to_h
            for la, (_, to_h) in zip(layers, self.told, strict=True)
        ]
        self._clear_row()

    def _clear_row(self) -> None:
        """Begin a row: the inputs of each horizontal filter, (N, F, reach + 1 + W), column j at j + reach + 1."""
        self.left = [
            above.new_zeros(len(above), la.horizontal.in_channels, la.reach + 1 + self.columns)
            for la, above in zip(self.layers, self.above, strict=True)
        ]

    def step(self, before: Tensor | None, j: int) -> Tensor:
        """The horizontal stack after the last layer at column `j`, (N, F), all columns before it being done.

        Args:
            before: (N, C + 1), the pixel left of it; None for the first column.
            j: the column.
        """
        h = before
        for k, layer in enumerate(self.layers):
            left, filtered = self.left[k], layer.horizontal
            if h is not None:
                left[:, :, j + layer.reach + (k > 0)] = h
            seen = left[:, :, j + 1 : j + 1 + filtered.kernel_size[1]]
            made = gate(
                F.linear(seen.flatten(1), filtered.weight.flatten(1), filtered.bias) + self.above[k][:, :, 0, j]
            )
            made = F.linear(made, layer.out.weight.flatten(1), layer.out.bias)
            h = made if layer.first or h is None else h + made
        assert h is not None
        return h

    def end_row(self, row: Tensor) -> None:
        """Carry a finished row (N, C + 1, 1, W) down the vertical stack."""
        v = row
        for k, (layer, (to_v, to_h)) in enumerate(zip(self.layers, self.told, strict=True)):
            self.rows[k] = torch.cat([self.rows[k][:, :, 1:], F.pad(v, (layer.reach, layer.reach))], 2)
            v = layer.next_v(v, self.rows[k], to_v)
            self.above[k] = layer.down(v) + to_h
        self._clear_row()


# ---------------------------------------------------------------------------------------------- the pixels
class BernoulliPixels(nn.Module):
    """0 or 1 per channel; the logit of a channel is linear in the channels before it. No weights of its own."""

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.channels = spec.channels
        self.out_dim = spec.channels * (spec.channels + 1) // 2

    def observed(self, images: Tensor, draws: Draws | None) -> Tensor:
        """(N, C, H, W) of 0 and 1; without `draws`, the likelier of the two."""
        return (images > (0.5 if draws is None else draws.uniform("binarize", images.shape[1:]))).to(images.dtype)

    def _logit(self, parameters: Tensor, channel: int, x: Tensor) -> Tensor:
        first = self.channels + channel * (channel - 1) // 2
        weights = parameters[:, first : first + channel]
        return parameters[:, channel] + (weights * (2 * x[:, :channel] - 1)).sum(1)

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """(N,) nats of `x` (N, C, H, W) under `parameters` (N, out_dim, H, W)."""
        logits = torch.stack([self._logit(parameters, c, x) for c in range(self.channels)], 1)
        return bernoulli_log_prob(logits, x)

    def draw(self, parameters: Tensor, u: Tensor) -> Tensor:
        """(N, C) values from `parameters` (N, out_dim) and uniform `u` (N, C + 1)."""
        x = u.new_zeros(len(u), self.channels)
        for c in range(self.channels):
            x[:, c] = (u[:, c] < self._logit(parameters, c, x).sigmoid()).float()
        return x


class LogisticPixels(nn.Module):
    """A mixture of discretised logistics per pixel; the mean of a channel is linear in the channels before it.

    Of each of K components: the logit of its weight, and per channel a mean and a log scale, for x in [-1, 1]; and a
    coefficient for every pair of channels.
    """

    def __init__(self, spec: DataSpec, mixtures: int) -> None:
        super().__init__()
        self.channels, self.mixtures = spec.channels, mixtures
        self.pairs = spec.channels * (spec.channels - 1) // 2
        self.out_dim = mixtures * (1 + 2 * spec.channels + self.pairs)

    def observed(self, images: Tensor, draws: Draws | None) -> Tensor:
        """(N, C, H, W), multiples of 1/255."""
        return (images * 255).round() / 255

    def _parts(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, K, ...) log weights and (N, C or pairs, K, ...) means, log scales and coefficients."""
        c = self.channels
        grouped = parameters.reshape(
            len(parameters), -1, self.mixtures, *parameters.shape[2:]
        )  # (N, 1 + 2 C + pairs, K, ...)
        means, scales, pairs = grouped[:, 1 : c + 1], grouped[:, c + 1 : 2 * c + 1], grouped[:, 2 * c + 1 :]
        return grouped[:, 0].log_softmax(1), means, scales.clamp(min=-7.0), pairs.tanh()

    def _mean(self, means: Tensor, pairs: Tensor, channel: int, x: Tensor) -> Tensor:
        """(N, K, ...) means of a channel, given `x` (N, C, 1, ...) of those before it, in [-1, 1]."""
        first = channel * (channel - 1) // 2
        return means[:, channel] + (pairs[:, first : first + channel] * x[:, :channel]).sum(1)

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """(N,) nats of `x` (N, C, H, W) under `parameters` (N, out_dim, H, W)."""
        log_weights, means, scales, pairs = self._parts(parameters)
        centred = 2 * x[:, :, None] - 1  # (N, C, 1, H, W)
        mean = torch.stack([self._mean(means, pairs, c, centred) for c in range(self.channels)], 1)
        mass = logistic_log_mass((mean + 1) / 2, scales - math.log(2), x[:, :, None])  # (N, C, K, H, W)
        return (log_weights + mass.sum(1)).logsumexp(1).flatten(1).sum(1)

    def draw(self, parameters: Tensor, u: Tensor) -> Tensor:
        """(N, C) values from `parameters` (N, out_dim) and uniform `u` (N, C + 1)."""
        log_weights, means, scales, pairs = self._parts(parameters)
        below = log_weights.exp().cumsum(1) < u[:, -1:]
        chosen = below.sum(1).clamp(max=self.mixtures - 1)[:, None]  # (N, 1)
        x = u.new_zeros(len(u), self.channels, 1)
        for c in range(self.channels):
            mean = self._mean(means, pairs, c, x).gather(1, chosen)
            drawn = mean + scales[:, c].gather(1, chosen).exp() * torch.logit(u[:, c : c + 1])
            x[:, c] = ((drawn.clamp(-1, 1) + 1) / 2 * 255).round() / 255 * 2 - 1
        return (x[..., 0] + 1) / 2
