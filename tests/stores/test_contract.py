"""What every store does alike: a folder, two different S3 servers, MLflow's artifact proxy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from pairlock import (
    AlreadyExistsError,
    ErrorKind,
    NotFoundError,
    PairlockError,
    StorageError,
    UnsupportedError,
)
from pairlock.stores import BrokenStreamError, EntryType, LocalStore, Store
from pairlock.stores.opening import is_remote, open_store
from support.registries import active
from support.remote import point_to, put, random_bytes, read_part, shared_server, survives_pickling

STORES = ("local", "seaweedfs", "rclone", "mlflow")
CONDITIONAL = ("local", "seaweedfs")
"""The stores that know a conditional create."""

PATHS = [
    "plain.json",
    "payload/model/deeply/nested/file.bin",
    "with space/and more.txt",
    "plus+and%percent.txt",
    "Größe/日本語/файл.txt",
    "a&b/c=d;e,f@g.txt",
    "~tilde/(brackets)/'quote'!.txt",
]
UNUSUAL = ["a#b/c.txt", "a#b/d.txt", "percent%20encoded.txt", "query?x=1.txt"]
"""Paths that a manifest may hold, and that MLflow's client and server do not carry as they are."""
CONTENT = random_bytes(300_007)
PARTS = [
    (0, len(CONTENT)),
    (0, 1),
    (0, 1000),
    (1, 1),
    (150_000, 65_537),
    (1, len(CONTENT) - 1),
    (len(CONTENT) - 1, 1),
    (len(CONTENT) - 1000, 1000),
]
LARGE = random_bytes(20 << 20, seed=2)
"""More than S3Store sends in one piece."""


@dataclass
class Place:
    """An empty place in a store, and a folder for sources."""

    name: str
    location: str
    folder: Path

    @cached_property
    def store(self) -> Store:
        """The store there."""
        return open_store(self.location)


@pytest.fixture
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """An empty place in the store that a test is run for."""
    name: str = request.param
    unique = f"contract-{os.urandom(6).hex()}"
    (tmp_path / "sources").mkdir()
    if name == "local":
        (tmp_path / "store").mkdir()
        yield Place(name, str(tmp_path / "store"), tmp_path / "sources")
    elif name == "mlflow":
        server = shared_server(request.getfixturevalue("registry_template"))
        with active(server.uri):
            yield Place(name, f"mlflow-artifacts:/{unique}", tmp_path / "sources")
    else:
        point_to(monkeypatch, request.getfixturevalue(name).environment())
        yield Place(name, f"s3://pairlock/{unique}", tmp_path / "sources")


every_store = pytest.mark.parametrize("place", STORES, indirect=True)
conditional_stores = pytest.mark.parametrize("place", CONDITIONAL, indirect=True)


def failed(kind: ErrorKind, error: type[PairlockError], caught: Any) -> bool:
    """Whether exactly this error was raised, and whether another process can be told."""
    return (
        type(caught.value) is error
        and caught.value.kind is kind
        and survives_pickling(caught.value)
    )


@every_store
def test_what_was_written_is_read(place: Place) -> None:
    """Bytes come back from any path, also through a store that was opened anew."""
    for path in PATHS:
        put(place.store, path, b"content of " + path.encode(), place.folder)
    again = open_store(place.location)
    for path in PATHS:
        content = b"content of " + path.encode()
        assert again.read_small(path, at_most_bytes=1000) == content
        assert read_part(again, path, 0, len(content)) == content


@every_store
def test_every_file_is_listed_by_its_path(place: Place) -> None:
    """`entries` has every file at its path with its size, and no folders; below a folder too."""
    for number, path in enumerate(PATHS):
        put(place.store, path, b"x" * number, place.folder)
    found = place.store.entries()
    assert {path: entry.size_bytes for path, entry in found.items()} == {
        path: number for number, path in enumerate(PATHS)
    }
    assert list(found) == sorted(found)
    assert {entry.type for entry in found.values()} == {EntryType.FILE}
    for folder in ("payload", "with space", "Größe", "payload/model", "a&b"):
        below = {path for path in PATHS if path.startswith(f"{folder}/")}
        assert place.store.entries(folder).keys() == below


@every_store
def test_only_what_lies_behind_a_path_is_listed(place: Place) -> None:
    """`after` leaves out the path itself and all before it, whether it is there or not."""
    for number in (1, 2, 3, 10):
        put(place.store, f"entries/{number:03}.json", b"1", place.folder)
    for after, expected in ((0, [1, 2, 3, 10]), (2, [3, 10]), (5, [10]), (10, [])):
        found = place.store.entries("entries", after=f"entries/{after:03}.json")
        assert list(found) == [f"entries/{number:03}.json" for number in expected]


