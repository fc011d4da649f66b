"""What stands between a version and a stage: every gate, as a rule over what was found out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from pairlock.evaluation.recorded import Measured, same_dataset
from pairlock.index.stamps import Stamp
from pairlock.ledger import GateRecord, Reindex, Request
from pairlock.metrics import same_metric
from pairlock.policy import Acknowledgement, Gate, NoRegression, Requirement, StagePolicy
from pairlock.promotion.rules.projection import Moved
from pairlock.spaces import Spaces, SpaceVerdict, Verdict
from pairlock.verification import GOLDEN, GRAPH, CheckResult, Outcome, Verification
from pairlock.wording import counted

_HOUR_MS = 3_600_000


class GateOutcome(StrEnum):
    """What a gate says."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    """Nothing asks for it."""

    BYPASSED = "bypassed"
    """It failed, and somebody said why that shall not matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """One gate."""

    gate: Gate
    outcome: GateOutcome
    detail: str
    figures: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    final: bool = False
    """Whether no bypass reaches it, whatever the policy says of the gate."""

    def record(self) -> GateRecord:
        """The gate as the ledger keeps it."""
        return GateRecord(
            gate=self.gate.value,
            outcome=self.outcome.value,
            detail=self.detail,
            figures=dict(self.figures),
        )

    def to_dict(self) -> dict[str, Any]:
        """The gate as JSON data."""
        return {
            "gate": self.gate.value,
            "outcome": self.outcome.value,
            "detail": self.detail,
            "figures": dict(self.figures),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseFacts:
    """What the registry says of the version that an adapter stands on."""

    uri: str
    """As it is pinned."""

    is_version: bool
    """Whether it is a registered version; a folder or a hub snapshot has no stages."""

    state: str = ""
    """`ready`, `archived`, `deleted`, or another status of MLflow's."""

    stages: frozenset[str] = frozenset()
    """The stages that it holds, by the ledger of its own model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """What is known of the version that is in the stage now."""

    version: int
    measured: Sequence[Measured]


def integrity_gate(verification: Verification) -> GateResult:
    """Every byte of the package, and of its base, is what was approved."""
    checks = [check for check in verification.checks if check.name in {"package", "base"}]
    return _of_checks(Gate.INTEGRITY, checks)


def golden_gate(verification: Verification) -> GateResult:
    """The version computes the vectors that were recorded when it was packaged, in each runtime."""
    checks = [check for check in verification.checks if check.name == GOLDEN]
    # a graph that could not be looked at does not keep a version back that torch has proved
    checks += [
        check
        for check in verification.checks
        if check.name == GRAPH and check.outcome is not Outcome.SKIPPED
    ]
    result = _of_checks(Gate.GOLDEN, checks)
    return replace(result, figures=checks[0].figures if checks else {})


def pairing_gate(base: BaseFacts | None, policy: StagePolicy) -> GateResult:
    """The base is still there under its own name, and in the stages that the policy wants."""
    gate = Gate.PAIRING
    if base is None:
        return _skipped(gate, "a full model stands on no other")
    if base.is_version and base.state != "ready":
        return replace(_failed(gate, f"the base {base.uri} is {base.state}"), final=True)
    for wanted in policy.base_stages:
        named = " or ".join(sorted(wanted))
        if not base.is_version:
            return _failed(gate, f"the base {base.uri} is no registered version, so not in {named}")
        if not base.stages & wanted:
            held = ", ".join(sorted(base.stages)) or "no stage"
            return _failed(gate, f"the base {base.uri} is in {held}; the policy wants {named}")
    where = f", in {', '.join(sorted(base.stages))}" if base.stages else ""
    return _passed(gate, f"the base {base.uri} is there{where}")


def from_gate(stages: frozenset[str], policy: StagePolicy) -> GateResult:
    """The version comes from a stage that the policy names."""
    gate = Gate.FROM
    if not policy.from_stages:
        return _skipped(gate, "the policy lets a version come from anywhere")
    held = ", ".join(sorted(stages)) or "no stage"
    for wanted in policy.from_stages:
        if not stages & wanted:
            return _failed(gate, f"in {held}; the policy wants {' or '.join(sorted(wanted))}")
    return _passed(gate, f"in {held}")


def metrics_gate(measured: Sequence[Measured], required: Sequence[Requirement]) -> GateResult:
    """Every required metric holds, by its newest measurement."""
    gate = Gate.METRICS
    if not required:
        return _skipped(gate, "nothing is required")
    words, failed, figures = [], False, {}
    for requirement in required:
        newest = _newest(measured, requirement.metric)
        if newest is None:
            failed = True
            words.append(f"{requirement}: not measured; run `pairlock evaluate`")
            continue
        holds = requirement.holds(newest.value)
        failed = failed or not holds
        words.append(f"{requirement}: {newest.value:.4f}{_on(newest)}{'' if holds else ', NO'}")
        figures[str(requirement)] = _figure(newest)
    judge = _failed if failed else _passed
    return judge(gate, "; ".join(words), figures)


def regression_gate(
    measured: Sequence[Measured], holder: Holder | None, rules: Sequence[NoRegression]
) -> GateResult:
    """No metric is worse than the holder's, on a dataset that both were measured on."""
    gate = Gate.REGRESSION
    if not rules:
        return _skipped(gate, "nothing is compared")
    if holder is None:
        return _skipped(gate, "nothing is in the stage to compare with")
    words, failed, figures = [], False, {}
    for rule in rules:
        pair = _on_one_dataset(measured, holder.measured, rule.metric)
        if pair is None:
            failed = True
            words.append(
                f"{rule.metric}: this version and version {holder.version} were not measured on "
                "one dataset; run `pairlock evaluate` on both"
            )
            continue
        own, other = pair
        change = own.value - other.value
        holds = rule.holds(own.value, other.value)
        failed = failed or not holds
        words.append(
            f"{rule.metric} {own.value:.4f}, version {holder.version} {other.value:.4f}, "
            f"{change:+.4f} with {rule.tolerance:g} allowed{_on(own)}{'' if holds else ', NO'}"
        )
        figures[rule.metric] = {
            **_figure(own),
            "holder": _json_number(other.value),
            "change": _json_number(change),
            "tolerance": rule.tolerance,
        }
    judge = _failed if failed else _passed
    return judge(gate, "; ".join(words), figures)


def age_gate(created_ms: int | None, now_ms: int, policy: StagePolicy) -> GateResult:
    """The version has been registered for long enough."""
    gate = Gate.AGE
    if not policy.min_age_hours:
        return _skipped(gate, "the policy names no age")
    if not created_ms:  # MLflow writes 0 for what it does not know
        return _failed(gate, "the registry does not say when it was registered")
    hours = (now_ms - created_ms) / _HOUR_MS
    detail = f"registered {hours:.1f} hours ago; the policy wants {policy.min_age_hours:g}"
    figures = {"hours": round(hours, 3)}
    if hours < policy.min_age_hours:
        return _failed(gate, detail, figures)
    return _passed(gate, detail, figures)


def approvals_gate(request: Request | None, policy: StagePolicy, command: str) -> GateResult:
    """Enough people other than the one who asked have agreed.

    Args:
        request: what was asked for, of this version for this stage.
        policy: what the stage wants.
        command: what somebody types to ask.
    """
    gate = Gate.APPROVALS
    if not policy.approvals:
        return _skipped(gate, "the policy asks for no second person")
    if request is None:
        return _failed(gate, f"nobody asked for it; run `{command}`")
    people = sorted({approval.by for approval in request.approvals} - {request.by})
    detail = (
        f"{len(people)} of {counted(policy.approvals, 'approval')} of request {request.id} "
        f"by {request.by}" + (f": {', '.join(people)}" if people else "")
    )
    return _passed(gate, detail) if len(people) >= policy.approvals else _failed(gate, detail)


def signature_gate(policy: StagePolicy) -> GateResult:
    """The package is signed; this release reads no signatures, so none satisfies it."""
    if not policy.signature:
        return _skipped(Gate.SIGNATURE, "the policy asks for no signature")
    return _failed(Gate.SIGNATURE, "the policy asks for one, and this release reads none")


def reindex_gate(
    verdict: SpaceVerdict, acknowledged: Acknowledgement | None, policy: StagePolicy
) -> GateResult:
    """A vector index that has to be made again is known to somebody."""
    gate = Gate.REINDEX
    figures = dict(verdict.figures)
    if verdict.verdict is not Verdict.NEEDED:
        return _passed(gate, verdict.detail, figures)
    return _acknowledged(gate, verdict.detail, acknowledged, policy, figures)


def index_gate(
    stamp: Stamp | None,
    after: Spaces,
    verdict: SpaceVerdict,
    before: Spaces | None,
    acknowledged: Acknowledgement | None,
    policy: StagePolicy,
) -> GateResult:
    """An index that somebody names answers under the version, or is known to need work.

    Args:
        stamp: what the index remembers; None where no index is named.
        after: the version's spaces.
        verdict: how they stand to those of what is in the stage now.
        before: those.
        acknowledged: what somebody said of the index.
        policy: what the stage wants.
    """
    gate = Gate.INDEX
    if stamp is None:
        return _skipped(gate, "no index is named")
    built = f"the index was built with {stamp.uri}"
    if stamp.document_space == after.document:
        return _passed(gate, f"{built}, whose document vectors are the same")
    is_equivalent = verdict.verdict is Verdict.EQUIVALENT
    if is_equivalent and before is not None and stamp.document_space == before.document:
        return _passed(gate, f"{built}; {verdict.detail}")
    detail = f"{built}, in another document space ({stamp.document_space[:19]})"
    return _acknowledged(gate, detail, acknowledged, policy, {})


def with_bypasses(
    results: Sequence[GateResult], bypass: frozenset[Gate], reason: str
) -> tuple[GateResult, ...]:
    """The gates, with those that failed and may be passed over marked as such."""
    return tuple(
        replace(
            result,
            outcome=GateOutcome.BYPASSED,
            detail=f"{result.detail}; bypassed: {reason}",
        )
        if result.outcome is GateOutcome.FAILED and result.gate in bypass and not result.final
        else result
        for result in results
    )


def alias_gate(moved: Moved | None, model: str) -> GateResult:
    """Nobody moved the stage's alias past the ledger.

    One that was removed is put back by the promotion itself.
    """
    gate = Gate.ALIAS
    if moved is None:
        return _passed(gate, "the alias says what the ledger says")
    if moved.found is None:
        return _passed(gate, f"{moved}; the promotion sets it")
    how = f"`pairlock repair {model}` puts it back"
    if moved.expected is None:
        how = f"`pairlock adopt {model} --stage {moved.stage}` takes it over"
    return _failed(gate, f"{moved}; {how}")


def reindex_record(verdict: SpaceVerdict, acknowledged: Acknowledgement | None) -> Reindex:
    """The verdict as the ledger keeps it."""
    return Reindex(
        verdict=verdict.verdict.value,
        detail=verdict.detail,
        acknowledged=None if acknowledged is None else acknowledged.value,
    )


def _acknowledged(
    gate: Gate,
    detail: str,
    acknowledged: Acknowledgement | None,
    policy: StagePolicy,
    figures: Mapping[str, Any],
) -> GateResult:
    if acknowledged is not None and acknowledged.covers(policy.reindex):
        return _passed(gate, f"{detail}; acknowledged: {acknowledged}", figures)
    options = [f"--reindex {one}" for one in Acknowledgement if one.covers(policy.reindex)]
    return _failed(gate, f"{detail}; say {' or '.join(options)}", figures)


def _of_checks(gate: Gate, checks: Sequence[CheckResult]) -> GateResult:
    failed = [check for check in checks if check.outcome is not Outcome.PASSED]
    if failed or not checks:
        findings = [str(finding) for check in failed for finding in check.findings[:3]]
        why = "; ".join([f"{check.name}: {check.detail}" for check in failed] + findings)
        return _failed(gate, why or "it was not checked")
    return _passed(gate, "; ".join(f"{check.name}: {check.detail}" for check in checks))


def _newest(measured: Sequence[Measured], metric: str) -> Measured | None:
    found = [one for one in measured if same_metric(one.metric, metric)]
    return max(found, key=lambda one: one.at_ms, default=None)


def _on_one_dataset(
    own: Sequence[Measured], other: Sequence[Measured], metric: str
) -> tuple[Measured, Measured] | None:
    """The newest own measurement on a dataset that the other was measured on too."""
    for one in sorted(own, key=lambda item: item.at_ms, reverse=True):
        if one.dataset_digest is None or not same_metric(one.metric, metric):
            continue
        same = [item for item in other if same_dataset(item, one)]
        theirs = _newest(same, metric)
        if theirs is not None:
            return one, theirs
    return None


def _on(measured: Measured) -> str:
    if measured.dataset_digest is None:
        return ""
    return f" on {measured.dataset_name or 'a dataset'} ({measured.dataset_digest[:15]})"


def _figure(measured: Measured) -> dict[str, Any]:
    return {
        "value": _json_number(measured.value),
        "dataset_digest": measured.dataset_digest,
        "measured_at_ms": measured.at_ms,
    }


def _json_number(value: float) -> float | str:
    """NaN and infinities as text: JSON, and so the ledger, has no such numbers."""
    return value if math.isfinite(value) else str(value)


def _passed(gate: Gate, detail: str, figures: Mapping[str, Any] | None = None) -> GateResult:
    return GateResult(gate=gate, outcome=GateOutcome.PASSED, detail=detail, figures=figures or {})


def _failed(gate: Gate, detail: str, figures: Mapping[str, Any] | None = None) -> GateResult:
    return GateResult(gate=gate, outcome=GateOutcome.FAILED, detail=detail, figures=figures or {})


def _skipped(gate: Gate, detail: str) -> GateResult:
    return GateResult(gate=gate, outcome=GateOutcome.SKIPPED, detail=detail)
