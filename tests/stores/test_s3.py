"""S3 as it really behaves: settings, refusals, servers that fail; and no secret in any message."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pairlock import ErrorKind, InvalidInputError, NotFoundError, PairlockError, UnavailableError
from pairlock.stores import Store, body, s3_clients
from pairlock.stores.opening import open_store
from pairlock.stores.s3 import S3Store
from support.proxy import Action, Fault
from support.remote import (
    dead_endpoint,
    point_to,
    put,
    random_bytes,
    read_part,
    record_of,
    survives_pickling,
)

LARGE = random_bytes(20 << 20, seed=2)
QUICK_S = 10.0

Act = Callable[[Store, Path], object]
READS: dict[str, Act] = {
    "entries": lambda store, _folder: store.entries(),
    "read_small": lambda store, _folder: store.read_small("file", at_most_bytes=10),
    "open_range": lambda store, _folder: read_part(store, "file", 0, 5),
}
WRITES: dict[str, Act] = {
    "write": lambda store, folder: put(store, "new", b"12345", folder),
    "create": lambda store, _folder: store.create("new", b"12345"),
    "creates_conditionally": lambda store, _folder: store.creates_conditionally(),
}
ACTS = READS | WRITES
METHODS = {"write": "PUT", "create": "PUT", "creates_conditionally": "PUT"}


@pytest.fixture
def location() -> str:
    """A place in the bucket that nobody else uses."""
    return f"s3://pairlock/s3-{os.urandom(6).hex()}"


@pytest.fixture
def filled(location: str, seaweedfs: Any) -> str:
    """A place with one object, `file`."""
    key = location.removeprefix("s3://pairlock/")
    seaweedfs.client().put_object(Bucket="pairlock", Key=f"{key}/file", Body=b"12345")
    return location


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two attempts instead of four, so that what fails for ever fails soon."""
    monkeypatch.setattr(s3_clients, "_ATTEMPTS", 2)
    yield


def fails(
    act: str, store: Store, folder: Path, server: Any, error: type[PairlockError], kind: ErrorKind
) -> None:
    """A store fails in this way, and says nothing that is secret."""
    with pytest.raises(PairlockError) as caught:
        ACTS[act](store, folder)
    assert (type(caught.value), caught.value.kind) == (error, kind)
    assert survives_pickling(caught.value)
    told = f"{caught.value} {caught.value.to_dict()} {caught.value.__cause__}"
    for secret in (server.secret_key, os.environ.get("AWS_SECRET_ACCESS_KEY") or "no secret"):
        assert secret not in told


@pytest.mark.parametrize(
    "uri", ["s3://", "s3:///", "s3:///key", "s3://bucket/key?versionId=1", "s3://bucket/key#part"]
)
def test_a_uri_that_names_no_place_is_refused(uri: str) -> None:
    """Without a bucket, or with a query, a URI is refused before anything is asked."""
    with pytest.raises(InvalidInputError) as caught:
        S3Store(uri)
    assert caught.value.kind is ErrorKind.REFERENCE_INVALID
    assert survives_pickling(caught.value)


@pytest.mark.parametrize(
    ("uri", "location"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("s3a://bucket/a", "s3://bucket/a"),
        ("S3://bucket/a", "s3://bucket/a"),
    ],
)
def test_a_uri_has_one_location(uri: str, location: str) -> None:
    """Slashes at the end, and the scheme's other spellings, change nothing."""
    assert open_store(uri).location == location


def test_a_whole_bucket_can_be_a_store(s3: Any, tmp_path: Path) -> None:
    """Without a prefix the paths are the keys."""
    store = open_store("s3://other")
    name = f"folder-{os.urandom(4).hex()}/file"
    put(store, name, b"1", tmp_path)
    assert name in store.entries()
    assert store.read_small(name, at_most_bytes=1) == b"1"


def test_more_objects_than_one_page_are_listed(location: str, s3: Any) -> None:
    """A folder with more than the 1000 objects of one answer is listed whole."""
    client, prefix = s3.client(), location.removeprefix("s3://pairlock/")
    for number in range(1005):
        client.put_object(Bucket="pairlock", Key=f"{prefix}/{number:04}", Body=b"")
    assert list(open_store(location).entries()) == [f"{number:04}" for number in range(1005)]


