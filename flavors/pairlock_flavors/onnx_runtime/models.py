"""How texts become vectors by a session: tokens, the graph, cutting, normalising, the adapter."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pairlock.errors import ErrorKind, IntegrityError
from pairlock.manifest import EncodeSettings, Role
from pairlock_flavors.onnx_runtime.layers import Layer
from pairlock_flavors.onnx_runtime.sessions import Session
from pairlock_flavors.onnx_runtime.tokens import TextTokenizer

_SMALLEST_NORM = np.float32(1e-12)
"""Below it a vector is not made longer; torch.nn.functional.normalize's default."""


class GraphModel:
    """A model on a session, with recorded settings; safe to use from several threads.

    Args:
        session: the graph in memory.
        tokenizer: of this model's own settings.
        settings: what was recorded.
        batch_size: texts that the graph is given at once.
        dimension: of its vectors.
    """

    def __init__(
        self,
        session: Session,
        tokenizer: TextTokenizer,
        settings: EncodeSettings,
        *,
        batch_size: int,
        dimension: int,
    ) -> None:
        self.session = session
        self.dimension = dimension
        self._tokenizer = tokenizer
        self._settings = settings
        self._batch_size = batch_size

    def encode(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Embed texts in one role, the longest first, so that little is filled up.

        Args:
            texts: any number of texts.
            role: which instruction they get.

        Returns:
            (n_texts, dim) float32.

        Raises:
            IntegrityError: the graph gives something else than that.
        """
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        if not texts:
            return vectors
        settings = self._settings
        is_query = role is Role.QUERY
        instruction = settings.query_instruction if is_query else settings.text_instruction
        encodings = self._tokenizer.encode([instruction + text for text in texts])
        order = sorted(range(len(texts)), key=lambda index: -len(encodings[index]))
        for start in range(0, len(order), self._batch_size):
            some = order[start : start + self._batch_size]
            inputs = self._tokenizer.batch([encodings[index] for index in some])
            vectors[some] = self._finished(self.session.run(inputs))
        return vectors

    def _finished(self, found: NDArray[np.float32]) -> NDArray[np.float32]:
        found = found[:, : self._settings.truncate_dim]
        if found.shape[1:] != (self.dimension,):
            # numpy would fill a row up with a single number
            raise _other_width(self.dimension, found.shape)
        if self._settings.normalize:
            norms = np.linalg.norm(found, axis=1, keepdims=True)
            found = found / np.maximum(norms, _SMALLEST_NORM)
        return found


def _other_width(dimension: int, shape: tuple[int, ...]) -> IntegrityError:
    return IntegrityError(
        "the package's graph does not give vectors of the recorded dimension",
        kind=ErrorKind.RUNTIME_INVALID,
        checked="what the graph gives",
        expected=f"(texts, {dimension})",
        found=str(shape),
        done="nothing was embedded",
        hint="load with runtime='torch', or package the model again",
    )


class PackageModel:
    """What a package computes: a graph's vectors, through a layer in the roles that it transforms.

    Args:
        graph: the model, or the base.
        layer: an adapter's layer.
        transforms: the roles whose vectors pass through it.
        bare: gives the base alone.
    """

    def __init__(
        self,
        graph: GraphModel,
        layer: Layer | None,
        transforms: tuple[Role, ...],
        bare: Callable[[], GraphModel],
    ) -> None:
        self.graph = graph
        self.adapted_roles = transforms
        self._layer = layer
        self._bare = bare

    @property
    def session(self) -> Session:
        """The graph in memory."""
        return self.graph.session

    def encode(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Embed texts in one role: (n_texts, dimension) float32."""
        found = self.graph.encode(texts, role)
        return self.adapt(found) if role in self.adapted_roles else found

    vectors = encode

    def base_vectors(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Embed texts by the base alone: (n_texts, base dimension) float32."""
        return self._bare().encode(texts, role)  # asked for by proofs only: none is kept

    def adapt(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Put vectors of the base through the layer: (n, base dimension) to (n, dimension)."""
        return vectors if self._layer is None else self._layer.apply(vectors)
