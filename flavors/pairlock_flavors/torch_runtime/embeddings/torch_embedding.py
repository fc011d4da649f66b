"""What embeddings of the torch runtime have in common: a model in memory, perhaps shared."""

from __future__ import annotations

from typing import Protocol

from llama_index.core.bridge.pydantic import PrivateAttr

from pairlock_flavors.embeddings.package_embedding import PackageEmbedding, TextEncoder
from pairlock_flavors.torch_runtime.models.residents import ResidentModel


class TorchEncoder(TextEncoder, Protocol):
    """What computes the vectors."""

    @property
    def resident(self) -> ResidentModel:
        """The model in memory that they are computed on."""


class TorchEmbedding(PackageEmbedding):
    """An embedding whose vectors torch computes."""

    _encoder: TorchEncoder = PrivateAttr()

    @property
    def resident_model(self) -> ResidentModel:
        """The model in memory that the vectors are computed on."""
        return self._encoder.resident
