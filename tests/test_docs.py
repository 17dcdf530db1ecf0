"""The guides are run: every command and every Python block, in order, each guide in a folder of its own.

```` ```console ```` blocks hold ``$ pentimento ...`` commands; ``# exit code N`` after one says that it fails. Lines
below a command are its output: standard output, or the message on standard error where it fails. ``...`` stands for
anything. A ```` ```text ```` block right after a ```` ```python ```` block is what that prints. A ```` ```toml ````
block that begins with ``# name.toml`` is written to that file.
"""

from __future__ import annotations

import contextlib
import doctest
import functools
import inspect
import io
import json
import re
import shlex
import tomllib
import typing
from dataclasses import dataclass
from pathlib import Path

import pydantic
import pytest
from PIL import Image

from pentimento import api
from pentimento.app import cli
from pentimento.data.augment import Augment
from pentimento.data.degrade import Step
from pentimento.data.shapes import draw_noise, factors_from_noise, render
from pentimento.evaluate.measure import METRICS, WITHOUT_DATA
from pentimento.features import open_network
from pentimento.losses import PictureLosses
from pentimento.models import MODELS, zoo_names
from pentimento.models import config_schema as schema_of
from pentimento.training.recipe import (
    DataOptions,
    EvaluateOptions,
    PlayerOptions,
    Recipe,
    SecondOptions,
    TrainingOptions,
)

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
GUIDES = sorted({*DOCS.glob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "README.md"} - {DOCS / "results.md"})
PAGES = [*GUIDES, DOCS / "results.md"]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
VERBS = ("train", "generate", "restore", "stylize", "translate", "edit", "evaluate", "explain", "models", "inspect")
QUESTIONS = ("effects", "dissect", "style", "counterfactual", "scorecard", "debias", "observe")  # of explain


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int  # of its first line in the page
    gap: str  # what stands between it and the block before


def blocks(page):
    found, end = [], 0
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 2
        found.append(Block(match[1], match[2], line, text[end : match.start()]))
        end = match.end()
    return found


def commands(block):
    """(command, exit code, output) for each command of a console block."""
    found = []
    lines = iter(block.text.replace("\\\n", " ").splitlines())
    for line in lines:
        if line.startswith("$ "):
            found.append([line[2:], 0, []])
        elif line.startswith("# exit code "):
            found[-1][1] = int(line.removeprefix("# exit code "))
        else:
            found[-1][2].append(line)
    return [(command, code, "\n".join(output)) for command, code, output in found]


def same(wanted, got):
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(wanted.strip() + "\n", got.strip() + "\n", flags)


def page_id(page):
    return str(page.relative_to(ROOT))


# ------------------------------------------------------------------------------------------- the guides run
@pytest.fixture
def desk(tmp_path, monkeypatch):
    """An empty folder but for my-pictures/: two classes of 12 pictures, 48 x 40 pixels."""
    for label in ("circle", "star"):
        (tmp_path / "my-pictures" / label).mkdir(parents=True)
        for i in range(12):
            factors = factors_from_noise(draw_noise(i, 1), {"shape": label})
            path = tmp_path / "my-pictures" / label / f"{i:02d}.png"
            Image.fromarray(render(factors, 48)[4:44]).save(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    return tmp_path


@pytest.mark.parametrize("guide", GUIDES, ids=page_id)
def test_a_guide_does_what_it_says(guide, desk, capsys):
    namespace, printed = {"__name__": "guide"}, ""
    for block in blocks(guide):
        place = f"{page_id(guide)}:{block.line}"
        if block.language == "console":
            for command, code, output in commands(block):
                run_command(command, code, output, capsys, place)
        elif block.language == "python":
            source = "\n" * (block.line - 1) + block.text  # so that a traceback shows the line of the guide
            exec(compile(source, str(guide), "exec"), namespace)
            printed = capsys.readouterr().out
        elif block.language == "text" and not block.gap.strip() and printed:
            assert same(block.text, printed), f"{place}: printed was\n{printed}"
        elif block.language == "toml":
            tomllib.loads(block.text)
            name = re.match(r"# ([\w-]+\.toml)\n", block.text)
            if name:
                (desk / name[1]).write_text(block.text)
        printed = printed if block.language == "python" else ""


def run_command(command, code, output, capsys, place):
    capsys.readouterr()
    words = shlex.split(command)
    assert words[0] == "pentimento", f"{place}: only pentimento runs in console blocks; use sh for {words[0]}"
    found = cli.run(words[1:])
    out, err = capsys.readouterr()
    assert found == code, f"{place}: {command}\nexit code {found}\n{err}"
    if output.strip():
        shown = out if code == 0 else "\n".join(x for x in err.splitlines() if x.startswith("pentimento: "))
        assert same(output, shown), f"{place}: {command}\nshowed\n{shown}"


# -------------------------------------------------------------------------- links, commands, options, tables
def slug(heading):
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page):
    return {slug(h) for h in re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text(encoding="utf-8")), re.M)}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page):
    prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page_id(page)}: {target}"
        if anchor:
            assert anchor in anchors(there), f"{page_id(page)}: {target}"


