"""The verb `explain observe`: causal questions to a table of what was observed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from pentimento.api.explanation import ExplainResult
from pentimento.api.options import Callback, Flag, check_level, check_seed, report_files
from pentimento.runtime import no_progress

if TYPE_CHECKING:
    from pentimento.studies.observing import Observed

__all__ = ["explain_observe"]


def explain_observe(
    *,
    data: Path,
    treatment: str,
    outcome: str,
    graph: Path,
    measures: Annotated[Sequence[str], Parameter(name="--measure", negative="")] = (),
    images: Path | None = None,
    against: str | None = None,
    level: float = 0.05,
    refute: Annotated[bool, Parameter(negative="--no-refute")] = True,
    seed: int = 0,
    out: Path | None = None,
    overwrite: Flag = False,
    progress: Callback = no_progress,
) -> ExplainResult:
    """Ask a table of what was observed for the effect of one column on another, given a graph of what acts on what.

    Says which formula tells the effect by the graph, what that rests on and what would overturn it; two estimates with
    intervals; and what tried to refute them. Where there is no formula, says what would have to be observed.

    Args:
        data: A table, .csv or .jsonl, a row for each thing that was observed.
        treatment: A column: what would be set.
        outcome: A column: what is asked about; numbers, or two categories.
        graph: What acts on what, .dot, .gml or .toml; a <-> b stands for a common cause that nobody measured.
        measures: Outcomes of the pictures in the column file_name to add as columns: brightness, judge:MODEL, ... as
            for explain effects; repeatable.
        images: The folder that file_name is relative to; that of DATA where left out.
        against: The level of the treatment that the others are held against; the most frequent one where left out.
        level: At which an effect counts as found; intervals are of 1 - LEVEL.
        refute: Put what is found to refuters.
        seed: Of all randomness.
        out: Write the report there, as .json and .html.
        overwrite: Replace reports that stand at OUT.
    """
    import dataclasses
    import hashlib

    from pentimento.causal.graphs import read_graph
    from pentimento.studies.observing import observe
    from pentimento.studies.questions import Asked
    from pentimento.studies.tables import measure_columns, read_columns

    check_seed(seed)
    check_level(level)
    files = report_files(out, overwrite)
    drawn = read_graph(Path(graph))
    columns = read_columns(Path(data))
    formulas = measure_columns(columns, measures, Path(images or Path(data).parent), progress)
    source = (Path(data).name, hashlib.sha256(Path(data).read_bytes()).hexdigest())
    asked = Asked(treatment, outcome, against, level, seed, refute)
    found = observe(drawn, columns, asked, source, progress)
    study = dataclasses.replace(found.study, outcomes={**found.study.outcomes, **formulas})
    return _report(dataclasses.replace(found, study=study), files)


def _report(found: Observed, files: list[Path]) -> ExplainResult:
    import json

    from pentimento.runtime import atomic_write
    from pentimento.studies.observing_page import answer_table, legend, to_json, write_page

    report = to_json(found)
    for path in files:
        if path.suffix == ".json":
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        else:
            write_page(path, found)
    return ExplainResult(answer_table(found.answers, found.study.level), legend(found), report, list(files))
