"""A base with a PEFT adapter inside, as LlamaIndex's `HuggingFaceEmbedding`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llama_index.core.bridge.pydantic import PrivateAttr
from numpy.typing import NDArray

from pairlock.manifest import Role
from pairlock_flavors.torch_runtime.embeddings.full_embedding import FullEmbedding
from pairlock_flavors.torch_runtime.models.sentence_model import SentenceModel


class PeftEmbedding(FullEmbedding):
    """A registered PEFT adapter on the base it was trained on.

    PEFT changes the encoder itself, so every role is affected, and LlamaIndex has no class of its
    own for it: to LlamaIndex it is a model like any other.
    """

    _bare: Callable[[], SentenceModel] = PrivateAttr()

    def __init__(
        self, model: SentenceModel, bare: Callable[[], SentenceModel], **fields: Any
    ) -> None:
        super().__init__(model, **fields)
        self._bare = bare

    @classmethod
    def class_name(cls) -> str:
        """LlamaIndex's name for the class."""
        return "PairlockPeftEmbedding"

    @property
    def adapted_roles(self) -> tuple[Role, ...]:
        """Every role."""
        return tuple(Role)

    def base_vectors(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Embed texts by the same pipeline without the adapter: (n_texts, dimension) float32."""
        return self._bare().encode(texts, role)  # asked for by proofs only: none is kept
