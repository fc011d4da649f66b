"""Packaging that fails, is killed, or meets another: no version, or one that is right."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
from sentence_transformers import SentenceTransformer
from sqlalchemy.exc import OperationalError

import pairlock
import pairlock_flavors.embedding as flavor
from pairlock import (
    AlreadyExistsError,
    ErrorKind,
    IntegrityError,
    PairlockError,
    StorageError,
    UnavailableError,
)
from pairlock_flavors import _mlflow
from pairlock_flavors.packaging import build
from support import crashes
from support.registries import Registry, active, new_registry, snapshot

QUERY = "how do I get my money back"


def expected_vector(model: Path) -> list[float]:
    """What the model gives by its own library."""
    return SentenceTransformer(str(model), device="cpu").encode_query([QUERY])[0].tolist()


def whole_or_nothing(registry: Registry, name: str, model: Path) -> None:
    """Every version loads rightly, and everything else loads rightly or not at all."""
    expected = expected_vector(model)
    for version in registry.versions(name):
        own = pairlock.load(f"models:/{name}/{version}", golden=True)
        assert own.get_query_embedding(QUERY) == expected
    for logged in registry.client.search_logged_models(experiment_ids=["0"]):
        try:
            own = pairlock.load(f"models:/{logged.model_id}")
        except PairlockError:
            continue
        assert own.get_query_embedding(QUERY) == expected


@dataclass(frozen=True)
class Aftermath:
    """What the program of `support/crashes.py` left behind."""

    registries: dict[str, Registry]
    killed: dict[str, int]
    raced: dict[str, int]


@pytest.fixture(scope="module")
def aftermath(
    tmp_path_factory: pytest.TempPathFactory, registry_template: Path, tiny_model: Path
) -> Aftermath:
    """A registry for each point at which a process killed itself, and one that several made."""
    root = tmp_path_factory.mktemp("crashes")
    registries = {}
    for name in (*crashes.POINTS, "race"):
        if name in {"creating-the-registry", "race"}:
            (root / name).mkdir()
            registries[name] = Registry(root / name)
        else:
            registries[name] = new_registry(root / name, registry_template)
    done = subprocess.run(
        [sys.executable, crashes.__file__, str(root), str(tiny_model)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout.splitlines()[-1])
    return Aftermath(registries=registries, killed=ends["kill"], raced=ends["race"])


@pytest.mark.parametrize("point", crashes.POINTS)
def test_a_killed_packaging_leaves_no_version_that_loads_wrongly(
    point: str, aftermath: Aftermath, tiny_model: Path
) -> None:
    """Killed at any point, packaging leaves a whole version or none, and can be run again."""
    registry = aftermath.registries[point]
    assert aftermath.killed[point] == -signal.SIGKILL
    with active(registry.uri):
        if point == "creating-the-registry":
            assert not (registry.folder / "mlflow.db").exists()
        else:
            assert registry.versions("crashed") == ([1] if point == "after-version" else [])
            whole_or_nothing(registry, "crashed", tiny_model)
        uri = registry.log(tiny_model, "crashed")
        own = pairlock.load(uri, golden=True)
        assert own.get_query_embedding(QUERY) == expected_vector(tiny_model)
        whole_or_nothing(registry, "crashed", tiny_model)


def test_processes_that_create_a_registry_together_all_succeed(
    aftermath: Aftermath, tiny_model: Path
) -> None:
    """Several processes that log into a registry that is not there yet all succeed."""
    registry = aftermath.registries["race"]
    assert list(aftermath.raced.values()) == [0] * crashes.RACERS
    with active(registry.uri):
        assert registry.versions("raced") == list(range(1, crashes.RACERS + 1))
        whole_or_nothing(registry, "raced", tiny_model)
    left = [path.name for path in registry.folder.iterdir()]
    assert not [name for name in left if name.startswith(".mlflow.db.")]


def _golden(patched: pytest.MonkeyPatch, act: Callable[..., Any]) -> None:
    patched.setattr(build, "write_golden", act)


def _proof(patched: pytest.MonkeyPatch, act: Callable[..., Any]) -> None:
    patched.setattr(build, "golden_result", act)


def _model_files(patched: pytest.MonkeyPatch, act: Callable[..., Any]) -> None:
    patched.setattr(_mlflow, "write_model_files", act)


def _upload(patched: pytest.MonkeyPatch, act: Callable[..., Any]) -> None:
    patched.setattr(LocalArtifactRepository, "log_artifacts", act)


def _registration(patched: pytest.MonkeyPatch, act: Callable[..., Any]) -> None:
    patched.setattr(SqlAlchemyStore, "create_model_version", act)


POINTS = (_golden, _proof, _model_files, _upload, _registration)
FULL_DISK = OSError(28, "No space left on device")
BROKEN = MlflowException("it did not work")
LOCKED = OperationalError("INSERT", {}, Exception("database is locked"))


def failing(error: BaseException) -> Callable[..., Any]:
    """Something that fails whenever it is called."""

    def act(*_args: Any, **_kwargs: Any) -> Any:
        raise error

    return act


@pytest.mark.parametrize(
    ("point", "failure", "error", "kind"),
    [
        (_golden, FULL_DISK, StorageError, ErrorKind.STORAGE_FAILED),
        (_proof, FULL_DISK, StorageError, ErrorKind.STORAGE_FAILED),
        (_model_files, FULL_DISK, StorageError, ErrorKind.STORAGE_FAILED),
        (_upload, FULL_DISK, StorageError, ErrorKind.STORAGE_FAILED),
        (_upload, BROKEN, UnavailableError, ErrorKind.REGISTRY_UNAVAILABLE),
        (_registration, BROKEN, UnavailableError, ErrorKind.REGISTRY_UNAVAILABLE),
        (_registration, LOCKED, UnavailableError, ErrorKind.REGISTRY_UNAVAILABLE),
        *((point, KeyboardInterrupt(), KeyboardInterrupt, None) for point in POINTS),
    ],
)
def test_a_failing_packaging_leaves_no_version(
    point: Callable[[pytest.MonkeyPatch, Callable[..., Any]], None],
    failure: BaseException,
    error: type[BaseException],
    kind: ErrorKind | None,
    tiny_model: Path,
    registry: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever fails, and wherever, there is no version and no litter, and the next try works."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "tempdir", str(temporary))
        point(patched, failing(failure))
        with pytest.raises(error) as caught:
            registry.log(tiny_model, "failing")
        assert getattr(caught.value, "kind", None) is kind
    assert registry.versions("failing") == []
    assert list(temporary.iterdir()) == []
    whole_or_nothing(registry, "failing", tiny_model)
    uri = registry.log(tiny_model, "failing")
    assert uri == "models:/failing/1"
    assert pairlock.load(uri).get_query_embedding(QUERY) == expected_vector(tiny_model)


def test_an_upload_that_breaks_off_cannot_be_loaded(
    tiny_model: Path, registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A logged model of which only some files arrived is refused by every URI."""
    whole = LocalArtifactRepository.log_artifacts

    def partly(self: Any, local_dir: str, artifact_path: str | None = None) -> None:
        (Path(local_dir) / "payload" / "model" / "model.safetensors").unlink()
        whole(self, local_dir, artifact_path)
        raise FULL_DISK

    with monkeypatch.context() as patched:
        patched.setattr(LocalArtifactRepository, "log_artifacts", partly)
        with pytest.raises(StorageError):
            registry.log(tiny_model, "partly")
    (logged,) = registry.client.search_logged_models(experiment_ids=["0"])
    with pytest.raises(IntegrityError) as caught:
        pairlock.load(f"models:/{logged.model_id}")
    assert caught.value.kind is ErrorKind.FILE_MISSING


