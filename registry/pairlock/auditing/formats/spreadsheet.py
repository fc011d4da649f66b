"""An audit as CSV (RFC 4180): one line for each finding, and one for each version without any."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from pairlock.auditing.baseline import Accepted
from pairlock.auditing.findings import AuditFinding
from pairlock.auditing.result import Audit
from pairlock.auditing.rows import AuditRow
from pairlock.plain_text import printable

COLUMNS = (
    "model",
    "version",
    "kind",
    "dimension",
    "package_digest",
    "base",
    "base_state",
    "stages",
    "aliases",
    "legacy_stage",
    "severity",
    "code",
    "stage",
    "place",
    "expected",
    "found",
    "todo",
    "fingerprint",
    "accepted_until",
    "accepted_reason",
)
"""The title line. New columns come at the end."""

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What spreadsheets take for the beginning of a formula, also in full width:
https://owasp.org/www-community/attacks/CSV_Injection."""


def csv_text(audit: Audit) -> str:
    """The audit as CSV: a title line, commas, CRLF.

    Text that a spreadsheet would run as a formula has an apostrophe before it, and characters that
    are not printable are backslash escapes. Several stages in a cell have spaces between them.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, dialect="excel")  # CRLF, quotes where they are needed, doubled
    writer.writerow(COLUMNS)
    for line in _lines(audit):
        writer.writerow([_cell(value) for value in line])
    return stream.getvalue()


def _lines(audit: Audit) -> Iterator[tuple[object, ...]]:
    found: dict[tuple[str | None, int | None], list[AuditFinding | Accepted | None]] = {}
    for finding in audit.findings:
        found.setdefault((finding.model, finding.version), []).append(finding)
    for accepted in audit.accepted:
        about = accepted.finding
        found.setdefault((about.model, about.version), []).append(accepted)
    for row in audit.rows:
        for one in found.pop((row.model, row.version), [None]):
            yield (*_version(row), *_finding(one))
    for (model, version), others in found.items():  # of no version that has a row
        for other in others:
            yield (model, version, *[None] * 8, *_finding(other))


def _version(row: AuditRow) -> tuple[object, ...]:
    return (
        row.model,
        row.version,
        row.kind,
        row.dimension,
        row.package_digest,
        row.base,
        row.base_state,
        " ".join(row.stages),
        " ".join(row.aliases),
        row.legacy_stage,
    )


def _finding(one: AuditFinding | Accepted | None) -> tuple[object, ...]:
    if one is None:
        return (None,) * 10
    finding = one.finding if isinstance(one, Accepted) else one
    accepted: tuple[object, ...] = (None, None)
    if isinstance(one, Accepted):
        accepted = (one.entry.until.isoformat(), one.entry.reason)
    return (
        finding.severity,
        finding.code,
        finding.stage,
        finding.place,
        finding.expected,
        finding.found,
        finding.todo,
        finding.fingerprint,
        *accepted,
    )


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = printable(str(value))
    # some programs pass over spaces first
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
