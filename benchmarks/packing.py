"""Packing: images per second, peak memory, size on disk, time to open again, and memory of a training by data size.

Each figure comes from a fresh process. Without --data, the pictures are in the folder that PENTIMENTO_DATA names.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reporting import Figure, command_line, median_and_spread, parser, shared, write

MNIST, BSDS = "generation/mnist", "restoration/BSDS500-images"
MIB = 2**20
AIM_GROWTH = 0.1  # of the bytes of the added pictures
BATCH = 64


def main() -> None:
    """Measure, and write the report."""
    options = parser(__doc__ or "")
    options.add_argument("--rounds", type=int, default=3, help="of each packing, after one to warm up")
    options.add_argument("--mnist", default=None, help="folder of MNIST's idx files")
    options.add_argument("--bsds", default=None, help="folder of BSDS500's train, val and test photographs")
    options.add_argument(
        "--shapes", type=int, default=1000, help="pictures of the smaller training; the larger has 10 times as many"
    )
    options.add_argument("--worker", nargs="+", default=None, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.worker:
        print(json.dumps(WORKERS[chosen.worker[0]](*chosen.worker[1:])))
        return
    mnist, bsds = chosen.mnist or str(shared(MNIST)), chosen.bsds or str(shared(BSDS))
    figures = measure_packing("MNIST, training set", mnist, ["train"], chosen.rounds)
    figures += measure_packing("BSDS500, photographs", bsds, ["train", "val", "test"], chosen.rounds)
    figures += measure_memory(chosen.shapes, chosen.rounds)
    notes = [
        f"Packing: {chosen.rounds} fresh processes, each into an empty cache, after one that warms the system's file "
        "cache; median, and lowest to highest. From opening the source to the packed data set, imports not included.",
        "Peak memory is the process's largest resident set (getrusage), with Python, torch and the mapped file in it.",
        "Opened again: what every later training waits for, the check that the pictures are the same among it.",
        "Peer: a loop of one thread over the same files with Pillow alone, that keeps the decoded pictures in a list.",
        "Memory of a training: a small VAE on shapes of 64x64 in colour, packed before by another process; both "
        "trainings draw as many pictures. RssAnon is what the process holds for itself, RssFile what it has mapped, "
        "which the system takes back when it needs the room.",
    ]
    command = command_line(__file__, chosen, options)
    write("packing", "Packing of pictures", command, figures, notes, folder=chosen.out)


# ------------------------------------------------------------------------------------------------ packing
def measure_packing(name: str, where: str, splits: list[str], rounds: int) -> list[Figure]:
    """Figures of packing `splits` of the data at `where`."""
    packed, opened = [], []
    for number in range(rounds + 1):
        with tempfile.TemporaryDirectory() as cache:
            first, second = (work("pack", where, *splits, cache=cache) for _ in range(2))
        if number:
            packed.append(first)
            opened.append(second["seconds"])
    speed, speed_spread = median_and_spread(p["pictures"] / p["seconds"] for p in packed)
    peak, peak_spread = median_and_spread(p["peak_bytes"] / MIB for p in packed)
    again, again_spread = median_and_spread(opened)
    names = ("Pillow, one thread", "Pillow, one thread", "the JPEG files")
    beside: list[dict[str, Any]] = [{}] * 3
    if splits != ["train"]:
        beside = [{"peer": n, "peer_value": v} for n, v in zip(names, pillow(where, splits), strict=True)]
    pixels, imported = packed[0]["pixel_bytes"] / MIB, statistics.median(p["imported_bytes"] for p in packed) / MIB
    there = f"Of which {imported:.0f} MiB were there after the imports; the pixels are {pixels:.0f} MiB."
    number_of = f"{packed[0]['pictures']:,} pictures."
    return [
        Figure(f"{name}: packed", speed, "images/s", speed_spread, **beside[0], note=number_of),
        Figure(f"{name}: peak memory", peak, "MiB", peak_spread, **beside[1], note=there),
        Figure(f"{name}: on disk", packed[0]["disk_bytes"] / MIB, "MiB", **beside[2]),
        Figure(f"{name}: opened again", again, "s", again_spread),
    ]


def pillow(where: str, splits: list[str]) -> tuple[float, float, float]:
    """The peer's images per second, its peak in MiB, and the MiB of the files that it decodes."""
    found = work("pillow", where, *splits)
    return found["pictures"] / found["seconds"], found["peak_bytes"] / MIB, found["disk_bytes"] / MIB


