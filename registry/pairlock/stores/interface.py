"""The one seam to wherever package bytes lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


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


class Store(Protocol):
    """A place that holds one package or model folder."""

    @property
    def location(self) -> str:
        """Where it is, for messages."""

    def entries(self, folder: str = "") -> Mapping[str, Entry]:
        """Every entry below a folder except folders, by path relative to the store.

        Raises:
            StorageError: the store cannot be listed.
        """

    def read_small(self, path: str, *, at_most_bytes: int) -> bytes:
        """A whole small file.

        Raises:
            NotFoundError: there is no such file.
            StorageError: it is larger than `at_most_bytes`, or reading failed.
        """
