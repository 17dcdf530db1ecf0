"""What the families that repair pictures share: what they are told, what they learn from, and how they are run.

    y -> the damaged picture     x -> what it should become     m -> 1 where pixels are missing
    s -> how badly it was damaged: sigma / 255 of noise, or (100 - JPEG quality) / 100

A network sees y (where m is 1, what surrounds it, smoothed), s as a map and m, and gives x - y: what to change. For
enlargement, y is brought to the new size first. Where s is not told, a small estimator guesses it, trained alongside.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pentimento.capabilities import Reach
from pentimento.errors import ModelError
from pentimento.layers import HOLE_GRID_PX, HOLE_REACH_PX, PatchDiscriminator, fill_holes, pad_to_multiple
from pentimento.losses import (
    PictureLosses,
    charbonnier,
    discriminator_loss,
    generator_loss,
    log_squared_distance,
    perceptual_distance,
)
from pentimento.model import Batch, DataSpec, Model, Player
from pentimento.runtime import Draws

__all__ = ["FEW", "RestoringModel", "StrengthEstimator", "Told", "mistold"]

FEW = 4 / 255  # of the strength: about as much as the guess is wrong by

Told = Literal["nothing", "noise", "jpeg"]


class RestoringModel(Model):
    """Base of the restoring families: all but the network itself, which a family gives in `_passes`.

    Args:
        spec: of the clean pictures.
        told: see `pentimento.capabilities.Restores`.
        told_wrong: share of the pictures, in training, of which s is told wrong: see `mistold`.
        takes_masks: likewise.
        losses: weights.
        mask_weight: how many times as much a missing pixel counts as another, in the losses of pixels.
        lr: learning rate.
    """

    monitor = "loss"
    scale: int = 1
    told: Told = "nothing"
    takes_masks: bool = False

    def __init__(
        self,
        spec: DataSpec,
        told: Told,
        told_wrong: float,
        takes_masks: bool,
        losses: PictureLosses,
        mask_weight: float,
        lr: float,
    ) -> None:
        super().__init__()
        if told_wrong and told == "nothing":
            raise ModelError("told_wrong: nothing is told; set told to 'noise' or 'jpeg', or leave it at 0")
        self.told, self.told_wrong = told, told_wrong
        self.takes_masks = takes_masks
        if not any(losses.model_dump().values()):
            raise ModelError("losses: none has a weight above 0; l1 = 1.0 is usual")
        self.losses, self.mask_weight, self.lr = losses, mask_weight, lr
        self.in_channels = spec.channels + (told != "nothing") + takes_masks
        if told != "nothing":
            self.estimator = StrengthEstimator(spec.channels, by_differences=told == "jpeg")
        if self.losses.adversarial:
            self.discriminator = PatchDiscriminator(spec.channels, width=32)

    def _passes(self, y: Tensor, seen: Tensor) -> Iterator[Tensor]:
        """The network's results, better and better, (N, C, scale * H, scale * W), perhaps without end.

        Args:
            y: (N, C, H, W), filled where pixels are missing.
            seen: (N, in_channels, H, W): y, the map of s, m.
        """
        raise NotImplementedError

    @property
    def passes(self) -> int:
        """How many are made in training, and usual afterwards."""
        return 1

    # ------------------------------------------------------------------------------------------ training
    @classmethod
    def borrows(cls, config: Mapping[str, Any]) -> tuple[str, ...]:
        """A network for the perceptual loss, where that has a weight."""
        losses = config.get("losses")
        weight = losses.get("perceptual") if isinstance(losses, Mapping) else getattr(losses, "perceptual", 0)
        return ("perceptual",) if weight else ()

    def players(self) -> tuple[Player, ...]:
        """One, or two with an adversarial loss."""
        modules = tuple(n for n, _ in self.named_children() if n != "discriminator")
        restorer = Player("restorer", modules, optimizer="adamw", lr=self.lr, betas=(0.9, 0.99))
        if not self.losses.adversarial:
            return (restorer,)
        return (Player("discriminator", ("discriminator",), lr=self.lr, betas=(0.5, 0.99), ships=False), restorer)

    def loss(self, player: str, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """See `Model.loss`. Each pass is to give the clean picture; the last one is compared in `"psnr"`, in dB."""
        y, seen, x = self._training_pair(batch, draws)
        if player == "discriminator":
            with torch.no_grad():
                made = self._first(y, seen, self.passes)[-1]
            judged = (self.discriminator(images).float() for images in (x, made))
            return {"loss": discriminator_loss("hinge", *judged)}
        made_by_pass = self._first(y, seen, self.passes)
        total = torch.stack([self._distance(made, x, batch.masks) for made in made_by_pass]).mean()
        figures = {"psnr": _psnr(made_by_pass[-1].detach(), x).mean()}
        if self.told != "nothing":
            assert batch.strengths is not None
            guess = self.estimate(batch.images)
            error = (guess - F.adaptive_avg_pool2d(batch.strengths, (guess.shape[2], guess.shape[3]))).abs().mean()
            figures["guess_error"] = error.detach()
            total = total + error  # they share no parameter, so its weight is without effect on the network
        return {"loss": total, **figures}

    def check(self, batch: Batch) -> None:
        """See `Model.check`."""
        self._training_pair(batch, Draws(0, range(len(batch))))

    def validate(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """See `Model.validate`."""
        return self.loss("restorer", batch, draws)

    def _training_pair(self, batch: Batch, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
        """y, what is seen, and x.

        Raises:
            ModelError: the batch lacks one of them, or has it in another size.
        """
        if batch.targets is None:
            raise ModelError(
                f"{self.family}: learns from damaged and clean pictures; add [[degrade]] to the recipe, or give pairs"
            )
        if self.told != "nothing" and batch.strengths is None:
            raise ModelError(
                f"told: no step of [[degrade]] says how strong {self.told!r} was; add one, or set told to 'nothing'"
            )
        wanted = tuple(self.scale * n for n in batch.images.shape[2:])
        if tuple(batch.targets.shape[2:]) != wanted:
            raise ModelError(
                f"scale: {self.scale} makes {wanted} of these pictures, but their targets are "
                f"{tuple(batch.targets.shape[2:])} (height, width); it must match the step 'downscale' of [[degrade]]"
            )
        strengths = batch.strengths
        if self.told_wrong and strengths is not None:
            strengths = mistold(strengths, self.told_wrong, draws)
        y, seen = self._seen(batch.images, batch.masks, strengths)
        return y, seen, batch.targets

    def _distance(self, made: Tensor, x: Tensor, masks: Tensor | None) -> Tensor:
        """The weighted sum of the losses; a scalar."""
        weights, made = self.losses, made.float()
        difference = made - x
        counted: Tensor | float = 1.0
        if masks is not None and self.mask_weight != 1:
            counted = 1 + (self.mask_weight - 1) * F.interpolate(masks, x.shape[2:])
        total = made.new_zeros(())
        for weight, values in (
            (weights.l1, difference.abs),
            (weights.l2, difference.square),
            (weights.charbonnier, lambda: charbonnier(difference)),
        ):
            if weight:
                total = total + weight * (values() * counted).mean()
        if weights.psnr:
            total = total + weights.psnr * log_squared_distance(difference.square() * counted).mean()
        if weights.perceptual:
            network: Any = self.attached["perceptual"]
            distance = perceptual_distance(*(network.maps(_in_colour(images)) for images in (made, x)))
            total = total + weights.perceptual * distance.mean()
        if weights.adversarial and hasattr(self, "discriminator"):  # which the averaged model, validated, has not
            total = total + weights.adversarial * generator_loss("hinge", self.discriminator(made).float())
        return total

    # -------------------------------------------------------------------------------------- capabilities
    def estimate(self, images: Tensor) -> Tensor:
        """See `Restores`: a guess for every 8 pixels; empty where nothing is told."""
        if self.told == "nothing":
            return images.new_zeros((len(images), 1, 1, 1))
        guess: Tensor = self.estimator(self._in_own_channels(images)).float()
        return guess.view(len(images), -1, *guess.shape[1:]).mean(1)  # over the channels that went one by one

    def restore(self, images: Tensor, masks: Tensor | None = None, strength: Tensor | None = None) -> Tensor:
        """See `Restores`. A gray picture may go through a colour model, and each channel through a gray one."""
        for made in itertools.islice(self._refined(images, masks, strength), self.passes):
            last = made
        return last

    def _refined(self, images: Tensor, masks: Tensor | None, strength: Tensor | None) -> Iterator[Tensor]:
        """The result of each pass, as many as `_passes` makes."""
        if self.told != "nothing" and strength is None:
            strength = self.estimate(images).mean((2, 3), keepdim=True)
        own = self._in_own_channels(images)
        repeat = len(own) // len(images)
        told = (None if v is None else v.repeat_interleave(repeat, 0) for v in (masks, strength))
        for made in self._passes(*self._seen(own, *told)):
            whole = made.float().reshape(len(images), -1, *made.shape[2:])  # (N, C, sH, sW)
            yield whole if whole.shape[1] == images.shape[1] else whole.mean(1, keepdim=True)

    def _reach(self, multiple: int, overlap_px: int, numbers: float) -> Reach:
        """Of a network by itself, with what filling holes adds; `numbers` are held at once per pixel and picture."""
        if self.takes_masks:
            multiple, overlap_px = max(multiple, HOLE_GRID_PX), overlap_px + HOLE_REACH_PX  # both powers of two
        return Reach(multiple, overlap_px, bytes_per_px=round(4 * numbers * self._at_once), scale=self.scale)

    @property
    def _at_once(self) -> int:
        """How many pictures a picture is at most: a gray model takes the channels of a colour one side by side."""
        return 3 if self.spec.channels == 1 else 1

    def _in_own_channels(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> what the network takes: gray thrice, or the channels one by one, (N * 3, 1, H, W)."""
        if images.shape[1] == self.spec.channels:
            return images
        return _in_colour(images) if self.spec.channels == 3 else images.flatten(0, 1)[:, None]

    def _seen(self, images: Tensor, masks: Tensor | None, strength: Tensor | None) -> tuple[Tensor, Tensor]:
        """y with its holes filled, and all that the network sees, (N, in_channels, H, W)."""
        parts = []
        if self.told != "nothing":
            assert strength is not None
            parts.append(strength.to(images.dtype).expand(-1, 1, *images.shape[2:]))
        if self.takes_masks:
            masks = images.new_zeros((len(images), 1, *images.shape[2:])) if masks is None else masks
            images = fill_holes(images, masks)
            parts.append(masks)
        return images, torch.cat([images, *parts], 1)

    def _first(self, y: Tensor, seen: Tensor, count: int) -> list[Tensor]:
        return list(itertools.islice(self._passes(y, seen), count))


