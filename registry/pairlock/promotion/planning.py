"""Makes plans: finds out, asks the gates, and says what would change. Nothing is written."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from dataclasses import replace

from pairlock.catalog import legacy_holders
from pairlock.config import Settings, current_settings
from pairlock.errors import (
    AlreadyExistsError,
    ErrorKind,
    NotFoundError,
    RefusedError,
)
from pairlock.in_force import InForce, policy_in_force
from pairlock.index import read as read_stamp
from pairlock.ledger import Act, Held, Reindex, held_by
from pairlock.policy import Acknowledgement, StagePolicy
from pairlock.progress import SILENT, Progress
from pairlock.promotion import gates
from pairlock.promotion.actor import current_actor
from pairlock.promotion.facts import (
    Version,
    base_facts,
    holder_facts,
    measured_of,
    read_version,
    request_for,
    space_verdict,
    spaces_of,
    stages_of,
)
from pairlock.promotion.gates import GateResult
from pairlock.promotion.opened import Opened, open_model, stage_policy
from pairlock.promotion.plan import Plan
from pairlock.promotion.projecting import look
from pairlock.promotion.wishes import (
    Wish,
    acknowledgement,
    bypassed_gates,
    verify_version,
    with_arguments,
)


def plan_promotion(
    name: str,
    version: int,
    *,
    to: str,
    wish: Wish,
    require: Iterable[str] = (),
    no_regression: Iterable[str] = (),
    tolerance: float = 0.0,
    bypass: Iterable[str] = (),
    progress: Progress = SILENT,
) -> Plan:
    """Plan to bring a version into a stage.

    Args:
        name: the registered model.
        version: its version.
        to: the stage.
        wish: how to examine it.
        require: requirements beside those of the policy, such as `ndcg@10>=0.7`.
        no_regression: metrics that may not be worse than the present holder's.
        tolerance: by how much they may.
        bypass: gates to pass over with the wish's reason, where the policy lets them be.
        progress: told about the work.

    Raises:
        InvalidInputError: there is no such stage, or an argument cannot be.
        RefusedError: a gate that may not be bypassed was named.
        NotFoundError: there is no such model or version.
        PairlockError: every other reason why it could not be examined.
    """
    settings, opened, in_force = _begin(name, wish)
    policy = with_arguments(stage_policy(in_force, to), require, no_regression, tolerance)
    passing = bypassed_gates(bypass, policy, wish.reason, to)
    acknowledged = acknowledgement(wish.reindex)
    found = read_version(name, version, settings)
    held = opened.state.stages.get(to)
    _require_other(held, found, name, to)
    verification = verify_version(found, wish, progress)
    request = request_for(opened.state, to, version, found.subject.package_digest)
    verdict = space_verdict(
        found, held, opened.ledger, name=name, settings=settings, progress=progress
    )
    # what no gate asks for is not looked up
    asks = bool(policy.require or policy.no_regression)
    measured = measured_of(found.located, found.subject.package_digest) if asks else ()
    results = (
        gates.integrity_gate(verification),
        gates.golden_gate(verification),
        gates.pairing_gate(base_facts(found.manifest.base), policy),
        gates.from_gate(stages_of(opened.state, version), policy),
        gates.metrics_gate(measured, policy.require),
        gates.regression_gate(
            measured,
            holder_facts(name, held, settings) if policy.no_regression else None,
            policy.no_regression,
        ),
        gates.age_gate(found.located.created_ms or 0, int(time.time() * 1000), policy),
        gates.approvals_gate(request, policy, f"pairlock request {name} {version} --to {to}"),
        gates.signature_gate(policy),
        gates.reindex_gate(verdict, acknowledged, policy),
        gates.index_gate(
            None if wish.index is None else read_stamp(wish.index),
            found.manifest.spaces,
            verdict,
            spaces_of(opened.ledger, held),
            acknowledged,
            policy,
        ),
        _alias(opened, to),
    )
    return _plan(
        Act.PROMOTE,
        opened,
        to,
        found,
        in_force,
        wish.reason,
        gates=gates.with_bypasses(results, passing, wish.reason),
        reindex=gates.reindex_record(verdict, acknowledged),
        request=None if request is None else request.id,
    )


def plan_rollback(
    name: str,
    *,
    stage: str,
    wish: Wish,
    to_entry: int | None = None,
    progress: Progress = SILENT,
) -> Plan:
    """Plan to bring back who held a stage before.

    What the stage asks for was passed when that version came there; only that its bytes, its base
    and its vectors are still right is asked again, and whether the index has to be made again.

    Args:
        name: the registered model.
        stage: the stage.
        wish: how to examine the version.
        to_entry: the entry by which it came; None for the holder before the present one.
        progress: told about the work.

    Raises:
        NotFoundError: nobody held the stage before, by that entry.
        PairlockError: as `plan_promotion`.
    """
    settings, opened, in_force = _begin(name, wish)
    acknowledged = acknowledgement(wish.reindex)
    held = opened.state.stages.get(stage)
    target = _target(opened, stage, held, to_entry)
    found = read_version(name, target.version, settings)
    _require_other(held, found, name, stage)
    if found.subject.package_digest != target.package_digest:
        raise NotFoundError(
            f"models:/{name}/{target.version} is not what held {stage} before",
            kind=ErrorKind.PACKAGE_DIGEST,
            checked=f"the package against entry {target.entry}",
            expected=target.package_digest,
            found=found.subject.package_digest,
            done="nothing was changed",
            hint="name an entry whose version is still there: --to-entry N",
        )
    policy = in_force.policy.stages.get(stage, StagePolicy())
    proved, reindex = _proved(found, held, opened, policy, wish, acknowledged, settings, progress)
    return _plan(
        Act.ROLLBACK,
        opened,
        stage,
        found,
        in_force,
        wish.reason,
        gates=(*proved, _alias(opened, stage)),
        reindex=reindex,
        returns_to=target,
    )


def plan_demotion(name: str, *, stage: str, wish: Wish) -> Plan:
    """Plan to empty a stage.

    Raises:
        NotFoundError: nothing is in it.
        PairlockError: every other reason why it could not be looked at.
    """
    _, opened, in_force = _begin(name, wish)
    if stage not in opened.state.stages:
        raise _empty(name, stage, opened)
    return _plan(
        Act.DEMOTE, opened, stage, None, in_force, wish.reason, gates=(_alias(opened, stage),)
    )


def plan_adoption(name: str, *, stage: str, wish: Wish, progress: Progress = SILENT) -> Plan:
    """Plan to take over what MLflow says, from before there was a ledger or by hand.

    The alias of the stage's name counts first, then MLflow's legacy stage of that name.

    Raises:
        NotFoundError: MLflow has no version there.
        PairlockError: as `plan_promotion`.
    """
    settings, opened, in_force = _begin(name, wish)
    policy = stage_policy(in_force, stage)
    acknowledged = acknowledgement(wish.reindex)
    version = opened.model.aliases.get(stage) or legacy_holders(name).get(stage.lower())
    held = opened.state.stages.get(stage)
    if version is None or (held is not None and held.version == version):
        raise NotFoundError(
            f"there is nothing to adopt as {stage} of {name}",
            kind=ErrorKind.STAGE_EMPTY,
            checked=f"the alias {stage}, and MLflow's stage of that name",
            expected="a version that the ledger does not know there",
            found="none" if version is None else f"version {version}, which the ledger knows",
            done="nothing was changed",
            hint=f"promote one: pairlock promote {name} VERSION --to {stage}",
        )
    found = read_version(name, version, settings)
    proved, reindex = _proved(found, held, opened, policy, wish, acknowledged, settings, progress)
    return _plan(
        Act.ADOPT,
        opened,
        stage,
        found,
        in_force,
        wish.reason,
        gates=proved,
        reindex=reindex,
    )


def plan_request(name: str, version: int, *, to: str, wish: Wish) -> Plan:
    """Plan to ask for a promotion, for somebody else to agree to.

    Raises:
        AlreadyExistsError: it was asked for already.
        InvalidInputError: there is no such stage.
        PairlockError: every other reason why it could not be looked at.
    """
    settings, opened, in_force = _begin(name, wish)
    stage_policy(in_force, to)
    found = read_version(name, version, settings)
    before = request_for(opened.state, to, version, found.subject.package_digest)
    if before is not None:
        raise AlreadyExistsError(
            f"{name} {version} was asked for in {to} already",
            kind=ErrorKind.TARGET_EXISTS,
            checked="the open requests",
            expected="none of this version for this stage",
            found=f"{before.id} by {before.by}",
            done="nothing was changed",
            hint=f"somebody else agrees with `pairlock approve {name} {before.id}`",
        )
    return _plan(
        Act.REQUEST, opened, to, found, in_force, wish.reason, request=uuid.uuid4().hex[:8]
    )


def plan_approval(name: str, request_id: str, *, wish: Wish) -> Plan:
    """Plan to agree to a request.

    Raises:
        NotFoundError: there is no such open request.
        RefusedError: the one who asked cannot agree, and nobody can twice.
        PairlockError: every other reason why it could not be looked at.
    """
    settings, opened, in_force = _begin(name, wish)
    actor = current_actor(settings)
    asked = next((one for one in opened.state.requests if one.id == request_id), None)
    if asked is None:
        others = ", ".join(one.id for one in opened.state.requests)
        raise NotFoundError(
            f"{name} has no open request {request_id}",
            kind=ErrorKind.REQUEST_NOT_FOUND,
            checked="the ledger's newest entry",
            expected=request_id,
            found=others or "no open request",
            done="nothing was changed",
            hint=f"`pairlock history {name}` lists the requests",
        )
    if actor == asked.by or actor in {approval.by for approval in asked.approvals}:
        raise RefusedError(
            f"{actor} cannot agree to request {request_id}",
            kind=ErrorKind.GATES_FAILED,
            checked="who asked, and who agreed",
            expected="somebody else",
            found=f"asked for by {asked.by}; agreed to by "
            + (", ".join(approval.by for approval in asked.approvals) or "nobody"),
            done="nothing was changed",
            hint="let a second person agree; PAIRLOCK_ACTOR names who is acting",
        )
    found = read_version(name, asked.version, settings)
    return _plan(Act.APPROVE, opened, asked.stage, found, in_force, wish.reason, request=request_id)


def _begin(name: str, wish: Wish) -> tuple[Settings, Opened, InForce]:
    """What every plan begins with: the registry is asked, whatever the environment says of it."""
    settings = current_settings(offline=False, allow=wish.allow)
    opened = open_model(name)
    return settings, opened, policy_in_force(name, file=wish.policy, settings=settings)


def _proved(
    found: Version,
    held: Held | None,
    opened: Opened,
    policy: StagePolicy,
    wish: Wish,
    acknowledged: Acknowledgement | None,
    settings: Settings,
    progress: Progress,
) -> tuple[tuple[GateResult, ...], Reindex]:
    """What is asked of a version that a stage has had, or has in MLflow, and the verdict."""
    verification = verify_version(found, wish, progress)
    verdict = space_verdict(
        found, held, opened.ledger, name=opened.model.name, settings=settings, progress=progress
    )
    results = (
        gates.integrity_gate(verification),
        gates.golden_gate(verification),
        gates.pairing_gate(base_facts(found.manifest.base), StagePolicy()),
        gates.reindex_gate(verdict, acknowledged, policy),
    )
    return results, gates.reindex_record(verdict, acknowledged)


def _plan(
    act: Act,
    opened: Opened,
    stage: str,
    version: Version | None,
    in_force: InForce,
    reason: str,
    *,
    gates: tuple[GateResult, ...] = (),
    reindex: Reindex | None = None,
    request: str | None = None,
    returns_to: Held | None = None,
) -> Plan:
    held = opened.state.stages.get(stage)
    is_about_holder = act in {Act.PROMOTE, Act.ROLLBACK, Act.ADOPT, Act.DEMOTE}
    plan = Plan(
        act=act,
        model=opened.model.name,
        stage=stage,
        actor=current_actor(current_settings()),
        subject=None if version is None else version.subject,
        replaced=held if is_about_holder else None,
        gates=gates,
        reason=reason,
        policy_digest=in_force.digest,
        policy_sources=in_force.sources,
        reindex=reindex,
        request=request,
        returns_to=returns_to,
        after=opened.head,
    )
    return replace(plan, changes=_changes(plan, opened))


def _changes(plan: Plan, opened: Opened) -> tuple[str, ...]:
    sequence = 0 if opened.head is None else opened.head.entry.sequence + 1
    lines = [f"entry {sequence} in {opened.ledger.location}"]
    if plan.act in {Act.PROMOTE, Act.ROLLBACK, Act.ADOPT, Act.DEMOTE}:
        alias = opened.model.aliases.get(plan.stage)
        before = "nothing" if alias is None else f"version {alias}"
        after = "nothing" if plan.subject is None else f"version {plan.subject.version}"
        lines.append(f"alias {plan.stage} of {plan.model}: {before} -> {after}")
    if plan.act is Act.PROMOTE and plan.request is not None:
        lines.append(f"request {plan.request} is fulfilled")
    return tuple(lines)


def _require_other(held: Held | None, found: Version, name: str, stage: str) -> None:
    """An act that changes nothing would leave an entry that a rollback returns to."""
    if held is None or held.version != found.subject.version:
        return
    raise AlreadyExistsError(
        f"version {held.version} of {name} is in {stage} already",
        kind=ErrorKind.TARGET_EXISTS,
        checked="the ledger's newest entry",
        expected="another version in the stage, or none",
        found=f"version {held.version}, since entry {held.entry}",
        done="nothing was changed",
        hint=f"`pairlock history {name}` shows what was done",
    )


def _alias(opened: Opened, stage: str) -> GateResult:
    watched = frozenset({stage})
    moved = [one for one in look(opened, watched).moved if one.stage == stage]
    if moved:  # a second look: another process may have been about to write it
        moved = [one for one in look(open_model(opened.model.name), watched).moved if one in moved]
    return gates.alias_gate(moved[0] if moved else None, opened.model.name)


def _target(opened: Opened, stage: str, held: Held | None, to_entry: int | None) -> Held:
    if to_entry is None:
        if held is None:
            raise _empty(opened.model.name, stage, opened)
        to_entry = held.previous
    newest = -1 if opened.head is None else opened.head.entry.sequence
    target = None
    if to_entry is not None and 0 <= to_entry <= newest:
        # read by way of all after it: an entry that was sealed anew proves nothing by itself
        history = opened.ledger.history(opened.head)
        named = next(one for one in history if one.entry.sequence == to_entry)
        target = held_by(named.entry, stage)
    if target is None or target == held:
        raise NotFoundError(
            f"there is nothing to go back to in stage {stage} of {opened.model.name}",
            kind=ErrorKind.STAGE_EMPTY,
            checked="the ledger",
            expected="an entry by which another version came into the stage",
            found="none before the present holder"
            if to_entry is None
            else f"entry {to_entry}, by which none came there, or the present holder did",
            done="nothing was changed",
            hint=f"`pairlock history {opened.model.name}` lists the entries; "
            f"`pairlock demote` empties the stage",
        )
    return target


def _empty(name: str, stage: str, opened: Opened) -> NotFoundError:
    held = ", ".join(
        f"{key}: version {value.version}" for key, value in opened.state.stages.items()
    )
    return NotFoundError(
        f"nothing is in stage {stage} of {name}",
        kind=ErrorKind.STAGE_EMPTY,
        checked="the ledger's newest entry",
        expected=f"a version in {stage}",
        found=held or "no stage is held",
        done="nothing was changed",
        hint=f"`pairlock history {name}` shows what was done; `pairlock rollback {name} --stage "
        f"{stage} --to-entry N` brings back the version that came by entry N",
    )
