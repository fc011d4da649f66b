"""The one place where the registry reaches for the flavor, and only when a model is needed.

`import pairlock` stays light: torch and MLflow are imported when something is packaged, and torch
on the first load where it is what computes.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from pairlock.installed import MAKING, MEASURING, need

RESIDENTS = {
    "torch": "pairlock_flavors.torch_runtime.models.residents",
    "onnx": "pairlock_flavors.onnx_runtime.sessions",
}
"""By runtime, the module that knows which models are in memory, once anything is."""


def flavor() -> Any:
    """The module `pairlock_flavors.embedding`.

    Raises:
        UnavailableError: what it needs is not installed.
    """
    need("packaging a model", *MAKING)
    return import_module("pairlock_flavors.embedding")


def loading() -> Any:
    """The module `pairlock_flavors.loading`, which imports a runtime when it is needed."""
    return import_module("pairlock_flavors.loading")


def graph_making() -> Any:
    """The module `pairlock_flavors.packaging.graphs.linking`.

    Raises:
        UnavailableError: what it needs is not installed.
    """
    need("making a graph", *MAKING)
    return import_module("pairlock_flavors.packaging.graphs.linking")


def proving() -> Any:
    """The module `pairlock_flavors.reproving`, which imports a runtime when it is needed."""
    return import_module("pairlock_flavors.reproving")


def measuring() -> Any:
    """The module `pairlock_flavors.torch_runtime.measuring`.

    Raises:
        UnavailableError: what it needs is not installed.
    """
    need("measuring a model", *MEASURING)
    return import_module("pairlock_flavors.torch_runtime.measuring")


def evaluating() -> Any:
    """The module `pairlock_flavors.torch_runtime.evaluating`.

    Raises:
        UnavailableError: what it needs is not installed.
    """
    need("evaluating a model", *MEASURING)
    return import_module("pairlock_flavors.torch_runtime.evaluating")
