"""Downloads: in order, every byte once, boundedly ahead, and patient with what breaks."""

from __future__ import annotations

import importlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlock import ErrorKind, IntegrityError, NotFoundError, PairlockError, UnavailableError
from pairlock.cache import ViewKey, ViewKind
from pairlock.config import current_settings
from pairlock.digests import FileRecord, hash_file, tree_digest
from pairlock.errors import Finding, StorageError
from pairlock.fetching import Fetched, Source, fetch
from pairlock.progress import SILENT
from pairlock.stores import (
    BrokenStreamError,
    ByteStream,
    Entry,
    LocalStore,
    Store,
    body,
    s3_clients,
)
from pairlock.stores.failures import file_missing
from pairlock.stores.opening import open_store
from pairlock.transfer import Wanted, download
from support.proxy import Action, Fault
from support.registries import active
from support.remote import (
    point_to,
    put,
    random_bytes,
    record_of,
    shared_server,
    survives_pickling,
)

# the package's attribute of this name is the function
DOWNLOAD = importlib.import_module("pairlock.transfer.downloading")
PART = 64 << 10
BATCH = 16 << 10
PROGRESS = 8 << 10


@contextmanager
def limits(
    *, part: int = PART, batch: int = BATCH, progress: int = PROGRESS, connections: int = 4
) -> Iterator[None]:
    """Small limits, so that a small file has many parts and nothing waits long."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(DOWNLOAD, "PART_BYTES", part)
        patched.setattr(DOWNLOAD, "BATCH_BYTES", batch)
        patched.setattr(DOWNLOAD, "PROGRESS_BYTES", progress)
        patched.setattr(DOWNLOAD, "FIRST_PAUSE_S", 0.001)
        patched.setattr(DOWNLOAD, "LONGEST_PAUSE_S", 0.005)
        patched.setattr(DOWNLOAD, "connections", lambda: connections)
        yield


@dataclass
class Memory:
    """A store in memory whose bodies come in pieces, and break where they are told to."""

    files: Mapping[str, bytes]
    splits_files: bool = True
    chunk: int = 5000
    breaks: Callable[[str, int], bool] = lambda _path, _position: False
    """Whether the body breaks off before a byte; asked once for each piece."""
    tells_size: bool = True
    opened: list[tuple[str, int, int]] = field(default_factory=list)
    served: int = 0
    location: str = "memory:"

    def __post_init__(self) -> None:
        self.lock = threading.Lock()

    @contextmanager
    def open_range(self, path: str, *, start: int, length: int) -> Iterator[ByteStream]:
        """A part of a file."""
        with self.lock:
            self.opened.append((path, start, length))
        if path not in self.files:
            raise file_missing(path)
        yield _Body(self, path, start, length)

    def entries(self, folder: str = "") -> dict[str, Entry]:
        """Not asked for by a download."""
        raise NotImplementedError

    read_small = write = create = creates_conditionally = entries


class _Body:
    def __init__(self, store: Memory, path: str, start: int, length: int) -> None:
        self._store, self._path, self._position = store, path, start
        self._end = min(start + length, len(store.files[path]))

    @property
    def total_bytes(self) -> int | None:
        return len(self._store.files[self._path]) if self._store.tells_size else None

    def read(self, at_most_bytes: int) -> bytes:
        if self._store.breaks(self._path, self._position):
            raise BrokenStreamError("broken on purpose")
        count = min(at_most_bytes, self._store.chunk, self._end - self._position)
        data = self._store.files[self._path][self._position : self._position + count]
        self._position += count
        with self._store.lock:
            self._store.served += count
        return data


class Taker:
    """A sink that keeps what it is given; `on_add` and `verdict` make it behave otherwise."""

    def __init__(
        self,
        record: FileRecord,
        *,
        start: int = 0,
        on_add: Callable[[int], None] = lambda _count: None,
        verdict: Finding | None = None,
        log: list[str] | None = None,
    ) -> None:
        self.record = record
        self.start = start
        self.content = bytearray()
        self.finished = 0
        self._on_add = on_add
        self._verdict = verdict
        self._log = [] if log is None else log

    def add(self, batch: list[bytes]) -> None:
        """Take some bytes."""
        assert not self.finished
        self._on_add(len(self.content))
        self.content += b"".join(batch)
        if not self._log or self._log[-1] != self.record.path:
            self._log.append(self.record.path)

    def finish(self) -> Finding | None:
        """Be done."""
        self.finished += 1
        self._log.append(f"finished {self.record.path}")
        return self._verdict


def fetch_all(store: Any, *takers: Taker) -> tuple[tuple[Finding, ...], int]:
    """Download into sinks; the findings, and how many bytes were reported."""
    reported: list[int] = []
    wanted = [Wanted(path=taker.record.path, sink=taker) for taker in takers]
    findings = download(store, wanted, on_bytes=reported.append)
    return findings, sum(reported)


def workers() -> list[threading.Thread]:
    """The connections that are alive."""
    return [one for one in threading.enumerate() if one.name.startswith("pairlock-get-")]


def all_end_soon(before: list[threading.Thread]) -> bool:
    """Whether every connection made since ends by itself."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        if not set(workers()) - set(before):
            return True
        time.sleep(0.01)
    return False


