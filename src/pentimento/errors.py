"""Everything that can go wrong, as a tree. Each class knows its exit code and its HTTP status.

    PentimentoError              1    500   the base: catch this to catch all of ours
    ├── InputError               2    422   something the caller gave cannot be used
    │   ├── ImageError           2    422   a picture that cannot be read or written
    │   ├── DataError            2    422   a data set that cannot be used
    │   ├── RecipeError          2    422   an unknown key, a wrong type, a value out of range
    │   ├── ModelError           2    422   a model that cannot be built, loaded or asked for this
    │   ├── EvaluationError      2    422   a measurement that these pictures or this network do not allow
    │   ├── CausalError          2    422   a causal question that these data or this model do not allow
    │   ├── ProtocolError        2    422   two numbers that were measured differently and so do not compare
    │   └── NotFoundError        2    404   a path or a name that does not exist
    ├── ExistsError              2    409   writing there would destroy something
    ├── BusyError                1    423   another process holds the run folder
    ├── MissingExtraError        1    501   an optional dependency is not installed
    ├── StorageError             1    507   the disk is full, or refuses to be written
    ├── TrainingError            1    500   a training that cannot go on (a loss that is not finite)
    └── InterruptedRunError    130    499   stopped by the user; what was done is saved

A message names the parameter, says what was allowed, what was given and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "BusyError",
    "CausalError",
    "DataError",
    "EvaluationError",
    "ExistsError",
    "ImageError",
    "InputError",
    "InterruptedRunError",
    "MissingExtraError",
    "ModelError",
    "NotFoundError",
    "PentimentoError",
    "ProtocolError",
    "RecipeError",
    "StorageError",
    "TrainingError",
    "suggest",
]


class PentimentoError(Exception):
    """Base of all errors of this package."""

    exit_code: int = 1
    http_status: int = 500


class InputError(PentimentoError):
    """Something the caller gave cannot be used."""

    exit_code = 2
    http_status = 422


class ImageError(InputError):
    """A picture that cannot be read or written."""


class DataError(InputError):
    """A data set that cannot be used."""


class RecipeError(InputError):
    """A recipe with an unknown key, a wrong type or a value out of range."""


class ModelError(InputError):
    """A model that cannot be built, loaded, or asked for what was asked."""


class EvaluationError(InputError):
    """A measurement that these pictures, this many of them, or this network do not allow."""


class CausalError(InputError):
    """A causal question that these data or this model do not allow."""


class ProtocolError(InputError):
    """Two numbers that were measured with different protocols and so do not compare."""


class NotFoundError(InputError):
    """A path or a name that does not exist."""

    http_status = 404


class ExistsError(PentimentoError):
    """Writing there would destroy something that exists."""

    exit_code = 2
    http_status = 409


class BusyError(PentimentoError):
    """Another process is at work on the same thing."""

    http_status = 423


class MissingExtraError(PentimentoError):
    """An optional dependency is not installed; the message names the extra that brings it."""

    http_status = 501


class StorageError(PentimentoError):
    """The disk is full or refuses to be written."""

    http_status = 507


class TrainingError(PentimentoError):
    """A training that cannot go on."""


class InterruptedRunError(PentimentoError):
    """Stopped by the user. The message says what was saved and how to go on."""

    exit_code = 130
    http_status = 499


def suggest(name: str, known: Iterable[str], *, limit: int = 8) -> str:
    """The tail of an error message about an unknown `name`: its nearest neighbours, else what there is.

    >>> suggest("digts-gan", ["digits-gan", "shapes-vae"])
    "did you mean 'digits-gan'?"
    >>> suggest("x", ["b", "a"])
    'known: a, b'
    >>> suggest("x", [])
    'there are none'
    """
    names = sorted(known)
    # 0.6 is difflib's own default: it finds swapped and missing letters, and nothing merely similar in length.
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(n) for n in near) + "?"
    if not names:
        return "there are none"
    shown = ", ".join(names[:limit])
    return f"known: {shown}" + (", ..." if len(names) > limit else "")
