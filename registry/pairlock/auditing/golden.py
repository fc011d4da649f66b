"""`--golden`: recomputes the golden vectors of every package, each once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pairlock.auditing.codes import Code
from pairlock.auditing.findings import AuditFinding
from pairlock.auditing.rules.packages import of_finding
from pairlock.auditing.rules.saying import of_version
from pairlock.errors import PairlockError
from pairlock.inventory import VersionFacts
from pairlock.progress import SILENT, Progress
from pairlock.stores.opening import is_remote
from pairlock.verification import (
    GOLDEN,
    GRAPH,
    CheckResult,
    Outcome,
    Verification,
    verify,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recomputed:
    """What recomputing came to."""

    findings: tuple[AuditFinding, ...]
    proved: frozenset[str]
    """Package digests whose vectors agree."""


def recompute(
    versions: Iterable[VersionFacts],
    *,
    allow: Iterable[str] = (),
    offline: bool | None = None,
    progress: Progress = SILENT,
    stop: Callable[[], bool] = lambda: False,
) -> Recomputed:
    """Load every distinct package once, and compare its vectors with the recorded ones.

    Versions of one package are tried in turn, those without a known fault and on this machine
    first, until one can be loaded. In float32 on the CPU, as `pairlock.verify`.

    Args:
        versions: which; those without a package are passed over, as their own rows say why.
        allow: as `pairlock.load`.
        offline: as `pairlock.load`.
        progress: told about the work.
        stop: asked before each package; once it says True, no other is loaded.

    Returns:
        Golden vectors that differ, and what could not be proved, at every version of the package;
        and differences of the bytes, where they were found.
    """
    allowed = tuple(allow)
    by_digest: defaultdict[str, list[VersionFacts]] = defaultdict(list)
    for version in versions:
        if version.package is not None:
            by_digest[version.package.digest].append(version)
    findings: list[AuditFinding] = []
    proved = set()
    for digest, copies in by_digest.items():
        if stop():
            break
        found, is_proved = _of_package(digest, copies, allowed, offline, progress)
        findings += found
        if is_proved:
            proved.add(digest)
    return Recomputed(findings=tuple(findings), proved=frozenset(proved))


def _of_package(
    digest: str,
    copies: list[VersionFacts],
    allow: tuple[str, ...],
    offline: bool | None,
    progress: Progress,
) -> tuple[list[AuditFinding], bool]:
    findings: list[AuditFinding] = []
    why = ""
    order = [
        (bool(one.findings), is_remote(one.location), index) for index, one in enumerate(copies)
    ]
    for _, _, index in sorted(order):
        version = copies[index]
        try:
            found = verify(version.uri, allow=allow, offline=offline, progress=progress)
        except PairlockError as error:
            why = why or _in_words(error)
            continue
        if found.package_digest != digest:
            why = why or "the package was changed meanwhile"
            continue
        findings += _of_bytes(version, found)
        golden, graph = _check(found, GOLDEN), _check(found, GRAPH)
        if golden is None or golden.outcome is Outcome.SKIPPED:
            why = why or (golden.detail if golden is not None else "they were not compared")
            continue
        if golden.outcome is Outcome.PASSED and graph is not None:
            golden = graph
        if golden.outcome is not Outcome.FAILED:
            return findings, True
        return findings + [_differ(one, golden) for one in copies], False
    unproved = [
        of_version(
            Code.NOT_PROVED,
            one,
            place="golden vectors",
            expected="vectors to compare",
            found=why,
        )
        for one in copies
    ]
    return findings + unproved, False


def _of_bytes(version: VersionFacts, found: Verification) -> Iterator[AuditFinding]:
    package, base = _check(found, "package"), _check(found, "base")
    if package is not None:
        yield from (of_finding(version, one) for one in package.findings)
    if base is not None and base.findings and version.package and version.package.base:
        pin = version.package.base
        yield of_version(
            Code.BASE_DIGEST,
            version,
            place=pin.uri,
            expected=f"the package {pin.package_digest or pin.tree_digest}",
            found=f"{len(base.findings)} differences, the first: {base.findings[0]}",
        )


def _differ(version: VersionFacts, golden: CheckResult) -> AuditFinding:
    first = golden.findings[0] if golden.findings else None
    return of_version(
        Code.GOLDEN,
        version,
        place=golden.name,
        expected=first.expected if first else "the recorded vectors",
        found=f"{len(golden.findings)} differ, the first: {first}" if first else golden.detail,
        figures=golden.figures,
    )


def _check(found: Verification, name: str) -> CheckResult | None:
    return next((check for check in found.checks if check.name == name), None)


def _in_words(error: PairlockError) -> str:
    return f"{error.summary} ({error.kind})"
