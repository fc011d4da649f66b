"""Makes a graph for a package that exists already, and measures it by its golden vectors."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from pairlock.bases import Base
from pairlock.config import Settings
from pairlock.digests import record_file
from pairlock.errors import ErrorKind, IntegrityError, UnsupportedError
from pairlock.golden import FLOAT32_BARS
from pairlock.golden_files import read_golden
from pairlock.manifest import GoldenBars
from pairlock.manifest.compiled import Compiled
from pairlock.manifest.format import MODEL_FOLDER, RUNTIME_DOCUMENT
from pairlock.manifest.linked import LinkedGraph
from pairlock.packages import Package
from pairlock_flavors.golden_vectors import GoldenResult, check_golden
from pairlock_flavors.onnx_runtime.assemble import assemble
from pairlock_flavors.packaging.graphs.compiling import Source, compile_graph, write_graph
from pairlock_flavors.packaging.graphs.quantizing import quantized_graph
from pairlock_flavors.packaging.graphs.refusal import NotExportedError
from pairlock_flavors.receiving import versions_of
from pairlock_flavors.torch_runtime import assemble as torch_assemble
from pairlock_flavors.torch_runtime.embeddings.torch_embedding import TorchEmbedding
from pairlock_flavors.torch_runtime.foreign_classes import allowed_classes
from pairlock_flavors.torch_runtime.open import GOLDEN_PLACEMENT
from pairlock_flavors.torch_runtime.spaces import bare_model

LIBRARIES = ("pairlock", "torch", "sentence-transformers", "transformers", "onnx", "onnxruntime")

_MARGIN = 2.0
"""How much further than it was measured a quantised graph may lie: another processor adds up in
another order, and rounds other activations up."""

_UNBOUND = GoldenBars(one_minus_cosine=2.0, max_abs=1e9, norm=1e9)


def make_graph(
    package: Package, base: Base | None, precision: str, folder: Path, *, settings: Settings
) -> LinkedGraph:
    """Make a graph of a proved package, and prove it.

    Args:
        package: the package.
        base: its proved base.
        precision: `float32` or `int8`.
        folder: an empty folder for the graph's files.
        settings: which classes may run.

    Returns:
        What it is: in float32 within the bars of torch, in int8 with bars of its own.

    Raises:
        UnsupportedError: the onnx runtime cannot run the model.
        IntegrityError: the graph computes other vectors.
    """
    where: AbstractContextManager[Path] = nullcontext(package.root / MODEL_FOLDER)
    if base is not None:
        where = base.folder()
    embedding = _embedding(package, base, settings)
    _, texts = read_golden(package.root, package.manifest)
    with where as model_folder:
        source = Source(
            manifest=package.manifest,
            root=package.root,
            model_folder=model_folder,
            bare=bare_model(embedding),
            base=base,
        )
        try:
            if precision == "int8":
                graph = quantized_graph(source, _whole(embedding), folder)
                compiled = write_graph(source, graph, folder, texts)
            else:
                compiled = compile_graph(source, folder, texts)
        except NotExportedError as error:
            raise _unsupported(package, error) from error
        bars, result = _measured(source, folder, precision)
    if result.findings:
        raise _other_vectors(package, result)
    return LinkedGraph(
        package_digest=package.digest,
        precision=precision,
        files=tuple(record_file(folder, name) for name in _names(compiled)),
        bars=bars,
        one_minus_cosine=result.worst(),
        libraries=versions_of(LIBRARIES),
    )


def _embedding(package: Package, base: Base | None, settings: Settings) -> TorchEmbedding:
    def opened_base() -> Base:
        assert base is not None
        return base

    parts = torch_assemble.Parts(
        manifest=package.manifest,
        root=package.root,
        base=opened_base,
        allowed=allowed_classes(settings),
    )
    identity = torch_assemble.Identity(uri=package.located.uri, package_digest=package.digest)
    with torch.inference_mode(False):
        return torch_assemble.assemble(parts, identity=identity, placement=GOLDEN_PLACEMENT)


def _whole(embedding: TorchEmbedding) -> Any:
    """The pipeline with a PEFT adapter in it; without one, the bare pipeline."""
    model = getattr(embedding, "_model", None)
    return bare_model(embedding).model if model is None else model


def _measured(source: Source, folder: Path, precision: str) -> tuple[GoldenBars, GoldenResult]:
    """The bars of a graph, and how it stands to them."""
    manifest = source.manifest
    model = assemble(source.parts(folder), alone=True)
    if precision == "float32":
        return FLOAT32_BARS, check_golden(model, manifest, source.root)
    found = check_golden(model, manifest, source.root, bars=_UNBOUND)
    deviations = found.deviations.values()
    bars = GoldenBars(
        one_minus_cosine=_MARGIN * max(deviation.one_minus_cosine for deviation in deviations),
        max_abs=_MARGIN * max(deviation.max_abs for deviation in deviations),
        norm=_MARGIN * max(deviation.norm for deviation in deviations),
    )
    return bars, found


def _names(compiled: Compiled) -> tuple[str, ...]:
    return tuple(sorted((RUNTIME_DOCUMENT, *compiled.file_names)))


def _unsupported(package: Package, error: NotExportedError) -> UnsupportedError:
    return UnsupportedError(
        f"the onnx runtime cannot run {package.located.uri}",
        kind=ErrorKind.KIND_UNSUPPORTED,
        checked="the model, by torch's exporter and by tokenizers",
        expected="a model that is a graph over tokens",
        found=error.reason,
        done="nothing was stored",
        hint="load it with runtime='torch'",
    )


def _other_vectors(package: Package, result: GoldenResult) -> IntegrityError:
    return IntegrityError(
        f"the graph of {package.located.uri} computes other vectors than were recorded",
        kind=result.findings[0].kind,
        checked="golden vectors, in float32 on the CPU",
        findings=result.findings,
        done="nothing was stored",
        hint="compare `pairlock doctor` with the versions in `pairlock show`; load with "
        "runtime='torch'",
    )
