"""A whole history: whatever was done to it is found, and located in the right entry."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlock import ErrorKind
from pairlock.errors import Finding
from pairlock.ledger import Act, Anchor, Entry, Sealed, State
from pairlock.ledger.chain import check_chain, entry_path, sequence_of
from pairlock.ledger.document import write_entry
from pairlock.ledger.state import ImpossibleActError
from support.ledgers import (
    CREATED_MS,
    MODEL,
    STAGE,
    as_files,
    entry_after,
    promotions,
    sealed,
    subject,
)


def check(
    files: dict[int, bytes] | list[Sealed], anchor: Anchor | None = None
) -> tuple[Finding, ...]:
    """What is wrong with a history of the tests' model."""
    contents = files if isinstance(files, dict) else as_files(files)
    return check_chain(contents, model=MODEL, model_created_ms=CREATED_MS, anchor=anchor)


def numbers(findings: Iterable[Finding]) -> set[int]:
    """The entries that findings are about."""
    found: set[int] = set()
    for finding in findings:
        assert finding.kind in {ErrorKind.LEDGER_BROKEN, ErrorKind.FORMAT_TOO_NEW}
        one = re.match(r"entry (\d+) ", finding.place)
        some = re.fullmatch(r"entries (\d+) to (\d+)", finding.place)
        assert one or some, finding.place
        if one:
            found.add(int(one[1]))
        elif some:
            found |= set(range(int(some[1]), int(some[2]) + 1))
    return found


def rewritten(history: list[Sealed], number: int, **changes: Any) -> list[Sealed]:
    """A history that somebody wrote anew from one entry on, with links and digests that fit."""
    made = history[:number]
    for one in history[number:]:
        entry = replace(one.entry, previous=made[-1].digest if made else None)
        if entry.sequence == number:
            entry = replace(entry, **changes)
        made.append(sealed(entry))
    return made


def test_a_good_history_has_no_findings() -> None:
    """Nothing is found where nothing is wrong; an empty history is a good one."""
    history = promotions(5)
    assert check(history) == ()
    assert check(history, Anchor(2, history[2].digest)) == ()
    assert check({}) == ()


def test_one_changed_byte_is_located_at_every_position() -> None:
    """Whatever byte of a history changes, the findings name its file, and no other one."""
    files = as_files(promotions(3))
    wrong = []
    for number, content in files.items():
        for position in range(len(content)):
            changed = bytearray(content)
            changed[position] ^= 1
            if numbers(check({**files, number: bytes(changed)})) != {number}:
                wrong.append((number, position))
    assert wrong == []


FILES = as_files(promotions(3))


@given(data=st.data())
def test_any_other_byte_is_located(data: st.DataObject) -> None:
    """So it is whatever the byte becomes."""
    number = data.draw(st.sampled_from(sorted(FILES)))
    position = data.draw(st.integers(0, len(FILES[number]) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda byte: byte != FILES[number][position]))
    changed = bytearray(FILES[number])
    changed[position] = value
    assert numbers(check({**FILES, number: bytes(changed)})) == {number}


@pytest.mark.parametrize("missing", [{0}, {2}, {1, 2}, {1, 3}, {0, 1, 2, 3}])
def test_missing_entries_are_located(missing: set[int]) -> None:
    """Every gap is named, wherever it is."""
    files = {key: value for key, value in as_files(promotions(5)).items() if key not in missing}
    assert numbers(check(files)) == missing


@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 2), (0, 4), (1, 3), (3, 4)])
def test_swapped_files_are_located(one: int, other: int) -> None:
    """Both files that lie under each other's name are named."""
    files = as_files(promotions(5))
    files[one], files[other] = files[other], files[one]
    assert numbers(check(files)) >= {one, other}


def test_a_renumbered_history_is_found() -> None:
    """An entry taken out with all later ones moved up is a chain that does not hold."""
    history = promotions(5)
    files = as_files([*history[:2], *history[3:]])
    moved = {position: files[number] for position, number in enumerate(sorted(files))}
    assert min(numbers(check(moved))) == 2


def test_a_history_cut_short_is_found_by_the_anchor() -> None:
    """Entries that are gone from the end are missed by whoever noted a later one, and no others."""
    history = promotions(6)
    anchor = Anchor(5, history[5].digest)
    assert numbers(check(history[:3], anchor)) == {3, 4, 5}
    assert check(history[:3]) == ()
    assert numbers(check({}, anchor)) == {0, 1, 2, 3, 4, 5}


