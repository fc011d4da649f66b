"""An audit as a run in MLflow: what the run holds, and what becomes of it when something fails."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

import pairlock
from pairlock.auditing.filters import Filters
from pairlock.auditing.result import Audit, AuditOptions, assemble
from pairlock.cli.app import app, main
from pairlock.errors import ErrorKind, InvalidInputError, StorageError, UnavailableError
from pairlock.markdown import code
from pairlock.report import EXPERIMENT, log_audit
from support.audited import findings, inventory, registry
from support.proxy import Action, Fault, FaultProxy
from support.registries import active
from support.remote import shared_server

BASELINE = """
[[accepted]]
fingerprint = "0123456789abcdef"
code = "orphaned"
reason = "known"
until = 2027-01-31
"""


def made(**facts: Any) -> Audit:
    """An audit of a registry that is given by hand; nothing lies where its packages should."""
    options = facts.pop("options", AuditOptions())
    return assemble(inventory(*registry().models, **facts), findings(), options=options)


def only_run(client: MlflowClient, experiment: str = EXPERIMENT) -> Any:
    """The one run of an experiment."""
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    (run,) = client.search_runs([found.experiment_id])
    return run


def artifacts(client: MlflowClient, run_id: str, folder: Path) -> dict[str, bytes]:
    """Every artifact of a run, as MLflow gives it back."""
    folder.mkdir()
    return {
        one.path: Path(client.download_artifacts(run_id, one.path, str(folder))).read_bytes()
        for one in client.list_artifacts(run_id)
    }


@pytest.fixture
def blocked(registry: Any) -> Any:
    """A registry beside which no artifact can be stored: a file is where the folder has to be."""
    (registry.folder / "mlruns").mkdir(exist_ok=True)
    (registry.folder / "mlruns" / "runs").write_text("in the way")
    return registry


@pytest.fixture
def proxy(
    registry_template: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[FaultProxy, MlflowClient]]:
    """MLflow's server behind a proxy that makes faults, and a client past it."""
    server = shared_server(registry_template)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with FaultProxy(server.uri) as one, active(one.endpoint):
        yield one, MlflowClient(server.uri, server.uri)


def test_a_run_holds_the_audit(registry: Any, tmp_path: Path) -> None:
    """Figures, what was asked for, the registry, and the three files, byte for byte."""
    baseline = tmp_path / "accepted.toml"
    baseline.write_text(BASELINE)
    options = AuditOptions(
        filters=Filters.of(models=["s*", "other", "minilm"]), deep=True, baseline=str(baseline)
    )
    audit = made(options=options)
    logged = log_audit(audit, exit_status=1)
    run = only_run(registry.client)
    assert (run.info.run_id, run.info.status) == (logged.run_id, "FINISHED")
    assert logged.url is None
    metrics = run.data.metrics
    expected = {severity.value: count for severity, count in audit.summary.severities.items()}
    assert {name: metrics[f"findings/{name}"] for name in expected} == expected
    counted = {name: value for name, value in metrics.items() if name.startswith("codes/")}
    assert counted == {f"codes/{one.code}": 1 for one in audit.findings}
    assert (metrics["versions"], metrics["models"], metrics["complete"]) == (6, 3, 1)
    assert run.data.params["models"] == "s*, other, minilm"
    assert (run.data.params["deep"], run.data.params["golden"]) == ("True", "False")
    assert run.data.tags["pairlock.registry"] == audit.registry
    assert run.data.tags["pairlock.exit_status"] == "1"
    files = artifacts(registry.client, logged.run_id, tmp_path / "files")
    assert set(files) == {"report.html", "audit.json", "accepted.toml"}
    assert json.loads(files["audit.json"]) == audit.to_dict()
    assert files["report.html"].startswith(b"<!DOCTYPE html>")
    assert files["accepted.toml"] == baseline.read_bytes()


def test_a_broken_off_audit_is_a_failed_run(registry: Any) -> None:
    """What was found is there, and no list of runs shows it as finished."""
    logged = log_audit(made(complete=False, problem="it was `stopped` <b>\n# here"))
    run = registry.client.get_run(logged.run_id)
    assert run.info.status == "FAILED"
    assert (run.data.metrics["complete"], run.data.tags["pairlock.audit"]) == (0, "broken off")
    assert "**Not complete:** `it was 'stopped' <b>\\n# here`" in run.data.tags[
        "mlflow.note.content"
    ].split("\n")


