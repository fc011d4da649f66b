"""Recomputes golden vectors to prove a version, in the runtime that a load would take.

Where torch is that runtime, the graph inside a package is proved beside it, for whoever loads the
same version without torch.
"""

from __future__ import annotations

from importlib import import_module

from pairlock.bases import Base
from pairlock.config import Settings
from pairlock.errors import ErrorKind, NotFoundError
from pairlock.garbage import collector_off
from pairlock.graphs import find_graph
from pairlock.installed import missing_of
from pairlock.manifest.format import RUNTIME_FOLDER
from pairlock.packages import Package
from pairlock.progress import Progress
from pairlock_flavors.golden_vectors import GoldenResult
from pairlock_flavors.loading import RUNTIMES, is_installed, runtime_name, torch_alone_can


def golden_runtime(settings: Settings) -> str:
    """The runtime in which golden vectors are recomputed: torch or onnx.

    Raises:
        InvalidInputError: the settings name none.
        UnavailableError: it is not installed.
    """
    return runtime_name(None, settings)


def missing_for_graphs() -> tuple[str, ...]:
    """What is not installed that a graph takes."""
    return missing_of(RUNTIMES["onnx"][1])


def golden_result(
    package: Package, base: Base | None, settings: Settings, *, runtime: str, progress: Progress
) -> GoldenResult:
    """Recompute a proved package's golden vectors, by a model that is read for it alone.

    Args:
        package: the package.
        base: its proved base.
        settings: which cache, and which classes may run.
        runtime: torch; or onnx, for the graph inside the package, or the one made for it later.
        progress: told about a graph that has to be fetched.

    Returns:
        The deviations and findings.

    Raises:
        NotFoundError: there is no graph.
        UnavailableError: there is none, and torch is not installed.
        PairlockError: every other reason not to load it.
    """
    found: GoldenResult
    if runtime == "torch":
        with collector_off():
            opening = import_module(RUNTIMES["torch"][0])
        found = opening.golden_result(package, base, settings)
        return found
    graphs = import_module("pairlock_flavors.onnx_runtime.reproving")
    if "onnx" in package.manifest.runtimes:
        found = graphs.golden_result(package, base, package.root / RUNTIME_FOLDER)
        return found
    graph = find_graph(package, "float32", settings=settings, progress=progress)
    if graph is None:
        raise _no_graph(package)
    found = graphs.golden_result(package, base, graph.folder)
    graph.proved.check_unchanged()
    return found


def _no_graph(package: Package) -> Exception:
    if not is_installed("torch"):
        return torch_alone_can(package.located.uri)
    return NotFoundError(
        f"{package.located.uri} holds no graph for the onnx runtime",
        kind=ErrorKind.RUNTIME_MISSING,
        checked="the runtimes that its manifest names, and the graphs made for it later",
        expected="onnx, as PAIRLOCK_RUNTIME says",
        found=", ".join(package.manifest.runtimes),
        done="no vectors were computed",
        hint="unset PAIRLOCK_RUNTIME, and torch proves it",
    )
