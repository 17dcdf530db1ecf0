"""Checkpoints that are damaged, foreign or hostile are refused, each with one line, and never executed."""

from __future__ import annotations

import pickle
import subprocess
import sys
import zipfile

import pytest
import torch

from pentimento.errors import BusyError, ModelError, NotFoundError
from pentimento.training.run_folder import RunFolder
from pentimento.training.session import resume, start


@pytest.fixture
def run(tmp_path, recipe):
    start(recipe("vae", total_kimg=0.032), "digits", tmp_path / "run")
    return tmp_path / "run"


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_truncated(run):
    whole = (run / "state.pt").read_bytes()
    for length in (0, 100, len(whole) // 2, len(whole) - 10):
        (run / "state.pt").write_bytes(whole[:length])
        with pytest.raises(ModelError, match="truncated, or not a checkpoint"):
            resume(run)


def test_a_pickle_inside_is_not_executed(run, capsys):
    torch.save({"format": 1, "model": Evil()}, run / "state.pt")
    with pytest.raises(ModelError, match="never executed"):
        resume(run)
    (run / "state.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ModelError, match="not a checkpoint"):
        resume(run)
    assert "executed" not in capsys.readouterr().out


def test_another_version(run):
    torch.save({"format": 99}, run / "state.pt")
    with pytest.raises(ModelError, match="checkpoint format 99, but pentimento .* reads 1"):
        resume(run)


def test_a_foreign_zip(run):
    with zipfile.ZipFile(run / "state.pt", "w") as archive:
        archive.writestr("letter.txt", "dear reader")
    with pytest.raises(ModelError, match="not a checkpoint"):
        resume(run)


def test_a_wrong_shape(run):
    state = torch.load(run / "state.pt", weights_only=True)
    state["model"]["posterior.bias"] = torch.zeros(3)
    torch.save(state, run / "state.pt")
    with pytest.raises(ModelError, match=r"does not fit the recipe: posterior.bias is \(3,\), not \(8,\)"):
        resume(run)


def test_no_checkpoint_yet_starts_from_the_beginning(run):
    """Killed before the first checkpoint: resume does what the run was begun for."""
    first = torch.load(run / "state.pt", weights_only=True)
    (run / "state.pt").unlink()
    resume(run)
    again = torch.load(run / "state.pt", weights_only=True)
    assert all(torch.equal(first["model"][k], again["model"][k]) for k in first["model"])


def test_missing_parts(run, tmp_path):
    with pytest.raises(NotFoundError, match="not a run folder"):
        RunFolder(tmp_path).recipe()
    (run / "run.json").write_text("{")
    with pytest.raises(ModelError, match="not the JSON that a run writes"):
        resume(run)


def test_the_lock_dies_with_its_process(tmp_path):
    code = (
        "import sys, time, pathlib; from pentimento.training.run_folder import RunFolder; "
        f"held = RunFolder(pathlib.Path({str(tmp_path)!r})).__enter__(); print('locked', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline().strip() == "locked"
        with pytest.raises(BusyError), RunFolder(tmp_path):
            pytest.fail("two processes hold the run folder")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    with RunFolder(tmp_path) as run:
        assert run.path == tmp_path
