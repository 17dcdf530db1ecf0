"""Frozen feature networks for metrics and perceptual losses; each has a name and a hash.

A number that was measured through a network depends on it, so the name, the hash and the resizer go into its protocol.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch

from pentimento.errors import ModelError, NotFoundError, suggest
from pentimento.features.convnets import VGG19
from pentimento.features.download import download, sha256_of
from pentimento.features.files import SUFFIXES, network_of, read_state
from pentimento.features.inception import Inception
from pentimento.features.network import FeatureNetwork, Features
from pentimento.features.onnx import OnnxNetwork
from pentimento.features.trained import TrainedNetwork
from pentimento.models import load, zoo_names
from pentimento.runtime import Progress, ProgressCallback, no_progress

__all__ = ["FeatureNetwork", "Features", "open_network"]

PUBLISHED = {  # name -> where it is fetched, and its SHA-256 or as much of it as its publisher says
    "inception": (
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    ),
    "vgg19": ("https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", "dcbb9e9d"),
}

_FILES = (".onnx", *SUFFIXES)
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8})\.[a-z]+$")  # as the files of PyTorch's hub are called


def open_network(
    where: str | Path, device: str | torch.device = "cpu", progress: ProgressCallback = no_progress
) -> FeatureNetwork:
    """A feature network, frozen, on `device`.

    Args:
        where: ``inception`` (96 MB) or ``vgg19`` (575 MB), fetched once and kept in the cache; a model of the zoo, such
            as ``features-cifar``, a run folder, a model folder or a hub id, if that model offers features or maps; a
            file of weights of Inception-v3, VGG-19, compressed VGG-19 or a CIFAR ResNet
            (.safetensors, .pth, .pt, .th, .ckpt); any network as .onnx, which stays on the CPU.
        device: to put it on.
        progress: told of a download.

    Raises:
        MissingExtraError: an ONNX file without onnxruntime.
        ModelError: the file is broken, has another hash than it should, or fits no known network; or the model has
            no features.
        NotFoundError: there is no such file, model or name; or it cannot be fetched.
    """
    network = _open(where, progress)
    return network.eval().requires_grad_(False).to(device)


def _open(where: str | Path, progress: ProgressCallback) -> FeatureNetwork:
    name = str(where)
    if name in PUBLISHED:
        return _open_published(name, progress)
    path = Path(where).expanduser()
    if path.is_file() or (path.suffix.lower() in _FILES and not path.exists()):
        network = _open_file(path)
        if isinstance(network, VGG19 | Inception) and network.name not in PUBLISHED:
            told = f"{path.name}: fits {network.kind}, but is not what was published of it; used as it is"
            progress(Progress("features", 0, message=told))
        return network
    try:
        return TrainedNetwork(load(path if path.exists() else name))
    except NotFoundError:
        if path.exists() or (name.count("/") == 1 and not path.parent.is_dir()):
            raise  # it speaks of the folder, or of the hub
        raise _not_found(path) from None


def _open_published(name: str, progress: ProgressCallback) -> FeatureNetwork:
    try:
        path = download(*PUBLISHED[name], progress)
    except NotFoundError as error:
        raise NotFoundError(f"{name}: {error}, or name a copy of it in its place") from error
    return _open_file(path)


def _open_file(path: Path) -> FeatureNetwork:
    suffix = path.suffix.lower()
    if suffix not in _FILES:
        raise ModelError(f"{path}: a file of weights ends in {', '.join(_FILES)}")
    try:
        digest = sha256_of(path)
    except FileNotFoundError:
        raise _not_found(path) from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    said = _HASH_IN_NAME.search(path.name)
    if said and not digest.startswith(said[1]):
        raise ModelError(
            f"{path}: its SHA-256 begins with {digest[:8]}, not with {said[1]} as its name says; get it anew"
        )
    network = OnnxNetwork(path) if suffix == ".onnx" else network_of(read_state(path), path)
    network.sha256 = digest
    network.name = next((n for n, (_, known) in PUBLISHED.items() if digest.startswith(known)), path.name)
    return network


def _not_found(path: Path) -> NotFoundError:
    """Suggests names and what lies beside `path`."""
    known = (*PUBLISHED, *zoo_names())
    siblings = path.parent.iterdir() if path.parent.is_dir() else []
    hint = suggest(str(path), [*known, *(str(p) for p in siblings if not p.name.startswith("."))])
    hint = hint if hint.startswith("did") else suggest("", known)
    return NotFoundError(f"features: {str(path)!r} is neither a file, nor a model, nor a network by name; {hint}")