@pytest.mark.parametrize(
    "text", ["a`b``c", "a\nb\r\n# c", "<img src=x onerror=alert(1)>", "|", "\\"]
)
def test_no_text_ends_its_code_span(text: str) -> None:
    """A span is one line with a backtick at either end and none between."""
    found = code(text)
    assert found[0] == found[-1] == "`"
    assert "`" not in found[1:-1]
    assert len(found.splitlines()) == 1


def test_a_logged_audit_gives_the_next_one_nothing_to_find(
    registry: Any, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry with a run of an audit in it is judged as it was without."""
    monkeypatch.chdir(tmp_path)
    registry.log(tiny_model, "base")
    before = pairlock.audit(deep=True)
    pairlock.log_audit(before)
    after = pairlock.audit(deep=True)
    assert after.findings == before.findings
    assert after.rows == before.rows
    assert not (tmp_path / "mlruns").exists()  # where MLflow would have put the files


def test_a_relative_location_belongs_to_the_database(
    registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a registry that was made to be copied: from any working directory."""
    registry.client.create_experiment("own")
    with closing(sqlite3.connect(registry.folder / "mlflow.db")) as database, database:
        database.execute(  # MLflow makes it absolute, so it can be relative only afterwards
            "UPDATE experiments SET artifact_location = 'artifacts' WHERE name = 'own'"
        )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    logged = log_audit(made(), experiment="own")
    folder = registry.folder / "artifacts" / logged.run_id / "artifacts"
    assert {one.name for one in folder.iterdir()} == {"report.html", "audit.json"}
    assert list(elsewhere.iterdir()) == []


def test_a_deleted_experiment_is_refused_before_the_audit(registry: Any) -> None:
    """Nothing is read and nothing is made; the command says wrong usage."""
    registry.client.delete_experiment(registry.client.create_experiment("gone"))
    with pytest.raises(InvalidInputError) as caught:
        log_audit(made(), experiment="gone")
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID
    found = CliRunner().invoke(app, ["audit", "--log-run", "--experiment", "gone"])
    assert (found.exit_code, found.stdout) == (2, "")
    assert CliRunner().invoke(app, ["audit", "--experiment", "x"]).exit_code == 2


def test_a_run_without_its_files_is_marked_and_the_findings_are_shown(blocked: Any) -> None:
    """The error is on stderr, the document whole on stdout, the exit status 3."""
    with pytest.raises(StorageError) as caught:
        log_audit(made())
    assert caught.value.kind is ErrorKind.STORAGE_FAILED
    assert only_run(blocked.client).info.status == "FAILED"
    found = CliRunner().invoke(app, ["audit", "--format", "json", "--log-run"])
    assert found.exit_code == 3
    assert json.loads(found.stdout)["complete"] is True
    assert "mlruns" in found.stderr


def test_a_server_takes_the_run_and_stdout_has_one_document(
    proxy: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """MLflow prints a run's address to stdout when it ends; the command keeps it out of there."""
    one, client = proxy
    for name in ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"):
        monkeypatch.setenv(name, "")  # put back afterwards, whatever the command sets
        monkeypatch.delenv(name)
    experiment = f"audits-{tmp_path.name}"
    argv = ["pairlock", "audit", "--format", "json", "--log-run", "--experiment", experiment]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    run = only_run(client, experiment)
    assert run.data.tags["pairlock.exit_status"] == str(ended.value.code)
    files = artifacts(client, run.info.run_id, tmp_path / "files")
    assert files["audit.json"].decode() == said.out
    page = f"{one.endpoint}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    assert page in said.err


@pytest.mark.parametrize(
    ("method", "suffix"),
    [("PUT", "report.html"), ("POST", "log-batch"), ("POST", "runs/create")],
)
def test_a_server_that_goes_away_is_an_error_and_no_finished_run(
    proxy: Any, method: str, suffix: str, tmp_path: Path
) -> None:
    """Whatever was begun is marked as failed where the server can still be told."""
    one, client = proxy
    experiment = f"gone-{tmp_path.name}"
    one.fault(Fault(Action.GONE, method=method, suffix=suffix))
    with pytest.raises(UnavailableError) as caught:
        log_audit(made(), experiment=experiment)
    assert caught.value.kind in {ErrorKind.REGISTRY_UNAVAILABLE, ErrorKind.STORE_UNAVAILABLE}
    found = client.get_experiment_by_name(experiment)
    states = [run.info.status for run in client.search_runs([found.experiment_id])]
    assert states == ([] if suffix == "runs/create" else ["FAILED"])


def test_the_public_names_are_these() -> None:
    """`pairlock.log_audit` logs, and gives a `pairlock.LoggedRun`."""
    assert pairlock.log_audit is log_audit
    assert pairlock.LoggedRun.__name__ == "LoggedRun"
