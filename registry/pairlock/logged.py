"""What logging a model came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedPackage:
    """What was logged."""

    uri: str
    """How to load it: `models:/name/version`, or `models:/m-…` when it was not registered."""

    package_digest: str
    kind: str
    base_uri: str | None
    """The base as it was resolved, for an adapter."""

    base_digest: str | None
    """The base's package digest, or the digest of its files when it is no package."""

    query_instruction: str
    text_instruction: str
    left_out: tuple[str, ...]
    """Files of the source folder that do not belong to the model."""

    warnings: tuple[str, ...]
    run_id: str | None
    """The run that the model was logged in; None when it was logged in none."""

    model_info: Any
    """MLflow's own `ModelInfo`."""
