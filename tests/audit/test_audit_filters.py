"""Which versions and findings are asked for."""

from __future__ import annotations

from typing import Any

import pytest

from pairlock.auditing.codes import Code, Severity
from pairlock.auditing.filters import Filters, selected_versions, selects
from pairlock.auditing.result import Audit, AuditOptions, assemble
from pairlock.errors import ErrorKind, InvalidInputError
from support.audited import digest, finding, findings, model, pin, registry, version
from support.copies import replace

BASES = {("minilm", 1), ("minilm", 2)}
ADAPTERS = {("support", 1), ("support", 2), ("support", 3)}


def chosen(**wanted: Any) -> set[tuple[str, int]]:
    """The versions of `registry` that filters choose."""
    return set(selected_versions(registry(), Filters.of(**wanted)))


def audited(**wanted: Any) -> Audit:
    """The audit of `registry` under filters."""
    return assemble(registry(), findings(), options=AuditOptions(filters=Filters.of(**wanted)))


def codes(audit: Audit) -> set[str]:
    """What is found."""
    return {one.code.value for one in audit.findings}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, BASES | ADAPTERS | {("other", 1)}),
        ({"models": ["support"]}, ADAPTERS),
        ({"models": ["s*", "other"]}, ADAPTERS | {("other", 1)}),
        ({"models": ["S*"]}, set()),
        ({"stages": ["production"]}, {("minilm", 2), ("support", 1)}),
        ({"stages": ["champion"]}, {("other", 1)}),
        ({"stages": ["champion", "staging"]}, {("other", 1), ("support", 2)}),
        ({"kinds": ["linear"]}, {("support", 1), ("support", 3)}),
        ({"kinds": ["foreign"]}, {("other", 1)}),
        ({"models": ["support"], "kinds": ["linear"], "stages": ["production"]}, {("support", 1)}),
    ],
)
def test_versions_are_chosen_by_what_they_are(wanted: Any, expected: Any) -> None:
    """Values of one filter widen, filters narrow; stages are the ledger's and MLflow's aliases."""
    assert chosen(**wanted) == expected


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("models:/minilm/1", {1}),
        ("models:/minilm/*", {1, 2, 3}),
        ("models:/minilm@production", {2, 3}),
        ("models:/minilm@nobody", set()),
        ("sha256:bbbbbb", {1}),
        ("bbbbbbbb", {1}),
        ("models:/minilm", set()),
        ("sha256:cccccc", set()),
    ],
)
def test_versions_are_chosen_by_their_base(base: str, expected: set[int]) -> None:
    """A base is a URI, a pattern, what an alias leads to now, or the first digits of a digest."""
    assert chosen(bases=[base]) == {("support", number) for number in expected}


def test_mlflows_legacy_stages_are_stages_too() -> None:
    """What `models:/name/Production` loads is in production; what is archived is in no stage."""
    old = model(
        "old",
        version("old", 1, legacy_stage="production"),
        version("old", 2, legacy_stage="archived"),
        ledger=None,
    )
    whole = replace(registry(), models=(old,))
    wanted = Filters.of(stages=["production", "archived"])
    assert selected_versions(whole, wanted) == {("old", 1)}
    audit = assemble(whole, (), options=AuditOptions(filters=wanted))
    assert audit.summary.stages == {"production": 1}


def test_a_base_is_the_same_under_another_name() -> None:
    """Who asks for a version finds what stands on its bytes, whatever name was pinned."""
    whole = registry()
    copy = model("copy", version("copy", 7, letter="b"))
    whole = replace(whole, models=(copy, *whole.models))
    found = selected_versions(whole, Filters.of(bases=["models:/copy/7"]))
    assert found == {("support", 1)}


def test_a_version_that_only_its_tags_tell_of_is_chosen_by_them() -> None:
    """Where no manifest can be read, kind and base are those of the tags."""
    tags = {
        "pairlock.kind": "linear",
        "pairlock.dimension": "384",
        "pairlock.base.uri": "models:/minilm/2",
        "pairlock.base.origin": "package",
        "pairlock.base.tree_digest": digest("d"),
    }
    whole = registry()
    bare = model("bare", version("bare", 1, kind=None, tags=tags))
    whole = replace(whole, models=(bare, *whole.models))
    wanted = Filters.of(bases=["dddddd"], kinds=["linear"])
    assert selected_versions(whole, wanted) == {("bare", 1), ("support", 3)}
    audit = assemble(whole, (), options=AuditOptions(filters=wanted))
    row = audit.rows[0]
    assert (row.kind, row.dimension, row.base) == ("linear", 384, "models:/minilm/2")


def test_findings_go_with_what_they_are_about() -> None:
    """A model's own findings come by its name, those of no model only where nothing narrows."""
    assert codes(audited()) == {one.code.value for one in findings()}
    assert codes(audited(models=["minilm"])) == {"ledger-broken"}
    assert codes(audited(models=["support"])) == {"base-moved", "superseded", "library-drift"}
    assert codes(audited(kinds=["full"])) == set()
    assert codes(audited(stages=["champion"])) == {"alias-unexplained"}


def test_a_stage_takes_a_models_finding_of_that_stage() -> None:
    """What is found of a stage that no version holds is asked for by the stage's name."""
    gone = finding(Code.HOLDER_GONE, "support", None, stage="canary")
    assert selects(gone, Filters.of(stages=["canary"]), ())
    assert not selects(gone, Filters.of(stages=["production"]), ())
    assert not selects(gone, Filters.of(models=["minilm"], stages=["canary"]), ())


def test_codes_and_severities_choose_findings_and_their_rows() -> None:
    """Rows without such a finding are left out; the others name only what was asked for."""
    moved = audited(codes=["base-moved"])
    assert [(row.model, row.version, row.codes) for row in moved.rows] == [
        ("support", 1, (Code.BASE_MOVED,))
    ]
    warned = audited(severity="warning")
    assert codes(warned) == {
        "base-moved", "ledger-broken", "library-drift", "alias-unexplained"
    }  # fmt: skip
    assert {row.severity for row in warned.rows} == {Severity.ERROR, Severity.WARNING}


def test_a_base_that_was_not_asked_about_still_is_as_it_is() -> None:
    """The word for a base's state does not depend on which findings are shown."""
    rows = audited(models=["support"], codes=["superseded"]).rows
    assert [row.base_state.value for row in rows] == ["moved"]


def test_nothing_is_called_sound_that_was_not_looked_at() -> None:
    """Of an audit that broke off, a base that was not reached is unknown, one that was is not."""
    whole = registry()
    lone = model("lone", version("lone", 1, base=pin("models:/far/1", "7")))
    broken = replace(whole, models=(lone, *whole.models), complete=False, problem="stopped")
    rows = assemble(broken, (), options=AuditOptions()).rows
    states = {(row.model, row.version): row.base_state.value for row in rows}
    assert states["lone", 1] == "unknown"
    assert states["support", 3] == "ok"


@pytest.mark.parametrize(
    "wrong",
    [
        {"codes": ["base-move"]},
        {"kinds": ["LoRA"]},
        {"severity": "fatal"},
        {"models": [""]},
        {"bases": [" "]},
    ],
)
def test_a_filter_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    """A slip of the pen is an error, and never an audit that finds nothing."""
    with pytest.raises(InvalidInputError) as caught:
        Filters.of(**wrong)
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID
