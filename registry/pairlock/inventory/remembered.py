"""What an inventory may leave unread the next time, in the cache folder: one journal a registry.

Kept are facts that follow from a digest (what a manifest says), and which digest lay at a place
when its manifest had a certain size, time and inode. Never kept: that a file is there, and its
size. Those are looked at every time.

A line that was torn or damaged is as if it had never been written. A journal of another release is
not read: it may have known less.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from pairlock.cache import CacheFolder
from pairlock.errors import PairlockError
from pairlock.installed import versions_of
from pairlock.inventory.facts import PackageFacts
from pairlock.inventory.journal import (
    FORM,
    KnownLedger,
    KnownListing,
    KnownPlace,
    Notes,
    read_lines,
    write_lines,
)
from pairlock.inventory.looking import mark_of

_FOLDER = "inventories"
_DEAD_NOTES = 2000


class Memory:
    """What is known of one registry. Threads may add to it.

    Args:
        content: the journal.
    """

    def __init__(self, content: bytes = b"") -> None:
        self._known = Notes()
        self._news = Notes()
        self._alive = Notes()
        """What was asked for or noted this time; the rest may be of versions that are gone."""

        self._written = 0
        """How many notes stand in the journal, outdated ones too."""

        for notes in read_lines(content):
            self._written += len(notes)
            self._known.update(notes)
        self.places = tuple(self._known.places)
        """The locations that the journal names, in the order in which it first does."""

        self.mark = mark_of(content, len(self.places))
        """Which journal it was."""

    @property
    def listing(self) -> KnownListing:
        """The last whole listing by a server; empty where nothing is known."""
        return self._known.listing

    def package(self, digest: str) -> PackageFacts | None:
        """What the manifest with a digest says."""
        if (known := self._known.packages.get(digest)) is not None:
            self._alive.packages[digest] = known
        return known

    def place(self, location: str) -> KnownPlace | None:
        """What lay at a location."""
        if (place := self._known.places.get(location)) is not None:
            self._alive.places[location] = place
        return place

    def ledger(self, location: str) -> KnownLedger | None:
        """What is known of the ledger there."""
        if (known := self._known.ledgers.get(location)) is not None:
            self._alive.ledgers[location] = known
        return known

    def note_package(self, package: PackageFacts) -> None:
        """Note what a manifest says."""
        for notes in (self._known, self._news, self._alive):
            notes.packages[package.digest] = package

    def note_place(self, location: str, place: KnownPlace) -> None:
        """Note what lies at a place."""
        if self._known.places.get(location) != place:
            for notes in (self._known, self._news, self._alive):
                notes.places[location] = place

    def note_ledger(self, location: str, known: KnownLedger) -> None:
        """Note what is known of a ledger."""
        if self._known.ledgers.get(location) != known:
            for notes in (self._known, self._news, self._alive):
                notes.ledgers[location] = known

    def note_listing(self, listing: KnownListing) -> None:
        """Note a whole listing."""
        if self._known.listing != listing:
            self._known.listing = self._news.listing = listing

    def unwritten(self, *, was_whole: bool) -> tuple[bytes, bool]:
        """What the journal lacks.

        Args:
            was_whole: whether the whole registry was looked at, so that what was not asked for is
                not there any more.

        Returns:
            Its bytes, empty where it lacks nothing; and whether they replace the journal, since
            most of what stands in it is outdated.
        """
        alive = self._alive if was_whole else self._known
        alive.listing = self._known.listing
        if self._written + len(self._news) > 2 * len(alive) + _DEAD_NOTES:
            return write_lines(alive, self._known.packages), True
        news = write_lines(self._news, self._known.packages) if self._news else b""
        return (b"\n" + news if news else b""), False


def recall(folder: CacheFolder, registry: str) -> Memory:
    """What is known of a registry; empty where nothing is.

    Args:
        folder: the cache.
        registry: its address, without credentials.
    """
    try:
        return Memory(journal_path(folder, registry).read_bytes())
    except OSError:
        return Memory()


def keep(folder: CacheFolder, registry: str, memory: Memory, *, was_whole: bool) -> None:
    """Write what is new; a cache that cannot be written keeps nothing, nor does what cannot be.

    Args:
        folder: the cache.
        registry: its address, without credentials.
        memory: what is known after the inventory.
        was_whole: whether that was one of the whole registry, to its end.
    """
    try:
        content, replaces = memory.unwritten(was_whole=was_whole)
    except UnicodeEncodeError:  # a server may say what no registry can hold
        return
    if not content:
        return
    path = journal_path(folder, registry)
    try:
        folder.prepare()
        path.parent.mkdir(exist_ok=True)
        if replaces:
            folder.write(path, content)
        else:
            with path.open("ab") as stream:
                stream.write(content)
    except (OSError, PairlockError):
        return


def journal_path(folder: CacheFolder, registry: str) -> Path:
    """The file in which is kept what is known of a registry.

    Args:
        folder: the cache.
        registry: its address, without credentials.
    """
    name = hashlib.sha256(f"{FORM}\n{_release()}\n{registry}".encode()).hexdigest()
    return folder.root / _FOLDER / f"{name}.jsonl"


@cache
def _release() -> str:
    return versions_of(["pairlock"]).get("pairlock", "source")
