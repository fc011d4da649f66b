"""A package on onnxruntime as a LlamaIndex embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr
from numpy.typing import NDArray

from pairlock.manifest import Role
from pairlock_flavors.embeddings.package_embedding import CALL_SIZE, PackageEmbedding
from pairlock_flavors.onnx_runtime.models import PackageModel


class OnnxEmbedding(PackageEmbedding):
    """A registered model whose vectors onnxruntime computes, without torch.

    LlamaIndex has no class of its own for it: `HuggingFaceEmbedding` and `AdapterEmbeddingModel`
    import torch.
    """

    _encoder: PackageModel = PrivateAttr()

    def __init__(self, model: PackageModel, **fields: Any) -> None:
        BaseEmbedding.__init__(self, **{"embed_batch_size": CALL_SIZE, **fields})
        self._encoder = model

    @classmethod
    def class_name(cls) -> str:
        """LlamaIndex's name for the class."""
        return "PairlockOnnxEmbedding"

    @property
    def adapted_roles(self) -> tuple[Role, ...]:
        """The roles whose vectors differ from those of the base; none for a full model."""
        return self._encoder.adapted_roles

    def base_vectors(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Embed texts as the model does without its adapter: (n_texts, base dimension) float32."""
        return self._encoder.base_vectors(texts, role)
