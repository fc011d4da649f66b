"""Promoting in another registry: the same bytes, the same vectors, an entry on both sides."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

import pairlock
from pairlock import (
    AlreadyExistsError,
    ErrorKind,
    InvalidInputError,
    PairlockError,
    RefusedError,
    StorageError,
    UnavailableError,
)
from pairlock.catalog import (
    DIGEST_TAG,
    locate,
    registered_model,
    set_alias,
    store_evidence,
    versions_by_digest,
)
from pairlock.cli.app import app
from pairlock.in_force import store_policy
from pairlock.ledger import Act, Sealed
from pairlock.policy import Policy, StagePolicy, parse_requirement
from pairlock.promotion import execute_sending, history, plan_promotion, plan_sending, promote, send
from pairlock.promotion.execution import delivering
from pairlock.promotion.rules.gates import GateOutcome
from pairlock.references import parse_reference
from pairlock.registries import registry_in_use
from pairlock.stores.opening import open_store
from support.models import TEXTS
from support.proxy import Action, Fault, FaultProxy
from support.registries import Registry, active, new_registry
from support.remote import dead_endpoint, point_to
from support.servers import start_mlflow

SENDERS = Path(__file__).parent.parent / "support" / "senders.py"
BASE, ADAPTER = "models:/minilm/1", "models:/support/1"


@pytest.fixture(scope="module")
def stocked(
    tmp_path_factory: pytest.TempPathFactory,
    registry_template: Path,
    tiny_model: Path,
    linear_adapter: Path,
) -> Registry:
    """A registry with a base `minilm` and an adapter `support` on it."""
    made = new_registry(tmp_path_factory.mktemp("here") / "registry", registry_template)
    with active(made.uri):
        made.log(tiny_model, "minilm")
        made.log(linear_adapter, "support", base=BASE)
        store_evidence("support", 1, "pairlock.profile.cpu.float32", '{"a": 1}')
        store_evidence("support", 1, "pairlock.evaluation.0123", '{"b": 2}')
    return made


@pytest.fixture
def here(stocked: Registry) -> Iterator[Registry]:
    """That registry, in use."""
    with active(stocked.uri):
        yield stocked


@pytest.fixture
def there(tmp_path: Path, registry_template: Path) -> Registry:
    """Another registry, which is empty."""
    return new_registry(tmp_path / "there", registry_template)


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, registry_template: Path, seaweedfs: Any
) -> Iterator[str]:
    """A real MLflow server whose artifacts lie in S3."""
    folder = tmp_path_factory.mktemp("server")
    root = f"s3://pairlock/there-{os.urandom(4).hex()}"
    new_registry(folder, registry_template)
    with sqlite3.connect(folder / "mlflow.db") as database:
        database.execute("UPDATE experiments SET artifact_location = ?", (f"{root}/0",))
    database.close()
    started = start_mlflow(folder, default_root=root, environment=seaweedfs.environment())
    yield started.uri
    started.stop()


@pytest.fixture(params=["sqlite", "server"])
def other(request: pytest.FixtureRequest, tiny_other: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Another registry, in which `models:/minilm/1` is another model."""
    if request.param == "sqlite":
        uri = str(request.getfixturevalue("there").uri)
    else:
        point_to(monkeypatch, request.getfixturevalue("seaweedfs").environment())
        uri = str(request.getfixturevalue("server"))
    with active(uri):
        pairlock.log_model(tiny_other, registered_model_name="minilm")
    return uri


def versions(uri: str) -> dict[str, list[str]]:
    """The package digests of every registered model's versions, in their order."""
    found: dict[str, list[tuple[int, str]]] = {}
    for one in MlflowClient(uri, uri).search_model_versions():
        found.setdefault(one.name, []).append((int(one.version), one.tags[DIGEST_TAG]))
    return {name: [digest for _, digest in sorted(pairs)] for name, pairs in found.items()}


def logged_models(uri: str) -> int:
    """How many logged models there are."""
    return len(MlflowClient(uri, uri).search_logged_models(["0"]))


