"""`Entry` to the bytes of its file, and back. Says what a file proves by itself.

    {"digest": "sha256:…", "entry": {…}, "format_version": 1}

in RFC 8785 canonical form. `digest` is that of the canonical bytes of the document without it, so
one changed byte anywhere in a file is found from that file alone. The link from one entry to the
next is the digest of the whole file.

How to change the format:

1. A new optional key of the entry itself needs no new version: readers keep keys that they do not
   know. Nor do new keys in `figures` and `origin`.
2. A key that changes meaning, a new required key, a new act, or a new key deeper inside raises
   `ENTRY_FORMAT` by one; a reader that does not know it would drop it from the state that it
   carries on. The reader of every earlier version stays.
3. `docs/ledger.md` changes in the same commit.

Law: `write_entry(read_entry(content).entry) == content` for every file that can be read.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pairlock.digests import canonical_json, digest_bytes
from pairlock.errors import ErrorKind, FormatError, IntegrityError, InvalidInputError
from pairlock.ledger.entry import (
    Act,
    Approval,
    Entry,
    GateRecord,
    Held,
    Reindex,
    Request,
    State,
    Subject,
)
from pairlock.manifest.fields import (
    ObjectReader,
    Problem,
    findings_of,
    form_problems,
)
from pairlock.manifest.format import MAX_SAFE_INTEGER
from pairlock.manifest.writing import plain_data
from pairlock.wording import counted

ENTRY_FORMAT = 1
"""The version this release writes. It reads this version and every earlier one."""

MAX_ENTRY_BYTES = 1 << 20
"""A larger file is refused before it is parsed; an entry with ten gates has some 4 kB."""

_MAX_ITEMS = 1000
_DIGEST = r"sha256:[0-9a-f]{64}"
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|\+00:00)"
_WRITE_ID = r"[0-9a-f]{32}"


@dataclass(frozen=True, slots=True)
class Sealed:
    """An entry as it lies in its file."""

    entry: Entry
    digest: str
    """`sha256:<hex>` of the file's bytes: what the next entry, or an anchor, names it by."""


def write_entry(entry: Entry) -> bytes:
    """The bytes of an entry's file.

    Raises:
        InvalidInputError: it holds what no file can, such as a figure that is no number, or what
            this release could not read back.
    """
    body = {"entry": plain_data(entry), "format_version": ENTRY_FORMAT}
    try:
        content = canonical_json({**body, "digest": digest_bytes(canonical_json(body))})
        read_entry(content, where="the entry")
    except (ValueError, RecursionError) as error:
        findings = error.findings if isinstance(error, FormatError) else ()
        raise InvalidInputError(
            "this cannot be written into the ledger",
            kind=ErrorKind.LEDGER_INVALID,
            checked="the entry",
            expected=f"an entry as docs/ledger.md specifies it, of at most {MAX_ENTRY_BYTES} bytes",
            found=getattr(error, "summary", str(error)),
            findings=findings,
            done="nothing was recorded",
            hint="shorten the reason, or correct the figure that is no finite number",
        ) from error
    return content


def read_entry(content: bytes, *, where: str) -> Sealed:
    """Parse an entry's file and check everything that can be checked without other files.

    Args:
        content: the file's bytes.
        where: what to call it in messages.

    Returns:
        The entry and the digest of the file.

    Raises:
        FormatError: not canonical JSON, a newer format, or problems, all of them listed.
        IntegrityError: a well-formed entry whose digest is not the recorded one.
    """
    document = _parse_json(content, where)
    version = document.get("format_version")
    if type(version) is int and version > ENTRY_FORMAT:
        raise FormatError(
            f"{where} was written by a newer Pairlock",
            kind=ErrorKind.FORMAT_TOO_NEW,
            checked="format_version",
            expected=f"1 to {ENTRY_FORMAT}",
            found=str(version),
            done="nothing was changed",
            hint="upgrade with `pip install --upgrade pairlock`",
        )
    problems = form_problems(document, content)
    reader = ObjectReader(document, "$", problems)
    reader.integer("format_version", at_least=1)
    recorded = reader.text("digest", pattern=_DIGEST, what="sha256: and 64 lower-case hex digits")
    entry = _entry(reader.child("entry"))
    _refuse_unknown(reader)
    if problems:
        raise _invalid(where, problems)
    if plain_data(entry) != document["entry"]:
        raise _invalid(where, [Problem("$", "does not survive being read and written")])
    actual = digest_bytes(
        canonical_json({key: value for key, value in document.items() if key != "digest"})
    )
    if actual != recorded:
        raise IntegrityError(
            f"{where} was changed",
            kind=ErrorKind.LEDGER_BROKEN,
            checked="the digest that the file holds of its own content",
            expected=recorded,
            found=actual,
            done="nothing was changed",
            hint="restore the file from a copy of the ledger",
        )
    return Sealed(entry, digest_bytes(content))


def _parse_json(content: bytes, where: str) -> dict[str, Any]:
    if len(content) > MAX_ENTRY_BYTES:
        raise _invalid(where, [Problem("$", f"is larger than {MAX_ENTRY_BYTES} bytes")])
    try:
        document = json.loads(content, parse_int=_whole_number)
    except (ValueError, RecursionError) as error:
        raise _invalid(where, [Problem("$", f"is not JSON: {error}")]) from error
    if not isinstance(document, dict):
        raise _invalid(where, [Problem("$", "must be an object")])
    return document


