"""Outcomes by name, as a command line has them: ``brightness``, ``judge:MODEL:CLASS``, ``style:IMAGE``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pentimento import images
from pentimento.errors import CausalError, NotFoundError, suggest
from pentimento.model import DataSpec
from pentimento.models import load, zoo_names
from pentimento.studies.outcomes.digits import DIGIT_OUTCOMES
from pentimento.studies.outcomes.judged import Judge, model_judge, onnx_judge
from pentimento.studies.outcomes.outcome import Outcome, measure_all
from pentimento.studies.outcomes.pixels import PIXEL_OUTCOMES
from pentimento.studies.outcomes.reference import content_distance, pixel_distance, style_distance

__all__ = ["ALL", "DIGITS", "find_outcomes"]

_NAMED = {outcome.name: outcome for outcome in (*PIXEL_OUTCOMES, *DIGIT_OUTCOMES)}
_DISTANCES: dict[str, Callable[[Tensor, str], Outcome]] = {
    "content": content_distance,
    "style": style_distance,
    "pixels": pixel_distance,
}

DIGITS = tuple(outcome.name for outcome in DIGIT_OUTCOMES)  # for gray pictures of strokes, up to 128x128

# Name -> what it measures, for help. Capitals stand for what the user gives.
ALL: Mapping[str, str] = {
    **{name: outcome.formula for name, outcome in _NAMED.items()},
    "judge:MODEL": "every class and attribute that a trained model predicts",
    "judge:MODEL:CLASS": "probability of a class; or an attribute by name, or attribute=value, or confidence",
    "onnx:FILE": "every column of what a network in an ONNX file gives",
    "onnx:FILE#2": "one column of it, counted from 0",
    "content:IMAGE": "how much of what IMAGE shows is lost, in the perceptual network",
    "style:IMAGE": "how far a picture is from the look of IMAGE, in the perceptual network",
    "pixels:IMAGE": "mean absolute difference from IMAGE",
}


def find_outcomes(names: Sequence[str], *, spec: DataSpec | None) -> tuple[Outcome, ...]:
    """The outcomes called `names`, in their order; a judge without a class stands for all that it tells.

    Args:
        names: see `ALL`.
        spec: of the pictures to be measured: a black one of its size is measured at once, so that what cannot be
            measured is said before any work. None where they are not known yet.

    Raises:
        CausalError: no names, one given twice, nothing called so in a model or a file, or an outcome that is not for
            pictures of this spec.
        ImageError: a reference that cannot be read.
        MissingExtraError: an ONNX file without onnxruntime.
        ModelError: a model that does not predict, or cannot be loaded.
        NotFoundError: an unknown name, model or file.
    """
    judge = functools.cache(_open_judge)  # for this call: a file may have changed at the next
    found = tuple(outcome for name in names for outcome in _found(name, judge))
    if not found:
        raise CausalError("outcomes: at least one expected, got none")
    taken = [outcome.name for outcome in found]
    twice = next((name for k, name in enumerate(taken) if name in taken[:k]), None)
    if twice:
        raise CausalError(f"outcomes: {twice!r} is given twice; leave one away")
    if spec is not None:
        measure_all(found, torch.zeros(1, *spec.image_shape))
    return found


def _found(name: str, judge: Callable[[str, str], Judge]) -> tuple[Outcome, ...]:
    kind, colon, rest = name.partition(":")
    if name in _NAMED:
        return (_NAMED[name],)
    if not colon or not rest or kind not in ("judge", "onnx", *_DISTANCES):
        raise NotFoundError(f"outcome: unknown name {name!r}; {suggest(name, ALL, limit=len(ALL))}")
    if kind in _DISTANCES:
        return (_DISTANCES[kind](images.read(Path(rest).expanduser()).to_tensor()[None], name),)
    where, title = _split(rest, *((":", _is_model) if kind == "judge" else ("#", _is_file)))
    opened = judge(kind, where)
    return tuple(opened.outcomes.values()) if title is None else (opened.outcome(title),)


def _open_judge(kind: str, where: str) -> Judge:
    path = Path(where).expanduser() if where.startswith("~") else where  # a name of the zoo or the hub stays as it is
    name = f"{kind}:{where}"
    return model_judge(load(path), name) if kind == "judge" else onnx_judge(path, name)


def _split(text: str, mark: str, exists: Callable[[str], bool]) -> tuple[str, str | None]:
    """What comes before a mark, and after it (None without one): the longest beginning that exists, or to the last."""
    ends = [k for k in range(len(text), 0, -1) if text[k : k + 1] in ("", mark)]
    end = next((k for k in ends if exists(text[:k])), ends[:2][-1])
    return text[:end], text[end + 1 :] or None


def _is_model(text: str) -> bool:
    return _is_file(text) or text in zoo_names() or (text.startswith("hf:") and text.count(":") == 1)


def _is_file(text: str) -> bool:
    return Path(text).expanduser().exists()