def test_an_anchor_far_away_costs_nothing() -> None:
    """A tag that somebody set to a number without end is one finding."""
    findings = check(promotions(2), Anchor(10**11, f"sha256:{0:064x}"))
    assert [finding.place for finding in findings] == ["entries 2 to 100000000000"]


@pytest.mark.parametrize("number", range(4))
def test_a_rewritten_history_is_found_by_the_anchor(number: int) -> None:
    """A history that holds together is not the one whose head was noted."""
    history = promotions(4)
    other = rewritten(history, number, reason="it was somebody else")
    assert check(other) == ()
    assert numbers(check(other, Anchor(3, history[3].digest))) == {3}


@pytest.mark.parametrize("number", range(4))
def test_a_replaced_entry_breaks_the_chain(number: int) -> None:
    """An entry that is good by itself and is not the one that the next one names is found there."""
    history = promotions(5)
    files = as_files(history)
    files[number] = write_entry(replace(history[number].entry, reason="it was somebody else"))
    assert numbers(check(files)) == {number + 1}


@pytest.mark.parametrize("changes", [{"model": "other"}, {"model_created_ms": 1}])
def test_another_models_entry_is_found(changes: dict[str, Any]) -> None:
    """An entry of another model, or of one that was made again under the name, is named."""
    assert numbers(check(rewritten(promotions(4), 2, **changes))) == {2}


def test_an_entry_recorded_twice_is_found() -> None:
    """Two entries with one write id are one act that was recorded twice."""
    history = promotions(3)
    twice = entry_after(history[2], version=4, write_id=history[1].entry.write_id)
    assert numbers(check([*history, sealed(twice)])) == {3}


def test_a_later_format_is_named_as_such() -> None:
    """What a newer release wrote is no damage, and still cannot be vouched for."""
    files = as_files(promotions(2))
    files[1] = files[1].replace(b'"format_version":1', b'"format_version":2')
    assert [finding.kind for finding in check(files)] == [ErrorKind.FORMAT_TOO_NEW]


def _other_state(entry: Entry) -> State:
    held = replace(entry.state.stages[STAGE], version=9)
    return State(stages={STAGE: held}, requests=entry.state.requests)


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: {"state": _other_state(entry)},
        lambda entry: {"state": State()},
        lambda entry: {
            "state": replace(
                entry.state, stages={**entry.state.stages, "staging": entry.state.stages[STAGE]}
            )
        },
        lambda entry: {"subject": subject(8)},
        lambda entry: {"subject": None},
        lambda entry: {"stage": None},
        lambda entry: {"replaced": None},
        lambda entry: {"act": Act.ROLLBACK},
        lambda entry: {"act": Act.ROLLBACK, "returns_to": 2},
        lambda entry: {"act": Act.ROLLBACK, "returns_to": 7},
        lambda entry: {"act": Act.APPROVE, "request": "none"},
        lambda entry: {"act": Act.DEMOTE, "stage": "staging"},
        lambda entry: {"request": "none"},
    ],
)
def test_a_state_that_does_not_follow_is_found(change: Any) -> None:
    """An entry whose state, holder before, or act cannot follow on the one before is named."""
    history = promotions(4)
    findings = check(rewritten(history, 2, **change(history[2].entry)))
    assert 2 in numbers(findings)


def test_a_rollback_whose_target_is_damaged_is_not_blamed() -> None:
    """Only the entry that was changed has a finding, not the one that refers to it."""
    history = promotions(3)
    history.append(sealed(entry_after(history[2], Act.ROLLBACK, version=1, target=history[0])))
    files = as_files(history)
    assert check(files) == ()
    files[0] = files[0].replace(b"ada", b"eve")
    assert numbers(check(files)) == {0}


def test_two_rollbacks_go_two_steps_back() -> None:
    """A rollback takes over what came before its target, and not the holder that it replaced."""
    history = promotions(3)
    for target in (1, 0):
        previous = history[-1].entry.state.stages[STAGE].previous
        assert previous == target
        entry = entry_after(history[-1], Act.ROLLBACK, version=target + 1, target=history[previous])
        history.append(sealed(entry))
    assert history[-1].entry.state.stages[STAGE].version == 1
    assert history[-1].entry.state.stages[STAGE].previous is None
    assert check(history) == ()


