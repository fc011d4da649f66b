"""The registry's database is made once, whole or not at all, by however many processes."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from pairlock.catalog import database, ensure_database, sqlite_path
from pairlock.errors import ErrorKind, StorageError

CREATE = """
import sys
from pairlock.catalog import ensure_database
print("ready", flush=True)
sys.stdin.readline()
ensure_database(sys.argv[1])
"""
DIE_BEFORE_PUBLISHING = """
import os, signal, sys
from pairlock.catalog import database
database._publish = lambda staged, path: os.kill(os.getpid(), signal.SIGKILL)
database.ensure_database(sys.argv[1])
"""
PROCESSES = 3
"""One that comes first, and several that come later; each makes a whole database."""
ENVIRONMENT = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def no_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow must not call home from a test."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Every wait that MLflow asks for, none of which is waited."""
    import mlflow.store.db.utils as utils

    waits: list[float] = []
    monkeypatch.setattr(utils.time, "sleep", waits.append)
    return waits


def uri_of(path: Path) -> str:
    return f"sqlite:///{path}"


def start(script: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, uri_of(path)],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def assert_whole(path: Path) -> None:
    """The database is sound, migrated to the end, and can be used by MLflow as it is."""
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    heads = ScriptDirectory.from_config(_get_alembic_config(uri_of(path))).get_heads()
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        versions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        assert [version for (version,) in versions] == list(heads)
        experiments = connection.execute("SELECT artifact_location FROM experiments").fetchall()
    finally:
        connection.close()
    ((location,),) = experiments
    assert str(path.parent / "mlruns") in location


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that was made once, in a folder that was not there."""
    path = tmp_path_factory.mktemp("made") / "new" / "folder" / "registry.db"
    ensure_database(uri_of(path))
    return path


def test_a_database_is_made_whole_with_its_folder(made: Path) -> None:
    """The first call makes the folder and a whole database, with artifacts beside it."""
    assert_whole(made)
    assert names(made.parent) == ["registry.db"]


def test_a_database_that_is_there_is_left_alone(made: Path) -> None:
    """A second call changes no byte and no inode."""
    before, content = made.stat(), made.read_bytes()
    ensure_database(uri_of(made))
    assert made.stat() == before
    assert made.read_bytes() == content
    assert names(made.parent) == ["registry.db"]


def test_processes_that_start_together_all_succeed(tmp_path: Path) -> None:
    """Of processes that make one database at once all succeed, one first, and there is one."""
    path = tmp_path / "registry.db"
    children = [start(CREATE, path) for _ in range(PROCESSES)]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    errors = [child.communicate(timeout=240)[1] for child in children]
    assert [child.returncode for child in children] == [0] * PROCESSES, "\n".join(errors)
    assert names(tmp_path) == ["registry.db"]
    assert_whole(path)


def test_a_killed_process_leaves_no_database(tmp_path: Path) -> None:
    """A process killed in the middle leaves nothing under the name, and the next call succeeds."""
    path = tmp_path / "registry.db"
    child = start(DIE_BEFORE_PUBLISHING, path)
    child.communicate(timeout=240)
    assert child.returncode == -signal.SIGKILL
    assert not path.exists()
    ensure_database(uri_of(path))
    assert_whole(path)


def test_an_empty_file_is_left_alone(tmp_path: Path) -> None:
    """An empty file is another process at work: it is neither removed nor replaced."""
    path = tmp_path / "registry.db"
    path.touch()
    before = path.stat()
    ensure_database(uri_of(path))
    assert path.stat() == before
    assert names(tmp_path) == ["registry.db"]


@pytest.mark.parametrize("name", ["a%2520b", "50%25", "a b", "ü", "a%3Fb", "a#b"])
def test_the_path_is_the_one_that_mlflow_opens(name: str) -> None:
    """A URI with escapes means the same file to us and to the library that opens it."""
    uri = f"sqlite:////srv/{name}/registry.db?timeout=5"
    assert str(sqlite_path(uri)) == make_url(uri).database


def test_a_path_that_looks_escaped_is_made_where_it_says(
    tmp_path: Path, no_patience: list[float]
) -> None:
    """A folder whose name holds a percent sign gets its database, and no other file is made."""
    ensure_database(f"sqlite:///{tmp_path}/50%2520off/registry.db")
    # MLflow itself makes the folder of the undecoded path, and leaves it empty
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [
        tmp_path / "50%20off" / "registry.db"
    ]
    assert no_patience == []


def test_a_relative_path_is_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three slashes are a path from the working directory, and four an absolute one."""
    monkeypatch.chdir(tmp_path)
    assert sqlite_path("sqlite:///mlflow.db") == Path.cwd() / "mlflow.db"
    assert sqlite_path("sqlite:////srv/mlflow.db") == Path("/srv/mlflow.db")


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "postgresql://host/db",
        "http://host",
        "databricks",
        "file:///srv/mlruns",
        "",
    ],
)
def test_other_registries_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    """A registry that is no sqlite file is none of our business, and nothing is made."""
    monkeypatch.chdir(tmp_path)
    assert sqlite_path(uri) is None
    ensure_database(uri)
    assert names(tmp_path) == []


