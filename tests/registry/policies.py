"""Hypothesis strategies for policies, and what a policy means for one promotion."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from hypothesis import strategies as st

from pairlock.metrics import mlflow_metric_name
from pairlock.policy import (
    BYPASSABLE,
    Acknowledgement,
    Gate,
    NoRegression,
    Policy,
    Requirement,
    StagePolicy,
)

STAGES = ["staging", "canary", "production"]
METRICS = ["ndcg@10", "ndcg_10", "mrr@10"]
"""The first two are one metric."""

FIGURES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
_NAMES = st.frozensets(st.sampled_from(STAGES), min_size=1)


def _one_of_a_key(items: list[Any]) -> tuple[Any, ...]:
    return tuple({item.key: item for item in items}.values())


RULES: dict[str, st.SearchStrategy[Any]] = {
    "from_stages": st.lists(_NAMES, max_size=3).map(tuple),
    "require": st.lists(
        st.builds(
            Requirement, st.sampled_from(METRICS), st.sampled_from([">=", ">", "<=", "<"]), FIGURES
        ),
        max_size=3,
    ).map(_one_of_a_key),
    "no_regression": st.lists(
        st.builds(NoRegression, st.sampled_from(METRICS), FIGURES), max_size=2
    ).map(_one_of_a_key),
    "base_stages": st.lists(_NAMES, max_size=3).map(tuple),
    "min_age_hours": st.sampled_from([0.0, 0.5, 24.0]),
    "approvals": st.integers(0, 3),
    "signature": st.booleans(),
    "reindex": st.sampled_from(Acknowledgement),
    "bypass": st.frozensets(st.sampled_from(sorted(BYPASSABLE))),
}
"""Every key of a stage, with what may stand there."""

STAGE_POLICIES = st.builds(StagePolicy, **RULES)
POLICIES = st.dictionaries(st.sampled_from(STAGES), STAGE_POLICIES, min_size=1).map(Policy)
"""Policies as merging sees them; `from` may name stages that are not there."""


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """What the gates see of one promotion."""

    stage: str
    held: frozenset[str]
    base_held: frozenset[str]
    metrics: dict[str, float]
    holder: dict[str, float]
    age_hours: float
    approvals: int
    signed: bool
    acknowledged: Acknowledgement
    bypassed: frozenset[Gate] = field(default_factory=frozenset)


_ALL = frozenset(STAGES)
_FIGURES = st.fixed_dictionaries(
    dict.fromkeys((mlflow_metric_name(name) for name in METRICS), FIGURES)
)
_SEEN: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "from_stages": {"held": st.frozensets(st.sampled_from(STAGES))},
    "require": {"metrics": _FIGURES},
    "no_regression": {"metrics": _FIGURES, "holder": _FIGURES},
    "base_stages": {"base_held": st.frozensets(st.sampled_from(STAGES))},
    "min_age_hours": {"age_hours": st.sampled_from([0.0, 0.5, 24.0])},
    "approvals": {"approvals": st.integers(0, 3)},
    "signature": {"signed": st.booleans()},
    "reindex": {"acknowledged": st.sampled_from(Acknowledgement)},
    "bypass": {"bypassed": st.frozensets(st.sampled_from(sorted(BYPASSABLE)), max_size=2)},
}
"""What a promotion has to show for a key."""


@cache
def promotions(key: str) -> st.SearchStrategy[Promotion]:
    """Promotions with which all is well but, perhaps, what one key asks for."""
    well = {
        "stage": st.just("production"),
        "held": st.just(_ALL),
        "base_held": st.just(_ALL),
        "metrics": _FIGURES,
        "holder": _FIGURES,
        "age_hours": st.just(24.0),
        "approvals": st.just(3),
        "signed": st.just(True),
        "acknowledged": st.just(Acknowledgement.DONE),
        "bypassed": st.just(frozenset()),
    }
    return st.builds(Promotion, **{**well, **_SEEN[key]})


@cache
def policies_of(key: str) -> st.SearchStrategy[Policy]:
    """Policies of one stage that has a single key."""
    stage = st.builds(StagePolicy, **{key: RULES[key]})
    return stage.map(lambda rules: Policy({"production": rules}))


def passes(policy: Policy, made: Promotion) -> bool:
    """Whether a policy lets a promotion through, written down without the product's merging."""
    if made.stage not in policy.stages:
        return False
    rules = policy.stages[made.stage]
    if not made.bypassed <= rules.bypass:
        return False
    answers = {
        Gate.FROM: all(one & made.held for one in rules.from_stages),
        Gate.PAIRING: all(one & made.base_held for one in rules.base_stages),
        Gate.METRICS: all(item.holds(made.metrics[item.key[0]]) for item in rules.require),
        Gate.REGRESSION: all(
            rule.holds(made.metrics[rule.key], made.holder[rule.key])
            for rule in rules.no_regression
        ),
        Gate.AGE: made.age_hours >= rules.min_age_hours,
        Gate.APPROVALS: made.approvals >= rules.approvals,
        Gate.SIGNATURE: made.signed or not rules.signature,
        Gate.REINDEX: made.acknowledged.covers(rules.reindex),
    }
    return all(passed or gate in made.bypassed for gate, passed in answers.items())
