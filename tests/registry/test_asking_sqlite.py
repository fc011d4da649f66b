"""A sqlite registry is read without a trace, whatever state it is in, and only if it is known."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pairlock.catalog import locate
from pairlock.catalog.asking import sqlite_file
from pairlock.catalog.asking.choosing import asked_directly
from pairlock.catalog.asking.sqlite_file import KNOWN_SCHEMAS
from pairlock.errors import ErrorKind, NotFoundError
from pairlock.references import parse_reference
from pairlock.registries import Registry as InUse
from pairlock.without_mlflow import OnlyMlflowError
from support.questions import Stock, digest, outcome
from support.registries import Registry, active, snapshot

URI = "models:/support/1"
TABLES = {
    "alembic_version": {"version_num"},
    "registered_models": {"workspace", "name"},
    "registered_model_tags": {"workspace", "name", "key", "value"},
    "registered_model_aliases": {"workspace", "name", "alias", "version"},
    "model_versions": {
        "workspace",
        "name",
        "version",
        "status",
        "status_message",
        "current_stage",
        "source",
        "storage_location",
        "creation_time",
    },
    "model_version_tags": {"workspace", "name", "version", "key", "value"},
    "experiments": {"workspace"},
    "webhooks": {"workspace"},
    "logged_models": {"model_id", "name", "artifact_location", "lifecycle_stage"},
    "logged_model_tags": {"model_id", "tag_key", "tag_value"},
    "runs": {"run_uuid"},
    "inputs": {"source_type", "source_id", "destination_type", "destination_id"},
}
"""What is read of MLflow's tables."""

DIE_HALF_WAY = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 1")
database.execute("BEGIN IMMEDIATE")
database.execute("UPDATE model_version_tags SET value = 'half'")
for number in range(3000):
    database.execute("INSERT INTO tags VALUES (?, ?, ?)", (f"k{number}", "x" * 500, "r"))
os._exit(1)
"""


@pytest.fixture
def stock(registry: Registry) -> Stock:
    """A registry with one version, in use."""
    made = Stock(registry)
    made.version("support", f"models:/{made.logged('support', 1)}", 1)
    return made


def path_of(registry: Registry) -> Path:
    """The database."""
    return registry.folder / "mlflow.db"


def asks(uri: str = URI) -> object:
    """The digest that is found directly, or the kind of the error."""
    found = outcome(uri, asked_directly)
    return found["kind"] if "kind" in found else found["anchors"]["version tag"]


def keeps_a_log(registry: Registry) -> None:
    """Let the database keep a write-ahead log."""
    with closing(sqlite3.connect(path_of(registry))) as database:
        assert database.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)


def test_a_look_up_changes_nothing(stock: Stock) -> None:
    """No file is made, none is touched."""
    before = snapshot(stock.registry.folder)
    for reference in (URI, "models:/support@none", "models:/m-" + "0" * 32, "models:/support/None"):
        asks(reference)
    assert snapshot(stock.registry.folder) == before
    assert asks() == digest(1)


def test_a_folder_that_cannot_be_written_is_read(stock: Stock) -> None:
    """A database on a read-only disk is as good as any, with a write-ahead log too."""
    for _ in range(2):
        folder = stock.registry.folder
        folder.chmod(0o555)
        path_of(stock.registry).chmod(0o444)
        try:
            assert asks() == digest(1)
        finally:
            folder.chmod(0o755)
            path_of(stock.registry).chmod(0o644)
        keeps_a_log(stock.registry)


def test_a_database_with_a_write_ahead_log_is_left_as_it_is(stock: Stock) -> None:
    """Neither the log nor its index is made where nobody has the database open."""
    keeps_a_log(stock.registry)
    before = snapshot(stock.registry.folder)
    assert asks() == digest(1)
    assert snapshot(stock.registry.folder) == before


def test_what_is_in_the_log_of_another_process_is_seen(stock: Stock) -> None:
    """A version that is committed counts, also before it is in the database's file."""
    keeps_a_log(stock.registry)
    with closing(sqlite3.connect(path_of(stock.registry))) as other:
        other.execute("UPDATE model_version_tags SET value = ?", (digest(7),))
        other.commit()
        assert path_of(stock.registry).with_name("mlflow.db-wal").stat().st_size > 0
        assert asks() == digest(7)


