"""One function a verb: the single place where options, defaults and help live.

The command line, the REST service and Python callers all come through here. Importing this package does not import
torch; each function imports what it needs.
"""

from pentimento.api.counterfactuals import explain_counterfactual
from pentimento.api.debiasing import explain_debias
from pentimento.api.dissection import explain_dissect
from pentimento.api.editing import EditResult, edit
from pentimento.api.evaluation import EvaluateResult, evaluate
from pentimento.api.explanation import ExplainResult, explain_effects
from pentimento.api.generation import GenerateResult, generate
from pentimento.api.listing import ModelsResult, inspect, models
from pentimento.api.observing import explain_observe
from pentimento.api.optimization import Optimization
from pentimento.api.pictures import StylizeResult
from pentimento.api.restoration import RestoreResult, restore
from pentimento.api.scorecards import explain_scorecard
from pentimento.api.style_study import explain_style
from pentimento.api.stylization import stylize
from pentimento.api.training import TrainResult, train
from pentimento.api.translation import TranslateResult, translate

__all__ = [
    "EditResult",
    "EvaluateResult",
    "ExplainResult",
    "GenerateResult",
    "ModelsResult",
    "Optimization",
    "RestoreResult",
    "StylizeResult",
    "TrainResult",
    "TranslateResult",
    "edit",
    "evaluate",
    "explain_counterfactual",
    "explain_debias",
    "explain_dissect",
    "explain_effects",
    "explain_observe",
    "explain_scorecard",
    "explain_style",
    "generate",
    "inspect",
    "models",
    "restore",
    "stylize",
    "train",
    "translate",
]
