"""Findings that are accepted for a while: reading, settling, writing."""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlock.auditing.baseline import (
    Accepted,
    Baseline,
    BaselineEntry,
    baseline_text,
    codes_looked_for,
    entry_for,
    read_baseline,
    settle,
)
from pairlock.auditing.baseline_files import read_baseline_file
from pairlock.auditing.codes import Code, Severity
from pairlock.auditing.filters import Filters
from pairlock.auditing.findings import AuditFinding
from pairlock.auditing.result import AuditOptions, assemble
from pairlock.errors import ErrorKind, InvalidInputError
from support.audited import TODAY, finding, findings, registry

MOVED = finding(Code.BASE_MOVED)
DRIFT = finding(Code.LIBRARY_DRIFT, severity=Severity.WARNING, place="torch")
LATER = TODAY + dt.timedelta(days=30)
ENTRY = f"""
[[accepted]]
fingerprint = "{MOVED.fingerprint}"
code = "base-moved"
model = "support"
version = 1
reason = "known"
until = {LATER.isoformat()}
"""


def accepting(*found: AuditFinding, until: dt.date = LATER) -> Baseline:
    """A baseline that accepts findings."""
    entries = tuple(entry_for(one, reason="known", until=until) for one in found)
    return Baseline(where="baseline.toml", entries=entries)


def problems(text: str) -> list[str]:
    """The places that are wrong in a baseline."""
    with pytest.raises(InvalidInputError) as caught:
        read_baseline(text, where="baseline.toml")
    assert caught.value.kind is ErrorKind.BASELINE_INVALID
    assert {one.kind for one in caught.value.findings} == {ErrorKind.BASELINE_INVALID}
    return [one.place for one in caught.value.findings]


def test_what_is_accepted_is_no_longer_open() -> None:
    """An entry takes its finding out, with its reason and day, and nothing else."""
    settled = settle([MOVED, DRIFT], read_baseline(ENTRY, where="b"), today=TODAY)
    assert settled.open == (DRIFT,)
    (accepted,) = settled.accepted
    assert accepted.finding == MOVED
    assert accepted.to_dict()["reason"] == "known"
    assert accepted.to_dict()["until"] == LATER.isoformat()
    assert (settled.expired, settled.stale) == ((), ())


def test_an_entry_counts_through_its_last_day() -> None:
    """The day after, the finding is open again, and the entry is reported."""
    last = accepting(MOVED, until=TODAY)
    assert settle([MOVED], last, today=TODAY).open == ()
    after = settle([MOVED], last, today=TODAY + dt.timedelta(days=1))
    assert after.open == (MOVED,)
    assert (after.accepted, after.expired, after.stale) == ((), last.entries, ())


def test_an_audit_reads_the_day_off_its_inventory() -> None:
    """The same inventory gives the same audit whenever it is put together."""
    baseline = accepting(MOVED, until=TODAY)
    found = replace(registry(), at_ms=registry().at_ms + 86_400_000)
    today = assemble(registry(), [MOVED], options=AuditOptions(), baseline=baseline)
    later = assemble(found, [MOVED], options=AuditOptions(), baseline=baseline)
    assert ([*today.findings], [*later.findings]) == ([], [MOVED])
    assert (today.rows[3].severity, later.rows[3].severity) == (None, Severity.ERROR)


def test_what_was_settled_makes_an_entry_stale() -> None:
    """An entry that matches nothing is reported, and hides nothing."""
    baseline = accepting(MOVED, DRIFT)
    settled = settle([DRIFT], baseline, today=TODAY)
    assert settled.stale == baseline.entries[:1]


@pytest.mark.parametrize("wrong", [{"code": Code.BASE_MISSING}, {"model": "other"}, {"version": 2}])
def test_an_entry_that_says_another_thing_accepts_nothing(wrong: dict[str, object]) -> None:
    """What people read in the file is what holds: a fingerprint under other words is stale."""
    entry = replace(accepting(MOVED).entries[0], **wrong)
    settled = settle([MOVED], Baseline(where="b", entries=(entry,)), today=TODAY)
    assert (settled.open, settled.stale) == ((MOVED,), (entry,))


@pytest.mark.parametrize(
    ("complete", "deep", "golden", "stale"),
    [
        (True, True, True, {Code.BASE_MOVED, Code.PACKAGE_TAMPERED, Code.GOLDEN}),
        (True, False, False, {Code.BASE_MOVED}),
        (True, True, False, {Code.BASE_MOVED, Code.PACKAGE_TAMPERED}),
        (False, True, True, set()),
    ],
)
def test_only_what_was_looked_for_can_be_stale(
    complete: bool, deep: bool, golden: bool, stale: set[Code]
) -> None:
    """An audit that does not hash, compute or end says nothing of entries that need it."""
    baseline = accepting(MOVED, finding(Code.PACKAGE_TAMPERED), finding(Code.GOLDEN))
    looked_for = codes_looked_for(complete=complete, deep=deep, golden=golden)
    settled = settle([], baseline, today=TODAY, looked_for=looked_for)
    assert {entry.code for entry in settled.stale} == stale
    assert {*settled.stale, *settled.unjudged} == set(baseline.entries)


