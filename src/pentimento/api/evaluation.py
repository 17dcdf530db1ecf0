"""The verb `evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from cyclopts import Parameter

from pentimento.api.options import Callback, Flag, check_seed, report_files, say_licence
from pentimento.errors import EvaluationError, InputError
from pentimento.runtime import ProgressCallback, no_progress

if TYPE_CHECKING:
    from torch import Tensor

    from pentimento.data.dataset import PackedDataset
    from pentimento.evaluate.pictures import Pictures, Reference, Subject
    from pentimento.evaluate.report import Evaluation
    from pentimento.model import DataSpec
    from pentimento.training.recipe import DataOptions

__all__ = ["EvaluateResult", "data_options", "evaluate"]

MOST = 10_000  # pictures of a model, and real ones they are held against, where nobody asked for more
BLIND_PAIRS = 50
SHOWN, SHOWN_PX = 64, 256  # pictures on a sheet, and their longest side


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
        split: Of data that comes in splits, the one to hold samples against. Whatever it is, memorization and
            likelihood take as held out the test split, where there is one, else the share that training holds out.
        metrics: Which; repeatable. Left out: all that apply but accuracy-score, birthday, fidelity and
            inception-score.
        features: The network that distances are taken in: features-cifar, perceptual, inception, a model, a file.
        classifier: A judge of what samples show, for --metrics labels: a classifier's run or model folder, or ONNX.
        count: Samples a model; left out: as many as there are real pictures, at most 10,000. They are held against at
            most 10,000 real pictures, or COUNT where that is more. Pairs, with --blind.
        scored: Real pictures of each part that a likelihood is taken of.
        importance_samples: For a bound of a likelihood.
        seed: Of all randomness.
        blind: Write a page that asks people which of two models' pictures look more real, without naming them.
        votes: Count these files that the page of --blind recorded; repeatable.
        key: The key of the page, where it does not lie beside the votes.
        out: Write the report there, as .json and .html; the page's name with --blind.
        device: auto, cpu, cuda, cuda:N or mps.
        overwrite: Replace reports that stand at OUT.
    """
    if votes and subjects:
        raise InputError(f"--votes: are counted by themselves, without {subjects[0]}; name --votes before each file")
    if votes:
        return _count_votes(votes, key)
    if not subjects:
        raise InputError("evaluate: name a model or a folder of pictures to measure, or give --votes")
    check_seed(seed)
    for option, value, least in (
        ("count", count, 1),
        ("scored", scored, 20),
        ("importance-samples", importance_samples, 1),
    ):
        if value is not None and value < least:
            raise InputError(f"--{option}: {least} or more expected, got {value}")
    if blind:
        page = Path(out or "blind.html")
        return _ask_people(subjects, count or BLIND_PAIRS, seed, page, device, overwrite, progress)
    files = report_files(out, overwrite)
    reports = [Path(subject).suffix == ".json" for subject in subjects]
    if any(reports) and not all(reports):
        raise InputError("evaluate: reports (.json) compare with reports only; name models or reports, not both")
    if all(reports):
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
        # Pairs are compared as they are; features are taken of small pictures.
        self.packing: dict[str, Any] = {"max_side_px": 2**16, "bits": 16} if "fidelity" in metrics else {}
        self.data = None if data is None else _open_data(data, split, self.packing, progress)
        self.needs_samples, self.in_pairs = set(metrics) != {"cost"}, set(metrics) == {"fidelity"}
        self.network = open_network(features, self.device, progress)
        self.judge = None if classifier is None else open_network(classifier, self.device, progress)
        self.references: dict[Any, Reference] = {}

    def evaluate(
        self, names: Sequence[str], metrics: Sequence[str], scored: int, importance_samples: int
    ) -> tuple[Evaluation, Tensor | None]:
        """All subjects, compared; and a sheet of real pictures."""
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
            sheets = {**_preview(subject), **measured.sheets}
            found.append(
                report.Evaluated(subject.name, subject.kind, subject.digest, subject.count, measured.metrics, sheets)
            )
        if reference is None:
            return report.conclude(found, None, self.seed), None
        real = reference.dataset
        against = report.Against(real.name, real.content_hash, reference.count)
        sheet = _sheet(reference.pictures) if "pictures" in reference.__dict__ else None
        return report.conclude(found, against, self.seed), sheet

    def _open(self, name: str) -> tuple[Subject, Reference | None]:
        from pentimento.capabilities import Samples, require
        from pentimento.evaluate.pictures import open_folder, open_model
        from pentimento.models import MODELS, load
        from pentimento.training.recipe import DataOptions

        if _is_pictures(name):
            dataset = _open_data(name, "train", self.packing, self.progress).chosen
            spec = None if self.in_pairs or dataset.common_size is None else dataset.spec()
            return open_folder(dataset, self.count), self._reference(spec, DataOptions())
        model = load(name, self.device)
        if self.needs_samples:
            require(model, Samples, "evaluate", MODELS)
        say_licence(model.origin, self.progress)
        reference = self._reference(model.spec, data_options(name))
        count = self.count or min(MOST, reference.count if reference else MOST)
        return open_model(model, reference, count, self.seed, self.progress), reference

    def _reference(self, spec: DataSpec | None, options: DataOptions) -> Reference | None:
        """The real pictures as a model of `spec` trained on them saw them; read once for each size and way."""
        from pentimento.evaluate.pictures import Reference

        if self.data is None:
            return None
        way = (spec and spec.image_shape, options.fit, options.validation)
        if way not in self.references:
            most = max(MOST, self.count or 0)
            chosen, train, test = self.data
            self.references[way] = Reference(chosen, train, test, spec, options.validation, options.fit, most)
        return self.references[way]

    def _train_classifier(self, samples: Pictures, real: Pictures) -> Tensor:
        """Which of `real` a classifier gets right that saw `samples` alone, (N,) bool."""
        import tempfile

        import torch

        from pentimento import images
        from pentimento.models import load
        from pentimento.training import recipe as recipes
        from pentimento.training import session

        assert samples.condition.labels is not None and real.condition.labels is not None
        names = [samples.spec.classes[label] for label in samples.condition.labels.tolist()]
        with tempfile.TemporaryDirectory() as folder:
            for i, (picture, name) in enumerate(zip(samples.floats(), names, strict=True)):
                path = Path(folder, "samples", name, f"{i:06d}.png")
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
        truth = [real.spec.classes[label] for label in real.condition.labels.tolist()]
        return torch.tensor([judge.spec.classes[k] == name for k, name in zip(seen.tolist(), truth, strict=True)])


