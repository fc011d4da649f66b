"""Recomputes golden vectors to prove a version, in the runtime that a load would take.

Where torch is that runtime, the graph of a package that has one is proved beside it, for whoever
loads the same version without torch.
"""

from __future__ import annotations

from importlib import import_module

from pairlock.bases import Base
from pairlock.config import Settings
from pairlock.errors import ErrorKind, NotFoundError
from pairlock.installed import missing_of
from pairlock.packages import Package
from pairlock_flavors.golden_vectors import GoldenResult
from pairlock_flavors.loading import RUNTIMES, chosen_runtime, runtime_is_there, torch_alone_can


def golden_runtime(package: Package, settings: Settings) -> str:
    """The runtime in which a package's golden vectors are recomputed: torch or onnx.

    Raises:
        InvalidInputError: the settings name none.
        NotFoundError: the settings name onnx, and the package holds no graph.
        UnavailableError: it is not installed, or torch would have to be.
    """
    name = chosen_runtime(None, settings)
    if name == "torch" or "onnx" in package.manifest.runtimes:
        return name
    if not runtime_is_there("torch"):
        raise torch_alone_can(package.located.uri)
    raise NotFoundError(
        f"{package.located.uri} holds no graph for the onnx runtime",
        kind=ErrorKind.RUNTIME_MISSING,
        checked="the runtimes that its manifest names",
        expected="onnx, as PAIRLOCK_RUNTIME says",
        found=", ".join(package.manifest.runtimes),
        done="no vectors were computed",
        hint="unset PAIRLOCK_RUNTIME, and torch proves it",
    )


def missing_for_graphs() -> tuple[str, ...]:
    """What is not installed that a graph takes."""
    return missing_of(RUNTIMES["onnx"][1])


def golden_result(
    package: Package, base: Base | None, settings: Settings, *, runtime: str
) -> GoldenResult:
    """Recompute a proved package's golden vectors, by a model that is read for it alone.

    Args:
        package: the package.
        base: its proved base.
        settings: which classes may run.
        runtime: torch, or onnx where the package holds a graph.

    Returns:
        The deviations and findings.

    Raises:
        PairlockError: it cannot be loaded.
    """
    found: GoldenResult
    if runtime == "torch":
        opening = import_module("pairlock_flavors.torch_runtime.open")
        found = opening.golden_result(package, base, settings)
    else:
        graphs = import_module("pairlock_flavors.onnx_runtime.reproving")
        found = graphs.golden_result(package, base)
    return found
