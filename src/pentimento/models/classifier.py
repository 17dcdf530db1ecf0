"""A small convolutional network that tells labels and attributes: the judge and feature network of the rest.

One trunk, and a head for the class (cross-entropy) and for each attribute: numeric ones by squared error in units
of their range, categorical ones by cross-entropy.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pentimento.errors import ModelError
from pentimento.layers import Backbone, Encoder, Norm
from pentimento.model import Batch, DataSpec, Model, Player
from pentimento.runtime import Draws

__all__ = ["Classifier"]


class Classifier(Model):
    """Predicts the class label and the attributes of an image.

    Args:
        spec: of the data: its classes, if any, and its attributes.
        backbone: see `pentimento.layers`.
        width: channels at the finest level.
        norm: normalisation.
        attributes: names of the attributes to predict.
        hidden_dim: length of the feature vector before the heads.
        dropout: share of it dropped in training.
        label_smoothing: share of the probability spread over all classes.
        l1: weight of the sum of absolute weights (of convolutions and linear layers; neither biases nor norms).
        weight_decay: decoupled weight decay of AdamW.
        lr: learning rate.
    """

    family = "classifier"
    monitor = "loss"

    def __init__(
        self,
        *,
        spec: DataSpec,
        backbone: Backbone = "conv",
        width: Annotated[int, Field(ge=1)] = 32,
        norm: Norm = "batch",
        attributes: tuple[str, ...] = (),
        hidden_dim: Annotated[int, Field(ge=1)] = 128,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2,
        label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        l1: Annotated[float, Field(ge=0)] = 0.0,
        weight_decay: Annotated[float, Field(ge=0)] = 1e-2,
        lr: Annotated[float, Field(gt=0)] = 2e-3,
    ) -> None:
        super().__init__()
        self.targets = [spec.attribute(name) for name in attributes]
        if not spec.classes and not self.targets:
            raise ModelError("classifier: the data has no labels, and no attributes were named to predict")
        self.encoder = Encoder(spec, backbone, width, norm)
        self.hidden = nn.Sequential(nn.Linear(self.encoder.out_dim, hidden_dim), nn.ReLU(), nn.Dropout(dropout))
        widths = [len(spec.classes), *(a.width for a in self.targets)]
        self.heads = nn.ModuleList(nn.Linear(hidden_dim, n) for n in widths if n)
        self.columns = [spec.attributes.index(a) for a in self.targets]
        self.label_smoothing, self.l1, self.weight_decay, self.lr = label_smoothing, l1, weight_decay, lr

    def players(self) -> tuple[Player, ...]:
        """One, on AdamW."""
        modules = ("encoder", "hidden", "heads")
        return (Player("classifier", modules, optimizer="adamw", lr=self.lr, weight_decay=self.weight_decay),)

    def features(self, images: Tensor) -> Tensor:
        """(N, hidden_dim) features of (N, C, H, W) images."""
        features: Tensor = self.hidden(self.encoder(images * 2 - 1))
        return features

    def forward(self, images: Tensor) -> tuple[Tensor | None, list[Tensor]]:
        """Logits (N, K), or None without classes, and the raw output (N, width) of each attribute's head."""
        features = self.features(images)
        out = [head(features).float() for head in self.heads]
        return (out[0], out[1:]) if self.spec.classes else (None, out)

    def loss(self, player: str, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """See `Model.loss`: cross-entropies and squared errors, summed, plus the L1 penalty."""
        logs = self.validate(batch, draws, smoothing=self.label_smoothing)
        if self.l1:
            weights = [p for p in self.parameters() if p.ndim > 1]
            logs["loss"] = logs["loss"] + self.l1 * torch.stack([w.abs().sum() for w in weights]).sum()
        return logs

    def validate(self, batch: Batch, draws: Draws, smoothing: float = 0.0) -> dict[str, Tensor]:
        """``"loss"`` without penalties, ``"accuracy"`` in [0, 1], each attribute's mean absolute error or accuracy."""
        logits, outputs = self(batch.images)
        losses, logs = [], {}
        if logits is not None:
            if batch.labels is None:
                raise ModelError("classifier: it predicts labels, but this data has none; put classes into subfolders")
            losses.append(F.cross_entropy(logits, batch.labels, label_smoothing=smoothing))
            logs["accuracy"] = (logits.argmax(1) == batch.labels).float().mean()
        if self.targets and batch.attributes is None:
            raise ModelError("classifier: it predicts attributes, but this data has none")
        for attribute, column, out in zip(self.targets, self.columns, outputs, strict=True):
            assert batch.attributes is not None
            truth = batch.attributes[:, column]
            if attribute.kind == "categorical":
                losses.append(F.cross_entropy(out, truth.long()))
                logs[f"accuracy_{attribute.name}"] = (out.argmax(1) == truth).float().mean()
            else:
                span = max(attribute.high - attribute.low, 1e-12)
                error = out[:, 0] - (truth - attribute.low) / span
                losses.append(error.square().mean())
                logs[f"error_{attribute.name}"] = span * error.abs().mean()
        return {"loss": torch.stack(losses).sum(), **{k: v.detach() for k, v in logs.items()}}

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """See `Predicts`; categorical attributes come as the index of the likeliest value."""
        logits, outputs = self(images)
        found: dict[str, Tensor] = {}
        if logits is not None:
            found["probabilities"] = logits.softmax(1)
        if self.targets:
            columns = [
                o.argmax(1).float() if a.kind == "categorical" else o[:, 0] * (a.high - a.low) + a.low
                for a, o in zip(self.targets, outputs, strict=True)
            ]
            found["attributes"] = torch.stack(columns, 1)
        return found
