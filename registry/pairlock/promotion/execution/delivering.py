"""Promotes a version in another registry, as a plan says.

The order makes every end harmless and finds it again: the packages (base first), then the entry
and the alias there, then the entry here. A package that is in no stage promises nothing; and only
what is done is written down, so the entry that says it was sent comes last. Run again, the same
command uses what is there by its digest, and writes the entry that is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pairlock._bridge import flavor
from pairlock.catalog import (
    READY,
    add_version,
    describe,
    logged_location,
    read_evidence,
    unregistered_copies,
    versions_by_digest,
)
from pairlock.config import Settings, current_settings
from pairlock.describing import model_description, version_description
from pairlock.errors import (
    ConflictError,
    ErrorKind,
    Finding,
    IntegrityError,
    NotFoundError,
    PairlockError,
    UnavailableError,
)
from pairlock.evaluation.recorded import EVALUATION_TAG
from pairlock.ledger import Act, Entry, Sealed
from pairlock.manifest import MANIFEST_NAME, package_digest
from pairlock.manifest.format import MAX_MANIFEST_BYTES, PAGE_NAME, PAYLOAD
from pairlock.packages import Package, open_package
from pairlock.profiling import PROFILE_TAG
from pairlock.progress import SILENT, Progress
from pairlock.promotion.execution.executing import Executed, entry_of, execute
from pairlock.promotion.execution.following import Followed, follow
from pairlock.promotion.facts.actor import current_actor
from pairlock.promotion.facts.opened import Opened, open_model
from pairlock.promotion.rules.crossing import Copy, SendPlan, sent_origin, sent_subject
from pairlock.promotion.rules.plan import Plan
from pairlock.registries import using
from pairlock.resolution import resolve
from pairlock.stores.opening import is_remote, open_store

ORIGIN_TAG = "pairlock.origin."
"""Tags of a copied version: `registry`, and `uri` there."""

_TRIES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A package that is in the other registry."""

    uri: str
    """As it is named there."""

    package_digest: str
    copied: bool
    """Whether it was copied now."""

    def to_dict(self) -> dict[str, Any]:
        """The package as JSON data."""
        return {"uri": self.uri, "package_digest": self.package_digest, "copied": self.copied}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What a promotion in another registry came to."""

    plan: SendPlan
    delivered: tuple[Delivered, ...]
    promoted: Executed | None
    """What was done there; None when all had been done there before."""

    followed: Followed
    """What became of the aliases there."""

    recorded: tuple[Sealed, ...]
    """The entries of this side's ledger."""

    def to_dict(self) -> dict[str, Any]:
        """The act as JSON data."""
        return {
            "plan": self.plan.to_dict(),
            "packages": [one.to_dict() for one in self.delivered],
            "there": None if self.promoted is None else self.promoted.to_dict(),
            "here": [
                {"sequence": one.entry.sequence, "entry_digest": one.digest}
                for one in self.recorded
            ],
        }


def execute_sending(plan: SendPlan, *, progress: Progress = SILENT) -> Sent:
    """Do what a plan says, or what is left of it.

    Args:
        plan: what to do.
        progress: told about the bytes.

    Returns:
        What is there, and the entries on both sides.

    Raises:
        RefusedError: a gate failed. Nothing was changed.
        ConflictError: somebody else changed the stage there since; it says who.
        UnavailableError: one of the two registries or stores cannot be reached, or refuses.
        StorageError: the other store did not take the bytes, or has no room.
        IntegrityError: what lies there is not what was sent.
        PairlockError: every other reason; `done` says what there is.
    """
    settings = current_settings(offline=False)
    if plan.promotion is not None:
        plan.promotion.require_passed()
    opened = open_model(plan.model)
    if opened.head is None:
        opened.ledger.require_conditional_create()
    delivered: list[Delivered] = []
    promoted: Executed | None = None
    try:
        for copy in plan.copies:
            one = _deliver(plan, copy, settings, progress)
            delivered.append(one)  # one by one: the error below has to know
        with using(plan.destination):
            if plan.promotion is None:
                followed = follow(plan.model, watched=frozenset({plan.stage}))
            else:
                promoted = execute(_numbered(plan.promotion, delivered[-1]))
                followed = promoted.followed
    except PairlockError as error:
        raise _with_copies(error, plan, delivered) from error
    new = () if promoted is None else (Sealed(entry=promoted.entry, digest=promoted.digest),)
    try:
        recorded = tuple(_record(plan, one) for one in (*plan.unrecorded, *new))
    except PairlockError as error:
        error.done = (
            f"it is promoted in {plan.destination}, and the ledger here does not say so yet; "
            "the same command again writes it"
        )
        raise
    return Sent(
        plan=plan,
        delivered=tuple(delivered),
        promoted=promoted,
        followed=followed,
        recorded=recorded,
    )


