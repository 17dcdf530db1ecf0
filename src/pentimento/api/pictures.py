"""What the verbs that change picture files share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pentimento.api.options import say_licence
from pentimento.errors import InputError
from pentimento.runtime import Progress, ProgressCallback

if TYPE_CHECKING:
    from pentimento.model import Model
    from pentimento.tasks.files import Job

__all__ = ["StylizeResult", "check_range", "load_able", "say_beforehand"]


@dataclass(frozen=True)
class StylizeResult:
    """What was rendered.

    Args:
        files: all pictures written.
        model: name of the model, or of the network by which it was optimised.
        weights_sha256: of that.
        styles: name of each style -> the share that it counted, 1 within a mask; where two have one name, all are as
            they were given.
        losses: file -> the losses of its last step, where it was optimised.
        strengths: file -> the strength that was chosen and the content distance at it, where that was asked for.
        skipped: results that were there already.
        failed: file -> why it could not be rendered.
    """

    files: list[Path]
    model: str
    weights_sha256: str
    styles: dict[str, float]
    losses: dict[str, dict[str, float]] = field(default_factory=dict)
    strengths: dict[str, dict[str, float]] = field(default_factory=dict)
    skipped: list[Path] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def load_able(name: str, capability: str, verb: str, device: str) -> Model:
    """The model called `name` on its device, channels last: convolutions are faster so.

    Args:
        name: see `pentimento.models.find`.
        capability: the protocol of `pentimento.capabilities` that `verb` needs.
        verb: for the message.
        device: auto, cpu, cuda, cuda:N or mps.

    Raises:
        NotFoundError, ModelError: see `pentimento.models.load`; or the model cannot do it.
    """
    from torch import channels_last

    from pentimento import capabilities
    from pentimento.models import MODELS, load
    from pentimento.runtime import choose_device

    model = load(name, choose_device(device))
    capabilities.require(model, getattr(capabilities, capability), verb, MODELS)
    model.to(memory_format=channels_last)  # type: ignore[call-overload]
    return model


def check_range(option: str, value: float | None, low: float, high: float) -> None:
    """Refuse what is given and out of range.

    Raises:
        InputError: that; NaN too.
    """
    if value is not None and not low <= value <= high:
        raise InputError(f"--{option}: {low} to {high} expected, got {value}")


def say_beforehand(jobs: Iterable[Job], verb: str, models: Iterable[Model], progress: ProgressCallback) -> None:
    """What to know before the first picture: licences, and what is lost where a result is a JPEG. Each is said once."""
    for model in models:
        say_licence(model.origin, progress)
    if any(job.target.suffix.lower() in (".jpg", ".jpeg") for job in jobs):
        message = "JPEG loses a little everywhere when it is encoded anew; .png and .tif keep all"
        progress(Progress(verb, 0, message=message))
