"""What an evaluation found, as records and as JSON: who differs from whom, and what does not compare.

`table` shows it in a terminal, `page` in a browser. The JSON document (`to_json`, `from_json`) holds all but the
pictures, so that evaluations made on different days and machines can be put together (`merge`). JSON knows no
infinity: such a number is the text ``"inf"``, ``"-inf"`` or ``"nan"``.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from torch import Tensor

from pentimento import __version__
from pentimento.errors import EvaluationError, NotFoundError, ProtocolError
from pentimento.evaluate.intervals import GROUPS, Estimate
from pentimento.evaluate.records import Metric, Option, Protocol, compare
from pentimento.validation import json_safe

__all__ = [
    "Against",
    "Difference",
    "Evaluated",
    "Evaluation",
    "Refusal",
    "compare_subjects",
    "conclude",
    "from_json",
    "merge",
    "metric_names",
    "read_report",
    "to_json",
]


# ------------------------------------------------------------------------------------------------ records
@dataclass(frozen=True)
class Evaluated:
    """One subject.

    Args:
        name: unique in an evaluation, see `conclude`.
        kind: family of the model, or ``"pictures"``.
        digest: of its weights or pictures.
        count: of its pictures that were looked at.
        metrics: the numbers.
        sheets: caption -> (C, H, W) picture in [0, 1], to be looked at.
    """

    name: str
    kind: str
    digest: str
    count: int
    metrics: Sequence[Metric]
    sheets: Mapping[str, Tensor] = field(default_factory=dict)

    def metric(self, name: str) -> Metric | None:
        """Its number of that name, if it has one."""
        return next((m for m in self.metrics if m.name == name), None)


@dataclass(frozen=True)
class Against:
    """Real pictures that subjects were held against: name, hash of the data, how many pictures."""

    name: str
    digest: str
    count: int


@dataclass(frozen=True)
class Difference:
    """Two subjects in one metric.

    Args:
        metric: its name.
        first: name of a subject.
        second: name of the other.
        estimate: first minus second.
        winner: the better of them, where the interval excludes zero and one way is better; else None.
    """

    metric: str
    first: str
    second: str
    estimate: Estimate
    winner: str | None

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.estimate.low > 0 or self.estimate.high < 0


@dataclass(frozen=True)
class Refusal:
    """Two subjects that were measured in different ways, and how these differ."""

    metric: str
    first: str
    second: str
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """Everything that a report tells. Made by `conclude`.

    Args:
        subjects: with unique names.
        differences: of every pair that compares.
        refusals: of pairs that have a metric in common and do not compare.
        against: the real pictures, or None.
        seed: of samples and groups.
        package_version: of Pentimento.
        time: when it was made, ISO 8601, UTC, to the second.
    """

    subjects: Sequence[Evaluated]
    differences: Sequence[Difference]
    refusals: Sequence[Refusal]
    against: Against | None
    seed: int
    package_version: str = __version__
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


# ------------------------------------------------------------------------------------------- comparisons
def conclude(subjects: Sequence[Evaluated], against: Against | None, seed: int) -> Evaluation:
    """The evaluation of `subjects`, with all their differences; those that share a name are numbered from 2."""
    named: list[Evaluated] = []
    for subject in subjects:
        taken = {other.name for other in named}
        numbered = (f"{subject.name} ({k})" for k in itertools.count(2))
        name = next(n for n in itertools.chain([subject.name], numbered) if n not in taken)
        named.append(dataclasses.replace(subject, name=name))
    differences, refusals = compare_subjects(named)
    return Evaluation(named, differences, refusals, against, seed)


def compare_subjects(subjects: Sequence[Evaluated]) -> tuple[list[Difference], list[Refusal]]:
    """Every pair of subjects in every metric that both have and that allows it.

    What is infinite is left out, and what has no replicates, except whole numbers without an interval: these are
    counts, and exact.
    """
    differences, refusals = [], []
    for name in metric_names(subjects):
        for first, second in itertools.combinations(subjects, 2):
            a, b = first.metric(name), second.metric(name)
            if a is None or b is None:
                continue
            try:
                estimate = compare(_comparable(a), _comparable(b))
            except ProtocolError as error:
                if a.protocol != b.protocol:
                    refusals.append(Refusal(name, first.name, second.name, str(error)))
                continue
            except ValueError:
                reason = f"{name}: not comparable, dealt into different numbers of groups"
                refusals.append(Refusal(name, first.name, second.name, reason))
                continue
            if math.isfinite(estimate.low) and math.isfinite(estimate.high):
                winner = _winner(a.better, estimate, first.name, second.name)
                differences.append(Difference(name, first.name, second.name, estimate, winner))
    return differences, refusals


def _comparable(metric: Metric) -> Metric:
    """The same, where a count has the replicates that exact numbers have, and what is infinite has none."""
    estimate, replicates = metric.estimate, metric.estimate.replicates
    if not replicates and estimate.low == estimate.high and float(estimate.value).is_integer():
        replicates = (estimate.value,) * GROUPS
    if not all(map(math.isfinite, (estimate.value, *replicates))):
        replicates = ()
    return dataclasses.replace(metric, estimate=dataclasses.replace(estimate, replicates=replicates))


def _winner(better: str | None, estimate: Estimate, first: str, second: str) -> str | None:
    if better is None or estimate.low <= 0 <= estimate.high:
        return None
    return first if (estimate.low > 0) == (better == "higher") else second


def metric_names(subjects: Sequence[Evaluated]) -> list[str]:
    """Names of all metrics, each once: in the order of the first subject, with what it lacks in between."""
    order: list[str] = []
    for subject in subjects:
        place = 0
        for metric in subject.metrics:
            if metric.name not in order:
                order.insert(place, metric.name)
            place = order.index(metric.name) + 1
    return order


def merge(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Several evaluations as one, compared anew.

    Raises:
        EvaluationError: two of them have no metric in common.
        ProtocolError: two of them have been measured so differently that nothing compares.
    """
    first = evaluations[0]
    against = first.against if all(e.against == first.against for e in evaluations) else None
    merged = conclude([subject for e in evaluations for subject in e.subjects], against, first.seed)
    source = [i for i, e in enumerate(evaluations) for _ in e.subjects]
    source_of = dict(zip((s.name for s in merged.subjects), source, strict=True))
    for pair in itertools.combinations(range(len(evaluations)), 2):
        compared = [d for d in merged.differences if (source_of[d.first], source_of[d.second]) == pair]
        refused = [r for r in merged.refusals if (source_of[r.first], source_of[r.second]) == pair]
        if refused and not compared:
            raise ProtocolError(refused[0].reason)
        names = [{m.name for s in evaluations[i].subjects for m in s.metrics} for i in pair]
        if not names[0] & names[1]:
            raise EvaluationError(f"reports {pair[0] + 1} and {pair[1] + 1} have no metric in common")
    return merged


