"""LlamaIndex's own storage: the stamp lies in the index store, beside the index it is of.

The index store is a key-value store with collections; `persist`, `to_dict` and every backend of it
(files, Redis, MongoDB, …) keep all of them. So a stamp is written, loaded and replaced together
with the index that it speaks of: persisting another index over a folder takes the old stamp away,
which a file of our own would survive. LlamaIndex offers no public way to a collection, so the
attribute `_kvstore`, which every `KVIndexStore` has, is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pairlock.errors import ErrorKind, UnsupportedError
from pairlock.index.checking import Sample
from pairlock.index.places.interface import cannot_prove
from pairlock.index.stamps import Stamp
from pairlock.wording import counted

Item = TypeVar("Item")

STAMPS = "pairlock/index_stamps"
"""The collection of the index store that holds stamps by index id."""

VECTOR_INDEX = "vector_store"
"""LlamaIndex's type of the one index structure that stands for stored vectors."""


class StoredIndex:
    """One vector index in a storage context, in memory or behind a key-value store."""

    keeps_norms = True

    def __init__(self, context: Any, index_id: str, nodes: Mapping[str, str]) -> None:
        self.name = f"the index {index_id!r}"
        self._context = context
        self._index_id = index_id
        self._nodes = nodes

    def read(self) -> object | None:
        """The stamp as it is stored; None when there is none."""
        found: object | None = _collections(self._context).get(self._index_id, collection=STAMPS)
        return found

    def write(self, stamp: Stamp) -> None:
        """Store a stamp; `persist` of the storage context writes it to disk."""
        _collections(self._context).put(self._index_id, stamp.to_document(), collection=STAMPS)

    def dimension(self) -> int | None:
        """Dimension of the stored vectors, where they are in memory."""
        vectors = _vectors(self._context) or {}
        return next((len(vectors[one]) for one in self._nodes if one in vectors), None)

    def samples(self, at_most: int) -> Sequence[Sample]:
        """Vectors of nodes from the whole index, and the texts of these nodes."""
        from llama_index.core.schema import MetadataMode

        vectors = _vectors(self._context)
        if vectors is None:
            kind = type(self._context.vector_stores.get("default")).__name__
            raise cannot_prove(self.name, f"vectors in {kind}, which cannot be read back")
        if not self._nodes:
            return ()
        found = []
        for vector_id in spread([one for one in self._nodes if one in vectors], at_most):
            node = self._context.docstore.get_document(self._nodes[vector_id], raise_error=False)
            if node is not None:
                text = node.get_content(metadata_mode=MetadataMode.EMBED)
                found.append(Sample(id=vector_id, text=text, vector=vectors[vector_id]))
        if not found:
            raise cannot_prove(
                self.name, f"{counted(len(self._nodes), 'node')} without vectors or texts"
            )
        return found


def stored_indexes(context: Any, index_id: str | None) -> list[StoredIndex]:
    """The vector indexes of a storage context: one of them, or all."""
    return [
        StoredIndex(context, struct.index_id, struct.nodes_dict)
        for struct in context.index_store.index_structs()
        if struct.get_type().value == VECTOR_INDEX and index_id in (None, struct.index_id)
    ]


def spread(items: Sequence[Item], at_most: int) -> list[Item]:
    """The first, the last, and some between: up to `at_most` of the items, two or more."""
    if len(items) <= at_most:
        return list(items)
    steps = at_most - 1
    return [items[step * (len(items) - 1) // steps] for step in range(at_most)]


def _vectors(context: Any) -> Mapping[str, Sequence[float]] | None:
    """Every vector by its id; None when they are not in LlamaIndex's own store."""
    data = getattr(context.vector_stores.get("default"), "data", None)
    found: Mapping[str, Sequence[float]] | None = getattr(data, "embedding_dict", None)
    return found


def _collections(context: Any) -> Any:
    """The key-value store under an index store.

    Raises:
        UnsupportedError: the index store has none.
    """
    found = getattr(context.index_store, "_kvstore", None)
    if found is None:
        raise UnsupportedError(
            f"{type(context.index_store).__name__} cannot keep a stamp",
            kind=ErrorKind.INDEX_UNSUPPORTED,
            checked="the index store",
            expected="one of LlamaIndex's KVIndexStore classes",
            found=type(context.index_store).__qualname__,
            done="nothing was stamped",
            hint="use SimpleIndexStore, or another store on LlamaIndex's KVIndexStore",
        )
    return found
