"""Creates MLflow's sqlite database once, whole or not at all.

MLflow migrates a new database step by step in place: two processes that start together crash each
other, and a killed one leaves a database that no later start can use. So a new database is made
under a name of its own and then linked to its final name, which succeeds for exactly one process.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, unquote

from pairlock.errors import ErrorKind, StorageError
from pairlock.without_mlflow import OnlyMlflowError, need_mlflow

_SQLITE = "sqlite:///"


def sqlite_path(uri: str) -> Path | None:
    """The database file behind a `sqlite:///` URI, or None for any other URI.

    A relative path is relative to the working directory, as SQLAlchemy has it.
    """
    if not uri.startswith(_SQLITE):
        return None
    path = unquote(uri.removeprefix(_SQLITE).partition("?")[0])
    return None if path in {"", ":memory:"} else Path(path).absolute()


def ensure_database(uri: str) -> None:
    """Make the database behind a sqlite URI if it is not there; do nothing for other URIs.

    Artifacts of the default experiment go to `mlruns` beside the database.

    Raises:
        StorageError: the database cannot be made.
        UnavailableError: MLflow, which makes it, is not installed.
    """
    path = sqlite_path(uri)
    if path is None:
        return
    need_mlflow(OnlyMlflowError("a registry that shall be made"))
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    staged = path.with_name(f".{os.urandom(16).hex()}.new")
    try:
        if path.exists():
            return  # an empty file is another process at work, or MLflow's to fill
        path.parent.mkdir(parents=True, exist_ok=True)
        # SQLAlchemy tries for minutes where it cannot write; this says so at once
        staged.touch(exist_ok=False)
        _create(staged, artifacts=path.parent / "mlruns")
        _publish(staged, path)
    except (OSError, ValueError, sqlite3.Error, SQLAlchemyError, MlflowException) as error:
        raise StorageError(
            f"cannot create the registry database {path}",
            kind=ErrorKind.STORAGE_FAILED,
            checked=str(path.parent),
            expected="a folder that can be written to, on a file system with hard links",
            found=f"{type(error).__name__}: {error}",
            done="no database was made",
            hint=f"choose another place with MLFLOW_TRACKING_URI, or run "
            f"`mlflow db upgrade sqlite:///{path}` once",
        ) from error
    finally:
        for leftover in (staged, staged.with_name(f"{staged.name}-journal")):
            with suppress(OSError, ValueError):
                leftover.unlink()


def _create(path: Path, *, artifacts: Path) -> None:
    with _quiet():
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        uri = f"{_SQLITE}{quote(str(path))}"
        store = SqlAlchemyStore(uri, artifacts.as_posix())
        # MLflow keeps one engine per URI for the life of the process
        SqlAlchemyStore._engine_map.pop(uri, None)
        store.engine.dispose()


def _publish(staged: Path, path: Path) -> None:
    descriptor = os.open(staged, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(staged, path)
    except FileExistsError:
        return  # another process was first; its database is as good as ours


@contextmanager
def _quiet() -> Iterator[None]:
    import logging

    # every migration is logged at INFO, some sixty lines, on the first command a user runs
    names = ("mlflow.store.db.utils", "alembic", "alembic.runtime.migration")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
