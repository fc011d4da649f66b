"""Proving files: every damage is found, and a change after the proof is found too."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pairlock import hashing
from pairlock.digests import FileRecord
from pairlock.errors import ErrorKind, Finding, IntegrityError, PairlockError, StorageError
from pairlock.hashing import ProvedFiles, prove_files
from pairlock.progress import SILENT
from pairlock.stores import LocalStore

CONTENTS = {
    "payload/config.json": b"{}",
    "payload/empty": b"",
    "payload/model/weights": b"weights of the model" * 1000,
}
WEIGHTS = "payload/model/weights"


@pytest.fixture(params=["one thread", "three threads"], autouse=True)
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Everything holds with one thread and with several, which large files get."""
    several: bool = request.param == "three threads"
    if several:
        monkeypatch.setattr(hashing, "LARGE_BYTES", 0)
        monkeypatch.setattr(hashing, "_cores", lambda: 3)
    return several


def records() -> list[FileRecord]:
    return [
        FileRecord(path=path, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for path, content in CONTENTS.items()
    ]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for path, content in CONTENTS.items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    tick(tmp_path)
    return tmp_path


def tick(root: Path) -> None:
    """Let the file system's clock, which may be coarse, pass the newest file."""
    newest = max(entry.stamp[-1] for entry in LocalStore(root).entries().values())
    marker = root / "marker"
    marker.touch()
    while marker.stat().st_ctime_ns <= newest:
        marker.write_bytes(b"")
    marker.unlink()


def prove(root: Path) -> tuple[tuple[Finding, ...], ProvedFiles]:
    store = LocalStore(root)
    return prove_files(store, records(), store.entries("payload"), progress=SILENT)


def kinds_at(findings: tuple[Finding, ...]) -> list[tuple[str, ErrorKind]]:
    return [(finding.place, finding.kind) for finding in findings]


def test_a_sound_package_has_no_findings(package: Path) -> None:
    """Files that are as listed are proved, all bytes of them, and stay proved."""
    findings, proved = prove(package)
    assert findings == ()
    assert proved.size_bytes == sum(len(content) for content in CONTENTS.values())
    assert proved.stamps.keys() == CONTENTS.keys()
    assert proved.check_unchanged() is None


def truncate(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.truncate(10)


def flip_first_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


def flip_last_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 128
    path.write_bytes(content)


def other_content_of_same_size(path: Path) -> None:
    path.write_bytes(b"x" * path.stat().st_size)


def append(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"\n")


def remove(path: Path) -> None:
    path.unlink()


def rename(path: Path) -> None:
    path.rename(path.with_name("renamed"))


def link_to_same_content(path: Path) -> None:
    shutil.copy(path, path.parents[2] / "elsewhere")
    path.unlink()
    path.symlink_to(path.parents[2] / "elsewhere")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (truncate, [(WEIGHTS, ErrorKind.FILE_SIZE)]),
        (append, [(WEIGHTS, ErrorKind.FILE_SIZE)]),
        (flip_first_bit, [(WEIGHTS, ErrorKind.FILE_DIGEST)]),
        (flip_last_bit, [(WEIGHTS, ErrorKind.FILE_DIGEST)]),
        (other_content_of_same_size, [(WEIGHTS, ErrorKind.FILE_DIGEST)]),
        (remove, [(WEIGHTS, ErrorKind.FILE_MISSING)]),
        (
            rename,
            [("payload/model/renamed", ErrorKind.FILE_EXTRA), (WEIGHTS, ErrorKind.FILE_MISSING)],
        ),
        (link_to_same_content, [(WEIGHTS, ErrorKind.FILE_NOT_REGULAR)]),
        (pipe, [(WEIGHTS, ErrorKind.FILE_NOT_REGULAR)]),
        (folder, [(WEIGHTS, ErrorKind.FILE_MISSING)]),
    ],
)
def test_each_damage_is_found(
    package: Path, damage: Callable[[Path], None], expected: list[tuple[str, ErrorKind]]
) -> None:
    """Every way in which a file can differ is found as what it is; links and pipes are not read."""
    damage(package / WEIGHTS)
    findings, _ = prove(package)
    assert kinds_at(findings) == expected


def test_an_extra_file_is_found(package: Path) -> None:
    """A file that nobody approved is found, in a folder of its own too."""
    (package / "payload/new").mkdir()
    (package / "payload/new/modeling.py").write_bytes(b"")
    (package / "payload/.hidden").write_bytes(b"")
    findings, _ = prove(package)
    assert kinds_at(findings) == [
        ("payload/.hidden", ErrorKind.FILE_EXTRA),
        ("payload/new/modeling.py", ErrorKind.FILE_EXTRA),
    ]


def test_a_linked_folder_is_found(package: Path) -> None:
    """A folder that became a link is an extra entry, and the files behind it are missing."""
    (package / "payload/model").rename(package / "moved")
    (package / "payload/model").symlink_to(package / "moved", target_is_directory=True)
    findings, _ = prove(package)
    assert kinds_at(findings) == [
        ("payload/model", ErrorKind.FILE_EXTRA),
        (WEIGHTS, ErrorKind.FILE_MISSING),
    ]


def test_a_missing_payload_is_every_file_missing(package: Path) -> None:
    """A package whose payload is gone lists each of its files."""
    shutil.rmtree(package / "payload")
    findings, proved = prove(package)
    assert kinds_at(findings) == [(path, ErrorKind.FILE_MISSING) for path in sorted(CONTENTS)]
    assert proved.size_bytes == 0


