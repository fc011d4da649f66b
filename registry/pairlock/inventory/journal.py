"""How what is remembered of a registry is written: two lines for each time, in one file. No I/O.

A line is a CRC-32 in hex, a colon, what it is about, a blank, and JSON. One line says how packages
lay at their places, and is all that `looking` reads; the other one says everything else. What many
packages share (a form, a pin) stands once in a line, and rows name it by its place there: ten
thousand rows are read in less than a tenth of a second.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from sys import intern
from typing import Generic, TypeVar

from msgspec import DecodeError, Struct, field, json
from msgspec.structs import replace

from pairlock.catalog.listing import ListedLogged, ListedVersion
from pairlock.inventory.facts import PackageFacts, PinFacts
from pairlock.inventory.looking import PLACES, checked_texts

FORM = 3
"""Counts up when a line means something else than before; such a journal is not read."""

_FACTS = b"facts"

_T = TypeVar("_T")


class KnownPlace(Struct, frozen=True, array_like=True, gc=False):
    """What lay at a location."""

    stamp: int
    """The manifest's size and times, as its store gives them, in short."""

    digest: str
    folders: int | None = None
    """Stamps of the package's folders, in short, where nothing else lay in them than should; None
    where that is not known."""


class KnownLedger(Struct, frozen=True, kw_only=True):
    """Of a ledger whose entries up to one are known."""

    sequence: int
    digest: str
    ever_held: tuple[str, ...]
    held_versions: tuple[int, ...]
    bypassed: dict[int, tuple[str, ...]]
    """By the number of the entry: the gates that were passed over, where any were."""


class KnownListing(Struct, kw_only=True):
    """A registry as its server listed it."""

    models: dict[str, tuple[int, int]] = field(default_factory=dict)
    """When each was made and last changed, in ms since 1970."""

    versions: list[ListedVersion] = field(default_factory=list)
    """Each with its location, where that is known."""

    logged: list[ListedLogged] = field(default_factory=list)
    """Those that are Pairlock's."""

    def __len__(self) -> int:
        return len(self.models) + len(self.versions) + len(self.logged)


class Notes(Struct, kw_only=True):
    """What the lines of one time hold, or all lines together."""

    packages: dict[str, PackageFacts] = field(default_factory=dict)
    """By digest."""

    places: dict[str, KnownPlace] = field(default_factory=dict)
    """By location."""

    ledgers: dict[str, KnownLedger] = field(default_factory=dict)
    """By location."""

    listing: KnownListing = field(default_factory=KnownListing)
    """Empty where the registry is always read whole."""

    def __len__(self) -> int:
        """How many rows."""
        return len(self.packages) + len(self.places) + len(self.ledgers) + len(self.listing)

    def update(self, newer: Notes) -> None:
        """Take what another one says, also where this one says something else."""
        self.packages.update(newer.packages)
        self.places.update(newer.places)
        self.ledgers.update(newer.ledgers)
        self.listing = newer.listing if newer.listing else self.listing


class _Package(Struct, frozen=True, array_like=True, gc=False):
    digest: str
    form: int
    pin: int | None
    document_space: str
    query_space: str
    sizes: tuple[int, ...]


class _Facts(Struct, frozen=True, kw_only=True):
    """The line about everything but places."""

    packages: list[_Package]
    forms: list[PackageFacts]
    """What many have in common: packages without anything of their own."""

    pins: list[PinFacts]
    ledgers: dict[str, KnownLedger]
    listing: KnownListing


class _Place(Struct, frozen=True, array_like=True, gc=False):
    location: str
    place: KnownPlace
    paths: int
    sizes: tuple[int, ...]


class _Places(Struct, frozen=True, kw_only=True):
    """The line that `looking` reads, too."""

    places: list[_Place]
    paths: list[tuple[str, ...]]


_ENCODER = json.Encoder()
_FACTS_DECODER = json.Decoder(_Facts)
_PLACES_DECODER = json.Decoder(_Places)


def write_lines(notes: Notes, packages: Mapping[str, PackageFacts]) -> bytes:
    """The lines for some notes, with their ends.

    Args:
        notes: what is to be written.
        packages: every package that is known, by digest.
    """
    forms, pins = _Numbered[PackageFacts](), _Numbered[PinFacts]()
    paths = _Numbered[tuple[str, ...]]()
    facts = _Facts(
        packages=[_row(package, forms, pins) for package in notes.packages.values()],
        forms=forms.rows,
        pins=pins.rows,
        ledgers=notes.ledgers,
        listing=notes.listing,
    )
    places = [
        _Place(location, place, paths.number(package.paths), package.sizes)
        for location, place in notes.places.items()
        if (package := packages.get(place.digest)) is not None
    ]
    return _line(PLACES, _Places(places=places, paths=paths.rows)) + _line(_FACTS, facts)


def _line(what: bytes, document: object) -> bytes:
    text = _ENCODER.encode(document)
    return b"%08x:%s %s\n" % (zlib.crc32(text), what, text)


def _row(
    package: PackageFacts, forms: _Numbered[PackageFacts], pins: _Numbered[PinFacts]
) -> _Package:
    form = replace(package, digest="", document_space="", query_space="", base=None, sizes=())
    return _Package(
        package.digest,
        forms.number(form),
        None if package.base is None else pins.number(package.base),
        package.document_space,
        package.query_space,
        package.sizes,
    )


class _Numbered(Generic[_T]):
    """Rows that are written once each, and named by their numbers."""

    def __init__(self) -> None:
        self.rows: list[_T] = []
        self._numbers: dict[bytes, int] = {}

    def number(self, row: _T) -> int:
        key = _ENCODER.encode(row)
        if key not in self._numbers:
            self._numbers[key] = len(self.rows)
            self.rows.append(row)
        return self._numbers[key]


def read_lines(content: bytes) -> Iterator[Notes]:
    """What the lines of a journal say. One that was torn or damaged is left out."""
    for text in checked_texts(content, PLACES):
        with suppress(DecodeError):
            yield _places(_PLACES_DECODER.decode(text))
    for text in checked_texts(content, _FACTS):
        with suppress(DecodeError, IndexError):
            yield _facts(_FACTS_DECODER.decode(text))


def _places(line: _Places) -> Notes:
    return Notes(places={row.location: row.place for row in line.places})


def _facts(line: _Facts) -> Notes:
    packages = {
        row.digest: replace(
            line.forms[row.form],
            digest=row.digest,
            document_space=intern(row.document_space),
            query_space=row.query_space,
            base=None if row.pin is None else line.pins[row.pin],
            sizes=row.sizes,
        )
        for row in line.packages
    }
    return Notes(packages=packages, ledgers=line.ledgers, listing=line.listing)
