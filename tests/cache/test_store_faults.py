"""Faults of the store and of the disk: an error or the right bytes, and nothing to clean up."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import pairlock.stores.body as body
from pairlock.cache import Arrival, CacheFolder, View, writing
from pairlock.cache.folder import remove
from pairlock.config import Settings
from pairlock.errors import ErrorKind, IntegrityError, PairlockError, StorageError, UnavailableError
from pairlock.fetching import look_up
from pairlock.progress import SILENT
from pairlock.pulling import pull
from pairlock.stores import s3_clients
from support.cached import (
    BIG,
    BIG_BYTES,
    PACKAGE,
    WEIGHTS,
    Made,
    big_view,
    blobs,
    bring,
    files_of,
    put,
    put_package,
    random_bytes,
    record_of,
    small_view,
    unfinished,
    wrong_in,
)
from support.proxy import Action, Fault
from support.pulling import run_pullers

# the package has a function of this name too
downloading = import_module("pairlock.transfer.downloading")
WEIGHTS_BYTES = (PACKAGE / WEIGHTS).stat().st_size


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A cache that is not there yet, at the place that the environment names too."""
    return Settings(cache=tmp_path / "cache")


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses between tries are short."""
    monkeypatch.setattr(downloading, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(s3_clients, "_ATTEMPTS", 2)


@pytest.fixture(scope="session")
def big() -> Made:
    """A view with one large file."""
    return big_view()


@pytest.fixture(scope="session")
def big_uri(seaweedfs: Any, big: Made) -> str:
    """Where it lies."""
    return big.put(seaweedfs)


@pytest.fixture(scope="session")
def package_uri(seaweedfs: Any) -> str:
    """A small package in S3."""
    return put_package(seaweedfs)


def pull_fails(uri: str, category: type[PairlockError], kind: ErrorKind) -> None:
    """A pull ends with an error of some kind."""
    with pytest.raises(category) as caught:
        pull(uri)
    assert caught.value.kind is kind


def pull_succeeds(uri: str, settings: Settings) -> None:
    """A pull without a fault brings the package, and leaves nothing else behind."""
    pulled = pull(uri)
    for path in PACKAGE.rglob("*"):
        relative = path.relative_to(PACKAGE)
        if path.is_file() and relative.name != "PAIRING.md":
            assert (pulled.path / relative).read_bytes() == path.read_bytes()
    assert (wrong_in(settings.cache), unfinished(settings.cache)) == ([], [])


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Action.CUT, at=WEIGHTS_BYTES // 10, times=1),
        Fault(Action.CUT, at=WEIGHTS_BYTES * 99 // 100, times=4),
        Fault(Action.SHORT, at=WEIGHTS_BYTES // 2, times=2),
        Fault(Action.STALL, at=WEIGHTS_BYTES // 2, times=1),
        Fault(Action.TRICKLE, at=WEIGHTS_BYTES // 2, times=1),
        Fault(Action.STATUS_500, times=1),
        Fault(Action.STATUS_503, times=1),
        Fault(Action.GONE, times=1),
    ],
    ids=lambda fault: f"{fault.action}-{fault.at}",
)
def test_a_fault_that_passes_is_overcome(
    fault: Fault,
    s3_proxy: Any,
    package_uri: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pull overcomes by itself what happens to the weights only some times."""
    monkeypatch.setattr(s3_clients, "_READ_S", 0.3)
    monkeypatch.setattr(body, "STARVED_AFTER_S", 0.2)
    s3_proxy.fault(Fault(fault.action, suffix=WEIGHTS, at=fault.at, times=fault.times))
    pull_succeeds(package_uri, settings)
    assert s3_proxy.hits >= 1


