"""A folder as the layout rules see it: names, sizes, and small files read on demand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pairlock.errors import ErrorKind, InvalidInputError
from pairlock.stores import Entry, EntryType, Store

MAX_CONFIG_BYTES = 8 << 20
"""Configuration files are far smaller than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What lies in a folder."""

    location: str
    sizes: Mapping[str, int]
    """Size of every regular file, by relative POSIX path."""

    read_small: Callable[[str], bytes]

    def has(self, path: str) -> bool:
        """Whether there is such a file."""
        return path in self.sizes

    def read_json(self, path: str) -> Any:
        """A configuration file as data.

        Raises:
            InvalidInputError: it is not JSON.
        """
        try:
            return json.loads(self.read_small(path))
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(
                f"{self.location}/{path} is not JSON",
                kind=ErrorKind.MODEL_INCOMPLETE,
                checked=path,
                expected="a JSON document",
                found=str(error),
                done="nothing was written",
                hint="save the model again with the library that trained it",
            ) from error

    def read_object(self, path: str) -> dict[str, Any]:
        """A configuration file that must be a JSON object; empty when it is something else."""
        document = self.read_json(path)
        return document if isinstance(document, dict) else {}


def listing_of(store: Store) -> Listing:
    """The listing of a store.

    Raises:
        StorageError: the store cannot be listed.
    """
    entries = store.entries()
    return Listing(
        location=store.location,
        sizes=_file_sizes(entries),
        read_small=lambda path: store.read_small(path, at_most_bytes=MAX_CONFIG_BYTES),
    )


def _file_sizes(entries: Mapping[str, Entry]) -> dict[str, int]:
    return {
        path: entry.size_bytes for path, entry in entries.items() if entry.type is EntryType.FILE
    }
