"""An outcome: one number for each picture, which a causal question asks about.

    N, K -> pictures, outcomes

An `Outcome` is a name and a function; write one for whatever this package does not measure.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pentimento.errors import CausalError

__all__ = ["Once", "Outcome", "measure_all", "pieces"]

PIECE_VALUES = 2**20  # looked at together: what is computed of them in float64 is 8 MB an array
ROUNDING = 1e-3  # by which a network's last layer may leave [0, 1]; a range of [-1, 1] is far outside


@dataclass(frozen=True)
class Outcome:
    """A number that every picture has.

    >>> dark = Outcome("dark", "share", "share of values below 0.1", lambda x: (x < 0.1).double().mean((1, 2, 3)))
    >>> measure_all([dark], torch.zeros(2, 1, 4, 4)).tolist()
    [[1.0], [1.0]]

    Args:
        name: for tables; of several outcomes measured together each has its own.
        unit: e.g. ``"px"``; empty for a pure number.
        formula: how it is measured, in one line of text.
        measure: (N, C, H, W) images in [0, 1], C = 1 or 3 -> (N,) float64, finite. It is a pure function: a picture has
            the same number whatever it is measured with.
    """

    name: str
    unit: str
    formula: str
    measure: Callable[[Tensor], Tensor]


@torch.no_grad()
def measure_all(outcomes: Sequence[Outcome], images: Tensor) -> Tensor:
    """Every outcome of every picture.

    Args:
        outcomes: K of them.
        images: (N, C, H, W) in [0, 1], C = 1 or 3, on any device.

    Returns:
        (N, K) float64 on the CPU, finite.

    Raises:
        CausalError: no outcomes, no pictures or none in [0, 1]; an outcome that cannot measure these, or that gave
            something else than one finite number a picture.
    """
    if not outcomes:
        raise CausalError("outcomes: at least one expected, got none")
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not images.numel() or not images.is_floating_point():
        raise CausalError(
            f"images: floats (N, 1 or 3, H, W), none of them 0, expected, got {images.dtype} {tuple(images.shape)}"
        )
    low, high = (float(bound) for bound in images.aminmax())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # so that NaN is refused as well
        raise CausalError(f"images: values in [0, 1] expected, got {low:.3g} to {high:.3g}; see what made them")
    return torch.stack([_checked(outcome, images) for outcome in outcomes], 1)


def _checked(outcome: Outcome, images: Tensor) -> Tensor:
    found: object = outcome.measure(images)
    if not isinstance(found, Tensor) or found.shape != (len(images),) or found.is_complex():
        given = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise CausalError(
            f"{outcome.name}: a tensor with one number for each of {len(images)} pictures, ({len(images)},), expected, "
            f"got {given}; mend the outcome's function"
        )
    values = found.detach().cpu().double()
    bad = (~values.isfinite()).nonzero().flatten().tolist()
    if bad:
        raise CausalError(
            f"{outcome.name}: not a finite number for {len(bad)} of {len(images)} pictures (the first is number "
            f"{bad[0]}, counted from 0: {values[bad[0]]:g}); give what has no value a number of its own"
        )
    return values


def pieces(images: Tensor, enlarged: int = 1) -> Iterator[Tensor]:
    """`images` a few at a time, as float64 on the CPU, so that memory does not grow with their number.

    Args:
        images: (N, C, H, W).
        enlarged: values that will be computed for each of theirs.
    """
    count = max(1, PIECE_VALUES // (images[0].numel() * enlarged))
    for begin in range(0, len(images), count):
        yield images[begin : begin + count].detach().cpu().double()


class Once:
    """A function of images that remembers its last result, for outcomes that share the work and are measured together.

    The memory is of one tensor object as it was: a copy, or the same after a change in place, is measured anew.

    Args:
        function: (N, C, H, W) -> (N, K).
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function
        self._last: tuple[weakref.ref[Tensor], int, Tensor] | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """What the function says of `images`."""
        if images.is_inference():  # has no version to tell a change by
            return self.function(images)
        last, version = self._last, images._version
        if last is not None and last[0]() is images and last[1] == version:
            return last[2]
        found = self.function(images)
        self._last = (weakref.ref(images), version, found)
        return found
