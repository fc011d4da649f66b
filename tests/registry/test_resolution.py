"""What the registry is asked, when, and what its answers are worth: a real server over HTTP."""

from __future__ import annotations

import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from mlflow.entities import LoggedModelOutput

import pairlock
from pairlock import ErrorKind, IntegrityError, NotFoundError, PairlockError, UnavailableError
from pairlock.catalog import DIGEST_TAG
from pairlock.config import current_settings
from pairlock.pulling import pull
from pairlock.resolution import age_s, resolve
from support.proxy import Action, Fault, FaultProxy
from support.registries import active
from support.tracking import Tracking, opened

GET_VERSION = "/api/2.0/mlflow/model-versions/get"
GET_ALIAS = "/api/2.0/mlflow/registered-models/alias"


def questions(proxy: FaultProxy) -> list[tuple[str, str]]:
    """What was asked, by method and path."""
    return [(one.method, one.path) for one in proxy.seen]


def name_of(uri: str) -> str:
    """The registered model's name."""
    return uri.removeprefix("models:/").partition("/")[0]


def delete_version(tracking: Tracking, uri: str) -> None:
    """Delete one version."""
    tracking.client.delete_model_version(name_of(uri), uri.rpartition("/")[2])


# --- online ----------------------------------------------------------------------------------


def test_a_warm_version_costs_one_question_and_no_bytes(
    tracking: Tracking, asked: FaultProxy, fetched: FaultProxy
) -> None:
    """A version that was loaded before is asked for once, to see that it is still the same."""
    uri = tracking.register("tiny_model")
    first = opened(uri)
    assert first.fetched_bytes > 0
    assert len(asked.seen) <= 4, questions(asked)
    asked.reset()
    fetched.reset()
    again = opened(uri)
    assert questions(asked) == [("GET", GET_VERSION)]
    assert fetched.seen == []
    assert (again.fetched_bytes, again.proved.hashed_bytes) == (0, 0)
    assert again.digest == first.digest == tracking.stored["tiny_model"].digest


def test_a_warm_version_that_is_hashed_again_is_not_fetched(
    tracking: Tracking, asked: FaultProxy, fetched: FaultProxy
) -> None:
    """`rehash` hashes every byte, and asks S3 for none."""
    uri = tracking.register("tiny_model")
    opened(uri)
    fetched.reset()
    again = opened(uri, rehash=True)
    assert again.proved.hashed_bytes == again.proved.size_bytes > 0
    assert fetched.seen == []
    assert asked.requests(GET_VERSION)


def test_other_names_of_the_same_bytes_fetch_nothing(
    tracking: Tracking, asked: FaultProxy, fetched: FaultProxy
) -> None:
    """A second version of the same package asks S3 for nothing at all."""
    opened(tracking.register("tiny_model"))
    other = tracking.register("tiny_model")
    asked.reset()
    fetched.reset()
    assert opened(other).fetched_bytes == 0
    assert fetched.seen == []
    assert asked.requests(GET_VERSION)


def test_an_alias_is_asked_for_every_time_and_followed_at_once(
    tracking: Tracking, asked: FaultProxy
) -> None:
    """An alias that moved gives the other version on the very next load, and back again."""
    name = tracking.new_name()
    one = tracking.register("tiny_model", name, alias="live")
    two = tracking.register("tiny_other", name)
    digests = {
        uri: tracking.stored[n].digest for uri, n in ((one, "tiny_model"), (two, "tiny_other"))
    }
    alias = f"models:/{name}@live"
    for uri in (one, one, two, one, two):
        tracking.client.set_registered_model_alias(name, "live", uri.rpartition("/")[2])
        asked.reset()
        found = opened(alias)
        assert (found.located.uri, found.digest) == (uri, digests[uri])
        assert asked.requests(GET_ALIAS, "GET")
    assert questions(asked) == [("GET", GET_ALIAS)]
    assert found.located.warnings == ()


