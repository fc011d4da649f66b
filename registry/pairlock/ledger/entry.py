"""What the ledger remembers of one act, as frozen data. See `docs/ledger.md`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class Act(StrEnum):
    """What somebody did."""

    PROMOTE = "promote"
    """A version came into a stage."""

    DEMOTE = "demote"
    """A stage was emptied."""

    ROLLBACK = "rollback"
    """A version that held the stage before came back."""

    ADOPT = "adopt"
    """An alias, or a legacy stage of MLflow's, that was there before the ledger was taken over."""

    REQUEST = "request"
    """Somebody asked for a promotion."""

    APPROVE = "approve"
    """Somebody agreed to a request."""

    SEND = "send"
    """A version was promoted in another registry, and copied there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The version that an act is about."""

    version: int
    package_digest: str
    base_uri: str | None
    """Where an adapter's base was pinned; None for a full model."""

    base_digest: str | None
    """Tree digest of an adapter's base."""

    document_space: str
    query_space: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Which version holds a stage."""

    version: int
    package_digest: str
    entry: int
    """Sequence number of the entry by which it came."""

    previous: int | None
    """Sequence number of the entry by which the one before it came, which a rollback returns to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Somebody agreed to a request."""

    by: str
    at: str
    """UTC, ISO 8601."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A promotion that somebody asked for, and nobody has made yet."""

    id: str
    stage: str
    version: int
    package_digest: str
    by: str
    at: str
    """UTC, ISO 8601."""

    reason: str
    approvals: tuple[Approval, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is so after an act: every entry carries it, so that the newest one is enough to read."""

    stages: Mapping[str, Held] = field(default_factory=lambda: MappingProxyType({}))
    """Who holds each stage that is not empty."""

    requests: tuple[Request, ...] = ()
    """What was asked for, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRecord:
    """What a gate said."""

    gate: str
    outcome: str
    """passed, failed, skipped or bypassed."""

    detail: str
    figures: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reindex:
    """Whether the vector index has to be made again."""

    verdict: str
    """none, equivalent, needed or first."""

    detail: str
    acknowledged: str | None
    """planned or done, where somebody said so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One act."""

    sequence: int
    """0 for the first; one more for each."""

    previous: str | None
    """Digest of the entry before: `sha256:<hex>` of its bytes; None for the first."""

    write_id: str
    """32 hex digits, unique to the attempt."""

    act: Act
    actor: str
    """Who did it, as the environment names them; nothing proves it."""

    at: str
    """UTC, ISO 8601, to the millisecond, by the clock of the machine that wrote it."""

    model: str
    """The registered model's name."""

    model_created_ms: int
    """When the registered model was made, in ms since 1970: one that was deleted and made again
    under its name is another."""

    stage: str | None
    subject: Subject | None
    """None where a stage was emptied."""

    replaced: Held | None
    """Who held the stage before."""

    gates: tuple[GateRecord, ...] = ()
    reindex: Reindex | None = None
    reason: str = ""
    policy_digest: str | None = None
    """`sha256:<hex>` of the policy that was in force."""

    request: str | None = None
    """The request that is made, agreed to, or fulfilled."""

    returns_to: int | None = None
    """For ROLLBACK: sequence number of the entry that it goes back to."""

    origin: Mapping[str, Any] | None = None
    """For what came from another registry: registry, model, version, and that ledger's entry; for
    SEND: where it went."""

    state: State
    unknown: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Keys of the entry itself that this release does not know."""
