"""LlamaIndex's adapter layers in numpy, from proved tensors.

The arithmetic is that of LlamaIndex 0.6 (`embeddings/adapter/utils.py`), in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pairlock.errors import ErrorKind, Finding, IntegrityError
from pairlock.manifest import LayerFacts
from pairlock_flavors.layer_shapes import layer_shapes
from pairlock_flavors.onnx_runtime.weights import SafetensorsFile

Array = NDArray[np.float32]


def _relu(x: Array) -> Array:
    return np.maximum(x, np.float32(0))


def _sigmoid(x: Array) -> Array:
    # of the absolute value, so that nothing overflows
    small = np.exp(-np.abs(x))
    positive: Array = np.where(x >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)
    return positive


def _tanh(x: Array) -> Array:
    return np.tanh(x)


def _leaky_relu(x: Array) -> Array:
    slope = np.float32(0.01)  # torch's default
    return np.where(x >= 0, x, slope * x)


_ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "relu": _relu,
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "leaky_relu": _leaky_relu,
}


class Layer:
    """An adapter layer.

    Args:
        path: its safetensors file, proved.
        facts: what the manifest says about it.

    Raises:
        IntegrityError: the tensors are not exactly those of the recorded class.
    """

    def __init__(self, path: Path, facts: LayerFacts) -> None:
        self._facts = facts
        file = SafetensorsFile(path)
        found = {name: tensor.shape for name, tensor in file.tensors.items()}
        expected = layer_shapes(facts)
        if found != expected:
            raise _other_tensors(path, facts, expected, found)
        # a copy: the layer outlives the file
        self._tensors = {name: file.float32(name).copy() for name in found}

    def apply(self, vectors: Array) -> Array:
        """Vectors of the base to adapted ones: (n, in_features) to (n, out_features) float32."""
        tensors = self._tensors
        if self._facts.class_name == "LinearLayer":
            return _linear(vectors, tensors["linear.weight"], tensors.get("linear.bias"))
        activate = _ACTIVATIONS[self._facts.activation or ""]
        hidden = activate(_linear(vectors, tensors["linear1.weight"], tensors["linear1.bias"]))
        made = _linear(hidden, tensors["linear2.weight"], tensors["linear2.bias"])
        if self._facts.add_residual:
            made = made * tensors["residual_weight"] + vectors
        return made


def _linear(x: Array, weight: Array, bias: Array | None) -> Array:
    made = x @ weight.T
    return made if bias is None else made + bias


def _other_tensors(
    path: Path,
    facts: LayerFacts,
    expected: Mapping[str, tuple[int, ...]],
    found: Mapping[str, tuple[int, ...]],
) -> IntegrityError:
    names = sorted(name for name in expected.keys() | found.keys())
    findings = tuple(
        Finding(
            kind=ErrorKind.TENSOR_KEYS,
            place=name,
            expected=str(expected.get(name, "no such tensor")),
            found=str(found.get(name, "no such tensor")),
        )
        for name in names
        if expected.get(name) != found.get(name)
    )
    return IntegrityError(
        f"{path.name} does not hold a {facts.class_name}",
        kind=ErrorKind.TENSOR_KEYS,
        checked="names and shapes of the tensors",
        findings=findings,
        done="nothing was loaded",
        hint="log the adapter again",
    )
