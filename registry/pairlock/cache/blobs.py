"""Files by their content. A blob appears under its sha256 when its bytes have that sha256.

What arrives is written under a name of its own, from its beginning on. An attempt that broke off
leaves that beginning; a later attempt copies and hashes it, and never shares a file with whoever
may still be writing to it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

from pairlock.cache.folder import CacheFolder, remove, writing
from pairlock.digests import CHUNK_BYTES, FileRecord, hash_file
from pairlock.errors import Finding
from pairlock.integrity import compare_digest

RESUMABLE_BYTES = 1 << 20
"""Smaller files are fetched anew after a break."""

_WRITE_OUT_BYTES = 8 << 20
_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE of linux/falloc.h
_NAME = re.compile(r"[0-9a-f]{64}")


def is_blob_name(name: str) -> bool:
    """Whether a file in the blobs' folders is named as a blob is."""
    return _NAME.fullmatch(name) is not None


Stamp = tuple[int, int, int]
"""Size, mtime in ns and inode: a write-once file with the same stamp has the same bytes."""


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp of a file."""
    return status.st_size, status.st_mtime_ns, status.st_ino


def right_blob(folder: CacheFolder, record: FileRecord) -> Stamp | None:
    """Hash a blob.

    Returns:
        The stamp that it had before it was hashed; None when it is not there, or is wrong. A wrong
        one is removed.
    """
    path = folder.blob(record.sha256)
    try:
        before = stamp_of(path.stat())
        if before[0] == record.size_bytes and hash_file(path) == record.sha256:
            return before
    except OSError:
        return None
    folder.set_aside(path)
    return None


class Arrival:
    """A blob on its way into the cache.

    Args:
        folder: the cache.
        record: the file that is to come.

    Raises:
        StorageError: nothing can be written, or there is too little space.
    """

    def __init__(self, folder: CacheFolder, record: FileRecord) -> None:
        self._folder = folder
        self._record = record
        self._sha256 = hashlib.sha256()
        self._size_bytes = 0
        self._written_out = 0
        self._path = folder.unique(record.sha256, "partial")
        self._descriptor = -1
        self._adopted: Path | None = None
        self.stamp: Stamp | None = None
        """What the file was when all of it was written and hashed."""

        if record.size_bytes >= RESUMABLE_BYTES:
            # smaller files are opened when they come: there may be thousands
            self._open()
        self.start = self._size_bytes

    @property
    def record(self) -> FileRecord:
        """The file that is to come."""
        return self._record

    def add(self, batch: list[bytes]) -> None:
        """Write and hash the next bytes.

        Raises:
            StorageError: they cannot be written.
        """
        self._open()
        with writing(self._folder):
            for data in batch:
                self._take(data)
        if self._size_bytes - self._written_out >= _WRITE_OUT_BYTES:
            self._write_out()

    def finish(self) -> Finding | None:
        """Publish the blob if it is the right one; otherwise remove it and say what is wrong.

        Raises:
            StorageError: it cannot be written.
        """
        self._open()
        finding = compare_digest(self._record, self._sha256.hexdigest())
        if finding is not None:
            self.abandon(keep=False)
            if self._adopted is not None:
                remove(self._adopted)  # it may be where the wrong bytes came from
            return finding
        with writing(self._folder):
            os.fchmod(self._descriptor, 0o444)
            os.fsync(self._descriptor)
            self.stamp = stamp_of(os.fstat(self._descriptor))
            self._close()
            target = self._folder.blob(self._record.sha256)
            target.parent.mkdir(parents=True, exist_ok=True)
            _publish(self._path, target)
        self._remove_beginnings()
        return None

    def abandon(self, *, keep: bool) -> None:
        """Stop.

        Args:
            keep: whether a later attempt may go on from what is there.
        """
        self._close()
        if not keep or self._size_bytes < RESUMABLE_BYTES:
            remove(self._path)

    def _open(self) -> None:
        if self._descriptor >= 0:
            return
        with writing(self._folder):
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                _reserve(self._descriptor, self._record.size_bytes)
                if self._record.size_bytes >= RESUMABLE_BYTES:
                    self._adopt()
            except BaseException:
                self.abandon(keep=False)
                raise

    def _take(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            count = os.write(self._descriptor, rest)
            self._sha256.update(rest[:count])
            self._size_bytes += count
            rest = rest[count:]

    def _write_out(self) -> None:
        # starts the write to disk now, so that the flush at the end finds little left to do
        if sys.platform == "linux":
            length = self._size_bytes - self._written_out
            os.posix_fadvise(self._descriptor, self._written_out, length, os.POSIX_FADV_DONTNEED)
        self._written_out = self._size_bytes

    def _adopt(self) -> None:
        """Begin with what the longest earlier attempt has, through a copy that is hashed."""
        begun = [found for path in self._beginnings() for found in _sized(path)]
        size_bytes, source = max(begun, default=(0, self._path))
        if not RESUMABLE_BYTES <= size_bytes <= self._record.size_bytes:
            return
        with suppress(FileNotFoundError), source.open("rb", buffering=0) as stream:
            self._adopted = source
            while data := stream.read(min(CHUNK_BYTES, self._record.size_bytes - self._size_bytes)):
                self._take(data)

    def _beginnings(self) -> list[Path]:
        pattern = f"{self._record.sha256}.*.partial"
        return [path for path in self._folder.staging.glob(pattern) if path != self._path]

    def _remove_beginnings(self) -> None:
        # an attempt that is still alive writes on into its nameless file, and then finds the blob
        for path in self._beginnings():
            remove(path)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def store_small(folder: CacheFolder, record: FileRecord, content: bytes) -> Stamp | None:
    """Put a small file that is in memory into the cache.

    Returns:
        Its stamp; None when the content is not the record's.

    Raises:
        StorageError: it cannot be written.
    """
    arrival = Arrival(folder, record)
    arrival.add([content])
    arrival.finish()
    return arrival.stamp


def _publish(staged: Path, target: Path) -> None:
    """Give a finished file its final name. Whoever was first with the same bytes stays."""
    try:
        os.link(staged, target)
    except (FileExistsError, FileNotFoundError):
        pass  # another attempt finished first; or this one's name was taken away, and it is missed
    except OSError:
        staged.replace(target)  # a file system without hard links
    remove(staged)


def _sized(path: Path) -> list[tuple[int, Path]]:
    try:
        return [(path.stat().st_size, path)]
    except OSError:
        return []  # finished meanwhile


def _reserve(descriptor: int, size_bytes: int) -> None:
    """Reserve blocks on the disk, and leave the file's size as it is.

    Raises:
        OSError: there are not enough.
    """
    if sys.platform != "linux" or size_bytes < RESUMABLE_BYTES:
        return
    import ctypes

    # os.posix_fallocate would change the size, by which an attempt that broke off is measured
    with suppress(AttributeError):
        library = ctypes.CDLL(None, use_errno=True)
        reserve = library.fallocate64 if hasattr(library, "fallocate64") else library.fallocate
        reserve.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
        if reserve(descriptor, _KEEP_SIZE, 0, size_bytes) != 0:
            code = ctypes.get_errno()
            if code in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                raise OSError(code, os.strerror(code))
