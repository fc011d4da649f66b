"""What an inventory may leave unread the next time, in the cache folder: one journal a registry.

Kept are facts that follow from a digest (what a manifest says), and which digest lay at a place
when its manifest had a certain size, time and inode. Never kept: that a file is there, and its
size. Those are looked at every time.

A line that was torn or damaged is as if it had never been written. A journal of another release is
not read: it may have known less.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pairlock.cache import CacheFolder
from pairlock.errors import PairlockError
from pairlock.inventory.journal import (
    FORM,
    Known,
    KnownLedger,
    KnownPlace,
    Notes,
    Stamp,
    folders_of,
    read_lines,
    write_line,
)
from pairlock.inventory.telling import Told

_FOLDER = "inventories"
_DEAD_NOTES = 2000


class Memory:
    """What is known of one registry. Threads may add to it."""

    def __init__(self) -> None:
        self._known = Notes()
        self._news = Notes()
        self._written = 0
        """How many notes stand in the journal, outdated ones too."""

    @property
    def listing(self) -> dict[str, Any]:
        """As `pairlock.inventory.listing` has it; empty where nothing is known."""
        return self._known.listing

    def package(self, digest: str) -> Known | None:
        """What the manifest with a digest says."""
        return self._known.packages.get(digest)

    def place(self, location: str) -> KnownPlace | None:
        """What lay at a location."""
        return self._known.places.get(location)

    def ledger(self, location: str) -> KnownLedger | None:
        """What is known of the ledger there."""
        return self._known.ledgers.get(location)

    def note_package(self, told: Told) -> Known:
        """Note what a manifest says."""
        known = Known(told.facts, told.paths, folders_of(told.paths), told.sizes)
        self._known.packages[told.facts.digest] = self._news.packages[told.facts.digest] = known
        return known

    def note_place(self, location: str, stamp: Stamp, digest: str, folders: Stamp = ()) -> None:
        """Note which digest lies at a place."""
        place = KnownPlace(stamp, digest, folders)
        if self._known.places.get(location) != place:
            self._known.places[location] = self._news.places[location] = place

    def note_ledger(self, location: str, known: KnownLedger) -> None:
        """Note what is known of a ledger."""
        if self._known.ledgers.get(location) != known:
            self._known.ledgers[location] = self._news.ledgers[location] = known

    def note_listing(self, listing: dict[str, Any]) -> None:
        """Note a whole listing."""
        self._known.listing = self._news.listing = listing

    def learn(self, notes: Notes) -> None:
        """Take a line of the journal."""
        self._written += len(notes)
        self._known.update(notes)

    def unwritten(self) -> tuple[bytes, bool]:
        """What the journal lacks.

        Returns:
            Its bytes, empty where it lacks nothing; and whether they replace the journal, since
            most of what stands in it is outdated.
        """
        news, self._news = self._news, Notes()
        if not news:
            return b"", False
        self._written += len(news)
        if self._written > 2 * len(self._known) + _DEAD_NOTES:
            self._written = len(self._known)
            return write_line(self._known), True
        return b"\n" + write_line(news), False


def recall(folder: CacheFolder, registry: str) -> Memory:
    """What is known of a registry; empty where nothing is.

    Args:
        folder: the cache.
        registry: its address, without credentials.
    """
    memory = Memory()
    try:
        content = _path(folder, registry).read_bytes()
    except OSError:
        return memory
    for notes in read_lines(content):
        memory.learn(notes)
    return memory


def keep(folder: CacheFolder, registry: str, memory: Memory) -> None:
    """Write what is new; a cache that cannot be written keeps nothing."""
    content, is_whole = memory.unwritten()
    if not content:
        return
    path = _path(folder, registry)
    try:
        folder.prepare()
        path.parent.mkdir(exist_ok=True)
        if is_whole:
            folder.write(path, content)
        else:
            with path.open("ab") as stream:
                stream.write(content)
    except (OSError, PairlockError):
        return


def _path(folder: CacheFolder, registry: str) -> Path:
    try:
        release = version("pairlock")
    except PackageNotFoundError:
        release = "source"
    name = hashlib.sha256(f"{FORM}\n{release}\n{registry}".encode()).hexdigest()
    return folder.root / _FOLDER / f"{name}.jsonl"
