"""Entries and whole histories for tests of the ledger."""

from __future__ import annotations

import uuid
from typing import Any

from pairlock.ledger import (
    Act,
    Entry,
    Ledger,
    Sealed,
    State,
    Subject,
    held_by,
    next_state,
    replaced_by,
)
from pairlock.ledger.document import read_entry, write_entry

MODEL = "support"
CREATED_MS = 1_700_000_000_000
AT = "2026-01-31T12:00:00.000Z"
STAGE = "production"


def subject(version: int) -> Subject:
    """A version with digests that follow from its number."""
    return Subject(
        version=version,
        package_digest=f"sha256:{version:064x}",
        base_uri=None,
        base_digest=None,
        document_space=f"sha256:{1:064x}",
        query_space=f"sha256:{version:064x}",
    )


def entry_after(
    before: Sealed | None,
    act: Act = Act.PROMOTE,
    *,
    version: int | None = 1,
    stage: str | None = STAGE,
    request: str | None = None,
    target: Sealed | None = None,
    actor: str = "ada",
    **changes: Any,
) -> Entry:
    """The entry of an act, as it must be; `changes` makes it another one."""
    state = State() if before is None else before.entry.state
    sequence = 0 if before is None else before.entry.sequence + 1
    about = None if version is None else subject(version)
    known = {"act": act, "sequence": sequence, "actor": actor, "at": AT, "stage": stage}
    fields: dict[str, Any] = {
        **known,
        "subject": about,
        "request": request,
        "previous": None if before is None else before.digest,
        "write_id": uuid.uuid4().hex,
        "model": MODEL,
        "model_created_ms": CREATED_MS,
        "replaced": replaced_by(state, act, stage),
        "returns_to": None if target is None else target.entry.sequence,
    }
    if "state" not in changes:
        fields["state"] = next_state(
            state,
            **known,
            subject=about,
            request=request,
            target=None if target is None else held_by(target.entry, str(stage)),
        )
    return Entry(**{**fields, **changes})


def sealed(entry: Entry) -> Sealed:
    """The entry as it would lie in its file."""
    return read_entry(write_entry(entry), where="a test's entry")


def promotions(count: int) -> list[Sealed]:
    """A history in which one version after the other comes into one stage."""
    made: list[Sealed] = []
    for version in range(1, count + 1):
        made.append(sealed(entry_after(made[-1] if made else None, version=version)))
    return made


def as_files(history: list[Sealed]) -> dict[int, bytes]:
    """The files of a history, by number."""
    return {one.entry.sequence: write_entry(one.entry) for one in history}


def fill(ledger: Ledger, count: int) -> list[Sealed]:
    """Record some promotions in an empty ledger."""
    return [ledger.append(one.entry) for one in promotions(count)]
