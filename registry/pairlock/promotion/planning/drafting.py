"""What every plan begins and ends with."""

from __future__ import annotations

from dataclasses import replace

from pairlock.config import Settings, current_settings
from pairlock.errors import AlreadyExistsError, ErrorKind
from pairlock.in_force import InForce, policy_in_force
from pairlock.ledger import Act, Held, Reindex
from pairlock.promotion.facts.actor import current_actor
from pairlock.promotion.facts.opened import Opened, open_model
from pairlock.promotion.facts.versions import Version
from pairlock.promotion.rules.gates import GateResult
from pairlock.promotion.rules.plan import Plan
from pairlock.promotion.rules.wishes import Wish


def begin(name: str, wish: Wish) -> tuple[Settings, Opened, InForce]:
    """What every plan begins with: the registry is asked, whatever the environment says of it."""
    settings = current_settings(offline=False, allow=wish.allow)
    opened = open_model(name)
    return settings, opened, policy_in_force(name, file=wish.policy, settings=settings)


def draft(
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
    """Make a plan of what was found out, and say what it changes."""
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


def require_other(held: Held | None, found: Version, name: str, stage: str) -> None:
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
