"""What is going to happen, decided before anything does. `--dry-run` prints the same object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pairlock.errors import ErrorKind, Finding, RefusedError
from pairlock.ledger import Act, Held, Reindex, Sealed, Subject
from pairlock.promotion.rules.gates import GateOutcome, GateResult
from pairlock.wording import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One act on one stage of one registered model."""

    act: Act
    model: str
    stage: str
    actor: str
    subject: Subject | None
    """The version that the act is about; None where a stage is emptied."""

    replaced: Held | None
    """Who holds the stage now."""

    gates: tuple[GateResult, ...] = ()
    reindex: Reindex | None = None
    reason: str = ""
    policy_digest: str | None = None
    policy_sources: tuple[str, ...] = ()
    request: str | None = None
    """The open request that is made, agreed to, or fulfilled."""

    returns_to: Held | None = None
    """For a rollback: who held the stage by the entry that is returned to."""

    origin: Mapping[str, Any] | None = None
    """For what came from, or goes to, another registry."""

    after: Sealed | None
    """The newest entry of the ledger when this was planned."""

    changes: tuple[str, ...] = field(default=())
    """What is going to change, in words, in order."""

    warnings: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every gate lets it through."""
        return all(result.outcome is not GateOutcome.FAILED for result in self.gates)

    @property
    def failed(self) -> tuple[GateResult, ...]:
        """The gates that do not."""
        return tuple(result for result in self.gates if result.outcome is GateOutcome.FAILED)

    def require_passed(self) -> None:
        """Refuse what a gate refuses.

        Raises:
            RefusedError: a gate failed.
        """
        if self.passed:
            return
        names = ", ".join(result.gate.value for result in self.failed)
        raise RefusedError(
            f"{self.describe()} is refused by {names}",
            kind=ErrorKind.GATES_FAILED,
            checked=f"{counted(len(self.gates), 'gate')}; policy: {', '.join(self.policy_sources)}",
            expected="every gate passed",
            found=f"{len(self.failed)} failed",
            findings=tuple(
                Finding(
                    kind=ErrorKind.GATES_FAILED,
                    place=f"gate {result.gate.value}",
                    expected="passed",
                    found=result.detail,
                )
                for result in self.failed
            ),
            done="nothing was changed",
            hint="do what the gate says; a gate that the policy lets be bypassed takes "
            "--bypass GATE --reason TEXT",
        )

    def describe(self) -> str:
        """The act in a few words."""
        who = self.model if self.subject is None else f"{self.model} {self.subject.version}"
        if self.act is Act.PROMOTE and self.origin is not None:
            who = f"{self.model} {self.origin['version']} of {self.origin['registry']}"
        words = {
            Act.PROMOTE: f"promoting {who} to {self.stage}",
            Act.DEMOTE: f"emptying stage {self.stage} of {who}",
            Act.ROLLBACK: f"rolling {self.stage} back to {who}",
            Act.ADOPT: f"adopting {who} as {self.stage}",
            Act.REQUEST: f"asking for {who} in {self.stage}",
            Act.APPROVE: f"agreeing to {who} in {self.stage}",
            Act.SEND: f"sending {who} to {self.stage} of another registry",
        }
        return words[self.act]

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON data."""
        return {
            "act": self.act.value,
            "model": self.model,
            "stage": self.stage,
            "actor": self.actor,
            "subject": None if self.subject is None else asdict(self.subject),
            "replaced": None if self.replaced is None else asdict(self.replaced),
            "gates": [result.to_dict() for result in self.gates],
            "passed": self.passed,
            "reindex": None if self.reindex is None else asdict(self.reindex),
            "reason": self.reason,
            "policy": {"digest": self.policy_digest, "sources": list(self.policy_sources)},
            "request": self.request,
            "returns_to": None if self.returns_to is None else self.returns_to.entry,
            "origin": None if self.origin is None else dict(self.origin),
            "after": None
            if self.after is None
            else {"sequence": self.after.entry.sequence, "digest": self.after.digest},
            "changes": list(self.changes),
            "warnings": list(self.warnings),
        }
