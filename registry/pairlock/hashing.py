"""Reads the files a document lists and proves each one, then guards them while they are loaded.

Large files are hashed side by side, as far as there are cores: SHA-256 keeps one core busy, and
Python lets the others go on meanwhile.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from pairlock.digests import FileRecord, OnBytes, hash_file
from pairlock.errors import ErrorKind, Finding, IntegrityError, NotFoundError, StorageError
from pairlock.integrity import compare_digest, compare_entries
from pairlock.progress import Progress
from pairlock.stores import Entry, LocalStore

LARGE_BYTES = 4 << 20
"""What takes longer to hash, about 3 ms, than a thread to start."""

_MOST_THREADS = 8
"""Past which disks, not cores, are what is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvedFiles:
    """Files whose bytes were hashed and found right, with the stamps they had then."""

    store: LocalStore
    stamps: Mapping[str, Entry]
    """By path relative to the store."""

    size_bytes: int
    """How many bytes the files have."""

    hashed_bytes: int
    """How many of them were hashed now; the others were sealed when they were."""

    whole_folder: str | None = None
    """A folder of the store that may hold no other file, such as a package's payload."""

    def check_unchanged(self) -> None:
        """Prove that no file was written or replaced since it was hashed.

        Called after a library has read the files, so that bytes which changed between the proof
        and the read are an error and not a vector.

        Raises:
            IntegrityError: a file changed.
        """
        changed = {path for path, before in self.stamps.items() if self.store.entry(path) != before}
        if self.whole_folder is not None:
            # a whole folder that is gone has changed; its files were found missing above
            with suppress(NotFoundError):
                changed |= self.store.entries(self.whole_folder).keys() - self.stamps.keys()
        if changed:
            first = sorted(changed)[0]
            raise IntegrityError(
                f"{self.store.local_path(first)} changed while it was being loaded",
                kind=ErrorKind.FILE_CHANGED,
                checked="size, time and inode of every file, before and after the load",
                expected="files that stay as they were when their sha256 was checked",
                found=f"changed or added: {', '.join(sorted(changed)[:5])}",
                done="what was loaded was thrown away",
                hint="find out what writes to the store, then load again",
            )


def prove_files(
    store: LocalStore,
    expected: Iterable[FileRecord],
    observed: Mapping[str, Entry],
    *,
    progress: Progress,
    whole_folder: str | None = None,
    sealed: Mapping[str, Entry] | None = None,
) -> tuple[tuple[Finding, ...], ProvedFiles]:
    """Compare what is there with what is listed, and hash every file whose size is right.

    Args:
        store: where the files lie.
        expected: what a manifest or a pin lists, by paths relative to the store.
        observed: what lies there, by the same paths.
        progress: told about the bytes hashed.
        whole_folder: a folder of the store in which nothing else may lie, now and later.
        sealed: what write-once files were when they were last hashed and right. A file that is
            still the same is not hashed again.

    Returns:
        Every finding (empty when all is well) and the proved files.

    Raises:
        StorageError: a file cannot be read.
    """
    records = sorted(expected, key=lambda record: record.path)
    findings = list(compare_entries(records, observed))
    wrong = {finding.place for finding in findings}
    sound = [record for record in records if record.path not in wrong]
    known = sealed or {}
    changed = [record for record in sound if known.get(record.path) != observed[record.path]]
    hashed_bytes = sum(record.size_bytes for record in changed)
    with progress.step("verify", hashed_bytes) as advance:
        hashes = _hash_files(store, changed, advance)
    findings += [
        finding
        for record in changed
        if (finding := compare_digest(record, hashes[record.path])) is not None
    ]
    stamps = {record.path: observed[record.path] for record in sound}
    proved = ProvedFiles(
        store=store,
        stamps=stamps,
        size_bytes=sum(record.size_bytes for record in sound),
        hashed_bytes=hashed_bytes,
        whole_folder=whole_folder,
    )
    return tuple(findings), proved


def _hash_files(
    store: LocalStore, records: Sequence[FileRecord], on_bytes: OnBytes
) -> dict[str, str]:
    """SHA-256 of every file, by path.

    Raises:
        StorageError: a file cannot be read.
    """
    large = sum(record.size_bytes >= LARGE_BYTES for record in records)
    threads = min(large, _cores(), _MOST_THREADS)
    if threads < 2:
        return {record.path: _hash(store, record, on_bytes) for record in records}
    return _Team(store, records, on_bytes).hash_with(threads)


class _Team:
    """Several threads that hash a list of files, the largest first; the caller's is one of them."""

    def __init__(self, store: LocalStore, records: Sequence[FileRecord], on_bytes: OnBytes) -> None:
        self._store = store
        self._left = sorted(records, key=lambda record: record.size_bytes)
        self._on_bytes = on_bytes
        self._telling = threading.Lock()
        self._stopped = threading.Event()
        self._found: dict[str, str] = {}
        self._failures: list[BaseException] = []

    def hash_with(self, threads: int) -> dict[str, str]:
        helpers = [
            threading.Thread(target=self._help, name=f"pairlock-hash-{number}", daemon=True)
            for number in range(threads - 1)
        ]
        for helper in helpers:
            helper.start()
        try:
            self._work()
        except _StoppedError:
            pass  # a helper failed; its error is raised below
        except BaseException:
            self._stopped.set()
            raise
        finally:
            for helper in helpers:
                helper.join()
        if self._failures:
            raise self._failures[0]
        return self._found

    def _help(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            self._failures.append(error)
            self._stopped.set()

    def _work(self) -> None:
        while not self._stopped.is_set():
            try:
                record = self._left.pop()
            except IndexError:
                return
            self._found[record.path] = _hash(self._store, record, self._tell)

    def _tell(self, count: int) -> None:
        if self._stopped.is_set():
            raise _StoppedError
        with self._telling:
            self._on_bytes(count)


class _StoppedError(Exception):
    """Another thread failed, whose error is the one to be told."""


def _hash(store: LocalStore, record: FileRecord, on_bytes: OnBytes) -> str:
    try:
        return hash_file(store.local_path(record.path), on_bytes=on_bytes)
    except OSError as error:
        raise _unreadable(store, record.path, error) from error


def _cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _unreadable(store: LocalStore, path: str, error: OSError) -> StorageError:
    return StorageError.of(
        error,
        f"cannot read {store.local_path(path)}",
        checked="sha256",
        expected="a file that can be read",
        done="nothing was loaded",
        hint="check permissions and the disk, then try again",
    )
