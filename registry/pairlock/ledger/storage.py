"""A model's ledger in a store: found, read, and added to, never changed.

Every entry is a file of its own, made only if there is none of its number. So of any number of
processes that write entry 12 at once exactly one does, wherever they run.

The head is found from a note outside the store (the anchor) or by doubling steps, and then what
lies behind it is listed: one request, which comes back empty. It is what tells the end of the
history from a gap; adding to a history before a gap would fork it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from pairlock.errors import (
    AlreadyExistsError,
    ConflictError,
    ErrorKind,
    Finding,
    FormatError,
    IntegrityError,
    NotFoundError,
    PairlockError,
    StorageError,
    UnavailableError,
    UnsupportedError,
)
from pairlock.ledger.anchor import Anchor
from pairlock.ledger.chain import (
    ENTRIES,
    anchor_findings,
    check_chain,
    entry_path,
    link_findings,
    missing_finding,
    own_findings,
    sequence_of,
    unreadable_findings,
)
from pairlock.ledger.document import MAX_ENTRY_BYTES, Sealed, read_entry, write_entry
from pairlock.ledger.entry import Entry, Held
from pairlock.stores import LocalStore, Store
from pairlock.wording import counted

_AT_ONCE = 8
"""How many entries are fetched at once from a store over a network."""

_PAGE = 64
"""How many entries are fetched before the first of them is given out."""

_PAUSES_S = (0.05, 0.2, 1.0)
"""A create that is refused although nothing is there met another one on its way (S3 status 409)."""


class Ledger:
    """The ledger of one registered model.

    Args:
        store: the model's own place; the entries lie in a folder `entries` there.
        model: the registered model's name.
        model_created_ms: when it was made, in ms since 1970.
    """

    def __init__(self, store: Store, *, model: str, model_created_ms: int) -> None:
        self._store = store
        self._model = model
        self._model_created_ms = model_created_ms

    @property
    def location(self) -> str:
        """Where it lies, for messages."""
        return self._store.location

    def head(self, anchor: Anchor | None = None) -> Sealed | None:
        """The newest entry; None when there is none.

        Args:
            anchor: an entry that is known from elsewhere. It must be there and be the same, and
                every entry after it must lead back to it. Costs two requests when it is the head;
                without one, some 2 log2(n) of them.

        Raises:
            IntegrityError: a missing or changed entry, or a history that ends before the anchor.
            FormatError: the newest entry cannot be read.
            NotFoundError: there is no such bucket.
            UnavailableError: the store cannot be reached, or refuses.
            StorageError: it cannot be read.
        """
        newest = self._newest() if anchor is None else self._anchored(anchor)
        while behind := self._numbers(-1 if newest is None else newest.entry.sequence):
            newest = self._followed(newest, behind)
        return newest

    def read(self, sequence: int) -> Sealed:
        """One entry.

        Raises:
            IntegrityError: it is not there, was changed, or is another model's.
            FormatError: it cannot be read.
            UnavailableError: the store cannot be reached, or refuses.
            StorageError: it cannot be read.
        """
        found = self._find(sequence)
        if found is None:
            raise self._broken([missing_finding(sequence, sequence, at_the_end=False)])
        return found

    def append(self, entry: Entry) -> Sealed:
        """Record an act, durably.

        When the store's answer is lost, what is there decides: an entry with this one's write id
        is this one.

        Raises:
            ConflictError: another entry has this number; the error says whose.
            InvalidInputError: the entry cannot be written.
            UnsupportedError: the store cannot create a file only if there is none.
            UnavailableError: the store cannot be reached, or refuses; `done` says what is known.
            StorageError: it did not take it; `done` says what is known.
            IntegrityError: what lies under this number is no entry of this ledger.
            FormatError: what lies under this number cannot be read.
        """
        content = write_entry(entry)
        for pause_s in (*_PAUSES_S, None):
            try:
                self._store.create(entry_path(entry.sequence), content)
            except AlreadyExistsError:
                there = self._read_back(entry.sequence)
                if there is None and pause_s is not None:
                    time.sleep(pause_s)
                    continue
                return self._ours(entry, there)
            except UnsupportedError as error:
                raise self._unconditional() from error
            except (UnavailableError, StorageError) as error:
                return self._settled(entry, error)
            return read_entry(content, where=self._place(entry.sequence))
        raise AssertionError("unreachable")

    def history(self, head: Sealed | None = None) -> Iterator[Sealed]:
        """Every entry, newest first, each proved by the one after it.

        Args:
            head: the newest; None to find it.

        Raises:
            IntegrityError: a missing or changed entry.
            FormatError: an entry cannot be read.
            UnavailableError: the store cannot be reached, or refuses.
            StorageError: it cannot be read.
        """
        later = self.head() if head is None else head
        if later is None:
            return
        yield later
        for top in range(later.entry.sequence - 1, -1, -_PAGE):
            numbers = range(top, max(-1, top - _PAGE), -1)
            for number, content in zip(numbers, self._contents(numbers), strict=True):
                if isinstance(content, NotFoundError):
                    raise self._broken([missing_finding(number, number, at_the_end=False)])
                if isinstance(content, PairlockError):
                    raise content
                earlier = self._read(number, content)
                self._demand(link_findings(earlier, later.entry.sequence, later))
                later = earlier
                yield later

    def check(self, anchor: Anchor | None = None) -> tuple[Finding, ...]:
        """Read the whole history and list everything that is wrong with it.

        Args:
            anchor: an entry that is known from elsewhere.

        Returns:
            What is wrong and where; empty for a good history, and for one that is empty.

        Raises:
            UnavailableError: the store cannot be reached, or refuses.
            StorageError: it cannot be listed.
        """
        numbers = self._numbers(-1)
        files: dict[int, bytes | PairlockError] = {}
        for start in range(0, len(numbers), _PAGE):
            page = numbers[start : start + _PAGE]
            files.update(zip(page, self._contents(page), strict=True))
        return check_chain(
            {
                number: content
                for number, content in files.items()
                if not isinstance(content, NotFoundError)
            },
            model=self._model,
            model_created_ms=self._model_created_ms,
            anchor=anchor,
        )

    def readable(self) -> tuple[Sealed, ...]:
        """Every entry that can be read by itself, newest first: what is left of a broken history.

        Raises:
            UnavailableError: the store cannot be reached, or refuses.
            StorageError: it cannot be listed.
        """
        found = []
        for number in reversed(self._numbers(-1)):
            with suppress(IntegrityError, FormatError, NotFoundError, StorageError):
                found.append(self.read(number))
        return tuple(found)

    def rollback_target(self, held: Held | None) -> Sealed | None:
        """The entry that a rollback returns to: the one by which the holder before came.

        Args:
            held: who holds the stage now.

        Returns:
            The entry; None when nobody held the stage before, or nobody holds it now.

        Raises:
            PairlockError: as `read`.
        """
        return None if held is None or held.previous is None else self.read(held.previous)

    def conflict_with(self, winner: Sealed) -> ConflictError:
        """The error for an act that an entry came in the way of."""
        return self._conflict(winner.entry.sequence, winner)

    def require_conditional_create(self) -> None:
        """Try out that this store lets exactly one of many create a file. Before the first entry.

        Raises:
            UnsupportedError: it does not.
            UnavailableError: the store cannot be reached, or refuses.
            StorageError: nothing can be written there.
        """
        try:
            is_enforced = self._store.creates_conditionally()
        except PairlockError as error:
            error.done = f"no entry was written into the ledger of {self._model}"
            raise
        if not is_enforced:
            raise self._unconditional()

    def _anchored(self, anchor: Anchor) -> Sealed:
        found = self._find(anchor.sequence)
        if found is None:
            numbers = self._numbers(-1)
            top = numbers[-1] if numbers else -1
            is_end = top < anchor.sequence
            first = top + 1 if is_end else anchor.sequence
            raise self._broken([missing_finding(first, anchor.sequence, at_the_end=is_end)])
        self._demand(anchor_findings(anchor, found))
        return found

    def _newest(self) -> Sealed | None:
        """The last entry before the first missing one that doubling and then halving steps meet."""
        found = self._find(0)
        if found is None:
            return None
        missing = 1
        while (later := self._find(missing)) is not None:
            found, missing = later, 2 * missing + 1
        there = found.entry.sequence
        while missing - there > 1:
            middle = (there + missing) // 2
            later = self._find(middle)
            if later is None:
                missing = middle
            else:
                found, there = later, middle
        return found

    def _followed(self, newest: Sealed | None, behind: Sequence[int]) -> Sealed | None:
        """The last of some listed entries, after every one on the way there was proved."""
        for number in range(newest.entry.sequence + 1 if newest else 0, behind[-1] + 1):
            # read although it was not listed: it may have been made while the listing was
            later = self._find(number)
            if later is None:
                last = next((listed for listed in behind if listed > number), number + 1) - 1
                raise self._broken([missing_finding(number, last, at_the_end=False)])
            if newest is not None:
                self._demand(link_findings(newest, number, later))
            newest = later
        return newest

    def _find(self, sequence: int) -> Sealed | None:
        try:
            content = self._store.read_small(entry_path(sequence), at_most_bytes=MAX_ENTRY_BYTES)
        except NotFoundError as error:
            if error.kind is ErrorKind.FILE_MISSING:
                return None
            raise
        return self._read(sequence, content)

    def _read(self, sequence: int, content: bytes) -> Sealed:
        try:
            found = read_entry(content, where=self._place(sequence))
        except (IntegrityError, FormatError) as error:
            # which entry it is has to be in the findings, for they are all that some callers keep
            error.findings = tuple(unreadable_findings(sequence, error))
            raise
        self._demand(own_findings(sequence, found.entry, self._model, self._model_created_ms))
        return found

    def _numbers(self, behind: int) -> list[int]:
        """The numbers of the entries that are there, after one of them."""
        after = entry_path(behind) if behind >= 0 else ""
        try:
            paths = self._store.entries(ENTRIES, after=after)
        except NotFoundError:
            if isinstance(self._store, LocalStore):
                return []  # the first entry makes the folder
            raise
        return sorted(number for path in paths if (number := sequence_of(path)) is not None)

    def _contents(self, numbers: Sequence[int]) -> list[bytes | PairlockError]:
        """Some files, in this order; what was wrong with one in its place."""

        def content(number: int) -> bytes | PairlockError:
            try:
                return self._store.read_small(entry_path(number), at_most_bytes=MAX_ENTRY_BYTES)
            except (StorageError, NotFoundError) as error:
                return error

        if isinstance(self._store, LocalStore) or len(numbers) < 2:
            return [content(number) for number in numbers]
        with ThreadPoolExecutor(min(_AT_ONCE, len(numbers))) as pool:
            return list(pool.map(content, numbers))

    def _settled(self, entry: Entry, error: UnavailableError | StorageError) -> Sealed:
        """What came of a create that failed: the store may have taken it all the same."""
        there = self._read_back(entry.sequence)
        if there is None:
            error.done = "nothing is recorded"
            raise error
        return self._ours(entry, there)

    def _read_back(self, sequence: int) -> Sealed | None:
        try:
            return self._find(sequence)
        except (UnavailableError, StorageError) as error:
            error.done = (
                "it is not known whether the act is recorded; the next command finds out, and "
                "goes on from what is there"
            )
            raise

    def _ours(self, entry: Entry, there: Sealed | None) -> Sealed:
        if there is not None and there.entry.write_id == entry.write_id:
            return there
        raise self._conflict(entry.sequence, there)

    def _conflict(self, sequence: int, there: Sealed | None) -> ConflictError:
        if there is None:
            who, found = "somebody else", "an entry that cannot be read yet"
        else:
            winner = there.entry
            version = "" if winner.subject is None else f" version {winner.subject.version}"
            stage = "" if winner.stage is None else f" in stage {winner.stage}"
            who = winner.actor
            found = f"{winner.act}{version}{stage}, by {winner.actor} at {winner.at}"
        return ConflictError(
            f"{who} was first",
            kind=ErrorKind.LEDGER_CONFLICT,
            checked=self._place(sequence),
            expected=f"no entry {sequence} yet",
            found=f"entry {sequence}: {found}",
            done="nothing is recorded, and nothing was changed",
            hint="look at `pairlock history`, and decide again",
        )

    def _unconditional(self) -> UnsupportedError:
        return UnsupportedError(
            "no ledger can be kept here: the store does not create a file only if there is none",
            kind=ErrorKind.CONDITION_UNSUPPORTED,
            checked=self.location,
            expected="of two creates of one file, the second refused",
            found="a store that replaces the first, or knows no such condition",
            done="nothing is recorded",
            hint="set PAIRLOCK_LEDGER to s3://bucket/prefix on a server that enforces "
            "If-None-Match, or to a shared folder on a file system with hard links",
        )

    def _demand(self, findings: Iterator[Finding]) -> None:
        if found := list(findings):
            raise self._broken(found)

    def _broken(self, findings: Sequence[Finding]) -> IntegrityError:
        return IntegrityError(
            f"the ledger of {self._model} is broken at {findings[0].place}",
            kind=ErrorKind.LEDGER_BROKEN,
            checked=self.location,
            expected="an unbroken chain of entries",
            found=counted(len(findings), "problem"),
            findings=findings,
            done="nothing was changed",
            hint="restore the files from a copy of the ledger; docs/ledger.md says what is what",
        )

    def _place(self, sequence: int) -> str:
        return f"{self.location}/{entry_path(sequence)}"
