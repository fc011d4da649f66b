"""Folders of links to blobs, in which libraries find the files of one package or one base.

A view appears whole. Its seal remembers size, time and inode of every file when it was last hashed:
files are write-once, so a file that is still the same by those three is not hashed again.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pairlock.cache.blobs import Stamp, stamp_of
from pairlock.cache.folder import CacheFolder, remove
from pairlock.digests import FileRecord, copy_hashing, hash_file
from pairlock.stores import Entry, EntryType, LocalStore

Identity = tuple[int, int]
"""Inode and ctime of a view's folder."""


class ViewKind(StrEnum):
    """What a view is of."""

    PACKAGE = "packages"
    """A package by its package digest: the manifest and the payload."""

    MODEL = "models"
    """A base model by its tree digest: the pinned files."""

    GRAPH = "graphs"
    """A graph that was made for a package later, by that package's digest and its precision."""

    @property
    def label(self) -> str:
        """What it is called in a message."""
        return {"packages": "package", "models": "base model", "graphs": "graph"}[self.value]


@dataclass(frozen=True, slots=True)
class ViewKey:
    """Names a view."""

    kind: ViewKind
    digest: str
    """`sha256:<hex>`."""

    def __str__(self) -> str:
        return f"{self.kind}-{self.digest.removeprefix('sha256:')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """What a view's files were when they were last hashed."""

    hashed_at: float
    """Seconds since 1970."""

    stamps: Mapping[str, Entry]
    """By path."""

    contents: Mapping[str, str]
    """The sha256 that each file had, by path."""


class View:
    """One view, there or not.

    Args:
        folder: the cache.
        key: which.
    """

    def __init__(self, folder: CacheFolder, key: ViewKey) -> None:
        self.key = key
        self._folder = folder
        self.root = folder.views / key.kind / key.digest.removeprefix("sha256:")
        self.files = self.root / "files"

    @property
    def store(self) -> LocalStore:
        """The view's files."""
        return LocalStore(self.files, write_once=True)

    def exists(self) -> bool:
        """Whether there is such a view."""
        return self.files.is_dir()

    def seal(self) -> Seal | None:
        """The seal; None when there is none that can be read."""
        try:
            document = json.loads((self.root / "seal.json").read_bytes())
            files = document["files"].items()
            stamps = {
                path: Entry(
                    type=EntryType.FILE, size_bytes=facts[1], stamp=(facts[1], facts[2], facts[3])
                )
                for path, facts in files
            }
            return Seal(
                hashed_at=float(document["hashed_at"]),
                stamps=stamps,
                contents={path: str(facts[0]) for path, facts in files},
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None

    def set_seal(self, records: Iterable[FileRecord], stamps: Mapping[str, Entry]) -> None:
        """Remember that files were hashed now and were right; not in a read-only cache."""
        with suppress(OSError):
            self._folder.write(self.root / "seal.json", _seal(records, stamps))

    def break_seal(self) -> None:
        """Forget what was hashed, so that the next load hashes again.

        Raises:
            OSError: the seal cannot be removed.
        """
        (self.root / "seal.json").unlink(missing_ok=True)

    def mark_used(self) -> None:
        """Remember that the view was used now; not in a read-only cache."""
        # by the clock that plans are made by: the kernel's own stamps lag some ms behind it, and a
        # view that was used since its removal was planned would seem not to have been
        now = time.time_ns()
        with suppress(OSError):
            os.utime(self.root, ns=(now, now))

    def used_at(self) -> float:
        """When the view was last used, in seconds since 1970; 0 when it is gone."""
        try:
            return self.root.stat().st_mtime
        except OSError:
            return 0.0

    def identity(self) -> Identity | None:
        """What tells this view from one that another process makes in its place."""
        for path in (self.files, self.root):
            try:
                status = path.lstat()
            except OSError:
                continue  # its files may be gone, and the rest of it in the way
            return status.st_ino, status.st_ctime_ns
        return None

    def make(
        self,
        records: Sequence[FileRecord],
        hashed: Mapping[str, Stamp],
        *,
        damaged: Identity | None,
    ) -> bool:
        """Make the view from blobs.

        Args:
            records: its files, by path.
            hashed: the stamps that blobs had when they were hashed and right, by sha256. A blob
                that is another file now is hashed again.
            damaged: the view that is to be replaced. Any other that is there is left, for it may be
                right, and in use.

        Returns:
            False when a blob or the place was taken away meanwhile, and it is worth another try.

        Raises:
            OSError: it cannot be written.
        """
        staged = self._folder.unique(str(self.key), "view")
        try:
            for record in records:
                target = staged / "files" / record.path
                target.parent.mkdir(parents=True, exist_ok=True)
                if not self._link(record, target, hashed.get(record.sha256)):
                    return False
            stamps = LocalStore(staged / "files", write_once=True).entries()
            (staged / "seal.json").write_bytes(_seal(records, stamps))
            self.root.parent.mkdir(parents=True, exist_ok=True)
            if damaged is not None and self.identity() == damaged:
                self._folder.set_aside(self.root)
            try:
                staged.rename(self.root)
            except OSError as error:
                if error.errno in {errno.EEXIST, errno.ENOTEMPTY}:
                    return False  # another process put its own view there
                raise
            return True
        finally:
            remove(staged)

    def remove(self) -> None:
        """Remove the view. Whoever has its files open keeps them."""
        self._folder.set_aside(self.root)

    def _link(self, record: FileRecord, target: Path, hashed: Stamp | None) -> bool:
        blob = self._folder.blob(record.sha256)
        try:
            os.link(blob, target)
        except FileNotFoundError:
            return False
        except OSError:
            # no hard links here, or too many to one file
            copied = copy_hashing(blob, target, recorded_as=record.path)
            target.chmod(0o444)
            with target.open("rb") as stream:
                os.fsync(stream.fileno())
            return copied.sha256 == record.sha256
        return stamp_of(target.stat()) == hashed or hash_file(target) == record.sha256


def _seal(records: Iterable[FileRecord], stamps: Mapping[str, Entry]) -> bytes:
    files = {record.path: [record.sha256, *stamps[record.path].stamp] for record in records}
    return json.dumps({"hashed_at": time.time(), "files": files}, indent=1).encode()
