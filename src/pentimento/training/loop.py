"""The one training loop: players move in turn, each on batches of its own, until enough images were seen.

It knows a model's players and its ``loss``, nothing else. A step is a pure function of the state before it and of
(seed, step), so a run that is killed and resumed ends bit-identical to one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from pentimento.data.batches import Batches, Prefetcher
from pentimento.data.degrade import degrade
from pentimento.errors import InterruptedRunError, ModelError, TrainingError
from pentimento.layers import Decoder, Encoder
from pentimento.model import Batch, Model, Player
from pentimento.models import compare_states, save
from pentimento.runtime import (
    Draws,
    ProgressCallback,
    autocast,
    derive_seed,
    no_progress,
    seed_modules,
)
from pentimento.training import optim
from pentimento.training.card import model_card
from pentimento.training.logs import Curves, Pace
from pentimento.training.recipe import PlayerOptions, Recipe
from pentimento.training.run_folder import RunFolder
from pentimento.training.setup import make_fabric
from pentimento.training.stopping import EarlyStopping, StopSignal

__all__ = ["Outcome", "Trainer", "Watch"]

# The averaged model, the training data, the figures so far -> new figures, and a warning or "".
Watch = Callable[[Model, Batches, Mapping[str, float]], tuple[dict[str, float], str]]


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Args:
        step: steps done.
        kimg: thousands of images drawn.
        stopped_early: whether validation ended it.
        figures: last logged figures, validation's among them.
    """

    step: int
    kimg: float
    stopped_early: bool
    figures: dict[str, float]


@dataclass
class Mover:
    """A player with what moves it."""

    player: Player
    options: PlayerOptions
    parameters: list[nn.Parameter]
    optimizer: Any
    sums: dict[str, Tensor] = field(default_factory=dict)  # of the figures since the last log
    counts: dict[str, int] = field(default_factory=dict)

    def note(self, figures: Mapping[str, Tensor]) -> None:
        """Add figures to the sums."""
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """Mean figures since the last call of `clear`, by ``player/figure``."""
        return {f"{self.player.name}/{k}": float(v) / self.counts[k] for k, v in self.sums.items()}

    def clear(self) -> None:
        """Forget the sums."""
        self.sums.clear()
        self.counts.clear()


