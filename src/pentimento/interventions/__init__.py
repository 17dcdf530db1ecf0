"""Interventions: what an experiment sets in a model, in words, and a run of the model with it set.

    label=7                the class that the model is told
    thickness=4.2          an attribute that it is told
    foreground=3           the class that one mechanism alone is told, of a model that has several (cgn)
    latent[3]=1.5          a coordinate of its noise; latent[3]+=1.5 moves it
    up2[17]=0              a unit (channel) of the output of stage up2, at every position; up2[17]=mean: its usual value
    up2[3,17,20]=0         several at once
    @set.json              those that a file holds, see `write_set`

All else is held fixed: the noise, what the model is told, and the stages before the first one that is changed.
"""

from pentimento.interventions.checking import check
from pentimento.interventions.running import class_targets, outputs, resolve, run, tell, usual_values
from pentimento.interventions.words import MEAN, Do, parse, parse_all, parse_doses, read_set, write_set

__all__ = [
    "MEAN",
    "Do",
    "check",
    "class_targets",
    "outputs",
    "parse",
    "parse_all",
    "parse_doses",
    "read_set",
    "resolve",
    "run",
    "tell",
    "usual_values",
    "write_set",
]
