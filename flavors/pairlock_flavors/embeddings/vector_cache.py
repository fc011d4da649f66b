"""Keeps LlamaIndex's embeddings cache from mixing models and roles.

LlamaIndex keys that cache by the raw text alone: a query and a document of the same text, or two
models on one cache, get each other's vectors. Here every model, dtype and role has a collection of
its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from llama_index.core.storage.kvstore.types import DEFAULT_COLLECTION, BaseKVStore

from pairlock.manifest import Role

_role: ContextVar[Role] = ContextVar("pairlock_cache_role", default=Role.TEXT)


@contextmanager
def caching_as(role: Role) -> Iterator[None]:
    """Say in which role texts are being embedded, for this thread or task."""
    token = _role.set(role)
    try:
        yield
    finally:
        _role.reset(token)


class ModelCache(BaseKVStore):
    """A view of a cache that belongs to one model.

    Args:
        store: the cache to keep vectors in.
        owner: the model whose vectors they are: its package digest, and how it is run.

    Raises:
        TypeError: the store is none of LlamaIndex's, as LlamaIndex's own constructors say it.
    """

    def __init__(self, store: BaseKVStore, owner: str) -> None:
        if not isinstance(store, BaseKVStore):
            raise TypeError("embeddings_cache must be of type BaseKVStore")
        self.store: BaseKVStore = store.store if isinstance(store, ModelCache) else store
        self.owner = owner

    def put(self, key: str, val: dict[str, Any], collection: str = DEFAULT_COLLECTION) -> None:
        """Keep a value."""
        self.store.put(key, _copied(val), self._own(collection))

    async def aput(
        self, key: str, val: dict[str, Any], collection: str = DEFAULT_COLLECTION
    ) -> None:
        """Keep a value."""
        await self.store.aput(key, _copied(val), self._own(collection))

    def get(self, key: str, collection: str = DEFAULT_COLLECTION) -> dict[str, Any] | None:
        """Look a value up."""
        found: dict[str, Any] | None = self.store.get(key, self._own(collection))
        return found and _copied(found)

    async def aget(self, key: str, collection: str = DEFAULT_COLLECTION) -> dict[str, Any] | None:
        """Look a value up."""
        found: dict[str, Any] | None = await self.store.aget(key, self._own(collection))
        return found and _copied(found)

    def get_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict[str, Any]]:
        """Every value of this model and role."""
        return dict(self.store.get_all(self._own(collection)))

    async def aget_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict[str, Any]]:
        """Every value of this model and role."""
        return dict(await self.store.aget_all(self._own(collection)))

    def delete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        """Forget a value."""
        return bool(self.store.delete(key, self._own(collection)))

    async def adelete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        """Forget a value."""
        return bool(await self.store.adelete(key, self._own(collection)))

    def _own(self, collection: str) -> str:
        return f"{collection}/{self.owner}/{_role.get()}"


def _copied(value: dict[str, Any]) -> dict[str, Any]:
    # a store in memory hands out its own lists: whoever changes a vector changes the cached one
    return {key: item.copy() if isinstance(item, list) else item for key, item in value.items()}
