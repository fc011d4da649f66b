"""MLflow's registry in a sqlite file, asked by one short session that changes nothing.

- The schema has to be one that this release knows, and the registry one without workspaces. For
  any other, MLflow is asked.
- Nothing is made: no database, no journal, no write-ahead log.
- A database that another process writes to is waited for, as long as MLflow waits.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

from pairlock.catalog.asking.interface import (
    MOST_COUNTED,
    PROMPT_TAG,
    LoggedModel,
    Reason,
    RegisteredVersion,
    UnansweredError,
    no_such_model,
    not_a_prompt,
)
from pairlock.without_mlflow import OnlyMlflowError

KNOWN_SCHEMAS = frozenset(
    {
        "1b5f0d9ad7c1",  # workspaces
        "e1f2a3b4c5d6",
        "76601a5f987d",
        "c3d6457b6d8a",
        "a5b4c3d2e1f0",
        "ae8bbe7743c9",
        "7d34483879f0",
        "da6fb0208061",
        "89d3d66ed43f",
        "b7e4c1a90f23",
        "a8b9c0d1e2f3",
        "c1d2e3f4a5b6",
        "c3d9e7f1a2b4",
        "6f8d9c3b2a1e",
        "1971f2d9a75b",
        "17e22815139b",
        "b7e2c1a4d9f3",
        "75868b020152",
        "dc11669786a5",  # MLflow 3.17.2
    }
)
"""Revisions of MLflow's schema, from the one with workspaces on. In all of them the tables that are
read here are the same (`tests/registry/test_asking_sqlite.py`)."""

_WAIT_S = 20.0
"""How long MLflow's sessions wait for a lock (`PRAGMA busy_timeout`)."""

_TRIES = 5

_WORKSPACE = "default"
"""Where everything lies in a registry without workspaces."""

_OTHER_WORKSPACES = """
SELECT EXISTS (SELECT 1 FROM registered_models WHERE workspace < ? OR workspace > ?)
    OR EXISTS (SELECT 1 FROM experiments WHERE workspace <> ?)
    OR EXISTS (SELECT 1 FROM webhooks WHERE workspace <> ?)
"""
_VERSION = """
SELECT v.name, v.version, v.status, v.status_message, v.current_stage, v.source, v.creation_time
FROM model_versions AS v
"""
_THERE = "v.workspace = ? AND v.name = ? AND v.current_stage <> 'Deleted_Internal'"
_TAGGED = f"""{_VERSION}
JOIN model_version_tags AS t USING (workspace, name, version)
WHERE v.workspace = ? AND t.key = ? AND t.value = ? AND v.current_stage <> 'Deleted_Internal'
AND NOT EXISTS (
    SELECT 1 FROM model_version_tags AS p
    WHERE p.workspace = v.workspace AND p.name = v.name AND p.key = ? AND p.value = 'true'
)
"""  # noqa: S608 - put together of constants
_COUNTED = """
SELECT count(*) FROM (
    SELECT 1 FROM registered_models AS m WHERE m.workspace = ? AND NOT EXISTS (
        SELECT 1 FROM registered_model_tags AS t
        WHERE t.workspace = m.workspace AND t.name = m.name AND t.key = ? AND t.value = 'true'
    )
    LIMIT ?
)
"""
_MODEL_IN_RUN = """
SELECT destination_id FROM inputs
WHERE source_type = 'RUN_OUTPUT' AND source_id = ? AND destination_type = 'MODEL_OUTPUT'
"""


