"""The gates of a promotion: each lets through what it asks for, and nothing else."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlock.errors import ErrorKind, Finding
from pairlock.evaluation.recorded import Measured
from pairlock.index.stamps import Stamp
from pairlock.ledger import Approval, Request
from pairlock.policy import (
    Acknowledgement,
    Gate,
    NoRegression,
    StagePolicy,
    parse_requirement,
)
from pairlock.promotion.rules import gates
from pairlock.promotion.rules.gates import BaseFacts, GateOutcome, GateResult, Holder
from pairlock.promotion.rules.projection import Moved
from pairlock.spaces import Spaces, SpaceVerdict, Verdict
from pairlock.verification import CheckResult, Outcome, Verification

HOUR_MS = 3_600_000
PASSED, FAILED, SKIPPED = GateOutcome.PASSED, GateOutcome.FAILED, GateOutcome.SKIPPED
ONE, OTHER = (Spaces(document=f"sha256:{c * 64}", query=f"sha256:{'f' * 64}") for c in "ab")
"""An adapter changes queries, and an index holds documents: their spaces are never the same."""


def verification(**outcomes: Outcome) -> Verification:
    """A verification with these outcomes by check; `_` stands for a space."""
    finding = Finding(kind=ErrorKind.FILE_DIGEST, place="payload/x", expected="1", found="2")
    return Verification(
        requested="models:/a/1",
        uri="models:/a/1",
        package_digest=f"sha256:{'0' * 64}",
        kind="full",
        checks=tuple(
            CheckResult(
                name=name.replace("_", " "),
                outcome=outcome,
                detail="…",
                findings=(finding,) if outcome is Outcome.FAILED else (),
            )
            for name, outcome in outcomes.items()
        ),
    )


def measured(
    value: float, *, metric: str = "ndcg@10", dataset: str | None = "d1", at_ms: int = 1
) -> Measured:
    """One measurement."""
    return Measured(
        metric=metric,
        value=value,
        dataset_name=dataset,
        dataset_digest=dataset,
        at_ms=at_ms,
        source="test",
    )


def verdict(of: Verdict) -> SpaceVerdict:
    """A verdict on spaces."""
    return SpaceVerdict(verdict=of, detail=of.value)


@pytest.mark.parametrize(
    ("package", "base", "golden", "integrity", "vectors"),
    [
        (Outcome.PASSED, Outcome.PASSED, Outcome.PASSED, PASSED, PASSED),
        (Outcome.FAILED, Outcome.PASSED, Outcome.SKIPPED, FAILED, FAILED),
        (Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED, FAILED, FAILED),
        (Outcome.PASSED, Outcome.PASSED, Outcome.FAILED, PASSED, FAILED),
        (Outcome.PASSED, Outcome.PASSED, Outcome.SKIPPED, PASSED, FAILED),
    ],
)
def test_bytes_and_vectors_have_to_be_proved(
    package: Outcome, base: Outcome, golden: Outcome, integrity: GateOutcome, vectors: GateOutcome
) -> None:
    """What failed, or was not checked at all, passes neither gate."""
    found = verification(package=package, base=base, golden_vectors=golden)
    assert gates.integrity_gate(found).outcome is integrity
    assert gates.golden_gate(found).outcome is vectors
    if integrity is FAILED:
        assert "payload/x" in gates.integrity_gate(found).detail


def test_a_verification_that_says_nothing_passes_nothing() -> None:
    """A check that is not there is no check that passed."""
    assert gates.integrity_gate(verification()).outcome is FAILED
    assert gates.golden_gate(verification(package=Outcome.PASSED)).outcome is FAILED


@pytest.mark.parametrize("state", ["deleted", "archived", "failed_registration", ""])
def test_a_base_that_is_not_in_use_is_refused_for_good(state: str) -> None:
    """A deleted or archived base fails, whatever the policy says, and no bypass reaches it."""
    found = gates.pairing_gate(
        BaseFacts(uri="models:/b/1", is_version=True, state=state), StagePolicy()
    )
    assert (found.outcome, found.final) == (FAILED, True)
    (passed,) = gates.with_bypasses([found], frozenset({Gate.PAIRING}), "hurry")
    assert passed.outcome is FAILED


@pytest.mark.parametrize(
    ("base", "outcome"),
    [
        (None, SKIPPED),
        (
            BaseFacts(uri="b", is_version=True, state="ready", stages=frozenset({"production"})),
            PASSED,
        ),
        (BaseFacts(uri="b", is_version=True, state="ready", stages=frozenset({"staging"})), FAILED),
        (BaseFacts(uri="b", is_version=True, state="ready"), FAILED),
        (BaseFacts(uri="hf://a/b@0", is_version=False), FAILED),
    ],
)
def test_a_policy_may_want_the_base_in_a_stage(base: BaseFacts, outcome: GateOutcome) -> None:
    """A base that is in no stage, or in none that is named, or can be in none, does not do."""
    policy = StagePolicy(base_stages=(frozenset({"production"}),))
    found = gates.pairing_gate(base, policy)
    assert found.outcome is outcome
    assert not found.final
    if base is not None:
        assert gates.pairing_gate(base, StagePolicy()).outcome is PASSED


@pytest.mark.parametrize(
    ("held", "wanted", "outcome"),
    [
        ({"staging"}, [{"staging"}], PASSED),
        ({"staging", "canary"}, [{"staging"}, {"canary", "beta"}], PASSED),
        ({"staging"}, [{"staging"}, {"canary"}], FAILED),
        (set(), [{"staging"}], FAILED),
        (set(), [], SKIPPED),
    ],
)
def test_a_version_comes_from_one_stage_of_each_set(
    held: set[str], wanted: list[set[str]], outcome: GateOutcome
) -> None:
    """Every set of the policy has to be met."""
    policy = StagePolicy(from_stages=tuple(frozenset(one) for one in wanted))
    assert gates.from_gate(frozenset(held), policy).outcome is outcome


def test_the_newest_measurement_of_a_required_metric_counts() -> None:
    """An older, better one does not help, and MLflow's spelling is the same metric."""
    wanted = [parse_requirement("ndcg@10>=0.7")]
    better, worse = measured(0.9, at_ms=1), measured(0.6, metric="ndcg_10", at_ms=2)
    assert gates.metrics_gate([better], wanted).outcome is PASSED
    assert gates.metrics_gate([better, worse], wanted).outcome is FAILED
    assert gates.metrics_gate([], wanted).outcome is FAILED
    assert gates.metrics_gate([], []).outcome is SKIPPED


