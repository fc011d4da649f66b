"""MLflow's artifact proxy as it really behaves: refusals, servers that fail, bodies that break."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pairlock import ErrorKind, NotFoundError, PairlockError, StorageError, UnavailableError
from pairlock.cache import ViewKey, ViewKind
from pairlock.config import current_settings
from pairlock.digests import tree_digest
from pairlock.fetching import Fetched, Source, fetch
from pairlock.progress import SILENT
from pairlock.stores import Store, body
from pairlock.stores import proxy as proxy_module
from pairlock.stores.opening import open_store
from pairlock.without_mlflow import OnlyMlflowError
from support.proxy import Action, Fault, FaultProxy
from support.registries import active
from support.remote import (
    dead_endpoint,
    put,
    random_bytes,
    read_part,
    record_of,
    shared_server,
    survives_pickling,
)

CONTENT = random_bytes(1_500_007)
RECORD = record_of("folder/weights", CONTENT)

Act = Callable[[Store, Path], object]
ACTS: dict[str, Act] = {
    "entries": lambda store, _folder: store.entries(),
    "read_small": lambda store, _folder: store.read_small("file", at_most_bytes=10),
    "open_range": lambda store, _folder: read_part(store, "file", 0, 5),
    "write": lambda store, folder: put(store, "new", b"12345", folder),
}


@pytest.fixture
def front(registry_template: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """MLflow's server behind a proxy that makes faults, in use as the registry."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    with FaultProxy(shared_server(registry_template).uri) as made, active(made.endpoint):
        yield made


@pytest.fixture(params=["directly", "through MLflow"], autouse=True)
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything holds whether Pairlock asks, or MLflow's client where only that would do."""

    def refuse(_uri: str) -> None:
        raise OnlyMlflowError("a test")

    if request.param == "through MLflow":
        monkeypatch.setattr(proxy_module, "server", refuse)


@pytest.fixture
def location() -> str:
    """A place on the server that nobody else uses."""
    return f"mlflow-artifacts:/proxy-{os.urandom(6).hex()}"


@pytest.fixture
def store(front: FaultProxy, location: str, tmp_path: Path) -> Store:
    """A store there, with one small and one large file."""
    made = open_store(location)
    put(made, "file", b"12345", tmp_path)
    put(made, RECORD.path, CONTENT, tmp_path)
    front.reset()
    return made


def fails(act: str, store: Store, folder: Path, kind: ErrorKind) -> None:
    """The store is unavailable in this way."""
    with pytest.raises(PairlockError) as caught:
        ACTS[act](store, folder)
    assert (type(caught.value), caught.value.kind) == (UnavailableError, kind)
    assert survives_pickling(caught.value)


def bring(store: Store) -> Fetched:
    """Fetch the large file into the cache."""
    key = ViewKey(ViewKind.MODEL, tree_digest([RECORD]))
    found = fetch(key, [RECORD], Source(store=store), current_settings(), progress=SILENT)
    assert found is not None
    assert found.proved.store.local_path(RECORD.path).read_bytes() == CONTENT
    return found


@pytest.mark.parametrize("act", ACTS)
def test_a_user_that_the_server_refuses_is_told_so(
    act: str, store: Store, front: FaultProxy, tmp_path: Path
) -> None:
    """Status 403 is access denied; then, let in, the same store works."""
    for method in ("GET", "PUT"):
        front.fault(Fault(Action.DENIED, method=method))
    fails(act, store, tmp_path, ErrorKind.ACCESS_DENIED)
    front.clear()
    ACTS[act](store, tmp_path)
    assert "file" in store.entries()


@pytest.mark.parametrize("act", ACTS)
def test_an_error_of_the_server_that_passes_is_not_seen(
    act: str, store: Store, front: FaultProxy, tmp_path: Path
) -> None:
    """One 500 is asked again, and the answer is right."""
    front.fault(Fault(Action.STATUS_500, method="PUT" if act == "write" else "GET", times=1))
    found = ACTS[act](store, tmp_path)
    assert front.hits == 1
    if act in {"read_small", "open_range"}:
        assert found == b"12345"
    assert store.read_small("new" if act == "write" else "file", at_most_bytes=9) == b"12345"


