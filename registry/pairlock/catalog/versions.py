"""What the registry says of a version that may not be there any more."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from pairlock.catalog.location import DIGEST_TAG
from pairlock.catalog.registry import ask
from pairlock.errors import NotFoundError

DELETED = "deleted"
ARCHIVED = "archived"
READY = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionState:
    """One registered version."""

    state: str
    """`ready`, `archived`, `deleted`, or another status of MLflow's in small letters."""

    created_ms: int
    """When it was registered, in ms since 1970; 0 when it is deleted."""

    package_digest: str | None = None
    """The package digest that it was registered with; None for a model of another flavor."""


def version_state(name: str, version: int) -> VersionState:
    """Ask whether a version is there, and in use.

    Args:
        name: the registered model.
        version: its version.

    Raises:
        UnavailableError: the registry did not answer.
    """
    try:
        found = ask(f"models:/{name}/{version}", "get_model_version", name, str(version))
    except NotFoundError:
        return VersionState(state=DELETED, created_ms=0)
    return VersionState(
        state=state_of(found),
        created_ms=int(found.creation_timestamp or 0),
        package_digest=found.tags.get(DIGEST_TAG),
    )


def state_of(version: Any) -> str:
    """`VersionState.state` of a version as MLflow gives it."""
    return state_by(str(version.status), str(version.current_stage or ""))


def state_by(status: str, stage: str) -> str:
    """`VersionState.state` by MLflow's status and legacy stage."""
    state = status.lower()
    return ARCHIVED if state == READY and stage.lower() == ARCHIVED else state


def legacy_holders(name: str) -> dict[str, int]:
    """The newest version in each of MLflow's legacy stages, by the stage in small letters.

    Args:
        name: the registered model.

    Returns:
        `staging` and `production`, as far as versions are in them.

    Raises:
        NotFoundError: there is no such model.
        UnavailableError: the registry did not answer.
    """
    stages = ["Staging", "Production"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        found: list[Any] = ask(f"models:/{name}", "get_latest_versions", name, stages)
    return {str(one.current_stage).lower(): int(one.version) for one in found}
