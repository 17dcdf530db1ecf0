"""Pictures of coloured shapes drawn from a causal graph that is known, with its noise kept apart.

The graph, with independent noise U... ~ Uniform[0, 1) and N... ~ Normal(0, 1) for each picture::

    shape ───► size_px          background (exogenous)
      ├──────► hue              x, y       (exogenous)
      └──────► background_hue   with strength `entangle`

    shape          = SHAPES[s],  s = floor(4 U_shape)
    size_px        = clip(MEAN_SIZE_PX[s] + 1.5 N_size, 6, 20)
    hue            = (c_s + 0.1 N_hue) mod 1,                  c_s = (2 s + 1) / 8
    background_hue = (entangle (c_s + 1/2) + (1 - 0.9 entangle) U_background_hue) mod 1
    background     = BACKGROUNDS[floor(4 U_background)]
    x, y           = (1 + U_x) / 3, (1 + U_y) / 3

with s numbering circle, square, triangle, star from 0 and MEAN_SIZE_PX = 9, 11, 13, 15. So shape confounds hue,
size and (unless entangle is 0) the colour of the background: they are correlated, and no one of them causes another.
A counterfactual is the same noise under an intervention: ``factors_from_noise(noise, do={"shape": "star"})``
also moves size and hues, ``do={"hue": 0.5}`` moves nothing else.
"""

from __future__ import annotations

import colorsys
import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pentimento.data.items import Item
from pentimento.errors import DataError, suggest
from pentimento.runtime import derive_seed

__all__ = [
    "BACKGROUNDS",
    "SHAPES",
    "ShapeFactors",
    "ShapeNoise",
    "ShapesSource",
    "draw_noise",
    "factors_from_noise",
    "render",
    "sample_factors",
    "shape_mask",
]

SHAPES = ("circle", "square", "triangle", "star")
BACKGROUNDS = ("plain", "stripes", "checks", "gradient")
MEAN_SIZE_PX = (9.0, 11.0, 13.0, 15.0)
SIZE_RANGE_PX = (6.0, 20.0)
ENTANGLE = 0.5  # of the source called "shapes"
CANVAS_PX = 64  # side of the picture that size_px refers to
_SAMPLES = 4  # per pixel and axis
_VERSION = 1  # of the equations and the renderer; a change of either makes other pictures
_RANGES = {"hue": (0.0, 1.0), "size_px": SIZE_RANGE_PX, "x": (0.0, 1.0), "y": (0.0, 1.0), "background_hue": (0.0, 1.0)}
_CHOICES = {"shape": SHAPES, "background": BACKGROUNDS}


@dataclass(frozen=True)
class ShapeNoise:
    """The exogenous noise of one picture: `hue` and `size` standard normal, the others uniform in [0, 1)."""

    shape: float
    size: float
    hue: float
    background: float
    background_hue: float
    x: float
    y: float


@dataclass(frozen=True)
class ShapeFactors:
    """All that decides one picture.

    Args:
        shape: one of `SHAPES`.
        hue: of the shape, in [0, 1]; 0 and 1 are red.
        size_px: radius of the circle around the shape in a picture 64 px wide, in [6, 20].
        x: centre from the left edge, as a fraction of the side.
        y: centre from the top edge, as a fraction of the side.
        background: one of `BACKGROUNDS`.
        background_hue: in [0, 1].
    """

    shape: str
    hue: float
    size_px: float
    x: float
    y: float
    background: str
    background_hue: float


def draw_noise(index: int, seed: int) -> ShapeNoise:
    """The noise of picture `index` under `seed`; it does not depend on how many pictures there are."""
    stream = np.random.Generator(np.random.Philox(key=derive_seed(seed, "shapes"), counter=[0, 0, index, 0]))
    u = stream.random(5)
    size, hue = stream.standard_normal(2)
    return ShapeNoise(float(u[0]), float(size), float(hue), *(float(v) for v in u[1:]))


def factors_from_noise(
    noise: ShapeNoise, do: Mapping[str, float | str] | None = None, *, entangle: float = ENTANGLE
) -> ShapeFactors:
    """The structural equations of the module's docstring, solved for `noise`.

    Args:
        noise: from `draw_noise`.
        do: factors set by intervention, by name. What depends on them follows; their own causes are cut off.
        entangle: how strongly the shape decides the hue of the background, in [0, 1].

    Raises:
        DataError: an unknown factor in `do`, or a value out of its range.
    """
    if not 0 <= entangle <= 1:
        raise DataError(f"entangle: 0 to 1 expected, got {entangle}")
    forced: dict[str, Any] = {name: _checked(name, value) for name, value in (do or {}).items()}
    shape = forced.get("shape", SHAPES[int(4 * noise.shape)])
    s = SHAPES.index(shape)
    centre = (2 * s + 1) / 8
    solved: dict[str, Any] = {
        "shape": shape,
        "hue": (centre + 0.1 * noise.hue) % 1.0,
        "size_px": min(max(MEAN_SIZE_PX[s] + 1.5 * noise.size, SIZE_RANGE_PX[0]), SIZE_RANGE_PX[1]),
        "x": (1 + noise.x) / 3,
        "y": (1 + noise.y) / 3,
        "background": BACKGROUNDS[int(4 * noise.background)],
        "background_hue": (entangle * (centre + 0.5) + (1 - 0.9 * entangle) * noise.background_hue) % 1.0,
    }
    return ShapeFactors(**{**solved, **forced})


