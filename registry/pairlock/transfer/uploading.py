"""Stores files in parallel."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pairlock.digests import FileRecord, OnBytes
from pairlock.stores import Store
from pairlock.transfer.limits import connections


def upload(store: Store, root: Path, records: Sequence[FileRecord], *, on_bytes: OnBytes) -> None:
    """Store files of a folder, by their paths in it.

    Args:
        store: where to.
        root: the folder.
        records: which files, with sizes and digests for the store to check.
        on_bytes: told the size of each file that was stored.

    Raises:
        UnavailableError: the store cannot be reached, or refuses. Some files may be there.
        StorageError: a file cannot be read, or the store did not take it.
    """

    def put(record: FileRecord) -> int:
        store.write(record.path, root / record.path, record)
        return record.size_bytes

    pool = ThreadPoolExecutor(connections(), thread_name_prefix="pairlock-put")
    try:
        # the largest first, so that no single one is left to wait for at the end
        for size_bytes in pool.map(put, sorted(records, key=lambda record: -record.size_bytes)):
            on_bytes(size_bytes)
    finally:
        pool.shutdown(cancel_futures=True)
