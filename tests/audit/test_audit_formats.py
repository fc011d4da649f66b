"""An audit as JSON, CSV, SARIF and as a table."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from typing import Any

import pytest

from pairlock.auditing.baseline import Baseline, entry_for
from pairlock.auditing.codes import Code, Severity
from pairlock.auditing.findings import AuditFinding
from pairlock.auditing.formats.sarif import FINGERPRINT, sarif_data
from pairlock.auditing.formats.spreadsheet import COLUMNS, csv_text
from pairlock.auditing.result import Audit, AuditOptions, assemble
from pairlock.cli.audit_output import table_lines
from support.audited import TODAY, finding, findings, inventory, model, registry, version

HOSTILE = '=HYPERLINK("http://x")\r\n\x1b[31m\u202e<script>[a](b)'


def audited(*found: AuditFinding, accept: tuple[AuditFinding, ...] = (), **facts: Any) -> Audit:
    """The audit of `registry`, with these findings or all of its own."""
    baseline = Baseline(
        where="b", entries=tuple(entry_for(one, reason="known", until=TODAY) for one in accept)
    )
    return assemble(
        replace(registry(), **facts),
        found or findings(),
        options=AuditOptions(baseline="b"),
        baseline=baseline,
    )


def hostile() -> Audit:
    """An audit of a registry in which every text is hostile."""
    found = finding(
        Code.BASE_MOVED, HOSTILE, 1, place=HOSTILE, expected=HOSTILE, found=HOSTILE, todo=HOSTILE
    )
    named = model(HOSTILE, version(HOSTILE, 1), aliases={HOSTILE: 1})
    whole = inventory(named, complete=False, problem=HOSTILE, registry=HOSTILE)
    return assemble(whole, [found], options=AuditOptions())


def rows_of(text: str) -> list[dict[str, str]]:
    """A CSV, by the titles of its columns."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_json_is_the_same_whatever_order_things_were_found_in() -> None:
    """Rows and findings have one order, the worst first, and what is judged twice is there once."""
    one, two = audited(*findings()), audited(*reversed(findings()), *findings())
    assert json.dumps(one.to_dict()) == json.dumps(two.to_dict())
    data = one.to_dict()
    assert data["schema"] == 1
    assert [item["severity"] for item in data["findings"]] == [
        "error", "error", "warning", "warning", "note", "note"
    ]  # fmt: skip
    assert [(row["model"], row["version"]) for row in data["rows"]] == [
        ("minilm", 1), ("minilm", 2), ("other", 1), ("support", 1), ("support", 2), ("support", 3)
    ]  # fmt: skip


def test_two_findings_in_one_place_are_both_there() -> None:
    """What differs in words only is not lost for having one fingerprint."""
    first, second = finding(Code.PICKLE, found="a"), finding(Code.PICKLE, found="b")
    assert first.fingerprint == second.fingerprint
    assert len(audited(first, second).findings) == 2


def test_the_summary_counts_what_is_shown() -> None:
    """Models, versions, kinds, stages by ledger or alias, open and accepted findings."""
    moved = finding(Code.BASE_MOVED, "support", 1)
    summary = audited(accept=(moved,)).to_dict()["summary"]
    assert summary == {
        "models": 3,
        "versions": 6,
        "kinds": {"foreign": 1, "full": 2, "linear": 2, "peft": 1},
        "stages": {"champion": 1, "production": 2, "staging": 1},
        "open": {"error": 1, "warning": 2, "note": 2},
        "accepted": 1,
    }


@pytest.mark.parametrize("code", [Code.PACKAGE_UNREACHABLE, Code.NOT_PROVED])
def test_an_audit_knows_what_it_could_not_check(code: Code) -> None:
    """What did not answer is not checked, unless somebody accepted that."""
    found = finding(code, severity=Severity.WARNING)
    assert not audited(found).checked_everything
    assert audited(found, accept=(found,)).checked_everything
    assert not audited(finding(Code.PICKLE), complete=False).checked_everything


