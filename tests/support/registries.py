"""Registries of their own for tests: sqlite, with artifacts beside it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.store.db import utils as databases

import pairlock
from pairlock.catalog import ensure_database, locate
from pairlock.references import parse_reference

Snapshot = dict[str, tuple[int, ...]]

# MLflow runs all files of its migrations for each database that it opens, to learn which is the
# newest. That is the same for all registries of a run; each is still compared with it
databases._get_latest_schema_revision = cache(databases._get_latest_schema_revision)


@contextmanager
def active(uri: str) -> Iterator[None]:
    """Use a registry in MLflow, and the one before it afterwards."""
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])


class Registry:
    """A registry in a folder, and short ways to ask it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = f"sqlite:///{folder}/mlflow.db"

    @property
    def client(self) -> MlflowClient:
        """MLflow's client of this registry."""
        return MlflowClient(self.uri, self.uri)

    def log(self, model: object, name: str, **kwargs: Any) -> str:
        """Package and register a model; returns its URI."""
        return pairlock.log_model(model, registered_model_name=name, **kwargs).uri

    def versions(self, name: str) -> list[int]:
        """The versions of a name."""
        found = self.client.search_model_versions(f"name = '{name}'")
        return sorted(int(version.version) for version in found)

    def folder_of(self, uri: str) -> Path:
        """The folder in which a model's bytes lie."""
        return package_folder(uri)


def package_folder(uri: str) -> Path:
    """The folder in which a model's bytes lie, by the registry in use."""
    return Path(locate(parse_reference(uri)).location)


def new_registry(folder: Path, template: Path, *, artifacts: str | None = None) -> Registry:
    """A registry that is like a fresh one, copied from a fresh one because making one is slow.

    Args:
        folder: where it is made.
        template: the fresh one.
        artifacts: where its only experiment keeps artifacts; beside the database otherwise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    registry = Registry(folder)
    shutil.copyfile(template / "mlflow.db", folder / "mlflow.db")
    with sqlite3.connect(folder / "mlflow.db") as database:
        database.execute(
            "UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)",
            (str(template), str(folder)),
        )
        if artifacts is not None:
            database.execute("UPDATE experiments SET artifact_location = ?", (artifacts,))
    database.close()
    return registry


def make_template(folder: Path) -> Path:
    """A fresh registry to copy from."""
    ensure_database(f"sqlite:///{folder}/mlflow.db")
    return folder


def copy_registry(source: Registry, folder: Path) -> Registry:
    """A registry of its own with all that is in another one: its rows and its bytes.

    Every path in the database is changed to lead into the copy, so that nothing that a test does to
    it, or damages in it, reaches the source.

    Args:
        source: a registry in a folder, with its artifacts beside its database.
        folder: where the copy is made; not there yet.
    """
    shutil.copytree(source.folder, folder, ignore=shutil.ignore_patterns("mlflow.db*"))
    old, new = str(source.folder), str(folder)
    with (
        closing(sqlite3.connect(source.folder / "mlflow.db")) as theirs,
        closing(sqlite3.connect(folder / "mlflow.db")) as ours,
    ):
        theirs.backup(ours)
        tables = ours.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            for _, column, kind, *_ in ours.execute(f"PRAGMA table_info({table})").fetchall():
                if kind.startswith(("VARCHAR", "TEXT")):
                    ours.execute(
                        f'UPDATE {table} SET "{column}" = replace("{column}", ?, ?) '
                        f'WHERE instr("{column}", ?)',
                        (old, new, old),
                    )
        ours.commit()
    return Registry(folder)


def snapshot(folder: Path) -> Snapshot:
    """Everything under a folder by path: mode, inode, size and time of change."""
    found: Snapshot = {}
    for root, _, files in os.walk(folder):
        for path in [Path(root), *(Path(root) / name for name in files)]:
            status = path.lstat()
            size = 0 if path.is_dir() else status.st_size
            found[str(path.relative_to(folder))] = (
                status.st_mode,
                status.st_ino,
                size,
                status.st_mtime_ns,
            )
    return found