@given(own=st.floats(0, 1), other=st.floats(0, 1), tolerance=st.floats(0, 1), same=st.booleans())
def test_a_metric_is_compared_on_one_dataset_only(
    own: float, other: float, tolerance: float, same: bool
) -> None:
    """It passes exactly when both were measured on one dataset and it is not worse by more."""
    rules = [NoRegression("ndcg@10", tolerance)]
    holder = Holder(version=1, measured=[measured(other, dataset="d1" if same else "d2")])
    found = gates.regression_gate([measured(own)], holder, rules)
    assert (found.outcome is PASSED) == (same and own >= other - tolerance)
    assert gates.regression_gate([measured(own)], None, rules).outcome is SKIPPED
    assert gates.regression_gate([measured(own)], holder, []).outcome is SKIPPED


def test_a_measurement_without_a_dataset_compares_with_nothing() -> None:
    """Two that name no dataset may be of two."""
    rules = [NoRegression("ndcg@10", 0.1)]
    holder = Holder(version=1, measured=[measured(0.5, dataset=None)])
    assert gates.regression_gate([measured(0.9, dataset=None)], holder, rules).outcome is FAILED


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_passes_no_gate_and_can_be_recorded(value: float) -> None:
    """A training that went astray logs such values; a bypass of them has to fit into the ledger."""
    rules = [NoRegression("ndcg@10", 0.1)]
    for own, other in ((value, 0.5), (0.5, value)):
        holder = Holder(version=1, measured=[measured(other)])
        found = gates.regression_gate([measured(own)], holder, rules)
        assert found.outcome is FAILED
        assert json.dumps(found.to_dict(), allow_nan=False)
    for bound in ("ndcg@10>=0.7", "ndcg@10<=0.7"):
        found = gates.metrics_gate([measured(value)], [parse_requirement(bound)])
        assert found.outcome is FAILED
        assert json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize(("hours", "outcome"), [(23.9, FAILED), (24.0, PASSED), (100, PASSED)])
def test_a_version_has_to_be_old_enough(hours: float, outcome: GateOutcome) -> None:
    """The age is that of the registered version."""
    policy = StagePolicy(min_age_hours=24)
    now = 1_000 * HOUR_MS
    assert gates.age_gate(int(now - hours * HOUR_MS), now, policy).outcome is outcome
    assert gates.age_gate(now, now, StagePolicy()).outcome is SKIPPED
    for unknown in (None, 0):
        assert gates.age_gate(unknown, now, policy).outcome is FAILED


