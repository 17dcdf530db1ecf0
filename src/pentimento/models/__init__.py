"""The families, how one is built from a config, and how a trained one is saved and loaded.

A model folder holds ``model.safetensors``, ``config.json`` and a card (``README.md``): the Hugging Face hub layout.
Loading is strict: every tensor must be there, of the right shape, and nothing besides. No pickle is ever read.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import pydantic
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from pentimento import __version__
from pentimento.errors import ModelError, NotFoundError, RecipeError, suggest
from pentimento.model import DataSpec, Model, Origin
from pentimento.models.cgn import CGN
from pentimento.models.classifier import Classifier
from pentimento.models.cnn import CNN
from pentimento.models.cyclegan import CycleGAN
from pentimento.models.detector import Detector
from pentimento.models.gan import GAN
from pentimento.models.perceptual import Perceptual
from pentimento.models.pix2pix import Pix2Pix
from pentimento.models.recurrent import Recurrent
from pentimento.models.restorer import Restorer
from pentimento.models.stylizer import Stylizer
from pentimento.models.vae import VAE
from pentimento.runtime import atomic_write
from pentimento.validation import describe_problems

__all__ = [
    "CARD",
    "CONFIG",
    "MODELS",
    "STYLES",
    "WEIGHTS",
    "build",
    "check_config",
    "compare_states",
    "config_schema",
    "family",
    "find",
    "load",
    "read_licence",
    "read_weights",
    "save",
    "zoo_names",
]

MODELS: dict[str, type[Model]] = {
    cls.family: cls
    for cls in (
        *(GAN, VAE, CNN, CGN, Classifier, Perceptual),
        *(Restorer, Recurrent, Detector),
        *(Stylizer, Pix2Pix, CycleGAN),
    )
}

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
STYLES = "styles.safetensors"  # that a stylizer may come with, see `pentimento.tasks.styles`
ATTRIBUTES = ("scm.json", "scm.safetensors")  # that a model may come with, see `pentimento.studies.scm`
FORMAT = 1  # of config.json; raised when an older reader could misread it
ZOO = Path(__file__).parent.parent / "zoo"


# ----------------------------------------------------------------------------------------------- building
def family(name: str) -> type[Model]:
    """The class called `name`.

    Raises:
        ModelError: there is no such family.
    """
    if name not in MODELS:
        raise ModelError(f"family: unknown name {name!r}; {suggest(name, MODELS)}")
    return MODELS[name]


@cache
def config_schema(name: str) -> type[pydantic.BaseModel]:
    """A pydantic model of a family's keywords: their types, ranges and defaults. Unknown keys are refused."""
    cls = family(name)
    hints = get_type_hints(cls.__init__, include_extras=True)
    fields: dict[str, Any] = {}
    for key, parameter in inspect.signature(cls.__init__).parameters.items():
        if key != "self":
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            fields[key] = (hints[key], default)
    settings = pydantic.ConfigDict(extra="forbid", frozen=True)
    return pydantic.create_model(f"{cls.__name__}Config", __config__=settings, **fields)


