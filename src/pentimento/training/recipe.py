"""Recipes: TOML read into frozen options. Importing this module does not import torch.

Durations are in thousands of images (``_kimg``) drawn from the data, never in minutes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
import tomli_w
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pentimento.data.augment import Augment
from pentimento.data.degrade.steps import Step
from pentimento.errors import NotFoundError, RecipeError, suggest
from pentimento.runtime import Precision
from pentimento.validation import describe_problems

__all__ = [
    "DataOptions",
    "EvaluateOptions",
    "PlayerOptions",
    "Recipe",
    "SecondOptions",
    "TrainingOptions",
    "dump",
    "find_recipe",
    "load_recipe",
    "parse_recipe",
    "recipe_names",
]

RECIPES = Path(__file__).parent.parent / "recipes"

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Fit = Literal["crop", "pad", "resize", "patch"]  # scale and crop | scale and pad | stretch | crop unscaled


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataOptions(_Options):
    """``[data]``: how pictures are read, packed and brought to size."""

    size_px: tuple[Count, Count] | None = None  # (height, width); left out: the size all pictures share
    channels: Literal["auto", 1, 3] = "auto"  # auto: 3 if any picture is in colour
    fit: Fit = "crop"  # how a picture comes to the size
    background: tuple[Share, Share, Share] = (1.0, 1.0, 1.0)  # behind transparency and padding
    max_side_px: Count = 512  # longer sides are scaled down when packing
    bits: Literal[8, 16] = 8  # per channel, packed
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.05  # share held out, by hash of the file
    split: str = "train"  # of data that comes in splits


class SecondOptions(_Options):
    """``[second]``: what is done to the second set of pictures, of a family that learns from two."""

    fit: Fit | None = None  # left out: as the first set
    augment: Augment | None = None  # left out: as the first set


class TrainingOptions(_Options):
    """``[training]``: how long, how many at a time, and how it is watched."""

    total_kimg: Positive
    batch_size: Count = 64  # over all processes and micro-batches
    accumulate: Count = 1  # micro-batches a batch is split into, to save memory
    seed: Annotated[int, Field(ge=0)] = 0
    device: str = "auto"  # auto | cpu | cuda | cuda:N | mps
    precision: Precision = "auto"  # auto: bf16 where the processor computes in it
    channels_last: bool = True
    compile: bool = False  # torch.compile, for players that do not differentiate twice
    ema_halflife_kimg: NonNegative = 2.0  # of the weights that ship; 0 ships the raw ones
    ema_rampup: NonNegative = 0.05  # the half-life is at most this share of what was seen so far
    log_every_kimg: Positive = 1.0
    sample_every_kimg: Positive = 20.0
    sample_count: Count = 64
    checkpoint_every_seconds: Positive = 300.0
    validate_every_kimg: NonNegative = 0.0  # 0: never
    early_stopping_patience: Annotated[int, Field(ge=0)] = 0  # validations without a better one; 0: never stop early
    freeze: tuple[str, ...] = ()  # patterns of parameter names, e.g. "encoder.*"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.batch_size % self.accumulate:
            raise ValueError(f"accumulate must divide batch_size = {self.batch_size}")
        if self.early_stopping_patience and not self.validate_every_kimg:
            raise ValueError("early_stopping_patience needs validate_every_kimg above 0")
        return self


class PlayerOptions(_Options):
    """``[players.NAME]``: what differs from the player's own defaults, and its learning-rate schedule."""

    optimizer: Literal["adam", "adamw", "sgd"] | None = None
    lr: Positive | None = None
    betas: tuple[Momentum, Momentum] | None = None
    weight_decay: NonNegative | None = None
    updates_per_step: Count | None = None
    schedule: Literal["constant", "cosine"] = "constant"  # cosine falls to zero at the end
    warmup_kimg: NonNegative = 0.0  # the rate grows linearly from zero
    clip_norm: NonNegative = 0.0  # of the player's whole gradient; 0: no clipping


class EvaluateOptions(_Options):
    """``[evaluate]``: what is measured while training, to see a collapse when it happens."""

    every_kimg: NonNegative = 0.0  # 0: never
    count: Annotated[int, Field(ge=50)] = 500  # samples, and as many real pictures
    features: str = "features-cifar"  # the network they are compared in: a name or a path


class Recipe(_Options):
    """All that decides a training but the pictures."""

    family: str
    title: str = ""
    licence: str = ""  # of the training data, for the model card
    edges: tuple[str, ...] = ()  # "thickness -> image": what acts on what; makes a structural causal model of it
    model: dict[str, Any] = Field(default_factory=dict)  # the family's constructor keywords
    data: DataOptions = DataOptions()
    augment: Augment = Augment()
    second: SecondOptions = SecondOptions()
    degrade: tuple[Step, ...] = ()  # one after another: what a restorer learns to undo
    training: TrainingOptions
    players: dict[str, PlayerOptions] = Field(default_factory=dict)
    evaluate: EvaluateOptions = EvaluateOptions()
    networks: dict[str, str] = Field(default_factory=dict)  # that the loss borrows: its name for one -> name or path

    @property
    def told(self) -> Any:
        """The kind of damage whose strength the model is told; None: it is told nothing."""
        told = self.model.get("told", "nothing")
        return None if told == "nothing" else told


# ----------------------------------------------------------------------------------------------- reading
def recipe_names() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def find_recipe(where: str) -> Path:
    """The file meant by a shipped name or a path.

    Raises:
        NotFoundError: neither.
    """
    if where in recipe_names():
        return RECIPES / f"{where}.toml"
    path = Path(where)
    if path.is_file():
        return path
    raise NotFoundError(f"recipe: no shipped recipe and no file is called {where!r}; {suggest(where, recipe_names())}")


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, with ``key=value`` overrides.

    Raises:
        RecipeError: not TOML, or anything `parse_recipe` refuses.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not a TOML file: {error}") from error
    for override in overrides:
        _override(document, override)
    return parse_recipe(document)


def _override(document: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set: key=value expected, got {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    *parents, last = key.strip().split(".")
    for parent in parents:
        document = document.setdefault(parent, {})
        if not isinstance(document, dict):
            raise RecipeError(f"--set: {parent!r} in {key!r} is a value, not a table")
    document[last] = value


def parse_recipe(document: Mapping[str, Any]) -> Recipe:
    """A checked recipe.

    Raises:
        RecipeError: with every unknown key, wrong type and value out of range, the model's keywords among them.
    """
    problems: list[str] = []
    recipe = None
    try:
        recipe = Recipe.model_validate(document)
    except pydantic.ValidationError as error:
        problems.append(describe_problems(error, Recipe))
    problems += _model_problems(document.get("family"), document.get("model", {}))
    if problems or recipe is None:
        raise RecipeError("; ".join(problems))
    return recipe


def _model_problems(family: Any, config: Any) -> list[str]:
    from pentimento.errors import InputError
    from pentimento.model import DataSpec
    from pentimento.models import check_config

    if not isinstance(family, str) or not isinstance(config, dict):
        return []  # reported by the schema of the recipe
    if "spec" in config:
        return ["model.spec: comes from the data, not from a recipe"]
    try:
        check_config(family, {**config, "spec": DataSpec(channels=1, height_px=1, width_px=1)})
    except InputError as error:
        return [str(error)]
    return []


def dump(recipe: Recipe) -> str:
    """`recipe` as TOML, every option spelled out."""
    return tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True))
