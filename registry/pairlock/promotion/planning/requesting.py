"""Plans to ask for a promotion, and to agree to one."""

from __future__ import annotations

import uuid

from pairlock.errors import AlreadyExistsError, ErrorKind, NotFoundError, RefusedError
from pairlock.ledger import Act
from pairlock.promotion.facts.actor import current_actor
from pairlock.promotion.facts.opened import stage_policy
from pairlock.promotion.facts.versions import read_version, request_for
from pairlock.promotion.planning.drafting import begin, draft
from pairlock.promotion.rules.plan import Plan
from pairlock.promotion.rules.wishes import Wish


def plan_request(name: str, version: int, *, to: str, wish: Wish) -> Plan:
    """Plan to ask for a promotion, for somebody else to agree to.

    Raises:
        AlreadyExistsError: it was asked for already.
        InvalidInputError: there is no such stage.
        PairlockError: every other reason why it could not be looked at.
    """
    settings, opened, in_force = begin(name, wish)
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
    return draft(
        Act.REQUEST, opened, to, found, in_force, wish.reason, request=uuid.uuid4().hex[:8]
    )


def plan_approval(name: str, request_id: str, *, wish: Wish) -> Plan:
    """Plan to agree to a request.

    Raises:
        NotFoundError: there is no such open request.
        RefusedError: the one who asked cannot agree, and nobody can twice.
        PairlockError: every other reason why it could not be looked at.
    """
    settings, opened, in_force = begin(name, wish)
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
    return draft(Act.APPROVE, opened, asked.stage, found, in_force, wish.reason, request=request_id)
