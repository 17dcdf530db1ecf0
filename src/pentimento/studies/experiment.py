"""An experiment on a generator: the same samples under several interventions, and what is measured of each picture.

    i -> sample: its noise and what it is told, drawn from the seed     a -> arm: what is set     y_iak -> outcome k

Every arm is given the same samples, so a difference between two arms is due to what is set, and to nothing else.
Stages before the first one that an arm changes are run once for all arms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pentimento import interventions
from pentimento.interventions import Do
from pentimento.model import Condition
from pentimento.runtime import Draws, Progress, ProgressCallback, no_progress
from pentimento.sampling import SAMPLE_CHUNK, default_condition
from pentimento.studies.outcomes import Outcome, measure_all

__all__ = ["Arm", "Experiment"]


@dataclass(frozen=True)
class Arm:
    """What is set, checked and resolved; nothing: the model as it is."""

    name: str
    dos: tuple[Do, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """A model and the samples that it is asked for.

    Args:
        model: a `Model` that `Intervenes`.
        seed: of the samples.
        label: the class that all samples are of, where nothing is set; in turn where left out.
        truncation: see `Samples.draw_noise`.
    """

    model: Any
    seed: int
    label: str | None = None
    truncation: float | None = None

    def chunks(self, indices: Sequence[int]) -> Iterator[tuple[slice, Mapping[str, Tensor], Condition]]:
        """Where in `indices`, the noise, and what is told, chunk by chunk; the same for a sample in any company."""
        device = self.model.device
        for begin in range(0, len(indices), SAMPLE_CHUNK):
            rows = list(indices[begin : begin + SAMPLE_CHUNK])
            padded = [*rows, *rows[-1:] * (SAMPLE_CHUNK - len(rows))]
            condition = default_condition(self.model, padded, self.seed)
            if self.label is not None and condition.labels is not None:
                told = torch.full_like(condition.labels, self.model.spec.class_index(self.label))
                condition = replace(condition, labels=told)
            noise = self.model.draw_noise(Draws(self.seed, padded, device=device), self.truncation)
            yield slice(begin, begin + len(rows)), noise, condition.to(device)

    def condition(self, indices: Sequence[int]) -> Condition:
        """What each sample is told where nothing is set."""
        parts = [(part.stop - part.start, told) for part, _, told in self.chunks(indices)]

        def joined(name: str) -> Tensor | None:
            values = [getattr(told, name) for _, told in parts]
            return (
                None if values[0] is None else torch.cat([v[:n].cpu() for (n, _), v in zip(parts, values, strict=True)])
            )

        return Condition(joined("labels"), joined("attributes"))

    @torch.no_grad()
    def pictures(self, arm: Arm, indices: Sequence[int]) -> Tensor:
        """(N, C, H, W) in [0, 1], on the CPU."""
        made = []
        for part, noise, condition in self.chunks(indices):
            images = interventions.run(self.model, noise, condition, arm.dos)
            made.append(images[: part.stop - part.start].float().clamp(0, 1).cpu())
        return torch.cat(made)

    def has_units(self, stage: str) -> bool:
        """Whether a stage gives units, rather than pictures."""
        return tuple(self.stage(stage, [0]).shape[1:]) != tuple(self.model.spec.image_shape)

    @torch.no_grad()
    def stage(self, name: str, indices: Sequence[int]) -> Tensor:
        """What a stage gives, or the noise of that name, where nothing is set: (N, U, ...) on the CPU."""
        parts = []
        for part, noise, condition in self.chunks(indices):
            x = noise[name] if name in noise else interventions.outputs(self.model, noise, condition)[name]
            parts.append(x[: part.stop - part.start].cpu())
        return torch.cat(parts)

    def pooled(self, name: str, indices: Sequence[int]) -> Tensor:
        """The same, the mean over positions: (N, U) float64."""
        x = self.stage(name, indices).double()
        return x.flatten(2).mean(2) if x.ndim > 2 else x

    def measure(
        self,
        arms: Sequence[Arm],
        outcomes: Sequence[Outcome],
        indices: Sequence[int],
        progress: ProgressCallback = no_progress,
        stage: str = "samples",
        seen: Callable[[int, slice, Tensor], None] | None = None,
    ) -> Tensor:
        """Every outcome of every sample in every arm, (N, A, K) float64.

        Args:
            arms: A of them.
            outcomes: K of them.
            indices: of the samples, N.
            progress: told after each chunk.
            stage: its name there.
            seen: given the pictures of each arm as they are made: arm, where in `indices`, (n, C, H, W).

        Raises:
            CausalError: an outcome of the wrong shape, or one that is not a number.
        """
        values = torch.zeros(len(indices), len(arms), len(outcomes), dtype=torch.float64)
        for part, noise, condition in self.chunks(indices):
            count = part.stop - part.start
            for a, images in enumerate(self._run(arms, noise, condition)):
                pictures = images[:count].float().clamp(0, 1)
                values[part, a] = measure_all(outcomes, pictures)
                if seen is not None:
                    seen(a, part, pictures.cpu())
            progress(Progress(stage, part.stop, len(indices)))
        return values

    @torch.no_grad()
    def _run(self, arms: Sequence[Arm], noise: Mapping[str, Tensor], condition: Condition) -> Iterator[Tensor]:
        """The pictures of each arm; what the arms have in common is run once."""
        outputs = interventions.outputs(self.model, noise, condition)
        for arm in arms:
            yield interventions.run(self.model, noise, condition, arm.dos, outputs)
