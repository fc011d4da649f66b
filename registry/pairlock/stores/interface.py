"""The one seam to wherever package bytes lie.

A store gives and takes bytes and proves nothing: what comes out of it is hashed by whoever asked.
Its errors are Pairlock's, also while a body is being read.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from pairlock.digests import FileRecord


class EntryType(StrEnum):
    """What a directory entry is."""

    FILE = "file"
    LINK = "link"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing found in a store. `stamp` changes whenever the file is written or replaced."""

    type: EntryType
    size_bytes: int
    stamp: tuple[int, ...]
    """Empty where a store has nothing of the kind."""


class BrokenStreamError(Exception):
    """A body ended early, stopped, or was not what was asked for; asking again may help."""


class OtherSizeError(BrokenStreamError):
    """The file has another size than the part that was asked for needs."""


class ByteStream(Protocol):
    """A part of a file on its way."""

    @property
    def total_bytes(self) -> int | None:
        """Size of the whole file as the store tells it now; None when it does not."""

    def read(self, at_most_bytes: int) -> bytes:
        """What has arrived, at least one byte; empty at the end of the part.

        Raises:
            BrokenStreamError: the connection broke.
        """


class Store(Protocol):
    """A place that holds one package or model folder. Paths are relative POSIX paths."""

    @property
    def location(self) -> str:
        """Where it is, for messages."""

    @property
    def splits_files(self) -> bool:
        """Whether a read may as well begin in the middle: large files then come in parallel."""

    def make_ready(self) -> None:
        """Import what requests take, and make a client where there is one; nothing is sent.

        Raises:
            UnavailableError: the environment's settings cannot be used.
        """

    def entries(self, folder: str = "", *, after: str = "") -> Mapping[str, Entry]:
        """Every entry below a folder except folders, by path relative to the store.

        Args:
            folder: where to look.
            after: list only what sorts behind this path.

        Raises:
            StorageError: the store cannot be listed.
            UnavailableError: it cannot be reached, or refuses.
        """

    def read_small(self, path: str, *, at_most_bytes: int) -> bytes:
        """A whole small file.

        Raises:
            NotFoundError: there is no such file.
            StorageError: it is larger than `at_most_bytes`, or reading failed.
            UnavailableError: the store cannot be reached, or refuses.
        """

    def open_range(
        self, path: str, *, start: int, length: int
    ) -> AbstractContextManager[ByteStream]:
        """A part of a file.

        Args:
            path: the file.
            start: the first byte.
            length: how many bytes, at least one.

        Raises:
            NotFoundError: there is no such file.
            BrokenStreamError: the answer is not the part that was asked for.
            UnavailableError: the store cannot be reached, or refuses.
        """

    def write(self, path: str, source: Path, record: FileRecord) -> None:
        """Store a file; whatever was there is replaced.

        Args:
            path: where to.
            source: the file on this disk.
            record: its size and sha256, for the store to check where it can.

        Raises:
            StorageError: the store did not take it.
            UnavailableError: it cannot be reached, or refuses.
        """

    def create(self, path: str, content: bytes) -> None:
        """Store a small file if nothing is there. Of several at once exactly one succeeds.

        Raises:
            AlreadyExistsError: something is there.
            UnsupportedError: the store has no conditional create.
            UnavailableError: it cannot be reached, or refuses.
        """

    def creates_conditionally(self) -> bool:
        """Try out whether `create` can be trusted: some servers take the condition and ignore it.

        Raises:
            UnavailableError: the store cannot be reached, or refuses.
        """
