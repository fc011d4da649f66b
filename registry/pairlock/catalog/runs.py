"""Puts a finished piece of work into MLflow as a run: figures, tags and files, and no model.

Written against MLflow 3.17.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pairlock.catalog.database import sqlite_path
from pairlock.catalog.in_use import local_path
from pairlock.catalog.registry import client_of_a_registry, registry_unavailable
from pairlock.errors import ErrorKind, InvalidInputError, PairlockError, StorageError
from pairlock.registries import registry_in_use

_MOST_CHARACTERS = 500
"""Of a parameter's or a tag's value. MLflow 3.17 takes 6000 and 8000, and earlier releases 500."""

_ALREADY_THERE = {"RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRun:
    """A run that was logged and has ended."""

    run_id: str
    experiment: str
    experiment_id: str
    url: str | None
    """Its page; None where the tracking server is a file, which has none."""

    def to_dict(self) -> dict[str, Any]:
        """The run as JSON data."""
        return {
            "run_id": self.run_id,
            "experiment": self.experiment,
            "experiment_id": self.experiment_id,
            "url": self.url,
        }


def require_usable(experiment: str) -> None:
    """Refuse an experiment that no run can be logged in. One that is not there yet can be made.

    Raises:
        InvalidInputError: the name is empty, or that of a deleted experiment.
        UnavailableError: MLflow did not answer.
    """
    with _translated():
        _find(client_of_a_registry(), experiment)


def log_run(
    experiment: str,
    *,
    name: str,
    status: str,
    started_ms: int,
    parameters: Mapping[str, str],
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
    note: str,
    files: Mapping[str, bytes],
) -> LoggedRun:
    """Log a run that has ended. One that could not be logged whole says so: it is `FAILED`.

    Args:
        experiment: the experiment's name; it is made when it is not there.
        name: the run's name.
        status: `FINISHED`, `FAILED` or `KILLED`.
        started_ms: when the work began, in ms since 1970.
        parameters: values by name, at most 100; what is longer than 500 characters is cut.
        metrics: values by name, at most 1000.
        tags: values by name, at most 100; cut as parameters are.
        note: the run's description, Markdown.
        files: content of the run's artifacts, by file name.

    Raises:
        InvalidInputError: the experiment is deleted.
        StorageError: the files could not be written.
        UnavailableError: MLflow is not there, or did not take it.
    """
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

    with _translated():
        client = client_of_a_registry()
        experiment_id = _find(client, experiment) or _make(client, experiment)
        run = client.create_run(experiment_id, start_time=started_ms, run_name=name)
        run_id = str(run.info.run_id)
        try:
            given = {**tags, MLFLOW_RUN_NOTE: note}
            client.log_batch(
                run_id,
                metrics=[Metric(key, value, started_ms, 0) for key, value in metrics.items()],
                params=[Param(key, _cut(text)) for key, text in parameters.items()],
                tags=[
                    RunTag(key, text if key == MLFLOW_RUN_NOTE else _cut(text))
                    for key, text in given.items()
                ],
                synchronous=True,
            )
            _store(client, run_id, str(run.info.artifact_uri), files)
        except BaseException:
            with suppress(Exception):  # the first error is the one to tell
                client.set_terminated(run_id, "FAILED")
            raise
        client.set_terminated(run_id, status)
    return LoggedRun(
        run_id=run_id,
        experiment=experiment,
        experiment_id=experiment_id,
        url=_page(experiment_id, run_id),
    )


def _find(client: Any, experiment: str) -> str | None:
    """The id of a usable experiment; None where there is none of that name."""
    if not experiment.strip():
        raise _unusable(experiment, "an empty name")
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return None
    if found.lifecycle_stage != "active":
        raise _unusable(experiment, f"experiment {found.experiment_id}, which is deleted")
    return str(found.experiment_id)


def _make(client: Any, experiment: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        return str(client.create_experiment(experiment, artifact_location=_location()))
    except MlflowException as error:
        if error.error_code not in _ALREADY_THERE:
            raise
    found = _find(client, experiment)  # another process made it just now
    if found is None:
        raise registry_unavailable(ValueError(f"experiment {experiment} comes and goes"))
    return found


def _location() -> str | None:
    """Where a new experiment's files go: beside a database, as those of the default one do.

    MLflow would take the working directory, in which nobody finds them again. A server knows.
    """
    database = sqlite_path(registry_in_use().tracking)
    return None if database is None else (database.parent / "mlruns" / "runs").as_posix()


def _store(client: Any, run_id: str, location: str, files: Mapping[str, bytes]) -> None:
    """Write a run's files. A relative location belongs to the database's folder, as anywhere."""
    place = local_path(location)
    if urlsplit(place).scheme:
        with tempfile.TemporaryDirectory(prefix="pairlock-") as made:
            _write(Path(made), files)
            client.log_artifacts(run_id, made)
    else:
        _write(Path(place), files)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        raise StorageError.of(
            error,
            "the run's files could not be written",
            checked=str(error.filename or folder),
            expected="room, and the permission to write",
            done="the run is there, without all of its files, and is marked as failed",
            hint="check free space and permissions there, then run it again",
        ) from error


def _page(experiment_id: str, run_id: str) -> str | None:
    from pairlock.references import without_credentials

    tracking = registry_in_use().tracking
    if not tracking.startswith(("http://", "https://")):
        return None
    server = without_credentials(tracking).rstrip("/")
    return f"{server}/#/experiments/{experiment_id}/runs/{run_id}"


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"


@contextmanager
def _translated() -> Iterator[None]:
    """MLflow's errors, and those of the store behind it, as Pairlock's."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    done = "the run is not whole; where it was begun it is marked as failed, if MLflow can be told"
    try:
        yield
    except PairlockError:
        raise
    except (MlflowException, SQLAlchemyError, OSError) as error:
        failed = registry_unavailable(error)
        failed.done = done
        raise failed from error
    except Exception as error:
        if not _of_a_store(error):
            raise
        failed = registry_unavailable(error)
        failed.done = done
        raise failed from error


def _of_a_store(error: Exception) -> bool:
    """Whether it is an error of the libraries by which MLflow reaches S3."""
    return type(error).__module__.partition(".")[0] in {"boto3", "botocore"}


def _unusable(experiment: str, found: str) -> InvalidInputError:
    return InvalidInputError(
        f"no run can be logged in the experiment {experiment!r}",
        kind=ErrorKind.ARGUMENT_INVALID,
        checked="MLflow's experiments",
        expected="the name of an experiment, or one that is not taken",
        found=found,
        done="no run was made",
        hint="name another experiment, or bring it back with `mlflow experiments restore`",
    )
