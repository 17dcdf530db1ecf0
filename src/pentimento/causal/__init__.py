"""The statistics of interventions: average effects with intervals, refutations, records; functions and tables in."""

from pentimento.causal.design import sample_size, stein
from pentimento.causal.doses import DoseResponse, over_doses
from pentimento.causal.effects import (
    LEVEL,
    PairedEffect,
    benjamini_hochberg,
    interaction,
    paired,
    sign_flip,
    standardized,
)
from pentimento.causal.factorial import Share, main_effects, variance_shares
from pentimento.causal.groups import GroupEffects, WelchTest, by_group, welch
from pentimento.causal.records import Change, Effect, Refutation, Study, compare
from pentimento.causal.refute import (
    dose_response,
    dummy_outcome,
    match,
    on_manifold,
    permuted_pairing,
    placebo,
    stable,
)

__all__ = [
    "LEVEL",
    "Change",
    "DoseResponse",
    "Effect",
    "GroupEffects",
    "PairedEffect",
    "Refutation",
    "Share",
    "Study",
    "WelchTest",
    "benjamini_hochberg",
    "by_group",
    "compare",
    "dose_response",
    "dummy_outcome",
    "interaction",
    "main_effects",
    "match",
    "on_manifold",
    "over_doses",
    "paired",
    "permuted_pairing",
    "placebo",
    "sample_size",
    "sign_flip",
    "stable",
    "standardized",
    "stein",
    "variance_shares",
    "welch",
]
