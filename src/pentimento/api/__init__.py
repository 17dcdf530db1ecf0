"""One function a verb: the single place where options, defaults and help live.

The command line, the REST service and Python callers all come through here. Importing this package does not import
torch; each function imports what it needs.
"""

from pentimento.api.dissection import explain_dissect
from pentimento.api.evaluation import EvaluateResult, evaluate
from pentimento.api.explanation import ExplainResult, explain_effects
from pentimento.api.generation import GenerateResult, generate
from pentimento.api.listing import ModelsResult, inspect, models
from pentimento.api.restoration import RestoreResult, restore
from pentimento.api.stylization import Optimization, StylizeResult, stylize
from pentimento.api.training import TrainResult, train
from pentimento.api.translation import TranslateResult, translate

__all__ = [
    "EvaluateResult",
    "ExplainResult",
    "GenerateResult",
    "ModelsResult",
    "Optimization",
    "RestoreResult",
    "StylizeResult",
    "TrainResult",
    "TranslateResult",
    "evaluate",
    "explain_dissect",
    "explain_effects",
    "generate",
    "inspect",
    "models",
    "restore",
    "stylize",
    "train",
    "translate",
]
