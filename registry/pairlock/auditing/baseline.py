"""Findings that somebody accepted for a while, with a reason: a TOML file in the repository.

    [[accepted]]
    fingerprint = "1f0c8a52b7d94e36"
    code = "library-drift"
    model = "support"
    version = 3
    reason = "served by an image that pins its libraries"
    until = 2027-01-31

No I/O; `baseline_files` reads and writes the file.
"""

from __future__ import annotations

import datetime as dt
import difflib
import json
import re
import tomllib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from pairlock.auditing.codes import Code
from pairlock.auditing.findings import AuditFinding
from pairlock.errors import ErrorKind, Finding, InvalidInputError
from pairlock.plain_text import printable
from pairlock.wording import counted

_KEYS = ("fingerprint", "code", "model", "version", "reason", "until")

NEED_EVERY_BYTE = frozenset({Code.PACKAGE_TAMPERED, Code.NOT_PROVED})
"""Codes of which the whole is only found where every byte is hashed."""

OF_INDEXES = frozenset({Code.INDEX_UNKNOWN_VERSION, Code.INDEX_FOREIGN_SPACE})
"""Of the indexes that are named. Which those were that an entry is about, it does not say."""

NEED_VECTORS = frozenset({Code.GOLDEN, Code.NOT_PROVED})
"""Codes that are only found where vectors are recomputed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineEntry:
    """One finding that is accepted."""

    fingerprint: str
    """`AuditFinding.fingerprint`: 16 hex digits."""

    code: Code
    model: str | None = None
    version: int | None = None
    reason: str
    until: dt.date
    """The last day on which it counts, in UTC."""

    def means(self, finding: AuditFinding) -> bool:
        """Whether it is about this finding, and says nothing else of it than what is so."""
        return (
            self.fingerprint == finding.fingerprint
            and self.code is finding.code
            and self.model in (None, finding.model)
            and self.version in (None, finding.version)
        )

    def to_dict(self) -> dict[str, Any]:
        """The entry as JSON data."""
        return {
            "fingerprint": self.fingerprint,
            "code": self.code.value,
            "model": self.model,
            "version": self.version,
            "reason": self.reason,
            "until": self.until.isoformat(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Everything that is accepted."""

    where: str
    """What to call it: the file's path."""

    entries: tuple[BaselineEntry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A finding that is accepted."""

    finding: AuditFinding
    entry: BaselineEntry

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON data, with reason and last day."""
        return {
            **self.finding.to_dict(),
            "reason": self.entry.reason,
            "until": self.entry.until.isoformat(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Findings, beside a baseline."""

    open: tuple[AuditFinding, ...]
    accepted: tuple[Accepted, ...] = ()
    expired: tuple[BaselineEntry, ...] = ()
    """Entries that count no more; what they accepted is open again."""

    stale: tuple[BaselineEntry, ...] = ()
    """Entries that match nothing: it was settled, or they name another finding."""

    unjudged: tuple[BaselineEntry, ...] = ()
    """Entries that match nothing here, where not everything was looked at."""


def settle(
    findings: Iterable[AuditFinding],
    baseline: Baseline,
    *,
    today: dt.date,
    looked_for: Collection[Code] = tuple(Code),
) -> Settled:
    """Take what is accepted out of what was found.

    Args:
        findings: all, whatever is shown of them.
        baseline: what is accepted.
        today: in UTC.
        looked_for: codes of which everything would have been found. An entry for another code is
            never called stale.
    """
    in_force = {entry.fingerprint: entry for entry in baseline.entries if entry.until >= today}
    open_: list[AuditFinding] = []
    accepted: list[Accepted] = []
    matched: set[str] = set()
    for finding in findings:
        entry = in_force.get(finding.fingerprint)
        if entry is not None and entry.means(finding):
            matched.add(entry.fingerprint)
            accepted.append(Accepted(finding=finding, entry=entry))
        else:
            open_.append(finding)
    unmatched = [one for one in baseline.entries if one.until >= today]
    unmatched = [one for one in unmatched if one.fingerprint not in matched]
    return Settled(
        open=tuple(open_),
        accepted=tuple(accepted),
        expired=tuple(entry for entry in baseline.entries if entry.until < today),
        stale=tuple(entry for entry in unmatched if entry.code in looked_for),
        unjudged=tuple(entry for entry in unmatched if entry.code not in looked_for),
    )


def codes_looked_for(*, complete: bool, deep: bool, golden: bool) -> frozenset[Code]:
    """Of which codes an audit finds everything that there is.

    Args:
        complete: whether it came to its end.
        deep: whether every byte of every version was hashed.
        golden: whether the vectors of every version were recomputed.
    """
    if not complete:
        return frozenset()
    missed = (
        OF_INDEXES
        | (frozenset() if deep else NEED_EVERY_BYTE)
        | (frozenset() if golden else NEED_VECTORS)
    )
    return frozenset(Code) - missed


def read_baseline(content: bytes | str, *, where: str) -> Baseline:
    """Read a baseline.

    Args:
        content: TOML, in UTF-8 where it is bytes.
        where: what to call it in messages.

    Raises:
        InvalidInputError: it is no baseline; every problem is listed.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid(where, [_problem("the file", "TOML", str(error))]) from error
    reader = _Reader()
    entries = reader.entries(data)
    if reader.problems:
        raise _invalid(where, reader.problems)
    return Baseline(where=where, entries=entries)


def baseline_text(accepted: Iterable[Accepted], *, kept: Iterable[BaselineEntry] = ()) -> str:
    """The baseline that accepts these findings, as TOML.

    Args:
        accepted: findings, each with its entry.
        kept: entries of another baseline of which nothing is known here.
    """
    blocks = [
        (
            _order(one.entry),
            [f"# {printable(_about(one.finding))}", *_lines(one.entry)],
        )
        for one in accepted
    ]
    blocks += [
        (_order(entry), ["# not looked at when this was written", *_lines(entry)]) for entry in kept
    ]
    head = "# Findings of `pairlock audit` that are accepted for a while. See docs/audit.md."
    return "\n\n".join([head, *("\n".join(lines) for _, lines in sorted(blocks))]) + "\n"


def entry_for(finding: AuditFinding, *, reason: str, until: dt.date) -> BaselineEntry:
    """The entry that accepts a finding."""
    return BaselineEntry(
        fingerprint=finding.fingerprint,
        code=finding.code,
        model=finding.model,
        version=finding.version,
        reason=reason,
        until=until,
    )


def _order(entry: BaselineEntry) -> tuple[str, int, str, str]:
    return entry.model or "", entry.version or 0, entry.code.value, entry.fingerprint


def _about(finding: AuditFinding) -> str:
    parts = [f"expected {finding.expected}"] if finding.expected else []
    parts += [f"found {finding.found}"] if finding.found else []
    return ": ".join(one for one in (finding.place or finding.code.value, ", ".join(parts)) if one)


def _lines(entry: BaselineEntry) -> list[str]:
    lines = ["[[accepted]]", f'fingerprint = "{entry.fingerprint}"', f'code = "{entry.code}"']
    if entry.model is not None:
        lines.append(f"model = {_string(entry.model)}")
    if entry.version is not None:
        lines.append(f"version = {entry.version}")
    return [*lines, f"reason = {_string(entry.reason)}", f"until = {entry.until.isoformat()}"]


def _string(text: str) -> str:
    """A basic string of TOML, which escapes as JSON does, and delete as well."""
    whole = text.encode("utf-8", "replace").decode()
    return json.dumps(whole, ensure_ascii=False).replace("\x7f", "\\u007f")


def _problem(place: str, expected: str, found: str) -> Finding:
    return Finding(kind=ErrorKind.BASELINE_INVALID, place=place, expected=expected, found=found)


def _invalid(where: str, problems: list[Finding]) -> InvalidInputError:
    return InvalidInputError(
        f"{where} is not a valid baseline",
        kind=ErrorKind.BASELINE_INVALID,
        checked=where,
        expected="accepted findings as docs/audit.md describes them",
        found=counted(len(problems), "problem"),
        findings=problems,
        done="nothing was audited",
        hint="mend what is listed; `pairlock audit --write-baseline` writes a whole file",
    )


class _Reader:
    """Reads a document, and collects problems. What is wrong gives a harmless placeholder."""

    def __init__(self) -> None:
        self.problems: list[Finding] = []

    def report(self, place: str, expected: str, found: object) -> None:
        words = "nothing" if found is None else repr(found)[:200]
        self.problems.append(_problem(place, expected, words))

    def entries(self, data: dict[str, Any]) -> tuple[BaselineEntry, ...]:
        self._known_keys("", data, ("accepted",))
        items = data.get("accepted", [])
        if not isinstance(items, list):
            self.report("accepted", "entries, each as [[accepted]]", items)
            return ()
        found = [self._entry(f"accepted[{index}]", item) for index, item in enumerate(items)]
        first: dict[str, int] = {}
        for index, entry in enumerate(found):
            if entry is None:
                continue
            before = first.setdefault(entry.fingerprint, index)
            if before != index:
                place = f"accepted[{index}].fingerprint"
                self.report(place, "each finding once", f"that of accepted[{before}]")
        return tuple(entry for entry in found if entry is not None)

    def _entry(self, place: str, data: Any) -> BaselineEntry | None:
        if not isinstance(data, dict):
            self.report(place, "a table", data)
            return None
        before = len(self.problems)
        self._known_keys(f"{place}.", data, _KEYS)
        fingerprint = data.get("fingerprint")
        if not isinstance(fingerprint, str) or not re.fullmatch("[0-9a-f]{16}", fingerprint):
            self.report(f"{place}.fingerprint", "16 hex digits, as an audit shows", fingerprint)
        code = data.get("code")
        if not isinstance(code, str) or code not in set(Code):
            near = difflib.get_close_matches(str(code), [one.value for one in Code], n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            self.report(f"{place}.code", f"a code of an audit{meant}", code)
        model = data.get("model")
        if model is not None and (not isinstance(model, str) or not model):
            self.report(f"{place}.model", "the name of a registered model", model)
        version = data.get("version")
        if version is not None and (type(version) is not int or version < 1):
            self.report(f"{place}.version", "the number of a version", version)
        reason = data.get("reason")
        if not isinstance(reason, str) or not reason.strip():
            self.report(f"{place}.reason", "why it is accepted", reason)
        until = data.get("until")
        if type(until) is not dt.date:
            self.report(f"{place}.until", "a day without quotes, such as 2027-01-31", until)
        if len(self.problems) > before:
            return None
        return BaselineEntry(
            fingerprint=str(fingerprint),
            code=Code(str(code)),
            model=model,
            version=version,
            reason=str(reason),
            until=until if isinstance(until, dt.date) else dt.date.min,
        )

    def _known_keys(self, prefix: str, data: dict[str, Any], keys: Collection[str]) -> None:
        for key in data:
            if key not in keys:
                near = difflib.get_close_matches(key, keys, n=1)
                meant = f"{near[0]}, or no such key" if near else f"one of {', '.join(keys)}"
                self.report(f"{prefix}{key}", meant, key)
