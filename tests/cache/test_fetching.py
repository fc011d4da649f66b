"""Files by their content: fetched once, proved always, and never shared with what is wrong."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pairlock.cache import Arrival, CacheFolder, ViewKey, ViewKind
from pairlock.cache.locks import alone
from pairlock.config import Settings
from pairlock.digests import hash_file
from pairlock.errors import ErrorKind, PairlockError, UnsupportedError
from pairlock.fetching import Source, fetch, look_up
from pairlock.progress import SILENT
from pairlock.pulling import pull
from pairlock.stores import LocalStore
from pairlock.stores.interface import ByteStream
from support.cached import (
    BIG,
    Made,
    big_view,
    blobs,
    bring,
    files_of,
    poison,
    put_package,
    random_bytes,
    record_of,
    small_view,
    unfinished,
    wrong_in,
)
from support.pulling import run_pullers
from support.registries import snapshot


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A cache that is not there yet."""
    return Settings(cache=tmp_path / "cache")


class Counting(LocalStore):
    """A folder that remembers what was asked of it, and does something first."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: list[str] = []
        self.before: Any = None

    @contextmanager
    def open_range(self, path: str, *, start: int, length: int) -> Iterator[ByteStream]:
        self.asked.append(path)
        if self.before is not None:
            self.before(path)
        with super().open_range(path, start=start, length=length) as body:
            yield body


def counting(made: Made, folder: Path) -> Counting:
    """The files of a view in a folder that counts."""
    return Counting(made.write(folder).root)


def test_blobs_are_read_only_and_named_by_their_content(s3: Any, settings: Settings) -> None:
    """A blob is a 0444 file under its own sha256, and equal files are one blob."""
    made = small_view()
    bring(made, made.put(s3), settings)
    found = blobs(settings.cache)
    assert {path.stat().st_mode & 0o777 for path in found} == {0o444}
    assert sorted(path.name for path in found) == sorted({r.sha256 for r in made.records})
    assert all(hash_file(path) == path.name for path in found)
    assert unfinished(settings.cache) == []


def test_a_views_files_are_links_to_blobs(s3: Any, settings: Settings) -> None:
    """A file of a view has the inode of the blob with its content."""
    made = small_view()
    bring(made, made.put(s3), settings)
    for path in made.files:
        own = files_of(made, settings.cache) / path
        assert own.samefile(made.blob(settings.cache, path))
    assert made.is_in(files_of(made, settings.cache))


@pytest.mark.parametrize("code", [errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
def test_without_hard_links_files_are_copies(
    code: int, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no link can be made, a view has copies, and everything else holds."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    made = Made({**small_view().files, **big_view().files})
    store = counting(made, tmp_path / "store")
    bring(made, store, settings)
    files = files_of(made, settings.cache)
    assert made.is_in(files)
    assert {path.stat().st_mode & 0o777 for path in files.rglob("*") if path.is_file()} == {0o444}
    assert not (files / BIG).samefile(made.blob(settings.cache, BIG))
    proved = look_up(made.key, made.records, settings, progress=SILENT)
    assert proved is not None
    assert proved.hashed_bytes == 0
    poison(files / BIG)
    again = Settings(cache=settings.cache, rehash=True)
    assert bring(made, store, again).fetched_bytes == 0
    assert made.is_in(files)
    assert (wrong_in(settings.cache), unfinished(settings.cache)) == ([], [])


def test_a_blob_that_is_there_is_not_fetched_again(settings: Settings, tmp_path: Path) -> None:
    """Another view with some of the same files fetches only the others."""
    first = small_view()
    second = Made({**first.files, "more.txt": b"more", "again/vocab.txt": first.files["vocab.txt"]})
    store = counting(second, tmp_path / "store")
    bring(first, store, settings)
    assert sorted(store.asked) == ["config.json", "modules.json", "vocab.txt"], "{} is there twice"
    store.asked.clear()
    fetched = bring(second, store, settings)
    assert store.asked == ["more.txt"]
    assert fetched.fetched_bytes == len(b"more")
    assert first.is_in(files_of(first, settings.cache))
    assert second.is_in(files_of(second, settings.cache))


@pytest.mark.parametrize("content", [b"", b"one\ntwo\n" * 99 + b"one\nTWO\n", b"longer" * 1000])
def test_a_blob_with_wrong_bytes_is_never_used(
    content: bytes, settings: Settings, tmp_path: Path
) -> None:
    """Whatever lies under a blob's name, a new view gets the right bytes, fetched."""
    made = small_view()
    store = counting(made, tmp_path / "store")
    blob = made.blob(settings.cache, "vocab.txt")
    blob.parent.mkdir(parents=True)
    blob.write_bytes(content)
    assert bring(made, store, settings).fetched_bytes == made.size_bytes - 2  # {} is there twice
    assert made.is_in(files_of(made, settings.cache))
    assert wrong_in(settings.cache) == []


