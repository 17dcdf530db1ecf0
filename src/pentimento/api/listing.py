"""The verbs `models` and `inspect`: what there is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pentimento.errors import NotFoundError, suggest

__all__ = ["ModelsResult", "inspect", "models"]


@dataclass(frozen=True)
class ModelsResult:
    """What there is, or all about one of them."""

    families: dict[str, str] = field(default_factory=dict)
    recipes: dict[str, str] = field(default_factory=dict)
    zoo: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


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
        return ModelsResult(families, recipes, {key: _about_shipped(find(key)) for key in zoo_names()})
    told = _family_details(name) if name in MODELS else {}
    if name in recipe_names():
        from pentimento.training.recipe import find_recipe

        told |= {"recipe": name, "text": find_recipe(name).read_text()}
    if told and name not in zoo_names():
        return ModelsResult(details=told)
    try:
        folder = find(name)
    except NotFoundError as error:
        known = {*MODELS, *recipe_names(), *zoo_names()}
        raise NotFoundError(
            f"{name}: no family, recipe, zoo model or folder of that name; {suggest(name, known)}"
        ) from error
    card = folder / CARD
    details = {**told, "model": str(folder), "config": (folder / CONFIG).read_text()}
    return ModelsResult(details={**details, "card": card.read_text() if card.is_file() else ""})


def inspect(image: Path) -> dict[str, Any]:
    """Tell what a picture file is, and, where Pentimento made it, how.

    Args:
        image: The file.
    """
    from pentimento import images

    return images.describe(Path(image))


# --------------------------------------------------------------------------------------------------- parts
def _recipe_title(name: str) -> str:
    import tomllib

    from pentimento.training.recipe import find_recipe

    return str(tomllib.loads(find_recipe(name).read_text()).get("title", ""))


def _about_shipped(folder: Path) -> str:
    """The title of a model's card, and the licence of its training data."""
    from pentimento.models import CARD, read_licence

    lines = (folder / CARD).read_text(encoding="utf-8").splitlines()
    title = next((line.removeprefix("# ") for line in lines if line.startswith("# ")), "")
    return f"{title}; data: {read_licence(folder)}"


def _family_details(name: str) -> dict[str, Any]:
    from docstring_parser import parse

    from pentimento.models import MODELS, config_schema

    described = parse(MODELS[name].__doc__ or "")
    fields = config_schema(name).model_fields
    options = {
        p.arg_name: f"{fields[p.arg_name].default!r}: {p.description}" for p in described.params if p.arg_name != "spec"
    }
    return {"family": name, "about": described.short_description, "options and defaults": options}
