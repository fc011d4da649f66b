"""Plans to promote a version in another registry. Nothing is written on either side.

Whatever is asked of the other registry is asked within `using`; all else is asked here.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Unpack

from pairlock.catalog import READY, ledger_location, versions_by_digest
from pairlock.config import Settings, current_settings
from pairlock.errors import AlreadyExistsError, ErrorKind
from pairlock.evaluation.recorded import Measured
from pairlock.in_force import InForce, combined, stored_policy
from pairlock.index import read as read_stamp
from pairlock.ledger import Act, Held, Sealed
from pairlock.progress import SILENT, Progress
from pairlock.promotion.facts.actor import current_actor
from pairlock.promotion.facts.aliases import moved_by_hand
from pairlock.promotion.facts.destination import (
    There,
    base_copy,
    base_there,
    copy_of,
    look_there,
)
from pairlock.promotion.facts.opened import Opened, open_model, stage_policy
from pairlock.promotion.facts.versions import (
    Version,
    holder_facts,
    measured_of,
    read_version,
    request_for,
    space_verdict,
    spaces_of,
    stages_of,
    verify_version,
)
from pairlock.promotion.rules.crossing import (
    NOT_NUMBERED,
    Copy,
    SendPlan,
    origin_of,
    parse_destination,
    same_registry,
    unrecorded,
)
from pairlock.promotion.rules.gates import BaseFacts, Holder, reindex_record
from pairlock.promotion.rules.judging import Examined, judge
from pairlock.promotion.rules.plan import Plan
from pairlock.promotion.rules.projection import Moved
from pairlock.promotion.rules.wishes import PromotionOptions, Wish, asked_of
from pairlock.registries import Registry, registry_in_use, using
from pairlock.resolution import resolve


def plan_sending(
    name: str,
    version: int,
    *,
    to: str,
    to_registry: str,
    progress: Progress = SILENT,
    **options: Unpack[PromotionOptions],
) -> SendPlan:
    """Plan to bring a version into a stage of another registry.

    The version is proved here, where its bytes are. The gates ask what they ask in a promotion
    there: its policy, its ledger, its holder of the stage.

    - Policy: that of the registered model there; while it has none, that of the one here; and the
      file's in any case.
    - What was measured: on either side, of the same package digest; so for the holder there too.
    - Stages that it has to come from: those that it holds here or there.
    - Base: the version that is the same package there, in the stages that it holds there. One that
      will be copied is in none.
    - Age: since it was registered here.
    - Approvals: requests in the ledger there.

    Args:
        name: the registered model's name, here and there.
        version: its version here.
        to: the stage there.
        to_registry: the other registry, as `MLFLOW_TRACKING_URI` takes it.
        progress: told about the work.
        **options: as `plan_promotion`.

    Raises:
        InvalidInputError: the other registry is none, or this one.
        UnavailableError: one of the two does not answer.
        AlreadyExistsError: the package is in the stage there already, and both sides know.
        PairlockError: as `plan_promotion`.
    """
    wish = Wish.of(**options)
    settings = current_settings(offline=False, allow=wish.allow)
    here = registry_in_use()
    destination = parse_destination(to_registry, here)
    opened = open_model(name)
    with using(destination):
        there = look_there(name)
    _require_two(opened, there, destination)
    found = read_version(name, version, settings)
    in_force = _policy(name, there, destination, wish, settings)
    asked = asked_of(stage_policy(in_force, to), wish, to)
    missing = unrecorded(
        there.entries,
        () if not there.entries else tuple(opened.ledger.history(opened.head)),
        model=name,
        created_ms=opened.model.created_ms,
    )
    held = there.state.stages.get(to)
    if held is not None and held.package_digest == found.subject.package_digest:
        return _only_recorded(found, name, to, here, destination, missing, held, opened)
    base = base_copy(found.manifest.base, destination, settings)
    standing = base_there(found.manifest.base, base, destination)
    own = copy_of(name, found.located, found.subject.package_digest, destination, settings)
    verification = verify_version(found, wish, progress)
    ledger = None if there.opened is None else there.opened.ledger
    verdict = space_verdict(
        found, held, ledger, name=name, settings=settings, progress=progress, registry=destination
    )
    request = request_for(there.state, to, own.there, own.package_digest)
    examined = Examined(
        model=name,
        verification=verification,
        spaces=found.manifest.spaces,
        base=standing,
        stages=stages_of(opened.state, version)
        | (frozenset() if own.there is None else stages_of(there.state, own.there)),
        created_ms=found.located.created_ms,
        now_ms=int(time.time() * 1000),
        measured=_measured(found, own, destination, settings) if asked.metrics else (),
        holder=_holder(name, held, destination, settings) if asked.policy.no_regression else None,
        request=request,
        how_to_ask=_asking(own, to, destination),
        before=None if ledger is None else spaces_of(ledger, held),
        verdict=verdict,
        index=None if wish.index is None else read_stamp(wish.index),
        moved=_moved(there, to, destination),
    )
    copies = tuple(copy for copy in (base, own) if copy is not None)
    subject = replace(found.subject, version=own.there or NOT_NUMBERED)
    promotion = Plan(
        act=Act.PROMOTE,
        model=name,
        stage=to,
        actor=current_actor(settings),
        subject=subject,
        replaced=held,
        gates=judge(examined, asked),
        reindex=reindex_record(verdict, asked.acknowledged),
        reason=wish.reason,
        policy_digest=in_force.digest,
        policy_sources=in_force.sources,
        request=None if request is None else request.id,
        origin=origin_of(here, name, opened.model.created_ms, version, opened.head),
        after=there.head,
        warnings=_warnings(standing),
    )
    return SendPlan(
        origin=here,
        destination=destination,
        model=name,
        version=version,
        stage=to,
        copies=copies,
        promotion=promotion,
        unrecorded=missing,
        changes=_changes(copies, there, held, to, name, destination, opened, len(missing) + 1),
    )


def _require_two(opened: Opened, there: There, destination: Registry) -> None:
    """One registry may have two addresses; a registered model has one ledger."""
    if there.model is None or there.model.created_ms != opened.model.created_ms:
        return
    own = ledger_location(opened.model)
    with using(destination):
        other = ledger_location(there.model)
    if own == other:
        raise same_registry(destination)


def _policy(
    name: str, there: There, destination: Registry, wish: Wish, settings: Settings
) -> InForce:
    found = None
    if there.model is not None:
        with using(destination):
            found = stored_policy(name)
    if found is not None:
        found = (f"{found[0]} in {destination}", found[1])
    return combined(found or stored_policy(name), file=wish.policy, settings=settings)


def _only_recorded(
    found: Version,
    name: str,
    to: str,
    here: Registry,
    destination: Registry,
    missing: tuple[Sealed, ...],
    held: Held,
    opened: Opened,
) -> SendPlan:
    """All is done there; what is left is this side's entry."""
    if not missing:
        raise AlreadyExistsError(
            f"{name} {found.subject.version} is in {to} of {destination} already",
            kind=ErrorKind.TARGET_EXISTS,
            checked="the newest entry of the ledger there",
            expected="another package in the stage, or none",
            found=f"version {held.version} there, since entry {held.entry}: {held.package_digest}",
            done="nothing was changed",
            hint=f"`pairlock history {name}` with MLFLOW_TRACKING_URI={destination} shows it",
        )
    return SendPlan(
        origin=here,
        destination=destination,
        model=name,
        version=found.subject.version,
        stage=to,
        copies=(),
        promotion=None,
        unrecorded=missing,
        changes=(f"{_entries(len(missing))} in {opened.ledger.location}",),
    )