def test_names_sort_as_numbers_do() -> None:
    """A file's name gives its number, and no other name does."""
    assert [sequence_of(entry_path(number)) for number in (0, 7, 10**12 - 1)] == [0, 7, 10**12 - 1]
    assert sorted(map(entry_path, (10, 9, 100))) == [entry_path(n) for n in (9, 10, 100)]
    for path in (
        "entries/1.json",
        "entries/.000000000001.json.ab.partial",
        "entries/000000000001.json.bak",
        "entries/more/000000000001.json",
        "000000000001.json",
        "entries/00000000000\u0661.json",
    ):
        assert sequence_of(path) is None, path


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["promote", "back", "back to", "demote", "ask", "agree", "fulfil", "send"]),
        st.sampled_from(["staging", STAGE]),
        st.integers(1, 5),
    ),
    max_size=25,
)


@given(ACTS)
def test_any_acts_in_a_row_make_a_good_history(acts: list[tuple[str, str, int]]) -> None:
    """Stages are stacks that promotions push and rollbacks pop, and the check agrees."""
    history: list[Sealed] = []
    stacks: dict[str, list[int]] = {}
    came: dict[int, tuple[str, list[int]]] = {}
    asked: dict[str, tuple[str, int]] = {}

    def add(act: Act, **fields: Any) -> None:
        history.append(sealed(entry_after(history[-1] if history else None, act, **fields)))

    for name, stage, version in acts:
        stack = stacks.setdefault(stage, [])
        number = len(history)
        if name == "promote":
            add(Act.PROMOTE, stage=stage, version=version)
            stacks[stage] = [*stack, version]
        elif name == "back" and len(stack) > 1:
            previous = history[-1].entry.state.stages[stage].previous
            assert previous is not None
            add(Act.ROLLBACK, stage=stage, version=stack[-2], target=history[previous])
            stacks[stage] = stack[:-1]
        elif name == "back to" and any(where == stage for where, _ in came.values()):
            to = [at for at, (where, _) in came.items() if where == stage][version % 2 - 1]
            add(Act.ROLLBACK, stage=stage, version=came[to][1][-1], target=history[to])
            stacks[stage] = came[to][1]
        elif name == "demote" and stack:
            add(Act.DEMOTE, stage=stage, version=None)
            stacks[stage] = []
            continue
        elif name == "ask":
            asked[f"r{number}"] = (stage, version)
            add(Act.REQUEST, stage=stage, version=version, request=f"r{number}")
            continue
        elif name == "agree" and asked:
            add(Act.APPROVE, stage=stage, version=version, request=min(asked))
            continue
        elif name == "fulfil" and asked:
            request = max(asked)
            stage, version = asked.pop(request)
            add(Act.PROMOTE, stage=stage, version=version, request=request)
            stacks[stage] = [*stacks.get(stage, []), version]
        elif name == "send":
            add(Act.SEND, stage=stage, version=version)
            continue
        else:
            continue
        came[number] = (stage, stacks[stage])

    assert check(history) == ()
    if history:
        state = history[-1].entry.state
        assert {stage: held.version for stage, held in state.stages.items()} == {
            stage: stack[-1] for stage, stack in stacks.items() if stack
        }
        assert {item.id: (item.stage, item.version) for item in state.requests} == asked


@pytest.mark.parametrize(
    "fields",
    [
        {"act": Act.DEMOTE, "stage": "empty"},
        {"act": Act.PROMOTE, "version": None},
        {"act": Act.PROMOTE, "stage": None},
        {"act": Act.ROLLBACK},
        {"act": Act.APPROVE, "request": "r9"},
        {"act": Act.REQUEST},
        {"act": Act.REQUEST, "request": "r1"},
        {"act": Act.PROMOTE, "request": "r1", "version": 5},
        {"act": Act.PROMOTE, "request": "r1", "stage": "staging", "version": 2},
    ],
)
def test_an_act_that_cannot_follow_has_no_state(fields: dict[str, Any]) -> None:
    """Code that records nonsense fails before it is recorded."""
    first = sealed(entry_after(None, version=1))
    asked = sealed(entry_after(first, Act.REQUEST, version=2, request="r1"))
    with pytest.raises(ImpossibleActError):
        entry_after(asked, **fields)
