"""What processes note on the registered model before they write an alias. Pure.

MLflow cannot set an alias on the condition that it still names what was read. A process that was
overtaken writes an alias that is out of date, and mends it after; killed in between, it leaves an
alias that no entry explains any more. Its note does: nobody moved that alias by hand.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Mapping

PREFIX = "pairlock.ledger.writing."
"""Beginning of the names of tags on a registered model; each process has one of its own."""

Written = tuple[str, int | None]
"""An alias, and the version that it was to name; None where it was to be removed."""

_KEPT_S = 600.0
"""For how long the note of a process that does not answer is kept: what it sent to a slow server
may arrive that much later. MLflow's client gives up after some 2 minutes for each of its tries."""


def new_tag() -> str:
    """A tag that no other process uses."""
    return f"{PREFIX}{uuid.uuid4().hex}"


def note_text(written: Iterable[Written]) -> str:
    """What to put into the tag."""
    aliases = sorted(written, key=str)
    return json.dumps({"at_s": int(time.time()), "aliases": aliases}, separators=(",", ":"))


def noted(tags: Mapping[str, str]) -> frozenset[Written]:
    """The aliases that processes wrote, or were about to, and have not looked at since.

    Args:
        tags: of the registered model.
    """
    found: set[Written] = set()
    for tag, text in tags.items():
        if tag.startswith(PREFIX):
            found |= _read(text)[1]
    return frozenset(found)


def old_tags(tags: Mapping[str, str]) -> tuple[str, ...]:
    """The notes of processes that must have ended, and those that nobody can read.

    Args:
        tags: of the registered model.
    """
    now = time.time()
    return tuple(
        tag
        for tag, text in sorted(tags.items())
        if tag.startswith(PREFIX) and abs(now - _read(text)[0]) > _KEPT_S
    )


def _read(text: str) -> tuple[float, set[Written]]:
    try:
        note = json.loads(text)
        return float(note["at_s"]), {
            (str(stage), None if version is None else int(version))
            for stage, version in note["aliases"]
        }
    except (ValueError, TypeError, KeyError):
        return 0.0, set()
