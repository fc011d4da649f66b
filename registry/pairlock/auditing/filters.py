"""Which versions and findings are asked for. No I/O.

Several values of one filter widen it, several filters narrow it: `a` or `b`, in `production`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from pairlock.auditing.codes import Code, Severity
from pairlock.auditing.findings import AuditFinding
from pairlock.auditing.versions import KINDS, holdings, kind_of
from pairlock.errors import ErrorKind, InvalidInputError
from pairlock.inventory import Inventory, PinFacts
from pairlock.inventory.tags import digest_of, pin_of

VersionKey = tuple[str, int]
"""Registered name and version."""

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{6,64})")
_ALIAS = re.compile(r"models:/([^/@]+)@([^/@]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What is asked for. Without arguments: everything."""

    models: tuple[str, ...] = ()
    """Registered names, or patterns of them as a shell has them: `support-*`."""

    stages: tuple[str, ...] = ()
    """Held by the ledger, by MLflow's alias, or as MLflow's legacy stage."""

    bases: tuple[str, ...] = ()
    """URIs as they are pinned, patterns of them, `models:/name@alias` for the version that it is
    now, or the first digits (6 at least) of a tree or package digest."""

    kinds: tuple[str, ...] = ()
    """Of `versions.KINDS`."""

    codes: tuple[Code, ...] = ()
    severity: Severity | None = None
    """This bad at least."""

    @classmethod
    def of(
        cls,
        *,
        models: Iterable[str] = (),
        stages: Iterable[str] = (),
        bases: Iterable[str] = (),
        kinds: Iterable[str] = (),
        codes: Iterable[str] = (),
        severity: str | None = None,
    ) -> Filters:
        """Filters from what a user wrote.

        Raises:
            InvalidInputError: there is no such kind, code or severity, or a value is empty.
        """
        given = {"model": [*models], "stage": [*stages], "base": [*bases]}
        for name, values in given.items():
            if not all(value.strip() for value in values):
                raise _no_such(name, "", ())
        return cls(
            models=tuple(given["model"]),
            stages=tuple(given["stage"]),
            bases=tuple(given["base"]),
            kinds=tuple(_one_of("kind", kind, KINDS) for kind in kinds),
            codes=tuple(Code(_one_of("code", code, [one.value for one in Code])) for code in codes),
            severity=None
            if severity is None
            else Severity(_one_of("severity", severity, [one.value for one in Severity])),
        )

    @property
    def narrow_versions(self) -> bool:
        """Whether some versions may be left out by what they are."""
        return bool(self.models or self.stages or self.bases or self.kinds)

    @property
    def narrow_findings(self) -> bool:
        """Whether some findings may be left out by what they say."""
        return bool(self.codes) or self.severity is not None

    def to_dict(self) -> dict[str, Any]:
        """The filters as JSON data."""
        return {
            "models": list(self.models),
            "stages": list(self.stages),
            "bases": list(self.bases),
            "kinds": list(self.kinds),
            "codes": [code.value for code in self.codes],
            "severity": None if self.severity is None else self.severity.value,
        }


def selected_versions(inventory: Inventory, filters: Filters) -> frozenset[VersionKey]:
    """The versions that are asked for by what they are."""
    bases = _wanted_bases(inventory, filters.bases)
    found: set[VersionKey] = set()
    for model in inventory.models:
        if filters.models and not _matches(model.name, filters.models):
            continue
        held = holdings(model) if filters.stages else {}
        for version in model.versions:
            if filters.stages:
                names = held[version.version].names if version.version in held else ()
                if not set(names) & set(filters.stages):
                    continue
            if filters.kinds and kind_of(version) not in filters.kinds:
                continue
            if filters.bases and not _stands_on(pin_of(version), bases):
                continue
            found.add((model.name, version.version))
    return frozenset(found)


def selects(finding: AuditFinding, filters: Filters, versions: Collection[VersionKey]) -> bool:
    """Whether a finding is asked for.

    What belongs to a version goes with it. What belongs to a model as a whole is asked for by the
    model's name, and by its stage where it has one; what belongs to no model only by code and
    severity.

    Args:
        finding: any.
        filters: what is asked for.
        versions: as `selected_versions` says.
    """
    if not _asked_for(finding, filters):
        return False
    if not filters.narrow_versions:
        return True
    if finding.version is None:
        return _of_a_model(finding, filters)
    return (finding.model, finding.version) in versions


def _asked_for(finding: AuditFinding, filters: Filters) -> bool:
    return (not filters.codes or finding.code in filters.codes) and (
        filters.severity is None or finding.severity.rank >= filters.severity.rank
    )


def _of_a_model(finding: AuditFinding, filters: Filters) -> bool:
    if finding.model is None or filters.bases or filters.kinds:
        return False
    return (not filters.models or _matches(finding.model, filters.models)) and (
        not filters.stages or finding.stage in filters.stages
    )


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


@dataclass(frozen=True, slots=True)
class _Bases:
    """Bases that are asked for."""

    patterns: tuple[str, ...]
    prefixes: tuple[str, ...]
    """First digits of a digest, in hex."""

    digests: frozenset[str]
    """Package digests of registered versions that are asked for: their bytes may be pinned under
    another name too."""


def _wanted_bases(inventory: Inventory, wanted: tuple[str, ...]) -> _Bases:
    patterns: list[str] = []
    prefixes: list[str] = []
    for text in wanted:
        if (found := _DIGEST.fullmatch(text)) is not None:
            prefixes.append(found[1])
        elif (alias := _ALIAS.fullmatch(text)) is not None:
            number = _aliased(inventory, alias[1], alias[2])
            patterns.append(text if number is None else f"models:/{alias[1]}/{number}")
        else:
            patterns.append(text)
    digests = (
        digest_of(version)
        for version in (inventory.versions() if patterns else ())
        if _matches(version.uri, patterns)
    )
    return _Bases(
        tuple(patterns), tuple(prefixes), frozenset(one for one in digests if one is not None)
    )


def _aliased(inventory: Inventory, name: str, alias: str) -> int | None:
    return next((one.aliases.get(alias) for one in inventory.models if one.name == name), None)


def _stands_on(pin: PinFacts | None, bases: _Bases) -> bool:
    if pin is None:
        return False
    return (
        _matches(pin.uri, bases.patterns)
        or pin.package_digest in bases.digests
        or any(
            digest is not None and digest.removeprefix("sha256:").startswith(prefix)
            for prefix in bases.prefixes
            for digest in (pin.tree_digest, pin.package_digest)
        )
    )


def _one_of(what: str, value: str, known: Collection[str]) -> str:
    if value not in known:
        raise _no_such(what, value, known)
    return value


def _no_such(what: str, value: str, known: Collection[str]) -> InvalidInputError:
    near = difflib.get_close_matches(value, known, n=1)
    return InvalidInputError(
        f"{value!r} is no {what}",
        kind=ErrorKind.ARGUMENT_INVALID,
        checked=f"the {what}s to audit",
        expected=f"one of {', '.join(known)}" if known else "a name",
        found=repr(value),
        done="nothing was audited",
        hint=f"did you mean {near[0]}?" if near else "docs/audit.md lists them",
    )
