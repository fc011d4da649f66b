"""Computes the ids of a model's spaces from the model in memory."""

from __future__ import annotations

from typing import Any

from pairlock.manifest import CustomFacts, LayerFacts, PeftFacts, Role, Spaces
from pairlock.manifest.format import PEFT_CONFIG, PEFT_WEIGHTS
from pairlock.spaces import SpaceDescription
from pairlock_flavors.torch_runtime.adapters.identity import describe_layer, describe_peft
from pairlock_flavors.torch_runtime.assemble import Parts
from pairlock_flavors.torch_runtime.embeddings.adapter_embedding import AdapterEmbedding
from pairlock_flavors.torch_runtime.embeddings.peft_embedding import PeftEmbedding
from pairlock_flavors.torch_runtime.embeddings.torch_embedding import TorchEmbedding
from pairlock_flavors.torch_runtime.models.identity import PipelineIdentity
from pairlock_flavors.torch_runtime.models.sentence_model import SentenceModel


def compute_spaces(parts: Parts, embedding: TorchEmbedding) -> Spaces:
    """The ids of a model's spaces.

    A PEFT adapter is described by its base, without it, and by its own tensors: whether it is added
    to the weights makes no difference.

    Args:
        parts: what the model was put together from.
        embedding: it, in float32 on the CPU.

    Raises:
        IntegrityError: an adapter's files cannot be read.
    """
    encoder = bare_model(embedding)
    identity = PipelineIdentity(encoder.model)
    facts = parts.manifest.adapter
    inside = outside = None
    if isinstance(facts, PeftFacts):
        inside = describe_peft(parts.root / PEFT_CONFIG, parts.root / PEFT_WEIGHTS)
    elif isinstance(embedding, AdapterEmbedding) and isinstance(facts, LayerFacts | CustomFacts):
        outside = describe_layer(embedding._adapter, facts)
    ids = {}
    for role in Role:
        modules = identity.modules(role)
        if inside is not None:
            modules = ({**modules[0], "peft": inside}, *modules[1:])
        adapter = outside if role in embedding.adapted_roles else None
        ids[role] = _description(encoder, role, modules, adapter).id()
    return Spaces(document=ids[Role.TEXT], query=ids[Role.QUERY])


def bare_model(embedding: TorchEmbedding) -> SentenceModel:
    """The pipeline under an embedding, without an adapter, with the recorded settings."""
    if isinstance(embedding, PeftEmbedding):
        return embedding._bare()
    found = (
        embedding._adapted.base if isinstance(embedding, AdapterEmbedding) else embedding._encoder
    )
    assert isinstance(found, SentenceModel)
    return found


def _description(
    encoder: SentenceModel,
    role: Role,
    modules: tuple[dict[str, Any], ...],
    adapter: dict[str, Any] | None,
) -> SpaceDescription:
    settings = encoder.settings
    is_query = role is Role.QUERY
    return SpaceDescription(
        modules=modules,
        instruction=settings.query_instruction if is_query else settings.text_instruction,
        normalize=settings.normalize,
        dimension=encoder.dimension,
        adapter=adapter,
    )
