"""Python's garbage collector, out of the way for a while."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_off() -> Iterator[None]:
    """Let nothing be collected meanwhile; what is no longer referred to goes as ever.

    Of two that overlap in one process the first one's end ends both.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def collector_off_for_imports() -> Iterator[None]:
    """Let nothing be collected while modules are imported, nor right afterwards.

    What they make stays for good, and the collector looks at it again and again meanwhile: a fifth
    of the time that torch and Sentence-Transformers take. At the end it counts as old, where it
    would be in the end, or the next collection looked through all of it.
    """
    if not gc.isenabled():
        yield
        return
    with collector_off():
        try:
            yield
        finally:
            if gc.get_freeze_count() == 0:  # else somebody's own would be unfrozen
                gc.freeze()
                gc.unfreeze()
