"""What is worth knowing of a version beside its bytes, its base and its stages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache

from pairlock.auditing.codes import Code, Severity
from pairlock.auditing.findings import AuditFinding
from pairlock.auditing.rules.known import Known
from pairlock.auditing.rules.saying import of_version
from pairlock.auditing.rules.stages import stage_pairs
from pairlock.auditing.rules.view import View, has_entries, held_stages
from pairlock.catalog import ARCHIVED, DIGEST_TAG, READY
from pairlock.inventory import ModelFacts, VersionFacts
from pairlock.inventory.tags import digest_of
from pairlock.profiling import PROFILE_TAG

COMPARED = ("sentence-transformers", "torch", "transformers", "peft")
"""Distributions that vectors depend on; others that a manifest names do not change them."""


def find(view: View, known: Known) -> Iterator[AuditFinding]:
    """Status, drift, copies, what was passed over, what was never measured."""
    for version in view.inventory.versions():
        if version.state not in {READY, ARCHIVED}:
            yield _not_ready(version)
    for version in view.used():
        yield from _drift(version, known)
    yield from _identical(view)
    for model in view.inventory.models:
        yield from _passed_over(model, view)
        yield from _overtaken(model, known, view)
        yield from _never_profiled(model, view)


def _not_ready(version: VersionFacts) -> AuditFinding:
    is_pending = version.state.startswith("pending")
    return of_version(
        Code.NOT_READY,
        version,
        severity=Severity.NOTE if is_pending else None,  # it may be uploaded right now
        place="status",
        expected=READY,
        found=version.state,
    )


def _drift(version: VersionFacts, known: Known) -> Iterator[AuditFinding]:
    package = version.package
    if package is None or package.digest in known.proved:
        return
    differing = drifted(package.libraries, known.installed)
    if differing:
        is_major = any(_release(a)[:1] != _release(b)[:1] for a, b in differing.values())
        yield of_version(
            Code.LIBRARY_DRIFT,
            version,
            severity=Severity.WARNING if is_major else None,
            place="libraries",
            expected=", ".join(f"{name} {pair[0]}" for name, pair in differing.items()),
            found=", ".join(f"{name} {pair[1]}" for name, pair in differing.items()),
            figures={name: list(pair) for name, pair in differing.items()},
        )


def drifted(
    recorded: Mapping[str, str], installed: Mapping[str, str]
) -> dict[str, tuple[str, str]]:
    """Libraries whose major or minor release is another one than when a package was made.

    Args:
        recorded: distribution to version, as the manifest has it.
        installed: distribution to version, now; none is compared that is not there.

    Returns:
        Recorded and installed version by distribution.
    """
    return {
        name: (recorded[name], installed[name])
        for name in COMPARED
        if name in recorded
        and name in installed
        and _release(recorded[name]) != _release(installed[name])
    }


@cache
def _release(version: str) -> tuple[str, ...]:
    """Major and minor of a version; all of a text that has none."""
    found = re.match(r"(\d+)(?:\.(\d+))?", version)
    return (version,) if found is None else (found[1], found[2] or "0")


def _identical(view: View) -> Iterator[AuditFinding]:
    for digest, versions in view.digests():
        if len(versions) < 2:
            continue
        same = [one for one in versions if one.package is not None and digest_of(one) == digest]
        if len(same) < 2:
            continue
        first = min(same, key=lambda one: (one.created_ms, one.name, one.version))
        for version in same:
            if version is not first:
                yield of_version(
                    Code.IDENTICAL,
                    version,
                    place=first.uri,
                    expected="a package of its own",
                    found=f"{digest}, as {first.uri}",
                    figures={"versions": len(same)},
                )


def _passed_over(model: ModelFacts, view: View) -> Iterator[AuditFinding]:
    """Versions that never came into a stage, where a newer one did, and that nobody stands on."""
    ledger = model.ledger
    if ledger is None or not has_entries(ledger):
        return
    if not ledger.held_versions.issuperset(held.version for _, held in held_stages(model)):
        return  # the history was not read
    newest = max(
        (held for held in held_stages(model) if view.version(model.name, held[1].version)),
        key=lambda held: held[1].version,
        default=None,
    )
    asked = {request.version for request in ledger.state.requests}
    for version in model.versions:
        if (
            newest is not None
            and version.version < newest[1].version
            and version.version not in ledger.held_versions | asked
            and not view.uses(version)
            and not view.stands_on(version)
        ):
            yield of_version(
                Code.SUPERSEDED,
                version,
                place="versions",
                expected="a stage, at some time",
                found=f"never in a stage; version {newest[1].version} is in {newest[0]}",
            )


def _overtaken(model: ModelFacts, known: Known, view: View) -> Iterator[AuditFinding]:
    """A stage that holds an older version than the stage that it feeds."""
    held = dict(held_stages(model))
    if len(held) < 2:
        return
    for before, after in stage_pairs(known.policy(model.name)):
        if before in held and after in held and held[before].version < held[after].version:
            version = view.version(model.name, held[before].version)
            if version is not None:
                yield of_version(
                    Code.SUPERSEDED,
                    version,
                    stage=before,
                    place=f"{before} to {after}",
                    expected=f"version {held[after].version} or a newer one, as in {after}",
                    found=f"version {version.version}",
                    todo=f"Run `pairlock promote {model.name} {held[after].version} --to {before}`,"
                    f" or `pairlock demote {model.name} --stage {before}`.",
                )


def _never_profiled(model: ModelFacts, view: View) -> Iterator[AuditFinding]:
    holders: dict[int, list[str]] = {}
    for stage, held in held_stages(model):
        holders.setdefault(held.version, []).append(stage)
    for number, stages in sorted(holders.items()):
        version = view.version(model.name, number)
        if version is None or version.package is None or _is_profiled(version):
            continue
        yield of_version(
            Code.NEVER_PROFILED,
            version,
            place=f"{PROFILE_TAG}*",
            expected=f"a profile, as it is in {', '.join(stages)}",
            found="none of this package",
            todo=f"Run `pairlock profile {version.uri}` on the machine that serves it.",
        )


def _is_profiled(version: VersionFacts) -> bool:
    """Whether a tag holds a profile of this package, and not of another one."""
    digests = {digest_of(version), version.tags.get(DIGEST_TAG)}
    for name, text in version.tags.items():
        if name.startswith(PROFILE_TAG):
            try:
                if json.loads(text)["package_digest"] in digests:
                    return True
            except (ValueError, TypeError, KeyError, RecursionError):
                continue
    return False
