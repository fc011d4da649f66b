"""`audit --fix`: plans what is safe to mend, and mends it. Everything else is somebody's to decide.

Nothing here changes who holds a stage, so nothing here writes an entry: an alias that follows is
what an entry that is there already asked for, and a version's tags are what its manifest says. An
alias that was moved by hand is not touched: which of the two is right, a person has to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pairlock.auditing.codes import Code
from pairlock.auditing.findings import AuditFinding
from pairlock.auditing.rules.view import View, held_stages
from pairlock.cache import CacheFolder
from pairlock.cache.checking import check_cache
from pairlock.catalog import DIGEST_TAG, read_evidence, store_evidence
from pairlock.config import Settings
from pairlock.errors import PairlockError
from pairlock.inventory import Inventory, VersionFacts
from pairlock.inventory.tags import version_tags
from pairlock.packages import read_package_manifest
from pairlock.progress import SILENT, Progress
from pairlock.promotion.execution.following import follow
from pairlock.resolution import resolve
from pairlock.verification import verify
from pairlock.wording import counted


class Remedy(StrEnum):
    """What is done."""

    FOLLOW = "follow"
    """Let a model's aliases say what its ledger says, but for those that were moved by hand."""

    TAGS = "tags"
    """Write the tags of a version that are missing."""

    FETCH = "fetch"
    """Take damaged files out of this machine's cache, and fetch them again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """One thing that is safe to do."""

    remedy: Remedy
    model: str | None
    version: int | None
    what: str
    """What is going to be done, for a person."""

    settles: tuple[str, ...]
    """Fingerprints of the findings that it is for."""

    tags: Mapping[str, str] = field(default_factory=dict)
    """For TAGS: what is written."""

    digest: str = ""
    """For TAGS: the package digest that somebody vouches for."""

    def to_dict(self) -> dict[str, Any]:
        """The fix as JSON data."""
        return {
            "remedy": self.remedy.value,
            "model": self.model,
            "version": self.version,
            "what": self.what,
            "settles": list(self.settles),
            "tags": dict(self.tags),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A finding that is somebody's to settle."""

    finding: AuditFinding
    why: str
    """Why it is not done here; the finding's `todo` says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FixPlan:
    """What can be mended, and what cannot."""

    fixes: tuple[Fix, ...]
    left: tuple[Left, ...]

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON data."""
        return {
            "fixes": [fix.to_dict() for fix in self.fixes],
            "left": [{"finding": one.finding.to_dict(), "why": one.why} for one in self.left],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """What a fix came to."""

    fix: Fix
    done: bool
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON data."""
        return {**self.fix.to_dict(), "done": self.done, "detail": self.detail}


def plan_fixes(
    inventory: Inventory, findings: Iterable[AuditFinding], *, settings: Settings
) -> FixPlan:
    """Find out what is safe to mend. Nothing is changed.

    A missing package digest is written only where another record outside the package has the same
    one: the ledger, the logged model that the version was made from, or what this machine
    remembers. Without one, writing it would approve whatever lies there now.

    Args:
        inventory: the registry as it was audited.
        findings: of that audit.
        settings: of this process.

    Returns:
        Fixes in the order of their findings, and all findings that none is for.
    """
    view = View(inventory)
    follows: dict[str, list[AuditFinding]] = {}
    fetches: dict[tuple[str | None, int | None], list[AuditFinding]] = {}
    fixes: list[Fix] = []
    left: list[Left] = []
    for finding in findings:
        if finding.code is Code.ALIAS_BEHIND and finding.model is not None:
            follows.setdefault(finding.model, []).append(finding)
        elif finding.code is Code.CACHE_DAMAGED:
            fetches.setdefault((finding.model, finding.version), []).append(finding)
        elif finding.code is Code.TAGS_MISSING:
            planned = _plan_tags(finding, view, settings)
            if isinstance(planned, Fix):
                fixes.append(planned)
            else:
                left.append(Left(finding=finding, why=planned))
        else:
            left.append(Left(finding=finding, why="a person has to decide it"))
    fixes += [_plan_follow(name, found) for name, found in follows.items()]
    fixes += [_plan_fetch(*whose, found) for whose, found in fetches.items()]
    return FixPlan(fixes=tuple(fixes), left=tuple(left))


def execute_fixes(
    plan: FixPlan,
    *,
    settings: Settings,
    announce: Callable[[Fix], None] = lambda _fix: None,
    progress: Progress = SILENT,
) -> tuple[Fixed, ...]:
    """Do what a plan says. One that fails does not stop the others.

    What was settled meanwhile is left as it is, and so is what was changed since.

    Args:
        plan: what to do.
        settings: of this process.
        announce: told each fix before it is done.
        progress: told about the bytes fetched and hashed.

    Returns:
        What each came to, in the plan's order.
    """
    done = []
    for fix in plan.fixes:
        announce(fix)
        try:
            is_done, detail = _apply(fix, settings, progress)
        except PairlockError as error:
            is_done, detail = False, error.summary
        done.append(Fixed(fix=fix, done=is_done, detail=detail))
    return tuple(done)


def _plan_follow(name: str, findings: list[AuditFinding]) -> Fix:
    changes = "; ".join(f"{one.place}: {one.found} to {one.expected}" for one in findings)
    return Fix(
        remedy=Remedy.FOLLOW,
        model=name,
        version=None,
        what=f"let the aliases of {name} follow its ledger ({changes})",
        settles=_prints(findings),
    )


def _plan_fetch(model: str | None, version: int | None, findings: list[AuditFinding]) -> Fix:
    files = counted(len(findings), "damaged file")
    again = f", and fetch models:/{model}/{version} again" if model is not None else ""
    return Fix(
        remedy=Remedy.FETCH,
        model=model,
        version=version,
        what=f"take {files} out of this machine's cache{again}",
        settles=_prints(findings),
    )


def _plan_tags(finding: AuditFinding, view: View, settings: Settings) -> Fix | str:
    """The fix, or why there is none."""
    version = None
    if finding.model is not None and finding.version is not None:
        version = view.version(finding.model, finding.version)
    if version is None or version.package is None:
        return "its manifest is not known"
    if version.findings:
        return "its bytes are not what the manifest says"
    digest = version.package.digest
    vouched = _vouched(version, view, settings)
    if isinstance(vouched, str):
        return vouched
    if not vouched:
        return f"nothing but the package itself has the digest {digest}: compare it with what was \
packaged, or log the model again"
    if wrong := sorted(where for where, other in vouched.items() if other != digest):
        return f"{', '.join(wrong)} has another digest"
    wanted = version_tags(version.package)
    tags = {tag: value for tag, value in wanted.items() if tag not in version.tags}
    return Fix(
        remedy=Remedy.TAGS,
        model=version.name,
        version=version.version,
        what=f"write {', '.join(sorted(tags))} on {version.uri}, whose digest is vouched for by: "
        f"{', '.join(sorted(vouched))}",
        settles=(finding.fingerprint,),
        tags=tags,
        digest=digest,
    )


def _vouched(version: VersionFacts, view: View, settings: Settings) -> dict[str, str] | str:
    """Who vouches for which digest, outside the package; or why that cannot be found out."""
    found = {}
    model = view.model(version.name)
    for stage, held in held_stages(model) if model is not None else ():
        if held.version == version.version:
            found[f"the ledger, stage {stage}"] = held.package_digest
    try:
        found |= {f"the {where}": text for where, text in _anchors(version, settings).items()}
    except PairlockError as error:
        return error.summary
    return found


def _anchors(version: VersionFacts, settings: Settings) -> Mapping[str, str]:
    return resolve(version.uri, settings).anchors


def _apply(fix: Fix, settings: Settings, progress: Progress) -> tuple[bool, str]:
    if fix.remedy is Remedy.FETCH:
        return _fetch(fix, settings, progress)
    assert fix.model is not None  # of every other remedy
    if fix.remedy is Remedy.FOLLOW:
        return _follow(fix.model)
    assert fix.version is not None
    return _write_tags(fix.model, fix.version, fix, settings)


def _follow(name: str) -> tuple[bool, str]:
    done = follow(name)
    words = [
        f"alias {one.stage} names {f'version {one.version}' if one.version else 'nothing'}"
        for one in done.changes
    ]
    words += [f"{gone}; that version is gone" for gone in done.gone]
    words += [f"{moved}; left, as it was moved by hand" for moved in done.moved]
    return not done.gone, "; ".join(words) or "the aliases say what the ledger says"


def _write_tags(name: str, version: int, fix: Fix, settings: Settings) -> tuple[bool, str]:
    located = resolve(f"models:/{name}/{version}", settings)
    _, digest = read_package_manifest(located, settings=settings)
    if digest != fix.digest:
        return False, f"the package was changed since it was audited; it is {digest} now"
    present = read_evidence(name, version, "")
    missing = {tag: text for tag, text in fix.tags.items() if tag not in present}
    # the digest last: a version that has it is taken to have the others
    for tag in sorted(missing, key=lambda one: (one == DIGEST_TAG, one)):
        store_evidence(name, version, tag, missing[tag])
    return True, f"wrote {', '.join(sorted(missing)) or 'nothing: they are there now'}"


def _fetch(fix: Fix, settings: Settings, progress: Progress) -> tuple[bool, str]:
    check_cache(CacheFolder(settings.cache), progress=progress)
    if fix.model is None:
        return True, "taken out; the next load that needs one fetches it"
    found = verify(f"models:/{fix.model}/{fix.version}", golden=False, progress=progress)
    wrong = [str(finding) for check in found.checks for finding in check.findings]
    return found.passed, "fetched, and proved" if found.passed else "; ".join(wrong[:3])


def _prints(findings: list[AuditFinding]) -> tuple[str, ...]:
    return tuple(sorted({one.fingerprint for one in findings}))
