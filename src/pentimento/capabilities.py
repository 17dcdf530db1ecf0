"""What a finished model can do: small protocols. Tasks and commands ask for one of these, never for a class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from pentimento.errors import ModelError
from pentimento.model import Batch, Condition, Model
from pentimento.runtime import Draws

__all__ = [
    "Composes",
    "Detects",
    "Encodes",
    "Intervenes",
    "Predicts",
    "Reach",
    "Refines",
    "Regenerates",
    "Restores",
    "Samples",
    "Scores",
    "Stylizes",
    "Translates",
    "require",
]


@runtime_checkable
class Samples(Protocol):
    """Draws new images."""

    def sample(self, noise: Mapping[str, Tensor], condition: Condition) -> Tensor:
        """(N, C, H, W) images from drawn-apart noise, see `Intervenes.draw_noise`."""
        ...

    def draw_noise(self, draws: Draws, truncation: float | None = None) -> dict[str, Tensor]:
        """All randomness of N samples, beforehand; truncated to ``|z| <= truncation`` where given."""
        ...


@runtime_checkable
class Intervenes(Protocol):
    """Runs in named stages, one after another, from any of them, so that an experiment can change one thing.

    ``x = None; for s in stages: x = run_stage(s, x, noise, condition)`` ends in (N, C, H, W) images. Each stage is
    a pure function of its arguments in evaluation mode.
    """

    @property
    def stages(self) -> tuple[str, ...]:
        """Names, in order."""
        ...

    def draw_noise(self, draws: Draws, truncation: float | None = None) -> dict[str, Tensor]:
        """All exogenous noise of N samples, beforehand."""
        ...

    def run_stage(self, stage: str, x: Tensor | None, noise: Mapping[str, Tensor], condition: Condition) -> Tensor:
        """The output of `stage`, given the output `x` of the stage before it (None for the first)."""
        ...


@runtime_checkable
class Composes(Protocol):
    """Draws images out of parts, by mechanisms that are each told a label of their own, see `Condition.mechanisms`."""

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """Names, that of the shape first."""
        ...

    def parts(self, noise: Mapping[str, Tensor], condition: Condition) -> tuple[Tensor, Tensor, Tensor]:
        """Mask (N, 1, H, W), foreground and background (N, C, H, W), each in [0, 1]."""
        ...

    def sample(self, noise: Mapping[str, Tensor], condition: Condition) -> Tensor:
        """See `Samples`."""
        ...

    def draw_noise(self, draws: Draws, truncation: float | None = None) -> dict[str, Tensor]:
        """See `Samples`."""
        ...


@runtime_checkable
class Encodes(Protocol):
    """Goes from images to latents and back."""

    def encode(self, images: Tensor, condition: Condition) -> Tensor:
        """(N, D) latents (the posterior mean) of (N, C, H, W) images."""
        ...

    def decode(self, latents: Tensor, condition: Condition) -> Tensor:
        """(N, C, H, W) images of (N, D) latents."""
        ...


@runtime_checkable
class Scores(Protocol):
    """Tells how likely images are."""

    def score(self, batch: Batch, draws: Draws, importance_samples: int = 1) -> dict[str, Tensor]:
        """Per-sample bounds in nats, each (N,), higher is likelier."""
        ...


@runtime_checkable
class Regenerates(Protocol):
    """Draws a part of given images anew, and keeps the rest."""

    def regenerate(self, images: Tensor, masks: Tensor, noise: Mapping[str, Tensor], condition: Condition) -> Tensor:
        """(N, C, H, W) images, drawn anew where `masks` (N, 1, H, W) is above 0.5; `noise` as of `Samples`."""
        ...

    def draw_noise(self, draws: Draws, truncation: float | None = None) -> dict[str, Tensor]:
        """See `Samples`."""
        ...


@runtime_checkable
class Predicts(Protocol):
    """Tells the label and the attributes of images."""

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """``"probabilities"`` (N, K) and ``"attributes"`` (N, A) in the units of the data, where the spec has them."""
        ...


@dataclass(frozen=True)
class Reach:
    """What must be known of a network that maps pictures to pictures before it can be run on one in tiles.

    Args:
        multiple_px: a tile begins at a multiple of this, so that what the network halves falls on the same pixels.
        overlap_px: how far beyond its own border a tile must see for its pixels to be within 1/255 of the whole's.
        bytes_per_px: working memory for a pixel of a tile, in all.
        scale: output pixels for one of the input, along a side.
    """

    multiple_px: int
    overlap_px: int
    bytes_per_px: int
    scale: int = 1


@runtime_checkable
class Restores(Protocol):
    """Repairs images: takes noise away, closes holes, enlarges."""

    @property
    def reach(self) -> Reach:
        """For tiles."""
        ...

    @property
    def told(self) -> Literal["nothing", "noise", "jpeg"]:
        """What `strength` means: nothing, the standard deviation of noise / 255, or (100 - JPEG quality) / 100."""
        ...

    @property
    def takes_masks(self) -> bool:
        """Whether it is told where the holes are, and may see nothing there."""
        ...

    def estimate(self, images: Tensor) -> Tensor:
        """(N, 1, h, w) local guesses at the strength; their mean over a picture is the guess for it."""
        ...

    def restore(self, images: Tensor, masks: Tensor | None = None, strength: Tensor | None = None) -> Tensor:
        """(N, C, scale * H, scale * W) repaired images.

        Args:
            images: (N, C, H, W).
            masks: (N, 1, H, W), 1 where pixels are missing.
            strength: (N, 1, H, W) or (N, 1, 1, 1) in [0, 1], see `told`; None: the mean of `estimate`.
        """
        ...


@runtime_checkable
class Refines(Protocol):
    """Repairs images in passes, each better than the one before."""

    @property
    def passes(self) -> int:
        """How many are usual."""
        ...

    def refine(self, images: Tensor, masks: Tensor | None = None, strength: Tensor | None = None) -> Iterator[Tensor]:
        """The result of each pass, as of `Restores.restore`, without end."""
        ...


@runtime_checkable
class Detects(Protocol):
    """Finds damage in images."""

    @property
    def reach(self) -> Reach:
        """For tiles."""
        ...

    def detect(self, images: Tensor) -> Tensor:
        """(N, 1, H, W) probability that a pixel is damaged."""
        ...


@runtime_checkable
class Stylizes(Protocol):
    """Renders images in the look of others."""

    @property
    def reach(self) -> Reach:
        """For tiles."""
        ...

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels to a position of each of `content_maps`, along a side; divisors of ``reach.multiple_px``."""
        ...

    def encode_style(self, images: Tensor) -> Tensor:
        """(N, S) style vectors of (N, C, H, W) images. Sums of them, with weights that add to 1, are styles too."""
        ...

    def content_maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, C_k, H_k, W_k) maps, of which the moments over the whole picture matter to `stylize`."""
        ...

    def stylize(
        self,
        images: Tensor,
        styles: Tensor,
        strength: float = 1.0,
        moments: Sequence[tuple[Tensor, Tensor]] | None = None,
    ) -> Tensor:
        """(N, C, H, W) images in the look of `styles`.

        Args:
            images: (N, C, H, W).
            styles: (N, S), see `encode_style`.
            strength: from 0, the image itself, to 1, the look in full.
            moments: mean and standard deviation of each of `content_maps` over the whole picture, (N, C_k, 1, 1), where
                `images` is a part of it; None takes them from `images`.
        """
        ...


@runtime_checkable
class Translates(Protocol):
    """Maps images from one domain to another."""

    @property
    def reach(self) -> Reach:
        """For tiles."""
        ...

    @property
    def reversible(self) -> bool:
        """Whether it goes both ways."""
        ...

    def translate(self, images: Tensor, condition: Condition, reverse: bool = False) -> Tensor:
        """(N, C', H, W) images in [0, 1] in the other domain, in the channels of the model.

        Args:
            images: (N, C, H, W), C = 1 or 3.
            condition: of the same N.
            reverse: from the second domain to the first; only where `reversible`.
        """
        ...


def require(model: Model, protocol: type, verb: str, families: Mapping[str, type[Model]]) -> None:
    """Refuse a model that cannot do what `verb` needs, and name the families that can.

    Raises:
        ModelError: `model` does not fulfil `protocol`.
    """
    if isinstance(model, protocol):
        return
    wanted = [n for n in dir(protocol) if not n.startswith("_")]
    able = [name for name, cls in families.items() if all(hasattr(cls, n) for n in wanted)]
    raise ModelError(f"{verb}: a {model.family!r} model cannot do this; families that can: {', '.join(able) or 'none'}")
