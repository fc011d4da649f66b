"""What adapters stand on: whether it is there, unchanged, in use, and of the right dimension."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pairlock.auditing.codes import Code, Severity
from pairlock.auditing.findings import AuditFinding
from pairlock.auditing.rules.known import BasePlace, Known
from pairlock.auditing.rules.saying import of_version
from pairlock.auditing.rules.view import View, version_reference
from pairlock.catalog import ARCHIVED, DIGEST_TAG, READY
from pairlock.errors import Finding
from pairlock.inventory import PackageState, PinFacts, VersionFacts
from pairlock.inventory.tags import digest_of, pin_of
from pairlock.manifest import BaseOrigin

ORIGIN_TAGS = "pairlock.origin."
"""Beginning of the tags of a version that came from another registry, where its pin's name is."""

_NOT_LOOKED_AT = BasePlace()


class _Wrong(NamedTuple):
    """What is wrong with a pinned version."""

    code: Code
    found: str
    severity: Severity = Severity.ERROR


def find(view: View, known: Known) -> Iterator[AuditFinding]:
    """Everything that is wrong with a base, at each adapter that stands on it."""
    for pin, versions in view.pinned():
        reference = version_reference(pin.uri)
        if reference is None:
            for version in versions:
                yield from _elsewhere(version, pin, view, known)
            continue
        target = view.version(reference.name, reference.version)
        place = known.bases.get((pin.uri, pin.tree_digest), _NOT_LOOKED_AT)
        fits = target if _is_well(pin, target) else None
        for version in versions:
            if fits is None or not _stands_well(version, fits, view):
                yield from _registered(version, pin, target, view, place)
    for version in view.inventory.versions():
        if version.foreign is not None and version.foreign.is_adapter and pin_of(version) is None:
            yield _unpinned(version)


def _is_well(pin: PinFacts, target: VersionFacts | None) -> bool:
    """Whether a base is there, in use and as it was pinned, whoever stands on it; as nearly all."""
    return (
        target is not None
        and target.package is not None
        and pin.package_digest == target.package.digest == target.tags.get(DIGEST_TAG)
        and pin.dimension == target.package.dimension
        and target.state == READY
        and target.package_state is PackageState.THERE
        and not target.findings
    )


def _stands_well(version: VersionFacts, base: VersionFacts, view: View) -> bool:
    """Whether there is nothing to say of a version that stands on a base that is well."""
    if version.package is None or base.package is None:
        return False
    takes = version.package.input_dimension
    fits = takes is None or takes == base.package.dimension
    return fits and (not view.is_in_a_stage(version) or view.is_in_a_stage(base))


def _registered(
    version: VersionFacts,
    pin: PinFacts,
    target: VersionFacts | None,
    view: View,
    place: BasePlace,
) -> Iterator[AuditFinding]:
    wrong = _wrong(version, pin, target)
    if wrong is None and place.findings:
        wrong = _Wrong(Code.BASE_DIGEST, _differences(place.findings))
    if not view.is_whole and (target is None or _is_sent(version)):
        wrong = None  # the base, or the copy of it that a load finds, may not have been looked at
    copies: list[VersionFacts] = []
    if wrong is not None:
        copies = _copies(pin, view)
        ready = [copy for copy in copies if copy.state == READY]
        if ready and _is_sent(version) and wrong.code in {Code.BASE_MISSING, Code.BASE_MOVED}:
            # the pin's name is another registry's; here its copy is what a load finds
            target, copies, wrong = ready[0], [], None
    if wrong is not None:
        code, found, severity = wrong
        if copies and code is not Code.BASE_RETIRED:
            code = Code.BASE_RETIRED if code is Code.BASE_MISSING else code
            severity = Severity.WARNING
            found += f"; {copies[0].uri} is the same package, and is what a load finds"
        yield of_version(
            code,
            version,
            severity=severity,
            place=pin.uri,
            expected=f"the package {pin.package_digest or pin.tree_digest}",
            found=found,
        )
    gives = target.package.dimension if target is not None and target.package else None
    if copies and wrong is not None:
        gives = None  # a load takes the copy, whose bytes are the pinned ones
    yield from _dimension(version, pin, gives)
    if wrong is None and target is not None:
        yield from _in_no_stage(version, pin, target, view)


def _is_sent(version: VersionFacts) -> bool:
    """Whether a version came from another registry, where its pin's name is."""
    return any(tag.startswith(ORIGIN_TAGS) for tag in version.tags)


def _wrong(version: VersionFacts, pin: PinFacts, target: VersionFacts | None) -> _Wrong | None:
    """What is wrong with the version that a pin names."""
    if target is None:
        return _Wrong(Code.BASE_MISSING, "no such version")
    if target.state not in {READY, ARCHIVED}:
        return _Wrong(Code.BASE_MISSING, f"a version whose status is {target.state}")
    if target.package_state is PackageState.MISSING:
        return _Wrong(Code.BASE_MISSING, "a version without its bytes")
    if target.package_state is PackageState.UNREACHABLE:
        return None  # nothing is known of it, as its own row says
    wrong = _wrong_package(version, pin, target)
    if wrong is None and target.state == ARCHIVED:
        return _Wrong(Code.BASE_RETIRED, "an archived version", Severity.WARNING)
    return wrong


