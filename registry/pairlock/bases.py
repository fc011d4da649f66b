"""Finds the base under an adapter, and proves that it is the one the adapter was trained on.

A base is resolved by Pairlock and handed to the libraries as a local folder whose files were all
hashed: never by a name that a library looks up by itself.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pairlock.catalog import Located, locate
from pairlock.digests import FileRecord, hash_file
from pairlock.errors import (
    ErrorKind,
    Finding,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    PairlockError,
)
from pairlock.hashing import ProvedFiles, prove_files
from pairlock.layouts import SentenceTransformersLayout, listing_of, recognise
from pairlock.manifest import MANIFEST_NAME, BaseOrigin, BasePin, Kind, Manifest
from pairlock.manifest.format import MODEL_FOLDER
from pairlock.packages import examine_package, local_store, open_package
from pairlock.progress import Progress
from pairlock.references import HubReference, parse_reference
from pairlock.stores import Entry, LocalStore
from pairlock.stores.hub import hub_snapshot

_MLFLOW_MODEL = "model.sentence_transformer"
"""Where MLflow's Sentence-Transformers flavor keeps the model inside its folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A base that was found, and whose bytes are known."""

    uri: str
    requested: str
    origin: BaseOrigin
    revision: str | None
    package_digest: str | None
    manifest: Manifest | None
    """The base's own manifest, when it is a package."""

    records: tuple[FileRecord, ...]
    """The model's files, relative to the model folder."""

    proved: ProvedFiles
    """The files' stamps; the store is the package, or the model folder."""

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """The model folder, for a library to read: exactly the proved files, and no other.

        A package's payload is used in place. Of any other folder, where files that were never
        looked at may lie beside the model's, a view made of links is given for the time of the
        read.
        """
        if self.origin is BaseOrigin.PACKAGE:
            yield self.proved.store.local_path(MODEL_FOLDER)
            return
        view = Path(tempfile.mkdtemp(prefix="pairlock-base-"))
        try:
            for record in self.records:
                target = view / record.path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(self.proved.store.local_path(record.path).resolve())
            yield view
        finally:
            shutil.rmtree(view, ignore_errors=True)


def find_base(text: str, *, progress: Progress) -> Base:
    """Find a model that shall become a base, and hash it.

    Args:
        text: `models:/name/1`, an alias or stage, `hf://org/name@commit`, or a folder.
        progress: told about the bytes hashed.

    Returns:
        The base, with its alias or stage resolved to a version.

    Raises:
        IntegrityError: it is a package that is not what was approved.
        InvalidInputError: it cannot be a base.
        NotFoundError: it is not there.
    """
    reference = parse_reference(text)
    if isinstance(reference, HubReference):
        store = LocalStore(hub_snapshot(reference), follow_links=True)
        located = Located(requested=text, uri=str(reference), location=str(store.root))
        found = _folder_base(located, store, BaseOrigin.HUB, progress=progress)
        return replace(found, revision=reference.commit)
    located = locate(reference)
    store = local_store(located)
    if store.entry(MANIFEST_NAME) is not None:
        return _package_base(located, progress=progress)
    if store.entry("MLmodel") is not None:
        return _mlflow_base(located, store, progress=progress)
    following = LocalStore(store.root, follow_links=True)
    return _folder_base(located, following, BaseOrigin.FOLDER, progress=progress)


def open_base(pin: BasePin, *, instead: str | None, progress: Progress) -> Base:
    """Find the base of a pin and prove that it is the pinned one.

    Args:
        pin: what an adapter's manifest says.
        instead: another place to look for the same bytes, such as a mirror's folder.
        progress: told about the bytes hashed.

    Returns:
        The proved base.

    Raises:
        IntegrityError: what is there is not what was pinned; every difference is listed.
        NotFoundError: nothing is there.
    """
    base, findings = examine_base(pin, instead=instead, progress=progress)
    if findings:
        raise base_error(pin, instead or pin.uri, findings)
    return base


def examine_base(
    pin: BasePin, *, instead: str | None, progress: Progress
) -> tuple[Base, tuple[Finding, ...]]:
    """Find everything in which a base differs from its pin.

    Returns:
        The base and every difference.

    Raises:
        NotFoundError: nothing is there.
        StorageError: files cannot be read.
    """
    place = instead or pin.uri
    try:
        located, store, origin = _place_of(pin, place)
    except NotFoundError as error:
        raise _base_not_found(pin, place, error) from error
    if origin is BaseOrigin.PACKAGE:
        return _examine_package_base(pin, located, instead=instead, progress=progress)
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
    )
    return base, findings


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


