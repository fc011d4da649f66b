"""A load's look-up imports nothing heavy, and does without MLflow where there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pairlock.errors import ErrorKind
from pairlock.registries import Registry, registry_by_environment
from pairlock.without_mlflow import OnlyMlflowError
from support.servers import start_mlflow

OPEN = """
import json, sys
for name in json.loads(sys.argv[2]):
    sys.modules[name] = None  # as if it were not installed
import pairlock.api, pairlock.golden_files, pairlock.memory, pairlock.receipts, pairlock.spaces
from pairlock.bases import open_base
from pairlock.config import current_settings
from pairlock.errors import PairlockError
from pairlock.packages import open_package
from pairlock.progress import SILENT
from pairlock.resolution import resolve
settings, said = current_settings(), {}
try:
    package = open_package(resolve(sys.argv[1], settings), settings=settings, progress=SILENT)
    said["digest"] = package.digest
    if package.manifest.base is not None:
        base = open_base(package.manifest.base, instead=None, settings=settings, progress=SILENT)
        said["base"] = base.package_digest
except PairlockError as error:
    said |= error.to_dict()
said["modules"] = sorted(name for name, module in sys.modules.items() if module is not None)
print(json.dumps(said))
"""
NEVER = {
    "mlflow",
    "sqlalchemy",
    "alembic",
    "boto3",
    "botocore",
    "requests",
    "rich",
    "typer",
    "jinja2",
    "pydantic",
    "numpy",
    "torch",
    "llama_index",
    "asyncio",
    "importlib.metadata",
    "pairlock_flavors",
}
"""What no look-up imports, wherever the registry and the bytes are."""

NO_NETWORK = {"urllib3", "http.client", "email", "ssl", "socket", "concurrent.futures", "_sqlite3"}
"""What is imported beside for a server, and not for a file."""

ABSENT = ("mlflow", "torch", "transformers", "sqlalchemy", "sentence_transformers", "peft")


def opened(
    uri: str, *, absent: tuple[str, ...] = (), cwd: Path | None = None, **variables: str
) -> dict[str, Any]:
    """What comes of opening a package in a process of its own, and what that imported."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    found = subprocess.run(
        [sys.executable, "-c", OPEN, uri, json.dumps(absent)],
        env={**inherited, **variables},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    )
    said: dict[str, Any] = json.loads(found.stdout)
    return said


@pytest.fixture(scope="module")
def server_uri(tmp_path_factory: pytest.TempPathFactory, registry_template: Path) -> Iterator[str]:
    """MLflow's own server, which serves the artifacts."""
    from support.registries import new_registry

    folder = tmp_path_factory.mktemp("server")
    new_registry(folder, registry_template, artifacts="mlflow-artifacts:/0")
    server = start_mlflow(folder)
    yield server.uri
    server.stop()


@pytest.mark.parametrize("absent", [(), ABSENT])
def test_a_package_in_a_local_registry_is_opened_with_little(
    registry: Any, tiny_model: Path, linear_adapter: Path, absent: tuple[str, ...]
) -> None:
    """sqlite and a folder, an adapter with its base: no MLflow, no network, nothing heavy."""
    base = registry.log(tiny_model, "tiny")
    uri = registry.log(linear_adapter, "adapter", base=base)
    said = opened(uri, absent=absent, MLFLOW_TRACKING_URI=registry.uri)
    assert said["digest"]
    assert said["base"]
    assert not (NEVER | NO_NETWORK - {"_sqlite3"}) & set(said["modules"])


def test_the_default_registry_is_found_without_mlflow(
    registry: Any, tiny_model: Path, tmp_path: Path
) -> None:
    """Without any setting it is the database in the working directory."""
    uri = registry.log(tiny_model, "tiny")
    said = opened(uri, absent=ABSENT, cwd=registry.folder)
    assert said["digest"]