def _wrong_package(version: VersionFacts, pin: PinFacts, target: VersionFacts) -> _Wrong | None:
    if pin.package_digest is None:
        if target.package_state is PackageState.THERE:
            return _Wrong(Code.BASE_MOVED, "a Pairlock package, where another flavor's model was")
        if target.created_ms > version.created_ms:
            # nothing but its bytes could prove more, and a registry may have been moved whole
            late = "a version that was registered after the adapter was"
            return _Wrong(Code.BASE_MOVED, late, Severity.WARNING)
        return None
    if target.package_state is PackageState.FOREIGN:
        return _Wrong(Code.BASE_MOVED, "a model of another flavor")
    tag, digest = target.tags.get(DIGEST_TAG), digest_of(target)
    is_another = tag is not None and tag != pin.package_digest
    if target.package_state is PackageState.UNREADABLE:
        if is_another:
            return _Wrong(Code.BASE_MOVED, f"the package {tag}")
        return _Wrong(Code.BASE_DIGEST, f"a manifest that cannot be read: {target.problem}")
    if digest != pin.package_digest:
        is_younger = tag is None and target.created_ms > version.created_ms
        code = Code.BASE_MOVED if is_another or is_younger else Code.BASE_DIGEST
        return _Wrong(code, f"the package {digest}")
    if is_another:
        return _Wrong(Code.BASE_DIGEST, f"that package, and the tag {DIGEST_TAG} says {tag}")
    if target.findings:
        return _Wrong(Code.BASE_DIGEST, _differences(target.findings))
    return None


def _differences(findings: tuple[Finding, ...]) -> str:
    many = f"{len(findings)} differences, the first: " if len(findings) > 1 else ""
    return f"{many}{findings[0]}"


def _copies(pin: PinFacts, view: View) -> list[VersionFacts]:
    """Versions that are the pinned package, whole, under any name; those in use first."""
    if pin.package_digest is None:
        return []
    found = [
        copy
        for copy in view.with_digest(pin.package_digest)
        if copy.state in {READY, ARCHIVED}
        and copy.package_state is PackageState.THERE
        and not copy.findings
        and digest_of(copy) == pin.package_digest == copy.tags.get(DIGEST_TAG, pin.package_digest)
        and copy.uri != pin.uri
    ]
    return sorted(found, key=lambda copy: (copy.state != READY, copy.name, copy.version))


def _dimension(version: VersionFacts, pin: PinFacts, gives: int | None) -> Iterator[AuditFinding]:
    takes = pin.dimension
    if version.package is not None and version.package.input_dimension is not None:
        takes = version.package.input_dimension
    found = pin.dimension if gives is None or gives == takes else gives
    if takes is not None and found is not None and found != takes:
        yield of_version(
            Code.BASE_DIMENSION,
            version,
            place=pin.uri,
            expected=f"vectors of {takes} dimensions",
            found=f"{found} dimensions",
            figures={"takes": takes, "gives": found},
        )


def _in_no_stage(
    version: VersionFacts, pin: PinFacts, target: VersionFacts, view: View
) -> Iterator[AuditFinding]:
    held = view.stages(version)
    if held and view.is_whole and not view.stages(target):
        yield of_version(
            Code.BASE_NOT_IN_STAGE,
            version,
            place=pin.uri,
            expected=f"a stage, as the adapter is in {', '.join(sorted(held))}",
            found="no stage",
            todo=f"Promote {target.uri}, or ask for it with `base_stages` in the policy.",
        )


def _elsewhere(
    version: VersionFacts, pin: PinFacts, view: View, known: Known
) -> Iterator[AuditFinding]:
    """A base that is no registered version: a folder, a hub snapshot, another store."""
    place = known.bases.get((pin.uri, pin.tree_digest), _NOT_LOOKED_AT)
    copies = _copies(pin, view)
    expected = f"the model {pin.tree_digest}"
    yield from _dimension(version, pin, None)
    if place.problem:
        yield of_version(
            Code.NOT_PROVED,
            version,
            place=pin.uri,
            expected=expected,
            found=place.problem,
        )
    elif copies or not view.is_whole:
        return  # a load takes the copy, if there is one
    elif place.findings:
        yield of_version(
            Code.BASE_DIGEST,
            version,
            place=pin.uri,
            expected=expected,
            found=_differences(place.findings),
        )
    elif place.missing:
        yield of_version(
            Code.BASE_MISSING,
            version,
            severity=Severity.WARNING,  # on another machine it may be there
            place=pin.uri,
            expected=expected,
            found="nothing, seen from this machine",
        )
    elif pin.origin is not BaseOrigin.HUB:
        yield of_version(
            Code.BASE_UNREGISTERED,
            version,
            severity=Severity.WARNING if view.uses(version) else None,
            place=pin.uri,
            expected="a registered version",
            found="no registered version, pinned by the digests of its files",
        )


def _unpinned(version: VersionFacts) -> AuditFinding:
    assert version.foreign is not None
    flavors = ", ".join(version.foreign.flavors) or "another flavor"
    base = version.foreign.base
    return of_version(
        Code.BASE_UNPINNED,
        version,
        place="adapter_config.json",
        expected="a base with a digest",
        found=f"logged by {flavors}; "
        + (f"the base is called {base!r}, without a digest" if base else "the base has no name"),
        figures={"flavors": list(version.foreign.flavors), "base": base},
    )