@every_store
def test_an_unusual_path_is_stored_or_refused(place: Place) -> None:
    """No file is stored under another path than its own; MLflow's proxy may refuse it."""
    stored = []
    for path in UNUSUAL:
        try:
            put(place.store, path, path.encode(), place.folder)
        except PairlockError:
            continue
        stored.append(path)
    assert list(place.store.entries()) == sorted(stored)
    for path in stored:
        assert place.store.read_small(path, at_most_bytes=100) == path.encode()
    assert stored == UNUSUAL or place.name == "mlflow"


@every_store
def test_a_folder_is_not_mistaken_for_one_whose_name_begins_alike(place: Place) -> None:
    """`payload` does not have the files of `payload-2`, nor a store those of its neighbour."""
    put(place.store, "payload/a", b"1", place.folder)
    put(place.store, "payload-2/b", b"2", place.folder)
    put(open_store(f"{place.location}-2"), "c", b"3", place.folder)
    assert list(place.store.entries("payload")) == ["payload/a"]
    assert list(place.store.entries()) == ["payload-2/b", "payload/a"]


@every_store
def test_a_folder_that_is_not_there_has_no_entries(place: Place) -> None:
    """No such folder in a store: nothing. No such store: nothing, and no folder on a disk."""
    put(place.store, "file", b"1", place.folder)
    assert place.store.entries("absent") == {}
    nowhere = open_store(f"{place.location}-nowhere")
    if is_remote(place.location):
        assert nowhere.entries() == {}
    else:
        with pytest.raises(NotFoundError) as caught:
            nowhere.entries()
        assert failed(ErrorKind.FOLDER_MISSING, NotFoundError, caught)


@every_store
def test_an_empty_file_is_a_file(place: Place) -> None:
    """A file of 0 bytes is listed, and read as nothing."""
    put(place.store, "empty", b"", place.folder)
    assert place.store.read_small("empty", at_most_bytes=10) == b""
    assert place.store.entries()["empty"].size_bytes == 0


@every_store
def test_a_file_that_is_not_there_is_missing(place: Place) -> None:
    """Reading it is a NotFoundError of kind file-missing, also when its folder is there."""
    put(place.store, "folder/file", b"1", place.folder)
    for path in ("absent", "folder/absent", "folder/file/absent"):
        with pytest.raises(NotFoundError) as caught:
            place.store.read_small(path, at_most_bytes=10)
        assert failed(ErrorKind.FILE_MISSING, NotFoundError, caught)
        with pytest.raises(NotFoundError) as caught:
            read_part(place.store, path, 0, 1)
        assert failed(ErrorKind.FILE_MISSING, NotFoundError, caught)


@every_store
def test_a_file_that_should_be_small_and_is_not_is_refused(place: Place) -> None:
    """The limit itself is allowed, and one byte more is not."""
    put(place.store, "file", CONTENT, place.folder)
    assert place.store.read_small("file", at_most_bytes=len(CONTENT)) == CONTENT
    for limit in (len(CONTENT) - 1, 0):
        with pytest.raises(StorageError) as caught:
            place.store.read_small("file", at_most_bytes=limit)
        assert failed(ErrorKind.STORAGE_FAILED, StorageError, caught)


@every_store
def test_any_part_of_a_file_can_be_read(place: Place) -> None:
    """A part is exactly the bytes asked for, and the size of the whole is right or not told."""
    put(place.store, "file", CONTENT, place.folder)
    for start, length in PARTS:
        found = read_part(place.store, "file", start, length, 10_000)
        assert found == CONTENT[start : start + length]
        with place.store.open_range("file", start=start, length=length) as body:
            assert body.total_bytes in {None, len(CONTENT)}


@every_store
def test_parts_add_up(place: Place) -> None:
    """Parts that follow each other are the file."""
    put(place.store, "file", CONTENT, place.folder)
    step = 70_001
    parts = [
        read_part(place.store, "file", start, min(step, len(CONTENT) - start))
        for start in range(0, len(CONTENT), step)
    ]
    assert b"".join(parts) == CONTENT


@every_store
def test_a_part_that_is_closed_early_harms_nothing(place: Place) -> None:
    """Leaving a body half-read leaves the store usable."""
    put(place.store, "file", CONTENT, place.folder)
    store = place.store
    for _ in range(20):
        with store.open_range("file", start=0, length=len(CONTENT)) as body:
            assert CONTENT.startswith(body.read(1))
    assert read_part(store, "file", 0, len(CONTENT)) == CONTENT