def test_files_arrive_in_order_and_whole() -> None:
    """Every byte of every file, once; the files one after another, each finished before the next.

    A file of 0 bytes is finished without being asked for.
    """
    sizes = [("c", 300_000), ("a", 0), ("b", 1), ("d", PART), ("e", PART + 1)]
    files = {path: random_bytes(size, seed=size) for path, size in sizes}
    log: list[str] = []
    takers = [Taker(record_of(path, content), log=log) for path, content in files.items()]
    store = Memory(files)
    before = workers()
    with limits():
        findings, reported = fetch_all(store, *takers)
    assert findings == ()
    assert {taker.record.path: bytes(taker.content) for taker in takers} == files
    assert [taker.finished for taker in takers] == [1] * len(takers)
    assert " ".join(log) == "c finished c finished a b finished b d finished d e finished e"
    assert reported == store.served == sum(map(len, files.values()))
    assert "a" not in {path for path, _, _ in store.opened}
    assert all_end_soon(before)


def test_nothing_is_fetched_when_nothing_is_wanted() -> None:
    """No files, no threads, no findings."""
    before = workers()
    assert fetch_all(Memory({})) == ((), 0)
    assert workers() == before


def test_a_large_file_comes_over_several_connections() -> None:
    """A store that splits files is asked for its parts by several threads at once."""
    content = random_bytes(PART * 8)
    gate = threading.Barrier(4, timeout=5)
    first = {number * PART for number in range(4)}

    def meet(_path: str, position: int) -> bool:
        if position in first:
            gate.wait()  # breaks, and with it the test, unless four are here at once
        return False

    taker = Taker(record_of("file", content))
    with limits():
        fetch_all(Memory({"file": content}, breaks=meet), taker)
    assert bytes(taker.content) == content


@pytest.mark.parametrize("splits", [True, False])
def test_connections_run_ahead_by_a_bounded_number_of_bytes(splits: bool) -> None:
    """While a sink does not take what it is given, only some parts arrive, and not the file."""
    connections = 4
    content = random_bytes(PART * 100)
    store = Memory({"file": content}, splits_files=splits)
    ahead: list[int] = []

    def wait_until_nothing_more_comes(count: int) -> None:
        if count:
            return
        quiet, last = 0, -1
        while quiet < 5:
            time.sleep(0.02)
            quiet, last = (quiet + 1, last) if store.served == last else (0, store.served)
        ahead.append(last)

    taker = Taker(record_of("file", content), on_add=wait_until_nothing_more_comes)
    with limits(connections=connections):
        fetch_all(store, taker)
    assert bytes(taker.content) == content
    parts = connections + 2 if splits else 2
    assert 0 < ahead[0] <= parts * PART


def test_a_store_that_does_not_split_is_asked_once_for_each_file() -> None:
    """One request for each file, from its beginning to its end."""
    files = {"a": random_bytes(PART * 5 + 3), "b": random_bytes(PART * 3, seed=2)}
    store = Memory(files, splits_files=False)
    takers = [Taker(record_of(path, content)) for path, content in files.items()]
    with limits():
        fetch_all(store, *takers)
    assert sorted(store.opened) == [("a", 0, PART * 5 + 3), ("b", 0, PART * 3)]
    assert [bytes(taker.content) for taker in takers] == list(files.values())


