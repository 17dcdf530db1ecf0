"""One function a verb: the single place where options, defaults and help live.

The command line, the REST service and Python callers all come through here. Importing this module does not import
torch; each function imports what it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from pentimento import __version__
from pentimento.errors import ExistsError, InputError, NotFoundError, suggest
from pentimento.runtime import ProgressCallback, no_progress

__all__ = ["GenerateResult", "ModelsResult", "TrainResult", "generate", "inspect", "models", "train"]

Callback = Annotated[ProgressCallback, Parameter(parse=False)]


@dataclass(frozen=True)
class TrainResult:
    """A finished training.

    Args:
        run: the run folder; its ``model`` folder is what other verbs take.
        steps: done.
        kimg: thousands of images seen.
        stopped_early: whether validation ended it.
        figures: the last ones logged; over folds, their means.
        deviations: standard deviations over folds, where there were folds.
    """

    run: Path
    steps: int
    kimg: float
    stopped_early: bool
    figures: dict[str, float]
    deviations: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class GenerateResult:
    """What was generated.

    Args:
        out: the picture or the folder.
        files: all pictures written.
        count: samples.
        seed: that makes them again.
        weights_sha256: of the model.
    """

    out: Path
    files: list[Path]
    count: int
    seed: int
    weights_sha256: str


@dataclass(frozen=True)
class ModelsResult:
    """What there is, or all about one of them."""

    families: dict[str, str] = field(default_factory=dict)
    recipes: dict[str, str] = field(default_factory=dict)
    zoo: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


def train(
    recipe: str,
    *,
    data: str | None = None,
    out: Path | None = None,
    overrides: Annotated[Sequence[str], Parameter(name="--set", negative="")] = (),
    resume: Annotated[bool, Parameter(negative="")] = False,
    init: str | None = None,
    folds: int | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    skip_broken: Annotated[bool, Parameter(negative="")] = False,
    progress: Callback = no_progress,
) -> TrainResult:
    """Train a model on your own pictures.

    Ctrl-C finishes the step, saves, and says how to go on. The model in the run folder is whole at any moment.

    Args:
        recipe: A shipped recipe (see `pentimento models`), a TOML file, or, with --resume, a run folder.
        data: An image folder (subfolders become labels), a zip or tar of one, MNIST-style idx files, a saved
            Hugging Face data set or a hub id, or the built-in digits and shapes.
        out: The run folder; runs/RECIPE-DATA where left out.
        overrides: KEY=VALUE over the recipe, e.g. training.total_kimg=500; repeatable.
        resume: Go on with the run folder, bit for bit as if it had never stopped.
        init: A model or run to start from; its tensors are taken where names and shapes fit.
        folds: Cross-validate: train so many times, each time holding out another part.
        overwrite: Replace a run that stands at OUT.
        skip_broken: Go on without pictures that cannot be read, however many.
    """
    from pentimento.training import recipe as recipes
    from pentimento.training import session

    if resume:
        if init or folds or overwrite:
            raise InputError("--resume: goes on with what the run folder says; leave out --init, --folds, --overwrite")
        run = Path(out or recipe)
        outcome = session.resume(run, overrides, where=data, progress=progress)
        return TrainResult(run, outcome.step, outcome.kimg, outcome.stopped_early, outcome.figures)
    if data is None:
        raise InputError("--data: missing; give a folder of pictures, or a built-in set: digits, shapes")
    if (Path(recipe) / "run.json").is_file():
        raise InputError(f"{recipe}: is a run folder; go on with it by --resume, or name a recipe to begin another")
    data = str(data)
    path = recipes.find_recipe(recipe)
    chosen = recipes.load_recipe(path, overrides)
    named = Path(data).resolve() if Path(data).exists() else Path(data)
    run = Path(out or Path("runs") / f"{path.stem}-{named.stem.replace(':', '-')}")
    options: dict[str, Any] = {"init": init, "overwrite": overwrite, "skip_broken": skip_broken, "progress": progress}
    if folds is not None:
        crossed = session.cross_validate(chosen, data, run, folds, **options)
        return TrainResult(run, 0, chosen.training.total_kimg * folds, False, crossed.mean, crossed.deviation)
    outcome = session.start(chosen, data, run, **options)
    return TrainResult(run, outcome.step, outcome.kimg, outcome.stopped_early, outcome.figures)


def generate(
    model: str,
    *,
    out: Path,
    count: int = 64,
    label: str | None = None,
    attributes: Annotated[Sequence[str], Parameter(name="--attribute", negative="")] = (),
    seed: int = 0,
    truncation: float | None = None,
    interpolate: int | None = None,
    device: str = "auto",
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    progress: Callback = no_progress,
) -> GenerateResult:
    """Make new pictures with a trained model.

    The same seed gives the same pictures at any count. Every file says what made it: see `pentimento inspect`.

    Args:
        model: A run folder, a model folder, a model of the zoo, or a hub id.
        out: A picture (.png, .jpg, .webp, .tif) for a contact sheet; a folder for single pictures with a metadata.csv.
        count: How many; rows, with --interpolate.
        label: The class to draw, where the model knows classes; all in turn where left out.
        attributes: NAME=VALUE for an attribute that the model was told; repeatable.
        seed: Of all randomness.
        truncation: Draw latents within so many standard deviations: tamer pictures, less variety.
        interpolate: Walk from one latent to another in so many pictures, a row for each pair.
        device: auto, cpu, cuda, cuda:N or mps.
        overwrite: Replace what stands at OUT.
    """
    from pentimento import images
    from pentimento.model import Samples, require
    from pentimento.models import MODELS, load
    from pentimento.runtime import choose_device
    from pentimento.tasks import generate as task

    out = Path(out)
    is_sheet = out.suffix.lower() in images.WRITABLE_SUFFIXES
    _check_wishes(out, is_sheet, count, seed, interpolate, overwrite)
    loaded = load(model, choose_device(device))
    require(loaded, Samples, "generate", MODELS)
    asked = _attribute_options(attributes)
    condition = task.make_condition(loaded, count, seed, label, asked)
    options = {
        "count": count,
        "label": label,
        "attributes": asked,
        "truncation": truncation,
        "interpolate": interpolate,
    }
    record = _recorder("generate", loaded, seed, options)
    if is_sheet:
        sheet = (
            task.interpolate(loaded, condition, count, interpolate, seed, truncation)
            if interpolate is not None
            else task.generate_grid(loaded, condition, count, seed, truncation)
        )
        images.write(out, sheet, provenance=record(None))
        files = [out]
    else:
        files = task.generate_folder(
            loaded, condition, count, seed, out, record, truncation=truncation, overwrite=overwrite, progress=progress
        )
    assert loaded.origin is not None
    return GenerateResult(out, files, count, seed, loaded.origin.weights_sha256)


def models(name: str | None = None) -> ModelsResult:
    """List families, recipes and the models of the zoo, or tell all about one.

    Args:
        name: A family, a recipe, a model of the zoo, or a run or model folder.
    """
    from pentimento.models import CARD, CONFIG, MODELS, find, zoo_names
    from pentimento.training.recipe import recipe_names

    if name is None:
        families = {key: (cls.__doc__ or "").splitlines()[0] for key, cls in MODELS.items()}
        recipes = {key: _recipe_title(key) for key in recipe_names()}
        return ModelsResult(families, recipes, {key: _card_title(find(key) / CARD) for key in zoo_names()})
    if name in MODELS:
        return ModelsResult(details=_family_details(name))
    if name in recipe_names():
        from pentimento.training.recipe import find_recipe

        return ModelsResult(details={"recipe": name, "text": find_recipe(name).read_text()})
    try:
        folder = find(name)
    except NotFoundError as error:
        known = {*MODELS, *recipe_names(), *zoo_names()}
        raise NotFoundError(
            f"{name}: no family, recipe, zoo model or folder of that name; {suggest(name, known)}"
        ) from error
    card = folder / CARD
    details = {"model": str(folder), "config": (folder / CONFIG).read_text()}
    return ModelsResult(details={**details, "card": card.read_text() if card.is_file() else ""})


def inspect(image: Path) -> dict[str, Any]:
    """Tell what a picture file is, and, where Pentimento made it, how.

    Args:
        image: The file.
    """
    from pentimento import images

    return images.describe(Path(image))


# --------------------------------------------------------------------------------------------------- parts
def _check_wishes(out: Path, is_sheet: bool, count: int, seed: int, interpolate: int | None, overwrite: bool) -> None:
    from pentimento import images

    if count < 1:
        raise InputError(f"--count: 1 or more expected, got {count}")
    if seed < 0:
        raise InputError(f"--seed: 0 or more expected, got {seed}")
    if out.suffix.lower() in images.READABLE_SUFFIXES and not is_sheet:
        raise InputError(f"--out: cannot write {out.suffix}; one of {', '.join(images.WRITABLE_SUFFIXES)} expected")
    if interpolate is not None and not is_sheet:
        raise InputError("--interpolate: makes one sheet; give --out a picture's name, e.g. path.png")
    if out.exists() and not overwrite:
        raise ExistsError(f"{out}: exists; choose another --out, or --overwrite")
    if out.exists() and is_sheet != out.is_file():
        kind = "file" if out.is_file() else "folder"
        raise ExistsError(f"{out}: is a {kind}, and --overwrite only replaces its own kind")


def _attribute_options(given: Sequence[str]) -> dict[str, float | str]:
    asked: dict[str, float | str] = {}
    for option in given:
        name, equals, value = option.partition("=")
        if not equals:
            raise InputError(f"--attribute: NAME=VALUE expected, got {option!r}")
        asked[name.strip()] = value.strip()
    return asked


def _recorder(verb: str, model: Any, seed: int, options: dict[str, Any]) -> Any:
    """A function from a sample's index (None for a sheet) to its provenance record."""
    from pentimento.provenance import Provenance

    told = {k: v for k, v in options.items() if v not in (None, {}, ())}

    def record(index: int | None) -> Provenance:
        return Provenance(
            verb=verb,
            model=model.origin.name,
            weights_sha256=model.origin.weights_sha256,
            seed=seed,
            options=told if index is None else {**told, "index": index},
            package_version=__version__,
            source_type="trainedAlgorithmicMedia",
        )

    return record


def _recipe_title(name: str) -> str:
    import tomllib

    from pentimento.training.recipe import find_recipe

    return str(tomllib.loads(find_recipe(name).read_text()).get("title", ""))


def _card_title(card: Path) -> str:
    lines = card.read_text().splitlines() if card.is_file() else []
    return next((line.removeprefix("# ") for line in lines if line.startswith("# ")), "")


def _family_details(name: str) -> dict[str, Any]:
    from docstring_parser import parse

    from pentimento.models import MODELS, config_schema

    described = parse(MODELS[name].__doc__ or "")
    fields = config_schema(name).model_fields
    options = {
        p.arg_name: f"{fields[p.arg_name].default!r}: {p.description}" for p in described.params if p.arg_name != "spec"
    }
    return {"family": name, "about": described.short_description, "options and defaults": options}