def check_config(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with its values in their proper types, keys not given left out.

    Raises:
        ModelError: an unknown family.
        RecipeError: unknown keys, wrong types, values out of range: all of them at once.
    """
    schema = config_schema(name)
    try:
        checked = schema.model_validate(dict(config))
    except pydantic.ValidationError as error:
        raise RecipeError(describe_problems(error, schema, where="model")) from error
    return {key: getattr(checked, key) for key in type(checked).model_fields if key in config}


def build(name: str, config: Mapping[str, Any]) -> Model:
    """A fresh model of the family `name`; raises as `check_config` does."""
    return family(name)(**check_config(name, config))


# ------------------------------------------------------------------------------------------------- saving
def save(model: Model, folder: Path, card: str, weights: Mapping[str, Tensor] | None = None) -> None:
    """Write a model folder; each file appears whole or not at all.

    Args:
        model: whose family and config are written, defaults too: those of a later version may be others.
        folder: made where missing.
        card: Markdown for a person.
        weights: by name, e.g. the EMA's; default those of `model` that ship.
    """
    state = model.shipped_state() if weights is None else weights
    tensors = {k: v.detach().cpu().contiguous() for k, v in state.items()}
    config = config_schema(model.family).model_validate(dict(model.config)).model_dump(mode="json")
    document = {"format": FORMAT, "pentimento": __version__, "family": model.family, "config": config}
    with atomic_write(folder / CONFIG) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n")
    with atomic_write(folder / CARD) as temporary:
        temporary.write_text(card)
    with atomic_write(folder / WEIGHTS) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors, metadata={"format": "pt"}))


# ------------------------------------------------------------------------------------------------ loading
def zoo_names() -> list[str]:
    """Names of the models that ship with the package."""
    return sorted(p.parent.name for p in ZOO.glob(f"*/{CONFIG}"))


def find(where: str | Path) -> Path:
    """The model folder meant by a run folder, a model folder, a zoo name or a hub id (``owner/name``).

    Raises:
        NotFoundError: none of these.
    """
    path = Path(where)
    for folder in (path, path / "model"):
        if (folder / CONFIG).is_file():
            return folder
    if path.exists():
        raise NotFoundError(f"{where}: no model here; a run folder or a folder with {CONFIG} and {WEIGHTS} is expected")
    name = str(where)
    if name in zoo_names():
        return ZOO / name
    if name.startswith("hf:") or (name.count("/") == 1 and not name.startswith((".", "/", "~"))):
        return _from_hub(name.removeprefix("hf:"))
    raise NotFoundError(f"{name}: neither a folder nor a model of the zoo; {suggest(name, zoo_names())}")


def _from_hub(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise NotFoundError(
            f'{name}: no such folder; to look for it on the hub, install: pip install "pentimento[hub]"'
        ) from None
    try:
        return Path(snapshot_download(name, allow_patterns=[WEIGHTS, CONFIG, CARD, STYLES, *ATTRIBUTES]))
    except Exception as error:  # the hub client raises a family of its own, httpx's and OSError
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise NotFoundError(f"{name}: no such folder, and the hub did not give it: {reason}") from error


def load(where: str | Path, device: str | torch.device = "cpu") -> Model:
    """A trained model, in evaluation mode, with what did not ship (a discriminator) removed.

    Args:
        where: see `find`.
        device: to put it on.

    Raises:
        NotFoundError: no model there.
        ModelError: another format version, an unknown family, a broken file, missing, surplus or misshapen tensors.
    """
    folder = find(where)
    document = _read_config(folder / CONFIG)
    try:
        with torch.random.fork_rng(devices=[]):  # the weights a model starts with are not the caller's randomness
            model = build(document["family"], document["config"])
    except (RecipeError, RuntimeError) as error:  # RuntimeError: sizes that no memory holds
        raise ModelError(f"{folder / CONFIG}: {error}") from error
    shipped = model.shipped_modules()
    for name in [n for n, _ in model.named_children() if n not in shipped]:
        delattr(model, name)
    weights = read_weights(folder / WEIGHTS)
    problems = compare_states(model.state_dict(), weights)
    if problems:
        shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise ModelError(f"{folder / WEIGHTS} does not fit {CONFIG}: {shown}")
    model.load_state_dict(weights)
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    named = folder.resolve().parent.name if folder.name == "model" else folder.resolve().name
    model.origin = Origin(named, digest, read_licence(folder))
    return model.eval().requires_grad_(False).to(device)


def read_licence(folder: Path) -> str:
    """That of the training data, as the card of a model folder has it; empty where it says nothing."""
    card = folder / CARD
    lines = card.read_text(encoding="utf-8").splitlines() if card.is_file() else []
    start = "| licence of the training data |"
    return next((line.removeprefix(start).strip(" |") for line in lines if line.startswith(start)), "")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
        version = document["format"]
        if version == FORMAT:
            document["config"]["spec"] = DataSpec.model_validate(document["config"]["spec"])
            return {"family": str(document["family"]), "config": document["config"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path}: not a model config ({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from error
    raise ModelError(
        f"{path}: format {version!r}, but pentimento {__version__} reads {FORMAT}; install the version that wrote it"
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        ModelError: the file is missing, truncated, or something else (a pickle, say).
    """
    try:
        return safetensors.torch.load(path.read_bytes())
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(
            f"{path}: not a readable safetensors file ({error}); it is truncated or something else"
        ) from error


def compare_states(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """What keeps `given` from being loaded as `wanted`, a phrase each; empty when nothing does."""
    problems = [f"{k} is missing" for k in wanted if k not in given]
    problems += [f"{k} is not part of the model" for k in given if k not in wanted]
    for name in wanted.keys() & given.keys():
        if wanted[name].shape != given[name].shape:
            problems.append(f"{name} is {tuple(given[name].shape)}, not {tuple(wanted[name].shape)}")
    return sorted(problems)