@pytest.mark.parametrize("splits", [True, False])
@pytest.mark.parametrize("start", [1, PART - 1, PART, 5 * PART + 7, 10 * PART])
def test_what_is_there_already_is_not_asked_for(start: int, splits: bool) -> None:
    """A sink that has the beginning gets the rest, and the beginning is not read again."""
    content = random_bytes(10 * PART)
    store = Memory({"file": content}, splits_files=splits)
    taker = Taker(record_of("file", content), start=start)
    with limits():
        _, reported = fetch_all(store, taker)
    assert bytes(taker.content) == content[start:]
    assert reported == store.served == len(content) - start
    assert taker.finished == 1
    assert min((begin for _, begin, _ in store.opened), default=start) == start


@pytest.mark.parametrize("error", [StorageError, KeyboardInterrupt])
def test_a_sink_that_fails_stops_everything(error: type[BaseException]) -> None:
    """The sink's own error is raised at once, and no connection goes on."""

    def fail(count: int) -> None:
        if count >= PART:
            if error is StorageError:
                raise StorageError("no space", kind=ErrorKind.NO_SPACE)
            raise error

    content = random_bytes(PART * 100)
    store = Memory({"file": content, "next": content})
    takers = [Taker(record_of("file", content), on_add=fail), Taker(record_of("next", content))]
    before = workers()
    with limits(), pytest.raises(error):
        fetch_all(store, *takers)
    assert [taker.finished for taker in takers] == [0, 0]
    assert all_end_soon(before)
    assert store.served < len(content) / 2


def test_an_error_in_a_part_is_raised_and_stops_everything() -> None:
    """What a store raises in a thread arrives in the caller, after the files before it."""
    content = random_bytes(PART * 3)
    store = Memory({"a": content, "c": content * 30})
    takers = [
        Taker(record_of("a", content)),
        Taker(record_of("b", content)),
        Taker(record_of("c", content * 30)),
    ]
    before = workers()
    with limits(), pytest.raises(NotFoundError) as caught:
        fetch_all(store, *takers)
    assert caught.value.kind is ErrorKind.FILE_MISSING
    assert [taker.finished for taker in takers] == [1, 0, 0]
    assert all_end_soon(before)


def test_what_no_store_should_raise_arrives_too() -> None:
    """An error that is nobody's plan is raised in the caller, and nothing hangs."""

    def burst(_path: str, position: int) -> bool:
        if position > PART:
            raise ZeroDivisionError
        return False

    content = random_bytes(PART * 10)
    before = workers()
    with limits(), pytest.raises(ZeroDivisionError):
        fetch_all(Memory({"file": content}, breaks=burst), Taker(record_of("file", content)))
    assert all_end_soon(before)


@pytest.mark.parametrize("splits", [True, False])
@pytest.mark.parametrize("difference", [-1, 1, PART])
def test_another_size_is_not_the_file(difference: int, splits: bool) -> None:
    """A store that says another size has another file, and not one byte of it is handed on."""
    content = random_bytes(PART * 4)
    record = record_of("file", random_bytes(len(content) + difference))
    taker = Taker(record)
    with limits(), pytest.raises(IntegrityError) as caught:
        fetch_all(Memory({"file": content}, splits_files=splits), taker)
    assert caught.value.kind is ErrorKind.FILE_SIZE
    assert [finding.kind for finding in caught.value.findings] == [ErrorKind.FILE_SIZE]
    assert survives_pickling(caught.value)
    assert (taker.content, taker.finished) == (b"", 0)


def test_a_file_that_ends_too_early_is_given_up() -> None:
    """A store that does not tell the size, and has too few bytes, is unavailable, not endless."""
    content = random_bytes(PART)
    taker = Taker(record_of("file", content + b"more"))
    with limits(), pytest.raises(UnavailableError) as caught:
        fetch_all(Memory({"file": content}, tells_size=False), taker)
    assert caught.value.kind is ErrorKind.STORE_UNAVAILABLE
    assert bytes(taker.content) == content
    assert taker.finished == 0


def test_findings_come_in_order_and_stop_nothing() -> None:
    """What sinks say about finished files is returned, and the other files come nevertheless."""
    files = {path: random_bytes(PART * 2, seed=ord(path)) for path in "abc"}
    findings = {
        path: Finding(kind=ErrorKind.FILE_DIGEST, place=path, expected="x", found="y")
        for path in "ac"
    }
    takers = [
        Taker(record_of(path, content), verdict=findings.get(path))
        for path, content in files.items()
    ]
    with limits():
        found, _ = fetch_all(Memory(files), *takers)
    assert found == (findings["a"], findings["c"])
    assert [taker.finished for taker in takers] == [1, 1, 1]


