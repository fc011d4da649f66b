"""What was done to the stages of a model, and whether all of it is still what was written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from pairlock.catalog import RegisteredModel
from pairlock.errors import ErrorKind, Finding, IntegrityError
from pairlock.ledger import Ledger, Sealed, State
from pairlock.manifest.writing import plain_data
from pairlock.promotion.execution.following import Followed, follow
from pairlock.promotion.facts.opened import anchor_of, open_ledger
from pairlock.promotion.rules.projection import Moved


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All entries of a ledger, and all that is wrong with it."""

    model: str
    ledger: str
    """Where it lies."""

    entries: tuple[Sealed, ...]
    """Newest first, as far as they can be read."""

    state: State
    """Who holds which stage now, and what was asked for."""

    moved: tuple[Moved, ...]
    """Aliases that were moved by hand."""

    findings: tuple[Finding, ...]
    """Everything in which the ledger is not what was written."""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings and not self.moved

    def to_dict(self) -> dict[str, Any]:
        """The history as JSON data."""
        return {
            "model": self.model,
            "ledger": self.ledger,
            "passed": self.passed,
            "stages": {stage: asdict(held) for stage, held in self.state.stages.items()},
            "requests": [asdict(request) for request in self.state.requests],
            "entries": [{**plain_data(one.entry), "digest": one.digest} for one in self.entries],
            "moved_by_hand": [str(moved) for moved in self.moved],
            "findings": [finding.to_dict() for finding in self.findings],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What a repair came to."""

    model: str
    followed: Followed

    def to_dict(self) -> dict[str, Any]:
        """The repair as JSON data."""
        return {
            "model": self.model,
            "aliases": {change.stage: change.version for change in self.followed.changes},
            "version_gone": [str(gone) for gone in self.followed.gone],
        }


def history(name: str) -> History:
    """Read and prove the whole ledger of a model.

    An alias that a process left behind is brought up first; one that was moved by hand is reported.

    Args:
        name: the registered model.

    Returns:
        Every entry and every finding; it does not stop at the first.

    Raises:
        NotFoundError: there is no such model.
        UnavailableError: the registry or the ledger's store cannot be reached.
    """
    model, ledger = open_ledger(name)
    findings = _check(model, ledger)
    if findings:
        return History(
            model=model.name,
            ledger=ledger.location,
            entries=ledger.readable(),
            state=State(),
            moved=(),
            findings=findings,
        )
    entries = tuple(ledger.history())
    return History(
        model=model.name,
        ledger=ledger.location,
        entries=entries,
        state=entries[0].entry.state if entries else State(),
        moved=follow(name, watched=_ever_held(entries)).moved,
        findings=(),
    )


def repair(name: str) -> Repaired:
    """Make the aliases of a model say what its ledger says, also those moved by hand.

    Args:
        name: the registered model.

    Raises:
        IntegrityError: the ledger itself is broken, which nothing here can mend.
        NotFoundError: there is no such model.
        UnavailableError: the registry or the ledger's store cannot be reached.
    """
    model, ledger = open_ledger(name)
    if findings := _check(model, ledger):
        raise IntegrityError(
            f"the ledger of {name} is not what was written",
            kind=findings[0].kind,
            checked=f"every entry in {ledger.location}",
            findings=findings,
            done="nothing was changed",
            hint="bring the files back from a backup or the bucket's versions; `pairlock history` "
            "shows what can be read",
        )
    return Repaired(
        model=model.name,
        followed=follow(name, watched=_ever_held(ledger.history()), overrule=True),
    )


def _ever_held(entries: Iterable[Sealed]) -> frozenset[str]:
    """Stages that are the ledger's to say: one that it emptied must stay empty."""
    return frozenset(stage for one in entries for stage in one.entry.state.stages)


def _check(model: RegisteredModel, ledger: Ledger) -> tuple[Finding, ...]:
    try:
        return ledger.check(anchor_of(model))
    except IntegrityError as error:
        if error.kind is not ErrorKind.LEDGER_BROKEN:
            raise
        noted = Finding(
            kind=error.kind, place=error.checked, expected=error.expected, found=error.found
        )
        return (noted, *ledger.check())