def work_pack(where: str, *splits: str) -> dict[str, float]:
    """In a process of its own: pack, or open what was packed."""
    from pentimento.data.packed import cache_folder, pack
    from pentimento.data.sources import open_source

    imported, start = resident()["VmRSS"], time.monotonic()
    sets = [pack(open_source(where, split)) for split in splits]
    seconds = time.monotonic() - start
    return {
        "seconds": seconds,
        "pictures": sum(len(s) for s in sets),
        "imported_bytes": imported,
        "peak_bytes": peak_bytes(),
        "pixel_bytes": sum((s.folder / "pixels.bin").stat().st_size for s in sets),
        "disk_bytes": sum(p.stat().st_size for p in cache_folder().rglob("*") if p.is_file()),
    }


def work_pillow(where: str, *splits: str) -> dict[str, float]:
    """In a process of its own: what a plain loop takes."""
    import numpy as np
    from PIL import Image

    start = time.monotonic()
    files = [path for split in splits for path in sorted((Path(where) / split).rglob("*.jpg"))]
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in files]
    seconds = time.monotonic() - start
    disk = sum(path.stat().st_size for path in files)
    return {"seconds": seconds, "pictures": len(pictures), "peak_bytes": peak_bytes(), "disk_bytes": disk}


# ------------------------------------------------------------------------------------------------- memory
def measure_memory(count: int, rounds: int) -> list[Figure]:
    """Resident memory of a training on `count` pictures and on ten times as many."""
    numbers = (count, 10 * count)
    found: dict[int, list[Any]] = {number: [] for number in numbers}
    with tempfile.TemporaryDirectory() as cache:
        for number in numbers:
            work("pack", f"shapes:{number}", "train", cache=cache)
        for _ in range(rounds):
            for number in numbers:
                found[number].append(work("train", f"shapes:{number}", str(10 * count), cache=cache))
    small, large = found[count], found[10 * count]
    added = (large[0]["pixel_bytes"] - small[0]["pixel_bytes"]) / MIB
    note = f"Of the medians; {10 * count:,} pictures instead of {count:,} are {added:.0f} MiB more pixels."
    figures = []
    for key in ("RssAnon", "RssFile"):
        (before, _), (after, spread) = (median_and_spread(r[key] / MIB for r in rows) for rows in (small, large))
        figures.append(Figure(f"training on {10 * count:,} pictures: {key}", after, "MiB", spread))
        aim = {"aim": f"<= {AIM_GROWTH:.0%} of the pixels", "met": after - before <= AIM_GROWTH * added}
        judged = aim if key == "RssAnon" else {}
        figures.append(Figure(f"its growth from {count:,} pictures: {key}", after - before, "MiB", **judged, note=note))
    return figures


def work_train(where: str, count: str) -> dict[str, float]:
    """In a process of its own: train, and tell the memory at the last report of progress."""
    from pentimento.runtime import Progress
    from pentimento.training.recipe import parse_recipe
    from pentimento.training.session import open_data, start

    model = {"width": 8, "latent_dim": 8, "conditional": False}
    training = {"total_kimg": int(count) / 1000, "batch_size": BATCH, "sample_every_kimg": 1e6}
    recipe = parse_recipe({"family": "vae", "model": model, "training": training})
    reports: list[dict[str, float]] = []

    def progress(report: Progress) -> None:
        if report.stage == "train":
            reports.append(resident())

    with tempfile.TemporaryDirectory() as folder:
        start(recipe, where, Path(folder) / "run", progress=progress)
    pixels = (open_data(recipe, where).folder / "pixels.bin").stat().st_size
    return {**reports[-1], "pixel_bytes": pixels}


# -------------------------------------------------------------------------------------------------- parts
WORKERS: dict[str, Callable[..., dict[str, float]]] = {"pack": work_pack, "pillow": work_pillow, "train": work_train}


def work(*arguments: str, cache: str = "") -> Any:
    """What a worker found, run in a fresh process with the cache in the folder `cache`."""
    command = [sys.executable, __file__, "--worker", *arguments]
    variables = {**os.environ, **({"PENTIMENTO_CACHE": cache} if cache else {})}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments[:1])} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def resident() -> dict[str, float]:
    """Resident memory of this process in bytes: VmRSS, and of it RssAnon and RssFile."""
    rows = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {row[0][:-1]: 1024.0 * int(row[1]) for row in rows if row[0] in ("VmRSS:", "RssAnon:", "RssFile:")}


def peak_bytes() -> float:
    """Largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0)


if __name__ == "__main__":
    main()
