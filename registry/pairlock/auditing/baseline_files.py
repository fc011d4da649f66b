"""Reads and writes the file of accepted findings."""

from __future__ import annotations

from pathlib import Path

from pairlock.auditing.baseline import Baseline, read_baseline
from pairlock.errors import ErrorKind, InvalidInputError, StorageError


def read_baseline_file(path: Path) -> Baseline:
    """Read a file of accepted findings.

    Raises:
        InvalidInputError: there is no such file, or it is no baseline; every problem is listed.
        StorageError: it cannot be read.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise InvalidInputError(
            f"there is no baseline in {path}",
            kind=ErrorKind.ARGUMENT_INVALID,
            checked=str(path),
            expected="a file of accepted findings",
            found=error.strerror or type(error).__name__,
            done="nothing was audited",
            hint="`pairlock audit --write-baseline` writes one",
        ) from error
    except OSError as error:
        raise StorageError.of(
            error,
            f"{path} cannot be read",
            checked=str(path),
            expected="a file that can be read",
            done="nothing was audited",
            hint="check the permissions there",
        ) from error
    return read_baseline(content, where=str(path))
