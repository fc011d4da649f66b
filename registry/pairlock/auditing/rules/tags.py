"""Whether a version's tags say what its manifest says."""

from __future__ import annotations

from collections.abc import Iterator

from pairlock.auditing.codes import Code, Severity
from pairlock.auditing.findings import AuditFinding
from pairlock.auditing.rules.known import Known
from pairlock.auditing.rules.saying import of_version
from pairlock.auditing.rules.view import View, held_stages
from pairlock.catalog import DIGEST_TAG
from pairlock.inventory import PackageFacts, VersionFacts
from pairlock.inventory.tags import version_tags

PLACE = "version tags"


def find(view: View, known: Known) -> Iterator[AuditFinding]:  # noqa: ARG001 - one form for all
    """Every tag that is missing or wrong, of versions whose manifest was read."""
    for model in view.inventory.models:
        approved = {held.version: (stage, held) for stage, held in held_stages(model)}
        for version in model.versions:
            if version.tags_agree and version.version not in approved:
                continue
            stage, held = approved.get(version.version, (None, None))
            digest = None if held is None else held.package_digest
            if version.package is not None:
                yield from _compare(version, version.package, digest, stage)
            elif digest is not None and digest != version.tags.get(DIGEST_TAG, digest):
                yield _wrong(version, DIGEST_TAG, digest, stage=stage)


def _compare(
    version: VersionFacts, package: PackageFacts, approved: str | None, stage: str | None
) -> Iterator[AuditFinding]:
    """Compare the tags with the manifest.

    Args:
        version: the version.
        package: its manifest.
        approved: the digest that the ledger has for it; None where it holds no stage.
        stage: the stage that it holds.
    """
    wanted = version_tags(package)
    tag = version.tags.get(DIGEST_TAG)
    recorded = approved or tag or package.digest
    if recorded != package.digest:
        # by the ledger, or where only two records are left and nothing says which was changed
        yield of_version(
            Code.PACKAGE_TAMPERED,
            version,
            stage=stage,
            place="the manifest",
            expected=f"{recorded}, as the {'ledger' if approved else f'tag {DIGEST_TAG}'} says",
            found=package.digest,
        )
    missing = sorted(wanted.keys() - version.tags.keys())
    if missing:
        yield of_version(
            Code.TAGS_MISSING,
            version,
            place=PLACE,
            expected=", ".join(missing),
            found=f"{len(missing)} of {len(wanted)} are not there",
            figures={"tags": missing},
        )
    if approved is not None and tag not in {None, approved}:
        yield _wrong(version, DIGEST_TAG, approved, stage=stage)
    if recorded != package.digest:
        return  # what else such a manifest says is no measure of the tags
    for name, value in sorted(wanted.items()):
        if name != DIGEST_TAG and version.tags.get(name, value) != value:
            yield _wrong(version, name, value, severity=Severity.WARNING)  # no load asks for it


def _wrong(
    version: VersionFacts,
    name: str,
    expected: str,
    *,
    severity: Severity | None = None,
    stage: str | None = None,
) -> AuditFinding:
    return of_version(
        Code.TAGS_WRONG,
        version,
        severity=severity,
        stage=stage,
        place=name,
        expected=expected,
        found=version.tags[name],
        todo=f"Find out who changed it, and set the tag {name} of {version.uri} back.",
    )