def test_an_alias_that_was_deleted_does_not_load(tracking: Tracking, asked: FaultProxy) -> None:
    """The bytes are in the cache, and the alias is gone: it is not found, offline neither."""
    name = name_of(tracking.register("tiny_model", alias="live"))
    alias = f"models:/{name}@live"
    opened(alias)
    tracking.client.delete_registered_model_alias(name, "live")
    with pytest.raises(NotFoundError) as caught:
        opened(alias)
    assert caught.value.kind is ErrorKind.MODEL_NOT_FOUND
    # the registry said that it is gone, and that is its last answer
    with pytest.raises(UnavailableError) as caught:
        opened(alias, offline=True)
    assert caught.value.kind is ErrorKind.NEVER_ASKED
    assert opened(f"models:/{name}/1", offline=True).digest == tracking.stored["tiny_model"].digest


@pytest.mark.parametrize("what", ["version", "model"])
def test_what_was_deleted_does_not_load_from_the_cache(
    tracking: Tracking, asked: FaultProxy, what: str
) -> None:
    """Its bytes are in the cache, whole and right, and it is not found, now and offline."""
    uri = tracking.register("tiny_model")
    opened(uri)
    if what == "version":
        delete_version(tracking, uri)
    else:
        tracking.client.delete_registered_model(name_of(uri))
    with pytest.raises(NotFoundError) as caught:
        opened(uri)
    assert caught.value.kind is ErrorKind.MODEL_NOT_FOUND
    with pytest.raises(UnavailableError) as caught:
        opened(uri, offline=True)
    assert caught.value.kind is ErrorKind.NEVER_ASKED


@pytest.mark.parametrize("now", ["tiny_model", "tiny_other"])
@pytest.mark.parametrize("noticed", [False, True])
def test_a_model_that_was_made_again_gives_the_new_bytes(
    tracking: Tracking, asked: FaultProxy, now: str, noticed: bool
) -> None:
    """The old bytes never come back under the name, and the caller is told what happened."""
    uri = tracking.register("tiny_model", alias="live")
    alias = f"models:/{name_of(uri)}@live"
    assert opened(uri).located.warnings == ()
    opened(alias)
    tracking.client.delete_registered_model(name_of(uri))
    if noticed:
        with pytest.raises(NotFoundError):
            opened(uri)
    time.sleep(0.002)  # the registry's clock has milliseconds
    assert tracking.register(now, name_of(uri), alias="live") == uri
    first = pull(uri)
    assert first.package.digest == tracking.stored[now].digest
    assert bool(first.warnings) is not noticed
    for reference in (uri, alias):
        again = pull(reference)
        assert again.package.digest == tracking.stored[now].digest
        assert pull(reference, offline=True).package.digest == again.package.digest


@pytest.mark.parametrize("form", ["version", "alias"])
def test_a_model_that_was_made_again_without_a_tag_gives_the_new_bytes(
    tracking: Tracking, asked: FaultProxy, form: str
) -> None:
    """The version has no tag that could differ: the time it was made tells the two apart."""
    uri = tracking.register("tiny_model", tagged=False, alias="live")
    reference = uri if form == "version" else f"models:/{name_of(uri)}@live"
    assert opened(reference).digest == tracking.stored["tiny_model"].digest
    tracking.client.delete_registered_model(name_of(uri))
    time.sleep(0.002)
    tracking.register("tiny_other", name_of(uri), tagged=False, alias="live")
    for _ in range(2):
        assert opened(reference).digest == tracking.stored["tiny_other"].digest
    assert opened(reference, offline=True).digest == tracking.stored["tiny_other"].digest


def test_an_alias_of_a_model_that_was_made_again_is_warned_about(
    tracking: Tracking, asked: FaultProxy
) -> None:
    """The warning does not depend on the form of the reference."""
    uri = tracking.register("tiny_model", alias="live")
    alias = f"models:/{name_of(uri)}@live"
    opened(alias)
    tracking.client.delete_registered_model(name_of(uri))
    time.sleep(0.002)
    tracking.register("tiny_other", name_of(uri), alias="live")
    found = pull(alias)
    assert found.package.digest == tracking.stored["tiny_other"].digest
    assert len(found.warnings) == 1
    assert uri in found.warnings[0]


