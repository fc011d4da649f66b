"""Which MLflow registry is being talked to.

It is MLflow's own setting, which holds for the whole process, unless a piece of work names another
one with `using`. That holds for this work alone, in its own thread: what other threads load
meanwhile still comes from where MLflow's setting says.

Where MLflow is not in the process, nobody has changed its setting there, and it follows from the
environment by the rule of MLflow 3.17: to import MLflow for it takes two seconds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from urllib.parse import quote

from pairlock.references import without_credentials
from pairlock.without_mlflow import OnlyMlflowError, mlflow_is_loaded, need_mlflow


@dataclass(frozen=True, slots=True)
class Registry:
    """A tracking server and the registry that goes with it, as MLflow names them."""

    tracking: str = field(repr=False)
    """May hold a password."""

    registry: str = field(repr=False)
    """May hold a password."""

    def __str__(self) -> str:
        return without_credentials(self.registry)


_named: ContextVar[Registry | None] = ContextVar("pairlock_registry", default=None)
_setting = RLock()
"""Held while MLflow's setting is looked at, or is not what the process has set."""


def registry_in_use() -> Registry:
    """The registry that this piece of work talks to.

    Raises:
        UnavailableError: only MLflow can tell, and it is not installed.
    """
    named = _named.get()
    if named is not None:
        return named
    if not mlflow_is_loaded():
        try:
            return registry_by_environment(os.environ)
        except OnlyMlflowError as reason:
            need_mlflow(reason)
    import mlflow

    with _setting:
        return Registry(str(mlflow.get_tracking_uri()), str(mlflow.get_registry_uri()))


def registry_by_environment(environment: Mapping[str, str]) -> Registry:
    """The registry that MLflow would use in a process in which nobody told it another one.

    Args:
        environment: the variables; the working directory is the process's.

    Raises:
        OnlyMlflowError: the rule for it is MLflow's own affair.
    """
    if "pyspark" in sys.modules or environment.get("DATABRICKS_RUNTIME_VERSION"):
        raise OnlyMlflowError("Spark, which may name a registry")
    if os.name != "posix":
        raise OnlyMlflowError("a system on which paths are not POSIX paths")
    tracking = environment.get("MLFLOW_TRACKING_URI") or _default_tracking_uri()
    registry = environment.get("MLFLOW_REGISTRY_URI")
    if not registry and tracking.startswith("databricks"):
        raise OnlyMlflowError("a tracking server at Databricks")
    return Registry(tracking, registry or tracking)


def _default_tracking_uri() -> str:
    """A database in the working directory, or the folder of experiments that is there already."""
    runs = Path("mlruns")
    try:
        is_file_store = any(
            entry.name.isdigit() and entry.is_dir() and os.path.lexists(Path(entry, "meta.yaml"))
            for entry in os.scandir(runs)
        )
    except OSError:
        is_file_store = False
    if is_file_store:
        return runs.absolute().as_uri()
    return f"sqlite:///{quote(os.path.abspath('mlflow.db'))}"  # noqa: PTH100 - as MLflow does it


@contextmanager
def using(registry: Registry) -> Iterator[None]:
    """Talk to another registry, in this thread and until the block ends."""
    token = _named.set(registry)
    try:
        yield
    finally:
        _named.reset(token)


@contextmanager
def lent_to_mlflow() -> Iterator[None]:
    """Let MLflow's setting be the registry in use, for one short call.

    Registering a version in a database, MLflow 3.17 asks the setting of the process for the logged
    model, whatever its client was given (`SqlAlchemyStore.create_model_version`). What Pairlock
    does in other threads waits that long; what they ask of MLflow itself does not.
    """
    from mlflow.tracking._tracking_service import utils

    wanted = registry_in_use()
    with _setting:
        before = utils._tracking_uri
        try:
            # not by set_tracking_uri, which changes the environment and stops traces
            utils._tracking_uri = wanted.tracking
            yield
        finally:
            utils._tracking_uri = before
