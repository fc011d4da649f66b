"""Finds the base that an adapter's manifest pins, and proves that it is that one.

It is looked for by its digest in the cache, then where the pin says, then by its package digest
among all registered versions, then at the mirrors. Wherever it is found, its files are compared
with the pin's own list, so that any copy will do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from pairlock.bases.base import MLFLOW_MODEL, Base
from pairlock.bases.finding import model_records, not_a_base
from pairlock.bases.keeping import kept_base
from pairlock.cache import ViewKey, ViewKind
from pairlock.catalog import Located, is_local_registry
from pairlock.config import Settings
from pairlock.digests import FileRecord
from pairlock.errors import (
    ErrorKind,
    Finding,
    IntegrityError,
    NotFoundError,
    PairlockError,
    StorageError,
)
from pairlock.fetching import Fetched, Source, fetch, look_up
from pairlock.hashing import prove_files
from pairlock.integrity import compare_anchors
from pairlock.manifest import MANIFEST_NAME, BaseOrigin, BasePin, Kind
from pairlock.manifest.format import MODEL_FOLDER
from pairlock.packages import examine_package, has_file, offline_error
from pairlock.progress import Progress
from pairlock.references import HubReference, parse_reference
from pairlock.resolution import resolve
from pairlock.stores import Entry, LocalStore, Store
from pairlock.stores.hub import hub_snapshot
from pairlock.stores.opening import is_remote, open_store

Examined = tuple[Base, tuple[Finding, ...]]

_PREFIXES = {
    BaseOrigin.PACKAGE: f"{MODEL_FOLDER}/",
    BaseOrigin.MLFLOW: f"{MLFLOW_MODEL}/",
    BaseOrigin.FOLDER: "",
}


def open_base(pin: BasePin, *, instead: str | None, settings: Settings, progress: Progress) -> Base:
    """Find the base of a pin and prove that it is the pinned one.

    Args:
        pin: what an adapter's manifest says.
        instead: the only place to look, such as a mirror's folder; None for the cache, the pin's
            own URI, the registry by the pin's package digest, and the mirrors, in this order.
        settings: which cache and mirrors, and whether the network may be used.
        progress: told about the bytes fetched and hashed.

    Returns:
        The proved base.

    Raises:
        IntegrityError: what is there is not what was pinned; every difference is listed.
        NotFoundError: nothing is there.
        PairlockError: every other reason why it cannot be found or read.
    """
    base, findings = examine_base(pin, instead=instead, settings=settings, progress=progress)
    if findings:
        raise base_error(pin, instead or pin.uri, findings)
    return base


def examine_base(
    pin: BasePin, *, instead: str | None, settings: Settings, progress: Progress
) -> Examined:
    """Find everything in which a base differs from its pin.

    Args:
        pin: what an adapter's manifest says.
        instead: see `open_base`.
        settings: see `open_base`.
        progress: told about the bytes fetched and hashed.

    Returns:
        The base and every difference.

    Raises:
        NotFoundError: nothing is there.
        IntegrityError: what would be fetched is not what was pinned.
        PairlockError: every other reason why it cannot be found or read.
    """
    # what the cache has under the pin's digest is what any place would have to give
    if (instead is None or settings.offline) and (base := _cached(pin, settings, progress)):
        return base, ()
    if instead is not None:
        return _at(pin, instead, settings, progress)
    reason = f"{pin.uri} holds other bytes"
    try:
        located = _registered_pin(pin, settings)
        foreign = located is not None and _is_foreign(pin, located)
        if foreign and (base := _elsewhere(pin, settings, progress, because=reason)):
            return base, ()
        found = _at(pin, pin.uri, settings, progress, located=located)
    except PairlockError as error:
        if base := _elsewhere(pin, settings, progress, because=error.summary):
            return base, ()
        raise
    if found[1] and (base := _elsewhere(pin, settings, progress, because=reason)):
        return base, ()
    return found


def base_error(pin: BasePin, place: str, findings: tuple[Finding, ...]) -> IntegrityError:
    """The error for a base that is not the pinned one."""
    return IntegrityError(
        f"the base at {place} is not the one this adapter was trained on",
        kind=findings[0].kind,
        checked=f"the base's files against the pin ({pin.tree_digest})",
        findings=findings,
        done="nothing was loaded: on another base the adapter's vectors mean nothing",
        hint="restore the base, or give another copy of the same bytes with base=… / --base",
    )


def _cached(pin: BasePin, settings: Settings, progress: Progress) -> Base | None:
    key = ViewKey(ViewKind.MODEL, pin.tree_digest)
    if proved := look_up(key, pin.files, settings, progress=progress):
        return _fetched_base(pin, "the cache", Fetched(proved=proved))
    try:
        whole = fetch(key, pin.files, None, settings, progress=progress)
    except StorageError:
        return None  # a read-only cache: the pin's own place may still do
    return None if whole is None else _fetched_base(pin, "the cache", whole)


def _registered_pin(pin: BasePin, settings: Settings) -> Located | None:
    """What the registry says of a pinned version that was a package; None for any other pin."""
    if pin.package_digest is None or not pin.uri.startswith("models:"):
        return None
    try:
        return resolve(pin.uri, settings)
    except NotFoundError as error:
        raise _base_not_found(pin, pin.uri, error) from error


def _is_foreign(pin: BasePin, located: Located) -> bool:
    """Whether the pin's name is known to be that of another package, before a byte is read.

    So it is in another registry than the adapter was packaged in.
    """
    return bool(located.anchors) and pin.package_digest not in located.anchors.values()


def _elsewhere(
    pin: BasePin, settings: Settings, progress: Progress, *, because: str
) -> Base | None:
    """The base from the first registered version, or else the first mirror, that has it right."""
    for place in (*_registered(pin, settings), *_mirrors(pin, settings)):
        try:
            base, findings = _at(pin, place, settings, progress)
        except PairlockError:
            continue  # the next one; if none has it, the error names the pin's own place
        if not findings:
            return replace(base, warnings=(f"the base came from {place}: {because}",))
    return None


def _registered(pin: BasePin, settings: Settings) -> Iterator[str]:
    """Every version that says it is the pinned package, but for the pinned one."""
    if pin.package_digest is None or (settings.offline and not is_local_registry()):
        return
    from pairlock.catalog import ARCHIVED, READY, versions_by_digest

    try:
        found = versions_by_digest(pin.package_digest)
    except PairlockError:
        return  # the mirrors may do
    for copy in found:
        if copy.state in {READY, ARCHIVED} and copy.uri != pin.uri:
            yield copy.uri


def _mirrors(pin: BasePin, settings: Settings) -> Iterator[str]:
    for mirror in settings.mirrors:
        yield f"{mirror.rstrip('/')}/models/{pin.tree_digest.removeprefix('sha256:')}"


def _at(
    pin: BasePin,
    place: str,
    settings: Settings,
    progress: Progress,
    *,
    located: Located | None = None,
) -> Examined:
    try:
        reference = parse_reference(place)
        if isinstance(reference, HubReference):
            root = hub_snapshot(reference, offline=settings.offline)
            found = _examine_folder(pin, place, BaseOrigin.HUB, root, progress)
            return (
                found
                if settings.in_place or found[1]
                else (kept_base(found[0], settings=settings, progress=progress), ())
            )
        located = located or resolve(place, settings)
        if is_remote(located.location) or not settings.in_place:
            return _fetch_from(pin, place, located, settings, progress), ()
        return _examine_local(pin, place, located, settings, progress)
    except NotFoundError as error:
        raise _base_not_found(pin, place, error) from error


def _fetch_from(
    pin: BasePin, place: str, located: Located, settings: Settings, progress: Progress
) -> Base:
    if settings.offline and is_remote(located.location):
        raise offline_error(f"the base {place}", settings)
    own = place == pin.uri and pin.package_digest is not None
    # other bytes are not even fetched
    if own and (wrong := compare_anchors(pin.package_digest or "", located.anchors)):
        raise base_error(pin, place, tuple(_turned(finding) for finding in wrong))
    store = open_store(located.location)
    origin = pin.origin if place == pin.uri else _origin_of(store)
    fetched = fetch(
        ViewKey(ViewKind.MODEL, pin.tree_digest),
        pin.files,
        Source(store=store, path_of=_under(_PREFIXES[origin])),
        settings,
        progress=progress,
    )
    assert fetched is not None  # there is a source
    return _fetched_base(pin, place, fetched)


def _turned(finding: Finding) -> Finding:
    """The pin is what is expected here, and what the registry recorded is what is found."""
    return replace(
        finding,
        kind=ErrorKind.BASE_DIGEST,
        place="the base's package digest",
        expected=finding.found,
        found=finding.expected,
    )


def _under(prefix: str) -> Callable[[str], str]:
    return lambda path: f"{prefix}{path}"


def _origin_of(store: Store) -> BaseOrigin:
    if has_file(store, MANIFEST_NAME):
        return BaseOrigin.PACKAGE
    return BaseOrigin.MLFLOW if has_file(store, "MLmodel") else BaseOrigin.FOLDER


def _fetched_base(pin: BasePin, place: str, fetched: Fetched) -> Base:
    return Base(
        uri=pin.uri,
        requested=place,
        origin=pin.origin,
        revision=pin.revision,
        package_digest=pin.package_digest,
        manifest=None,
        records=pin.files,
        proved=fetched.proved,
        model_folder="",
        fetched_bytes=fetched.fetched_bytes,
    )


def _examine_local(
    pin: BasePin, place: str, located: Located, settings: Settings, progress: Progress
) -> Examined:
    root = Path(located.location)
    store = LocalStore(root)
    _there(root)
    own = pin.origin is BaseOrigin.PACKAGE and place == pin.uri
    if own or store.entry(MANIFEST_NAME) is not None:
        return _examine_package(pin, place, located, settings, progress)
    if store.entry("MLmodel") is not None:
        inner = _there(store.local_path(MLFLOW_MODEL))
        return _examine_folder(pin, place, BaseOrigin.MLFLOW, inner, progress)
    return _examine_folder(pin, place, BaseOrigin.FOLDER, root, progress)


def _there(root: Path) -> Path:
    if not root.is_dir():
        raise NotFoundError(
            f"there is no folder {root}",
            kind=ErrorKind.FOLDER_MISSING,
            found="no such folder",
        )
    return root


def _examine_folder(
    pin: BasePin, place: str, origin: BaseOrigin, root: Path, progress: Progress
) -> Examined:
    store = LocalStore(root, follow_links=True)
    findings, proved = prove_files(
        store, pin.files, _belonging_entries(store, pin), progress=progress
    )
    base = Base(
        uri=pin.uri,
        requested=place,
        origin=origin,
        revision=pin.revision,
        package_digest=None,
        manifest=None,
        records=pin.files,
        proved=proved,
        model_folder=None,
    )
    return base, findings


def _examine_package(
    pin: BasePin, place: str, located: Located, settings: Settings, progress: Progress
) -> Examined:
    # a mirror may be packaged by itself and have another manifest; its files are what counts
    package = examine_package(
        located,
        settings=settings,
        progress=progress,
        expected_digest=pin.package_digest if place == pin.uri else None,
    )
    if package.manifest.kind is not Kind.FULL:
        raise not_a_base(located, f"an adapter of kind {package.manifest.kind}")
    records = model_records(package.manifest)
    base = Base(
        uri=pin.uri,
        requested=place,
        origin=BaseOrigin.PACKAGE,
        revision=pin.revision,
        package_digest=package.digest,
        manifest=package.manifest,
        records=records,
        proved=package.proved,
        model_folder=MODEL_FOLDER,
    )
    return base, package.findings + _compare_records(pin.files, records)


def _compare_records(
    pinned: tuple[FileRecord, ...], found: tuple[FileRecord, ...]
) -> tuple[Finding, ...]:
    """Compare two lists of files; both were proved, so this is all about which files they are."""
    before = {record.path: record for record in pinned}
    now = {record.path: record for record in found}
    return tuple(
        Finding(
            kind=ErrorKind.BASE_FILES,
            place=path,
            expected=_describe(before.get(path)),
            found=_describe(now.get(path)),
        )
        for path in sorted(before.keys() | now.keys())
        if before.get(path) != now.get(path)
    )


def _describe(record: FileRecord | None) -> str:
    return "no such file" if record is None else f"{record.size_bytes} bytes, {record.sha256}"


def _belonging_entries(store: LocalStore, pin: BasePin) -> dict[str, Entry]:
    """What lies in a bare folder, without the files that were never part of the model."""
    from pairlock.layouts import SentenceTransformersLayout, listing_of, recognise

    entries = store.entries()
    pinned = {record.path for record in pin.files}
    try:
        layout = recognise(listing_of(store), allowed=None)
    except PairlockError:
        belonging = pinned  # damaged: the comparison below says what is wrong
    else:
        own = layout.belonging if isinstance(layout, SentenceTransformersLayout) else ()
        belonging = pinned | set(own)
    return {path: entry for path, entry in entries.items() if path in belonging}


def _base_not_found(pin: BasePin, place: str, error: NotFoundError) -> NotFoundError:
    return NotFoundError(
        f"the base of this adapter is not at {place}",
        kind=ErrorKind.BASE_NOT_FOUND,
        checked=place,
        expected=f"the model with tree digest {pin.tree_digest}",
        found=error.found or error.summary,
        done="nothing was loaded: an adapter is worth nothing without its base",
        hint="restore the base, or give another copy of the same bytes with base=… / --base",
    )
