"""An audit as SARIF 2.1.0, for code scanning.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/ specifies it, and what GitHub reads of it is in
https://docs.github.com/en/code-security/reference/code-scanning/sarif-files/sarif-support.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pairlock.auditing import codes
from pairlock.auditing.codes import Code, CodeFacts
from pairlock.auditing.findings import AuditFinding
from pairlock.auditing.result import Audit
from pairlock.plain_text import printable

FINGERPRINT = "pairlockFinding/v1"
"""Name of the fingerprint by which a result is known again in the next audit."""

_HELP = "https://github.com/pairlock/pairlock/blob/main/docs/audit.md#codes"
_HOME = "https://github.com/pairlock/pairlock"


def sarif_data(audit: Audit, *, release: str) -> dict[str, Any]:
    """The audit as SARIF's JSON data: one run, its rules, one result for each open finding.

    Findings that are accepted are left out: GitHub shows results whether they are suppressed or
    not. Their number is in the run's properties.

    Args:
        audit: what was found.
        release: of Pairlock.
    """
    rules = list(Code)
    index = {code: number for number, code in enumerate(rules)}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "pairlock audit",
                        "version": release,
                        "informationUri": _HOME,
                        "rules": [_rule(code) for code in rules],
                    }
                },
                # tells it from other tools' uploads for the same commit
                "automationDetails": {"id": "pairlock-audit/"},
                "invocations": [_invocation(audit)],
                "results": [_result(finding, index[finding.code]) for finding in audit.findings],
                "columnKind": "unicodeCodePoints",
                "properties": {
                    "registry": printable(audit.registry),
                    "options": audit.options.to_dict(),
                    "summary": audit.summary.to_dict(),
                },
            }
        ],
    }


def _rule(code: Code) -> dict[str, Any]:
    table: Mapping[Code, CodeFacts] = getattr(codes, "FACTS", {})
    name = "".join(part.capitalize() for part in code.value.split("-"))
    facts = table.get(code)
    if facts is None:
        words = code.value.replace("-", " ")
        return {"id": code.value, "name": name, "shortDescription": {"text": words}}
    return {
        "id": code.value,
        "name": name,
        "shortDescription": {"text": facts.title},
        "fullDescription": {"text": facts.meaning},
        "help": {"text": facts.todo},
        "helpUri": _HELP,
        "defaultConfiguration": {"level": facts.severity.value},
    }


def _invocation(audit: Audit) -> dict[str, Any]:
    invocation: dict[str, Any] = {
        "executionSuccessful": audit.complete,
        "startTimeUtc": audit.at,
    }
    if not audit.complete:
        text = printable(audit.problem) or "the audit did not come to its end"
        invocation["toolExecutionNotifications"] = [{"level": "error", "message": {"text": text}}]
    return invocation


def _result(finding: AuditFinding, rule: int) -> dict[str, Any]:
    return {
        "ruleId": finding.code.value,
        "ruleIndex": rule,
        "level": finding.severity.value,
        "message": {"text": _message(finding)},
        "locations": [_location(finding)],
        "partialFingerprints": {
            FINGERPRINT: finding.fingerprint,
            # the only one that GitHub reads; it would hash a line of source otherwise
            "primaryLocationLineHash": f"{finding.fingerprint}:1",
        },
        "properties": {
            "model": finding.model,
            "version": finding.version,
            "stage": finding.stage,
            "place": printable(finding.place),
        },
    }


def _message(finding: AuditFinding) -> str:
    """One paragraph: what, where, expected, found, what to do. Square brackets would be links."""
    what = finding.code.value.replace("-", " ")
    parts = [f"{_subject(finding)}: {what}"]
    parts += [f"at {finding.place}"] if finding.place else []
    parts += [f"expected {finding.expected}"] if finding.expected else []
    parts += [f"found {finding.found}"] if finding.found else []
    parts += [f"to do: {finding.todo}"] if finding.todo else []
    text = "; ".join(printable(part).rstrip(".") for part in parts) + "."
    return text.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")


def _subject(finding: AuditFinding) -> str:
    if finding.model is None:
        return "registry"
    version = "" if finding.version is None else f" {finding.version}"
    return f"{finding.model}{version}" + (f" in {finding.stage}" if finding.stage else "")


def _location(finding: AuditFinding) -> dict[str, Any]:
    """A path, as code scanning wants one of every result: that of the version in MLflow's pages.

    Nothing in a repository is wrong, so the path leads to no file there.
    """
    path, name = "models", "registry"
    if finding.model is not None:
        path, name = f"models/{quote(finding.model, safe='')}", finding.model
    if finding.version is not None:
        path, name = f"{path}/versions/{finding.version}", f"{name}/{finding.version}"
    whole = f"{name}/{finding.place}" if finding.place else name
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": path},
            "region": {"startLine": 1},
        },
        "logicalLocations": [
            {"name": printable(name), "fullyQualifiedName": printable(whole), "kind": "resource"}
        ],
    }
