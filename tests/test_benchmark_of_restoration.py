"""The protocol of the restoration benchmark does what it says, and the networks of others are put together right."""

from __future__ import annotations

import importlib
import json
import math
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def protocol(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("restoration_protocol")


@pytest.fixture
def denoisers(protocol):
    return importlib.import_module("denoisers")


@pytest.fixture
def robust(protocol):
    return importlib.import_module("restoration_robust")


# ------------------------------------------------------------------------------------------ damage, scores
def test_psnr_is_of_clipped_rounded_results(protocol):
    clean = torch.full((1, 3, 8, 8), 100 / 255)
    made = clean + torch.tensor([10.4, -0.4, 0.4]).view(1, 3, 1, 1) / 255  # 10, 0 and 0 after rounding
    case = protocol.Case(clean, clean)
    assert protocol.psnr(made, case) == pytest.approx(10 * math.log10(255**2 / (100 / 3)))
    white = protocol.Case(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 4))
    assert protocol.psnr(white.clean + 0.3, white) == 120


def test_psnr_of_holes_and_of_the_inside_leave_out_the_rest(protocol):
    clean = torch.zeros(1, 3, 9, 9)
    made = clean.clone()
    made[..., 0, 0] = 1
    mask = torch.zeros(1, 1, 9, 9)
    mask[..., 0, 0] = 1
    case = protocol.Case(clean, clean, mask=mask)
    assert protocol.psnr_in_holes(made, case) == pytest.approx(0)
    assert protocol.psnr_inside(1)(made, case) == 120
    assert protocol.psnr(made, case) == pytest.approx(10 * math.log10(81))


def test_luma_is_that_of_matlab(protocol):
    colours = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0]]).view(3, 3, 1, 1)
    assert (protocol.to_luma(colours) * 255).flatten().tolist() == pytest.approx([16, 235, 81.481], abs=1e-3)


def test_noise_depends_on_the_picture_and_sigma_alone_and_is_not_clipped(protocol):
    clean = torch.ones(1, 3, 64, 64)
    noisy = protocol.noisy(clean, 3, 25)
    assert torch.equal(noisy, protocol.noisy(clean, 3, 25))
    assert not torch.equal(noisy, protocol.noisy(clean, 4, 25))
    assert noisy.max() > 1.1
    assert float((noisy - clean).std()) * 255 == pytest.approx(25, rel=0.03)


def test_strokes_cover_what_was_asked_and_repeat(protocol):
    mask = protocol.strokes(300, 400, 5)
    assert mask.shape == (1, 1, 300, 400)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert 0.2 <= float(mask.mean()) <= 0.225
    assert torch.equal(mask, protocol.strokes(300, 400, 5))


def test_other_noise_is_as_strong_as_it_says(robust):
    clean = torch.full((1, 3, 200, 200), 0.5)
    measured = {
        kind: 255 * float((damage(clean, torch.Generator().manual_seed(0)) - clean).square().mean().sqrt())
        for kind, damage in robust.noise_kinds().items()
    }
    assert measured == {
        "Poisson-Gaussian, 100 electrons": pytest.approx(255 * math.sqrt(54) / 100, rel=0.02),
        "salt and pepper, 5 %": pytest.approx(255 * 0.5 * math.sqrt(0.05), rel=0.05),
        "uniform, as strong as sigma 25": pytest.approx(25, rel=0.02),
        "correlated over 3 px, sigma 25": pytest.approx(25, rel=0.03),
    }


def test_every_method_is_given_the_same_pictures(protocol):
    clean = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    cases = (protocol.Case(clean, protocol.noisy(clean, index, 15), 15) for index in range(3))
    (found,) = protocol.score("x", cases, {"a": lambda case: case.damaged, "b": lambda case: case.damaged})
    assert torch.equal(found["a"], found["b"])
    assert len(found["a"]) == 3


