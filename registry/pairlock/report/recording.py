"""Logs an audit as a run in MLflow, with its report page and its JSON."""

from __future__ import annotations

import json
from collections import Counter
from importlib.metadata import version
from pathlib import Path

from pairlock.auditing.codes import Severity
from pairlock.auditing.result import Audit
from pairlock.catalog import LoggedRun, log_run
from pairlock.errors import StorageError
from pairlock.markdown import code
from pairlock.progress import SILENT, Progress
from pairlock.report.reporting import report_page
from pairlock.wording import counted

EXPERIMENT = "pairlock-audit"
"""Where audits are logged unless another experiment is named."""

REPORT_NAME = "report.html"
JSON_NAME = "audit.json"


def log_audit(
    audit: Audit,
    *,
    experiment: str = EXPERIMENT,
    exit_status: int | None = None,
    progress: Progress = SILENT,
) -> LoggedRun:
    """Log an audit as a run of the tracking server in use, with its report.

    The run is `FINISHED`, or `FAILED` when the audit broke off. Its artifacts are `report.html`,
    which MLflow's artifact viewer shows, `audit.json`, and the baseline where one was used. It
    holds no model, so that no audit finds anything in it.

    Args:
        audit: what was found.
        experiment: the experiment's name; it is made when it is not there.
        exit_status: what the command ends with, as a tag.
        progress: told about the work.

    Returns:
        The run; `url` is its page where the server has pages.

    Raises:
        InvalidInputError: the experiment is deleted.
        StorageError: the baseline cannot be read any more, or the files cannot be written.
        UnavailableError: MLflow is not there, or did not take it. A run that was begun is marked
            `FAILED` where MLflow can still be told.
    """
    with progress.step("log the audit"):
        return log_run(
            experiment,
            name=f"audit {audit.at}",
            status="FINISHED" if audit.complete else "FAILED",
            started_ms=audit.at_ms,
            parameters=parameters_of(audit),
            metrics=metrics_of(audit),
            tags=tags_of(audit, exit_status=exit_status),
            note=note_of(audit),
            files={
                REPORT_NAME: report_page(audit).encode("utf-8", "backslashreplace"),
                JSON_NAME: _json(audit),
                **_baseline(audit.options.baseline),
            },
        )


def parameters_of(audit: Audit) -> dict[str, str]:
    """What was asked for, as a run's parameters: only what is not left to itself."""
    found = {}
    for name, value in audit.options.to_dict().items():
        text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        if value is not None and text:
            found[name] = text
    return found


def metrics_of(audit: Audit) -> dict[str, float]:
    """What an audit came to, as a run's metrics. Codes that were not found have none."""
    summary = audit.summary
    codes = Counter(one.code.value for one in audit.findings)
    return {
        "models": float(summary.models),
        "versions": float(summary.versions),
        "accepted": float(summary.accepted),
        "complete": float(audit.complete),
        "checked_everything": float(audit.checked_everything),
        "seconds": round(audit.seconds, 3),
        **{f"findings/{one.value}": float(summary.severities.get(one, 0)) for one in Severity},
        **{f"codes/{name}": float(count) for name, count in sorted(codes.items())},
    }


def tags_of(audit: Audit, *, exit_status: int | None) -> dict[str, str]:
    """What a search for runs may ask for."""
    found = {
        "pairlock.audit": "complete" if audit.complete else "broken off",
        "pairlock.registry": audit.registry,
        "pairlock.version": version("pairlock"),
    }
    if exit_status is not None:
        found["pairlock.exit_status"] = str(exit_status)
    if audit.problem:
        found["pairlock.problem"] = audit.problem
    return found


def note_of(audit: Audit) -> str:
    """The run's description, Markdown: what it is and where to look."""
    summary = audit.summary
    found = [
        counted(count, severity.value) for severity, count in summary.severities.items() if count
    ]
    lines = [
        f"`pairlock audit` of {code(audit.registry)}, {audit.at}: "
        f"{counted(summary.versions, 'version')} of {counted(summary.models, 'model')}, "
        f"{', '.join(found) or 'nothing'} found.",
        "",
        f"The report is `{REPORT_NAME}` under Artifacts; `{JSON_NAME}` has everything in it.",
    ]
    if not audit.complete:
        lines[1:1] = ["", f"**Not complete:** {code(audit.problem)}"]
    return "\n".join(lines)


def _json(audit: Audit) -> bytes:
    text = json.dumps(audit.to_dict(), ensure_ascii=False, indent=2) + "\n"
    return text.encode("utf-8", "backslashreplace")


def _baseline(file: str | None) -> dict[str, bytes]:
    """The baseline's file under its own name, which is not one of the other two."""
    if file is None:
        return {}
    path = Path(file)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StorageError.of(
            error,
            f"the baseline {path} cannot be read any more",
            checked=str(path),
            expected="the file that the audit was made with",
            done="no run was made",
            hint="bring it back, and run the audit again",
        ) from error
    name = path.name if path.name not in {REPORT_NAME, JSON_NAME} else f"baseline-{path.name}"
    return {name: content}
