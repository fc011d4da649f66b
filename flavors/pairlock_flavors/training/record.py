"""What is known of a training: metrics, parameters and data, as data.

Nothing here knows a trainer; `trainers` reads them, `training_link` hands this to MLflow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

# said of a step of the training, not of the model that it left
_OF_A_STEP = frozenset({"epoch", "step", "loss", "grad_norm", "learning_rate", "total_flos"})


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPoint:
    """One value of one metric."""

    name: str
    value: float
    step: int
    """Optimizer steps taken when it was measured."""

    timestamp: int | None = None
    """Milliseconds since 1970; None where the trainer does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingDataset:
    """Data that a model was trained or evaluated on."""

    name: str
    digest: str
    """`sha256:…` of the content, as `training_data` takes it."""

    rows: int
    """Training examples, or queries of an evaluation."""

    source: str
    """Where it came from: `hf://datasets/…`, or the class of the object in memory."""

    context: str
    """`training` or `evaluation`."""

    measures: tuple[str, ...] = ()
    """The model's metrics that were measured on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """What a trainer knows of the training behind a model."""

    results: tuple[MetricPoint, ...] = ()
    """The values that are the model's own: one for each metric, measured on it, not on the way."""

    history: tuple[MetricPoint, ...] = ()
    """Every value on the way, in the trainer's order."""

    params: dict[str, str] = field(default_factory=dict)
    datasets: tuple[TrainingDataset, ...] = ()
    step: int | None = None
    """Optimizer steps behind the model; None where the trainer does not say."""

    reported: bool = False
    """Whether the trainer has told MLflow about its metrics itself."""

    notes: tuple[str, ...] = ()
    """What could not be recorded, for a person."""

    @property
    def metrics(self) -> dict[str, float]:
        """The model's metrics by name."""
        return {point.name: point.value for point in self.results}


def points_of(log: Sequence[Mapping[str, Any]]) -> tuple[MetricPoint, ...]:
    """Every number in a transformers trainer's `state.log_history`."""
    return tuple(
        MetricPoint(name=name, value=float(value), step=int(entry.get("step", 0)))
        for entry in log
        for name, value in entry.items()
        if name != "step" and is_number(value)
    )


def is_number(value: object) -> bool:
    """Whether it is a real number of Python's or NumPy's, and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool)


def results_of(
    log: Sequence[Mapping[str, Any]], *, best_step: int | None
) -> tuple[MetricPoint, ...]:
    """The values that belong to the model that a transformers trainer ended with.

    Args:
        log: the trainer's `state.log_history`, in its order.
        best_step: the step whose weights were loaded at the end; None when the last ones stayed.

    Returns:
        The last value of each metric. Where earlier weights were loaded, an evaluation on the way
        counts only if it was made at that step; an evaluation after the training always counts.
    """
    found: dict[str, MetricPoint] = {}
    ended = False
    for entry in log:
        ended = ended or "train_runtime" in entry
        for point in points_of([entry]):
            on_the_way = point.name.startswith("eval_") and not ended
            if point.name in _OF_A_STEP:
                continue
            if on_the_way and best_step is not None and point.step != best_step:
                continue
            found[point.name] = point
    return tuple(found.values())
