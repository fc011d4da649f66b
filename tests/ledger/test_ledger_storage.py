"""A ledger in real stores: a folder, and an S3 server that enforces conditions."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pairlock import (
    ConflictError,
    ErrorKind,
    FormatError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    PairlockError,
    StorageError,
    UnavailableError,
    UnsupportedError,
)
from pairlock.ledger import Act, Anchor, Ledger, Sealed
from pairlock.ledger.chain import entry_path
from pairlock.ledger.document import write_entry
from pairlock.stores import LocalStore, s3_clients
from pairlock.stores.opening import open_store
from support.ledgers import CREATED_MS, MODEL, STAGE, entry_after, fill, subject
from support.proxy import Action, Fault
from support.registries import active
from support.remote import point_to, shared_server, survives_pickling

RACERS = Path(__file__).parent.parent / "support" / "ledger_racers.py"
PROCESSES, ROUNDS = 16, 50


def open_ledger(location: str, **changes: Any) -> Ledger:
    """The ledger of the tests' model at a place."""
    facts = {"model": MODEL, "model_created_ms": CREATED_MS} | changes
    return Ledger(open_store(location), **facts)


def noted(one: Sealed) -> Anchor:
    """What would be noted outside the store."""
    return Anchor(one.entry.sequence, one.digest)