class StrengthEstimator(nn.Module):
    """Guesses locally how badly a picture was damaged: (N, C, H, W) -> (N, 1, H / 8, W / 8), rounded up; at least 0.

    Args:
        channels: of the pictures.
        by_differences: whether it looks at the logarithms of the differences of neighbours, across and down. What JPEG
            leaves, steps of a few units between flat blocks, is not found beside what a picture shows without them.
        width: channels within.
    """

    def __init__(self, channels: int, by_differences: bool = False, width: int = 32) -> None:
        super().__init__()
        self.by_differences = by_differences
        self.body = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * channels * (2 if by_differences else 1), width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 1, 1),
            nn.Softplus(),
        )
        nn.init.constant_(self.body[-2].bias, -2.0)  # type: ignore[arg-type]  # guesses begin near 0.13, a usual strength

    def forward(self, images: Tensor) -> Tensor:
        """Of images in [0, 1]."""
        x = pad_to_multiple(images, 8)
        if self.by_differences:
            across, down = F.pad(x.diff(dim=3), (0, 1, 0, 0)), F.pad(x.diff(dim=2), (0, 0, 0, 1))
            x = torch.log1p(255 * torch.cat([across, down], 1).abs())
        guess: Tensor = self.body(x)
        return guess


def mistold(strengths: Tensor, share: float, draws: Draws) -> Tensor:
    """What a network is told so as not to believe all of it: of a `share` of the pictures it is wrong.

    There, as much as twice or as little as half, all ratios alike, and by up to `FEW` more: a picture without any
    noise is told of some too. (N, 1, ...) -> the same.
    """
    shape = (-1, *[1] * (strengths.ndim - 1))
    wrong = (draws.uniform("told wrong") < share).view(shape)
    times, more = 2 ** draws.uniform("told times", low=-1, high=1), draws.uniform("told more", high=FEW)
    return torch.where(wrong, strengths * times.view(shape) + more.view(shape), strengths)


def _in_colour(images: Tensor) -> Tensor:
    """(N, 1 or 3, H, W) -> (N, 3, H, W)"""
    return images.expand(-1, 3, -1, -1)


def _psnr(made: Tensor, wanted: Tensor) -> Tensor:
    """(N,) in dB of images in [0, 1]; `made` is clamped, not rounded."""
    error = (made.float().clamp(0, 1) - wanted).square().mean((1, 2, 3))
    return -10 * error.clamp(min=1e-10).log10()