def test_a_folder_under_a_blobs_name_is_never_used(settings: Settings, tmp_path: Path) -> None:
    """Something else than a file under a blob's name is an error or is replaced, never used."""
    made = small_view()
    (made.blob(settings.cache, "vocab.txt") / "inner").mkdir(parents=True)
    try:
        bring(made, counting(made, tmp_path / "store"), settings)
    except PairlockError:
        assert look_up(made.key, made.records, settings, progress=SILENT) is None
    else:
        assert made.is_in(files_of(made, settings.cache))


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_blob_that_is_damaged_during_a_fetch_is_not_sealed(
    when: str, settings: Settings, tmp_path: Path
) -> None:
    """Bytes that change between the proof and the seal are not taken for proved ones."""
    names = ["a.bin", "b.bin"]
    made = Made({name: random_bytes(5000, number) for number, name in enumerate(names)})
    store = counting(made, tmp_path / "store")
    if when == "before":
        # the first file is there and is found to be right, and changes while the second comes
        bring(Made({"a.bin": made.files["a.bin"]}), store, settings)

    def damage(path: str) -> None:
        blob = made.blob(settings.cache, "a.bin")
        if path == "b.bin":
            while not blob.exists():
                pass
            blob.chmod(0o600)
            blob.write_bytes(random_bytes(5000, 99))

    store.before = damage
    try:
        bring(made, store, settings)
    except PairlockError:
        return
    store.before = None
    bring(made, store, settings)
    assert made.is_in(files_of(made, settings.cache))


def test_a_cache_of_a_newer_release_is_left_alone(s3: Any, settings: Settings) -> None:
    """A newer layout is refused by every way in, and nothing in it changes."""
    made = small_view()
    uri = made.put(s3)
    bring(made, uri, settings)
    (settings.cache / "layout.json").write_text('{"layout": 2}')
    before = snapshot(settings.cache)
    for act in (
        lambda: bring(made, uri, settings),
        lambda: look_up(made.key, made.records, settings, progress=SILENT),
        lambda: fetch(made.key, made.records, None, settings, progress=SILENT),
        lambda: pull(put_package(s3)),
    ):
        with pytest.raises(UnsupportedError) as caught:
            act()
        assert caught.value.kind is ErrorKind.CACHE_TOO_NEW
    assert snapshot(settings.cache) == before


@pytest.mark.parametrize(
    "layout", [b"", b"{", b"[]", b'{"layout": null}', b'{"layout": "9"}', b"\xff\x00", b"{}"]
)
def test_a_damaged_layout_file_is_no_obstacle(
    layout: bytes, settings: Settings, tmp_path: Path
) -> None:
    """A layout file that says nothing is passed over: everything is proved before use."""
    made = small_view()
    store = counting(made, tmp_path / "store")
    bring(made, store, settings)
    (settings.cache / "layout.json").write_bytes(layout)
    assert bring(made, store, settings).fetched_bytes == 0


@pytest.mark.parametrize("gone", ["staging", "locks", "blobs", "views", "answers", "layout.json"])
def test_a_part_of_the_cache_may_be_gone(gone: str, settings: Settings, tmp_path: Path) -> None:
    """Somebody removed a folder of the cache: the next fetch makes it again."""
    made = small_view()
    store = counting(made, tmp_path / "store")
    bring(made, store, settings)
    target = settings.cache / gone
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()
    other = Made({**made.files, "more.txt": b"more"})
    store = counting(other, tmp_path / "store")
    bring(other, store, settings)
    bring(made, store, settings)
    assert other.is_in(files_of(other, settings.cache))
    assert made.is_in(files_of(made, settings.cache))


