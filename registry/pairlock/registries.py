"""Which MLflow registry is being talked to.

It is MLflow's own setting, which holds for the whole process, unless a piece of work names another
one with `using`. That holds for this work alone, in its own thread: what other threads load
meanwhile still comes from where MLflow's setting says.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import RLock

from pairlock.references import without_credentials


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
    """The registry that this piece of work talks to."""
    named = _named.get()
    if named is not None:
        return named
    import mlflow

    with _setting:
        return Registry(str(mlflow.get_tracking_uri()), str(mlflow.get_registry_uri()))


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
