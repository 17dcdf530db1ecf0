"""Effects by subgroup, and whether they differ.

    d_i -> y_i(1) - y_i(0), the change of the outcome of sample i by the intervention
    k, n_j, m_j, v_j -> groups, samples of group j, their mean d_i, their variance
    w_j -> n_j / v_j        W -> sum w_j        m -> sum w_j m_j / W
    Q -> sum w_j (m_j - m)^2        L -> sum (1 - w_j / W)^2 / (n_j - 1)
    F -> Q / (k - 1) / (1 + 2 (k - 2) L / (k^2 - 1))

Q is Cochran's (1937). Compared with chi-squared it takes the v_j for known, and finds differences too often in small
groups; Welch (1951) compares F with Fisher's F of k - 1 and ``(k^2 - 1) / (3 L)`` degrees of freedom, which does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy import special
from torch import Tensor

from pentimento.causal.effects import PairedEffect, paired
from pentimento.causal.tables import column
from pentimento.errors import CausalError

__all__ = ["GroupEffects", "WelchTest", "by_group", "welch"]


@dataclass(frozen=True)
class WelchTest:
    """Whether means differ between groups.

    Args:
        statistic: F.
        freedom: its two degrees of freedom.
        p_value: of equal means.
    """

    statistic: float
    freedom: tuple[float, float]
    p_value: float


@dataclass(frozen=True)
class GroupEffects:
    """An intervention's effect in each subgroup.

    Args:
        effects: by name of the subgroup, each of one intervention.
        test: whether they differ.
    """

    effects: dict[str, PairedEffect]
    test: WelchTest


def by_group(differences: Tensor, groups: Tensor, names: Sequence[str]) -> GroupEffects:
    """The effects of an intervention by subgroup.

    Groups must be told by what the intervention cannot change: a label that is held fixed, an attribute of y_i(0).

    Args:
        differences: d_i, (N,).
        groups: the group of each sample, (N,) integers that index `names`.
        names: of the groups, two at least.

    Raises:
        CausalError: groups of other samples or unknown ones, fewer than two groups, a group of fewer than two samples,
            or an outcome that is not finite.
    """
    d = column(differences, "differences")
    if groups.shape != d.shape or groups.is_floating_point():
        raise CausalError(f"groups: {len(d)} integers expected, got {groups.dtype}, shape {tuple(groups.shape)}")
    if len(names) < 2:
        raise CausalError(f"names: at least two groups expected, got {len(names)}")
    if bool(((groups < 0) | (groups >= len(names))).any()):
        raise CausalError(
            f"groups: 0 to {len(names) - 1} expected, got {int(groups.min())} to {int(groups.max())}; name all groups"
        )
    members = [d[groups.cpu() == j] for j in range(len(names))]
    for name, each in zip(names, members, strict=True):
        if len(each) < 2:
            raise CausalError(
                f"groups: at least 2 samples of {name!r} are needed, got {len(each)}; draw more, or leave the group out"
            )
    return GroupEffects({name: paired(each) for name, each in zip(names, members, strict=True)}, welch(members))


def welch(groups: Sequence[Tensor]) -> WelchTest:
    """Welch's analysis of variance of k >= 2 groups of (n_j,) numbers, n_j >= 2; see the module.

    A group without variance counts as one whose variance is next to none. Where no group has any, p is 1 if all means
    are equal, else 0.
    """
    k = len(groups)
    sizes = torch.tensor([len(x) for x in groups], dtype=torch.float64)
    means, variances = torch.stack([x.mean() for x in groups]), torch.stack([x.var() for x in groups])
    largest = variances.max()
    if not largest:
        same = bool((means == means[0]).all())
        return WelchTest(0.0 if same else float("inf"), (k - 1.0, float("inf")), float(same))
    weights = sizes / variances.clamp(min=float(largest) * 1e-12)
    shares = weights / weights.sum()
    q = (weights * (means - (shares * means).sum()).square()).sum()
    lack = ((1 - shares).square() / (sizes - 1)).sum()
    statistic = float(q / (k - 1) / (1 + 2 * (k - 2) * lack / (k**2 - 1)))
    freedom = (k - 1.0, float((k**2 - 1) / (3 * lack)))
    return WelchTest(statistic, freedom, float(special.fdtrc(*freedom, statistic)))
