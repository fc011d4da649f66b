"""What is so after an act: from the state before and the act. No I/O.

The code that records an act makes its state here, and the check of the chain makes it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from pairlock.ledger.entry import Act, Approval, Entry, Held, Request, State, Subject


class ImpossibleActError(ValueError):
    """The act cannot follow on the state. The message says why."""


def next_state(
    before: State,
    *,
    act: Act,
    sequence: int,
    actor: str,
    at: str,
    reason: str = "",
    stage: str | None = None,
    subject: Subject | None = None,
    request: str | None = None,
    target: Held | None = None,
) -> State:
    """The state after an act.

    - PROMOTE and ADOPT put the subject into the stage; a promotion fulfils `request`, if it names
      one, which is asked for no longer.
    - ROLLBACK puts the subject back as it was at an earlier entry. What came before *that* is what
      the next rollback returns to, so two of them go two steps back.
    - DEMOTE empties the stage. REQUEST asks for the subject, and APPROVE agrees to a request.
    - SEND changes nothing here.

    Args:
        before: the state before; `State()` before the first entry.
        act: what is done.
        sequence: the new entry's number.
        actor: who does it.
        at: when, as the entry has it.
        reason: why, as the entry has it.
        stage: the stage it is about.
        subject: the version it is about.
        request: the request that is made, agreed to, or fulfilled.
        target: for ROLLBACK: who held the stage by the entry that it returns to.

    Raises:
        ImpossibleActError: the act lacks something, or cannot follow on `before`.
    """
    if act is Act.SEND:
        return before
    if act is Act.APPROVE:
        return _approved(before, request, Approval(by=actor, at=at))
    if stage is None:
        raise ImpossibleActError(f"{act} names no stage")
    if act is Act.DEMOTE:
        if stage not in before.stages:
            raise ImpossibleActError(f"nothing holds {stage}, so it cannot be emptied")
        return replace(before, stages=_without(before.stages, stage))
    if subject is None:
        raise ImpossibleActError(f"{act} names no version")
    if act is Act.REQUEST:
        if request is None or any(item.id == request for item in before.requests):
            raise ImpossibleActError("a request needs an id of its own")
        asked = Request(
            id=request,
            stage=stage,
            version=subject.version,
            package_digest=subject.package_digest,
            by=actor,
            at=at,
            reason=reason,
        )
        return replace(before, requests=(*before.requests, asked))
    held = before.stages.get(stage)
    previous = None if held is None else held.entry
    requests = before.requests
    if act is Act.ROLLBACK:
        if target is None:
            raise ImpossibleActError("the entry that the rollback returns to is not known")
        if (target.version, target.package_digest) != (subject.version, subject.package_digest):
            raise ImpossibleActError(
                f"the rollback brings version {subject.version}, "
                f"and returns to an entry of version {target.version}"
            )
        previous = target.previous
    elif act is Act.PROMOTE and request is not None:
        requests = _fulfilled(requests, request, stage, subject)
    came = Held(
        version=subject.version,
        package_digest=subject.package_digest,
        entry=sequence,
        previous=previous,
    )
    return State(
        stages=MappingProxyType({**before.stages, stage: came}),
        requests=requests,
    )


def state_after(before: State, entry: Entry, *, entry_at: Callable[[int], Entry | None]) -> State:
    """The state that an entry must carry.

    Args:
        before: the state that the entry before it carries.
        entry: the entry.
        entry_at: an earlier entry by its number; None where it cannot be read.

    Raises:
        ImpossibleActError: the act cannot follow on `before`.
    """
    return next_state(
        before,
        act=entry.act,
        sequence=entry.sequence,
        actor=entry.actor,
        at=entry.at,
        reason=entry.reason,
        stage=entry.stage,
        subject=entry.subject,
        request=entry.request,
        target=_target(entry, entry_at) if entry.act is Act.ROLLBACK else None,
    )


def held_by(entry: Entry, stage: str) -> Held | None:
    """Who came into a stage by an entry; None when nobody did."""
    held = entry.state.stages.get(stage)
    return held if held is not None and held.entry == entry.sequence else None


def replaced_by(before: State, act: Act, stage: str | None) -> Held | None:
    """Who leaves a stage by an act: what the entry's `replaced` says."""
    if stage is None or act not in {Act.PROMOTE, Act.ADOPT, Act.ROLLBACK, Act.DEMOTE}:
        return None
    return before.stages.get(stage)


def _target(entry: Entry, entry_at: Callable[[int], Entry | None]) -> Held | None:
    if entry.returns_to is None or entry.stage is None:
        return None
    if entry.returns_to >= entry.sequence:
        raise ImpossibleActError("a rollback returns to an earlier entry")
    earlier = entry_at(entry.returns_to)
    return None if earlier is None else held_by(earlier, entry.stage)


def _without(stages: Mapping[str, Held], stage: str) -> Mapping[str, Held]:
    return MappingProxyType({name: held for name, held in stages.items() if name != stage})


def _approved(before: State, request: str | None, approval: Approval) -> State:
    if not any(item.id == request for item in before.requests):
        raise ImpossibleActError(f"there is no request {request} to agree to")
    return replace(
        before,
        requests=tuple(
            replace(item, approvals=(*item.approvals, approval)) if item.id == request else item
            for item in before.requests
        ),
    )


def _fulfilled(
    requests: tuple[Request, ...], request: str, stage: str, subject: Subject
) -> tuple[Request, ...]:
    asked = next((item for item in requests if item.id == request), None)
    if asked is None:
        raise ImpossibleActError(f"there is no request {request} to fulfil")
    if (asked.stage, asked.version, asked.package_digest) != (
        stage,
        subject.version,
        subject.package_digest,
    ):
        raise ImpossibleActError(
            f"request {request} asks for version {asked.version} in {asked.stage}"
        )
    return tuple(item for item in requests if item.id != request)
