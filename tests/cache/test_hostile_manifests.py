"""Manifests in a store that somebody else can write to: refused, and nothing is written outside."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from pairlock.errors import ErrorKind, FormatError, IntegrityError, PairlockError, StorageError
from pairlock.manifest.format import MAX_FILES, MAX_MANIFEST_BYTES
from pairlock.pulling import pull
from support.cached import PACKAGE, blobs, new_prefix, nothing_else_written, put, unfinished

Document = dict[str, Any]
EVIL = b"evil"
SHA = hashlib.sha256(EVIL).hexdigest()


@pytest.fixture(scope="module")
def client(seaweedfs: Any) -> Any:
    """The store, past every proxy."""
    return seaweedfs.client()


@pytest.fixture(scope="module")
def package_uri(client: Any) -> str:
    """A package whose manifest every test writes anew."""
    uri = new_prefix()
    for path in (PACKAGE / "payload").rglob("*"):
        if path.is_file():
            put(client, uri, path.relative_to(PACKAGE).as_posix(), path.read_bytes())
    put(client, uri, "payload/x", EVIL)
    return uri


@pytest.fixture
def package(package_uri: str, s3: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """The package, with this process's environment pointing to its store."""
    monkeypatch.setattr(import_module("pairlock.transfer.downloading"), "FIRST_PAUSE_S", 0.01)
    return package_uri


def document() -> Document:
    """The package's manifest."""
    found: Document = json.loads((PACKAGE / "pairlock.json").read_bytes())
    return found


def with_file(path: str, size_bytes: int = len(EVIL), sha256: str = SHA) -> bytes:
    """A manifest that names one more file."""
    found = document()
    found["files"].append({"path": path, "size_bytes": size_bytes, "sha256": sha256})
    found["files"].sort(key=lambda file: file["path"])
    return canonical(found)


def canonical(found: Document) -> bytes:
    """A manifest as it is written, also with numbers that no writer accepts."""
    try:
        return rfc8785.dumps(found)
    except ValueError:
        text = json.dumps(found, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return text.encode("utf-8", "surrogatepass")


def refused(uri: str, tmp_path: Path, *categories: type[PairlockError]) -> PairlockError:
    """A pull is refused, and nothing is written outside the cache, and nothing unproved in it."""
    with nothing_else_written(tmp_path, "cache"), pytest.raises(categories) as caught:
        pull(uri)
    cache = tmp_path / "cache"
    assert not list((cache / "views").glob("*/*"))
    assert unfinished(cache) == []
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in blobs(cache))
    return caught.value


@pytest.mark.parametrize(
    "path",
    [
        "payload/../../../../evil", "/tmp/evil", "payload//evil", "payload\\..\\evil", "C:\\evil",
        "payload/evil\x00", "payload/NUL.txt", "", "..", "pairlock.json",
        "payload/model/CONFIG.json", "payload/model/config.json/evil", "payload/\ud800",
    ],
    ids=ascii,
)  # fmt: skip
def test_a_path_that_could_leave_or_blur_is_refused(
    path: str, package: str, client: Any, tmp_path: Path
) -> None:
    """A manifest with such a path is no manifest; no file of it is fetched."""
    put(client, package, "pairlock.json", with_file(path))
    error = refused(package, tmp_path, FormatError)
    assert error.kind is ErrorKind.MANIFEST_INVALID
    assert blobs(tmp_path / "cache") == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: b"", lambda: b"[]", lambda: b"\xff\xfe\x00", lambda: b"[" * 200_000,
        lambda: b"9" * 10_000, lambda: canonical({**document(), "files": []}),
        lambda: json.dumps(document(), indent=1).encode(),
        lambda: canonical({**document(), "format_version": 99}),
    ],
    ids=range(8),
)  # fmt: skip
def test_something_else_than_a_manifest_is_refused(
    make: Callable[[], bytes], package: str, client: Any, tmp_path: Path
) -> None:
    """No JSON, other JSON, deep JSON and a newer format are refused."""
    put(client, package, "pairlock.json", make())
    refused(package, tmp_path, FormatError)


@pytest.mark.parametrize("count", [MAX_FILES + 1, 100_000])
def test_too_many_files_are_refused(count: int, package: str, client: Any, tmp_path: Path) -> None:
    """A manifest of more files than any model has is refused, and quickly."""
    found = document()
    found["files"] += [
        {"path": f"payload/x/{number:07}", "size_bytes": 4, "sha256": SHA}
        for number in range(count - len(found["files"]))
    ]
    found["files"].sort(key=lambda file: file["path"])
    put(client, package, "pairlock.json", canonical(found))
    began = time.monotonic()
    refused(package, tmp_path, FormatError, StorageError)
    assert time.monotonic() - began < 10


