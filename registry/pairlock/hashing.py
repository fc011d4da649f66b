"""Reads the files a document lists and proves each one, then guards them while they are loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from pairlock.digests import FileRecord, hash_file
from pairlock.errors import ErrorKind, Finding, IntegrityError, NotFoundError, StorageError
from pairlock.integrity import compare_digest, compare_entries
from pairlock.progress import Progress
from pairlock.stores import Entry, LocalStore


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvedFiles:
    """Files whose bytes were hashed and found right, with the stamps they had then."""

    store: LocalStore
    stamps: Mapping[str, Entry]
    """By path relative to the store."""

    size_bytes: int
    """How many bytes the files have."""

    hashed_bytes: int
    """How many of them were hashed now; the others were sealed when they were."""

    whole_folder: str | None = None
    """A folder of the store that may hold no other file, such as a package's payload."""

    def check_unchanged(self) -> None:
        """Prove that no file was written or replaced since it was hashed.

        Called after a library has read the files, so that bytes which changed between the proof
        and the read are an error and not a vector.

        Raises:
            IntegrityError: a file changed.
        """
        changed = {path for path, before in self.stamps.items() if self.store.entry(path) != before}
        if self.whole_folder is not None:
            # a whole folder that is gone has changed; its files were found missing above
            with suppress(NotFoundError):
                changed |= self.store.entries(self.whole_folder).keys() - self.stamps.keys()
        if changed:
            first = sorted(changed)[0]
            raise IntegrityError(
                f"{self.store.local_path(first)} changed while it was being loaded",
                kind=ErrorKind.FILE_CHANGED,
                checked="size, time and inode of every file, before and after the load",
                expected="files that stay as they were when their sha256 was checked",
                found=f"changed or added: {', '.join(sorted(changed)[:5])}",
                done="what was loaded was thrown away",
                hint="find out what writes to the store, then load again",
            )


def prove_files(
    store: LocalStore,
    expected: Iterable[FileRecord],
    observed: Mapping[str, Entry],
    *,
    progress: Progress,
    whole_folder: str | None = None,
    sealed: Mapping[str, Entry] | None = None,
) -> tuple[tuple[Finding, ...], ProvedFiles]:
    """Compare what is there with what is listed, and hash every file whose size is right.

    Args:
        store: where the files lie.
        expected: what a manifest or a pin lists, by paths relative to the store.
        observed: what lies there, by the same paths.
        progress: told about the bytes hashed.
        whole_folder: a folder of the store in which nothing else may lie, now and later.
        sealed: what write-once files were when they were last hashed and right. A file that is
            still the same is not hashed again.

    Returns:
        Every finding (empty when all is well) and the proved files.

    Raises:
        StorageError: a file cannot be read.
    """
    records = sorted(expected, key=lambda record: record.path)
    findings = list(compare_entries(records, observed))
    wrong = {finding.place for finding in findings}
    sound = [record for record in records if record.path not in wrong]
    known = sealed or {}
    changed = [record for record in sound if known.get(record.path) != observed[record.path]]
    hashed_bytes = sum(record.size_bytes for record in changed)
    with progress.step("verify", hashed_bytes) as advance:
        for record in changed:
            try:
                sha256 = hash_file(store.local_path(record.path), on_bytes=advance)
            except OSError as error:
                raise _unreadable(store, record.path, error) from error
            if finding := compare_digest(record, sha256):
                findings.append(finding)
    stamps = {record.path: observed[record.path] for record in sound}
    proved = ProvedFiles(
        store=store,
        stamps=stamps,
        size_bytes=sum(record.size_bytes for record in sound),
        hashed_bytes=hashed_bytes,
        whole_folder=whole_folder,
    )
    return tuple(findings), proved


def _unreadable(store: LocalStore, path: str, error: OSError) -> StorageError:
    return StorageError.of(
        error,
        f"cannot read {store.local_path(path)}",
        checked="sha256",
        expected="a file that can be read",
        done="nothing was loaded",
        hint="check permissions and the disk, then try again",
    )
