"""What a training shows: curves, pictures, and how fast it goes."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch

from pentimento import images
from pentimento.capabilities import Encodes, Restores, Samples
from pentimento.model import Batch, Model
from pentimento.provenance import Provenance
from pentimento.runtime import Progress, ProgressCallback
from pentimento.sampling import default_condition, sample_chunks
from pentimento.training.run_folder import RunFolder

__all__ = ["Curves", "Pace"]


class Curves:
    """Writes figures to metrics.jsonl and TensorBoard, and sample grids to samples/ and TensorBoard.

    Args:
        run: to write into.
        step: the first to come; whatever an earlier run wrote after it is dropped.
    """

    def __init__(self, run: RunFolder, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # takes a second

        self.run = run
        run.cut_metrics(step)
        self._board = SummaryWriter(str(run.tensorboard), purge_step=step or None)

    def __enter__(self) -> Curves:
        return self

    def __exit__(self, *_: object) -> None:
        self._board.close()

    def figures(self, step: int, row: Mapping[str, float]) -> None:
        """One point of every curve."""
        self.run.append_metrics({"step": step, **row})
        for name, value in row.items():
            self._board.add_scalar(name, value, step)

    def pictures(self, step: int, model: Model, count: int, seed: int, held_out: Batch | None) -> None:
        """A grid of samples, the same noise every time, and of reconstructions, where `model` makes such."""
        grids = {}
        if isinstance(model, Samples):
            condition = default_condition(model, range(count), seed)
            grids["samples"] = images.grid(sample_chunks(model, condition, range(count), seed))
        if isinstance(model, Encodes) and held_out is not None:
            grids["reconstructions"] = images.grid(_reconstructions(model, held_out), columns=min(8, len(held_out)))
        if isinstance(model, Restores) and held_out is not None and held_out.targets is not None:
            grids["restored"] = images.grid(_restored(model, held_out), columns=min(8, len(held_out)))
        for name, grid in grids.items():
            record = Provenance("train", "trainedAlgorithmicMedia", model.family, seed=seed, options={"step": step})
            images.write(self.run.samples / f"{name}-{step:08d}.png", grid, provenance=record)
            self._board.add_image(name, grid, step)


@torch.no_grad()
def _reconstructions(model: Model, batch: Batch) -> torch.Tensor:
    """Rows of up to 8 originals, each above a row of what the model makes of them; (N, C, H, W)."""
    assert isinstance(model, Encodes)
    given = batch.to(model.device)
    made = model.decode(model.encode(given.images, given.condition), given.condition)
    return _row_by_row(batch.images, made)


@torch.no_grad()
def _restored(model: Model, batch: Batch) -> torch.Tensor:
    """Rows of up to 8 damaged pictures, each above the same restored and above the same as they were; (N, C, H, W)."""
    assert isinstance(model, Restores)
    assert batch.targets is not None
    made = model.restore(batch.images, batch.masks, batch.strengths)
    damaged = torch.nn.functional.interpolate(batch.images, made.shape[2:]) if model.reach.scale > 1 else batch.images
    return _row_by_row(damaged, made, batch.targets)


def _row_by_row(*sets: torch.Tensor) -> torch.Tensor:
    """Up to 8 pictures of the first set, the same of the second and so on, then the next 8; whole rows only."""
    columns = min(8, len(sets[0]))
    whole = len(sets[0]) // columns * columns
    rows = zip(*(torch.split(s[:whole].float().clamp(0, 1).cpu(), columns) for s in sets), strict=True)
    return torch.cat([picture for row in rows for picture in row])


class Pace:
    """Counts images, tells the rate, and passes progress on a few times a second.

    Args:
        progress: where to.
        total_kimg: in all.
    """

    def __init__(self, progress: ProgressCallback, total_kimg: float) -> None:
        self.progress, self.total_kimg = progress, total_kimg
        self._began = self._shown = time.monotonic()
        self._images = 0

    def count(self, number: int) -> None:
        """So many images more."""
        self._images += number

    def rate(self) -> float:
        """Images per second since the last call of `restart`."""
        return self._images / max(self.seconds(), 1e-9)

    def seconds(self) -> float:
        """Since the last call of `restart`."""
        return time.monotonic() - self._began

    def restart(self) -> None:
        """Measure the rate from here."""
        self._began, self._images = time.monotonic(), 0

    def show(self, kimg: float, figures: Mapping[str, float], *, force: bool = False, message: str = "") -> None:
        """Report, unless the last report is younger than a quarter of a second."""
        now = time.monotonic()
        if force or message or now - self._shown > 0.25:
            self._shown = now
            rate = self.rate() / 1000 if self._images else None
            self.progress(Progress("train", kimg, self.total_kimg, "kimg", rate, dict(figures), message))