def test_a_part_that_brings_nothing_is_given_up_after_some_tries() -> None:
    """Five tries without progress end it; what arrived before was handed on."""
    content = random_bytes(PART * 2)
    stuck = PART + 1000
    store = Memory({"file": content}, chunk=1000, breaks=lambda _path, at: at >= stuck)
    taker = Taker(record_of("file", content))
    with limits(), pytest.raises(UnavailableError) as caught:
        fetch_all(store, taker)
    assert caught.value.kind is ErrorKind.STORE_UNAVAILABLE
    assert bytes(taker.content) == content[:stuck]
    asked = [begin for _, begin, _ in store.opened if begin >= PART]
    assert asked == [PART] + [stuck] * DOWNLOAD.TRIES or asked == [PART] + [stuck] * (
        DOWNLOAD.TRIES - 1
    )


@pytest.mark.parametrize("splits", [True, False])
def test_a_connection_that_breaks_after_progress_is_asked_again_for_ever(splits: bool) -> None:
    """Breaks that each bring something are no reason to give up, however many there are."""
    content = random_bytes(40 * PROGRESS)
    told: set[int] = set()

    def every_progress(_path: str, position: int) -> bool:
        first = position % PROGRESS == 0 and position > 0 and position not in told
        told.add(position)
        return first

    store = Memory({"file": content}, splits_files=splits, chunk=PROGRESS, breaks=every_progress)
    taker = Taker(record_of("file", content))
    with limits(part=20 * PROGRESS, batch=3 * PROGRESS):
        _, reported = fetch_all(store, taker)
    assert bytes(taker.content) == content
    assert reported == store.served == len(content)
    assert len(store.opened) > DOWNLOAD.TRIES * 2


@given(
    sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=4),
    part=st.integers(1, 900),
    batch=st.integers(1, 900),
    chunk=st.integers(1, 700),
    connections=st.integers(1, 8),
    splits=st.booleans(),
    tells_size=st.booleans(),
    seed=st.integers(0, 1000),
    begun=st.floats(0, 1),
)
def test_every_byte_arrives_once_whatever_the_sizes_and_breaks(
    sizes: list[int],
    part: int,
    batch: int,
    chunk: int,
    connections: int,
    splits: bool,
    tells_size: bool,
    seed: int,
    begun: float,
) -> None:
    """For all sizes, parts, batches, pieces, beginnings and breaks the bytes are the file's."""
    part = max(part, batch)
    chance = random.Random(seed)
    lock = threading.Lock()
    left = {"breaks": 3}

    def sometimes(_path: str, _position: int) -> bool:
        with lock:
            if left["breaks"] and chance.random() < 0.2:
                left["breaks"] -= 1
                return True
        return False

    files = {f"{number}": random_bytes(size, seed=size) for number, size in enumerate(sizes)}
    store = Memory(files, splits_files=splits, chunk=chunk, breaks=sometimes, tells_size=tells_size)
    takers = [
        Taker(record_of(path, content), start=int(len(content) * begun))
        for path, content in files.items()
    ]
    with limits(part=part, batch=batch, progress=1, connections=connections):
        findings, reported = fetch_all(store, *takers)
    assert findings == ()
    for taker in takers:
        assert bytes(taker.content) == files[taker.record.path][taker.start :]
        assert taker.finished == 1
    assert reported == store.served == sum(len(taker.content) for taker in takers)


CONTENT = random_bytes(3_000_017)
OTHER = random_bytes(3_000_017, seed=2)
KEY = ViewKey(ViewKind.MODEL, tree_digest([record_of("folder/weights", CONTENT)]))


@pytest.fixture
def patient() -> Iterator[None]:
    """Small parts and short patience, for servers that are really slow."""
    with limits(), pytest.MonkeyPatch.context() as patched:
        patched.setattr(s3_clients, "_READ_S", 0.5)
        patched.setattr(s3_clients, "_ATTEMPTS", 2)
        patched.setattr(body, "STARVED_AFTER_S", 0.3)
        yield


@pytest.fixture(scope="module")
def stocked(seaweedfs: Any) -> str:
    """A place in S3 with one file of 46 parts, for tests that leave it as it is."""
    prefix = f"download-{os.urandom(6).hex()}"
    seaweedfs.client().put_object(Bucket="pairlock", Key=f"{prefix}/folder/weights", Body=CONTENT)
    return f"s3://pairlock/{prefix}"


