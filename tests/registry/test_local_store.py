"""A folder as a store: everything in it is seen, nothing in it is trusted or changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pairlock.errors import ErrorKind, NotFoundError, PairlockError, StorageError
from pairlock.stores import EntryType, LocalStore

READ_FIFO = """
import sys
from pathlib import Path
from pairlock.errors import StorageError
from pairlock.stores import LocalStore
try:
    LocalStore(Path(sys.argv[1])).read_small("pairlock.json", at_most_bytes=10)
except StorageError as error:
    print(error.kind)
"""


def tree(root: Path, **files: bytes) -> Path:
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def test_entries_are_listed_by_posix_path_in_order(tmp_path: Path) -> None:
    """Every file at every depth is listed with its size, in path order; folders are not."""
    tree(tmp_path, z=b"1", a__b__c=b"22", a__d=b"333")
    (tmp_path / "empty").mkdir()
    entries = LocalStore(tmp_path).entries()
    assert list(entries) == ["a/b/c", "a/d", "z"]
    assert [entry.size_bytes for entry in entries.values()] == [2, 3, 1]
    assert {entry.type for entry in entries.values()} == {EntryType.FILE}


def test_entries_below_a_folder_keep_their_whole_path(tmp_path: Path) -> None:
    """A listing of one folder names files relative to the store."""
    tree(tmp_path, payload__a=b"1", other__b=b"1")
    assert list(LocalStore(tmp_path).entries("payload")) == ["payload/a"]


def test_a_folder_that_is_not_there_has_no_entries(tmp_path: Path) -> None:
    """A store without its payload folder has no payload, so that every file counts as missing."""
    assert LocalStore(tmp_path).entries("payload") == {}


def test_a_store_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    """A store whose own folder is gone is an error, with or without a folder in it."""
    for folder in ("", "payload"):
        with pytest.raises(NotFoundError) as caught:
            LocalStore(tmp_path / "gone").entries(folder)
        assert caught.value.kind is ErrorKind.FOLDER_MISSING


def test_a_file_is_no_store(tmp_path: Path) -> None:
    """A file where the folder should be is a storage error."""
    with pytest.raises(StorageError) as caught:
        LocalStore(tree(tmp_path, a=b"1") / "a").entries()
    assert caught.value.kind is ErrorKind.STORAGE_FAILED


def test_links_and_pipes_are_seen_as_what_they_are(tmp_path: Path) -> None:
    """A link, even to a folder or to nothing, and a pipe are no regular files."""
    tree(tmp_path, target=b"1", folder__inner=b"1")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "folder-link").symlink_to("folder", target_is_directory=True)
    (tmp_path / "broken").symlink_to("nothing")
    os.mkfifo(tmp_path / "pipe")
    types = {path: entry.type for path, entry in LocalStore(tmp_path).entries().items()}
    assert types == {
        "broken": EntryType.LINK,
        "folder-link": EntryType.LINK,
        "folder/inner": EntryType.FILE,
        "link": EntryType.LINK,
        "pipe": EntryType.OTHER,
        "target": EntryType.FILE,
    }


def test_a_store_that_follows_links_sees_their_targets(tmp_path: Path) -> None:
    """A hub cache is made of links, and each counts as the file it points to."""
    blobs = tree(tmp_path / "blobs", blob=b"12345", folder__inner=b"1")
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (snapshot / "weights").symlink_to(blobs / "blob")
    (snapshot / "sub").symlink_to(blobs / "folder", target_is_directory=True)
    entries = LocalStore(snapshot, follow_links=True).entries()
    assert {path: (entry.type, entry.size_bytes) for path, entry in entries.items()} == {
        "sub/inner": (EntryType.FILE, 1),
        "weights": (EntryType.FILE, 5),
    }


def test_a_broken_link_does_not_hide_the_folder(tmp_path: Path) -> None:
    """A link to nothing in a followed folder is not reported as a folder that is missing."""
    tree(tmp_path, a=b"1")
    (tmp_path / "broken").symlink_to("nothing")
    try:
        entries = LocalStore(tmp_path, follow_links=True).entries()
    except PairlockError as error:
        assert error.kind is not ErrorKind.FOLDER_MISSING
    else:
        assert entries["a"].type is EntryType.FILE


def test_a_link_to_its_own_folder_ends(tmp_path: Path) -> None:
    """A followed link that leads round in a circle is an error or is listed once, never a hang."""
    tree(tmp_path, a=b"1")
    (tmp_path / "circle").symlink_to(".", target_is_directory=True)
    try:
        entries = LocalStore(tmp_path, follow_links=True).entries()
    except PairlockError as error:
        assert error.kind is ErrorKind.STORAGE_FAILED
    else:
        assert "a" in entries


def test_one_entry_is_looked_up(tmp_path: Path) -> None:
    """A single entry equals the one in the listing, and a missing one is None."""
    store = LocalStore(tree(tmp_path, a__b=b"12"))
    assert store.entry("a/b") == store.entries()["a/b"]
    assert store.entry("a/c") is None
    assert store.entry("c/b") is None


def test_the_stamp_changes_with_the_file(tmp_path: Path) -> None:
    """Rewriting, resizing or replacing a file gives it another stamp; reading it does not."""
    path = tree(tmp_path, a=b"one") / "a"
    store = LocalStore(tmp_path)
    before = store.entry("a")
    assert path.read_bytes() == b"one"
    assert store.entry("a") == before
    (tmp_path / "b").write_bytes(b"one")
    (tmp_path / "b").replace(path)
    replaced = store.entry("a")
    assert replaced != before
    with path.open("ab") as stream:
        stream.write(b"!")
    assert store.entry("a") not in (before, replaced)


def test_a_small_file_is_read_whole(tmp_path: Path) -> None:
    """A file of exactly the allowed size is read."""
    assert LocalStore(tree(tmp_path, a=b"12345")).read_small("a", at_most_bytes=5) == b"12345"


def test_a_larger_file_is_refused(tmp_path: Path) -> None:
    """A file one byte over the limit is refused."""
    with pytest.raises(StorageError) as caught:
        LocalStore(tree(tmp_path, a=b"123456")).read_small("a", at_most_bytes=5)
    assert caught.value.kind is ErrorKind.STORAGE_FAILED


def test_reading_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    """A missing file is told apart from one that cannot be read."""
    with pytest.raises(NotFoundError) as caught:
        LocalStore(tmp_path).read_small("a", at_most_bytes=5)
    assert caught.value.kind is ErrorKind.FILE_MISSING


def test_reading_below_a_file_is_not_found(tmp_path: Path) -> None:
    """A path through a file is missing, as it is in every other store."""
    with pytest.raises(NotFoundError) as caught:
        LocalStore(tree(tmp_path, file=b"")).read_small("file/inner", at_most_bytes=5)
    assert caught.value.kind is ErrorKind.FILE_MISSING


def test_reading_a_folder_fails(tmp_path: Path) -> None:
    """A folder in the place of a document is a storage error."""
    with pytest.raises(StorageError) as caught:
        LocalStore(tree(tmp_path, folder__a=b"")).read_small("folder", at_most_bytes=5)
    assert caught.value.kind is ErrorKind.STORAGE_FAILED


def test_reading_a_pipe_fails_instead_of_waiting(tmp_path: Path) -> None:
    """A pipe in the place of a document is refused; nobody waits for a writer that never comes."""
    os.mkfifo(tmp_path / "pairlock.json")
    done = subprocess.run(
        [sys.executable, "-c", READ_FIFO, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout.strip() == ErrorKind.STORAGE_FAILED


def test_nothing_is_ever_written(tmp_path: Path) -> None:
    """Listing, looking up and reading leave the folder as it was."""
    store = LocalStore(tree(tmp_path, a=b"1", b__c=b"2"))
    before = store.entries()
    store.entry("b/c")
    store.read_small("a", at_most_bytes=10)
    assert store.entries() == before
    assert store.location == str(tmp_path)
    assert store.local_path("b/c") == tmp_path / "b" / "c"