# --------------------------------------------------------------------------------------------------- JSON
def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Everything but the pictures, replicates included, in values that JSON can hold; see the module."""
    subjects = [
        {
            "name": s.name,
            "kind": s.kind,
            "digest": s.digest,
            "count": s.count,
            "metrics": [m.to_json() for m in s.metrics],
        }
        for s in evaluation.subjects
    ]
    document = {
        "format": _Document.model_fields["format"].default,
        "version": _Document.model_fields["version"].default,
        "package_version": evaluation.package_version,
        "time": evaluation.time,
        "seed": evaluation.seed,
        "against": dataclasses.asdict(evaluation.against) if evaluation.against else None,
        "subjects": subjects,
        "differences": [dataclasses.asdict(d) for d in evaluation.differences],
        "refusals": [dataclasses.asdict(r) for r in evaluation.refusals],
    }
    for row in document["differences"]:
        del row["estimate"]["replicates"]
    safe: dict[str, Any] = json_safe(document)
    return safe


def _number(value: Any) -> Any:
    return float(value) if value in ("inf", "-inf", "nan") else value


_Number = Annotated[float, BeforeValidator(_number)]


class _Record(BaseModel):
    """A part of the document: what is unknown, missing or of another type is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Estimate(_Record):
    value: _Number
    low: _Number
    high: _Number
    corrected: _Number | None
    replicates: list[_Number]


class _Protocol(_Record):
    metric: str
    sample_count: int
    seed: int
    reference: str
    reference_hash: str
    reference_count: int
    extractor: str
    extractor_hash: str
    resizer: str
    options: dict[str, Option]


class _Metric(_Record):
    name: str
    estimate: _Estimate
    protocol: _Protocol
    unit: str
    better: Literal["higher", "lower"] | None
    note: str


class _Against(_Record):
    name: str
    digest: str
    count: int


class _Subject(_Record):
    name: str
    kind: str
    digest: str
    count: int
    metrics: list[_Metric]


class _Document(_Record):
    format: Literal["pentimento evaluation"] = "pentimento evaluation"
    version: Literal[1] = 1
    package_version: str
    time: str
    seed: int
    against: _Against | None
    subjects: list[_Subject]
    differences: list[Any]
    refusals: list[Any]


def from_json(document: Any, name: str = "report") -> Evaluation:
    """What `to_json` wrote, without pictures; the differences are computed anew.

    Args:
        document: parsed JSON.
        name: of the file, for the message.

    Raises:
        EvaluationError: it is no report.
    """
    try:
        read = _Document.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise EvaluationError(
            f"{name}: the JSON of an evaluation expected, as evaluate --json writes it; {where}: {first['msg']}"
        ) from error
    subjects = [Evaluated(s.name, s.kind, s.digest, s.count, [_metric(m) for m in s.metrics]) for s in read.subjects]
    if not subjects:
        raise EvaluationError(f"{name}: an evaluation of nothing")
    against = Against(**read.against.model_dump()) if read.against else None
    concluded = conclude(subjects, against, read.seed)
    return dataclasses.replace(concluded, package_version=read.package_version, time=read.time)


def read_report(path: Path) -> Evaluation:
    """What `to_json` wrote into a file.

    Raises:
        EvaluationError: it is no report.
        NotFoundError: there is no such file, or it cannot be read.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotFoundError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise EvaluationError(f"{path}: the JSON of an evaluation expected, and this is no JSON ({error})") from error
    return from_json(document, str(path))


def _metric(read: _Metric) -> Metric:
    estimate = read.estimate.model_dump() | {"replicates": tuple(read.estimate.replicates)}
    protocol = Protocol(**read.protocol.model_dump())
    return Metric(read.name, Estimate(**estimate), protocol, read.unit, read.better, read.note)
