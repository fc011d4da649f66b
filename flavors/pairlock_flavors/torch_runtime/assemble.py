"""Puts a model together from proved parts: the one way in which packages become embeddings.

Packaging goes through here too, so that what is recorded is what a load computes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pairlock.bases import Base, model_records
from pairlock.digests import tree_digest
from pairlock.errors import ErrorKind, IntegrityError
from pairlock.manifest import CustomFacts, LayerFacts, Manifest, PeftFacts
from pairlock.manifest.format import (
    ADAPTER_FOLDER,
    ADAPTER_WEIGHTS,
    MODEL_FOLDER,
    PEFT_CONFIG,
    PEFT_WEIGHTS,
)
from pairlock_flavors.torch_runtime.adapters.adapted_model import AdaptedModel
from pairlock_flavors.torch_runtime.adapters.custom import load_custom
from pairlock_flavors.torch_runtime.adapters.layers import load_layer
from pairlock_flavors.torch_runtime.adapters.peft import put_peft
from pairlock_flavors.torch_runtime.embeddings.adapter_embedding import AdapterEmbedding
from pairlock_flavors.torch_runtime.embeddings.full_embedding import FullEmbedding
from pairlock_flavors.torch_runtime.embeddings.peft_embedding import PeftEmbedding
from pairlock_flavors.torch_runtime.embeddings.torch_embedding import TorchEmbedding
from pairlock_flavors.torch_runtime.foreign_classes import check_allowed
from pairlock_flavors.torch_runtime.models.description import apply_settings, foreign_modules
from pairlock_flavors.torch_runtime.models.loading import load_sentence_transformer
from pairlock_flavors.torch_runtime.models.pipelines import put_modules, put_tokenizer
from pairlock_flavors.torch_runtime.models.residents import ModelKey, ResidentModel, resident
from pairlock_flavors.torch_runtime.models.sentence_model import SentenceModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where and how a model is to run."""

    device: str
    dtype: str
    merge: bool | None = None
    """Whether a PEFT adapter is added to the weights; None: in float32 it is. In half precision the
    sum is rounded, which can swallow an adapter."""

    @property
    def merges(self) -> bool:
        """Whether a PEFT adapter is added to the weights."""
        return self.dtype == "float32" if self.merge is None else self.merge


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What the embedding is called."""

    uri: str
    package_digest: str
    base: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an embedding is put together from."""

    manifest: Manifest
    root: Path
    """The package's folder, proved."""

    base: Callable[[], Base]
    """Gives the proved base of an adapter; called only when it is not in memory."""

    allowed: frozenset[str] = frozenset()
    """Classes of other packages that may be imported."""

    def key(self, placement: Placement) -> ModelKey:
        """What the model under the package is in memory."""
        pin = self.manifest.base
        digest = pin.tree_digest if pin else tree_digest(model_records(self.manifest))
        return ModelKey(digest, placement.device, placement.dtype)

    def load(self, placement: Placement) -> ResidentModel:
        """Read the model under the package from its files."""
        folder: AbstractContextManager[Path] = nullcontext(self.root / MODEL_FOLDER)
        loaded_from = str(self.root)
        if self.manifest.base is not None:
            base = self.base()
            folder, loaded_from = base.folder(), base.requested
        model = load_sentence_transformer(
            folder, device=placement.device, dtype=placement.dtype, allowed=self.allowed
        )
        return ResidentModel(
            self.key(placement),
            model,
            loaded_from=loaded_from,
            classes=frozenset(foreign_modules(model)),
        )


def assemble(
    parts: Parts, *, identity: Identity, placement: Placement, fresh: bool = False
) -> TorchEmbedding:
    """Put a model together.

    Args:
        parts: the package, and its base.
        identity: what to call it.
        placement: where to run it.
        fresh: whether to read the model from its files even if it is in memory.

    Returns:
        The embedding, with the recorded settings applied.

    Raises:
        IntegrityError: what was built is not what was recorded.
        UnsupportedError: it needs a class that is not allowed.
        PairlockError: every other reason why it cannot be built.
    """
    # weights that are made in inference mode count no writes, and the caller may be in it
    with torch.inference_mode(False):
        return _assembled(parts, identity, placement, fresh=fresh)