def _whole_number(text: str) -> int | float:
    """Canonical JSON writes the float 1e20 as digits; past 2^53 digits are a float."""
    value = int(text)
    return value if abs(value) <= MAX_SAFE_INTEGER else float(text)


def _invalid(where: str, problems: list[Problem]) -> FormatError:
    return FormatError(
        f"{where} is not a valid ledger entry",
        kind=ErrorKind.LEDGER_INVALID,
        checked="the entry",
        expected="a document as docs/ledger.md specifies it",
        found=counted(len(problems), "problem"),
        findings=findings_of(problems, kind=ErrorKind.LEDGER_INVALID, expected="a valid entry"),
        done="nothing was changed",
        hint="restore the file from a copy of the ledger",
    )


def _refuse_unknown(*readers: ObjectReader) -> None:
    """What would be lost when the state is carried on, or is covered by no rule, is a problem."""
    for reader in readers:
        for key in reader.unknown():
            reader.report(key, "is a key that this release does not know")


def _entry(reader: ObjectReader) -> Entry:
    subject = reader.optional_child("subject")
    replaced = reader.optional_child("replaced")
    reindex = reader.optional_child("reindex")
    origin = reader.optional_child("origin")
    sequence = reader.integer("sequence", at_least=0)
    previous = reader.optional_text("previous", pattern=_DIGEST, what="a digest as sha256:<hex>")
    if (sequence == 0) != (previous is None):
        reader.report("previous", "must be null in entry 0, and nowhere else")
    return Entry(
        sequence=sequence,
        previous=previous,
        write_id=reader.text("write_id", pattern=_WRITE_ID, what="32 lower-case hex digits"),
        act=Act(reader.choice("act", tuple(act.value for act in Act))),
        actor=reader.text("actor"),
        at=_time(reader, "at"),
        model=reader.text("model"),
        model_created_ms=reader.integer("model_created_ms", at_least=0),
        stage=reader.optional_text("stage"),
        subject=None if subject is None else _subject(subject),
        replaced=None if replaced is None else _held(replaced),
        gates=tuple(_gate(item) for item in reader.children("gates", at_most=_MAX_ITEMS)),
        reindex=None if reindex is None else _reindex(reindex),
        reason=reader.text("reason"),
        policy_digest=reader.optional_text(
            "policy_digest", pattern=_DIGEST, what="a digest as sha256:<hex>"
        ),
        request=reader.optional_text("request"),
        returns_to=reader.optional_integer("returns_to", at_least=0),
        origin=None if origin is None else origin.unknown(),
        state=_state(reader.child("state")),
        unknown=reader.unknown(),
    )


def _time(reader: ObjectReader, key: str) -> str:
    what = "a time in UTC such as 2026-01-31T12:00:00.000Z"
    text = reader.text(key, pattern=_TIME, what=what)
    if re.fullmatch(_TIME, text):
        try:
            datetime.fromisoformat(text)
        except ValueError:  # the form of a time, and no day or hour that there is
            reader.report(key, f"must be {what}, is {text!r}")
    return text


def _subject(reader: ObjectReader) -> Subject:
    subject = Subject(
        version=reader.integer("version", at_least=1),
        package_digest=reader.text("package_digest"),
        base_uri=reader.optional_text("base_uri"),
        base_digest=reader.optional_text("base_digest"),
        document_space=reader.text("document_space"),
        query_space=reader.text("query_space"),
    )
    _refuse_unknown(reader)
    return subject


def _held(reader: ObjectReader) -> Held:
    held = Held(
        version=reader.integer("version", at_least=1),
        package_digest=reader.text("package_digest"),
        entry=reader.integer("entry", at_least=0),
        previous=reader.optional_integer("previous", at_least=0),
    )
    _refuse_unknown(reader)
    return held


def _gate(reader: ObjectReader) -> GateRecord:
    gate = GateRecord(
        gate=reader.text("gate"),
        outcome=reader.text("outcome"),
        detail=reader.text("detail"),
        figures=reader.mapping("figures"),
    )
    _refuse_unknown(reader)
    return gate


def _reindex(reader: ObjectReader) -> Reindex:
    reindex = Reindex(
        verdict=reader.text("verdict"),
        detail=reader.text("detail"),
        acknowledged=reader.optional_text("acknowledged"),
    )
    _refuse_unknown(reader)
    return reindex


def _state(reader: ObjectReader) -> State:
    stages = reader.child("stages")
    state = State(
        stages={name: _held(stages.child(name)) for name in stages.keys()},  # noqa: SIM118 - no mapping
        requests=tuple(_request(item) for item in reader.children("requests", at_most=_MAX_ITEMS)),
    )
    _refuse_unknown(reader)
    return state


def _request(reader: ObjectReader) -> Request:
    approvals = reader.children("approvals", at_most=_MAX_ITEMS)
    request = Request(
        id=reader.text("id"),
        stage=reader.text("stage"),
        version=reader.integer("version", at_least=1),
        package_digest=reader.text("package_digest"),
        by=reader.text("by"),
        at=_time(reader, "at"),
        reason=reader.text("reason"),
        approvals=tuple(_approval(item) for item in approvals),
    )
    _refuse_unknown(reader)
    return request


def _approval(reader: ObjectReader) -> Approval:
    approval = Approval(by=reader.text("by"), at=_time(reader, "at"))
    _refuse_unknown(reader)
    return approval
