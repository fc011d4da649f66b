"""The one place where the registry reaches for the flavor, and only when a model is needed.

`import pairlock` stays light: torch and MLflow are imported on the first load.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

RESIDENTS = {
    "torch": "pairlock_flavors.torch_runtime.models.residents",
    "onnx": "pairlock_flavors.onnx_runtime.sessions",
}
"""By runtime, the module that knows which models are in memory, once anything is."""


def flavor() -> Any:
    """The module `pairlock_flavors.embedding`."""
    return import_module("pairlock_flavors.embedding")


def loading() -> Any:
    """The module `pairlock_flavors.loading`, which imports a runtime when it is needed."""
    return import_module("pairlock_flavors.loading")


def measuring() -> Any:
    """The module `pairlock_flavors.torch_runtime.measuring`."""
    return import_module("pairlock_flavors.torch_runtime.measuring")


def evaluating() -> Any:
    """The module `pairlock_flavors.torch_runtime.evaluating`."""
    return import_module("pairlock_flavors.torch_runtime.evaluating")


def lean_runtime() -> Any | None:
    """The module `pairlock_flavors.onnx_runtime.open`; None where its libraries are missing."""
    if find_spec("onnxruntime") is None or find_spec("tokenizers") is None:
        return None
    return import_module("pairlock_flavors.onnx_runtime.open")


def runtime() -> Any:
    """The module `pairlock_flavors.torch_runtime.open`."""
    return import_module("pairlock_flavors.torch_runtime.open")
