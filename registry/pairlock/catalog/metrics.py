"""Metrics of a version's logged model in MLflow: what was measured, on which dataset.

Written against MLflow 3.17.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pairlock.catalog.location import DIGEST_TAG
from pairlock.catalog.registry import client_of_a_registry, registry_unavailable
from pairlock.metrics import mlflow_metric_name


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedMetric:
    """A value that MLflow holds for a logged model."""

    name: str
    """As MLflow has it: without `@`."""

    value: float
    """As it was logged, NaN and infinities too."""

    at_ms: int
    """When it was taken, in ms since 1970, as it was logged."""

    dataset_name: str | None
    dataset_digest: str | None
    """At most 36 characters."""

    model_id: str
    run_id: str


def log_model_metrics(
    name: str,
    version: int,
    metrics: Mapping[str, float],
    *,
    dataset_name: str,
    dataset_digest: str,
    dataset_source: str,
    at_ms: int,
) -> str | None:
    """Log metrics for the logged model that a version was registered from, in a run of their own.

    Args:
        name: the registered model.
        version: its version.
        metrics: values by name; `@` becomes `_`, as MLflow's names need it.
        dataset_name: what they were measured on, at most 500 characters.
        dataset_digest: `sha256:<hex>`; MLflow gets the first 32 digits, and the run's input a tag
            with all.
        dataset_source: where it lay.
        at_ms: when they were taken, in ms since 1970.

    Returns:
        The run's id; it has ended. None where the version has no logged model.

    Raises:
        UnavailableError: the registry is not there, or did not take it.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelInput, Metric
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    with _translated():
        client = client_of_a_registry()
        model = _logged_model(client, name, version)
        if model is None:
            return None
        run_id = str(
            client.create_run(
                model.experiment_id, run_name=f"evaluation of {name} {version} on {dataset_name}"
            ).info.run_id
        )
        try:
            short = dataset_digest.removeprefix("sha256:")[:32]
            dataset = Dataset(
                name=dataset_name,
                digest=short,
                source_type="local",
                source=json.dumps({"uri": dataset_source}),
            )
            tags = [
                InputTag(MLFLOW_DATASET_CONTEXT, "evaluation"),
                InputTag("pairlock.digest", dataset_digest),
            ]
            client.log_inputs(
                run_id,
                datasets=[DatasetInput(dataset, tags=tags)],
                models=[LoggedModelInput(model.model_id)],
            )
            logged = [
                Metric(
                    mlflow_metric_name(key),
                    value,
                    at_ms,
                    0,
                    model_id=model.model_id,
                    dataset_name=dataset_name,
                    dataset_digest=short,
                )
                for key, value in metrics.items()
            ]
            client.log_batch(run_id, metrics=logged, synchronous=True)
        except BaseException:
            with suppress(Exception):  # the first error is the one to tell
                client.set_terminated(run_id, "FAILED")
            raise
        client.set_terminated(run_id)
        return run_id


def read_model_metrics(name: str, version: int) -> tuple[LoggedMetric, ...]:
    """Every metric of the logged model that a version was registered from.

    Returns:
        All values, older ones too; none where the version has no logged model.

    Raises:
        UnavailableError: the registry did not answer.
    """
    with _translated():
        client = client_of_a_registry()
        model = _logged_model(client, name, version)
        if model is None:
            return ()
        return tuple(
            LoggedMetric(
                name=str(metric.key),
                value=_value(client, metric),
                at_ms=int(metric.timestamp),
                dataset_name=metric.dataset_name or None,
                dataset_digest=metric.dataset_digest or None,
                model_id=str(model.model_id),
                run_id=str(metric.run_id),
            )
            for metric in model.metrics or ()
        )


def _value(client: Any, metric: Any) -> float:
    """A metric's value as it was logged.

    MLflow keeps infinities as the largest floats, and NaN as 0, which would be the best loss there
    is. Of a run's metric it keeps that it is NaN, and of a logged model's it does not.
    """
    value = float(metric.value)
    if abs(value) == sys.float_info.max:
        return math.copysign(math.inf, value)
    if value == 0:
        for logged in client.get_metric_history(metric.run_id, metric.key):
            is_this = (logged.timestamp, logged.step) == (metric.timestamp, metric.step)
            if is_this and math.isnan(logged.value):
                return math.nan
    return value


def _logged_model(client: Any, name: str, version: int) -> Any:
    """The logged model under a version, also under one that was copied; None if there is none.

    A copy names its source by name and number, which another model may have by now.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_model_version(name, str(version))
    digest = found.tags.get(DIGEST_TAG)
    while True:
        source = str(found.source or "")
        try:
            if match := re.fullmatch(r"models:/(m-[0-9a-f]{32})/?", source):
                model = client.get_logged_model(match.group(1))
                own = model.tags.get(DIGEST_TAG)
                return model if None in (own, digest) or own == digest else None
            match = re.fullmatch(r"models:/([^/]+)/(\d+)/?", source)
            if match is None:
                return None
            copy, found = found, client.get_model_version(match.group(1), match.group(2))
        except MlflowException as error:
            if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}:
                return None
            raise
        if found.creation_timestamp >= copy.creation_timestamp:
            return None  # a source is older
        digest = digest or found.tags.get(DIGEST_TAG)


@contextmanager
def _translated() -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        raise registry_unavailable(error) from error
