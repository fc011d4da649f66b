"""Makes MLflow's aliases say what the ledger says.

MLflow has no conditional write. So whoever wrote an alias looks at the ledger again afterwards, and
writes once more when somebody else's entry came in between: the last to write always knows the
newest entry. What is being written is noted on the registered model first, and the note is removed
after that look: see `notes`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from pairlock.catalog import (
    HEAD_TAG,
    delete_alias,
    delete_model_tag,
    set_alias,
    set_model_tag,
)
from pairlock.errors import ErrorKind, NotFoundError, UnavailableError
from pairlock.ledger import Anchor
from pairlock.promotion.facts.aliases import look
from pairlock.promotion.facts.opened import open_model
from pairlock.promotion.rules import notes
from pairlock.promotion.rules.projection import AliasChange, Moved

_ROUNDS = 50
_LOOK_AGAIN_S = (0.05, 0.2)
"""Aliases and tags are not read at one moment: what seems moved by hand may be another process's
write, whose note was put or removed in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What was done to the aliases."""

    changes: tuple[AliasChange, ...]
    """Aliases that were written, in order."""

    moved: tuple[Moved, ...]
    """Aliases that were moved by hand, and were left."""

    gone: tuple[Moved, ...]
    """Stages whose version is not in the registry any more, so that no alias can name it."""


def follow(
    name: str,
    *,
    watched: frozenset[str] = frozenset(),
    overrule: bool = False,
) -> Followed:
    """Let the aliases of a registered model follow its ledger.

    Args:
        name: the registered model.
        watched: stages of the policy.
        overrule: whether aliases that were moved by hand are put back as well.

    Returns:
        What was written, and what was left.

    Raises:
        IntegrityError: the ledger is broken.
        UnavailableError: the registry or the ledger's store cannot be reached, or others act
            without a pause.
    """
    done: list[AliasChange] = []
    gone: dict[str, Moved] = {}
    own: set[notes.Written] = set()
    own_tag = notes.new_tag()
    patience = list(_LOOK_AGAIN_S)
    for _ in range(_ROUNDS):
        opened = open_model(name)
        found = look(opened, watched)
        if found.moved and patience and not overrule:
            time.sleep(patience.pop(0))
            continue
        changes = found.changes
        if overrule:
            changes += tuple(
                AliasChange(stage=one.stage, version=one.expected, found=one.found)
                for one in found.moved
            )
        changes = tuple(change for change in changes if change.stage not in gone)
        if not own.issuperset(written := {(one.stage, one.version) for one in changes}):
            own |= written
            set_model_tag(name, own_tag, notes.note_text(own))
        for change in changes:
            if not _write(name, change):
                gone[change.stage] = Moved(
                    stage=change.stage, found=change.found, expected=change.version
                )
                continue
            done.append(change)
        head = opened.head
        anchor = None if head is None else Anchor(head.entry.sequence, head.digest)
        if anchor is not None and anchor != opened.anchor:
            set_model_tag(name, HEAD_TAG, str(anchor))
        if opened.ledger.head(anchor) == head:
            for tag in (*((own_tag,) if own else ()), *notes.old_tags(opened.model.tags)):
                delete_model_tag(name, tag)
            moved = () if overrule else found.moved
            return Followed(changes=tuple(done), moved=moved, gone=tuple(gone.values()))
    raise UnavailableError(
        f"others change the stages of {name} all the time",
        kind=ErrorKind.REGISTRY_UNAVAILABLE,
        checked=f"the ledger of {name}, {_ROUNDS} times",
        expected="a moment without a new entry",
        found="a new entry each time",
        done="the ledger is whole; the aliases follow with the next command",
        hint=f"run `pairlock repair {name}` later",
    )


def _write(name: str, change: AliasChange) -> bool:
    """Write one alias; False when its version is not in the registry."""
    if change.version is None:
        delete_alias(name, change.stage)
        return True
    try:
        set_alias(name, change.stage, change.version)
    except NotFoundError:
        return False
    return True
