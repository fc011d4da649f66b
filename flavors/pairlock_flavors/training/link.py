"""Links a model to the run of its training, as MLflow does it.

The run is chosen before the model is logged, so that MLflow itself links run, logged model and
version, and copies the run's parameters to the model. Metrics and datasets follow when the model
has its id. Written against MLflow 3.17.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT
from mlflow.utils.time import get_current_time_millis
from mlflow.utils.validation import (
    MAX_DATASET_DIGEST_SIZE,
    MAX_METRICS_PER_BATCH,
    MAX_PARAM_VAL_LENGTH,
    MAX_PARAMS_TAGS_PER_BATCH,
)

from pairlock.errors import PairlockError
from pairlock.metrics import mlflow_metric_name
from pairlock_flavors._mlflow import translated
from pairlock_flavors.training.record import (
    MetricPoint,
    TrainingDataset,
    TrainingRecord,
)

DIGEST_TAG = "pairlock.digest"
"""The whole digest of a dataset, as a tag of the run's input: MLflow's own has 36 characters."""


@dataclass(slots=True, kw_only=True)
class TrainingLink:
    """A run, and what of a training is still to be said there."""

    run_id: str | None
    record: TrainingRecord | None = None
    step: int | None = None
    """The step to log the model at; None for MLflow's own."""

    warnings: list[str] = field(default_factory=list)
    """What could not be linked, for a person; complete when the context has ended."""

    def finish(self, model_id: str) -> None:
        """Log metrics and datasets for a model that is logged.

        The version may be registered by now, so nothing is raised: see `warnings`.
        """
        if self.record is not None and self.run_id is not None:
            with self.never_failing("training's metrics and datasets"):
                _log_datasets(self.run_id, self.record.datasets)
                _log_metrics(self.run_id, self.record, model_id)

    def start(self) -> None:
        """Log the parameters, and decide on the step, before the model is logged."""
        if self.record is None or self.run_id is None:
            return
        self.warnings += self.record.notes
        with self.never_failing("training's parameters"):
            self.warnings += _log_params(self.run_id, self.record.params)
        with self.never_failing("model's step"):
            self.step = _free_step(self.run_id, self.record.step)

    @contextmanager
    def never_failing(self, what: str) -> Iterator[None]:
        """Turn whatever fails into a warning."""
        try:
            with translated():
                yield
        except Exception as error:  # noqa: BLE001 - whatever fails here, the model is logged
            words = error.summary if isinstance(error, PairlockError) else str(error)
            cause = f": {error.found}" if isinstance(error, PairlockError) and error.found else ""
            self.warnings.append(f"run {self.run_id} has not got the {what}: {words}{cause}")


@contextmanager
def linked_run(
    record: TrainingRecord | None, *, name: str, run_id: str | None = None
) -> Iterator[TrainingLink]:
    """The run to log a model in.

    It is `run_id` when given; else the active run; else the run that the trainer itself reported
    to; else, for a model with a training behind it, a new run with the model's name, which ends
    with this context, as MLflow's autologging makes one. A model without a training gets no run of
    its own.

    Args:
        record: what is known of the training; None for a model that says nothing of it.
        name: the name of a new run.
        run_id: a run that the caller chose.

    Yields:
        The link; give its `run_id` and `step` to `Model.log`, then call `finish`. Its `warnings`
        are complete after this context.

    Raises:
        UnavailableError: MLflow cannot make a run.
    """
    if record is not None:
        # a trainer's own callback may still be sending what is asked for here
        with suppress(Exception):
            mlflow.flush_async_logging()
    active = mlflow.active_run()
    if run_id is None and active is not None:
        run_id = str(active.info.run_id)
    if run_id is None and record is not None and record.reported:
        with translated():
            run_id = _run_of_the_trainer(record)
    if run_id is not None or record is None:
        link = TrainingLink(run_id=run_id, record=record)
        link.start()
        yield link
        return
    with translated():
        started = mlflow.start_run(run_name=name)
    link = TrainingLink(run_id=str(started.info.run_id), record=record)
    try:
        link.start()
        yield link
    except BaseException:
        with suppress(Exception):  # the first error is the one to tell
            mlflow.end_run("FAILED")
        raise
    with link.never_failing("status FINISHED"):
        mlflow.end_run()


def _run_of_the_trainer(record: TrainingRecord) -> str | None:
    """The run that this thread used last, if it holds this training's results."""
    last = mlflow.last_active_run()
    if last is None:
        return None
    run_id = str(last.info.run_id)
    known = _known_points(run_id, record.results)
    return run_id if known and all(_key(point) in known for point in record.results) else None


