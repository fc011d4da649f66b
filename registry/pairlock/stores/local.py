"""A folder on disk. A load writes nothing into it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from pairlock.digests import FileRecord, copy_hashing
from pairlock.errors import (
    AlreadyExistsError,
    ErrorKind,
    NotFoundError,
    StorageError,
    UnsupportedError,
    os_reason,
)
from pairlock.stores.failures import file_missing, too_large
from pairlock.stores.interface import BrokenStreamError, ByteStream, Entry, EntryType

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV}
"""What a file system without hard links answers; FAT says EPERM."""


class LocalStore:
    """One folder.

    Args:
        root: the folder.
        follow_links: whether a link counts as the file it points to. Packages never hold links;
            a hub cache snapshot is made of them.
        write_once: whether its files are never written again, as in the cache. Hard links to them
            come and go, which changes their ctime and nothing else, so stamps leave it out.
    """

    splits_files = True

    def __init__(self, root: Path, *, follow_links: bool = False, write_once: bool = False) -> None:
        self.root = root
        self._follow_links = follow_links
        self.write_once = write_once

    @property
    def location(self) -> str:
        """The folder, for messages."""
        return str(self.root)

    def make_ready(self) -> None:
        """There is nothing to import."""

    def local_path(self, path: str) -> Path:
        """Where a file of the store lies on this disk."""
        return self.root / path

    def entries(self, folder: str = "", *, after: str = "") -> dict[str, Entry]:
        """Every entry below a folder except folders, by path relative to the store.

        Args:
            folder: where to look.
            after: list only what sorts behind this path.

        Raises:
            NotFoundError: the store's folder is not there.
            StorageError: it cannot be listed.
        """
        start = self.root / folder
        try:
            return dict(sorted(self._walk(start, after)))
        except FileNotFoundError:
            if folder and self.root.is_dir():
                return {}
            raise NotFoundError(
                f"there is no folder {start}",
                kind=ErrorKind.FOLDER_MISSING,
                checked=str(start),
                expected="a folder",
                found="nothing",
                done="nothing was loaded",
                hint="check the path, or where the registry keeps its artifacts",
            ) from None
        except OSError as error:
            raise _storage_error(start, error) from error

    def entry(self, path: str) -> Entry | None:
        """One entry, or None when it is gone.

        Raises:
            StorageError: it cannot be looked at.
        """
        try:
            return self._entry(self.root / path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _storage_error(self.root / path, error) from error

    def read_small(self, path: str, *, at_most_bytes: int) -> bytes:
        """A whole small file.

        Raises:
            NotFoundError: there is no such file.
            StorageError: it is larger than `at_most_bytes`, or reading failed.
        """
        target = self.root / path
        try:
            # without O_NONBLOCK a FIFO of this name would be waited for, for ever
            with os.fdopen(os.open(target, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
                if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                    raise OSError(errno.EINVAL, "not a regular file")
                content = stream.read(at_most_bytes + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise file_missing(str(target)) from None
        except OSError as error:
            raise _storage_error(target, error) from error
        if len(content) > at_most_bytes:
            raise too_large(str(target), at_most_bytes)
        return content

    @contextmanager
    def open_range(self, path: str, *, start: int, length: int) -> Iterator[ByteStream]:
        """A part of a file.

        Raises:
            NotFoundError: there is no such file.
            StorageError: it cannot be read.
        """
        target = self.root / path
        try:
            stream = target.open("rb", buffering=0)
        except (FileNotFoundError, NotADirectoryError):
            raise file_missing(str(target)) from None
        except OSError as error:
            raise _storage_error(target, error) from error
        with stream:
            stream.seek(start)
            yield _FilePart(stream, os.fstat(stream.fileno()).st_size, length)

    def write(self, path: str, source: Path, record: FileRecord) -> None:
        """Copy a file into the folder, under a name of its own first.

        Raises:
            StorageError: writing failed.
        """
        target = self.root / path
        aside = target.with_name(f".{target.name}.{os.urandom(16).hex()}.partial")
        try:
            copy_hashing(source, aside, recorded_as=record.path)
            aside.replace(target)
        except OSError as error:
            raise _storage_error(target, error, wish="a folder to write to") from error
        finally:
            with suppress(OSError):
                aside.unlink()

    def create(self, path: str, content: bytes) -> None:
        """Make a small file if there is none, whole or not at all, and durably.

        Raises:
            AlreadyExistsError: there is one.
            UnsupportedError: the file system has no hard links.
            StorageError: writing failed.
        """
        target = self.root / path
        if os.path.lexists(target):
            raise _taken(target)  # spares whoever comes late the writing; the link decides
        aside = target.with_name(f".{target.name}.{os.urandom(16).hex()}.partial")
        try:
            _make_folder(target.parent)
            with aside.open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            _link(aside, target)
            # a name is on the disk when its folder is
            _fsync_folder(target.parent)
        except OSError as error:
            raise _storage_error(
                target,
                error,
                wish="a folder to write to, with free space",
                done="nothing is known to be stored",
            ) from error
        finally:
            with suppress(OSError):
                aside.unlink()

    def creates_conditionally(self) -> bool:
        """Create one file twice.

        Raises:
            StorageError: nothing can be written there.
        """
        path = f".pairlock-probe-{os.urandom(16).hex()}"
        try:
            self.create(path, b"probe")
            try:
                self.create(path, b"probe")
            except AlreadyExistsError:
                return True
            return False
        except UnsupportedError:
            return False
        finally:
            with suppress(OSError):
                (self.root / path).unlink()

    def _walk(
        self, folder: Path, after: str, above: tuple[int, ...] = ()
    ) -> Iterator[tuple[str, Entry]]:
        own = folder.stat().st_ino
        if own in above:
            raise OSError(errno.ELOOP, "a link leads back to a folder above it")
        with os.scandir(folder) as found:
            for item in found:
                if item.is_dir(follow_symlinks=self._follow_links):
                    yield from self._walk(Path(item.path), after, (*above, own))
                    continue
                relative = Path(item.path).relative_to(self.root).as_posix()
                if relative <= after:
                    continue
                with suppress(FileNotFoundError):
                    # a link that leads nowhere is a file that is missing
                    yield relative, self._entry(Path(item.path))

    def _entry(self, path: Path) -> Entry:
        found = path.stat(follow_symlinks=self._follow_links)
        if stat.S_ISREG(found.st_mode):
            type_ = EntryType.FILE
        elif stat.S_ISLNK(found.st_mode):
            type_ = EntryType.LINK
        else:
            type_ = EntryType.OTHER
        stamp: tuple[int, ...] = (found.st_size, found.st_mtime_ns, found.st_ino)
        if not self.write_once:
            stamp = (*stamp, found.st_ctime_ns, found.st_dev)
        return Entry(type=type_, size_bytes=found.st_size, stamp=stamp)


class _FilePart:
    """A part of an open file."""

    def __init__(self, stream: BinaryIO, total_bytes: int, length: int) -> None:
        self._stream = stream
        self._left = length
        self.total_bytes: int | None = total_bytes

    def read(self, at_most_bytes: int) -> bytes:
        """The next bytes; empty at the end of the part."""
        try:
            data = self._stream.read(min(at_most_bytes, self._left))
        except OSError as error:
            raise BrokenStreamError(f"{type(error).__name__}: {error}") from error
        self._left -= len(data)
        return data


def _link(aside: Path, target: Path) -> None:
    """Give a finished file its name: exactly one of many can, and nobody ever sees half a file.

    Raises:
        AlreadyExistsError: the name is taken.
        UnsupportedError: the file system has no hard links.
        OSError: it failed.
    """
    try:
        os.link(aside, target)
    except FileExistsError as error:
        raise _taken(target) from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        raise UnsupportedError(
            f"the file system of {target.parent} has no hard links",
            kind=ErrorKind.CONDITION_UNSUPPORTED,
            checked=str(target.parent),
            expected="a file system with hard links, which make a file for exactly one of many",
            found=os_reason(error),
            done="nothing was stored",
            hint="use a folder on another file system, or S3",
        ) from error


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that a power cut does not take them away again."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _fsync_folder(folder.parent)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # some file systems cannot
            raise
    finally:
        os.close(descriptor)


def _taken(target: Path) -> AlreadyExistsError:
    return AlreadyExistsError(
        f"{target} is already there",
        kind=ErrorKind.TARGET_EXISTS,
        checked=str(target),
        expected="no such file",
        found="one",
        done="it stays as it is",
        hint="read what is there",
    )


def _storage_error(
    path: Path,
    error: OSError,
    *,
    wish: str = "files that can be read",
    done: str = "nothing was loaded",
) -> StorageError:
    is_full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    return StorageError(
        f"cannot use {path}",
        kind=ErrorKind.NO_SPACE if is_full else ErrorKind.STORAGE_FAILED,
        checked=str(path),
        expected=wish,
        found=os_reason(error),
        done=done,
        hint="free some space, then try again"
        if is_full
        else "check that the path is a folder that this user may use, and that the disk is well",
    )