def test_a_database_that_is_opened_meanwhile_is_read_again(
    stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who takes a file to stand still looks again, and reads it anew when it did not."""
    keeps_a_log(stock.registry)
    begun, opened = sqlite_file._begun, []

    def begin(path: Path, how: str) -> sqlite3.Connection:
        made = begun(path, how)
        if not opened:
            opened.append(sqlite3.connect(path))
            opened[0].execute("UPDATE model_version_tags SET value = ?", (digest(8),))
            opened[0].commit()
        return made

    monkeypatch.setattr(sqlite_file, "_begun", begin)
    assert asks() == digest(8)
    opened[0].close()


def test_a_database_that_is_written_to_is_waited_for(stock: Stock) -> None:
    """A lock that is let go costs time, and nothing else."""
    with closing(
        sqlite3.connect(path_of(stock.registry), isolation_level=None, check_same_thread=False)
    ) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        timer = threading.Timer(0.4, writer.execute, ["ROLLBACK"])
        timer.start()
        began = time.monotonic()
        assert asks() == digest(1)
        assert 0.3 < time.monotonic() - began < 5
        timer.join()


def test_a_database_that_stays_locked_is_an_error(
    stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After as long as MLflow waits, the registry is unavailable."""
    assert sqlite_file._WAIT_S == 20
    monkeypatch.setattr(sqlite_file, "_WAIT_S", 0.1)
    with closing(sqlite3.connect(path_of(stock.registry), isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        assert asks() == ErrorKind.REGISTRY_UNAVAILABLE


def test_what_a_killed_process_left_half_written_is_undone(stock: Stock) -> None:
    """A change that was not committed is not seen, as by any reader of sqlite."""
    path = path_of(stock.registry)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA foreign_keys = OFF")
    subprocess.run([sys.executable, "-c", DIE_HALF_WAY, str(path)], check=False)
    assert path.with_name("mlflow.db-journal").stat().st_size > 0
    assert asks() == digest(1)


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\x00", b"no database at all" * 100])
def test_a_file_that_is_no_registry_is_an_error(stock: Stock, content: bytes) -> None:
    """A file that is empty is MLflow's to fill; one that is no database is an error at once."""
    path_of(stock.registry).write_bytes(content)
    if content:
        assert asks() == ErrorKind.REGISTRY_UNAVAILABLE
    else:
        with pytest.raises(OnlyMlflowError):
            asks()
    assert path_of(stock.registry).read_bytes() == content


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE alembic_version SET version_num = 'fffffffffff1'",
        "DELETE FROM alembic_version",
        "DROP TABLE alembic_version",
        "ALTER TABLE model_versions RENAME COLUMN source TO origin",
        "DROP TABLE model_version_tags",
        "UPDATE experiments SET workspace = 'team'",
        "INSERT INTO registered_models (workspace, name) VALUES ('team', 'x')",
        "INSERT INTO webhooks (workspace, webhook_id, name, url, status) "
        "VALUES ('team', 'i', 'n', 'u', 'ACTIVE')",
    ],
)
def test_a_schema_that_is_not_known_is_mlflows(stock: Stock, change: str) -> None:
    """Nothing is guessed: of another schema, or with workspaces, MLflow is asked."""
    stock.write(change)
    with pytest.raises(OnlyMlflowError):
        asks()


def test_mlflow_answers_where_only_it_can(stock: Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A schema that nobody listed costs the time to import MLflow, and the answer is right."""
    monkeypatch.setattr(sqlite_file, "KNOWN_SCHEMAS", frozenset())
    found = locate(parse_reference(URI))
    assert found.anchors == {"version tag": digest(1), "logged model tag": digest(1)}
    with pytest.raises(NotFoundError):
        locate(parse_reference("models:/support/2"))


def test_a_name_that_is_no_text_is_opened(stock: Stock, tmp_path: Path) -> None:
    """A folder's name may be any bytes."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    shutil.copytree(stock.registry.folder, folder)
    file = sqlite_file.SqliteFile(folder / "mlflow.db")
    assert file.version("support", 1).tags["pairlock.package_digest"] == digest(1)
    file.close()


@pytest.mark.parametrize("query", ["", "?timeout=5", "?check_same_thread=false"])
def test_escapes_and_queries_in_the_uri_are_understood(
    stock: Stock, tmp_path: Path, query: str
) -> None:
    """The file is the one that SQLAlchemy opens."""
    folder = tmp_path / "50% a?b#c ü"
    shutil.copytree(stock.registry.folder, folder)
    escaped = str(folder / "mlflow.db").replace("%", "%25").replace("?", "%3F")
    with active(f"sqlite:///{escaped}{query}"):
        assert asks() == digest(1)


def test_a_uri_inside_the_uri_is_mlflows(stock: Stock) -> None:
    """`uri=true` makes the path another URI, with settings of its own."""
    uri = f"sqlite:///file:{path_of(stock.registry)}?mode=ro&uri=true"
    with pytest.raises(OnlyMlflowError):
        asked_directly(InUse(uri, uri), lambda registry: registry.versions.version("support", 1))


def test_the_tracking_server_may_be_another(stock: Stock, tmp_path: Path) -> None:
    """Versions are asked of the registry, and the tracking server only for logged models."""
    elsewhere = f"sqlite:///{tmp_path}/not-there.db"
    both = InUse(elsewhere, stock.registry.uri)
    found = asked_directly(both, lambda registry: registry.versions.version("support", 1))
    assert found.tags["pairlock.package_digest"] == digest(1)
    assert not (tmp_path / "not-there.db").exists()


# --- the schemas ---------------------------------------------------------------------------------


def test_the_schema_of_this_mlflow_is_known(registry_template: Path) -> None:
    """A new MLflow with a new schema is found out here: look at its migrations, then list it."""
    from mlflow.store.db.utils import _get_latest_schema_revision

    assert _get_latest_schema_revision() in KNOWN_SCHEMAS


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A database of the first schema that is known."""
    import sqlalchemy
    from alembic import command
    from mlflow.store.db.utils import InitialBase, _get_alembic_config

    path = tmp_path_factory.mktemp("schemas") / "mlflow.db"
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    InitialBase.metadata.create_all(engine)
    config = _get_alembic_config(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "1b5f0d9ad7c1")
    engine.dispose()
    yield path
    path.unlink()


def test_the_tables_are_the_same_in_all_known_schemas(migrated: Path) -> None:
    """What is read is there under the same names, from the first known schema to the last."""
    import sqlalchemy
    from alembic import command
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    config = _get_alembic_config(f"sqlite:///{migrated}")
    steps = ScriptDirectory.from_config(config).iterate_revisions("heads", "1b5f0d9ad7c1")
    revisions = [step.revision for step in steps][::-1]
    assert {"1b5f0d9ad7c1", *revisions} == KNOWN_SCHEMAS
    engine = sqlalchemy.create_engine(f"sqlite:///{migrated}")
    for revision in ("1b5f0d9ad7c1", *revisions):
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
        with closing(sqlite3.connect(migrated)) as database:
            for table, columns in TABLES.items():
                found = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
                assert columns <= found, (revision, table)
        asked_directly(
            InUse(f"sqlite:///{migrated}", f"sqlite:///{migrated}"),
            lambda registry: registry.versions.tagged("x", "y"),
        )
    engine.dispose()
    assert [path.name for path in migrated.parent.iterdir()] == ["mlflow.db"]
