"""Writes a payload, and says everything about it but its golden vectors and spaces.

A draft is a manifest that the loader can already assemble a model from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from sentence_transformers import SentenceTransformer

from pairlock.bases import Base
from pairlock.digests import FileRecord, copy_hashing
from pairlock.errors import (
    ErrorKind,
    Finding,
    IntegrityError,
    InvalidInputError,
    UnsupportedError,
)
from pairlock.golden import FLOAT32_BARS
from pairlock.manifest import (
    DeviceHints,
    EncodeSettings,
    GoldenFacts,
    Kind,
    LeftOutFile,
    Manifest,
    Provenance,
    Spaces,
)
from pairlock.manifest.format import (
    DTYPES,
    FORMAT_VERSION,
    MODEL_FOLDER,
)
from pairlock.progress import Progress
from pairlock.stores import LocalStore
from pairlock_flavors.packaging.probing import probe_dimension
from pairlock_flavors.packaging.sources import ModelSource
from pairlock_flavors.torch_runtime.models.description import (
    describe,
    saved_dtype,
    weight_findings,
)
from pairlock_flavors.torch_runtime.models.loading import load_sentence_transformer
from pairlock_flavors.torch_runtime.open import (
    library_versions,
)
from pairlock_flavors.torch_runtime.placement.trial import measure_hints

BATCH_SIZE = 32
"""Sentence-Transformers' own default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller says about a model beyond the model itself. None: what the source says."""

    base: str | None = None
    query_instruction: str | None = None
    text_instruction: str | None = None
    normalize: bool | None = None
    allowed: frozenset[str] = frozenset()
    """Classes of other packages that a model may be made of."""

    runtimes: tuple[str, ...] = ("torch", "onnx")
    """What the package shall be made for; what cannot be is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A payload, and what is known before any golden vector is."""

    manifest: Manifest
    base: Base | None

    def opened_base(self) -> Base:
        """The base, for a draft that has one."""
        assert self.base is not None
        return self.base


def draft_model(source: ModelSource, root: Path, options: Options, *, progress: Progress) -> Draft:
    """Write the payload of a full model's package.

    Args:
        source: the model.
        root: an empty folder.
        options: what the caller says about it.
        progress: told about the work.

    Returns:
        The draft.

    Raises:
        InvalidInputError: the options and the source do not fit.
        IntegrityError: the source is not sound.
        PairlockError: every other reason not to package.
    """
    if options.base is not None:
        raise InvalidInputError(
            "a full model stands on no base",
            kind=ErrorKind.ARGUMENT_INVALID,
            checked="base",
            expected="no base for a full model",
            found=options.base,
            done="nothing was written",
            hint="leave base out, or pass the adapter's folder",
        )
    records = _copy_model(source, root, progress)
    with progress.step("check weights"):
        folder = root / MODEL_FOLDER
        model = load_sentence_transformer(
            nullcontext(folder), device="cpu", dtype=None, allowed=options.allowed
        )
        if findings := weight_findings(model, folder, source.layout.modules):
            raise _made_up(source.store.location, findings)
        settings = settled(source.settings or describe(model), options)
        dtype = checked_dtype(model)
        where = source.store.location
        dimension = probe_dimension(model, settings, dtype=dtype, where=where)
    with progress.step("try a batch"):
        devices = measure_hints(
            model,
            dtype=dtype,
            batch_size=BATCH_SIZE,
            max_length=settings.max_seq_length,
        )
    manifest = manifest_of(
        Kind.FULL,
        records,
        settings,
        dimension=dimension,
        devices=devices,
        provenance=provenance_of(source.source, source.layout.left_out),
    )
    return Draft(manifest=manifest, base=None)


def _copy_model(source: ModelSource, root: Path, progress: Progress) -> tuple[FileRecord, ...]:
    targets = {path: f"{MODEL_FOLDER}/{path}" for path in source.layout.belonging}
    entries = source.store.entries()
    total = sum(entries[path].size_bytes for path in targets)
    with progress.step("copy", total) as advance:
        return tuple(copy_files(source.store, targets, root, on_bytes=advance))


def copy_files(
    store: LocalStore, targets: Mapping[str, str], root: Path, *, on_bytes: Callable[[int], None]
) -> list[FileRecord]:
    """Copy files into a package while they are hashed.

    Args:
        store: where they lie.
        targets: their paths there, to their paths in the package.
        root: the package's folder.
        on_bytes: told how many bytes were copied.
    """
    return [
        copy_hashing(store.local_path(path), root / target, recorded_as=target, on_bytes=on_bytes)
        for path, target in targets.items()
    ]


def settled(settings: EncodeSettings, options: Options) -> EncodeSettings:
    """Settings with what the caller says instead."""
    query, text = options.query_instruction, options.text_instruction
    return replace(
        settings,
        query_instruction=settings.query_instruction if query is None else query,
        text_instruction=settings.text_instruction if text is None else text,
        normalize=settings.normalize if options.normalize is None else options.normalize,
    )


def checked_dtype(model: SentenceTransformer) -> str:
    """The dtype of a model's weights.

    Raises:
        UnsupportedError: it is none that a package may be in.
    """
    dtype = saved_dtype(model)
    if dtype not in DTYPES:
        raise UnsupportedError(
            f"models in {dtype} are not packaged by this release",
            kind=ErrorKind.KIND_UNSUPPORTED,
            checked="the dtype of the weights",
            expected=", ".join(DTYPES),
            found=dtype,
            done="nothing was written",
            hint="convert the model and save it again",
        )
    return dtype


def manifest_of(
    kind: Kind,
    records: tuple[FileRecord, ...],
    settings: EncodeSettings,
    *,
    dimension: int,
    devices: DeviceHints,
    provenance: Provenance,
) -> Manifest:
    """A manifest before golden vectors and spaces are known, without what only adapters have."""
    return Manifest(
        format_version=FORMAT_VERSION,
        kind=kind,
        dimension=dimension,
        files=records,
        encode=settings,
        spaces=Spaces(document="", query=""),
        adapter=None,
        base=None,
        golden=GoldenFacts(texts=1, bars=FLOAT32_BARS, adapter_shift=None),
        devices=devices,
        runtimes=("torch",),
        provenance=provenance,
    )


def provenance_of(source: str, left_out: Iterable[tuple[str, str]]) -> Provenance:
    """Where a package comes from, and the libraries that make it."""
    return Provenance(
        libraries=library_versions(),
        source=source,
        left_out=tuple(LeftOutFile(path=path, reason=reason) for path, reason in left_out),
    )


def _made_up(where: str, findings: tuple[Finding, ...]) -> IntegrityError:
    return IntegrityError(
        f"the files in {where} do not hold the weights of the model that they make",
        kind=findings[0].kind,
        checked="every tensor of the loaded model against the files",
        findings=findings[:20],
        found=f"{len(findings)} missing or changed",
        done="nothing was written; a library would make them up",
        hint="save the model again with SentenceTransformer.save; where it does not read what it "
        "saved (WordWeights), put the weights into the module's configuration",
    )