def _measured(
    found: Version, own: Copy, destination: Registry, settings: Settings
) -> tuple[Measured, ...]:
    """What was measured of the version, on either side."""
    digest = found.subject.package_digest
    measured = measured_of(found.located, digest)
    if own.there is None:
        return measured
    with using(destination):
        return measured + measured_of(resolve(f"models:/{own.name}/{own.there}", settings), digest)


def _holder(
    name: str, held: Held | None, destination: Registry, settings: Settings
) -> Holder | None:
    """What was measured of the version in the stage there, also here where it is here too."""
    if held is None:
        return None
    with using(destination):
        there = holder_facts(name, held, settings)
    measured = () if there is None else tuple(there.measured)
    for copy in versions_by_digest(held.package_digest):
        if copy.state == READY:
            measured += measured_of(resolve(copy.uri, settings), held.package_digest)
    return Holder(version=held.version, measured=measured)


def _asking(own: Copy, stage: str, destination: Registry) -> str:
    """What somebody types to ask there, which takes a version that is there."""
    if own.there is None:
        return f"pairlock promote … --to-registry {destination}` to a stage without approvals, " + (
            "and then `pairlock request` there, with its number"
        )
    return f"MLFLOW_TRACKING_URI={destination} pairlock request {own.name} {own.there} --to {stage}"


def _moved(there: There, stage: str, destination: Registry) -> Moved | None:
    if there.opened is not None:
        with using(destination):
            return moved_by_hand(there.opened, stage)
    found = None if there.model is None else there.model.aliases.get(stage)
    return None if found is None else Moved(stage=stage, found=found, expected=None)


def _warnings(base: BaseFacts | None) -> tuple[str, ...]:
    if base is None or base.is_version:
        return ()
    return (
        f"the base {base.uri} is not copied: it is no registered version; whoever loads the "
        "adapter there has to reach it by this name, or by a mirror",
    )


def _changes(
    copies: tuple[Copy, ...],
    there: There,
    held: Held | None,
    stage: str,
    name: str,
    destination: Registry,
    opened: Opened,
    entries: int,
) -> tuple[str, ...]:
    number = 0 if there.head is None else there.head.entry.sequence + 1
    ledger = "its ledger there" if there.opened is None else there.opened.ledger.location
    before = "nothing" if held is None else f"version {held.version}"
    after = "the copied version" if copies[-1].there is None else f"version {copies[-1].there}"
    return (
        *(str(copy) for copy in copies),
        f"entry {number} in {ledger}",
        f"alias {stage} of {name} in {destination}: {before} -> {after}",
        f"{_entries(entries)} in {opened.ledger.location}",
    )


def _entries(count: int) -> str:
    return "an entry that it was sent" if count == 1 else f"{count} entries of what was sent"
