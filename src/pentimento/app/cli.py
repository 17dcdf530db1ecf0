"""The command line: `api`'s functions as commands, their progress drawn, their results printed, their errors told.

Results go to standard output; progress and messages to standard error. Exit codes: 0 done, 2 wrong usage or input,
1 anything else, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, get_args

from cyclopts import App, CoercionError, CycloptsError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

import pentimento
from pentimento import api
from pentimento.errors import InputError, PentimentoError
from pentimento.runtime import Progress as Report
from pentimento.runtime import leave_processes, tune_process

__all__ = ["build_app", "main"]

INTERRUPTED = 130
NUMBERS: Mapping[Any, str] = {int: "a whole number", float: "a number"}


def build_app() -> App:
    """The commands. Options and help come from the functions of `api`."""
    app = App(
        name="pentimento",
        help="Image models you own: train them on your own pictures, generate, restyle, restore, translate, edit; find "
        "out what causes what.",
        help_epilogue="Every command also takes --json (one JSON object on standard output) and --debug (show the "
        "traceback).",
        version=pentimento.__version__,
        console=Console(stderr=False),
        result_action="return_value",
    )
    for verb in (
        api.train,
        api.generate,
        api.restore,
        api.stylize,
        api.translate,
        api.edit,
        api.evaluate,
        api.models,
        api.inspect,
    ):
        app.command(verb)
    explain = App(name="explain", help="Find out what causes what: within a model, or in a table.")
    explain.command(api.explain_effects, name="effects")
    explain.command(api.explain_dissect, name="dissect")
    explain.command(api.explain_style, name="style")
    explain.command(api.explain_counterfactual, name="counterfactual")
    explain.command(api.explain_debias, name="debias")
    explain.command(api.explain_scorecard, name="scorecard")
    explain.command(api.explain_observe, name="observe")
    app.command(explain)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    tune_process()
    signal.signal(signal.SIGTERM, _terminated)
    code = run(list(sys.argv[1:] if arguments is None else arguments))
    leave_processes()
    sys.exit(code)


def _terminated(*_: object) -> None:
    """SIGTERM unwinds as Ctrl-C does, so that nothing half-written stays behind."""
    raise KeyboardInterrupt("terminated; what was finished before is whole")


def run(arguments: list[str]) -> int:
    """Run one command; returns the exit code."""
    as_json, debug = (_take_flag(arguments, flag) for flag in ("--json", "--debug"))
    try:
        result, notes = _call(arguments, quiet=as_json)
        if result is not None and os.environ.get("RANK", "0") == "0":  # of several processes, one speaks
            _print_json(result, notes) if as_json else _print(result)
            sys.stdout.flush()
        failed = getattr(result, "failed", None)
        if failed:
            done = "the others are done" if result.files else "none is done"
            print(f"pentimento: {len(failed)} could not be used, {done}; see failed above", file=sys.stderr)
            return InputError.exit_code
    except KeyboardInterrupt as error:
        return _fail(error, str(error) or "interrupted; what was finished before is whole", INTERRUPTED, as_json, debug)
    except (PentimentoError, CycloptsError) as error:
        code = error.exit_code if isinstance(error, PentimentoError) else InputError.exit_code
        return _fail(error, _message(error), code, as_json, debug)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on; say nothing more
        return 1
    except Exception as error:
        line = f"unexpected {type(error).__name__}: {error}; --debug shows where; please report it"
        return _fail(error, line, 1, as_json, debug)
    return 0


def _take_flag(arguments: list[str], flag: str) -> bool:
    """Remove `flag` wherever it stands before a ``--``; whether it was there."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    if flag not in arguments[:end]:
        return False
    arguments.remove(flag)
    return True


def _call(arguments: list[str], quiet: bool) -> tuple[Any, list[str]]:
    """What the command gives, and the messages on its way."""
    app = build_app()
    if not arguments:
        app.help_print([])
        return None, []
    command, bound, _ = app.parse_args(_one_value_each(app, arguments), print_error=False, exit_on_error=False)
    parameters = getattr(command, "__annotations__", {})
    with Display(quiet) as display:
        if "progress" in parameters:
            bound.arguments["progress"] = display
        return command(*bound.args, **bound.kwargs), display.notes


def _one_value_each(app: App, arguments: Sequence[str]) -> list[str]:
    """``--weights 1 2`` as ``--weights 1 --weights 2``, for all options that take several values.

    Such an option takes all that follows, up to the next option, once the positional arguments are there. Before, it
    takes one value, or numbers one after another: what else follows is positional. `consume_multiple` of cyclopts
    would take that too.
    """
    names, apps, rest = app.parse_commands(arguments)
    if not names or names[-1].startswith("-"):  # no verb, or --help of one
        return list(arguments)
    known = apps[-1].assemble_argument_collection()
    missing = max(1, sum(argument.required and argument.field_info.is_positional for argument in known))
    made, place = list(names), 0
    while place < len(rest) and rest[place] != "--":
        token, place = rest[place], place + 1
        made.append(token)
        if not _is_option(token):
            missing -= 1
            continue
        option, equals, _ = token.partition("=")
        count, several, whole = 0, False, False
        with contextlib.suppress(ValueError):  # an unknown option, which cyclopts will refuse
            argument = known.match(option)[0]
            (count, several), whole = argument.token_count(), int in (argument.hint, *get_args(argument.hint))
        values = list(itertools.takewhile(lambda value: not _is_option(value), rest[place:]))
        if not several:
            values = values[: 0 if equals else count]
        elif missing > 0:
            values = list(itertools.takewhile(_is_number, values)) or values[: 0 if equals else 1]
        place += len(values)
        for value in [token[len(option) + 1 :], *values][not equals :] if whole else ():
            if _is_number(value) and not value.lstrip("+-").isdigit():  # cyclopts rounds it
                raise InputError(f"{option}: a whole number expected, got {value!r}")
        for number, value in enumerate(values):
            made += [option, value] if several and (number or equals) else [value]
    return made + list(rest[place:])


