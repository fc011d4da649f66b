"""Whether files are one unbroken history, and if not, where it breaks. No I/O.

What is found, and located:

- a changed entry: by its own digest, by the link of the next one, by the anchor;
- a missing entry, swapped or renamed files, an entry recorded twice;
- a history that ends before an entry that is known from outside (the anchor);
- entries of another model, or of one of the same name that was deleted and made again;
- a state that does not follow from the state before and the act.

What is not found: a history rewritten from some entry to the end by somebody who can also write
the anchor. Nothing in a store can show that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pairlock.errors import ErrorKind, Finding, PairlockError
from pairlock.ledger.anchor import Anchor
from pairlock.ledger.document import Sealed, read_entry
from pairlock.ledger.entry import Entry, Held, State
from pairlock.ledger.state import ImpossibleActError, replaced_by, state_after
from pairlock.wording import counted

ENTRIES = "entries"
"""The folder that the files lie in."""

_DIGITS = 12
MAX_SEQUENCE = 10**_DIGITS - 1


def entry_path(sequence: int) -> str:
    """Where an entry lies: names sort as numbers do."""
    return f"{ENTRIES}/{sequence:0{_DIGITS}}.json"


def sequence_of(path: str) -> int | None:
    """The number of the entry at a path; None for a file that is no entry."""
    name = path.removeprefix(f"{ENTRIES}/").removesuffix(".json")
    is_entry = len(name) == _DIGITS and name.isascii() and name.isdigit()
    return int(name) if is_entry and path == entry_path(int(name)) else None


def check_chain(
    files: Mapping[int, bytes | PairlockError],
    *,
    model: str,
    model_created_ms: int,
    anchor: Anchor | None = None,
) -> tuple[Finding, ...]:
    """Everything that is wrong with a whole history.

    Args:
        files: the content of each file by the number in its name, or the error of reading it.
        model: the registered model's name.
        model_created_ms: when it was made, in ms since 1970.
        anchor: an entry that is known from elsewhere.

    Returns:
        What was found, in the order of the entries, gaps first; empty for a good history.
    """
    sealed: dict[int, Sealed] = {}
    findings = list(_gaps(files, anchor))
    for number, content in sorted(files.items()):
        if isinstance(content, PairlockError):
            findings.extend(unreadable_findings(number, content))
            continue
        try:
            sealed[number] = read_entry(content, where=entry_path(number))
        except PairlockError as error:
            findings.extend(unreadable_findings(number, error))
    for number, one in sealed.items():
        findings.extend(own_findings(number, one.entry, model, model_created_ms))
        if number - 1 in sealed:
            findings.extend(link_findings(sealed[number - 1], number, one))
        findings.extend(_state_findings(number, sealed))
    findings.extend(_repeated(sealed))
    if anchor is not None and anchor.sequence in sealed:
        findings.extend(anchor_findings(anchor, sealed[anchor.sequence]))
    return tuple(findings)


def own_findings(number: int, entry: Entry, model: str, model_created_ms: int) -> Iterator[Finding]:
    """What is wrong with one entry where it lies."""
    if entry.sequence != number:
        yield _broken(number, f"entry {number}", f"entry {entry.sequence}: files were swapped")
    if entry.model != model:
        yield _broken(number, f"an entry of model {model!r}", f"one of {entry.model!r}")
    elif entry.model_created_ms != model_created_ms:
        yield _broken(
            number,
            f"an entry of the {model!r} that was made at {model_created_ms} (ms since 1970)",
            f"one of a model of this name that was made at {entry.model_created_ms}",
        )


def link_findings(earlier: Sealed, number: int, later: Sealed) -> Iterator[Finding]:
    """Whether an entry names the one before it."""
    if later.entry.previous != earlier.digest:
        yield _broken(
            number,
            f"the entry before it to be {later.entry.previous}",
            f"{earlier.digest}: entry {number - 1} was replaced, or this one",
        )


def anchor_findings(anchor: Anchor, there: Sealed) -> Iterator[Finding]:
    """Whether an entry is the one that is known from elsewhere."""
    if there.digest != anchor.digest:
        yield _broken(
            anchor.sequence, f"{anchor.digest}, as it was noted", f"{there.digest}: it was replaced"
        )


def missing_finding(first: int, last: int, *, at_the_end: bool) -> Finding:
    """Entries that should be there."""
    one = first == last
    return Finding(
        kind=ErrorKind.LEDGER_BROKEN,
        place=_place(first) if one else f"entries {first} to {last}",
        expected="a file" if one else "files",
        found="the history ends before it"
        if at_the_end
        else "nothing, and later entries are there",
    )


def _gaps(files: Mapping[int, object], anchor: Anchor | None) -> Iterator[Finding]:
    expected = 0
    for number in sorted(files):
        if number > expected:
            yield missing_finding(expected, number - 1, at_the_end=False)
        expected = number + 1
    if anchor is not None and anchor.sequence >= expected:
        yield missing_finding(expected, anchor.sequence, at_the_end=True)


def unreadable_findings(number: int, error: PairlockError) -> Iterator[Finding]:
    """What is wrong with the file of an entry that could not be read, with the entry's name."""
    for finding in error.findings:
        yield Finding(
            kind=ErrorKind.LEDGER_BROKEN,
            place=f"{_place(number)} {finding.place}",
            expected=finding.expected,
            found=finding.found,
        )
    if not error.findings:
        too_new = error.kind is ErrorKind.FORMAT_TOO_NEW
        yield Finding(
            kind=error.kind if too_new else ErrorKind.LEDGER_BROKEN,
            place=_place(number),
            expected=error.expected,
            found=error.found,
        )


