"""Whether a plugin of MLflow changes what it sends to its server.

Found out by reading the names in the metadata of what is installed: loading a plugin, and MLflow
with it, is what shall be saved.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

from pairlock.without_mlflow import mlflow_is_installed

_GROUP = "[mlflow.request_header_provider]"


def changes_requests() -> str | None:
    """The distribution that has such a plugin; None where there is none, or no MLflow."""
    return _found(tuple(sys.path)) if mlflow_is_installed() else None


@cache
def _found(folders: tuple[str, ...]) -> str | None:
    for folder in folders:
        try:
            with os.scandir(folder or ".") as entries:
                infos = [e for e in entries if e.name.endswith((".dist-info", ".egg-info"))]
        except OSError:
            continue
        for info in infos:
            try:
                text = Path(info.path, "entry_points.txt").read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            if _GROUP in text:
                return info.name.partition("-")[0]
    return None
