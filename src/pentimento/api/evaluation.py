"""The verb `evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pentimento.api.options import Callback, Flag, say_licence
from pentimento.errors import EvaluationError, ExistsError, InputError
from pentimento.runtime import ProgressCallback, no_progress

if TYPE_CHECKING:
    from torch import Tensor

    from pentimento.data.dataset import PackedDataset
    from pentimento.evaluate.pictures import Pictures, Reference, Subject
    from pentimento.evaluate.report import Evaluation
    from pentimento.model import Model

__all__ = ["EvaluateResult", "evaluate"]

MOST = 10_000  # pictures of a model, and real ones they are held against, where nobody asked for more
BLIND_PAIRS = 50


@dataclass(frozen=True)
class EvaluateResult:
    """What was measured.

    Args:
        table: the numbers as text: a header and rows, a column a subject.
        legend: of the table.
        report: the same with protocols and intervals, as in the JSON file.
        files: written.
        preference: of people, where votes were counted.
    """

    table: list[list[str]] = field(default_factory=list)
    legend: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    preference: dict[str, Any] = field(default_factory=dict)


def evaluate(
    subjects: Annotated[Sequence[str], Parameter(negative="")] = (),
    *,
    data: str | None = None,
    split: str = "train",
    metrics: Annotated[Sequence[str], Parameter(negative="")] = (),
    features: str = "features-cifar",
    classifier: str | None = None,
    count: int | None = None,
    scored: int = 1000,
    importance_samples: int = 50,
    seed: int = 0,
    blind: Flag = False,
    votes: Annotated[Sequence[Path], Parameter(negative="")] = (),
    key: Path | None = None,
    out: Path | None = None,
    device: str = "auto",
    overwrite: Flag = False,
    progress: Callback = no_progress,
) -> EvaluateResult:
    """Measure models, or folders of pictures, against real pictures; compare them; ask people.

    Every number has a 95 % interval and its protocol. Side by side, only differences whose interval excludes zero are
    marked. Reports written earlier (.json) are compared when they are given as subjects.

    Args:
        subjects: Models (run folder, model folder, zoo name, hub id), folders of pictures, or reports (.json).
        data: The real pictures, as for train.
        split: Of data that comes in splits, the one to hold samples against; a test split, where there is one, is
            also what memorization and likelihood take as held out.
        metrics: Which; repeatable. Left out: all that apply and take no training.
        features: The network that distances are taken in: features-cifar, perceptual, inception, a model, a file.
        classifier: A judge of what samples show, for --metrics labels: a classifier's run or model folder, or ONNX.
        count: Samples a model; left out: as many as there are real pictures, at most 10,000. They are held against at
            most 10,000 real pictures, or COUNT where that is more. Pairs, with --blind.
        scored: Real pictures of each part that a likelihood is taken of.
        importance_samples: For a bound of a likelihood.
        seed: Of all randomness.
        blind: Write a page that asks people which of two models' pictures look more real; it does not name them.
        votes: Count these files that the page of --blind recorded; repeatable.
        key: The key of the page, where it does not lie beside the votes.
        out: Write the report there, as .json and .html; the page's name with --blind.
        device: auto, cpu, cuda, cuda:N or mps.
        overwrite: Replace reports that stand at OUT.
    """
    if votes:
        return _count_votes(votes, key)
    if not subjects:
        raise InputError("evaluate: name a model or a folder of pictures to measure, or give --votes")
    if seed < 0:
        raise InputError(f"--seed: 0 or more expected, got {seed}")
    if count is not None and count < 1:
        raise InputError(f"--count: 1 or more expected, got {count}")
    if blind:
        return _ask_people(subjects, count or BLIND_PAIRS, seed, Path(out or "blind.html"), device, overwrite)
    files = _report_files(out, overwrite)
    if all(Path(subject).suffix == ".json" for subject in subjects):
        evaluation, sheet = _read_reports(subjects), None
    else:
        from pentimento.evaluate.measure import check_metrics

        check_metrics(metrics, with_data=data is not None, with_classifier=classifier is not None)
        bench = _Bench(data, split, metrics, features, classifier, count, seed, device, progress)
        evaluation, sheet = bench.evaluate(subjects, metrics, scored, importance_samples)
    return _report(evaluation, sheet, files)


# ----------------------------------------------------------------------------------------------- measuring
class _Bench:
    """Opens what is measured and what it is held against."""

    def __init__(
        self,
        data: str | None,
        split: str,
        metrics: Sequence[str],
        features: str,
        classifier: str | None,
        count: int | None,
        seed: int,
        device: str,
        progress: ProgressCallback,
    ) -> None:
        from pentimento.features import open_network
        from pentimento.runtime import choose_device

        self.device, self.seed, self.count, self.progress = choose_device(device), seed, count, progress
        self.dataset: PackedDataset | None = None
        self.test: PackedDataset | None = None
        # Pairs are compared as they are; features are taken of small pictures.
        self.packing: dict[str, Any] = {"max_side_px": 2**16, "bits": 16} if "fidelity" in metrics else {}
        if data is not None:
            self.dataset, self.test = _open_data(data, split, self.packing, progress)
        self.network = open_network(features, self.device, progress)
        self.judge = None if classifier is None else open_network(classifier, self.device, progress)
        self.references: dict[Any, Reference] = {}

    def evaluate(
        self, names: Sequence[str], metrics: Sequence[str], scored: int, importance_samples: int
    ) -> tuple[Evaluation, Tensor | None]:
        """All subjects, compared; and a sheet of real pictures."""
        from pentimento import images
        from pentimento.evaluate import report
        from pentimento.evaluate.call import Settings
        from pentimento.evaluate.measure import measure

        settings = Settings(
            self.network, self.judge, self.seed, scored, importance_samples, self._train_classifier, self.progress
        )
        found, reference = [], None
        for name in names:
            subject, reference = self._open(name)
            measured = measure(subject, reference, settings, metrics)
            sheets = dict(measured.sheets)
            if subject.dataset is None or subject.dataset.common_size is not None:
                sheets = {"samples": images.grid(subject.pictures.first(64).floats()), **sheets}
            count = len(subject.pictures if subject.dataset is None else subject.dataset)
            found.append(report.Evaluated(subject.name, subject.kind, subject.digest, count, measured.metrics, sheets))
        if reference is None:
            return report.conclude(found, None, self.seed), None
        real = reference.dataset
        against = report.Against(real.name, real.content_hash, min(len(real), max(MOST, self.count or 0)))
        sized = real.common_size is not None or subject.model is not None
        sheet = images.grid(reference.pictures.first(64).floats()) if sized else None
        return report.conclude(found, against, self.seed), sheet

    def _open(self, name: str) -> tuple[Subject, Reference | None]:
        from pentimento.evaluate.pictures import open_folder, open_model
        from pentimento.model import Samples, require
        from pentimento.models import MODELS, load

        if _is_pictures(name):
            dataset, _ = _open_data(name, "train", self.packing, self.progress)
            return open_folder(dataset, self.count), self._reference(None)
        model = load(name, self.device)
        require(model, Samples, "evaluate", MODELS)
        say_licence(model.origin, self.progress)
        reference = self._reference(model)
        count = self.count or min(MOST, len(reference.dataset) if reference else MOST)
        return open_model(model, reference, count, self.seed, self.progress), reference

    def _reference(self, model: Model | None) -> Reference | None:
        """The real pictures at the size of `model`, read once for each size."""
        from pentimento.evaluate.pictures import Reference
        from pentimento.training.recipe import DataOptions

        if self.dataset is None:
            return None
        spec = None if model is None else model.spec
        shape = None if spec is None else spec.image_shape
        if shape not in self.references:
            self.references[shape] = Reference(
                self.dataset, self.test, spec, DataOptions().validation, max(MOST, self.count or 0)
            )
        return self.references[shape]

    def _train_classifier(self, samples: Pictures, real: Pictures) -> Tensor:
        """Which of `real` a classifier gets right that saw `samples` alone, (N,) bool."""
        import tempfile

        from pentimento import images
        from pentimento.models import load
        from pentimento.training import recipe as recipes
        from pentimento.training import session

        assert samples.condition.labels is not None and real.condition.labels is not None
        with tempfile.TemporaryDirectory() as folder:
            for i, (picture, label) in enumerate(zip(samples.floats(), samples.condition.labels.tolist(), strict=True)):
                path = Path(folder, "samples", f"{label:04d}", f"{i:06d}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                images.write(path, picture)
            seen_kimg = max(20.0, min(600.0, len(samples) * 0.04))  # 40 times each, as far as that is bearable
            size = list(samples.images.shape[2:])
            changes = [f"training.total_kimg={seen_kimg}", f"training.device={self.device}", f"data.size_px={size}"]
            changes += ["augment.mirror=false", "training.validate_every_kimg=0", "training.early_stopping_patience=0"]
            chosen = recipes.load_recipe(recipes.find_recipe("classifier"), changes)
            run = Path(folder, "run")
            session.start(chosen, str(Path(folder, "samples")), run, progress=self.progress)
            judge: Any = load(run, self.device)
            seen = real.mapped(lambda x: judge.predict(x.to(judge.device))["probabilities"].argmax(1))
            classes = [int(name) for name in judge.spec.classes]
            return seen == _as_index(classes, real.condition.labels)


def _as_index(classes: list[int], labels: Tensor) -> Tensor:
    """Labels as indices into the sorted `classes`; -1 for those not among them."""
    import torch

    known = {label: i for i, label in enumerate(classes)}
    return torch.tensor([known.get(label, -1) for label in labels.tolist()])


def _open_data(
    where: str, split: str, packing: dict[str, Any], progress: ProgressCallback
) -> tuple[PackedDataset, PackedDataset | None]:
    """A split of the pictures at `where`, packed, and its test split, where it has another."""
    from pentimento.data.packed import pack
    from pentimento.data.sources import open_source
    from pentimento.errors import DataError

    dataset = pack(open_source(str(where), split), progress=progress, **packing)
    try:
        test = pack(open_source(str(where), "test"), progress=progress, **packing)
    except DataError:
        return dataset, None
    return dataset, None if test.content_hash == dataset.content_hash else test


def _is_pictures(name: str) -> bool:
    """Whether `name` is a folder without a model in it."""
    path = Path(name)
    return path.is_dir() and not any((path / inside).is_file() for inside in ("config.json", "model/config.json"))


# ------------------------------------------------------------------------------------------------- reports
def _report_files(out: Path | None, overwrite: bool) -> list[Path]:
    if out is None:
        return []
    if Path(out).suffix not in ("", ".json", ".html"):
        raise InputError(f"--out: a name that ends in .json or .html expected, got {out}")
    files = [Path(out).with_suffix(suffix) for suffix in (".json", ".html")]
    for path in files:
        if path.exists() and not overwrite:
            raise ExistsError(f"{path}: exists; choose another --out, or --overwrite")
    return files


def _read_reports(names: Sequence[str]) -> Evaluation:
    from pentimento.evaluate.report import merge, read_report

    return merge([read_report(Path(name)) for name in names])


def _report(evaluation: Evaluation, sheet: Tensor | None, files: list[Path]) -> EvaluateResult:
    import json

    from pentimento.evaluate.page import write_html
    from pentimento.evaluate.report import to_json
    from pentimento.evaluate.table import LEGEND, table
    from pentimento.runtime import atomic_write

    document = to_json(evaluation)
    if files:
        with atomic_write(files[0]) as temporary:
            temporary.write_text(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        write_html(evaluation, files[1], sheet)
    header, rows = table(evaluation)
    return EvaluateResult([header, *rows], LEGEND, document, files)


# -------------------------------------------------------------------------------------------------- people
def _ask_people(names: Sequence[str], count: int, seed: int, out: Path, device: str, overwrite: bool) -> EvaluateResult:
    from pentimento.evaluate.blind import write_study
    from pentimento.evaluate.pictures import draw_samples
    from pentimento.model import Samples, require
    from pentimento.models import MODELS, load
    from pentimento.runtime import choose_device

    if len(names) != 2:
        raise InputError(f"--blind: compares two models, got {len(names)}")
    models = [load(name, choose_device(device)) for name in names]
    for model in models:
        require(model, Samples, "evaluate --blind", MODELS)
    if models[0].spec.image_shape != models[1].spec.image_shape:
        raise EvaluationError("--blind: the models make pictures of different sizes, which would tell them apart")
    first, second = (list(draw_samples(model, None, count, seed).floats()) for model in models)
    about = {name: model.origin.weights_sha256 for name, model in zip(names, models, strict=True) if model.origin}
    study = write_study(first, second, (names[0], names[1]), out, seed=seed, about=about, overwrite=overwrite)
    return EvaluateResult(files=[study.page, study.key])


def _count_votes(votes: Sequence[Path], key: Path | None) -> EvaluateResult:
    import dataclasses

    from pentimento.evaluate.votes import count_votes

    return EvaluateResult(preference=dataclasses.asdict(count_votes([Path(v) for v in votes], key)))
