"""Opens a package: finds it, reads its manifest, proves every byte.

A package in a folder is used where it lies, and nothing is written there. Any other is brought into
the cache first. Nothing here loads a model. A package that was opened is right, byte for byte; what
it was compared with is on its `anchors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pairlock.cache import CacheFolder, View, ViewKey, ViewKind
from pairlock.catalog import Located
from pairlock.config import Settings
from pairlock.digests import FileRecord
from pairlock.errors import (
    ErrorKind,
    Finding,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    StorageError,
    UnavailableError,
)
from pairlock.fetching import Fetched, Source, fetch, look_up
from pairlock.hashing import ProvedFiles, prove_files
from pairlock.integrity import compare_anchors
from pairlock.manifest import MANIFEST_NAME, Manifest, package_digest, read_manifest
from pairlock.manifest.format import MAX_MANIFEST_BYTES, PAYLOAD
from pairlock.progress import Progress
from pairlock.resolution import found
from pairlock.stores import LocalStore, Store
from pairlock.stores.opening import is_remote, open_store


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package that was found and read, with everything that is wrong with it."""

    located: Located
    manifest: Manifest
    digest: str
    """Package digest of what was found."""

    anchors: Mapping[str, str]
    """Digests recorded elsewhere that it was compared with; empty for a bare folder."""

    proved: ProvedFiles
    findings: tuple[Finding, ...]
    fetched_bytes: int = 0
    """Bytes that had to be fetched to open it."""

    @property
    def root(self) -> Path:
        """The package's folder."""
        return self.proved.store.root


def examine_package(
    located: Located,
    *,
    settings: Settings,
    progress: Progress,
    expected_digest: str | None = None,
) -> Package:
    """Find everything that is wrong with a package.

    Args:
        located: where it lies and which digests were recorded for it.
        settings: which cache, and whether the network may be used.
        progress: told about the bytes fetched and hashed.
        expected_digest: a package digest that the caller knows from elsewhere.

    Returns:
        The package; its `findings` are empty when all is well. Of a package that was fetched into
        the cache the bytes are right in any case.

    Raises:
        NotFoundError: there is no package there.
        IntegrityError: the store that it is fetched from has other bytes.
        FormatError: the manifest cannot be read.
        StorageError: files cannot be read, or the cache cannot be written.
        UnavailableError: the store cannot be reached, or this machine is offline.
        UnsupportedError: it lies in a store that this release does not read.
    """
    anchors = dict(located.anchors)
    if expected_digest is not None:
        anchors["caller"] = checked_digest(expected_digest)
    refuse_hub(located)
    if is_remote(located.location) or not settings.in_place:
        return _cached_package(located, anchors, settings, progress)
    store = LocalStore(Path(located.location))
    content = _manifest_content(store, located)
    digest, manifest = _read(content, located)
    findings, proved = prove_files(
        store,
        manifest.files,
        store.entries(PAYLOAD),
        progress=progress,
        whole_folder=PAYLOAD,
    )
    return Package(
        located=located,
        manifest=manifest,
        digest=digest,
        anchors=anchors,
        proved=proved,
        findings=compare_anchors(digest, anchors) + findings,
    )


def open_package(
    located: Located,
    *,
    settings: Settings,
    progress: Progress,
    expected_digest: str | None = None,
) -> Package:
    """Open a package that is right, or fail.

    Raises:
        IntegrityError: anything at all differs; every difference is listed.
        NotFoundError: as `examine_package`, and so are the other errors.
    """
    package = examine_package(
        located, settings=settings, progress=progress, expected_digest=expected_digest
    )
    if package.findings:
        raise package_error(package.located.uri, package.findings)
    return package


