"""`pairlock history` and `pairlock repair`: what was done, and aliases that follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pairlock.cli import exit_codes
from pairlock.cli.options import FormatOption
from pairlock.cli.output import Format, Output, columns
from pairlock.cli.stage_options import ModelName
from pairlock.wording import counted

if TYPE_CHECKING:
    from pairlock.ledger import Entry, Sealed
    from pairlock.promotion import History, Repaired


def history(name: ModelName, format: FormatOption = Format.HUMAN) -> int:
    """Show who did what to the stages of a model, and prove that nothing of it was changed."""
    from pairlock.promotion import history as look_back

    found = look_back(name)
    Output(format).result(found.to_dict(), _text(found))
    return exit_codes.DONE if found.passed else exit_codes.NO


def repair(name: ModelName, format: FormatOption = Format.HUMAN) -> int:
    """Make MLflow's aliases say what the ledger says, also those that were moved by hand."""
    from pairlock.promotion import repair as put_right

    found = put_right(name)
    Output(format).result(found.to_dict(), _repaired(found))
    return exit_codes.NO if found.followed.gone else exit_codes.DONE


def _text(found: History) -> str:
    blocks = []
    if found.entries:
        rows = [("entry", "when", "who", "what", "stage", "version", "was", "bypassed", "reason")]
        blocks.append(columns(rows + [_row(one) for one in found.entries]))
    else:
        blocks.append("nothing was ever done")
    holders = [
        f"{stage}: version {held.version}, since entry {held.entry}"
        for stage, held in found.state.stages.items()
    ]
    requests = [
        f"request {one.id}: version {one.version} to {one.stage}, asked for by {one.by}, "
        + counted(len(one.approvals), "approval")
        for one in found.state.requests
    ]
    problems = [f"MOVED BY HAND: {one}" for one in found.moved]
    problems += [f"BROKEN: {one}" for one in found.findings]
    if found.moved:
        problems.append(
            f"`pairlock repair {found.model}` puts them back, "
            f"`pairlock adopt {found.model} --stage STAGE` takes one over"
        )
    length = counted(len(found.entries), "entry", "entries")
    whole = [] if found.findings else [f"{length}, unbroken: {found.ledger}"]
    blocks += ["\n".join(lines) for lines in (holders + requests, whole + problems) if lines]
    return "\n\n".join(blocks)


def _row(one: Sealed) -> tuple[str, ...]:
    entry: Entry = one.entry
    replaced = "" if entry.replaced is None else str(entry.replaced.version)
    version = "" if entry.subject is None else str(entry.subject.version)
    bypassed = ", ".join(gate.gate for gate in entry.gates if gate.outcome == "bypassed")
    when = entry.at[:19].replace("T", " ")
    stage = entry.stage or ""
    return (
        str(entry.sequence),
        when,
        entry.actor,
        entry.act.value,
        stage,
        version,
        replaced,
        bypassed,
        "; ".join(text for text in (_elsewhere(entry), entry.reason) if text),
    )


def _elsewhere(entry: Entry) -> str:
    """The other registry that an entry is about: where the version came from, or went."""
    if entry.origin is None:
        return ""
    way = "to" if entry.act.value == "send" else "from"
    return f"{way} {entry.origin.get('registry')}"


def _repaired(found: Repaired) -> str:
    lines = [
        f"alias {change.stage}: {_named(change.found)} -> {_named(change.version)}"
        for change in found.followed.changes
    ]
    lines += [f"version gone: {one}" for one in found.followed.gone]
    return "\n".join(lines) or "every alias says what the ledger says"


def _named(version: int | None) -> str:
    return "nothing" if version is None else f"version {version}"
