"""One row for each version: what it is, what became of its base, where it is used. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct

from pairlock.auditing.codes import Code, Severity
from pairlock.auditing.filters import Filters, VersionKey
from pairlock.auditing.findings import AuditFinding
from pairlock.auditing.versions import UNKNOWN, Holding, dimension_of, holdings, kind_of
from pairlock.inventory import Inventory, PinFacts, VersionFacts
from pairlock.inventory.tags import digest_of, pin_of


class BaseState(StrEnum):
    """What became of a version's base, in a word."""

    NONE = "none"
    """It stands on none."""

    OK = "ok"
    """Nothing was found."""

    MISSING = "missing"
    CHANGED = "changed"
    """Its bytes are not those that were pinned."""

    MOVED = "moved"
    """Its URI names other bytes now."""

    DIMENSION = "dimension"
    """Its vectors do not fit."""

    RETIRED = "retired"
    """Deleted or archived."""

    UNPINNED = "unpinned"
    """Nobody wrote down which one it is."""

    NOT_IN_STAGE = "not-in-stage"
    UNKNOWN = "unknown"
    """Nothing is known of the version, or its base was not looked at."""


_BASE_STATES = {
    Code.BASE_MISSING: BaseState.MISSING,
    Code.BASE_DIGEST: BaseState.CHANGED,
    Code.BASE_MOVED: BaseState.MOVED,
    Code.BASE_DIMENSION: BaseState.DIMENSION,
    Code.BASE_RETIRED: BaseState.RETIRED,
    Code.BASE_UNPINNED: BaseState.UNPINNED,
    Code.BASE_NOT_IN_STAGE: BaseState.NOT_IN_STAGE,
}
"""The first that was found is the word."""

_OK = BaseState.OK  # looked up once: ten thousand rows say it
_HELD_BY_NONE = Holding()


class AuditRow(Struct, frozen=True, kw_only=True, gc=False):
    """One version."""

    model: str
    version: int
    kind: str
    """Of `versions.KINDS`."""

    dimension: int | None
    """Components of a vector; None when nobody says."""

    package_digest: str | None
    base: str | None
    """URI as it is pinned."""

    base_state: BaseState
    """Also by findings that are accepted or not asked for: it is so."""

    stages: tuple[str, ...]
    """By the ledger."""

    aliases: tuple[str, ...]
    """By MLflow."""

    legacy_stage: str | None
    """MLflow's legacy stage, where it is one that a version is used in."""

    severity: Severity | None
    """The worst of its open findings; None for none."""

    codes: tuple[Code, ...]
    """Of its open findings, the worst first."""

    @property
    def stage_names(self) -> tuple[str, ...]:
        """All stages that the version is in, whoever says so."""
        if not (self.stages or self.aliases or self.legacy_stage):
            return ()
        return Holding(self.stages, self.aliases, self.legacy_stage).names

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON data."""
        return {
            "model": self.model,
            "version": self.version,
            "kind": self.kind,
            "dimension": self.dimension,
            "package_digest": self.package_digest,
            "base": self.base,
            "base_state": self.base_state.value,
            "stages": list(self.stages),
            "aliases": list(self.aliases),
            "legacy_stage": self.legacy_stage,
            "severity": None if self.severity is None else self.severity.value,
            "codes": [code.value for code in self.codes],
        }


def rows_of(
    inventory: Inventory,
    everything: Iterable[AuditFinding],
    shown: Iterable[AuditFinding],
    versions: frozenset[VersionKey],
    filters: Filters,
) -> Iterator[AuditRow]:
    """One row for each version that is asked for, by model and number.

    Args:
        inventory: the whole registry.
        everything: every finding: a base is what it is, also where nobody asks for it.
        shown: the findings that are open and asked for, the worst first.
        versions: those that the filters choose.
        filters: what was asked for.
    """
    base_codes = _by_version(one for one in everything if one.code in _BASE_STATES)
    open_ = _by_version(shown)
    there = {version.uri for version in inventory.versions()} if not inventory.complete else None
    for model in inventory.models:
        name, held = model.name, holdings(model)
        for version in model.versions:
            number = version.version
            key = (name, number)
            found = open_.get(key, ())
            if key not in versions or (filters.narrow_findings and not found):
                continue
            pin = pin_of(version)
            holding = held.get(number, _HELD_BY_NONE)
            yield AuditRow(
                model=name,
                version=number,
                kind=kind_of(version),
                dimension=dimension_of(version),
                package_digest=digest_of(version),
                base=None if pin is None else pin.uri,
                base_state=_base_state(version, pin, base_codes.get(key, ()), there),
                stages=holding.stages,
                aliases=holding.aliases,
                legacy_stage=holding.legacy_stage,
                severity=found[0].severity if found else None,
                codes=tuple(dict.fromkeys(one.code for one in found)) if found else (),
            )


def _by_version(findings: Iterable[AuditFinding]) -> dict[VersionKey, list[AuditFinding]]:
    found: dict[VersionKey, list[AuditFinding]] = {}
    for one in findings:
        if one.model is not None and one.version is not None:
            found.setdefault((one.model, one.version), []).append(one)
    return found


def _base_state(
    version: VersionFacts,
    pin: PinFacts | None,
    findings: Sequence[AuditFinding],
    there: set[str] | None,
) -> BaseState:
    """Args: `there`: URIs of all versions that were looked at, where those are not all."""
    if findings:
        codes = {one.code for one in findings}
        return next(state for code, state in _BASE_STATES.items() if code in codes)
    if version.package is None and (pin is None or kind_of(version) == UNKNOWN):
        return BaseState.NONE if kind_of(version) == "full" else BaseState.UNKNOWN
    if pin is None:
        return BaseState.NONE
    if there is not None and pin.uri not in there:
        return BaseState.UNKNOWN
    return _OK
