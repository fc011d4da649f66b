"""What is done without MLflow, and what is said where only MLflow would do.

MLflow takes two seconds to import, and an installation that only serves models has none. So what a
load asks is asked directly where the settings are plain. Where they are not, MLflow is asked, and
where it is not installed an error says what it was needed for.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from pairlock.errors import ErrorKind, UnavailableError
from pairlock.installed import is_installed


class OnlyMlflowError(Exception):
    """Only MLflow itself can do this.

    Args:
        reason: what makes it so, as the subject of a sentence.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def mlflow_is_loaded() -> bool:
    """Whether MLflow is in this process, with settings of its own that may have been changed."""
    return sys.modules.get("mlflow") is not None


def mlflow_is_installed() -> bool:
    """Whether MLflow could be imported; it is not."""
    return mlflow_is_loaded() or is_installed("mlflow")


def need_mlflow(reason: OnlyMlflowError) -> None:
    """Go on where MLflow is installed.

    Args:
        reason: what it is needed for.

    Raises:
        UnavailableError: it is not installed.
    """
    if mlflow_is_installed():
        return
    raise UnavailableError(
        "the registry cannot be asked without MLflow, which is not installed",
        kind=ErrorKind.REGISTRY_UNAVAILABLE,
        checked="MLflow's settings in the environment, and what they lead to",
        expected="a sqlite database of MLflow 3.17, or a tracking server with plain credentials",
        found=reason.reason,
        done="nothing was loaded or changed",
        hint="pip install 'pairlock[torch]', which brings MLflow, or change that",
    ) from reason


def is_on(environment: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    """A variable that MLflow reads as yes or no.

    Args:
        environment: the variables.
        name: the variable.
        default: what holds when it is not there.

    Raises:
        OnlyMlflowError: it is neither, which MLflow says itself.
    """
    text = environment.get(name)
    if text is None:
        return default
    if text.lower() not in {"true", "false", "1", "0"}:
        raise OnlyMlflowError(f"{name} is {text!r}, which is neither true nor false")
    return text.lower() in {"true", "1"}
