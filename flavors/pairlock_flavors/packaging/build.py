"""Builds a package in a folder: payload, golden vectors, spaces, manifest, proof.

Golden vectors are recorded from the packaged bytes, through the loader itself. Then the finished
package is opened from scratch and compared with them, so a package that cannot be loaded, or whose
vectors depend on anything that is not in it, is never made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pairlock.bases import Base
from pairlock.catalog import Located
from pairlock.config import current_settings
from pairlock.digests import FileRecord, record_file
from pairlock.errors import (
    ErrorKind,
    IntegrityError,
)
from pairlock.golden import FLOAT32_BARS, adapter_shift, golden_texts, project
from pairlock.golden_files import write_golden
from pairlock.manifest import (
    MANIFEST_NAME,
    GoldenFacts,
    LayerFacts,
    Manifest,
    PeftFacts,
    Role,
    package_digest,
    write_manifest,
)
from pairlock.manifest.format import (
    GOLDEN_TEXTS,
    GOLDEN_VECTORS,
    PAGE_NAME,
)
from pairlock.packages import open_package
from pairlock.progress import Progress
from pairlock_flavors.golden_vectors import (
    Vectors,
    compute_vectors,
    judge,
)
from pairlock_flavors.packaging.adapter_draft import draft_adapter
from pairlock_flavors.packaging.draft import Options, draft_model
from pairlock_flavors.packaging.graphs.packing import Packed, pack_graph
from pairlock_flavors.packaging.page import render_page
from pairlock_flavors.packaging.sources import ModelSource, Source
from pairlock_flavors.receiving import versions_of
from pairlock_flavors.torch_runtime.assemble import Identity, Parts, assemble
from pairlock_flavors.torch_runtime.open import (
    GOLDEN_PLACEMENT,
    golden_result,
)
from pairlock_flavors.torch_runtime.spaces import bare_model, compute_spaces


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A finished package in a folder."""

    root: Path
    manifest: Manifest
    digest: str
    warnings: tuple[str, ...]
    progress: Progress
    """Told about the work that MLflow has done with it."""


def build_package(source: Source, root: Path, options: Options, *, progress: Progress) -> Built:
    """Build and prove a package.

    Args:
        source: a model or an adapter.
        root: an empty folder.
        options: what the caller says about it.
        progress: told about the work.

    Returns:
        The finished package.

    Raises:
        InvalidInputError: the options and the source do not fit.
        IntegrityError: the source, its base or the finished package is not sound.
        PairlockError: every other reason not to package.
    """
    with torch.inference_mode(False):  # as for a load; the caller may be in it
        if isinstance(source, ModelSource):
            draft = draft_model(source, root, options, progress=progress)
        else:
            draft = draft_adapter(source, root, options, progress=progress)
    parts = Parts(
        manifest=draft.manifest,
        root=root,
        base=draft.opened_base,
        # whoever packages an adapter of a class allows that class
        allowed=options.allowed | frozenset(draft.manifest.foreign_classes),
    )
    identity = Identity(uri=str(root), package_digest="sha256:" + "0" * 64)
    texts = golden_texts(
        draft.manifest.encode.max_seq_length, few=isinstance(draft.manifest.adapter, LayerFacts)
    )
    with progress.step("record golden vectors"):
        embedding = assemble(parts, identity=identity, placement=GOLDEN_PLACEMENT)
        vectors = compute_vectors(embedding, texts, is_adapter=draft.base is not None)
    with progress.step("describe spaces"):
        spaces = compute_spaces(parts, embedding)
    graph = Packed(records=(), reason=None)
    if "onnx" in options.runtimes:
        with progress.step("export graph"):
            graph = pack_graph(
                draft.manifest, root, draft.base, bare_model(embedding), vectors, texts
            )
    write_golden(vectors, texts, root)
    shift = _adapter_shift(vectors, draft.manifest)
    manifest = replace(
        draft.manifest,
        files=_with_golden((*draft.manifest.files, *graph.records), root),
        **_runtimes(draft.manifest, graph),
        spaces=spaces,
        golden=GoldenFacts(texts=len(texts), bars=FLOAT32_BARS, adapter_shift=shift),
    )
    content = write_manifest(manifest)
    digest = package_digest(content)
    (root / PAGE_NAME).write_text(render_page(manifest, digest), encoding="utf-8")
    (root / MANIFEST_NAME).write_bytes(content)
    _prove(root, draft.base, digest, parts.allowed, progress)
    if draft.base is not None:
        draft.base.proved.check_unchanged()
    _compare_with_live(source, vectors, texts)
    return Built(
        root=root,
        manifest=manifest,
        digest=digest,
        warnings=(*_warnings(manifest, vectors), *_without_graph(graph)),
        progress=progress,
    )


