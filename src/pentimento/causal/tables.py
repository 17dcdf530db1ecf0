"""Tables of outcomes: what every statistic asks of them before it counts."""

from __future__ import annotations

import torch
from torch import Tensor

from pentimento.errors import CausalError

__all__ = ["column", "table"]


def table(values: Tensor, name: str, least: int = 2) -> Tensor:
    """`values` as a table of samples by interventions, (N, U) float64 on the CPU; a column is a table with U = 1.

    Args:
        values: (N,) or (N, U).
        name: of the argument, for messages.
        least: samples that are needed.

    Raises:
        CausalError: another shape, fewer samples, or a value that is not finite.
    """
    if values.ndim not in (1, 2):
        raise CausalError(f"{name}: samples, or samples by interventions, expected, got shape {tuple(values.shape)}")
    if len(values) < least:
        missing = least - len(values)
        raise CausalError(f"{name}: at least {least} samples are needed, got {len(values)}; draw {missing} more")
    found = values.detach().double().cpu()
    broken = (~torch.isfinite(found)).nonzero()
    if len(broken):
        first = broken[0].tolist()
        where = f"sample {first[0]}" + (f" of intervention {first[1]}" if len(first) == 2 else "")
        raise CausalError(
            f"{name}: finite outcomes expected, got {float(found[tuple(first)])} at {where} ({len(broken)} of "
            f"{found.numel()} are not finite); leave such samples out of both arms, or choose another outcome"
        )
    return found[:, None] if found.ndim == 1 else found


def column(values: Tensor, name: str, least: int = 2) -> Tensor:
    """`values` of one number a sample, (N,) float64 on the CPU.

    Raises:
        CausalError: see `table`.
    """
    if values.ndim != 1:
        raise CausalError(f"{name}: one number a sample expected, got shape {tuple(values.shape)}")
    return table(values, name, least)[:, 0]
