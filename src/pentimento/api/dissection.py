"""The verb `explain dissect`: which units of a generator cause what, and the few that control an outcome."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pentimento.api.evaluation import data_options
from pentimento.api.explanation import ExplainResult, find_measures, open_experiment, write_report
from pentimento.api.options import Callback, Flag, check_level, check_seed, report_files
from pentimento.errors import ExistsError, InputError
from pentimento.runtime import no_progress

if TYPE_CHECKING:
    from pentimento.causal import Effect
    from pentimento.runtime import ProgressCallback
    from pentimento.studies.experiment import Experiment
    from pentimento.studies.quality import Quality, QualityChange

__all__ = ["explain_dissect"]

SHOWN_UNITS = 6  # whose most exciting pictures are on the page
FEATURES = "features-cifar"  # of refuters, and of distances where nothing else is asked for
MOST_REAL = 10_000  # pictures that a set's are held against


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
    data: str | None = None,
    features: str = FEATURES,
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
        data: Real pictures, as for evaluate: tell by how much the set changes the Frechet distance to them.
        features: The network that the distance is taken in, as for evaluate.
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
    from pentimento.studies.quality import QualityChange

    number = _check_dissection(outcomes, value, control, change, keep, save, level, seed)
    if data is None and features != FEATURES:
        raise InputError("--features: is of the distance to --data; name real pictures")
    if data is not None and control is None:
        raise InputError("--data: is what pictures with a set are held against; name what the set is to --control")
    files = _dissection_files(out, save, overwrite)
    experiment = open_experiment(model, "explain dissect", seed, label, None, device, progress)
    measures = find_measures(experiment, outcomes)
    judge = open_network(FEATURES, experiment.model.device) if refute else None
    quality = None if data is None else _open_quality(model, experiment, data, features, count, progress)
    # Before the work that takes long, so that pictures that do not fit are refused at once.
    without = quality.distance(studies.fresh_samples(experiment)) if quality else None
    how: Any = {"value": number, "count": count, "level": level, "judge": judge, "progress": progress}
    found = studies.dissect(experiment, measures, stages=stages, **how)
    chosen, changed = None, None
    if control is not None and change is not None:
        aim = studies.Aim(control, change, keep, within)
        chosen = studies.control(experiment, found, aim, judge, progress)
        if quality and without:
            changed = QualityChange(without, quality.distance(studies.fresh_samples(experiment), chosen.dos))
    return _dissected(experiment, found, chosen, changed, files, save, control)


def _open_quality(
    model: str, experiment: Experiment, data: str, features: str, count: int, progress: ProgressCallback
) -> Quality:
    """Real pictures, read as the model's own were when it was trained."""
    from pentimento.data.packed import pack
    from pentimento.data.sources import open_source
    from pentimento.evaluate.pictures import Reference
    from pentimento.features import open_network
    from pentimento.studies.quality import Quality, of_label

    real = pack(open_source(data), progress=progress)
    reference = Reference(real, real, None, experiment.model.spec, 0.0, data_options(model).fit, MOST_REAL)
    network = open_network(features, experiment.model.device, progress)
    return Quality(of_label(reference.pictures, experiment.label), network, count)


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
    check_seed(seed)
    if (control is None) != (change is None):
        raise InputError("--control: goes with --change, by how much")
    check_level(level)
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
    experiment: Experiment,
    found: Any,
    chosen: Any,
    changed: QualityChange | None,
    files: list[Path],
    save: Path | None,
    control: str | None,
) -> ExplainResult:
    """The report of a dissection, and the set that was found."""
    from pentimento import interventions
    from pentimento.studies.page import effect_table, set_section

    effects = sorted(found.study.effects, key=lambda e: -abs(e.standardized))
    study = dataclasses.replace(found.study, effects=tuple(effects))
    units = [effect for effect in effects if effect.found]
    legend = f"{study.question} {study.correction}."
    table, strips, first = effect_table(units), _excited(experiment, found, units), {}
    report = study.to_json()
    if chosen is not None:
        own, told = chosen.effects.study, _told(chosen, changed, control)
        table = effect_table(own.effects) + table[1:]
        legend += f" On top, the set: {told}"
        report["control"] = {"do": [str(do) for do in chosen.dos], "path": chosen.path, "reached": chosen.reached}
        report["control"] |= {"study": own.to_json()} | ({"frechet": changed.to_json()} if changed else {})
        named = ", ".join(map(str, chosen.dos))
        first = {"The set": set_section(own, f"{named}: {told}")}
        strips = {f"set: {named}; {caption}": sheet for caption, sheet in chosen.effects.strips.items()} | strips
    written = write_report(files, report, (study, {}, strips, None, first))
    if save is not None:
        about = {"model": study.model, "weights_sha256": study.model_hash, "controls": control}
        interventions.write_set(Path(save), chosen.dos, about)
        written.append(Path(save))
    return ExplainResult(table, legend, report, written)


def _excited(experiment: Experiment, found: Any, units: Sequence[Effect]) -> dict[str, Any]:
    """Caption -> what excites the units of the strongest effects most."""
    from pentimento.studies.dissection import exciting

    arms = {arm.name: arm.dos for arm in found.effects.measured.arms}
    strips = {}
    for name in list(dict.fromkeys(effect.intervention for effect in units))[:SHOWN_UNITS]:
        (do,) = arms[name]
        caption = f"{do.target}[{do.units[0]}]: what excites it most, and where"
        strips[caption] = exciting(experiment, do.target, do.units[0])
    return strips


def _told(chosen: Any, changed: QualityChange | None, control: str | None) -> str:
    """What is said of a set."""
    reached = "reaches" if chosen.reached else "does not reach"
    correction = chosen.effects.study.correction or "one effect: no correction"
    return (
        f"{len(chosen.dos)} units that control {control}, on samples that they were not chosen on ({correction}); the "
        f"set {reached} the change on those that it was." + (f" {changed}." if changed else "")
    )
