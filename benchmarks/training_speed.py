"""Images per second of a DCGAN at 64x64: our training loop beside a plain PyTorch loop, on the same networks.

Ours is the whole loop of `Trainer`: decoding from the packed data, augmentation hooks, per-sample draws, both players,
the moving average, finite checks, logging. The plain loop is that of the PyTorch DCGAN example, in fp32 and NCHW, fed
from decoded tensors in memory, or, as in that example, from picture files that a DataLoader decodes.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reporting import Figure, command_line, median_and_spread, parser, shared, write

BATCH = 64
SIDE = 64
AIM_RATIO, AIM_WAIT = 1.4, 0.02


@dataclass
class Clock:
    """What was measured: images per second by round, and of our rounds the share of time spent waiting for data."""

    ours: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    plain_files: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    checkpoint_seconds: float = 0.0


def main() -> None:
    """Measure, and write the report."""
    options = parser(__doc__ or "")
    options.add_argument("--rounds", type=int, default=5, help="of either loop, in turn")
    options.add_argument("--steps", type=int, default=10, help="a round")
    options.add_argument("--warm-up", type=int, default=5, help="steps of either loop before the first round")
    options.add_argument("--width", type=int, default=64, help="channels at the finest level")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clock, precision = measure(Path(folder), chosen)
    ours, our_spread = median_and_spread(clock.ours)
    wait = statistics.median(clock.waited)
    figures = []
    for name, rates in (("picture files", clock.plain_files), ("tensors in memory", clock.plain)):
        plain, plain_spread = median_and_spread(rates)
        ratios = [a / b for a, b in zip(clock.ours, rates, strict=True)]
        figures += [
            Figure(
                f"whole training loop, beside {name}",
                ours,
                "images/s",
                our_spread,
                peer=f"plain fp32 PyTorch loop over {name}",
                peer_value=plain,
                peer_spread=plain_spread,
            ),
            Figure(
                f"times as fast as the plain loop over {name}",
                ours / plain,
                spread=(min(ratios), max(ratios)),
                aim=f">= {AIM_RATIO}",
                met=ours / plain >= AIM_RATIO,
            ),
        ]
    figures += [
        Figure(
            "share of the loop spent waiting for data",
            100 * wait,
            "%",
            (100 * min(clock.waited), 100 * max(clock.waited)),
            aim=f"< {100 * AIM_WAIT:g}",
            met=wait < AIM_WAIT,
        ),
        Figure(
            "precision that 'auto' chose", precision, note="On processors that do not compute in bf16, it keeps fp32."
        ),
        Figure(
            "one checkpoint", clock.checkpoint_seconds, "s", note="Not part of the rounds; by default one in 300 s."
        ),
    ]
    command = command_line(__file__, chosen, options)
    write("training_speed", "Training speed, DCGAN at 64x64", command, figures, notes(chosen), folder=chosen.out)


def notes(chosen: argparse.Namespace) -> list[str]:
    """What a reader must know."""
    return [
        f"{chosen.rounds} rounds of {chosen.steps} steps of {BATCH} images, ours and the plain loop in turn in one "
        f"process, after {chosen.warm_up} steps of warm-up each; median, and lowest to highest round.",
        f"Both train copies of the same networks (width {chosen.width}, latent 100, batch normalisation in both, "
        f"non-saturating loss) with Adam at 2e-4 and betas 0.5, 0.999, on the 200 "
        "photographs of BSDS500's train set, 481x321, "
        "brought to 64x64.",
        "Ours: channels_last, fused Adam, gradients only for the player that moves, moving average of the generator, "
        "per-sample draws, data from the memory map by a thread; each player draws fakes of its own.",
        "Plain: NCHW, foreach Adam, gradients everywhere, the generator's step on the discriminator's fakes (one "
        "forward pass of the generator less than ours). Over picture files: the example's DataLoader with two workers "
        "that read, scale and crop photographs. Over tensors: the same, decoded and cropped beforehand.",
    ]


def measure(folder: Path, chosen: argparse.Namespace) -> tuple[Clock, str]:
    """Run both loops in turn; also the precision that ours chose."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    from pentimento.data.batches import Batches
    from pentimento.runtime import choose_precision
    from pentimento.training.loop import make_model
    from pentimento.training.run_folder import RunFolder
    from pentimento.training.session import open_data

    recipe = make_recipe(chosen)
    folder_of_files = shared("restoration/BSDS500-images")
    dataset = open_data(recipe, str(folder_of_files))
    model = make_model(recipe, dataset.spec((SIDE, SIDE)))
    data = Batches(dataset, range(len(dataset)), model.spec, batch_size=BATCH, seed=0, augment=recipe.augment)
    pictures = [batch.images for batch in data.in_order()]
    clock = Clock()
    twins = copy.deepcopy(model), copy.deepcopy(model)
    with RunFolder(folder / "run") as run:
        about = {"data": "photographs", "data_hash": dataset.content_hash, "held_out": (0, 0)}
        run.begin(recipe, {**about, "skip_broken": False, "init": None}, overwrite=False)
        trainer = timed_trainer()(recipe, model, data, run, clock, chosen)
        device = trainer.fabric.device
        tensors = DataLoader(TensorDataset(torch.cat(pictures)), BATCH, shuffle=True, drop_last=True)
        files = DataLoader(Photographs(folder_of_files / "train"), BATCH, shuffle=True, drop_last=True, num_workers=2)
        trainer.plain = plain_loop(twins[0].to(device), tensors, device)
        trainer.plain_files = plain_loop(twins[1].to(device), files, device)
        trainer.train()
        start = time.monotonic()
        trainer.save()
        clock.checkpoint_seconds = time.monotonic() - start
    return clock, choose_precision(recipe.training.precision, device)


