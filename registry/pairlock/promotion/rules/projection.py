"""What MLflow's aliases have to become, so that they say what the ledger says. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pairlock.ledger import State


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasChange:
    """An alias that has not followed the ledger yet."""

    stage: str
    version: int | None
    """What it has to name; None for nothing."""

    found: int | None
    """What it names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """An alias that somebody moved past the ledger."""

    stage: str
    found: int | None
    """What it names; None where it was removed."""

    expected: int | None
    """What the ledger says."""

    def __str__(self) -> str:
        found = f"version {self.found}" if self.found else "nothing"
        expected = f"version {self.expected}" if self.expected else "nothing"
        return f"alias {self.stage} names {found}, and the ledger says {expected}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """What is to be done, and what somebody has to look at."""

    changes: tuple[AliasChange, ...]
    moved: tuple[Moved, ...]


def project(
    state: State,
    aliases: Mapping[str, int],
    *,
    projected: Sequence[State],
    noted: frozenset[tuple[str, int | None]] = frozenset(),
    watched: frozenset[str] = frozenset(),
) -> Projection:
    """Compare the aliases with the ledger.

    An alias that names what it named when it was last projected, or by an entry since, has not
    followed yet: a process ended between the two writes. So has one that a process noted that it
    would write. An alias that names anything else was moved by hand.

    One that was removed is put back when the stage got another version since: deleting a version
    removes its aliases, and what comes next must not suffer from it.

    Args:
        state: what the newest entry says.
        aliases: MLflow's aliases of the registered model.
        projected: what the entry says that the aliases were last known to follow, and then, in
            their order, what any entries between it and the newest say; never empty.
        noted: aliases that processes noted, with the versions; None for a removal.
        watched: stages of the policy, whose aliases are reported when no entry explains them.

    Returns:
        Changes to make, and aliases moved by hand, both in the order of their names.
    """
    changes, moved = [], []
    known = {stage for earlier in projected for stage in earlier.stages}
    for stage in sorted({*state.stages, *known, *watched}):
        wanted = _holder(state, stage)
        found = aliases.get(stage)
        if found == wanted:
            continue
        is_due = found is None and state.stages.get(stage) != projected[0].stages.get(stage)
        is_behind = found in {_holder(earlier, stage) for earlier in projected}
        if is_due or is_behind or (stage, found) in noted:
            changes.append(AliasChange(stage=stage, version=wanted, found=found))
        else:
            moved.append(Moved(stage=stage, found=found, expected=wanted))
    return Projection(changes=tuple(changes), moved=tuple(moved))


def _holder(state: State, stage: str) -> int | None:
    held = state.stages.get(stage)
    return None if held is None else held.version
