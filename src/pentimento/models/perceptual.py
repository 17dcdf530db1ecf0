"""A small network of feature maps, distilled from a large one (Romero et al. 2015), for perceptual losses.

Five stages like those of VGG, with two convolutions and a halving between one map and the next. Each is trained to
give the map of the teacher's layer of the same name, so that what is made for the teacher (a Gram matrix, a
perceptual distance, a style loss) can be had from the student. The maps of VGG differ in size by orders of magnitude;
the student's are divided by the root mean square r_l of the teacher's, so that layers weigh alike.

    s_l, t_l -> student's and teacher's map of layer l, (N, C_l, H_l, W_l)
    loss = mean over l of  E ||s_l - t_l / r_l||^2 / E ||t_l / r_l||^2
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Protocol, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from pentimento.errors import ModelError
from pentimento.layers import FEATURE_LAYERS, feature_stages
from pentimento.model import Batch, DataSpec, Model, Player
from pentimento.runtime import Draws

__all__ = ["Perceptual"]


class Teacher(Protocol):
    """What training attaches under the name ``teacher``."""

    def maps(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Maps (N, C, H, W) by layer."""
        ...


class Perceptual(Model):
    """Feature maps ``relu1_1`` to ``relu5_1``, learned from a teacher; runs on pictures of any size and channels.

    Args:
        spec: of the data.
        widths: channels of the five maps: those of the teacher.
        lr: learning rate.
    """

    family = "perceptual"
    monitor = "loss"

    def __init__(
        self,
        *,
        spec: DataSpec,
        widths: tuple[int, int, int, int, int] = (16, 32, 64, 128, 128),
        lr: Annotated[float, Field(gt=0)] = 2e-3,
    ) -> None:
        super().__init__()
        if spec.channels != 3:
            raise ModelError("perceptual: the teacher looks at colour pictures; set data.channels to 3")
        self.lr = lr

        self.stages = feature_stages(widths)
        self.scale = Scale()

    @classmethod
    def borrows(cls, config: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG003
        """The teacher."""
        return ("teacher",)

    def players(self) -> tuple[Player, ...]:
        """One."""
        return (Player("perceptual", ("stages",), lr=self.lr),)

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """The five maps of (N, 3, H, W) images in [0, 1], each half the size of the one before, rounded up.

        Of mean square 1 over the training data; times ``scale.rms`` they approximate the teacher's own.
        """
        found, x = {}, images * 2 - 1
        for name, stage in self.stages.items():
            x = stage(x)
            found[name] = x
        return found

    def loss(self, player: str, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """See `Model.loss`; ``"error_LAYER"`` is the share of the map's energy that the student misses."""
        both, errors = self._both(batch.images), {}
        if self.training:
            self.scale.update([wanted for _, wanted in both.values()])
        for k, (name, (found, wanted)) in enumerate(both.items()):
            target = wanted.float() / self.scale.rms[k]
            errors[name] = (found.float() - target).square().mean() / target.square().mean()
        total = torch.stack(list(errors.values())).mean()
        return {"loss": total, **{f"error_{k}": v.detach() for k, v in errors.items()}}

    def check(self, batch: Batch) -> None:
        """See `Model.check`."""
        with torch.no_grad():
            self._both(batch.images)

    def _both(self, images: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """The student's map and the teacher's, by layer."""
        with torch.no_grad():
            wanted = cast(Teacher, self.attached["teacher"]).maps(images, FEATURE_LAYERS)
        found = self.maps(images)
        for name in FEATURE_LAYERS:
            if found[name].shape != wanted[name].shape:
                raise ModelError(
                    f"widths: {name} of the teacher is {tuple(wanted[name].shape[1:])} on these pictures, and the "
                    f"student's {tuple(found[name].shape[1:])}; give the teacher's channels, and sizes divisible by 16"
                )
        return {name: (found[name], wanted[name]) for name in FEATURE_LAYERS}


class Scale(nn.Module):
    """The root mean square of each of the teacher's maps, a running mean over the training batches.

    It is a mean over all batches at first and forgets those of more than `MEMORY` batches ago later.
    """

    MEMORY = 1000
    rms: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rms", torch.ones(len(FEATURE_LAYERS)))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def update(self, maps: Sequence[Tensor]) -> None:
        """Take in the maps of a batch."""
        self.seen += 1
        share = 1 / self.seen.clamp(max=self.MEMORY)
        now = torch.stack([m.float().square().mean() for m in maps])
        self.rms.copy_((self.rms.square().lerp(now, share)).sqrt())
