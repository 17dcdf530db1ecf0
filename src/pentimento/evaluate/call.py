"""One measure of one subject: what it is given, and how its number gets a protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from pentimento.data.dataset import PackedDataset
from pentimento.evaluate.intervals import Estimate
from pentimento.evaluate.pictures import Pictures, Reference, Subject
from pentimento.evaluate.records import Metric, Option, Protocol
from pentimento.features import FeatureNetwork
from pentimento.runtime import ProgressCallback, no_progress

__all__ = ["Better", "Call", "Found", "Settings", "TrainClassifier"]

Better = Literal["higher", "lower"] | None
# Pictures and labels of samples -> share of real pictures that a classifier trained on them gets right, each (N,) bool.
TrainClassifier = Callable[[Pictures, Pictures], Tensor]


@dataclass(frozen=True)
class Settings:
    """What all measures share.

    Args:
        network: whose features distances are taken in.
        classifier: that tells what samples show, or None.
        seed: of groups, pairs and scores.
        scored: real pictures that a likelihood is taken of, of each part.
        importance_samples: of a likelihood's bound.
        train_classifier: for the classification accuracy score.
        progress: called throughout.
    """

    network: FeatureNetwork
    classifier: FeatureNetwork | None = None
    seed: int = 0
    scored: int = 1000
    importance_samples: int = 50
    train_classifier: TrainClassifier | None = None
    progress: ProgressCallback = no_progress


@dataclass
class Found:
    """What was measured of one subject.

    Args:
        metrics: the numbers.
        sheets: (C, H, W) pictures to be looked at, by caption.
    """

    metrics: list[Metric] = field(default_factory=list)
    sheets: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """One measure of one subject."""

    name: str
    subject: Subject
    reference: Reference | None
    settings: Settings

    @property
    def real(self) -> Reference:
        """The reference, where the measure cannot do without."""
        assert self.reference is not None  # see `check_metrics`
        return self.reference

    def metric(
        self,
        name: str,
        estimate: Estimate,
        better: Better = None,
        *,
        unit: str = "",
        against: Pictures | PackedDataset | None = None,
        seen_through: FeatureNetwork | None = None,
        count: int | None = None,
        note: str = "",
        options: Mapping[str, Option] | None = None,
    ) -> Metric:
        """A number with its protocol."""
        network, real = seen_through, against
        # Data are held against models of several sizes, and are other pictures at each.
        size = {"size": "x".join(map(str, against.images.shape[:1:-1]))} if isinstance(against, Pictures) else {}
        protocol = Protocol(
            metric=name,
            sample_count=self.subject.count if count is None else count,
            seed=self.settings.seed,
            reference=real.name if real else "",
            reference_hash=real.content_hash if real else "",
            reference_count=len(real) if real else 0,
            extractor=network.name if network else "",
            extractor_hash=network.sha256 if network else "",
            resizer=network.resizer if network else "",
            options={**(options or {}), **size},
        )
        return Metric(name, estimate, protocol, unit, better, note)

    def vectors(self, pictures: Pictures) -> Tensor:
        """Their features."""
        return pictures.features(self.settings.network, self.settings.progress).vectors