@pytest.fixture
def remote(s3_proxy: Any, patient: None, stocked: str) -> Store:
    """That place behind the proxy."""
    return open_store(stocked)


@pytest.fixture
def own(s3_proxy: Any, patient: None, tmp_path: Path) -> Store:
    """Such a place of its own, for a test that changes it."""
    store = open_store(f"s3://pairlock/download-{os.urandom(6).hex()}")
    put(store, "folder/weights", CONTENT, tmp_path)
    return store


def only_watched(monkeypatch: pytest.MonkeyPatch, action: Action, s3_proxy: Any) -> None:
    """Bytes that drip in keep a socket's own timeout from ending the wait: so it must not here."""
    if action is Action.TRICKLE:
        monkeypatch.setattr(s3_clients, "_READ_S", 20)
        end = threading.Timer(15, s3_proxy.stop)  # a test that fails must not last for hours
        end.daemon = True
        end.start()


def bring(store: Store) -> Fetched:
    """Fetch the file into the cache."""
    found = fetch(
        KEY,
        [record_of("folder/weights", CONTENT)],
        Source(store=store),
        current_settings(),
        progress=SILENT,
    )
    assert found is not None
    return found


def is_right(found: Fetched) -> bool:
    """Whether the cache has the approved bytes, by a hash that the product has no part in."""
    path = found.proved.store.local_path("folder/weights")
    return path.read_bytes() == CONTENT


def nothing_unproved(cache: Path) -> bool:
    """Whether every file that the cache shows as finished has the bytes of its name."""
    blobs = [path for path in (cache / "blobs").rglob("*") if path.is_file()]
    views = list((cache / "views").glob("*/*"))
    return all(hash_file(path) == path.name for path in blobs) and bool(blobs) == bool(views)


