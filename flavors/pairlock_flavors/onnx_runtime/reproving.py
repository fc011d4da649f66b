"""Recomputes a package's golden vectors by its graph, in a session of their own.

The weights are mapped from where they were proved, for as long as this takes: no copy is made of
what lies in a local folder. Whoever calls this looks afterwards whether a file was changed.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from pairlock.bases import Base
from pairlock.manifest.format import MODEL_FOLDER
from pairlock.packages import Package
from pairlock_flavors.golden_vectors import GoldenResult, check_golden
from pairlock_flavors.onnx_runtime.assemble import GraphParts, assemble


def golden_result(package: Package, base: Base | None, runtime_folder: Path) -> GoldenResult:
    """Compare what a proved package's graph computes with its golden vectors.

    Args:
        package: the package.
        base: its proved base.
        runtime_folder: where the graph lies, proved; in float32.

    Returns:
        The deviations and findings.

    Raises:
        IntegrityError: the files are not what a graph of this package needs.
        FormatError: `runtime.json` cannot be read.
        UnsupportedError: it is a kind that has no graph.
    """
    manifest, root = package.manifest, package.root
    folder: AbstractContextManager[Path] = nullcontext(root / MODEL_FOLDER)
    if base is not None:
        folder = base.folder()
    with folder as model_folder:
        model = assemble(
            GraphParts(
                manifest=manifest,
                root=root,
                model_folder=model_folder,
                runtime_folder=runtime_folder,
                loaded_from=str(root) if base is None else base.requested,
            ),
            alone=True,
        )
        return check_golden(model, manifest, root)