@pytest.mark.parametrize("tag", ["other", "junk"])
@pytest.mark.parametrize("warm", [False, True])
def test_a_version_tag_that_names_other_bytes_is_refused(
    tracking: Tracking, asked: FaultProxy, tag: str, warm: bool
) -> None:
    """The version's tag and the logged model's tag disagree: refused, also when it is cached."""
    uri = tracking.register("tiny_model")
    if warm:
        opened(uri)
        opened(tracking.register("tiny_other"))
    value = tracking.stored["tiny_other"].digest if tag == "other" else "nonsense"
    tracking.client.set_model_version_tag(name_of(uri), "1", DIGEST_TAG, value)
    for offline in (False, True):
        with pytest.raises(IntegrityError) as caught:
            opened(uri, offline=offline if warm else False)
        assert caught.value.kind is ErrorKind.PACKAGE_DIGEST


def test_a_version_tag_that_was_removed_leaves_the_logged_models(
    tracking: Tracking, asked: FaultProxy
) -> None:
    """A tag less is no other package: the logged model still vouches for it, cold and warm."""
    uri = tracking.register("tiny_model")
    opened(uri)
    tracking.client.delete_model_version_tag(name_of(uri), "1", DIGEST_TAG)
    assert opened(uri).digest == tracking.stored["tiny_model"].digest
    cold = current_settings().cache.with_name("cold")
    found = opened(uri, cache=cold)
    assert set(found.anchors) == {"logged model tag"}


@pytest.mark.parametrize("offline", [False, True])
def test_the_callers_digest_is_compared_also_when_it_is_cached(
    tracking: Tracking, asked: FaultProxy, offline: bool
) -> None:
    """`expected_digest` must match whether or not anything is fetched."""
    uri = tracking.register("tiny_model")
    opened(uri)
    opened(tracking.register("tiny_other"))
    right, wrong = tracking.stored["tiny_model"].digest, tracking.stored["tiny_other"].digest
    assert opened(uri, offline=offline, expected_digest=right).anchors["caller"] == right
    for digest in (wrong, f"sha256:{'0' * 64}"):
        with pytest.raises(IntegrityError) as caught:
            opened(uri, offline=offline, expected_digest=digest)
        assert caught.value.kind is ErrorKind.PACKAGE_DIGEST


def test_runs_and_logged_models_load_online_and_offline(
    tracking: Tracking, asked: FaultProxy
) -> None:
    """`runs:/…` and `models:/m-…` are answered, remembered, and resolved to the logged model."""
    stored = tracking.stored["tiny_model"]
    run_id = tracking.client.create_run("0").info.run_id
    tracking.client.log_outputs(run_id, [LoggedModelOutput(stored.model_id, step=0)])
    references = [f"models:/{stored.model_id}", f"runs:/{run_id}/tiny_model"]
    for reference in references:
        online = opened(reference)
        assert online.located.uri == f"models:/{stored.model_id}"
        assert online.anchors == {"logged model tag": stored.digest}
    with pytest.raises(NotFoundError):
        opened(f"runs:/{run_id}/tiny_other")
    asked.reset()
    for reference in references:
        assert opened(reference, offline=True).digest == stored.digest
    with pytest.raises(UnavailableError) as caught:
        opened(f"runs:/{run_id}/tiny_other", offline=True)
    assert caught.value.kind is ErrorKind.NEVER_ASKED
    assert asked.seen == []


# --- the registry does not answer --------------------------------------------------------------


