"""Building blocks that two or more families share."""

from pentimento.layers.conditions import ConditionEmbedding
from pentimento.layers.convolutional import (
    FEATURE_LAYERS,
    PatchDiscriminator,
    UNet,
    feature_stages,
    pad_to_multiple,
)
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
    "pad_to_multiple",
    "truncate_normal",
]
