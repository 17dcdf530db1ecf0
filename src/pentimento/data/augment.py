"""Random changes of pictures that keep what they show: for scarce data, and inside the loss of a GAN.

`Augment` holds the options and imports no torch. `augment` applies them to a batch, differentiably: applied to real and
generated pictures alike inside a discriminator's loss, this is the augmentation of Zhao et al. 2020 (DiffAugment,
https://arxiv.org/abs/2006.10738) and Karras et al. 2020 (https://arxiv.org/abs/2006.06676).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pentimento.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from pentimento.runtime import Draws

__all__ = ["Augment", "augment"]


class Augment(BaseModel):
    """How far pictures may be changed; all zero changes nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mirror: bool = False  # half of the pictures left to right
    turns: bool = False  # by quarters of a circle, each as likely; for square pictures without an up and a down
    shift: Annotated[float, Field(ge=0, le=1)] = 0.0  # at most, as a fraction of each side
    rotate_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0  # at most, either way
    scale: Annotated[float, Field(ge=0, le=4)] = 0.0  # factor log-uniform in [1 / (1 + scale), 1 + scale]
    colour: Annotated[float, Field(ge=0, le=1)] = 0.0  # brightness, contrast and saturation; 1 is DiffAugment's
    hue_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0  # at most, either way round the colour circle
    permute: bool = False  # red, green and blue in another order, each of the six as likely
    cutout: Annotated[float, Field(ge=0, le=1)] = 0.0  # side of the erased square, as a fraction of the shorter side

    @property
    def geometric(self) -> bool:
        """Whether pictures are resampled."""
        return self.shift > 0 or self.rotate_degrees > 0 or self.scale > 0

    @property
    def active(self) -> bool:
        """Whether anything is changed at all."""
        return self.mirror or self.turns or self.geometric or self.coloured or self.cutout > 0

    @property
    def coloured(self) -> bool:
        """Whether colours are changed."""
        return self.colour > 0 or self.hue_degrees > 0 or self.permute


def augment(
    images: Tensor,
    options: Augment,
    draws: Draws,
    purpose: str = "augment",
    fill: Literal["zeros", "border"] = "zeros",
    *,
    clamp: bool = False,
    sides: Literal[1, 2] = 1,
) -> Tensor:
    """Change each picture at random, differentiably with respect to `images`.

    Every random number is the sample's own (see `Draws`), so what happens to a picture does not depend on the others of
    its batch. The order is mirror, turns, shift-rotate-scale (one bilinear resampling), colour, hue, permute, cutout.
    Gray pictures have no hue and no channels to permute.

    It can be differentiated twice, so a gradient penalty may be taken before or after it.

    Args:
        images: (N, sides * C, H, W) in [0, 1], on any device.
        options: how far.
        draws: of the same N samples.
        purpose: distinguishes draws; real and generated pictures may share it or not.
        fill: what comes in from outside, black or the nearest pixel. The cut-out square is always black.
        clamp: to [0, 1], for data. Inside a loss leave it off: it would cut the gradient.
        sides: 2 for pairs, whose two pictures are changed alike: where they were equal, they stay equal.

    Returns:
        (N, sides * C, H, W); `images` itself if nothing is to be done.
    """
    changed = images
    if options.mirror:
        flipped = _uniform(draws, f"{purpose}/mirror", 1, images) < 0.5  # (N, 1)
        changed = changed.flip(3).where(flipped[:, :, None, None], changed)
    if options.turns:
        changed = _turn(changed, _uniform(draws, f"{purpose}/turns", 1, images)[:, 0])
    if options.geometric:
        changed = _move(changed, options, draws, purpose, fill)
    if options.coloured:
        separate = changed.reshape(len(changed), sides, -1, *changed.shape[2:])
        changed = _recolour(separate, options, draws, purpose).flatten(1, 2)
    if options.cutout:
        changed = changed * _keep(changed, options.cutout, draws, purpose)
    return changed.clamp(0, 1) if clamp and changed is not images else changed


def _uniform(draws: Draws, purpose: str, count: int, like: Tensor, *, low: float = 0.0) -> Tensor:
    """(N, count) uniform in [low, 1), of the type and on the device of `like`."""
    return draws.uniform(purpose, (count,), low).to(like.device, like.dtype)


def _turn(images: Tensor, shares: Tensor) -> Tensor:
    """Each picture by floor(4 share) quarters.

    Raises:
        DataError: the pictures are not square.
    """
    import torch

    if images.shape[2] != images.shape[3]:
        raise DataError(
            f"augment.turns: square pictures expected, these are {images.shape[2]}x{images.shape[3]} (height x width); "
            "set it to false, or data.size_px to a square"
        )
    quarters = (4 * shares).floor()
    turned = images
    for k in (1, 2, 3):
        turned = torch.rot90(images, k, (2, 3)).where((quarters == k)[:, None, None, None], turned)
    return turned