@pytest.fixture(params=["local", "seaweedfs"])
def location(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A place that nothing was written to."""
    if request.param == "local":
        return str(tmp_path / "ledgers" / "support" / "1")
    point_to(monkeypatch, request.getfixturevalue("seaweedfs").environment())
    return s3_place()


def s3_place() -> str:
    """An unused prefix in the test bucket."""
    return f"s3://pairlock/ledger-{os.urandom(6).hex()}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that nothing was written to, and that is not there yet."""
    return tmp_path / "ledger"


@pytest.fixture
def alter(location: str, seaweedfs: Any) -> Callable[[int, bytes | None], None]:
    """Put other bytes in the place of an entry, or none, behind the ledger's back."""

    def change(number: int, content: bytes | None) -> None:
        bucket, _, prefix = location.removeprefix("s3://").partition("/")
        if not location.startswith("s3:"):
            path = Path(location) / entry_path(number)
            path.unlink()
            if content is not None:
                path.write_bytes(content)
        elif content is None:
            seaweedfs.client().delete_object(Bucket=bucket, Key=f"{prefix}/{entry_path(number)}")
        else:
            seaweedfs.client().put_object(
                Bucket=bucket, Key=f"{prefix}/{entry_path(number)}", Body=content
            )

    return change


def test_what_was_recorded_is_found(location: str) -> None:
    """The head, every entry, the history and its check, by a ledger that was opened anew."""
    ledger = open_ledger(location)
    ledger.require_conditional_create()
    assert ledger.head() is None
    assert list(ledger.history()) == []
    assert ledger.check() == ()
    made = fill(ledger, 7)
    again = open_ledger(location)
    assert again.head() == made[-1]
    assert [again.head(noted(one)) for one in made] == [made[-1]] * 7
    assert [again.read(number) for number in range(7)] == made
    assert list(again.history()) == made[::-1]
    assert list(again.history(made[2])) == made[2::-1]
    assert again.check(noted(made[3])) == ()
    assert again.location == location


def test_a_number_that_is_taken_is_a_conflict_that_names_the_winner(location: str) -> None:
    """Who comes second learns who was first with what, and nothing is recorded."""
    ledger = open_ledger(location)
    first = ledger.append(entry_after(None, version=4, actor="grace"))
    with pytest.raises(ConflictError) as caught:
        ledger.append(entry_after(None, version=5))
    error = caught.value
    assert error.kind is ErrorKind.LEDGER_CONFLICT
    for fact in ("grace", "promote", "4", STAGE, first.entry.at, "entry 0"):
        assert fact in error.found
    assert entry_path(0) in error.checked
    assert survives_pickling(error)
    assert list(ledger.history()) == [first]


def test_the_same_entry_again_is_no_conflict(location: str) -> None:
    """An entry that is there already with this write id is this one: a retry succeeds."""
    ledger = open_ledger(location)
    entry = entry_after(None)
    assert ledger.append(entry) == ledger.append(entry)
    assert ledger.check() == ()


def test_a_changed_entry_is_refused_wherever_it_is_read(
    location: str, alter: Callable[[int, bytes | None], None]
) -> None:
    """Reading it, the history and the check find it; the check says where."""
    ledger = open_ledger(location)
    made = fill(ledger, 5)
    alter(2, write_entry(made[2].entry).replace(b'"ada"', b'"eve"'))
    with pytest.raises(IntegrityError) as caught:
        ledger.read(2)
    assert caught.value.kind is ErrorKind.LEDGER_BROKEN
    with pytest.raises(IntegrityError):
        list(ledger.history())
    assert [finding.place.split()[1] for finding in ledger.check()] == ["2"]
    alter(2, b"not an entry")
    with pytest.raises(FormatError) as invalid:
        ledger.read(2)
    assert invalid.value.kind is ErrorKind.LEDGER_INVALID
    alter(2, b"x" * (2 << 20))
    assert [finding.place.split()[1] for finding in ledger.check()] == ["2"]
    alter(2, write_entry(replace(made[2].entry, reason="sealed anew")))
    with pytest.raises(IntegrityError) as caught:
        list(ledger.history())
    assert [finding.place.split()[1] for finding in caught.value.findings] == ["3"]
    with pytest.raises(IntegrityError):
        ledger.head(noted(made[2]))


@pytest.mark.parametrize("missing", [0, 3, 4, 5])
def test_a_gap_is_not_taken_for_the_end(
    location: str, alter: Callable[[int, bytes | None], None], missing: int
) -> None:
    """With an entry missing before the head, no head is given that an entry could be added to."""
    ledger = open_ledger(location)
    made = fill(ledger, 7)
    alter(missing, None)
    anchors = [None, *(noted(one) for one in made)]
    for anchor in anchors:
        try:
            head = ledger.head(anchor)
        except IntegrityError as error:
            assert error.kind is ErrorKind.LEDGER_BROKEN
            assert f"entry {missing} " in error.findings[0].place
        else:
            # known from further on, or jumped over: the true head, to which adding is safe
            assert head == made[-1]
    with pytest.raises(IntegrityError):
        list(ledger.history(made[-1]))
    assert [finding.place.split()[1] for finding in ledger.check()] == [str(missing)]


def test_a_history_cut_short_is_found(
    location: str, alter: Callable[[int, bytes | None], None]
) -> None:
    """Entries gone from the end are missed where the head was noted."""
    ledger = open_ledger(location)
    made = fill(ledger, 5)
    for number in (3, 4):
        alter(number, None)
    with pytest.raises(IntegrityError) as caught:
        ledger.head(noted(made[4]))
    assert caught.value.kind is ErrorKind.LEDGER_BROKEN
    assert caught.value.findings[0].place == "entries 3 to 4"
    assert [finding.place for finding in ledger.check(noted(made[4]))] == ["entries 3 to 4"]
    for number in (0, 1, 2):
        alter(number, None)
    with pytest.raises(IntegrityError):
        ledger.head(noted(made[4]))


def test_a_head_that_is_not_the_noted_one_is_refused(location: str) -> None:
    """An entry of the right number with another content is not the one that was noted."""
    ledger = open_ledger(location)
    made = fill(ledger, 3)
    with pytest.raises(IntegrityError) as caught:
        ledger.head(Anchor(2, made[1].digest))
    assert caught.value.kind is ErrorKind.LEDGER_BROKEN


@pytest.mark.parametrize("changes", [{"model": "other"}, {"model_created_ms": 1}])
def test_another_models_ledger_is_refused(folder: Path, changes: dict[str, Any]) -> None:
    """A ledger that lies where this model's should is not taken for it."""
    fill(open_ledger(str(folder)), 2)
    other = open_ledger(str(folder), **changes)
    for ask in (other.head, lambda: other.read(0), lambda: list(other.history())):
        with pytest.raises(IntegrityError) as caught:
            ask()
        assert caught.value.kind is ErrorKind.LEDGER_BROKEN
    assert len(other.check()) == 2


def test_an_entry_that_is_not_there_is_a_broken_ledger(folder: Path) -> None:
    """Whoever reads an entry by its number knows that it was there."""
    ledger = open_ledger(str(folder))
    fill(ledger, 2)
    with pytest.raises(IntegrityError) as caught:
        ledger.read(2)
    assert caught.value.kind is ErrorKind.LEDGER_BROKEN


def test_other_files_are_no_entries(folder: Path) -> None:
    """What killed processes and file managers leave behind harms nothing."""
    ledger = open_ledger(str(folder))
    made = fill(ledger, 3)
    for name in (".000000000003.json.1f.partial", ".DS_Store", "000000000003.json~", "3.json"):
        (folder / "entries" / name).write_bytes(b"half")
    assert ledger.head(noted(made[0])) == ledger.head() == made[-1]
    assert ledger.check() == ()
    later = ledger.append(entry_after(made[-1], version=9))
    assert ledger.head() == later


def test_a_rollback_returns_to_the_holder_before(folder: Path) -> None:
    """The target is the entry by which that one came; there is none for the first holder."""
    ledger = open_ledger(str(folder))
    made = fill(ledger, 3)
    held = made[2].entry.state.stages[STAGE]
    assert ledger.rollback_target(held) == made[1]
    back = ledger.append(entry_after(made[2], Act.ROLLBACK, version=2, target=made[1]))
    assert ledger.rollback_target(back.entry.state.stages[STAGE]) == made[0]
    assert ledger.rollback_target(made[0].entry.state.stages[STAGE]) is None
    assert ledger.rollback_target(None) is None
    assert ledger.check() == ()


def test_nothing_that_cannot_be_read_back_is_stored(folder: Path) -> None:
    """An entry with a bad figure is refused before the store is asked."""
    ledger = open_ledger(str(folder))
    with pytest.raises(InvalidInputError):
        ledger.append(entry_after(None, origin={"figure": float("nan")}))
    assert not folder.exists()


@pytest.fixture(params=["rclone", "mlflow", "no-links"])
def careless(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ledger]:
    """A ledger in a store that has no conditional create, or ignores the condition."""
    if request.param == "rclone":
        point_to(monkeypatch, request.getfixturevalue("rclone").environment())
        yield open_ledger(s3_place())
    elif request.param == "mlflow":
        with active(shared_server(request.getfixturevalue("registry_template")).uri):
            yield open_ledger(f"mlflow-artifacts:/ledger-{os.urandom(6).hex()}")
    else:

        def refuse(*_: Any, **__: Any) -> None:
            raise PermissionError(1, "Operation not permitted")  # as FAT does

        monkeypatch.setattr(os, "link", refuse)
        yield open_ledger(str(tmp_path / "ledger"))


def test_a_store_that_could_lose_an_entry_is_refused(careless: Ledger) -> None:
    """It is found out before the first entry, and the error says what to configure."""
    with pytest.raises(UnsupportedError) as caught:
        careless.require_conditional_create()
    assert caught.value.kind is ErrorKind.CONDITION_UNSUPPORTED
    assert caught.value.checked == careless.location
    assert "PAIRLOCK_LEDGER" in caught.value.hint
    assert careless.check() == ()


@pytest.mark.parametrize("careless", ["mlflow", "no-links"], indirect=True)
def test_a_store_without_the_condition_takes_no_entry(careless: Ledger) -> None:
    """Whoever forgets the probe gets the same error, and nothing is stored."""
    with pytest.raises(UnsupportedError) as caught:
        careless.append(entry_after(None))
    assert caught.value.kind is ErrorKind.CONDITION_UNSUPPORTED
    assert "PAIRLOCK_LEDGER" in caught.value.hint
    assert careless.check() == ()


def test_a_place_that_cannot_be_written_is_a_storage_error() -> None:
    """A folder that nobody can make is an error that names it, and says that nothing is there."""
    ledger = open_ledger("/proc/pairlock/ledger")
    for ask in (ledger.require_conditional_create, lambda: ledger.append(entry_after(None))):
        with pytest.raises(StorageError) as caught:
            ask()
        assert caught.value.kind is ErrorKind.STORAGE_FAILED
        assert "/proc/pairlock" in caught.value.checked
        assert caught.value.done.startswith(("no entry was written", "nothing is recorded"))


def test_a_disk_that_takes_no_more_leaves_no_entry(folder: Path) -> None:
    """An entry is there whole or not at all, and the ledger goes on when there is room again."""
    ledger = open_ledger(str(folder))
    made = fill(ledger, 2)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(StorageError) as caught:
            ledger.append(entry_after(made[-1], version=3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.done == "nothing is recorded"
    assert sorted(path.name for path in (folder / "entries").iterdir()) == [
        Path(entry_path(number)).name for number in (0, 1)
    ]
    ledger.append(entry_after(made[-1], version=3))
    assert ledger.check() == ()


def test_an_entry_is_on_the_disk_when_it_is_recorded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Content, name and new folders are synced, so that a power cut does not take back a win."""
    synced: list[str] = []
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    fill(open_ledger(str(folder)), 1)
    assert [path for path in synced if not path.endswith(".partial")] == [
        str(folder.parent),
        str(folder),
        str(folder / "entries"),
    ]
    assert synced[-2].endswith(".partial")


def test_a_bucket_that_is_not_there_is_no_empty_ledger(s3: Any) -> None:
    """A ledger whose bucket is gone is not begun anew."""
    ledger = open_ledger("s3://not-there/ledger")
    for ask in (ledger.head, ledger.check, lambda: ledger.append(entry_after(None))):
        with pytest.raises(NotFoundError) as caught:
            ask()
        assert caught.value.kind is ErrorKind.FOLDER_MISSING


# over a network


@pytest.fixture
def remote(s3_proxy: Any, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A ledger on S3 behind a proxy that makes faults, with few and quick retries."""
    monkeypatch.setattr(s3_clients, "_ATTEMPTS", 2)
    return open_ledger(s3_place())


def test_the_head_costs_few_requests(remote: Ledger, s3_proxy: Any) -> None:
    """Two requests for a head that was noted; without a note the history is not listed either."""
    made = fill(remote, 40)
    s3_proxy.reset()
    assert remote.head(noted(made[-1])) == made[-1]
    assert len(s3_proxy.seen) == 2
    s3_proxy.reset()
    assert remote.head(noted(made[-2])) == made[-1]
    assert len(s3_proxy.seen) == 4
    s3_proxy.reset()
    assert remote.head() == made[-1]
    assert len(s3_proxy.seen) <= 14
    listings = [one for one in s3_proxy.seen if "list-type" in one.query]
    assert all(f"{39:012}.json" in one.query for one in listings)
    assert listings


def test_one_lost_answer_is_neither_a_conflict_nor_a_second_entry(
    remote: Ledger, s3_proxy: Any
) -> None:
    """boto3 asks again and is refused by its own entry, which counts as recorded."""
    first = remote.append(entry_after(None, version=1))
    s3_proxy.fault(Fault(Action.LOSE_REPLY, method="PUT", times=1))
    later = remote.append(entry_after(first, version=2))
    assert s3_proxy.hits == 1
    assert list(remote.history()) == [later, first]
    assert remote.check(noted(later)) == ()


def test_answers_that_are_lost_for_good_are_made_up_for_by_looking(
    remote: Ledger, s3_proxy: Any
) -> None:
    """When no answer to the create ever comes, what is there decides: it was recorded, once."""
    first = remote.append(entry_after(None, version=1))
    s3_proxy.fault(Fault(Action.LOSE_REPLY, method="PUT"))
    later = remote.append(entry_after(first, version=2))
    assert s3_proxy.hits == 2
    s3_proxy.clear()
    assert list(remote.history()) == [later, first]
    assert remote.check(noted(later)) == ()


def test_a_create_that_never_arrives_records_nothing_and_says_so(
    remote: Ledger, s3_proxy: Any
) -> None:
    """The error says that nothing is recorded, and the same entry can be recorded later."""
    entry = entry_after(None)
    s3_proxy.fault(Fault(Action.GONE, method="PUT"))
    with pytest.raises(UnavailableError) as caught:
        remote.append(entry)
    assert caught.value.kind is ErrorKind.STORE_UNAVAILABLE
    assert caught.value.done == "nothing is recorded"
    s3_proxy.clear()
    assert remote.head() is None
    assert remote.append(entry) == remote.head()


def test_a_win_that_nobody_saw_is_found_by_the_next_command(remote: Ledger, s3_proxy: Any) -> None:
    """When nothing can be looked up either, the error says so, and the head says what happened."""
    entry = entry_after(None)
    s3_proxy.fault(Fault(Action.LOSE_REPLY, method="PUT"))
    s3_proxy.fault(Fault(Action.GONE, method="GET"))
    with pytest.raises(UnavailableError) as caught:
        remote.append(entry)
    assert "not known" in caught.value.done
    s3_proxy.clear()
    head = remote.head()
    assert head is not None
    assert head.entry == entry


def test_a_lost_answer_to_a_lost_race_is_a_conflict(remote: Ledger, s3_proxy: Any) -> None:
    """Somebody else was first, and the answer that says so is lost: still a conflict."""
    first = remote.append(entry_after(None, version=4, actor="grace"))
    s3_proxy.fault(Fault(Action.LOSE_REPLY, method="PUT"))
    with pytest.raises(ConflictError) as caught:
        remote.append(entry_after(None, version=5))
    assert "grace" in caught.value.found
    s3_proxy.clear()
    assert remote.head() == first


def test_a_store_that_is_down_is_no_empty_ledger(remote: Ledger, s3_proxy: Any) -> None:
    """No answer is an error, in every question."""
    fill(remote, 1)
    s3_proxy.fault(Fault(Action.GONE))
    for ask in (remote.head, remote.check, lambda: remote.read(0), lambda: list(remote.history())):
        with pytest.raises(UnavailableError) as caught:
            ask()
        assert caught.value.kind is ErrorKind.STORE_UNAVAILABLE


def test_a_long_history_is_read_in_pages(remote: Ledger, s3_proxy: Any) -> None:
    """More entries than one page come in order, and whoever stops early reads no more pages."""
    made = fill(remote, 70)
    assert list(remote.history()) == made[::-1]
    s3_proxy.reset()
    newest = remote.history(made[-1])
    assert [next(newest), next(newest)] == made[:-3:-1]
    assert len(s3_proxy.seen) == 64


# at once


def test_of_16_processes_one_wins_each_round(location: str) -> None:
    """50 rounds: one winner for every number, who is named to the 15 others; one chain."""
    done = subprocess.run(
        [sys.executable, str(RACERS), location, str(PROCESSES), str(ROUNDS)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: list[list[str | None]] = json.loads(done.stdout)
    ledger = open_ledger(location)
    history = list(ledger.history())[::-1]
    assert len(history) == ROUNDS
    assert ledger.check(noted(history[-1])) == ()
    for number, one in enumerate(history):
        answers = [answers[number] for answers in said]
        winner = int(one.entry.actor.removeprefix("worker-"))
        assert [worker for worker, answer in enumerate(answers) if answer is None] == [winner]
        told = {answer for answer in answers if answer is not None}
        assert told == {
            f"{ErrorKind.LEDGER_CONFLICT} entry {number}: promote version {winner + 1} "
            f"in stage {STAGE}, by worker-{winner} at {one.entry.at}"
        }
        assert one.entry.subject == subject(winner + 1)


def test_a_listing_that_misses_an_entry_is_no_gap(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry made behind the back of a listing that had passed its place is found."""
    ledger = open_ledger(str(folder))
    made = fill(ledger, 2)
    listed = LocalStore.entries

    def grow(store: LocalStore, path: str = "", *, after: str = "") -> dict[str, Any]:
        if len(made) > 2:
            return listed(store, path, after=after)
        for version in (3, 4):
            made.append(ledger.append(entry_after(made[-1], version=version)))
        found = listed(store, path, after=after)
        del found[entry_path(2)]
        return found

    monkeypatch.setattr(LocalStore, "entries", grow)
    assert ledger.head(noted(made[1])) == made[3]


def test_errors_of_the_ledger_are_pairlocks(folder: Path) -> None:
    """A broken ledger's error can be handed to another process with its findings."""
    ledger = open_ledger(str(folder))
    made = fill(ledger, 3)
    (folder / entry_path(1)).unlink()
    with pytest.raises(PairlockError) as caught:
        ledger.head(noted(made[0]))
    assert survives_pickling(caught.value)
    assert caught.value.findings
