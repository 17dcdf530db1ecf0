"""Networks in ONNX files, run by onnxruntime on the CPU; needs ``pip install "pentimento[onnx]"``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pentimento.data.fit import recolour
from pentimento.errors import EvaluationError, MissingExtraError, ModelError
from pentimento.features.network import FeatureNetwork, Features, bilinear

__all__ = ["OnnxNetwork"]

_CLASSIFYING = ("probabilities", "logits")
_PROBE_PX = 224  # where the file leaves the size open


class OnnxNetwork(FeatureNetwork):
    """Any network with one input, (N, C, H, W) float32 in [0, 1] with 1 or 3 channels: other ranges go into the file.

    The vector is the output called ``features``, else the last output of two dimensions, one called ``probabilities``
    or ``logits`` only where there is no other. Those two, where there are any, also say how the network classifies.
    Sizes that the file fixes are met by resizing; a fixed number of pictures by running in pieces. Not differentiable.

    Args:
        path: of the ``.onnx`` file, with the weights inside.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        ModelError: the file is broken, keeps its weights elsewhere, or holds a network of another kind.
    """

    kind = "an ONNX network"

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.name = path.name
        self.session = _session(path)
        inputs = self.session.get_inputs()
        shape = [size if isinstance(size, int) else None for size in inputs[0].shape] if len(inputs) == 1 else []
        if len(shape) != 4 or inputs[0].type != "tensor(float)" or shape[1] not in (None, 1, 3):
            given = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
            raise ModelError(f"{path}: one input of float32 (N, 1 or 3, H, W) expected, got {given}")
        self.input = inputs[0].name
        self.batch, self.height, self.width = shape[0], shape[2], shape[3]
        self.channels = 1 if shape[1] == 1 else 3
        if self.height or self.width:
            self.resizer = f"antialiased bilinear {self.height or 'any'}x{self.width or 'any'}"
        blank = np.zeros((self.batch or 2, self.channels, self.height or _PROBE_PX, self.width or _PROBE_PX), "float32")
        self.vector, self.classifier, self.dim = self._choose_outputs(blank)

    def forward(self, images: Tensor) -> Features:
        """See `FeatureNetwork.forward`; the result is on the device of the images, and has no gradient.

        Raises:
            EvaluationError: the network does not take pictures of this size.
        """
        images = recolour(images.detach(), self.channels)
        images = bilinear(images, self.height or images.shape[2], self.width or images.shape[3])
        try:
            outputs = self._run_all(images.float().cpu().numpy())
        except Exception as error:  # onnxruntime has a class for each of its own codes
            sides = "x".join(str(side) for side in images.shape[2:])
            raise EvaluationError(f"{self.name}: cannot look at pictures of {sides}: {_one_line(error)}") from error
        found = {name: torch.from_numpy(output).float().to(images.device) for name, output in outputs.items()}
        probabilities = found[self.classifier] if self.classifier else None
        if probabilities is not None and self.classifier == "logits":
            probabilities = probabilities.softmax(1)
        return Features(found[self.vector], probabilities)

    def maps(self, images: Tensor, layers: Sequence[str] | None = None) -> dict[str, Tensor]:
        """There are none.

        Raises:
            ModelError: always.
        """
        raise ModelError(
            f"{self.name}: an ONNX network cannot be differentiated, so it measures but does not train; "
            "a loss takes weights of VGG-19"
        )

    def _run_all(self, images: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """The outputs that matter, of any number of pictures; where the file fixes it, the last piece is padded."""
        names = sorted({self.vector, self.classifier or self.vector})
        size, found = self.batch or len(images), []
        for begin in range(0, len(images), size):
            piece = images[begin : begin + size]
            padded = np.concatenate([piece, np.repeat(piece[-1:], size - len(piece), 0)])
            found.append([output[: len(piece)] for output in self._run(names, padded)])
        return {name: np.concatenate(pieces) for name, pieces in zip(names, zip(*found, strict=True), strict=True)}

    def _run(self, names: Sequence[str], images: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        outputs: list[npt.NDArray[Any]] = self.session.run(list(names), {self.input: images})
        return outputs

    def _choose_outputs(self, blank: npt.NDArray[Any]) -> tuple[str, str | None, int]:
        """The output that is the vector, the one that classifies, and the length of the vector."""
        names = [output.name for output in self.session.get_outputs()]
        try:
            widths = _widths(dict(zip(names, self._run(names, blank), strict=True)), len(blank))
        except Exception as error:
            shape = "x".join(str(side) for side in blank.shape)
            raise ModelError(f"{self.name}: does not run on pictures of {shape}: {_one_line(error)}") from error
        if not widths:
            raise ModelError(f"{self.name}: no output of float numbers (N, D); outputs: {', '.join(names)}")
        others = [name for name in widths if name not in _CLASSIFYING]
        vector = "features" if "features" in widths else (others or list(widths))[-1]
        return vector, next((name for name in _CLASSIFYING if name in widths), None), widths[vector]


def _widths(outputs: Mapping[str, npt.NDArray[Any]], count: int) -> dict[str, int]:
    """D of every output of float numbers (count, D)."""
    fitting = {k: v for k, v in outputs.items() if v.ndim == 2 and len(v) == count and v.dtype.kind == "f"}
    return {name: output.shape[1] for name, output in fitting.items()}


def _session(path: Path) -> Any:
    try:
        onnxruntime: Any = importlib.import_module("onnxruntime")  # it has no types to check against
    except ImportError as error:
        raise MissingExtraError('networks in ONNX need onnxruntime: pip install "pentimento[onnx]"') from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # it would print what it raises
    # Weights in a second file would escape the hash of the first. A path that is no folder has none of them.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path))
    try:
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        if "External data" in str(error):
            raise ModelError(
                f"{path}: keeps its weights in another file; export it with external_data=False"
            ) from error
        raise ModelError(f"{path}: not a readable ONNX file: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
