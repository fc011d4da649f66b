"""Brings files into the cache, proved: what is there is used, what is not is fetched.

The outcome is a view whose every file has the recorded sha256, or an error. That does not depend on
a lock, on what else happens to the cache meanwhile, or on what the store sends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from pairlock.cache import (
    Arrival,
    CacheFolder,
    Stamp,
    View,
    ViewKey,
    ViewKind,
    alone,
    right_blob,
    store_small,
    writing,
)
from pairlock.cache.folder import no_space, remove
from pairlock.config import Settings
from pairlock.digests import FileRecord, digest_bytes, record_file, tree_digest
from pairlock.errors import ErrorKind, Finding, IntegrityError, StorageError
from pairlock.hashing import ProvedFiles, prove_files
from pairlock.progress import Progress
from pairlock.stores import LocalStore, Store

_ROUNDS = 10
"""How often a view is begun anew when something else removes or replaces what it is made of. On a
slow machine a process loses several in a row to others that prune all the time: three were lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """Files that are in the cache now, and what that took."""

    proved: ProvedFiles
    fetched_bytes: int = 0
    """Bytes that came from the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the files of a view come from."""

    store: Store
    path_of: Callable[[str], str] = field(default=lambda path: path)
    """From a path in the view to a path in the store."""

    at_hand: Mapping[str, bytes] = field(default_factory=dict)
    """Small files that were read already, by path in the view."""


def look_up(
    key: ViewKey, records: Sequence[FileRecord], settings: Settings, *, progress: Progress
) -> ProvedFiles | None:
    """What is in the cache, if it is whole and right.

    Args:
        key: which view.
        records: its files.
        settings: which cache, and whether to hash again what is sealed.
        progress: told about the bytes hashed.

    Returns:
        The proved files; None when they are not there, or are damaged.

    Raises:
        UnsupportedError: a newer release made the cache.
    """
    folder = CacheFolder(settings.cache)
    folder.check()
    view = View(folder, key)
    if not view.exists():
        return None
    view.mark_used()
    try:
        seal = None if settings.rehash else view.seal()
        observed = view.store.entries()
        findings, proved = prove_files(
            view.store,
            records,
            observed,
            progress=progress,
            whole_folder="",
            sealed=seal.stamps if seal else None,
        )
    except (StorageError, LookupError):
        return None  # removed or unreadable: as good as not there
    if findings:
        return None
    if proved.hashed_bytes or seal is None:
        view.set_seal(records, proved.stamps)
    return proved


def fetch(
    key: ViewKey,
    records: Sequence[FileRecord],
    source: Source | None,
    settings: Settings,
    *,
    progress: Progress,
) -> Fetched | None:
    """Bring a view into the cache.

    Args:
        key: which view.
        records: its files, by path.
        source: where they may be fetched; None to use only what the cache has.
        settings: which cache, and whether to wait for others.
        progress: told about the bytes.

    Returns:
        The proved files; None when there is no source and the cache has not got them all.

    Raises:
        IntegrityError: the store has other bytes than were recorded.
        NotFoundError: the store has not got a file.
        UnavailableError: the store cannot be reached, or breaks off again and again.
        StorageError: the cache cannot be written, or there is too little space.
    """
    folder = CacheFolder(settings.cache)
    if source is None and not all(folder.blob(record.sha256).exists() for record in records):
        return None
    with writing(folder):
        folder.prepare()
    with alone(folder, str(key), locking=settings.locking):
        fetched_bytes = 0
        for _ in range(_ROUNDS):
            damaged = View(folder, key).identity()
            # somebody else may have brought it while this process waited
            if proved := look_up(key, records, settings, progress=progress):
                return Fetched(proved=proved, fetched_bytes=fetched_bytes)
            hashed = _what_is_there(folder, records)
            missing = [r for r in _by_content(records) if r.sha256 not in hashed]
            if missing and source is None:
                return None
            if source is not None:
                fetched_bytes += _bring(folder, missing, hashed, source, progress)
            with writing(folder):
                View(folder, key).make(records, hashed, damaged=damaged)
    raise StorageError(
        "the cache changes faster than it can be filled",
        kind=ErrorKind.STORAGE_FAILED,
        checked=str(folder.root),
        expected=f"the files of {key.digest}",
        found=f"files that were removed or changed again, {_ROUNDS} times",
        done="nothing was loaded",
        hint="find out what removes files there, then try again",
    )