def _is_option(token: str) -> bool:
    return token.startswith("-") and not _is_number(token)


def _is_number(token: str) -> bool:
    try:
        float(token)
    except ValueError:
        return False
    return True


def _message(error: PentimentoError | CycloptsError) -> str:
    """What is wrong; of a value that is no number, in the words of `api` instead of names of types."""
    if not isinstance(error, CoercionError) or error.token is None or not error.token.keyword:
        return str(error)
    number, *others = (error.target_type,) if error.target_type in NUMBERS else get_args(error.target_type) or (None,)
    if number not in NUMBERS:
        return str(error)
    words = [NUMBERS[number], *itertools.chain.from_iterable(get_args(other) for other in others)]  # 'auto'
    return f"{error.token.keyword}: {' or '.join(words)} expected, got {error.token.value!r}"


def _fail(error: BaseException, message: str, code: int, as_json: bool, debug: bool) -> int:
    """Say what went wrong in one line; returns `code`."""
    line = " ".join(message.split())
    if debug:
        traceback.print_exception(error)
    if os.environ.get("RANK", "0") == "0":
        print(f"pentimento: {line}", file=sys.stderr)
        if as_json:
            print(json.dumps({"error": {"type": type(error).__name__, "message": line, "exit_code": code}}))
    return code


# ------------------------------------------------------------------------------------------------ progress
class Display:
    """Draws `Report` records with rich on standard error: a bar per stage, messages above them."""

    def __init__(self, quiet: bool) -> None:
        self.console = Console(stderr=True, quiet=quiet)
        fixed = Column(no_wrap=True)
        self.bars = Progress(
            TextColumn("{task.description:>8}", table_column=fixed),
            BarColumn(16, table_column=fixed),
            TextColumn("{task.fields[count]}", table_column=fixed),
            TextColumn("{task.fields[rate]}", table_column=fixed),
            TimeRemainingColumn(elapsed_when_finished=True, table_column=fixed),
            TextColumn(
                "{task.fields[figures]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
            ),
            console=self.console,
            expand=True,
        )
        self.stages: dict[str, TaskID] = {}
        self.notes: list[str] = []

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.stages:
            self.bars.stop()

    def __call__(self, report: Report) -> None:
        if report.message:
            self.notes.append(report.message)
            self.console.print(f"{report.stage:>8} {report.message}", highlight=False, markup=False, soft_wrap=True)
        if report.total is None or not report.total > 0:
            return
        if not self.stages:
            self.bars.start()
        if report.stage not in self.stages:
            texts: dict[str, Any] = {"count": "", "rate": "", "figures": ""}
            self.stages[report.stage] = self.bars.add_task(report.stage, total=report.total, **texts)
        kimg = report.unit == "kimg"
        count = f"{report.done:,.1f}/{report.total:,.6g} kimg" if kimg else f"{report.done:,.0f}/{report.total:,.0f}"
        self.bars.update(
            self.stages[report.stage],
            total=report.total,  # of another file, another one
            completed=report.done,
            count=count,
            rate=f"{report.rate * (1000 if kimg else 1):,.0f}/s" if report.rate else "",
            figures="  ".join(f"{name} {value:.3g}" for name, value in report.figures.items()),
        )


# ------------------------------------------------------------------------------------------------- results
def _plain(value: Any) -> Any:
    """What JSON can say of `value`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def _print_json(result: Any, notes: Sequence[str]) -> None:
    """With what would have been told on the way, where there was any."""
    document = _plain(result)
    if notes and isinstance(document, dict):
        document["notes"] = list(notes)
    print(json.dumps(document, ensure_ascii=False))


def _print(result: Any) -> None:
    console = Console(highlight=False)
    if isinstance(result, api.ExplainResult) or (isinstance(result, api.EvaluateResult) and result.table):
        _print_measured(console, result)
        return
    document = {k: v for k, v in _plain(result).items() if v not in ({}, [], None, "")}
    for name, value in document.items():
        if isinstance(value, dict):
            _print_table(console, name, value)
        elif isinstance(value, list):
            shown = ", ".join(map(str, value)) if len(value) < 5 else f"{len(value)}, {value[0]} ... {value[-1]}"
            console.print(f"{name}: {shown}", soft_wrap=True, markup=False)
        else:
            console.print(f"{name}: {value}", soft_wrap=True, markup=False)


def _print_measured(console: Console, result: api.EvaluateResult | api.ExplainResult) -> None:
    if result.table:
        header, *rows = result.table
        table = Table(*header, box=None, pad_edge=False)
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)
    console.print(result.legend, soft_wrap=True, markup=False)
    for path in result.files:
        console.print(f"written: {path}", soft_wrap=True, markup=False)


def _print_table(console: Console, name: str, rows: Mapping[str, Any]) -> None:
    table = Table(title=name, title_justify="left", box=None, show_header=False, pad_edge=False)
    for key, value in rows.items():
        if not isinstance(value, dict):
            shown = f"{value:.6g}" if isinstance(value, float) else str(value)
            table.add_row(key, Text(shown))  # not as markup: recipes have [sections]
    console.print(table)
    for key, value in rows.items():
        if isinstance(value, dict) and value:
            _print_table(console, key, value)
