"""Brings a base that was proved in a folder into the cache, where its files can stay mapped."""

from __future__ import annotations

from dataclasses import replace

from pairlock.bases.base import Base
from pairlock.cache import ViewKey, ViewKind
from pairlock.config import Settings
from pairlock.digests import tree_digest
from pairlock.fetching import Source, fetch
from pairlock.progress import Progress


def kept_base(base: Base, *, settings: Settings, progress: Progress) -> Base:
    """A base that was proved in a folder, brought into the cache.

    Args:
        base: the base.
        settings: which cache.
        progress: told about the bytes.

    Raises:
        IntegrityError: a file changed since it was proved.
        StorageError: the cache cannot be written.
    """
    fetched = fetch(
        ViewKey(ViewKind.MODEL, tree_digest(base.records)),
        base.records,
        Source(store=base.proved.store),
        settings,
        progress=progress,
    )
    assert fetched is not None  # there is a source
    return replace(base, proved=fetched.proved, model_folder="")