def files(uri: str) -> dict[str, bytes]:
    """What Pairlock itself wrote for a version, by the registry in use."""
    store = open_store(locate(parse_reference(uri)).location)
    return {
        path: store.read_small(path, at_most_bytes=1 << 24)
        for path in store.entries()
        if path.startswith("payload/") or path in {"pairlock.json", "PAIRING.md"}
    }


def sends_of(digest: str) -> int:
    """How often the ledger of `support` here says that an entry there was sent."""
    return sum(
        one.entry.act is Act.SEND and (one.entry.origin or {})["entry_digest"] == digest
        for one in history("support").entries
    )


def vectors(uri: str) -> list[list[float]]:
    """What a model computes for queries and documents."""
    model = pairlock.load(uri)
    return [
        *model.get_text_embedding_batch(TEXTS),
        *(model.get_query_embedding(text) for text in TEXTS),
    ]


@contextmanager
def fresh_cache(folder: Path) -> Iterator[None]:
    """A machine that has loaded nothing yet."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PAIRLOCK_CACHE", str(folder))
        yield


def test_package_and_base_arrive_as_they_were(here: Registry, other: str, tmp_path: Path) -> None:
    """Same bytes, digests and vectors there, although the base's name is another model's there.

    Both ledgers name each other's entries. Done again, nothing is copied.
    """
    own, expected = versions(here.uri), vectors("models:/support/1")
    before = {uri: files(uri) for uri in (BASE, ADAPTER)}
    sent = send("support", 1, to="production", to_registry=other, reason="it is good")
    assert [one.copied for one in sent.delivered] == [True, True]
    assert registered_model("support").aliases == {}
    after = versions(other)
    assert after["support"] == own["support"]
    assert after["minilm"][1:] == own["minilm"] != after["minilm"][:1]
    told = next(one for one in history("support").entries if one.entry.act is Act.SEND)
    with active(other), fresh_cache(tmp_path / "fresh"):
        assert {BASE: files("models:/minilm/2"), ADAPTER: files(ADAPTER)} == before
        assert vectors("models:/support@production") == expected
        version = MlflowClient().get_model_version("support", "1")
        found = history("support")
    assert found.passed
    (entry,) = found.entries
    assert entry.entry.act is Act.PROMOTE
    assert entry.entry.origin is not None
    assert (entry.entry.origin["registry"], entry.entry.origin["version"]) == (here.uri, 1)
    assert told.entry.origin is not None
    assert (told.entry.origin["entry"], told.entry.origin["entry_digest"]) == (0, entry.digest)
    assert (told.entry.subject, told.entry.reason) == (entry.entry.subject, "it is good")
    assert told.entry.gates == entry.entry.gates
    assert version.tags["pairlock.origin.uri"] == ADAPTER
    assert version.tags["pairlock.profile.cpu.float32"] == '{"a": 1}'
    assert version.tags["pairlock.evaluation.0123"] == '{"b": 2}'
    assert f"models:/support/{version.version}" in version.description
    counted = logged_models(other)
    with pytest.raises(AlreadyExistsError):
        send("support", 1, to="production", to_registry=other)
    again = send("support", 1, to="staging", to_registry=other)
    assert [one.copied for one in again.delivered] == [False, False]
    assert (versions(other), logged_models(other)) == (after, counted)


def test_killed_anywhere_the_same_command_goes_on(here: Registry, there: Registry) -> None:
    """Killed after every step, and run again each time: one copy, one entry on each side."""
    command = [sys.executable, str(SENDERS), here.uri, there.uri, "production"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    ends = json.loads(ended.stdout.splitlines()[-1])
    assert ends.pop("last") == ErrorKind.TARGET_EXISTS, ended.stderr
    assert len(ends) == 11
    assert {name: end for name, end in ends.items() if end != -signal.SIGKILL} == {}
    assert versions(there.uri) == versions(here.uri)
    found = there.client.search_logged_models(["0"])
    assert sorted(str(one.status) for one in found) == ["PENDING", "PENDING", "READY", "READY"]
    with active(there.uri):
        told = history("support")
        assert registered_model("support").aliases == {"production": 1}
    assert (told.passed, len(told.entries)) == (True, 1)
    assert sends_of(told.entries[0].digest) == 1


def test_two_that_finish_one_promotion_write_one_entry(here: Registry, there: Registry) -> None:
    """A plan to write the missing entry here finds that somebody else wrote it meanwhile."""
    sent = send("support", 1, to="production", to_registry=there.uri)
    assert sent.promoted is not None
    promoted = Sealed(entry=sent.promoted.entry, digest=sent.promoted.digest)
    late = replace(sent.plan, promotion=None, copies=(), unrecorded=(promoted,))
    assert execute_sending(late).recorded == sent.recorded
    assert sends_of(promoted.digest) == 1


def test_the_policy_there_decides(here: Registry, there: Registry) -> None:
    """What the model's policy there asks for and the version has not is refused; nothing is there.

    A dry run of it says the same.
    """
    client = there.client
    client.create_registered_model("support")
    with active(there.uri):
        asked = StagePolicy(require=(parse_requirement("ndcg@10>=0.9"),))
        store_policy("support", Policy({"production": asked}))
    plan = plan_sending("support", 1, to="production", to_registry=there.uri)
    failed = [result.gate.value for result in plan.promotion.failed] if plan.promotion else []
    assert failed == ["metrics"]
    with pytest.raises(RefusedError) as refused:
        send("support", 1, to="production", to_registry=there.uri)
    assert refused.value.kind is ErrorKind.GATES_FAILED
    with pytest.raises(InvalidInputError) as unknown:
        send("support", 1, to="staging", to_registry=there.uri)
    assert unknown.value.kind is ErrorKind.STAGE_UNKNOWN
    assert (versions(there.uri), logged_models(there.uri)) == ({}, 0)


def test_the_base_has_to_be_in_the_stages_that_the_policy_wants_there(
    here: Registry, there: Registry, tmp_path: Path
) -> None:
    """A base that is only copied is in no stage; promoted there itself, it is."""
    policy = tmp_path / "pairlock.toml"
    policy.write_text('[stages.staging]\n[stages.production]\nbase_stages = ["production"]\n')
    with pytest.raises(RefusedError) as refused:
        send("support", 1, to="production", to_registry=there.uri, policy=policy)
    assert [finding.place for finding in refused.value.findings] == ["gate pairing"]
    free = tmp_path / "free.toml"
    free.write_text("[stages.production]\n")
    send("minilm", 1, to="production", to_registry=there.uri, policy=free)
    send("support", 1, to="production", to_registry=there.uri, policy=policy)
    assert versions(there.uri) == versions(here.uri)


def test_a_stage_moved_by_hand_there_is_reported(here: Registry, there: Registry) -> None:
    """An alias that no entry explains stops it, and is as it was afterwards."""
    send("support", 1, to="staging", to_registry=there.uri)
    with active(there.uri):
        set_alias("support", "production", 1)
    with pytest.raises(RefusedError) as refused:
        send("support", 1, to="production", to_registry=there.uri)
    assert [finding.place for finding in refused.value.findings] == ["gate alias"]
    with active(there.uri):
        assert registered_model("support").aliases == {"production": 1, "staging": 1}


@pytest.mark.parametrize("blocked", ["minilm", "support"])
def test_a_store_that_takes_nothing_leaves_nothing_to_see(
    blocked: str, here: Registry, there: Registry
) -> None:
    """No version of what could not be stored, no logged model; when it can be, it goes on."""
    root = there.folder / "mlruns"
    if blocked == "support":
        send("minilm", 1, to="staging", to_registry=there.uri)
    counted = logged_models(there.uri)
    database = sqlite3.connect(there.folder / "mlflow.db")

    def keep_artifacts_at(place: str) -> None:
        with database:
            database.execute("UPDATE experiments SET artifact_location = ?", (place,))

    keep_artifacts_at("/proc/nothing/0")
    with pytest.raises(PairlockError) as failed:
        send("support", 1, to="production", to_registry=there.uri)
    assert failed.value.kind is ErrorKind.STORAGE_FAILED
    assert versions(there.uri) == (
        {} if blocked == "minilm" else {"minilm": versions(here.uri)["minilm"]}
    )
    assert logged_models(there.uri) == counted
    keep_artifacts_at(str(root / "0"))
    database.close()
    send("support", 1, to="production", to_registry=there.uri)
    assert versions(there.uri) == versions(here.uri)


@pytest.mark.parametrize("refused", ["get", "create", "alias"])
def test_a_server_that_refuses_is_said_to_and_the_same_command_goes_on(
    refused: str,
    registry: Registry,
    tiny_other: Path,
    server: str,
    seaweedfs: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """403 to reading, registering or the alias is no dead server; then one entry on each side."""
    point_to(monkeypatch, seaweedfs.environment())
    name = f"m{os.urandom(4).hex()}"
    registry.log(tiny_other, name)
    method = "GET" if refused == "get" else "POST"
    with FaultProxy(server) as front:
        front.fault(Fault(Action.DENIED, method=method, suffix=f"registered-models/{refused}"))
        with pytest.raises(UnavailableError) as caught:
            send(name, 1, to="staging", to_registry=front.endpoint)
        assert caught.value.kind is ErrorKind.ACCESS_DENIED
        assert registered_model(name).aliases == {}
        assert history(name).entries == ()
        front.clear()
        send(name, 1, to="staging", to_registry=front.endpoint)
    assert [one.entry.act for one in history(name).entries] == [Act.SEND]
    with active(server):
        assert registered_model(name).aliases == {"staging": 1}
        assert [one.entry.act for one in history(name).entries] == [Act.PROMOTE]
        assert history(name).passed
    assert versions(server)[name] == versions(registry.uri)[name]


def test_what_is_no_other_registry_is_refused(
    here: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry in use under any spelling, no URI, one that is not there, one that is dead."""
    monkeypatch.chdir(here.folder)
    (tmp_path / "link.db").symlink_to(here.folder / "mlflow.db")
    link = f"sqlite:///{tmp_path}/link.db"
    for uri in (here.uri, "sqlite:///mlflow.db", link, "here", "s3://bucket/x"):
        with pytest.raises(InvalidInputError) as wrong:
            send("support", 1, to="production", to_registry=uri)
        assert wrong.value.kind is ErrorKind.DESTINATION
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for uri in (f"sqlite:///{tmp_path}/none.db", dead_endpoint().replace("//", "//me:secret@")):
        with pytest.raises(UnavailableError) as dead:
            send("support", 1, to="production", to_registry=uri)
        assert dead.value.kind is ErrorKind.REGISTRY_UNAVAILABLE
        assert "secret" not in str(dead.value)
    assert not (tmp_path / "none.db").exists()


