"""The one place where the registry reaches for the flavor, and only when a model is needed.

`import pairlock` stays light: torch and MLflow are imported on the first load.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

RESIDENTS = "pairlock_flavors.torch_runtime.models.residents"
"""The module that knows which models are in memory, once anything is."""


def flavor() -> Any:
    """The module `pairlock_flavors.embedding`."""
    return import_module("pairlock_flavors.embedding")


def loading() -> Any:
    """The module `pairlock_flavors.loading`, which imports a runtime when it is needed."""
    return import_module("pairlock_flavors.loading")


def graph_making() -> Any:
    """The module `pairlock_flavors.packaging.graphs.linking`."""
    return import_module("pairlock_flavors.packaging.graphs.linking")


def measuring() -> Any:
    """The module `pairlock_flavors.torch_runtime.measuring`."""
    return import_module("pairlock_flavors.torch_runtime.measuring")


def evaluating() -> Any:
    """The module `pairlock_flavors.torch_runtime.evaluating`."""
    return import_module("pairlock_flavors.torch_runtime.evaluating")


def runtime() -> Any:
    """The module `pairlock_flavors.torch_runtime.open`."""
    return import_module("pairlock_flavors.torch_runtime.open")