def _assembled(
    parts: Parts, identity: Identity, placement: Placement, *, fresh: bool
) -> TorchEmbedding:
    key = parts.key(placement)
    model = parts.load(placement) if fresh else resident(key, lambda: parts.load(placement))
    # whoever loaded it first may have allowed what this caller does not
    for path in sorted(model.classes):
        check_allowed(path, parts.allowed)
    facts = parts.manifest.adapter
    if facts is None:
        return _full(parts, model, identity)
    if isinstance(facts, PeftFacts):
        return _peft(parts, model, identity, placement)
    return _adapter(parts, facts, model, identity)


def _full(parts: Parts, model: ResidentModel, identity: Identity) -> FullEmbedding:
    encoder = _encoder(parts, model)
    _check_dimension("the model", encoder.dimension, parts.manifest.dimension)
    return FullEmbedding(encoder, **_fields(parts, model, identity))


def _peft(
    parts: Parts, model: ResidentModel, identity: Identity, placement: Placement
) -> PeftEmbedding:
    encoder = _encoder(parts, model)
    put_peft(
        encoder.model,
        parts.root / PEFT_CONFIG,
        parts.root / PEFT_WEIGHTS,
        merge=placement.merges,
    )
    encoder.seal_again()
    _check_dimension("the model", encoder.dimension, parts.manifest.dimension)
    fields = {**_fields(parts, model, identity), "merge": placement.merges}
    return PeftEmbedding(encoder, partial(_encoder, parts, model), **fields)


def _adapter(
    parts: Parts, facts: LayerFacts | CustomFacts, model: ResidentModel, identity: Identity
) -> AdapterEmbedding:
    pin = parts.manifest.base
    assert pin is not None
    encoder = _encoder(parts, model)
    _check_dimension("the base", encoder.dimension, pin.dimension)
    _check_dimension("the base", encoder.dimension, facts.in_features)
    path, device = parts.root / ADAPTER_WEIGHTS, model.key.device
    if isinstance(facts, LayerFacts):
        adapter = load_layer(path, facts, device=device)
    else:
        adapter = load_custom(path, facts, parts.allowed, device=device)
    fields = _fields(parts, model, identity)
    base_fields = {
        **fields,
        "uri": pin.uri,
        "model_name": pin.uri,
        "package_digest": pin.package_digest or pin.tree_digest,
        "base": None,
        "dimension": encoder.dimension,
    }
    return AdapterEmbedding(
        FullEmbedding(encoder, **base_fields),
        AdaptedModel(encoder, adapter, facts.transforms),
        **fields,
    )


def _encoder(parts: Parts, model: ResidentModel) -> SentenceModel:
    """A pipeline on a model in memory, with the recorded settings and without an adapter."""
    manifest, facts = parts.manifest, parts.manifest.adapter
    pipeline = model.pipeline()
    if isinstance(facts, PeftFacts):
        if facts.own_modules:
            put_modules(pipeline, parts.root / ADAPTER_FOLDER)
        if facts.own_tokenizer:
            put_tokenizer(pipeline, parts.root / ADAPTER_FOLDER)
    apply_settings(pipeline, manifest.encode)
    return SentenceModel(model, pipeline, manifest.encode, batch_size=manifest.devices.batch_size)


def _fields(parts: Parts, model: ResidentModel, identity: Identity) -> dict[str, Any]:
    return {
        "uri": identity.uri,
        "package_digest": identity.package_digest,
        "model_name": identity.uri,
        "device": model.key.device,
        "dtype": model.key.dtype,
        "runtime": "torch",
        "base": identity.base,
        "dimension": parts.manifest.dimension,
    }


def _check_dimension(what: str, found: int, expected: int) -> None:
    if found != expected:
        raise IntegrityError(
            f"{what} gives vectors of another dimension than recorded",
            kind=ErrorKind.DIMENSION,
            checked=f"the dimension of {what}",
            expected=str(expected),
            found=str(found),
            done="nothing was loaded",
            hint="log the model again, on the base it was trained on",
        )
