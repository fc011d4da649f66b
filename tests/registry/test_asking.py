"""The same questions to MLflow's client and without it have the same answers, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from pairlock.catalog import ARCHIVED, GRAPH_TAG, READY, contents, locate, versions_by_digest
from pairlock.catalog.asking.choosing import asked_directly
from pairlock.errors import ErrorKind
from pairlock.references import parse_reference
from pairlock.registries import registry_in_use
from support.proxy import Action, Fault, FaultProxy
from support.questions import UNKNOWN_MODEL, WAYS, Stock, both, digest, fill_stock, outcome
from support.registries import active, new_registry
from support.remote import dead_endpoint
from support.servers import MlflowServer, start_mlflow


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory, registry_template: Path) -> Stock:
    """A database with everything in it."""
    folder = tmp_path_factory.mktemp("stock")
    registry = new_registry(folder, registry_template)
    with active(registry.uri):
        return fill_stock(registry)


@pytest.fixture(scope="module")
def stock_server(stock: Stock) -> Iterator[MlflowServer]:
    """MLflow's own server on that database."""
    server = start_mlflow(stock.registry.folder)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["sqlite", "server"])
def of_stock(
    request: pytest.FixtureRequest, stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stock]:
    """The registry in use: the database, or the server on it."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = stock.registry.uri
    if request.param == "server":
        uri = request.getfixturevalue("stock_server").uri
    with active(uri):
        yield stock


def test_every_reference_has_the_same_answer_or_error(of_stock: Stock) -> None:
    """Places, digests, ages and errors are those that MLflow's client leads to."""
    assert len(of_stock.references) > 60
    found = {reference: both(reference) for reference in of_stock.references}
    assert {r: directly for r, (directly, _) in found.items()} == {
        r: through_mlflow for r, (_, through_mlflow) in found.items()
    }
    kinds = {directly.get("kind", "found") for directly, _ in found.values()}
    assert kinds == {"found", ErrorKind.MODEL_NOT_FOUND, ErrorKind.VERSION_NOT_READY}


def test_what_the_answers_are_is_known(of_stock: Stock) -> None:
    """Both ways could be wrong together: a few answers are compared with what was registered."""
    copy, _ = both("models:/copy/1")
    assert copy["anchors"] == {"version tag": digest(1), "logged model tag": digest(1)}
    assert both("models:/plain@live")[0]["uri"] == "models:/plain/2"
    assert both("models:/plain/Production")[0]["uri"] == "models:/plain/2"
    assert both("models:/again/1")[0]["anchors"]["version tag"] == digest(2)
    assert both("models:/heir/1")[0]["anchors"] == {}
    assert both("models:/gone/1")[0]["kind"] == ErrorKind.MODEL_NOT_FOUND
    assert both("models:/state-1/1")[0]["found"] == "FAILED_REGISTRATION no space\nleft"
    assert both("models:/prompt@live")[0]["kind"] == ErrorKind.MODEL_NOT_FOUND


def test_a_graph_that_was_made_later_is_named(of_stock: Stock) -> None:
    """Its digest is found by its precision, also for a version that was known before."""
    before = locate(parse_reference("models:/copy/1"))
    of_stock.client.set_model_version_tag("copy", "1", f"{GRAPH_TAG}int8", digest(9))
    found, same = both("models:/copy/1")
    assert found == same
    assert found["graphs"] == {"int8": digest(9)}
    known = locate(parse_reference("models:/copy/1"), known=lambda _uri: before)
    assert known.graphs == {"int8": digest(9)}
    of_stock.client.delete_model_version_tag("copy", "1", f"{GRAPH_TAG}int8")


def test_a_relative_location_belongs_to_the_databases_folder(stock: Stock) -> None:
    """A registry whose locations were made relative is used from wherever it lies."""
    with active(stock.registry.uri):
        found, same = both("models:/place-0/1")
    assert found == same
    assert found["location"] == str(stock.registry.folder / "mlruns/0/models/m-1/artifacts")


@pytest.mark.parametrize("name", [".", "..", "a:b", " "])
def test_a_name_that_mlflow_refuses_is_not_found(of_stock: Stock, name: str) -> None:
    """Names that cannot be are not there; only the words differ."""
    directly, through_mlflow = both(f"models:/{name}/1")
    for found in (directly, through_mlflow):
        found.pop("found")
    assert directly == through_mlflow
    assert directly["kind"] == ErrorKind.MODEL_NOT_FOUND