def refused(path: Path) -> StorageError:
    with pytest.raises(StorageError) as caught:
        ensure_database(uri_of(path))
    assert caught.value.kind is ErrorKind.STORAGE_FAILED
    return caught.value


@pytest.mark.parametrize("below", ["registry.db", "folder/registry.db"])
def test_a_folder_that_cannot_be_is_a_storage_error(
    tmp_path: Path, no_patience: list[float], below: str
) -> None:
    """A file where the folder should be is an error of ours, and nothing is left behind."""
    blocker = tmp_path / "file"
    blocker.write_bytes(b"x")
    refused(blocker / below)
    assert names(tmp_path) == ["file"]
    assert blocker.read_bytes() == b"x"


def test_a_name_that_cannot_be_is_a_storage_error(tmp_path: Path, no_patience: list[float]) -> None:
    """A name that the file system refuses is an error of ours."""
    refused(tmp_path / ("x" * 300))
    assert names(tmp_path) == []


def test_a_null_byte_is_an_error_of_ours(tmp_path: Path, no_patience: list[float]) -> None:
    """A path with a null byte, which no system call takes, is an error of ours."""
    refused(tmp_path / "a\x00b")
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_refused_without_waiting(
    no_patience: list[float],
) -> None:
    """A folder that takes no files is found out before MLflow retries for minutes."""
    refused(Path("/proc/self/registry.db"))
    assert no_patience == []


def test_a_database_library_that_fails_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_patience: list[float]
) -> None:
    """What sqlite says while the database is made, such as a full disk, is an error of ours."""

    def connect(*args: object, **kwargs: object) -> sqlite3.Connection:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(sqlite3.dbapi2, "connect", connect)
    refused(tmp_path / "registry.db")
    assert names(tmp_path) == []


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("step", ["_create", "_publish"])
def test_a_broken_off_creation_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException], step: str
) -> None:
    """Whatever breaks the creation off, neither a database nor a staged file is left."""

    def create(path: Path, *, artifacts: Path) -> None:
        path.write_bytes(b"half")
        path.with_name(f"{path.name}-journal").write_bytes(b"journal")

    def break_off(path: Path, *args: object, **kwargs: object) -> None:
        path.write_bytes(b"half")
        raise stop

    monkeypatch.setattr(database, "_create", create)
    monkeypatch.setattr(database, step, break_off)
    with pytest.raises(stop):
        ensure_database(uri_of(tmp_path / "registry.db"))
    assert names(tmp_path) == []


def test_the_first_database_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that comes second keeps the first one's database and drops its own."""
    path = tmp_path / "registry.db"

    def create(staged: Path, *, artifacts: Path) -> None:
        staged.write_bytes(b"second")
        path.write_bytes(b"first")

    monkeypatch.setattr(database, "_create", create)
    ensure_database(uri_of(path))
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["registry.db"]
