"""What an inventory may leave unread the next time, in the cache folder: one journal a registry.

Kept are facts that follow from a digest (what a manifest says), and which digest lay at a place
when its manifest had a certain size, time and inode. Never kept: that a file is there, and its
size. Those are looked at every time.

A line that was torn or damaged is as if it had never been written. A journal of another release is
not read: it may have known less.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from sys import intern
from typing import Any

from pairlock.cache import CacheFolder
from pairlock.errors import PairlockError
from pairlock.inventory.facts import PackageFacts, PinFacts
from pairlock.inventory.pickles import is_pickle_name
from pairlock.inventory.telling import Told
from pairlock.manifest import BaseOrigin, Kind, Spaces

_FOLDER = "inventories"
_FORM = 1
_DEAD_LINES = 2000

Stamp = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What follows from a manifest's digest."""

    facts: PackageFacts
    paths: tuple[str, ...]
    folders: tuple[str, ...]
    """Every folder that `paths` lie in, relative to the package; the package itself is empty."""

    sizes: tuple[int, ...]
    """In bytes, of the files at `paths`."""

    @property
    def pickles(self) -> tuple[str, ...]:
        """The files that are named as pickles are."""
        return pickles_in(self.paths)

    def matches(self, found: Mapping[str, int]) -> bool:
        """Whether files of these names and sizes are there, and no others."""
        return len(found) == len(self.paths) and all(
            found.get(path) == size for path, size in zip(self.paths, self.sizes, strict=True)
        )


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
class Memory:
    """What is known of one registry. Threads may add to it."""

    packages: dict[str, Known] = field(default_factory=dict)
    places: dict[str, tuple[Stamp, str, Stamp]] = field(default_factory=dict)
    """By location: the manifest's stamp, its digest, and the stamps of the package's folders, where
    nothing else lay in them than should; empty where that is not known."""

    ledgers: dict[str, KnownLedger] = field(default_factory=dict)
    listing: dict[str, Any] = field(default_factory=dict)
    """As `pairlock.inventory.listing` has it; empty where the registry is always read whole."""

    _news: list[dict[str, Any]] = field(default_factory=list)
    _lines: int = 0
    _shapes: dict[tuple[str, ...], tuple[tuple[str, ...], tuple[str, ...]]] = field(
        default_factory=dict
    )

    def package(self, told: Told) -> Known:
        """Note what a manifest says."""
        digest = told.facts.digest
        known = Known(told.facts, *self._shape(told.paths), told.sizes)
        self.packages[digest] = known
        self._news.append({"d": digest, "f": _to_data(known)})
        return known

    def place(self, location: str, stamp: Stamp, digest: str, folders: Stamp = ()) -> None:
        """Note which digest lies at a place."""
        if self.places.get(location) != (stamp, digest, folders):
            self.places[location] = (stamp, digest, folders)
            self._news.append({"l": location, "s": stamp, "d": digest, "o": folders})

    def ledger(self, location: str, known: KnownLedger) -> None:
        """Note what is known of a ledger."""
        if self.ledgers.get(location) != known:
            self.ledgers[location] = known
            self._news.append({"g": location, "k": asdict(known)})

    def listed(self, listing: dict[str, Any]) -> None:
        """Note a whole listing."""
        self.listing = listing
        self._news.append({"t": listing})

    def _shape(self, paths: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The paths and their folders, as one object each for all packages that are laid out so."""
        if (there := self._shapes.get(paths)) is None:
            folders = {str(above) for path in paths for above in PurePosixPath(path).parents}
            there = paths, tuple(sorted("" if one == "." else one for one in folders))
            self._shapes[paths] = there
        return there

    def learn(self, line: dict[str, Any]) -> None:
        """Take a line of the journal."""
        self._lines += 1
        if "f" in line:
            data = line["f"]
            shape = self._shape(tuple(data["paths"]))
            facts = _from_data(line["d"], data)
            self.packages[facts.digest] = Known(facts, *shape, tuple(data["sizes"]))
        elif "l" in line:
            digest = intern(line["d"])
            self.places[line["l"]] = (tuple(line["s"]), digest, tuple(line["o"]))
        elif "g" in line:
            known = line["k"]
            self.ledgers[line["g"]] = KnownLedger(
                known["sequence"],
                known["digest"],
                tuple(known["ever_held"]),
                tuple(known["held_versions"]),
                {int(entry): tuple(gates) for entry, gates in known["bypassed"].items()},
            )
        elif "t" in line:
            self.listing = line["t"]


@cache
def pickles_in(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Which files are named as pickles are; most packages are laid out as many others are."""
    return tuple(path for path in paths if is_pickle_name(path))


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
    for line in content.split(b"\n"):
        check, _, text = line.partition(b" ")
        try:
            if int(check, 16) == zlib.crc32(text):
                for item in json.loads(text):
                    memory.learn(item)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return memory


def keep(folder: CacheFolder, registry: str, memory: Memory) -> None:
    """Write what is new; a cache that cannot be written keeps nothing."""
    news, memory._news = memory._news, []
    if not news:
        return
    path = _path(folder, registry)
    alive = len(memory.packages) + len(memory.places) + len(memory.ledgers) + 1
    try:
        folder.prepare()
        path.parent.mkdir(exist_ok=True)
        if memory._lines + len(news) > 2 * alive + _DEAD_LINES:
            folder.write(path, _journal(_all(memory)))
        else:
            with path.open("ab") as stream:
                stream.write(b"\n" + _journal(news))
    except (OSError, PairlockError):
        return


def _to_data(known: Known) -> dict[str, Any]:
    facts = known.facts
    pin = facts.base
    return {
        "kind": facts.kind.value,
        "dimension": facts.dimension,
        "input_dimension": facts.input_dimension,
        "spaces": [facts.spaces.document, facts.spaces.query],
        "base": None
        if pin is None
        else [pin.uri, pin.origin.value, pin.tree_digest, pin.package_digest, pin.dimension],
        "libraries": dict(facts.libraries),
        "size_bytes": facts.size_bytes,
        "foreign_classes": facts.foreign_classes,
        "device_order": facts.device_order,
        "dtype": facts.dtype,
        "paths": known.paths,
        "sizes": known.sizes,
    }


def _from_data(digest: str, data: dict[str, Any]) -> PackageFacts:
    pin = data["base"]
    return PackageFacts(
        digest=intern(digest),
        kind=Kind(data["kind"]),
        dimension=data["dimension"],
        input_dimension=data["input_dimension"],
        spaces=Spaces(intern(data["spaces"][0]), intern(data["spaces"][1])),
        base=None
        if pin is None
        else PinFacts(
            uri=intern(pin[0]),
            origin=BaseOrigin(pin[1]),
            tree_digest=intern(pin[2]),
            package_digest=None if pin[3] is None else intern(pin[3]),
            dimension=pin[4],
        ),
        libraries={intern(name): intern(text) for name, text in data["libraries"].items()},
        files=len(data["paths"]),
        size_bytes=data["size_bytes"],
        foreign_classes=tuple(map(intern, data["foreign_classes"])),
        device_order=tuple(map(intern, data["device_order"])),
        dtype=intern(data["dtype"]),
    )


def _all(memory: Memory) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = [
        {"d": digest, "f": _to_data(known)} for digest, known in memory.packages.items()
    ]
    lines += [
        {"l": place, "s": stamp, "d": digest, "o": folders}
        for place, (stamp, digest, folders) in memory.places.items()
    ]
    lines += [{"g": place, "k": asdict(known)} for place, known in memory.ledgers.items()]
    return [*lines, {"t": memory.listing}] if memory.listing else lines


def _journal(lines: list[dict[str, Any]]) -> bytes:
    text = json.dumps(lines, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _path(folder: CacheFolder, registry: str) -> Path:
    try:
        release = version("pairlock")
    except PackageNotFoundError:
        release = "source"
    name = hashlib.sha256(f"{_FORM}\n{release}\n{registry}".encode()).hexdigest()
    return folder.root / _FOLDER / f"{name}.jsonl"