class Trainer:
    """Trains one model in one run folder.

    Args:
        recipe: what to do.
        model: fresh, or with weights taken from another.
        data: training batches.
        validation: held-out batches, or None.
        run: locked, and begun before `train`.
        progress: called a few times a second.
        networks: frozen loss networks, by the name under which the model asks for them.
        watch: measures the model every ``evaluate.every_kimg``, on the lead process.
        fabric: from `make_fabric`; made from the recipe where left out.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: Model,
        data: Batches,
        validation: Batches | None,
        run: RunFolder,
        progress: ProgressCallback = no_progress,
        networks: Mapping[str, nn.Module] | None = None,
        watch: Watch | None = None,
        fabric: Fabric | None = None,
    ) -> None:
        self.recipe, self.options, self.run = recipe, recipe.training, run
        self.model, self.data, self.validation, self.watch = model, data, validation, watch
        self.fabric = fabric or make_fabric(recipe)
        self.lead = self.fabric.is_global_zero
        self.pace = Pace(progress if self.lead else no_progress, self.options.total_kimg)
        if self.options.validate_every_kimg and validation is None:
            message = "so few pictures that none falls into the share held out; going on without validation"
            self.pace.show(0, {}, message=message)
        optim.freeze(model, self.options.freeze)
        model.to(self.fabric.device)
        if self.options.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name, network in (networks or {}).items():
            model.attach(name, network.to(self.fabric.device))
        model.check(self._placed(data.draw(0, slice(0, 1)), Draws(self.options.seed, [0], device=self.fabric.device)))
        self.movers = self._make_movers()
        self.ticks_per_step = max(m.player.updates_per_step for m in self.movers)
        self.step_kimg = self.options.batch_size * self.ticks_per_step / 1000
        self.total_steps = math.ceil(round(self.options.total_kimg / self.step_kimg, 6))
        self.ema = optim.EMA(model, self.options.ema_halflife_kimg, self.options.ema_rampup)
        self.stopping = EarlyStopping(self.options.early_stopping_patience)
        self.step, self.saved_step, self.figures = 0, -1, dict[str, float]()
        self.wrapped = self._wrap()

    # --------------------------------------------------------------------------------------------- set up
    def _make_movers(self) -> list[Mover]:
        movers = []
        for player, options in optim.resolve_players(self.model, self.recipe.players):
            parameters = optim.player_parameters(self.model, player)
            optimizer = self.fabric.setup_optimizers(optim.make_optimizer(player, parameters))
            movers.append(Mover(player, options, parameters, optimizer))
        return movers

    def _wrap(self) -> Any:
        for mover in self.movers if self.options.compile else ():
            for name in mover.player.modules if mover.player.compiles else ():
                for part in getattr(self.model, name).modules():
                    if isinstance(part, Encoder):
                        part.compile()
                    elif isinstance(part, Decoder):  # runs stage by stage, so it is compiled by stages
                        for stage in part.stages.values():
                            stage.compile()
        wrapped = self.fabric.setup_module(self.model, move_to_device=False)
        wrapped.mark_forward_method("loss")
        return wrapped

    def _autocast(self) -> torch.autocast:
        return autocast(self.fabric.device, self.options.precision)

    # ------------------------------------------------------------------------------------------- the loop
    def train(self) -> Outcome:
        """Train to the end, or until stopped; the run folder then holds the model and the state.

        Raises:
            InterruptedRunError: SIGINT or SIGTERM; the step was finished and saved.
            TrainingError: a loss that is not finite.
            StorageError: the disk is full; the checkpoint before is whole.
        """
        self.model.train()
        saved_at = time.monotonic()
        finished = self.step >= self.total_steps or self.stopping.patience_ended
        if finished:
            self.save()  # a kill may have come between the last checkpoint and the model
        with ExitStack() as stack:
            curves = stack.enter_context(Curves(self.run, self.step)) if self.lead else None
            feed = stack.enter_context(Prefetcher(self._draw_parts, ahead=2))
            signal = stack.enter_context(StopSignal())
            while not finished:
                for update in range(self.ticks_per_step):
                    tick = self.step * self.ticks_per_step + update
                    parts = feed.get(tick)
                    for mover in self.movers:  # who moves less often moves last
                        if update >= self.ticks_per_step - mover.player.updates_per_step:
                            self._move(mover, tick, parts)
                self.step += 1
                self.ema.update(self.model, self.seen_kimg, self.step_kimg)
                finished = self.step >= self.total_steps
                if self.validation and self._due(self.options.validate_every_kimg, or_if=finished):
                    self._validate(self.validation)
                if self.watch and self.lead and self._due(self.recipe.evaluate.every_kimg, or_if=finished):
                    self._watch(self.watch)
                overdue = time.monotonic() - saved_at > self.options.checkpoint_every_seconds
                patience_ended, interrupted, overdue = self._agree(
                    self.stopping.patience_ended, signal.received, overdue
                )
                finished |= patience_ended
                self._log(curves, feed, finished or interrupted)
                if finished or interrupted or overdue:
                    self.save()
                    saved_at = time.monotonic()
                if interrupted and not finished:
                    raise InterruptedRunError(
                        f"stopped by {signal.name} after step {self.step} of {self.total_steps}, saved; "
                        f"go on with: pentimento train {self.run.path} --resume"
                    )
        return Outcome(self.step, self.seen_kimg, self.step < self.total_steps, self.figures | self.stopping.figures)

    @property
    def seen_kimg(self) -> float:
        """Thousands of images drawn so far."""
        return self.step * self.step_kimg

    def _due(self, every_kimg: float, or_if: bool) -> bool:
        """Whether this step passed a multiple of `every_kimg`, or `or_if`; never, where that is 0."""
        if not every_kimg or or_if:
            return bool(every_kimg)
        # Rounded, for a sum of steps may miss its multiple by the last bit.
        now, before = (round(step * self.step_kimg / every_kimg, 6) for step in (self.step, self.step - 1))
        return math.floor(now) > math.floor(before)

    def _draw_parts(self, tick: int) -> list[tuple[Batch, Draws]]:
        """This process's micro-batches of the global batch number `tick`, each with its random draws."""
        processes, parts = self.fabric.world_size, self.options.accumulate
        size = self.options.batch_size // (processes * parts)
        drawn = []
        for part in range(parts):
            start = (part * processes + self.fabric.global_rank) * size
            indices = range(tick * self.options.batch_size + start, tick * self.options.batch_size + start + size)
            seen_kimg = tick * self.options.batch_size / 1000
            draws = Draws(self.options.seed, indices, tick, seen_kimg=seen_kimg, device=self.fabric.device)
            drawn.append((self.data.draw(tick, slice(start, start + size)), draws))
        return drawn

    def _move(self, mover: Mover, tick: int, parts: Sequence[tuple[Batch, Draws]]) -> None:
        """One update of one player: all others stand still."""
        name = mover.player.name
        moving, often = {id(p) for p in mover.parameters}, mover.player.updates_per_step
        step, turn = divmod(tick, self.ticks_per_step)
        made = step * often + turn - (self.ticks_per_step - often)  # updates of this player before
        for parameter in (p for m in self.movers for p in m.parameters):
            parameter.requires_grad_(id(parameter) in moving)
        mover.optimizer.zero_grad(set_to_none=True)
        for part, (batch, draws) in enumerate(parts):
            seed_modules(self.options.seed, tick, name, part, self.fabric.global_rank)
            with self.fabric.no_backward_sync(self.wrapped, enabled=part < len(parts) - 1):
                with self._autocast():
                    figures = self.wrapped.loss(name, self._placed(batch, draws), replace(draws, update=made))
                self.fabric.backward(figures["loss"] / len(parts))
            figures = {k: self.fabric.all_reduce(v.detach(), reduce_op="mean") for k, v in figures.items()}
            if not torch.isfinite(figures["loss"]):
                raise TrainingError(self._not_finite(name, float(figures["loss"])))
            mover.note(figures)
        if mover.options.clip_norm:
            torch.nn.utils.clip_grad_norm_(mover.parameters, mover.options.clip_norm)
        seen_kimg = tick * self.options.batch_size / 1000
        rate = optim.learning_rate(mover.player, mover.options, seen_kimg, self.options.total_kimg)
        for group in mover.optimizer.param_groups:
            group["lr"] = rate
        mover.optimizer.step()

    def _placed(self, batch: Batch, draws: Draws) -> Batch:
        """On the device, and damaged as the recipe says; pairs are damaged already."""
        batch = batch.to(self.fabric.device)
        if self.recipe.degrade and batch.targets is None:
            done = degrade(batch.images, self.recipe.degrade, draws, self.recipe.told)
            damage = {"targets": done.targets, "masks": done.masks, "strengths": done.strengths}
            batch = replace(batch, images=done.images, **damage)
        if self.options.channels_last:
            images = batch.images.contiguous(memory_format=torch.channels_last)
            targets = batch.targets
            if targets is not None:  # a network that sees them would compute in strides throughout
                targets = targets.contiguous(memory_format=torch.channels_last)
            batch = replace(batch, images=images, targets=targets)
        return batch

    def _not_finite(self, player: str, value: float) -> str:
        good = f"step {self.saved_step} in {self.run.path}" if self.saved_step >= 0 else "none yet"
        return (
            f"step {self.step + 1}: the loss of the player {player!r} is {value}; last good checkpoint: {good}; "
            f"a lower players.{player}.lr, warmup_kimg or clip_norm may help"
        )

    # ------------------------------------------------------------------------------------ watch and decide
    @torch.no_grad()
    def _validate(self, held_out: Batches) -> None:
        """Take the figures of the averaged weights on held-out data."""
        seed, sums, count = derive_seed(self.options.seed, "validation"), dict[str, float](), 0
        for batch in held_out.in_order(self.options.batch_size):
            draws = Draws(seed, range(count, count + len(batch)), device=self.fabric.device)
            with self._autocast():
                figures = self.ema.model.validate(self._placed(batch, draws), draws)
            for name, value in figures.items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(batch)
            count += len(batch)
        found = {f"validation/{name}": value / count for name, value in sums.items()}
        self.figures |= found
        self.stopping.update(found[f"validation/{self.model.monitor}"], found, self.ema.model.state_dict())

    def _watch(self, watch: Watch) -> None:
        """Measure the averaged weights; a warning goes to whoever watches the progress."""
        figures, warning = watch(self.ema.model, self.data, self.figures)
        self.figures |= figures
        if warning:
            self.pace.show(self.seen_kimg, self.figures, message=warning, force=True)

    def _held_out(self) -> Batch | None:
        """A few held-out pictures, damaged alike every time."""
        if self.validation is None:
            return None
        batch = next(self.validation.in_order(16))
        return self._placed(batch, Draws(self.options.seed, range(len(batch)), device=self.fabric.device))

    def _agree(self, *flags: bool) -> list[bool]:
        """What any process says, so that all act alike."""
        if self.fabric.world_size == 1:
            return list(flags)
        said = torch.tensor(flags, dtype=torch.float32, device=self.fabric.device)
        return [bool(f) for f in self.fabric.all_reduce(said, reduce_op="max")]

    def _log(self, curves: Curves | None, feed: Prefetcher[list[tuple[Batch, Draws]]], last: bool) -> None:
        self.pace.count(self.options.batch_size * self.ticks_per_step)
        if curves is None:
            return
        if self._due(self.options.log_every_kimg, or_if=last):
            for mover in self.movers:
                self.figures |= mover.means()
                mover.clear()
            rate, share = self.pace.rate(), feed.waited_seconds / max(self.pace.seconds(), 1e-9)
            row = {"kimg": self.seen_kimg, **self.figures, "images_per_second": rate, "data_wait_share": share}
            curves.figures(self.step, row)
            self.pace.restart()
            feed.waited_seconds = 0.0
        if self._due(self.options.sample_every_kimg, or_if=last):
            curves.pictures(self.step, self.ema.model, self.options.sample_count, self.options.seed, self._held_out())
        self.pace.show(self.seen_kimg, self.figures, force=last)

    # ------------------------------------------------------------------------------------- save and resume
    def save(self) -> None:
        """Write the checkpoint and the model folder, by the lead process.

        Raises:
            TrainingError: the weights are no longer finite: what was saved before stays.
            StorageError: the disk is full; what was saved before stays.
        """
        weights = self.model.state_dict()
        if not all(torch.isfinite(v).all() for v in weights.values() if v.is_floating_point()):
            raise TrainingError(self._not_finite(self.movers[-1].player.name, math.nan))
        if self.lead:
            self.run.save_state(
                {
                    "step": self.step,
                    "model": weights,
                    "ema": self.ema.model.state_dict(),
                    "optimizers": {m.player.name: m.optimizer.state_dict() for m in self.movers},
                    "stopping": self.stopping.state(),
                    "figures": self.figures,
                }
            )
            shipped = self.stopping.weights or self.ema.model.state_dict()
            figures = self.figures | self.stopping.figures
            card = model_card(self.model, self.recipe, self.run.about(), self.seen_kimg, figures)
            save(self.model, self.run.model, card, shipped)
        self.saved_step = self.step
        self.fabric.barrier()

    def restore(self) -> None:
        """Go back to the checkpoint of the run folder.

        Raises:
            ModelError: it belongs to another model or another version.
        """
        state = self.run.load_state()
        for wanted, key in ((self.model, "model"), (self.ema.model, "ema")):
            problems = compare_states(wanted.state_dict(), state[key])
            if problems:
                raise ModelError(f"{self.run.path}: the checkpoint does not fit the recipe: {'; '.join(problems[:3])}")
            wanted.load_state_dict(state[key])
        for mover in self.movers:
            mover.optimizer.load_state_dict(state["optimizers"][mover.player.name])
        self.stopping.restore(state["stopping"])
        self.step = self.saved_step = state["step"]
        self.figures = dict(state["figures"])
