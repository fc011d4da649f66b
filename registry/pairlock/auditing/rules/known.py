"""What the rules need beside the inventory, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pairlock.errors import Finding
from pairlock.evaluation.recorded import Measured
from pairlock.index import StampedIndex
from pairlock.policy import DEFAULT_POLICY, Policy

Numbered = tuple[str, int]
"""A registered model's name, and a version's number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BasePlace:
    """What lies where a pin says, when that is no registered version."""

    missing: bool = False
    """Whether nothing lies there, seen from this machine."""

    findings: tuple[Finding, ...] = ()
    """Every file that is not as it is pinned; as far as it was hashed."""

    problem: str = ""
    """Why it could not be looked at, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known beside the inventory."""

    policies: Mapping[str, Policy] = field(default_factory=dict)
    """The policy in force by registered model; of one that is not there, the default."""

    unreadable_policies: Mapping[str, str] = field(default_factory=dict)
    """Why a registered model's policy cannot be read, in words, by its name."""

    installed: Mapping[str, str] = field(default_factory=dict)
    """Distribution to version, in this process; none is compared that is not there."""

    measured: Mapping[Numbered, tuple[Measured, ...]] = field(default_factory=dict)
    """What was measured of stage holders whose policy asks for metrics; no other is judged."""

    bases: Mapping[tuple[str, str], BasePlace] = field(default_factory=dict)
    """Bases that are no registered version, by URI and tree digest, as far as they were looked
    at."""

    indexes: tuple[StampedIndex, ...] = ()
    """Stamped indexes that somebody named."""

    proved: frozenset[str] = frozenset()
    """Package digests whose golden vectors were recomputed now, and agree."""

    def policy(self, model: str) -> Policy:
        """The policy in force for a registered model."""
        return self.policies.get(model, DEFAULT_POLICY)