def make_ready(located: Located, *, settings: Settings) -> None:
    """Import what fetching a package takes, where it has to be fetched.

    For callers that are about to import a model library in a thread beside: two threads that
    import wait for each other at every file, and a store's client takes seven times as long.

    Raises:
        InvalidInputError: it is a hub snapshot.
        PairlockError: the store cannot be opened.
    """
    refuse_hub(located)
    if not is_remote(located.location) or settings.offline:
        return
    known = _known_digest(located, located.anchors, settings)
    folder = CacheFolder(settings.cache)
    if known is None or not View(folder, ViewKey(ViewKind.PACKAGE, known)).exists():
        open_store(located.location).make_ready()


def package_error(uri: str, findings: tuple[Finding, ...]) -> IntegrityError:
    """The error for a package whose bytes are not the approved ones."""
    return IntegrityError(
        f"{uri} is not the package that was approved",
        kind=findings[0].kind,
        checked="the manifest's digest, and path, size and sha256 of every payload file",
        findings=findings,
        done="nothing was loaded",
        hint="restore the files from a backup of the store, or log the model as a new version",
    )


def read_package_manifest(located: Located, *, settings: Settings) -> tuple[Manifest, str]:
    """Read a package's manifest and compute the package digest; no other file is looked at.

    Raises:
        NotFoundError: there is no manifest.
        FormatError: it cannot be read.
        UnavailableError: the store cannot be reached, or this machine is offline.
    """
    refuse_hub(located)
    content = None
    if is_remote(located.location):
        known = _known_digest(located, dict(located.anchors), settings)
        content = None if known is None else _cached_manifest(settings, known)
        if content is None:
            _need_network(located, settings)
    if content is None:
        content = _manifest_content(open_store(located.location), located)
    digest, manifest = _read(content, located)
    return manifest, digest


def refuse_hub(located: Located) -> None:
    """Refuse a hub snapshot where a package is needed.

    Raises:
        InvalidInputError: it is one.
    """
    if located.location.startswith("hf://"):
        raise InvalidInputError(
            f"{located.uri} is a hub snapshot and no package",
            kind=ErrorKind.REFERENCE_INVALID,
            checked="what the reference names",
            expected="a registered model, or a package's folder",
            found="a model on the hub",
            done="nothing was loaded",
            hint="log its folder first, or name it as an adapter's base",
        )


def checked_digest(digest: str) -> str:
    """A package digest as a caller gave it.

    Raises:
        InvalidInputError: it has another form.
    """
    hexadecimal = digest.removeprefix("sha256:")
    if len(hexadecimal) != 64 or set(hexadecimal) - set("0123456789abcdef"):
        raise InvalidInputError(
            f"{digest!r} is no package digest",
            kind=ErrorKind.ARGUMENT_INVALID,
            checked="the expected digest",
            expected="sha256: and 64 lower-case hex digits",
            found=repr(digest),
            done="nothing was loaded",
            hint="copy it from `pairlock show`",
        )
    return f"sha256:{hexadecimal}"


def package_records(manifest: Manifest, content: bytes, digest: str) -> tuple[FileRecord, ...]:
    """Every file of a package that its digest covers: the manifest itself, and the payload.

    Args:
        manifest: the manifest.
        content: its bytes.
        digest: their digest.
    """
    own = FileRecord(
        path=MANIFEST_NAME, size_bytes=len(content), sha256=digest.removeprefix("sha256:")
    )
    return (own, *manifest.files)


def _cached_package(
    located: Located, anchors: dict[str, str], settings: Settings, progress: Progress
) -> Package:
    known = _known_digest(located, anchors, settings)
    content = None if known is None else _cached_manifest(settings, known)
    if content is None:
        _need_network(located, settings)
        content = _manifest_content(open_store(located.location), located)
    digest, manifest = _read(content, located)
    if wrong := compare_anchors(digest, anchors):
        raise package_error(located.uri, wrong)
    key = ViewKey(ViewKind.PACKAGE, digest)
    records = package_records(manifest, content, digest)
    if proved := look_up(key, records, settings, progress=progress):
        return _package(located, manifest, anchors, Fetched(proved=proved), settings, digest)
    source = None
    if not is_out_of_reach(located, settings):
        source = Source(store=open_store(located.location), at_hand={MANIFEST_NAME: content})
    fetched = fetch(key, records, source, settings, progress=progress)
    if fetched is None:
        raise offline_error(located.uri, settings)
    return _package(located, manifest, anchors, fetched, settings, digest)


