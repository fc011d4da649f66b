"""What was measured of a version before: by MLflow's metrics, and by the evidence beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pairlock.catalog import Located, read_evidence
from pairlock.catalog.metrics import read_model_metrics
from pairlock.evaluation.dataset import dataset_key
from pairlock.metrics import mlflow_metric_name

EVALUATION_TAG = "pairlock.evaluation."
"""Tags of a registered version; the first 16 hex digits of the dataset's digest follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One value that somebody recorded. Nothing proves it: whoever may write there may write it."""

    metric: str
    """As it was recorded: compare it by `pairlock.metrics.same_metric`."""

    value: float
    dataset_name: str | None
    dataset_digest: str | None
    """`sha256:<hex>`, or what MLflow keeps of one: compare it by `same_dataset`."""

    at_ms: int
    """When it was taken, in ms since 1970."""

    source: str
    """Where it is recorded, for a person."""


def same_dataset(one: Measured, other: Measured) -> bool:
    """Whether two values were taken on the same dataset, by its digest; unknown is never the same.

    MLflow keeps 32 digits of Pairlock's digests.
    """
    key = dataset_key(one.dataset_digest)
    return key is not None and key == dataset_key(other.dataset_digest)


def recorded_metrics(located: Located, *, digest: str | None = None) -> tuple[Measured, ...]:
    """Every value that is recorded for a registered version, newest last.

    They come from its logged model in MLflow, training and evaluations alike, and from evidence
    tags on the version that name its package digest. What is in both is there once, by the tag.

    Args:
        located: the version; anything else, or an answer that is only remembered, has none.
        digest: its package digest, where the caller has proved it; None for those that the
            registry has for it.

    Raises:
        UnavailableError: the registry did not answer.
    """
    if located.name is None or located.version is None or located.remembered_at is not None:
        return ()
    digests = {*located.anchors.values(), located.package_digest} if digest is None else {digest}
    tags = read_evidence(located.name, located.version, EVALUATION_TAG)
    found = [
        measured
        for name, text in tags.items()
        for measured in _of_tag(f"{EVALUATION_TAG}{name}", text, digests)
    ]
    known = {_key(measured) for measured in found}
    for metric in read_model_metrics(located.name, located.version):
        measured = Measured(
            metric=metric.name,
            value=metric.value,
            dataset_name=metric.dataset_name,
            dataset_digest=metric.dataset_digest,
            at_ms=metric.at_ms,
            source=f"metric of models:/{metric.model_id} in run {metric.run_id}",
        )
        if _key(measured) not in known:
            found.append(measured)
    return tuple(sorted(found, key=lambda item: (item.at_ms, item.metric, item.source)))


def _key(measured: Measured) -> tuple[str, str | None, int, float]:
    name = mlflow_metric_name(measured.metric)
    return name, dataset_key(measured.dataset_digest), measured.at_ms, measured.value


def _of_tag(tag: str, text: str, digests: Collection[str | None]) -> Iterator[Measured]:
    """The values of a tag; none where it is no evaluation of the package."""
    data = _parsed(text)
    if data is None or data["package_digest"] not in digests:
        return
    dataset = data["dataset"]
    at_ms = round(datetime.fromisoformat(data["at"]).timestamp() * 1000)
    for name, value in sorted(data["metrics"].items()):
        yield Measured(
            metric=name,
            value=float(value),
            dataset_name=dataset["name"],
            dataset_digest=dataset["digest"],
            at_ms=at_ms,
            source=f"tag {tag}",
        )


def _parsed(text: str) -> dict[str, Any] | None:
    """A tag's evaluation, or None: anybody who may write to the registry may have written it."""
    try:
        data = json.loads(text)
        dataset, metrics = data["dataset"], data["metrics"]
        is_evaluation = (
            isinstance(data["package_digest"], str)
            and all(isinstance(dataset[name], str) for name in ("name", "digest"))
            and all(type(value) in {int, float} for value in metrics.values())
            and all(math.isfinite(value) for value in metrics.values())
            and datetime.fromisoformat(data["at"]).tzinfo is not None
        )
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    return data if is_evaluation else None
