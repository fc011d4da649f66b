"""Plans and makes the repairs that are safe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pairlock.auditing.findings import AuditFinding
from pairlock.errors import ErrorKind, UnsupportedError
from pairlock.inventory import Inventory
from pairlock.progress import SILENT, Progress


@dataclass(frozen=True, slots=True)
class FixPlan:
    """What would be done."""

    def lines(self) -> tuple[str, ...]:
        """For a person."""
        return ()

    def to_dict(self) -> Mapping[str, Any]:
        """As JSON data."""
        return {}


@dataclass(frozen=True, slots=True)
class Fixed(FixPlan):
    """What was done."""


def plan_fixes(
    inventory: Inventory,
    findings: Iterable[AuditFinding],  # noqa: ARG001 - the interface's
) -> FixPlan:
    """What can safely be done about findings.

    Raises:
        UnsupportedError: always.
    """
    raise UnsupportedError(
        "this release mends nothing", kind=ErrorKind.KIND_UNSUPPORTED, checked=inventory.registry
    )


def execute_fixes(plan: FixPlan, progress: Progress = SILENT) -> Fixed:  # noqa: ARG001
    """Do it.

    Raises:
        UnsupportedError: always.
    """
    raise UnsupportedError("this release mends nothing", kind=ErrorKind.KIND_UNSUPPORTED)
