"""Looks at remembered packages on this machine while the registry is still being listed.

The database, a server and the disk work at the same time then. Only what is as it was is told:
anything else is looked at in its turn, when it is known whose package it is.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator

from pairlock.inventory.journal import Known, KnownPlace
from pairlock.inventory.remembered import Memory
from pairlock.manifest import MANIFEST_NAME
from pairlock.stores.opening import is_remote

_CHUNK = 100


class Ahead:
    """What was looked at before anybody asked.

    Args:
        memory: what is known from before.
        stopped: asked between packages.
    """

    def __init__(self, memory: Memory, stopped: Callable[[], bool]) -> None:
        self._memory = memory
        self._stopped = stopped
        self._same: dict[str, Known] = {}

    def chunks(self) -> Iterator[list[str]]:
        """The places to look at, some at once."""
        places = [place for place in self._memory.places() if not is_remote(place)]
        for start in range(0, len(places), _CHUNK):
            yield places[start : start + _CHUNK]

    def look(self, locations: list[str]) -> None:
        """Look at some places."""
        for location in locations:
            if self._stopped():
                return
            place, known = self._memory.peek(location)
            if place is not None and known is not None and is_as_it_was(location, place, known):
                self._same[location] = known

    def told(self, location: str) -> Known | None:
        """What lies at a place, if it is what lay there; None for what is not known."""
        known = self._same.get(location)
        if known is not None:
            self._memory.keep_alive(location)
        return known


def is_as_it_was(location: str, place: KnownPlace, known: Known) -> bool:
    """Whether a package is as it was: its manifest, the names in its folders, the files' sizes.

    Ten thousand packages are looked at, so nothing is done here that can be done before.
    """
    layout, lstat = known.layout, os.lstat
    if not place.folders:
        return False
    try:
        if manifest_stamp(os.stat(location + _MANIFEST)) != place.stamp:  # noqa: PTH116 - no Path
            return False
        stamps: list[int] = []
        for end in layout.folder_ends:
            found = lstat(location + end)
            stamps += (found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        if tuple(stamps) != place.folders:
            return False
        for end, size_bytes in zip(layout.file_ends, known.sizes, strict=True):
            found = lstat(location + end)
            if found.st_size != size_bytes or not stat.S_ISREG(found.st_mode):
                return False
    except OSError:
        return False
    return True


_MANIFEST = f"/{MANIFEST_NAME}"


def manifest_stamp(found: os.stat_result) -> tuple[int, ...]:
    """What tells one manifest on this machine from another one."""
    return (found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns, found.st_dev)