def _move(images: Tensor, options: Augment, draws: Draws, purpose: str, fill: Literal["zeros", "border"]) -> Tensor:
    """Shift, rotate and scale about the centre by one affine map."""
    import torch
    from torch.nn import functional

    height, width = images.shape[2:]
    numbers = _uniform(draws, f"{purpose}/move", 4, images, low=-1.0)  # (N, 4)
    angle = numbers[:, 0] * math.radians(options.rotate_degrees)
    scale = torch.exp(numbers[:, 1] * math.log1p(options.scale))
    shift = numbers[:, 2:] * options.shift  # (N, 2) x, y in sides
    if not options.rotate_degrees and not options.scale:
        # Whole pixels: a shift alone then copies pixels and blurs nothing.
        sides = shift.new_tensor([width, height])
        shift = (shift * sides).round() / sides
    cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
    # From output to input; in units of half a side, where x and y differ by the ratio of the sides.
    linear = torch.stack(
        [torch.stack([cosine, sine * (height / width)], 1), torch.stack([-sine * (width / height), cosine], 1)], 1
    )  # (N, 2, 2)
    offset = -(linear @ (2 * shift[:, :, None]))  # (N, 2, 1)
    grid = functional.affine_grid(torch.cat([linear, offset], 2), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode=fill, align_corners=False)


def _recolour(images: Tensor, options: Augment, draws: Draws, purpose: str) -> Tensor:
    """Colour, hue and permutation of (N, sides, C, H, W); both sides alike."""
    if options.colour:
        images = _grade(images, options.colour, draws, purpose)
    if options.hue_degrees and images.shape[2] == 3:
        angle = _uniform(draws, f"{purpose}/hue", 1, images, low=-1.0)[:, 0] * math.radians(options.hue_degrees)
        images = (_hue_matrix(angle)[:, None] @ images.flatten(3)).view_as(images)
    if options.permute and images.shape[2] == 3:
        order = _uniform(draws, f"{purpose}/permute", 3, images).argsort(1)  # (N, 3)
        images = images.gather(2, order[:, None, :, None, None].expand_as(images))
    return images


def _hue_matrix(angle: Tensor) -> Tensor:
    """(N,) radians -> (N, 3, 3): turns RGB about the axis of grays, as Karras et al. 2020 do; grays stay.

    A third of a circle carries red into green, green into blue and blue into red.
    """
    import torch

    third, root = 1 / 3, math.sqrt(3)
    same = third + 2 * third * torch.cos(angle)
    before, after = ((1 - torch.cos(angle)) * third + sign * torch.sin(angle) / root for sign in (1, -1))
    rows = [same, after, before, before, same, after, after, before, same]
    return torch.stack(rows, 1).view(-1, 3, 3)


def _grade(images: Tensor, strength: float, draws: Draws, purpose: str) -> Tensor:
    """Brightness, saturation, contrast as in DiffAugment, whose [-1, 1] makes its +-0.5 our +-0.25.

    Of (N, sides, C, H, W): both sides by the same map of colours, so the contrast is about the mean of the two.
    """
    numbers = strength * _uniform(draws, f"{purpose}/colour", 3, images, low=-1.0)  # (N, 3)
    brightness, saturation, contrast = numbers[..., None, None, None, None].unbind(1)  # each (N, 1, 1, 1, 1)
    images = images + 0.25 * brightness
    gray = images.mean(2, keepdim=True)  # (N, sides, 1, H, W)
    images = gray + (images - gray) * (1 + saturation)
    mean = images.mean((1, 2, 3, 4), keepdim=True)  # (N, 1, 1, 1, 1)
    return mean + (images - mean) * (1 + 0.5 * contrast)


def _keep(images: Tensor, fraction: float, draws: Draws, purpose: str) -> Tensor:
    """(N, 1, H, W) zero in a square around a random pixel, one elsewhere."""
    import torch

    height, width = images.shape[2:]
    side = max(1, round(fraction * min(height, width)))
    numbers = _uniform(draws, f"{purpose}/cutout", 2, images)  # (N, 2)
    inside = []
    for axis, length in enumerate((height, width)):
        begin = (numbers[:, axis : axis + 1] * length).floor() - side // 2  # (N, 1)
        place = torch.arange(length, device=images.device)  # (length,)
        inside.append((place >= begin) & (place < begin + side))  # (N, length)
    erased = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return (~erased).to(images.dtype)
