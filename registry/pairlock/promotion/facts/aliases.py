"""How the aliases of a registered model stand to its ledger. Nothing is written."""

from __future__ import annotations

from pairlock.ledger import State
from pairlock.promotion.facts.opened import Opened, open_model
from pairlock.promotion.rules import notes
from pairlock.promotion.rules.projection import Moved, Projection, project


def look(opened: Opened, watched: frozenset[str]) -> Projection:
    """How the aliases stand to the ledger, without writing anything."""
    found = _project(opened, [_projected(opened)], watched)
    anchor, head = opened.anchor, opened.head
    if not found.moved or anchor is None or head is None:
        return found
    # somebody who was overtaken may have noted an older entry than the aliases followed
    between = range(anchor.sequence + 1, head.entry.sequence)
    states = [opened.ledger.read(number).entry.state for number in between]
    return _project(opened, [_projected(opened), *states], watched)


def _project(opened: Opened, projected: list[State], watched: frozenset[str]) -> Projection:
    return project(
        opened.state,
        opened.model.aliases,
        projected=projected,
        noted=notes.noted(opened.model.tags),
        watched=watched,
    )


def _projected(opened: Opened) -> State:
    """What the aliases were last known to follow."""
    if opened.anchor is None or opened.head is None:
        return State()
    if opened.anchor.sequence == opened.head.entry.sequence:
        return opened.state
    return opened.ledger.read(opened.anchor.sequence).entry.state


def moved_by_hand(opened: Opened, stage: str) -> Moved | None:
    """The alias of a stage, where somebody moved it by hand."""
    watched = frozenset({stage})
    moved = [one for one in look(opened, watched).moved if one.stage == stage]
    if moved:  # a second look: another process may have been about to write it
        moved = [one for one in look(open_model(opened.model.name), watched).moved if one in moved]
    return moved[0] if moved else None