def make_recipe(chosen: argparse.Namespace) -> Any:
    """DCGAN as the example has it; long enough for all rounds, and logged once a round."""
    from pentimento.training.recipe import parse_recipe

    steps = chosen.warm_up + chosen.rounds * chosen.steps
    model = {"backbone": "dcgan", "width": chosen.width, "latent_dim": 100, "norm": "batch", "conditional": False}
    return parse_recipe(
        {
            "family": "gan",
            "data": {"size_px": [SIDE, SIDE]},
            "model": {**model, "discriminator_norm": "batch", "loss": "nonsaturating", "lr": 2e-4},
            "training": {
                "total_kimg": steps * BATCH / 1000,
                "batch_size": BATCH,
                "log_every_kimg": chosen.steps * BATCH / 1000,
                "sample_every_kimg": 1e6,
                "checkpoint_every_seconds": 1e6,
            },
        }
    )


# ------------------------------------------------------------------------------------------ the two loops
def timed_trainer() -> type[Any]:
    """`Trainer`, which after every round stops its clock and lets the plain loop run a round."""
    from pentimento.training.loop import Trainer

    class TimedTrainer(Trainer):
        plain: Callable[[int], None]
        plain_files: Callable[[int], None]

        def __init__(
            self, recipe: Any, model: Any, data: Any, run: Any, clock: Clock, chosen: argparse.Namespace
        ) -> None:
            super().__init__(recipe, model, data, None, run)
            self.clock, self.chosen = clock, chosen
            self.began, self.waited, self.seen = math.nan, 0.0, 0.0

        def _log(self, curves: Any, feed: Any, last: bool) -> None:
            self.waited += feed.waited_seconds - self.seen
            if not last:  # the last step also draws samples, which belong to no round
                super()._log(curves, feed, last)
            self.seen = feed.waited_seconds
            done = self.step - self.chosen.warm_up
            if done >= 0 and done % self.chosen.steps == 0:
                self._round(first=done == 0)
            if last:
                super()._log(curves, feed, last)

        def _round(self, first: bool) -> None:
            wait_for(self.fabric.device)
            seconds = time.monotonic() - self.began
            images = self.chosen.steps * BATCH
            if not first:
                self.clock.ours.append(images / seconds)
                self.clock.waited.append(self.waited / seconds)
            for loop, rates in ((self.plain, self.clock.plain), (self.plain_files, self.clock.plain_files)):
                start = time.monotonic()
                loop(self.chosen.warm_up if first else self.chosen.steps)
                wait_for(self.fabric.device)
                if not first:
                    rates.append(images / (time.monotonic() - start))
            self.began, self.waited = time.monotonic(), 0.0

    return TimedTrainer


class Photographs:
    """What the example's ImageFolder, Resize and CenterCrop do: read, scale to cover, cut; (3, H, W) in [0, 1]."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.rglob("*.jpg"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any]:
        import numpy as np
        import torch
        from PIL import Image, ImageOps

        with Image.open(self.files[index]) as picture:
            fitted = ImageOps.fit(picture.convert("RGB"), (SIDE, SIDE), Image.Resampling.BILINEAR)
        return (torch.from_numpy(np.asarray(fitted).copy()).permute(2, 0, 1).float() / 255,)


def wait_for(device: Any) -> None:
    """Until all that was asked of an accelerator is done."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize()


def plain_loop(model: Any, loader: Any, device: Any) -> Callable[[int], None]:
    """The loop of the PyTorch DCGAN example over a DataLoader; a function that runs so many steps of it."""
    import torch

    from pentimento.model import Condition

    nothing = Condition()
    adams = [
        torch.optim.Adam(part.parameters(), lr=2e-4, betas=(0.5, 0.999))
        for part in (model.discriminator, model.generator)
    ]
    criterion = torch.nn.BCEWithLogitsLoss()
    ones, zeros = torch.ones(BATCH, device=device), torch.zeros(BATCH, device=device)

    def batches() -> Iterator[Any]:
        while True:
            for (images,) in loader:
                yield images.to(device)

    def run(steps: int) -> None:
        for _ in range(steps):
            model.discriminator.zero_grad()
            real_loss = criterion(model.discriminator(next(source), nothing), ones)
            real_loss.backward()
            fake = model.sample({"latent": torch.randn(BATCH, model.latent_dim, device=device)}, nothing)
            fake_loss = criterion(model.discriminator(fake.detach(), nothing), zeros)
            fake_loss.backward()
            adams[0].step()
            model.generator.zero_grad()
            loss = criterion(model.discriminator(fake, nothing), ones)
            loss.backward()
            adams[1].step()
            seen.update(d=(real_loss + fake_loss).item(), g=loss.item())  # the example prints them

    source, seen = batches(), dict[str, float]()
    model.train()
    return run


if __name__ == "__main__":
    main()
