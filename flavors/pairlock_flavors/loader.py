"""The module that MLflow writes into every package as `loader_module`, for ever.

It must never move, be renamed, or import anything heavy: packages of every age name it.
"""

from __future__ import annotations

from typing import Any


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> Any:
    """Called by `mlflow.pyfunc.load_model` with a package's folder."""
    from pairlock_flavors.pyfunc import load_pyfunc_model

    return load_pyfunc_model(path, model_config)
