"""A Qdrant collection, on a server or in local mode: the stamp lies in the collection's metadata.

Qdrant keeps metadata of collections since 1.16, and merges what is written into what is there.
An older server drops it without a word, which `pairlock.index.stamp` notices by reading it back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pairlock.errors import ErrorKind, UnsupportedError
from pairlock.index.checking import Sample
from pairlock.index.places.interface import cannot_prove, embedded_text, not_there, translated
from pairlock.index.stamps import STAMP_KEY, Stamp


class QdrantCollection:
    """The collection under one of LlamaIndex's `QdrantVectorStore` objects."""

    keeps_norms = False  # vectors of a collection with the cosine distance are stored normalised

    def __init__(self, store: Any) -> None:
        self.name = f"the Qdrant collection {store.collection_name!r}"
        self._store = store
        self._client = store.client
        if self._client is None:
            raise UnsupportedError(
                f"{self.name} was opened with an asynchronous client only",
                kind=ErrorKind.INDEX_UNSUPPORTED,
                checked="the vector store",
                expected="a QdrantVectorStore with client=",
                found="one with aclient= alone",
                done="nothing",
                hint="give QdrantVectorStore a QdrantClient too",
            )

    def read(self) -> object | None:
        """The stamp as it is stored; None when there is none."""
        return (self._info().config.metadata or {}).get(STAMP_KEY)

    def write(self, stamp: Stamp) -> None:
        """Store a stamp beside the collection's other metadata."""
        self._info()  # says so, if there is no such collection
        with self._asked():
            self._client.update_collection(
                self._store.collection_name, metadata={STAMP_KEY: stamp.to_json()}
            )

    def dimension(self) -> int | None:
        """Dimension of the dense vectors; None when the collection has none by that name."""
        found = self._dense(self._info().config.params.vectors)
        return None if found is None else int(found.size)

    def samples(self, at_most: int) -> Sequence[Sample]:
        """Some vectors, and the texts that LlamaIndex embedded."""
        self._info()
        with self._asked():
            points, _ = self._client.scroll(
                self._store.collection_name, limit=at_most, with_payload=True, with_vectors=True
            )
            found = [self._sample(point) for point in points]
        if None in found:
            raise cannot_prove(self.name, "points without texts or without dense vectors")
        return [sample for sample in found if sample is not None]

    def _sample(self, point: Any) -> Sample | None:
        payload = point.payload or {}
        vector = self._dense(point.vector)
        # LlamaIndex keeps a node's text within the node; others keep it under the text key
        apart = None if "_node_content" in payload else payload.get(self._store.text_key)
        text = embedded_text(payload, apart)
        if vector is None or text is None:
            return None
        return Sample(id=str(point.id), text=text, vector=vector)

    def _dense(self, of_all: Any) -> Any:
        """What belongs to the dense vectors: the only ones, or those by LlamaIndex's name."""
        if isinstance(of_all, Mapping):
            return of_all.get(self._store.dense_vector_name, of_all.get(""))
        return of_all

    def _info(self) -> Any:
        name = self._store.collection_name
        with self._asked():
            if self._client.collection_exists(name):
                return self._client.get_collection(name)
        raise not_there(self.name, "no such collection", "insert the documents, then stamp it")

    def _asked(self) -> Any:
        from grpc import RpcError
        from qdrant_client.http.exceptions import ApiException

        return translated(self.name, (ApiException, RpcError, ValueError, OSError, RuntimeError))
