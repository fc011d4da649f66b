"""A Sentence-Transformers model with recorded settings, and how it encodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from pairlock.manifest import EncodeSettings, Role
from pairlock_flavors.torch_runtime.models.description import dimension_of
from pairlock_flavors.torch_runtime.models.residents import ModelKey, ResidentModel
from pairlock_flavors.torch_runtime.models.seals import Seal


class SentenceModel:
    """How texts become vectors on a resident model, safe to use from several threads.

    Args:
        resident: the model in memory.
        model: a pipeline on it, of this object's own.
        settings: what was recorded, and applied to the pipeline.
        batch_size: texts that are encoded at once.
    """

    def __init__(
        self,
        resident: ResidentModel,
        model: SentenceTransformer,
        settings: EncodeSettings,
        *,
        batch_size: int,
    ) -> None:
        self.resident = resident
        self.model = model
        self.settings = settings
        self.batch_size = batch_size
        self.seal = Seal(model)

    def seal_again(self) -> None:
        """Take the weights as they are now, after an adapter was put inside."""
        self.seal = Seal(self.model)

    @classmethod
    def alone(
        cls, model: SentenceTransformer, settings: EncodeSettings, *, batch_size: int
    ) -> SentenceModel:
        """Encode by a model that nobody else is given, with settings that it already has."""
        key = ModelKey(tree_digest="", device=str(model.device), dtype="")
        resident = ResidentModel(key, model, loaded_from="")
        return cls(resident, model, settings, batch_size=batch_size)

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

        Raises:
            IntegrityError: the weights or the vocabulary were changed in memory.
        """
        self.resident.check_unchanged()
        self.seal.check()
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        is_query = role is Role.QUERY
        settings = self.settings
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
        return dimension_of(self.model, self.settings)
