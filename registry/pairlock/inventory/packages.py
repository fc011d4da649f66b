"""Looks at one version's package where it lies: its manifest, and which files are there.

No payload byte is read. The manifest is read unless it is the file that it was before.
"""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import Struct

from pairlock.catalog import DIGEST_TAG
from pairlock.catalog.listing import ListedVersion
from pairlock.digests import FileRecord
from pairlock.errors import ErrorKind, Finding, FormatError, NotFoundError, PairlockError, os_reason
from pairlock.integrity import compare_entries
from pairlock.inventory.facts import ForeignFacts, PackageFacts, PackageState, VersionFacts
from pairlock.inventory.journal import KnownPlace
from pairlock.inventory.looking import folder_stamps, in_short, is_as_it_was, manifest_stamp
from pairlock.inventory.pickles import pickles_in
from pairlock.inventory.remembered import Memory
from pairlock.inventory.tags import says_all
from pairlock.inventory.telling import tell
from pairlock.manifest import MANIFEST_NAME, package_digest
from pairlock.manifest.format import MAX_MANIFEST_BYTES, PAGE_NAME, PAYLOAD
from pairlock.stores import Entry, LocalStore, Store
from pairlock.stores.opening import is_remote, open_store

_MLMODEL = "MLmodel"
_BESIDE = frozenset(
    {
        MANIFEST_NAME,
        PAGE_NAME,
        _MLMODEL,
        "conda.yaml",
        "environment_variables.txt",
        "python_env.yaml",
        "registered_model_meta",
        "requirements.txt",
    }
)
"""What Pairlock and MLflow 3.17 write beside the payload."""

_LOADER = b"pairlock_flavors"
_PEFT = "adapter_config.json"
_BLOCK = re.compile(r"(?:[ ].*\n)*")
_FLAVOR = re.compile(r"^  (\w+):", re.MULTILINE)
"""`MLmodel` is what `yaml.safe_dump` writes: a flavor's name stands two blanks from the margin."""
_INSIDE = f"{PAYLOAD}/"
_MOST_OTHERS = 100
_JUST_NOW_NS = 2_000_000_000
"""A file that changed this shortly before it was read may change again within one tick of its clock
and keep its stamp, so it is not remembered."""


class Look(Struct, frozen=True, kw_only=True, gc=False):
    """What was seen at one location."""

    state: PackageState
    package: PackageFacts | None = None
    findings: tuple[Finding, ...] = ()
    problem: str = ""
    other_files: tuple[str, ...] = ()
    foreign: ForeignFacts | None = None


@dataclass(slots=True)
class _Files:
    """What lies at a location: sizes of payload files by path, and everything else."""

    payload: dict[str, int] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    folders: set[str] = field(default_factory=set)
    odd: bool = False
    """Whether there is something in the payload that is no regular file."""


def look_at(one: ListedVersion, location: str, memory: Memory) -> Look:
    """Look at the package of one version. Whatever is wrong there is in the answer.

    Args:
        one: the version, as it was listed.
        location: where its bytes lie.
        memory: what is known from before; what is new is noted there.
    """
    try:
        if is_remote(location):
            return _remote(one, location, memory)
        return _local(one, location, memory)
    except FormatError as error:
        return Look(
            state=PackageState.UNREADABLE,
            findings=tuple(error.findings),
            problem=f"{error.summary}: {error.found}",
        )
    except NotFoundError as error:
        return _missing(error.found)
    except PairlockError as error:
        return Look(state=PackageState.UNREACHABLE, problem=f"{error.summary}: {error.found}")
    except OSError as error:
        return Look(
            state=PackageState.UNREACHABLE,
            problem=f"{location}: {os_reason(error)}",
        )


def version_facts(
    one: ListedVersion, location: str, model_id: str | None, look: Look
) -> VersionFacts:
    """A version with what was seen of its package."""
    return VersionFacts(
        name=one.name,
        version=one.version,
        state=one.state,
        legacy_stage=one.legacy_stage,
        created_ms=one.created_ms,
        model_id=model_id,
        location=location,
        tags=one.tags,
        package_state=look.state,
        package=look.package,
        tags_agree=look.package is not None and says_all(one.tags, look.package),
        findings=look.findings,
        problem=look.problem,
        other_files=look.other_files,
        foreign=look.foreign,
        pickles=(look.package.pickles if look.package is not None else ())
        + pickles_in(look.other_files),
    )


def _local(one: ListedVersion, location: str, memory: Memory) -> Look:
    if (known := _unchanged(location, memory)) is not None:
        return Look(state=PackageState.THERE, package=known)
    try:
        stamp = manifest_stamp(f"{location}/")
    except (FileNotFoundError, NotADirectoryError):
        return _without_manifest(one, location, LocalStore(Path(location)))
    known = _remembered(location, stamp, memory)
    store = LocalStore(Path(location))
    _, mtime_ns, _, ctime_ns, _ = stamp
    is_settled = time.time_ns() - max(mtime_ns, ctime_ns) > _JUST_NOW_NS
    if known is None:
        known = _read(one, location, store, memory, stamp if is_settled else None)
    folders = _folder_stamps(location, known)
    files = _Files()
    _scan(location, "", files)
    others = _strange(files.others)
    if files.odd or not known.lists(files.payload):
        return _there(known, compare_entries(_records(known), store.entries(PAYLOAD)), others)
    # a file that comes into a folder that should not be there would not be noticed
    if is_settled and not others and folders is not None and files.folders == set(known.folders):
        place = KnownPlace(in_short(stamp), known.digest, in_short(folders))
        memory.note_place(location, place)
    return _there(known, (), others)


