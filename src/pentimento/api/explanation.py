"""The verb `explain`: what causes what within a model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pentimento.api.options import Callback, Flag, report_files, say_licence
from pentimento.errors import ExistsError, InputError
from pentimento.runtime import Progress, ProgressCallback, no_progress

if TYPE_CHECKING:
    from pentimento.studies.effects import Asked
    from pentimento.studies.experiment import Experiment

__all__ = ["ExplainResult", "explain_dissect", "explain_effects"]

SHOWN_UNITS = 6  # whose most exciting pictures are on the page


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
            values with commas are doses: latent[3]=-2,-1,0,1,2. Repeatable: each is measured by itself.
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

    if seed < 0:
        raise InputError(f"--seed: 0 or more expected, got {seed}")
    if not 0 < level < 1:
        raise InputError(f"--level: between 0 and 1 expected, got {level:g}")
    files = report_files(out, overwrite)
    experiment = _experiment(model, "explain effects", seed, label, truncation, device, progress)
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
    measures = _outcomes(experiment, outcomes)
    found = studies.measure_effects(experiment, asked, measures, plan, progress)
    if refute and any(effect.found for effect in found.study.effects):
        found = _refuted(experiment, found, progress)
    return _report(found, files)


def explain_dissect(
    model: str,
    *,
    outcomes: Annotated[Sequence[str], Parameter(name="--outcome", negative="")] = ("brightness",),
    stages: Annotated[Sequence[str], Parameter(name="--stage", negative="")] = (),
    value: str = "0",
    control: str | None = None,
    change: float | None = None,
    keep: str | None = None,
    within: float = 0.05,
    save: Path | None = None,
    label: str | None = None,
    count: int = 1000,
    level: float = 0.05,
    refute: Annotated[bool, Parameter(negative="--no-refute")] = True,
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
    overwrite: Flag = False,
    progress: Callback = no_progress,
) -> ExplainResult:
    """Set every unit of a generator by itself, and say which cause what; find the few that control an outcome.

    The set that --control finds is chosen on some samples and reported on others. --save keeps it for generate --do.

    Args:
        model: A run folder, a model folder, a model of the zoo, or a hub id, that has units (gan, vae).
        outcomes: What to measure, as for explain effects; repeatable.
        stages: Whose units; all stages where left out; repeatable.
        value: What each unit is set to: 0, another number, or mean, its usual value.
        control: One of the outcomes, for which the smallest set of units is looked for.
        change: By how much the set is to change it, in its unit, up or down.
        keep: Another of the outcomes, whose mean the set must not change by more than WITHIN.
        within: See keep.
        save: Write the set there, as JSON.
        label: Only samples of this class.
        count: Samples.
        level: At which an effect counts as found, after correction for all units and outcomes.
        refute: Put what is found to refuters.
        seed: Of all randomness.
        out: Write the report there, as .json and .html.
        device: auto, cpu, cuda, cuda:N or mps.
        overwrite: Replace what stands at OUT and SAVE.
    """
    from pentimento.features import open_network
    from pentimento.studies import dissection as studies

    number = _check_dissection(outcomes, value, control, change, keep, save, level, seed)
    files = _dissection_files(out, save, overwrite)
    experiment = _experiment(model, "explain dissect", seed, label, None, device, progress)
    measures = _outcomes(experiment, outcomes)
    judge = open_network("features-cifar", experiment.model.device) if refute else None
    how: Any = {"value": number, "count": count, "level": level, "judge": judge, "progress": progress}
    found = studies.dissect(experiment, measures, stages=stages, **how)
    chosen = None
    if control is not None and change is not None:
        aim = studies.Aim(control, change, keep, within)
        chosen = studies.control(experiment, found, aim, judge, progress)
    return _dissected(experiment, found, chosen, files, save, control)


def _check_dissection(
    outcomes: Sequence[str],
    value: str,
    control: str | None,
    change: float | None,
    keep: str | None,
    save: Path | None,
    level: float,
    seed: int,
) -> float | str:
    """What units are set to; refuses what does not go together."""
    if seed < 0:
        raise InputError(f"--seed: 0 or more expected, got {seed}")
    if (control is None) != (change is None):
        raise InputError("--control: goes with --change, by how much")
    if not 0 < level < 1:
        raise InputError(f"--level: between 0 and 1 expected, got {level:g}")
    for name in filter(None, (control, keep)):
        if name not in outcomes:
            raise InputError(f"--control, --keep: {name!r} is not measured; add --outcome {name}")
    if control is None and (save is not None or keep is not None):
        raise InputError("--save and --keep: are of a set; name what it is to --control")
    return _unit_value(value)


def _unit_value(text: str) -> float | str:
    from pentimento.interventions import MEAN

    if text == MEAN:
        return text
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"--value: a number or {MEAN} expected, got {text!r}")
    return number


def _dissection_files(out: Path | None, save: Path | None, overwrite: bool) -> list[Path]:
    files = report_files(out, overwrite)
    if save is not None and Path(save) in files:
        raise InputError(f"--save: {save} is the report's own file; choose another")
    if save is not None and Path(save).exists() and not overwrite:
        raise ExistsError(f"{save}: exists; choose another --save, or --overwrite")
    return files


def _dissected(
    experiment: Experiment, found: Any, chosen: Any, files: list[Path], save: Path | None, control: str | None
) -> ExplainResult:
    """The report of a dissection, and the set that was found."""
    from pentimento import interventions
    from pentimento.studies.dissection import exciting
    from pentimento.studies.page import effect_table

    units = sorted((e for e in found.study.effects if e.found), key=lambda e: -abs(e.standardized))
    strips = {}
    for effect in units[:SHOWN_UNITS]:
        (do,) = next(arm.dos for arm in found.effects.measured.arms if arm.name == effect.intervention)
        caption = f"{do.target}[{do.units[0]}]: what excites it most, and where"
        strips[caption] = exciting(experiment, do.target, do.units[0])
    legend = f"{found.study.question} {found.study.correction}."
    table = effect_table(units)
    report = found.study.to_json()
    if chosen is not None:
        own = chosen.effects.study
        told = ", ".join(map(str, chosen.dos))
        table = effect_table(own.effects) + table[1:]
        reached = "reaches" if chosen.reached else "does not reach"
        legend += (
            f" The first {len(own.effects)} rows: {len(chosen.dos)} units that control {control}, on samples that "
        )
        legend += f"they were not chosen on; the set {reached} the change on those that it was."
        report["control"] = {"do": [str(do) for do in chosen.dos], "path": chosen.path, "reached": chosen.reached}
        report["control"]["study"] = own.to_json()
        strips = {f"set: {told}; {caption}": sheet for caption, sheet in chosen.effects.strips.items()} | strips
    own_effects = chosen.effects.study.effects if chosen is not None else ()
    shown = dataclasses.replace(found.study, effects=(*own_effects, *found.study.effects))
    written = _write(files, report, (shown, {}, strips))
    if save is not None:
        about = {"model": found.study.model, "weights_sha256": found.study.model_hash, "controls": control}
        interventions.write_set(Path(save), chosen.dos, about)
        written.append(Path(save))
    return ExplainResult(table, legend, report, written)


# --------------------------------------------------------------------------------------------------- parts
def _experiment(
    model: str,
    verb: str,
    seed: int,
    label: str | None,
    truncation: float | None,
    device: str,
    progress: ProgressCallback,
) -> Experiment:
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
        given = interventions.parse_doses(text)
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
    spec = experiment.model.spec
    return target != "label" and all(a.kind == "numeric" for a in spec.attributes if a.name == target)


def _against(experiment: Experiment, texts: Sequence[str], progress: ProgressCallback) -> tuple[Any, ...]:
    from pentimento.errors import CausalError

    found = _asked(experiment, texts, progress)
    if len(found) > len(texts) or any(each.doses for each in found):
        raise CausalError("--against: one value each expected; doses are for --do")
    return tuple(do for each in found for do in each.dos)


def _outcomes(experiment: Experiment, names: Sequence[str]) -> Any:
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
    written = _write(files, report, (found.study, found.responses, found.strips))
    return ExplainResult(effect_table(found.study.effects), legend, report, written)


def _write(files: list[Path], report: dict[str, Any], page: tuple[Any, Any, Any]) -> list[Path]:
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