@functools.cache
def flags_in_help(verb):
    """What the help of a verb lists; of the whole program, where `verb` is None."""
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream), pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        assert cli.run([*verb.split(), "--help"] if verb else ["--help"]) == 0
    return set(FLAG.findall(stream.getvalue())) | {"--help"}


def check_command(text, place):
    """`text` begins after the word pentimento."""
    verb, question = [*text.split(), "", ""][:2]
    general = flags_in_help(None)
    if verb == "explain" and question in QUESTIONS:
        unknown = set(FLAG.findall(text)) - general - flags_in_help(f"explain {question}")
    elif verb.startswith("-") or not verb:
        unknown = set(FLAG.findall(text)) - general
    else:
        assert verb in VERBS, f"{place}: no command {verb!r}"
        unknown = set(FLAG.findall(text)) - general - flags_in_help(verb)
    assert not unknown, f"{place}: unknown {unknown} in: pentimento {text}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_command_and_option_exists(page):
    text = page.read_text(encoding="utf-8")
    verbs = [*VERBS, *(f"explain {question}" for question in QUESTIONS)]
    known = flags_in_help(None).union(*map(flags_in_help, verbs))
    for block in blocks(page):
        if block.language in ("console", "sh"):
            for line in block.text.replace("\\\n", " ").splitlines():
                call = re.match(r"(?:\$ )?(?:.*-m )?pentimento +([^#]*)", line)
                if call:
                    check_command(call[1], f"{page_id(page)}:{block.line}")
    for code in re.findall(r"`([^`\n]+)`", BLOCK.sub("", text)):
        if code.startswith("pentimento "):
            check_command(code.removeprefix("pentimento "), page_id(page))
        elif code.startswith("-"):
            assert set(FLAG.findall(code)) <= known, f"{page_id(page)}: {code}"


def test_verbs_are_all_there_are():
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        cli.run(["--help"])
    assert re.findall(r"^│ ([a-z]+)  ", stream.getvalue(), re.M) == sorted(VERBS)


def table_below(page, heading):
    """First cells (without backticks) -> (second cell, whole row) of the table under `heading`."""
    text = page.read_text(encoding="utf-8")
    part = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", text, re.M | re.S)
    assert part, f"{page_id(page)}: no heading {heading!r}"
    rows = re.findall(r"^\| `(\w[\w.-]*)` \| (.*?) \|.*$", part[1], re.M)
    whole = re.findall(r"^\| `\w[\w.-]*` \| .*$", part[1], re.M)
    return {key: (default, row) for (key, default), row in zip(rows, whole, strict=True)}


def choices(annotation):
    """All values that a Literal somewhere in `annotation` allows."""
    if typing.get_origin(annotation) is typing.Literal:
        return set(typing.get_args(annotation))
    return set().union(*(choices(a) for a in typing.get_args(annotation)))


