"""The verb `explain dissect`: which units of a generator cause what, and the few that control an outcome."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pentimento.api.explanation import ExplainResult, find_measures, open_experiment, write_report
from pentimento.api.options import Callback, Flag, report_files
from pentimento.errors import ExistsError, InputError
from pentimento.runtime import no_progress

if TYPE_CHECKING:
    from pentimento.studies.experiment import Experiment

__all__ = ["explain_dissect"]

SHOWN_UNITS = 6  # whose most exciting pictures are on the page


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
    experiment = open_experiment(model, "explain dissect", seed, label, None, device, progress)
    measures = find_measures(experiment, outcomes)
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
    written = write_report(files, report, (shown, {}, strips))
    if save is not None:
        about = {"model": found.study.model, "weights_sha256": found.study.model_hash, "controls": control}
        interventions.write_set(Path(save), chosen.dos, about)
        written.append(Path(save))
    return ExplainResult(table, legend, report, written)