def test_a_million_files_are_refused_unread(package: str, client: Any, tmp_path: Path) -> None:
    """A manifest of a million files is over the limit of bytes, and is not even parsed."""
    one = '{"path":"payload/x/%07d","sha256":"' + SHA + '","size_bytes":4}'
    content = ('{"files":[' + ",".join(one % number for number in range(1_000_000)) + "]}").encode()
    assert len(content) > MAX_MANIFEST_BYTES
    put(client, package, "pairlock.json", content[: MAX_MANIFEST_BYTES + 2])
    began = time.monotonic()
    refused(package, tmp_path, FormatError, StorageError)
    assert time.monotonic() - began < 10


def test_a_manifest_at_the_limit_is_read(package: str, client: Any, tmp_path: Path) -> None:
    """At the limit it is read, and is no manifest; a byte more is refused for its size."""
    put(client, package, "pairlock.json", b" " * MAX_MANIFEST_BYTES)
    refused(package, tmp_path, FormatError)
    put(client, package, "pairlock.json", b" " * (MAX_MANIFEST_BYTES + 1))
    refused(package, tmp_path, StorageError)


@pytest.mark.parametrize("size_bytes", [0, len(EVIL) - 1, len(EVIL) + 1, 3_000_000])
def test_a_size_that_lies_is_an_integrity_error(
    size_bytes: int, package: str, client: Any, tmp_path: Path
) -> None:
    """A file that is larger or smaller than its record is not what was approved."""
    put(client, package, "pairlock.json", with_file("payload/x", size_bytes))
    error = refused(package, tmp_path, IntegrityError)
    assert error.kind in {ErrorKind.FILE_SIZE, ErrorKind.FILE_DIGEST}


@pytest.mark.parametrize("size_bytes", [2**53 - 1, 10**18, 2**64, -1])
def test_an_absurd_size_is_refused_and_never_allocated(
    size_bytes: int, package: str, client: Any, tmp_path: Path
) -> None:
    """A size that no disk has is no-space or no manifest, and takes neither memory nor disk."""
    put(client, package, "pairlock.json", with_file("payload/x", size_bytes))
    free = os.statvfs(tmp_path).f_bavail
    error = refused(package, tmp_path, FormatError, StorageError)
    assert error.kind in {ErrorKind.MANIFEST_INVALID, ErrorKind.NO_SPACE}
    assert abs(os.statvfs(tmp_path).f_bavail - free) * os.statvfs(tmp_path).f_frsize < 1 << 30


def test_a_sum_of_sizes_that_no_disk_has_is_refused(
    package: str, client: Any, tmp_path: Path
) -> None:
    """Many files that each would fit, and together do not, are refused before the first byte."""
    found = document()
    found["files"] += [
        {"path": f"payload/x/{number:04}", "size_bytes": 1 << 36, "sha256": f"{number:064x}"}
        for number in range(5000)
    ]
    put(client, package, "pairlock.json", canonical(found))
    assert refused(package, tmp_path, StorageError).kind is ErrorKind.NO_SPACE


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("payload/empty.txt", b""),
        ("payload/漢字/モデル.txt", EVIL),
        ("payload/עברית", EVIL),
        ("payload/a b+c%20d&e=f#g?h", EVIL),
        ("payload/$HOME`id`", EVIL),
    ],
    ids=ascii,
)
def test_unusual_and_harmless_files_come(
    path: str, content: bytes, package: str, client: Any, tmp_path: Path
) -> None:
    """Empty files, other scripts and signs are names like others, inside the package."""
    put(client, package, path, content)
    sha256 = hashlib.sha256(content).hexdigest()
    put(client, package, "pairlock.json", with_file(path, len(content), sha256))
    with nothing_else_written(tmp_path, "cache"):
        pulled = pull(package)
    assert (pulled.path / path).read_bytes() == content


def test_two_files_that_differ_by_case_are_refused(
    package: str, client: Any, tmp_path: Path
) -> None:
    """Names that are one file on another system are refused, also by Unicode form."""
    for both in (("payload/A", "payload/a"), ("payload/\u00e9", "payload/e\u0301")):
        found = document()
        found["files"] += [{"path": path, "size_bytes": 4, "sha256": SHA} for path in both]
        found["files"].sort(key=lambda file: file["path"])
        put(client, package, "pairlock.json", canonical(found))
        assert refused(package, tmp_path, FormatError).kind is ErrorKind.MANIFEST_INVALID


def test_a_manifest_cannot_name_itself_or_the_seal_by_content(
    package: str, client: Any, tmp_path: Path
) -> None:
    """A file with the bytes of a seal is a file of the package, and is never taken for its seal."""
    seal = b'{"hashed_at":1,"files":{}}'
    put(client, package, "payload/seal.json", seal)
    sha256 = hashlib.sha256(seal).hexdigest()
    put(client, package, "pairlock.json", with_file("payload/seal.json", len(seal), sha256))
    pulled = pull(package)
    assert (pulled.path / "payload" / "seal.json").read_bytes() == seal
    assert (pulled.path.parent / "seal.json").read_bytes() != seal
