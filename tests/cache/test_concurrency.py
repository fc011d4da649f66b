"""Many processes on one cache: with locks, without, with locks that lie, and killed at any time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pairlock.cache import CacheFolder
from support.cached import (
    BIG,
    BIG_BYTES,
    Made,
    big_view,
    blobs,
    files_of,
    random_bytes,
    small_view,
    unfinished,
    wrong_in,
)
from support.proxy import Action, Fault
from support.pulling import answers_of, pullers, run_pullers

PROCESSES = 8


@pytest.fixture(scope="session")
def big() -> Made:
    """A view with one large file."""
    return Made({**big_view().files, **small_view().files})


@pytest.fixture(scope="session")
def big_uri(seaweedfs: Any, big: Made) -> str:
    """Where it lies."""
    return big.put(seaweedfs)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache that is not there yet."""
    return tmp_path / "cache"


@pytest.mark.parametrize(
    "how", [{}, {"locking": False}, {"flock_lies": True}], ids=["locks", "no-locks", "lying-locks"]
)
def test_many_processes_fetch_the_same(
    how: dict[str, Any], s3_proxy: Any, big: Made, big_uri: str, cache: Path
) -> None:
    """All get the right bytes, and with locks the bytes cross the network about once."""
    # slow enough that all of them are there before the first one is done
    s3_proxy.fault(Fault(Action.DELAY, suffix=BIG, seconds=0.5))
    found = run_pullers(big, big_uri, cache, processes=PROCESSES, **how)
    assert [one for one in found if "fetched_bytes" not in one] == []
    assert big.is_in(files_of(big, cache))
    assert (wrong_in(cache), unfinished(cache)) == ([], [])
    if not how:
        assert s3_proxy.bytes_sent <= 1.3 * big.size_bytes
        assert sum(one["fetched_bytes"] for one in found) <= 1.3 * big.size_bytes
    else:
        assert s3_proxy.bytes_sent > 1.3 * big.size_bytes, "they were not at it at once"


@pytest.mark.parametrize("how", [{"locking": False}, {"flock_lies": True}])
def test_small_files_are_fetched_at_once_again_and_again(
    how: dict[str, Any], tmp_path: Path, cache: Path
) -> None:
    """Without locks nobody stumbles over what another one makes or removes."""
    made = Made({f"{n}.txt": random_bytes(100 + n, n) for n in range(30)} | {"same": b"", "e": b""})
    made.write(tmp_path / "store")
    for _ in range(5):
        found = run_pullers(made, str(tmp_path / "store"), cache, processes=PROCESSES, **how)
        assert [one for one in found if "fetched_bytes" not in one] == []
        assert made.is_in(files_of(made, cache))
        assert (wrong_in(cache), unfinished(cache)) == ([], [])
        # the next round starts from nothing
        cache.rename(tmp_path / f"old-{time.monotonic_ns()}")


def test_locks_leave_many_files_of_one_view_to_one_process(tmp_path: Path, cache: Path) -> None:
    """Of many processes one fetches, and the others find what it brought."""
    made = small_view()
    made.write(tmp_path / "store")
    found = run_pullers(made, str(tmp_path / "store"), cache, processes=PROCESSES)
    fetched = sorted(one["fetched_bytes"] for one in found)
    assert fetched == [0] * (PROCESSES - 1) + [made.size_bytes - 2]


def test_a_hanging_holder_is_not_waited_for(
    s3: Any, big: Made, big_uri: str, tmp_path: Path, cache: Path
) -> None:
    """A lock that is held by a process that does nothing delays others, and does not stop them."""
    folder = CacheFolder(cache)
    folder.prepare()
    lock = folder.locks / f"{big.key}.lock"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, sys, time\n"
            f"stream = open({str(lock)!r}, 'a')\n"
            "fcntl.flock(stream, fcntl.LOCK_EX)\n"
            "print('held', flush=True)\n"
            "time.sleep(60)\n",
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        began = time.monotonic()
        found = run_pullers(big, big_uri, cache, processes=2, hanging_after_s=0.5)
        assert 0.5 < time.monotonic() - began < 20
        assert [one for one in found if "fetched_bytes" not in one] == []
        assert holder.poll() is None, "the lock was held all the time"
    finally:
        holder.kill()
        holder.wait()
    assert big.is_in(files_of(big, cache))
    assert (wrong_in(cache), unfinished(cache)) == ([], [])


