"""A policy as JSON data, as the text that a registered model keeps, and its digest."""

from __future__ import annotations

from typing import Any

from pairlock.digests import canonical_json, digest_bytes
from pairlock.policy.document import AnyOfEach, Policy, StagePolicy


def policy_data(policy: Policy) -> dict[str, Any]:
    """The policy as JSON data, in the structure of `pairlock.toml`.

    Every key is written out, but for `from` and `base_stages` where no stage is asked for: an empty
    list of stages would say that none is enough.
    """
    return {"stages": {name: _stage(stage) for name, stage in policy.stages.items()}}


def policy_text(policy: Policy) -> str:
    """The policy as RFC 8785 canonical JSON."""
    return canonical_json(policy_data(policy)).decode()


def policy_digest(policy: Policy) -> str:
    """`sha256:<hex>` of the canonical JSON, whatever order and notation it was written in."""
    return digest_bytes(canonical_json(policy_data(policy)))


def _stage(stage: StagePolicy) -> dict[str, Any]:
    sets = {"from": stage.from_stages, "base_stages": stage.base_stages}
    return {
        **{key: _sets(value) for key, value in sets.items() if value},
        "require": [str(item) for item in stage.require],
        "no_regression": [
            {"metric": rule.metric, "tolerance": rule.tolerance} for rule in stage.no_regression
        ],
        "min_age_hours": stage.min_age_hours,
        "approvals": stage.approvals,
        "signature": stage.signature,
        "reindex": stage.reindex.value,
        "bypass": sorted(gate.value for gate in stage.bypass),
    }


def _sets(sets: AnyOfEach) -> list[str] | list[list[str]]:
    """One set as people write it; several, as merging makes them, as lists in a list."""
    return sorted(sets[0]) if len(sets) == 1 else [sorted(one) for one in sets]
