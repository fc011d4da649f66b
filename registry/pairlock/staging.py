"""A folder that becomes visible whole or not at all."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pairlock.errors import AlreadyExistsError, ErrorKind, StorageError


def require_free(target: Path) -> None:
    """Refuse a target that something is in.

    Raises:
        AlreadyExistsError: it is a file, or a folder that is not empty.
        StorageError: it cannot be looked at.
    """
    try:
        taken = target.exists() and (not target.is_dir() or any(target.iterdir()))
    except OSError as error:
        raise StorageError(
            f"{target} cannot be written to",
            kind=ErrorKind.STORAGE_FAILED,
            checked=str(target),
            expected="a path for a new folder",
            found=f"{type(error).__name__}: {error.strerror or error}",
            done="nothing was written",
            hint="choose another folder",
        ) from error
    if taken:
        raise AlreadyExistsError(
            f"{target} already exists and is not empty",
            kind=ErrorKind.TARGET_EXISTS,
            checked=str(target),
            expected="nothing, or an empty folder",
            found="files" if target.is_dir() else "a file",
            done="nothing was written",
            hint="choose another folder, or remove the old one",
        )


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A new folder beside the target that becomes the target when all went well.

    Its name is unique to the call, and it is removed on every other exit.

    Raises:
        AlreadyExistsError: as `require_free`.
        OSError: the folder cannot be made or renamed.
    """
    require_free(target)
    folder = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    try:
        folder.mkdir(parents=True)
        yield folder
        # rename replaces an empty folder and nothing else
        folder.rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
