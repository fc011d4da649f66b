"""Keeps LlamaIndex's embeddings cache from mixing models and roles.

LlamaIndex keys that cache by the raw text alone: a query and a document of the same text, or two
models on one cache, get each other's vectors. Here every model and role has its own collection.
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
    """A view of a cache that belongs to one package.

    Args:
        store: the cache to keep vectors in.
        package_digest: the package whose vectors they are.
    """

    def __init__(self, store: BaseKVStore, package_digest: str) -> None:
        self.store: BaseKVStore = store.store if isinstance(store, ModelCache) else store
        self.package_digest = package_digest

    def put(self, key: str, val: dict[str, Any], collection: str = DEFAULT_COLLECTION) -> None:
        """Keep a value."""
        self.store.put(key, val, self._own(collection))

    async def aput(
        self, key: str, val: dict[str, Any], collection: str = DEFAULT_COLLECTION
    ) -> None:
        """Keep a value."""
        await self.store.aput(key, val, self._own(collection))

    def get(self, key: str, collection: str = DEFAULT_COLLECTION) -> dict[str, Any] | None:
        """Look a value up."""
        found: dict[str, Any] | None = self.store.get(key, self._own(collection))
        return found

    async def aget(self, key: str, collection: str = DEFAULT_COLLECTION) -> dict[str, Any] | None:
        """Look a value up."""
        found: dict[str, Any] | None = await self.store.aget(key, self._own(collection))
        return found

    def get_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict[str, Any]]:
        """Every value of this package and role."""
        return dict(self.store.get_all(self._own(collection)))

    async def aget_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict[str, Any]]:
        """Every value of this package and role."""
        return dict(await self.store.aget_all(self._own(collection)))

    def delete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        """Forget a value."""
        return bool(self.store.delete(key, self._own(collection)))

    async def adelete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        """Forget a value."""
        return bool(await self.store.adelete(key, self._own(collection)))

    def _own(self, collection: str) -> str:
        return f"{collection}/{self.package_digest}/{_role.get()}"
