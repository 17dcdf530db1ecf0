"""Numbers that carry their protocol: what was measured, on what, through what, and when two may be compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pentimento.errors import ProtocolError
from pentimento.evaluate.intervals import Estimate, difference

__all__ = ["Metric", "Protocol", "compare"]

Option = str | int | float | bool


@dataclass(frozen=True)
class Protocol:
    """All that a number depends on besides the model. Two numbers compare only where all of it is equal.

    Args:
        metric: its name.
        sample_count: samples of the model (pictures, pairs) that went in.
        seed: of the samples and of the groups of the interval.
        reference: name of the data set.
        reference_hash: of its pictures.
        reference_count: pictures of it that went in.
        extractor: name of the feature network.
        extractor_hash: of its weights.
        resizer: how pictures were brought to the network's size.
        options: the metric's own, e.g. ``{"k": 5}``.
    """

    metric: str
    sample_count: int
    seed: int = 0
    reference: str = ""
    reference_hash: str = ""
    reference_count: int = 0
    extractor: str = ""
    extractor_hash: str = ""
    resizer: str = ""
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """A measured number.

    Args:
        name: e.g. ``"frechet"``.
        estimate: with its interval.
        unit: e.g. ``"nats"``; empty for a pure number.
        better: which way is better; None where neither is.
        protocol: how it was measured.
        note: what a reader must know to read it right.
    """

    name: str
    estimate: Estimate
    protocol: Protocol
    unit: str = ""
    better: Literal["higher", "lower"] | None = None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """For a report."""
        return dataclasses.asdict(self)


def compare(a: Metric, b: Metric) -> Estimate:
    """``a - b`` with its 95 % interval; the two differ where it excludes zero.

    Raises:
        ProtocolError: the two were measured differently; names every difference.
    """
    ours, theirs = dataclasses.asdict(a.protocol), dataclasses.asdict(b.protocol)
    unlike = [f"{key.replace('_', ' ')} {ours[key]!r} and {theirs[key]!r}" for key in ours if ours[key] != theirs[key]]
    if unlike:
        raise ProtocolError(f"{a.name}: not comparable, measured with different protocols: {'; '.join(unlike)}")
    if not a.estimate.replicates or not b.estimate.replicates:
        raise ProtocolError(f"{a.name}: not comparable, for one has no replicates to compare")
    return difference(a.estimate, b.estimate)