def _package(
    located: Located,
    manifest: Manifest,
    anchors: dict[str, str],
    fetched: Fetched,
    settings: Settings,
    digest: str,
) -> Package:
    if located.package_digest != digest:
        found(located, digest, settings)
    return Package(
        located=replace(located, package_digest=digest),
        manifest=manifest,
        digest=digest,
        anchors=anchors,
        proved=fetched.proved,
        findings=compare_anchors(digest, anchors),
        fetched_bytes=fetched.fetched_bytes,
    )


def _known_digest(located: Located, anchors: Mapping[str, str], settings: Settings) -> str | None:
    """The digest of what lies there, as far as it can be known without asking the store."""
    immutable = located.uri.startswith("models:") or settings.offline
    return next(iter(anchors.values()), located.package_digest if immutable else None)


def _cached_manifest(settings: Settings, digest: str) -> bytes | None:
    folder = CacheFolder(settings.cache)
    folder.check()
    blob = folder.blob(digest.removeprefix("sha256:"))
    try:
        content = LocalStore(blob.parent).read_small(blob.name, at_most_bytes=MAX_MANIFEST_BYTES)
    except (NotFoundError, StorageError):
        return None
    return content if package_digest(content) == digest else None


def _read(content: bytes, located: Located) -> tuple[str, Manifest]:
    manifest = read_manifest(content, where=f"{MANIFEST_NAME} of {located.uri}")
    return package_digest(content), manifest


def _manifest_content(store: Store, located: Located) -> bytes:
    try:
        return store.read_small(MANIFEST_NAME, at_most_bytes=MAX_MANIFEST_BYTES)
    except NotFoundError as error:
        if error.kind is not ErrorKind.FILE_MISSING:
            raise
        raise _no_manifest(store, located) from None


def offline_error(uri: str, settings: Settings) -> UnavailableError:
    """The error for something that would have to be fetched, on a machine that is offline."""
    return UnavailableError(
        f"{uri} is not whole on this machine, and it is offline",
        kind=ErrorKind.OFFLINE,
        checked=f"the cache {settings.cache}",
        expected="every file of it",
        found="not all of them",
        done="nothing was loaded, and no network was used",
        hint="run `pairlock pull` while there is a network, `pairlock import` an export, or unset "
        "PAIRLOCK_OFFLINE",
    )


def is_out_of_reach(located: Located, settings: Settings) -> bool:
    """Whether a place takes a network, and none may be used."""
    return settings.offline and is_remote(located.location)


def _need_network(located: Located, settings: Settings) -> None:
    if is_out_of_reach(located, settings):
        raise offline_error(located.uri, settings)


def _no_manifest(store: Store, located: Located) -> NotFoundError:
    exists = is_remote(located.location) or Path(located.location).is_dir()
    is_mlflow_model = exists and has_file(store, "MLmodel")
    return NotFoundError(
        f"{located.uri} is not a Pairlock package",
        kind=ErrorKind.MANIFEST_MISSING if exists else ErrorKind.FOLDER_MISSING,
        checked=f"{store.location}/{MANIFEST_NAME}",
        expected="the manifest that Pairlock writes into every package",
        found="a model of another MLflow flavor, or an incomplete package"
        if is_mlflow_model
        else ("a folder without it" if exists else "no such folder"),
        done="nothing was loaded",
        hint="log the model with `pairlock log`; a package whose upload broke off is not a version"
        if exists
        else "check the path; a version whose folder is gone has to be restored or logged again",
    )


def has_file(store: Store, path: str) -> bool:
    """Whether a store has a small file.

    Raises:
        StorageError: it cannot be read.
        UnavailableError: the store cannot be reached, or refuses.
    """
    try:
        store.read_small(path, at_most_bytes=MAX_MANIFEST_BYTES)
    except NotFoundError:
        return False
    return True
