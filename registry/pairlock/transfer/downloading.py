"""Fetches files in parallel parts and hands their bytes on in order.

In order means that a hash runs along with the transfer, and that what is on the disk after a break
is always the beginning of a file. Connections work ahead of it, by a bounded number of parts.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Protocol

from pairlock.digests import FileRecord, OnBytes
from pairlock.errors import ErrorKind, Finding, IntegrityError, PairlockError
from pairlock.stores import BrokenStreamError, ByteStream, OtherSizeError, Store
from pairlock.stores.failures import unreachable
from pairlock.transfer.limits import (
    BATCH_BYTES,
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    PART_BYTES,
    PROGRESS_BYTES,
    TRIES,
    connections,
)

Batch = list[bytes]
"""Some bytes that follow each other, as they arrived."""


class Sink(Protocol):
    """What takes the bytes of one file, in order."""

    @property
    def record(self) -> FileRecord:
        """The file that is to come."""

    @property
    def start(self) -> int:
        """How many bytes are there already."""

    def add(self, batch: Batch) -> None:
        """Take the next bytes.

        Raises:
            StorageError: they cannot be written.
        """

    def finish(self) -> Finding | None:
        """All bytes were added: publish the file, or say what is wrong with it.

        Raises:
            StorageError: it cannot be written.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A file to fetch."""

    path: str
    """Where it lies in the store."""

    sink: Sink


def download(store: Store, wanted: Sequence[Wanted], *, on_bytes: OnBytes) -> tuple[Finding, ...]:
    """Fetch files.

    Args:
        store: where they lie.
        wanted: which, and what takes them. They are finished in this order.
        on_bytes: told how many bytes were just taken.

    Returns:
        What came with other bytes than its record says.

    Raises:
        NotFoundError: a file is not there.
        IntegrityError: a file has another size.
        UnavailableError: the store cannot be reached, refuses, or breaks off again and again.
        StorageError: bytes cannot be written.
    """
    findings = []
    parts = [list(_parts_of(store, one)) for one in wanted]
    work = _Work(store, [part for of_one in parts for part in of_one])
    try:
        work.start()
        for one, of_one in zip(wanted, parts, strict=True):
            for part in of_one:
                for batch in work.batches(part):
                    one.sink.add(batch)
                    on_bytes(sum(map(len, batch)))
            if finding := one.sink.finish():
                findings.append(finding)
    finally:
        work.stop()
    return tuple(findings)


@dataclass(slots=True, kw_only=True)
class _Part:
    path: str
    size_bytes: int
    start: int
    length: int
    arrived: SimpleQueue[Batch | BaseException] = field(default_factory=SimpleQueue)
    # as many batches as a part of the usual size has: only an undivided file ever waits
    room: threading.Semaphore = field(
        default_factory=lambda: threading.Semaphore(PART_BYTES // BATCH_BYTES)
    )


def _parts_of(store: Store, wanted: Wanted) -> Iterator[_Part]:
    size_bytes, start = wanted.sink.record.size_bytes, wanted.sink.start
    step = PART_BYTES if store.splits_files else max(1, size_bytes - start)
    for begin in range(start, size_bytes, step):
        length = min(step, size_bytes - begin)
        yield _Part(path=wanted.path, size_bytes=size_bytes, start=begin, length=length)


class _Work:
    """The connections: each takes the next part, in order, while few are waiting to be taken."""

    def __init__(self, store: Store, parts: Sequence[_Part]) -> None:
        self._store = store
        self._parts = iter(parts)
        self._taking = threading.Lock()
        self._threads = min(connections(), len(parts))
        self._ahead = threading.Semaphore(self._threads + 2)
        self._stopped = threading.Event()

    def start(self) -> None:
        for number in range(self._threads):
            # a daemon: a connection that hangs must not keep the process from ending
            threading.Thread(target=self._run, name=f"pairlock-get-{number}", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        for _ in range(self._threads):
            self._ahead.release()

    def batches(self, part: _Part) -> Iterator[Batch]:
        left = part.length
        while left:
            batch = part.arrived.get()
            if isinstance(batch, BaseException):
                raise batch
            part.room.release()
            left -= sum(map(len, batch))
            yield batch
        self._ahead.release()

    def _run(self) -> None:
        while True:
            self._ahead.acquire()
            with self._taking:
                part = next(self._parts, None)
            if part is None or self._stopped.is_set():
                return
            try:
                _Transfer(self._store, part, self._stopped).run()
            except BaseException as error:  # noqa: BLE001 - raised again by whoever waits for the part
                part.arrived.put(error)
                return


class _Transfer:
    """One part on its way, over as many connections as it takes."""

    def __init__(self, store: Store, part: _Part, stopped: threading.Event) -> None:
        self._store = store
        self._part = part
        self._stopped = stopped
        self._done = 0

    def run(self) -> None:
        tries = 0
        while self._done < self._part.length and not self._stopped.is_set():
            before = self._done
            try:
                self._once()
            except BrokenStreamError as error:
                tries = 1 if self._done - before >= PROGRESS_BYTES else tries + 1
                if tries >= (2 if isinstance(error, OtherSizeError) else TRIES):
                    raise _gave_up(self._store, self._part, error) from error
                self._stopped.wait(min(FIRST_PAUSE_S * 2 ** (tries - 1), LONGEST_PAUSE_S))

    def _once(self) -> None:
        part = self._part
        with self._store.open_range(
            part.path, start=part.start + self._done, length=part.length - self._done
        ) as body:
            if body.total_bytes not in {None, part.size_bytes}:
                raise OtherSizeError(f"{body.total_bytes} bytes")
            while self._done < part.length and not self._stopped.is_set():
                self._batch(body)

    def _batch(self, body: ByteStream) -> None:
        batch: Batch = []
        count, left = 0, self._part.length - self._done
        try:
            while count < min(BATCH_BYTES, left):
                data = body.read(min(BATCH_BYTES, left) - count)
                if not data:
                    raise BrokenStreamError("the body ended early")
                batch.append(data)
                count += len(data)
        finally:
            if batch:
                self._hand_on(batch, count)

    def _hand_on(self, batch: Batch, count: int) -> None:
        while not self._part.room.acquire(timeout=1):
            if self._stopped.is_set():
                return
        self._done += count
        self._part.arrived.put(batch)


def _gave_up(store: Store, part: _Part, error: BrokenStreamError) -> PairlockError:
    place = f"{store.location}/{part.path}"
    if not isinstance(error, OtherSizeError):
        return unreachable(place, f"{error}, {TRIES} times")
    finding = Finding(
        kind=ErrorKind.FILE_SIZE,
        place=part.path,
        expected=f"{part.size_bytes} bytes",
        found=str(error),
    )
    return IntegrityError(
        f"{place} is not the file that was approved",
        kind=ErrorKind.FILE_SIZE,
        checked="the size that the store gives",
        findings=[finding],
        done="nothing was loaded",
        hint="restore the file in the store, or log the model as a new version",
    )
