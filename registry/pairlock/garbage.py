"""Python's garbage collector, out of the way for a while."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_off() -> Iterator[None]:
    """Let nothing be collected meanwhile; what is no longer referred to goes as ever.

    What was made counts as old afterwards, so that no young collection goes through all of it. Of
    two that overlap in one process the first one's end ends both.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            if gc.get_freeze_count() == 0:  # else somebody wants something to stay frozen
                gc.freeze()
                gc.unfreeze()
            gc.enable()


@contextmanager
def collector_on() -> Iterator[None]:
    """Let garbage be collected for a while within `collector_off`, for work that makes some."""
    was_enabled = gc.isenabled()
    gc.enable()
    try:
        yield
    finally:
        if not was_enabled:
            gc.disable()


def leave_to_the_system() -> None:
    """Let this process end without looking through its memory for garbage.

    Python does that at its end, and needs more than a second where torch was imported. The system
    takes the memory back in any case. What registered itself with `atexit` runs as ever.
    """
    gc.freeze()
