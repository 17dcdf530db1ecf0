"""Whether what is set brings a model's pictures nearer to real ones: the change in Frechet distance.

    without, with -> distances of the same samples, as they are and with what is set, to the same real pictures
    change -> with - without; below 0: what is set makes pictures more like the real ones

The jackknife leaves out the same samples and the same real pictures of both at once, so that the interval of the change
knows what the two have in common. See `pentimento.evaluate.distances`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from pentimento.errors import EvaluationError
from pentimento.evaluate.distances import frechet
from pentimento.evaluate.intervals import Estimate
from pentimento.evaluate.pictures import Pictures
from pentimento.evaluate.records import Metric, Protocol, compare
from pentimento.features import FeatureNetwork
from pentimento.interventions import Do
from pentimento.model import Condition
from pentimento.studies.experiment import Arm, Experiment

__all__ = ["Quality", "QualityChange", "of_label"]


@dataclass(frozen=True)
class QualityChange:
    """Frechet distances to real pictures.

    Args:
        without: of the samples as they are.
        with_set: of the same samples with what is set.
    """

    without: Metric
    with_set: Metric

    @property
    def change(self) -> Estimate:
        """With what is set less without it; it changes the distance where the interval excludes zero."""
        return compare(self.with_set, self.without)

    def __str__(self) -> str:
        change, real = self.change, self.without.protocol
        return (
            f"Frechet distance to {real.reference} ({real.extractor}): {self.without.estimate.value:.4g} without the "
            f"set, {self.with_set.estimate.value:.4g} with it on the same samples; change {change.value:+.4g}, 95 % "
            f"interval {change.low:+.4g} to {change.high:+.4g}"
        )

    def to_json(self) -> dict[str, Any]:
        """For a report."""
        change = asdict(self.change)
        return {"without": self.without.to_json(), "with": self.with_set.to_json(), "change": change}


@dataclass(frozen=True)
class Quality:
    """What samples are held against.

    Args:
        real: pictures of the model's size.
        network: whose features the distance is taken in, on the model's device.
        count: samples.
    """

    real: Pictures
    network: FeatureNetwork
    count: int

    def distance(self, experiment: Experiment, dos: Sequence[Do] = ()) -> Metric:
        """The Frechet distance of the first samples of an experiment with `dos` set.

        Raises:
            EvaluationError: too few samples or real pictures for the features of the network.
        """
        pictures = (experiment.pictures(Arm("set", tuple(dos)), range(self.count)) * 255).round().to(torch.uint8)
        made = Pictures("samples", pictures, Condition(), "", experiment.model.spec)
        vectors = [p.features(self.network).vectors for p in (made, self.real)]
        protocol = Protocol(
            metric="frechet",
            sample_count=self.count,
            seed=experiment.seed,
            reference=self.real.name,
            reference_hash=self.real.content_hash,
            reference_count=len(self.real),
            extractor=self.network.name,
            extractor_hash=self.network.sha256,
            resizer=self.network.resizer,
            options={"label": experiment.label or "all", "truncation": str(experiment.truncation)},
        )
        found = frechet(vectors[0], vectors[1], experiment.seed)
        told = "labels in turn, where the model is told any" if experiment.label is None else ""
        return Metric("frechet", found, protocol, better="lower", note=told)


def of_label(real: Pictures, label: str | None) -> Pictures:
    """Those of one class; all where `label` is None, or where nothing is known of their classes.

    Raises:
        EvaluationError: none is of that class.
    """
    if label is None or real.condition.labels is None:
        return real
    names = real.spec.classes
    rows = (real.condition.labels == names.index(label)).nonzero().flatten() if label in names else torch.zeros(0)
    if not len(rows):
        raise EvaluationError(
            f"--data: no picture of {real.name} is of class {label!r}; its classes: {', '.join(names)}"
        )
    return real.taken(rows)