@pytest.mark.parametrize("act", ACTS)
def test_an_error_of_the_server_that_stays_is_told(
    act: str, store: Store, front: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that always fails is unavailable."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setattr(proxy_module, "_RETRIES", 1)
    for method in ("GET", "PUT"):
        front.fault(Fault(Action.STATUS_500, method=method))
    fails(act, store, tmp_path, ErrorKind.STORE_UNAVAILABLE)


@pytest.mark.parametrize("act", ACTS)
def test_a_server_that_is_gone_is_told(
    act: str, location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing listens the store is unavailable, as patiently as MLflow is told to be."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    with active(dead_endpoint()):
        fails(act, open_store(location), tmp_path, ErrorKind.STORE_UNAVAILABLE)


@pytest.fixture
def patient() -> Iterator[None]:
    """Short patience with bodies that drip in, and a little more with those that stop."""
    with pytest.MonkeyPatch.context() as patched:
        # longer than it takes for the next byte that drips in
        patched.setattr(proxy_module, "_TIMEOUT_S", 2)
        patched.setattr(body, "STARVED_AFTER_S", 0.5)
        yield


@pytest.mark.parametrize(
    "action", [Action.CUT, Action.STALL, Action.TRICKLE, Action.CORRUPT, Action.SHORT]
)
def test_a_body_that_breaks_once_is_asked_for_from_there(
    action: Action, store: Store, front: FaultProxy, patient: None
) -> None:
    """Whatever happens to a body on its way, the right bytes are in the cache."""
    front.fault(Fault(action, suffix="/weights", at=1_200_000, times=1))
    bring(store)
    assert front.hits == 1
    starts = [seen.range for seen in front.requests("/weights", "GET")]
    assert starts[0] is None
    assert len(starts) == 2
    if action in {Action.CORRUPT, Action.SHORT}:
        # the bytes, or the size that was announced, are another file's: all of it is asked for
        assert starts[1] is None
    else:
        assert int((starts[1] or "").removeprefix("bytes=").split("-")[0]) > 1_000_000
    front.reset()
    assert bring(store).fetched_bytes == 0
    assert front.seen == []


@pytest.mark.parametrize("action", [Action.CUT, Action.TRICKLE])
def test_a_small_file_that_does_not_come_is_given_up(
    action: Action, store: Store, front: FaultProxy, patient: None
) -> None:
    """A manifest that breaks off or drips for ever is an error soon, and then comes whole."""
    front.fault(Fault(action, suffix="/weights", at=len(CONTENT) - 20))
    began = time.monotonic()
    with pytest.raises(UnavailableError) as caught:
        store.read_small(RECORD.path, at_most_bytes=len(CONTENT))
    assert caught.value.kind is ErrorKind.STORE_UNAVAILABLE
    assert time.monotonic() - began < 5
    front.clear()
    assert store.read_small(RECORD.path, at_most_bytes=len(CONTENT)) == CONTENT


def test_a_file_is_fetched_by_one_request(store: Store, front: FaultProxy) -> None:
    """The server, which may have to fetch a whole file for every part, is asked once."""
    bring(store)
    assert [(seen.range, seen.status) for seen in front.requests("/weights")] == [(None, 200)]


def test_a_file_is_stored_under_the_path_that_is_asked_for(store: Store, tmp_path: Path) -> None:
    """The name of the source on this disk does not matter, and the source stays."""
    (tmp_path / "other-name").write_bytes(b"content")
    record = record_of("deep/er/name.bin", b"content")
    store.write("deep/er/name.bin", tmp_path / "other-name", record)
    assert store.read_small("deep/er/name.bin", at_most_bytes=10) == b"content"
    assert list(store.entries("deep")) == ["deep/er/name.bin"]
    assert (tmp_path / "other-name").read_bytes() == b"content"


def test_a_server_without_the_artifact_proxy_is_an_error(
    registry_template: Path, tmp_path: Path
) -> None:
    """`mlflow-artifacts:` with a registry that is no server is Pairlock's error."""
    with active(f"sqlite:///{tmp_path}/none.db"):
        for act in ACTS:
            with pytest.raises(PairlockError) as caught:
                ACTS[act](open_store("mlflow-artifacts:/somewhere"), tmp_path)
            assert not isinstance(caught.value, NotFoundError | StorageError)
            assert survives_pickling(caught.value)


def test_the_place_is_the_one_that_the_uri_names(
    store: Store, front: FaultProxy, location: str, registry_template: Path
) -> None:
    """A URI with a host is asked there, also when the registry is at another."""
    host = front.endpoint.removeprefix("http://")
    absolute = location.replace("mlflow-artifacts:/", f"mlflow-artifacts://{host}/")
    with active(shared_server(registry_template).uri):
        found: Any = open_store(absolute)
        assert found.read_small("file", at_most_bytes=10) == b"12345"
        assert found.entries().keys() == {"file", RECORD.path}
    assert front.seen
