"""Drafts of adapters: the payload, the pin of the base, and how the two embed together."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llama_index.embeddings.huggingface.utils import (
    get_query_instruct_for_model_name,
    get_text_instruct_for_model_name,
)
from sentence_transformers import SentenceTransformer

from pairlock.bases import Base, find_base
from pairlock.config import current_settings
from pairlock.digests import FileRecord, record_file, tree_digest
from pairlock.errors import ErrorKind, Finding, IntegrityError, InvalidInputError
from pairlock.manifest import (
    AdapterFacts,
    BaseOrigin,
    BasePin,
    CustomFacts,
    EncodeSettings,
    Kind,
    LayerFacts,
    PeftFacts,
    Role,
)
from pairlock.manifest.format import (
    ADAPTER_FOLDER,
    ADAPTER_WEIGHTS,
    PEFT_CONFIG,
    PEFT_WEIGHTS,
)
from pairlock.progress import Progress
from pairlock_flavors.layer_shapes import layer_shapes
from pairlock_flavors.packaging.draft import (
    BATCH_SIZE,
    Draft,
    Options,
    checked_dtype,
    copy_files,
    manifest_of,
    provenance_of,
    settled,
)
from pairlock_flavors.packaging.pickles import read_state_dict
from pairlock_flavors.packaging.sources import (
    AdapterSource,
    CustomSource,
    LayerSource,
    PeftSource,
)
from pairlock_flavors.torch_runtime.adapters.custom import describe_custom
from pairlock_flavors.torch_runtime.adapters.tensors import check_tensors, write_tensors
from pairlock_flavors.torch_runtime.models.description import describe, dimension_of
from pairlock_flavors.torch_runtime.models.loading import load_sentence_transformer
from pairlock_flavors.torch_runtime.models.pipelines import (
    embeddings_rows,
    put_modules,
    put_tokenizer,
    read_tokenizer,
    same_vocabulary,
)
from pairlock_flavors.torch_runtime.models.residents import ModelKey, ResidentModel
from pairlock_flavors.torch_runtime.placement.trial import measure_hints


@dataclass(frozen=True, slots=True, kw_only=True)
class _LoadedBase:
    """A base, and its model in memory."""

    found: Base
    model: SentenceTransformer
    settings: EncodeSettings
    """How the base embeds by itself."""

    dtype: str


def draft_adapter(
    source: AdapterSource, root: Path, options: Options, *, progress: Progress
) -> Draft:
    """Write the payload of an adapter's package.

    Args:
        source: the adapter.
        root: an empty folder.
        options: what the caller says about it.
        progress: told about the work.

    Returns:
        The draft, with the base pinned.

    Raises:
        InvalidInputError: no base is named, or adapter and base do not fit.
        IntegrityError: the adapter or its base is not sound.
        PairlockError: every other reason not to package.
    """
    if isinstance(source, LayerSource):
        what = f"a {source.facts.class_name}"
        check_tensors(layer_shapes(source.facts), source.tensors, what=what, where=source.source)
    base = _load_base(source, options, progress)
    if isinstance(source, PeftSource):
        return _draft_peft(source, base, root, options, progress)
    return _draft_layer(source, base, root, options, progress)


def _load_base(source: AdapterSource, options: Options, progress: Progress) -> _LoadedBase:
    asked = options.base or source.base_uri
    if asked is None:
        named = source.layout.base_name if isinstance(source, PeftSource) else ""
        raise InvalidInputError(
            "an adapter needs its base",
            kind=ErrorKind.ARGUMENT_INVALID,
            checked="base",
            expected="the model that the adapter was trained on",
            found=f"none; the adapter calls it {named!r}, which proves nothing"
            if named
            else "none",
            done="nothing was written",
            hint="give base='models:/name/1' or --base models:/name/1; log the base first if it "
            "is not registered yet",
        )
    found = find_base(asked, settings=current_settings(), progress=progress)
    with progress.step("load base"):
        model = load_sentence_transformer(
            found.folder(), device="cpu", dtype=None, allowed=options.allowed
        )
        return _LoadedBase(
            found=found,
            model=model,
            settings=_base_settings(found, describe(model)),
            dtype=checked_dtype(model),
        )


def _draft_layer(
    source: LayerSource | CustomSource,
    base: _LoadedBase,
    root: Path,
    options: Options,
    progress: Progress,
) -> Draft:
    settings = settled(source.settings or base.settings, options)
    dimension = dimension_of(base.model, settings)
    facts: LayerFacts | CustomFacts
    if isinstance(source, LayerSource):
        kind, facts = source.kind, source.facts
    else:
        kind = Kind.CUSTOM
        facts = describe_custom(source.adapter, source.class_path, source.transforms, dimension)
    _check_fits(facts.in_features, facts.out_features, facts.transforms, dimension, base.found.uri)
    write_tensors(source.tensors, root / ADAPTER_WEIGHTS)
    records = (record_file(root, ADAPTER_WEIGHTS),)
    # a layer runs in float32, whatever it is saved in
    own = sum(4 * tensor.numel() for tensor in source.tensors.values())
    return _draft(
        kind, facts, records, settings, base, source, facts.out_features, own, progress=progress
    )


def _draft_peft(
    source: PeftSource, base: _LoadedBase, root: Path, options: Options, progress: Progress
) -> Draft:
    layout = source.layout
    _check_encoder_settings(source, base)
    records = _copy_peft(source, root)
    key = ModelKey(tree_digest(base.found.records), "cpu", base.dtype)
    shared = ResidentModel(key, base.model, loaded_from=base.found.requested)
    pipeline = shared.pipeline()
    settings = source.settings or base.settings
    own_tokenizer = False
    if layout.tokenizer:
        kept = root / ADAPTER_FOLDER
        tokenizer = read_tokenizer(kept)
        own_tokenizer = not same_vocabulary(tokenizer, base.model.tokenizer)
        if own_tokenizer:
            put_tokenizer(pipeline, kept)
            _check_vocabulary(len(tokenizer), base)
        else:
            # the base's own is used, so that all adapters share one in memory
            targets = {_tokenizer_target(path) for path in layout.tokenizer}
            for target in targets:
                (root / target).unlink()
            records = tuple(record for record in records if record.path not in targets)
        if layout.has_modules:
            pipeline.max_seq_length = tokenizer.model_max_length
    if layout.has_modules:
        put_modules(pipeline, root / ADAPTER_FOLDER)
        if source.settings is None:
            settings = describe(pipeline)
    settings = settled(settings, options)
    facts = PeftFacts(
        peft_type=layout.peft_type,
        summary=layout.summary,
        own_modules=layout.has_modules,
        own_tokenizer=own_tokenizer,
    )
    dimension = dimension_of(pipeline, settings)
    weights = sum(r.size_bytes for r in records if r.path.endswith(".safetensors"))
    return _draft(
        Kind.PEFT, facts, records, settings, base, source, dimension, weights, progress=progress
    )


def _draft(
    kind: Kind,
    facts: AdapterFacts,
    records: tuple[FileRecord, ...],
    settings: EncodeSettings,
    base: _LoadedBase,
    source: AdapterSource,
    dimension: int,
    own_bytes: int,
    *,
    progress: Progress,
) -> Draft:
    found = base.found
    with progress.step("try a batch"):
        devices = measure_hints(
            base.model,
            dtype=base.dtype,
            batch_size=BATCH_SIZE,
            max_length=settings.max_seq_length,
            extra_weights_bytes=own_bytes,
        )
    manifest = replace(
        manifest_of(
            kind,
            records,
            settings,
            dimension=dimension,
            devices=devices,
            provenance=provenance_of(source.source, source.left_out),
        ),
        adapter=facts,
        base=BasePin(
            uri=found.uri,
            requested=found.requested,
            origin=found.origin,
            revision=found.revision,
            package_digest=found.package_digest,
            tree_digest=tree_digest(found.records),
            dimension=dimension_of(base.model, settings),
            files=tuple(sorted(found.records, key=lambda record: record.path)),
        ),
    )
    return Draft(manifest=manifest, base=found)


def _copy_peft(source: PeftSource, root: Path) -> tuple[FileRecord, ...]:
    layout = source.layout
    targets = {layout.config: PEFT_CONFIG}
    if layout.weights.endswith(".safetensors"):
        targets[layout.weights] = PEFT_WEIGHTS
    for path in layout.settings:
        targets[path] = f"{ADAPTER_FOLDER}/{path}"
    for path in layout.tokenizer:
        targets[path] = _tokenizer_target(path)
    records = copy_files(source.store, targets, root, on_bytes=lambda _count: None)
    if layout.weights not in targets:
        # a pickled state dict, which is read as tensors and kept as safetensors
        write_tensors(read_state_dict(source.store.local_path(layout.weights)), root / PEFT_WEIGHTS)
        records.append(record_file(root, PEFT_WEIGHTS))
    return tuple(sorted(records, key=lambda record: record.path))


def _tokenizer_target(path: str) -> str:
    return f"{ADAPTER_FOLDER}/{path.rpartition('/')[2]}"


def _check_encoder_settings(source: PeftSource, base: _LoadedBase) -> None:
    """What Sentence-Transformers recorded of the encoder must be what the base's encoder does."""
    path = source.layout.encoder_settings
    if path is None:
        return
    own: dict[str, Any] = json.loads(source.store.local_path(path).read_bytes())
    bases: dict[str, Any] = base.model[0].get_config_dict()
    findings = [
        Finding(
            kind=ErrorKind.ENCODE_SETTINGS,
            place=f"{path}: {name}",
            expected=str(bases[name]),
            found=str(own[name]),
        )
        for name in sorted((own.keys() & bases.keys()) - {"max_seq_length"})
        if own[name] != bases[name]
    ]
    if findings:
        raise IntegrityError(
            f"the adapter was trained on an encoder that works otherwise than {base.found.uri}",
            kind=ErrorKind.ENCODE_SETTINGS,
            checked="Sentence-Transformers' settings of the encoder",
            findings=findings,
            done="nothing was written",
            hint="name the base that the adapter was trained on",
        )


def _check_vocabulary(tokens: int, base: _LoadedBase) -> None:
    rows = embeddings_rows(base.model)
    if rows is not None and tokens > rows:
        raise InvalidInputError(
            f"the adapter's tokenizer has more tokens than {base.found.uri} knows",
            kind=ErrorKind.DIMENSION,
            checked="the adapter's vocabulary and the base's table of embeddings",
            expected=f"at most {rows} tokens",
            found=f"{tokens} tokens",
            done="nothing was written",
            hint="resize the base's embeddings and log that model as the base",
        )


def _check_fits(
    in_features: int, out_features: int, transforms: tuple[Role, ...], dimension: int, uri: str
) -> None:
    both = set(transforms) == set(Role)
    if in_features == dimension and (out_features == dimension or both):
        return
    raise InvalidInputError(
        f"the adapter does not fit the base {uri}",
        kind=ErrorKind.DIMENSION,
        checked="dimensions of adapter and base",
        expected=f"an adapter from {dimension} to {dimension} dimensions: queries that it "
        "transforms are compared with documents that stay in the base's space",
        found=f"an adapter from {in_features} to {out_features}",
        done="nothing was written",
        hint="name the base that the adapter was trained on",
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
