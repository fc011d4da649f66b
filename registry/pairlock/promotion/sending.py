"""Plans to promote a version in another registry. Nothing is written on either side.

Whatever is asked of the other registry is asked within `using`; all else is asked here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

from pairlock.catalog import (
    READY,
    ledger_location,
    versions_by_digest,
)
from pairlock.config import Settings, current_settings
from pairlock.errors import AlreadyExistsError, ErrorKind
from pairlock.evaluation.recorded import Measured
from pairlock.in_force import InForce, combined, stored_policy
from pairlock.index import read as read_stamp
from pairlock.ledger import Act, Held, Sealed
from pairlock.progress import SILENT, Progress
from pairlock.promotion import gates
from pairlock.promotion.actor import current_actor
from pairlock.promotion.crossing import (
    NOT_NUMBERED,
    Copy,
    SendPlan,
    origin_of,
    parse_destination,
    same_registry,
    unrecorded,
)
from pairlock.promotion.destination import There, base_copy, base_there, copy_of, look_there
from pairlock.promotion.facts import (
    Version,
    holder_facts,
    measured_of,
    read_version,
    request_for,
    space_verdict,
    spaces_of,
    stages_of,
)
from pairlock.promotion.gates import BaseFacts, GateResult, Holder
from pairlock.promotion.opened import Opened, open_model, stage_policy
from pairlock.promotion.plan import Plan
from pairlock.promotion.projecting import look
from pairlock.promotion.projection import Moved
from pairlock.promotion.wishes import (
    Wish,
    acknowledgement,
    bypassed_gates,
    verify_version,
    with_arguments,
)
from pairlock.registries import Registry, registry_in_use, using
from pairlock.resolution import resolve


def plan_sending(
    name: str,
    version: int,
    *,
    to: str,
    to_registry: str,
    wish: Wish,
    require: Iterable[str] = (),
    no_regression: Iterable[str] = (),
    tolerance: float = 0.0,
    bypass: Iterable[str] = (),
    progress: Progress = SILENT,
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
        wish: how to examine it.
        require: as `plan_promotion`, and so are all others.
        no_regression: see `require`.
        tolerance: see `require`.
        bypass: see `require`.
        progress: told about the work.

    Raises:
        InvalidInputError: the other registry is none, or this one.
        UnavailableError: one of the two does not answer.
        AlreadyExistsError: the package is in the stage there already, and both sides know.
        PairlockError: as `plan_promotion`.
    """
    settings = current_settings(offline=False, allow=wish.allow)
    here = registry_in_use()
    destination = parse_destination(to_registry, here)
    opened = open_model(name)
    with using(destination):
        there = look_there(name)
    _require_two(opened, there, destination)
    found = read_version(name, version, settings)
    in_force = _policy(name, there, destination, wish, settings)
    policy = with_arguments(stage_policy(in_force, to), require, no_regression, tolerance)
    passing = bypassed_gates(bypass, policy, wish.reason, to)
    acknowledged = acknowledgement(wish.reindex)
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
    # what no gate asks for is not looked up
    asks = bool(policy.require or policy.no_regression)
    measured = _measured(found, own, destination, settings) if asks else ()
    results: tuple[GateResult, ...] = (
        gates.integrity_gate(verification),
        gates.golden_gate(verification),
        gates.pairing_gate(standing, policy),
        gates.from_gate(
            stages_of(opened.state, version)
            | (frozenset() if own.there is None else stages_of(there.state, own.there)),
            policy,
        ),
        gates.metrics_gate(measured, policy.require),
        gates.regression_gate(
            measured,
            _holder(name, held, destination, settings) if policy.no_regression else None,
            policy.no_regression,
        ),
        gates.age_gate(found.located.created_ms or 0, int(time.time() * 1000), policy),
        gates.approvals_gate(request, policy, _asking(own, to, destination)),
        gates.signature_gate(policy),
        gates.reindex_gate(verdict, acknowledged, policy),
        gates.index_gate(
            None if wish.index is None else read_stamp(wish.index),
            found.manifest.spaces,
            verdict,
            None if ledger is None else spaces_of(ledger, held),
            acknowledged,
            policy,
        ),
        _alias(there, to, name),
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
        gates=gates.with_bypasses(results, passing, wish.reason),
        reindex=gates.reindex_record(verdict, acknowledged),
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


def _alias(there: There, stage: str, name: str) -> GateResult:
    if there.opened is not None:
        moved = [one for one in look(there.opened, frozenset({stage})).moved if one.stage == stage]
        return gates.alias_gate(moved[0] if moved else None, name)
    found = None if there.model is None else there.model.aliases.get(stage)
    if found is None:
        return gates.alias_gate(None, name)
    return gates.alias_gate(Moved(stage=stage, found=found, expected=None), name)


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
