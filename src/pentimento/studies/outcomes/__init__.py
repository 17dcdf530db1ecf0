"""Outcomes: numbers measured from pictures, for causal questions.

From pixels, from the strokes of digits, as distances to a reference, told by a judge, or by a function of your own:
see `Outcome`. `find_outcomes` finds them by name.
"""

from pentimento.studies.outcomes.digits import DIGIT_OUTCOMES
from pentimento.studies.outcomes.find import ALL, DIGITS, find_outcomes
from pentimento.studies.outcomes.judged import Judge, model_judge, onnx_judge
from pentimento.studies.outcomes.outcome import Outcome, measure_all
from pentimento.studies.outcomes.pixels import PIXEL_OUTCOMES
from pentimento.studies.outcomes.reference import content_distance, pixel_distance, style_distance

__all__ = [
    "ALL",
    "DIGITS",
    "DIGIT_OUTCOMES",
    "PIXEL_OUTCOMES",
    "Judge",
    "Outcome",
    "content_distance",
    "find_outcomes",
    "measure_all",
    "model_judge",
    "onnx_judge",
    "pixel_distance",
    "style_distance",
]
