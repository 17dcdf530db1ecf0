"""What a step of a chain is given and gives: each sample's own random numbers, and what was done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pentimento.runtime import Draws

__all__ = ["Effect", "Stream"]


@dataclass(frozen=True)
class Effect:
    """What a step did to N samples.

    Args:
        images: (N, C, H', W') after it.
        facts: (N,) each: what was done, in physical units.
        masks: (N, 1, H', W'), 1 where it damaged pixels locally, or None.
        strengths: (N, 1, H', W'), see `Restores.told`, or None.
    """

    images: Tensor
    facts: dict[str, Tensor]
    masks: Tensor | None = None
    strengths: Tensor | None = None


@dataclass(frozen=True)
class Stream:
    """Each sample's own random numbers under the purpose of a step; see `Draws`.

    Shapes asked for must not depend on other samples, or their numbers would.

    Args:
        draws: of the samples that the step is done to, N of them.
        purpose: of the step.
        device: of the pictures.
    """

    draws: Draws
    purpose: str
    device: torch.device

    def __len__(self) -> int:
        return len(self.draws.indices)

    def of(self, rows: Sequence[int]) -> Stream:
        """The same for some of the samples only."""
        return replace(self, draws=replace(self.draws, indices=[self.draws.indices[i] for i in rows]))

    def uniform(self, what: str, limits: Sequence[float] = (0.0, 1.0), shape: Sequence[int] = ()) -> Tensor:
        """(N, *shape) uniform within `limits`."""
        return self._few().uniform(self._named(what), shape, *limits).to(self.device)

    def log_uniform(self, what: str, limits: Sequence[float], shape: Sequence[int] = ()) -> Tensor:
        """(N, *shape) within `limits`, which are above 0, as often in one octave as in another."""
        drawn = self.uniform(what, [math.log(limit) for limit in limits], shape).exp()
        return drawn.clamp(*limits)  # rounding may have passed them

    def whole(self, what: str, limits: Sequence[int], shape: Sequence[int] = ()) -> Tensor:
        """(N, *shape) int64 uniform within `limits`, both included."""
        low, high = limits
        return self._few().integers(self._named(what), high - low + 1, shape).to(self.device) + low

    def normal(self, what: str, shape: Sequence[int] = ()) -> Tensor:
        """(N, *shape) standard normal."""
        return self._few().normal(self._named(what), shape).to(self.device)

    def normal_field(self, what: str, shape: Sequence[int]) -> Tensor:
        """(N, *shape) standard normal, for whole pictures; see `Draws.normal_field`."""
        return replace(self.draws, device=self.device).normal_field(self._named(what), shape)

    def smooth_field(self, what: str, cell_px: int, height: int, width: int) -> Tensor:
        """(N, 1, height, width) standard normal on a lattice of `cell_px`, bicubic between its points."""
        cells = [max(2, -(-(side - 1) // cell_px) + 1) for side in (height, width)]
        lattice = self.normal_field(what, (1, *cells))
        size = [(count - 1) * cell_px + 1 for count in cells]
        return F.interpolate(lattice, size, mode="bicubic", align_corners=True)[:, :, :height, :width]

    def smooth_line(self, what: str, cell_px: int, shape: Sequence[int]) -> Tensor:
        """(N, K, L), `shape` = (K, L), as `smooth_field` along the last dimension, but linear between the points."""
        count, length = shape
        cells = max(2, -(-(length - 1) // cell_px) + 1)
        lattice = self.normal(what, (count, cells))
        size = (cells - 1) * cell_px + 1
        return F.interpolate(lattice, size, mode="linear", align_corners=True)[:, :, :length]

    def _few(self) -> Draws:
        """Numbers by the dozen come from the processor, the same for every device."""
        return replace(self.draws, device="cpu")

    def _named(self, what: str) -> str:
        return f"{self.purpose}/{what}"
