"""The garbage collector is as it was, however the work ends."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pairlock.garbage import collector_off, collector_on


@pytest.fixture(autouse=True)
def enabled_after() -> Iterator[None]:
    """Leave the collector on for other tests."""
    yield
    gc.enable()


@pytest.mark.parametrize("was_enabled", [True, False])
def test_the_collector_is_as_it_was(was_enabled: bool) -> None:
    """It is off inside, also one within another, and afterwards as before, after an error too."""
    if not was_enabled:
        gc.disable()

    with pytest.raises(ValueError, match="work"), collector_off():
        with collector_off():
            assert not gc.isenabled()
        assert not gc.isenabled()
        raise ValueError("work")

    assert gc.isenabled() is was_enabled


def test_work_that_makes_garbage_has_the_collector() -> None:
    """It is on for a part of the work, and off for what follows."""
    with collector_off():
        with collector_on():
            assert gc.isenabled()
        assert not gc.isenabled()
    with collector_on():
        assert gc.isenabled()
    assert gc.isenabled()


END = """
import atexit
from pairlock.garbage import leave_to_the_system
class Ring:
    def __init__(self):
        self.own = self
    def __del__(self):
        print("collected")
atexit.register(print, "ended")
Ring()
leave_to_the_system()
"""


def test_a_process_ends_without_looking_for_garbage() -> None:
    """What only the collector would find is left to the system; what waits for the end is done."""
    command = [sys.executable, "-c", END]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == "ended\n"


def test_a_command_ends_without_looking_for_garbage() -> None:
    """Whatever it did: also where the end is an exit status."""
    code = (
        "import atexit, gc\n"
        "atexit.register(lambda: print('frozen', gc.get_freeze_count() > 0))\n"
        "from pairlock.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code, "--help"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.endswith("frozen True\n")


OLD = """
import gc
from pairlock.garbage import collector_off
with collector_off():
    made = [[]]
assert any(one is made for one in gc.get_objects(generation=2))
gc.freeze()
frozen = gc.get_freeze_count()
with collector_off():
    pass
assert gc.get_freeze_count() == frozen > 0
"""


def test_what_was_made_is_old() -> None:
    """No young collection goes through what stays; and what others froze stays frozen."""
    subprocess.run([sys.executable, "-c", OLD], check=True)
