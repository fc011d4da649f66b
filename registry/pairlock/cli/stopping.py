"""A first Ctrl-C that asks long work to come to an end, and keeps what it found."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Gives what says whether to stop. A second signal ends the process at once.

    It is the system that ends it then, not an exception: that would wait for every thread, and
    those may be waiting for a server that does not answer.

    In another than the main thread signals cannot be caught, and nothing ever asks to stop.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the interface's
        asked.set()
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        # not print: this may have come in the middle of one
        os.write(2, b"\nstopping; what was found is kept. Once more to give up at once\n")

    for number in _SIGNALS:
        signal.signal(number, ask)
    try:
        yield asked.is_set
    finally:
        back()
