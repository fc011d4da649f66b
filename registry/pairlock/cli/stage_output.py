"""How plans and acts on stages are written for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pairlock.cli.output import table

if TYPE_CHECKING:
    from pairlock.promotion import Executed, Plan, SendPlan, Sent


def plan_text(plan: Plan) -> str:
    """A plan: what, of what, the gates with their figures, the verdict, what changes."""
    rows = [("act", plan.describe()), ("by", plan.actor)]
    if plan.reason:
        rows.append(("reason", plan.reason))
    rows += [("policy", ", ".join(plan.policy_sources))]
    replaced = "nothing"
    if plan.replaced is not None:
        replaced = f"version {plan.replaced.version}, {plan.replaced.package_digest}"
    if plan.changes[1:]:
        rows.append(("in the stage now", replaced))
    if plan.subject is not None:
        subject = plan.subject
        number = subject.version or "new"  # a copy has no number before it is registered
        rows.append(("version", f"{number}, {subject.package_digest}"))
        if subject.base_uri is not None:
            rows.append(("base", f"{subject.base_uri}, its files {subject.base_digest}"))
    if plan.reindex is not None:
        rows.append(("re-index", f"{plan.reindex.verdict}: {plan.reindex.detail}"))
    lines = [table(rows)]
    asked = [result for result in plan.gates if result.outcome.value != "skipped"]
    width = max((len(result.gate.value) for result in asked), default=0)
    lines += [
        f"{result.outcome.value:<8}  {result.gate.value:<{width}}  {result.detail}"
        for result in asked
    ]
    skipped = [result.gate.value for result in plan.gates if result not in asked]
    if skipped:
        lines.append(f"skipped   nothing asks for {', '.join(skipped)}")
    lines += [f"warning   {warning}" for warning in plan.warnings]
    lines += [f"change    {change}" for change in plan.changes]
    return "\n".join(lines)


def done_text(done: Executed) -> str:
    """What became of a plan."""
    lines = []
    entry = done.entry
    if entry.act.value == "request":
        lines.append(
            f"request {entry.request}: somebody else agrees with "
            f"`pairlock approve {entry.model} {entry.request}`"
        )
    lines += [f"NOT CHANGED: {moved}, moved by hand" for moved in done.followed.moved]
    lines += [f"NO SUCH VERSION: {gone}" for gone in done.followed.gone]
    lines.append(f"done      entry {entry.sequence}, {done.digest}")
    held = entry.state.stages.get(entry.stage or "")
    if entry.act.value in {"promote", "rollback", "adopt"} and held is not None:
        lines.append(f"models:/{entry.model}@{entry.stage} is version {held.version}")
    return "\n".join(lines)


def send_plan_text(plan: SendPlan) -> str:
    """A promotion in another registry: the plan there, and what changes on both sides."""
    lines = [table([("from", str(plan.origin)), ("to", str(plan.destination))])]
    if plan.promotion is None:
        lines.append(f"{plan.model} {plan.version} is in {plan.stage} there; only this side's ")
        lines[-1] += "ledger does not say so"
    else:
        lines.append(plan_text(plan.promotion))
    lines += [f"change    {change}" for change in plan.changes]
    return "\n".join(lines)


def sent_text(sent: Sent) -> str:
    """What became of a promotion in another registry."""
    lines = [
        f"{'copied' if one.copied else 'was there':<9} {one.uri}, {one.package_digest}"
        for one in sent.delivered
    ]
    if sent.promoted is not None:
        lines += [f"there     {line}" for line in done_text(sent.promoted).splitlines()]
    lines += [
        f"here      entry {one.entry.sequence}, {one.digest}: it was sent" for one in sent.recorded
    ]
    return "\n".join(lines)
