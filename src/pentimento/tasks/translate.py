"""Bring picture files into another look with a model that translates; see `pentimento.tasks.pictures` for the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from torch import Tensor

from pentimento.capabilities import Translates
from pentimento.data.fit import recolour
from pentimento.errors import ModelError
from pentimento.images import Picture
from pentimento.model import Condition, Model
from pentimento.runtime import ProgressCallback, no_progress
from pentimento.tasks import pictures
from pentimento.tasks.files import Job
from pentimento.tasks.generate import make_condition
from pentimento.tasks.pictures import Treatment
from pentimento.tasks.tiles import Window

__all__ = ["Wishes", "translate_file", "translated"]


@dataclass(frozen=True)
class Wishes:
    """What the user asks for.

    Args:
        reverse: from the second set of pictures to the first.
        label: the look, by the name of its class.
        attributes: name -> value, that say the look.
        blend: the share of the change that is made, in [0, 1].
        memory_bytes: beside the picture.
    """

    reverse: bool = False
    label: str | None = None
    attributes: Mapping[str, float | str] = field(default_factory=dict)
    blend: float = 1.0
    memory_bytes: int = 2**31

    def condition(self, model: Model) -> Condition:
        """What `model` is told of one picture; all it was told in training must be said.

        Raises:
            ModelError: something it must be told is missing, unknown, or nothing that it was told in training; or it
                translates one way only.
        """
        name = pictures.model_name(model)
        if self.reverse and not cast(Translates, model).reversible:
            raise ModelError(
                f"--reverse: {name} translates one way only; train one with A/ and B/ exchanged, or a cyclegan"
            )
        if model.config.get("conditional") and self.label is None:
            raise ModelError(f"--label: {name} knows several looks; say which: {', '.join(model.spec.classes)}")
        for attribute in model.config.get("attributes", ()):
            if attribute not in self.attributes:
                raise ModelError(f"--attribute: {name} must be told {attribute}; say --attribute {attribute}=VALUE")
        return make_condition(model, 1, 0, self.label, self.attributes)


def translate_file(model: Model, job: Job, wishes: Wishes, progress: ProgressCallback = no_progress) -> None:
    """Read, translate, write.

    Raises:
        ImageError: the picture cannot be used.
        ModelError: see `Wishes.condition`.
        InputError: the memory budget is too small.
    """
    treatment = _treatment(model, wishes)
    picture = pictures.open_picture(job, progress=progress)
    asked = {"reverse": wishes.reverse, "label": wishes.label, "attributes": dict(wishes.attributes)}
    options: dict[str, object] = {name: value for name, value in asked.items() if value}
    if wishes.blend < 1:
        options["strength"] = wishes.blend
    record = pictures.record("translate", model, options, [job.source])
    pictures.write_treated(treatment, picture, job.target, record, progress=progress)


def translated(model: Model, picture: Picture, wishes: Wishes, progress: ProgressCallback = no_progress) -> Picture:
    """`picture` in the other look, in the channels of the model."""
    return pictures.treated(_treatment(model, wishes), picture, progress=progress)


def _treatment(model: Model, wishes: Wishes) -> Treatment:
    translator, condition = cast(Translates, model), wishes.condition(model).to(model.device)

    def run(patch: Tensor, _: Window) -> Tensor:
        with pictures.computing(model):
            made = translator.translate(pictures.placed(patch, model), condition, wishes.reverse).float().cpu()
        return pictures.blended(recolour(patch, made.shape[1]), made, wishes.blend)

    return Treatment(run, translator.reach, wishes.memory_bytes, "translate")
