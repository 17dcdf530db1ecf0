"""The published results are what the benchmarks wrote, and what they write can be read again."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"
NO_SCRIPTS = {
    *("causal_dissection.py", "causal_shapes.py", "causal_style.py", "causal_time.py"),  # parts of causal_effects.py
    *("denoisers.py", "judges.py", "report.py", "reporting.py"),
}
PARTS = ("counterfactual_", "restoration_", "style_")  # modules of a script that is measured in parts
SCRIPTS = sorted(n for p in BENCHMARKS.glob("*.py") if (n := p.name) not in NO_SCRIPTS and not n.startswith(PARTS))


@pytest.fixture
def reporting(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("reporting")


@pytest.fixture
def report(reporting):
    return importlib.import_module("report")


def figures(reporting):
    return [
        reporting.Figure(
            "speed", 123.456, "images/s", spread=(120.0, 130.0), aim=">= 100", met=True, note="whole loop"
        ),
        reporting.Figure("a | b", 2, peer="plain loop", peer_value=3.5, peer_spread=(3.0, 4.0)),
        reporting.Figure("error", 3e-7, aim="0", met=False),
        reporting.Figure("precision", "fp32"),
    ]


def test_the_page_is_what_report_renders(report, reporting):
    assert report.PAGE.read_text(encoding="utf-8") == report.render(reporting.RESULTS), (
        "run: python benchmarks/report.py"
    )


def test_committed_results_name_no_machine_path_and_are_of_a_script(reporting):
    for path in reporting.RESULTS.glob("*.json"):
        found = reporting.read(path)
        script = path.stem.partition("-")[0]  # one that is measured in parts writes a file for each
        assert found.name == path.stem
        assert (BENCHMARKS / f"{script}.py").is_file()
        assert found.command.startswith(f"python benchmarks/{script}.py")
        assert not re.search(r"(?<![\w.$A-Z])/(work|home|tmp|root|Users)/", path.read_text()), path


def test_a_report_reads_back_as_written(reporting, tmp_path):
    path = reporting.write(
        "speed", "Speed", "python benchmarks/speed.py", figures(reporting), ["a note"], folder=tmp_path
    )
    found = reporting.read(path)
    assert found.figures == figures(reporting)
    assert (found.name, found.title, found.notes) == ("speed", "Speed", ["a note"])
    assert set(found.machine) >= {"processor", "cores", "memory", "python", "torch", "bf16", "date"}
    assert found.machine["bf16"] in ("yes", "no")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found.machine["date"])


def test_nothing_is_written_of_code_that_changed_meanwhile(reporting, monkeypatch, tmp_path):
    monkeypatch.setattr(reporting, "CODE", "another")
    with pytest.raises(SystemExit, match="source of pentimento changed meanwhile"):
        reporting.write("speed", "Speed", "python benchmarks/speed.py", figures(reporting), folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_foreign_file_is_refused(reporting, tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"name": "x"}))
    with pytest.raises(ValueError, match="not a result of format 1"):
        reporting.read(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"aim": "> 1"}, "an aim and whether it was met go together"),
        ({"met": True}, "an aim and whether it was met go together"),
        ({"peer": "torch"}, "a peer and its value go together"),
        ({"value": float("nan")}, "nan is no measurement"),
        ({"peer": "torch", "peer_value": float("inf")}, "inf is no measurement"),
    ],
)
def test_half_a_figure_is_refused(reporting, changes, problem):
    with pytest.raises(ValueError, match=problem):
        reporting.Figure(**{"name": "x", "value": 1.0, **changes})


def test_the_page_shows_command_machine_aims_peers_and_losses(report, reporting, tmp_path):
    path = reporting.write(
        "speed", "Speed", "python benchmarks/speed.py --rounds 3", figures(reporting), ["noted"], folder=tmp_path
    )
    page = report.render(tmp_path)
    machine = reporting.read(path).machine
    assert "python benchmarks/speed.py --rounds 3" in page
    assert machine["processor"] in page
    assert machine["date"] in page
    assert "| speed (1) | 123.5 images/s (120 to 130) | >= 100 | met |  |" in page
    assert "1. whole loop" in page
    assert r"| a \| b | 2 |  |  | plain loop: 3.5 (3 to 4) |" in page
    assert "| error | 3.00e-07 | 0 | **missed** |  |" in page
    assert "Aims stated: 2; met: 1; missed: 1." in page
    assert "- Speed: error" in page
    assert "- noted" in page


def test_parts_of_a_script_stand_in_its_order(report, reporting, tmp_path):
    for part in ("speed", "denoise", "jpeg", "gray"):
        reporting.write(f"restoration-{part}", f"About {part}", "python", [], folder=tmp_path)
    headings = [line for line in report.render(tmp_path).splitlines() if line.startswith("## ")]
    assert headings == ["## About denoise", "## About gray", "## About jpeg", "## About speed"]


def test_without_results_the_page_says_so(report, tmp_path):
    assert "No measurement has been published yet" in report.render(tmp_path)


def test_the_wilson_interval_is_that_of_the_literature(reporting):
    low, high = reporting.wilson(81, 263)  # Newcombe 1998, table I: 0.2553, 0.3662
    assert low == pytest.approx(25.53, abs=0.005)
    assert high == pytest.approx(36.62, abs=0.005)
    assert reporting.wilson(10, 10)[1] == pytest.approx(100)


def test_the_median_comes_with_its_spread(reporting):
    assert reporting.median_and_spread([3.0, 1.0, 2.0]) == (2.0, (1.0, 3.0))


def test_the_interval_of_a_mean(reporting):
    mean, (low, high) = reporting.mean_interval([1.0, 2.0, 3.0, 4.0])
    assert mean == 2.5
    assert high - mean == pytest.approx(mean - low)
    assert high - mean == pytest.approx(1.96 * (5 / 3) ** 0.5 / 2, abs=1e-3)


def test_commands_are_written_without_paths_of_this_machine(reporting, monkeypatch, tmp_path):
    monkeypatch.setenv("PENTIMENTO_DATA", str(tmp_path / "data"))
    defaults = reporting.parser("x")
    defaults.add_argument("--rounds", type=int, default=5)
    defaults.add_argument("--data", type=Path)
    defaults.add_argument("--gan", type=Path)
    defaults.add_argument("--short", action="store_true")
    defaults.add_argument("--runs", nargs="*")
    arguments = [
        "--data",
        str(tmp_path / "data" / "mnist"),
        "--gan",
        str(tmp_path / "a-run"),
        "--short",
        "--runs",
        f"double={tmp_path / 'another'}",
        "--out",
        "elsewhere",
    ]
    options: argparse.Namespace = defaults.parse_args(arguments)
    found = reporting.command_line(str(tmp_path / "speed.py"), options, defaults)
    assert (
        found == 'python benchmarks/speed.py --data "$PENTIMENTO_DATA/mnist" --gan a-run --short --runs double=another'
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_benchmark_tells_how_to_use_it(script):
    done = subprocess.run([sys.executable, BENCHMARKS / script, "--help"], capture_output=True, text=True, check=True)
    assert "--out" in done.stdout
    assert script in (BENCHMARKS / "README.md").read_text()


def test_figures_are_frozen(reporting):
    with pytest.raises(dataclasses.FrozenInstanceError):
        reporting.Figure("x", 1.0).value = 2.0


def test_the_peak_of_a_command_is_its_own(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    run_measured = importlib.import_module("restoration_speed").run_measured
    held = b"x" * (400 << 20)  # by whoever measures
    _, little = run_measured([sys.executable, "-c", "pass"])
    _, much = run_measured([sys.executable, "-c", "b'x' * (200 << 20)"])
    assert little < 100 << 20 < len(held)
    assert 200 << 20 < much < 300 << 20
    with pytest.raises(SystemExit, match="ended with 3"):
        run_measured([sys.executable, "-c", "raise SystemExit(3)"])
