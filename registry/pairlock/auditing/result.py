"""What an audit comes to: its rows, what was found, and what of that is accepted. No I/O."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pairlock.auditing.baseline import (
    Accepted,
    Baseline,
    BaselineEntry,
    codes_looked_for,
    settle,
)
from pairlock.auditing.codes import Code, Severity
from pairlock.auditing.filters import (
    Filters,
    selected_versions,
    selects,
)
from pairlock.auditing.findings import AuditFinding
from pairlock.auditing.rows import AuditRow, rows_of
from pairlock.auditing.rules import in_order
from pairlock.index import StampedIndex
from pairlock.inventory import Inventory

SCHEMA = 1
"""Version of `Audit.to_dict`. New keys do not change it; another meaning of one does."""


_NOT_CHECKED = frozenset({Code.PACKAGE_UNREACHABLE, Code.NOT_PROVED})
"""Findings that say that something that was asked for could not be checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOptions:
    """What was asked of an audit."""

    filters: Filters = field(default_factory=Filters)
    deep: bool = False
    golden: bool = False
    policy: str | None = None
    """The policy's file, where one was named."""

    baseline: str | None = None
    """The file of accepted findings."""

    indexes: tuple[str, ...] = ()
    """Folders of stamped indexes that were named."""

    def to_dict(self) -> dict[str, Any]:
        """The options as JSON data."""
        return {
            **self.filters.to_dict(),
            "deep": self.deep,
            "golden": self.golden,
            "policy": self.policy,
            "baseline": self.baseline,
            "indexes": list(self.indexes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSummary:
    """How many of what is shown."""

    models: int
    versions: int
    kinds: Mapping[str, int]
    stages: Mapping[str, int]
    """Versions in each stage, by the ledger, an alias or MLflow's legacy stage."""

    severities: Mapping[Severity, int]
    """Open findings."""

    accepted: int

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON data."""
        return {
            "models": self.models,
            "versions": self.versions,
            "kinds": dict(self.kinds),
            "stages": dict(self.stages),
            "open": {severity.value: count for severity, count in self.severities.items()},
            "accepted": self.accepted,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was found in a registry. The same inventory and findings give the same one."""

    registry: str
    """Its address, without credentials."""

    at_ms: int
    """When it was looked at, in ms since 1970."""

    complete: bool
    """False when it was stopped, or the registry went away, before the end."""

    problem: str
    """Why it is not complete, in words."""

    options: AuditOptions
    summary: AuditSummary
    rows: tuple[AuditRow, ...]
    """The versions that were asked for, by model and number."""

    findings: tuple[AuditFinding, ...]
    """What is open and was asked for, the worst first."""

    accepted: tuple[Accepted, ...]
    """What was asked for and is accepted by the baseline."""

    expired: tuple[BaselineEntry, ...]
    """Entries of the baseline that count no more."""

    stale: tuple[BaselineEntry, ...]
    """Entries of the baseline that match nothing."""

    kept: tuple[BaselineEntry, ...] = field(repr=False)
    """Entries of the baseline that count, for what was not asked for or not looked at."""

    indexes: tuple[StampedIndex, ...]
    """Stamped indexes that were named, each with its stamp."""

    inventory: Inventory = field(repr=False)
    """The whole registry, as it was looked at."""

    seconds: float = field(default=0.0, compare=False)
    """How long it took, judgement included. No document has it: they do not change by themselves.
    """

    @property
    def at(self) -> str:
        """When it was looked at: UTC, ISO 8601."""
        moment = dt.datetime.fromtimestamp(self.at_ms // 1000, tz=dt.UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def checked_everything(self) -> bool:
        """Whether all that was asked for could be checked, or is accepted as it is."""
        return self.complete and not any(one.code in _NOT_CHECKED for one in self.findings)

    def fails(self, at_least: Severity | None) -> bool:
        """Whether something open is this bad; never where None is asked for."""
        return at_least is not None and any(
            finding.severity.rank >= at_least.rank for finding in self.findings
        )

    def to_dict(self) -> dict[str, Any]:
        """The audit as JSON data, without the inventory."""
        return {
            "schema": SCHEMA,
            "registry": self.registry,
            "at": self.at,
            "complete": self.complete,
            "checked_everything": self.checked_everything,
            "problem": self.problem,
            "options": self.options.to_dict(),
            "summary": self.summary.to_dict(),
            "rows": [row.to_dict() for row in self.rows],
            "findings": [finding.to_dict() for finding in self.findings],
            "accepted": [one.to_dict() for one in self.accepted],
            "baseline": {
                "expired": [entry.to_dict() for entry in self.expired],
                "stale": [entry.to_dict() for entry in self.stale],
            },
            "indexes": [index.to_dict() for index in self.indexes],
        }


def assemble(
    inventory: Inventory,
    findings: Iterable[AuditFinding],
    *,
    options: AuditOptions,
    baseline: Baseline | None = None,
    indexes: Iterable[StampedIndex] = (),
) -> Audit:
    """Put an audit together.

    Args:
        inventory: the whole registry.
        findings: everything that was found in it, in any order.
        options: what was asked for.
        indexes: stamped indexes that were compared with it.
        baseline: what is accepted; by the day, in UTC, on which the inventory was taken.
    """
    filters = options.filters
    everything = in_order(findings)
    settled = settle(
        everything,
        baseline or Baseline(where=""),
        today=dt.datetime.fromtimestamp(inventory.at_ms / 1000, tz=dt.UTC).date(),
        looked_for=codes_looked_for(
            complete=inventory.complete,
            deep=options.deep and not filters.narrow_versions,
            golden=options.golden and not filters.narrow_versions,
        ),
    )
    versions = selected_versions(inventory, filters)
    shown = tuple(one for one in settled.open if selects(one, filters, versions))
    accepted: list[Accepted] = []
    aside: list[Accepted] = []
    for one in settled.accepted:
        (accepted if selects(one.finding, filters, versions) else aside).append(one)
    rows = tuple(rows_of(inventory, everything, shown, versions, filters))
    return Audit(
        registry=inventory.registry,
        at_ms=inventory.at_ms,
        complete=inventory.complete,
        problem=inventory.problem,
        options=options,
        summary=_summary(rows, shown, len(accepted)),
        rows=rows,
        findings=shown,
        accepted=tuple(accepted),
        expired=settled.expired,
        stale=settled.stale,
        kept=(*(one.entry for one in aside), *settled.unjudged),
        indexes=tuple(indexes),
        inventory=inventory,
    )


def _summary(
    rows: tuple[AuditRow, ...], shown: Iterable[AuditFinding], accepted: int
) -> AuditSummary:
    kinds = Counter(row.kind for row in rows)
    stages = Counter(name for row in rows for name in row.stage_names)
    severities = Counter(finding.severity for finding in shown)
    return AuditSummary(
        models=len({row.model for row in rows}),
        versions=len(rows),
        kinds=dict(sorted(kinds.items())),
        stages=dict(sorted(stages.items())),
        severities={severity: severities[severity] for severity in Severity},
        accepted=accepted,
    )
