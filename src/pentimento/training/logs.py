"""What a training shows: curves, pictures, and how fast it goes."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch

from pentimento import images
from pentimento.capabilities import Encodes, Restores, Samples, Stylizes, Translates
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
        """A grid of samples, the same noise every time, and of what `model` makes of pictures held out."""
        grids = {}
        if isinstance(model, Samples):
            condition = default_condition(model, range(count), seed)
            grids["samples"] = images.grid(sample_chunks(model, condition, range(count), seed))
        if held_out is not None:
            made = _made_of(model, held_out.to(model.device))
            grids |= {name: images.grid(g, columns=min(8, len(held_out))) for name, g in made.items()}
        for name, grid in grids.items():
            record = Provenance("train", "trainedAlgorithmicMedia", model.family, seed=seed, options={"step": step})
            images.write(self.run.samples / f"{name}-{step:08d}.png", grid, provenance=record)
            self._board.add_image(name, grid, step)


@torch.no_grad()
def _made_of(model: Model, given: Batch) -> dict[str, torch.Tensor]:
    """(N, C, H, W) by name: rows of up to 8 pictures, each above a row of what becomes of them and of what should."""
    found = {}
    x, wanted, condition = given.images, given.targets, given.condition
    if isinstance(model, Encodes):
        found["reconstructions"] = _row_by_row(x, model.decode(model.encode(x, condition), condition))
    if wanted is None:
        return found
    if isinstance(model, Restores):
        made = model.restore(x, given.masks, given.strengths)
        damaged = torch.nn.functional.interpolate(x, made.shape[2:]) if model.reach.scale > 1 else x
        found["restored"] = _row_by_row(damaged, made, wanted)
    if isinstance(model, Translates):
        found["translated"] = _row_by_row(x, model.translate(x, condition), wanted)
    if isinstance(model, Stylizes):
        found["stylized"] = _row_by_row(x, wanted, model.stylize(x, model.encode_style(wanted)))
    return found


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
