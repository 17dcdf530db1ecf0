"""Building blocks that two or more families share."""

from pentimento.layers.conditions import ConditionEmbedding
from pentimento.layers.convolutional import (
    FEATURE_LAYERS,
    PatchDiscriminator,
    UNet,
    feature_stages,
    pad_before,
    pad_to_multiple,
)
from pentimento.layers.holes import HOLE_GRID_PX, HOLE_REACH_PX, fill_holes
from pentimento.layers.trunks import (
    Backbone,
    Decoder,
    Encoder,
    Norm,
    Pyramid,
    add_spectral_norm,
    centre_fit,
    truncate_normal,
)

__all__ = [
    "FEATURE_LAYERS",
    "HOLE_GRID_PX",
    "HOLE_REACH_PX",
    "Backbone",
    "ConditionEmbedding",
    "Decoder",
    "Encoder",
    "Norm",
    "PatchDiscriminator",
    "Pyramid",
    "UNet",
    "add_spectral_norm",
    "centre_fit",
    "feature_stages",
    "fill_holes",
    "pad_before",
    "pad_to_multiple",
    "truncate_normal",
]