def test_other_threads_stay_where_they_are(
    here: Registry, there: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one thread promotes there, whatever another one asks is answered by this registry."""
    seen: list[str] = []
    stop = threading.Event()
    register = MlflowClient.create_model_version

    def slowly(*args: Any, **kwargs: Any) -> Any:
        time.sleep(0.05)  # MLflow's own setting is another one during this call
        return register(*args, **kwargs)

    monkeypatch.setattr(MlflowClient, "create_model_version", slowly)

    def ask() -> None:
        while not stop.is_set():
            found = registry_in_use()
            seen.extend((found.tracking, found.registry))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        send("support", 1, to="production", to_registry=there.uri)
    finally:
        stop.set()
        asking.join()
    assert set(seen) == {here.uri}
    assert len(seen) > 100
    assert (registry_in_use().tracking, registry_in_use().registry) == (here.uri, here.uri)


def test_a_damaged_copy_is_never_promoted(here: Registry, there: Registry) -> None:
    """What lies there under the digest's tag is read: other bytes come into no stage."""
    send("support", 1, to="staging", to_registry=there.uri)
    with active(there.uri):
        weights = there.folder_of(ADAPTER) / "payload" / "adapter" / "adapter.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(pairlock.IntegrityError):
        send("support", 1, to="production", to_registry=there.uri)
    with active(there.uri):
        assert registered_model("support").aliases == {"staging": 1}


def test_a_copy_that_was_stored_and_then_cut_is_not_registered(
    here: Registry, there: Registry
) -> None:
    """A whole copy that a process left behind is used; one that is not whole is made again."""
    digest = versions(here.uri)["support"][0]
    send("support", 1, to="staging", to_registry=there.uri)
    for change in (None, "cut", "gone", "manifest"):
        with active(there.uri):
            folder = there.folder_of(there_now(digest))
        there.client.delete_registered_model("support")
        for one in there.client.search_logged_models(["0"]):
            if one.tags.get(DIGEST_TAG) == digest and "mlflow.modelVersions" in one.tags:
                there.client.delete_logged_model_tag(one.model_id, "mlflow.modelVersions")
        weights = folder / "payload" / "adapter" / "adapter.safetensors"
        if change == "cut":
            weights.write_bytes(weights.read_bytes()[:-1])
        elif change == "gone":
            weights.unlink()
        elif change == "manifest":
            manifest = folder / "pairlock.json"
            manifest.write_bytes(manifest.read_bytes().replace(b"}", b" }", 1))
        send("support", 1, to="staging", to_registry=there.uri)
        with active(there.uri):
            is_the_same = there.folder_of(there_now(digest)) == folder
            assert pairlock.verify(there_now(digest)).passed
        assert is_the_same == (change is None)


def test_a_copy_in_another_store_is_compared_before_it_is_promoted(
    here: Registry,
    server: str,
    seaweedfs: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stored file that is cut or gone, or another manifest, keeps the copy out of every stage."""
    point_to(monkeypatch, seaweedfs.environment())
    digest = versions(here.uri)["support"][0]
    # stages that no other test with this server sends to
    policy = tmp_path / "pairlock.toml"
    policy.write_text("[stages.trial]\n[stages.canary]\n")
    send("support", 1, to="trial", to_registry=server, policy=policy)
    with active(server):
        uri = there_now(digest)
        _, _, bucket, folder = locate(parse_reference(uri)).location.split("/", 3)
        before = registered_model("support").aliases
    s3 = seaweedfs.client()

    def fault(name: str, content: bytes | None) -> PairlockError:
        place = {"Bucket": bucket, "Key": f"{folder}/{name}"}
        kept = s3.get_object(**place)["Body"].read()
        s3.delete_object(**place)
        if content is not None:
            s3.put_object(**place, Body=content)
        try:
            with pytest.raises(pairlock.IntegrityError) as caught:
                send("support", 1, to="canary", to_registry=server, policy=policy)
        finally:
            s3.put_object(**place, Body=kept)
        return caught.value

    weights = "payload/adapter/adapter.safetensors"
    cut, gone, other = fault(weights, b"short"), fault(weights, None), fault("pairlock.json", b"{}")
    assert (cut.kind, gone.kind) == (ErrorKind.FILE_SIZE, ErrorKind.FILE_MISSING)
    assert [[one.place for one in error.findings] for error in (cut, gone)] == [[weights]] * 2
    assert other.kind is ErrorKind.PACKAGE_DIGEST
    with active(server):
        assert registered_model("support").aliases == before


def there_now(digest: str) -> str:
    """The version of `support` that is this package, by the registry in use."""
    (found,) = [copy for copy in versions_by_digest(digest) if copy.name == "support"]
    return found.uri


def test_the_next_promotion_writes_what_the_ledger_here_misses(
    here: Registry, there: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `send` entry that could not be written comes with the next promotion to that registry.

    It is written once: what both sides know is not missing.
    """

    def fail(*_: Any) -> Any:
        raise StorageError("the disk is gone", kind=ErrorKind.STORAGE_FAILED)

    with monkeypatch.context() as patched:
        patched.setattr(delivering, "_record", fail)
        with pytest.raises(StorageError):
            send("support", 1, to="production", to_registry=there.uri)
    with active(there.uri):
        (promoted,) = history("support").entries
    assert sends_of(promoted.digest) == 0
    plan = plan_sending("support", 1, to="staging", to_registry=there.uri)
    assert [one.digest for one in plan.unrecorded] == [promoted.digest]
    sent = execute_sending(plan)
    assert len(sent.recorded) == 2
    assert sends_of(promoted.digest) == 1
    policy = here.folder / "more.toml"
    policy.write_text("[stages.canary]\n")
    plan = plan_sending("support", 1, to="canary", to_registry=there.uri, policy=policy)
    assert plan.unrecorded == ()


def test_the_command_prints_the_plan_and_changes_nothing(
    here: Registry, there: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--dry-run` says what would be copied; without it the same command does it.

    The histories on both sides then name the other registry.
    """

    def run(*more: str) -> Any:
        words = ["promote", "support", "1", "--to", "production", "--to-registry", there.uri]
        with pytest.raises(SystemExit) as ended:
            app([*words, "--format", "json", *more])
        assert ended.value.code == 0
        return json.loads(capsys.readouterr().out)

    planned = run("--dry-run")
    assert planned["executed"] is False
    assert [copy["there"] for copy in planned["plan"]["copies"]] == [None, None]
    assert planned["plan"]["promotion"]["subject"]["version"] is None
    assert versions(there.uri) == {}
    done = run()
    assert [one["uri"] for one in done["packages"]] == [BASE, ADAPTER]
    assert done["there"]["aliases"] == {"production": 1}
    assert versions(there.uri) == versions(here.uri)
    for registry, word, other in ((here, "to", there), (there, "from", here)):
        with active(registry.uri), pytest.raises(SystemExit) as ended:
            app(["history", "support"])
        assert ended.value.code == 0
        assert f"{word} {other.uri}" in capsys.readouterr().out


def test_a_base_is_found_by_its_digest_under_another_name(
    registry: Registry,
    tiny_model: Path,
    tiny_other: Path,
    linear_adapter: Path,
    tmp_path: Path,
) -> None:
    """A pinned version that was deleted is replaced by the same package; an archived one is not.

    The stages of every copy count, and not those of what took over the pinned name.
    """
    registry.log(tiny_model, "minilm")
    registry.log(linear_adapter, "support", base=BASE)
    expected = vectors(ADAPTER)
    registry.client.copy_model_version(BASE, "minilm-copy")
    digest = versions(registry.uri)["minilm"][0]
    registry.client.set_model_version_tag("minilm-copy", "1", DIGEST_TAG, digest)

    def pairing(to: str = "staging", policy: Path | None = None) -> GateOutcome:
        plan = plan_promotion("support", 1, to=to, policy=policy)
        return next(result.outcome for result in plan.gates if result.gate.value == "pairing")

    registry.client.transition_model_version_stage("minilm", "1", "Archived")
    assert pairing() is GateOutcome.FAILED
    registry.client.delete_model_version("minilm", "1")
    assert [copy.uri for copy in versions_by_digest(digest)] == ["models:/minilm-copy/1"]
    assert pairing() is GateOutcome.PASSED
    model = pairlock.load(ADAPTER)
    base = pairlock.receipt(model).base
    assert base is not None
    assert base.loaded_from == "models:/minilm-copy/1"
    assert vectors(ADAPTER) == expected
    assert promote("support", 1, to="staging").entry.sequence == 0
    registry.log(tiny_model, "second")
    promoted = tmp_path / "promoted.toml"
    promoted.write_text('[stages.production]\nbase_stages = ["production"]\n')
    assert pairing("production", promoted) is GateOutcome.FAILED
    promote("second", 1, to="production")
    assert pairing("production", promoted) is GateOutcome.PASSED
    for name in ("minilm-copy", "second"):
        registry.client.transition_model_version_stage(name, "1", "Archived")
    assert pairing("production") is GateOutcome.FAILED
    for name in ("minilm-copy", "second"):
        registry.client.delete_model_version(name, "1")
    with pytest.raises(PairlockError) as gone:
        plan_promotion("support", 1, to="production")
    assert gone.value.kind is ErrorKind.BASE_NOT_FOUND
    registry.client.delete_registered_model("minilm")
    registry.log(tiny_other, "minilm")
    promote("minilm", 1, to="production")
    registry.log(tiny_model, "third")
    assert pairing("production") is GateOutcome.PASSED
    assert pairing("production", promoted) is GateOutcome.FAILED