def _free_step(run_id: str, step: int | None) -> int | None:
    """The model's own step, unless MLflow would copy metrics that the run has there.

    `Model.log` gives the run's metrics of one step to the model, without the dataset that they were
    measured on, and they cannot be logged with it again.
    """
    if step is None:
        return None
    client = MlflowClient()
    taken = {
        metric.step
        for name in client.get_run(run_id).data.metrics
        for metric in client.get_metric_history(run_id, name)
    }
    return next((free for free in (step, 0) if free not in taken), step)


def _log_params(run_id: str, params: dict[str, str]) -> list[str]:
    """Log what the run does not have yet; a parameter of a run cannot be changed."""
    client = MlflowClient()
    there = client.get_run(run_id).data.params
    wanted = {
        mlflow_metric_name(name): value[:MAX_PARAM_VAL_LENGTH] for name, value in params.items()
    }
    new = [Param(name, value) for name, value in wanted.items() if name not in there]
    for start in range(0, len(new), MAX_PARAMS_TAGS_PER_BATCH):
        batch = new[start : start + MAX_PARAMS_TAGS_PER_BATCH]
        client.log_batch(run_id, params=batch, synchronous=True)
    return [
        f"run {run_id} has {name}={there[name]} already, and MLflow gives it to the model; this "
        f"training had {name}={value}"
        for name, value in wanted.items()
        if name in there and there[name] != value
    ]


def _log_datasets(run_id: str, datasets: tuple[TrainingDataset, ...]) -> None:
    if not datasets:
        return
    inputs = [
        DatasetInput(
            _entity(dataset),
            tags=[
                InputTag(MLFLOW_DATASET_CONTEXT, dataset.context),
                InputTag(DIGEST_TAG, dataset.digest),
            ],
        )
        for dataset in datasets
    ]
    MlflowClient().log_inputs(run_id, datasets=inputs)


def _entity(dataset: TrainingDataset) -> Dataset:
    profile = {"num_rows": dataset.rows, "digest": dataset.digest}
    return Dataset(
        name=dataset.name,
        digest=_short(dataset.digest),
        source_type="code",
        # as mlflow.data.CodeDatasetSource writes itself
        source=json.dumps({"tags": {"source": dataset.source}}),
        profile=json.dumps(profile),
    )


def _log_metrics(run_id: str, record: TrainingRecord, model_id: str) -> None:
    """Log each value once: the model's own with its id and dataset, the others for the run."""
    client = MlflowClient()
    # what the trainer reported itself keeps its time, so that the run gets no second value
    known = _known_points(run_id, (*record.results, *record.history))
    copied = {
        (metric.key, metric.step) for metric in client.get_logged_model(model_id).metrics or ()
    }
    now = get_current_time_millis()
    own = {_key(point) for point in record.results}
    metrics = [
        _metric(point, known.get(_key(point), point.timestamp or now), None, None)
        for point in dict.fromkeys(record.history)
        if _key(point) not in known and _key(point) not in own
    ]
    for point in record.results:
        if (mlflow_metric_name(point.name), point.step) in copied:
            continue
        measured_on = next((d for d in record.datasets if point.name in d.measures), None)
        time = known.get(_key(point), point.timestamp or now)
        metrics.append(_metric(point, time, model_id, measured_on))
    for start in range(0, len(metrics), MAX_METRICS_PER_BATCH):
        batch = metrics[start : start + MAX_METRICS_PER_BATCH]
        client.log_batch(run_id, metrics=batch, synchronous=True)


def _metric(
    point: MetricPoint, timestamp: int, model_id: str | None, dataset: TrainingDataset | None
) -> Metric:
    return Metric(
        mlflow_metric_name(point.name),
        point.value,
        timestamp,
        point.step,
        model_id=model_id,
        dataset_name=None if dataset is None else dataset.name,
        dataset_digest=None if dataset is None else _short(dataset.digest),
    )


def _known_points(run_id: str, points: tuple[MetricPoint, ...]) -> dict[tuple[str, int, str], int]:
    """Which of these values a run has, and when they were logged: milliseconds since 1970."""
    client = MlflowClient()
    names = {mlflow_metric_name(point.name) for point in points}
    return {
        (metric.key, int(metric.step), _as_stored(metric.value)): int(metric.timestamp)
        for name in client.get_run(run_id).data.metrics.keys() & names
        for metric in client.get_metric_history(run_id, name)
    }


def _key(point: MetricPoint) -> tuple[str, int, str]:
    return mlflow_metric_name(point.name), point.step, _as_stored(point.value)


def _as_stored(value: float) -> str:
    """A value to compare by: NaN equals itself, and a database keeps infinity as its largest."""
    return repr(max(min(float(value), sys.float_info.max), -sys.float_info.max))


def _short(digest: str) -> str:
    """The first 128 bits of a digest, which is what MLflow has room for."""
    short = digest.removeprefix("sha256:")[:32]
    assert len(short) <= MAX_DATASET_DIGEST_SIZE
    return short