@pytest.mark.parametrize("absent", [(), ABSENT])
def test_a_package_behind_a_server_is_opened_with_little(
    server_uri: str, tiny_model: Path, absent: tuple[str, ...], tmp_path: Path
) -> None:
    """A server and its artifact proxy: urllib3 and what that needs, no MLflow and no requests."""
    import pairlock
    from support.registries import active

    with active(server_uri):
        uri = pairlock.log_model(tiny_model, registered_model_name="tiny").uri
    for fetched in (True, False):
        said = opened(uri, absent=absent, MLFLOW_TRACKING_URI=server_uri)
        assert said["digest"]
        heavy = NEVER - {"importlib.metadata"}  # urllib3 asks for the version of h2
        assert not heavy & set(said["modules"]), fetched


@pytest.mark.parametrize(
    "variables",
    [
        {"MLFLOW_TRACKING_URI": "databricks"},
        {"MLFLOW_TRACKING_URI": "postgresql://host/db"},
        {"MLFLOW_TRACKING_URI": "file:///srv/mlruns"},
        {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "MLFLOW_TRACKING_AWS_SIGV4": "true"},
        {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "MLFLOW_WORKSPACE": "team"},
    ],
)
def test_what_only_mlflow_does_is_an_error_where_it_is_not_installed(
    variables: Mapping[str, str],
) -> None:
    """The error says what MLflow is needed for, and how to get it."""
    said = opened("models:/tiny/1", absent=ABSENT, **variables)
    assert said["kind"] == ErrorKind.REGISTRY_UNAVAILABLE
    assert "pairlock[torch]" in said["hint"]
    assert said["found"]


# --- which registry is in use --------------------------------------------------------------------


def mlflows_own() -> Registry:
    """What MLflow says in a process in which nobody told it anything."""
    import mlflow

    return Registry(str(mlflow.get_tracking_uri()), str(mlflow.get_registry_uri()))


@pytest.fixture
def untold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A working directory, an MLflow that was told nothing, and no settings."""
    from mlflow.tracking._model_registry import utils as registries
    from mlflow.tracking._tracking_service import utils as servers

    monkeypatch.setattr(registries, "_registry_uri", None)
    monkeypatch.setattr(servers, "_tracking_uri", None)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "50% off ü#?"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    "tracking", ["", "sqlite:///x.db", "http://u:p@host/", "file:///a", "/a/b", "postgresql://h/d"]
)
@pytest.mark.parametrize("registry", ["", "http://other", "databricks-uc"])
@pytest.mark.parametrize(
    "there", [(), ("mlflow.db",), ("mlruns/0/meta.yaml",), ("mlruns/0/x",), ("mlruns/a/meta.yaml",)]
)
def test_the_registry_is_the_one_that_mlflow_would_use(
    untold: Path,
    monkeypatch: pytest.MonkeyPatch,
    tracking: str,
    registry: str,
    there: tuple[str, ...],
) -> None:
    """By two variables, and by what lies in the working directory where they are not set."""
    for name in there:
        (untold / name).parent.mkdir(parents=True, exist_ok=True)
        (untold / name).touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", registry)
    found = registry_by_environment(os.environ)
    own = mlflows_own()
    assert (found.tracking, found.registry) == (own.tracking, own.registry)


def test_databricks_and_spark_are_mlflows(untold: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their rules are their own."""
    with pytest.raises(OnlyMlflowError):
        registry_by_environment({"MLFLOW_TRACKING_URI": "databricks://profile"})
    with pytest.raises(OnlyMlflowError):
        registry_by_environment({"DATABRICKS_RUNTIME_VERSION": "15"})
    monkeypatch.setitem(sys.modules, "pyspark", sys)
    with pytest.raises(OnlyMlflowError):
        registry_by_environment({})


def test_what_a_process_told_mlflow_holds(registry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`set_tracking_uri` is heard, whatever the environment says."""
    from pairlock.registries import registry_in_use

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    assert registry_in_use().tracking == registry.uri
