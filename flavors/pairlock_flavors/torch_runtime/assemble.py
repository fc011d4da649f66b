"""Puts a model together from proved parts: the one way in which packages become embeddings.

Packaging goes through here too, so that what is recorded is what a load computes.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from pairlock.bases import Base
from pairlock.errors import ErrorKind, IntegrityError
from pairlock.manifest import EncodeSettings, LayerFacts, Manifest
from pairlock.manifest.format import ADAPTER_WEIGHTS, MODEL_FOLDER
from pairlock_flavors.torch_runtime.adapters.adapted_model import AdaptedModel
from pairlock_flavors.torch_runtime.adapters.layers import load_adapter
from pairlock_flavors.torch_runtime.embeddings.adapter_embedding import AdapterEmbedding
from pairlock_flavors.torch_runtime.embeddings.full_embedding import FullEmbedding
from pairlock_flavors.torch_runtime.embeddings.package_embedding import PackageEmbedding
from pairlock_flavors.torch_runtime.models.description import apply_settings
from pairlock_flavors.torch_runtime.models.loading import load_sentence_transformer
from pairlock_flavors.torch_runtime.models.sentence_model import SentenceModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where and how a model is to run."""

    device: str
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What the embedding is called."""

    uri: str
    package_digest: str
    base: str | None = None


def assemble(
    manifest: Manifest,
    root: Path,
    base: Base | None,
    *,
    identity: Identity,
    placement: Placement,
) -> PackageEmbedding:
    """Put a model together.

    Args:
        manifest: what the package says.
        root: the package's folder, proved.
        base: the proved base of an adapter.
        identity: what to call it.
        placement: where to run it.

    Returns:
        The embedding, with the recorded settings applied.

    Raises:
        IntegrityError: what was built is not what was recorded.
    """
    fields = {
        "uri": identity.uri,
        "package_digest": identity.package_digest,
        "model_name": identity.uri,
        "device": placement.device,
        "base": identity.base,
    }
    if manifest.adapter is None or manifest.base is None:
        folder: AbstractContextManager[Path] = nullcontext(root / MODEL_FOLDER)
        model = _sentence_model(folder, manifest.encode, manifest.devices.batch_size, placement)
        _check_dimension("the model", model.dimension, manifest.dimension)
        return FullEmbedding(model, dimension=manifest.dimension, **fields)
    assert base is not None
    facts = manifest.adapter
    assert isinstance(facts, LayerFacts)
    model = _sentence_model(base.folder(), manifest.encode, manifest.devices.batch_size, placement)
    _check_dimension("the base", model.dimension, manifest.base.dimension)
    _check_dimension("the base", model.dimension, facts.in_features)
    adapter = load_adapter(root / ADAPTER_WEIGHTS, facts, device=placement.device)
    base_fields = {
        **fields,
        "uri": base.uri,
        "model_name": base.uri,
        "package_digest": base.package_digest or manifest.base.tree_digest,
        "base": None,
    }
    return AdapterEmbedding(
        FullEmbedding(model, dimension=model.dimension, **base_fields),
        AdaptedModel(model, adapter, facts.transforms),
        dimension=manifest.dimension,
        **fields,
    )


def _sentence_model(
    folder: AbstractContextManager[Path],
    settings: EncodeSettings,
    batch_size: int,
    placement: Placement,
) -> SentenceModel:
    model = load_sentence_transformer(folder, device=placement.device, dtype=placement.dtype)
    apply_settings(model, settings)
    return SentenceModel(model, settings, batch_size=batch_size)


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
