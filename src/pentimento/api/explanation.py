"""The verb `explain effects`: what something that is set in a model causes; and what the verbs of `explain` share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pentimento.api.options import Callback, Flag, check_level, check_seed, report_files, say_licence
from pentimento.runtime import Progress, ProgressCallback, no_progress

if TYPE_CHECKING:
    from pentimento.studies.effects import Asked
    from pentimento.studies.experiment import Experiment

__all__ = ["ExplainResult", "explain_effects", "find_measures", "open_experiment", "write_report"]


@dataclass(frozen=True)
class ExplainResult:
    """What was found.

    Args:
        table: the effects as text: a header and rows.
        legend: of the table.
        report: the study, as in the JSON file.
        files: written.
    """

    table: list[list[str]] = field(default_factory=list)
    legend: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)


def explain_effects(
    model: str,
    *,
    do: Annotated[Sequence[str], Parameter(negative="")] = (),
    outcomes: Annotated[Sequence[str], Parameter(name="--outcome", negative="")] = ("brightness",),
    against: Annotated[Sequence[str], Parameter(negative="")] = (),
    together: Flag = False,
    by_label: Flag = False,
    label: str | None = None,
    count: int = 1000,
    half_width: float | None = None,
    level: float = 0.05,
    refute: Annotated[bool, Parameter(negative="--no-refute")] = True,
    truncation: float | None = None,
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
    overwrite: Flag = False,
    progress: Callback = no_progress,
) -> ExplainResult:
    """Set something within a generator, hold all else fixed, and say what it causes in the pictures.

    Each effect is the mean difference between the same samples with and without what is set, with its 95 % interval and
    a q-value that accounts for all effects that were looked for. What is found is put to refuters.

    Args:
        model: A run folder, a model folder, a model of the zoo, or a hub id, that generates in stages (gan, vae, cnn).
        do: What to set: label=7, thickness=4.2, latent[3]=1.5, up1[17]=0, up1[3,17]=mean, @FILE of a set; several
            values with commas are doses: latent[3]=-2,-1,0,1,2; of classes and categories each is measured by itself:
            label=deer,dog. Repeatable: each is measured by itself.
        outcomes: What to measure in each picture: brightness, contrast, colourfulness, sharpness, ... thickness,
            slant, ... for digits; judge:MODEL, onnx:FILE, content:IMAGE, style:IMAGE; repeatable.
        against: What is set in the arm that the others are held against; the model as it is where left out; repeatable.
        together: Also set all at once; of two, tell their interaction.
        by_label: Also tell effects label by label, and whether they differ.
        label: Only samples of this class.
        count: Samples.
        half_width: Instead of COUNT: as many samples as make the interval no wider than this on either side, in the
            unit of the one outcome.
        level: At which an effect counts as found, after correction.
        refute: Put what is found to refuters.
        truncation: Draw latents within so many standard deviations.
        seed: Of all randomness.
        out: Write the report there, as .json and .html.
        device: auto, cpu, cuda, cuda:N or mps.
        overwrite: Replace reports that stand at OUT.
    """
    from pentimento.errors import CausalError
    from pentimento.studies import effects as studies

    check_seed(seed)
    check_level(level)
    files = report_files(out, overwrite)
    experiment = open_experiment(model, "explain effects", seed, label, truncation, device, progress)
    if label is not None and any(text.replace(" ", "").startswith("label=") for text in do):
        raise CausalError("--label: is what --do sets; leave one of the two out")
    asked = _asked(experiment, do, progress)
    plan = studies.Plan(
        count=count,
        half_width=half_width,
        against=_against(experiment, against, progress),
        together=together,
        by_label=by_label,
        level=level,
    )
    measures = find_measures(experiment, outcomes)
    found = studies.measure_effects(experiment, asked, measures, plan, progress)
    if refute and any(effect.found for effect in found.study.effects):
        found = _refuted(experiment, found, progress)
    return _report(found, files)


# --------------------------------------------------------------------------------------------------- parts
def open_experiment(
    model: str,
    verb: str,
    seed: int,
    label: str | None,
    truncation: float | None,
    device: str,
    progress: ProgressCallback,
) -> Experiment:
    """The samples of a model that `Intervenes`; refuses another, and a label that it does not know."""
    from pentimento.capabilities import Intervenes, require
    from pentimento.errors import CausalError
    from pentimento.models import MODELS, load
    from pentimento.runtime import choose_device
    from pentimento.studies.experiment import Experiment

    loaded = load(model, choose_device(device)).eval()
    require(loaded, Intervenes, verb, MODELS)
    say_licence(loaded.origin, progress)
    if label is not None:
        if not loaded.config.get("conditional"):
            raise CausalError(f"--label: {model} was trained without labels")
        loaded.spec.class_index(label)
    return Experiment(loaded, seed, label, truncation)


def _asked(experiment: Experiment, texts: Sequence[str], progress: ProgressCallback) -> list[Asked]:
    """What each text asks for, checked against the model; warnings are told."""
    from pentimento import interventions
    from pentimento.studies.effects import Asked

    found = []
    for text in texts:
        given = interventions.parse_doses(text, experiment.model)
        dosed = len(given) > 1 and not text.startswith("@")
        for each in [(do,) for do in given] if dosed else [given]:
            for warning in interventions.check(experiment.model, each):
                progress(Progress("do", 0, message=warning))
        if dosed and not _ordered(experiment, given[0].target):
            found += [Asked((do,)) for do in given]
        elif dosed:
            found.append(Asked(given[:1], tuple(float(do.value) for do in given)))  # type: ignore[arg-type]  # numbers
        else:
            found.append(Asked(interventions.resolve(experiment.model, given, experiment.seed)))
    return found


def _ordered(experiment: Experiment, target: str) -> bool:
    """Whether more or less of it means anything: not of classes and categories."""
    from pentimento.interventions import class_targets

    spec = experiment.model.spec
    return target not in class_targets(experiment.model) and all(
        a.kind == "numeric" for a in spec.attributes if a.name == target
    )


def _against(experiment: Experiment, texts: Sequence[str], progress: ProgressCallback) -> tuple[Any, ...]:
    from pentimento.errors import CausalError

    found = _asked(experiment, texts, progress)
    if len(found) > len(texts) or any(each.doses for each in found):
        raise CausalError("--against: one value each expected; doses are for --do")
    return tuple(do for each in found for do in each.dos)


def find_measures(experiment: Experiment, names: Sequence[str]) -> Any:
    """The outcomes of these names, for the pictures of the experiment."""
    from pentimento.studies.outcomes import find_outcomes

    return find_outcomes(names, spec=experiment.model.spec)


def _refuted(experiment: Experiment, found: Any, progress: ProgressCallback) -> Any:
    from pentimento.features import open_network
    from pentimento.studies.refuting import refute

    return refute(experiment, found, open_network("features-cifar", experiment.model.device), progress)


def _report(found: Any, files: list[Path]) -> ExplainResult:
    from pentimento.studies.page import effect_table

    report = found.study.to_json()
    legend = f"{found.study.question} {found.study.correction or 'One effect: no correction'}."
    if found.differing:
        said = [f"{arm} on {outcome} p = {p:.2g}" for (arm, outcome), p in found.differing.items()]
        legend += f" That labels do not differ: {'; '.join(said)}."
    written = write_report(files, report, (found.study, found.responses, found.strips))
    return ExplainResult(effect_table(found.study.effects), legend, report, written)


def write_report(files: list[Path], report: dict[str, Any], page: tuple[Any, ...]) -> list[Path]:
    """The JSON file and the page; returns both."""
    import json

    from pentimento.runtime import atomic_write
    from pentimento.studies.page import write_page

    for path in files:
        if path.suffix == ".json":
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        else:
            write_page(path, *page)
    return list(files)