class _Data(NamedTuple):
    """The split to hold samples against, that of training, and one that no training saw, where there is one."""

    chosen: PackedDataset
    train: PackedDataset
    test: PackedDataset | None


def _open_data(where: str, split: str, packing: dict[str, Any], progress: ProgressCallback) -> _Data:
    from pentimento.data.packed import pack
    from pentimento.data.sources import open_source
    from pentimento.errors import DataError

    def split_of(name: str) -> PackedDataset | None:
        try:
            source = open_source(where, name)
        except DataError:
            return None
        return pack(source, progress=progress, **packing)

    chosen = pack(open_source(where, split), progress=progress, **packing)
    train = chosen if split == "train" else split_of("train") or chosen
    test = chosen if split == "test" else split_of("test")
    if test is not None and test.content_hash == train.content_hash:  # an idx file is its own split
        test = None
    return _Data(chosen, train, test)


def data_options(name: str) -> DataOptions:
    """How a model's pictures were read when it was trained, where its run or a recipe of its name tells."""
    from pentimento.training.recipe import DataOptions, find_recipe, load_recipe, recipe_names

    for path in (Path(name, "recipe.toml"), Path(name).parent / "recipe.toml"):
        if path.is_file():
            return load_recipe(path).data
    return load_recipe(find_recipe(name)).data if name in recipe_names() else DataOptions()


def _preview(subject: Subject) -> dict[str, Tensor]:
    """A sheet of a few pictures, where the subject has such of one size."""
    from pentimento.capabilities import Samples

    makes_none = subject.model is not None and not isinstance(subject.model, Samples)
    if makes_none or (subject.dataset is not None and subject.dataset.common_size is None):
        return {}
    return {"samples": _sheet(subject.shown(SHOWN))}


def _sheet(pictures: Pictures) -> Tensor:
    """A contact sheet; large pictures are made smaller."""
    from torch.nn import functional

    from pentimento import images

    some = pictures.some(SHOWN).floats()
    longest = max(some.shape[2:])
    if longest > SHOWN_PX:
        some = functional.interpolate(some, scale_factor=SHOWN_PX / longest, mode="bilinear", antialias=True)
    return images.grid(some.clamp(0, 1))


def _is_pictures(name: str) -> bool:
    """Whether `name` is a folder without a model in it."""
    path = Path(name)
    return path.is_dir() and not any((path / inside).is_file() for inside in ("config.json", "model/config.json"))


# ------------------------------------------------------------------------------------------------- reports
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
def _ask_people(
    names: Sequence[str],
    count: int,
    seed: int,
    out: Path,
    device: str,
    overwrite: bool,
    progress: ProgressCallback,
) -> EvaluateResult:
    from pentimento.capabilities import Samples, require
    from pentimento.evaluate.blind import write_study
    from pentimento.evaluate.pictures import draw_samples
    from pentimento.models import MODELS, load
    from pentimento.runtime import choose_device

    if len(names) != 2:
        raise InputError(f"--blind: compares two models, got {len(names)}")
    models = [load(name, choose_device(device)) for name in names]
    for model in models:
        require(model, Samples, "evaluate --blind", MODELS)
        say_licence(model.origin, progress)
    if models[0].spec.image_shape != models[1].spec.image_shape:
        raise EvaluationError("--blind: the models make pictures of different sizes, which would tell them apart")
    first, second = (list(draw_samples(model, None, count, seed, progress).floats()) for model in models)
    about = {name: model.origin.weights_sha256 for name, model in zip(names, models, strict=True) if model.origin}
    study = write_study(first, second, (names[0], names[1]), out, seed=seed, about=about, overwrite=overwrite)
    return EvaluateResult(files=[study.page, study.key])


def _count_votes(votes: Sequence[Path], key: Path | None) -> EvaluateResult:
    import dataclasses

    from pentimento.evaluate.votes import count_votes

    return EvaluateResult(preference=dataclasses.asdict(count_votes([Path(v) for v in votes], key)))
