"""An adapter on its base as LlamaIndex's `AdapterEmbeddingModel`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.embeddings.adapter import AdapterEmbeddingModel
from numpy.typing import NDArray

from pairlock.manifest import Role
from pairlock_flavors.embeddings.package_embedding import CALL_SIZE
from pairlock_flavors.torch_runtime.adapters.adapted_model import AdaptedModel
from pairlock_flavors.torch_runtime.embeddings.full_embedding import FullEmbedding
from pairlock_flavors.torch_runtime.embeddings.torch_embedding import TorchEmbedding


class AdapterEmbedding(TorchEmbedding, AdapterEmbeddingModel):
    """A registered adapter on the base it was trained on.

    An instance of LlamaIndex's `AdapterEmbeddingModel`. LlamaIndex's constructor is not run: it
    unpickles the weights, does not know the class or the roles, leaves dropout on, and embeds
    documents one by one.
    """

    transforms: tuple[str, ...]

    _adapted: AdaptedModel = PrivateAttr()

    def __init__(
        self,
        base_model: FullEmbedding,
        model: AdaptedModel,
        **fields: Any,
    ) -> None:
        # past AdapterEmbeddingModel.__init__, to the pydantic constructor under it
        BaseEmbedding.__init__(
            self,
            **{"embed_batch_size": CALL_SIZE, **fields},
            transforms=tuple(role.value for role in model.transforms),
        )
        self._encoder = self._adapted = model
        # AdapterEmbeddingModel's own private attributes, for code that reads them
        self._base_embed_model = base_model
        self._adapter = model.adapter
        self._transform_query = Role.QUERY in model.transforms
        self._device = self.device
        self._target_device = torch.device(self.device)

    @classmethod
    def class_name(cls) -> str:
        """LlamaIndex's name for the class."""
        return "PairlockAdapterEmbedding"

    @property
    def adapted_roles(self) -> tuple[Role, ...]:
        """The roles whose vectors pass through the adapter."""
        return tuple(Role(role) for role in self.transforms)

    def adapt(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Put vectors of the base through the adapter: (n, base dimension) to (n, dimension)."""
        return self._adapted.adapt(vectors)

    def base_vectors(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Embed texts by the base alone: (n_texts, base dimension) float32."""
        found: NDArray[np.float32] = self._base_embed_model.vectors(texts, role)
        return found
