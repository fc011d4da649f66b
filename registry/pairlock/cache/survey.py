"""What lies in a cache: views, blobs, and what was not finished."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from pairlock.cache.answers import all_answers
from pairlock.cache.blobs import is_blob_name
from pairlock.cache.folder import CacheFolder
from pairlock.cache.views import View, ViewKey, ViewKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewFacts:
    """A package or a base model."""

    kind: ViewKind
    digest: str
    size_bytes: int
    used_at: float
    """Seconds since 1970."""

    own_bytes: int = 0
    """Bytes of files that are copies, where the file system has no hard links."""

    contents: frozenset[str]
    """The sha256 of its files, as far as they are known."""

    names: tuple[str, ...]
    """What it was asked for as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """A blob, or something unfinished."""

    path: Path
    size_bytes: int
    changed_at: float
    """Seconds since 1970: when the blob came, or when the unfinished thing last grew."""

    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Everything in a cache."""

    root: Path
    views: tuple[ViewFacts, ...]
    blobs: tuple[FileFacts, ...]
    unfinished: tuple[FileFacts, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all blobs and all that is unfinished."""
        return sum(file.size_bytes for file in (*self.blobs, *self.unfinished))


def survey(folder: CacheFolder) -> Survey:
    """Look at everything in a cache. A cache that is not there is empty.

    Raises:
        UnsupportedError: a newer release made it.
    """
    folder.check()
    names: dict[str, list[str]] = {}
    for answer in all_answers(folder):
        if answer.package_digest is not None:
            names.setdefault(answer.package_digest, []).append(answer.requested)
    blobs = tuple(file for path in every_blob(folder) for file in _file(path))
    inodes = {file.inode: file.path.name for file in blobs}
    return Survey(
        root=folder.root,
        views=tuple(_view(view, names, inodes) for view in every_view(folder)),
        blobs=blobs,
        unfinished=tuple(file for path in _children(folder.staging) for file in _file(path)),
    )


def every_view(folder: CacheFolder) -> Iterator[View]:
    """Every view that is there."""
    for kind in ViewKind:
        for path in _children(folder.views / kind):
            view = View(folder, ViewKey(kind, f"sha256:{path.name}"))
            if is_blob_name(path.name) and view.exists():
                yield view


def every_blob(folder: CacheFolder) -> Iterator[Path]:
    """Every file that is named as a blob."""
    for shelf in _children(folder.blobs):
        yield from (path for path in _children(shelf) if is_blob_name(path.name))


def _view(view: View, names: dict[str, list[str]], inodes: dict[int, str]) -> ViewFacts:
    seal = view.seal()
    sealed = seal.contents.values() if seal else ()
    files = _statuses(view.files)
    # a view without a seal is not believed, and keeps its files all the same
    linked = {inodes[file.st_ino] for file in files if file.st_ino in inodes}
    return ViewFacts(
        kind=view.key.kind,
        digest=view.key.digest,
        size_bytes=sum(file.st_size for file in files),
        used_at=view.used_at(),
        own_bytes=sum(file.st_size for file in files if file.st_nlink == 1),
        contents=frozenset(sealed) | linked,
        names=tuple(sorted(set(names.get(view.key.digest, [])))),
    )


def _file(path: Path) -> Iterator[FileFacts]:
    try:
        own = path.stat()
    except OSError:
        return  # gone meanwhile
    if not S_ISDIR(own.st_mode):
        yield FileFacts(
            path=path, size_bytes=own.st_size, changed_at=_changed_at(own), inode=own.st_ino
        )
        return
    inside = _statuses(path)
    yield FileFacts(
        path=path,
        # what a staged view holds are links to blobs, which are counted themselves
        size_bytes=sum(status.st_size for status in inside if status.st_nlink == 1),
        changed_at=max(_changed_at(status) for status in [own, *inside]),
        inode=own.st_ino,
    )


def _changed_at(status: os.stat_result) -> float:
    # a hard link that is made or removed changes a blob's ctime, which here means: lately used
    return max(status.st_mtime, status.st_ctime)


def _statuses(folder: Path) -> list[os.stat_result]:
    """What the files below a folder are; what vanishes meanwhile is passed over."""
    found = []
    # os.walk passes over a folder that vanishes; rglob raises
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                status = (Path(parent) / name).lstat()
            except OSError:
                continue
            if S_ISREG(status.st_mode):
                found.append(status)
    return found


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
