"""Two policies at once: the stricter wins, rule by rule."""

from __future__ import annotations

from collections.abc import Iterable

from pairlock.policy.document import NoRegression, Policy, Requirement, StagePolicy
from pairlock.policy.gates import Acknowledgement


def stricter(one: Policy, other: Policy) -> Policy:
    """What is left when both have to be kept.

    Whatever passes it passes both. It is the same in either order, and with any number of policies.

    Args:
        one: a policy.
        other: another one.

    Returns:
        The stages that both know, each with the rules of both.
    """
    both = one.stages.keys() & other.stages.keys()
    return Policy({name: stricter_stage(one.stages[name], other.stages[name]) for name in both})


def stricter_stage(one: StagePolicy, other: StagePolicy) -> StagePolicy:
    """What is left of one stage's rules when two have to be kept; see `stricter`."""
    return StagePolicy(
        from_stages=one.from_stages + other.from_stages,
        require=_hardest(one.require + other.require),
        no_regression=_tightest(one.no_regression + other.no_regression),
        base_stages=one.base_stages + other.base_stages,
        min_age_hours=max(one.min_age_hours, other.min_age_hours),
        approvals=max(one.approvals, other.approvals),
        signature=one.signature or other.signature,
        reindex=(
            Acknowledgement.DONE
            if Acknowledgement.DONE in {one.reindex, other.reindex}
            else Acknowledgement.PLANNED
        ),
        bypass=one.bypass & other.bypass,
    )


def _hardest(requirements: Iterable[Requirement]) -> tuple[Requirement, ...]:
    """One requirement for each metric and operator, from which the others follow."""
    found: dict[tuple[str, str], Requirement] = {}
    for item in requirements:
        known = found.get(item.key)
        if known is None or _hardness(item) < _hardness(known):
            found[item.key] = item
    return tuple(found.values())


def _hardness(item: Requirement) -> tuple[float, str]:
    """Harder comes first; of two spellings of one metric the same one always wins."""
    return (-item.bound if item.operator.startswith(">") else item.bound), item.metric


def _tightest(rules: Iterable[NoRegression]) -> tuple[NoRegression, ...]:
    found: dict[str, NoRegression] = {}
    for rule in rules:
        known = found.get(rule.key)
        if known is None or (rule.tolerance, rule.metric) < (known.tolerance, known.metric):
            found[rule.key] = rule
    return tuple(found.values())
