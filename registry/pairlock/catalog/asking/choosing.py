"""Who answers: the database file or the server itself where that is plain, and MLflow elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pairlock.catalog.asking.interface import Answering, Questions
from pairlock.catalog.asking.through_mlflow import ThroughMlflow
from pairlock.catalog.database import sqlite_path
from pairlock.registries import Registry, registry_in_use
from pairlock.without_mlflow import OnlyMlflowError, need_mlflow

Answer = TypeVar("Answer")


def asked(question: Callable[[Answering], Answer]) -> Answer:
    """The answer to a question, or to several that belong together.

    It is put to MLflow, from its beginning, where it turns out that only MLflow can answer.

    Args:
        question: asks, and changes nothing.

    Raises:
        UnansweredError: there is no answer.
        UnavailableError: only MLflow can answer, and it is not installed.
        PairlockError: whatever `question` raises.
    """
    registry = registry_in_use()
    try:
        return asked_directly(registry, question)
    except OnlyMlflowError as reason:
        need_mlflow(reason)
    return asked_through_mlflow(registry, question)


def asked_directly(registry: Registry, question: Callable[[Answering], Answer]) -> Answer:
    """The answer of the database or the server itself.

    Raises:
        OnlyMlflowError: only MLflow can answer.
        UnansweredError: there is no answer.
        PairlockError: whatever `question` raises.
    """
    versions = _place(registry.registry)
    models = versions
    if registry.tracking != registry.registry:
        models = _place(registry.tracking)
    try:
        return question(Answering(versions, models))
    finally:
        versions.close()
        models.close()


def asked_through_mlflow(registry: Registry, question: Callable[[Answering], Answer]) -> Answer:
    """The answer of MLflow's client.

    Raises:
        UnansweredError: there is no answer.
        PairlockError: whatever `question` raises.
    """
    client = ThroughMlflow(registry)
    return question(Answering(client, client))


def _place(uri: str) -> Questions:
    if uri.lower().startswith(("http://", "https://")):
        from pairlock.catalog.asking.server import Server

        return Server(uri)
    path = sqlite_path(uri)
    if path is not None:
        from pairlock.catalog.asking.sqlite_file import SqliteFile

        return SqliteFile(path, uri.partition("?")[2])
    scheme, colon, _ = uri.partition(":")
    raise OnlyMlflowError(f"a registry at {scheme}:" if colon else "a registry in a folder")