# ------------------------------------------------------------------------------------------------- figures
def test_a_figure_has_the_paired_difference_and_judges_either_aim(protocol):
    theirs = torch.tensor([30.0, 31, 33], dtype=torch.float64)
    found = {protocol.OURS: theirs + 0.25, "peer": theirs}
    (figure,) = protocol.compared("x", found, "peer", aim_above=0.2, note="More.")
    assert figure.value == pytest.approx(31.5833, abs=1e-3)
    assert figure.note == "Above the peer by +0.250 dB (+0.250 to +0.250). More."
    assert (figure.aim, figure.met) == (">= 0.2 dB above the peer", True)
    (figure,) = protocol.compared("x", found, "peer", aim=32)
    assert (figure.aim, figure.met) == (">= 32", False)


def test_a_figure_of_one_side_alone(protocol):
    values = torch.tensor([30.0, 31], dtype=torch.float64)
    (theirs,) = protocol.compared("x", {"peer": values}, "peer", aim=32)
    assert (theirs.name, theirs.value, theirs.met) == ("x: peer, no model of ours", 30.5, None)
    (ours,) = protocol.compared("x", {protocol.OURS: values[:1]}, "peer", aim=29, aim_above=1)
    assert (ours.value, ours.spread, ours.aim, ours.peer) == (30.0, None, ">= 29", None)
    assert protocol.compared("x", {}, "peer") == []


def test_passes_must_gain_and_then_not_lose(robust):
    rising = robust.pass_figures(25, [20.0, 21, 22, 22.005, 22.004], 3)
    assert [(figure.value, figure.met) for figure in rising] == [(1, True), (0, True)]
    falling = robust.pass_figures(25, [20.0, 19.9, 22, 21.9], 3)
    assert [(pytest.approx(figure.value), figure.met) for figure in falling] == [(-0.1, False), (0.1, False)]


def test_a_plot_is_a_picture_that_a_browser_reads(protocol):
    plot = importlib.import_module("restoration_plot")
    lines = [plot.Line("a < b", [(5, 40.0), (75, 24.0)]), plot.Line("c", [(5, 39.0), (75, 24.1)])]
    tree = ET.fromstring(plot.line_plot("title", "x", "y", lines))
    heights = {
        e.text: float(e.get("y")) for e in tree.iter("{http://www.w3.org/2000/svg}text") if e.text in ("a < b", "c")
    }
    assert abs(heights["a < b"] - heights["c"]) >= 15  # names do not cover each other


@pytest.mark.parametrize(("low", "high"), [(5, 75), (0.001, 0.0013), (-3, 2), (1e5, 3e6)])
def test_ticks_enclose_and_are_few(protocol, low, high):
    found = importlib.import_module("restoration_plot").ticks(low, high)
    assert found[0] <= low < high <= found[-1]
    assert 2 < len(found) <= 8


# ----------------------------------------------------------------------------------------------- networks
def test_ffdnet_handles_odd_sizes_and_is_told_the_noise(denoisers):
    weights = torch.zeros(12, 13, 3, 3)
    weights[torch.arange(12), torch.arange(12), 1, 1] = 1  # gives back what it is given
    weights[:, 12, 1, 1] = 1  # and adds sigma / 255
    network = denoisers.FFDNet([(weights, torch.zeros(12))])
    images = torch.rand(1, 3, 7, 5)
    assert torch.allclose(network(images, 51), images + 0.2, atol=1e-6)


def test_dncnn_takes_away_what_it_finds(denoisers):
    kernel = torch.zeros(3, 3, 3, 3)
    kernel[torch.arange(3), torch.arange(3), 1, 1] = 0.25
    network = denoisers.DnCNN([(kernel, torch.zeros(3)), (kernel, torch.full((3,), 0.1))])
    images = torch.rand(1, 3, 5, 4)
    assert torch.allclose(network(images), images * (1 - 0.0625) - 0.1, atol=1e-6)