def test_filters_make_no_entry_stale() -> None:
    """What is accepted elsewhere in the registry stays so while one model is looked at."""
    baseline = accepting(*findings())
    options = AuditOptions(filters=Filters.of(models=["minilm"]))
    audit = assemble(registry(), findings(), options=options, baseline=baseline)
    assert (audit.findings, audit.stale) == ((), ())
    assert [one.finding.code for one in audit.accepted] == [Code.LEDGER_BROKEN]
    assert len(audit.kept) == len(findings()) - 1


def test_a_deep_audit_of_some_models_judges_no_entry_of_others() -> None:
    """Bytes that were not hashed, and vectors that were not computed, may still be as accepted."""
    baseline = accepting(finding(Code.PACKAGE_TAMPERED, "minilm"), finding(Code.GOLDEN, "minilm"))
    some = Filters.of(models=["support"])
    for filters, stale in ((some, ()), (Filters(), baseline.entries)):
        options = AuditOptions(filters=filters, deep=True, golden=True)
        audit = assemble(registry(), (), options=options, baseline=baseline)
        assert audit.stale == stale
        assert {*audit.stale, *audit.kept} == set(baseline.entries)


def test_every_problem_is_listed_at_once() -> None:
    """One reading tells everything that is wrong, with its place."""
    text = """
    acepted = 1
    [[accepted]]
    fingerprint = "xyz"
    code = "base-move"
    model = ""
    version = 0
    reason = " "
    until = "2027-01-31"
    owner = "me"
    [[accepted]]
    version = true
    until = 2027-01-31T00:00:00
    """
    first, second = "accepted[0]", "accepted[1]"
    keys = ("fingerprint", "code", "model", "version", "reason", "until")
    assert sorted(problems(text)) == sorted(
        [
            "acepted",
            f"{first}.owner",
            *(f"{first}.{key}" for key in keys),
            *(f"{second}.{key}" for key in keys if key != "model"),
        ]
    )


def test_one_finding_is_accepted_once() -> None:
    """Two entries for one finding contradict each other sooner or later."""
    assert problems(ENTRY + ENTRY) == ["accepted[1].fingerprint"]


@pytest.mark.parametrize("text", ["[[accepted]", "accepted = 3", "accepted = [3]"])
def test_what_is_no_baseline_is_refused(text: str) -> None:
    """A file of another kind never counts as an empty baseline."""
    assert len(problems(text)) == 1


def test_an_empty_file_accepts_nothing() -> None:
    """No entries are no error."""
    assert read_baseline(b"", where="b").entries == ()


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_baseline_that_is_named_has_to_be_there(tmp_path: Path, name: str) -> None:
    """A path with a slip in it never counts as an empty baseline."""
    with pytest.raises(InvalidInputError) as caught:
        read_baseline_file(tmp_path / name)
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID


def written(found: Iterable[AuditFinding], reason: str, kept: Iterable[BaselineEntry] = ()) -> str:
    """The baseline that accepts findings."""
    accepted = [
        Accepted(finding=one, entry=entry_for(one, reason=reason, until=LATER)) for one in found
    ]
    return baseline_text(accepted, kept=kept)


@given(
    st.text(min_size=1).filter(str.strip),
    st.text(min_size=1),
    st.text(),
)
def test_what_is_written_is_read_again(reason: str, model: str, found: str) -> None:
    """Any reason, name and words found come back as they were, and break out of nothing."""
    one = finding(Code.BASE_MOVED, model, 3, found=found, place=found)
    back = read_baseline(written([one], reason), where="b")
    assert back.entries == (entry_for(one, reason=reason, until=LATER),)


def test_a_baseline_is_written_in_one_way() -> None:
    """The order of findings does not change the file, and kept entries stand among the others."""
    entry = entry_for(finding(Code.GOLDEN, "minilm", 1), reason="on a GPU", until=TODAY)
    text = written(findings(), "known", kept=[entry])
    assert written(reversed(findings()), "known", kept=[entry]) == text
    models = [one.get("model", "") for one in tomllib.loads(text)["accepted"]]
    assert models == sorted(models)
    assert entry in read_baseline(text, where="b").entries