def test_the_csv_has_every_version_and_every_finding() -> None:
    """A version without a finding has one line, one with two has two, and so have models none."""
    text = csv_text(audited(accept=(finding(Code.BASE_MOVED, "support", 1),)))
    rows = rows_of(text)
    assert list(rows[0]) == list(COLUMNS)
    assert sum(row["model"] == "support" and row["version"] == "1" for row in rows) == 2
    assert {row["code"] for row in rows} == {"", *(one.code.value for one in findings())}
    accepted = [row for row in rows if row["accepted_reason"]]
    assert [(row["code"], row["accepted_until"]) for row in accepted] == [
        ("base-moved", TODAY.isoformat())
    ]
    assert ("minilm", "", "ledger-broken") in {
        (row["model"], row["version"], row["code"]) for row in rows
    }


def test_the_csv_is_rfc_4180_and_no_formula() -> None:
    """Lines end with CRLF, text breaks out of no cell, and no cell begins a formula."""
    text = csv_text(hostile())
    assert text.endswith("\r\n")
    assert text.count("\r") == text.count("\n") == 2
    (row,) = rows_of(text)
    assert row["model"].startswith("'=HYPERLINK")
    assert None not in row
    for sign in ("=", "+", "-", "@", " =", "\uff1d"):
        (row,) = rows_of(csv_text(audited(finding(Code.PICKLE, None, None, place=f"{sign}1"))))[-1:]
        assert row["place"] == f"'{sign}1"


def sarif(audit: Audit) -> dict[str, Any]:
    """The one run of the SARIF, after a turn through JSON."""
    data = json.loads(json.dumps(sarif_data(audit, release="0.1.0")))
    assert (data["version"], len(data["runs"])) == ("2.1.0", 1)
    assert data["$schema"].endswith("sarif-2.1.0.json")
    run: dict[str, Any] = data["runs"][0]
    return run


@pytest.mark.parametrize("audit", [audited(), hostile()], ids=["ordinary", "hostile"])
def test_the_sarif_has_what_code_scanning_asks_for(audit: Audit) -> None:
    """Tool, rules, levels, messages, a relative location with a line, a fingerprint."""
    run = sarif(audit)
    driver = run["tool"]["driver"]
    assert driver["name"]
    assert driver["version"]
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(set(ids)) == len(ids) == len(Code)
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"]
        assert rule["name"].isalnum()
    assert len(run["results"]) == len(audit.findings) > 0
    for result, one in zip(run["results"], audit.findings, strict=True):
        assert result["ruleId"] == ids[result["ruleIndex"]] == one.code.value
        assert result["level"] in {"error", "warning", "note"}
        assert one.code.value.replace("-", " ") in result["message"]["text"]
        assert result["message"]["text"].isprintable()
        (location,) = result["locations"]
        physical = location["physicalLocation"]
        uri = physical["artifactLocation"]["uri"]
        assert re.fullmatch(r"models(/[\w.~%-]+(/versions/\d+)?)?", uri, re.ASCII)
        assert physical["region"] == {"startLine": 1}
        prints = result["partialFingerprints"]
        assert prints[FINGERPRINT] == one.fingerprint
        assert prints["primaryLocationLineHash"].startswith(one.fingerprint)


def test_a_link_cannot_be_put_into_a_message() -> None:
    """Brackets in foreign text are escaped, as SARIF takes them for links."""
    (result,) = sarif(hostile())["results"]
    assert "\\[a\\](b)" in result["message"]["text"]
    assert not re.search(r"(?<!\\)\[", result["message"]["text"])


def test_accepted_findings_are_no_results() -> None:
    """Code scanning would show them, suppressed or not."""
    accepted = finding(Code.BASE_MOVED, "support", 1)
    run = sarif(audited(accept=(accepted,)))
    assert "base-moved" not in {result["ruleId"] for result in run["results"]}
    assert run["properties"]["summary"]["accepted"] == 1