@pytest.mark.parametrize("action", [Action.CUT, Action.STALL, Action.STATUS_503])
def test_a_fault_of_the_manifest_that_passes_is_overcome(
    action: Action,
    s3_proxy: Any,
    package_uri: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The smallest file, without which there is none, gets more than one try too."""
    monkeypatch.setattr(s3_clients, "_READ_S", 0.3)
    s3_proxy.fault(Fault(action, suffix="pairlock.json", at=500, times=1))
    pull_succeeds(package_uri, settings)
    assert s3_proxy.hits == 1


@pytest.mark.parametrize("action", [Action.CORRUPT, Action.SHORT])
def test_a_manifest_that_arrives_wrong_is_an_error(
    action: Action, s3_proxy: Any, package_uri: str, settings: Settings
) -> None:
    """A manifest with other bytes is refused or asked for again, and leaves nothing behind."""
    s3_proxy.fault(Fault(action, suffix="pairlock.json", at=500))
    digest = f"sha256:{record_of('', (PACKAGE / 'pairlock.json').read_bytes()).sha256}"
    with pytest.raises(PairlockError):
        pull(package_uri, expected_digest=digest)
    assert blobs(settings.cache) == []
    s3_proxy.clear()
    pull_succeeds(package_uri, settings)


def test_a_manifest_that_ends_early_is_not_called_invalid(
    s3: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that closes in the middle of a manifest is the store's fault, not the file's."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b'{"adapter":'

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        for name in ("AWS_ENDPOINT_URL_S3", "MLFLOW_S3_ENDPOINT_URL"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{listener.getsockname()[1]}")
        pull_fails("s3://pairlock/any", UnavailableError, ErrorKind.STORE_UNAVAILABLE)
        listener.shutdown(socket.SHUT_RDWR)


def test_a_manifest_that_trickles_is_given_up(
    s3_proxy: Any, package_uri: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest that comes at a byte a second is given up as weights are, in seconds."""
    monkeypatch.setattr(body, "STARVED_AFTER_S", 0.2)
    s3_proxy.fault(Fault(Action.TRICKLE, suffix="pairlock.json", at=100, times=1))
    ended: list[BaseException | None] = []

    def work() -> None:
        try:
            pull(package_uri)
            ended.append(None)
        except PairlockError as error:
            ended.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(4)
    assert ended, "it still waits"


@pytest.mark.parametrize(
    ("fault", "category", "kind"),
    [
        (Fault(Action.CUT, at=50_000), UnavailableError, ErrorKind.STORE_UNAVAILABLE),
        (Fault(Action.STALL, at=50_000), UnavailableError, ErrorKind.STORE_UNAVAILABLE),
        (Fault(Action.TRICKLE, at=50_000), UnavailableError, ErrorKind.STORE_UNAVAILABLE),
        (Fault(Action.CORRUPT, at=50_000), IntegrityError, ErrorKind.FILE_DIGEST),
        (Fault(Action.STATUS_503), UnavailableError, ErrorKind.STORE_UNAVAILABLE),
        (Fault(Action.DENIED), UnavailableError, ErrorKind.ACCESS_DENIED),
        (Fault(Action.GONE), UnavailableError, ErrorKind.STORE_UNAVAILABLE),
    ],
    ids=lambda value: value.action if isinstance(value, Fault) else "",
)
def test_a_fault_that_lasts_is_an_error_and_leaves_nothing_wrong(
    fault: Fault,
    category: type[PairlockError],
    kind: ErrorKind,
    s3_proxy: Any,
    package_uri: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What goes on for ever is an error of the right kind, and no hindrance once it is over."""
    monkeypatch.setattr(s3_clients, "_READ_S", 0.2)
    monkeypatch.setattr(body, "STARVED_AFTER_S", 0.2)
    monkeypatch.setattr(downloading, "TRIES", 2)
    s3_proxy.fault(Fault(fault.action, suffix=WEIGHTS, at=fault.at))
    pull_fails(package_uri, category, kind)
    assert (wrong_in(settings.cache), unfinished(settings.cache)) == ([], [])
    assert not list((settings.cache / "views").glob("*/*")), "nothing half can be seen"
    s3_proxy.clear()
    pull_succeeds(package_uri, settings)


@pytest.mark.parametrize("fault", [Action.DENIED, Action.GONE, Action.STALL])
def test_a_fault_that_lasts_in_the_manifest(
    fault: Action,
    s3_proxy: Any,
    package_uri: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A manifest that cannot be had is an error of the store, and nothing is in the cache."""
    monkeypatch.setattr(s3_clients, "_READ_S", 0.2)
    s3_proxy.fault(Fault(fault, suffix="pairlock.json", at=100))
    denied = fault is Action.DENIED
    kind = ErrorKind.ACCESS_DENIED if denied else ErrorKind.STORE_UNAVAILABLE
    pull_fails(package_uri, UnavailableError, kind)
    assert blobs(settings.cache) == []
    s3_proxy.clear()
    pull_succeeds(package_uri, settings)


def test_a_wrong_byte_is_fetched_twice_and_no_more(
    s3_proxy: Any, package_uri: str, settings: Settings
) -> None:
    """One wrong byte costs one more fetch of that file; for ever, it costs two in all."""
    s3_proxy.fault(Fault(Action.CORRUPT, suffix=WEIGHTS, at=40_000, times=1))
    pull_succeeds(package_uri, settings)
    assert len(s3_proxy.requests(WEIGHTS)) == 2
    shutil.rmtree(settings.cache)
    s3_proxy.reset()
    s3_proxy.fault(Fault(Action.CORRUPT, suffix=WEIGHTS, at=40_000))
    pull_fails(package_uri, IntegrityError, ErrorKind.FILE_DIGEST)
    assert len(s3_proxy.requests(WEIGHTS)) == 2


def test_wrong_bytes_for_ever_leave_neither_blob_nor_beginning(
    s3_proxy: Any, big: Made, big_uri: str, settings: Settings
) -> None:
    """Of a large file that is wrong every time nothing is kept, and the error says which."""
    s3_proxy.fault(Fault(Action.CORRUPT, suffix=BIG, at=4_000_000))
    with pytest.raises(IntegrityError) as caught:
        bring(big, big_uri, settings)
    assert [finding.place for finding in caught.value.findings] == [BIG]
    assert not big.blob(settings.cache, BIG).exists()
    assert (wrong_in(settings.cache), unfinished(settings.cache)) == ([], [])
    s3_proxy.clear()
    bring(big, big_uri, settings)
    assert big.is_in(files_of(big, settings.cache))


def broken_off(proxy: Any, big: Made, uri: str, settings: Settings, at: int) -> Path:
    """Fetch until it breaks off for good; returns what was kept."""
    proxy.fault(Fault(Action.CUT, suffix=BIG, at=at))
    with pytest.raises(UnavailableError) as caught:
        bring(big, uri, settings)
    assert caught.value.kind is ErrorKind.STORE_UNAVAILABLE
    proxy.clear()
    proxy.reset()
    (kept,) = unfinished(settings.cache)
    return kept


@pytest.mark.parametrize(
    ("percent", "part_bytes"), [(10, 8 << 20), (50, 8 << 20), (99, 8 << 20), (50, 1 << 20)]
)
def test_a_fetch_goes_on_where_it_broke_off(
    percent: int,
    part_bytes: int,
    s3_proxy: Any,
    big: Made,
    big_uri: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a break that lasted, only the rest is fetched; less than 1 MiB is not worth keeping."""
    monkeypatch.setattr(downloading, "PART_BYTES", part_bytes)
    at = BIG_BYTES * percent // 100
    s3_proxy.fault(Fault(Action.CUT, suffix=BIG, at=at))
    with pytest.raises(UnavailableError):
        bring(big, big_uri, settings)
    s3_proxy.clear()
    s3_proxy.reset()
    kept = sum(path.stat().st_size for path in unfinished(settings.cache))
    assert kept == (0 if at < 1 << 20 else at)
    fetched = bring(big, big_uri, settings)
    assert fetched.fetched_bytes == BIG_BYTES - kept
    assert s3_proxy.bytes_sent == BIG_BYTES - kept
    assert big.is_in(files_of(big, settings.cache))
    assert unfinished(settings.cache) == []


@pytest.mark.parametrize("damage", ["last", "all"])
def test_a_beginning_that_was_damaged_does_no_harm(
    damage: str, s3_proxy: Any, big: Made, big_uri: str, settings: Settings
) -> None:
    """What was kept of a break is not trusted: with other bytes in it all is fetched again."""
    kept = broken_off(s3_proxy, big, big_uri, settings, BIG_BYTES // 2)
    size = kept.stat().st_size
    places = {"last": [size - 1], "all": range(0, size, 1000)}[damage]
    with kept.open("r+b") as stream:
        for place in places:
            stream.seek(place)
            byte = stream.read(1)[0]
            stream.seek(place)
            stream.write(bytes([byte ^ 0x55]))
    bring(big, big_uri, settings)
    assert big.is_in(files_of(big, settings.cache))
    assert (wrong_in(settings.cache), unfinished(settings.cache)) == ([], [])


@pytest.mark.parametrize("size", [BIG_BYTES, BIG_BYTES + 1])
def test_a_beginning_that_is_too_long_does_no_harm(
    size: int, s3_proxy: Any, big: Made, big_uri: str, settings: Settings
) -> None:
    """A kept file that is as long as the whole one, or longer, and wrong, is not believed."""
    kept = broken_off(s3_proxy, big, big_uri, settings, BIG_BYTES // 2)
    kept.write_bytes(random_bytes(size, 3))
    bring(big, big_uri, settings)
    assert big.is_in(files_of(big, settings.cache))
    assert unfinished(settings.cache) == []


def test_a_whole_beginning_is_not_fetched_again(
    s3_proxy: Any, big: Made, big_uri: str, settings: Settings
) -> None:
    """A process that ended after its last byte left all of it: nothing more is fetched."""
    kept = broken_off(s3_proxy, big, big_uri, settings, BIG_BYTES // 2)
    kept.write_bytes(big.files[BIG])
    assert bring(big, big_uri, settings).fetched_bytes == 0
    assert s3_proxy.requests(BIG) == []
    assert big.is_in(files_of(big, settings.cache))


def test_a_live_beginning_is_copied_and_not_written_to(
    s3_proxy: Any, big: Made, big_uri: str, settings: Settings
) -> None:
    """A fetch beside one that is still at it writes to a file of its own."""
    folder = CacheFolder(settings.cache)
    folder.prepare()
    record = next(record for record in big.records if record.path == BIG)
    live = Arrival(folder, record)
    live.add([big.files[BIG][: BIG_BYTES // 2]])
    (path,) = unfinished(settings.cache)
    with path.open("rb") as stream:
        inode = os.fstat(stream.fileno()).st_ino
        bring(big, big_uri, settings)
        assert stream.read() == big.files[BIG][: BIG_BYTES // 2]
    assert (files_of(big, settings.cache) / BIG).stat().st_ino != inode
    assert s3_proxy.bytes_sent < BIG_BYTES * 0.6
    live.add([big.files[BIG][BIG_BYTES // 2 :]])
    assert live.finish() is None
    assert (wrong_in(settings.cache), unfinished(settings.cache)) == ([], [])


@pytest.mark.parametrize("other", [b"", b"short", random_bytes(BIG_BYTES, 9)])
def test_an_object_that_was_replaced_is_not_what_was_approved(
    other: bytes, s3: Any, big: Made, settings: Settings
) -> None:
    """An object with other bytes, of any size, is an integrity error; restored, it is fetched."""
    uri = big.put(s3)
    client = s3.client()
    put(client, uri, BIG, other)
    with pytest.raises(IntegrityError) as caught:
        bring(big, uri, settings)
    assert caught.value.kind in {ErrorKind.FILE_SIZE, ErrorKind.FILE_DIGEST}
    assert (wrong_in(settings.cache), unfinished(settings.cache)) == ([], [])
    put(client, uri, BIG, big.files[BIG])
    bring(big, uri, settings)
    assert big.is_in(files_of(big, settings.cache))


@pytest.mark.parametrize("size", [BIG_BYTES, BIG_BYTES // 3])
def test_an_object_that_is_replaced_during_the_fetch(
    size: int,
    seaweedfs: Any,
    s3_proxy: Any,
    big: Made,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Parts of two objects never become one file, also when both have the same size."""
    monkeypatch.setattr(downloading, "PART_BYTES", 1 << 20)
    uri = big.put(seaweedfs)
    other = random_bytes(size, 4)
    asked = 0

    def replace(method: str, path: str, _range: str | None) -> None:
        nonlocal asked
        asked += method == "GET" and path.endswith(BIG)
        if asked == 4:
            asked += 1
            put(seaweedfs.client(), uri, BIG, other)

    s3_proxy.on_request = replace
    with pytest.raises(IntegrityError):
        bring(big, uri, settings)
    assert wrong_in(settings.cache) == []
    s3_proxy.on_request = None
    put(seaweedfs.client(), uri, BIG, big.files[BIG])
    bring(big, uri, settings)
    assert big.is_in(files_of(big, settings.cache))
    assert unfinished(settings.cache) == []


def test_a_dead_server_is_unavailable_and_what_came_is_kept(
    s3_proxy: Any, big: Made, big_uri: str, settings: Settings
) -> None:
    """A server that dies on the way: store-unavailable, and the next fetch goes on from there."""

    def die(_method: str, path: str, range_: str | None) -> None:
        if path.endswith(BIG) and range_ is not None and not range_.startswith("bytes=0-"):
            s3_proxy.fault(Fault(Action.GONE))

    s3_proxy.on_request = die
    s3_proxy.fault(Fault(Action.CUT, suffix=BIG, at=3_000_000, times=1))
    with pytest.raises(UnavailableError) as caught:
        bring(big, big_uri, settings)
    assert caught.value.kind is ErrorKind.STORE_UNAVAILABLE
    assert [path.stat().st_size for path in unfinished(settings.cache)] == [3_000_000]
    s3_proxy.on_request = None
    s3_proxy.clear()
    s3_proxy.reset()
    bring(big, big_uri, settings)
    assert s3_proxy.bytes_sent == BIG_BYTES - 3_000_000
    assert big.is_in(files_of(big, settings.cache))


def test_nothing_listens_at_the_endpoint(
    s3: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint where nobody answers is store-unavailable."""
    from support.servers import free_ports

    for name in ("AWS_ENDPOINT_URL_S3", "MLFLOW_S3_ENDPOINT_URL"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_ports(1)[0]}")
    pull_fails("s3://pairlock/nobody", UnavailableError, ErrorKind.STORE_UNAVAILABLE)


def test_a_missing_object_is_named(s3: Any, settings: Settings) -> None:
    """An object that is gone is file-missing; back again, it is fetched."""
    made = small_view()
    uri = Made({k: v for k, v in made.files.items() if k != "vocab.txt"}).put(s3)
    with pytest.raises(PairlockError) as caught:
        bring(made, uri, settings)
    assert caught.value.kind is ErrorKind.FILE_MISSING
    put(s3.client(), uri, "vocab.txt", made.files["vocab.txt"])
    bring(made, uri, settings)
    assert made.is_in(files_of(made, settings.cache))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path | None]]:
    """Mounts a small file system where this user may; gives None where not."""
    mounted = []

    def mount(size: int) -> Path | None:
        place = tmp_path / f"disk-{size}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
        if shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
            return None
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


def test_too_little_space_is_refused_before_the_first_byte(
    small_disk: Callable[[int], Path | None],
    s3_proxy: Any,
    big: Made,
    big_uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A disk that is known to be too small is refused without asking for the file."""
    import pairlock.cache.blobs as blobs_of

    monkeypatch.setattr(blobs_of, "_reserve", lambda *_: None)  # the other defence, as elsewhere
    disk = small_disk(4 << 20)
    if disk is None:
        disk = tmp_path
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 4 << 20))
    settings = Settings(cache=disk / "cache")
    with pytest.raises(StorageError) as caught:
        bring(big, big_uri, settings)
    assert caught.value.kind is ErrorKind.NO_SPACE
    assert s3_proxy.requests(BIG) == []
    assert unfinished(settings.cache) == []


@pytest.mark.parametrize("reserving", [True, False])
def test_a_disk_that_fills_up_is_no_space(
    reserving: bool,
    small_disk: Callable[[int], Path | None],
    s3_proxy: Any,
    big: Made,
    big_uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody else fills the disk meanwhile: no-space, nothing unfinished, and later success."""
    import pairlock.cache.blobs as blobs_of

    if not reserving:
        monkeypatch.setattr(blobs_of, "_reserve", lambda *_: None)  # as other systems do
    disk = small_disk(12 << 20)
    if disk is None:
        disk = tmp_path
        monkeypatch.setattr(os, "write", _full_disk)
    settings, other = Settings(cache=disk / "cache"), disk / "other"

    def fill(_method: str, path: str, _range: str | None) -> None:
        if path.endswith("config.json" if reserving else BIG):
            other.write_bytes(b"x" * (9 << 20))

    if reserving:
        other.write_bytes(b"x" * (9 << 20))
        # what the system says beforehand may be wrong, as with quotas
        monkeypatch.setattr(CacheFolder, "free_bytes", lambda _: 1 << 40)
    else:
        s3_proxy.on_request = fill
    with pytest.raises(StorageError) as caught:
        bring(big, big_uri, settings)
    assert caught.value.kind is ErrorKind.NO_SPACE
    assert unfinished(settings.cache) == []
    assert wrong_in(settings.cache) == []
    s3_proxy.on_request = None
    other.unlink()
    monkeypatch.undo()
    bring(big, str(big.write(tmp_path / "elsewhere").root), settings)
    assert big.is_in(files_of(big, settings.cache))


def _full_disk(descriptor: int, data: Any) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("limit", [100, 1 << 20, 3_000_000])
def test_a_limit_on_file_sizes_is_no_space(
    limit: int, big: Made, big_uri: str, s3: Any, tmp_path: Path
) -> None:
    """A process that may write no more ends with no-space; one that may, succeeds after it."""
    cache = tmp_path / "cache"
    (found,) = run_pullers(big, big_uri, cache, file_bytes=limit)
    assert (found["category"], found["error"]) == ("StorageError", ErrorKind.NO_SPACE)
    assert (wrong_in(cache), unfinished(cache)) == ([], [])
    (found,) = run_pullers(big, big_uri, cache)
    assert "fetched_bytes" in found
    assert big.is_in(files_of(big, cache))


@contextmanager
def read_only(cache: Path) -> Iterator[dict[str, int]]:
    """A cache that the process that is told what this yields cannot write to."""
    root = os.geteuid() == 0
    everything = [cache, *cache.rglob("*")]
    modes = [path.stat().st_mode for path in everything]
    for path in everything:
        # for another user all of it can be read, and nothing written
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        yield {"user": 65534} if root else {}
    finally:
        for path, mode in zip(everything, modes, strict=True):
            path.chmod(mode)


@pytest.fixture
def open_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that another user can reach."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="pairlock-test-"))
    folder.chmod(0o755)
    yield folder
    remove(folder)


def test_a_read_only_cache_gives_what_it_has(open_folder: Path) -> None:
    """What is whole in a cache that cannot be written to is used; the rest is storage-failed."""
    first, second = small_view(), Made({**small_view().files, "more.txt": b"more"})
    cache, store = open_folder / "cache", second.write(open_folder / "store")
    bring(first, store, Settings(cache=cache))
    before = sorted(cache.rglob("*"))
    with read_only(cache) as user:
        looked = run_pullers(first, str(store.root), cache, look=True, **user)
        brought = run_pullers(first, str(store.root), cache, **user)
        (missing,) = run_pullers(second, str(store.root), cache, **user)
    assert (looked, brought) == ([{"hashed_bytes": 0}], [{"fetched_bytes": 0}])
    assert (missing["category"], missing["error"]) == ("StorageError", ErrorKind.STORAGE_FAILED)
    assert "PAIRLOCK_CACHE" in missing["text"]
    assert sorted(cache.rglob("*")) == before


def test_a_damaged_view_in_a_read_only_cache_is_not_used(open_folder: Path) -> None:
    """Damage that cannot be repaired is an error, not a model."""
    made = small_view()
    cache, store = open_folder / "cache", made.write(open_folder / "store")
    bring(made, store, Settings(cache=cache))
    target = files_of(made, cache) / "vocab.txt"
    target.chmod(0o600)
    target.write_bytes(b"other")
    with read_only(cache) as user:
        (found,) = run_pullers(made, str(store.root), cache, **user)
    assert found["category"] == "StorageError"
    assert look_up(made.key, made.records, Settings(cache=cache), progress=SILENT) is None


def test_a_cache_that_cannot_be_made_says_so(settings: Settings, tmp_path: Path, s3: Any) -> None:
    """A file where the cache should be is storage-failed, and names PAIRLOCK_CACHE."""
    settings.cache.write_bytes(b"")
    made = small_view()
    with pytest.raises(StorageError) as caught:
        bring(made, made.put(s3), settings)
    assert caught.value.kind is ErrorKind.STORAGE_FAILED
    assert "PAIRLOCK_CACHE" in caught.value.hint
    assert settings.cache.read_bytes() == b""


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, ErrorKind.NO_SPACE),
        (errno.EDQUOT, ErrorKind.NO_SPACE),
        (errno.EFBIG, ErrorKind.NO_SPACE),
        (errno.EROFS, ErrorKind.STORAGE_FAILED),
        (errno.EIO, ErrorKind.STORAGE_FAILED),
    ],
)
def test_what_the_disk_says_becomes_a_kind(code: int, kind: ErrorKind, tmp_path: Path) -> None:
    """Every way of a disk to refuse is one of two kinds."""
    with pytest.raises(StorageError) as caught, writing(CacheFolder(tmp_path)):
        raise OSError(code, os.strerror(code))
    assert caught.value.kind is kind


def test_a_disk_that_fills_up_in_the_view_leaves_no_half_view(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No space for the links or the seal of a view: an error, no view, and nothing unfinished."""
    made = small_view()
    store = made.write(tmp_path / "store")
    written = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name == "seal.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError) as caught:
        bring(made, store, settings)
    assert caught.value.kind is ErrorKind.NO_SPACE
    assert not View(CacheFolder(settings.cache), made.key).exists()
    assert unfinished(settings.cache) == []
    monkeypatch.undo()
    bring(made, store, settings)
    assert made.is_in(files_of(made, settings.cache))
