"""Graphs that were made for a package later: found, proved, stored beside it.

Which one belongs to a version is said by a tag of the version; one that was made on this machine
alone is in its cache. Either way nobody promoted it, so a load compares its vectors with the
package's own golden ones.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pairlock.cache import CacheFolder, View, ViewKey, ViewKind
from pairlock.catalog import GRAPH_TAG, store_evidence
from pairlock.config import Settings
from pairlock.digests import FileRecord, digest_bytes
from pairlock.errors import ErrorKind, IntegrityError, NotFoundError, StorageError
from pairlock.fetching import Source, fetch, look_up
from pairlock.hashing import ProvedFiles
from pairlock.manifest.format import LINKED_DOCUMENT, LINKED_FOLDER, MAX_MANIFEST_BYTES
from pairlock.manifest.linked import LinkedGraph, read_linked, write_linked
from pairlock.packages import Package, offline_error
from pairlock.progress import Progress
from pairlock.stores import LocalStore
from pairlock.stores.opening import open_store
from pairlock.transfer import upload


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundGraph:
    """A graph of a package that is in the cache, every byte as `graph.json` says."""

    linked: LinkedGraph
    proved: ProvedFiles
    fetched_bytes: int

    @property
    def folder(self) -> Path:
        """Where `runtime.json` lies."""
        return self.proved.store.root


def find_graph(
    package: Package, precision: str, *, settings: Settings, progress: Progress
) -> FoundGraph | None:
    """The graph that was made for a package later.

    Args:
        package: a proved package.
        precision: `float32` or `int8`.
        settings: which cache, and whether the network may be used.
        progress: told about the bytes.

    Returns:
        The graph in the cache; None when there is none.

    Raises:
        IntegrityError: the store has other bytes than the version's tag names.
        FormatError: `graph.json` cannot be read.
        PairlockError: as `pairlock.fetching.fetch`.
    """
    digest = package.located.graphs.get(precision)
    key = _key(package.digest, precision)
    content = _in_cache(key, settings)
    if content is None or (digest is not None and digest_bytes(content) != digest):
        if digest is None:
            return None
        return _fetched(package, key, digest, settings, progress)
    linked = _read(content, package, precision)
    proved = look_up(key, _records(linked), settings, progress=progress)
    if proved is not None:
        return FoundGraph(linked=linked, proved=proved, fetched_bytes=0)
    return None if digest is None else _fetched(package, key, digest, settings, progress)


def keep_graph(
    folder: Path, linked: LinkedGraph, *, settings: Settings, progress: Progress
) -> FoundGraph:
    """Bring a graph that was made on this machine into its cache.

    Args:
        folder: where its files lie; `graph.json` is written there.
        linked: what it is.
        settings: which cache.
        progress: told about the bytes.

    Raises:
        StorageError: the cache cannot be written.
    """
    (folder / LINKED_DOCUMENT).write_bytes(write_linked(linked))
    key = _key(linked.package_digest, linked.precision)
    View(CacheFolder(settings.cache), key).remove()
    fetched = fetch(
        key, _records(linked), Source(store=LocalStore(folder)), settings, progress=progress
    )
    assert fetched is not None  # there is a source
    return FoundGraph(linked=linked, proved=fetched.proved, fetched_bytes=0)


def store_graph(package: Package, graph: FoundGraph, *, progress: Progress) -> str:
    """Store a graph beside a registered version's payload, and say so in a tag of the version.

    Args:
        package: a registered version's.
        graph: what to store.
        progress: told about the bytes.

    Returns:
        The tag that names it.

    Raises:
        UnavailableError: the store or the registry cannot be reached, or refuses.
        StorageError: the store did not take it. No tag is set then.
    """
    located, linked = package.located, graph.linked
    assert located.name is not None
    assert located.version is not None
    records = _records(linked)
    with progress.step("store", sum(record.size_bytes for record in records)) as advance:
        store = open_store(f"{located.location.rstrip('/')}/{_folder(linked.digest)}")
        # the document last: with it there, all of it is
        upload(store, graph.folder, records[1:], on_bytes=advance)
        upload(store, graph.folder, records[:1], on_bytes=advance)
    tag = f"{GRAPH_TAG}{linked.precision}"
    store_evidence(located.name, located.version, tag, linked.digest)
    return tag


def _key(package_digest: str, precision: str) -> ViewKey:
    name = hashlib.sha256(f"{package_digest}/{precision}".encode()).hexdigest()
    return ViewKey(ViewKind.GRAPH, f"sha256:{name}")


def _folder(digest: str) -> str:
    return f"{LINKED_FOLDER}/{digest.removeprefix('sha256:')}"


def _in_cache(key: ViewKey, settings: Settings) -> bytes | None:
    folder = CacheFolder(settings.cache)
    folder.check()
    store = View(folder, key).store
    try:
        return store.read_small(LINKED_DOCUMENT, at_most_bytes=MAX_MANIFEST_BYTES)
    except (NotFoundError, StorageError):
        return None


def _fetched(
    package: Package, key: ViewKey, digest: str, settings: Settings, progress: Progress
) -> FoundGraph:
    uri = package.located.uri
    if settings.offline:
        raise offline_error(f"the graph of {uri}", settings)
    store = open_store(f"{package.located.location.rstrip('/')}/{_folder(digest)}")
    content = store.read_small(LINKED_DOCUMENT, at_most_bytes=MAX_MANIFEST_BYTES)
    if (found := digest_bytes(content)) != digest:
        raise IntegrityError(
            f"the graph of {uri} is not the one that its version names",
            kind=ErrorKind.FILE_DIGEST,
            checked=f"{store.location}/{LINKED_DOCUMENT}, against the version's tag",
            expected=digest,
            found=found,
            done="nothing was loaded",
            hint="make it again with `pairlock compile`, or load with runtime='torch'",
        )
    linked = _read(content, package, "")
    View(CacheFolder(settings.cache), key).remove()
    source = Source(store=store, at_hand={LINKED_DOCUMENT: content})
    fetched = fetch(key, _records(linked), source, settings, progress=progress)
    assert fetched is not None  # there is a source
    return FoundGraph(linked=linked, proved=fetched.proved, fetched_bytes=fetched.fetched_bytes)


def _read(content: bytes, package: Package, precision: str) -> LinkedGraph:
    linked = read_linked(content, where=f"{LINKED_DOCUMENT} of {package.located.uri}")
    if linked.package_digest != package.digest or precision not in {"", linked.precision}:
        raise IntegrityError(
            f"the graph of {package.located.uri} was made for another package",
            kind=ErrorKind.RUNTIME_INVALID,
            checked=LINKED_DOCUMENT,
            expected=f"{package.digest}, {precision or 'any precision'}",
            found=f"{linked.package_digest}, {linked.precision}",
            done="nothing was loaded",
            hint="make it again with `pairlock compile`, or load with runtime='torch'",
        )
    return linked


def _records(linked: LinkedGraph) -> tuple[FileRecord, ...]:
    """The files of a graph's view, the document first."""
    content = write_linked(linked)
    own = FileRecord(
        path=LINKED_DOCUMENT,
        size_bytes=len(content),
        sha256=digest_bytes(content).removeprefix("sha256:"),
    )
    return (own, *linked.files)
