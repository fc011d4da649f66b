"""`pairlock audit` and `pairlock.audit`: what is asked, written and answered.

The registry and its judgement are given by hand here; what they find is tested where they are made.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import pairlock
from pairlock.auditing.acts import overlaid
from pairlock.auditing.baseline_files import read_baseline_file
from pairlock.auditing.codes import Code, Severity
from pairlock.auditing.findings import AuditFinding
from pairlock.auditing.fixing import Fix, Fixed, FixPlan, Left, Remedy
from pairlock.cli.app import app
from pairlock.errors import AlreadyExistsError, ErrorKind, Finding, NotFoundError, StorageError
from pairlock.inventory import Inventory, VersionFacts
from pairlock.staging import write_whole
from support.audited import finding, findings, registry
from support.copies import replace

UNTIL = (dt.datetime.now(dt.UTC).date() + dt.timedelta(days=30)).isoformat()
ERRORS = findings()
WARNING = finding(Code.LIBRARY_DRIFT, severity=Severity.WARNING)
NOTE = finding(Code.SUPERSEDED, severity=Severity.NOTE)
ACCEPT = ("--reason", "known", "--until", UNTIL)


@dataclass
class Given:
    """A registry and what is found in it, and what was asked of them."""

    inventory: Inventory = field(default_factory=registry)
    part: Inventory | None = None
    found: tuple[AuditFinding, ...] = ERRORS
    takes: list[dict[str, Any]] = field(default_factory=list)
    judged: list[dict[str, Any]] = field(default_factory=list)
    executed: int = 0
    meanwhile: Callable[[Callable[[], bool]], None] = lambda _stop: None

    def take(self, **asked: Any) -> Inventory:
        self.takes.append(asked)
        self.meanwhile(asked["stop"])
        return self.part if asked.get("names") and self.part is not None else self.inventory

    def judge(self, inventory: Inventory, **asked: Any) -> tuple[AuditFinding, ...]:
        self.judged.append({"inventory": inventory, **asked})
        return self.found

    def plan(self, inventory: Inventory, found: Any, **_: Any) -> FixPlan:
        assert inventory is self.inventory
        return FixPlan(
            fixes=(
                Fix(
                    remedy=Remedy.FOLLOW,
                    model="support",
                    version=None,
                    what="let the aliases of support follow",
                    settles=(),
                ),
            ),
            left=tuple(Left(finding=one, why="a person has to decide it") for one in found),
        )

    def execute(self, plan: FixPlan, **_: Any) -> tuple[Fixed, ...]:
        self.executed += 1
        self.found = ()
        return tuple(Fixed(fix=fix, done=True, detail="moved") for fix in plan.fixes)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    """The registry that the command sees."""
    made = Given()
    monkeypatch.setattr("pairlock.inventory.take", made.take)
    monkeypatch.setattr("pairlock.auditing.auditing.judge_inventory", made.judge)
    monkeypatch.setattr("pairlock.auditing.fixing.plan_fixes", made.plan)
    monkeypatch.setattr("pairlock.auditing.fixing.execute_fixes", made.execute)
    return made


def run(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, ["audit", *arguments])


def document(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit status and JSON."""
    found = run(*arguments, "--format", "json")
    return found.exit_code, json.loads(found.stdout)


@pytest.mark.parametrize(
    ("found", "options", "status"),
    [
        ((), (), 0),
        (ERRORS, (), 1),
        (ERRORS, ("--fail-on", "warning"), 1),
        (ERRORS, ("--fail-on", "never"), 0),
        (ERRORS, ("--model", "support", "--code", "superseded"), 0),
        ((WARNING,), (), 0),
        ((WARNING,), ("--fail-on", "warning"), 1),
        ((NOTE,), ("--fail-on", "warning"), 0),
        ((finding(Code.PACKAGE_UNREACHABLE),), ("--fail-on", "never"), 3),
        ((finding(Code.PACKAGE_UNREACHABLE),), ("--model", "minilm"), 0),
    ],
)
def test_the_exit_status_is_the_worst_that_is_shown(
    given: Given, found: Any, options: tuple[str, ...], status: int
) -> None:
    """1 from --fail-on on, 3 where something could not be checked, 0 otherwise."""
    given.found = found
    assert run(*options).exit_code == status


@pytest.mark.parametrize("found", [(), ERRORS])
def test_a_broken_off_audit_shows_what_it_has_and_ends_with_3(given: Given, found: Any) -> None:
    """Rows and findings until then are there, with the problem, whatever --fail-on says."""
    given.found = found
    given.inventory = replace(registry(), complete=False, problem="the server went away")
    status, data = document("--fail-on", "never")
    assert status == 3
    assert (data["complete"], data["problem"]) == (False, "the server went away")
    assert len(data["rows"]) == 6
    assert len(data["findings"]) == len(found)
    human = run()
    assert human.exit_code == 3
    assert human.stdout.rstrip().endswith("the server went away")


