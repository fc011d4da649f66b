"""The few questions that a load, a pull and a verify ask MLflow's registry, whoever answers them.

Answers are plain data. What is not answered is an `UnansweredError` with a reason, and the catalog
makes Pairlock's errors of it, in one place for all who answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

PROMPT_TAG = "mlflow.prompt.is_prompt"
"""MLflow keeps prompts among the registered models, and tells nobody who asks for a model."""

MOST_COUNTED = 100
"""MLflow's own page; more need not be counted to know that a registry answers."""


class Reason(StrEnum):
    """Why there is no answer."""

    MISSING = "missing"
    REFUSED = "refused"
    FAILED = "failed"


class UnansweredError(Exception):
    """The registry says no, lets this user not in, or did not answer as it should.

    Args:
        text: what it said.
        reason: which of them.
    """

    def __init__(self, text: str, reason: Reason = Reason.FAILED) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredVersion:
    """A registered version as the registry has it."""

    name: str
    version: int

    status: str
    """`READY`, or another status of MLflow's."""

    status_message: str
    stage: str
    """The legacy stage: `None`, `Staging`, `Production` or `Archived`."""

    source: str
    """What it was registered from."""

    created_ms: int
    """When it was registered, in ms since 1970; 0 when that is not known."""

    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedModel:
    """A logged model as the tracking server has it."""

    model_id: str
    name: str
    location: str
    tags: Mapping[str, str] = field(default_factory=dict)


class VersionQuestions(Protocol):
    """What a registry is asked."""

    def count_models(self) -> tuple[int, bool]:
        """How many registered models there are, up to `MOST_COUNTED`, and whether there are more.

        Raises:
            UnansweredError: no answer.
            OnlyMlflowError: MLflow has to be asked.
        """

    def version(self, name: str, version: int) -> RegisteredVersion:
        """A version that is not deleted.

        Raises:
            UnansweredError: there is none, or no answer.
            OnlyMlflowError: MLflow has to be asked.
        """

    def aliased(self, name: str, alias: str) -> RegisteredVersion:
        """The version that an alias points to.

        Raises:
            UnansweredError: there is none, or no answer.
            OnlyMlflowError: MLflow has to be asked.
        """

    def newest_in_stage(self, name: str, stage: str) -> RegisteredVersion | None:
        """The newest version in a legacy stage; None when the stage is empty.

        Raises:
            UnansweredError: there is no such model, or no answer.
            OnlyMlflowError: MLflow has to be asked.
        """

    def download_location(self, name: str, version: int) -> str:
        """Where the bytes of a version lie.

        Raises:
            UnansweredError: there is no such version, or no answer.
            OnlyMlflowError: MLflow has to be asked.
        """

    def tagged(self, tag: str, text: str) -> tuple[RegisteredVersion, ...]:
        """Every version with a tag of this text, in any order.

        Raises:
            UnansweredError: no answer.
            OnlyMlflowError: MLflow has to be asked.
        """


class ModelQuestions(Protocol):
    """What a tracking server is asked."""

    def logged_model(self, model_id: str) -> LoggedModel:
        """A logged model that is not deleted.

        Raises:
            UnansweredError: there is none, or no answer.
            OnlyMlflowError: MLflow has to be asked.
        """

    def models_of_run(self, run_id: str) -> tuple[str, ...]:
        """The ids of the models that were logged under a run.

        Raises:
            UnansweredError: there is no such run, or no answer.
            OnlyMlflowError: MLflow has to be asked.
        """


class Questions(VersionQuestions, ModelQuestions, Protocol):
    """Both, of one place."""

    def close(self) -> None:
        """Nothing more will be asked."""


@dataclass(frozen=True, slots=True)
class Answering:
    """Who answers what: the registry and the tracking server may be two."""

    versions: VersionQuestions
    models: ModelQuestions


def not_a_prompt(version: RegisteredVersion) -> RegisteredVersion:
    """A version, unless it is a prompt's.

    Raises:
        UnansweredError: it is a prompt's.
    """
    if PROMPT_TAG in version.tags:
        raise no_such_model(version.name)
    return version


def no_such_model(name: str) -> UnansweredError:
    """What is said where no model has a name."""
    return UnansweredError(f"Registered Model with name={name!r} not found.", Reason.MISSING)