class SqliteFile:
    """One database file.

    Args:
        path: where it is.
        query: what the URI says behind the path.

    Raises:
        OnlyMlflowError: the URI says something about how it is opened.
    """

    def __init__(self, path: Path, query: str = "") -> None:
        # what makes a database of SQLAlchemy's that is none at this path
        if "uri" in dict(parse_qsl(query, keep_blank_values=True)):
            raise OnlyMlflowError("a sqlite URI inside the registry's URI")
        self._path = path
        self._open: sqlite3.Connection | None = None
        self._frozen: _Stamp | None = None

    def close(self) -> None:
        """End the session."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def count_models(self) -> tuple[int, bool]:
        """How many registered models there are; as `VersionQuestions.count_models`."""
        found = self._rows(_COUNTED, _WORKSPACE, PROMPT_TAG, MOST_COUNTED + 1)
        count = int(found[0][0])
        return min(count, MOST_COUNTED), count > MOST_COUNTED

    def version(self, name: str, version: int) -> RegisteredVersion:
        """A version that is not deleted; as `VersionQuestions.version`."""
        return not_a_prompt(self._version(name, version))

    def aliased(self, name: str, alias: str) -> RegisteredVersion:
        """The version that an alias points to; as `VersionQuestions.aliased`."""
        self._need_model(name)
        found = self._rows(
            "SELECT version FROM registered_model_aliases "
            "WHERE workspace = ? AND name = ? AND alias = ?",
            _WORKSPACE,
            name,
            alias,
        )
        if not found:
            raise UnansweredError(f"Registered model alias {alias} not found.", Reason.MISSING)
        return not_a_prompt(self._version(name, int(found[0][0])))

    def newest_in_stage(self, name: str, stage: str) -> RegisteredVersion | None:
        """The newest version in a legacy stage; as `VersionQuestions.newest_in_stage`."""
        self._need_model(name)
        if PROMPT_TAG in self._tags("registered_model_tags", name):
            raise no_such_model(name)
        found = self._rows(
            f"{_VERSION} WHERE {_THERE} AND v.current_stage = ? ORDER BY v.version DESC LIMIT 1",
            _WORKSPACE,
            name,
            stage,
        )
        return self._registered(found[0]) if found else None

    def download_location(self, name: str, version: int) -> str:
        """Where the bytes of a version lie; as `VersionQuestions.download_location`."""
        found = self._rows(
            f"SELECT v.storage_location, v.source FROM model_versions AS v "  # noqa: S608 - constants
            f"WHERE {_THERE} AND v.version = ?",
            _WORKSPACE,
            name,
            version,
        )
        if not found:
            raise _no_such_version(name, version)
        return str(found[0][0] or found[0][1])

    def tagged(self, tag: str, text: str) -> tuple[RegisteredVersion, ...]:
        """Every version with a tag of this text; as `VersionQuestions.tagged`."""
        found = self._rows(_TAGGED, _WORKSPACE, tag, text, PROMPT_TAG)
        return tuple(self._registered(row) for row in found)

    def logged_model(self, model_id: str) -> LoggedModel:
        """A logged model that is not deleted; as `ModelQuestions.logged_model`."""
        found = self._rows(
            "SELECT name, artifact_location FROM logged_models "
            "WHERE model_id = ? AND lifecycle_stage <> 'deleted'",
            model_id,
        )
        if not found:
            raise UnansweredError(f"Logged model with ID '{model_id}' not found.", Reason.MISSING)
        tags = self._rows(
            "SELECT tag_key, tag_value FROM logged_model_tags WHERE model_id = ?", model_id
        )
        name, location = found[0]
        return LoggedModel(
            model_id=model_id, name=str(name), location=str(location), tags=_texts(tags)
        )

    def models_of_run(self, run_id: str) -> tuple[str, ...]:
        """The ids of the models that were logged under a run; as `ModelQuestions.models_of_run`."""
        if not self._rows("SELECT 1 FROM runs WHERE run_uuid = ?", run_id):
            raise UnansweredError(f"Run with id={run_id} not found", Reason.MISSING)
        return tuple(str(row[0]) for row in self._rows(_MODEL_IN_RUN, run_id))

    def _version(self, name: str, version: int) -> RegisteredVersion:
        found = self._rows(
            f"{_VERSION} WHERE {_THERE} AND v.version = ?", _WORKSPACE, name, version
        )
        if not found:
            raise _no_such_version(name, version)
        return self._registered(found[0])

    def _registered(self, row: tuple[Any, ...]) -> RegisteredVersion:
        name, version, status, message, stage, source, created_ms = row
        return RegisteredVersion(
            name=str(name),
            version=int(version),
            status=str(status),
            status_message=str(message or ""),
            stage=str(stage),
            source=str(source or ""),
            created_ms=int(created_ms or 0),
            tags=self._tags("model_version_tags", str(name), int(version)),
        )

    def _tags(self, table: str, name: str, version: int | None = None) -> Mapping[str, str]:
        of_version, numbers = ("", ()) if version is None else (" AND version = ?", (version,))
        return _texts(
            self._rows(
                f"SELECT key, value FROM {table} WHERE workspace = ? AND name = ?{of_version}",  # noqa: S608 - constants
                _WORKSPACE,
                name,
                *numbers,
            )
        )

    def _need_model(self, name: str) -> None:
        if not self._rows(
            "SELECT 1 FROM registered_models WHERE workspace = ? AND name = ?", _WORKSPACE, name
        ):
            raise UnansweredError(f"Registered Model with name={name} not found", Reason.MISSING)

    def _rows(self, question: str, *given: str | int) -> list[tuple[Any, ...]]:
        try:
            for _ in range(_TRIES):
                if self._open is None:
                    self._open = self._session()
                rows = self._open.execute(question, given).fetchall()
                if self._frozen is None or self._frozen == _stamp(self._path):
                    return rows
                self.close()
        except sqlite3.Error as error:
            raise _unanswered(error) from error
        except OSError as error:
            raise UnansweredError(f"{type(error).__name__}: {error}") from error
        raise UnansweredError(f"{self._path} changes all the time")

    def _session(self) -> sqlite3.Connection:
        """An open connection that sees one state of a database of a known schema."""
        if not self._path.exists():
            raise UnansweredError(f"there is no database {self._path}", Reason.MISSING)
        self._frozen = _stamp(self._path) if _is_put_aside(self._path) else None
        how = "mode=ro" if self._frozen is None else "mode=ro&immutable=1"
        try:
            return _begun(self._path, how)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_READONLY_ROLLBACK":
                raise
            # what a killed process left half-written is undone by whoever reads next
            return _begun(self._path, "mode=rw")


_Stamp = tuple[bool, int, int, int]


def _stamp(path: Path) -> _Stamp:
    """What changes when somebody opens a database with a write-ahead log, or writes to it."""
    status = path.stat()
    is_open = path.with_name(f"{path.name}-wal").exists()
    return is_open, status.st_ino, status.st_size, status.st_mtime_ns


def _is_put_aside(path: Path) -> bool:
    """Whether a database keeps a write-ahead log, and nobody has it open.

    A reader that is not told that the file stands still would make the log, and leave it there.
    """
    with path.open("rb") as stream:
        header = stream.read(20)
    return header[18:20] == b"\x02\x02" and not path.with_name(f"{path.name}-wal").exists()


def _begun(path: Path, how: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?{how}", uri=True, timeout=_WAIT_S, isolation_level=None
    )
    try:
        _check(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection) -> None:
    """Begin to read, and look whether this is a registry that can be read here."""
    connection.execute("BEGIN")
    schemas = {row[0] for row in connection.execute("SELECT version_num FROM alembic_version")}
    if len(schemas) != 1 or not schemas <= KNOWN_SCHEMAS:
        raise OnlyMlflowError(f"a database with schema {', '.join(sorted(schemas)) or 'none'}")
    (elsewhere,) = connection.execute(_OTHER_WORKSPACES, (_WORKSPACE,) * 4).fetchone()
    if elsewhere:
        raise OnlyMlflowError("a database with workspaces")


def _unanswered(error: sqlite3.Error) -> Exception:
    """What an error of sqlite comes to, in the words in which MLflow passes it on."""
    if str(error).startswith("no such "):
        return OnlyMlflowError(f"a database without a table or column of MLflow's: {error}")
    return UnansweredError(f"(sqlite3.{type(error).__name__}) {error}")


def _no_such_version(name: str, version: int) -> UnansweredError:
    return UnansweredError(
        f"Model Version (name={name}, version={version}) not found", Reason.MISSING
    )


def _texts(rows: list[tuple[Any, ...]]) -> Mapping[str, str]:
    return {str(key): str(value) for key, value in rows if value is not None}
