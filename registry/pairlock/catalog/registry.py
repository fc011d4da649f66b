"""MLflow's client of the registry in use, and the errors of whoever is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pairlock.catalog.asking import Reason, UnansweredError, asked
from pairlock.catalog.database import ensure_database, sqlite_path
from pairlock.catalog.in_use import tracking_uri
from pairlock.errors import ErrorKind, NotFoundError, UnavailableError
from pairlock.references import without_credentials
from pairlock.registries import registry_in_use
from pairlock.without_mlflow import OnlyMlflowError, need_mlflow
from pairlock.wording import counted

NOTHING_DONE = "nothing was loaded or changed"
"""What is said when a question failed, whatever it was asked for."""


def ensure_registry() -> None:
    """Make the embedded registry if this is its first use.

    Raises:
        StorageError: it cannot be made.
    """
    registry = registry_in_use()
    for uri in dict.fromkeys([registry.tracking, registry.registry]):
        ensure_database(uri)


def reach_registry() -> str:
    """Ask the registry something small.

    Returns:
        How many registered models it has, in words.

    Raises:
        UnavailableError: it does not answer.
    """
    with unanswered("the registry"):
        count, more = asked(lambda registry: registry.versions.count_models())
    return ("at least " if more else "") + counted(count, "registered model")


def ask(requested: str, method: str, *arguments: Any, **named: Any) -> Any:
    """Call a method of MLflow's client.

    Args:
        requested: what it is about, for messages.
        method: the method's name.
        arguments: what it is given.
        named: what it is given by name.

    Raises:
        NotFoundError: there is no such model, version or alias.
        UnavailableError: the registry is not there, or did not answer.
    """
    with translated(requested):
        return getattr(client_of_a_registry(), method)(*arguments, **named)


def client_of_a_registry() -> Any:
    """MLflow's client of the registry in use, which has to be there: MLflow would make it.

    Raises:
        UnavailableError: it is a database that is not there, or MLflow is not installed.
    """
    need_registry()
    return client()


def need_registry() -> None:
    """Look whether the registry in use is there, as far as that takes no question.

    Raises:
        UnavailableError: it is a database that is not there.
    """
    path = sqlite_path(tracking_uri())
    if path is not None and not path.exists():
        raise registry_unavailable(FileNotFoundError(f"{path} is not there"))


def client() -> Any:
    """MLflow's client of the registry in use.

    Raises:
        UnavailableError: MLflow is not installed.
    """
    need_mlflow(OnlyMlflowError("something that is done by MLflow's client"))
    from mlflow import MlflowClient

    registry = registry_in_use()
    return MlflowClient(registry.tracking, registry.registry)


@contextmanager
def translated(requested: str) -> Iterator[None]:
    """MLflow's errors as Pairlock's.

    Args:
        requested: what it is about, for messages.

    Raises:
        NotFoundError: there is no such model, version or alias.
        UnavailableError: the registry is not there, lets this user not in, or did not answer.
    """
    from pairlock.catalog.asking.through_mlflow import answered

    with unanswered(requested), answered():
        yield


@contextmanager
def unanswered(requested: str) -> Iterator[None]:
    """What was not answered, as Pairlock's errors.

    Args:
        requested: what it is about, for messages.

    Raises:
        NotFoundError: there is no such model, version or alias.
        UnavailableError: the registry is not there, lets this user not in, or did not answer.
    """
    try:
        yield
    except UnansweredError as error:
        raise _refusal(requested, error) from error


def _refusal(requested: str, error: UnansweredError) -> NotFoundError | UnavailableError:
    """The error for a question that was not answered."""
    if error.reason is not Reason.MISSING:
        return registry_unavailable(error)
    return NotFoundError(
        f"{requested} is not in the registry",
        kind=ErrorKind.MODEL_NOT_FOUND,
        checked=f"the registry {without_credentials(tracking_uri())}",
        expected=requested,
        found=_first_line(error),
        done=NOTHING_DONE,
        hint="check the name and the registry; MLFLOW_TRACKING_URI chooses another one, "
        "`pairlock doctor` shows which one is used",
    )


def registry_unavailable(error: Exception) -> UnavailableError:
    """The error for a registry that failed to answer, or does not let this user in.

    Args:
        error: what happened; also an error of MLflow's.
    """
    if _is_refusal(error):
        return UnavailableError(
            "the registry refuses access",
            kind=ErrorKind.ACCESS_DENIED,
            checked=f"the registry {without_credentials(tracking_uri())}",
            expected="credentials that the registry accepts",
            found=_first_line(error),
            done=NOTHING_DONE,
            hint="check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN, and what this user may do there",
        )
    return UnavailableError(
        "the registry did not answer as it should",
        kind=ErrorKind.REGISTRY_UNAVAILABLE,
        checked=f"the registry {without_credentials(tracking_uri())}",
        expected="an answer",
        found=_first_line(error),
        done=NOTHING_DONE,
        hint="check that the server runs and that its address is right (MLFLOW_TRACKING_URI, or "
        "--to-registry), then try again",
    )


def _is_refusal(error: Exception) -> bool:
    if isinstance(error, UnansweredError):
        return error.reason is Reason.REFUSED
    # MLflow's own error, whose class is not imported for this
    status = getattr(error, "get_http_status_code", None)
    return callable(status) and status() in {401, 403}


def _first_line(error: Exception) -> str:
    text = str(error).strip() or repr(error)
    # a server's address in MLflow's own message may carry a password
    return re.sub(r"//[^/@\s]+@", "//", text.splitlines()[0])[:300]
