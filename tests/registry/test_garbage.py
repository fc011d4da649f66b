"""The garbage collector is as it was, however the work ends."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from pairlock.garbage import collector_off


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
