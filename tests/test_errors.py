from __future__ import annotations

import inspect
import re

import pytest

from pentimento import errors

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.PentimentoError)]


def test_the_drawn_tree_is_the_tree():
    for cls in CLASSES:
        line = next(line for line in (errors.__doc__ or "").splitlines() if re.search(rf"\b{cls.__name__}\b", line))
        numbers = [int(word) for word in line.split() if word.isdigit()]
        assert numbers == [cls.exit_code, cls.http_status], cls.__name__


def test_public_names_are_pinned():
    assert set(errors.__all__) == {c.__name__ for c in CLASSES} | {"suggest"}


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("digts-gan", ["digits-gan", "mnist-gan"], "did you mean 'digits-gan'"),
        ("zzz", ["b", "a"], "known: a, b"),
        ("zzz", [f"n{i}" for i in range(20)], ", ..."),
        ("zzz", [], "there are none"),
    ],
)
def test_suggest(name, known, expected):
    assert expected in errors.suggest(name, known)
