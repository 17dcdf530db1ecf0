"""What a conditional model is told, as a vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pentimento.errors import ModelError
from pentimento.model import Condition, DataSpec

__all__ = ["ConditionEmbedding"]


class ConditionEmbedding(nn.Module):
    """A class label and named attributes as one vector: a row per label plus a linear map of the attributes.

    Args:
        spec: of the data.
        labels: whether to take the class label (an error where the data has no classes).
        attributes: names of the attributes to take.
        dim: length of the vector.
    """

    def __init__(self, spec: DataSpec, labels: bool, attributes: tuple[str, ...], dim: int) -> None:
        super().__init__()
        if labels and not spec.classes:
            raise ModelError("conditional: the data has no labels; put classes into subfolders, or set it to false")
        self.spec, self.names = spec, attributes
        self.columns = [spec.attributes.index(spec.attribute(name)) for name in attributes]
        self.label = nn.Embedding(len(spec.classes), dim) if labels else None
        width = sum(spec.attributes[c].width for c in self.columns)
        self.attribute = nn.Linear(width, dim) if width else None
        self.dim = dim if labels or width else 0
        self.told_dim = width + (len(spec.classes) if labels else 0)

    def join(self, x: Tensor, condition: Condition) -> Tensor:
        """(N, F) -> (N, F + dim): `x` beside the embedding of its condition; `x` itself where nothing is told."""
        return torch.cat([x, self(condition)], 1) if self.dim else x

    def forward(self, condition: Condition) -> Tensor:
        """(N, dim), where the model is told anything.

        Raises:
            ModelError: the condition lacks what the model was built to take.
        """
        parts: list[Tensor] = []
        if self.label is not None:
            if condition.labels is None:
                raise ModelError("label: this model is conditioned on a class label; give one")
            parts.append(self.label(condition.labels))
        if self.attribute is not None:
            if condition.attributes is None:
                raise ModelError(f"attributes: this model is conditioned on {', '.join(self.names)}; give them")
            parts.append(self.attribute(self.standardize(condition.attributes)))
        return torch.stack(parts).sum(0)

    def told(self, condition: Condition) -> Tensor:
        """(N, width): what the model is told of each sample as it is, labels one-hot."""
        parts = []
        if self.label is not None and condition.labels is not None:
            parts.append(F.one_hot(condition.labels, self.label.num_embeddings).float())
        if self.attribute is not None and condition.attributes is not None:
            parts.append(self.standardize(condition.attributes))
        return torch.cat(parts, 1)

    def standardize(self, attributes: Tensor) -> Tensor:
        """(N, A) in the units of the data -> (N, width): numeric ones to [-1, 1] over their range, others one-hot."""
        parts = []
        for column in self.columns:
            attribute, values = self.spec.attributes[column], attributes[:, column]
            if attribute.kind == "categorical":
                parts.append(F.one_hot(values.long(), attribute.width).float())
            else:
                span = max(attribute.high - attribute.low, 1e-12)
                parts.append((2 * (values - attribute.low) / span - 1)[:, None])
        return torch.cat(parts, 1).float()