def _place_of(pin: BasePin, place: str) -> tuple[Located, LocalStore, BaseOrigin]:
    reference = parse_reference(place)
    if isinstance(reference, HubReference):
        store = LocalStore(hub_snapshot(reference), follow_links=True)
        located = Located(requested=place, uri=place, location=str(store.root))
        return located, store, BaseOrigin.HUB
    located = locate(reference)
    store = local_store(located)
    _there(store)
    if store.entry(MANIFEST_NAME) is not None or (
        pin.origin is BaseOrigin.PACKAGE and place == pin.uri
    ):
        return located, store, BaseOrigin.PACKAGE
    if store.entry("MLmodel") is not None:
        inner = LocalStore(store.local_path(_MLFLOW_MODEL), follow_links=True)
        return located, _there(inner), BaseOrigin.MLFLOW
    return located, LocalStore(store.root, follow_links=True), BaseOrigin.FOLDER


def _there(store: LocalStore) -> LocalStore:
    if not store.root.is_dir():
        raise NotFoundError(
            f"there is no folder {store.root}",
            kind=ErrorKind.FOLDER_MISSING,
            found="no such folder",
        )
    return store


def _examine_package_base(
    pin: BasePin, located: Located, *, instead: str | None, progress: Progress
) -> tuple[Base, tuple[Finding, ...]]:
    # a mirror may be packaged by itself and have another manifest; its files are what counts
    package = examine_package(
        located,
        progress=progress,
        expected_digest=pin.package_digest if instead is None else None,
    )
    if package.manifest.kind is not Kind.FULL:
        raise _not_a_base(located, f"an adapter of kind {package.manifest.kind}")
    records = _model_records(package.manifest)
    base = Base(
        uri=pin.uri,
        requested=instead or pin.uri,
        origin=BaseOrigin.PACKAGE,
        revision=pin.revision,
        package_digest=package.digest,
        manifest=package.manifest,
        records=records,
        proved=package.proved,
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
    entries = store.entries()
    pinned = {record.path for record in pin.files}
    try:
        layout = recognise(listing_of(store))
    except PairlockError:
        belonging = pinned  # damaged: the comparison below says what is wrong
    else:
        own = layout.belonging if isinstance(layout, SentenceTransformersLayout) else ()
        belonging = pinned | set(own)
    return {path: entry for path, entry in entries.items() if path in belonging}


def _package_base(located: Located, *, progress: Progress) -> Base:
    package = open_package(located, progress=progress)
    if package.manifest.kind is not Kind.FULL:
        raise _not_a_base(located, f"an adapter of kind {package.manifest.kind}")
    return Base(
        uri=located.uri,
        requested=located.requested,
        origin=BaseOrigin.PACKAGE,
        revision=None,
        package_digest=package.digest,
        manifest=package.manifest,
        records=_model_records(package.manifest),
        proved=package.proved,
    )


def _mlflow_base(located: Located, store: LocalStore, *, progress: Progress) -> Base:
    if not store.local_path(_MLFLOW_MODEL).is_dir():
        raise _not_a_base(located, "an MLflow model of another flavor")
    inner = LocalStore(store.local_path(_MLFLOW_MODEL), follow_links=True)
    return _folder_base(located, inner, BaseOrigin.MLFLOW, progress=progress)


def _folder_base(
    located: Located, store: LocalStore, origin: BaseOrigin, *, progress: Progress
) -> Base:
    layout = recognise(listing_of(store))
    if not isinstance(layout, SentenceTransformersLayout):
        raise _not_a_base(located, "an adapter")
    entries = store.entries()
    records = []
    total = sum(entries[path].size_bytes for path in layout.belonging)
    with progress.step("hash base", total) as advance:
        for path in layout.belonging:
            sha256 = hash_file(store.local_path(path), on_bytes=advance)
            size_bytes = entries[path].size_bytes
            records.append(FileRecord(path=path, size_bytes=size_bytes, sha256=sha256))
    stamps = {path: entries[path] for path in layout.belonging}
    return Base(
        uri=located.uri,
        requested=located.requested,
        origin=origin,
        revision=None,
        package_digest=None,
        manifest=None,
        records=tuple(records),
        proved=ProvedFiles(store=store, stamps=stamps, size_bytes=total),
    )


def _model_records(manifest: Manifest) -> tuple[FileRecord, ...]:
    prefix = f"{MODEL_FOLDER}/"
    return tuple(
        replace(record, path=record.path.removeprefix(prefix))
        for record in manifest.files
        if record.path.startswith(prefix)
    )


def _not_a_base(located: Located, found: str) -> InvalidInputError:
    return InvalidInputError(
        f"{located.uri} cannot be a base",
        kind=ErrorKind.ARGUMENT_INVALID,
        checked="what it holds",
        expected="a full model: a Pairlock package of kind full, a Sentence-Transformers folder, "
        "or a model logged by MLflow's Sentence-Transformers flavor",
        found=found,
        done="nothing was written",
        hint="name the model that the adapter was trained on",
    )


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
