"""A folder on disk. Nothing is ever written into it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pairlock.errors import ErrorKind, NotFoundError, StorageError
from pairlock.stores.interface import Entry, EntryType


class LocalStore:
    """Reads one folder.

    Args:
        root: the folder.
        follow_links: whether a link counts as the file it points to. Packages never hold links;
            a hub cache snapshot is made of them.
    """

    def __init__(self, root: Path, *, follow_links: bool = False) -> None:
        self.root = root
        self._follow_links = follow_links

    @property
    def location(self) -> str:
        """The folder, for messages."""
        return str(self.root)

    def local_path(self, path: str) -> Path:
        """Where a file of the store lies on this disk."""
        return self.root / path

    def entries(self, folder: str = "") -> dict[str, Entry]:
        """Every entry below a folder except folders, by path relative to the store.

        Raises:
            NotFoundError: the store's folder is not there.
            StorageError: it cannot be listed.
        """
        start = self.root / folder
        try:
            return dict(sorted(self._walk(start)))
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
        except FileNotFoundError:
            raise NotFoundError(
                f"there is no file {target}",
                kind=ErrorKind.FILE_MISSING,
                checked=str(target),
                expected="a file",
                found="nothing",
                done="nothing was loaded",
                hint="restore the file from where the folder was copied",
            ) from None
        except OSError as error:
            raise _storage_error(target, error) from error
        if len(content) > at_most_bytes:
            raise StorageError(
                f"{target} is too large",
                kind=ErrorKind.STORAGE_FAILED,
                checked="its size",
                expected=f"at most {at_most_bytes} bytes",
                found="more",
                done="nothing was loaded",
                hint="this is not the file that Pairlock or a trainer wrote; restore it",
            )
        return content

    def _walk(self, folder: Path, above: tuple[int, ...] = ()) -> Iterator[tuple[str, Entry]]:
        own = folder.stat().st_ino
        if own in above:
            raise OSError(errno.ELOOP, "a link leads back to a folder above it")
        with os.scandir(folder) as found:
            for item in found:
                if item.is_dir(follow_symlinks=self._follow_links):
                    yield from self._walk(Path(item.path), (*above, own))
                    continue
                relative = Path(item.path).relative_to(self.root).as_posix()
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
        stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        return Entry(type=type_, size_bytes=found.st_size, stamp=stamp)


def _storage_error(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot read {path}",
        kind=ErrorKind.STORAGE_FAILED,
        checked=str(path),
        expected="files that can be read",
        found=f"{type(error).__name__}: {error.strerror or error}",
        done="nothing was loaded",
        hint="check that the path is a readable folder and the disk is well",
    )
