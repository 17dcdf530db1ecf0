"""Optimizers, learning-rate schedule, frozen parameters, transfer of weights, and the moving average that ships."""

from __future__ import annotations

import copy
import fnmatch
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from pentimento.errors import ModelError, RecipeError, suggest
from pentimento.model import Model, Player
from pentimento.models import compare_states
from pentimento.training.recipe import PlayerOptions

__all__ = ["EMA", "freeze", "learning_rate", "make_optimizer", "player_parameters", "resolve_players", "take_weights"]


def resolve_players(model: Model, options: Mapping[str, PlayerOptions]) -> list[tuple[Player, PlayerOptions]]:
    """The model's players with the recipe's overrides applied.

    Raises:
        RecipeError: options for a player that the model does not have.
    """
    players = {p.name: p for p in model.players()}
    for name in options:
        if name not in players:
            raise RecipeError(f"players.{name}: a {model.family!r} has no such player; {suggest(name, players)}")
    resolved = []
    for name, player in players.items():
        chosen = options.get(name, PlayerOptions())
        given = {k: getattr(chosen, k) for k in ("optimizer", "lr", "betas", "weight_decay", "updates_per_step")}
        resolved.append((replace(player, **{k: v for k, v in given.items() if v is not None}), chosen))
    return resolved


def player_parameters(model: Model, player: Player) -> list[nn.Parameter]:
    """The parameters that `player` trains: those of its modules that are not frozen."""
    found = [p for name in player.modules for p in getattr(model, name).parameters() if p.requires_grad]
    if not found:
        raise RecipeError(f"freeze: leaves the player {player.name!r} nothing to train")
    return found


def make_optimizer(player: Player, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer that `player` declares, in its fused form: one kernel instead of a dozen."""
    if player.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=player.lr, momentum=player.betas[0], weight_decay=player.weight_decay, fused=True
        )
    cls = torch.optim.AdamW if player.optimizer == "adamw" else torch.optim.Adam
    return cls(parameters, lr=player.lr, betas=player.betas, weight_decay=player.weight_decay, fused=True)


def learning_rate(player: Player, options: PlayerOptions, seen_kimg: float, total_kimg: float) -> float:
    """The rate after `seen_kimg`: linear warm-up, then constant or half a cosine down to zero."""
    rate = player.lr
    if options.warmup_kimg:
        rate *= min(1.0, seen_kimg / options.warmup_kimg)
    if options.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * min(1.0, seen_kimg / total_kimg)))
    return rate


def freeze(model: nn.Module, patterns: Iterable[str]) -> None:
    """Stop the parameters whose names match a pattern (shell wildcards) from training.

    Raises:
        RecipeError: a pattern that matches nothing.
    """
    names = dict(model.named_parameters())
    for pattern in patterns:
        matched = fnmatch.filter(names, pattern)
        if not matched:
            raise RecipeError(f"freeze: {pattern!r} matches no parameter; {suggest(pattern, names)}")
        for name in matched:
            names[name].requires_grad_(False)


def take_weights(model: Model, given: Mapping[str, Tensor]) -> tuple[int, list[str]]:
    """Start `model` from the weights of another: those whose names and shapes fit.

    Returns:
        How many were taken, and the names of the tensors of `model` that stay fresh.

    Raises:
        ModelError: nothing fits.
    """
    own = model.state_dict()
    fitting = {k: v for k, v in given.items() if k in own and own[k].shape == v.shape}
    if not fitting:
        raise ModelError(f"--init: no tensor fits this model: {'; '.join(compare_states(own, given)[:3])}")
    model.load_state_dict(fitting, strict=False)
    return len(fitting), [k for k in own if k not in fitting]


class EMA:
    """An exponential moving average of the weights that ship, as a model of its own that can sample.

    The half-life is counted in images and ramps up with what was seen, so that early noise is soon forgotten
    (Karras et al. 2022, ``training_loop.py``). Buffers are copied.
    """

    def __init__(self, model: Model, halflife_kimg: float, rampup: float) -> None:
        # Lent loss networks are shared, not copied.
        self.model = copy.deepcopy(model, {id(model.attached): model.attached}).eval().requires_grad_(False)
        shipped = self.model.shipped_modules()
        for name in [n for n, _ in self.model.named_children() if n not in shipped]:
            delattr(self.model, name)
        self.halflife_kimg, self.rampup = halflife_kimg, rampup

    @torch.no_grad()
    def update(self, model: Model, seen_kimg: float, step_kimg: float) -> None:
        """Move towards `model` by one step of `step_kimg` thousand images, after `seen_kimg` in all."""
        halflife = min(self.halflife_kimg, self.rampup * seen_kimg) if self.rampup else self.halflife_kimg
        keep = 0.5 ** (step_kimg / halflife) if halflife > 0 else 0.0
        own, new = dict(self.model.named_parameters()), dict(model.named_parameters())
        torch._foreach_lerp_(list(own.values()), [new[k] for k in own], 1 - keep)
        buffers = dict(model.named_buffers())
        for name, buffer in self.model.named_buffers():
            buffer.copy_(buffers[name])