@pytest.mark.parametrize(
    "wrong",
    [
        ("--code", "base-move"),
        ("--kind", "lora"),
        ("--severity", "fatal"),
        ("--format", "pdf"),
        ("--fail-on", "note"),
        ("--jobs", "0"),
        ("--baseline", "missing.toml"),
        ("--dry-run",),
        ("--reason", "known"),
        ("--write-baseline", "new.toml"),
        ("--write-baseline", "new.toml", "--reason", " ", "--until", UNTIL),
        ("--write-baseline", "new.toml", "--reason", "known", "--until", "2020-01-31"),
        ("--write-baseline", "new.toml", "--reason", "known", "--until", "31.1.2099"),
        ("--write-baseline", "new.toml", *ACCEPT, "--fix"),
    ],
)
def test_wrong_usage_ends_with_2_before_anything_is_read(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: tuple[str, ...]
) -> None:
    """What cannot be asked for is refused at once, and nothing is read or written."""
    monkeypatch.chdir(tmp_path)
    assert run(*wrong).exit_code == 2
    assert given.takes == []
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == []


def test_a_broken_baseline_is_wrong_usage(given: Given, tmp_path: Path) -> None:
    """Every problem of the file is in the answer."""
    (tmp_path / "b.toml").write_text("[[accepted]]\n")
    status, data = document("--baseline", str(tmp_path / "b.toml"))
    assert status == 2
    assert data["error"]["kind"] == "baseline-invalid"
    assert len(data["error"]["findings"]) == 4


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (("--stage", "prodction"), "stage-unknown"),
        (("--base", "models:/nobody/1"), "base-not-found"),
        (("--base", "models:/minilm@nothing"), "base-not-found"),
        (("--base", "abcdef012345"), "base-not-found"),
    ],
)
def test_what_nothing_knows_is_no_clean_audit(
    given: Given, wrong: tuple[str, str], kind: str
) -> None:
    """A stage or base that is written out and is nowhere ends with 3."""
    status, data = document(*wrong)
    assert (status, data["error"]["kind"]) == (3, kind)
    given.inventory = replace(registry(), complete=False, problem="stopped")
    assert run(*wrong).exit_code == 3
    assert "error" not in document(*wrong)[1]


@pytest.mark.parametrize(
    "asked",
    [
        ("--stage", "staging", "--model", "minilm"),
        ("--base", "models:/nobody/*"),
        ("--base", "models:/support/1"),
    ],
)
def test_what_is_there_and_has_nothing_is_a_clean_audit(
    given: Given, asked: tuple[str, ...]
) -> None:
    """A usual stage may be empty, a version may have nothing on it, a pattern may match nothing."""
    nothing = run(*asked)
    assert nothing.exit_code == 0
    assert "no version is what was asked for" in nothing.stdout


def test_a_model_that_is_not_there_is_no_clean_audit(given: Given) -> None:
    """A slip in a name ends with 3; a pattern may match nothing, and so may a broken-off audit."""
    status, data = document("--model", "suport")
    assert (status, data["error"]["kind"]) == (3, "model-not-found")
    with pytest.raises(NotFoundError):
        pairlock.audit(models=["support", "suport"])
    nothing = run("--model", "suport*")
    assert nothing.exit_code == 0
    assert "no version is what was asked for" in nothing.stdout
    given.inventory = replace(registry(), complete=False, problem="stopped")
    assert run("--model", "suport").exit_code == 3


def test_every_format_says_the_same(given: Given) -> None:
    """JSON, CSV and SARIF have the same findings, and stdout has the document alone."""
    prints = {one.fingerprint for one in ERRORS}
    _, data = document()
    assert {one["fingerprint"] for one in data["findings"]} == prints
    text = run("--format", "csv").stdout_bytes.decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert {row["fingerprint"] for row in rows} - {""} == prints
    assert text.endswith("\r\n")
    sarif = json.loads(run("--format", "sarif").stdout)
    results = sarif["runs"][0]["results"]
    assert {one["partialFingerprints"]["pairlockFinding/v1"] for one in results} == prints


@pytest.mark.parametrize("format", ["csv", "sarif"])
def test_an_error_is_no_csv_and_no_sarif(given: Given, format: str) -> None:
    """Where the document cannot be made, stdout stays empty and stderr says why."""
    found = run("--format", format, "--code", "base-move")
    assert (found.exit_code, found.stdout) == (2, "")
    assert "did you mean base-moved" in found.stderr


