"""One entry as it is known from outside the ledger's store."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pairlock.errors import ErrorKind, IntegrityError

_TEXT = re.compile(r"(0|[1-9][0-9]{0,11}):(sha256:[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Anchor:
    """An entry that must be there, as it was when somebody noted it."""

    sequence: int
    digest: str
    """`sha256:<hex>` of the entry's file."""

    def __str__(self) -> str:
        return f"{self.sequence}:{self.digest}"


def parse_anchor(text: str, *, where: str) -> Anchor:
    """An anchor from its text, `<sequence>:sha256:<hex>`.

    Args:
        text: what was noted.
        where: what holds it, for messages.

    Raises:
        IntegrityError: it is no anchor. A note that cannot be read protects nothing.
    """
    found = _TEXT.fullmatch(text)
    if found is None:
        raise IntegrityError(
            f"{where} does not name an entry of the ledger",
            kind=ErrorKind.LEDGER_BROKEN,
            checked=where,
            expected="<sequence>:sha256:<64 hex digits>",
            found=repr(text[:200]),
            done="nothing was changed",
            hint="somebody changed it by hand: find out who, and whether an entry is "
            "missing at the end; then delete it, and the next command writes it again",
        )
    return Anchor(int(found[1]), found[2])