def test_versions_of_a_digest_are_the_same(
    of_stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where else a base is registered is found alike: no prompt, no deleted version."""
    found = []
    for way in WAYS:
        monkeypatch.setattr(contents, "asked", lambda q, w=way: w(registry_in_use(), q))
        found.append(versions_by_digest(digest(1)))
    assert found[0] == found[1]
    assert {"models:/plain/1", "models:/it's/1"} <= {copy.uri for copy in found[0]}
    assert not {copy.uri for copy in found[0]} & {"models:/prompt/1", "models:/gone/1"}
    assert {copy.state for copy in found[0]} == {
        READY,
        ARCHIVED,
        "pending_registration",
        "failed_registration",
    }


def test_as_many_models_are_counted(of_stock: Stock) -> None:
    """What `pairlock doctor` says of a registry is the same: no prompts, and not beyond a page."""
    directly, through_mlflow = (
        way(registry_in_use(), lambda registry: registry.versions.count_models()) for way in WAYS
    )
    assert directly == through_mlflow
    assert directly[0] > 20


def test_more_versions_than_a_page_holds_are_all_found(
    of_stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing goes on to its last page."""
    from pairlock.catalog.asking import server

    monkeypatch.setattr(server, "_PAGE", 2)
    monkeypatch.setattr(
        contents, "asked", lambda question: asked_directly(registry_in_use(), question)
    )
    assert len(versions_by_digest(digest(1))) > 10


# --- a server that does not answer as it should --------------------------------------------------


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        (Action.DENIED, ErrorKind.ACCESS_DENIED),
        (Action.STATUS_500, ErrorKind.REGISTRY_UNAVAILABLE),
        (Action.STATUS_503, ErrorKind.REGISTRY_UNAVAILABLE),
        (Action.GONE, ErrorKind.REGISTRY_UNAVAILABLE),
        (Action.CUT, ErrorKind.REGISTRY_UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("suffix", ["/model-versions/get", "/get-download-uri"])
def test_a_server_that_fails_is_the_same_error(
    stock_server: MlflowServer,
    monkeypatch: pytest.MonkeyPatch,
    action: Action,
    kind: ErrorKind,
    suffix: str,
) -> None:
    """Whatever the server does wrong, at whichever question: type, kind and hint are the same."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with FaultProxy(stock_server.uri) as front, active(front.endpoint):
        front.fault(Fault(action, suffix=suffix, at=5))
        directly, through_mlflow = both("models:/plain/1")
    said = directly.pop("found"), through_mlflow.pop("found")
    assert directly == through_mlflow
    assert directly["kind"] == kind
    assert all(said)


def test_a_failure_that_passes_is_asked_again(
    stock_server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As often as MLflow is told to, and no oftener."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    for times, kind in ((2, None), (3, ErrorKind.REGISTRY_UNAVAILABLE)):
        with FaultProxy(stock_server.uri) as front, active(front.endpoint):
            for way in WAYS:
                front.fault(Fault(Action.STATUS_503, times=times, suffix="/model-versions/get"))
                assert outcome("models:/plain/1", way).get("kind") == kind
                assert len(front.requests("/model-versions/get")) == 3
                front.clear()
                front.reset()


def test_nobody_there_is_the_same_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing listens the registry is unavailable."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with active(dead_endpoint()):
        directly, through_mlflow = both("models:/plain/1")
    directly.pop("found"), through_mlflow.pop("found")
    assert directly == through_mlflow
    assert directly["kind"] == ErrorKind.REGISTRY_UNAVAILABLE


class _Says(BaseHTTPRequestHandler):
    status = 200
    content = b""

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (200, b""),
        (200, b"200 OK"),
        (200, b"{}"),
        (200, b"[]"),
        (200, b"<html>"),
        (200, b'{"model_version": {}}'),
        (200, b'{"model_version": {"name": "", "version": ""}}'),
        (404, b"<html>no such page</html>"),
        (404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "gone"}'),
        (404, b'{"error_code": "ENDPOINT_NOT_FOUND", "message": "no"}'),
        (400, b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "no"}'),
        (400, b'{"message": "no"}'),
        (401, b"You are not authenticated."),
        (403, b'{"error_code": "PERMISSION_DENIED", "message": "Permission denied"}'),
        (418, b"{"),
    ],
)
def test_whatever_a_server_says_is_the_same_error(
    monkeypatch: pytest.MonkeyPatch, status: int, content: bytes
) -> None:
    """An answer that is none, a gateway's page, a refusal in words: all fields are the same."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    handler = type("Says", (_Says,), {"status": status, "content": content})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        with active(f"http://127.0.0.1:{server.server_address[1]}"):
            for reference in ("models:/plain/1", "models:/plain@live"):
                directly, through_mlflow = both(reference)
                for found in (directly, through_mlflow):
                    # only the path in MLflow's words is one that it was not asked for
                    found["found"] = found["found"].replace("/api/2.0/mlflow", "")
                assert directly == through_mlflow
                assert "kind" in directly
        server.shutdown()


@pytest.mark.parametrize(
    "content",
    [
        b'{"model_version": {"name": 1, "version": "1"}}',
        b'{"model_version": {"name": "plain", "version": "x"}}',
        b'{"model_version": [1]}',
        b'{"model_version": {"name": "plain", "version": "1", "tags": {}}}',
        b'{"model_version": {"name": "plain", "version": "1", "tags": [1]}}',
        b'{"model_version": {"name": "plain", "version": "1", "creation_timestamp": "x"}}',
        b"\xff\xfe{",
        b"[" * 100_000,
    ],
)
def test_nonsense_is_an_answer_that_is_none(
    monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """A document of another form is the registry's failure and no crash, which it is in MLflow."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    handler = type("Says", (_Says,), {"content": content})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        with active(f"http://127.0.0.1:{server.server_address[1]}"):
            assert outcome("models:/plain/1", asked_directly)["kind"] == (
                ErrorKind.REGISTRY_UNAVAILABLE
            )
        server.shutdown()


def test_no_registry_yet_is_the_same_error(tmp_path: Path) -> None:
    """A database that is not there holds nothing, and is not made."""
    with active(f"sqlite:///{tmp_path}/mlflow.db"):
        for reference in ("models:/plain/1", f"models:/{UNKNOWN_MODEL}"):
            directly, through_mlflow = both(reference)
            assert directly == through_mlflow
            assert directly["kind"] == ErrorKind.MODEL_NOT_FOUND
    assert list(tmp_path.iterdir()) == []