def test_matlab_files_are_read_as_matlab_means_them(denoisers, tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    kernel, bias = torch.rand(3, 3, 5, 1), torch.rand(1)  # MATLAB: rows, columns, in; one output has no axis
    with h5py.File(tmp_path / "x.mat", "w") as file:
        weights = [
            file.create_dataset("k", data=kernel[..., 0].permute(2, 1, 0)),
            file.create_dataset("b", data=bias[None]),
        ]
        layers = [file.create_group("conv"), file.create_group("relu")]
        for layer, name in zip(layers, ("conv", "relu"), strict=True):
            layer["type"] = [[ord(letter)] for letter in name]
        layers[0].create_dataset("weights", data=[[w.ref] for w in weights], dtype=h5py.ref_dtype)
        file.create_dataset("net/layers", data=[[layer.ref] for layer in layers], dtype=h5py.ref_dtype)
    ((found, found_bias),) = denoisers._read_matlab(tmp_path / "x.mat")
    assert torch.equal(found, kernel.permute(3, 2, 0, 1))
    assert torch.equal(found_bias, bias)


# ---------------------------------------------------------------------------------------------- the script
class Smoothing(torch.nn.Module):
    """Stands in for a model that restores: the mean of 3x3."""

    told = "noise"

    def restore(self, images, masks=None, strength=None):
        assert strength is None or float(strength) == pytest.approx(25 / 255)
        return F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)


def test_our_model_is_told_the_strength_unless_blind(protocol):
    methods = importlib.import_module("restoration_methods")
    case = protocol.Case(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8), 25)
    assert methods.strength(Smoothing(), case).item() == pytest.approx(25 / 255)
    told, blind = (methods.ours(Smoothing(), "fp32", told)(case) for told in (True, False))
    assert torch.equal(told, blind)


def test_what_a_network_sees_is_nothing_where_nothing_differs(protocol):
    tasks = importlib.import_module("restoration_tasks")
    measure = tasks.seen(SimpleNamespace(maps=lambda images, layers: dict.fromkeys(layers, images)))
    clean = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)).mul(255).round() / 255
    case = protocol.Case(clean, clean)
    assert measure(clean, case) == 0
    opposite = clean.clone()
    opposite[..., :4] = torch.tensor([1.0, 0, 0]).view(3, 1, 1)
    red = torch.nn.functional.normalize(clean[..., :4])[:, 0]
    assert measure(opposite, case) == pytest.approx(float((2 - 2 * red).mean()) / 2, rel=1e-5)  # |a - b|^2 of lengths 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--part", "recurrent"], "--part recurrent: name a model: --recurrent"),
        (["--part", "jpeg", "--peers", "none"], "--part jpeg: name a model: --dejpeg"),
    ],
)
def test_a_part_with_nothing_to_measure_is_refused(protocol, monkeypatch, capsys, arguments, problem):
    script = importlib.import_module("restoration")
    monkeypatch.setattr(sys, "argv", ["restoration.py", *arguments])
    with pytest.raises(SystemExit):
        script.main()
    assert problem in capsys.readouterr().err


def test_each_part_says_the_command_that_repeats_it_alone(protocol, monkeypatch, tmp_path):
    script = importlib.import_module("restoration")
    monkeypatch.setattr(script, "measure", lambda part, models, chosen: [])
    monkeypatch.setattr(importlib.import_module("pentimento.models"), "load", lambda where: None)
    monkeypatch.setattr(importlib.import_module("mnist"), "trained", lambda where, model: "of some training")
    arguments = ["--denoise", "runs/a", "--dejpeg", "runs/b", "--count", "2", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["restoration.py", *arguments])
    script.main()
    commands = {path.stem: json.loads(path.read_text())["command"] for path in tmp_path.glob("*.json")}
    assert set(commands) == {f"restoration-{p}" for p in ("denoise", "gray", "robust", "real", "jpeg", "speed")}
    assert commands["restoration-jpeg"] == "python benchmarks/restoration.py --part jpeg --dejpeg runs/b --count 2"