def test_a_broken_off_audit_is_no_successful_run() -> None:
    """The SARIF of what was found until then says that it is not all, and why."""
    assert sarif(audited())["invocations"][0]["executionSuccessful"] is True
    (broken,) = sarif(audited(complete=False, problem="the server went away"))["invocations"]
    assert broken["executionSuccessful"] is False
    assert broken["toolExecutionNotifications"][0]["message"]["text"] == "the server went away"


def test_rules_say_what_the_table_of_codes_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Title, meaning, what to do and level of a rule are those of its code."""
    from pairlock.auditing import codes

    facts = codes.CodeFacts(
        severity=Severity.WARNING, title="Old", meaning="It is old.", todo="Renew it."
    )
    monkeypatch.setattr(codes, "FACTS", {Code.SUPERSEDED: facts}, raising=False)
    rules = {rule["id"]: rule for rule in sarif(audited())["tool"]["driver"]["rules"]}
    rule = rules["superseded"]
    assert rule["shortDescription"]["text"] == "Old"
    assert rule["fullDescription"]["text"] == "It is old."
    assert rule["help"]["text"] == "Renew it."
    assert rule["defaultConfiguration"] == {"level": "warning"}
    assert "defaultConfiguration" not in rules["pickle"]


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(width: int) -> None:
    """No line is wider, also with long names and wide letters, and nothing is cut off."""
    name = "customer-support-english-distilled-embeddings"
    wide = "埋め込み" * 12
    whole = inventory(
        model(name, version(name, 1), stages={"production-europe-west": 1}),
        model(wide, version(wide, 12), stages={"production-europe-west": 12}),
    )
    found = [finding(code, name, 1) for code in (Code.BASE_MOVED, Code.ALIAS_UNEXPLAINED)]
    lines = list(table_lines(assemble(whole, found, options=AuditOptions()), width=width))
    # each of these letters takes two places of a terminal
    assert max(len(line) + sum(letter in wide for letter in line) for line in lines) <= width
    joined = re.sub(r"\s", "", "".join(lines))
    assert wide[:8] in joined
    assert "registrysqlite:///mlflow.db" in joined


def test_the_table_says_everything_in_words() -> None:
    """Base and its state, stages by ledger, aliases by hand, severities, codes, what to do."""
    lines = list(table_lines(audited(), width=80))
    row = next(line for line in lines if line.startswith("support/1 "))
    assert re.split(r"\s{2,}", row)[1:6] == ["linear", "minilm/1", "moved", "production", "error"]
    assert any("(champion)" in line for line in lines)
    text = "\n".join(lines)
    for one in findings():
        assert one.fingerprint in text
    assert "to do    Register the pinned package" in text
    assert "2 errors, 2 warnings, 2 notes" in text
    assert "INCOMPLETE" not in text


def test_the_table_says_what_is_not_known() -> None:
    """A broken-off audit, an expired and a stale entry stand at the end, where they are read."""
    gone = finding(Code.PICKLE, "support", 9)
    lines = list(table_lines(audited(accept=(gone,)), width=80))
    assert any(line.startswith("stale") and "support/9" in line for line in lines)
    tomorrow = audited(accept=(gone,), at_ms=registry().at_ms + 86_400_000)
    assert any(line.startswith("expired") for line in table_lines(tomorrow, width=80))
    broken = list(table_lines(audited(complete=False, problem="gone away"), width=80))
    assert broken[-1].split() == ["INCOMPLETE", "gone", "away"]


def test_no_text_writes_to_the_terminal() -> None:
    """Escapes, line ends and marks that turn the writing in names and tags are shown as such."""
    lines = list(table_lines(hostile(), width=80))
    assert all(line.isprintable() for line in lines)
    assert any("\\x1b" in line for line in lines)