def check_table(page, heading, fields):
    """The table has a row for every field and no other, with its default and all that it may be."""
    table = table_below(page, heading)
    assert table.keys() == fields.keys(), f"{heading}: {table.keys() ^ fields.keys()}"
    for key, field in fields.items():
        shown, row = table[key]
        if field.is_required():
            assert shown == "required", key
        elif key == "conditional":  # the training sets it by the data, whatever the constructor's default
            assert shown == "whether the data has labels"
        elif field.default is None or isinstance(field.default, pydantic.BaseModel) or field.default_factory:
            assert not shown.startswith("`"), f"{key}: words expected for its default, got {shown}"
        else:
            value = tomllib.loads(f"v = {shown.strip('`')}")["v"]
            default = json.loads(json.dumps(field.default))
            assert value == default and isinstance(value, bool) == isinstance(default, bool), f"{key}: {default}"
        for choice in choices(field.annotation):
            assert f"`{choice}`" in row or shown == f'`"{choice}"`', f"{key}: {choice} is not mentioned"


@pytest.mark.parametrize(
    ("heading", "options"),
    [
        ("At the top", Recipe),
        ("`[data]`", DataOptions),
        ("`[augment]`", Augment),
        ("`[second]`", SecondOptions),
        ("`[training]`", TrainingOptions),
        ("`[players.NAME]`", PlayerOptions),
        ("`[evaluate]`", EvaluateOptions),
    ],
)
def test_recipe_tables_are_whole(heading, options):
    check_table(DOCS / "training.md", heading, options.model_fields)


@pytest.mark.parametrize("family", MODELS)
def test_family_tables_are_whole(family):
    fields = {k: f for k, f in schema_of(family).model_fields.items() if k != "spec"}
    assert {*fields, "self", "spec"} == inspect.signature(MODELS[family].__init__).parameters.keys()
    check_table(DOCS / "families.md", f"Options of `{family}`", fields)


def test_the_table_of_losses_is_whole():
    check_table(DOCS / "families.md", "Losses", PictureLosses.model_fields)


def test_the_tables_of_damage_are_whole():
    kinds = {c.model_fields["kind"].default: c for c in typing.get_args(typing.get_args(Step)[0])}
    says = {k: "mask" if c.makes_masks else c.tells or "nothing" for k, c in kinds.items()}
    assert {k: row[0] for k, row in table_below(DOCS / "training.md", "`[[degrade]]`").items()} == says
    fields = {f"{k}.{key}": f for k, c in kinds.items() for key, f in c.model_fields.items() if key != "kind"}
    assert {f.default for name, f in fields.items() if name.endswith(".probability")} == {1.0}  # said above the table
    fields = {name: f for name, f in fields.items() if not name.endswith(".probability")}
    check_table(DOCS / "training.md", "Keys of `[[degrade]]`", fields)
    assert f"{len(kinds)} kinds" in (DOCS / "restoration.md").read_text(encoding="utf-8")


def test_the_table_of_metrics_is_whole():
    table = table_below(DOCS / "evaluation.md", "What can be measured")
    assert list(table) == list(METRICS)
    assert {name for name, (needs, _) in table.items() if "`--data`" not in needs} == WITHOUT_DATA
    assert [name for name, (needs, _) in table.items() if "`--classifier`" in needs] == ["labels"]


def test_the_table_of_feature_networks_tells_how_many_features():
    table = table_below(DOCS / "evaluation.md", "Feature networks")
    assert cli_default("evaluate", "features") in table
    for name in table.keys() & set(zoo_names()):
        assert table[name][0] == str(open_network(name).dim), name


def cli_default(verb, option):
    return inspect.signature(getattr(api, verb)).parameters[option].default


@pytest.mark.parametrize("page", GUIDES, ids=page_id)
def test_lines_are_short_and_name_no_machine(page):
    text = page.read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= 120
    assert not re.search(r"(?<![\w.$A-Z])/(work|home|tmp|root|Users)/", text)


def test_the_index_lists_every_guide():
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    for guide in DOCS.glob("*.md"):
        assert guide.name == "README.md" or f"]({guide.name})" in index, guide.name
