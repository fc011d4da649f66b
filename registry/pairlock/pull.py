"""Brings a proved package to a place on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from pairlock.catalog import locate
from pairlock.digests import FileRecord, copy_hashing
from pairlock.errors import ErrorKind, IntegrityError, StorageError
from pairlock.integrity import compare_digest
from pairlock.packages import Package, open_package
from pairlock.progress import SILENT, Progress
from pairlock.references import parse_reference
from pairlock.staging import require_free, staged
from pairlock.stores import EntryType


def pull(
    uri: str,
    *,
    to: Path | None = None,
    expected_digest: str | None = None,
    progress: Progress = SILENT,
) -> Package:
    """Prove a package, and copy it somewhere if asked to.

    Args:
        uri: as `pairlock.load`.
        to: a folder that does not exist yet, or is empty. Without it a package on a local disk
            stays where it is.
        expected_digest: a package digest known from elsewhere.
        progress: told about the work.

    Returns:
        The proved package, where it lies now.

    Raises:
        AlreadyExistsError: the target is not empty.
        IntegrityError: the package is not what was approved, or changed while it was copied.
        StorageError: copying failed; nothing is left behind.
        PairlockError: every other reason not to find or read it.
    """
    target = None if to is None else to.expanduser().absolute()
    if target is not None:
        require_free(target)
    package = open_package(
        locate(parse_reference(uri)), progress=progress, expected_digest=expected_digest
    )
    if target is None:
        return package
    _copy(package, target, progress)
    located = locate(parse_reference(str(target)))
    return open_package(located, progress=progress, expected_digest=package.digest)


def _copy(package: Package, target: Path, progress: Progress) -> None:
    """Copy under a name of its own, check what was written, then rename."""
    records = {record.path: record for record in package.manifest.files}
    try:
        with (
            staged(target) as folder,
            progress.step("copy", package.manifest.size_bytes) as advance,
        ):
            for path, entry in package.proved.store.entries().items():
                if entry.type is not EntryType.FILE:
                    continue
                source = package.proved.store.local_path(path)
                copied = copy_hashing(source, folder / path, recorded_as=path, on_bytes=advance)
                _check_copy(records.get(path), copied)
                _flush(folder / path)
    except OSError as error:
        raise StorageError(
            f"cannot copy the package to {target}",
            kind=ErrorKind.STORAGE_FAILED,
            checked=str(error.filename or target),
            found=f"{type(error).__name__}: {error.strerror or error}",
            done="what was copied is removed",
            hint="check free space and permissions there",
        ) from error


def _check_copy(record: FileRecord | None, copied: FileRecord) -> None:
    if record is None:
        return  # MLflow's own files are not part of the package's digest
    if finding := compare_digest(record, copied.sha256):
        raise IntegrityError(
            f"{copied.path} changed while it was copied",
            kind=ErrorKind.FILE_CHANGED,
            checked="sha256 of what was written",
            findings=[finding],
            done="what was copied is removed",
            hint="find out what writes to the store, then pull again",
        )


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