def test_a_holder_that_makes_progress_is_waited_for(
    s3_proxy: Any, big: Made, big_uri: str, cache: Path
) -> None:
    """As long as something arrives, nobody else fetches the same."""
    s3_proxy.fault(Fault(Action.DELAY, suffix=BIG, seconds=1.5))
    with pullers(big, big_uri, cache) as first:
        while not s3_proxy.requests(BIG):
            time.sleep(0.01)
        second = run_pullers(big, big_uri, cache, hanging_after_s=30)
        assert answers_of(first) == [{"fetched_bytes": big.size_bytes - 2}]
    assert second == [{"fetched_bytes": 0}]


def test_processes_killed_at_any_moment_leave_nothing_wrong(
    s3_proxy: Any, big: Made, big_uri: str, cache: Path
) -> None:
    """After each of 50 kills there is no wrong blob and no half view; leftovers do not pile up."""
    s3_proxy.fault(Fault(Action.DELAY, suffix=BIG, seconds=0.05))
    *killed, last = run_pullers(big, big_uri, cache, kills=50)
    assert len(killed) == 50
    assert [one["wrong"] for one in killed if one["wrong"]] == []
    assert sum(not one["done"] for one in killed) >= 25, "most were killed on the way"
    assert {one["unfinished"] for one in killed} != {0}, "some were killed while bytes came"
    # the last one fetched nothing, because the one before it was left alone and brought all of it
    assert (last["fetched_bytes"], last["wrong"]) == (0, [])
    partials = [path for path in unfinished(cache) if path.name.endswith(".partial")]
    assert [path for path in partials if path.stat().st_size >= 1 << 20] == []
    assert big.is_in(files_of(big, cache))


def test_a_process_killed_at_each_of_its_steps_leaves_nothing_wrong(
    tmp_path: Path, cache: Path
) -> None:
    """Before every single change of the cache, from the first to the last, a process may die."""
    made = Made({"large.bin": random_bytes(1_200_000, 3), "a.txt": b"a", "b/c.txt": b"", "d": b"a"})
    made.write(tmp_path / "store")
    step, ends = 0, 0
    steps = run_pullers(made, str(tmp_path / "store"), cache, die_at_each=True)
    for step, one in enumerate(steps, start=1):
        assert one["wrong"] == [], f"step {step}"
        assert "fetched_bytes" in one["next"], f"step {step}: {one['next']}"
        assert one["left_bytes"] == 0, f"step {step}: what is left takes space"
        ends += one["killed"]
    assert ends == step - 1, "all but the last were killed"
    assert ends > 30


def test_a_fetch_beside_a_repair(tmp_path: Path, cache: Path) -> None:
    """While one process damages files again and again, others get the right bytes or an error."""
    made = small_view()
    made.write(tmp_path / "store")
    with pullers(
        made, str(tmp_path / "store"), cache, processes=2, times=60, rehash=True
    ) as running:
        while running.poll() is None:
            for path in blobs(cache):
                with_other_bytes = path.with_name("other")
                with_other_bytes.write_bytes(os.urandom(8))
                with_other_bytes.replace(path)
            time.sleep(0.01)
        found = answers_of(running)
    assert [one for one in found if one.get("error") == "other-bytes"] == []
    assert [one for one in found if one.get("error") == "defect"] == []


def test_the_file_in_flight_of_a_live_process_is_left_alone(
    s3_proxy: Any, big: Made, big_uri: str, cache: Path
) -> None:
    """A process that does not wait copies what another has so far, and both end well."""
    s3_proxy.fault(Fault(Action.STALL, suffix=BIG, at=BIG_BYTES // 2, times=1))
    with pullers(big, big_uri, cache) as first:
        while not any(
            path.stat().st_size >= BIG_BYTES // 2 - (256 << 10) for path in unfinished(cache)
        ):
            time.sleep(0.01)
        (live,) = [path for path in unfinished(cache) if path.name.endswith(".partial")]
        with live.open("rb") as stream:
            before = stream.read()
            second = run_pullers(big, big_uri, cache, locking=False)
            assert second[0]["fetched_bytes"] < BIG_BYTES * 0.6
            stream.seek(0)
            assert stream.read() == before
        first.kill()
    assert big.is_in(files_of(big, cache))
    assert wrong_in(cache) == []
