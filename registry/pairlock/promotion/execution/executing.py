"""Does what a plan says: one entry in the ledger, then the aliases follow."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pairlock.catalog import READY, version_state
from pairlock.errors import ConflictError, ErrorKind, NotFoundError, PairlockError
from pairlock.ledger import (
    Act,
    Entry,
    Ledger,
    Request,
    Sealed,
    State,
    next_state,
    replaced_by,
)
from pairlock.promotion.execution.following import Followed, follow
from pairlock.promotion.facts.opened import Opened, open_model
from pairlock.promotion.facts.versions import stages_of
from pairlock.promotion.rules.plan import Plan

_TRIES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """What an act came to."""

    plan: Plan
    entry: Entry
    digest: str
    """Digest of the entry: `sha256:<hex>`."""

    ledger: str
    """Where the ledger lies."""

    followed: Followed

    def to_dict(self) -> dict[str, Any]:
        """The act as JSON data."""
        return {
            "plan": self.plan.to_dict(),
            "sequence": self.entry.sequence,
            "entry_digest": self.digest,
            "ledger": self.ledger,
            "request": self.entry.request,
            "aliases": {change.stage: change.version for change in self.followed.changes},
            "moved_by_hand": [str(moved) for moved in self.followed.moved],
            "version_gone": [str(gone) for gone in self.followed.gone],
        }


def execute(plan: Plan) -> Executed:
    """Do what a plan says.

    An entry that somebody else wrote since the plan was made is a conflict where it touches the
    same stage; entries about other stages are not in the way.

    Args:
        plan: what to do.

    Returns:
        The entry, and what became of the aliases.

    Raises:
        RefusedError: a gate failed. Nothing was changed.
        ConflictError: somebody else changed the stage since; it says who. Nothing was changed.
        NotFoundError: the version was deleted since.
        PairlockError: every other reason; it says whether the entry was written.
    """
    plan.require_passed()
    watched = frozenset({plan.stage})
    opened = open_model(plan.model)
    if opened.anchor is None or opened.head is None or opened.anchor.digest != opened.head.digest:
        follow(plan.model, watched=watched)  # a process ended before its alias was written
    _require_version(plan)
    if opened.head is None:
        opened.ledger.require_conditional_create()
    sealed = _append(plan, opened)
    try:
        followed = follow(plan.model, watched=watched)
    except PairlockError as error:
        error.done = (
            f"entry {sealed.entry.sequence} is written, so it is done; the aliases follow with "
            "the next command"
        )
        raise
    return Executed(
        plan=plan,
        entry=sealed.entry,
        digest=sealed.digest,
        ledger=opened.ledger.location,
        followed=followed,
    )


def _append(plan: Plan, opened: Opened) -> Sealed:
    ledger, head = opened.ledger, plan.after
    conflict: ConflictError | None = None
    for _ in range(_TRIES):
        try:
            return ledger.append(entry_of(plan, head, opened.model.created_ms))
        except ConflictError as error:
            conflict = error
        newer = ledger.head(opened.anchor)
        if newer is None:
            break
        if not _stands(plan, newer.entry.state):
            raise _lost(plan, ledger, newer)
        head = newer
    assert conflict is not None
    raise conflict


def _stands(plan: Plan, state: State) -> bool:
    """Whether a plan made on an older entry would be the same on this one."""
    before = State() if plan.after is None else plan.after.entry.state
    if replaced_by(state, plan.act, plan.stage) != plan.replaced:
        return False
    if plan.act is Act.PROMOTE and plan.subject is not None:
        # what the policy lets a version come from
        version = plan.subject.version
        if not stages_of(before, version) <= stages_of(state, version):
            return False
    asked = {request.id: request for request in state.requests}
    if plan.act is Act.REQUEST:
        known = {request.id for request in before.requests}
        return not any(_asks_the_same(plan, one) for id_, one in asked.items() if id_ not in known)
    asked_before = {request.id: request for request in before.requests}
    return plan.request is None or asked.get(plan.request) == asked_before.get(plan.request)


def _asks_the_same(plan: Plan, request: Request) -> bool:
    subject = plan.subject
    return subject is not None and (request.stage, request.version, request.package_digest) == (
        plan.stage,
        subject.version,
        subject.package_digest,
    )


def _lost(plan: Plan, ledger: Ledger, newest: Sealed) -> ConflictError:
    """The error that names the entry which came in the way; others may lie before and after it."""
    first = 0 if plan.after is None else plan.after.entry.sequence + 1
    for number in range(first, newest.entry.sequence):
        entry = ledger.read(number)
        if not _stands(plan, entry.entry.state):
            return ledger.conflict_with(entry)
    return ledger.conflict_with(newest)


def entry_of(plan: Plan, head: Sealed | None, created_ms: int) -> Entry:
    """The entry that records a plan.

    Args:
        plan: what is done.
        head: the newest entry, which it follows.
        created_ms: when the registered model was made, in ms since 1970.
    """
    sequence = 0 if head is None else head.entry.sequence + 1
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    state = next_state(
        State() if head is None else head.entry.state,
        act=plan.act,
        sequence=sequence,
        actor=plan.actor,
        at=at,
        reason=plan.reason,
        stage=plan.stage,
        subject=plan.subject,
        request=plan.request,
        target=plan.returns_to,
    )
    return Entry(
        sequence=sequence,
        previous=None if head is None else head.digest,
        write_id=uuid.uuid4().hex,
        act=plan.act,
        actor=plan.actor,
        at=at,
        model=plan.model,
        model_created_ms=created_ms,
        stage=plan.stage,
        subject=plan.subject,
        replaced=plan.replaced,
        gates=tuple(result.record() for result in plan.gates),
        reindex=plan.reindex,
        reason=plan.reason,
        policy_digest=plan.policy_digest,
        request=plan.request,
        returns_to=None if plan.returns_to is None else plan.returns_to.entry,
        origin=plan.origin,
        state=state,
    )


def _require_version(plan: Plan) -> None:
    if plan.subject is None:
        return
    found = version_state(plan.model, plan.subject.version)
    if found.state == READY:
        return
    raise NotFoundError(
        f"models:/{plan.model}/{plan.subject.version} is {found.state}",
        kind=ErrorKind.MODEL_NOT_FOUND,
        checked="the version, just before the entry is written",
        expected=READY,
        found=found.state,
        done="nothing was changed",
        hint="choose another version",
    )
