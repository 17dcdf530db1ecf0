"""Damage made to order, and what was done said in physical units: for training restorers and for testing them.

    steps       the options of each kind of damage, as a recipe says them
    chain       one step after another on a batch: `degrade`
    apply       draws a step's parameters and calls the functions below; `ageing` does it for old photographs
    noise, codec, blur, resample, missing, damage, gray
                the effects themselves: pure functions of tensors and explicit parameters
    stream, brush, borders
                what they share: random numbers, lines drawn on a tensor, mirrored borders

Importing this imports no torch.
"""

from pentimento.data.degrade.chain import Degraded, degrade
from pentimento.data.degrade.steps import Step

__all__ = ["Degraded", "Step", "degrade"]
