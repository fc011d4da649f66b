"""The garbage collector is as it was, however the work ends."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from pairlock.garbage import collector_off, collector_off_for_imports


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


def test_what_was_imported_is_old_afterwards() -> None:
    """After imports the collector is on again, and what they made counts as old."""
    gc.unfreeze()  # what the suite itself has frozen
    with collector_off_for_imports():
        assert not gc.isenabled()
        made = [[number] for number in range(10_000)]

    assert gc.isenabled()
    assert not any(found is made for found in gc.get_objects(generation=0))
    assert any(found is made for found in gc.get_objects(generation=2))
    assert gc.get_freeze_count() == 0
    gc.freeze()


def test_what_somebody_froze_stays_frozen() -> None:
    """Objects that a program froze before it forks stay frozen."""
    gc.freeze()
    frozen = gc.get_freeze_count()

    with collector_off_for_imports():
        pass

    assert gc.get_freeze_count() == frozen


def test_a_collector_that_is_off_stays_off() -> None:
    """Where a program has turned the collector off, it is off after imports."""
    gc.disable()

    with collector_off_for_imports():
        pass

    assert not gc.isenabled()