def _state_findings(number: int, sealed: Mapping[int, Sealed]) -> Iterator[Finding]:
    """What is skipped here depends on an entry that has a finding of its own."""
    entry = sealed[number].entry
    if number == 0:
        before = State()
    elif number - 1 in sealed:
        before = sealed[number - 1].entry.state
    else:
        return
    target = entry.returns_to
    has_lost_target = target is not None and target < number and target not in sealed
    if entry.sequence != number or has_lost_target:
        return
    try:
        expected = state_after(
            before,
            entry,
            entry_at=lambda earlier: sealed[earlier].entry if earlier in sealed else None,
        )
    except ImpossibleActError as error:
        yield _broken(number, "an act that can follow on the entry before it", str(error))
        return
    if entry.state != expected:
        yield _broken(number, _show(expected), _show(entry.state))
    replaced = replaced_by(before, entry.act, entry.stage)
    if entry.replaced != replaced:
        yield _broken(
            number,
            f"{entry.stage} held before by {_name(replaced)}",
            f"{_name(entry.replaced)} in the field `replaced`",
        )


def _repeated(sealed: Mapping[int, Sealed]) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for number, one in sealed.items():
        earlier = first.setdefault(one.entry.write_id, number)
        if earlier != number:
            yield _broken(number, "a write id of its own", f"that of entry {earlier}")


def _show(state: State) -> str:
    stages = ", ".join(
        f"{stage} held by {_name(held)}" for stage, held in sorted(state.stages.items())
    )
    requests = ", ".join(
        f"request {item.id} with {counted(len(item.approvals), 'approval')}"
        for item in state.requests
    )
    return f"the state: {stages or 'no stage held'}; {requests or 'no requests'}"


def _name(held: Held | None) -> str:
    if held is None:
        return "nobody"
    after = "" if held.previous is None else f", after entry {held.previous}"
    return f"version {held.version} {held.package_digest[:19]} (entry {held.entry}{after})"


def _broken(number: int, expected: str, found: str) -> Finding:
    return Finding(
        kind=ErrorKind.LEDGER_BROKEN, place=_place(number), expected=expected, found=found
    )


def _place(number: int) -> str:
    return f"entry {number} ({entry_path(number)})"
