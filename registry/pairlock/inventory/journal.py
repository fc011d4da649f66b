"""How what is remembered of a registry is written: one line for each time, in one file. No I/O.

A line is a CRC-32 in hex, a blank, and JSON. What many packages share (a form, a pin) stands once
in a line, and rows name it by its place there: ten thousand rows are read in a tenth of a second.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from sys import intern
from typing import Any, NamedTuple

from pairlock.inventory.facts import PackageFacts, PinFacts
from pairlock.inventory.looking import checked_lines, folders_of
from pairlock.inventory.pickles import is_pickle_name
from pairlock.manifest import BaseOrigin, Kind, Spaces

FORM = 2
"""Counts up when a line means something else than before; such a journal is not read."""

Stamp = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What follows from a manifest's digest."""

    facts: PackageFacts
    paths: tuple[str, ...]
    sizes: tuple[int, ...]
    """In bytes, of the files at `paths`."""

    @property
    def folders(self) -> tuple[str, ...]:
        """Every folder that `paths` lie in, relative to the package; the package is empty."""
        return folders_of(self.paths)

    @property
    def pickles(self) -> tuple[str, ...]:
        """The files that are named as pickles are."""
        return pickles_in(self.paths)

    def matches(self, found: Mapping[str, int]) -> bool:
        """Whether files of these names and sizes are there, and no others."""
        return len(found) == len(self.paths) and all(
            found.get(path) == size for path, size in zip(self.paths, self.sizes, strict=True)
        )


class KnownPlace(NamedTuple):
    """What lay at a location."""

    stamp: Stamp
    """The manifest's size and times, as its store gives them."""

    digest: str
    folders: Stamp = ()
    """Stamps of the package's folders, where nothing else lay in them than should; empty where that
    is not known."""


@dataclass(frozen=True, slots=True)
class KnownLedger:
    """Of a ledger whose entries up to one are known."""

    sequence: int
    digest: str
    ever_held: tuple[str, ...]
    held_versions: tuple[int, ...]
    bypassed: Mapping[int, tuple[str, ...]]
    """By the number of the entry: the gates that were passed over, where any were."""


@dataclass(slots=True)
class Notes:
    """What one line holds, or all lines together."""

    packages: dict[str, Known] = field(default_factory=dict)
    places: dict[str, KnownPlace] = field(default_factory=dict)
    ledgers: dict[str, KnownLedger] = field(default_factory=dict)
    listing: dict[str, Any] = field(default_factory=dict)
    """As `pairlock.inventory.listing` has it; empty where the registry is always read whole."""

    def __len__(self) -> int:
        """How many rows."""
        listed = sum(len(rows) for rows in self.listing.values())
        return len(self.packages) + len(self.places) + len(self.ledgers) + listed

    def update(self, newer: Notes) -> None:
        """Take what another one says, also where this one says something else."""
        self.packages.update(newer.packages)
        self.places.update(newer.places)
        self.ledgers.update(newer.ledgers)
        self.listing = newer.listing or self.listing


@cache
def pickles_in(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Which files are named as pickles are."""
    return tuple(path for path in paths if is_pickle_name(path))


def write_line(notes: Notes) -> bytes:
    """A line of the journal, with its end."""
    forms, pins = _Numbered(), _Numbered()
    document = {
        "packages": [_package_row(known, forms, pins) for known in notes.packages.values()],
        "places": [(location, *place) for location, place in notes.places.items()],
        "ledgers": [(location, asdict(known)) for location, known in notes.ledgers.items()],
        "listing": notes.listing,
        "forms": forms.rows,
        "pins": pins.rows,
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def read_lines(content: bytes) -> Iterator[Notes]:
    """What the lines of a journal say. One that was torn or damaged is left out."""
    for document in checked_lines(content):
        try:
            yield _notes(document)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            continue


class _Numbered:
    """Rows that are written once each, and named by their numbers."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self._numbers: dict[str, int] = {}

    def number(self, row: list[Any]) -> int:
        key = json.dumps(row)
        if key not in self._numbers:
            self._numbers[key] = len(self.rows)
            self.rows.append(row)
        return self._numbers[key]


def _package_row(known: Known, forms: _Numbered, pins: _Numbered) -> list[Any]:
    facts, pin = known.facts, known.facts.base
    form = forms.number(
        [
            facts.kind.value,
            facts.dimension,
            facts.input_dimension,
            dict(facts.libraries),
            facts.foreign_classes,
            facts.device_order,
            facts.dtype,
            known.paths,
        ]
    )
    base = None
    if pin is not None:
        base = pins.number(
            [pin.uri, pin.origin.value, pin.tree_digest, pin.package_digest, pin.dimension]
        )
    return [facts.digest, form, base, facts.spaces.document, facts.spaces.query, known.sizes]


def _notes(document: dict[str, Any]) -> Notes:
    pins = [_pin(row) for row in document["pins"]]
    notes = Notes(listing=document["listing"])
    for known in _packages(document["packages"], document["forms"], pins):
        notes.packages[known.facts.digest] = known
    for location, stamp, digest, folders in document["places"]:
        notes.places[location] = KnownPlace(tuple(stamp), digest, tuple(folders))
    for location, known in document["ledgers"]:
        notes.ledgers[location] = KnownLedger(
            known["sequence"],
            known["digest"],
            tuple(known["ever_held"]),
            tuple(known["held_versions"]),
            {int(entry): tuple(gates) for entry, gates in known["bypassed"].items()},
        )
    return notes


def _pin(row: list[Any]) -> PinFacts:
    uri, origin, tree, package, dimension = row
    return PinFacts(
        uri=intern(uri),
        origin=BaseOrigin(origin),
        tree_digest=intern(tree),
        package_digest=None if package is None else intern(package),
        dimension=dimension,
    )


def _packages(
    rows: Iterable[list[Any]], forms: list[list[Any]], pins: list[PinFacts]
) -> Iterator[Known]:
    shared = [_form(row) for row in forms]
    for digest, form, base, document, query, sizes in rows:
        common, paths = shared[form]
        facts = common(
            digest=digest,
            spaces=Spaces(intern(document), query),
            base=None if base is None else pins[base],
            size_bytes=sum(sizes),
        )
        yield Known(facts, paths, tuple(sizes))


def _form(row: list[Any]) -> tuple[Callable[..., PackageFacts], tuple[str, ...]]:
    kind, dimension, input_dimension, libraries, classes, order, dtype, paths = row
    common = partial(
        PackageFacts,
        kind=Kind(kind),
        dimension=dimension,
        input_dimension=input_dimension,
        libraries={intern(name): intern(text) for name, text in libraries.items()},
        foreign_classes=tuple(map(intern, classes)),
        device_order=tuple(map(intern, order)),
        dtype=intern(dtype),
        files=len(paths),
    )
    return common, tuple(map(intern, paths))
