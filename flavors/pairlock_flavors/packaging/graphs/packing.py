"""Puts a graph into a package that is being made, or says why there is none."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from pairlock.bases import Base, kept_base
from pairlock.config import current_settings
from pairlock.digests import FileRecord, record_file
from pairlock.errors import PairlockError
from pairlock.golden import FLOAT32_BARS
from pairlock.manifest import Manifest
from pairlock.manifest.format import MODEL_FOLDER, RUNTIME_DOCUMENT, RUNTIME_FOLDER
from pairlock.progress import SILENT
from pairlock_flavors.golden_vectors import Vectors, compare, compute_vectors
from pairlock_flavors.onnx_runtime.assemble import assemble
from pairlock_flavors.packaging.graphs.compiling import Source, compile_graph
from pairlock_flavors.packaging.graphs.refusal import NotExportedError
from pairlock_flavors.torch_runtime.models.sentence_model import SentenceModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What came of it."""

    records: tuple[FileRecord, ...]
    """The files of the graph; none where there is none."""

    reason: str | None
    """Why there is none."""


def pack_graph(
    manifest: Manifest,
    root: Path,
    base: Base | None,
    bare: SentenceModel,
    golden: Vectors,
    texts: tuple[str, ...],
) -> Packed:
    """Make the graph of a package, prove it by golden vectors, and keep it only then.

    Args:
        manifest: what is known of the package.
        root: its folder, with the payload.
        base: an adapter's base.
        bare: the pipeline in float32 on the CPU, without an adapter.
        golden: what torch computes.
        texts: of what.
    """
    target = root / RUNTIME_FOLDER
    folder: AbstractContextManager[Path] = nullcontext(root / MODEL_FOLDER)
    if base is not None:
        if base.model_folder is None:
            # onnxruntime maps no file through a link, and loads map the cache's in any case
            base = kept_base(base, settings=current_settings(), progress=SILENT)
        folder = base.folder()
    with folder as model_folder:
        source = Source(
            manifest=manifest, root=root, model_folder=model_folder, bare=bare, base=base
        )
        try:
            compiled = compile_graph(source, target, texts)
            _prove(source, target, golden, texts)
        except (NotExportedError, PairlockError) as error:
            # torch runs the model all the same, and proves it
            shutil.rmtree(target, ignore_errors=True)
            return Packed(records=(), reason=_reason(error))
    names = (RUNTIME_DOCUMENT, *compiled.file_names)
    records = tuple(record_file(root, f"{RUNTIME_FOLDER}/{name}") for name in names)
    return Packed(records=records, reason=None)


def _reason(error: NotExportedError | PairlockError) -> str:
    if isinstance(error, NotExportedError):
        return error.reason
    return f"{error.summary} ({error.found})" if error.found else error.summary


def _prove(source: Source, target: Path, golden: Vectors, texts: tuple[str, ...]) -> None:
    """Compare what the graph computes with what torch does.

    Raises:
        NotExportedError: it is not the same.
    """
    manifest = source.manifest
    model = assemble(source.parts(target), alone=True)
    found = compute_vectors(model, texts, is_adapter=manifest.kind.is_adapter)
    if wrong := compare(golden, found, FLOAT32_BARS).findings:
        raise NotExportedError(f"its graph computes other vectors: {wrong[0]}")
