"""Plans and makes the repairs that are safe."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pairlock.auditing.findings import AuditFinding
from pairlock.config import Settings
from pairlock.errors import ErrorKind, UnsupportedError
from pairlock.inventory import Inventory
from pairlock.progress import SILENT, Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """One thing that is safe to do."""

    what: str

    def to_dict(self) -> dict[str, Any]:
        """The fix as JSON data."""
        return {"what": self.what}


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A finding that is somebody's to settle."""

    finding: AuditFinding
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FixPlan:
    """What can be mended, and what cannot."""

    fixes: tuple[Fix, ...]
    left: tuple[Left, ...]

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON data."""
        return {
            "fixes": [fix.to_dict() for fix in self.fixes],
            "left": [{"finding": one.finding.to_dict(), "why": one.why} for one in self.left],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """What a fix came to."""

    fix: Fix
    done: bool
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON data."""
        return {**self.fix.to_dict(), "done": self.done, "detail": self.detail}


def plan_fixes(
    inventory: Inventory,
    findings: Iterable[AuditFinding],  # noqa: ARG001 - the interface's
    *,
    settings: Settings,  # noqa: ARG001
) -> FixPlan:
    """What can safely be done about findings.

    Raises:
        UnsupportedError: always.
    """
    raise UnsupportedError(
        "this release mends nothing", kind=ErrorKind.KIND_UNSUPPORTED, checked=inventory.registry
    )


def execute_fixes(
    plan: FixPlan,  # noqa: ARG001 - the interface's
    *,
    settings: Settings,  # noqa: ARG001
    progress: Progress = SILENT,  # noqa: ARG001
) -> tuple[Fixed, ...]:
    """Do it.

    Raises:
        UnsupportedError: always.
    """
    raise UnsupportedError("this release mends nothing", kind=ErrorKind.KIND_UNSUPPORTED)
