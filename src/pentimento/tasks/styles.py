"""Style vectors: what a stylizer knows of a painting, in files of their own, so that the painting is not needed again.

A file of styles is a safetensors file with one vector a name. A vector speaks to the weights that made it and to no
others, so the file says which those are. A model may come with such a file in its folder.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from pentimento import images, large
from pentimento.capabilities import Stylizes
from pentimento.errors import ImageError, InputError, ModelError, NotFoundError, suggest
from pentimento.images import Picture
from pentimento.model import Model
from pentimento.models import STYLES
from pentimento.runtime import atomic_write
from pentimento.tasks.pictures import model_name, placed
from pentimento.tasks.style_objective import LEAST_STYLE_PX, no_longer

__all__ = [
    "NamedStyle",
    "by_name",
    "encode",
    "find_style",
    "is_named",
    "known_styles",
    "read_styles",
    "shares",
    "style_picture",
    "write_styles",
]

_WEIGHTS_KEY = "weights_sha256"


@dataclass(frozen=True)
class NamedStyle:
    """A style that was asked for.

    Args:
        name: of the style, or of its file.
        vector: (1, S).
        files: it was read from; none for one that came with the model.
    """

    name: str
    vector: Tensor
    files: tuple[Path, ...] = ()


def is_named(text: str) -> bool:
    """Whether `text` means a style vector by name or from a file of styles, rather than a picture."""
    path = Path(text).expanduser()
    picture = path.exists() or path.suffix.lower() in images.READABLE_SUFFIXES
    return not picture or _file_and_name(text) is not None


def find_style(model: Model, folder: Path, text: str, style_px: int) -> NamedStyle:
    """The style meant by `text`.

    Args:
        model: a stylizer, loaded.
        folder: that it was loaded from.
        text: a picture; a file of styles, with ``:NAME`` where it has several; or the name of one of `known_styles`.
        style_px: the longer side that a picture is brought to before the model looks at it.

    Raises:
        ImageError: a picture that cannot be read, or is too small to have a look.
        ModelError: a file of styles of another model.
        NotFoundError: no such file or style.
    """
    found = _file_and_name(text)
    if found is not None:
        return _from_file(model, *found)
    if not is_named(text):
        path = Path(text).expanduser()
        return NamedStyle(path.stem, encode(model, style_picture(path, style_px)), (path,))
    styles = known_styles(model, folder)
    if text not in styles:
        hint = suggest(text, styles) if styles else f"{model_name(model)} comes without styles; give a picture"
        raise NotFoundError(f"style: {text!r} is neither a file nor a style of {model_name(model)}; {hint}")
    return NamedStyle(text, styles[text].to(model.device))


def style_picture(path: Path, longest_px: int | None = None) -> Tensor:
    """(1, 3, h, w) of a picture file, no longer than `longest_px`; transparent parts become white.

    Raises:
        ImageError: it cannot be read, is an animation, or is smaller than 16 px along a side.
        NotFoundError: no such file.
    """
    still = large.open_still(path, sys.maxsize)
    picture = (still if isinstance(still, Picture) else images.read(path)).to_tensor()[None].expand(-1, 3, -1, -1)
    height, width = picture.shape[2:]
    if min(height, width) < LEAST_STYLE_PX:
        raise ImageError(
            f"style: {path.name} is {width}x{height} px; at least {LEAST_STYLE_PX}x{LEAST_STYLE_PX} expected, a "
            "smaller picture has no look to take"
        )
    return picture if longest_px is None else no_longer(picture, longest_px)


def encode(model: Model, picture: Tensor) -> Tensor:
    """(1, S), the style vector of a picture (1, 3, h, w)."""
    with torch.no_grad():  # not in bf16: it moves the vector, and is done once
        return cast(Stylizes, model).encode_style(placed(picture, model)).float()


def shares(count: int, weights: Sequence[float] | None) -> tuple[float, ...]:
    """What each style counts, adding to 1; all alike where no weights are given.

    Raises:
        InputError: another number of weights than styles, a negative one, or none above zero.
    """
    given = [1.0] * count if weights is None else list(weights)
    if len(given) != count:
        raise InputError(f"--weights: one for each of the {count} styles expected, got {len(given)}")
    if not all(0 <= w < float("inf") for w in given) or not any(given):
        raise InputError(f"--weights: 0 or more, and one above 0, expected, got {', '.join(f'{w:g}' for w in given)}")
    return tuple(w / sum(given) for w in given)


def by_name(given: Sequence[str], names: Sequence[str], shares: Sequence[float]) -> dict[str, float]:
    """Share of each style, by its name, or as it was given where names repeat; what is given twice counts twice.

    >>> by_name(["a/red.png", "b/red.png", "dots"], ["red", "red", "dots"], [0.25, 0.25, 0.5])
    {'a/red.png': 0.25, 'b/red.png': 0.25, 'dots': 0.5}
    """
    counted: dict[str, float] = {}
    for key, share in zip(names if len(set(names)) == len(names) else given, shares, strict=True):
        counted[key] = counted.get(key, 0) + share
    return counted


# -------------------------------------------------------------------------------------------------- files
def known_styles(model: Model, folder: Path) -> dict[str, Tensor]:
    """The styles that lie in the folder of a model, (1, S) by name."""
    path = folder / STYLES
    return read_styles(path, model) if path.is_file() else {}


def read_styles(path: Path, model: Model) -> dict[str, Tensor]:
    """(1, S) by name.

    Raises:
        ModelError: the file is no such file, or of another model.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            made_by = (file.metadata() or {}).get(_WEIGHTS_KEY)
            vectors = {name: file.get_tensor(name).float().view(1, -1) for name in file.keys()}  # noqa: SIM118 - no Mapping
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: not a readable file of styles ({error})") from error
    ours = model.origin.weights_sha256 if model.origin else None
    if made_by != ours:
        raise ModelError(
            f"{path.name}: these styles were made by other weights than those of {model_name(model)}; name the model "
            "that made them, or make them anew from the paintings"
        )
    return vectors


def write_styles(path: Path, vectors: Mapping[str, Tensor], model: Model) -> None:
    """Save styles for `read_styles`, those of the file's that keep their names too.

    Raises:
        ModelError: the file has styles of another model, or `model` has not been saved.
    """
    if model.origin is None:
        raise ModelError("styles: a model that is not loaded from a folder cannot be named; save it first")
    there = read_styles(path, model) if path.exists() else {}
    kept = {name: v.detach().to("cpu", torch.float32).flatten() for name, v in {**there, **vectors}.items()}
    with atomic_write(path) as temporary:
        safetensors.torch.save_file(kept, temporary, {_WEIGHTS_KEY: model.origin.weights_sha256})


def _file_and_name(text: str) -> tuple[Path, str | None] | None:
    """The file of styles and the name in it, if `text` means one."""
    for where, name in ((text, None), (text.rpartition(":")[0], text.rpartition(":")[2])):
        path = Path(where).expanduser()
        if path.suffix == ".safetensors":
            return path, name
    return None


def _from_file(model: Model, path: Path, name: str | None) -> NamedStyle:
    if not path.is_file():
        raise NotFoundError(f"style: {path} does not exist")
    styles = read_styles(path, model)
    if name is None and len(styles) == 1:
        name = next(iter(styles))
    if name is None or name not in styles:
        asked = "has several styles" if name is None else f"has no style {name!r}"
        hint = f"write {path.name}:NAME; {suggest(name or '', styles)}"
        raise NotFoundError(f"style: {path.name} {asked}; {hint}")
    return NamedStyle(name, styles[name].to(model.device), (path,))
