"""Pentimento: image models you own.

>>> import pentimento
>>> model = pentimento.load("runs/digits-gan-digits")  # doctest: +SKIP

`load` gives a trained model; `train`, `generate`, `restore`, `stylize`, `translate`, `edit` and `inspect` are verbs of
`pentimento.api`, under which there are also `pentimento.api.evaluate` and `pentimento.api.models`: these two names are
packages here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pentimento.api import edit, generate, inspect, restore, stylize, train, translate
    from pentimento.models import load

__version__ = "0.1.0"
__all__ = ["__version__", "edit", "generate", "inspect", "load", "restore", "stylize", "train", "translate"]


def __getattr__(name: str) -> Any:
    """Import torch only when something needs it."""
    if name == "load":
        from pentimento.models import load

        return load
    if name in __all__:
        from pentimento import api

        return getattr(api, name)
    raise AttributeError(f"module 'pentimento' has no attribute {name!r}")