def test_an_empty_cache_folder_is_filled(settings: Settings, tmp_path: Path) -> None:
    """A folder that is there and empty, such as a fresh volume, becomes a cache."""
    settings.cache.mkdir()
    made = small_view()
    bring(made, counting(made, tmp_path / "store"), settings)
    assert made.is_in(files_of(made, settings.cache))
    assert (settings.cache / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28")


@pytest.mark.parametrize(
    "files",
    [
        {"empty.txt": b"", "also/empty.txt": b"", "full.txt": b"x"},
        {"one": b"same" * 50, "two": b"same" * 50, "three/four": b"same" * 50},
        {"漢字/モデル.txt": b"1", "עברית": b"2", "é": b"3", "emoji 🎉 and space": b"4"},
        {"percent%20sign": b"1", "plus+sign&and=": b"2", "quote'\"": b"3", "#hash?": b"4"},
        {"a" * 200: b"1", "/".join("d" * 40 for _ in range(6)): b"2"},
    ],
    ids=["empty", "same", "scripts", "signs", "long"],
)
def test_unusual_files_come_through(files: dict[str, bytes], s3: Any, settings: Settings) -> None:
    """Empty files, equal files and names of any script arrive under the names they have."""
    made = Made(files)
    bring(made, made.put(s3), settings)
    assert made.is_in(files_of(made, settings.cache))
    proved = look_up(made.key, made.records, settings, progress=SILENT)
    assert proved is not None
    assert proved.hashed_bytes == 0


def test_thousands_of_files_need_few_file_descriptors(tmp_path: Path) -> None:
    """3000 small files and 40 large ones come with 64 file descriptors."""
    made = Made(
        {f"{number % 50}/{number}.txt": str(number).encode() for number in range(3000)}
        | {f"large/{number}.bin": random_bytes(1_100_000, number) for number in range(40)}
    )
    made.write(tmp_path / "store")
    found = run_pullers(made, str(tmp_path / "store"), tmp_path / "cache", open_files=64)
    assert found == [{"fetched_bytes": made.size_bytes}]
    assert unfinished(tmp_path / "cache") == []


def test_many_files_come_from_s3(s3: Any, tmp_path: Path) -> None:
    """300 small objects come with 64 file descriptors."""
    from pairlock.stores.opening import open_store
    from pairlock.transfer import upload
    from support.cached import new_prefix

    made = Made({f"{number % 50}/{number}.txt": str(number).encode() for number in range(300)})
    made.write(tmp_path / "store")
    uri = new_prefix()
    upload(open_store(uri), tmp_path / "store", made.records, on_bytes=lambda _: None)
    found = run_pullers(made, uri, tmp_path / "cache", open_files=64)
    assert found == [{"fetched_bytes": made.size_bytes}]


def test_without_a_source_only_what_is_there_is_used(settings: Settings, tmp_path: Path) -> None:
    """Without a source a view is made of blobs that are there, or not at all."""
    first = small_view()
    part = Made({"config.json": first.files["config.json"]})
    whole = Made({**first.files, "more.txt": b"more"})
    bring(first, counting(first, tmp_path / "store"), settings)
    assert bring(part, None, settings).fetched_bytes == 0
    assert fetch(whole.key, whole.records, None, settings, progress=SILENT) is None
    blob = first.blob(settings.cache, "config.json")
    poison(blob)
    rehash = Settings(cache=settings.cache, rehash=True)
    assert fetch(part.key, part.records, None, rehash, progress=SILENT) is None
    assert wrong_in(settings.cache) != [], "the views still show what was damaged"
    assert look_up(part.key, part.records, rehash, progress=SILENT) is None


def test_a_small_file_at_hand_is_not_asked_for(settings: Settings, tmp_path: Path) -> None:
    """A file that was read already is taken if it is the right one, and fetched if it is not."""
    made = small_view()
    store = counting(made, tmp_path / "store")
    right = {"modules.json": made.files["modules.json"], "vocab.txt": b"something else"}
    source = Source(store=store, at_hand=right)
    assert fetch(made.key, made.records, source, settings, progress=SILENT)
    assert "modules.json" not in store.asked
    assert "vocab.txt" in store.asked
    assert made.is_in(files_of(made, settings.cache))


def test_a_key_names_what_it_is_of() -> None:
    """Packages and models have locks and views of their own, also for one digest."""
    digest = f"sha256:{'ab' * 32}"
    assert str(ViewKey(ViewKind.PACKAGE, digest)) != str(ViewKey(ViewKind.MODEL, digest))


def test_a_cache_that_another_process_makes_is_no_failure(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look whether there is a cache and its making, another process may make it."""
    exists = Path.exists

    def made_now(path: Path, **more: Any) -> bool:
        found = exists(path, **more)
        if path == settings.cache:
            path.mkdir(exist_ok=True)
        return found

    monkeypatch.setattr(Path, "exists", made_now)
    CacheFolder(settings.cache).prepare()
    assert (settings.cache / "layout.json").is_file()


def test_a_beginning_that_goes_away_is_no_failure(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may finish, and remove what is about to be adopted, at any moment."""
    folder = CacheFolder(settings.cache)
    folder.prepare()
    content = random_bytes(2_000_000, 5)
    record = record_of(BIG, content)
    beginning = folder.unique(record.sha256, "partial")
    beginning.write_bytes(content[:1_500_000])
    opened = Path.open

    def gone(path: Path, *arguments: Any, **more: Any) -> Any:
        if path == beginning:
            beginning.unlink(missing_ok=True)
        return opened(path, *arguments, **more)

    monkeypatch.setattr(Path, "open", gone)
    arrival = Arrival(folder, record)
    arrival.add([content[arrival.start :]])
    assert arrival.finish() is None
    assert wrong_in(settings.cache) == []


def test_wrong_bytes_of_one_process_do_not_stop_another(settings: Settings) -> None:
    """A process that got wrong bytes clears up; one that got the right ones still publishes."""
    folder = CacheFolder(settings.cache)
    folder.prepare()
    content = random_bytes(2_000_000, 6)
    record = record_of(BIG, content)
    unlucky, lucky = Arrival(folder, record), Arrival(folder, record)
    unlucky.add([b"x" * len(content)])
    lucky.add([content])
    assert unlucky.finish() is not None
    assert lucky.finish() is None
    assert folder.blob(record.sha256).read_bytes() == content
    assert unfinished(settings.cache) == []


def test_two_processes_never_share_an_unfinished_file(settings: Settings) -> None:
    """What another process is writing is copied, and its own file stays untouched."""
    folder = CacheFolder(settings.cache)
    folder.prepare()
    content = random_bytes(3_000_000, 8)
    record = record_of(BIG, content)
    first = Arrival(folder, record)
    first.add([content[:2_000_000]])
    (live,) = unfinished(settings.cache)
    inode, before = live.stat().st_ino, live.read_bytes()
    second = Arrival(folder, record)
    assert second.start == 2_000_000
    second.add([content[2_000_000:2_500_000]])
    assert (live.stat().st_ino, live.read_bytes()) == (inode, before)
    second.add([content[2_500_000:]])
    assert second.finish() is None
    first.add([content[2_000_000:]])
    assert first.finish() is None
    assert folder.blob(record.sha256).read_bytes() == content
    assert unfinished(settings.cache) == []


def test_whoever_waited_uses_what_the_other_brought(settings: Settings, tmp_path: Path) -> None:
    """A fetch that waited for a lock looks again, and asks the store for nothing."""
    import threading

    made = small_view()
    store = counting(made, tmp_path / "store")
    unlocked = Settings(cache=settings.cache, locking=False)
    folder = CacheFolder(settings.cache)
    folder.prepare()
    with alone(folder, str(made.key), locking=True):
        waiter = threading.Thread(target=bring, args=(made, store, settings))
        waiter.start()
        bring(made, store, unlocked)
        store.asked.clear()
    waiter.join(10)
    assert not waiter.is_alive()
    assert store.asked == []
