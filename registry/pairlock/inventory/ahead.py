"""Looks at remembered packages on this machine while the registry is still being listed.

A process of its own looks at many: threads would wait for each other more than for the disk. It
tells only what is as it was. Nobody waits for it: whatever it has not told when it is known whose
package it is, is looked at then. It begins with the first package of the journal, so that who
begins with the last one meets it halfway.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import IO, Self

from pairlock.inventory import looking
from pairlock.inventory.facts import PackageFacts
from pairlock.inventory.remembered import Memory

_WORTH_BYTES = 1 << 20
"""A shorter journal knows of so few packages that they are looked at before a process starts."""

_CORES = os.cpu_count() or 1


class Ahead:
    """What is looked at before anybody asks. Threads may ask."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: Thread | None = None
        self._lines: SimpleQueue[bytes] = SimpleQueue()
        self._lock = Lock()
        self._is_known = False
        """Whether it was told which journal is read."""

        self._places: tuple[str, ...] = ()
        """In the order of the journal; none where it is another one than this process has read."""

        self._count = 0
        self._unchanged: set[str] = set()

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

    def told(self, location: str, memory: Memory) -> PackageFacts | None:
        """What lies at a place, if it is what lay there; None for what nobody has looked at yet.

        Args:
            location: the place.
            memory: what is known from before, by the same journal.
        """
        if location not in self._unchanged:
            with self._lock:
                self._read(memory)
        place = memory.place(location) if location in self._unchanged else None
        return None if place is None else memory.package(place.digest)

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

    def _read(self, memory: Memory) -> None:
        """Take what was told meanwhile."""
        while self._process is not None:
            try:
                told = json.loads(self._lines.get_nowait())
                if self._is_known:
                    self._take(*told)
                elif told == memory.mark:
                    self._is_known, self._places = True, memory.places
                else:
                    self.end()
            except Empty:
                return
            except (ValueError, TypeError):  # it was ended within a line, or is another program
                continue

    def _take(self, count: int, changed: list[str]) -> None:
        # at once, for another thread may ask in between
        self._unchanged.update(set(self._places[self._count : count]).difference(changed))
        self._count = count
