"""A base with an adapter on it, and how the two encode."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from llama_index.embeddings.adapter.utils import BaseAdapter
from numpy.typing import NDArray

from pairlock.manifest import Role
from pairlock_flavors.torch_runtime.models.residents import ResidentModel
from pairlock_flavors.torch_runtime.models.seals import Seal
from pairlock_flavors.torch_runtime.models.sentence_model import SentenceModel


class AdaptedModel:
    """Vectors of a base, through an adapter in the roles that it transforms.

    Args:
        base: the base.
        adapter: the adapter, in `eval()` mode, on the base's device.
        transforms: the roles whose vectors pass through the adapter.
    """

    def __init__(
        self, base: SentenceModel, adapter: BaseAdapter, transforms: tuple[Role, ...]
    ) -> None:
        self.base = base
        self.adapter = adapter
        self.transforms = transforms
        self._seal = Seal(adapter)

    @property
    def resident(self) -> ResidentModel:
        """The base in memory."""
        return self.base.resident

    def encode(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Embed texts in one role: (n_texts, dim) float32.

        Raises:
            IntegrityError: weights were changed in memory.
        """
        found = self.base.encode(texts, role)
        return self.adapt(found) if role in self.transforms else found

    def adapt(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Put vectors of the base through the adapter: (n, base dimension) to (n, dimension).

        Raises:
            IntegrityError: the adapter's weights were changed in memory.
        """
        self._seal.check()
        self.adapter.eval()  # as Sentence-Transformers does with the base, whoever trained it
        with torch.inference_mode():
            # a copy: a class may write to what it is given
            adapted = self.adapter(torch.tensor(vectors, device=self.base.device))
        return np.asarray(adapted.cpu().numpy(), dtype=np.float32)
