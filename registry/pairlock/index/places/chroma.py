"""A Chroma collection, by any client: the stamp lies in the collection's metadata.

Chroma writes metadata as a whole, and refuses it when `hnsw:space` is in it, also unchanged. That
key, which older code writes, is left out when a stamp is written: the distance is in the
collection's configuration since Chroma 1.0, and stays what it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pairlock.index.checking import Sample
from pairlock.index.places.interface import cannot_prove, embedded_text, translated
from pairlock.index.places.storage import spread
from pairlock.index.stamps import STAMP_KEY, Stamp

_REFUSED_BY_CHROMA = "hnsw:space"


class ChromaCollection:
    """One collection."""

    keeps_norms = True

    def __init__(self, collection: Any) -> None:
        self.name = f"the Chroma collection {collection.name!r}"
        self._collection = collection

    def read(self) -> object | None:
        """The stamp as it is stored; None when there is none."""
        return self._metadata().get(STAMP_KEY)

    def write(self, stamp: Stamp) -> None:
        """Store a stamp beside the collection's other metadata."""
        kept = {key: value for key, value in self._metadata().items() if key != _REFUSED_BY_CHROMA}
        with self._asked():
            self._collection.modify(metadata={**kept, STAMP_KEY: stamp.to_json()})

    def dimension(self) -> int | None:
        """Dimension of the stored vectors; None when there are none."""
        with self._asked():
            vectors = self._collection.get(limit=1, include=["embeddings"])["embeddings"]
        return len(vectors[0]) if len(vectors) else None

    def samples(self, at_most: int) -> Sequence[Sample]:
        """Vectors from the whole collection, and the texts that LlamaIndex embedded."""
        with self._asked():
            offsets = spread(range(self._collection.count()), at_most)
            found = [self._sample(offset) for offset in offsets]
        if None in found:
            raise cannot_prove(self.name, "vectors without texts")
        return [sample for sample in found if sample is not None]

    def _sample(self, offset: int) -> Sample | None:
        wanted = ["embeddings", "documents", "metadatas"]
        page = self._collection.get(limit=1, offset=offset, include=wanted)
        text = embedded_text(page["metadatas"][0], page["documents"][0])
        if text is None:
            return None
        return Sample(id=page["ids"][0], text=text, vector=page["embeddings"][0])

    def _metadata(self) -> Mapping[str, Any]:
        """The metadata as the database has it now: a collection object keeps what it read once."""
        mine = self._collection
        with self._asked():
            now = mine._client.get_collection(
                name=mine.name, tenant=mine.tenant, database=mine.database
            )
        return now.metadata or {}

    def _asked(self) -> Any:
        from chromadb.errors import ChromaError
        from httpx import HTTPError

        return translated(self.name, (ChromaError, HTTPError, ValueError, OSError, RuntimeError))
