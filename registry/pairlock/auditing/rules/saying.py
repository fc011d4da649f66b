"""Makes findings: severity and advice are the code's, unless a rule knows better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pairlock.auditing.codes import FACTS, Code, Severity
from pairlock.auditing.findings import AuditFinding
from pairlock.inventory import ModelFacts, VersionFacts


def of_version(
    code: Code,
    version: VersionFacts,
    *,
    severity: Severity | None = None,
    stage: str | None = None,
    place: str = "",
    expected: str = "",
    found: str = "",
    todo: str = "",
    figures: Mapping[str, Any] | None = None,
) -> AuditFinding:
    """A finding about a version; without severity and todo, those of its code."""
    return AuditFinding(
        code=code,
        severity=severity or FACTS[code].severity,
        model=version.name,
        version=version.version,
        stage=stage,
        place=place,
        expected=expected,
        found=found,
        todo=todo or FACTS[code].todo,
        figures=figures or {},
    )


def of_model(
    code: Code,
    model: ModelFacts,
    *,
    version: int | None = None,
    severity: Severity | None = None,
    stage: str | None = None,
    place: str = "",
    expected: str = "",
    found: str = "",
    todo: str = "",
) -> AuditFinding:
    """A finding about a registered model, or about a version of it that is not there."""
    return AuditFinding(
        code=code,
        severity=severity or FACTS[code].severity,
        model=model.name,
        version=version,
        stage=stage,
        place=place,
        expected=expected,
        found=found,
        todo=todo or FACTS[code].todo,
    )
