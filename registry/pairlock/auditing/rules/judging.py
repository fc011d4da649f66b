"""All rules together, and the order in which their findings are told."""

from __future__ import annotations

from collections.abc import Iterable

from pairlock.auditing.findings import AuditFinding
from pairlock.auditing.rules import bases, indexes, packages, stages, storage, tags, versions
from pairlock.auditing.rules.known import Known
from pairlock.auditing.rules.view import View

RULES = (
    bases.find,
    packages.find,
    stages.find,
    versions.find,
    indexes.find,
    storage.find,
    tags.find,
)


def judge(view: View, known: Known) -> tuple[AuditFinding, ...]:
    """Everything that is wrong in a registry, or is going to be. Time and memory are linear.

    Args:
        view: the registry as it was read.
        known: policies, libraries and what else was found out.

    Returns:
        Each finding once, in the order of `in_order`.
    """
    return in_order(finding for rule in RULES for finding in rule(view, known))


def in_order(findings: Iterable[AuditFinding]) -> tuple[AuditFinding, ...]:
    """Findings without repetition: the worst first, then by model, version, code and place."""
    found: dict[tuple[int, str, int, str, str, str, str, str], AuditFinding] = {}
    for one in findings:
        found.setdefault(_key(one), one)
    return tuple(found[key] for key in sorted(found))


def _key(one: AuditFinding) -> tuple[int, str, int, str, str, str, str, str]:
    return (
        -one.severity.rank,
        one.model or "",
        one.version or 0,
        one.code.value,
        one.place,
        one.stage or "",
        one.expected,
        one.found,
    )
