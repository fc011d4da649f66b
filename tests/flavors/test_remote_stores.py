"""Models in S3 and behind MLflow's proxy: the same vectors, few bytes, no half versions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import pytest
from sentence_transformers import SentenceTransformer

import pairlock
from pairlock import ErrorKind, IntegrityError, PairlockError, UnavailableError
from pairlock.catalog import locate
from pairlock.config import current_settings
from pairlock.packages import read_package_manifest
from pairlock.pulling import Pulled, pull
from pairlock.references import parse_reference
from pairlock.stores import s3_clients
from pairlock.stores.opening import open_store
from pairlock.verification import Outcome
from support.memory import forget_models
from support.models import TEXTS
from support.proxy import Action, Fault, FaultProxy
from support.registries import active, new_registry
from support.remote import point_to, shared_server
from support.vectors import one_minus_cosine

KINDS = ("s3", "mlflow")
BASE, ADAPTER, SECOND = "models:/tiny_model/1", "models:/linear/1", "models:/linear_bias/1"
WEIGHTS = "payload/model/model.safetensors"
BUCKET = "s3://pairlock/"

Stocked = Callable[[str], str]


@contextmanager
def experiment(location: str | None) -> Iterator[None]:
    """Log to a new experiment of the registry in use, for a while."""
    name = f"remote-{os.urandom(4).hex()}"
    mlflow.set_experiment(experiment_id=mlflow.create_experiment(name, location))
    try:
        yield
    finally:
        mlflow.set_experiment(experiment_id="0")


@pytest.fixture(scope="module")
def stocked(
    tmp_path_factory: pytest.TempPathFactory,
    registry_template: Path,
    seaweedfs: Any,
    tiny_model: Path,
    adapter_folders: Callable[[str], Path],
) -> Stocked:
    """Registries by where their artifacts are, each with a model and two adapters on it."""
    made: dict[str, str] = {}
    root = tmp_path_factory.mktemp("remote")

    def uri_of(kind: str) -> str:
        if kind in made:
            return made[kind]
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("PAIRLOCK_CACHE", str(root / f"cache-{kind}"))
            point_to(patched, seaweedfs.environment())
            if kind == "s3":
                made[kind] = new_registry(root / "registry", registry_template).uri
                location = f"{BUCKET}remote-{os.urandom(4).hex()}"
            else:
                made[kind], location = shared_server(registry_template).uri, None
            with active(made[kind]), experiment(location):
                for name, base in (("tiny_model", None), ("linear", BASE), ("linear_bias", BASE)):
                    folder = tiny_model if base is None else adapter_folders(name)
                    pairlock.log_model(folder, base=base, registered_model_name=name)
        return made[kind]

    return uri_of


@pytest.fixture
def remote(
    request: pytest.FixtureRequest, stocked: Stocked, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The registry of the kind that a test is run for, in use."""
    uri = stocked(request.param)
    if request.param == "s3":
        point_to(monkeypatch, request.getfixturevalue("seaweedfs").environment())
    with active(uri):
        yield request.param


every_kind = pytest.mark.parametrize("remote", KINDS, indirect=True)


@pytest.fixture
def counted(stocked: Stocked, s3_proxy: Any) -> Iterator[Any]:
    """The registry with artifacts in S3, in use, behind a proxy that counts."""
    with active(stocked("s3")):
        yield s3_proxy


def location_of(uri: str) -> str:
    """Where a version's bytes lie, by the registry."""
    return locate(parse_reference(uri)).location


def key_of(uri: str, path: str = "") -> str:
    """The key of a file of a version in S3."""
    return f"{location_of(uri).removeprefix(BUCKET)}/{path}"


@contextmanager
def replaced(server: Any, key: str, content: bytes) -> Iterator[None]:
    """Put other bytes into the place of an object, for a while."""
    client = server.client()
    before = client.get_object(Bucket="pairlock", Key=key)["Body"].read()
    client.put_object(Bucket="pairlock", Key=key, Body=content)
    try:
        yield
    finally:
        client.put_object(Bucket="pairlock", Key=key, Body=before)