def sample_factors(index: int, seed: int, *, entangle: float = ENTANGLE) -> ShapeFactors:
    """The factors of picture `index` under `seed`."""
    return factors_from_noise(draw_noise(index, seed), entangle=entangle)


def render(factors: ShapeFactors, size_px: int = CANVAS_PX) -> npt.NDArray[np.uint8]:
    """Draw `factors`: (size_px, size_px, 3) uint8, smoothed by 4x4 samples a pixel.

    The shape is bright and saturated, the background dark and dull, so that the shape shows at any pair of hues.
    """
    inside = _inside(factors, size_px)
    light = _pattern(factors.background, size_px)
    # A colour is linear in three coverages, so those are averaged over the samples instead of the colours.
    shape = _average(inside)[..., None]  # (size_px, size_px, 1)
    upper = _average(light * ~inside)[..., None]
    lower = 1 - shape - upper
    colours = [
        np.asarray(colorsys.hsv_to_rgb(*hsv), dtype=np.float32)
        for hsv in ((factors.hue, 0.85, 1.0), (factors.background_hue, 0.6, 0.55), (factors.background_hue, 0.6, 0.3))
    ]
    picture = shape * colours[0] + upper * colours[1] + lower * colours[2]
    pixels: npt.NDArray[np.uint8] = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    return pixels


def shape_mask(factors: ShapeFactors, size_px: int = CANVAS_PX) -> npt.NDArray[np.float32]:
    """How much of each pixel the shape covers: (size_px, size_px) float32 in [0, 1]."""
    return _average(_inside(factors, size_px))


class ShapesSource:
    """The first `count` pictures under `seed`, each with all of its factors as attributes and its shape as label."""

    def __init__(self, count: int = 2000, seed: int = 0) -> None:
        self.count = count
        self.seed = seed
        self.name = f"shapes:{count}:{seed}"

    def content_hash(self) -> str:
        """Of the equations' version, the count and the seed: they decide every pixel."""
        return f"{derive_seed('shapes', _VERSION, ENTANGLE, CANVAS_PX, self.count, self.seed):016x}"

    def items(self) -> Iterator[Item]:
        """The pictures, 64x64 RGB."""
        for index in range(self.count):
            factors = sample_factors(index, self.seed)
            yield Item(f"{index:07d}", render(factors), factors.shape, dataclasses.asdict(factors))


def _checked(name: str, value: float | str) -> float | str:
    """`value`, if it is allowed for the factor `name`."""
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise DataError(f"do: {name} = {value!r}; {suggest(str(value), _CHOICES[name])}")
        return value
    if name not in _RANGES:
        raise DataError(f"do: unknown factor {name!r}; {suggest(name, (*_CHOICES, *_RANGES))}")
    low, high = _RANGES[name]
    if isinstance(value, str) or not low <= value <= high:
        raise DataError(f"do: {name} takes {low:g} to {high:g}, got {value!r}")
    return float(value)


@functools.lru_cache(maxsize=4)
def _grid(size_px: int) -> npt.NDArray[np.float32]:
    """Sample positions along one axis, in pixels of the 64-px canvas."""
    count = size_px * _SAMPLES
    return ((np.arange(count, dtype=np.float32) + 0.5) * (CANVAS_PX / count)).astype(np.float32)


def _average(samples: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Mean over the samples of each pixel: (4 S, 4 S) -> (S, S)."""
    side = len(samples) // _SAMPLES
    rows = samples.reshape(side, _SAMPLES, side * _SAMPLES).sum(1, dtype=np.float32)
    average: npt.NDArray[np.float32] = rows.reshape(side, side, _SAMPLES).sum(2) / np.float32(_SAMPLES**2)
    return average


def _inside(factors: ShapeFactors, size_px: int) -> npt.NDArray[np.bool_]:
    """(4 S, 4 S) whether each sample lies within the shape."""
    grid = _grid(size_px)
    x = grid[None, :] - np.float32(factors.x * CANVAS_PX)
    y = grid[:, None] - np.float32(factors.y * CANVAS_PX)
    radius = factors.size_px
    if factors.shape == "circle":
        return np.asarray(x * x + y * y < radius * radius)
    # Regular polygons are where all edges face away; a pentagram is where at least four of its five lines do.
    edges, first, distance, needed = {
        "square": (4, 0.0, math.cos(math.pi / 4), 4),
        "triangle": (3, math.pi / 2, math.cos(math.pi / 3), 3),
        "star": (5, math.pi / 2, math.cos(2 * math.pi / 5), 4),
    }[factors.shape]
    count = np.zeros((len(grid), len(grid)), dtype=np.uint8)
    for k in range(edges):
        angle = first + 2 * math.pi * k / edges
        count += np.float32(math.cos(angle)) * x + np.float32(math.sin(angle)) * y < distance * radius
    return count >= needed


@functools.lru_cache(maxsize=16)
def _pattern(background: str, size_px: int) -> npt.NDArray[np.float32]:
    """(4 S, 4 S) how light the background is, in [0, 1]."""
    grid = _grid(size_px)
    x, y = np.broadcast_arrays(grid[None, :], grid[:, None])
    if background == "plain":
        light = np.full(x.shape, 0.5)
    elif background == "gradient":
        light = y / CANVAS_PX
    elif background == "stripes":
        light = (x // 8) % 2
    else:
        light = (x // 8 + y // 8) % 2
    return light.astype(np.float32)
