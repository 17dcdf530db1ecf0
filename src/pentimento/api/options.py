"""What the verbs' signatures share."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from pentimento.runtime import ProgressCallback

__all__ = ["Callback", "Flag"]

Callback = Annotated[ProgressCallback, Parameter(parse=False)]
Flag = Annotated[bool, Parameter(negative="")]
