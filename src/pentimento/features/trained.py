"""Models of this package as feature networks: of the zoo, or trained by the user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from pentimento.capabilities import Predicts
from pentimento.data.fit import recolour
from pentimento.errors import ModelError
from pentimento.features.network import FeatureNetwork, Features, bilinear
from pentimento.model import Model
from pentimento.models import MODELS

__all__ = ["TrainedNetwork"]


class TrainedNetwork(FeatureNetwork):
    """A model that offers ``features(images) -> (N, D)``, ``maps(images) -> {name: (N, C, H, W)}``, or both.

    The vector is what `features` gives, of pictures resized to the size of the model's spec. A model without it has
    the spatial means of its maps, channel by channel, joined in the order of the maps; its pictures keep their size.

    Args:
        model: loaded, so that it knows where it came from.

    Raises:
        ModelError: the model offers neither.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        able = [name for name, cls in MODELS.items() if hasattr(cls, "features") or hasattr(cls, "maps")]
        if not hasattr(model, "features") and not hasattr(model, "maps"):
            raise ModelError(
                f"features: a {model.family!r} model offers neither features nor maps; "
                f"families that do: {', '.join(able)}"
            )
        assert model.origin is not None
        self.model, self.spec = model, model.spec
        self.kind = f"a {model.family!r} model"
        self.name, self.sha256 = model.origin.name, model.origin.weights_sha256
        self.channels = model.spec.channels
        if hasattr(model, "features"):
            self.resizer = f"antialiased bilinear {self.spec.height_px}x{self.spec.width_px}"
        if isinstance(model, Predicts):
            self.classes = self.spec.classes
        with torch.no_grad():
            blank = torch.zeros(1, *self.spec.image_shape, device=model.device)
            self.layers = tuple(self._all_maps(blank)) if hasattr(model, "maps") else ()
            self.dim = self(blank).vectors.shape[1]

    def forward(self, images: Tensor) -> Features:
        """See `FeatureNetwork.forward`."""
        images = recolour(images, self.channels)
        if not hasattr(self.model, "features"):
            return Features(torch.cat([m.mean((2, 3)) for m in self._all_maps(images).values()], 1).float())
        images = bilinear(images, self.spec.height_px, self.spec.width_px)
        features = cast("Callable[[Tensor], Tensor]", self.model.features)
        probabilities = None
        if self.classes:
            probabilities = cast(Predicts, self.model).predict(images)["probabilities"].float()
        return Features(features(images).float(), probabilities)

    def _maps(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        maps = self._all_maps(images)
        return {layer: maps[layer] for layer in layers}

    def _all_maps(self, images: Tensor) -> dict[str, Tensor]:
        return cast("Callable[[Tensor], dict[str, Tensor]]", self.model.maps)(images)
