"""Stamped indexes by their folders, for whoever asks what was built with what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pairlock.index.acts import read
from pairlock.index.places.finding import find_places
from pairlock.index.stamps import Stamp, read_stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class StampedIndex:
    """An index whose stamp was read."""

    place: str
    """Where it is, for a person."""

    stamp: Stamp

    def to_dict(self) -> dict[str, Any]:
        """The index as JSON data."""
        return {"place": self.place, "stamp": asdict(self.stamp)}


def stamped_indexes(folders: Iterable[str | Path]) -> tuple[StampedIndex, ...]:
    """Every index in some folders; each was built with one version.

    Args:
        folders: as `pairlock.index.read` takes them.

    Raises:
        NotFoundError: an index is not there, or not stamped.
        PairlockError: every other reason why a stamp cannot be read.
    """
    return tuple(one for folder in folders for one in _stamped(folder))


def _stamped(folder: str | Path) -> Iterable[StampedIndex]:
    places = find_places(folder)
    for place in places:
        stored = place.read()
        if stored is None:
            read(folder)  # says what is missing
            continue
        where = str(folder) if len(places) == 1 else place.name
        yield StampedIndex(place=where, stamp=read_stamp(stored, where=place.name))
