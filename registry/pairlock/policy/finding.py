"""Finds and reads the policy's file. The only module of the policy that does I/O."""

from __future__ import annotations

from pathlib import Path

from pairlock.config import Settings
from pairlock.errors import ErrorKind, InvalidInputError, StorageError
from pairlock.policy.document import Policy
from pairlock.policy.reading import read_policy

POLICY_FILE = "pairlock.toml"


def find_policy_file(settings: Settings, *, file: Path | None = None) -> Path | None:
    """The file that says which policy holds.

    It is the given one, else the one that `PAIRLOCK_POLICY` names, else `pairlock.toml` in the
    working directory or in the nearest folder above.

    Args:
        settings: of this process.
        file: what the caller names.

    Returns:
        The file's whole path; it is known to be there only where nobody named it. None: nobody
        wrote one.

    Raises:
        StorageError: a folder cannot be looked into.
    """
    named = file or settings.policy
    if named is not None:
        return named.absolute()
    here = Path.cwd()
    for folder in (here, *here.parents):
        candidate = folder / POLICY_FILE
        try:
            # a link to nowhere was meant to be a policy: it is found, and reading it fails
            if candidate.is_file() or candidate.is_symlink():
                return candidate
        except OSError as error:
            raise _unreadable(candidate, error) from error
    return None


def read_policy_file(path: Path) -> Policy:
    """Read a policy's file.

    Raises:
        FormatError: it is no policy; every problem is listed.
        InvalidInputError: there is no such file.
        StorageError: it cannot be read.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise InvalidInputError(
            f"there is no policy in {path}",
            kind=ErrorKind.ARGUMENT_INVALID,
            checked=str(path),
            expected="a file such as pairlock.toml",
            found=error.strerror or str(error),
            done="nothing was decided",
            hint="--policy, PAIRLOCK_POLICY or a pairlock.toml in a folder above names it",
        ) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    return read_policy(content, where=str(path))


def _unreadable(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path} cannot be read",
        kind=ErrorKind.STORAGE_FAILED,
        checked=str(path),
        expected="a file that can be read",
        found=error.strerror or str(error),
        done="nothing was decided",
        hint="check its permissions",
    )
