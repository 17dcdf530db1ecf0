"""What only several processes can show: kill -9 and resume, a signal, two processes that train as one."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from pentimento.training.recipe import dump
from pentimento.training.run_folder import RunFolder
from pentimento.training.session import resume, start

FAMILIES = ["gan", "vae", "classifier"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}


def command(recipe, tmp_path, out):
    (tmp_path / "recipe.toml").write_text(dump(recipe))
    arguments = ["train", str(tmp_path / "recipe.toml"), "--data", "digits", "--out", str(out)]
    return [sys.executable, "-m", "pentimento", *arguments]


def wait_for_steps(run, process, steps):
    """Until the run has logged so many steps past a checkpoint."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        rows = RunFolder(run).metrics()
        if (run / "state.pt").is_file() and rows and rows[-1]["step"] >= steps:
            return
        time.sleep(0.01)
    pytest.fail("the training did not get going")


@pytest.mark.parametrize("family", FAMILIES)
def test_killed_and_resumed_is_bit_identical_to_unbroken(family, recipe, tmp_path):
    long = recipe(family, total_kimg=48, log_every_kimg=0.064, sample_every_kimg=1000, checkpoint_every_seconds=0.2)
    run = tmp_path / "killed"
    process = subprocess.Popen(command(long, tmp_path, run), stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    wait_for_steps(run, process, 40)
    process.kill()
    process.wait()
    process.stderr.close()
    killed_at = RunFolder(run).load_state()["step"]
    total = (math.ceil(RunFolder(run).metrics()[-1]["kimg"]) + 1) / 1  # a little further than where it died
    resume(run, [f"training.total_kimg={total}"])
    start(recipe(family, total_kimg=total, sample_every_kimg=1000), "digits", tmp_path / "whole")
    a, b = RunFolder(run).load_state(), RunFolder(tmp_path / "whole").load_state()
    assert 0 < killed_at < a["step"] == b["step"]
    for part in ("model", "ema"):
        assert all(torch.equal(a[part][k], b[part][k]) for k in b[part])


def test_ctrl_c_saves_and_says_how_to_go_on(recipe, tmp_path):
    run = tmp_path / "run"
    long = recipe("vae", total_kimg=1000, sample_every_kimg=1000, log_every_kimg=0.064, checkpoint_every_seconds=0.2)
    process = subprocess.Popen(command(long, tmp_path, run), stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    wait_for_steps(run, process, 20)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    last = said.strip().splitlines()[-1]
    step = RunFolder(run).load_state()["step"]
    assert f"stopped by SIGINT after step {step} of 62500, saved; go on with: pentimento train {run} --resume" in last
    assert "Traceback" not in said
    assert RunFolder(run).metrics()[-1]["step"] == step


@pytest.mark.parametrize(
    ("family", "model"),
    [
        ("gan", {"norm": "none", "loss": "relativistic", "r1": 0.5, "r2": 0.5, "critic_updates": 1}),
        ("vae", {"norm": "none"}),
        ("cyclegan", {}),  # whose pools of made pictures are one, and full after the second step
    ],
)
def test_two_processes_train_like_one(family, model, recipe, tmp_path):
    """The bound: gradients are summed in another order; 20 fp32 steps of Adam stay well within 1e-4 relative L2."""
    same, second = recipe(family, model=model, accumulate=1), "digits" if family == "cyclegan" else None
    start(same, "digits", tmp_path / "one", second=second)
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "2",
        "--standalone",
        "-m",
        "pentimento",
    ]
    arguments = command(same, tmp_path, tmp_path / "two")[3:] + (["--second", second] if second else [])
    done = subprocess.run(
        [*torchrun, *arguments], capture_output=True, text=True, env=ENVIRONMENT, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    one, two = (RunFolder(tmp_path / n).load_state()["model"] for n in ("one", "two"))
    error = sum((one[k].double() - two[k]).square().sum() for k in one) / sum(
        one[k].double().square().sum() for k in one
    )
    assert 0 < math.sqrt(error) < 1e-4  # not zero: two processes really shared the work
