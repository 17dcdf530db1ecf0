"""What a model costs to run: parameters, multiply-adds, latency, throughput and memory, on the machine at hand."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from pentimento.capabilities import Predicts, Samples
from pentimento.errors import EvaluationError
from pentimento.evaluate.intervals import Estimate
from pentimento.model import Model
from pentimento.runtime import Draws
from pentimento.sampling import default_condition

__all__ = ["Cost", "measure_cost", "model_cost", "model_run", "shipped_parameters"]

BATCH = 64
LEAST_ROUNDS = 6  # the fewest whose extremes hold the median with 95 % confidence: 1 - 2 / 2^6
WARM_UP = 2
BUDGET_SECONDS = 10.0  # of timing at one batch size, after the least rounds


@dataclass(frozen=True)
class Cost:
    """Measured costs. Intervals are of the median over rounds: they hold this machine's noise at this time, no more.

    Args:
        parameters: of the finished model.
        multiply_adds: of one picture, in linear layers, convolutions, matrix products and attention; nothing else.
        latency_seconds: from call to picture, at batch 1.
        batch_seconds: from call to pictures, at `batch`.
        pictures_per_second: at `batch`.
        batch: pictures in the larger batch.
        rounds: timed at batch 1 and at `batch`.
        peak_memory_bytes: taken while running `batch`, on top of what was held before (weights among it); None where
            the system does not tell.
        device: e.g. ``"cpu"``, or the name of the GPU.
        threads: that torch uses on the CPU.
    """

    parameters: int
    multiply_adds: int
    latency_seconds: Estimate
    batch_seconds: Estimate
    pictures_per_second: Estimate
    batch: int
    rounds: tuple[int, int]
    peak_memory_bytes: int | None
    device: str
    threads: int


def measure_cost(
    run: Callable[[int], object], parameters: int, device: torch.device, *, batch: int = BATCH, rounds: int = 30
) -> Cost:
    """The cost of ``run(n)``, which makes n pictures and draws its own inputs.

    Each batch size is run twice to warm up, then for `rounds`, but no longer than 10 s once 6 rounds are done. The
    device is waited for before and after each round. Memory is measured apart from time: on CUDA what torch's
    allocator held at most, on Linux the peak resident set of the process, reset through ``/proc/self/clear_refs``;
    what else runs in the process is in it.

    Args:
        run: called with 1 and with `batch`.
        parameters: of what runs; 0 for what has none.
        device: that it runs on.
        batch: of the larger batch, at least 1.
        rounds: timed at each batch size, at least 6.

    Raises:
        EvaluationError: too few rounds or pictures.
    """
    if rounds < LEAST_ROUNDS or batch < 1:
        raise EvaluationError(f"rounds >= {LEAST_ROUNDS} and batch >= 1 expected, got rounds={rounds}, batch={batch}")
    multiply_adds = _count_multiply_adds(run)
    single = _time_rounds(run, 1, rounds, device)
    memory = _peak_memory(lambda: run(batch), device)
    many = _time_rounds(run, batch, rounds, device)
    latency, batch_seconds = _median(single), _median(many)
    return Cost(
        parameters=parameters,
        multiply_adds=multiply_adds,
        latency_seconds=latency,
        batch_seconds=batch_seconds,
        pictures_per_second=Estimate(
            batch / batch_seconds.value, batch / batch_seconds.high, batch / batch_seconds.low
        ),
        batch=batch,
        rounds=(len(single), len(many)),
        peak_memory_bytes=memory,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        threads=torch.get_num_threads(),
    )


# ------------------------------------------------------------------------------------------------ models
def model_cost(model: Model, *, batch: int = BATCH, rounds: int = 30) -> Cost:
    """`measure_cost` of what `model` does, where it is: sample or predict; in evaluation mode, which it leaves again.

    Raises:
        EvaluationError: it does neither, or too few rounds or pictures.
    """
    run = model_run(model)
    was_training = model.training
    model.eval()
    try:
        return measure_cost(run, shipped_parameters(model), model.device, batch=batch, rounds=rounds)
    finally:
        model.train(was_training)


def model_run(model: Model) -> Callable[[int], object]:
    """What `model` does as a function of the number of pictures.

    A model that samples draws noise and condition and makes the pictures, for these are part of a call; one that
    predicts is given gray pictures.

    Raises:
        EvaluationError: it does neither.
    """
    if isinstance(model, Samples):
        sampler = model

        @torch.no_grad()
        def sample(count: int) -> object:
            condition = default_condition(model, range(count), 0).to(model.device)
            return sampler.sample(sampler.draw_noise(Draws(0, range(count), device=model.device)), condition)

        return sample
    if isinstance(model, Predicts):
        predictor = model

        @torch.no_grad()
        def predict(count: int) -> object:
            return predictor.predict(torch.full((count, *model.spec.image_shape), 0.5, device=model.device))

        return predict
    raise EvaluationError(f"model: one that samples or predicts expected, got a {model.family!r}; use measure_cost")


def shipped_parameters(model: Model) -> int:
    """How many parameters the finished model has: without those of players that do not ship; shared ones once."""
    shipped = model.shipped_modules()
    return sum(p.numel() for name, p in model.named_parameters() if name.split(".", 1)[0] in shipped)


# ------------------------------------------------------------------------------------------------ gauges
def _count_multiply_adds(run: Callable[[int], object]) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run(1)
    return int(counter.get_total_flops()) // 2  # it counts a multiplication and an addition as two


def _time_rounds(run: Callable[[int], object], count: int, rounds: int, device: torch.device) -> list[float]:
    """Seconds of each round."""
    for _ in range(WARM_UP):
        run(count)
    _synchronize(device)
    seconds: list[float] = []
    while len(seconds) < rounds and (len(seconds) < LEAST_ROUNDS or math.fsum(seconds) < BUDGET_SECONDS):
        begin = time.perf_counter()
        run(count)
        _synchronize(device)
        seconds.append(time.perf_counter() - begin)
    return seconds


def _median(values: list[float]) -> Estimate:
    """The median, and the pair of order statistics that hold it with 95 % confidence or a little more.

    Of n values as many lie below the median as heads fall in n throws (David and Nagaraja 2003, section 7.1).
    """
    ordered, count = sorted(values), len(values)
    below, skipped = 1.0, 0  # throws with at most `skipped` heads, of 2^count
    while below + math.comb(count, skipped + 1) <= 0.025 * 2**count:
        skipped += 1
        below += math.comb(count, skipped)
    return Estimate(statistics.median(ordered), ordered[skipped], ordered[-1 - skipped])


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _peak_memory(run: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that `run` takes at most on top of what is held before it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu" or not _reset_peak():
        return None
    before_rss, made = _status_bytes("VmRSS"), run()
    peak = _status_bytes("VmHWM")
    del made
    return None if before_rss is None or peak is None else max(0, peak - before_rss)


def _reset_peak() -> bool:
    """Give freed memory back to the system, or it would be used again unseen, and begin a new peak."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # not glibc: it gives back by itself, or never
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM
    except OSError:
        return False
    return True


def _status_bytes(name: str) -> int | None:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return None
