"""New pictures from a model that samples: one by one, as a grid, along a path between two latents."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pentimento import images
from pentimento.capabilities import Samples
from pentimento.data.fit import recolour
from pentimento.errors import ExistsError, ImageError, ModelError
from pentimento.model import Condition, DataSpec, Model
from pentimento.provenance import Provenance
from pentimento.runtime import Draws, Progress, ProgressCallback, atomic_folder, no_progress
from pentimento.sampling import SAMPLE_CHUNK, Draw, default_condition, sample_chunks

__all__ = ["generate_folder", "generate_grid", "interpolate", "make_condition", "redraw", "slerp"]


def make_condition(
    model: Model, count: int, seed: int, label: str | None = None, attributes: Mapping[str, float | str] | None = None
) -> Condition:
    """The condition of `count` samples: what was asked, and `default_condition` for the rest.

    Raises:
        ModelError: an unknown label or attribute, or one that this model was not told in training.
    """
    spec = model.spec
    condition = default_condition(model, range(count), seed)
    if label is not None:
        if not model.config.get("conditional"):
            raise ModelError(f"label: this {model.family!r} was trained without labels, so it cannot be asked for one")
        condition = replace(condition, labels=torch.full((count,), spec.class_index(label)))
    known = tuple(model.config.get("attributes", ()))
    for name, value in (attributes or {}).items():
        attribute = spec.attribute(name)
        if name not in known:
            raise ModelError(
                f"attribute: this model was trained without {name!r}; it knows {', '.join(known) or 'none'}"
            )
        number = _attribute_value(spec, name, value)
        assert condition.attributes is not None
        condition.attributes[:, spec.attributes.index(attribute)] = number
    return condition


def _attribute_value(spec: DataSpec, name: str, value: float | str) -> float:
    attribute = spec.attribute(name)
    if attribute.kind == "categorical":
        if str(value) not in attribute.values:
            raise ModelError(f"attribute {name}: one of {', '.join(attribute.values)} expected, got {value!r}")
        return float(attribute.values.index(str(value)))
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ModelError(
            f"attribute {name}: a number from {attribute.low:g} to {attribute.high:g} expected, got {value!r}"
        )
    return number


def redraw(model: Any, image: Path, mask: Path) -> Draw:
    """Draws a picture whose part under the mask (white) is new, by a `model` that `Regenerates`.

    Raises:
        ImageError: a file that cannot be read, a picture of another size or channels than the model's, a mask of
            another size than the picture, or without white.
    """
    channels, height, width = model.spec.image_shape
    picture, covered = (images.read(path).to_tensor() for path in (image, mask))
    if picture.shape[1:] != (height, width):
        raise ImageError(f"--image: {width}x{height} expected, as this model draws, got {_size(picture)}")
    if covered.shape[1:] != picture.shape[1:]:
        raise ImageError(f"--mask: the size of the picture, {_size(picture)}, expected, got {_size(covered)}")
    covered = (recolour(covered[None], 1)[0] > 0.5).float()
    if not covered.any():
        raise ImageError(f"--mask: {mask} has no white, so nothing would be drawn anew")
    picture = recolour(picture[None], channels)

    def draw(noise: Mapping[str, Tensor], condition: Condition) -> Tensor:
        given = (t.to(model.device).expand(SAMPLE_CHUNK, -1, -1, -1) for t in (picture, covered[None]))
        made: Tensor = model.regenerate(*given, noise, condition)
        return made

    return draw


def _size(picture: Tensor) -> str:
    return f"{picture.shape[2]}x{picture.shape[1]}"


def generate_grid(
    model: Model,
    condition: Condition,
    count: int,
    seed: int,
    truncation: float | None = None,
    draw: Draw | None = None,
) -> Tensor:
    """`count` samples on one sheet, (C, H, W)."""
    return images.grid(sample_chunks(model, condition, range(count), seed, truncation, draw))


def generate_folder(
    model: Model,
    condition: Condition,
    count: int,
    seed: int,
    folder: Path,
    provenance: Callable[[int], Provenance],
    *,
    truncation: float | None = None,
    draw: Draw | None = None,
    overwrite: bool = False,
    progress: ProgressCallback = no_progress,
) -> list[Path]:
    """`count` samples as PNG files with a ``metadata.csv``, so that the folder is itself a data set.

    The folder appears whole or not at all.

    Args:
        provenance: the record of sample number i.
        draw: see `pentimento.sampling.sample_chunks`.
        overwrite: replace a folder that an earlier call wrote.

    Raises:
        ExistsError: `folder` exists, and `overwrite` was not asked for or it is not such a folder.
    """
    if folder.exists() and not overwrite:
        raise ExistsError(f"{folder}: exists; choose another --out, or --overwrite")
    if folder.exists():
        _check_own(folder)
    names = []
    with atomic_folder(folder, replace=overwrite) as temporary:
        for begin in range(0, count, SAMPLE_CHUNK):
            rows = range(begin, min(begin + SAMPLE_CHUNK, count))
            pictures = sample_chunks(model, condition[list(rows)], rows, seed, truncation, draw)
            for i, picture in zip(rows, pictures, strict=True):
                names.append(f"{i:06d}.png")
                images.write(temporary / names[-1], picture, provenance=provenance(i))
            progress(Progress("generate", rows.stop, count))
        with (temporary / "metadata.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows(_metadata(model, condition, names))
    return [folder / name for name in names]


def _check_own(folder: Path) -> None:
    """Refuse to replace a folder that holds anything that no call of `generate_folder` wrote.

    Raises:
        ExistsError: it does.
    """
    for path in folder.iterdir():
        numbered = path.suffix == ".png" and path.stem.isdigit()
        if path.name != "metadata.csv" and not (numbered and images.describe(path).get("provenance")):
            raise ExistsError(f"{folder}: {path.name} was not generated, so --overwrite will not touch this folder")


def _metadata(model: Model, condition: Condition, names: list[str]) -> Iterator[list[str]]:
    """Rows of the Hugging Face image-folder convention, with what the model was told."""
    spec, labelled = model.spec, bool(model.config.get("conditional"))
    told = [spec.attribute(name) for name in model.config.get("attributes", ())]
    own = () if condition.mechanisms is None else model.mechanisms
    yield ["file_name", *(["label"] if labelled else []), *(a.name for a in told), *own]
    for i, name in enumerate(names):
        row = [name]
        if labelled and condition.labels is not None:
            row.append(spec.classes[int(condition.labels[i])])
        for attribute in told:
            assert condition.attributes is not None
            value = float(condition.attributes[i, spec.attributes.index(attribute)])
            row.append(attribute.values[int(value)] if attribute.kind == "categorical" else f"{value:.6g}")
        if condition.mechanisms is not None:
            row += [spec.classes[index] for index in condition.mechanisms[i].tolist()]
        yield row


def slerp(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """Spherical interpolation from `a` to `b`, (N, D) each, at `share` (N,) of the way (Shoemake 1985; White 2016).

    A straight line between Gaussian latents passes through lengths that the model never saw; the arc does not.
    """
    angle = torch.arccos(torch.nn.functional.cosine_similarity(a, b).clamp(-1 + 1e-6, 1 - 1e-6))[:, None]
    t = share[:, None]
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)


@torch.no_grad()
def interpolate(
    model: Model, condition: Condition, rows: int, steps: int, seed: int, truncation: float | None = None
) -> Tensor:
    """A sheet with a path a row, from sample 2r to sample 2r + 1 of the seed in `steps` pictures; (C, H, W).

    Row r keeps condition r all along, so that only the latent changes.

    Args:
        condition: of `rows` samples.
    """
    if steps < 2:
        raise ModelError(f"interpolate: 2 steps or more expected, got {steps}")
    assert isinstance(model, Samples)
    noise = model.draw_noise(Draws(seed, range(2 * rows), device=model.device), truncation)
    if "latent" not in noise:
        raise ModelError(f"interpolate: a {model.family!r} has no latent to walk through; gan and vae have")
    share = torch.linspace(0, 1, steps, device=model.device).repeat(rows)  # (rows * steps,)
    path = {
        k: slerp(v[0::2].repeat_interleave(steps, 0), v[1::2].repeat_interleave(steps, 0), share)
        for k, v in noise.items()
    }
    told = condition.to(model.device)[torch.arange(rows, device=model.device).repeat_interleave(steps)]
    parts = range(0, rows * steps, SAMPLE_CHUNK)
    made = [
        model.sample({k: v[i : i + SAMPLE_CHUNK] for k, v in path.items()}, told[i : i + SAMPLE_CHUNK]) for i in parts
    ]
    return images.grid(torch.cat(made).float().clamp(0, 1).cpu(), columns=steps)
