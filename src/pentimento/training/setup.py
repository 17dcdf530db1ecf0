"""What a training begins with: Fabric on the recipe's device, a fresh model, the networks that its loss borrows."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import nn

from pentimento.errors import RecipeError
from pentimento.features import open_network
from pentimento.model import DataSpec, Model
from pentimento.models import build, family
from pentimento.runtime import ProgressCallback, choose_device, no_progress, seed_modules
from pentimento.training.recipe import Recipe

__all__ = ["make_fabric", "make_model", "make_networks"]


def make_fabric(recipe: Recipe) -> Fabric:
    """Lightning Fabric on the recipe's device and precision; DDP where ``torchrun`` started several processes."""
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)  # engines print nothing
    device = choose_device(recipe.training.device)
    # Precision is ours to choose, around the loss: Fabric would cast the inputs of all but the marked methods.
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        devices: Any = [device.index] if device.type == "cuda" and device.index is not None else 1
        fabric = Fabric(accelerator=device.type, devices=devices, precision="32-true")
    else:
        local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        nodes = int(os.environ["WORLD_SIZE"]) // local
        # A player's backward leaves the others' parameters without gradients: DDP has to look which ones.
        strategy = DDPStrategy(find_unused_parameters=True)
        fabric = Fabric(accelerator=device.type, devices=local, num_nodes=nodes, strategy=strategy, precision="32-true")
    fabric.launch()
    if recipe.training.batch_size % (fabric.world_size * recipe.training.accumulate):
        raise RecipeError(
            f"training.batch_size: {recipe.training.batch_size} cannot be split evenly over {fabric.world_size} "
            f"processes x {recipe.training.accumulate} micro-batches"
        )
    return fabric


def make_model(recipe: Recipe, spec: DataSpec) -> Model:
    """A fresh model for data of `spec`, its weights a function of the seed.

    Where the recipe does not say whether the model is conditional, it is if the data has labels.
    """
    config = {"spec": spec, **recipe.model}
    if "conditional" not in config and "conditional" in family(recipe.family).__init__.__annotations__:
        config["conditional"] = bool(spec.classes)
    seed_modules(recipe.training.seed, "init")
    return build(recipe.family, config)


def make_networks(recipe: Recipe, progress: ProgressCallback = no_progress) -> Mapping[str, nn.Module]:
    """The frozen networks of ``[networks]``, by the name under which the model asks for them.

    Raises:
        NotFoundError, ModelError: see `open_network`.
    """
    return {name: open_network(where, progress=progress) for name, where in recipe.networks.items()}
