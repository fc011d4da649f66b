"""Looks at remembered packages on this machine while the registry is still being listed.

A process of its own looks at many: threads would wait for each other more than for the disk. It
tells only what is as it was. Anything else, and everything where there is no such process, is
looked at in its turn, when it is known whose package it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import IO, Self

from pairlock.inventory import looking
from pairlock.inventory.journal import Known
from pairlock.inventory.remembered import Memory

_WORTH_BYTES = 1 << 20
"""A shorter journal knows of so few packages that they are looked at before a process starts."""

_PATIENCE_S = 0.2
_CORES = os.cpu_count() or 1


class Ahead:
    """What is looked at before anybody asks. Threads may ask.

    Args:
        stop: asked while somebody waits for an answer.
    """

    def __init__(self, stop: Callable[[], bool]) -> None:
        self._stop = stop
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: Thread | None = None
        self._lines: SimpleQueue[bytes] = SimpleQueue()
        self._lock = Lock()
        self._told: dict[str, str | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def begin(self, journal: Path) -> None:
        """Look at what a journal names, where that is worth a process.

        Args:
            journal: its path.
        """
        try:
            is_worth_it = journal.stat().st_size >= _WORTH_BYTES
        except OSError:
            return
        # in a program that Python is only a part of, the executable is something else
        if not is_worth_it or "python" not in Path(sys.executable or "").name or _CORES < 2:
            return
        command = [sys.executable, "-I", "-S", looking.__file__, str(journal)]
        with suppress(OSError):
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            self._process = process
            if process.stdout is not None:
                self._reader = Thread(target=self._receive, args=(process.stdout,), daemon=True)
                self._reader.start()

    def told(self, location: str, memory: Memory) -> Known | None:
        """What lies at a place, if it is what lay there; None for what nobody has looked at.

        Args:
            location: the place.
            memory: what is known from before. The journal may say more by now.
        """
        if self._process is None:
            return None
        place = memory.place(location)
        if place is None or not place.folders:
            return None
        if location not in self._told:
            with self._lock:
                while location not in self._told and self._read():
                    pass
        digest = self._told.get(location)
        return memory.package(digest) if digest == place.digest else None

    def end(self) -> None:
        """Look at nothing else."""
        process, self._process = self._process, None
        if process is not None and self._reader is not None:
            process.kill()
            self._reader.join()
            process.wait()

    def _receive(self, stream: IO[bytes]) -> None:
        """Take lines as they come: a pipe holds few, and the process would wait for its reader."""
        with stream:
            for line in stream:
                self._lines.put(line)
        self._lines.put(b"")

    def _read(self) -> bool:
        """Whether more was told."""
        while self._process is not None and not self._stop():
            try:
                self._told.update(json.loads(self._lines.get(timeout=_PATIENCE_S)))
            except Empty:
                continue
            except (ValueError, TypeError):  # it ended, or was ended within a line
                self._lines.put(b"")
                return False
            return True
        return False
