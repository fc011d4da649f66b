"""One entry's file: read as it was written, and refused when anything in it was changed."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlock import ErrorKind, FormatError, IntegrityError, InvalidInputError, PairlockError
from pairlock.digests import canonical_json, digest_bytes
from pairlock.ledger import Act, Anchor, Entry, GateRecord, Reindex, parse_anchor
from pairlock.ledger.document import MAX_ENTRY_BYTES, read_entry, write_entry
from support.ledgers import entry_after, promotions, sealed, subject

RICH = entry_after(
    promotions(2)[-1],
    version=3,
    gates=(
        GateRecord(
            gate="metrics",
            outcome="passed",
            detail="ndcg@10 0.71 ≥ 0.70",
            figures={"ndcg@10": 0.71, "floor": 0.7, "big": 1e20, "nested": {"a": [1, None, True]}},
        ),
        GateRecord(gate="golden", outcome="bypassed", detail=""),
    ),
    reindex=Reindex(verdict="needed", detail="other document space", acknowledged="planned"),
    reason="bessere Treffer, 検索",
    policy_digest=f"sha256:{7:064x}",
    origin={"registry": "http://other", "entry": 3},
    unknown={"ticket": {"id": 12}},
)


def decoded(entry: Entry) -> dict[str, Any]:
    """The document of an entry's file, to be changed."""
    found: dict[str, Any] = json.loads(
        write_entry(entry), parse_int=lambda text: float(text) if len(text) > 16 else int(text)
    )
    return found


def resealed(document: dict[str, Any]) -> bytes:
    """A file that somebody changed, with a digest that fits."""
    body = {key: value for key, value in document.items() if key != "digest"}
    return canonical_json({**body, "digest": digest_bytes(canonical_json(body))})


def read(content: bytes) -> Any:
    return read_entry(content, where="entry 3")


def test_an_entry_is_read_as_it_was_written() -> None:
    """Every field comes back, and writing it again gives the same bytes."""
    content = write_entry(RICH)
    found = read(content)
    assert found.entry == RICH
    assert found.digest == digest_bytes(content)
    assert write_entry(found.entry) == content


def test_keys_of_a_later_release_survive() -> None:
    """A key of the entry that nobody knows is kept, and so is one in figures and in origin."""
    document = decoded(RICH)
    document["entry"]["signature"] = {"by": "key-1"}
    document["entry"]["origin"]["region"] = "eu"
    document["entry"]["gates"][0]["figures"]["unit"] = "ratio"
    content = resealed(document)
    found = read(content).entry
    assert found.unknown == {"ticket": {"id": 12}, "signature": {"by": "key-1"}}
    assert write_entry(found) == content


@pytest.mark.parametrize(
    "place",
    [("state",), ("state", "stages", "production"), ("subject",), ("gates", 0), ("reindex",), ()],
)
def test_keys_that_would_be_lost_are_refused(place: tuple[Any, ...]) -> None:
    """What this release would not carry on, or what no rule covers, is a problem of its own."""
    document = decoded(RICH)
    inner: Any = document["entry"] if place else document
    for step in place:
        inner = inner[step]
    inner["later"] = 1
    with pytest.raises(FormatError) as caught:
        read(resealed(document))
    assert caught.value.kind is ErrorKind.LEDGER_INVALID
    assert [finding.place.rpartition(".")[2] for finding in caught.value.findings] == ["later"]


def test_a_later_format_asks_for_an_upgrade() -> None:
    """A version that this release does not know is not guessed at."""
    document = decoded(RICH) | {"format_version": 2}
    with pytest.raises(FormatError) as caught:
        read(resealed(document))
    assert caught.value.kind is ErrorKind.FORMAT_TOO_NEW


def test_all_problems_are_listed() -> None:
    """An entry with four mistakes names four places."""
    document = decoded(RICH)
    entry = document["entry"]
    entry["sequence"] = -1
    entry["write_id"] = "mine"
    entry["state"]["stages"]["production"]["version"] = "3"
    del entry["act"]
    with pytest.raises(FormatError) as caught:
        read(resealed(document))
    places = {finding.place for finding in caught.value.findings}
    assert {
        "$.entry.sequence",
        "$.entry.write_id",
        "$.entry.act",
        "$.entry.state.stages.production.version",
    } <= places


@pytest.mark.parametrize(
    ("sequence", "previous"), [(0, f"sha256:{1:064x}"), (1, None), (1, "sha256:12")]
)
def test_only_the_first_entry_follows_on_nothing(sequence: int, previous: str | None) -> None:
    """Entry 0 names none before it, and every other one names one by its digest."""
    document = decoded(RICH)
    document["entry"] |= {"sequence": sequence, "previous": previous}
    with pytest.raises(FormatError) as caught:
        read(resealed(document))
    assert caught.value.kind is ErrorKind.LEDGER_INVALID


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"entry":NaN}',
        b"[" * 100_000,
        b"9" * 5000,
        b'{"a":1' + b" " * MAX_ENTRY_BYTES + b"}",
    ],
    ids=["empty", "object", "list", "null", "no-text", "nan", "deep", "digits", "large"],
)
def test_what_is_no_entry_is_refused(content: bytes) -> None:
    """Anything else than an entry is an error of the format, and never another exception."""
    with pytest.raises(FormatError) as caught:
        read(content)
    assert caught.value.kind is ErrorKind.LEDGER_INVALID