def test_a_bucket_that_is_not_there_is_missing(s3: Any, tmp_path: Path) -> None:
    """No such bucket is a NotFoundError that blames the folder, not a file of it."""
    store = open_store("s3://no-such-bucket/a")
    for act in ACTS:
        fails(act, store, tmp_path, s3, NotFoundError, ErrorKind.FOLDER_MISSING)


def test_a_wrong_secret_is_refused(
    filled: str, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signature that the server does not accept is access denied."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "WrongSecretThatMustNotBeTold0123456789ab")
    store = open_store(filled)
    for act in ACTS:
        fails(act, store, tmp_path, s3, UnavailableError, ErrorKind.ACCESS_DENIED)


def test_an_unknown_key_is_refused(
    filled: str, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that the server does not know is access denied."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAUNKNOWNUNKNOWN00")
    store = open_store(filled)
    for act in ACTS:
        fails(act, store, tmp_path, s3, UnavailableError, ErrorKind.ACCESS_DENIED)


def test_no_credentials_are_refused(
    filled: str, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any credentials the error says so, and nothing waits for a metadata service."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = open_store(filled)
    for act in ACTS:
        fails(act, store, tmp_path, s3, UnavailableError, ErrorKind.ACCESS_DENIED)


def test_half_of_the_credentials_are_refused(
    filled: str, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key without its secret is access denied too."""
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    fails("read_small", open_store(filled), tmp_path, s3, UnavailableError, ErrorKind.ACCESS_DENIED)


def test_a_profile_that_is_not_there_is_refused(
    filled: str, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile of no configuration is access denied, not an error of boto3."""
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    fails("read_small", open_store(filled), tmp_path, s3, UnavailableError, ErrorKind.ACCESS_DENIED)


def test_an_expired_token_is_refused(
    filled: str, seaweedfs: Any, s3_proxy: Any, tmp_path: Path
) -> None:
    """ExpiredToken is access denied, and is not asked again."""
    for method in ("GET", "PUT", "DELETE"):
        s3_proxy.fault(Fault(Action.DENIED, method=method))
    store = open_store(filled)
    for act in ACTS:
        s3_proxy.reset()
        fails(act, store, tmp_path, seaweedfs, UnavailableError, ErrorKind.ACCESS_DENIED)
        assert len(s3_proxy.requests(method=METHODS.get(act, "GET"))) == 1


@pytest.mark.parametrize("act", ["entries", "write"])
def test_a_server_that_is_gone_is_noticed_soon(
    act: str, location: str, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing listens the store is unavailable, within seconds and not minutes."""
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", dead_endpoint())
    began = time.monotonic()
    store = open_store(location)
    fails(act, store, tmp_path, s3, UnavailableError, ErrorKind.STORE_UNAVAILABLE)
    assert time.monotonic() - began < QUICK_S


@pytest.mark.parametrize("status", [Action.STATUS_500, Action.GONE])
def test_an_error_of_the_server_that_passes_is_not_seen(
    status: Action, filled: str, s3_proxy: Any, tmp_path: Path
) -> None:
    """One 500, or one closed connection, is asked again, and the answer is right."""
    store = open_store(filled)
    expected = {
        "read_small": b"12345",
        "open_range": b"12345",
        "write": record_of("new", b"12345"),
        "creates_conditionally": True,
    }
    for act, right in expected.items():
        s3_proxy.reset()
        s3_proxy.fault(Fault(status, method=METHODS.get(act, "GET"), times=1))
        assert ACTS[act](store, tmp_path) == right
        assert s3_proxy.hits == 1
    s3_proxy.fault(Fault(status, times=1))
    assert list(store.entries()) == ["file", "new"]


def test_a_server_that_asks_to_slow_down_once_is_asked_again(filled: str, s3_proxy: Any) -> None:
    """One SlowDown is not seen by whoever reads."""
    s3_proxy.fault(Fault(Action.STATUS_503, times=1))
    assert open_store(filled).read_small("file", at_most_bytes=10) == b"12345"
    assert s3_proxy.hits == 1


@pytest.mark.parametrize(
    ("act", "status"),
    [
        ("entries", Action.STATUS_500),
        ("read_small", Action.STATUS_503),
        ("open_range", Action.STATUS_500),
        ("write", Action.STATUS_503),
        ("create", Action.STATUS_500),
        ("creates_conditionally", Action.STATUS_500),
    ],
)
def test_an_error_of_the_server_that_stays_is_told(
    act: str,
    status: Action,
    filled: str,
    seaweedfs: Any,
    s3_proxy: Any,
    tmp_path: Path,
    impatient: None,
) -> None:
    """A server that always fails is unavailable; the next call without faults succeeds."""
    store = open_store(filled)
    s3_proxy.fault(Fault(status, method=METHODS.get(act, "GET")))
    fails(act, store, tmp_path, seaweedfs, UnavailableError, ErrorKind.STORE_UNAVAILABLE)
    s3_proxy.clear()
    ACTS[act](store, tmp_path)
    assert "file" in store.entries()


def test_a_large_write_that_always_fails_is_told(
    location: str, seaweedfs: Any, s3_proxy: Any, tmp_path: Path, impatient: None
) -> None:
    """A part of a large object that cannot be stored: unavailable, and there is no object."""
    s3_proxy.fault(Fault(Action.STATUS_500, method="PUT"))
    with pytest.raises(UnavailableError) as caught:
        put(open_store(location), "large", LARGE, tmp_path)
    assert caught.value.kind is ErrorKind.STORE_UNAVAILABLE
    assert seaweedfs.secret_key not in str(caught.value)
    s3_proxy.clear()
    assert open_store(location).entries() == {}


@pytest.mark.parametrize("denied", ["POST", "PUT"])
def test_a_large_write_that_is_refused_says_so(
    denied: str, location: str, s3_proxy: Any, tmp_path: Path
) -> None:
    """An expired token is access denied for a large object as for a small one."""
    s3_proxy.fault(Fault(Action.DENIED, method=denied))
    with pytest.raises(UnavailableError) as caught:
        put(open_store(location), "large", LARGE, tmp_path)
    assert caught.value.kind is ErrorKind.ACCESS_DENIED


def test_a_large_write_into_no_bucket_says_so(s3: Any, tmp_path: Path) -> None:
    """A missing bucket is missing for a large object as for a small one."""
    with pytest.raises(NotFoundError) as caught:
        put(open_store("s3://no-such-bucket/a"), "large", LARGE, tmp_path)
    assert caught.value.kind is ErrorKind.FOLDER_MISSING


def test_a_large_object_goes_up_in_parts(location: str, s3_proxy: Any, tmp_path: Path) -> None:
    """20 MB are sent as two parts, each of which the server checks by its sha256."""
    put(open_store(location), "large", LARGE, tmp_path)
    parts = [seen for seen in s3_proxy.requests("/large", "PUT") if "partNumber=" in seen.query]
    assert len(parts) == 2
    with open_store(location).open_range("large", start=0, length=1) as found:
        assert found.total_bytes == len(LARGE)


@pytest.mark.parametrize(
    "endpoints",
    [
        ["MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"],
        ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"],
        ["AWS_ENDPOINT_URL"],
    ],
    ids=lambda endpoints: endpoints[0],
)
def test_the_first_endpoint_that_is_set_counts(
    endpoints: list[str], filled: str, seaweedfs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's own variable comes before AWS's for S3, and that before AWS's for everything."""
    environment = seaweedfs.environment()
    del environment["MLFLOW_S3_ENDPOINT_URL"], environment["AWS_ENDPOINT_URL_S3"]
    first, *others = endpoints
    others_dead = dict.fromkeys(others, "http://127.0.0.1:9")
    point_to(monkeypatch, {**environment, first: seaweedfs.endpoint, **others_dead})
    assert open_store(filled).read_small("file", at_most_bytes=10) == b"12345"


def test_an_empty_endpoint_is_no_endpoint(
    filled: str, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable of MLflow that is set to nothing leaves AWS's in force."""
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "")
    assert open_store(filled).read_small("file", at_most_bytes=10) == b"12345"


@pytest.mark.parametrize("content", [b"12345", LARGE], ids=["small", "large"])
def test_more_arguments_for_uploads_are_used(
    content: bytes, location: str, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLFLOW_S3_UPLOAD_EXTRA_ARGS reach the server with every object."""
    monkeypatch.setenv("MLFLOW_S3_UPLOAD_EXTRA_ARGS", '{"Metadata": {"owner": "search"}}')
    put(open_store(location), "file", content, tmp_path)
    key = f"{location.removeprefix('s3://pairlock/')}/file"
    assert s3.client().head_object(Bucket="pairlock", Key=key)["Metadata"] == {"owner": "search"}


@pytest.mark.parametrize("content", [b"12345", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("arguments", ["{", "[1]", '{"NoSuchArgument": 1}', '{"Key": "other"}'])
def test_arguments_for_uploads_that_cannot_be_are_refused(
    arguments: str,
    content: bytes,
    location: str,
    s3: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is no JSON object, or names what no upload takes, is refused by the variable."""
    monkeypatch.setenv("MLFLOW_S3_UPLOAD_EXTRA_ARGS", arguments)
    with pytest.raises(InvalidInputError) as caught:
        put(open_store(location), "file", content, tmp_path)
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID
    assert "MLFLOW_S3_UPLOAD_EXTRA_ARGS" in caught.value.summary
    assert open_store(location).entries() == {}


def test_bytes_with_another_digest_are_not_stored(location: str, s3: Any, tmp_path: Path) -> None:
    """The server compares what it got with the record, and refuses what changed on the way."""
    (tmp_path / "file").write_bytes(b"12345")
    store = open_store(location)
    wrong = replace(record_of("file", b"12345"), sha256=record_of("file", b"54321").sha256)
    with pytest.raises(PairlockError) as caught:
        store.write("file", tmp_path / "file", wrong)
    assert survives_pickling(caught.value)
    assert store.entries() == {}
    store.write("file", tmp_path / "file", record_of("file", b"12345"))
    assert list(store.entries()) == ["file"]


def test_the_server_is_told_the_digest(location: str, s3: Any, tmp_path: Path) -> None:
    """An object keeps the sha256 that it was written with, for others to check."""
    put(open_store(location), "file", b"12345", tmp_path)
    key = f"{location.removeprefix('s3://pairlock/')}/file"
    found = s3.client().head_object(Bucket="pairlock", Key=key, ChecksumMode="ENABLED")
    expected = base64.b64encode(hashlib.sha256(b"12345").digest()).decode()
    assert found["ChecksumSHA256"] == expected


def test_a_reply_that_is_lost_does_not_lose_a_create(location: str, s3_proxy: Any) -> None:
    """An object that was created, though the answer was lost, does not belong to somebody else."""
    s3_proxy.fault(Fault(Action.LOSE_REPLY, method="PUT", suffix="/lock", times=1))
    store = open_store(location)
    store.create("lock", b"mine")
    assert s3_proxy.hits == 1
    assert store.read_small("lock", at_most_bytes=10) == b"mine"


@pytest.mark.parametrize("action", [Action.CUT, Action.STALL, Action.TRICKLE])
def test_a_small_file_that_does_not_come_is_given_up(
    action: Action, location: str, s3_proxy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest that breaks off, stops or drips for ever is an error soon, then comes whole."""
    # bytes that drip in keep a socket's own timeout from ever ending the wait
    monkeypatch.setattr(s3_clients, "_READ_S", 3 if action is Action.TRICKLE else 1)
    monkeypatch.setattr(body, "STARVED_AFTER_S", 0.5)  # half the pause between two bytes that drip
    store = open_store(location)
    put(store, "file", random_bytes(5000), tmp_path)
    s3_proxy.fault(Fault(action, suffix="/file", at=4990))
    began = time.monotonic()
    with pytest.raises(UnavailableError) as caught:
        store.read_small("file", at_most_bytes=10_000)
    assert caught.value.kind is ErrorKind.STORE_UNAVAILABLE
    assert time.monotonic() - began < 5
    s3_proxy.clear()
    assert store.read_small("file", at_most_bytes=10_000) == random_bytes(5000)