def test_all_damages_are_found_at_once(package: Path) -> None:
    """Findings of names, sizes and contents are listed together."""
    flip_first_bit(package / WEIGHTS)
    append(package / "payload/empty")
    (package / "payload/config.json").unlink()
    findings, _ = prove(package)
    assert set(kinds_at(findings)) == {
        (WEIGHTS, ErrorKind.FILE_DIGEST),
        ("payload/empty", ErrorKind.FILE_SIZE),
        ("payload/config.json", ErrorKind.FILE_MISSING),
    }


def test_a_file_that_cannot_be_read_is_a_storage_error(package: Path) -> None:
    """A file that goes away between listing and hashing is an error and not a pass."""
    store = LocalStore(package)
    observed = store.entries("payload")
    (package / WEIGHTS).unlink()
    with pytest.raises(StorageError) as caught:
        prove_files(store, records(), observed, progress=SILENT)
    assert caught.value.kind is ErrorKind.STORAGE_FAILED
    assert isinstance(caught.value.__cause__, OSError)


def test_progress_is_told_every_byte(package: Path) -> None:
    """Whoever watches hears the total before and every byte after."""
    heard: list[int] = []
    totals: list[int | None] = []

    class Watching:
        @contextmanager
        def step(self, name: str, total_bytes: int | None = None):
            totals.append(total_bytes)
            yield heard.append

    store = LocalStore(package)
    prove_files(store, records(), store.entries("payload"), progress=Watching())
    assert totals == [sum(heard)]
    assert sum(heard) == sum(len(content) for content in CONTENTS.values())


def test_large_files_are_hashed_side_by_side(package: Path, threads: bool) -> None:
    """Where several cores and several large files are, they wait for each other in no order."""
    meeting = threading.Barrier(3 if threads else 1, timeout=10)
    seen: list[str] = []

    class Watching:
        @contextmanager
        def step(self, name: str, total_bytes: int | None = None):
            yield lambda count: seen.append(threading.current_thread().name)

    hash_file = hashing.hash_file

    def meet(path: Path, **named: Any) -> str:
        meeting.wait()
        return hash_file(path, **named)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(hashing, "hash_file", meet)
        store = LocalStore(package)
        findings, _ = prove_files(store, records(), store.entries("payload"), progress=Watching())
    assert findings == ()
    assert len(set(seen)) == (2 if threads else 1)  # an empty file is nothing to tell of


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_what_whoever_watches_raises_ends_the_work(
    package: Path, stop: type[BaseException]
) -> None:
    """An error from the progress, in whichever thread, reaches the caller as it is."""
    error = stop()

    class Refusing:
        @contextmanager
        def step(self, name: str, total_bytes: int | None = None):
            def refuse(_count: int) -> None:
                raise error

            yield refuse

    store = LocalStore(package)
    with pytest.raises(stop) as caught:
        prove_files(store, records(), store.entries("payload"), progress=Refusing())
    assert caught.value is error
    assert not [one for one in threading.enumerate() if one.name.startswith("pairlock-hash")]


# --- after the proof


def replace_by_equal_file(path: Path) -> None:
    other = path.with_name("staged")
    shutil.copy2(path, other)
    other.replace(path)


def overwrite_in_place_keeping_the_time(path: Path) -> None:
    before = path.stat()
    with path.open("r+b") as stream:
        stream.write(b"X")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_size == before.st_size


@pytest.mark.parametrize(
    "change",
    [
        replace_by_equal_file,
        overwrite_in_place_keeping_the_time,
        truncate,
        append,
        flip_first_bit,
        remove,
        link_to_same_content,
        pipe,
        folder,
    ],
)
def test_a_change_after_the_proof_is_noticed(package: Path, change: Callable[[Path], None]) -> None:
    """Bytes that change between the proof and the read are an error and not a vector."""
    findings, proved = prove(package)
    assert findings == ()
    change(package / WEIGHTS)
    with pytest.raises(IntegrityError) as caught:
        proved.check_unchanged()
    assert caught.value.kind is ErrorKind.FILE_CHANGED


@pytest.mark.parametrize("path", sorted(CONTENTS))
def test_every_file_is_guarded(package: Path, path: str) -> None:
    """The guard watches each proved file, small and empty ones too."""
    _, proved = prove(package)
    replace_by_equal_file(package / path)
    with pytest.raises(IntegrityError) as caught:
        proved.check_unchanged()
    assert caught.value.kind is ErrorKind.FILE_CHANGED


def test_a_folder_that_became_a_file_is_noticed(package: Path) -> None:
    """A folder swapped for a file after the proof is an error of ours."""
    _, proved = prove(package)
    shutil.rmtree(package / "payload/model")
    (package / "payload/model").write_bytes(b"")
    with pytest.raises(PairlockError) as caught:
        proved.check_unchanged()
    assert caught.value.kind in {ErrorKind.FILE_CHANGED, ErrorKind.STORAGE_FAILED}


def test_a_change_between_listing_and_hashing_is_noticed(package: Path) -> None:
    """The stamps are those of the listing, so that a file swapped while it is hashed is found."""
    store = LocalStore(package)
    observed = store.entries("payload")
    replace_by_equal_file(package / WEIGHTS)
    findings, proved = prove_files(store, records(), observed, progress=SILENT)
    assert findings == ()
    with pytest.raises(IntegrityError) as caught:
        proved.check_unchanged()
    assert caught.value.kind is ErrorKind.FILE_CHANGED


def test_reading_is_no_change(package: Path) -> None:
    """Reading a file, as every load does, is no change."""
    _, proved = prove(package)
    for path, content in CONTENTS.items():
        assert (package / path).read_bytes() == content
    assert proved.check_unchanged() is None