@pytest.mark.parametrize("point", [_golden, _proof, _model_files])
@pytest.mark.parametrize("failure", [FULL_DISK, KeyboardInterrupt(), RuntimeError("a bug")])
@pytest.mark.parametrize("exists", [False, True], ids=["new", "empty-folder"])
def test_a_failing_save_leaves_nothing(
    point: Callable[[pytest.MonkeyPatch, Callable[..., Any]], None],
    failure: BaseException,
    exists: bool,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A failing save_model leaves neither the target nor anything beside it."""
    target = tmp_path / "target"
    if exists:
        target.mkdir()
    with monkeypatch.context() as patched:
        point(patched, failing(failure))
        with pytest.raises((StorageError, KeyboardInterrupt, RuntimeError)):
            flavor.save_model(tiny_model, target)
    assert [path.name for path in tmp_path.iterdir()] == (["target"] if exists else [])
    assert not exists or list(target.iterdir()) == []
    flavor.save_model(tiny_model, target)
    assert pairlock.load(str(target), golden=True)


def test_a_save_never_writes_over_anything(tiny_model: Path, tmp_path: Path) -> None:
    """A target that holds something is refused, and stays as it is."""
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    (folder / "theirs.txt").write_text("theirs")
    file.write_text("theirs")
    before = snapshot(tmp_path)
    for target in (folder, file):
        with pytest.raises(AlreadyExistsError) as caught:
            flavor.save_model(tiny_model, target)
        assert caught.value.kind is ErrorKind.TARGET_EXISTS
    assert snapshot(tmp_path) == before
    flavor.save_model(tiny_model, tmp_path / "package")
    with pytest.raises(AlreadyExistsError):
        flavor.save_model(tiny_model, tmp_path / "package")
    assert pairlock.load(str(tmp_path / "package"))


def test_a_target_taken_while_saving_is_not_written_over(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two saves to one folder: the first to finish stays, the other is an error."""
    target = tmp_path / "target"
    write = _mlflow.write_model_files

    def slowly(*args: Any, **kwargs: Any) -> None:
        write(*args, **kwargs)
        target.mkdir()
        (target / "theirs.txt").write_text("theirs")

    monkeypatch.setattr(_mlflow, "write_model_files", slowly)
    with pytest.raises(PairlockError):
        flavor.save_model(tiny_model, target)
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert (target / "theirs.txt").read_text() == "theirs"


def test_packaging_leaves_no_temporary_folder(
    tiny_model: Path,
    linear_adapter: Path,
    registry: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Packaging and loading clean up behind themselves, live objects included."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    base = registry.log(SentenceTransformer(str(tiny_model), device="cpu"), "base")
    registry.log(linear_adapter, "on-folder", base=str(tiny_model))
    pairlock.load(registry.log(linear_adapter, "on-package", base=base), golden=True)
    pairlock.verify("models:/on-folder/1")
    assert list(temporary.iterdir()) == []