def _unchanged(location: str, memory: Memory) -> PackageFacts | None:
    """The package that lay there, if all of it is as it was."""
    place = memory.place(location)
    known = None if place is None else memory.package(place.digest)
    if place is None or known is None:
        return None
    paths, sizes = known.paths, known.sizes
    is_same = is_as_it_was(f"{location}/", place.stamp, place.folders, paths=paths, sizes=sizes)
    return known if is_same else None


def _folder_stamps(location: str, known: PackageFacts) -> tuple[int, ...] | None:
    """The stamps of every folder; None where one is gone, or changed just now."""
    try:
        stamps = folder_stamps(f"{location}/", known.paths)
    except OSError:
        return None
    latest_ns = max(*stamps[::3], *stamps[1::3])
    return None if time.time_ns() - latest_ns < _JUST_NOW_NS else stamps


def _remote(one: ListedVersion, location: str, memory: Memory) -> Look:
    store = open_store(location)
    entries = store.entries()
    manifest = entries.get(MANIFEST_NAME)
    if manifest is None:
        return _without_manifest(one, location, store, entries)
    stamp = (manifest.size_bytes, *manifest.stamp)
    known = _remembered(location, stamp, memory)
    if known is not None and not manifest.stamp and one.tags.get(DIGEST_TAG) != known.digest:
        known = None  # a size alone is little to go by
    if known is None:
        known = _read(one, location, store, memory, stamp)
    payload = {path: entry for path, entry in entries.items() if path.startswith(_INSIDE)}
    findings = compare_entries(_records(known), payload)
    others = _strange([path for path in entries if path not in payload])
    return _there(known, findings, others)


def _there(known: PackageFacts, findings: tuple[Finding, ...], others: tuple[str, ...]) -> Look:
    return Look(state=PackageState.THERE, package=known, findings=findings, other_files=others)


def _remembered(location: str, stamp: tuple[int, ...], memory: Memory) -> PackageFacts | None:
    before = memory.place(location)
    if before is None or before.stamp != in_short(stamp):
        return None
    return memory.package(before.digest)


def _read(
    one: ListedVersion, location: str, store: Store, memory: Memory, stamp: tuple[int, ...] | None
) -> PackageFacts:
    content = store.read_small(MANIFEST_NAME, at_most_bytes=MAX_MANIFEST_BYTES)
    digest = package_digest(content)
    known = memory.package(digest)
    if known is None:
        known = tell(
            content,
            digest,
            approved=one.tags.get(DIGEST_TAG) == digest,
            where=f"{MANIFEST_NAME} of models:/{one.name}/{one.version}",
        )
        memory.note_package(known)
    if stamp is not None and stamp[0] == len(content):
        memory.note_place(location, KnownPlace(in_short(stamp), digest))
    return known


def _without_manifest(
    one: ListedVersion, location: str, store: Store, entries: Mapping[str, Entry] | None = None
) -> Look:
    if entries is None:
        if not Path(location).is_dir():
            return _missing("no such folder")
        entries = store.entries()
    if not entries:
        return _missing("nothing")
    if DIGEST_TAG not in one.tags and _MLMODEL in entries:
        text = store.read_small(_MLMODEL, at_most_bytes=MAX_MANIFEST_BYTES)
        if _LOADER not in text:
            return Look(
                state=PackageState.FOREIGN,
                other_files=tuple(entries)[:_MOST_OTHERS],
                foreign=_foreign(text, store, entries),
            )
    return _missing("a folder without it")


def _foreign(text: bytes, store: Store, entries: Mapping[str, Entry]) -> ForeignFacts:
    """What another flavor's small files say. A PEFT adapter's names its base, and pins nothing."""
    _, _, below = text.decode("utf-8", "replace").partition("\nflavors:\n")
    block = _BLOCK.match(below)
    flavors = tuple(_FLAVOR.findall(block[0])) if block is not None else ()
    config = next((path for path in sorted(entries) if path.rpartition("/")[2] == _PEFT), None)
    base = ""
    if config is not None:
        try:
            found = json.loads(store.read_small(config, at_most_bytes=MAX_MANIFEST_BYTES))
            base = str(found.get("base_model_name_or_path") or "")
        except (ValueError, AttributeError, RecursionError):
            base = ""
    return ForeignFacts(flavors=flavors, is_adapter=config is not None, base=base)


def _missing(found: str) -> Look:
    return Look(
        state=PackageState.MISSING,
        findings=(
            Finding(
                kind=ErrorKind.MANIFEST_MISSING,
                place=MANIFEST_NAME,
                expected="the manifest that Pairlock writes into every package",
                found=found,
            ),
        ),
        problem=found,
    )


def _scan(folder: str, inside: str, into: _Files) -> None:
    """List a folder; ten thousand of them are looked at, so nothing is done twice."""
    into.folders.add(inside.rstrip("/"))
    with os.scandir(folder) as items:
        for item in items:
            path = inside + item.name
            if item.is_dir(follow_symlinks=False):
                _scan(item.path, f"{path}/", into)
            elif not path.startswith(_INSIDE):
                into.others.append(path)
            else:
                found = item.stat(follow_symlinks=False)
                if stat.S_ISREG(found.st_mode):
                    into.payload[path] = found.st_size
                else:
                    into.odd = True


def _strange(paths: list[str]) -> tuple[str, ...]:
    return tuple(sorted(path for path in paths if path not in _BESIDE)[:_MOST_OTHERS])


def _records(known: PackageFacts) -> Iterator[FileRecord]:
    for path, size_bytes in zip(known.paths, known.sizes, strict=True):
        yield FileRecord(path=path, size_bytes=size_bytes, sha256="0" * 64)