def fetch_unknown(
    store: Store, paths: Sequence[str], settings: Settings, *, progress: Progress
) -> tuple[tuple[FileRecord, ...], ProvedFiles]:
    """Bring files into the cache of which nobody recorded a digest yet, and record them.

    Args:
        store: where they lie.
        paths: which.
        settings: which cache.
        progress: told about the bytes.

    Returns:
        What arrived, and the proved files of a view of it.

    Raises:
        PairlockError: as `fetch`.
    """
    folder = CacheFolder(settings.cache)
    entries = store.entries()
    with writing(folder):
        folder.prepare()
        aside = folder.unique("unknown", "files")
        aside.mkdir()
    try:
        sinks = [_Unknown(folder, aside, path, entries[path].size_bytes) for path in paths]
        from pairlock.transfer import Wanted, download

        wanted = [Wanted(path=sink.record.path, sink=sink) for sink in sinks]
        with progress.step("fetch", sum(sink.record.size_bytes for sink in sinks)) as advance:
            download(store, wanted, on_bytes=advance)
        with writing(folder):
            records = tuple(record_file(aside, path) for path in paths)
        key = ViewKey(ViewKind.MODEL, tree_digest(records))
        fetched = fetch(key, records, Source(store=LocalStore(aside)), settings, progress=progress)
        assert fetched is not None  # there is a source
        return records, fetched.proved
    finally:
        remove(aside)


class _Unknown:
    """Takes a file whose digest nobody knows."""

    start = 0

    def __init__(self, folder: CacheFolder, root: Path, path: str, size_bytes: int) -> None:
        self.record = FileRecord(path=path, size_bytes=size_bytes, sha256="")
        self._folder = folder
        self._target = root / path
        with writing(folder):
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._target.touch()

    def add(self, batch: list[bytes]) -> None:
        with writing(self._folder), self._target.open("ab") as stream:
            stream.writelines(batch)

    def finish(self) -> None:
        return None


def _by_content(records: Sequence[FileRecord]) -> list[FileRecord]:
    """One record for each content."""
    return list({record.sha256: record for record in records}.values())


def _what_is_there(folder: CacheFolder, records: Sequence[FileRecord]) -> dict[str, Stamp]:
    """The stamps of the blobs that the cache has right, by sha256. They are hashed."""
    found = {record.sha256: right_blob(folder, record) for record in _by_content(records)}
    return {sha256: stamp for sha256, stamp in found.items() if stamp is not None}


def _bring(
    folder: CacheFolder,
    missing: Sequence[FileRecord],
    hashed: dict[str, Stamp],
    source: Source,
    progress: Progress,
) -> int:
    """Fetch blobs, and add their stamps to those that were hashed."""
    elsewhere = []
    for record in missing:
        content = source.at_hand.get(record.path)
        if content is not None and digest_bytes(content) == f"sha256:{record.sha256}":
            _note(hashed, record, store_small(folder, record, content))
        else:
            elsewhere.append(record)
    if not elsewhere:
        return 0
    fetched_bytes, wrong = _round(folder, elsewhere, hashed, source, progress)
    if wrong:
        # bytes may have been damaged on their way, or in what an earlier attempt left
        again = [record for record in elsewhere if record.path in {f.place for f in wrong}]
        more, wrong = _round(folder, again, hashed, source, progress)
        fetched_bytes += more
    if wrong:
        raise _other_bytes(source.store, wrong)
    return fetched_bytes


def _note(hashed: dict[str, Stamp], record: FileRecord, stamp: Stamp | None) -> None:
    if stamp is not None:
        hashed[record.sha256] = stamp


def _round(
    folder: CacheFolder,
    records: Sequence[FileRecord],
    hashed: dict[str, Stamp],
    source: Source,
    progress: Progress,
) -> tuple[int, tuple[Finding, ...]]:
    _require_space(folder, records)
    with ExitStack() as stack:
        arrivals: list[Arrival] = []
        stack.push(lambda _type, error, _trace: _abandon(arrivals, error))
        # one by one, so that those that were opened are closed when a later one cannot be
        arrivals.extend(Arrival(folder, record) for record in records)
        total = sum(arrival.record.size_bytes - arrival.start for arrival in arrivals)
        from pairlock.transfer import Wanted, download

        wanted = [Wanted(path=source.path_of(a.record.path), sink=a) for a in arrivals]
        here = sum(arrival.start for arrival in arrivals)
        name = f"fetch ({here:,} bytes are here)" if here else "fetch"
        with progress.step(name, total) as advance:
            wrong = download(source.store, wanted, on_bytes=advance)
        for arrival in arrivals:
            _note(hashed, arrival.record, arrival.stamp)
    return total, wrong


def _abandon(arrivals: Sequence[Arrival], error: BaseException | None) -> None:
    """Keep what has arrived for the next try; but not on a disk that it has filled."""
    for arrival in arrivals:
        arrival.abandon(keep=not isinstance(error, StorageError))


def _require_space(folder: CacheFolder, records: Sequence[FileRecord]) -> None:
    needed = sum(record.size_bytes for record in records)
    with writing(folder):
        free = folder.free_bytes()
    if free < needed:
        raise no_space(folder, f"{free:,} bytes free", f"{needed:,} bytes")


def _other_bytes(store: Store, wrong: tuple[Finding, ...]) -> IntegrityError:
    return IntegrityError(
        f"{store.location} does not hold the bytes that were approved",
        kind=wrong[0].kind,
        checked="sha256 of every file while it arrived, twice",
        findings=wrong,
        done="nothing was loaded, and nothing of it is kept",
        hint="restore the files in the store, or log the model as a new version",
    )
