"""What all gates say of a version that shall come into a stage, here or in another registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pairlock.evaluation.recorded import Measured
from pairlock.index.stamps import Stamp
from pairlock.ledger import Request
from pairlock.promotion.rules import gates
from pairlock.promotion.rules.gates import BaseFacts, GateResult, Holder
from pairlock.promotion.rules.projection import Moved
from pairlock.promotion.rules.wishes import Asked
from pairlock.spaces import Spaces, SpaceVerdict
from pairlock.verification import Verification


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What was found out about a version, and about the stage that it shall come into."""

    model: str
    """The registered model's name."""

    verification: Verification
    spaces: Spaces
    base: BaseFacts | None
    """None for a full model."""

    stages: frozenset[str]
    """The stages that the version holds now."""

    created_ms: int | None
    """When it was registered, in ms since 1970; None where the registry does not say."""

    now_ms: int
    """In ms since 1970."""

    measured: Sequence[Measured]
    holder: Holder | None
    """What was measured of the version in the stage; None where nothing is compared."""

    request: Request | None
    """What was asked for, of this version for this stage."""

    how_to_ask: str
    """What somebody types to ask for it."""

    before: Spaces | None
    """The spaces of the version in the stage."""

    verdict: SpaceVerdict
    index: Stamp | None
    """What the index remembers that shall answer under the version; None where none is named."""

    moved: Moved | None
    """The stage's alias, where somebody moved it by hand."""


def judge(found: Examined, asked: Asked) -> tuple[GateResult, ...]:
    """Ask every gate. Those that failed and may be passed over are marked as such.

    Args:
        found: the version and the stage.
        asked: what is asked of it.
    """
    policy, acknowledged = asked.policy, asked.acknowledged
    results = (
        gates.integrity_gate(found.verification),
        gates.golden_gate(found.verification),
        gates.pairing_gate(found.base, policy),
        gates.from_gate(found.stages, policy),
        gates.metrics_gate(found.measured, policy.require),
        gates.regression_gate(found.measured, found.holder, policy.no_regression),
        gates.age_gate(found.created_ms, found.now_ms, policy),
        gates.approvals_gate(found.request, policy, found.how_to_ask),
        gates.signature_gate(policy),
        gates.reindex_gate(found.verdict, acknowledged, policy),
        gates.index_gate(
            found.index, found.spaces, found.verdict, found.before, acknowledged, policy
        ),
        gates.alias_gate(found.moved, found.model),
    )
    return gates.with_bypasses(results, asked.bypassed, asked.reason)
