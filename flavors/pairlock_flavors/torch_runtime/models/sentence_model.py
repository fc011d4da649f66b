"""A Sentence-Transformers model with recorded settings, and how it encodes."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from pairlock.manifest import EncodeSettings, Role


class SentenceModel:
    """A model on a device, safe to use from several threads.

    Args:
        model: the loaded model.
        settings: what was recorded; applied to the model here.
        batch_size: texts that are encoded at once.
    """

    def __init__(
        self, model: SentenceTransformer, settings: EncodeSettings, *, batch_size: int
    ) -> None:
        self.model = model
        self.settings = settings
        self.batch_size = batch_size
        # A fast tokenizer keeps padding and truncation in itself: two threads would mix them.
        self._lock = threading.Lock()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return torch.device(self.model.device)

    def encode(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Embed texts.

        Args:
            texts: any number of texts.
            role: which instruction they get.

        Returns:
            (n_texts, dim) float32.
        """
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        is_query = role is Role.QUERY
        settings = self.settings
        with self._lock:
            vectors = self.model.encode(
                list(texts),
                prompt=settings.query_instruction if is_query else settings.text_instruction,
                task="query" if is_query else "document",
                batch_size=self.batch_size,
                normalize_embeddings=settings.normalize,
                truncate_dim=settings.truncate_dim,
                show_progress_bar=False,
                convert_to_numpy=True,
            )
        return np.asarray(vectors, dtype=np.float32)

    @property
    def dimension(self) -> int:
        """Dimension of the vectors."""
        own = int(self.model.get_embedding_dimension())
        return min(own, self.settings.truncate_dim or own)
