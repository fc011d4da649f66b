"""What metrics are called. MLflow takes no `@` in a name, so `ndcg@10` is stored as `ndcg_10`."""

from __future__ import annotations

import re

NAME = r"[0-9A-Za-z@_\-.:/](?:[0-9A-Za-z@_\-. :/]*[0-9A-Za-z@_\-.:/])?"
"""What a metric may be called: what MLflow 3.17 takes (`mlflow.utils.validation`), and `@`."""


def mlflow_metric_name(name: str) -> str:
    """A name that MLflow takes, as transformers' MLflowCallback makes it."""
    return re.sub(r"[^0-9A-Za-z_\-. :/]", "_", name)


def same_metric(one: str, other: str) -> bool:
    """Whether two names are of one metric: `ndcg@10` and `ndcg_10` are."""
    return mlflow_metric_name(one) == mlflow_metric_name(other)
