"""Hashes everything in a cache again."""

from __future__ import annotations

from dataclasses import dataclass

from pairlock.cache.folder import CacheFolder, writing
from pairlock.cache.survey import every_blob, every_view
from pairlock.cache.views import View
from pairlock.digests import hash_file
from pairlock.errors import ErrorKind, Finding
from pairlock.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheCheck:
    """What hashing everything came to."""

    files: int
    size_bytes: int
    findings: tuple[Finding, ...]
    """Damaged files, by path relative to the cache."""


def check_cache(folder: CacheFolder, *, progress: Progress, mend: bool = True) -> CacheCheck:
    """Hash every file of a cache.

    A blob whose bytes are wrong is removed, and the seals of the views that have it are broken: the
    next load finds the damage too, and fetches the file again.

    Args:
        folder: the cache.
        progress: told about the bytes hashed.
        mend: whether that is done; else the cache is only looked at.

    Raises:
        StorageError: damage was found and the cache cannot be written.
        UnsupportedError: a newer release made the cache.
    """
    folder.check()
    findings: list[Finding] = []
    inodes: dict[int, str] = {}
    blobs = list(every_blob(folder))
    size_bytes = 0
    with progress.step("hash", sum(_size(path) for path in blobs)) as advance:
        for path in blobs:
            try:
                sha256 = hash_file(path, on_bytes=advance)
                status = path.stat()
            except OSError:
                continue  # pruned meanwhile
            size_bytes += status.st_size
            inodes[status.st_ino] = sha256
            if sha256 != path.name:
                findings.append(_finding(folder, path, path.name, sha256))
                if mend:
                    with writing(folder):
                        path.unlink(missing_ok=True)
    for view in every_view(folder):
        wrong = list(_wrong_files(folder, view, inodes))
        if wrong:
            findings += wrong
            if mend:
                with writing(folder):
                    view.break_seal()
    return CacheCheck(files=len(blobs), size_bytes=size_bytes, findings=tuple(findings))


def _wrong_files(folder: CacheFolder, view: View, inodes: dict[int, str]) -> list[Finding]:
    seal = view.seal()
    if seal is None:
        return []  # nothing is believed of it: the next load hashes it
    found = []
    for path, sha256 in seal.contents.items():
        target = view.files / path
        try:
            inode = target.stat().st_ino
            now = inodes.get(inode) or hash_file(target)
        except OSError:
            now = ""
        if now != sha256:
            found.append(_finding(folder, target, sha256, now))
    return found


def _finding(folder: CacheFolder, path: object, expected: str, found: str) -> Finding:
    return Finding(
        kind=ErrorKind.FILE_DIGEST if found else ErrorKind.FILE_MISSING,
        place=str(path).removeprefix(f"{folder.root}/"),
        expected=f"sha256 {expected}",
        found=f"sha256 {found}" if found else "nothing that can be read",
    )


def _size(path: object) -> int:
    from pathlib import Path

    try:
        return Path(str(path)).stat().st_size
    except OSError:
        return 0
