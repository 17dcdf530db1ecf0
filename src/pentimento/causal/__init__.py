"""The statistics of interventions: average effects with intervals, refutations, records; functions and tables in."""

from pentimento.causal.choice import Choice
from pentimento.causal.design import sample_size, stein
from pentimento.causal.doses import DoseResponse, over_doses
from pentimento.causal.drawing import to_svg
from pentimento.causal.effects import (
    LEVEL,
    PairedEffect,
    benjamini_hochberg,
    interaction,
    paired,
    sign_flip,
    standardized,
)
from pentimento.causal.factorial import Share, main_effects, over_levels, variance_shares
from pentimento.causal.graphs import CausalGraph, parse_graph, read_graph
from pentimento.causal.groups import GroupEffects, WelchTest, by_group, welch
from pentimento.causal.independence import (
    Independence,
    IndependenceTest,
    check_independences,
    implied_independences,
)
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
from pentimento.causal.scm import NaturalEffects, StructuralModel

__all__ = [
    "LEVEL",
    "CausalGraph",
    "Change",
    "Choice",
    "DoseResponse",
    "Effect",
    "GroupEffects",
    "Independence",
    "IndependenceTest",
    "NaturalEffects",
    "PairedEffect",
    "Refutation",
    "Share",
    "StructuralModel",
    "Study",
    "WelchTest",
    "benjamini_hochberg",
    "by_group",
    "check_independences",
    "compare",
    "dose_response",
    "dummy_outcome",
    "implied_independences",
    "interaction",
    "main_effects",
    "match",
    "on_manifold",
    "over_doses",
    "over_levels",
    "paired",
    "parse_graph",
    "permuted_pairing",
    "placebo",
    "read_graph",
    "sample_size",
    "sign_flip",
    "stable",
    "standardized",
    "stein",
    "to_svg",
    "variance_shares",
    "welch",
]