@pytest.mark.parametrize(
    "respelled",
    [
        lambda content: content + b"\n",
        lambda content: content.replace(b'"act":', b'"act": '),
        lambda content: json.dumps(json.loads(content)).encode(),
        lambda content: content.replace(b"0.71", b"0.710"),
        lambda content: content.replace(b'"reason":', b'"reason":"x","reason":'),
        lambda content: b"\xef\xbb\xbf" + content,
    ],
    ids=["newline", "space", "other-order", "zero", "twice", "mark"],
)
def test_another_spelling_is_refused(respelled: Any) -> None:
    """The same data in other bytes is not the file that was written."""
    content = respelled(write_entry(RICH))
    assert content != write_entry(RICH)
    with pytest.raises(FormatError) as caught:
        read(content)
    assert caught.value.kind is ErrorKind.LEDGER_INVALID


def test_a_changed_value_is_found_by_the_files_own_digest() -> None:
    """A well-formed entry that says something else is not what was recorded."""
    document = decoded(RICH)
    document["entry"]["actor"] = "eve"
    with pytest.raises(IntegrityError) as caught:
        read(canonical_json(document))
    assert caught.value.kind is ErrorKind.LEDGER_BROKEN


def test_one_changed_byte_is_found_at_every_position() -> None:
    """Whatever byte of a file gets another value, that file alone shows it."""
    content = write_entry(RICH)
    unnoticed = []
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1
        try:
            read(bytes(changed))
        except PairlockError:
            continue
        unnoticed.append(position)
    assert unnoticed == []


CONTENT = write_entry(RICH)


@given(
    position=st.integers(0, len(CONTENT) - 1),
    count=st.integers(0, 3),
    put=st.binary(max_size=3),
)
def test_bytes_put_in_or_taken_out_are_found(position: int, count: int, put: bytes) -> None:
    """No edit of a file passes for the file, and none gives another error than Pairlock's."""
    changed = CONTENT[:position] + put + CONTENT[position + count :]
    if changed == CONTENT:
        assert read(changed).entry == RICH
        return
    with pytest.raises(PairlockError):
        read(changed)


@pytest.mark.parametrize("figure", [math.nan, math.inf, -math.inf, 2**53])
def test_a_figure_that_json_cannot_hold_is_not_written(figure: float) -> None:
    """NaN is an error before anything is stored, not a file that nobody can read."""
    gate = GateRecord(gate="metrics", outcome="failed", detail="", figures={"ndcg@10": figure})
    with pytest.raises(InvalidInputError) as caught:
        write_entry(replace(RICH, gates=(gate,)))
    assert caught.value.kind is ErrorKind.LEDGER_INVALID


@pytest.mark.parametrize(
    "changes",
    [
        {"reason": "x" * MAX_ENTRY_BYTES},
        {"reason": "\ud800"},
        {"at": "yesterday"},
        {"at": "2026-01-31T12:00:00+02:00"},
        {"at": "2026-01-31T12:00:00"},
        {"at": "2026-99-99T99:99:99Z"},
        {"at": "2026-02-29T12:00:00Z"},
        {"at": "2026-01-31T24:00:00Z"},
        {"write_id": "short"},
        {"subject": replace(subject(3), version=0)},
        {"origin": {"when": object()}},
    ],
    ids=[
        "large",
        "half-a-character",
        "time",
        "other-zone",
        "no-zone",
        "no-month",
        "no-day",
        "no-hour",
        "write-id",
        "version",
        "no-json",
    ],
)
def test_what_could_not_be_read_back_is_not_written(changes: dict[str, Any]) -> None:
    """An entry that this release would refuse to read is refused when it is written."""
    with pytest.raises(InvalidInputError) as caught:
        write_entry(replace(RICH, **changes))
    assert caught.value.kind is ErrorKind.LEDGER_INVALID


@pytest.mark.parametrize("at", ["2026-99-99T99:99:99Z", "2026-02-29T12:00:00Z"])
def test_a_day_that_there_is_not_is_no_time(at: str) -> None:
    """A file that has the form of a time in it, and no such day, is refused as any other."""
    document = decoded(RICH)
    document["entry"]["at"] = at
    with pytest.raises(FormatError) as caught:
        read(resealed(document))
    assert [finding.place for finding in caught.value.findings] == ["$.entry.at"]


def test_every_act_can_be_written() -> None:
    """Each act has an entry that survives its file."""
    first = sealed(entry_after(None, version=1))
    asked = sealed(entry_after(first, Act.REQUEST, version=2, request="r1"))
    agreed = sealed(entry_after(asked, Act.APPROVE, version=2, request="r1", actor="bob"))
    made = sealed(entry_after(agreed, version=2, request="r1"))
    back = sealed(entry_after(made, Act.ROLLBACK, version=1, target=first))
    sent = sealed(entry_after(back, Act.SEND, version=1, origin={"to": "http://other"}))
    taken = sealed(entry_after(sent, Act.ADOPT, version=3))
    emptied = sealed(entry_after(taken, Act.DEMOTE, version=None))
    acts = {one.entry.act for one in (first, asked, agreed, made, back, sent, taken, emptied)}
    assert acts == set(Act)


def test_an_anchor_survives_its_text() -> None:
    """What is noted outside the ledger is read as it was written."""
    anchor = Anchor(12, f"sha256:{5:064x}")
    assert parse_anchor(str(anchor), where="a tag") == anchor


@pytest.mark.parametrize(
    "text",
    ["", "12", "12:", ":sha256:" + "0" * 64, "-1:sha256:" + "0" * 64, "01:sha256:" + "0" * 64],
)
def test_an_anchor_that_cannot_be_read_is_refused(text: str) -> None:
    """A note that was tampered with is an error, and not the absence of a note."""
    with pytest.raises(IntegrityError) as caught:
        parse_anchor(text, where="a tag")
    assert caught.value.kind is ErrorKind.LEDGER_BROKEN
