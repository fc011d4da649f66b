"""One thing that an audit found, and everything it found."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pairlock.auditing.codes import Code, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFinding:
    """One thing that is not as it should be, with where, what and what to do."""

    code: Code
    severity: Severity
    model: str | None
    """The registered model; None for what belongs to none."""

    version: int | None
    stage: str | None = None
    place: str = ""
    """Where exactly: a file of the package, a tag, an alias, a ledger's entry, a URI."""

    expected: str = ""
    found: str = ""
    todo: str = ""
    """What to do, with this finding's own names in it; a command where there is one."""

    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Names this finding in a baseline, and in SARIF: 16 hex digits.

        It holds what the finding is about and not what was found there, so that it stays the same
        until the matter is settled.
        """
        about = "\x00".join(
            [
                self.code.value,
                self.model or "",
                "" if self.version is None else str(self.version),
                self.stage or "",
                self.place,
            ]
        )
        return hashlib.sha256(about.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON data."""
        return {
            "code": self.code.value,
            "severity": self.severity.value,
            "model": self.model,
            "version": self.version,
            "stage": self.stage,
            "place": self.place,
            "expected": self.expected,
            "found": self.found,
            "todo": self.todo,
            "figures": dict(self.figures),
            "fingerprint": self.fingerprint,
        }