def _deliver(plan: SendPlan, copy: Copy, settings: Settings, progress: Progress) -> Delivered:
    """Have a package in the other registry, and compare what lies there."""
    with using(plan.destination):
        there = _registered(copy, plan)
    copied = there is None
    if there is None:
        package = open_package(
            copy.source, settings=settings, progress=progress, expected_digest=copy.package_digest
        )
        page, tags, evidence = _page(package), _origin_tags(plan, copy), _evidence(copy)
        with using(plan.destination):
            model_id = _finished(package, copy)
            if model_id is None:
                model_id = flavor().store_copy(
                    package, page, name=copy.name, tags=tags, progress=progress
                )
            version = add_version(copy.name, model_id, tags | evidence)
            describe(  # a courtesy: the version is whole without
                copy.name,
                version,
                of_version=version_description(
                    copy.name, version, package.manifest, package.digest
                ),
                of_model=model_description(copy.name),
            )
            there = f"models:/{copy.name}/{version}"
    with using(plan.destination):
        _prove(there, copy.package_digest, settings, progress)
    return Delivered(uri=there, package_digest=copy.package_digest, copied=copied)


def _registered(copy: Copy, plan: SendPlan) -> str | None:
    """The version there that is this package: the one that was planned, or the oldest."""
    found = [
        one
        for one in versions_by_digest(copy.package_digest)
        if one.name == copy.name and one.state == READY
    ]
    if copy.there is not None and copy.there not in {one.version for one in found}:
        raise NotFoundError(
            f"version {copy.there} of {copy.name} is not there any more",
            kind=ErrorKind.MODEL_NOT_FOUND,
            checked=f"the registry {plan.destination}",
            expected=copy.package_digest,
            found="no such version in use",
            done="nothing was changed",
            hint="somebody deleted or archived it just now; run the command again",
        )
    return found[0].uri if found else None


def _finished(package: Package, copy: Copy) -> str | None:
    """A copy that was stored whole by a process that ended before it registered it."""
    for model_id in unregistered_copies(copy.name, copy.package_digest):
        try:
            _compare(logged_location(model_id).location, package)
        except PairlockError:
            continue
        return model_id
    return None


def _prove(uri: str, digest: str, settings: Settings, progress: Progress) -> None:
    """Compare what lies in the other store with the package.

    A folder is hashed. Of another store, which checked every digest as it took the bytes, the
    manifest is read and the payload listed.
    """
    located = resolve(uri, settings)
    package = open_package(located, settings=settings, progress=progress, expected_digest=digest)
    if is_remote(located.location):
        _compare(located.location, package)