@pytest.mark.parametrize(
    ("people", "outcome"),
    [
        ([], FAILED),
        (["asker"], FAILED),
        (["kim"], FAILED),
        (["kim", "kim"], FAILED),
        (["kim", "asker"], FAILED),
        (["kim", "lee"], PASSED),
    ],
)
def test_approvals_are_those_of_different_people_who_did_not_ask(
    people: list[str], outcome: GateOutcome
) -> None:
    """Who asked does not count, and nobody counts twice."""
    asked = Request(
        id="r1",
        stage="production",
        version=1,
        package_digest="sha256:0",
        by="asker",
        at="",
        reason="",
        approvals=tuple(Approval(by=person, at="") for person in people),
    )
    policy = StagePolicy(approvals=2)
    assert gates.approvals_gate(asked, policy, "ask").outcome is outcome
    assert gates.approvals_gate(None, policy, "ask").outcome is FAILED
    assert gates.approvals_gate(None, StagePolicy(), "ask").outcome is SKIPPED


def test_no_signature_satisfies_a_policy_that_asks_for_one() -> None:
    """There are none yet, and an interface that always says yes would be worse than none."""
    assert gates.signature_gate(StagePolicy(signature=True)).outcome is FAILED
    assert gates.signature_gate(StagePolicy()).outcome is SKIPPED


@pytest.mark.parametrize("of", Verdict)
@pytest.mark.parametrize("said", [None, *Acknowledgement])
@pytest.mark.parametrize("least", Acknowledgement)
def test_a_needed_re_index_has_to_be_acknowledged(
    of: Verdict, said: Acknowledgement | None, least: Acknowledgement
) -> None:
    """It passes when nothing is needed, or when enough was said."""
    found = gates.reindex_gate(verdict(of), said, StagePolicy(reindex=least))
    enough = said is not None and said.covers(least)
    assert (found.outcome is PASSED) == (of is not Verdict.NEEDED or enough)


@pytest.mark.parametrize(
    ("built_in", "of", "before", "said", "outcome"),
    [
        (ONE, Verdict.NONE, ONE, None, PASSED),
        (OTHER, Verdict.EQUIVALENT, OTHER, None, PASSED),
        (OTHER, Verdict.EQUIVALENT, ONE, None, FAILED),
        (OTHER, Verdict.NONE, ONE, None, FAILED),
        (OTHER, Verdict.NONE, ONE, Acknowledgement.DONE, PASSED),
        (OTHER, Verdict.FIRST, None, None, FAILED),
        (ONE, Verdict.NEEDED, OTHER, None, PASSED),
    ],
)
def test_a_named_index_has_to_answer_under_the_version(
    built_in: Spaces,
    of: Verdict,
    before: Spaces | None,
    said: Acknowledgement | None,
    outcome: GateOutcome,
) -> None:
    """It has the version's document space, or that of an equivalent holder, or is acknowledged."""
    stamp = Stamp(
        document_space=built_in.document,
        package_digest=f"sha256:{'1' * 64}",
        uri="models:/a/1",
        kind="full",
        dimension=4,
        base_uri=None,
        stamped_at="2026-01-01T00:00:00+00:00",
    )
    found = gates.index_gate(stamp, ONE, verdict(of), before, said, StagePolicy())
    assert found.outcome is outcome


def test_an_alias_that_was_moved_stops_a_promotion_and_one_that_is_gone_does_not() -> None:
    """An alias elsewhere is somebody's decision; a missing one is nobody's."""
    assert gates.alias_gate(None, "a").outcome is PASSED
    gone = Moved(stage="production", found=None, expected=2)
    assert gates.alias_gate(gone, "a").outcome is PASSED
    moved = gates.alias_gate(Moved(stage="production", found=1, expected=2), "a")
    assert (moved.outcome, "repair" in moved.detail) == (FAILED, True)
    strange = gates.alias_gate(Moved(stage="production", found=1, expected=None), "a")
    assert (strange.outcome, "adopt" in strange.detail) == (FAILED, True)


@given(outcome=st.sampled_from(list(GateOutcome)), gate=st.sampled_from(list(Gate)))
def test_only_a_named_gate_that_failed_is_bypassed(outcome: GateOutcome, gate: Gate) -> None:
    """What passed stays passed, and the reason is kept with what did not."""
    result = GateResult(gate=gate, outcome=outcome, detail="why")
    (found,) = gates.with_bypasses([result], frozenset({Gate.METRICS}), "hurry")
    if outcome is FAILED and gate is Gate.METRICS:
        assert found.outcome is GateOutcome.BYPASSED
        assert found.detail == "why; bypassed: hurry"
    else:
        assert found == result