def turned(server: Any, key: str) -> bytes:
    """The bytes of an object with one bit turned."""
    content = bytearray(server.client().get_object(Bucket="pairlock", Key=key)["Body"].read())
    content[len(content) // 2] ^= 1
    return bytes(content)


def printed(code: str, uri: str) -> list[str]:
    """What another process prints that is given a URI of the registry in use."""
    done = subprocess.run(
        [sys.executable, "-c", code, uri],
        env={**os.environ, "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri()},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def objects(server: Any, prefix: str) -> list[str]:
    """The keys below a prefix."""
    found = server.client().list_objects_v2(Bucket="pairlock", Prefix=prefix)
    return [item["Key"] for item in found.get("Contents", [])]


def package_bytes(found: Pulled) -> int:
    """Bytes of a package's payload and its manifest."""
    return found.package.proved.size_bytes


@every_kind
@pytest.mark.parametrize("name", ["tiny_model", "linear"])
def test_a_remote_model_computes_what_a_local_one_does(
    name: str, remote: str, shelf: Any, packaged: Callable[[str], str]
) -> None:
    """From S3 and from MLflow's server: the vectors and the digest of a package in a folder."""
    found = pairlock.load(f"models:/{name}/1", golden=True)
    with active(shelf.uri):
        local = pairlock.load(packaged(name))
    for texts in (TEXTS, ["another text"]):
        ours, theirs = (
            [model.get_query_embedding(text) for text in texts] for model in (found, local)
        )
        assert one_minus_cosine(ours, theirs) <= 1e-8
        ours, theirs = (model.get_text_embedding_batch(texts) for model in (found, local))
        assert one_minus_cosine(ours, theirs) <= 1e-8
    assert pairlock.receipt(found).package_digest == pairlock.receipt(local).package_digest
    assert pairlock.receipt(found).anchors
    assert pairlock.receipt(found).bytes_fetched > 0


@every_kind
def test_a_remote_version_is_pulled_and_verified(remote: str, tmp_path: Path) -> None:
    """Pulled, every file has the recorded bytes; verify passes, golden vectors and base too."""
    pulled = pull(ADAPTER, to=tmp_path / "pulled", with_base=True)
    assert pulled.fetched_bytes >= pulled.verified_bytes - 20_000 > 0
    found = pairlock.load(
        str(tmp_path / "pulled"), expected_digest=pulled.package.digest, base=BASE
    )
    assert found.get_query_embedding("card")
    assert (tmp_path / "pulled" / "MLmodel").is_file()
    verification = pairlock.verify(ADAPTER)
    assert verification.passed
    assert {check.name: check.outcome for check in verification.checks} == {
        "package": Outcome.PASSED,
        "base": Outcome.PASSED,
        "golden vectors": Outcome.PASSED,
    }


@every_kind
def test_a_package_in_a_remote_store_is_whole_for_mlflow_too(remote: str) -> None:
    """MLflow's own files lie beside the payload and the manifest, each once."""
    paths = set(open_store(location_of(BASE)).entries())
    assert {"MLmodel", "requirements.txt", "conda.yaml", "python_env.yaml"} <= paths
    manifest, _ = read_package_manifest(locate(parse_reference(BASE)), settings=current_settings())
    payload = {path for path in paths if path.startswith("payload/")}
    assert payload == {record.path for record in manifest.files}


def test_the_manifest_is_stored_after_the_payload(
    tiny_model: Path, s3_registry: Any, s3_proxy: Any
) -> None:
    """Every file of the payload is in the store, once, before the manifest is sent."""
    s3_registry.log(tiny_model, "ordered")
    puts = [seen.path for seen in s3_proxy.requests(method="PUT") if seen.status == 200]
    payload = [number for number, path in enumerate(puts) if "/payload/" in path]
    manifest = [number for number, path in enumerate(puts) if path.endswith("/pairlock.json")]
    assert len(payload) == len(pull("models:/ordered/1").package.manifest.files)
    assert len(manifest) == 1
    assert max(payload) < manifest[0]


@pytest.mark.parametrize("suffix", [WEIGHTS, "/pairlock.json"])
def test_a_store_that_fails_half_way_leaves_no_version(
    suffix: str,
    tiny_model: Path,
    s3_registry: Any,
    s3_proxy: Any,
    seaweedfs: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file that cannot be stored: an error, no version, no manifest; then logging works."""
    monkeypatch.setattr(s3_clients, "_ATTEMPTS", 2)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # for what MLflow stores
    location = mlflow.get_experiment(mlflow.tracking.fluent._get_experiment_id()).artifact_location
    s3_proxy.fault(Fault(Action.STATUS_500, method="PUT", suffix=suffix))
    with pytest.raises(UnavailableError) as caught:
        s3_registry.log(tiny_model, "broken")
    assert caught.value.kind in {ErrorKind.STORE_UNAVAILABLE, ErrorKind.REGISTRY_UNAVAILABLE}
    assert seaweedfs.secret_key not in str(caught.value)
    assert s3_registry.versions("broken") == []
    left = objects(seaweedfs, location.removeprefix(BUCKET))
    assert not [key for key in left if key.endswith("pairlock.json")]
    s3_proxy.clear()
    assert s3_registry.log(tiny_model, "broken") == "models:/broken/1"
    assert pull("models:/broken/1").fetched_bytes > 0


@pytest.mark.parametrize("suffix", [WEIGHTS, "/pairlock.json"])
def test_a_server_that_refuses_half_way_leaves_no_version(
    suffix: str, tiny_model: Path, registry_template: Path
) -> None:
    """MLflow's server that does not take a file: Pairlock's error, no version, no manifest."""
    client = mlflow.MlflowClient(shared_server(registry_template).uri)
    with (
        FaultProxy(shared_server(registry_template).uri) as front,
        active(front.endpoint),
        experiment(None),
    ):
        front.fault(Fault(Action.DENIED, method="PUT", suffix=suffix))
        with pytest.raises(UnavailableError) as caught:
            pairlock.log_model(tiny_model, registered_model_name="refused")
        assert caught.value.kind in {ErrorKind.ACCESS_DENIED, ErrorKind.REGISTRY_UNAVAILABLE}
        assert client.search_model_versions("name = 'refused'") == []
        stored = [seen.path for seen in front.requests(method="PUT") if seen.status == 200]
        assert not [path for path in stored if path.endswith("/pairlock.json")]


def test_a_kill_while_the_weights_are_stored_leaves_no_version(
    tiny_model: Path, s3_registry: Any, s3_proxy: Any, seaweedfs: Any, tmp_path: Path
) -> None:
    """A process that dies in the middle leaves neither a version nor a manifest."""
    experiment_id = mlflow.tracking.fluent._get_experiment_id()
    location = mlflow.get_experiment(experiment_id).artifact_location
    code = (
        "import sys, mlflow, pairlock\n"
        "mlflow.set_experiment(experiment_id=sys.argv[1])\n"
        "pairlock.log_model(sys.argv[2], registered_model_name='killed')\n"
    )
    started: list[subprocess.Popen[bytes]] = []

    def kill(method: str, path: str, _range: str | None) -> None:
        if method == "PUT" and path.endswith(WEIGHTS):
            started[0].send_signal(signal.SIGKILL)

    s3_proxy.on_request = kill
    started.append(
        subprocess.Popen(
            [sys.executable, "-c", code, experiment_id, str(tiny_model)],
            env={**os.environ, "MLFLOW_TRACKING_URI": s3_registry.uri},
        )
    )
    assert started[0].wait(120) == -signal.SIGKILL
    s3_proxy.on_request = None
    assert s3_registry.versions("killed") == []
    left = objects(seaweedfs, location.removeprefix(BUCKET))
    assert not [key for key in left if key.endswith("pairlock.json")]
    assert s3_registry.log(tiny_model, "killed") == "models:/killed/1"
    assert pull("models:/killed/1").fetched_bytes > 0


def test_a_second_adapter_brings_only_its_own_bytes(counted: Any) -> None:
    """With the base in the cache, another adapter on it is all that is asked for, and is small."""
    pull(ADAPTER, with_base=True)
    base_prefix = f"/pairlock/{key_of(BASE)}"
    assert [seen for seen in counted.seen if seen.path.startswith(base_prefix)]
    counted.reset()
    second = pull(SECOND, with_base=True)
    assert 0 < counted.bytes_sent < package_bytes(second) + 10_000
    assert [seen for seen in counted.seen if seen.path.startswith(base_prefix)] == []
    assert 0 < second.fetched_bytes <= package_bytes(second)
    assert second.base is not None
    assert second.base.fetched_bytes == 0


def test_a_repeated_load_asks_the_store_for_nothing(counted: Any) -> None:
    """What is in the cache is loaded without one request, here and in another process."""
    first = pairlock.load(ADAPTER)
    assert pairlock.receipt(first).bytes_fetched > 0
    counted.reset()
    again = pairlock.load(ADAPTER)
    receipt = pairlock.receipt(again)
    assert (receipt.bytes_fetched, receipt.bytes_hashed) == (0, 0)
    assert receipt.bytes_verified == pairlock.receipt(first).bytes_verified > 0
    assert again.get_query_embedding("card") == first.get_query_embedding("card")
    code = (
        "import sys\n"
        "from pairlock.pulling import pull\n"
        "found = pull(sys.argv[1], with_base=True)\n"
        "print(found.fetched_bytes, found.verified_bytes)\n"
    )
    assert printed(code, ADAPTER) == ["0", str(receipt.bytes_verified)]
    assert counted.seen == []


@pytest.mark.parametrize("cached", [False, True])
def test_the_client_is_made_before_libraries_are_imported(cached: bool, counted: Any) -> None:
    """With an empty cache the imports wait for the store's client; with a full one there is none.

    Both import files, and each would wait for the other at every one.
    """
    if cached:
        pull(BASE)
    code = (
        "import sys\n"
        "import pairlock\n"
        "from pairlock.stores import s3_clients\n"
        "from pairlock_flavors import loading\n"
        "importing, said = loading._importing, []\n"
        "def told(modules):\n"
        "    said.append(s3_clients._made.cache_info().currsize)\n"
        "    return importing(modules)\n"
        "loading._importing = told\n"
        "pairlock.load(sys.argv[1])\n"
        "print(*said, s3_clients._made.cache_info().currsize)\n"
    )
    assert printed(code, BASE) == (["0", "0"] if cached else ["1", "1"])


@pytest.mark.parametrize("uri", [BASE, ADAPTER])
def test_mlflow_itself_loads_a_model_from_s3(
    uri: str, counted: Any, shelf: Any, packaged: Callable[[str], str]
) -> None:
    """`mlflow.pyfunc.load_model` gives the vectors that `pairlock.load` gives."""
    theirs = mlflow.pyfunc.load_model(uri).predict(TEXTS[:4])
    ours = pairlock.load(uri).get_text_embedding_batch(TEXTS[:4])
    assert one_minus_cosine(theirs, ours) <= 1e-8


def test_the_cache_serves_while_the_store_is_away(counted: Any) -> None:
    """A version that is in the cache loads while S3 refuses everything; another is an error."""
    pull(ADAPTER, with_base=True)
    counted.fault(Fault(Action.DENIED))
    assert pull(ADAPTER, with_base=True).fetched_bytes == 0
    with pytest.raises(UnavailableError) as caught:
        pull(SECOND)
    assert caught.value.kind is ErrorKind.ACCESS_DENIED
    counted.clear()
    assert pull(SECOND).fetched_bytes > 0


@pytest.mark.parametrize("golden", [True, False])
def test_verify_refuses_an_object_that_was_replaced(
    golden: bool, counted: Any, seaweedfs: Any
) -> None:
    """Other bytes of the right size in the store, before they were ever cached, do not pass."""
    key = key_of(BASE, WEIGHTS)
    with replaced(seaweedfs, key, turned(seaweedfs, key)):
        for act in (pairlock.load, lambda uri: pairlock.verify(uri, golden=golden)):
            with pytest.raises(IntegrityError) as caught:
                act(BASE)
            assert caught.value.kind is ErrorKind.FILE_DIGEST
            assert [finding.place for finding in caught.value.findings] == [WEIGHTS]
        verification = pairlock.verify(ADAPTER, golden=golden)
        outcomes = {check.name: check.outcome for check in verification.checks}
        assert not verification.passed
        assert (outcomes["package"], outcomes["base"]) == (Outcome.PASSED, Outcome.FAILED)
        with pytest.raises(IntegrityError):
            pairlock.load(ADAPTER)
    assert pairlock.verify(ADAPTER, golden=golden).passed


@pytest.mark.parametrize("content", [b"", b"{}", None])
def test_a_manifest_that_was_replaced_is_refused(
    content: bytes | None, counted: Any, seaweedfs: Any
) -> None:
    """A version whose manifest is emptied, or another version's, does not load."""
    other = seaweedfs.client().get_object(Bucket="pairlock", Key=key_of(SECOND, "pairlock.json"))
    replacement = other["Body"].read() if content is None else content
    with (
        replaced(seaweedfs, key_of(ADAPTER, "pairlock.json"), replacement),
        pytest.raises(PairlockError) as caught,
    ):
        pull(ADAPTER)
    assert caught.value.kind in {ErrorKind.PACKAGE_DIGEST, ErrorKind.MANIFEST_INVALID}
    assert content is not None or caught.value.kind is ErrorKind.PACKAGE_DIGEST
    assert pull(ADAPTER).fetched_bytes > 0


def test_a_package_in_s3_is_loaded_by_its_uri(counted: Any) -> None:
    """`s3://…` loads; with the expected digest and a filled cache nothing is asked for."""
    uri = location_of(BASE)
    first = pairlock.load(uri)
    digest = pairlock.receipt(first).package_digest
    assert pairlock.receipt(first).anchors == {}
    counted.reset()
    again = pairlock.load(uri, expected_digest=digest)
    assert counted.seen == []
    assert again.get_query_embedding("card") == first.get_query_embedding("card")
    without = pull(uri)
    assert without.fetched_bytes == 0
    assert {seen.path for seen in counted.seen} == {f"/pairlock/{key_of(BASE, 'pairlock.json')}"}
    with pytest.raises(IntegrityError) as caught:
        pull(uri, expected_digest=f"sha256:{'0' * 64}")
    assert caught.value.kind is ErrorKind.PACKAGE_DIGEST


def test_a_package_that_was_replaced_in_s3_is_noticed(counted: Any, seaweedfs: Any) -> None:
    """Without an expected digest the store is asked, and says that it holds another package."""
    client, place = seaweedfs.client(), f"replaced-{os.urandom(4).hex()}"

    def copy(uri: str) -> None:
        prefix = key_of(uri)
        for key in objects(seaweedfs, prefix):
            content = client.get_object(Bucket="pairlock", Key=key)["Body"].read()
            target = f"{place}/{key.removeprefix(prefix)}"
            client.put_object(Bucket="pairlock", Key=target, Body=content)

    copy(ADAPTER)
    before = pull(f"{BUCKET}{place}").package.digest
    copy(SECOND)
    assert pull(f"{BUCKET}{place}").package.digest != before
    counted.reset()
    assert pull(f"{BUCKET}{place}", expected_digest=before).package.digest == before
    assert counted.seen == []


@pytest.fixture
def bare_base(s3: Any, tiny_model: Path) -> str:
    """A Sentence-Transformers folder in S3 that is no package."""
    place = f"bare-{os.urandom(4).hex()}"
    client = s3.client()
    for path in sorted(path for path in tiny_model.rglob("*") if path.is_file()):
        key = f"{place}/{path.relative_to(tiny_model).as_posix()}"
        client.put_object(Bucket="pairlock", Key=key, Body=path.read_bytes())
    client.put_object(Bucket="pairlock", Key=f"{place}/notes.txt", Body=b"no part of the model")
    return f"{BUCKET}{place}"


@pytest.mark.parametrize("origin", ["folder", "mlflow"])
def test_a_model_in_s3_that_is_no_package_can_be_a_base(
    origin: str,
    bare_base: str,
    s3_registry: Any,
    s3: Any,
    tiny_model: Path,
    linear_adapter: Path,
    shelf: Any,
    packaged: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A folder in S3, or a model that MLflow's own flavor logged there: pinned by its bytes."""
    base, folder = bare_base, bare_base
    if origin == "mlflow":
        mlflow.sentence_transformers.log_model(
            SentenceTransformer(str(tiny_model), device="cpu"),
            name="theirs",
            registered_model_name="theirs",
            pip_requirements=[],
        )
        base = "models:/theirs/1"
        folder = f"{location_of(base)}/model.sentence_transformer"
    uri = s3_registry.log(linear_adapter, "on-s3", base=base)
    monkeypatch.setenv("PAIRLOCK_CACHE", str(tmp_path / "another"))
    found = pairlock.load(uri)
    with active(shelf.uri):
        local = pairlock.load(packaged("linear"))
    ours, theirs = ([m.get_query_embedding(text) for text in TEXTS] for m in (found, local))
    assert one_minus_cosine(ours, theirs) <= 1e-8
    base_receipt = pairlock.receipt(found).base
    assert base_receipt is not None
    assert base_receipt.uri == base
    forget_models()
    monkeypatch.setenv("PAIRLOCK_CACHE", str(tmp_path / "third"))
    key = f"{folder.removeprefix(BUCKET)}/model.safetensors"
    with replaced(s3, key, turned(s3, key)), pytest.raises(IntegrityError) as caught:
        pairlock.load(uri)
    assert [finding.place for finding in caught.value.findings] == ["model.safetensors"]
    assert caught.value.kind is ErrorKind.FILE_DIGEST
