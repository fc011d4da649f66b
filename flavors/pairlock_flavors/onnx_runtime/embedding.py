"""A package on onnxruntime as a LlamaIndex embedding."""

from __future__ import annotations

from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding

from pairlock_flavors.embeddings.package_embedding import CALL_SIZE, PackageEmbedding
from pairlock_flavors.onnx_runtime.models import PackageModel


class OnnxEmbedding(PackageEmbedding):
    """A registered model whose vectors onnxruntime computes, without torch.

    LlamaIndex has no class of its own for it: `HuggingFaceEmbedding` and `AdapterEmbeddingModel`
    import torch.
    """

    def __init__(self, model: PackageModel, **fields: Any) -> None:
        BaseEmbedding.__init__(self, **{"embed_batch_size": CALL_SIZE, **fields})
        self._encoder = model

    @classmethod
    def class_name(cls) -> str:
        """LlamaIndex's name for the class."""
        return "PairlockOnnxEmbedding"