@pytest.mark.parametrize("action", [Action.CUT, Action.CORRUPT, Action.STALL, Action.TRICKLE])
@pytest.mark.parametrize("percent", [10, 50, 99])
def test_a_fault_on_the_way_that_passes_is_overcome(
    action: Action,
    percent: int,
    remote: Store,
    s3_proxy: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reset, damaged, stopped or slow at any place, once: the right bytes are in the cache."""
    only_watched(monkeypatch, action, s3_proxy)
    s3_proxy.fault(Fault(action, suffix="/weights", at=len(CONTENT) * percent // 100, times=1))
    began = time.monotonic()
    found = bring(remote)
    assert time.monotonic() - began < 10
    assert s3_proxy.hits == 1
    assert is_right(found)
    assert nothing_unproved(tmp_path / "cache")
    s3_proxy.reset()
    again = bring(remote)
    assert again.fetched_bytes == 0
    assert s3_proxy.seen == []


@pytest.mark.parametrize("action", [Action.SHORT, Action.STATUS_500, Action.STATUS_503])
def test_an_answer_that_is_wrong_once_is_asked_again(
    action: Action, remote: Store, s3_proxy: Any
) -> None:
    """A body that is announced too short, or one error of the server, changes nothing."""
    s3_proxy.fault(Fault(action, suffix="/weights", at=len(CONTENT) // 2, times=1))
    assert is_right(bring(remote))
    assert s3_proxy.hits == 1


@pytest.mark.parametrize(
    ("action", "error", "kind"),
    [
        (Action.CUT, UnavailableError, ErrorKind.STORE_UNAVAILABLE),
        (Action.STALL, UnavailableError, ErrorKind.STORE_UNAVAILABLE),
        (Action.TRICKLE, UnavailableError, ErrorKind.STORE_UNAVAILABLE),
        (Action.SHORT, UnavailableError, ErrorKind.STORE_UNAVAILABLE),
        (Action.CORRUPT, IntegrityError, ErrorKind.FILE_DIGEST),
        (Action.STATUS_500, UnavailableError, ErrorKind.STORE_UNAVAILABLE),
        (Action.STATUS_503, UnavailableError, ErrorKind.STORE_UNAVAILABLE),
        (Action.DENIED, UnavailableError, ErrorKind.ACCESS_DENIED),
        (Action.GONE, UnavailableError, ErrorKind.STORE_UNAVAILABLE),
    ],
)
def test_a_fault_that_stays_is_an_error_and_the_next_call_succeeds(
    action: Action,
    error: type[PairlockError],
    kind: ErrorKind,
    remote: Store,
    s3_proxy: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What never gets better is a clear error; nothing unproved is shown; then it works."""
    only_watched(monkeypatch, action, s3_proxy)
    s3_proxy.fault(Fault(action, suffix="/weights", at=len(CONTENT) // 2))
    began = time.monotonic()
    with pytest.raises(PairlockError) as caught:
        bring(remote)
    assert (type(caught.value), caught.value.kind) == (error, kind)
    assert survives_pickling(caught.value)
    assert time.monotonic() - began < 12
    assert nothing_unproved(tmp_path / "cache")
    s3_proxy.clear()
    found = bring(remote)
    assert is_right(found)
    if action in {Action.CUT, Action.STALL, Action.TRICKLE, Action.SHORT}:
        assert found.fetched_bytes <= len(CONTENT) - 1_400_000  # it goes on where it broke off


@pytest.mark.parametrize("content", [OTHER, OTHER[:-1000], OTHER + b"more", OTHER[:1000]])
def test_an_object_that_is_replaced_half_way_is_refused(
    content: bytes, own: Store, s3_proxy: Any, seaweedfs: Any, tmp_path: Path
) -> None:
    """Bytes of two objects never make a file; when the right one is back, it loads."""
    client = seaweedfs.client()
    key = f"{own.location.removeprefix('s3://pairlock/')}/folder/weights"
    lock, replaced = threading.Lock(), threading.Event()

    def replace_half_way(_method: str, _path: str, part: str | None) -> None:
        with lock:
            if part and int(part[6:].split("-")[0]) >= len(CONTENT) // 2 and not replaced.is_set():
                client.put_object(Bucket="pairlock", Key=key, Body=content)
                replaced.set()

    s3_proxy.on_request = replace_half_way
    with pytest.raises(PairlockError) as caught:
        bring(own)
    s3_proxy.on_request = None
    assert replaced.is_set()
    assert type(caught.value) in {IntegrityError, UnavailableError}
    if len(content) == len(CONTENT):
        assert caught.value.kind is ErrorKind.FILE_DIGEST
    assert nothing_unproved(tmp_path / "cache")
    with pytest.raises(IntegrityError):
        bring(own)
    put(own, "folder/weights", CONTENT, tmp_path)
    assert is_right(bring(own))


def test_an_object_that_is_removed_half_way_is_missing(
    own: Store, s3_proxy: Any, seaweedfs: Any, tmp_path: Path
) -> None:
    """An object that is gone is a missing file, not a part of one."""
    key = f"{own.location.removeprefix('s3://pairlock/')}/folder/weights"
    removed = threading.Event()

    def remove_half_way(_method: str, _path: str, part: str | None) -> None:
        if part and int(part[6:].split("-")[0]) >= len(CONTENT) // 2 and not removed.is_set():
            removed.set()
            seaweedfs.client().delete_object(Bucket="pairlock", Key=key)

    s3_proxy.on_request = remove_half_way
    with pytest.raises(NotFoundError) as caught:
        bring(own)
    s3_proxy.on_request = None
    assert caught.value.kind is ErrorKind.FILE_MISSING
    put(own, "folder/weights", CONTENT, tmp_path)
    assert is_right(bring(own))


@pytest.mark.parametrize("name", ["local", "rclone", "mlflow"])
def test_every_store_is_downloaded_whole(
    name: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    registry_template: Path,
) -> None:
    """Small, large and empty files of any store arrive byte for byte, also from the middle on."""
    unique = f"download-{os.urandom(6).hex()}"
    files = {"a/large": CONTENT, "b": b"", "c/d/small": b"1"}
    server = shared_server(registry_template) if name == "mlflow" else None
    with active(server.uri if server else f"sqlite:///{tmp_path}/none.db"), limits():
        if name == "rclone":
            point_to(monkeypatch, request.getfixturevalue("rclone").environment())
        store: Any = {
            "local": LocalStore(tmp_path / "store"),
            "rclone": open_store(f"s3://pairlock/{unique}"),
            "mlflow": open_store(f"mlflow-artifacts:/{unique}"),
        }[name]
        for path, content in files.items():
            put(store, path, content, tmp_path)
        for start in (0, 1_500_000):
            takers = [
                Taker(record_of(path, content), start=min(start, len(content)))
                for path, content in files.items()
            ]
            assert fetch_all(store, *takers)[0] == ()
            for taker in takers:
                assert bytes(taker.content) == files[taker.record.path][taker.start :]
                assert taker.finished == 1
