"""Made-up views, what a cache holds after a fetch, and whether that is whole."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairlock.cache import CacheFolder, View, ViewKey, ViewKind
from pairlock.cache.survey import every_blob, every_view
from pairlock.config import Settings
from pairlock.digests import FileRecord, hash_file, tree_digest
from pairlock.fetching import Fetched, Source, fetch
from pairlock.progress import SILENT
from pairlock.stores import LocalStore, Store
from pairlock.stores.opening import open_store

PACKAGE = Path(__file__).parent.parent / "data" / "format-1" / "full"
"""A small package that loads."""

WEIGHTS = "payload/model/model.safetensors"
BIG = "weights.bin"
BIG_BYTES = 6_000_000


@dataclass(frozen=True)
class Made:
    """A made-up view."""

    files: Mapping[str, bytes]

    @property
    def records(self) -> tuple[FileRecord, ...]:
        """Its files, in path order."""
        return tuple(record_of(path, self.files[path]) for path in sorted(self.files))

    @property
    def key(self) -> ViewKey:
        """Its name in the cache."""
        return ViewKey(ViewKind.MODEL, tree_digest(self.records))

    @property
    def size_bytes(self) -> int:
        """How much it is."""
        return sum(map(len, self.files.values()))

    def write(self, folder: Path) -> LocalStore:
        """Its files in a folder, as a store."""
        for path, content in self.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        return LocalStore(folder)

    def put(self, server: Any) -> str:
        """Its files under a new prefix of an S3 server; returns the URI."""
        uri = new_prefix()
        client = server.client()
        for path, content in self.files.items():
            put(client, uri, path, content)
        return uri

    def blob(self, cache: Path, path: str) -> Path:
        """Where the content of one of its files lies in a cache."""
        return CacheFolder(cache).blob(hashlib.sha256(self.files[path]).hexdigest())

    def is_in(self, folder: Path) -> bool:
        """Whether a folder holds exactly its files."""
        found = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        return found == dict(self.files)


def record_of(path: str, content: bytes) -> FileRecord:
    """The record of some bytes."""
    sha256 = hashlib.sha256(content).hexdigest()
    return FileRecord(path=path, size_bytes=len(content), sha256=sha256)


def random_bytes(size: int, seed: int) -> bytes:
    """The same bytes for the same seed."""
    return random.Random(seed).randbytes(size)


def small_view() -> Made:
    """Four small files, two of the same content, one of them deeper."""
    return Made(
        {
            "config.json": b"{}",
            "modules.json": b"[1, 2, 3]",
            "1_Pooling/config.json": b"{}",
            "vocab.txt": b"one\ntwo\n" * 100,
        }
    )


def big_view() -> Made:
    """One file that is large enough for a second try to go on from where the first broke off."""
    return Made({BIG: random_bytes(BIG_BYTES, 1), "config.json": b"{}"})


def new_prefix() -> str:
    """An S3 URI under which nothing lies."""
    return f"s3://pairlock/cache-{os.urandom(6).hex()}"


def put(client: Any, uri: str, path: str, content: bytes) -> None:
    """Store an object."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    client.put_object(Bucket=bucket, Key=f"{prefix}/{path}", Body=content)


def put_package(server: Any, folder: Path = PACKAGE) -> str:
    """A package's files under a new prefix; returns the URI."""
    return Made(
        {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    ).put(server)


def bring(made: Made, store: Store | str | None, settings: Settings) -> Fetched:
    """Fetch a made-up view."""
    if isinstance(store, str):
        store = open_store(store)
    source = None if store is None else Source(store=store)
    fetched = fetch(made.key, made.records, source, settings, progress=SILENT)
    assert fetched is not None
    return fetched


def files_of(made: Made, cache: Path) -> Path:
    """The folder of a view's files."""
    return View(CacheFolder(cache), made.key).files


def seal_of(made: Made, cache: Path) -> Path:
    """The file that remembers when a view was hashed."""
    return View(CacheFolder(cache), made.key).root / "seal.json"


def blobs(cache: Path) -> list[Path]:
    """Every file that is kept by its content."""
    return list(every_blob(CacheFolder(cache)))


def unfinished(cache: Path) -> list[Path]:
    """Everything that was not finished."""
    staging = CacheFolder(cache).staging
    return sorted(staging.iterdir()) if staging.is_dir() else []


def wrong_in(cache: Path) -> list[str]:
    """What is wrong in a cache: blobs with other bytes than their names say, and half views."""
    folder = CacheFolder(cache)
    wrong = [f"blob {path.name}" for path in every_blob(folder) if hash_file(path) != path.name]
    for view in every_view(folder):
        seal = view.seal()
        found = {
            path.relative_to(view.files).as_posix(): hash_file(path)
            for path in view.files.rglob("*")
            if path.is_file()
        }
        if seal is None or dict(seal.contents) != found:
            wrong.append(f"view {view.key}")
    return wrong


def poison(path: Path) -> None:
    """Change a bit of a file and leave its inode, its size and its time as they were."""
    before = path.stat()
    path.chmod(0o600)
    with path.open("r+b") as stream:
        stream.seek(before.st_size // 2)
        byte = stream.read(1)[0]
        stream.seek(before.st_size // 2)
        stream.write(bytes([byte ^ 1]))
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@contextmanager
def nothing_else_written(around: Path, *but: str) -> Iterator[None]:
    """Nothing appears, changes or goes away in a folder, except below some names in it."""
    before = _everything(around, but)
    yield
    assert _everything(around, but) == before


def _everything(folder: Path, but: tuple[str, ...]) -> dict[str, tuple[int, int, int]]:
    found = {}
    for root, folders, files in os.walk(folder):
        here = Path(root)
        if here == folder:
            folders[:] = [name for name in folders if name not in but]
        for path in [here / name for name in (*folders, *files)]:
            status = path.lstat()
            found[str(path)] = (status.st_mode, status.st_ino, status.st_mtime_ns)
    return found
