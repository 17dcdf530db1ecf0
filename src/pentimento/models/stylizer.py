"""Any picture in the look of any other, in one pass (after AdaIN, Huang and Belongie 2017; Ghiasi et al. 2017).

    x -> content     s -> a painting     v -> its style vector     a -> strength     y -> the picture made
    f_k = E_k(x)                                                        maps at 1/2, 1/4, 1/8, 1/16 of the size
    v   = A (mean and deviation of the maps of s)                       what a painting is to the decoder
    g_k = (1 - a) f_k + a (gamma_k(v) (f_k - mu_k) / sigma_k + beta_k(v))    adaptive instance normalization
    y   = D(g_1, g_2, g_3, g_4; a v)                                    whose blocks v scales and shifts too

At a = 0 the decoder has the content's own maps and gives the content back. All that looks at the whole picture are mu
and sigma: measured over all tiles beforehand, they make the tiled picture the same as the whole one.

Where we differ: the encoder is small and learned with the rest, where theirs is VGG-19; pixels are rearranged in
blocks of 2, so that next to nothing runs at full resolution; the coarser maps are joined by the finer ones (U-Net),
each normalized; the decoder's blocks are modulated. All for speed. What comes of it is softened a little, and its
grain held to the painting's: a network that is asked to please another finds ripples to do it with, two pixels wide.
What is left of them is taken out afterwards, and not in training: there, others came in their place.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pentimento.capabilities import Reach
from pentimento.data.fit import recolour
from pentimento.errors import ModelError
from pentimento.layers import FEATURE_LAYERS, feature_stages, pad_to_multiple
from pentimento.losses import grain_distance, gram, mean_and_deviation, relative_distance, total_variation
from pentimento.model import Batch, DataSpec, Model, Player
from pentimento.runtime import Draws

__all__ = ["Stylizer"]

MARGIN = 0.25  # beyond white and black that the losses look at; what lies farther is called back
MOST = 10.0  # that a layer can miss of a style
CALL_BACK = 100.0  # weight of the squared distance from there
SOFTNESS = 1 / 16  # of a pixel goes to each of its neighbours
NARROWNESS = 15  # of what is taken out around ripples of two pixels; in pixels, how far that looks


class Stylizer(Model):
    """Renders photographs in the look of paintings; learns from folders of both, which need not go together.

    The losses are relative: 1 is a content map of which nothing is left, or a style of which nothing is reached.

    Args:
        spec: of the photographs.
        widths: channels of the maps, the finest first.
        blocks: residual blocks on each level of the decoder; the encoder has one on each.
        shrink: side of the blocks of pixels that become channels: 4 is faster, and shows them.
        style_widths: channels of the maps that a painting is seen in, as those of `pentimento.models.perceptual`.
        style_dim: length of the style vector.
        content_layer: of the borrowed network ``perceptual``.
        style_layers: likewise.
        content_weight: of the loss on the content's map.
        style_weight: of the loss on the style's Gram matrices.
        identity_weight: of the loss at strength 0, for which a quarter of the pictures, at least one, are used.
        smooth_weight: of the total variation.
        grain_weight: of the distance from the painting's palette and grain, see `pentimento.losses.grain_distance`.
        lr: learning rate.
    """

    family = "stylizer"
    monitor = "loss"
    unpaired = True

    def __init__(
        self,
        *,
        spec: DataSpec,
        widths: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (24, 64, 112, 144),
        blocks: tuple[Annotated[int, Field(ge=0)], ...] = (3, 3, 1, 3),
        shrink: Literal[2, 4] = 2,
        style_widths: Annotated[
            tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, max_length=len(FEATURE_LAYERS))
        ] = (16, 32, 64, 128),
        style_dim: Annotated[int, Field(ge=1)] = 128,
        content_layer: str = "relu4_1",
        style_layers: Annotated[tuple[str, ...], Field(min_length=1)] = (
            "relu1_1",
            "relu2_1",
            "relu3_1",
            "relu4_1",
            "relu5_1",
        ),
        content_weight: Annotated[float, Field(ge=0)] = 1.0,
        style_weight: Annotated[float, Field(ge=0)] = 10.0,
        identity_weight: Annotated[float, Field(ge=0)] = 100.0,
        smooth_weight: Annotated[float, Field(ge=0)] = 0.0,
        grain_weight: Annotated[float, Field(ge=0)] = 0.0,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
    ) -> None:
        super().__init__()
        if spec.channels != 3:
            raise ModelError("stylizer: paints in colour; set data.channels to 3")
        if not any((content_weight, style_weight, identity_weight, smooth_weight, grain_weight)):
            raise ModelError(
                "content_weight, style_weight, identity_weight, smooth_weight, grain_weight: one of them must be above "
                "0; 1, 10, 100, 0 and 0 are usual"
            )
        if len(blocks) != len(widths):
            raise ModelError(f"blocks: one number for each of the {len(widths)} widths expected, got {len(blocks)}")
        self.widths, self.content_layer, self.style_layers = widths, content_layer, tuple(style_layers)
        self.content_weight, self.style_weight = content_weight, style_weight
        self.identity_weight, self.smooth_weight, self.grain_weight = identity_weight, smooth_weight, grain_weight
        self.shrink, self.lr = shrink, lr
        self.encoder = ContentEncoder(widths, shrink)
        self.stages = feature_stages(style_widths)
        self.summary = nn.Linear(2 * sum(style_widths), style_dim)
        self.decoder = StyleDecoder(widths, blocks, style_dim, shrink)

    # ------------------------------------------------------------------------------------------ training
    @classmethod
    def borrows(cls, config: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG003
        """A network whose maps tell content and style apart."""
        return ("perceptual",)

    def players(self) -> tuple[Player, ...]:
        """One."""
        return (Player("stylizer", ("encoder", "stages", "summary", "decoder"), lr=self.lr),)

    def loss(self, player: str, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """See `Model.loss`. The first quarter of the pictures is to come back as it is, at strength 0.

        Of fewer than four it is the first; one alone is taken twice: to come back, and to be painted.
        """
        x, s = batch.images, self._paintings(batch)
        if len(x) == 1:
            x, s = x.expand(2, -1, -1, -1), s.expand(2, -1, -1, -1)
        kept = max(1, len(x) // 4)
        strength = (torch.arange(len(x), device=x.device) >= kept).float().view(-1, 1, 1, 1)
        y = self.decoder(self.encoder(x), self.encode_style(s), strength)[..., : x.shape[2], : x.shape[3]]
        painted = y[kept:].clamp(-MARGIN, 1 + MARGIN)  # Gram matrices grow with the fourth power
        content, style = self._distances(painted, x[kept:], s[kept:])
        smooth, grain = total_variation(painted), grain_distance(painted, s[kept:]).mean()
        total = self.content_weight * content + self.style_weight * style
        total = total + self.smooth_weight * smooth + self.grain_weight * grain
        total = total + self.identity_weight * (y[:kept] - x[:kept]).square().mean()
        total = total + CALL_BACK * (y[kept:] - painted).square().mean()
        return {"loss": total, "content": content.detach(), "style": style.detach(), "grain": grain.detach()}

    def check(self, batch: Batch) -> None:
        """See `Model.check`; the layers too must be there, and the pictures large enough for them."""
        with torch.no_grad():
            self._distances(batch.images, batch.images, self._paintings(batch))

    def _paintings(self, batch: Batch) -> Tensor:
        if batch.targets is None:
            raise ModelError("stylizer: learns from photographs and paintings; name the paintings: --second")
        return batch.targets

    def _distances(self, y: Tensor, x: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Of y from the content of x and from the style of s, means over pictures and layers, each relative."""
        network: Any = self.attached["perceptual"]
        with torch.no_grad():
            content = network.maps(x, [self.content_layer])[self.content_layer].float()
            grams = {k: gram(m.float()) for k, m in network.maps(s, self.style_layers).items()}
        made = network.maps(y, {*self.style_layers, self.content_layer})
        lost = relative_distance(made[self.content_layer].float(), content)
        # A patch of a painting that shows next to nothing would count for more than all others.
        missed = [relative_distance(gram(made[k].float()), wanted).clamp(max=MOST) for k, wanted in grams.items()]
        return lost.mean(), torch.stack(missed).mean()

    # -------------------------------------------------------------------------------------- capabilities
    def encode_style(self, images: Tensor) -> Tensor:
        """(N, style_dim) style vectors of (N, C, H, W) pictures of any size, for `stylize`."""
        x, found = recolour(images, 3) * 2 - 1, []
        for stage in self.stages.values():
            x = stage(x)
            found += [m.flatten(1) for m in mean_and_deviation(x.float())]
        vectors: Tensor = self.summary(torch.cat(found, 1))
        return F.layer_norm(vectors, vectors.shape[1:])  # no painting asks for more than any other

    def content_maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """The maps f_k of (N, C, H, W) pictures, the finest first: one position for every ``stride`` pixels."""
        maps: tuple[Tensor, ...] = self.encoder(recolour(images, 3))
        return maps

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels to a position of each map, along a side."""
        return tuple(self.shrink * 2**k for k in range(len(self.widths)))

    def stylize(
        self,
        images: Tensor,
        styles: Tensor,
        strength: float = 1.0,
        moments: Sequence[tuple[Tensor, Tensor]] | None = None,
    ) -> Tensor:
        """See `Stylizes`."""
        a = torch.full((len(images), 1, 1, 1), strength, device=images.device)
        made = without_ripples(self.decoder(self.content_maps(images), styles, a, moments))
        return made[..., : images.shape[2], : images.shape[3]]

    @property
    def reach(self) -> Reach:
        """See `Stylizes`. Bytes are those of the maps and pictures, and a third more, which convolutions work in."""
        numbers = sum((8 if k == 0 else 16 / 3) * w / 4**k for k, w in enumerate(self.widths)) / self.shrink**2 + 16
        multiple = self.strides[-1]
        return Reach(multiple, overlap_px=8 * multiple, bytes_per_px=round(4 * numbers))


# ------------------------------------------------------------------------------------------------ networks
class ContentEncoder(nn.Module):
    """(N, 3, H, W) in [0, 1] -> maps of `widths` channels at 1/shrink of the size, half of that, ...; padded first."""

    def __init__(self, widths: Sequence[int], shrink: int) -> None:
        super().__init__()
        self.shrink = shrink
        self.multiple = shrink * 2 ** (len(widths) - 1)
        self.head = _conv(3 * shrink**2, widths[0])
        self.blocks = nn.ModuleList(Block(w) for w in widths)
        self.descend = nn.ModuleList(nn.Conv2d(n, m, 2, stride=2) for n, m in itertools.pairwise(widths))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = F.pixel_unshuffle(pad_to_multiple(x, self.multiple) * 2 - 1, self.shrink)
        maps = [self.blocks[0](self.head(x))]
        for halve, block in zip(self.descend, list(self.blocks)[1:], strict=True):
            maps.append(block(halve(maps[-1])))
        return tuple(maps)


class StyleDecoder(nn.Module):
    """Maps of the content and a style vector -> (N, 3, H, W), of the padded size.

    Args:
        widths: of the maps, the finest first.
        blocks: on each level.
        style_dim: length of the style vector.
        shrink: side of the blocks of pixels that the result is put together from.
    """

    def __init__(self, widths: Sequence[int], blocks: Sequence[int], style_dim: int, shrink: int) -> None:
        super().__init__()
        self.shrink = shrink
        self.statistics = nn.ModuleList(Modulation(style_dim, w) for w in widths)
        self.blocks = nn.ModuleList(
            nn.ModuleList(Block(w, style_dim) for _ in range(n)) for w, n in zip(widths, blocks, strict=True)
        )
        self.ascend = nn.ModuleList(nn.Conv2d(m, n, 1) for n, m in itertools.pairwise(widths))
        self.tail = _conv(widths[0], 3 * shrink**2)

    def forward(
        self,
        maps: Sequence[Tensor],
        styles: Tensor,
        strength: Tensor,
        moments: Sequence[tuple[Tensor, Tensor]] | None = None,
    ) -> Tensor:
        """Of styles (N, style_dim) and strength (N, 1, 1, 1); `moments` of the whole picture, where maps are a part."""
        moments = [mean_and_deviation(f.float()) for f in maps] if moments is None else moments
        x: Tensor | None = None
        for k in reversed(range(len(maps))):
            mean, deviation = moments[k]
            normal = ((maps[k].float() - mean) / deviation).to(maps[k].dtype)
            g = torch.lerp(maps[k], self.statistics[k](normal, styles), strength.to(maps[k].dtype))
            x = g if x is None else g + F.interpolate(self.ascend[k](x), scale_factor=2, mode="bilinear")
            for block in cast(nn.ModuleList, self.blocks[k]):
                x = block(x, styles, strength)
        made = softened(F.pixel_shuffle(self.tail(x).float(), self.shrink))
        return (made + 1) / 2  # in bf16, 1 + x has steps of 2 of 255


class Block(nn.Module):
    """``x + conv(relu(conv(x)))``, with what is inside scaled and shifted by a style vector, where one is given.

    Begins as the identity: a trained network that is given more of them, with ``--init``, goes on from where it was.
    """

    def __init__(self, channels: int, style_dim: int = 0) -> None:
        super().__init__()
        self.first, self.second = _conv(channels, channels), _conv(channels, channels)
        self.modulation = Modulation(style_dim, channels) if style_dim else None
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(cast(Tensor, self.second.bias))

    def forward(self, x: Tensor, styles: Tensor | None = None, strength: Tensor | None = None) -> Tensor:
        h = self.first(x)
        if self.modulation is not None and styles is not None and strength is not None:
            h = torch.lerp(h, self.modulation(h, styles), strength.to(h.dtype))
        out: Tensor = x + self.second(F.relu(h))
        return out


class Modulation(nn.Module):
    """``gamma(v) x + beta(v)`` by channel; begins as the identity for every v."""

    def __init__(self, style_dim: int, channels: int) -> None:
        super().__init__()
        self.affine = nn.Linear(style_dim, 2 * channels)
        nn.init.normal_(self.affine.weight, std=0.02)
        with torch.no_grad():
            self.affine.bias.copy_(torch.cat([torch.ones(channels), torch.zeros(channels)]))

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        gamma, beta = self.affine(styles)[..., None, None].chunk(2, 1)
        out: Tensor = gamma.to(x.dtype) * x + beta.to(x.dtype)
        return out


def softened(x: Tensor) -> Tensor:
    """(N, C, H, W) after a step of diffusion, down and across: what is even stays, the finest ripple loses most."""
    for dim in (2, 3):
        steps = SOFTNESS * x.diff(dim=dim)
        x = x.clone()
        x.narrow(dim, 0, steps.shape[dim]).add_(steps)
        x.narrow(dim, 1, steps.shape[dim]).sub_(steps)
    return x


def without_ripples(x: Tensor) -> Tensor:
    """(N, C, H, W) without the ripples of two pixels that pixel shuffling leaves, down and across.

    Of a wave of p pixels ``1 - sin(pi / p) ** (2 * NARROWNESS)`` is left: all of what is even, none of two pixels, 99 %
    of three.
    """
    n = NARROWNESS
    taps = x.new_tensor([(i == n) - (-1) ** (i - n) * math.comb(2 * n, i) / 4**n for i in range(2 * n + 1)])
    x = x.contiguous(memory_format=torch.channels_last)  # six times as fast
    with torch.autocast(x.device.type, enabled=False):
        for kernel, sides in ((taps[None], (n, n, 0, 0)), (taps[:, None], (0, 0, n, n))):
            padded = F.pad(x, sides, mode="reflect" if n < min(x.shape[2:]) else "replicate")  # ripples go on in step
            x = F.conv2d(padded, kernel.expand(x.shape[1], 1, -1, -1), groups=x.shape[1])
    return x


def _conv(n: int, m: int) -> nn.Conv2d:
    """With the border repeated beyond it: zeros would leave a frame."""
    return nn.Conv2d(n, m, 3, padding=1, padding_mode="replicate")
