"""MLflow's registry of any kind, asked by MLflow's own client."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from pairlock.catalog.asking.interface import (
    MOST_COUNTED,
    LoggedModel,
    Reason,
    RegisteredVersion,
    UnansweredError,
)
from pairlock.registries import Registry
from pairlock.without_mlflow import OnlyMlflowError, need_mlflow

_PAGE = 100
_MOST_PAGES = 10_000
_MISSING = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE"}


class ThroughMlflow:
    """A registry and its tracking server.

    Args:
        registry: where they are.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def close(self) -> None:
        """Nothing: MLflow keeps what it opened."""

    @cached_property
    def _client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self._registry.tracking, self._registry.registry)

    def count_models(self) -> tuple[int, bool]:
        """How many registered models there are; as `VersionQuestions.count_models`."""
        with answered():
            found = self._client.search_registered_models(max_results=MOST_COUNTED)
        return len(found), bool(found.token)

    def version(self, name: str, version: int) -> RegisteredVersion:
        """A version that is not deleted; as `VersionQuestions.version`."""
        with answered():
            return registered_version(self._client.get_model_version(name, str(version)))

    def aliased(self, name: str, alias: str) -> RegisteredVersion:
        """The version that an alias points to; as `VersionQuestions.aliased`."""
        with answered():
            return registered_version(self._client.get_model_version_by_alias(name, alias))

    def newest_in_stage(self, name: str, stage: str) -> RegisteredVersion | None:
        """The newest version in a legacy stage; as `VersionQuestions.newest_in_stage`."""
        with answered(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            found = self._client.get_latest_versions(name, stages=[stage])
        return registered_version(found[0]) if found else None

    def download_location(self, name: str, version: int) -> str:
        """Where the bytes of a version lie; as `VersionQuestions.download_location`."""
        with answered():
            return str(self._client.get_model_version_download_uri(name, str(version)))

    def tagged(self, tag: str, text: str) -> tuple[RegisteredVersion, ...]:
        """Every version with a tag of this text; as `VersionQuestions.tagged`."""
        found: list[RegisteredVersion] = []
        token: str | None = None
        for _ in range(_MOST_PAGES):
            with answered():
                page = self._client.search_model_versions(
                    f"tags.`{tag}` = '{text}'", max_results=_PAGE, page_token=token
                )
            found += [registered_version(one) for one in page]
            token = page.token
            if not token:
                return tuple(found)
        raise UnansweredError(f"{self._registry} answers without end")

    def logged_model(self, model_id: str) -> LoggedModel:
        """A logged model that is not deleted; as `ModelQuestions.logged_model`."""
        with answered():
            found = self._client.get_logged_model(model_id)
        return LoggedModel(
            model_id=str(found.model_id),
            name=str(found.name),
            location=str(found.artifact_location),
            tags=dict(found.tags),
        )

    def models_of_run(self, run_id: str) -> tuple[str, ...]:
        """The ids of the models that were logged under a run; as `ModelQuestions.models_of_run`."""
        with answered():
            outputs = self._client.get_run(run_id).outputs
        return tuple(str(one.model_id) for one in (outputs.model_outputs if outputs else []))


def registered_version(found: Any) -> RegisteredVersion:
    """A version as MLflow's client gives it.

    Raises:
        UnansweredError: it is none.
    """
    if not found.name or not found.version:
        raise UnansweredError("the answer names no version")
    return RegisteredVersion(
        name=str(found.name),
        version=int(found.version),
        status=str(found.status),
        status_message=str(found.status_message or ""),
        stage=str(found.current_stage or ""),
        source=str(found.source or ""),
        created_ms=int(found.creation_timestamp or 0),
        tags=dict(found.tags),
    )


@contextmanager
def answered() -> Iterator[None]:
    """MLflow's errors as the one error of the questions.

    Raises:
        UnansweredError: whatever MLflow raised.
        UnavailableError: MLflow is not installed.
    """
    need_mlflow(OnlyMlflowError("something that is asked or done by MLflow's client"))
    from mlflow.exceptions import MlflowException
    from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, UnsupportedModelRegistryStoreURIException) as error:
        raise UnansweredError(str(error) or repr(error)) from error
    except MlflowException as error:
        reason = Reason.FAILED
        if error.error_code in _MISSING:
            reason = Reason.MISSING
        elif error.get_http_status_code() in {401, 403}:
            reason = Reason.REFUSED
        raise UnansweredError(str(error) or repr(error), reason) from error