def test_a_registry_that_is_gone_is_said_quickly_and_offline_is_named(
    tracking: Tracking, asked: FaultProxy
) -> None:
    """Nobody answers: an error within seconds; PAIRLOCK_OFFLINE is named if it would help."""
    uri, other = tracking.register("tiny_model"), tracking.register("tiny_model")
    opened(uri)
    asked.stop()
    hints = {}
    for reference in (uri, other):
        begun = time.monotonic()
        with pytest.raises(UnavailableError) as caught:
            opened(reference)
        assert time.monotonic() - begun < 15
        assert caught.value.kind is ErrorKind.REGISTRY_UNAVAILABLE
        hints[reference] = caught.value.hint
    assert "PAIRLOCK_OFFLINE" in hints[uri]
    assert "PAIRLOCK_OFFLINE" not in hints[other]
    assert opened(uri, offline=True).digest == tracking.stored["tiny_model"].digest


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        (Action.STATUS_500, ErrorKind.REGISTRY_UNAVAILABLE),
        (Action.DENIED, ErrorKind.ACCESS_DENIED),
        (Action.GONE, ErrorKind.REGISTRY_UNAVAILABLE),
    ],
)
def test_a_registry_that_fails_is_unavailable(
    tracking: Tracking, asked: FaultProxy, action: Action, kind: ErrorKind
) -> None:
    """A server that answers with an error never makes a cached version load, and never a bug."""
    uri = tracking.register("tiny_model")
    opened(uri)
    asked.fault(Fault(action, suffix=GET_VERSION))
    with pytest.raises(UnavailableError) as caught:
        opened(uri)
    assert caught.value.kind is kind
    assert asked.hits > 0


@pytest.mark.parametrize("at", [0, 20])
@pytest.mark.parametrize("action", [Action.CORRUPT, Action.CUT, Action.SHORT])
def test_an_answer_that_is_damaged_is_no_answer(
    tracking: Tracking, asked: FaultProxy, action: Action, at: int
) -> None:
    """Nonsense instead of JSON, or half of it, is one of Pairlock's errors, not a traceback."""
    uri = tracking.register("tiny_model")
    opened(uri)
    asked.fault(Fault(action, suffix=GET_VERSION, at=at))
    with pytest.raises(PairlockError) as caught:
        opened(uri)
    assert caught.value.kind is ErrorKind.REGISTRY_UNAVAILABLE
    assert asked.hits > 0
    asked.clear()
    # and it takes nothing away from what is known
    assert opened(uri, offline=True).digest == tracking.stored["tiny_model"].digest


