"""Copies proved files to a folder, and proves the copy while it is written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pairlock.config import Settings
from pairlock.digests import FileRecord, OnBytes, copy_hashing
from pairlock.errors import ErrorKind, IntegrityError, StorageError
from pairlock.integrity import compare_digest
from pairlock.manifest import MANIFEST_NAME
from pairlock.manifest.format import MAX_MANIFEST_BYTES, PAYLOAD
from pairlock.manifest.paths import path_problem
from pairlock.packages import Package
from pairlock.progress import Progress
from pairlock.staging import staged
from pairlock.stores import EntryType, LocalStore
from pairlock.stores.opening import is_remote, open_store


def copy_package(package: Package, target: Path, *, settings: Settings, progress: Progress) -> None:
    """Copy a package to a folder, which appears whole or not at all.

    MLflow's own files come along where they can be had. They are not covered by the digest.

    Args:
        package: a proved package.
        target: a folder that does not exist yet, or is empty.
        settings: whether the network may be used for MLflow's own files.
        progress: told about the bytes.

    Raises:
        AlreadyExistsError: the target is not empty.
        IntegrityError: a file changed while it was copied.
        StorageError: writing failed; nothing is left behind.
    """
    with copying_to(target), staged(target) as folder:
        write_package(package, folder, settings=settings, progress=progress)


def write_package(
    package: Package, folder: Path, *, settings: Settings, progress: Progress
) -> None:
    """Write a package's files into a folder that is not visible yet.

    Raises:
        IntegrityError: a file changed while it was copied.
        OSError: writing failed.
    """
    source = package.proved.store
    manifest = FileRecord(
        path=MANIFEST_NAME,
        size_bytes=source.local_path(MANIFEST_NAME).stat().st_size,
        sha256=package.digest.removeprefix("sha256:"),
    )
    with progress.step("copy", manifest.size_bytes + package.manifest.size_bytes) as advance:
        copy_files(source, (manifest, *package.manifest.files), folder, on_bytes=advance)
    for path, content in _files_of_mlflow(package, settings):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def copy_files(
    source: LocalStore, records: Sequence[FileRecord], folder: Path, *, on_bytes: OnBytes
) -> None:
    """Copy files and compare what was written with their records.

    Raises:
        IntegrityError: a file is not what its record says.
        OSError: writing failed.
    """
    for record in records:
        target = folder / record.path
        copied = copy_hashing(
            source.local_path(record.path), target, recorded_as=record.path, on_bytes=on_bytes
        )
        if finding := compare_digest(record, copied.sha256):
            raise IntegrityError(
                f"{record.path} changed while it was copied",
                kind=ErrorKind.FILE_CHANGED,
                checked="sha256 of what was written",
                findings=[finding],
                done="what was copied is removed",
                hint="find out what writes to the store, then try again",
            )
        with target.open("rb") as stream:
            os.fsync(stream.fileno())


@contextmanager
def copying_to(target: Path) -> Iterator[None]:
    """What goes wrong while files are copied, as Pairlock's errors.

    Raises:
        StorageError: reading or writing failed.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError.of(
            error,
            f"cannot copy to {target}",
            checked=str(error.filename or target),
            done="what was copied is removed",
            hint="check free space and permissions there",
        ) from error


def _files_of_mlflow(package: Package, settings: Settings) -> Iterator[tuple[str, bytes]]:
    """`MLmodel`, the environment files, the page: beside the payload, and small."""
    location = package.located.location
    if is_remote(location) and settings.offline:
        return
    store = open_store(location)
    for path, entry in store.entries().items():
        own = path == MANIFEST_NAME or path.startswith(f"{PAYLOAD}/")
        if own or entry.type is not EntryType.FILE or path_problem(path) is not None:
            continue
        if entry.size_bytes <= MAX_MANIFEST_BYTES:
            yield path, store.read_small(path, at_most_bytes=MAX_MANIFEST_BYTES)