def _compare(location: str, package: Package) -> None:
    store = open_store(location)
    content = store.read_small(MANIFEST_NAME, at_most_bytes=MAX_MANIFEST_BYTES)
    found = store.entries(PAYLOAD)
    findings = [
        Finding(
            kind=ErrorKind.FILE_MISSING if record.path not in found else ErrorKind.FILE_SIZE,
            place=record.path,
            expected=f"{record.size_bytes} bytes",
            found="no such file"
            if record.path not in found
            else f"{found[record.path].size_bytes} bytes",
        )
        for record in package.manifest.files
        if record.path not in found or found[record.path].size_bytes != record.size_bytes
    ]
    if package_digest(content) != package.digest:
        findings.append(
            Finding(
                kind=ErrorKind.PACKAGE_DIGEST,
                place=MANIFEST_NAME,
                expected=package.digest,
                found=package_digest(content),
            )
        )
    if findings:
        raise IntegrityError(
            "the copy in the other store is not the package",
            kind=findings[0].kind,
            checked=location,
            findings=findings,
            done="the version is in no stage there",
            hint="find out who writes to the store, delete the version, and run this again",
        )


def _page(package: Package) -> bytes | None:
    """`PAIRING.md` as it lies beside the package; the cache has only what the digest covers."""
    store = open_store(package.located.location)
    try:
        return store.read_small(PAGE_NAME, at_most_bytes=MAX_MANIFEST_BYTES)
    except NotFoundError:
        return None


def _origin_tags(plan: SendPlan, copy: Copy) -> dict[str, str]:
    return {
        f"{ORIGIN_TAG}registry": str(plan.origin),
        f"{ORIGIN_TAG}uri": copy.source.uri,
    }


def _evidence(copy: Copy) -> dict[str, str]:
    """What was measured of the version, which its new place shall know too."""
    name, version = copy.source.name, copy.source.version
    if name is None or version is None:
        return {}
    return {
        f"{prefix}{tag}": text
        for prefix in (PROFILE_TAG, EVALUATION_TAG)
        for tag, text in read_evidence(name, version, prefix).items()
    }


def _numbered(promotion: Plan, delivered: Delivered) -> Plan:
    assert promotion.subject is not None
    version = int(delivered.uri.rpartition("/")[2])
    return replace(promotion, subject=replace(promotion.subject, version=version))


def _with_copies(error: PairlockError, plan: SendPlan, delivered: list[Delivered]) -> PairlockError:
    """The error, saying which packages are in the other registry by now."""
    copied = [one.uri for one in delivered if one.copied]
    if copied:
        error.done = (
            f"{' and '.join(copied)} came to {plan.destination}, where the same command finds "
            f"them again; beyond that, {error.done or 'nothing was changed'}"
        )
    return error


def _record(plan: SendPlan, promoted: Sealed) -> Sealed:
    """Write down here what was done there, once."""
    for _ in range(_TRIES):
        opened = open_model(plan.model)
        if (known := _recorded(opened, promoted)) is not None:
            return known
        try:
            sealed = opened.ledger.append(_entry(plan, promoted, opened))
        except ConflictError:
            continue  # it may be this very entry that somebody else wrote
        follow(plan.model)
        return sealed
    raise UnavailableError(
        f"others write to the ledger of {plan.model} all the time",
        kind=ErrorKind.REGISTRY_UNAVAILABLE,
        checked=f"{_TRIES} times",
        expected="a moment without a new entry",
        found="a new entry each time",
        done="",
        hint="run the same command again",
    )


def _recorded(opened: Opened, promoted: Sealed) -> Sealed | None:
    if opened.head is None:
        return None
    for one in opened.ledger.history(opened.head):
        origin = one.entry.origin or {}
        if one.entry.act is Act.SEND and origin.get("entry_digest") == promoted.digest:
            return one
    return None


def _entry(plan: SendPlan, promoted: Sealed, opened: Opened) -> Entry:
    entry = promoted.entry
    sending = Plan(
        act=Act.SEND,
        model=plan.model,
        stage=entry.stage or plan.stage,
        actor=current_actor(current_settings()),
        subject=sent_subject(entry),
        replaced=None,
        reindex=entry.reindex,
        reason=entry.reason,
        policy_digest=entry.policy_digest,
        origin=sent_origin(plan.destination, promoted),
        after=opened.head,
    )
    return replace(
        entry_of(sending, opened.head, opened.model.created_ms), gates=tuple(entry.gates)
    )
