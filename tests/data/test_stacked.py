"""Stacked pictures."""

from __future__ import annotations

import numpy as np
import pytest

from pentimento.data.items import Item
from pentimento.data.sources import open_source
from pentimento.data.stacked import StackedSource
from pentimento.errors import DataError


class Given:
    name, count = "given", None

    def __init__(self, *items):
        self._items = items

    def items(self):
        return iter(self._items)


def item(i, shape=(4, 5, 1), label=None):
    return Item(str(i), np.full(shape, i, np.uint8), label)


def test_every_picture_is_once_in_each_channel_and_the_label_tells_which():
    made = list(StackedSource(Given(*(item(i, label=str(i)) for i in range(7)))).items())
    for channel in range(3):
        assert sorted(int(one.payload[0, 0, channel]) for one in made) == list(range(7))
    for one in made:
        assert one.payload.shape == (4, 5, 3)
        assert one.label == "".join(str(v) for v in one.payload[0, 0])


def test_it_is_the_same_every_time_and_known_by_its_content():
    first, again = open_source("stacked:digits"), open_source("stacked:digits")
    assert first.content_hash() == again.content_hash() != open_source("digits").content_hash()
    assert first.name == "stacked:digits"
    assert len({one.label for one in first.items()}) > 800  # of 1,000 triples, 1,797 drawn


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([item(1, (4, 5, 3))], "gray pixels"),
        ([Item("a.png", b"png")], "a.png is other"),
        ([item(1), item(2, (4, 6, 1))], "2 differs from the first"),
    ],
)
def test_what_cannot_be_stacked(items, said):
    with pytest.raises(DataError, match=said):
        list(StackedSource(Given(*items)).items())