@every_store
def test_a_part_behind_the_end_has_no_bytes(place: Place) -> None:
    """Asking for what lies behind the end is broken or empty, and never other bytes."""
    put(place.store, "file", b"12345", place.folder)
    try:
        found = read_part(place.store, "file", 5, 1)
    except BrokenStreamError:
        found = b""
    assert found == b""


@every_store
def test_a_large_file_arrives_byte_for_byte(place: Place) -> None:
    """20 MB, which S3 is sent in parts, come back whole and in parts."""
    put(place.store, "folder/large", LARGE, place.folder)
    assert place.store.entries()["folder/large"].size_bytes == len(LARGE)
    assert read_part(place.store, "folder/large", 0, len(LARGE)) == LARGE
    middle = 16 << 20
    assert read_part(place.store, "folder/large", middle - 5, 10) == LARGE[middle - 5 : middle + 5]


@every_store
def test_writing_replaces(place: Place) -> None:
    """A second write is what is read afterwards, whichever of the two is longer."""
    for content in (b"first", b"the second one", b"3"):
        put(place.store, "folder/file", content, place.folder)
        assert place.store.read_small("folder/file", at_most_bytes=100) == content
        assert place.store.entries()["folder/file"].size_bytes == len(content)


@every_store
def test_a_source_that_is_not_there_is_a_storage_error(place: Place) -> None:
    """A file that cannot be read here is Pairlock's error, and nothing is stored."""
    record = put(place.store, "other", b"1", place.folder)
    with pytest.raises(StorageError) as caught:
        place.store.write("file", place.folder / "absent", record)
    assert failed(ErrorKind.STORAGE_FAILED, StorageError, caught)
    assert list(place.store.entries()) == ["other"]


@every_store
def test_a_store_says_whether_it_creates_conditionally(place: Place) -> None:
    """It is tried out, and nothing is left of the trial."""
    put(place.store, "file", b"1", place.folder)
    assert place.store.creates_conditionally() is (place.name in CONDITIONAL)
    assert list(place.store.entries()) == ["file"]


@conditional_stores
def test_only_the_first_create_succeeds(place: Place) -> None:
    """The second is an AlreadyExistsError and changes nothing; so it is after a write."""
    place.store.create("folder/lock.json", b"first")
    with pytest.raises(AlreadyExistsError) as caught:
        place.store.create("folder/lock.json", b"second")
    assert failed(ErrorKind.TARGET_EXISTS, AlreadyExistsError, caught)
    assert place.store.read_small("folder/lock.json", at_most_bytes=10) == b"first"
    put(place.store, "written", b"written", place.folder)
    with pytest.raises(AlreadyExistsError):
        place.store.create("written", b"created")
    assert place.store.read_small("written", at_most_bytes=10) == b"written"


@pytest.mark.parametrize("place", ["mlflow"], indirect=True)
def test_the_proxy_refuses_to_create(place: Place) -> None:
    """A store without conditional writes says so and stores nothing."""
    with pytest.raises(UnsupportedError) as caught:
        place.store.create("file", b"1")
    assert failed(ErrorKind.CONDITION_UNSUPPORTED, UnsupportedError, caught)
    assert place.store.entries() == {}


@conditional_stores
def test_of_many_that_create_at_once_one_wins(place: Place) -> None:
    """Of 16 threads exactly one creates, and its content is what is there."""
    store = place.store
    gate = Barrier(16)

    def create(number: int) -> bool:
        gate.wait()
        try:
            store.create("raced", b"thread %d" % number)
        except AlreadyExistsError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(create, range(16)))
    assert sum(won) == 1
    assert store.read_small("raced", at_most_bytes=20) == b"thread %d" % won.index(True)
    assert list(store.entries()) == ["raced"]


@every_store
def test_a_store_can_be_used_from_many_threads(place: Place) -> None:
    """Written and read by eight threads at once, every file has its own bytes."""
    store = place.store

    def there_and_back(number: int) -> bool:
        content = random_bytes(50_000 + number, seed=number)
        put(store, f"folder/{number}", content, place.folder)
        return read_part(store, f"folder/{number}", 0, len(content)) == content

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(there_and_back, range(24)))
    assert len(store.entries()) == 24


def test_a_stamp_changes_with_the_file(tmp_path: Path) -> None:
    """In a folder a file that was replaced by one of the same size has another stamp."""
    store = LocalStore(tmp_path / "store")
    (tmp_path / "store").mkdir()
    put(store, "file", b"one", tmp_path)
    before = store.entries()["file"]
    put(store, "file", b"two", tmp_path)
    after = store.entries()["file"]
    assert before.size_bytes == after.size_bytes
    assert before.stamp != after.stamp
