"""What goes in and out as plain data: problems of options, a clear line each; and values as JSON can hold them."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from typing import Any

import pydantic

from pentimento.errors import suggest

__all__ = ["describe_problems", "json_safe"]


def describe_problems(error: pydantic.ValidationError, schema: type[pydantic.BaseModel], where: str = "") -> str:
    """All problems of `error`, separated by ``"; "``.

    >>> class Options(pydantic.BaseModel, extra="forbid"):
    ...     rate: float = 1.0
    >>> try:
    ...     Options(rat=2)
    ... except pydantic.ValidationError as error:
    ...     print(describe_problems(error, Options, where="model"))
    model.rat: unknown key; did you mean 'rate'?
    """
    lines = []
    for problem in error.errors():
        location = [str(part) for part in problem["loc"] if not str(part).startswith(("function-", "is-instance"))]
        name = ".".join([where, *location] if where else location)
        if problem["type"] == "extra_forbidden":
            lines.append(f"{name}: unknown key; {suggest(location[-1], _keys(schema, location[:-1]))}")
        elif problem["type"] == "missing":
            lines.append(f"{name}: missing")
        elif problem["type"] == "literal_error":
            allowed = problem["ctx"]["expected"]
            names = [part.strip(" '") for part in allowed.replace(" or ", ",").split(",")]
            hint = suggest(str(problem["input"]), names)
            tail = "" if hint.startswith("known") else f"; {hint}"
            lines.append(f"{name}: {allowed} expected, got {problem['input']!r}{tail}")
        else:
            message = problem["msg"].removeprefix("Input ").removeprefix("Value error, ")
            lines.append(f"{name}: {message}, got {problem['input']!r}")
    return "; ".join(lines)


def _keys(schema: type[pydantic.BaseModel], location: list[str]) -> list[str]:
    """The keys that are known at `location` within `schema`."""
    inside_table = False
    for part in location:
        if inside_table:  # the key of a table of tables, such as a player's name
            inside_table = False
            continue
        field = schema.model_fields.get(part)
        inside_table = field is not None and typing.get_origin(field.annotation) is dict
        found = [t for t in _flat(field.annotation if field else None) if _is_model(t)]
        if not found:
            return []
        schema = found[0]
    return list(schema.model_fields)


def _flat(annotation: Any) -> list[Any]:
    """The annotation itself, or the arguments of a union or container, down to the leaves."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, dict, list, tuple):
        return [leaf for argument in typing.get_args(annotation) for leaf in _flat(argument)]
    return [annotation]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel)


def json_safe(value: Any) -> Any:
    """`value` as JSON can hold it: numbers that are not finite are words.

    >>> json_safe({"low": float("-inf"), "rows": (1.0, float("nan"))})
    {'low': '-inf', 'rows': [1.0, 'nan']}
    """
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: json_safe(v) for key, v in value.items()}
    return [json_safe(v) for v in value] if isinstance(value, list | tuple) else value
