"""Two promises of the training loop, on the built-in digits and through the command line.

1. A training that is killed with SIGKILL and resumed ends bit-identical to one that was never touched.
2. Two processes under torchrun compute what one process computes on the same global batch, to rounding.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from reporting import Figure, command_line, parser, write

PENTIMENTO = ("-m", "pentimento")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *PENTIMENTO)

KILLED: dict[str, dict[str, Any]] = {
    "gan": {"model": {"width": 16, "latent_dim": 16, "norm": "batch", "loss": "relativistic", "r1": 0.1, "r2": 0.1}},
    "vae": {"model": {"width": 16, "latent_dim": 8}},
    "classifier": {"model": {"width": 16, "dropout": 0.3}, "augment": {"shift": 0.1, "rotate_degrees": 10.0}},
}
SPLIT: dict[str, dict[str, Any]] = {
    "gan, relativistic with R1 and R2": {
        "family": "gan",
        "model": {"width": 16, "latent_dim": 16, "norm": "none", "loss": "relativistic", "r1": 0.1, "r2": 0.1},
    },
    "gan, Wasserstein with gradient penalty": {
        "family": "gan",
        "model": {
            "width": 16,
            "latent_dim": 16,
            "norm": "none",
            "loss": "wasserstein",
            "gradient_penalty": 10.0,
            "critic_updates": 5,
        },
    },
    "vae": {"family": "vae", "model": {"width": 16, "latent_dim": 8, "norm": "none"}},
}
BATCH = 64
AIM = 1e-4


def main() -> None:
    """Measure, and write the report."""
    options = parser(__doc__ or "")
    options.add_argument("--steps", type=int, default=600, help="length of the trainings that are killed")
    options.add_argument("--kills", type=int, default=2, help="kills a training")
    options.add_argument("--split-steps", type=int, default=20, help="steps of two processes against one")
    options.add_argument("--only", choices=["killed", "split"], default=None, help="one of the two parts")
    chosen = options.parse_args()
    import torch  # noqa: F401  (takes seconds, which a training that is to be killed would use to finish)

    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        for family, recipe in KILLED.items() if chosen.only != "split" else ():
            figures.append(killed_and_resumed(Path(folder) / "killed" / family, {"family": family, **recipe}, chosen))
        for name, recipe in SPLIT.items() if chosen.only != "killed" else ():
            figures += two_against_one(
                Path(folder) / "split" / name.replace(" ", "-"), name, recipe, chosen.split_steps
            )
    notes = [
        "Killed trainings: every process runs with the same number of threads; every step is logged, so that the "
        "kill is seen to lose steps after the last checkpoint.",
        "Two processes: gloo on one machine, one thread each, fp32; against one process of one thread. The recipes "
        "have no batch normalisation, which sees only the half of the batch that its process has.",
    ]
    command = command_line(__file__, chosen, options)
    write("reproducibility", "Resumed and distributed trainings", command, figures, notes, folder=chosen.out)


# ------------------------------------------------------------------------------------------------- killed
def killed_and_resumed(folder: Path, recipe: dict[str, Any], options: argparse.Namespace) -> Figure:
    """Train one run in one go and another with kills in between, and compare their state.pt."""
    training = {"checkpoint_every_seconds": 0.3, "log_every_kimg": BATCH / 1000}
    path = save_recipe(folder, recipe, options.steps, training)
    call(PENTIMENTO, ["train", str(path), "--data", "digits", "--out", str(folder / "whole"), "--json"])
    run, told = folder / "killed", []
    start = ["train", str(path), "--data", "digits", "--out", str(run), "--json"]
    resume = ["train", str(run), "--resume", "--json"]
    for kill in range(options.kills):
        past = options.steps * (kill + 1) // (options.kills + 1)
        saved, logged = start_and_kill(start if not kill else resume, run, past, options.steps)
        told.append(f"{logged}, resumed from {saved}")
    whole, before = load_state(folder / "whole"), load_state(run)
    call(PENTIMENTO, resume)
    after = load_state(run)
    differing, count = differences(whole, after)
    control = differences(whole, before)[0]
    return Figure(
        f"{recipe['family']}: tensors and numbers that differ after kill -9 and --resume",
        len(differing),
        f"of {count}",
        aim="0",
        met=not differing,
        note=f"Raw weights, EMA weights and optimizer state after {options.steps} steps, compared byte by byte. Killed "
        f"after step {'; after step '.join(told)}. Control: before the last resume {len(control)} differed.",
    )


def start_and_kill(arguments: Sequence[str], run: Path, past: int, total: int) -> tuple[int, int]:
    """Start a training and kill -9 it with steps logged after a checkpoint later than step `past`.

    Returns:
        The steps of the checkpoint and of the last line of metrics.jsonl that the kill left.
    """
    process = subprocess.Popen([sys.executable, *PENTIMENTO, *arguments], stdout=subprocess.DEVNULL)
    saved = logged = 0
    try:
        while process.poll() is None and not past <= saved < logged:
            time.sleep(0.02)
            if last_logged(run) > past and (run / "state.pt").is_file():
                process.send_signal(signal.SIGSTOP)  # hold still while we look
                saved, logged = load_state(run)["step"], last_logged(run)
                process.send_signal(signal.SIGKILL if past <= saved < logged else signal.SIGCONT)
    finally:
        process.kill()
        code = process.wait()
    if code != -signal.SIGKILL or logged >= total:
        sys.exit(f"the training came to step {logged} of {total} before it could be killed: raise --steps")
    return saved, logged


def last_logged(run: Path) -> int:
    """The step of the last whole line of metrics.jsonl; 0 without any."""
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    for line in reversed(lines[-2:]):
        try:
            return int(json.loads(line)["step"])
        except ValueError:
            continue
    return 0


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[list[str], int]:
    """Names of what differs in weights, EMA weights and optimizer state, and how many tensors and numbers there are."""
    leaves = [dict(flatten({k: s[k] for k in ("step", "model", "ema", "optimizers")})) for s in (one, other)]
    names = leaves[0].keys() | leaves[1].keys()
    return sorted(n for n in names if as_bytes(leaves[0].get(n)) != as_bytes(leaves[1].get(n))), len(names)


def flatten(tree: Any, name: str = "") -> list[tuple[str, Any]]:
    """Leaves by their path."""
    if isinstance(tree, Mapping):
        return [leaf for key, value in tree.items() for leaf in flatten(value, f"{name}/{key}")]
    if isinstance(tree, list | tuple):
        return [leaf for key, value in enumerate(tree) for leaf in flatten(value, f"{name}/{key}")]
    return [(name, tree)]


def as_bytes(leaf: Any) -> bytes:
    """What a leaf is, bit for bit."""
    import torch

    if not isinstance(leaf, torch.Tensor):
        return repr(leaf).encode()
    return f"{leaf.dtype}{tuple(leaf.shape)}".encode() + leaf.contiguous().numpy().tobytes()


# -------------------------------------------------------------------------------------------------- split
def two_against_one(folder: Path, name: str, recipe: dict[str, Any], steps: int) -> list[Figure]:
    """The relative L2 distance of all parameters after `steps` steps by two processes and by one."""
    path = save_recipe(folder, recipe, steps, {"ema_halflife_kimg": 0.0})
    states = {}
    for out, runner in (("one", PENTIMENTO), ("two", TORCHRUN)):
        arguments = ["train", str(path), "--data", "digits", "--out", str(folder / out), "--json"]
        call(runner, arguments, OMP_NUM_THREADS="1")
        states[out] = load_state(folder / out)
    one, two = (state["model"] for state in states.values())
    assert states["one"]["step"] == states["two"]["step"] == steps
    error, moved = distance(two, one), distance(one, initial(path, one))
    note = (
        f"|a - b| / |b| over the parameters of all players together, after {steps} steps of {BATCH} pictures. The "
        f"training moved them by {moved:.2g} of their length, so the two differ by {error / moved:.1e} of the way."
    )
    return [Figure(f"{name}: two processes against one", error, aim=f"<= {AIM:g}", met=error <= AIM, note=note)]


def initial(path: Path, like: Mapping[str, Any]) -> Mapping[str, Any]:
    """The weights that the recipe at `path` begins with."""
    from pentimento.training.loop import make_model
    from pentimento.training.recipe import load_recipe
    from pentimento.training.session import open_data

    recipe = load_recipe(path)
    state = make_model(recipe, open_data(recipe, "digits").spec()).state_dict()
    return {name: state[name] for name in like}


def distance(a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    """|a - b| / |b|, Euclidean, over all tensors together."""
    squares = sum(float((a[k].double() - b[k].double()).square().sum()) for k in b)
    return math.sqrt(squares / sum(float(v.double().square().sum()) for v in b.values()))


# -------------------------------------------------------------------------------------------------- parts
def save_recipe(folder: Path, recipe: dict[str, Any], steps: int, training: dict[str, Any]) -> Path:
    """A TOML file in `folder` for `steps` steps on the CPU in fp32."""
    folder.mkdir(parents=True)
    kimg = steps * BATCH * recipe["model"].get("critic_updates", 1) / 1000
    fixed = {"total_kimg": kimg, "batch_size": BATCH, "device": "cpu", "precision": "fp32", "sample_every_kimg": 1e6}
    (folder / "recipe.toml").write_text(tomli_w.dumps({**recipe, "training": {**fixed, **training}}))
    return folder / "recipe.toml"


def call(runner: Sequence[str], arguments: Sequence[str], **variables: str) -> None:
    """Run a command to its end; what it said is shown only where it failed."""
    done = subprocess.run(
        [sys.executable, *runner, *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def load_state(run: Path) -> Any:
    """The checkpoint of a run folder."""
    from pentimento.training.run_folder import RunFolder

    return RunFolder(run).load_state()


if __name__ == "__main__":
    main()
