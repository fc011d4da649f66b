"""How an audit is written: a table for a person, or a document."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pairlock.cli.wrapping import labelled, wrapped_columns
from pairlock.plain_text import printable
from pairlock.wording import counted

if TYPE_CHECKING:
    from pairlock.auditing.baseline import BaselineEntry
    from pairlock.auditing.findings import AuditFinding
    from pairlock.auditing.fixing import Fixed, FixPlan
    from pairlock.auditing.result import Audit
    from pairlock.auditing.rows import AuditRow

_TITLES = ("version", "kind", "base", "base is", "stages", "worst", "findings")
_NARROW = 80


class AuditFormat(StrEnum):
    """How an audit is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    SARIF = "sarif"
    HTML = "html"


def document(audit: Audit, format: AuditFormat, *, fixes: Mapping[str, Any] | None = None) -> str:
    """The audit in a format.

    Args:
        audit: what was found.
        format: of the document.
        fixes: what was planned and done about it; only the JSON has them.
    """
    if format is AuditFormat.CSV:
        from pairlock.auditing.formats.spreadsheet import csv_text

        return csv_text(audit)
    if format is AuditFormat.SARIF:
        from importlib.metadata import version

        from pairlock.auditing.formats.sarif import sarif_data

        return _json(sarif_data(audit, release=version("pairlock")))
    if format is AuditFormat.HTML:
        from pairlock.report import report_page

        return report_page(audit)
    if format is AuditFormat.JSON:
        return _json({**audit.to_dict(), **({} if fixes is None else {"fixes": fixes})})
    return "\n".join(table_lines(audit, width=_width())) + "\n"


def table_lines(audit: Audit, *, width: int) -> Iterator[str]:
    """The audit for a person, in lines of at most `width` places, as far as words allow.

    One row for each version, then what was found, then what it comes to.
    """
    if audit.rows:
        count = Counter((one.model, one.version) for one in audit.findings)
        rows = [_row(row, count[row.model, row.version]) for row in audit.rows]
        yield from wrapped_columns([_TITLES, *rows], width=width)
        yield ""
    for finding in audit.findings:
        for label, text in _finding(finding):
            yield from labelled(label, printable(text), indent=9, width=width)
        yield ""
    for label, text in _end(audit):
        yield from labelled(label, printable(text), indent=12, width=width)


def _row(row: AuditRow, findings: int) -> tuple[str, ...]:
    by_hand = [f"({name})" for name in row.stage_names if name not in row.stages]
    return (
        printable(f"{row.model}/{row.version}"),
        row.kind,
        printable((row.base or "").removeprefix("models:/")),
        "" if row.base_state.value == "none" else row.base_state.value,
        printable(", ".join([*row.stages, *by_hand])),
        "" if row.severity is None else row.severity.value,
        str(findings or ""),
    )


def _finding(finding: AuditFinding) -> Iterator[tuple[str, str]]:
    about = finding.model or "the registry"
    about += "" if finding.version is None else f"/{finding.version}"
    about += "" if finding.stage is None else f" in {finding.stage}"
    yield finding.severity.value, f"{about}: {finding.code}  [{finding.fingerprint}]"
    facts = (
        ("at", finding.place),
        ("expected", finding.expected),
        ("found", finding.found),
        ("to do", finding.todo),
    )
    yield from ((name, text) for name, text in facts if text)


def _end(audit: Audit) -> Iterator[tuple[str, str]]:
    summary = audit.summary
    found = [
        counted(count, severity.value) for severity, count in summary.severities.items() if count
    ]
    yield "registry", audit.registry
    yield "looked at", f"{audit.at}{_how(audit)}"
    shown = f"{counted(summary.versions, 'version')} of {counted(summary.models, 'model')}"
    yield "shown", ": ".join([shown, *_counted(summary.kinds)])
    yield from (("in stages", text) for text in _counted(summary.stages))
    if audit.indexes:
        yield "indexes", f"{counted(len(audit.indexes), 'stamp')} compared"
    yield "found", ", ".join(found) or "nothing"
    if summary.accepted:
        yield "accepted", f"{summary.accepted}, by {audit.options.baseline}"
    if not audit.rows and audit.complete:
        yield "note", "no version is what was asked for"
    yield from (("expired", _entry(entry)) for entry in audit.expired)
    yield from (("stale", _entry(entry)) for entry in audit.stale)
    if not audit.complete:
        yield "INCOMPLETE", audit.problem or "the audit did not come to its end"
    elif not audit.checked_everything:
        yield "INCOMPLETE", "not everything could be checked; the findings say what"


def _how(audit: Audit) -> str:
    options = audit.options
    words = ["every byte"] if options.deep else ["tags and manifests"]
    words += ["vectors"] if options.golden else []
    return f", {' and '.join(words)}"


def _counted(counts: Mapping[str, int]) -> list[str]:
    """In one text, or none where nothing was counted."""
    text = ", ".join(f"{count} {name}" for name, count in counts.items())
    return [text] if text else []


def _entry(entry: BaselineEntry) -> str:
    version = "" if entry.version is None else f"/{entry.version}"
    return (
        f"{entry.model or 'the registry'}{version}: {entry.code}  [{entry.fingerprint}], until "
        f"{entry.until.isoformat()}: {entry.reason}"
    )


def fix_lines(plan: FixPlan, done: Iterable[Fixed]) -> Iterator[str]:
    """What is planned about findings, and what was done, in lines."""
    for fix in plan.fixes:
        yield f"plan      {printable(fix.what)}"
    if not plan.fixes:
        yield "plan      nothing can be mended without a person"
    if plan.left:
        yield f"left      to people: {counted(len(plan.left), 'finding')}; each says what to do"
    for one in done:
        word = "done" if one.done else "NOT DONE"
        yield f"{word:<9} {printable(one.fix.what)}: {printable(one.detail)}"


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, indent=2) + "\n"


def _width() -> int:
    """Of the terminal; 80 where there is none."""
    return shutil.get_terminal_size((_NARROW, 24)).columns if sys.stdout.isatty() else _NARROW
