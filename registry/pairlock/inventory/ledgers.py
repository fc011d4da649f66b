"""What the ledger of each registered model says."""

from __future__ import annotations

from pairlock.catalog import HEAD_TAG, LEDGER_TAG, RegisteredModel, ledger_location
from pairlock.catalog.listing import ListedModel
from pairlock.errors import (
    ErrorKind,
    Finding,
    IntegrityError,
    PairlockError,
    StorageError,
    UnavailableError,
)
from pairlock.inventory.facts import LedgerFacts
from pairlock.inventory.journal import KnownLedger
from pairlock.inventory.remembered import Memory
from pairlock.ledger import Anchor, Ledger, Sealed, State, parse_anchor
from pairlock.stores.opening import open_store


def has_ledger(model: ListedModel) -> bool:
    """Whether a model's tags say that there is a ledger."""
    return LEDGER_TAG in model.tags or HEAD_TAG in model.tags


def read_ledger(model: ListedModel, memory: Memory, *, deep: bool) -> LedgerFacts | None:
    """Read the newest entry of a model's ledger, and what follows from those before it.

    Entries are never changed and each names the one before it: those that were read once under the
    same digest are not read again, unless `deep` asks for the whole chain.

    Args:
        model: the registered model, as it was listed.
        memory: what is known from before; what is new is noted there.
        deep: whether every entry is read and the chain is checked.

    Returns:
        The facts, with everything that is wrong; None where the model has no ledger, or an empty
        one that nothing points to.
    """
    if not has_ledger(model):
        return None
    recorded = model.tags.get(LEDGER_TAG)
    place = recorded or f"tag {LEDGER_TAG}"
    try:
        location = ledger_location(
            RegisteredModel(
                name=model.name,
                created_ms=model.created_ms,
                aliases=model.aliases,
                tags=model.tags,
            )
        )
        if location is None:
            return _broken(place, f"the tag {HEAD_TAG} is there, and the tag {LEDGER_TAG} is not")
        place = location
        return _read(model, location, memory, deep=deep)
    except IntegrityError as error:
        findings = error.findings or (_finding(error),)
        return LedgerFacts(
            location=place,
            state=State(),
            entries=0,
            ever_held=frozenset(),
            findings=tuple(findings),
            problem=error.summary,
        )
    except (UnavailableError, StorageError) as error:
        return LedgerFacts(
            location=place,
            state=State(),
            entries=0,
            ever_held=frozenset(),
            problem=f"{error.summary}: {error.found}",
        )
    except PairlockError as error:
        return _broken(place, f"{error.summary}: {error.found}", findings=tuple(error.findings))


def _read(model: ListedModel, location: str, memory: Memory, *, deep: bool) -> LedgerFacts | None:
    ledger = Ledger(open_store(location), model=model.name, model_created_ms=model.created_ms)
    tag = model.tags.get(HEAD_TAG)
    findings: tuple[Finding, ...] = ()
    anchor: Anchor | None = None
    if tag is not None:
        try:
            anchor = parse_anchor(tag, where=f"the tag {HEAD_TAG} of {model.name}")
        except IntegrityError as error:
            findings = (_finding(error),)
    if deep:
        findings = (*findings, *ledger.check(anchor))
        if findings:
            return _salvaged(ledger, location, findings)
    head = ledger.head(anchor)
    if head is None:
        return None if not findings else _broken(location, findings[0].found, findings=findings)
    past = _past(ledger, head, location, memory)
    return LedgerFacts(
        location=location,
        state=head.entry.state,
        entries=head.entry.sequence + 1,
        ever_held=frozenset(past.ever_held),
        held_versions=frozenset(past.held_versions),
        bypassed={
            stage: frozenset(past.bypassed[held.entry])
            for stage, held in head.entry.state.stages.items()
            if held.entry in past.bypassed
        },
        projected=_projected(ledger, anchor, head),
        findings=findings,
    )


def _past(ledger: Ledger, head: Sealed, location: str, memory: Memory) -> KnownLedger:
    """What follows from all entries; only those are read that were not known."""
    known = memory.ledger(location)
    stages: set[str] = set()
    versions: set[int] = set()
    bypassed: dict[int, tuple[str, ...]] = {}
    for one in ledger.history(head):
        if known is not None and (one.entry.sequence, one.digest) == (known.sequence, known.digest):
            stages.update(known.ever_held)
            versions.update(known.held_versions)
            bypassed.update(known.bypassed)
            break
        held = one.entry.state.stages
        stages.update(held)
        versions.update(holder.version for holder in held.values())
        gates = tuple(gate.gate for gate in one.entry.gates if gate.outcome == "bypassed")
        if gates:
            bypassed[one.entry.sequence] = gates
    found = KnownLedger(
        sequence=head.entry.sequence,
        digest=head.digest,
        ever_held=tuple(sorted(stages)),
        held_versions=tuple(sorted(versions)),
        bypassed=bypassed,
    )
    memory.note_ledger(location, found)
    return found


def _projected(ledger: Ledger, anchor: Anchor | None, head: Sealed) -> tuple[State, ...]:
    """What the aliases may say that do not follow the newest entry yet."""
    if anchor is not None and anchor.sequence == head.entry.sequence:
        return ()
    first = 0 if anchor is None else anchor.sequence
    states = [ledger.read(number).entry.state for number in range(first, head.entry.sequence)]
    return (State(), *states) if anchor is None else tuple(states)


def _salvaged(ledger: Ledger, location: str, findings: tuple[Finding, ...]) -> LedgerFacts:
    """What can be read by itself of a broken history."""
    entries = ledger.readable()
    return LedgerFacts(
        location=location,
        state=entries[0].entry.state if entries else State(),
        entries=len(entries),
        ever_held=frozenset(stage for one in entries for stage in one.entry.state.stages),
        findings=findings,
        problem=f"the ledger is broken at {findings[0].place}",
    )


def _broken(place: str, problem: str, *, findings: tuple[Finding, ...] = ()) -> LedgerFacts:
    return LedgerFacts(
        location=place,
        state=State(),
        entries=0,
        ever_held=frozenset(),
        findings=findings
        or (
            Finding(
                kind=ErrorKind.LEDGER_BROKEN,
                place=place,
                expected="a ledger that can be read",
                found=problem,
            ),
        ),
        problem=problem,
    )


def _finding(error: PairlockError) -> Finding:
    return Finding(kind=error.kind, place=error.checked, expected=error.expected, found=error.found)
