"""The errors that every remote store raises, in one wording."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pairlock.errors import (
    ErrorKind,
    NotFoundError,
    PairlockError,
    StorageError,
    UnavailableError,
)

NOTHING_DONE = "nothing was loaded"
FETCHING = "nothing was loaded; what has arrived is kept, and the next try goes on from there"
STORING = "nothing was registered; what was stored has no manifest, and so is no package"


def first_line(error: BaseException) -> str:
    """What a foreign error says, short enough for a message."""
    text = str(error).strip().partition("\n")[0][:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def file_missing(place: str) -> NotFoundError:
    """There is no such file in the store."""
    return NotFoundError(
        f"there is no file {place}",
        kind=ErrorKind.FILE_MISSING,
        checked=place,
        expected="a file",
        found="nothing",
        done=NOTHING_DONE,
        hint="restore the file in the store, or log the model as a new version",
    )


@contextmanager
def reading(source: Path) -> Iterator[None]:
    """A file on this disk that is to be stored.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        source.open("rb").close()
        yield
    except OSError as error:
        if isinstance(error, PairlockError):
            raise
        raise StorageError(
            f"cannot read {source}",
            kind=ErrorKind.STORAGE_FAILED,
            checked=str(source),
            expected="a file to store",
            found=first_line(error),
            done=STORING,
            hint="find out what removes files there, then try again",
        ) from error


def too_large(place: str, at_most_bytes: int) -> StorageError:
    """A file that should be small is not."""
    return StorageError(
        f"{place} is too large",
        kind=ErrorKind.STORAGE_FAILED,
        checked="its size",
        expected=f"at most {at_most_bytes} bytes",
        found="more",
        done=NOTHING_DONE,
        hint="this is not the file that Pairlock or a trainer wrote; restore it",
    )


def unreachable(place: str, found: str, *, done: str = FETCHING) -> UnavailableError:
    """The store does not answer, or answers that it cannot."""
    return UnavailableError(
        f"the store does not answer as it should: {place}",
        kind=ErrorKind.STORE_UNAVAILABLE,
        checked=place,
        expected="an answer",
        found=found,
        done=done,
        hint="check the endpoint and the network, then try again",
    )


def refused(place: str, found: str, *, hint: str, done: str = NOTHING_DONE) -> UnavailableError:
    """The store does not let this user in."""
    return UnavailableError(
        f"the store refuses access: {place}",
        kind=ErrorKind.ACCESS_DENIED,
        checked=place,
        expected="credentials that the store accepts",
        found=found,
        done=done,
        hint=hint,
    )