class _NoBackend(BaseHTTPRequestHandler):
    """A gateway in front of a server that is down."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer as a gateway does that has nowhere to send a request."""
        body = b"<html>default backend - 404</html>"
        self.send_response(404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_a_gateways_404_is_not_the_registrys_answer(tracking: Tracking, asked: FaultProxy) -> None:
    """A page that says 404 is not MLflow saying that a version is gone; nothing is forgotten."""
    uri = tracking.register("tiny_model")
    opened(uri)
    with ThreadingHTTPServer(("127.0.0.1", 0), _NoBackend) as gateway:
        Thread(target=gateway.serve_forever, args=(0.05,), daemon=True).start()
        asked.upstream = ("127.0.0.1", gateway.server_address[1])
        asked.fault(Fault(Action.GONE, times=1))  # a new connection goes to the gateway
        with pytest.raises(PairlockError) as caught:
            opened(uri)
        gateway.shutdown()
    assert (asked.seen[-1].status, caught.value.kind) == (404, ErrorKind.REGISTRY_UNAVAILABLE)
    assert opened(uri, offline=True).digest == tracking.stored["tiny_model"].digest


# --- offline -------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["argument", "variable"])
def test_offline_asks_nobody(
    tracking: Tracking,
    asked: FaultProxy,
    fetched: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    by: str,
) -> None:
    """No request leaves the machine, for a version, an alias and a base URI alike."""
    uri = tracking.register("tiny_model", alias="live")
    alias = f"models:/{name_of(uri)}@live"
    for reference in (uri, alias):
        opened(reference)
    asked.reset()
    fetched.reset()
    offline = True if by == "argument" else None
    if by == "variable":
        monkeypatch.setenv("PAIRLOCK_OFFLINE", "1")
    for reference in (uri, alias):
        found = opened(reference, offline=offline)
        assert found.located.uri == uri
        assert found.digest == tracking.stored["tiny_model"].digest
        assert found.anchors
    assert (asked.seen, fetched.seen) == ([], [])
    asked.stop()
    fetched.stop()
    assert opened(alias, offline=offline).digest == tracking.stored["tiny_model"].digest


def test_an_answer_used_offline_says_how_old_it_is(tracking: Tracking, asked: FaultProxy) -> None:
    """The age is that of the registry's last answer, which asking again makes new."""
    uri = tracking.register("tiny_model")
    opened(uri)
    settings = current_settings(offline=True)
    assert age_s(resolve(uri, current_settings())) is None
    fresh = age_s(resolve(uri, settings))
    assert fresh is not None
    assert 0 <= fresh < 10
    for answer in (settings.cache / "answers").iterdir():
        os.utime(answer, (time.time() - 3600, time.time() - 3600))
    old = age_s(resolve(uri, settings))
    assert old is not None
    assert 3600 <= old < 3610
    # a use offline is not an answer
    assert (age_s(opened(uri, offline=True).located) or 0) >= 3600
    opened(uri)
    assert (age_s(resolve(uri, settings)) or 0) < 10


def test_the_clock_may_go_backwards(tracking: Tracking, asked: FaultProxy) -> None:
    """An answer from the future has no negative age."""
    uri = tracking.register("tiny_model")
    opened(uri)
    settings = current_settings(offline=True)
    for answer in (settings.cache / "answers").iterdir():
        os.utime(answer, (time.time() + 3600, time.time() + 3600))
    assert age_s(resolve(uri, settings)) == 0.0


def test_an_alias_offline_is_the_last_answer(tracking: Tracking, asked: FaultProxy) -> None:
    """The alias moved where nobody here could see it: the version that it was last known as."""
    name = tracking.new_name()
    one = tracking.register("tiny_model", name, alias="live")
    two = tracking.register("tiny_other", name)
    opened(f"models:/{name}@live")
    tracking.client.set_registered_model_alias(name, "live", two.rpartition("/")[2])
    assert opened(f"models:/{name}@live", offline=True).located.uri == one


def test_what_was_never_asked_is_unknown_offline(tracking: Tracking, asked: FaultProxy) -> None:
    """Other versions, other aliases and other names are not guessed from what is known."""
    uri = tracking.register("tiny_model", alias="live")
    opened(uri)
    name = name_of(uri)
    asked.reset()
    for reference in (
        f"models:/{name}@live",
        f"models:/{name}/2",
        f"models:/{name}x/1",
        "s3://b/x",
    ):
        with pytest.raises(UnavailableError) as caught:
            opened(reference, offline=True)
        assert caught.value.kind is ErrorKind.NEVER_ASKED
    assert asked.seen == []


def test_a_known_version_without_its_bytes_is_not_whole(
    tracking: Tracking, asked: FaultProxy, fetched: FaultProxy
) -> None:
    """The registry's answer is known, and the bytes were never fetched, or were removed."""
    uri = tracking.register("tiny_model")
    resolve(uri, current_settings())
    asked.reset()
    with pytest.raises(UnavailableError) as caught:
        opened(uri, offline=True)
    assert caught.value.kind is ErrorKind.OFFLINE
    package = opened(uri)
    weights = next(r for r in package.manifest.files if r.path.endswith("model.safetensors"))
    cache = current_settings().cache
    (cache / "blobs" / weights.sha256[:2] / weights.sha256).unlink()
    (package.root / weights.path).unlink()
    asked.reset()
    fetched.reset()
    with pytest.raises(UnavailableError) as caught:
        opened(uri, offline=True)
    assert caught.value.kind is ErrorKind.OFFLINE
    assert (asked.seen, fetched.seen) == ([], [])
    assert opened(uri).fetched_bytes == weights.size_bytes


def test_damage_in_the_cache_is_not_loaded_offline(tracking: Tracking, asked: FaultProxy) -> None:
    """A cached file with other bytes: offline it is an error, online it is fetched again."""
    uri = tracking.register("tiny_model")
    package = opened(uri)
    target = package.root / "payload/model/modules.json"
    content = target.read_bytes()
    target.chmod(0o644)
    target.write_bytes(content[:-1] + b"?")
    with pytest.raises(UnavailableError) as caught:
        opened(uri, offline=True)
    assert caught.value.kind is ErrorKind.OFFLINE
    assert opened(uri).fetched_bytes == len(content)
    assert target.read_bytes() == content


def test_a_server_that_serves_the_artifacts_behaves_the_same(
    proxied_tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind MLflow's artifact proxy: one question when it is warm, none offline."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    uri = proxied_tracking.register("tiny_other")
    with FaultProxy(proxied_tracking.server.uri) as proxy, active(proxy.endpoint):
        assert opened(uri).fetched_bytes > 0
        proxy.reset()
        assert opened(uri).fetched_bytes == 0
        assert questions(proxy) == [("GET", GET_VERSION)]
        proxy.reset()
        assert opened(uri, offline=True).digest == proxied_tracking.stored["tiny_other"].digest
        assert proxy.seen == []


def test_a_local_registry_is_asked_offline_too(
    registry: Any, packaged: Any, shared_registry: Any
) -> None:
    """A sqlite file and a folder take no network: the file is asked, not a memory of it."""
    uri = packaged("tiny_model")
    name = f"local-{os.urandom(4).hex()}"
    source = shared_registry.client.get_model_version(name_of(uri), "1").source
    shared_registry.client.create_registered_model(name)
    shared_registry.client.create_model_version(name, source)
    local = f"models:/{name}/1"
    found = opened(local, offline=True)
    assert found.located.remembered_at is None
    assert found.digest == opened(uri).digest
    shared_registry.client.delete_registered_model(name)
    with pytest.raises(NotFoundError) as caught:
        opened(local, offline=True)
    assert caught.value.kind is ErrorKind.MODEL_NOT_FOUND
    assert not current_settings().cache.exists()


def test_offline_uses_no_network_when_only_the_registry_is_a_file(
    registry: Any, tracking: Tracking, asked: FaultProxy
) -> None:
    """With versions in a sqlite file and logged models behind a server, offline asks the file."""
    import mlflow

    stored = tracking.stored["tiny_model"]
    mlflow.set_registry_uri(registry.uri)  # the tracking URI stays the proxy's
    client = registry.client
    client.create_registered_model("mixed")
    client.create_model_version("mixed", f"models:/{stored.model_id}", model_id=stored.model_id)
    asked.reset()
    for reference in (f"models:/{stored.model_id}", "models:/mixed/1"):
        with pytest.raises(PairlockError):
            opened(reference, offline=True)
    assert asked.seen == []


def test_a_load_is_the_same_and_its_receipt_says_how_it_came_about(
    tracking: Tracking, asked: FaultProxy, fetched: FaultProxy
) -> None:
    """Online, warm and offline give the same vectors; the receipt says what each one took."""
    uri = tracking.register("tiny_model")
    cold = pairlock.load(uri, device="cpu")
    warm = pairlock.load(uri, device="cpu")
    asked.reset()
    offline = pairlock.load(uri, device="cpu", offline=True, golden=True)
    assert asked.seen == []
    vectors = [one.get_query_embedding("where is the invoice") for one in (cold, warm, offline)]
    assert vectors[0] == vectors[1] == vectors[2]
    receipts = [pairlock.receipt(one) for one in (cold, warm, offline)]
    assert [one.answer_age_s is None for one in receipts] == [True, True, False]
    assert 0 <= (receipts[2].answer_age_s or 0) < 60
    assert [one.bytes_fetched > 0 for one in receipts] == [True, False, False]
    assert len({one.package_digest for one in receipts}) == 1
    assert all(one.bytes_verified == receipts[0].bytes_verified > 0 for one in receipts)
    tracking.client.delete_registered_model(name_of(uri))
    time.sleep(0.002)
    tracking.register("tiny_other", name_of(uri))
    made_again = pairlock.load(uri, device="cpu")
    assert made_again.get_query_embedding("where is the invoice") != vectors[0]
    assert len(pairlock.receipt(made_again).warnings) == 1
