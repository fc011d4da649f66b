"""Where things lie in the cache folder, and how they become visible there: whole, or not at all.

layout.json            which layout this is
blobs/<2>/<sha256>     every file once, by its content; read-only
views/packages/<hex>/  a package by its digest: `files/` made of links to blobs, and `seal.json`
views/models/<hex>/    a base model by its tree digest, likewise
answers/<hex>.json     what the registry answered last
inventories/<hex>.jsonl  what an inventory need not read again; see pairlock.inventory.remembered
staging/               what is not finished; every name is unique to one attempt
locks/                 empty files
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pairlock.errors import ErrorKind, StorageError, UnsupportedError, os_reason

LAYOUT = 1
"""Raised when an older release could not read a newer cache. A cache is never converted."""

_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# https://bford.info/cachedir/\n"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


class CacheFolder:
    """The paths of one cache. Making one touches nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = root / "blobs"
        self.views = root / "views"
        self.answers = root / "answers"
        self.staging = root / "staging"
        self.locks = root / "locks"

    def blob(self, sha256: str) -> Path:
        """Where a blob lies."""
        return self.blobs / sha256[:2] / sha256

    def check(self) -> None:
        """Refuse a cache that a newer release made.

        Raises:
            UnsupportedError: its layout is newer.
        """
        try:
            layout = json.loads((self.root / "layout.json").read_bytes())["layout"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return  # not there yet, or damaged: everything in it is proved before use
        if isinstance(layout, int) and layout > LAYOUT:
            raise UnsupportedError(
                f"the cache {self.root} was made by a newer release",
                kind=ErrorKind.CACHE_TOO_NEW,
                checked=str(self.root / "layout.json"),
                expected=f"layout {LAYOUT}",
                found=f"layout {layout}",
                done="nothing was read or written",
                hint="upgrade Pairlock, or set PAIRLOCK_CACHE to another folder",
            )

    def prepare(self) -> None:
        """Make the cache's folders.

        Raises:
            OSError: they cannot be made.
            UnsupportedError: as `check`.
        """
        self.check()
        if self.blobs.is_dir() and self.staging.is_dir() and self.locks.is_dir():
            return
        self.root.mkdir(parents=True, mode=0o700, exist_ok=True)
        for folder in (self.blobs, self.views, self.answers, self.staging, self.locks):
            folder.mkdir(exist_ok=True)
        self.write(self.root / "layout.json", json.dumps({"layout": LAYOUT}).encode())
        self.write(self.root / "CACHEDIR.TAG", _TAG.encode())

    def unique(self, name: str, suffix: str) -> Path:
        """A path in staging that nobody else uses."""
        return self.staging / f"{name}.{os.urandom(16).hex()}.{suffix}"

    def write(self, target: Path, content: bytes) -> None:
        """Write a small file so that readers see the old one or the new one.

        After a power cut it may be empty: nothing that is written here is needed to be right.

        Raises:
            OSError: it cannot be written.
        """
        self.staging.mkdir(parents=True, exist_ok=True)
        aside = self.unique(target.name, "new")
        try:
            aside.write_bytes(content)
            target.parent.mkdir(parents=True, exist_ok=True)
            aside.replace(target)
        finally:
            with suppress(OSError):
                aside.unlink()

    def set_aside(self, path: Path) -> None:
        """Take a file or folder out of sight at once, and then remove it."""
        aside = self.unique(path.name, "trash")
        with suppress(OSError):
            path.rename(aside)
        remove(aside)

    def free_bytes(self) -> int:
        """Free space where the cache is, or will be.

        Raises:
            OSError: it cannot be asked.
        """
        place = self.root
        while not place.exists():
            place = place.parent
        from shutil import disk_usage

        return disk_usage(place).free


def remove(path: Path) -> None:
    """Remove a file or a folder of this cache, as far as that goes."""
    if path.is_dir() and not path.is_symlink():
        from shutil import rmtree

        rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


@contextmanager
def writing(folder: CacheFolder) -> Iterator[None]:
    """What goes wrong while the cache is written, as Pairlock's errors.

    Raises:
        StorageError: the disk is full, or the cache cannot be written to.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise _storage_error(folder, error) from error


def no_space(folder: CacheFolder, found: str, expected: str) -> StorageError:
    """The error for a disk that is too full."""
    return StorageError(
        "there is too little space for the cache",
        kind=ErrorKind.NO_SPACE,
        checked=str(folder.root),
        expected=expected,
        found=found,
        done="nothing was loaded, and what arrived in this attempt is removed",
        hint="run `pairlock cache prune --dry-run` to see what can go, or set PAIRLOCK_CACHE to a "
        "folder on another disk",
    )


def _storage_error(folder: CacheFolder, error: OSError) -> StorageError:
    found = os_reason(error)
    if error.errno in _FULL:
        return no_space(folder, found, "space for the files that are fetched")
    read_only = error.errno in _READ_ONLY
    return StorageError(
        f"the cache {folder.root} cannot be written to",
        kind=ErrorKind.STORAGE_FAILED,
        checked=str(error.filename or folder.root),
        expected="a folder to keep fetched files in",
        found=found,
        done="nothing was loaded",
        hint="set PAIRLOCK_CACHE to a folder that can be written to; what is already in a "
        "read-only cache can be loaded"
        if read_only
        else "check the disk, or set PAIRLOCK_CACHE to another folder",
    )
