"""Judges an inventory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from pairlock.auditing.findings import AuditFinding
from pairlock.errors import ErrorKind, UnsupportedError
from pairlock.inventory import Inventory, VersionFacts
from pairlock.progress import SILENT, Progress


def judge_inventory(
    inventory: Inventory,
    *,
    policy: Path | None = None,  # noqa: ARG001 - the interface's
    deep: bool = False,  # noqa: ARG001
    golden: bool = False,  # noqa: ARG001
    wanted: Callable[[VersionFacts], bool] = lambda _version: True,  # noqa: ARG001
    allow: Iterable[str] = (),  # noqa: ARG001
    progress: Progress = SILENT,  # noqa: ARG001
) -> tuple[AuditFinding, ...]:
    """Everything that is wrong in an inventory.

    Raises:
        UnsupportedError: always.
    """
    raise UnsupportedError(
        "this release does not judge a registry",
        kind=ErrorKind.KIND_UNSUPPORTED,
        checked=inventory.registry,
    )