def test_a_file_gets_the_document_and_stdout_the_table(given: Given, tmp_path: Path) -> None:
    """One audit gives CI its upload and a person something to read; an old file gives way."""
    target = tmp_path / "audit.sarif"
    target.write_text("old")
    found = run("--format", "sarif", "--output", str(target))
    assert found.exit_code == 1
    assert json.loads(target.read_text())["version"] == "2.1.0"
    assert found.stdout == run().stdout
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["audit.sarif"]


def test_a_file_that_cannot_be_written_ends_with_3(given: Given, tmp_path: Path) -> None:
    """A folder that is not there is no clean audit."""
    status, data = document("--output", str(tmp_path / "no" / "audit.json"))
    assert (status, data["error"]["kind"]) == (3, "storage-failed")


def test_what_is_accepted_once_passes_from_then_on(given: Given, tmp_path: Path) -> None:
    """The file that is written takes every finding out of the next audit, and never gives way."""
    file = tmp_path / "accepted.toml"
    assert run("--write-baseline", str(file), *ACCEPT).exit_code == 0
    written = file.read_bytes()
    status, data = document("--baseline", str(file), "--fail-on", "warning")
    assert (status, data["findings"]) == (0, [])
    assert {(one["reason"], one["until"]) for one in data["accepted"]} == {("known", UNTIL)}
    assert data["baseline"] == {"expired": [], "stale": []}
    again, error = document("--write-baseline", str(file), *ACCEPT)
    assert (again, error["error"]["kind"]) == (2, "target-exists")
    assert file.read_bytes() == written


def test_only_what_is_shown_is_accepted(given: Given, tmp_path: Path) -> None:
    """Filters choose what goes into the file; the rest stays open."""
    file = tmp_path / "accepted.toml"
    run("--write-baseline", str(file), *ACCEPT, "--code", "superseded")
    assert [entry.code for entry in read_baseline_file(file).entries] == [Code.SUPERSEDED]
    assert run("--baseline", str(file)).exit_code == 1


def test_a_new_file_goes_on_from_the_old_one(given: Given, tmp_path: Path) -> None:
    """Earlier reasons and days stay, settled entries go, and filters lose nothing of the rest."""
    old, new = tmp_path / "old.toml", tmp_path / "new.toml"
    settled = finding(Code.PICKLE, "support", 3)
    given.found = (*ERRORS[:3], settled)
    run("--write-baseline", str(old), "--reason", "first", "--until", UNTIL)
    given.found = ERRORS
    arguments = ("--baseline", str(old), "--model", "other", "--write-baseline", str(new))
    assert run(*arguments, *ACCEPT).exit_code == 0
    reasons = {entry.code: entry.reason for entry in read_baseline_file(new).entries}
    assert reasons == {
        **dict.fromkeys((one.code for one in ERRORS[:3]), "first"),
        Code.ALIAS_UNEXPLAINED: "known",
    }
    whole = tmp_path / "whole.toml"
    run("--baseline", str(old), "--write-baseline", str(whole), *ACCEPT)
    reasons = [entry.reason for entry in read_baseline_file(whole).entries]
    assert sorted(reasons) == ["first"] * 3 + ["known"] * 3


def test_a_broken_off_audit_accepts_nothing(given: Given, tmp_path: Path) -> None:
    """What was not looked at would be missing in the file."""
    given.inventory = replace(registry(), complete=False, problem="stopped")
    file = tmp_path / "accepted.toml"
    assert run("--write-baseline", str(file), *ACCEPT).exit_code == 3
    assert not file.exists()


def test_everything_is_read_once(given: Given) -> None:
    """Without filters one inventory is taken, as deep as asked for."""
    run("--deep", "--golden", "--jobs", "3", "--no-memory", "--allow-class", "acme.modules:Gate")
    (asked,) = given.takes
    assert (asked["deep"], asked["jobs"], asked["remembered"]) == (True, 3, False)
    (judged,) = given.judged
    assert (judged["deep"], judged["golden"]) == (True, True)
    assert judged["allow"] == ["acme.modules:Gate"]
    assert all(judged["wanted"](version) for version in given.inventory.versions())


def test_the_default_hashes_and_computes_nothing(given: Given) -> None:
    """Tags and manifests are read, and what an earlier audit read is used."""
    run()
    assert (given.takes[0]["deep"], given.takes[0]["remembered"]) == (False, True)
    assert (given.judged[0]["deep"], given.judged[0]["golden"]) == (False, False)


