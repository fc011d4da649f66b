"""The append-only, hash-chained record of promotions.

`entry` is the data, `document` its file, `state` what follows from an act, `chain` whether files
are one history, `storage` where they lie, `place` where that is. See `docs/ledger.md`.
"""

from pairlock.ledger.anchor import Anchor, parse_anchor
from pairlock.ledger.document import Sealed
from pairlock.ledger.entry import (
    Act,
    Approval,
    Entry,
    GateRecord,
    Held,
    Reindex,
    Request,
    State,
    Subject,
)
from pairlock.ledger.state import held_by, next_state, replaced_by
from pairlock.ledger.storage import Ledger

__all__ = [
    "Act",
    "Anchor",
    "Approval",
    "Entry",
    "GateRecord",
    "Held",
    "Ledger",
    "Reindex",
    "Request",
    "Sealed",
    "State",
    "Subject",
    "held_by",
    "next_state",
    "parse_anchor",
    "replaced_by",
]
