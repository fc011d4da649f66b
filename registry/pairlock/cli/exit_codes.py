"""What the command's exit status means.

0   done
1   checked, and the answer is no
2   wrong usage, or input that cannot be
3   could not check: something is missing, unreachable or unreadable
70  a defect in Pairlock
"""

from __future__ import annotations

from pairlock.errors import (
    AlreadyExistsError,
    ConflictError,
    ErrorKind,
    FormatError,
    IntegrityError,
    InvalidInputError,
    PairlockError,
    RefusedError,
    UnsupportedError,
)

DONE = 0
NO = 1
USAGE = 2
COULD_NOT_CHECK = 3
DEFECT = 70

HELP = (
    "Exit status: 0 done; 1 checked, and the answer is no; 2 wrong usage; "
    "3 could not check (missing, unreachable, unreadable); 70 a defect in Pairlock."
)


_NOT_CHECKED = {ErrorKind.FORMAT_TOO_NEW, ErrorKind.STORE_UNSUPPORTED, ErrorKind.CACHE_TOO_NEW}


def exit_code(error: PairlockError) -> int:
    """The exit status for an error."""
    if error.kind in _NOT_CHECKED:
        return COULD_NOT_CHECK
    if isinstance(error, IntegrityError | FormatError | RefusedError | ConflictError):
        return NO
    if isinstance(error, InvalidInputError | UnsupportedError | AlreadyExistsError):
        return USAGE
    return COULD_NOT_CHECK
