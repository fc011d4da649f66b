"""From what a user hands in to the places that keep its vectors and stamps.

Nothing is imported to find out what an object is: an object of a library's class cannot be without
that library having been imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairlock.errors import ErrorKind, InvalidInputError, UnsupportedError
from pairlock.index.places.chroma import ChromaCollection
from pairlock.index.places.folder import persisted_indexes
from pairlock.index.places.interface import Place, not_there
from pairlock.index.places.qdrant import QdrantCollection
from pairlock.index.places.storage import VECTOR_INDEX, StoredIndex, stored_indexes

_INDEX = ("llama_index.core.indices.vector_store.base", "VectorStoreIndex")
_CONTEXT = ("llama_index.core.storage.storage_context", "StorageContext")
_VECTOR_STORE = ("llama_index.core.vector_stores.types", "BasePydanticVectorStore")
_CHROMA_STORE = ("llama_index.vector_stores.chroma", "ChromaVectorStore")
_CHROMA = ("chromadb.api.models.Collection", "Collection")
_QDRANT_STORE = ("llama_index.vector_stores.qdrant", "QdrantVectorStore")
_LLAMA_INDEX = ("llama_index.core.indices.base", "BaseIndex")


def find_places(target: object, index_id: str | None = None) -> Sequence[Place]:
    """The places that a target stands for: at least one.

    Args:
        target: a `VectorStoreIndex`, a `StorageContext`, a folder that was persisted, a
            `ChromaVectorStore`, a Chroma collection, or a `QdrantVectorStore`.
        index_id: which index of a storage context or folder; None for all of them.

    Raises:
        NotFoundError: there is no such folder, or no such index in it.
        UnsupportedError: an index or a vector store that can keep no stamp.
        InvalidInputError: nothing that could be an index.
        FormatError: a folder's index store cannot be read.
    """
    if isinstance(target, str | os.PathLike):
        folder = Path(target)
        return _some(persisted_indexes(folder, index_id), str(folder), index_id)
    if is_vector_index(target):
        return [_of_index(target)]
    if _is(target, _CONTEXT):
        return _of_context(target, index_id)
    if (place := _of_vectors(target)) is not None:
        return [place]
    if _is(target, _VECTOR_STORE) or _is(target, _LLAMA_INDEX):
        raise _unsupported(target)
    raise InvalidInputError(
        f"{type(target).__name__} is no index",
        kind=ErrorKind.ARGUMENT_INVALID,
        checked="what is to be stamped or checked",
        expected="a VectorStoreIndex, a StorageContext, the folder of one, or a vector store",
        found=f"{type(target).__module__}.{type(target).__qualname__}",
        done="nothing",
        hint="see docs/index-guard.md for what can be stamped",
    )


def is_vector_index(target: object) -> bool:
    """Whether something is LlamaIndex's index over vectors of texts, and of nothing else."""
    if not _is(target, _INDEX):
        return False
    # an index over images too has a second model, and another structure
    struct: Any = target
    return bool(struct.index_struct.get_type().value == VECTOR_INDEX)


def require_vector_index(target: object) -> None:
    """Refuse whatever cannot be guarded.

    Raises:
        UnsupportedError: it is another kind of index.
        InvalidInputError: it is none.
    """
    if is_vector_index(target):
        return
    if _is(target, _LLAMA_INDEX):
        raise _unsupported(target)
    raise InvalidInputError(
        f"{type(target).__name__} cannot be guarded",
        kind=ErrorKind.ARGUMENT_INVALID,
        checked="what is to be guarded",
        expected="a VectorStoreIndex",
        found=f"{type(target).__module__}.{type(target).__qualname__}",
        done="nothing",
        hint="load the index first: load_index_from_storage, or VectorStoreIndex.from_vector_store",
    )


def _of_index(index: Any) -> Place:
    context = index.storage_context
    place = _of_vectors(context.vector_stores.get("default"))
    if place is not None:
        return place
    return StoredIndex(context, index.index_id, index.index_struct.nodes_dict)


def _of_context(context: Any, index_id: str | None) -> Sequence[Place]:
    place = _of_vectors(context.vector_stores.get("default"))
    if place is not None:
        return [place]
    return _some(stored_indexes(context, index_id), "the storage context", index_id)


def _of_vectors(store: Any) -> Place | None:
    """The place of a vector store that keeps stamps itself."""
    if _is(store, _CHROMA_STORE):
        return ChromaCollection(store.client)
    if _is(store, _CHROMA):
        return ChromaCollection(store)
    if _is(store, _QDRANT_STORE):
        return QdrantCollection(store)
    return None


def _some(places: Sequence[Place], name: str, index_id: str | None) -> Sequence[Place]:
    if not places:
        wanted = "a vector index" if index_id is None else f"the vector index {index_id!r}"
        raise not_there(name, f"not {wanted}", "build the index first, and name it by its index_id")
    return places


def _is(thing: object, known: tuple[str, str]) -> bool:
    module, name = known
    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and isinstance(thing, found)


def _unsupported(target: object) -> UnsupportedError:
    return UnsupportedError(
        f"{type(target).__name__} cannot keep a stamp",
        kind=ErrorKind.INDEX_UNSUPPORTED,
        checked="what is to be stamped or checked",
        expected="LlamaIndex's own storage, Chroma or Qdrant, under a VectorStoreIndex",
        found=f"{type(target).__module__}.{type(target).__qualname__}",
        done="nothing",
        hint="stamp the VectorStoreIndex, its StorageContext or the folder it is persisted to; "
        "the stamp is then kept in the index store",
    )
