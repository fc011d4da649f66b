"""A folder or a file that becomes visible whole or not at all."""

from __future__ import annotations

import os
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
        raise StorageError.of(
            error,
            f"{target} cannot be written to",
            checked=str(target),
            expected="a path for a new folder",
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
    folder = target.with_name(f".{target.name}.{os.urandom(16).hex()}.partial")
    try:
        folder.mkdir(parents=True)
        yield folder
        # rename replaces an empty folder and nothing else
        folder.rename(target)
    finally:
        from shutil import rmtree

        rmtree(folder, ignore_errors=True)


def require_absent(target: Path) -> None:
    """Refuse a target that is there, before work is done for it.

    Raises:
        AlreadyExistsError: something is there, if only a link to nowhere.
    """
    if os.path.lexists(target):
        raise _taken(target)


def write_whole(target: Path, content: bytes, *, replace: bool) -> None:
    """Write a file that is whole whenever it can be seen.

    Args:
        target: its path; the folder must be there. What is no regular file, such as a pipe, is
            written to as it is.
        content: all of it.
        replace: whether a file that is there gives way.

    Raises:
        AlreadyExistsError: something is there, and `replace` is false.
        StorageError: it cannot be written.
    """
    try:
        if replace and target.exists() and not target.is_file():
            target.write_bytes(content)
            return
        if replace:
            target = target.resolve()  # a link goes on leading there
        aside = target.with_name(f".{target.name}.{os.urandom(16).hex()}.partial")
        try:
            with aside.open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            if replace:
                aside.replace(target)
            else:
                _give_new_name(aside, target)
        finally:
            aside.unlink(missing_ok=True)
    except FileExistsError as error:
        raise _taken(target) from error
    except OSError as error:
        raise StorageError.of(
            error,
            f"{target} cannot be written",
            checked=str(target),
            expected="a file in a folder that is there and can be written to",
            done="nothing was written",
            hint="make the folder, or choose another one",
        ) from error


def _give_new_name(aside: Path, target: Path) -> None:
    """Give a file a name that nothing has.

    Raises:
        FileExistsError: something has it.
        OSError: it failed.
    """
    try:
        os.link(aside, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with target.open("xb") as stream:
            stream.write(aside.read_bytes())


def _taken(target: Path) -> AlreadyExistsError:
    return AlreadyExistsError(
        f"{target} already exists",
        kind=ErrorKind.TARGET_EXISTS,
        checked=str(target),
        expected="a path for a new file",
        found="something of this name",
        done="nothing was written",
        hint="choose another name, or remove the old one",
    )
