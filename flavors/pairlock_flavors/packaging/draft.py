"""Writes a payload, and says everything about it but its golden vectors.

A draft is a manifest that the loader can already assemble a model from.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from llama_index.embeddings.huggingface.utils import (
    get_query_instruct_for_model_name,
    get_text_instruct_for_model_name,
)
from sentence_transformers import SentenceTransformer

from pairlock.bases import Base, find_base
from pairlock.config import current_settings
from pairlock.digests import FileRecord, copy_hashing, record_file, tree_digest
from pairlock.errors import (
    ErrorKind,
    Finding,
    IntegrityError,
    InvalidInputError,
    UnsupportedError,
)
from pairlock.golden import FLOAT32_BARS
from pairlock.manifest import (
    BaseOrigin,
    BasePin,
    DeviceHints,
    EncodeSettings,
    GoldenFacts,
    Kind,
    LeftOutFile,
    Manifest,
    Provenance,
    Role,
    Trial,
)
from pairlock.manifest.format import (
    ADAPTER_WEIGHTS,
    DTYPES,
    FORMAT_VERSION,
    MODEL_FOLDER,
)
from pairlock.progress import Progress
from pairlock_flavors.packaging.sources import AdapterSource, ModelSource, Source
from pairlock_flavors.torch_runtime.adapters.layers import check_tensors, write_adapter
from pairlock_flavors.torch_runtime.models.description import (
    describe,
    missing_weights,
    saved_dtype,
)
from pairlock_flavors.torch_runtime.models.loading import load_sentence_transformer
from pairlock_flavors.torch_runtime.open import (
    library_versions,
)

_BATCH_SIZE = 32
"""Sentence-Transformers' own default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller says about a model beyond the model itself. None: what the source says."""

    base: str | None = None
    query_instruction: str | None = None
    text_instruction: str | None = None
    normalize: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A payload, and what is known before any golden vector is."""

    manifest: Manifest
    base: Base | None


def make_draft(source: Source, root: Path, options: Options, *, progress: Progress) -> Draft:
    """Write the payload of a package.

    Args:
        source: a model or an adapter.
        root: an empty folder.
        options: what the caller says about it.
        progress: told about the work.

    Returns:
        The draft.

    Raises:
        InvalidInputError: the options and the source do not fit, or adapter and base do not.
        IntegrityError: the source or its base is not sound.
        PairlockError: every other reason not to package.
    """
    if isinstance(source, AdapterSource):
        return _draft_adapter(source, root, options, progress)
    return _draft_model(source, root, options, progress)


def _draft_model(source: ModelSource, root: Path, options: Options, progress: Progress) -> Draft:
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
    records = _copy_model(source, root / MODEL_FOLDER, progress)
    with progress.step("check weights"):
        folder = root / MODEL_FOLDER
        model = load_sentence_transformer(nullcontext(folder), device="cpu", dtype=None)
        if missing := missing_weights(model, folder / source.layout.encoder_folder):
            raise _missing(source.store.location, missing)
        settings = _settled(source.settings or describe(model), options)
        dtype, own = _checked_dtype(model), int(model.get_embedding_dimension())
    manifest = _manifest(
        Kind.FULL,
        records,
        settings,
        dimension=min(own, settings.truncate_dim or own),
        dtype=dtype,
        provenance=_provenance(source.source, source.layout.left_out),
    )
    return Draft(manifest=manifest, base=None)


def _draft_adapter(
    source: AdapterSource, root: Path, options: Options, progress: Progress
) -> Draft:
    check_tensors(source.facts, source.tensors, where=source.source)
    asked = options.base or source.base_uri
    if asked is None:
        raise InvalidInputError(
            "an adapter needs its base",
            kind=ErrorKind.ARGUMENT_INVALID,
            checked="base",
            expected="the model that the adapter was trained on",
            found="none",
            done="nothing was written",
            hint="give base='models:/name/1' or --base models:/name/1; log the base first if it "
            "is not registered yet",
        )
    base = find_base(asked, settings=current_settings(), progress=progress)
    with progress.step("load base"):
        model = load_sentence_transformer(base.folder(), device="cpu", dtype=None)
        settings = _settled(source.settings or _base_settings(base, describe(model)), options)
        dtype, own = _checked_dtype(model), int(model.get_embedding_dimension())
    dimension = min(own, settings.truncate_dim or own)
    _check_fits(source, dimension, base.uri)
    write_adapter(source.tensors, root / ADAPTER_WEIGHTS)
    manifest = replace(
        _manifest(
            source.kind,
            (record_file(root, ADAPTER_WEIGHTS),),
            settings,
            dimension=source.facts.out_features,
            dtype=dtype,
            provenance=_provenance(source.source, source.left_out),
        ),
        adapter=source.facts,
        base=BasePin(
            uri=base.uri,
            requested=base.requested,
            origin=base.origin,
            revision=base.revision,
            package_digest=base.package_digest,
            tree_digest=tree_digest(base.records),
            dimension=dimension,
            files=tuple(sorted(base.records, key=lambda record: record.path)),
        ),
    )
    return Draft(manifest=manifest, base=base)


def _copy_model(source: ModelSource, target: Path, progress: Progress) -> tuple[FileRecord, ...]:
    paths = source.layout.belonging
    entries = source.store.entries()
    total = sum(entries[path].size_bytes for path in paths)
    with progress.step("copy", total) as advance:
        return tuple(
            copy_hashing(
                source.store.local_path(path),
                target / path,
                recorded_as=f"{MODEL_FOLDER}/{path}",
                on_bytes=advance,
            )
            for path in paths
        )


def _base_settings(base: Base, described: EncodeSettings) -> EncodeSettings:
    """How the base embeds by itself: as recorded, or as its folder says.

    LlamaIndex puts instructions before the texts of models that it knows by their hub name, and an
    adapter trained on such a name has seen them; a copy of the same weights in a folder has none.
    """
    if base.manifest is not None:
        return base.manifest.encode
    if base.origin is not BaseOrigin.HUB:
        return described
    repository = base.uri.removeprefix("hf://").partition("@")[0]
    return replace(
        described,
        query_instruction=described.query_instruction
        or get_query_instruct_for_model_name(repository),
        text_instruction=described.text_instruction or get_text_instruct_for_model_name(repository),
    )


def _settled(settings: EncodeSettings, options: Options) -> EncodeSettings:
    query, text = options.query_instruction, options.text_instruction
    return replace(
        settings,
        query_instruction=settings.query_instruction if query is None else query,
        text_instruction=settings.text_instruction if text is None else text,
        normalize=settings.normalize if options.normalize is None else options.normalize,
    )


def _checked_dtype(model: SentenceTransformer) -> str:
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


def _check_fits(source: AdapterSource, dimension: int, uri: str) -> None:
    facts = source.facts
    both = set(facts.transforms) == set(Role)
    if facts.in_features == dimension and (facts.out_features == dimension or both):
        return
    raise InvalidInputError(
        f"the adapter does not fit the base {uri}",
        kind=ErrorKind.DIMENSION,
        checked="dimensions of adapter and base",
        expected=f"an adapter from {dimension} to {dimension} dimensions: queries that it "
        "transforms are compared with documents that stay in the base's space",
        found=f"an adapter from {facts.in_features} to {facts.out_features}",
        done="nothing was written",
        hint="name the base that the adapter was trained on",
    )


def _manifest(
    kind: Kind,
    records: tuple[FileRecord, ...],
    settings: EncodeSettings,
    *,
    dimension: int,
    dtype: str,
    provenance: Provenance,
) -> Manifest:
    weights = sum(r.size_bytes for r in records if r.path.endswith(".safetensors"))
    return Manifest(
        format_version=FORMAT_VERSION,
        kind=kind,
        dimension=dimension,
        files=records,
        encode=settings,
        adapter=None,
        base=None,
        golden=GoldenFacts(texts=1, bars=FLOAT32_BARS, adapter_shift=None),
        devices=DeviceHints(
            dtype=dtype,
            order=("cuda", "mps", "cpu"),
            weights_bytes=weights,
            batch_size=_BATCH_SIZE,
            attention=None,
            trial=Trial(batch_size=1, max_length=1, peak_bytes=0),
        ),
        runtimes=("torch",),
        provenance=provenance,
    )


def _provenance(source: str, left_out: Iterable[tuple[str, str]]) -> Provenance:
    return Provenance(
        libraries=library_versions(),
        source=source,
        left_out=tuple(LeftOutFile(path=path, reason=reason) for path, reason in left_out),
    )


def _missing(where: str, missing: list[str]) -> IntegrityError:
    return IntegrityError(
        f"weights are missing from {where}",
        kind=ErrorKind.TENSOR_KEYS,
        checked="the tensors that the architecture needs",
        findings=[
            Finding(kind=ErrorKind.TENSOR_KEYS, place=name, expected="a tensor", found="nothing")
            for name in missing[:20]
        ],
        found=f"{len(missing)} missing",
        done="nothing was written; a library would make them up at random",
        hint="save the model again with SentenceTransformer.save",
    )
