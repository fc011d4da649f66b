"""Hashes every payload byte of packages, many files at once.

hashlib lets other threads run while it hashes, so threads hash as fast as so many processes do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path

from pairlock.digests import CHUNK_BYTES, FileRecord, hash_file
from pairlock.errors import ErrorKind, Finding, PairlockError
from pairlock.integrity import compare_digest
from pairlock.inventory.pickles import HEAD_BYTES, is_pickle_content
from pairlock.manifest import MANIFEST_NAME, read_manifest
from pairlock.manifest.format import MAX_MANIFEST_BYTES
from pairlock.stores.interface import BrokenStreamError
from pairlock.stores.opening import is_remote, open_store

_BATCH_BYTES = 8 << 20
"""Small files go to a thread together, up to this many bytes."""

_BATCH_FILES = 64
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Wish:
    """A file to hash."""

    location: str
    record: FileRecord


@dataclass(frozen=True, slots=True)
class Hashed:
    """What was found of a file."""

    wish: Wish
    finding: Finding | None
    """What is wrong with it."""

    is_pickle: bool
    """Whether it begins as a pickle does."""


def wishes(location: str, wrong: Iterable[str]) -> list[Wish]:
    """The files of a package whose bytes are to be hashed.

    Args:
        location: where the package lies.
        wrong: paths that are known to be wrong, and are left out.

    Raises:
        PairlockError: its manifest cannot be read any more.
    """
    content = open_store(location).read_small(MANIFEST_NAME, at_most_bytes=MAX_MANIFEST_BYTES)
    manifest = read_manifest(content, where=f"{location}/{MANIFEST_NAME}")
    left_out = set(wrong)
    return [Wish(location, record) for record in manifest.files if record.path not in left_out]


def hash_all(
    files: list[Wish], *, jobs: int, advance: Callable[[int], None], stopped: Callable[[], bool]
) -> Iterator[Hashed]:
    """Hash files, the largest first.

    Args:
        files: which.
        jobs: how many at once.
        advance: told about the bytes hashed; called by several threads.
        stopped: asked between files. Files that were not hashed are not given.

    Returns:
        What was found of each file.
    """
    ordered = sorted(files, key=lambda wish: -wish.record.size_bytes)
    with ThreadPoolExecutor(jobs) as pool:
        waiting: list[Future[list[Hashed]]] = []
        try:
            waiting.extend(
                pool.submit(copy_context().run, _hash_batch, batch, advance, stopped)
                for batch in _batches(ordered)
            )
            for done in waiting:
                yield from done.result()
        finally:
            for future in waiting:
                future.cancel()


def _batches(ordered: list[Wish]) -> Iterator[list[Wish]]:
    batch: list[Wish] = []
    size_bytes = 0
    for wish in ordered:
        batch.append(wish)
        size_bytes += wish.record.size_bytes
        if size_bytes >= _BATCH_BYTES or len(batch) >= _BATCH_FILES:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch


def _hash_batch(
    batch: list[Wish], advance: Callable[[int], None], stopped: Callable[[], bool]
) -> list[Hashed]:
    found = []
    for wish in batch:
        if stopped():
            break
        found.append(_hash(wish, advance))
    return found


def _hash(wish: Wish, advance: Callable[[int], None]) -> Hashed:
    head = b""
    try:
        head = _head(wish)
        if is_remote(wish.location):
            sha256 = _hash_remote(wish, advance)
        else:
            sha256 = hash_file(Path(wish.location, wish.record.path), on_bytes=advance)
    except (OSError, BrokenStreamError) as error:
        return Hashed(wish, _unread(wish, f"{type(error).__name__}: {error}"), False)
    except PairlockError as error:
        return Hashed(wish, _unread(wish, error.found), False)
    return Hashed(wish, compare_digest(wish.record, sha256), is_pickle_content(head))


def _head(wish: Wish) -> bytes:
    if not is_remote(wish.location):
        with Path(wish.location, wish.record.path).open("rb", buffering=0) as stream:
            return stream.read(HEAD_BYTES)
    length = min(HEAD_BYTES, wish.record.size_bytes)
    if length == 0:
        return b""
    with open_store(wish.location).open_range(wish.record.path, start=0, length=length) as stream:
        return stream.read(length)


def _hash_remote(wish: Wish, advance: Callable[[int], None]) -> str:
    record = wish.record
    store = open_store(wish.location)
    digest = hashlib.sha256()
    done = 0
    left = _ATTEMPTS
    while done < record.size_bytes:
        try:
            with store.open_range(
                record.path, start=done, length=record.size_bytes - done
            ) as stream:
                while done < record.size_bytes and (data := stream.read(CHUNK_BYTES)):
                    digest.update(data)
                    done += len(data)
                    advance(len(data))
        except BrokenStreamError:
            left -= 1
            if left == 0:
                raise
        else:
            if done < record.size_bytes:
                raise BrokenStreamError(f"{done} of {record.size_bytes} bytes")
    return digest.hexdigest()


def _unread(wish: Wish, found: str) -> Finding:
    return Finding(
        kind=ErrorKind.STORAGE_FAILED,
        place=wish.record.path,
        expected="a file that can be read",
        found=found,
    )