def _with_golden(records: tuple[FileRecord, ...], root: Path) -> tuple[FileRecord, ...]:
    golden = [record_file(root, path) for path in (GOLDEN_TEXTS, GOLDEN_VECTORS)]
    return tuple(sorted([*records, *golden], key=lambda record: record.path))


def _adapter_shift(vectors: Vectors, manifest: Manifest) -> float | None:
    if manifest.adapter is None:
        return None
    roles = tuple(Role) if isinstance(manifest.adapter, PeftFacts) else manifest.adapter.transforms
    shifts = [
        adapter_shift(vectors[role.value], vectors[f"base_{role}"])
        for role in roles
        if vectors[role.value].shape == vectors[f"base_{role}"].shape
    ]
    return max(shifts, default=0.0)


def _prove(
    root: Path, base: Base | None, digest: str, allowed: frozenset[str], progress: Progress
) -> None:
    """Open the finished package as a load would, and compare a second, fresh model with it."""
    located = Located(requested=str(root), uri=str(root), location=str(root))
    settings = current_settings(allow=allowed)
    package = open_package(located, settings=settings, progress=progress, expected_digest=digest)
    with progress.step("prove"):
        result = golden_result(package, base, settings)
    if result.findings:
        raise IntegrityError(
            "the model gives other vectors each time it is loaded",
            kind=ErrorKind.NOT_REPRODUCIBLE,
            checked="golden vectors of two loads of the same bytes",
            findings=result.findings,
            done="nothing was registered",
            hint="weights are missing from the files, so that a library makes them up; save the "
            "model again",
        )


def _compare_with_live(source: Source, vectors: Vectors, texts: tuple[str, ...]) -> None:
    if source.live is None:
        return
    live = {role.value: source.live.embed(texts, role) for role in Role}
    result = judge(
        vectors,
        {**vectors, **live},
        device_type=source.live.device_type,
        dtype=source.live.dtype,
    )
    if result.findings:
        raise IntegrityError(
            f"the package does not compute what the {source.source.removeprefix('live ')} computes",
            kind=ErrorKind.GOLDEN,
            checked="golden texts through the live object and through the package",
            findings=result.findings,
            done="nothing was registered",
            hint="for an adapter, name the base it is on; for a model, save it with its own "
            "library and pass the folder",
        )


def _warnings(manifest: Manifest, vectors: Vectors) -> tuple[str, ...]:
    warnings = []
    shift, dtype = manifest.golden.adapter_shift, manifest.devices.dtype
    if shift is not None and not _is_told(vectors, "float32"):
        warnings.append(
            f"the adapter changes nothing that vectors can show: it moves no golden vector by more "
            f"than {shift:.1e}, so nobody can tell whether it is applied"
        )
    elif shift is not None and not _is_told(vectors, dtype):
        warnings.append(
            f"the adapter moves no golden vector by more than {shift:.1e}: in {dtype}, which this "
            "package runs in, nobody can tell by vectors whether it is applied; in float32 it shows"
        )
    if "without modules.json" in manifest.provenance.source:
        warnings.append(
            "the folder has no modules.json: Sentence-Transformers uses mean pooling and does not "
            "normalise, and that is what was packaged"
        )
    return tuple(warnings)


def _runtimes(manifest: Manifest, graph: Packed) -> dict[str, Any]:
    """What runs the package, and the libraries that its vectors depend on."""
    if not graph.records:
        return {"runtimes": ("torch",)}
    libraries = {**manifest.provenance.libraries, **versions_of(("onnxruntime", "onnx"))}
    return {
        "runtimes": ("torch", "onnx"),
        "provenance": replace(manifest.provenance, libraries=libraries),
    }


def _without_graph(graph: Packed) -> tuple[str, ...]:
    if graph.reason is None:
        return ()
    return (f"the onnx runtime cannot run this model, torch does: {graph.reason}",)


def _is_told(vectors: Vectors, dtype: str) -> bool:
    """Whether a missing adapter could be told from an applied one in some role.

    An adapter that changes the dimension always can.
    """
    for role in Role:
        base, adapted = vectors[f"base_{role}"], vectors[role.value]
        if base.shape != adapted.shape:
            return True
        if project(adapted, base, adapted, dtype=dtype) is not None:
            return True
    return False
