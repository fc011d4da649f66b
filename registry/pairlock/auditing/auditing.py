"""Judges an inventory."""

from __future__ import annotations

from pairlock.auditing.findings import AuditFinding
from pairlock.errors import ErrorKind, UnsupportedError
from pairlock.inventory import Inventory
from pairlock.progress import SILENT, Progress


def judge_inventory(
    inventory: Inventory,
    *,
    golden: bool = False,  # noqa: ARG001 - the interface's
    progress: Progress = SILENT,  # noqa: ARG001 - the interface's
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
