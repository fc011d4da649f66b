"""Stores files in parallel."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pairlock.digests import FileRecord, OnBytes
from pairlock.errors import ErrorKind, PairlockError, StorageError
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
        try:
            store.write(record.path, root / record.path, record)
        except PairlockError:
            raise
        except OSError as error:
            raise _unreadable(root / record.path, error) from error
        return record.size_bytes

    pool = ThreadPoolExecutor(connections(), thread_name_prefix="pairlock-put")
    try:
        # the largest first, so that no single one is left to wait for at the end
        for size_bytes in pool.map(put, sorted(records, key=lambda record: -record.size_bytes)):
            on_bytes(size_bytes)
    finally:
        pool.shutdown(cancel_futures=True)


def _unreadable(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot read {path}",
        kind=ErrorKind.STORAGE_FAILED,
        checked=str(path),
        expected="a file to store",
        found=f"{type(error).__name__}: {error.strerror or error}",
        done="nothing was registered",
        hint="find out what removes files there, then log the model again",
    )
