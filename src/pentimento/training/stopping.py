"""When to stop: by signal, or because validation no longer gets better."""

from __future__ import annotations

import math
import signal
import threading
from types import FrameType
from typing import Any

from torch import Tensor

__all__ = ["EarlyStopping", "StopSignal"]


class StopSignal:
    """While entered, SIGINT and SIGTERM set `received` and do nothing else, so that a step is finished and saved.

    Outside the main thread Python allows no handlers; then nothing is caught.
    """

    def __init__(self) -> None:
        self.received = False
        self.name = "a signal"
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.received, self.name = True, signal.Signals(number).name


class EarlyStopping:
    """Keeps the best weights by a figure that should be small, and says when patience is at an end.

    Args:
        patience: validations in a row without a better figure; 0 never stops and keeps nothing.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.best = math.inf
        self.waited = 0
        self.figures: dict[str, float] = {}
        self.weights: dict[str, Tensor] | None = None

    @property
    def patience_ended(self) -> bool:
        """Whether it is time to stop."""
        return bool(self.patience) and self.waited >= self.patience

    def update(self, figure: float, figures: dict[str, float], weights: dict[str, Tensor]) -> None:
        """Take note of a validation: the figure to go by, all figures, and the weights that gave them."""
        if not self.patience:
            return
        if figure < self.best:
            self.best, self.waited, self.figures = figure, 0, dict(figures)
            self.weights = {k: v.detach().cpu().clone() for k, v in weights.items()}
        else:
            self.waited += 1

    def state(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"best": self.best, "waited": self.waited, "figures": self.figures, "weights": self.weights}

    def restore(self, state: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.best, self.waited = state["best"], state["waited"]
        self.figures, self.weights = state["figures"], state["weights"]