def test_filters_choose_whose_bytes_are_hashed(given: Given) -> None:
    """The whole registry is read, and every byte of the models that are asked for only."""
    damage = Finding(kind=ErrorKind.FILE_DIGEST, place="a", expected="b", found="c")

    def damaged(version: VersionFacts) -> VersionFacts:
        return replace(version, findings=(damage,))

    support = registry().models[-1]
    closer = replace(support, versions=tuple(damaged(one) for one in support.versions))
    given.part = replace(registry(), models=(closer,))
    run("--deep", "--golden", "--stage", "staging")
    assert [(asked["deep"], asked.get("names", ())) for asked in given.takes] == [
        (False, ()),
        (True, ("support",)),
    ]
    judged = given.judged[0]
    assert [bool(one.findings) for one in judged["inventory"].versions()] == [False] * 3 + [
        True
    ] * 3
    wanted = [one.uri for one in given.inventory.versions() if judged["wanted"](one)]
    assert wanted == ["models:/support/2"]


def test_a_closer_look_that_breaks_off_takes_nothing_away() -> None:
    """Versions that it did not reach stay as they were, and the audit is not complete."""
    whole = registry()
    part = replace(whole, models=whole.models[:1], complete=False, problem="stopped")
    found = overlaid(whole, part)
    assert (found.complete, found.problem) == (False, "stopped")
    assert list(found.versions()) == list(whole.versions())


def test_fixes_are_made_and_then_looked_at(given: Given) -> None:
    """What is reported is the registry after the repair, with what was done."""
    status, data = document("--fix")
    assert (status, given.executed, len(given.takes)) == (0, 1, 2)
    assert data["findings"] == []
    assert [one["detail"] for one in data["fixes"]["done"]] == ["moved"]
    assert len(data["fixes"]["plan"]["left"]) == len(ERRORS)


def test_what_is_accepted_is_not_mended(given: Given, tmp_path: Path) -> None:
    """Somebody decided to leave it as it is."""
    file = tmp_path / "accepted.toml"
    run("--write-baseline", str(file), *ACCEPT)
    _, data = document("--baseline", str(file), "--fix", "--dry-run")
    assert len(data["accepted"]) == len(ERRORS)
    assert data["fixes"]["plan"]["left"] == []


def test_a_dry_run_changes_nothing(given: Given) -> None:
    """The plan is told, and the audit is that of the registry as it is."""
    found = run("--fix", "--dry-run")
    assert (found.exit_code, given.executed, len(given.takes)) == (1, 0, 1)
    assert "let the aliases of support follow" in found.stderr


def test_nothing_is_mended_by_half_an_audit(given: Given) -> None:
    """What was not looked at may be the reason for what was found."""
    given.inventory = replace(registry(), complete=False, problem="stopped")
    assert run("--fix").exit_code == 3
    assert given.executed == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_audit_and_keeps_what_it_has(given: Given, number: int) -> None:
    """The first one asks for an end, the next one would be the end; later all is as before."""
    before = signal.getsignal(number)
    said: list[bool] = []

    def stop_meanwhile(stop: Callable[[], bool]) -> None:
        said.append(stop())
        os.kill(os.getpid(), number)
        said.append(stop())
        said.append(signal.getsignal(number) is signal.SIG_DFL)

    given.meanwhile = stop_meanwhile
    given.inventory = replace(registry(), complete=False, problem="it was stopped")
    found = run()
    assert said == [False, True, True]
    assert found.exit_code == 3
    assert "support/3" in found.stdout
    assert signal.getsignal(number) == before


def test_a_stop_while_it_is_judged_is_a_stop(given: Given) -> None:
    """What was not judged any more is no clean audit, and what takes long is told to end."""
    asked: list[bool] = []

    def stop() -> bool:
        asked.append(bool(given.judged))
        return asked[-1]

    audit = pairlock.audit(golden=True, stop=stop)
    assert (audit.complete, bool(audit.problem)) == (False, True)
    assert given.judged[0]["stop"] is stop


def test_the_public_name_is_the_function(given: Given) -> None:
    """`pairlock.audit` stays what users call, whatever was imported before."""
    audit = pairlock.audit(stages=["production"], severity="warning")
    assert isinstance(audit, pairlock.Audit)
    assert [(row.model, row.version) for row in audit.rows] == [("support", 1)]
    assert audit.fails(Severity.ERROR)
    assert not audit.fails(None)


def test_help_names_the_exit_status(given: Given) -> None:
    """`--help` says what the status means, as everywhere."""
    assert "Exit status: 0 done" in run("--help").stdout


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """A link goes on leading there, a new file takes no taken name, and nothing is left over."""
    real, link = tmp_path / "real", tmp_path / "link"
    link.symlink_to(real)
    write_whole(link, b"1", replace=True)
    assert (link.is_symlink(), real.read_bytes()) == (True, b"1")
    with pytest.raises(AlreadyExistsError):
        write_whole(link, b"2", replace=False)
    with pytest.raises(StorageError):
        write_whole(tmp_path, b"2", replace=True)
    assert real.read_bytes() == b"1"
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"real", "link"}
