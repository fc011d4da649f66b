"""What lies where a version's bytes should lie."""

from __future__ import annotations

from collections.abc import Iterator

from pairlock.auditing.codes import Code, Severity
from pairlock.auditing.findings import AuditFinding
from pairlock.auditing.rules.known import Known
from pairlock.auditing.rules.saying import of_version
from pairlock.auditing.rules.view import View
from pairlock.catalog import DIGEST_TAG
from pairlock.errors import ErrorKind, Finding
from pairlock.inventory import ModelFacts, PackageState, VersionFacts
from pairlock.inventory.pickles import is_pickle_name
from pairlock.stores.opening import is_remote

_STATES = {
    PackageState.MISSING: Code.PACKAGE_MISSING,
    PackageState.UNREADABLE: Code.PACKAGE_UNREADABLE,
    PackageState.UNREACHABLE: Code.PACKAGE_UNREACHABLE,
}
_KINDS = {
    ErrorKind.FILE_MISSING: Code.PACKAGE_INCOMPLETE,
    ErrorKind.FILE_EXTRA: Code.FOREIGN_FILES,
    ErrorKind.UNSAFE_PICKLE: Code.PICKLE,
}
"""Every other kind says that bytes are not those that were registered."""

_EMBEDDING_FLAVORS = frozenset({"sentence_transformers"})


def find(view: View, known: Known) -> Iterator[AuditFinding]:  # noqa: ARG001 - one form for all
    """Everything in which packages are not what was registered."""
    for model in view.inventory.models:
        is_ours = _is_ours(model)
        for version in model.versions:
            if _is_well(version):
                continue
            yield from _of_state(version, is_ours=is_ours)
            yield from (of_finding(version, one) for one in _findings(version))
            yield from _pickles(version, is_ours=is_ours)


def _is_well(version: VersionFacts) -> bool:
    """Whether there is nothing to say of a package, as of nearly all."""
    is_there = version.package_state is PackageState.THERE
    return is_there and not version.findings and not version.pickles


def _is_ours(model: ModelFacts) -> bool:
    """Whether Pairlock has to do with a registered model; a registry may hold others too."""
    return model.ledger is not None or any(
        version.package is not None or DIGEST_TAG in version.tags for version in model.versions
    )


def _is_embedding(version: VersionFacts) -> bool:
    return version.foreign is not None and (
        version.foreign.is_adapter or bool(_EMBEDDING_FLAVORS.intersection(version.foreign.flavors))
    )


def _of_state(version: VersionFacts, *, is_ours: bool) -> Iterator[AuditFinding]:
    code = _STATES.get(version.package_state)
    if code is not None:
        yield of_version(
            code,
            version,
            severity=None if is_ours else Severity.WARNING,
            place=version.location,
            expected="a package" if is_ours else "a model",
            found=version.problem or "nothing",
        )
    is_adapter = version.foreign is not None and version.foreign.is_adapter
    if version.package_state is PackageState.FOREIGN and not is_adapter:
        flavors = version.foreign.flavors if version.foreign is not None else ()
        if is_ours or _is_embedding(version):
            yield of_version(
                Code.FOREIGN_FLAVOR,
                version,
                place=version.location,
                expected="a Pairlock package",
                found=f"a model logged by {', '.join(flavors) or 'another flavor'}",
                figures={"flavors": list(flavors)},
            )


def _findings(version: VersionFacts) -> Iterator[Finding]:
    """What is wrong with the files; that a tag has another digest is for the tags' rule to say.

    Where no manifest can be read no file can be wrong: what is found then is about the manifest.
    """
    if version.package_state is not PackageState.THERE:
        return
    tag = version.tags.get(DIGEST_TAG)
    for finding in version.findings:
        if finding.kind is not ErrorKind.PACKAGE_DIGEST or tag not in {
            finding.expected,
            finding.found,
        }:
            yield finding


def of_finding(version: VersionFacts, finding: Finding) -> AuditFinding:
    """What a difference of the stored bytes from the manifest is called."""
    code = _KINDS.get(finding.kind, Code.PACKAGE_TAMPERED)
    # from another store a load fetches what the manifest lists, and nothing else
    is_harmless = code is Code.FOREIGN_FILES and is_remote(version.location)
    return of_version(
        code,
        version,
        severity=Severity.WARNING if is_harmless else None,
        place=finding.place,
        expected=finding.expected,
        found=finding.found,
        figures={"kind": finding.kind.value},
    )


def _pickles(version: VersionFacts, *, is_ours: bool) -> Iterator[AuditFinding]:
    if version.package_state is PackageState.FOREIGN and not (is_ours or _is_embedding(version)):
        return  # most models of other libraries are pickles, and none of them is an embedding model
    extra = {
        one.place
        for one in version.findings
        if one.kind is ErrorKind.FILE_EXTRA and is_pickle_name(one.place)
    }
    for path in sorted(extra.union(version.pickles)):
        yield of_version(Code.PICKLE, version, place=path, expected="safetensors", found="a pickle")
