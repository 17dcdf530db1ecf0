"""A file of weights -> the network it belongs to, known by the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pentimento.errors import ModelError
from pentimento.features.convnets import VGG19, CifarResNet, CompressedVGG
from pentimento.features.inception import Inception
from pentimento.features.network import PublishedNetwork
from pentimento.models import compare_states, read_weights

__all__ = ["PUBLISHED", "SUFFIXES", "network_of", "read_state"]

SUFFIXES = (".safetensors", ".pth", ".pt", ".th", ".ckpt")
PUBLISHED: tuple[type[PublishedNetwork], ...] = (Inception, VGG19, CompressedVGG, CifarResNet)
_NESTS = ("state_dict", "model")  # what checkpoints call their tensors
_COUNTER = "num_batches_tracked"  # of batch normalisation; only training reads it, and old files lack it


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, out of the nests and the ``module.`` that checkpoints put around them.

    Raises:
        ModelError: the file is truncated, holds other things than tensors, or no tensors at all. No pickle is executed.
    """
    found: Any
    if path.suffix.lower() == ".safetensors":
        found = read_weights(path)
    else:
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever its own unpickler makes of a broken or a hostile file
            raise ModelError(
                f"{path}: not a readable file of tensors: it is truncated, or holds Python objects, which are never "
                "executed; save the network's state_dict(), best as .safetensors"
            ) from error
    for nest in _NESTS:
        if isinstance(found, Mapping) and isinstance(found.get(nest), Mapping):
            found = found[nest]
    state = {str(k): v for k, v in found.items() if isinstance(v, Tensor)} if isinstance(found, Mapping) else {}
    if not state:
        raise ModelError(f"{path}: holds no tensors by name; save the network's state_dict()")
    return {k.removeprefix("module."): v for k, v in state.items() if not k.endswith(_COUNTER)}


def network_of(state: Mapping[str, Tensor], path: Path) -> PublishedNetwork:
    """The network of `PUBLISHED` that `state`, read from `path`, fits without a tensor too few or too many.

    Raises:
        ModelError: none of them; says which comes nearest and what does not fit. Or numbers that are not finite.
    """
    nearest: tuple[float, type[PublishedNetwork], list[str]] | None = None
    for kind in PUBLISHED:
        given = _used(kind, state)
        with torch.device("meta"):  # shapes alone
            wanted = {k: v for k, v in kind.like(state).state_dict().items() if not k.endswith(_COUNTER)}
        problems = compare_states(wanted, given)
        if not problems:
            with torch.random.fork_rng(devices=[]):  # the weights it starts with are not the caller's randomness
                network = kind.like(state)
            network.load_state_dict(given)
            broken = [name for name, values in given.items() if not values.isfinite().all()]
            if broken:
                raise ModelError(f"{path}: {broken[0]} holds numbers that are not finite; get the file anew")
            return network
        shared = len(wanted.keys() & given.keys()) / len(wanted.keys() | given.keys())
        if shared > (nearest[0] if nearest else 0):
            nearest = shared, kind, problems
    raise ModelError(f"{path}: {_verdict(nearest)}; export any other network to ONNX and give the .onnx file")


def _used(kind: type[PublishedNetwork], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if not re.fullmatch(kind.unused, k)}


def _verdict(nearest: tuple[float, type[PublishedNetwork], list[str]] | None) -> str:
    """What to say of a file that fits nothing."""
    if nearest is None:
        return f"the weights of no known network ({', '.join(kind.kind for kind in PUBLISHED)})"
    _, kind, problems = nearest
    shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
    return f"nearest to {kind.kind}, but {shown}"
